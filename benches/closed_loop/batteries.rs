//! Batteries that regulate on a meter. What is common: a set point acts `dead` s after it was made,
//! the output moves at most `ramp` W/s towards it, and from rest it needs `start` s. What differs
//! is the law by which an answer changes the set point, written from the descriptions in
//! `docs/calm-control.md`.

use std::collections::VecDeque;

use fastrand::Rng;

/// One step of time, s.
pub const STEP: f64 = 0.1;

/// How an answer changes the set point.
#[derive(Clone, Debug)]
pub enum Law {
    /// Each answer outside the band is added, times `gain`, less `bias` (Hoymiles MS-A2 class,
    /// Venus D).
    Adds { gain: f64, band: f64, bias: f64 },
    /// Marstek's integer law (Venus A, D, E 3.0): adds an import of 11 W and more less 5 W, and any
    /// export; holds once when the answer jumped by more than 50 W and the own output did not move.
    Integer { gain: f64, last: f64, last_out: f64 },
    /// Output of the moment plus `gain` times the answer (Zendure and NOAH class).
    FromOutput { gain: f64, band: f64 },
    /// Aims at output + 90 % of the answer and moves `step` W an answer (B2500, older reading).
    Slews { step: f64, band: f64 },
    /// Adds its last answer each 0.5 s once the output has settled, answered anew or not; begins
    /// only at an import of `least` W on two passes, and stays between `least` and its limit
    /// (B2500, newer reading).
    Repeats {
        least: f64,
        heard: f64,
        pass: f64,
        passes: u32,
    },
    /// A step whose limit grows while the error lasts, behind the same gate (Venus C/E 2 and 3 with
    /// the gain table).
    Ramps {
        band: f64,
        acc: i32,
        last: f64,
        low: f64,
        reference: f64,
        last_seen: f64,
        last_out: f64,
    },
    /// Adds the mean of its last five answers.
    Averages { past: VecDeque<f64> },
    /// Adds, and goes to 0 W when it hears nothing for `patience` s.
    Forgets { patience: f64, heard: f64 },
    /// Adds its last answer at each of its cycles, answered anew or not.
    Reuses { gain: f64, heard: f64, next: f64 },
}

/// One battery.
#[derive(Clone, Debug)]
pub struct Battery {
    pub poll: f64,
    pub dead: f64,
    pub ramp: f64,
    pub lo: f64,
    pub hi: f64,
    pub start: f64,
    /// Its connection waits for an answer (HTTP, WebSocket).
    pub holds: bool,
    pub law: Law,
    pub out: f64,
    fresh: Law,
    set: f64,
    goal: f64,
    pipe: VecDeque<(f64, f64)>,
    idle: f64,
}

/// W of an answer that is a spike if the own output has not moved.
const SPIKE: f64 = 50.0;

impl Battery {
    /// Off, and as if never answered.
    pub fn reset(&mut self) {
        (self.out, self.set, self.goal, self.idle) = (0.0, 0.0, 0.0, 0.0);
        self.pipe.clear();
        self.law = self.fresh.clone();
    }

    /// Its set point, W.
    pub fn set(&self) -> f64 {
        self.set
    }

    /// Whether it acts on an answer again until the next one.
    pub fn acts_again(&self) -> bool {
        matches!(self.law, Law::Repeats { .. } | Law::Reuses { .. })
    }

    /// What its set point is at its next question, W, if it is answered `value` W at `t` s.
    pub fn would_set(&self, t: f64, value: f64) -> f64 {
        let mut ahead = self.clone();
        ahead.answer(t, value);
        if self.acts_again() {
            let steps = (self.poll / STEP) as u32;
            for n in 1..=steps {
                ahead.physics(t + f64::from(n) * STEP);
            }
        }
        if ahead.set == self.set {
            // One that holds a jump the first time is told it for the second.
            ahead.answer(t, value);
        }
        ahead.set
    }

    fn aim(&mut self, t: f64, watts: f64) {
        self.set = watts.clamp(self.lo, self.hi);
        self.pipe.push_back((t + self.dead, self.set));
    }

