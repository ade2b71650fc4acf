//! How a battery turns answers into its set point, as public sources describe it
//! (`docs/calm-control.md`).

/// A change from answer to answer that a gate holds once, W …
const SPIKE: f64 = 50.0;
/// … unless the own output moved by so much, W.
const MOVED: f64 = 20.0;
/// What a battery that slews moves an answer, W.
const SLEWS: f64 = 34.0;
/// What a battery that ramps moves at most, W, by how many answers in a row did not rise.
const LIMITS: [f64; 6] = [50.0, 50.0, 60.0, 180.0, 350.0, 410.0];

/// One that acts again on its last answer does so each so many s.
pub(super) const PASS: f64 = 0.5;
/// It does once its output is so close to its set point, W …
const SETTLED: f64 = 9.0;
/// … and begins to give after so many of them.
const STARTS: u32 = 2;

/// Answers of which a mean is taken at most.
const MEAN: usize = 8;

/// How an answer changes the set point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Law {
    /// Adds `gain` of it.
    Adds { gain: f64 },
    /// Adds the mean of its last `of` answers, which `past` ends with.
    Averages { past: [f64; MEAN], of: usize },
    /// Aims at the output of the moment and most of it.
    FromOutput,
    /// Marstek's integer law: adds an import less 5 W, and any export.
    Integer { gain: f64, gate: Gate },
    /// Marstek's gain table: a step whose limit grows while answers do not rise.
    Ramps {
        gate: Gate,
        /// Answers in a row that did not rise.
        run: usize,
        last: f64,
        low: f64,
        /// The lowest before the last rise.
        reference: f64,
    },
    /// Moves a fixed step towards its output and most of the answer.
    Slews,
    /// A B2500 as its firmware is read lately: adds its last answer at each pass once the output has
    /// settled, and never gives less than `least` once it has begun to.
    Repeats {
        /// Its last answer, W.
        heard: f64,
        /// It begins at an import of so much, W.
        least: f64,
        /// Passes in a row that heard as much.
        starts: u32,
    },
    /// Adds its last answer at each pass, settled or not.
    Reuses {
        /// Its last answer, W.
        heard: f64,
    },
}

/// What the gate against spikes goes by: the last answer, and the own output then, W.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gate {
    said: f64,
    out: f64,
}

impl Gate {
    fn holds(&mut self, watts: f64, out: f64) -> bool {
        let holds = (watts - self.said).abs() > SPIKE && (out - self.out).abs() < MOVED;
        *self = Self { said: watts, out };
        holds
    }
}

/// Marstek's firmware compares as if its numbers had no sign: what is fed in counts as very much.
fn unsigned(watts: f64) -> f64 {
    if watts < 0.0 {
        watts + 4_294_967_296.0
    } else {
        watts
    }
}

impl Law {
    /// The gain table, before any answer.
    pub fn ramps() -> Self {
        Self::Ramps {
            gate: Gate::default(),
            run: 0,
            last: 0.0,
            low: 0.0,
            reference: 0.0,
        }
    }

    /// Whether what it was told goes on with later answers.
    pub fn averages(&self) -> bool {
        matches!(self, Self::Averages { .. })
    }

    /// What an answer of `watts` and enough of 0 W after it make of the set point `set`, W.
    pub fn hears_out(mut self, watts: Option<f64>, set: f64, out: f64) -> f64 {
        let mut set = watts.map_or(set, |watts| self.hears(watts, set, out));
        for _ in 0..MEAN {
            set = self.hears(0.0, set, out);
        }
        set
    }

    /// Whether it acts at passes of its own, and not when it is answered.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Repeats { .. } | Self::Reuses { .. })
    }

    /// What a pass makes of the set point `set` while the output is `out`, W.
    pub fn pass(&mut self, set: f64, out: f64) -> f64 {
        let (heard, least, starts) = match self {
            Self::Repeats {
                heard,
                least,
                starts,
            } => (heard, least, starts),
            Self::Reuses { heard } if heard.abs() > 12.0 => return set + *heard,
            _ => return set,
        };
        if set == 0.0 {
            *starts = if *heard >= *least { *starts + 1 } else { 0 };
            if *starts < STARTS {
                return set;
            }
            *starts = 0;
            heard.max(*least)
        } else if heard.abs() > 10.0 && (out - set).abs() <= SETTLED {
            (set + *heard).max(*least)
        } else {
            set
        }
    }

    /// A mean of its last `of` answers, before any: at most [`MEAN`].
    pub fn averages_of(of: usize) -> Self {
        Self::Averages {
            past: [0.0; MEAN],
            of: of.clamp(1, MEAN),
        }
    }

    /// A B2500's newer reading, before any answer.
    pub fn repeats(least: f64) -> Self {
        Self::Repeats {
            heard: 0.0,
            least,
            starts: 0,
        }
    }

    /// What an answer of `watts` makes of the set point `set` while the output is `out`, W.
    pub fn hears(&mut self, watts: f64, set: f64, out: f64) -> f64 {
        match self {
            Self::Adds { gain } if watts.abs() > 12.0 => set + *gain * watts,
            Self::FromOutput if watts.abs() > 15.0 => out + 0.9 * watts,
            Self::Adds { .. } | Self::FromOutput => set,
            Self::Averages { past, of } => {
                past.rotate_left(1);
                past[MEAN - 1] = watts;
                let mean = past[MEAN - *of..].iter().sum::<f64>() / *of as f64;
                if mean.abs() > 12.0 { set + mean } else { set }
            }
            Self::Integer { gain, gate } => {
                let watts = watts.trunc();
                if gate.holds(watts, out) || (0.0..11.0).contains(&watts) {
                    set
                } else {
                    set + *gain * if watts > 0.0 { watts - 5.0 } else { watts }
                }
            }
            Self::Repeats { heard, .. } | Self::Reuses { heard } => {
                *heard = watts;
                set
            }
            Self::Slews => {
                let far = (out + 0.9 * watts).max(0.0) - out;
                if far.abs() > 10.0 {
                    set + SLEWS.copysign(far)
                } else {
                    set
                }
            }
            Self::Ramps {
                gate,
                run,
                last,
                low,
                reference,
            } => {
                let (watts, out) = (watts.trunc(), out.trunc());
                let small = watts.abs() < 10.0 && out < 1.0 || (0.0..10.0).contains(&watts);
                if gate.holds(watts, out) || small {
                    return set;
                }
                if unsigned(*low) >= unsigned(watts) {
                    *low = watts;
                }
                if watts > *last {
                    (*reference, *low, *run) = (*low, watts, 0);
                } else {
                    *run = (*run + 1).min(LIMITS.len() - 1);
                }
                *last = watts;
                let root = (watts * watts - *reference * *reference)
                    .rem_euclid(4_294_967_296.0)
                    .sqrt();
                set + (root + 10.0).min(LIMITS[*run]).min(watts)
            }
        }
    }
}
