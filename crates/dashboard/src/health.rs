//! Health: source and entities, listeners, mDNS, store, problems; a diagnostics file without
//! secrets.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    answer::json_text,
    asking::Asking,
    context::Context,
    incidents::{self, Incident},
    listeners::{self, Group, Place, groups, name},
    locale::Locale,
    notices,
    original::{ask, raw},
    owner::Options,
    page::{Page, html},
    setup, words,
};
use config::{masked, masked_texts};
use consumers::Overview;
use meter::EntityReport;
use probe::Consumer;
use source::Transport;
use store::StoreState;
use transport::{
    ListenerState,
    board::Line,
    healthz::{self, link_word},
    mdns::self_query,
};
use vocab::{Link, reason::Reason};

/// A row with a state, a name and words.
struct Row {
    state: &'static str,
    name: String,
    text: String,
    note: String,
}

impl Row {
    fn new(
        state: &'static str,
        name: impl Into<String>,
        text: impl Into<String>,
        note: impl Into<String>,
    ) -> Self {
        Self {
            state,
            name: name.into(),
            text: text.into(),
            note: note.into(),
        }
    }
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

fn entity(l: &Locale, e: &EntityReport) -> Row {
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
        (None, Some(age)) => ("live", words::timed(l, "ago", age)),
    };
    let value = match (&e.text, &e.unit) {
        (Some(text), unit) => match (words::as_written(l, text), unit) {
            (Some(number), Some(unit)) => format!("{number}\u{202f}{unit}"),
            (Some(number), None) => number,
            (None, _) => setup::state_words(l, text).to_owned(),
        },
        (None, _) => "–".to_owned(),
    };
    let note = format!("{} · {note}", setup::feed_words(l, &e.feeds));
    Row::new(state, &*e.entity, value, note)
}

fn source(context: &Context, m: usize, l: &Locale) -> Vec<Row> {
    let snapshot = context.meter(m).view().snapshot.clone();
    let now = context.now();
    let (link, reason) = link_word(&snapshot.source.link);
    let link = match snapshot.source.link {
        // What never was cannot be lost.
        Link::Down {
            last_alive: None, ..
        } => "never",
        _ => link,
    };
    let state = match link {
        "up" => "live",
        "connecting" | "starting" => "held",
        _ => "absent",
    };
    let age = snapshot.source.last_alive.map(|at| {
        let age = now.mono.saturating_sub(at).as_secs_f64();
        words::timed(l, "last_sign", age)
    });
    let note = reason.map(|why| l.say(why)).or(age).unwrap_or_default();
    let word = l.t(&format!("link_{link}")).to_owned();
    let mut rows = vec![Row::new(state, l.t("connection"), word, note)];
    let facts = context.facts.borrow().clone();
    if let Some(version) = &facts.version {
        let way = match facts.transport {
            Some(Transport::Websocket) => l.t("by_websocket"),
            Some(Transport::Rest) => l.t("by_rest"),
            None => "",
        };
        let zone = facts.time_zone.as_deref().unwrap_or("–");
        let note = format!("{way} · {zone}");
        rows.push(Row::new("live", "Home Assistant", &**version, note));
    }
    if !facts.refused.is_empty() {
        let (name, why) = (l.t("own_entities"), l.t("own_entities_why"));
        rows.push(Row::new("absent", name, facts.refused.join(", "), why));
    }
    rows
}

fn listener(l: &Locale, group: Group, place: &Place) -> Row {
    let at = if group.ports.is_empty() {
        group.address.clone()
    } else {
        let key = if group.single() {
            "port_on"
        } else {
            "ports_on"
        };
        let values = [("port", &*group.ports), ("address", &group.address)];
        l.with(key, &values)
    };
    match &group.state {
        ListenerState::Listening => Row::new("live", group.name, l.t("listening"), at),
        ListenerState::Waiting { reason } => {
            let note = listeners::note(l, &group, &at, reason, place);
            Row::new("absent", group.name, l.t("waits"), note)
        }
        ListenerState::Off { by } => {
            Row::new("unused", group.name, l.with("off_by", &[("by", by)]), at)
        }
    }
}

