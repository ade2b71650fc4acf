//! What is remembered of one consumer: an address on a channel.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Channel,
    call::{AnsweredCall, Caller},
    known::Kept,
    overview::MethodView,
};
use vocab::Now;

/// Requests and answers kept for a look (`docs/decisions.md#the-last-calls-of-a-reader`).
const EXCHANGES: usize = 20;
/// Bytes kept of each.
const EXCHANGE_BYTES: usize = 2048;
/// Intervals that the cadence is the median of.
const GAPS: usize = 20;
/// Methods told apart.
const METHODS: usize = 64;
/// Characters of a method, agent or `src` that are kept.
const TEXT: usize = 96;
/// Rounds of questions that make a rhythm: fewer are the beginning of something.
const ROUNDS: usize = 3;
/// Ports of senders that tell a brand.
const TELLING_PORTS: [u16; 2] = [10000, 22222];
/// Distances between questions that make a habit, and what those between a battery's rounds are at
/// least, s: none is known to ask faster.
const HABIT: usize = 6;
const BATTERY_GAP: f32 = 0.15;
/// Silent is who says nothing for three of its own intervals, but at least this long.
const LEAST_SILENCE: Duration = Duration::from_secs(10);

/// At most [`TEXT`] characters of a stranger's text.
fn clip(text: &str) -> &str {
    let end = text.char_indices().nth(TEXT).map(|(end, _)| end);
    end.map_or(text, |end| &text[..end])
}

/// Puts what a stranger says of itself in place of what it said before; whether that is something
/// else.
fn replace(before: &mut Option<Arc<str>>, text: &str) -> bool {
    // Each call says it again: counting characters comes after comparing.
    let is = |said: &str| before.as_deref() == Some(said);
    if is(text) || is(clip(text)) {
        return false;
    }
    *before = Some(clip(text).into());
    true
}

/// Calls of one method.
#[derive(Clone, Debug)]
pub(super) struct Method {
    pub shown: MethodView,
    pace: Pace,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub unix: f64,
    pub method: Arc<str>,
    pub error: Option<i32>,
    pub request: Bytes,
    pub reply: Bytes,
}

/// Distances between calls, the newest [`GAPS`] of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    last: Option<Duration>,
    gaps: [f32; GAPS],
    count: usize,
}

impl Pace {
    fn mark(&mut self, now: Duration) {
        if let Some(last) = self.last.replace(now) {
            self.gaps[self.count % GAPS] = now.saturating_sub(last).as_secs_f32();
            self.count += 1;
        }
    }

    /// Whether questions come faster than any battery's, one of `now` among them: most of the last
    /// ones, or every one while they are few.
    fn is_faster_than_a_battery(&self, now: Duration) -> bool {
        let Some(last) = self.last else {
            return false;
        };
        let kept = self.count.min(GAPS);
        let mut gaps = self.gaps;
        if kept < HABIT {
            let this = now.saturating_sub(last).as_secs_f32();
            return this < BATTERY_GAP && gaps[..kept].iter().all(|gap| *gap < BATTERY_GAP);
        }
        // Up to three questions one after the other, as for the three phases, are one round.
        let (_, usual, _) = gaps[..kept].select_nth_unstable_by(kept * 3 / 4, f32::total_cmp);
        *usual < BATTERY_GAP
    }

    /// Median distance of its rounds, s: several questions one after the other, as by who reads
    /// Modbus in blocks, are one round.
    fn cadence(&self) -> Option<f64> {
        let kept = self.count.min(GAPS);
        let mut sorted = self.gaps[..kept].to_vec();
        sorted.sort_by(f32::total_cmp);
        let usual = *sorted.get(kept * 3 / 4)?;
        // In the order they came in: the oldest is the next to be written over.
        let in_order = (0..kept).map(|n| self.gaps[(self.count - kept + n) % GAPS]);
        let (mut rounds, mut sum) = (Vec::new(), 0.0);
        for gap in in_order {
            sum += gap;
            if gap >= usual / 4.0 {
                rounds.push(std::mem::take(&mut sum));
            }
        }
        rounds.sort_by(f32::total_cmp);
        let middle = rounds.len() / 2;
        let upper = f64::from(*rounds.get(middle).filter(|_| rounds.len() >= ROUNDS)?);
        Some(if rounds.len() % 2 == 1 {
            upper
        } else {
            f64::midpoint(f64::from(rounds[middle - 1]), upper)
        })
    }
}

