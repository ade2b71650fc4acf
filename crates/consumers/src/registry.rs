//! The register of consumers. Shared by all transports, called on every request: one short lock,
//! few allocations.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use super::{
    Channel, Reader,
    about::About,
    brand::{self, Brand, Evidence},
    call::{AnsweredCall, Asked, Caller},
    consumer::Consumer,
    known::{Assigned, Kept, Known, ProfileWhy, known},
    sharing::{CallerSigns, Seen, is_viewer},
    tap::{Heard, ReaderKind, Tap, Told},
};
use config::{ControlMode, ControlSettings, ReaderProfiles, ScalingSettings};
use profiles::Acts;
use vocab::{Absent, Now};

/// Consumers are forgotten after this time without a word.
const FORGET: Duration = Duration::from_secs(24 * 3600);
/// Ways that a test of ours is remembered by; it has fewer.
const OWN: usize = 16;
/// Newest requests of a channel that are listed, as the original.
const RECENT: usize = 20;

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
    pub consumers: HashMap<Reader, Consumer>,
    /// What our own test has asked so far, apart from who reads: it is answered by what it looks
    /// like, as a reader is, and nobody else is told of it.
    own: HashMap<Reader, Consumer>,
    /// Tests that play a Modbus master now.
    masters: u32,
    pub tallies: [Tally; Channel::ALL.len()],
    pub ports: BTreeMap<u16, Port>,
}

/// All consumers of a meter.
#[derive(Debug)]
pub struct Consumers(Mutex<Inner>, OnceLock<Arc<dyn Tap>>);

/// See [`Consumers::play_master`].
#[derive(Debug)]
pub struct PlayedMaster<'a>(&'a Consumers);

impl Drop for PlayedMaster<'_> {
    fn drop(&mut self) {
        let inner = &mut *self.0.inner();
        inner.masters = inner.masters.saturating_sub(1);
    }
}

impl Consumers {
    /// Nobody yet; at most `max` are remembered (`recent_clients_max`).
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(
            Mutex::new(Inner {
                max: max.max(1),
                ..Inner::default()
            }),
            OnceLock::new(),
        )
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `tap` hear every question from now on; the first one that is set stays.
    pub fn set_tap(&self, tap: Arc<dyn Tap>) {
        drop(self.1.set(tap));
    }

    /// Sets the addresses of our own Home Assistant: it looks at the meter and is never counted.
    pub fn set_home_assistant(&self, addresses: Vec<IpAddr>) {
        self.inner().home = addresses;
    }