fn store(context: &Context, l: &'static Locale) -> Vec<Row> {
    let health = context.store.health();
    let path = || {
        let path = health.path.as_ref();
        path.map_or_else(String::new, |p| p.display().to_string())
    };
    let (state, key, note) = match &health.state {
        StoreState::Ok => ("live", "store_ok", path()),
        StoreState::Frozen => ("held", "store_frozen", path()),
        StoreState::InMemory { reason } => ("absent", "store_memory", l.begin(reason)),
        StoreState::Failing { reason, .. } => ("absent", "store_failing", l.begin(reason)),
    };
    let last = health.last_commit.map(|at| context.times(l).moment(at));
    // Counted now and then only: none yet is not a figure.
    let counted = || l.with("store_rows", &[("n", &words::count(l, health.rows))]);
    let rows = Some(counted()).filter(|_| health.rows > 0);
    let size = words::bytes(l, health.bytes).to_string();
    let mut rows = vec![
        Row::new(state, l.t("store"), l.t(key), note),
        Row::new("unused", l.t("store_size"), size, rows.unwrap_or_default()),
        Row::new(
            "unused",
            l.t("store_last"),
            last.unwrap_or_else(|| "–".to_owned()),
            "",
        ),
    ];
    if health.dropped > 0 {
        let dropped = health.dropped.to_string();
        rows.push(Row::new("absent", l.t("store_dropped"), dropped, ""));
    }
    rows
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response {
    let mut p = Page::new(&context, &asking, "health");
    let l = asking.l;
    let incidents = incidents::list(&context, p.m, l).await;
    let incidents = p.noting(incidents).unwrap_or_default();
    let entities = context.owner.entities(p.m).await;
    let own = &context.meter(p.m).meter;
    let place = Place::of(&context, own);
    let lines = context.board.lines();
    let shared = |x: &Line| x.meter.is_empty() && matches!(x.name, "dashboard" | self_query::NAME);
    let shown = lines.iter().filter(|x| x.meter == *own || shared(x));
    let mut listeners: Vec<Row> = groups(l, shown)
        .into_iter()
        .map(|group| listener(l, group, &place))
        .collect();
    if !lines.iter().any(|x| x.name == "mdns" && x.meter == *own) {
        listeners.push(Row::new("unused", name(l, "mdns"), l.t("off"), ""));
    }
    html(&View {
        source: source(&context, p.m, l),
        entities: entities.iter().map(|e| entity(l, e)).collect(),
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
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Response {
    let vitals = context.vitals.as_ref();
    let (_, body) = healthz::report(context.meter(asking.m), &context.board, vitals);
    json_text(body)
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
    options: BTreeMap<String, OptionLine>,
    problems: Vec<Reason>,
    listeners: Vec<Line>,
    store: StoreFigures,
    meters: Vec<MeterFile>,
}

fn option_lines(options: &Options) -> BTreeMap<String, OptionLine> {
    let line = |(key, value): (&String, &serde_json::Value)| {
        let (value, layer) = (masked(value), options.layer(key).words());
        (key.clone(), OptionLine { value, layer })
    };
    options.values.iter().map(line).collect()
}

/// `diagnostics`: everything that helps to find a fault, without secrets, as a file.
pub(super) async fn diagnostics(State(context): State<Context>, _asking: Asking) -> Response {
    let options = context.owner.options();
    let vitals = context.vitals.as_ref();
    let mut meters = Vec::new();
    for (i, endpoint) in context.meters.iter().enumerate() {
        let config = ask(endpoint, "Shelly.GetConfig", "{}");
        meters.push(MeterFile {
            name: endpoint.meter.clone(),
            health: raw(healthz::report(endpoint, &context.board, vitals).1),
            status: ask(endpoint, "Shelly.GetStatus", "{}"),
            // The outbound server that a reader set may hold a password too.
            config: masked_texts(&serde_json::from_str(config.get()).unwrap_or_default()),
            entities: context.owner.entities(i).await,
            readers: endpoint.overview(),
        });
    }
    let facts = context.facts.borrow().clone();
    let store = context.store.health();
    let mut problems = vitals.problems();
    problems.extend(options.problems.iter().cloned());
    let file = File {
        version: env!("CARGO_PKG_VERSION"),
        ts: context.now().unix,
        app: options.app,
        home_assistant: facts.version.map(|v| v.to_string()),
        time_zone: facts.time_zone.map(|z| z.to_string()),
        options: option_lines(&options),
        problems,
        listeners: context.board.lines(),
        store: StoreFigures {
            path: store.path.map(|p| p.display().to_string()),
            state: format!("{:?}", store.state),
            last_commit: store.last_commit,
            rows: store.rows,
            bytes: store.bytes,
            dropped: store.dropped,
        },
        meters,
    };
    let text = serde_json::to_string_pretty(&file).unwrap_or_else(|_| "{}".to_owned());
    let name = "attachment; filename=\"virtual-shelly-diagnostics.json\"";
    ([(header::CONTENT_DISPOSITION, name)], json_text(text)).into_response()
}