/// One consumer.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumer {
    pub peer_port: u16,
    pub local_port: u16,
    pub agent: Option<Arc<str>>,
    pub src: Option<Arc<str>>,
    pub methods: Vec<Method>,
    pub calls: u64,
    pub unknown: u64,
    pub errors: u64,
    pub last_error: Option<i32>,
    pub notified: u64,
    pub connections: u32,
    pub first: Now,
    pub last: Now,
    pub answered: Option<Now>,
    /// The power that it was told last, W, and when.
    pub value: Option<(f64, Duration)>,
    pub exchanges: VecDeque<Exchange>,
    pub esp: bool,
    pub gx_id: bool,
    /// A GX that was met again after a gap: its driver shows figures from before it.
    pub frozen: bool,
    /// Raised with each new sign of a brand: others may mean another brand.
    pub signs: u32,
    /// Which product it is; `None` while that is to be found out (again).
    pub known: Option<Kept>,
    /// Bits of the phases that it asked for one by one.
    pub phases: u8,
    /// It asked for the power of the whole house.
    pub whole: bool,
    /// It was answered with nulls in place of power.
    pub nulls: bool,
    value_pace: Pace,
}

impl Consumer {
    pub(super) fn new(caller: &Caller, now: Now) -> Self {
        Self {
            peer_port: caller.peer_port,
            local_port: caller.local_port,
            agent: caller.agent.as_deref().map(|agent| clip(agent).into()),
            first: now,
            last: now,
            ..Self::default()
        }
    }

    /// A sign of life.
    pub(super) fn touch(&mut self, caller: &Caller, now: Now) {
        self.last = now;
        let telling = |port| Some(port).filter(|port| TELLING_PORTS.contains(port));
        self.signs += u32::from(telling(self.peer_port) != telling(caller.peer_port));
        (self.peer_port, self.local_port) = (caller.peer_port, caller.local_port);
        if let Some(agent) = &caller.agent {
            self.signs += u32::from(replace(&mut self.agent, agent));
        }
    }

    /// Whether it asks for power faster than any battery does, now too.
    pub(super) fn is_faster_than_a_battery(&self, now: Now) -> bool {
        self.value_pace.is_faster_than_a_battery(now.mono)
    }

    /// A question for power that was left without an answer on purpose: a sign of life, and part of
    /// its rhythm.
    pub(super) fn passed_over(&mut self, caller: &Caller, now: Now) {
        self.touch(caller, now);
        self.calls += 1;
        self.value_pace.mark(now.mono);
    }

    /// Takes a call in and says under which name its method is kept.
    pub(super) fn note(&mut self, asked: &AnsweredCall<'_>, now: Now) -> Arc<str> {
        self.touch(asked.caller, now);
        if let Some(src) = asked.src {
            self.signs += u32::from(replace(&mut self.src, src));
        }
        self.calls += 1;
        self.unknown += u64::from(!asked.known);
        if asked.error.is_some() {
            self.errors += 1;
            self.last_error = asked.error;
        } else {
            self.answered = Some(now);
        }
        if let Some(value) = asked.value {
            self.value = Some((value, now.mono));
            self.value_pace.mark(now.mono);
        }
        match asked.phase {
            Some(phase) => self.phases |= 1 << phase.min(7),
            None => {
                self.whole |=
                    asked.value.is_some() && !asked.method.eq_ignore_ascii_case("EM1.GetStatus");
            }
        }
        self.nulls |= asked.nulls;
        let before = (self.esp, self.gx_id);
        match asked.caller.channel {
            Channel::Http => self.esp |= has_esp(&asked.request),
            Channel::Outbound => self.gx_id |= contains(&asked.request, b"\"GetDeviceInfo-"),
            _ => {}
        }
        self.signs += u32::from(before != (self.esp, self.gx_id));
        let method = self.count(asked, now);
        self.keep(asked, Arc::clone(&method), now);
        method
    }

