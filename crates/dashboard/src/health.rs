//! Health: source and entities, listeners, mDNS, store, problems; a diagnostics file without
//! secrets.

use askama::Template;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    answer::json,
    asking::Asking,
    context::Context,
    incidents::{self, Incident},
    listeners::{self, Group, Place, groups, name},
    notices, original,
    owner::Options,
    page::{Page, html},
    setup, words,
};
use config::masked;
use consumers::Overview;
use meter::EntityReport;
use probe::Consumer;
use source::Transport;
use store::{StoreHealth, StoreState};
use transport::{
    ListenerState,
    board::Line,
    healthz::{self, link_word},
    mdns::self_query,
};
use vocab::reason::Reason;

/// A row with a state, a name and words.
struct Row {
    state: &'static str,
    name: String,
    text: String,
    note: String,
}

#[derive(Template)]
#[template(path = "../../../templates/health.html")]
struct View {
    p: Page,
    source: Vec<Row>,
    entities: Vec<Row>,
    listeners: Vec<Row>,
    store: Vec<Row>,
    problems: Vec<String>,
    /// Word and name of each reader that can be tried.
    consumers: [(&'static str, &'static str); 8],
    incidents: Vec<Incident>,
    version: &'static str,
}

fn entity(l: &super::locale::Locale, e: &EntityReport) -> Row {
    let (state, note) = match (&e.problem, e.age) {
        // The row has the entity's name already.
        (Some(problem), _) => {
            let why = match problem {
                Reason::Of { what, why } if **what == *e.entity => why,
                why => why,
            };
            ("absent", l.say(why))
        }
        (None, None) => ("absent", l.t("nothing_heard").to_owned()),
        (None, Some(age)) => ("live", l.with("ago", &[("time", &words::span(l, age))])),
    };
    let value = match (&e.text, &e.unit) {
        (Some(text), unit) => match (words::as_written(l, text), unit) {
            (Some(number), Some(unit)) => format!("{number}\u{202f}{unit}"),
            (Some(number), None) => number,
            (None, _) => setup::state_words(l, text).to_owned(),
        },
        (None, _) => "–".to_owned(),
    };
    Row {
        state,
        name: e.entity.to_string(),
        text: value,
        note: format!("{} · {note}", setup::feed_words(l, &e.feeds)),
    }
}

fn source(context: &Context, m: usize, l: &super::locale::Locale) -> Vec<Row> {
    let snapshot = context.meter(m).view().snapshot.clone();
    let now = context.now();
    let (link, reason) = link_word(&snapshot.source.link);
    let state = match link {
        "up" => "live",
        "connecting" | "starting" => "held",
        _ => "absent",
    };
    let key = format!("link_{link}");
    let age = snapshot.source.last_alive.map_or_else(String::new, |at| {
        l.with(
            "last_sign",
            &[(
                "time",
                &words::span(l, now.mono.saturating_sub(at).as_secs_f64()),
            )],
        )
    });
    let mut rows = vec![Row {
        state,
        name: l.t("connection").to_owned(),
        text: l.t(&key).to_owned(),
        note: reason.map_or(age, |why| l.say(why)),
    }];
    let facts = context.facts.borrow().clone();
    if let Some(version) = &facts.version {
        let way = match facts.transport {
            Some(Transport::Websocket) => l.t("by_websocket"),
            Some(Transport::Rest) => l.t("by_rest"),
            None => "",
        };
        let zone = facts.time_zone.as_deref().unwrap_or("–");
        rows.push(Row {
            state: "live",
            name: "Home Assistant".to_owned(),
            text: version.to_string(),
            note: format!("{way} · {zone}"),
        });
    }
    if !facts.refused.is_empty() {
        rows.push(Row {
            state: "absent",
            name: l.t("own_entities").to_owned(),
            text: facts.refused.join(", "),
            note: l.t("own_entities_why").to_owned(),
        });
    }
    rows
}

