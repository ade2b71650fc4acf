//! Which of the known laws a reader follows, and when it is answered then.
//!
//! A model of each law is told what the reader is told. With each sample it says what the battery
//! did since the last one; what remains of grid power's change is the house's. A house rests most of
//! the time, so the law by which it does fits. Where one fits clearly better than a battery that does
//! not move, the reader is told a sample whenever that brings its set point closer to what the house
//! takes.

use super::{
    doubt::Doubt,
    law::{Gate, Law, PASS},
    model::{Body, KEEPS, Model},
};

/// A law is believed in once it fits better than all that the ledger answers by so much …
const SURE: f64 = 45.0;
/// … until it fits worse than that by so much, or another law fits better than it …
const WRONG: f64 = 15.0;
/// … by so much.
const BETTER: f64 = 30.0;
/// An answer is worth it if it brings the battery closer by more, W.
const CLOSER: f64 = 5.0;
/// Even if no answer seems worth it, one is given after so long, s …
const STUCK: f64 = 9.0;
/// … if the error is greater, W.
const STUCK_FROM: f64 = 40.0;

/// The least part of its share that a reader is answered.
const PART_LEAST: f64 = 0.25;
/// A law that acts on answers that are over is only believed in if a sample costs less than so much.
const CLEAR: f64 = 2.0;
/// A battery that moves at once, W/s.
const AT_ONCE: f64 = 1e6;

/// The law by which a battery is believed to act on its answers, as public sources describe it
/// (`docs/calm-control.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownLaw {
    /// It does not move, goes by its output of the moment, or no law is known: it is answered by what
    /// of its answers is seen on the meter.
    Unknown,
    /// It adds each answer.
    Adds,
    /// Marstek's integer law.
    Integer,
    /// Marstek's gain table.
    Ramps,
    /// A B2500's steps.
    Slews,
    /// A B2500 by the newer reading: it acts on its last answer until the next one, once its output
    /// has settled.
    Repeats,
    /// The same, settled or not.
    Reuses,
    /// It adds a mean of its answers.
    Averages,
}

impl KnownLaw {
    /// Whether it acts on answers that are over: where such a model is wrong, it is far off, and a
    /// house that switches regularly may look like it.
    fn acts_again(self) -> bool {
        matches!(self, Self::Repeats | Self::Reuses | Self::Averages)
    }
}

const KNOWN: [KnownLaw; 8] = [
    KnownLaw::Unknown,
    KnownLaw::Adds,
    KnownLaw::Integer,
    KnownLaw::Ramps,
    KnownLaw::Slews,
    KnownLaw::Repeats,
    KnownLaw::Reuses,
    KnownLaw::Averages,
];

/// Models of all known laws.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    models: Vec<(KnownLaw, Model)>,
    /// The kind that is believed in.
    kind: KnownLaw,
    /// Its model that fits best, and the delay.
    best: (usize, usize),
    /// Samples that told something of the law, as much of each as the models keep.
    told_by: f64,
    /// When it was told something last that is not 0 W, s.
    told_at: f64,
    doubt: Doubt,
}

impl Bank {
    pub fn new(now: f64) -> Self {
        let mut models = Vec::new();
        let mut add = |kind, law, dead, rate, start, range| {
            let body = Body {
                dead,
                rate,
                start,
                range,
            };
            models.push((kind, Model::new(law, body, now)));
        };
        let (small, large) = ((-800.0, 800.0), (-2500.0, 2500.0));
        add(
            KnownLaw::Unknown,
            Law::Adds { gain: 0.0 },
            1.0,
            200.0,
            0.0,
            small,
        );
        // A battery of these taken for one that adds is slow; the other way round, it would swing.
        for rate in [80.0, 130.0, 200.0] {
            for dead in [1.0, 1.7] {
                add(KnownLaw::Unknown, Law::FromOutput, dead, rate, 0.0, small);
            }
        }
        for rate in [200.0, 350.0, AT_ONCE] {
            for of in [3, 5, 8] {
                add(
                    KnownLaw::Averages,
                    Law::averages_of(of),
                    1.0,
                    rate,
                    0.0,
                    small,
                );
            }
        }
        for dead in [3.0, 4.5, 6.0] {
            for gain in [0.5, 0.75, 1.0] {
                add(KnownLaw::Adds, Law::Adds { gain }, dead, 300.0, 0.0, small);
            }
        }
        for range in [small, (-800.0, 2200.0), large] {
            for rate in [120.0, 200.0, 350.0, 700.0, AT_ONCE] {
                // When one jumps that moves at once is not told well enough: the ledger does better.
                let kind = if rate == AT_ONCE {
                    KnownLaw::Unknown
                } else {
                    KnownLaw::Adds
                };
                for gain in [0.15, 0.25, 0.5, 0.75, 1.0, 1.4] {
                    add(kind, Law::Adds { gain }, 1.0, rate, 0.0, range);
                }
            }
            // A Venus E is the large one, and rests longer.
            let (dead, start) = if range == large {
                (0.55, 1.5)
            } else {
                (0.85, 0.0)
            };
            for rate in [300.0, 450.0, 700.0] {
                for gain in [0.5, 0.6, 0.7, 0.8, 0.9, 1.0] {
                    let gate = Gate::default();
                    let law = Law::Integer { gain, gate };
                    add(KnownLaw::Integer, law, dead, rate, start, range);
                }
            }
        }
        for rate in [300.0, 500.0, 800.0] {
            add(KnownLaw::Ramps, Law::ramps(), 0.55, rate, 1.5, large);
        }
        add(KnownLaw::Slews, Law::Slews, 0.85, 200.0, 0.0, (0.0, 800.0));
        for dead in [0.5, 0.9, 1.3] {
            for rate in [100.0, 200.0, 320.0] {
                for least in [40.0, 80.0] {
                    let law = Law::repeats(least);
                    add(KnownLaw::Repeats, law, dead, rate, 0.0, (0.0, 800.0));
                }
            }
        }
        for dead in [0.6, 1.0, 1.4] {
            for rate in [200.0, 350.0, AT_ONCE] {
                let law = Law::Reuses { heard: 0.0 };
                add(KnownLaw::Reuses, law, dead, rate, 0.0, small);
            }
        }
        Self {
            models,
            kind: KnownLaw::Unknown,
            best: (0, 0),
            told_by: 0.0,
            told_at: now,
            doubt: Doubt::default(),
        }
    }

