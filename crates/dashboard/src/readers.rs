//! Who reads: a row each with the last calls, traffic a channel and a method; a checklist where
//! nobody reads.

use askama::Template;
use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::{Value, json};

use super::{
    answer::{Answer, as_json, failure},
    asking::Asking,
    connect::{self, Reads},
    context::Context,
    listeners::groups,
    locale::Locale,
    names::{brand_name, channel_name},
    page::{Page, html},
    reader::{self, Reader},
    words::{self, Times},
};
use consumers::{
    Channel, ExchangeView, Overview,
    overview::{CallsView, PortView, RecentView, SocketsView},
};
use diary::Known;
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
    /// Name, calls and errors.
    methods: Vec<(String, String, String)>,
}

/// The last calls on a channel: its name; time, address and what was done.
type RecentCard = (&'static str, Vec<(String, String, String)>);

/// A reader of before that was not heard since the start.
struct Gone {
    name: String,
    way: &'static str,
    last: String,
    known: Known,
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
    /// Points of the checklist: state and text.
    checks: Vec<(&'static str, String)>,
    channels: Vec<ChannelCard>,
    recent: Vec<RecentCard>,
    /// Ports, and what came there.
    ports: Vec<(u16, String)>,
    source: String,
    reads: Reads,
}

/// That nobody has read, and for how long that is known: readers are not kept over a restart.
pub(super) fn nobody(l: &Locale, endpoint: &Endpoint, now: Now) -> String {
    let up = now.mono.saturating_sub(endpoint.ground().boot.since);
    words::timed(l, "nobody_since", up.as_secs_f64())
}

/// Readers that matter to somebody and were not heard since the start.
fn gone(context: &Context, endpoint: &Endpoint, l: &'static Locale, heard: &[Reader]) -> Vec<Gone> {
    let times = context.times(l);
    let watched = context.watched.borrow().clone();
    let matters = |known: &&Known| {
        known.meter == endpoint.meter
            && (known.must_read() || !known.name.is_empty())
            && !heard
                .iter()
                .any(|r| r.ip == known.address && r.channel == known.channel)
    };
    let one = |known: &Known| {
        Some(Gone {
            name: brand_name(l, known.title()).to_owned(),
            way: channel_name(l, channel(&known.channel)?),
            last: times.moment(known.last),
            known: known.clone(),
        })
    };
    let matter = watched.readers.iter().filter(matters);
    matter.filter_map(one).collect()
}

fn channel(name: &str) -> Option<Channel> {
    Channel::ALL.into_iter().find(|c| c.name() == name)
}

fn channels(l: &'static Locale, seen: &Overview) -> Vec<ChannelCard> {
    let n = |n: u64| words::count(l, n);
    let methods = |calls: &CallsView| {
        let mut all: Vec<_> = calls.by_method.iter().collect();
        all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let line = |(name, count): (&std::sync::Arc<str>, &u64)| {
            let errors = calls.errors.get(name).copied().unwrap_or(0);
            let name = match &**name {
                "unknown" => l.t("state_unknown"),
                name => name,
            };
            (name.to_owned(), n(*count), n(errors))
        };
        all.into_iter().take(12).map(line).collect()
    };
    let m = &seen.metrics;
    let card = |channel, calls, sent: Option<u64>, connected: Option<u64>, methods| {
        let here = seen.consumers.iter().filter(|c| c.channel == channel);
        let mut unique: Vec<_> = here.map(|c| c.ip).collect();
        unique.dedup();
        ChannelCard {
            name: channel_name(l, channel),
            calls: n(calls),
            sent: sent.map(n),
            connected: connected.map(n),
            unique: n(unique.len() as u64),
            methods,
        }
    };
    let socket = |channel, of: &SocketsView| {
        let (sent, clients) = (Some(of.notify_total), Some(of.clients));
        card(channel, of.rpc_messages, sent, clients, Vec::new())
    };
    let udp = &m.udp;
    vec![
        card(Channel::Http, m.http.total, None, None, methods(&m.http)),
        socket(Channel::Websocket, &m.ws),
        card(
            Channel::Udp,
            udp.packets,
            Some(udp.replies),
            None,
            Vec::new(),
        ),
        card(
            Channel::Modbus,
            m.modbus.total,
            None,
            None,
            methods(&m.modbus),
        ),
        socket(Channel::Outbound, &m.outbound),
    ]
}

fn recent(times: &Times, seen: &Overview) -> Vec<RecentCard> {
    let line = |r: &RecentView| {
        // That a message came goes without saying.
        let event = match r.event {
            Some("connect") => times.l.find("event_connect"),
            Some("disconnect") => times.l.find("event_disconnect"),
            _ => None,
        };
        let what = [r.verb, event, r.method.as_deref()].into_iter().flatten();
        let what = what.collect::<Vec<_>>().join(" ");
        (times.moment(r.ts), r.ip.to_string(), what)
    };
    let all = [
        ("HTTP", &seen.clients.http_recent),
        ("WebSocket", &seen.clients.ws_recent),
        ("UDP", &seen.clients.udp_recent),
    ];
    all.map(|(name, all)| (name, all.iter().rev().map(line).collect()))
        .into()
}

fn checks(context: &Context, endpoint: &Endpoint, l: &Locale) -> Vec<(&'static str, String)> {
    let (state, key) = if endpoint.view().snapshot.stale() {
        ("absent", "check_values_bad")
    } else {
        ("live", "check_values")
    };
    let mut all = vec![(state, l.t(key).to_owned())];
    let lines = context.board.lines();
    let own = lines
        .iter()
        .filter(|line| line.meter == endpoint.meter && line.name != "dashboard");
    for group in groups(l, own) {
        let reason;
        let mut values = vec![("name", &*group.name), ("port", &*group.ports)];
        let (state, key) = match &group.state {
            ListenerState::Listening if group.single() => ("live", "check_listening"),
            ListenerState::Listening => ("live", "check_listening_many"),
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
        all.push((state, l.with(key, &values)));
    }
    let id = endpoint.ground().device.identity.id.to_string();
    let general = [
        "check_same_net",
        "check_power_cycle",
        "check_app",
        "check_id",
    ];
    all.extend(general.map(|key| ("unused", l.with(key, &[("id", &id)]))));
    all
}

/// How many readers are kept, where so many came that some have been dropped: an eighth of them
/// goes at once.
fn limit(l: &Locale, kept: usize, most: Option<&Value>) -> Option<String> {
    let most = most?.as_u64()?;
    (kept as u64 + (most / 8).max(1) >= most)
        .then(|| l.with("readers_limit", &[("n", &words::count(l, most))]))
}

/// What came on a UDP port, and what of it nobody could read.
fn port(times: &Times, port: &PortView) -> (u16, String) {
    let l = times.l;
    let last = port.last.map(|at| times.moment(at)).unwrap_or_default();
    let from = port.last_from.map(|ip| ip.to_string()).unwrap_or_default();
    let packets = words::count(l, port.packets);
    let values = [("packets", &*packets), ("time", &last), ("ip", &from)];
    let mut text = l.with("udp_port", &values);
    let dropped: u64 = port.dropped.values().sum();
    if dropped > 0 {
        let word = |why| l.find(&format!("drop_{why}")).unwrap_or(why);
        let each = port.dropped.iter();
        let why: Vec<String> = each.map(|(why, n)| format!("{}: {n}", word(why))).collect();
        let values = [("n", &*dropped.to_string()), ("why", &why.join(", "))];
        text = format!("{text} · {}", l.with("udp_dropped", &values));
    }
    (port.port, text)
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response {
    let p = Page::new(&context, &asking, "readers");
    let l = asking.l;
    let endpoint = context.meter(p.m);
    let (readers, seen) = reader::rows(&context, endpoint, l, ROWS);
    let kept = seen.consumers.len();
    let options = context.owner.options();
    let (now, times) = (context.now(), context.times(l));
    let report = endpoint.view().snapshot.report();
    html(&View {
        gone: gone(&context, endpoint, l, &readers),
        nobody: nobody(l, endpoint, now),
        more: kept.saturating_sub(ROWS),
        limit: limit(l, kept, options.values.get("recent_clients_max")),
        checks: if readers.is_empty() {
            checks(&context, endpoint, l)
        } else {
            Vec::new()
        },
        readers,
        channels: channels(l, &seen),
        recent: recent(&times, &seen),
        ports: seen.udp_ports.iter().map(|of| port(&times, of)).collect(),
        source: report.map_or_else(
            || l.t("source_silent").to_owned(),
            |report| words::timed(l, "source_age", report.age(now.mono).as_secs_f64()),
        ),
        reads: connect::reads(&context, endpoint, l),
        p,
    })
}

/// `readers.json`.
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Response {
    as_json(&context.meter(asking.m).overview())
}

/// `exchanges.json?ip=…&channel=…`: the last 20 calls of one reader, newest first.
pub(super) async fn exchanges(State(context): State<Context>, asking: Asking) -> Answer {
    let ip = asking.parameter("ip").and_then(|ip| ip.parse().ok());
    let of = asking.parameter("channel").and_then(|key| channel(&key));
    let (ip, channel) = ip.zip(of).ok_or_else(|| {
        let why = "ip is an address; channel one of http, websocket, udp, modbus, outbound";
        failure(StatusCode::BAD_REQUEST, why)
    })?;
    let times = context.times(asking.l);
    let line = |e: ExchangeView| {
        json!({
            "time": times.moment(e.ts_ms as f64 / 1000.0),
            "method": &*e.method,
            "error": e.error,
            "request": e.request,
            "reply": e.reply,
        })
    };
    let all = context.meter(asking.m).consumers.exchanges(ip, channel);
    let all: Vec<Value> = all.into_iter().rev().map(line).collect();
    Ok(as_json(&all))
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