fn listener(l: &super::locale::Locale, group: Group, place: &Place) -> Row {
    let (state, text) = match &group.state {
        ListenerState::Listening => ("live", l.t("listening").to_owned()),
        ListenerState::Waiting { .. } => ("absent", l.t("waits").to_owned()),
        ListenerState::Off { by } => ("unused", l.with("off_by", &[("by", by)])),
    };
    let at = if group.ports.is_empty() {
        group.address.clone()
    } else {
        l.with(
            if group.single() {
                "port_on"
            } else {
                "ports_on"
            },
            &[("port", &group.ports), ("address", &group.address)],
        )
    };
    let note = if let ListenerState::Waiting { reason } = &group.state {
        listeners::note(l, &group, &at, reason, place)
    } else {
        at
    };
    Row {
        state,
        name: group.name,
        text,
        note,
    }
}

fn store(context: &Context, l: &super::locale::Locale) -> Vec<Row> {
    let health = context.store.health();
    let (now, zone) = (context.now(), context.zone());
    let (state, text) = match &health.state {
        StoreState::Ok => ("live", l.t("store_ok").to_owned()),
        StoreState::Frozen => ("held", l.t("store_frozen").to_owned()),
        StoreState::InMemory { .. } => ("absent", l.t("store_memory").to_owned()),
        StoreState::Failing { .. } => ("absent", l.t("store_failing").to_owned()),
    };
    let note = match &health.state {
        StoreState::Ok | StoreState::Frozen => health
            .path
            .as_ref()
            .map_or_else(String::new, |p| p.display().to_string()),
        StoreState::InMemory { reason } | StoreState::Failing { reason, .. } => l.begin(reason),
    };
    let last = health.last_commit.map_or_else(
        || "–".to_owned(),
        |at| words::moment(l, at, now.unix, &zone),
    );
    let row = |name: &str, text: String, note: String| Row {
        state: "unused",
        name: l.t(name).to_owned(),
        text,
        note,
    };
    let mut rows = vec![
        Row {
            state,
            name: l.t("store").to_owned(),
            text,
            note,
        },
        row(
            "store_size",
            words::bytes(l, health.bytes).to_string(),
            // Counted now and then only: none yet is not a figure.
            if health.rows == 0 {
                String::new()
            } else {
                l.with(
                    "store_rows",
                    &[("n", &words::number(l, health.rows as f64, 0))],
                )
            },
        ),
        row("store_last", last, String::new()),
    ];
    if health.dropped > 0 {
        rows.push(Row {
            state: "absent",
            name: l.t("store_dropped").to_owned(),
            text: health.dropped.to_string(),
            note: String::new(),
        });
    }
    rows
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let mut p = Page::new(&context, &asking, "health");
    let l = asking.l;
    let incidents = incidents::list(&context, p.m, l).await;
    let incidents = p.noting(incidents).unwrap_or_default();
    let entities = context
        .owner
        .entities(p.m)
        .await
        .iter()
        .map(|e| entity(l, e))
        .collect();
    let own = &context.meter(p.m).meter;
    let place = Place::of(&context, own);
    let listeners = context.board.lines();
    let shared = |x: &Line| x.meter.is_empty() && matches!(x.name, "dashboard" | self_query::NAME);
    let listeners = listeners.iter().filter(|x| x.meter == *own || shared(x));
    let mut listeners: Vec<Row> = groups(l, listeners)
        .into_iter()
        .map(|group| listener(l, group, &place))
        .collect();
    if !context
        .board
        .lines()
        .iter()
        .any(|line| line.name == "mdns" && line.meter == *own)
    {
        let name = name(l, "mdns").to_owned();
        listeners.push(Row {
            state: "unused",
            name,
            text: l.t("off").to_owned(),
            note: String::new(),
        });
    }
    html(&View {
        source: source(&context, p.m, l),
        entities,
        listeners,
        store: store(&context, l),
        problems: notices::problems(&context, l),
        consumers: Consumer::ALL.map(|consumer| (consumer.word(), consumer.name())),
        incidents,
        version: env!("CARGO_PKG_VERSION"),
        p,
    })
}

