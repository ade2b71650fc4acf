//! The register of consumers. Shared by all transports, called on every request: one short lock,
//! few allocations.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Caller, Channel,
    brand::{self, Brand, Use},
    consumer::Consumer,
    overview::{self, ExchangeView, Overview},
    sharing::{CallerSigns, Seen, is_viewer},
};
use config::{ControlMode, ControlSettings, ScalingSettings};
use vocab::Now;

/// Consumers are forgotten after this time without a word.
const FORGET: Duration = Duration::from_secs(24 * 3600);
/// Newest requests of a channel that are listed, as the original.
const RECENT: usize = 20;

/// One call and what was answered.
#[derive(Clone, Debug)]
pub struct AnsweredCall<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// `src` of the frame.
    pub src: Option<&'a str>,
    /// Method as asked, in the device's spelling where it is known; over Modbus e.g. `read input
    /// registers`.
    pub method: &'a str,
    /// Whether there is such a method.
    pub known: bool,
    /// The error's code, if one was answered.
    pub error: Option<i32>,
    /// The power that was answered, W: total, or that of the phase asked.
    pub value: Option<f64>,
    /// The frame as it came; of a GET its target. Begins with `{` or `[` exactly if it was a body.
    pub request: Bytes,
    /// What was sent; empty: nothing.
    pub reply: Bytes,
}

/// Calls on one channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub calls: u64,
    pub replies: u64,
    pub notified: u64,
    /// By known method, all others as `unknown`: calls and errors.
    pub methods: BTreeMap<Arc<str>, (u64, u64)>,
    pub recent: VecDeque<Recent>,
}

/// A line of the newest requests.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    pub unix: f64,
    pub peer: IpAddr,
    pub method: Option<Arc<str>>,
    /// HTTP: the verb; else the event.
    pub word: &'static str,
}

/// What came to one UDP port.
#[derive(Clone, Debug, Default)]
pub(super) struct Port {
    pub packets: u64,
    pub dropped: BTreeMap<&'static str, u64>,
    pub last: Option<(f64, IpAddr, Option<&'static str>)>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub max: usize,
    pub home: Vec<IpAddr>,
    pub seen: Seen,
    pub consumers: HashMap<(IpAddr, Channel), Consumer>,
    pub tallies: [Tally; 5],
    pub ports: BTreeMap<u16, Port>,
}

/// All consumers of a meter.
#[derive(Debug)]
pub struct Consumers(Mutex<Inner>);

impl Consumers {
    /// Nobody yet; at most `max` are remembered (`recent_clients_max`).
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Mutex::new(Inner {
            max: max.max(1),
            ..Inner::default()
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the addresses of our own Home Assistant: it looks at the meter and is never counted.
    pub fn set_home_assistant(&self, addresses: Vec<IpAddr>) {
        self.inner().home = addresses;
    }

    /// The part of the power that `caller` sees, 1.0 for all of it. To be asked for answers that
    /// carry power: it is what counts an address as a reader. `src` may be left out where it is not
    /// known yet; the one of earlier frames is taken then.
    pub fn share(
        &self,
        caller: &Caller,
        src: Option<&str>,
        scaling: &ScalingSettings,
        now: Now,
    ) -> f64 {
        if !scaling.enable || caller.channel == Channel::Modbus {
            return 1.0;
        }
        let inner = &mut *self.inner();
        let known = inner
            .consumers
            .get(&(caller.peer.to_canonical(), caller.channel));
        let agent = caller
            .agent
            .as_deref()
            .or_else(|| known.and_then(|c| c.agent.as_deref()));
        let src = src.or_else(|| known.and_then(|c| c.src.as_deref()));
        inner.seen.share(
            CallerSigns {
                peer: caller.peer,
                agent,
                src,
                datagram: caller.channel == Channel::Udp,
            },
            scaling,
            &inner.home,
            now.mono,
        )
    }

    /// Whether `caller`, who asks for power by `method`, is a battery that calm control answers
    /// (`docs/calm-control.md#whom-it-controls`).
    ///
    /// Home Assistant and `scaling_viewers` never are; who is named in `control_readers` is,
    /// whatever it looks like; else what its brand does with power decides, and in `auto` not if
    /// it asks faster than any battery does.
    pub fn is_controlled(
        &self,
        caller: &Caller,
        src: Option<&str>,
        method: &str,
        control: &ControlSettings,
        scaling: &ScalingSettings,
        now: Now,
    ) -> bool {
        if control.mode == ControlMode::Off
            || matches!(caller.channel, Channel::Modbus | Channel::Outbound)
        {
            return false;
        }
        let peer = caller.peer.to_canonical();
        let named = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&peer));
        if named(&scaling.viewers) || brand::takes_nulls(caller.agent.as_deref(), src) {
            return false;
        }
        if named(&control.readers) {
            return true;
        }
        let inner = &mut *self.inner();
        let known = inner.consumers.get(&(peer, caller.channel));
        let signs = CallerSigns {
            peer,
            agent: caller
                .agent
                .as_deref()
                .or_else(|| known.and_then(|c| c.agent.as_deref())),
            src: src.or_else(|| known.and_then(|c| c.src.as_deref())),
            datagram: caller.channel == Channel::Udp,
        };
        if is_viewer(signs, scaling, &inner.home) {
            return false;
        }
        let too_fast = known.is_some_and(|c| c.is_faster_than_a_battery(now));
        match (control.mode, inner.usage(caller, src, method)) {
            (_, Use::Looks) | (ControlMode::Off, _) | (ControlMode::Auto, Use::Unknown) => false,
            (ControlMode::Auto, Use::Regulates) => !too_fast,
            (ControlMode::On, _) => true,
        }
    }