    /// One step of time.
    pub fn physics(&mut self, t: f64) {
        match &mut self.law {
            Law::Forgets { patience, heard } if t - *heard > *patience && self.set != 0.0 => {
                self.aim(t, 0.0);
            }
            Law::Reuses { gain, heard, next } if t >= *next => {
                *next = t + 0.5;
                let add = *gain * *heard;
                if heard.abs() > 15.0 {
                    self.aim(t, self.set + add);
                }
            }
            Law::Repeats {
                least,
                heard,
                pass,
                passes,
            } if t >= *pass => {
                *pass = t + 0.5;
                let (least, heard) = (*least, *heard);
                if self.set == 0.0 {
                    *passes = if heard >= least { *passes + 1 } else { 0 };
                    if *passes >= 2 {
                        *passes = 0;
                        self.aim(t, heard.max(least));
                    }
                } else if (self.out - self.set).abs() <= 9.0 && heard.abs() > 10.0 {
                    let hi = self.hi;
                    self.aim(t, (self.set + heard).clamp(least, hi));
                }
            }
            _ => {}
        }
        while self.pipe.front().is_some_and(|(at, _)| *at <= t) {
            if let Some((_, goal)) = self.pipe.pop_front() {
                self.goal = goal;
            }
        }
        if self.start > 0.0 && self.out.abs() < 5.0 && self.goal.abs() >= 5.0 {
            self.idle += STEP;
            if self.idle < self.start {
                return;
            }
        } else {
            self.idle = 0.0;
        }
        let most = self.ramp * STEP;
        self.out += (self.goal - self.out).clamp(-most, most);
    }

    /// An answer of `value` W.
    pub fn answer(&mut self, t: f64, value: f64) {
        let (set, out) = (self.set, self.out);
        let next = match &mut self.law {
            Law::Adds { gain, band, bias } => {
                if value.abs() > *band {
                    set + *gain * value - *bias
                } else {
                    set
                }
            }
            Law::Integer {
                gain,
                last,
                last_out,
            } => {
                let value = value.trunc();
                let spike = (value - *last).abs() > SPIKE && (out - *last_out).abs() < 20.0;
                (*last, *last_out) = (value, out);
                if spike || (0.0..11.0).contains(&value) {
                    return;
                }
                set + *gain * if value > 0.0 { value - 5.0 } else { value }
            }
            Law::FromOutput { gain, band } => {
                if value.abs() <= *band {
                    return;
                }
                out + *gain * value
            }
            Law::Slews { step, band } => {
                let aim = (out + 0.9 * value).clamp(self.lo, self.hi);
                if out > aim + *band / 2.0 {
                    set - *step
                } else if out < aim - *band / 2.0 {
                    set + *step
                } else {
                    return;
                }
            }
            Law::Repeats { heard, .. } | Law::Reuses { heard, .. } => {
                *heard = value;
                return;
            }
            Law::Averages { past } => {
                if past.len() == 5 {
                    past.pop_front();
                }
                past.push_back(value);
                let mean = past.iter().sum::<f64>() / past.len() as f64;
                if mean.abs() > 15.0 { set + mean } else { set }
            }
            Law::Forgets { heard, .. } => {
                *heard = t;
                if value.abs() > 15.0 { set + value } else { set }
            }
            Law::Ramps {
                band,
                acc,
                last,
                low,
                reference,
                last_seen,
                last_out,
            } => {
                let (grid, own) = (value.trunc(), out.trunc());
                let spike = grid.abs() > *band
                    && (grid - *last_seen).abs() > SPIKE
                    && (own - *last_out).abs() < 20.0;
                (*last_seen, *last_out) = (grid, own);
                if (spike) || (grid.abs() < *band && own < 1.0) || (0.0..10.0).contains(&grid) {
                    return;
                }
                // Its comparison takes numbers as unsigned, and the limit of a step by how long the
                // error has lasted.
                let unsigned = |x: f64| if x < 0.0 { x + 4_294_967_296.0 } else { x };
                let lower = if unsigned(*low) < unsigned(grid) {
                    *low
                } else {
                    grid
                };
                *low = lower;
                if grid > *last {
                    (*reference, *low) = (lower, grid);
                    *acc = if *acc > 0 { -1 } else { 0 };
                } else {
                    *acc = if *acc > 0 {
                        (*acc + 1).min(5)
                    } else {
                        (*acc - 1).max(-5)
                    };
                }
                let limit = match *acc {
                    -5 => 410.0,
                    -4 => 350.0,
                    -3 => 180.0,
                    -2 => 60.0,
                    3 => 100.0,
                    4 => 200.0,
                    5 => 400.0,
                    _ => 50.0,
                };
                let root = (grid * grid - *reference * *reference)
                    .rem_euclid(4_294_967_296.0)
                    .sqrt()
                    + 10.0;
                let step = root.min(limit).min(grid);
                *last = grid;
                if *acc > 0 { set - step } else { set + step }
            }
        };
        self.aim(t, next);
    }
}

