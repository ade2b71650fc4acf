//! Who reads: a row each with the last calls, traffic a channel and a method; a checklist where
//! nobody reads.

use askama::Template;
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};
use serde::Serialize;

use super::{
    battery::Battery,
    context::{Context, to_json},
    data::{failure, parameter},
    listeners::{self, groups},
    locale::Locale,
    page::{Asking, Page, html, json},
    words,
};
use consumers::{
    Channel, ConsumerView, Overview,
    overview::{CallsView, RecentView, Role},
};
use transport::{Endpoint, ListenerState};
use vocab::Now;

/// Readers in rows of their own: with the last values of more, a page would take longer than the
/// time until its next.
const ROWS: usize = 50;
/// Below this, s, calls came in a burst.
const BURST: f64 = 0.05;

/// One reader, in words.
pub(super) struct Reader {
    /// For the element's id: address and channel.
    pub id: String,
    pub ip: String,
    pub channel: &'static str,
    pub name: String,
    pub guess: bool,
    pub way: String,
    pub cadence: String,
    pub value: String,
    pub age: String,
    /// `live`, `held` (unknown calls, errors), `absent` (silent).
    pub state: &'static str,
    pub word: String,
    pub share: Option<String>,
    pub details: Vec<(String, String)>,
}

fn channel_name(l: &'static Locale, channel: Channel) -> &'static str {
    match channel {
        Channel::Http => "HTTP",
        Channel::Websocket => "WebSocket",
        Channel::Udp => "UDP",
        Channel::Modbus => "Modbus TCP",
        Channel::Outbound => l.t("group_outbound"),
    }
}

const fn channel_key(channel: Channel) -> &'static str {
    match channel {
        Channel::Http => "http",
        Channel::Websocket => "websocket",
        Channel::Udp => "udp",
        Channel::Modbus => "modbus",
        Channel::Outbound => "outbound",
    }
}

/// How often it asks, in words, or that it is told.
fn rhythm(l: &Locale, cadence: Option<f64>, notified: bool, silent: bool) -> String {
    if notified && (silent || cadence.is_none_or(|s| !(BURST..=5.0).contains(&s))) {
        return l.t("pushed").to_owned();
    }
    match cadence {
        Some(s) if s < BURST => l.with("every", &[("time", &format!("< {}", words::span(l, 0.1)))]),
        Some(s) => l.with("every", &[("time", &words::span(l, s))]),
        None => l.t("once").to_owned(),
    }
}

/// A brand's name; where it is a description, in the language.
fn brand_name<'a>(l: &'a Locale, name: &'a str) -> &'a str {
    let slug: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    l.find(&format!("brand_{slug}")).unwrap_or(name)
}

fn reader(
    l: &'static Locale,
    c: &ConsumerView,
    battery: Option<&Battery>,
    now: f64,
    zone: &jiff::tz::TimeZone,
) -> Reader {
    let cadence = rhythm(l, c.cadence, c.notified > 0, c.silent_since.is_some());
    let (state, word) = if c.silent_since.is_some() && c.connected == 0 {
        ("absent", l.t("reader_silent").to_owned())
    } else if c.frozen {
        ("held", l.t("reader_frozen").to_owned())
    } else if c.unknown > 0 {
        ("held", l.t("reader_unknown").to_owned())
    } else if c.last_error.is_some() && c.last_answer.is_none() {
        ("held", l.t("reader_errors").to_owned())
    } else {
        battery.map_or_else(
            || ("live", l.t("reader_ok").to_owned()),
            |battery| battery.word(l),
        )
    };
    let mut details = vec![
        (l.t("calls").to_owned(), words::number(l, c.calls as f64, 0)),
        (
            l.t("notifications").to_owned(),
            words::number(l, c.notified as f64, 0),
        ),
        (
            l.t("errors").to_owned(),
            c.last_error.map_or_else(
                || c.errors.to_string(),
                |code| format!("{} ({code})", c.errors),
            ),
        ),
        (l.t("unknown_calls").to_owned(), c.unknown.to_string()),
        (
            l.t("first_seen").to_owned(),
            words::moment(l, c.first_seen, now, zone),
        ),
        (
            l.t("last_seen").to_owned(),
            words::moment(l, c.last_seen, now, zone),
        ),
        (l.t("our_port").to_owned(), c.local_port.to_string()),
    ];
    if let Some(battery) = battery {
        details.splice(0..0, battery.details(l, c.cadence));
    }
    if c.frozen {
        details.insert(
            0,
            (
                l.t("reader_frozen").to_owned(),
                l.t("reader_frozen_hint").to_owned(),
            ),
        );
    }
    for (key, value) in [("agent", &c.agent), ("src", &c.src)] {
        if let Some(value) = value {
            details.push((l.t(key).to_owned(), value.to_string()));
        }
    }
    let methods: Vec<String> = c
        .methods
        .iter()
        .take(12)
        .map(|m| {
            format!(
                "{} × {}{}",
                m.method,
                m.calls,
                if m.known { "" } else { " (?)" }
            )
        })
        .collect();
    if !methods.is_empty() {
        details.push((l.t("methods").to_owned(), methods.join(", ")));
    }
    if c.role == Role::Viewer {
        details.push((l.t("role").to_owned(), l.t("role_viewer").to_owned()));
    }
    let name = c.brand.map_or_else(
        || l.t("unknown_reader").to_owned(),
        |b| brand_name(l, b.name).to_owned(),
    );
    Reader {
        id: format!("r-{}-{}", c.ip, channel_key(c.channel)),
        ip: c.ip.to_string(),
        channel: channel_key(c.channel),
        guess: c.brand.is_some_and(|b| !b.certain),
        name,
        way: channel_name(l, c.channel).to_owned(),
        cadence,
        value: c
            .last_value
            .map_or_else(String::new, |w| words::signed_watts(l, w)),
        age: c.age.map_or_else(String::new, |s| {
            l.with("ago", &[("time", &words::span(l, s))])
        }),
        state,
        word,
        share: Some(battery.map_or(c.share, Battery::share))
            .filter(|share| *share < 0.999)
            .map(|share| format!("{}\u{202f}%", words::number(l, share * 100.0, 0))),
        details,
    }
}