/// `health.json`: what `/healthz` says, always with 200.
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let (_, body) = healthz::report(
        context.meter(asking.m),
        &context.board,
        context.vitals.as_ref(),
    );
    json(StatusCode::OK, body)
}

#[derive(Serialize)]
struct StoreFigures {
    path: Option<String>,
    state: String,
    last_commit: Option<f64>,
    rows: u64,
    bytes: u64,
    dropped: u64,
}

impl From<StoreHealth> for StoreFigures {
    fn from(h: StoreHealth) -> Self {
        let path = h.path.map(|p| p.display().to_string());
        Self {
            path,
            state: format!("{:?}", h.state),
            last_commit: h.last_commit,
            rows: h.rows,
            bytes: h.bytes,
            dropped: h.dropped,
        }
    }
}

#[derive(Serialize)]
struct MeterFile {
    name: String,
    health: Box<RawValue>,
    status: Box<RawValue>,
    config: serde_json::Value,
    entities: Vec<EntityReport>,
    readers: Overview,
}

#[derive(Serialize)]
struct OptionLine {
    value: serde_json::Value,
    layer: &'static str,
}

#[derive(Serialize)]
struct File {
    version: &'static str,
    ts: f64,
    app: bool,
    home_assistant: Option<String>,
    time_zone: Option<String>,
    /// Effective values; secrets are `***`, in URLs too.
    options: std::collections::BTreeMap<String, OptionLine>,
    problems: Vec<Reason>,
    listeners: Vec<Line>,
    store: StoreFigures,
    meters: Vec<MeterFile>,
}

fn option_lines(options: &Options) -> std::collections::BTreeMap<String, OptionLine> {
    let line = |(key, value): (&String, &serde_json::Value)| {
        let layer = options
            .layers
            .get(key)
            .map_or("default", |layer| layer.words());
        (
            key.clone(),
            OptionLine {
                value: masked(value),
                layer,
            },
        )
    };
    options.values.iter().map(line).collect()
}

/// `diagnostics`: everything that helps to find a fault, without secrets, as a file.
pub(super) async fn diagnostics(State(context): State<Context>, _asking: Asking) -> Response<Body> {
    let raw =
        |text: String| RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
    let options = context.owner.options();
    let mut meters = Vec::new();
    for (i, endpoint) in context.meters.iter().enumerate() {
        meters.push(MeterFile {
            name: endpoint.meter.clone(),
            health: raw(healthz::report(endpoint, &context.board, context.vitals.as_ref()).1),
            status: original::ask(endpoint, "Shelly.GetStatus", "{}"),
            // The outbound server that a reader set may hold a password too.
            config: masked(
                &serde_json::from_str(original::ask(endpoint, "Shelly.GetConfig", "{}").get())
                    .unwrap_or_default(),
            ),
            entities: context.owner.entities(i).await,
            readers: endpoint.overview(),
        });
    }
    let facts = context.facts.borrow().clone();
    let file = File {
        version: env!("CARGO_PKG_VERSION"),
        ts: context.now().unix,
        app: options.app,
        home_assistant: facts.version.map(|v| v.to_string()),
        time_zone: facts.time_zone.map(|z| z.to_string()),
        options: option_lines(&options),
        problems: context
            .vitals
            .problems()
            .into_iter()
            .chain(options.problems.iter().cloned())
            .collect(),
        listeners: context.board.lines(),
        store: context.store.health().into(),
        meters,
    };
    let text = serde_json::to_string_pretty(&file).unwrap_or_else(|_| "{}".to_owned());
    let mut response = json(StatusCode::OK, text);
    let name = HeaderValue::from_static("attachment; filename=\"virtual-shelly-diagnostics.json\"");
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, name);
    response
}
