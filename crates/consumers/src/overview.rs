//! The consumers as pages and `/admin/overview` show them: the original's keys, and more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde::Serialize;

use super::{
    Channel, Reader,
    about::About,
    brand::Brand,
    consumer::{Consumer, Exchange},
    known::{Known, ProfileWhy, known},
    registry::{Consumers, Inner, Recent, Tally},
    sharing::{CallerSigns, is_viewer, named_share},
    verdict::{PhaseAOnly, Signs, Verdict, verdicts},
};
use config::ReaderProfiles;
use profiles::Acts;
use vocab::Now;

/// Calls and errors of one method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodView {
    /// As asked.
    pub method: Arc<str>,
    /// Whether there is such a method.
    pub known: bool,
    /// How often.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
}

/// What somebody is to the power shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Acts on the power: takes part in sharing.
    Reader,
    /// Looks only: sees all.
    Viewer,
}

/// The profile of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProfileView {
    /// What an option calls it.
    pub key: &'static str,
    /// The product's name.
    pub name: &'static str,
    /// What it does with power.
    pub acts: Acts,
    /// Why it is taken for that.
    pub why: ProfileWhy,
}

/// One consumer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConsumerView {
    /// Address.
    pub ip: IpAddr,
    /// The port it last came from.
    pub port: u16,
    /// The way in.
    pub channel: Channel,
    /// The port of ours.
    pub local_port: u16,
    /// `User-Agent`.
    pub agent: Option<Arc<str>>,
    /// `src` of its frames.
    pub src: Option<Arc<str>>,
    /// Guess of the product.
    pub brand: Option<Brand>,
    /// Its profile.
    pub profile: Option<ProfileView>,
    /// What there is to say, the gravest first.
    pub verdicts: Vec<Verdict>,
    /// Reader or viewer.
    pub role: Role,
    /// Part of the power that it sees, 1.0 for all.
    pub share: f64,
    /// Calls.
    pub calls: u64,
    /// By method, most frequent first.
    pub methods: Vec<MethodView>,
    /// Calls of methods that there are not.
    pub unknown: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Code of the last failure.
    pub last_error: Option<i32>,
    /// Median of the newest intervals between its rounds of questions, s; none before the third,
    /// nor of who is only told.
    pub cadence: Option<f64>,
    /// Unix s of the last good answer or notification.
    pub last_answer: Option<f64>,
    /// Seconds since then.
    pub age: Option<f64>,
    /// Power that it was told last, W.
    pub last_value: Option<f64>,
    /// Seconds since then: more than [`Self::age`] where it is told of no power now.
    pub value_age: Option<f64>,
    /// Unix s.
    pub first_seen: f64,
    /// Unix s.
    pub last_seen: f64,
    /// Open connections.
    pub connected: u32,
    /// Notifications sent.
    pub notified: u64,
    /// A Victron GX that was met again after a gap: its driver shows the figures from before it
    /// until it is restarted.
    pub frozen: bool,
    /// Unix s of its last word, once it is silent for three of its intervals and 10 s.
    pub silent_since: Option<f64>,
}

impl ConsumerView {
    /// The product: the owner's word, else what it looks like.
    #[must_use]
    pub fn product(&self) -> Option<&'static str> {
        let named = self.profile.filter(|view| view.why.is_owners_word());
        let name = named.map(|view| view.name);
        name.or_else(|| self.brand.map(|brand| brand.name))
    }
}

/// A request and its answer, at most 2 KiB each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExchangeView {
    /// Unix ms.
    pub ts_ms: i64,
    /// Method as asked.
    pub method: Arc<str>,
    /// Error code.
    pub error: Option<i32>,
    /// As it came.
    pub request: String,
    /// As it went; empty: no answer.
    pub reply: String,
}

/// A line of the newest requests, oldest first, as the original.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecentView {
    /// Unix s.
    pub ts: f64,
    /// Address.
    pub ip: IpAddr,
    /// Method, if it was a call.
    pub method: Option<Arc<str>>,
    /// `GET` or `POST`, over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<&'static str>,
    /// `connect`, `message`, `disconnect`, elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
}

/// `metrics.http`, and the like of Modbus.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallsView {
    /// Calls.
    pub total: u64,
    /// By method; methods that there are not as `unknown`.
    pub by_method: BTreeMap<Arc<str>, u64>,
    /// Failed ones by method.
    pub errors: BTreeMap<Arc<str>, u64>,
}

/// `metrics.ws`, and the like of outbound.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SocketsView {
    /// Calls.
    pub rpc_messages: u64,
    /// Notifications.
    pub notify_total: u64,
    /// Open now.
    pub clients: u64,
}

/// `metrics.udp`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DatagramsView {
    /// Received.
    pub packets: u64,
    /// Answered.
    pub replies: u64,
    /// Not answered, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// Sums since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetricsView {
    /// HTTP.
    pub http: CallsView,
    /// WebSockets.
    pub ws: SocketsView,
    /// UDP.
    pub udp: DatagramsView,
    /// Modbus.
    pub modbus: CallsView,
    /// WebSockets that we dialled.
    pub outbound: SocketsView,
}