/// The readers of a meter, last heard first.
pub(super) fn list(
    context: &Context,
    endpoint: &Endpoint,
    l: &'static Locale,
) -> (Vec<Reader>, Overview) {
    let scaling = endpoint.channels.borrow().scaling.clone();
    let now = context.now();
    let seen = endpoint.consumers.overview(&scaling, now);
    let zone = context.zone();
    let one = |c: &ConsumerView| {
        reader(
            l,
            c,
            Battery::of(endpoint, c, now).as_ref(),
            now.unix,
            &zone,
        )
    };
    (seen.consumers.iter().map(one).collect(), seen)
}

/// A card of one channel.
struct ChannelCard {
    name: &'static str,
    calls: String,
    sent: Option<String>,
    connected: Option<String>,
    unique: String,
    methods: Vec<(String, String, String)>,
}

struct RecentLine {
    time: String,
    ip: String,
    what: String,
}

struct RecentCard {
    name: &'static str,
    lines: Vec<RecentLine>,
}

/// A point of the checklist.
struct Check {
    state: &'static str,
    text: String,
}

struct PortLine {
    port: u16,
    text: String,
}

#[derive(Template)]
#[template(path = "../../../templates/readers.html")]
struct View {
    p: Page,
    readers: Vec<Reader>,
    /// Said where there is none.
    nobody: String,
    /// Readers without a row.
    more: usize,
    /// Says how many are kept, once that is about as many as may be.
    limit: Option<String>,
    checks: Vec<Check>,
    channels: Vec<ChannelCard>,
    recent: Vec<RecentCard>,
    ports: Vec<PortLine>,
    source: String,
}

/// That nobody has read, and for how long that is known: readers are not kept over a restart.
pub(super) fn nobody(l: &Locale, endpoint: &Endpoint, now: Now) -> String {
    let up = now.mono.saturating_sub(endpoint.boot.borrow().since);
    l.with(
        "nobody_since",
        &[("time", &words::span(l, up.as_secs_f64()))],
    )
}

fn channels(l: &'static Locale, seen: &Overview) -> Vec<ChannelCard> {
    let n = |n: u64| words::number(l, n as f64, 0);
    let methods = |calls: &CallsView| {
        let mut all: Vec<_> = calls.by_method.iter().collect();
        all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let line = |(name, count): (&std::sync::Arc<str>, &u64)| {
            (
                if &**name == "unknown" {
                    l.t("state_unknown").to_owned()
                } else {
                    name.to_string()
                },
                n(*count),
                n(calls.errors.get(name).copied().unwrap_or(0)),
            )
        };
        all.into_iter().take(12).map(line).collect()
    };
    let unique = |channel| {
        let mut all: Vec<_> = seen
            .consumers
            .iter()
            .filter(|c| c.channel == channel)
            .map(|c| c.ip)
            .collect();
        all.dedup();
        n(all.len() as u64)
    };
    let m = &seen.metrics;
    let card = |channel, calls, sent, connected, methods| ChannelCard {
        name: channel_name(l, channel),
        calls,
        sent,
        connected,
        unique: unique(channel),
        methods,
    };
    vec![
        card(Channel::Http, n(m.http.total), None, None, methods(&m.http)),
        card(
            Channel::Websocket,
            n(m.ws.rpc_messages),
            Some(n(m.ws.notify_total)),
            Some(n(m.ws.clients)),
            Vec::new(),
        ),
        card(
            Channel::Udp,
            n(m.udp.packets),
            Some(n(m.udp.replies)),
            None,
            Vec::new(),
        ),
        card(
            Channel::Modbus,
            n(m.modbus.total),
            None,
            None,
            methods(&m.modbus),
        ),
        card(
            Channel::Outbound,
            n(m.outbound.rpc_messages),
            Some(n(m.outbound.notify_total)),
            Some(n(m.outbound.clients)),
            Vec::new(),
        ),
    ]
}

