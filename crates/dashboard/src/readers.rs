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
    answer::{as_json, failure},
    asking::{Asking, parameter},
    connect::{self, Reads},
    context::Context,
    gone::{self, Gone},
    listeners::groups,
    locale::Locale,
    names::channel_name,
    page::{Page, html},
    reader::{self, Reader},
    words,
};
use consumers::{
    Channel, Overview,
    overview::{CallsView, RecentView},
};
use transport::{Endpoint, ListenerState};
use vocab::Now;

/// Readers in rows of their own: with the last values of more, a page would take longer than the
/// time until its next.
const ROWS: usize = 50;

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
    gone: Vec<Gone>,
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
    reads: Reads,
}

/// That nobody has read, and for how long that is known: readers are not kept over a restart.
pub(super) fn nobody(l: &Locale, endpoint: &Endpoint, now: Now) -> String {
    let up = now.mono.saturating_sub(endpoint.ground().boot.since);
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
                reason = l.say(why);
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
            text: l.with(key, &[("id", &endpoint.ground().device.identity.id)]),
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
    let (readers, seen) = reader::rows(&context, endpoint, l, ROWS);
    let kept = seen.consumers.len();
    let limit = limit(
        l,
        kept,
        context.owner.options().values.get("recent_clients_max"),
    );
    let gone = gone::gone(&context, endpoint, l, &readers);
    let more = kept.saturating_sub(ROWS);
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
        gone,
        nobody: nobody(l, endpoint, now),
        more,
        limit,
        checks,
        channels: channels(l, &seen),
        recent: recent(l, &seen, now.unix, &zone),
        ports,
        source: age,
        reads: connect::reads(&context, endpoint, l),
        p,
    })
}

/// `readers.json`.
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let endpoint = context.meter(asking.m);
    as_json(&endpoint.overview())
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
        .and_then(|key| Channel::ALL.into_iter().find(|c| c.name() == key));
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
    as_json(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