    fn count(&mut self, asked: &AnsweredCall<'_>, now: Now) -> Arc<str> {
        let errors = u64::from(asked.error.is_some());
        let name = clip(asked.method);
        let before = self.methods.iter_mut().find(|m| *m.shown.method == *name);
        if let Some(Method { shown, pace }) = before {
            shown.calls += 1;
            shown.errors += errors;
            pace.mark(now.mono);
            return Arc::clone(&shown.method);
        }
        let method: Arc<str> = name.into();
        if self.methods.len() < METHODS {
            self.signs += 1;
            let mut pace = Pace::default();
            pace.mark(now.mono);
            let shown = MethodView {
                method: Arc::clone(&method),
                known: asked.known,
                calls: 1,
                errors,
            };
            self.methods.push(Method { shown, pace });
        }
        method
    }

    fn keep(&mut self, asked: &AnsweredCall<'_>, method: Arc<str>, now: Now) {
        let full = self.exchanges.len() == EXCHANGES;
        let last = full.then(|| self.exchanges.pop_front()).flatten();
        // A request's bytes lie in its connection's buffer, so they are copied; who polls sends the
        // same ones again.
        let head = &asked.request[..asked.request.len().min(EXCHANGE_BYTES)];
        let request = match last.map(|e| e.request).filter(|old| old == head) {
            Some(same) => same,
            None => Bytes::copy_from_slice(head),
        };
        let reply = match asked.reply.get(..EXCHANGE_BYTES) {
            Some(head) => Bytes::copy_from_slice(head),
            None => asked.reply.clone(),
        };
        self.exchanges.push_back(Exchange {
            unix: now.unix,
            method,
            error: asked.error,
            request,
            reply,
        });
    }

    /// Its rhythm, s: how often it asks for power, else for what it asks for most. Different
    /// questions one after the other are how a reader begins, and no rhythm; nor has one any more
    /// that asked to begin with, and is told since.
    pub(super) fn cadence(&self, now: Now) -> Option<f64> {
        let often = self.methods.iter().max_by_key(|m| m.shown.calls);
        let paces = [Some(&self.value_pace), often.map(|m| &m.pace)];
        let rhythm = |pace: &Pace| Some((pace.cadence()?, pace.last?));
        let (gap, last) = paces.into_iter().flatten().find_map(rhythm)?;
        let quiet = now.mono.saturating_sub(last);
        (self.notified == 0 || quiet < LEAST_SILENCE + Duration::from_secs_f64(gap * 3.0))
            .then_some(gap)
    }

    /// When it was last heard or told something, if that is too long ago for its own rhythm.
    pub(super) fn silent_since(&self, now: Now) -> Option<Now> {
        let rhythm = self
            .cadence(now)
            .map_or(Duration::ZERO, |gap| Duration::from_secs_f64(gap * 3.0));
        (now.mono.saturating_sub(self.last.mono) > rhythm.max(LEAST_SILENCE)).then_some(self.last)
    }
}

/// Whether a request target has the value-less key `esp` (Growatt,
/// `docs/protocol/readers.md#growatt`).
fn has_esp(request: &[u8]) -> bool {
    match request.first() {
        None | Some(b'{' | b'[') => false,
        Some(_) => request
            .split(|b| matches!(b, b'?' | b'&'))
            .skip(1)
            .any(|part| part == b"esp" || part.starts_with(b"esp ")),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.len() >= part.len()
        && bytes[..bytes.len().min(EXCHANGE_BYTES)]
            .windows(part.len())
            .any(|window| window == part)
}
