//! A battery that follows a law, told what the reader was told: what it would have done by now.

use std::collections::VecDeque;

use super::law::{Law, PASS};

/// Set points on their way that are remembered.
const PIPE: usize = 16;
/// Turns of the output that are remembered.
const TURNS: usize = 32;
/// From a change of the output to the meter it may take, s.
const DELAYS: [f64; 6] = [0.3, 0.6, 1.0, 1.4, 2.0, 3.0];
/// Part of what samples told that is kept with each further one that tells something.
pub(super) const KEEPS: f64 = 0.998;
/// A change of the house that fits as well as none, W.
const FITS: f64 = 15.0;
/// A sample tells something of the law if by any model the output moved more with it, W.
const TELLS: f64 = 10.0;
/// Passes longer ago are left out, s: nobody has asked or been told anything for so long.
const PASSES_FOR: f64 = 30.0;
/// A change of the house by so many times that tells no more than any greater one.
const MOST: f64 = 1000.0;

/// How a battery's output follows its set point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    /// A set point acts after, s.
    pub dead: f64,
    /// The output moves, W/s.
    pub rate: f64,
    /// From rest it needs, s.
    pub start: f64,
    /// Its limits, W.
    pub range: (f64, f64),
}

/// What one [`DELAYS`] makes of the samples.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The output as the newest sample shows it, and its change since the one before, W.
    out: f64,
    moved: f64,
    /// How badly the samples fit.
    cost: f64,
}

/// One battery.
#[derive(Clone, Debug)]
pub(super) struct Model {
    law: Law,
    body: Body,
    /// What it aims at, W: as soon as it was told, and once that acts.
    set: f64,
    goal: f64,
    out: f64,
    /// How long it has been starting, s.
    starting: f64,
    at: f64,
    pipe: VecDeque<(f64, f64)>,
    /// When it acts by itself next, s.
    passes_at: f64,
    /// When and where its output began and ended to move.
    turns: VecDeque<(f64, f64)>,
    seen: [Seen; DELAYS.len()],
}

fn remember(queue: &mut VecDeque<(f64, f64)>, most: usize, what: (f64, f64)) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(what);
}

impl Model {
    pub fn new(law: Law, body: Body, now: f64) -> Self {
        Self {
            law,
            body,
            set: 0.0,
            goal: 0.0,
            out: 0.0,
            starting: 0.0,
            at: now,
            pipe: VecDeque::new(),
            passes_at: if law.passes() { now } else { f64::INFINITY },
            turns: VecDeque::new(),
            seen: [Seen::default(); DELAYS.len()],
        }
    }

    /// Time passes.
    fn advance(&mut self, now: f64) {
        if now - self.passes_at > PASSES_FOR {
            self.passes_at = now;
        }
        loop {
            let due = self.pipe.front().map_or(f64::INFINITY, |next| next.0);
            if due.min(self.passes_at) > now {
                break;
            }
            if due <= self.passes_at {
                self.follows(due);
                if let Some((_, goal)) = self.pipe.pop_front() {
                    self.goal = goal;
                }
            } else {
                let at = self.passes_at;
                self.passes_at += PASS;
                self.follows(at);
                let set = self.law.pass(self.set, self.out);
                self.aim(at, set);
            }
        }
        self.follows(now);
    }

    /// It aims at `set` W from `at` on.
    fn aim(&mut self, at: f64, set: f64) {
        if set != self.set {
            let (lo, hi) = self.body.range;
            self.set = set.clamp(lo, hi);
            remember(&mut self.pipe, PIPE, (at + self.body.dead, self.set));
        }
    }