    /// The part of the power that `caller` sees, 1.0 for all of it. To be asked for answers that
    /// carry power: it is what counts an address as a reader. `src` may be left out where it is not
    /// known yet; the one of earlier frames is taken then.
    pub fn share<'a>(
        &self,
        caller: &Caller,
        src: Option<&str>,
        about: impl Into<About<'a>>,
        now: Now,
    ) -> f64 {
        let about = about.into();
        let scaling = about.scaling;
        if !scaling.enable || caller.channel == Channel::Modbus {
            return 1.0;
        }
        let inner = &mut *self.inner();
        let viewer = inner.known(caller, src, None, about.profiles).looks;
        let ours = caller.is_ours();
        let all = if ours { &inner.own } else { &inner.consumers };
        let before = all.get(&caller.reader());
        let signs = CallerSigns {
            viewer,
            ..signs(caller, src, before)
        };
        if ours {
            return inner.seen.peek(signs, scaling, &inner.home, now.mono);
        }
        inner.seen.share(signs, scaling, &inner.home, now.mono)
    }

    /// Whether `caller`, who asks for power by `method`, is a battery that calm control answers
    /// (`docs/calm-control.md#whom-it-controls`).
    ///
    /// Home Assistant and `scaling_viewers` never are; who is named in `control_readers` is,
    /// whatever it looks like; else what its profile says decides (`readers`, or how it asks), and
    /// in `auto` not if it asks faster than any battery does and no option names its address.
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
            || matches!(
                caller.channel,
                Channel::Modbus | Channel::Outbound | Channel::Mqtt
            )
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
        if let Some(profile) = control.profiles.at(peer)
            && profile.acts != Acts::Unknown
        {
            return profile.acts == Acts::Battery;
        }
        let inner = &mut *self.inner();
        let before = inner.like(caller).get(&caller.reader());
        if is_viewer(signs(caller, src, before), scaling, &inner.home) {
            return false;
        }
        let too_fast = before.is_some_and(|c| c.is_faster_than_a_battery(now));
        let known = inner.known(caller, src, Some(method), Some(&control.profiles));
        match (control.mode, known.acts) {
            (_, Acts::Viewer) | (ControlMode::Off, _) | (ControlMode::Auto, Acts::Unknown) => false,
            (ControlMode::Auto, Acts::Battery) => !too_fast,
            (ControlMode::On, _) => true,
        }
    }

    /// How `caller`, who asks for power, is told that there is none
    /// (`docs/decisions.md#a-phase-without-a-value`).
    ///
    /// The profile that the owner named for its address decides; else nulls are for a request that
    /// shows that its sender understands them, and for no other from the same address; else the
    /// profile that it is known by.
    pub fn absent(
        &self,
        caller: &Caller,
        src: Option<&str>,
        method: Option<&str>,
        profiles: &Arc<ReaderProfiles>,
    ) -> Absent {
        let channel = caller.channel;
        if let Some(profile) = profiles.at(caller.peer) {
            return profile.absent(channel);
        }
        if brand::takes_nulls(caller.agent.as_deref(), src) {
            return Absent::Nulls;
        }
        let known = self.inner().known(caller, src, method, Some(profiles));
        known
            .assigned
            // Who only looks like it is told as anybody.
            .filter(|a| a.why != ProfileWhy::LooksLike)
            .map(|Assigned { profile, .. }| profile.absent(channel))
            .filter(|told| *told != Absent::Nulls)
            .unwrap_or_else(|| channel.absent())
    }

    /// Whether `caller` is told 0 W during a pause that goes by profile, and not that there is no
    /// power: the product that the owner named for its address says so, else the one that it is.
    pub fn pauses_at_zero(
        &self,
        caller: &Caller,
        src: Option<&str>,
        profiles: &Arc<ReaderProfiles>,
    ) -> bool {
        if let Some(profile) = profiles.at(caller.peer) {
            return profile.pause_at_zero;
        }
        let known = self.inner().known(caller, src, None, Some(profiles));
        known
            .assigned
            .is_some_and(|a| a.why != ProfileWhy::LooksLike && a.profile.pause_at_zero)
    }

    /// The power that `caller` was told last, W, and when, monotonic.
    #[must_use]
    pub fn told(&self, caller: &Caller) -> Option<(f64, Duration)> {
        let inner = self.inner();
        inner.like(caller).get(&caller.reader())?.value
    }

    /// Notes a question for power that was left without an answer on purpose: its reader asks
    /// again.
    pub fn passed_over(&self, asked: &AnsweredCall<'_>, now: Now) {
        let inner = &mut *self.inner();
        let consumer = inner.entry(asked.caller, now);
        consumer.passed_over(asked.caller, now);
        self.tell(inner, asked, now);
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
            let all = inner.like_mut(asked.caller).iter_mut();
            all.filter(|((ip, _), _)| *ip == peer)
                .for_each(|(_, c)| c.known = None);
        }
        if asked.caller.is_ours() {
            return;
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
        inner.list(asked.caller, Some(method), word, now);
        self.tell(inner, asked, now);
    }

    /// Tells a recording, if there is one.
    fn tell(&self, inner: &mut Inner, asked: &AnsweredCall<'_>, now: Now) {
        let ours = asked.caller.is_ours();
        let Some(tap) = self.1.get().filter(|tap| tap.listens() && !ours) else {
            return;
        };
        let method = if asked.known { asked.method } else { "unknown" };
        let heard = Heard {
            caller: asked.caller,
            kind: inner.kind(asked.caller, asked.src, method),
            method,
            asked: asked.asked,
            told: Told::of(asked),
        };
        tap.hear(&heard, now);
    }

    /// Notes a notification that was sent to `caller`, with the power in it, W.
    pub fn notified(&self, caller: &Caller, value: Option<f64>, now: Now) {
        let inner = &mut *self.inner();
        let consumer = inner.entry(caller, now);
        consumer.touch(caller, now);
        consumer.notified += 1;
        consumer.answered = Some(now);
        consumer.value = value.map(|value| (value, now.mono)).or(consumer.value);
        consumer.whole |= value.is_some();
        if caller.is_ours() {
            return;
        }
        inner.tallies[caller.channel as usize].notified += 1;
        let Some(tap) = self.1.get().filter(|tap| tap.listens()) else {
            return;
        };
        let heard = Heard {
            caller,
            kind: inner.kind(caller, None, "NotifyStatus"),
            method: "NotifyStatus",
            asked: Asked::default(),
            told: value.map_or(Told::Result, Told::Watts),
        };
        tap.hear(&heard, now);
    }

    /// Notes that a connection of `caller` is open: a WebSocket, or Modbus.
    pub fn connected(&self, caller: &Caller, now: Now) {
        let inner = &mut *self.inner();
        let consumer = inner.entry(caller, now);
        consumer.touch(caller, now);
        consumer.connections += 1;
        inner.list(caller, None, "connect", now);
    }

    /// Notes that the other side of an outbound connection has asked who we are, and says whether a
    /// Victron GX asks so; `again`: it knew this meter before the connection, and has not been
    /// restarted since.
    pub fn introduced(&self, caller: &Caller, again: bool) -> bool {
        let inner = &mut *self.inner();
        let Some(consumer) = inner.consumers.get_mut(&caller.reader()) else {
            return false;
        };
        consumer.frozen = again && consumer.gx_id;
        consumer.gx_id
    }

    /// Says for as long as what it gives lives that our own test plays a Modbus master: nothing in
    /// its calls tells them from a master's on this machine.
    pub fn play_master(&self) -> PlayedMaster<'_> {
        self.inner().masters += 1;
        PlayedMaster(self)
    }

    /// Whether our own test plays a Modbus master now.
    #[must_use]
    pub fn plays_master(&self) -> bool {
        self.inner().masters > 0
    }

    /// Notes that it is closed.
    pub fn disconnected(&self, caller: &Caller, now: Now) {
        let inner = &mut *self.inner();
        if let Some(consumer) = inner.like_mut(caller).get_mut(&caller.reader()) {
            consumer.connections = consumer.connections.saturating_sub(1);
        }
        inner.list(caller, None, "disconnect", now);
    }

    /// Notes a datagram, whatever becomes of it; `dropped` says in a word why it is not answered
    /// (`oversize`, `malformed`, `rate`, `stale` …). What is answered is noted besides with
    /// [`Self::note`].
    pub fn packet(&self, caller: &Caller, dropped: Option<&'static str>, now: Now) {
        if caller.is_ours() {
            return;
        }
        let mut inner = self.inner();
        let port = inner.ports.entry(caller.local_port).or_default();
        port.packets += 1;
        port.last = Some((now.unix, caller.peer.to_canonical(), dropped));
        if let Some(reason) = dropped {
            *port.dropped.entry(reason).or_default() += 1;
        }
    }
}