/// Draws from ranges made so many times as wide; what is no range is not drawn.
struct Draw<'a> {
    rng: &'a mut Rng,
    widen: f64,
}

impl Draw<'_> {
    fn from(&mut self, (lo, hi): (f64, f64)) -> f64 {
        if lo == hi {
            return lo;
        }
        let (middle, half) = (f64::midpoint(lo, hi), (hi - lo) / 2.0 * self.widen);
        let least = (middle - half).max(0.5 * lo);
        least + (middle + half - least) * self.rng.f64()
    }

    /// No battery does more than it is told, but one of which that is known.
    fn gain(&mut self, lo: f64, hi: f64) -> f64 {
        self.from((lo, hi)).min(hi.max(1.0))
    }
}

/// The families that are known.
pub const FAMILIES: [&str; 8] = [
    "h13",
    "adds",
    "venus-d",
    "venus-3",
    "venus-2",
    "b2500",
    "from-output",
    "calm",
];
/// Newer readings of two firmwares.
pub const NEWER: [&str; 3] = ["integer", "integer-fast", "b2500-new"];
/// Several on one meter.
pub const SEVERAL: [&str; 5] = [
    "adds+adds",
    "adds+venus-3",
    "adds+venus-3+b2500",
    "venus-2+b2500",
    "venus-3+venus-3",
];
/// What the policy was not made for.
pub const ODD: [&str; 7] = [
    "dead-6s",
    "gain-1.4",
    "forgets-10s",
    "forgets-5s",
    "averages",
    "reuses",
    "calm-fast",
];