    /// The output moves towards its goal until `now`.
    fn follows(&mut self, now: f64) {
        let mut time = now - self.at;
        if time <= 0.0 {
            return;
        }
        self.at = now;
        let far = self.goal - self.out;
        let rests = self.out.abs() < 5.0 && self.goal.abs() >= 5.0;
        if rests && self.starting < self.body.start {
            self.starting += time;
            time = self.starting - self.body.start;
        } else if !rests {
            self.starting = 0.0;
        }
        if far == 0.0 || time <= 0.0 {
            return;
        }
        let begins = now - time;
        let takes = far.abs() / self.body.rate;
        remember(&mut self.turns, TURNS, (begins, self.out));
        if takes <= time {
            self.out = self.goal;
            remember(&mut self.turns, TURNS, (begins + takes, self.out));
        } else {
            self.out += (self.body.rate * time).copysign(far);
            remember(&mut self.turns, TURNS, (now, self.out));
        }
    }

    /// Its output at `then`, W, which is now or a little earlier.
    fn out_at(&self, then: f64) -> f64 {
        let mut later: Option<(f64, f64)> = None;
        for &(at, out) in self.turns.iter().rev() {
            if at <= then {
                return match later {
                    Some((at1, out1)) if at1 > at => out + (out1 - out) * (then - at) / (at1 - at),
                    _ => out,
                };
            }
            later = Some((at, out));
        }
        later.map_or(self.out, |(_, out)| out)
    }

    /// A sample has come.
    pub fn sample(&mut self, now: f64) {
        self.advance(now);
        let shown = DELAYS.map(|delay| self.out_at(now - delay));
        for (seen, out) in self.seen.iter_mut().zip(shown) {
            (seen.moved, seen.out) = (out - seen.out, out);
        }
    }

    /// Whether its output moved with that sample, however late the sample is.
    pub fn moves(&self) -> bool {
        self.seen.iter().any(|seen| seen.moved.abs() > TELLS)
    }

    /// Grid power changed by `change` W with that sample, or would have without this battery: what
    /// the model does not account for is the house's, and most of the time that rests.
    pub fn learn(&mut self, change: f64) {
        for seen in &mut self.seen {
            let house = ((change + seen.moved) / FITS).clamp(-MOST, MOST);
            seen.cost = KEEPS * seen.cost + (house * house).ln_1p();
        }
    }

    /// The delay with which samples fit best, and how badly.
    pub fn best(&self) -> (usize, f64) {
        let costs = self.seen.iter().map(|seen| seen.cost).enumerate();
        costs.fold((0, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a })
    }

    /// By how much the output moved between the two newest samples, W.
    pub fn moved(&self, delay: usize) -> f64 {
        self.seen[delay].moved
    }

    /// What it was told and the newest sample does not show yet, W.
    pub fn on_its_way(&self, delay: usize) -> f64 {
        self.set - self.seen[delay].out
    }

    /// It is told `watts`.
    pub fn told(&mut self, now: f64, watts: f64) {
        self.advance(now);
        let set = self.law.hears(watts, self.set, self.out);
        self.aim(now, set);
    }

    /// By how much what it was told will still change its set point if it hears 0 W, W.
    pub fn rest(&self) -> f64 {
        if self.law.averages() {
            self.law.hears_out(None, self.set, self.out) - self.set
        } else {
            0.0
        }
    }

    /// By how much it would change its set point if it were told `watts` once, and twice, W. Limits
    /// are not known well enough to keep an answer back for them. One that acts at passes of its own
    /// is asked what it makes of it `within` so many s, by when it hears the next.
    pub fn would_add(&mut self, now: f64, watts: f64, within: f64) -> (f64, f64) {
        self.advance(now);
        if self.law.passes() {
            let mut ahead = self.clone();
            ahead.told(now, watts);
            ahead.advance(now + within);
            let adds = ahead.set - self.set;
            return (adds, adds);
        }
        if self.law.averages() {
            let adds = self.law.hears_out(Some(watts), self.set, self.out) - self.set;
            return (adds, adds);
        }
        let mut law = self.law;
        let once = law.hears(watts, self.set, self.out);
        let twice = law.hears(watts, once, self.out);
        (once - self.set, twice - self.set)
    }
}