    /// A sample has come: says by how much the reader's output moved since the last one, W.
    pub fn moved(&mut self, now: f64) -> f64 {
        for (_, model) in &mut self.models {
            model.sample(now);
        }
        let (model, delay) = self.best;
        self.models[model].1.moved(delay)
    }

    /// Grid power changed by `change` W with that sample, or would have if no battery had moved; and
    /// it swings or not.
    pub fn learn(&mut self, now: f64, change: f64, swings: bool) {
        let (model, delay) = self.best;
        let without = change - self.models[model].1.moved(delay);
        let tells = self.models.iter().any(|(_, model)| model.moves());
        let mut bests = [(0, 0, f64::INFINITY); KNOWN.len()];
        for (at, (kind, model)) in self.models.iter_mut().enumerate() {
            if tells {
                model.learn(without);
            }
            let (delay, cost) = model.best();
            let best = &mut bests[*kind as usize];
            if cost < best.2 {
                *best = (at, delay, cost);
            }
        }
        if tells {
            self.told_by = KEEPS * self.told_by + 1.0;
        }
        let mut least = f64::INFINITY;
        let believed = self.kind;
        for kind in KNOWN {
            let handicap = match (believed, kind) {
                _ if kind == believed => 0.0,
                (KnownLaw::Unknown, _) => SURE,
                (_, KnownLaw::Unknown) => WRONG,
                _ => BETTER,
            };
            let cost = bests[kind as usize].2;
            if kind != believed && kind.acts_again() && cost > CLEAR * self.told_by {
                continue;
            }
            let cost = cost + handicap;
            if cost < least {
                (self.kind, least) = (kind, cost);
            }
        }
        let (model, delay, _) = bests[self.kind as usize];
        self.best = (model, delay);
        self.doubt
            .sample(now, swings, self.kind != KnownLaw::Unknown);
    }

    /// It is told `watts`.
    pub fn told(&mut self, now: f64, watts: f64) {
        if watts != 0.0 {
            self.told_at = now;
        }
        for (_, model) in &mut self.models {
            model.told(now, watts);
        }
    }

    /// Whether a law is believed in by which the reader is answered better than by the ledger.
    pub fn decides(&self) -> bool {
        self.law() != KnownLaw::Unknown
    }

    /// Whether it is believed to go by nothing but its answers' sum, so that a small one does nothing.
    pub fn is_plain(&self) -> bool {
        self.law() == KnownLaw::Adds
    }

    /// What is believed of it.
    pub fn law(&self) -> KnownLaw {
        if self.doubt.on {
            KnownLaw::Unknown
        } else {
            self.kind
        }
    }

    /// Whether it goes on with what it was told, `said` W the last time, until it hears 0 W.
    pub fn goes_on(&self, said: f64) -> bool {
        match self.law() {
            KnownLaw::Repeats | KnownLaw::Reuses => said != 0.0,
            KnownLaw::Averages => self.models[self.best.0].1.rest() != 0.0,
            _ => false,
        }
    }

    /// The part of its share with which an answer does about as much as it says until the next question,
    /// which comes after `poll` s.
    pub fn part(&self, poll: f64) -> f64 {
        if self.law() == KnownLaw::Reuses {
            (PASS / poll.max(PASS)).max(PART_LEAST)
        } else {
            1.0
        }
    }

    /// Whether `watts` are worth saying, while `error` W are on the meter that are not on their way
    /// to another reader.
    pub fn says(&mut self, now: f64, watts: f64, error: f64, poll: f64) -> bool {
        if watts.abs() > STUCK_FROM && now - self.told_at > STUCK {
            return true;
        }
        let left = error - self.on_its_way();
        let (once, twice) = self.models[self.best.0].1.would_add(now, watts, poll);
        // One that holds it the first time is told it for the second.
        let adds = if once == 0.0 { twice } else { once };
        // Without a gate, small answers do no harm.
        let closer = if self.is_plain() {
            CLOSER.min(0.5 * adds.abs())
        } else {
            CLOSER
        };
        let rest = self.models[self.best.0].1.rest();
        (left - adds).abs() < (left - rest).abs() - closer
    }

    /// What it was told and the newest sample does not show yet, W.
    pub fn on_its_way(&self) -> f64 {
        let (model, delay) = self.best;
        self.models[model].1.on_its_way(delay)
    }
}