/// What decides whether `caller` counts; what this question does not say, one `before` it may have.
fn signs<'a>(
    caller: &'a Caller,
    src: Option<&'a str>,
    before: Option<&'a Consumer>,
) -> CallerSigns<'a> {
    let agent = caller.agent.as_deref();
    CallerSigns {
        peer: caller.peer,
        agent: agent.or_else(|| before?.agent.as_deref()),
        src: src.or_else(|| before?.src.as_deref()),
        datagram: caller.channel == Channel::Udp,
        viewer: false,
    }
}

/// What was seen of an address among these.
fn evidence(all: &HashMap<Reader, Consumer>, ip: IpAddr) -> Evidence<'_> {
    let mut seen = Evidence::default();
    for ((_, channel), c) in all.iter().filter(|((of, _), _)| *of == ip) {
        seen.channels.push(*channel);
        seen.agents.extend(c.agent.as_deref());
        seen.srcs.extend(c.src.as_deref());
        if *channel == Channel::Udp {
            seen.udp_from = Some(c.peer_port);
        }
        if *channel != Channel::Modbus {
            let methods = c.methods.iter().map(|m| &*m.shown.method);
            seen.calls.extend(methods.map(|method| (*channel, method)));
        }
        seen.esp |= c.esp;
        seen.gx_id |= c.gx_id;
    }
    seen
}

impl Inner {
    /// Those of whom `caller` is one: who reads, or our own test.
    fn like(&self, caller: &Caller) -> &HashMap<Reader, Consumer> {
        if caller.is_ours() {
            &self.own
        } else {
            &self.consumers
        }
    }