/// What happened to a connection; that a message came goes without saying.
fn event_key(event: &str) -> Option<&'static str> {
    match event {
        "connect" => Some("event_connect"),
        "disconnect" => Some("event_disconnect"),
        _ => None,
    }
}

fn recent(l: &Locale, seen: &Overview, now: f64, zone: &jiff::tz::TimeZone) -> Vec<RecentCard> {
    let line = |r: &RecentView| RecentLine {
        time: words::moment(l, r.ts, now, zone),
        ip: r.ip.to_string(),
        what: [
            r.verb,
            r.event.and_then(|e| l.find(event_key(e)?)),
            r.method.as_deref(),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" "),
    };
    [
        ("HTTP", &seen.clients.http_recent),
        ("WebSocket", &seen.clients.ws_recent),
        ("UDP", &seen.clients.udp_recent),
    ]
    .into_iter()
    .map(|(name, all)| RecentCard {
        name,
        lines: all.iter().rev().map(line).collect(),
    })
    .collect()
}

fn checks(context: &Context, endpoint: &Endpoint, l: &Locale) -> Vec<Check> {
    let stale = endpoint.view().snapshot.stale();
    let mut all = vec![Check {
        state: if stale { "absent" } else { "live" },
        text: l
            .t(if stale {
                "check_values_bad"
            } else {
                "check_values"
            })
            .to_owned(),
    }];
    let lines = context.board.lines();
    for group in groups(
        l,
        lines
            .iter()
            .filter(|line| line.meter == endpoint.meter && line.name != "dashboard"),
    ) {
        let reason;
        let mut values = vec![("name", &*group.name), ("port", &*group.ports)];
        let (state, key) = match &group.state {
            ListenerState::Listening => (
                "live",
                if group.single() {
                    "check_listening"
                } else {
                    "check_listening_many"
                },
            ),
            ListenerState::Waiting { reason: why } => {
                reason = listeners::reason(l, why);
                values.push(("reason", &reason));
                ("absent", "check_waiting")
            }
            ListenerState::Off { by } => {
                values.push(("by", by));
                ("unused", "check_off")
            }
        };
        all.push(Check {
            state,
            text: l.with(key, &values),
        });
    }
    for key in [
        "check_same_net",
        "check_power_cycle",
        "check_app",
        "check_id",
    ] {
        all.push(Check {
            state: "unused",
            text: l.with(key, &[("id", &endpoint.device.borrow().identity.id)]),
        });
    }
    all
}