/// What batteries of a family have in common: ranges to draw from.
#[derive(Clone, Copy)]
struct Family {
    /// They ask each so many s.
    poll: (f64, f64),
    /// A set point acts after, s.
    dead: (f64, f64),
    /// The output moves, W/s.
    ramp: (f64, f64),
    /// Limits of the output, W.
    range: (f64, f64),
    /// From rest they need, s.
    start: (f64, f64),
    holds: bool,
    law: fn(&mut Draw<'_>) -> Law,
}

/// One that asks each second and is odd in nothing but its law.
const PLAIN: Family = Family {
    poll: (1.0, 1.0),
    dead: (0.9, 0.9),
    ramp: (350.0, 350.0),
    range: (-800.0, 800.0),
    start: (0.0, 0.0),
    holds: false,
    law: |_| adds(1.0, 15.0),
};
/// Venus A, D and E.
const VENUS_D: Family = Family {
    poll: (0.8, 1.2),
    dead: (0.5, 1.2),
    ramp: (300.0, 800.0),
    range: (-800.0, 2200.0),
    ..PLAIN
};
const VENUS_3: Family = Family {
    poll: (0.40, 0.46),
    dead: (0.3, 0.8),
    ramp: (300.0, 800.0),
    range: (-2500.0, 2500.0),
    start: (1.0, 2.0),
    ..PLAIN
};
const B2500: Family = Family {
    poll: (1.0, 2.0),
    dead: (0.5, 1.2),
    ramp: (100.0, 300.0),
    range: (0.0, 800.0),
    ..PLAIN
};

const fn adds(gain: f64, band: f64) -> Law {
    let bias = 0.0;
    Law::Adds { gain, band, bias }
}

const fn integer(gain: f64) -> Law {
    Law::Integer {
        gain,
        last: 0.0,
        last_out: 0.0,
    }
}

const fn ramps(band: f64) -> Law {
    Law::Ramps {
        band,
        acc: 0,
        last: 0.0,
        low: 0.0,
        reference: 0.0,
        last_seen: 0.0,
        last_out: 0.0,
    }
}

const fn forgets(patience: f64) -> Law {
    let heard = 0.0;
    Law::Forgets { patience, heard }
}

/// A family by its name.
fn family(name: &str) -> Family {
    match name {
        // Half-second polls, all of it at once after 1.5 s.
        "h13" => Family {
            poll: (0.5, 0.5),
            dead: (1.5, 1.5),
            ramp: (1e9, 1e9),
            law: |_| adds(1.0, 20.0),
            ..PLAIN
        },
        "adds" => Family {
            poll: (0.45, 0.6),
            dead: (0.8, 2.2),
            ramp: (150.0, 500.0),
            holds: true,
            law: |d| adds(d.gain(0.8, 1.0), d.from((10.0, 20.0))),
            ..PLAIN
        },
        "venus-d" => Family {
            law: |d| Law::Adds {
                gain: d.gain(0.7, 1.0),
                band: 11.0,
                bias: 5.0,
            },
            ..VENUS_D
        },
        "venus-3" => Family {
            law: |_| ramps(10.0),
            ..VENUS_3
        },
        "venus-2" => Family {
            poll: (2.8, 3.3),
            dead: (0.6, 1.4),
            ramp: (250.0, 500.0),
            law: |_| ramps(20.0),
            ..VENUS_3
        },
        "b2500" => Family {
            law: |_| Law::Slews {
                step: 34.0,
                band: 20.0,
            },
            ..B2500
        },
        "from-output" => Family {
            poll: (2.5, 5.0),
            dead: (0.8, 2.0),
            ramp: (60.0, 200.0),
            holds: true,
            law: |d| Law::FromOutput {
                gain: d.gain(0.8, 1.0),
                band: d.from((10.0, 20.0)),
            },
            ..PLAIN
        },
        "calm" => Family {
            poll: (1.8, 2.2),
            dead: (0.5, 0.9),
            ramp: (200.0, 500.0),
            law: |d| adds(d.from((0.2, 0.3)), 15.0),
            ..PLAIN
        },
        "calm-fast" => Family {
            poll: (0.9, 1.1),
            dead: (0.4, 0.8),
            ramp: (200.0, 500.0),
            law: |d| adds(d.from((0.1, 0.2)), 15.0),
            ..PLAIN
        },
        "integer" => Family {
            law: |d| integer(d.gain(0.7, 1.0)),
            ..VENUS_D
        },
        "integer-fast" => Family {
            law: |d| integer(d.gain(0.5, 1.0)),
            ..VENUS_3
        },
        "b2500-new" => Family {
            poll: (1.0, 1.2),
            law: |d| Law::Repeats {
                least: if d.from((0.0, 1.0)) < 0.5 { 40.0 } else { 80.0 },
                heard: 0.0,
                pass: 0.0,
                passes: 0,
            },
            ..B2500
        },
        "dead-6s" => Family {
            dead: (6.0, 6.0),
            ramp: (300.0, 300.0),
            ..PLAIN
        },
        "gain-1.4" => Family {
            dead: (1.0, 1.0),
            ramp: (300.0, 300.0),
            law: |_| adds(1.4, 15.0),
            ..PLAIN
        },
        "forgets-10s" => Family {
            law: |_| forgets(10.0),
            ..PLAIN
        },
        "forgets-5s" => Family {
            law: |_| forgets(5.0),
            ..PLAIN
        },
        "averages" => Family {
            law: |_| Law::Averages {
                past: VecDeque::new(),
            },
            ..PLAIN
        },
        "reuses" => Family {
            law: |_| Law::Reuses {
                gain: 1.0,
                heard: 0.0,
                next: 0.0,
            },
            ..PLAIN
        },
        other => panic!("no family is called {other}"),
    }
}

/// A battery of the family `name`, its parameters drawn from ranges made `widen` times as wide.
pub fn make(name: &str, rng: &mut Rng, widen: f64) -> Battery {
    let family = family(name);
    let d = &mut Draw { rng, widen };
    let law = (family.law)(d);
    let (lo, hi) = family.range;
    let lo = match law {
        // Once it gives, it gives no less.
        Law::Repeats { least, .. } => least,
        _ => lo,
    };
    Battery {
        poll: d.from(family.poll),
        dead: d.from(family.dead),
        ramp: d.from(family.ramp),
        lo,
        hi,
        start: d.from(family.start),
        holds: family.holds,
        fresh: law.clone(),
        law,
        out: 0.0,
        set: 0.0,
        goal: 0.0,
        pipe: VecDeque::new(),
        idle: 0.0,
    }
}