    fn like_mut(&mut self, caller: &Caller) -> &mut HashMap<Reader, Consumer> {
        if caller.is_ours() {
            &mut self.own
        } else {
            &mut self.consumers
        }
    }

    /// Lists what came of a caller among the newest of its channel.
    fn list(&mut self, caller: &Caller, method: Option<Arc<str>>, word: &'static str, now: Now) {
        if caller.is_ours() {
            return;
        }
        let recent = &mut self.tallies[caller.channel as usize].recent;
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(Recent {
            unix: now.unix,
            peer: caller.peer.to_canonical(),
            method,
            word,
        });
    }

    /// So many consumers at most, last heard first, each with the guess of its product.
    pub(super) fn last_heard_first(
        &self,
        most: usize,
        wanted: impl Fn(&Consumer) -> bool,
    ) -> Vec<(Reader, &Consumer, Option<Brand>)> {
        let mut all: Vec<_> = self.consumers.iter().filter(|(_, c)| wanted(c)).collect();
        all.sort_by(|a, b| b.1.last.mono.cmp(&a.1.last.mono).then(a.0.cmp(b.0)));
        all.truncate(most);
        let mut brands: HashMap<IpAddr, Option<Brand>> = HashMap::new();
        all.into_iter()
            .map(|(reader, c)| {
                let guess = || brand::guess(&evidence(&self.consumers, reader.0));
                let brand = brands.entry(reader.0).or_insert_with(guess);
                (*reader, c, *brand)
            })
            .collect()
    }

    /// Which product asks, this call being part of how it asks.
    fn known(
        &mut self,
        caller: &Caller,
        src: Option<&str>,
        method: Option<&str>,
        profiles: Option<&Arc<ReaderProfiles>>,
    ) -> Known {
        let key = caller.reader();
        let kept = self.like(caller).get(&key).and_then(|c| c.known.as_ref());
        if let Some(known) = kept.and_then(|kept| kept.under(profiles?)) {
            return known;
        }
        let mut seen = evidence(self.like(caller), key.0);
        seen.channels.push(caller.channel);
        // A battery that asks by datagram does not ask otherwise: whoever does so from its address
        // is somebody else.
        if caller.channel != Channel::Udp {
            seen.channels.retain(|channel| *channel != Channel::Udp);
            seen.calls.retain(|(channel, _)| *channel != Channel::Udp);
        }
        if let Some(method) = method.filter(|m| !seen.calls.contains(&(caller.channel, *m))) {
            seen.calls.push((caller.channel, method));
        }
        seen.agents.extend(caller.agent.as_deref());
        seen.srcs.extend(src);
        if caller.channel == Channel::Udp {
            seen.udp_from = Some(caller.peer_port);
        }
        let none = ReaderProfiles::default();
        let brand = brand::guess(&seen);
        let known = known(key.0, key.1, brand, profiles.map_or(&none, |of| &**of));
        // Another call may be more telling: only what is noted already is kept.
        if let (Some(profiles), Some(method)) = (profiles, method)
            && let Some(consumer) = self.like_mut(caller).get_mut(&key)
            && consumer
                .methods
                .iter()
                .any(|known| known.shown.method.eq_ignore_ascii_case(method))
        {
            consumer.known = Some(Kept::new(profiles, known));
        }
        known
    }

    /// What a reader is taken for.
    fn kind(&mut self, caller: &Caller, src: Option<&str>, method: &str) -> ReaderKind {
        match self.known(caller, src, Some(method), None).acts {
            Acts::Battery => ReaderKind::Battery,
            Acts::Viewer => ReaderKind::Viewer,
            Acts::Unknown => ReaderKind::Reader,
        }
    }

    fn entry(&mut self, caller: &Caller, now: Now) -> &mut Consumer {
        let key = caller.reader();
        if caller.is_ours() {
            // A test as another reader begins anew.
            let other = |c: &Consumer| c.agent != caller.agent;
            if self.own.len() >= OWN || self.own.values().any(other) {
                self.own.clear();
            }
            let own = self.own.entry(key);
            return own.or_insert_with(|| Consumer::new(caller, now));
        }
        if self.consumers.len() >= self.max && !self.consumers.contains_key(&key) {
            self.forget(now);
            self.evict();
        }
        self.consumers
            .entry(key)
            .or_insert_with(|| Consumer::new(caller, now))
    }

    pub(super) fn forget(&mut self, now: Now) {
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