    /// The power that `caller` was told last, W, and when, monotonic.
    #[must_use]
    pub fn told(&self, caller: &Caller) -> Option<(f64, Duration)> {
        self.inner()
            .consumers
            .get(&(caller.peer.to_canonical(), caller.channel))
            .and_then(Consumer::told)
    }

    /// Notes a question for power that was left without an answer on purpose: its reader asks
    /// again.
    pub fn passed_over(&self, caller: &Caller, now: Now) {
        self.inner().entry(caller, now).passed_over(caller, now);
    }

    /// Notes a call and its answer.
    pub fn note(&self, asked: &AnsweredCall<'_>, now: Now) {
        let inner = &mut *self.inner();
        let peer = asked.caller.peer.to_canonical();
        let consumer = inner.entry(asked.caller, now);
        let new_src = asked.src.is_some() && consumer.src.is_none();
        let before = consumer.signs;
        let method = consumer.note(asked, now);
        if consumer.signs != before {
            inner
                .consumers
                .iter_mut()
                .filter(|((ip, _), _)| *ip == peer)
                .for_each(|(_, c)| c.usage = None);
        }
        if new_src && asked.src.is_some_and(|src| src.starts_with("aios-")) {
            inner.seen.forget(peer);
        }
        let word = match (asked.caller.channel, asked.request.first()) {
            (Channel::Http, Some(b'{' | b'[')) => "POST",
            (Channel::Http, _) => "GET",
            _ => "message",
        };
        let tally = &mut inner.tallies[asked.caller.channel as usize];
        tally.calls += 1;
        tally.replies += u64::from(!asked.reply.is_empty());
        let name = if asked.known { &*method } else { "unknown" };
        let errors = u64::from(asked.error.is_some());
        match tally.methods.get_mut(name) {
            Some((calls, failed)) => (*calls, *failed) = (*calls + 1, *failed + errors),
            None => drop(tally.methods.insert(name.into(), (1, errors))),
        }
        tally.push(Recent {
            unix: now.unix,
            peer,
            method: Some(method),
            word,
        });
    }

    /// Notes a notification that was sent to `caller`, with the power in it, W.
    pub fn notified(&self, caller: &Caller, value: Option<f64>, now: Now) {
        let inner = &mut *self.inner();
        let consumer = inner.entry(caller, now);
        consumer.touch(caller, now);
        consumer.notified += 1;
        consumer.answered = Some(now);
        consumer.value = value.or(consumer.value);
        inner.tallies[caller.channel as usize].notified += 1;
    }

    /// Notes that a connection of `caller` is open: a WebSocket, or Modbus.
    pub fn connected(&self, caller: &Caller, now: Now) {
        let inner = &mut *self.inner();
        let consumer = inner.entry(caller, now);
        consumer.touch(caller, now);
        consumer.connections += 1;
        inner.tallies[caller.channel as usize].push(Recent {
            unix: now.unix,
            peer: caller.peer.to_canonical(),
            method: None,
            word: "connect",
        });
    }

    /// Notes that the other side of an outbound connection has asked who we are, and says whether a
    /// Victron GX asks so; `again`: it knew this meter before the connection, and has not been
    /// restarted since.
    pub fn introduced(&self, caller: &Caller, again: bool) -> bool {
        let inner = &mut *self.inner();
        let Some(consumer) = inner
            .consumers
            .get_mut(&(caller.peer.to_canonical(), caller.channel))
        else {
            return false;
        };
        consumer.frozen = again && consumer.gx_id;
        consumer.gx_id
    }