/// How many readers are kept, where so many came that some have been dropped: an eighth of them
/// goes at once.
fn limit(l: &Locale, kept: usize, most: Option<&serde_json::Value>) -> Option<String> {
    let most = usize::try_from(most?.as_u64()?).ok()?;
    (kept + (most / 8).max(1) >= most)
        .then(|| l.with("readers_limit", &[("n", &words::number(l, most as f64, 0))]))
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let p = Page::new(&context, &asking, "readers");
    let l = asking.l;
    let endpoint = context.meter(p.m);
    let (mut readers, seen) = list(&context, endpoint, l);
    let limit = limit(
        l,
        readers.len(),
        context.owner.options().values.get("recent_clients_max"),
    );
    let more = readers.len().saturating_sub(ROWS);
    readers.truncate(ROWS);
    let (now, zone) = (context.now(), context.zone());
    let checks = if readers.is_empty() {
        checks(&context, endpoint, l)
    } else {
        Vec::new()
    };
    let ports = seen
        .udp_ports
        .iter()
        .map(|port| {
            let last = port
                .last
                .map_or_else(String::new, |t| words::moment(l, t, now.unix, &zone));
            let from = port.last_from.map_or_else(String::new, |ip| ip.to_string());
            let dropped: u64 = port.dropped.values().sum();
            let mut text = l.with(
                "udp_port",
                &[
                    ("packets", &words::number(l, port.packets as f64, 0)),
                    ("time", &last),
                    ("ip", &from),
                ],
            );
            if dropped > 0 {
                let why: Vec<String> = port
                    .dropped
                    .iter()
                    .map(|(why, n)| {
                        format!("{}: {n}", l.find(&format!("drop_{why}")).unwrap_or(why))
                    })
                    .collect();
                text = format!(
                    "{text} · {}",
                    l.with(
                        "udp_dropped",
                        &[("n", &dropped.to_string()), ("why", &why.join(", "))]
                    )
                );
            }
            PortLine {
                port: port.port,
                text,
            }
        })
        .collect();
    let age = endpoint.view().snapshot.report().map_or_else(
        || l.t("source_silent").to_owned(),
        |report| {
            l.with(
                "source_age",
                &[("time", &words::span(l, report.age(now.mono).as_secs_f64()))],
            )
        },
    );
    html(&View {
        readers,
        nobody: nobody(l, endpoint, now),
        more,
        limit,
        checks,
        channels: channels(l, &seen),
        recent: recent(l, &seen, now.unix, &zone),
        ports,
        source: age,
        p,
    })
}

/// `readers.json`.
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let endpoint = context.meter(asking.m);
    let scaling = endpoint.channels.borrow().scaling.clone();
    json(
        StatusCode::OK,
        to_json(&endpoint.consumers.overview(&scaling, context.now())),
    )
}

#[derive(Serialize)]
struct Exchange {
    time: String,
    method: String,
    error: Option<i32>,
    request: String,
    reply: String,
}

/// `exchanges.json?ip=…&channel=…`: the last 20 calls of one reader, newest first.
pub(super) async fn exchanges(
    State(context): State<Context>,
    asking: Asking,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let ip = parameter(query.as_deref(), "ip").and_then(|ip| ip.parse().ok());
    let channel = parameter(query.as_deref(), "channel")
        .and_then(|key| Channel::ALL.into_iter().find(|c| channel_key(*c) == key));
    let (Some(ip), Some(channel)) = (ip, channel) else {
        return failure(
            StatusCode::BAD_REQUEST,
            "ip is an address; channel one of http, websocket, udp, modbus, outbound".into(),
        );
    };
    let (now, zone) = (context.now(), context.zone());
    let line = |e: consumers::ExchangeView| Exchange {
        time: words::moment(asking.l, e.ts_ms as f64 / 1000.0, now.unix, &zone),
        method: e.method.to_string(),
        error: e.error,
        request: e.request,
        reply: e.reply,
    };
    let all: Vec<Exchange> = context
        .meter(asking.m)
        .consumers
        .exchanges(ip, channel)
        .into_iter()
        .rev()
        .map(line)
        .collect();
    json(StatusCode::OK, to_json(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_listens_is_told() {
        let said = |cadence, notified, silent| {
            rhythm(&Locale::all()[0], cadence, notified, silent).replace('\u{202f}', " ")
        };
        assert_eq!(said(Some(1.0), false, false), "every 1.0 s");
        assert_eq!(
            said(Some(1.0), true, false),
            "every 1.0 s",
            "it asks and is told"
        );
        assert_eq!(
            said(Some(0.1), true, true),
            "pushed",
            "asked at the beginning, listens since"
        );
        assert_eq!(said(Some(0.001), true, false), "pushed");
        assert_eq!(said(Some(0.001), false, false), "every < 0.1 s");
        assert_eq!(
            (said(None, true, false), said(None, false, false)),
            ("pushed".into(), "once".into())
        );
    }

    #[test]
    fn the_limit_of_readers_is_named_where_it_is_reached() {
        let said = |kept| limit(&Locale::all()[0], kept, Some(&serde_json::json!(100)));
        assert_eq!((said(0), said(87)), (None, None));
        let text = said(88).unwrap_or_default();
        assert!(
            text.contains("100") && text.contains("recent_clients_max"),
            "an eighth less than the most is what dropping leaves: {text}"
        );
    }

    #[test]
    fn what_describes_a_reader_is_in_the_language() {
        let l = &Locale::all()[1];
        assert_eq!(
            brand_name(l, "Marstek or compatible"),
            "Marstek oder ähnlich"
        );
        assert_eq!(brand_name(l, "Web browser"), "Webbrowser");
        assert_eq!(brand_name(l, "evcc"), "evcc");
        assert_eq!(channel_name(l, Channel::Outbound), "Ausgehender WebSocket");
    }
}