/// `clients` of the original.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientsView {
    /// Newest 20.
    pub http_recent: Vec<RecentView>,
    /// Newest 20.
    pub ws_recent: Vec<RecentView>,
    /// Newest 20.
    pub udp_recent: Vec<RecentView>,
    /// Addresses with an open WebSocket, one line a socket.
    pub ws_connected: Vec<IpAddr>,
    /// Addresses within 24 h.
    pub http_unique: BTreeSet<IpAddr>,
    /// Addresses within 24 h.
    pub ws_unique: BTreeSet<IpAddr>,
    /// Addresses within 24 h.
    pub udp_unique: BTreeSet<IpAddr>,
}

/// What came to one UDP port, answered or not: "is my battery asking at all?"
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PortView {
    /// Our port.
    pub port: u16,
    /// Datagrams.
    pub packets: u64,
    /// Not answered, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Unix s of the last one.
    pub last: Option<f64>,
    /// Whose it was.
    pub last_from: Option<IpAddr>,
    /// Why it was not answered.
    pub last_dropped: Option<&'static str>,
}

/// Everything about who reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// Unix s.
    pub ts: f64,
    /// Last heard first.
    pub consumers: Vec<ConsumerView>,
    /// Sums.
    pub metrics: MetricsView,
    /// The original's lists.
    pub clients: ClientsView,
    /// UDP ports.
    pub udp_ports: Vec<PortView>,
    /// Addresses among which the power is divided now, where they are counted.
    pub counted: usize,
}

impl Consumers {
    /// Everybody who reads, and the sums; with the roles and shares that `about` gives them.
    #[must_use]
    pub fn overview<'a>(&self, about: impl Into<About<'a>>, now: Now) -> Overview {
        let mut inner = self.inner();
        inner.forget(now);
        overview(&inner, &about.into(), now)
    }

    /// The newest requests of one consumer with their answers, oldest first.
    #[must_use]
    pub fn exchanges(&self, peer: IpAddr, channel: Channel) -> Vec<ExchangeView> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let view = |e: &Exchange| ExchangeView {
            ts_ms: (e.unix * 1000.0) as i64,
            method: Arc::clone(&e.method),
            error: e.error,
            request: text(&e.request),
            reply: text(&e.reply),
        };
        let inner = self.inner();
        let consumer = inner.consumers.get(&(peer.to_canonical(), channel));
        let exchanges = consumer.into_iter().flat_map(|c| &c.exchanges);
        exchanges.map(view).collect()
    }
}

fn overview(inner: &Inner, about: &About<'_>, now: Now) -> Overview {
    let all = inner.last_heard_first(usize::MAX, |_| true);
    let consumers = all
        .into_iter()
        .map(|(reader, c, brand)| view(inner, reader, c, brand, about, now))
        .collect();
    Overview {
        ts: now.unix,
        consumers,
        metrics: metrics(inner),
        clients: clients(inner),
        udp_ports: inner
            .ports
            .iter()
            .map(|(port, p)| PortView {
                port: *port,
                packets: p.packets,
                dropped: p.dropped.clone(),
                last: p.last.map(|(unix, ..)| unix),
                last_from: p.last.map(|(_, from, _)| from),
                last_dropped: p.last.and_then(|(.., why)| why),
            })
            .collect(),
        counted: inner.seen.count(about.scaling.ttl, now.mono),
    }
}

fn view(
    inner: &Inner,
    (ip, channel): Reader,
    c: &Consumer,
    brand: Option<Brand>,
    about: &About<'_>,
    now: Now,
) -> ConsumerView {
    let scaling = about.scaling;
    let none = ReaderProfiles::default();
    let of = about.profiles.map_or(&none, |of| &**of);
    let known = known(ip, channel, brand, of);
    let signs = CallerSigns {
        peer: ip,
        agent: c.agent.as_deref(),
        src: c.src.as_deref(),
        datagram: channel == Channel::Udp,
        viewer: known.looks,
    };
    let viewer = if scaling.enable && !scaling.shares.is_empty() {
        named_share(ip, scaling).is_none()
    } else {
        is_viewer(signs, scaling, &inner.home)
    };
    let share = if channel == Channel::Modbus {
        1.0
    } else {
        inner.seen.peek(signs, scaling, &inner.home, now.mono)
    };
    let mut methods: Vec<MethodView> = c.methods.iter().map(|m| m.shown.clone()).collect();
    methods.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.method.cmp(&b.method)));
    let since = |at| now.mono.saturating_sub(at).as_secs_f64();
    let cadence = c.cadence(now);
    let silent_since = c.silent_since(now).map(|at| at.unix);
    let unknown = methods.iter().filter(|m| !m.known);
    let unknown: Vec<Arc<str>> = unknown.map(|m| Arc::clone(&m.method)).collect();
    let signs = Signs {
        // Who is told and need not ask is not silent, nor is who came by once.
        silent_since: silent_since
            .filter(|_| c.connections == 0 && (cadence.is_some() || c.notified > 0)),
        asks: cadence.filter(|_| c.value.is_some()),
        changes: about.readings_each,
        may_act: known.acts != Acts::Viewer && !viewer,
        unknown: &unknown,
        phases: c.phases,
        whole: c.whole,
        viewer,
        profile: known.assigned.map(|a| a.profile.key),
        phase_a: PhaseAOnly::of(channel, c.local_port),
        took_null: took_null(c, channel, brand, &known),
    };
    let verdicts = verdicts(&signs);
    ConsumerView {
        ip,
        port: c.peer_port,
        channel,
        local_port: c.local_port,
        agent: c.agent.clone(),
        src: c.src.clone(),
        brand,
        profile: known.assigned.map(|a| ProfileView {
            key: a.profile.key,
            name: &a.profile.name,
            acts: a.profile.acts,
            why: a.why,
        }),
        verdicts,
        role: if viewer { Role::Viewer } else { Role::Reader },
        share,
        calls: c.calls,
        methods,
        unknown: c.unknown,
        errors: c.errors,
        last_error: c.last_error,
        frozen: c.frozen,
        cadence,
        last_answer: c.answered.map(|at| at.unix),
        age: c.answered.map(|at| since(at.mono)),
        last_value: c.value.map(|(watts, _)| watts),
        value_age: c.value.map(|(_, at)| since(at)),
        first_seen: c.first.unix,
        last_seen: c.last.unix,
        connected: c.connections,
        notified: c.notified,
        silent_since,
    }
}