    /// Notes that it is closed.
    pub fn disconnected(&self, caller: &Caller, now: Now) {
        let inner = &mut *self.inner();
        if let Some(consumer) = inner
            .consumers
            .get_mut(&(caller.peer.to_canonical(), caller.channel))
        {
            consumer.connections = consumer.connections.saturating_sub(1);
        }
        inner.tallies[caller.channel as usize].push(Recent {
            unix: now.unix,
            peer: caller.peer.to_canonical(),
            method: None,
            word: "disconnect",
        });
    }

    /// Notes a datagram, whatever becomes of it; `dropped` says in a word why it is not answered
    /// (`oversize`, `malformed`, `rate`, `stale` …). What is answered is noted besides with
    /// [`Self::note`].
    pub fn packet(&self, caller: &Caller, dropped: Option<&'static str>, now: Now) {
        let mut inner = self.inner();
        let port = inner.ports.entry(caller.local_port).or_default();
        port.packets += 1;
        port.last = Some((now.unix, caller.peer.to_canonical(), dropped));
        if let Some(reason) = dropped {
            *port.dropped.entry(reason).or_default() += 1;
        }
    }

    /// Everybody who reads, and the sums; with the roles and shares that `scaling` gives them.
    #[must_use]
    pub fn overview(&self, scaling: &ScalingSettings, now: Now) -> Overview {
        let mut inner = self.inner();
        inner.forget(now);
        overview::overview(&inner, scaling, now)
    }

    /// The newest requests of one consumer with their answers, oldest first.
    #[must_use]
    pub fn exchanges(&self, peer: IpAddr, channel: Channel) -> Vec<ExchangeView> {
        self.inner()
            .consumers
            .get(&(peer.to_canonical(), channel))
            .map(overview::exchanges)
            .unwrap_or_default()
    }
}

impl Tally {
    fn push(&mut self, recent: Recent) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(recent);
    }
}

impl Inner {
    /// What the brand of an address does with power, this call being part of how it asks.
    fn usage(&mut self, caller: &Caller, src: Option<&str>, method: &str) -> Use {
        let key = (caller.peer.to_canonical(), caller.channel);
        if let Some(usage) = self.consumers.get(&key).and_then(|c| c.usage) {
            return usage;
        }
        let mut seen = overview::evidence(self, key.0);
        seen.channels.push(caller.channel);
        // A battery that asks by datagram does not ask otherwise: whoever does so from its address
        // is somebody else.
        if caller.channel != Channel::Udp {
            seen.channels.retain(|channel| *channel != Channel::Udp);
            seen.calls.retain(|(channel, _)| *channel != Channel::Udp);
        }
        if !seen.calls.contains(&(caller.channel, method)) {
            seen.calls.push((caller.channel, method));
        }
        seen.agents.extend(caller.agent.as_deref());
        seen.srcs.extend(src);
        if caller.channel == Channel::Udp {
            seen.udp_from = Some(caller.peer_port);
        }
        let usage = brand::guess(&seen).map_or(Use::Unknown, Brand::usage);
        // Another call may be more telling: only what is noted already is kept.
        if let Some(consumer) = self.consumers.get_mut(&key)
            && consumer
                .methods
                .iter()
                .any(|known| known.name.eq_ignore_ascii_case(method))
        {
            consumer.usage = Some(usage);
        }
        usage
    }

    fn entry(&mut self, caller: &Caller, now: Now) -> &mut Consumer {
        let key = (caller.peer.to_canonical(), caller.channel);
        if self.consumers.len() >= self.max && !self.consumers.contains_key(&key) {
            self.forget(now);
            self.evict();
        }
        self.consumers
            .entry(key)
            .or_insert_with(|| Consumer::new(caller, now))
    }

    fn forget(&mut self, now: Now) {
        self.consumers
            .retain(|_, c| c.connections > 0 || now.mono.saturating_sub(c.last.mono) < FORGET);
    }

    /// Makes room for one more: those silent longest go, an eighth at once, so that a flood of
    /// addresses costs little each.
    fn evict(&mut self) {
        if self.consumers.len() < self.max {
            return;
        }
        let mut ages: Vec<(bool, Duration)> = self
            .consumers
            .values()
            .map(|c| (c.connections > 0, c.last.mono))
            .collect();
        let surplus = self.consumers.len() - self.max + (self.max / 8).max(1);
        let (_, limit, _) = ages.select_nth_unstable(surplus - 1);
        let limit = *limit;
        let mut left = surplus;
        self.consumers.retain(|_, c| {
            let go = left > 0 && (c.connections > 0, c.last.mono) <= limit;
            left -= usize::from(go);
            !go
        });
    }
}