/// The profile that a reader needs that was told by nulls and takes them for 0 W: the one that it
/// looks like, else that of anybody.
fn took_null(
    c: &Consumer,
    channel: Channel,
    brand: Option<Brand>,
    known: &Known,
) -> Option<&'static str> {
    let told_by_nulls =
        |key: &str| profiles::find(key).is_some_and(|p| p.absent(channel) == vocab::Absent::Nulls);
    let owner = known
        .assigned
        .is_some_and(|a| a.why == ProfileWhy::Address && told_by_nulls(a.profile.key));
    if !c.nulls || !owner {
        return None;
    }
    match brand.map_or(&[][..], Brand::profiles).first() {
        Some(key) if told_by_nulls(key) => None,
        Some(key) => Some(key),
        // A program that does not say that it reads through aioshelly.
        None => Some(profiles::ANYTHING),
    }
}

fn tally(inner: &Inner, channel: Channel) -> &Tally {
    &inner.tallies[channel as usize]
}

fn metrics(inner: &Inner) -> MetricsView {
    let calls = |channel| {
        let t = tally(inner, channel);
        let by = |pick: fn(&(u64, u64)) -> u64| {
            t.methods
                .iter()
                .map(|(name, counts)| (Arc::clone(name), pick(counts)))
                .filter(|(_, n)| *n > 0)
                .collect()
        };
        CallsView {
            total: t.calls,
            by_method: by(|c| c.0),
            errors: by(|c| c.1),
        }
    };
    let sockets = |channel| {
        let t = tally(inner, channel);
        let open = inner
            .consumers
            .iter()
            .filter(|((_, c), _)| *c == channel)
            .map(|(_, c)| u64::from(c.connections))
            .sum();
        SocketsView {
            rpc_messages: t.calls,
            notify_total: t.notified,
            clients: open,
        }
    };
    let mut udp = DatagramsView {
        replies: tally(inner, Channel::Udp).replies,
        ..DatagramsView::default()
    };
    for port in inner.ports.values() {
        udp.packets += port.packets;
        for (reason, count) in &port.dropped {
            *udp.dropped.entry(reason).or_default() += count;
        }
    }
    MetricsView {
        http: calls(Channel::Http),
        ws: sockets(Channel::Websocket),
        udp,
        modbus: calls(Channel::Modbus),
        outbound: sockets(Channel::Outbound),
    }
}

fn clients(inner: &Inner) -> ClientsView {
    let recent = |channel| {
        let line = |r: &Recent| {
            let http = channel == Channel::Http;
            RecentView {
                ts: r.unix,
                ip: r.peer,
                method: r.method.clone(),
                verb: http.then_some(r.word),
                event: (!http).then_some(r.word),
            }
        };
        tally(inner, channel).recent.iter().map(line).collect()
    };
    let unique = |channel| {
        inner
            .consumers
            .keys()
            .filter(|(_, c)| *c == channel)
            .map(|(ip, _)| *ip)
            .collect()
    };
    let mut ws_connected: Vec<IpAddr> = inner
        .consumers
        .iter()
        .filter(|((_, channel), _)| *channel == Channel::Websocket)
        .flat_map(|((ip, _), c)| std::iter::repeat_n(*ip, c.connections as usize))
        .collect();
    ws_connected.sort_unstable();
    ClientsView {
        http_recent: recent(Channel::Http),
        ws_recent: recent(Channel::Websocket),
        udp_recent: recent(Channel::Udp),
        ws_connected,
        http_unique: unique(Channel::Http),
        ws_unique: unique(Channel::Websocket),
        udp_unique: unique(Channel::Udp),
    }
}
