//! The one truth of a moment: all phases, totals, counters, time and quality, immutable.
//!
//! Rounding happens here, once (`docs/decisions.md#rounding`): phase powers to 0.1 W by largest
//! remainder so that they add up to the total rounded to 0.1 W; every other figure to its own
//! decimals, totals being the sums of the rounded. Every channel serves these very numbers.

use std::{
    array,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

use super::{
    figures::{Electric, PhaseInput, Quality, Served, Totals},
    rhythm::Report,
    round::{scale, serve},
};
use vocab::reason::Reason;
use vocab::{Milli, Now, Phase};

/// Energy of one direction pair, Wh, unrounded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counter {
    /// Imported, `total_act_energy`.
    pub import: f64,
    /// Exported, `total_act_ret_energy`.
    pub export: f64,
}

impl Counter {
    /// So much in each direction, Wh.
    #[must_use]
    pub const fn new(import: f64, export: f64) -> Self {
        Self { import, export }
    }

    /// One direction.
    pub const fn side_mut(&mut self, export: bool) -> &mut f64 {
        if export {
            &mut self.export
        } else {
            &mut self.import
        }
    }
}

impl Add for Counter {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self::new(self.import + more.import, self.export + more.export)
    }
}

impl AddAssign for Counter {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

/// All counters, Wh, unrounded (`docs/protocol/emdata.md#counters`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Energy {
    /// Per phase.
    pub phases: [Counter; 3],
    /// Netted over the phases: the sum of the phases' power integrated by its own sign.
    pub net: Counter,
}

impl Energy {
    /// Sum over the phases, not netted, as the device.
    #[must_use]
    pub fn sum(&self) -> Counter {
        let [a, b, c] = self.phases;
        a + b + c
    }

    /// Of these phases, of which so many Wh came in on one while they went out on another: so much
    /// less is each direction of the net.
    #[must_use]
    pub fn of_phases(phases: [Counter; 3], crossed: f64) -> Self {
        let mut energy = Self {
            phases,
            net: Counter::default(),
        };
        energy.net = energy.sum() + Counter::new(-crossed, -crossed);
        energy
    }

    /// `a_import, a_export, b_import, …, net_import, net_export`.
    #[must_use]
    pub const fn to_array(self) -> [f64; 8] {
        let ([a, b, c], net) = (self.phases, self.net);
        [
            a.import, a.export, b.import, b.export, c.import, c.export, net.import, net.export,
        ]
    }

    /// The inverse of [`Self::to_array`].
    #[must_use]
    pub const fn from_array([ai, ae, bi, be, ci, ce, ni, ne]: [f64; 8]) -> Self {
        Self {
            phases: [
                Counter::new(ai, ae),
                Counter::new(bi, be),
                Counter::new(ci, ce),
            ],
            net: Counter::new(ni, ne),
        }
    }

    /// Each counter made of the same one of both.
    #[must_use]
    pub fn zip(self, other: Self, of: impl Fn(f64, f64) -> f64) -> Self {
        let (a, b) = (self.to_array(), other.to_array());
        Self::from_array(array::from_fn(|i| of(a[i], b[i])))
    }

    /// The higher one of each counter.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, f64::max)
    }

    /// The lower one of each counter.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        self.zip(other, f64::min)
    }
}

impl Add for Energy {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        self.zip(more, |a, b| a + b)
    }
}

impl AddAssign for Energy {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

impl Sub for Energy {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        self.zip(less, |a, b| a - b)
    }
}

/// How the source is, for health pages and `/healthz`.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceHealth {
    /// The link.
    pub link: vocab::Link,
    /// Monotonic time of the last sign of life.
    pub last_alive: Option<Duration>,
}

/// The one truth of a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Counts up by one a snapshot.
    pub seq: u64,
    /// When it was made.
    pub now: Now,
    /// Unrounded, for scaling and pages.
    pub inputs: [PhaseInput; 3],
    /// As served; `None` for an absent phase.
    pub phases: [Option<Served>; 3],
    /// As served; `None` while any used phase is absent.
    pub totals: Option<Totals>,
    /// Neutral current where an entity gives it, A.
    pub n_current: Option<Milli>,
    /// Counters; `None` while they wait for their seed.
    pub energy: Option<Energy>,
    /// Whether totals of energy are netted over the phases (`energy_total = net`).
    pub energy_net: bool,
    /// The source.
    pub source: SourceHealth,
}

impl Snapshot {
    /// The same without any value of a phase that is used: each is absent for this reason from now
    /// on. Counters stay.
    #[must_use]
    pub fn withheld(&self, reason: &Reason) -> Self {
        let mut told = self.clone();
        for (input, served) in told.inputs.iter_mut().zip(&mut told.phases) {
            if input.quality != Quality::Unused {
                input.quality = Quality::Absent {
                    since: self.now.mono,
                    reason: reason.clone(),
                };
                (input.electric, *served) = (None, None);
            }
        }
        (told.totals, told.n_current) = (None, None);
        told
    }

    /// The same with 0 W wherever there is a value. Voltages, frequencies and counters stay.
    #[must_use]
    pub fn at_zero(&self) -> Self {
        self.with(
            |e| Electric {
                act_power: 0.0,
                aprt_power: 0.0,
                current: 0.0,
                pf: 0.0,
                ..e
            },
            |_| Milli::default(),
        )
    }

    /// The same moment for a reader that gets `share` (1.0: all) of it: powers, apparent powers and
    /// currents are scaled, then rounded; voltage, power factor, frequency and energy stay.
    #[must_use]
    pub fn scaled(&self, share: f64) -> Self {
        self.with(|e| scale(e, share), |n| Milli::round(n.get() * share))
    }

    fn with(&self, of: impl Fn(Electric) -> Electric, n_current: impl Fn(Milli) -> Milli) -> Self {
        let mut told = self.clone();
        for input in &mut told.inputs {
            input.electric = input.electric.map(&of);
        }
        (told.phases, told.totals) = serve(&told.inputs);
        told.n_current = told.n_current.map(n_current);
        told
    }

    /// Whether a phase that is used has no value: totals are absent then, and the stale policy
    /// acts.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.totals.is_none()
    }

    /// When the oldest of the values in use was reported, so far as is known: all others are newer.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        let used = self
            .inputs
            .iter()
            .filter(|input| input.quality != Quality::Unused);
        used.filter_map(|input| input.report)
            .max_by_key(|report| report.age(self.now.mono))
    }

    /// Unix time of the last report of a phase, or of the oldest of the values in use; `None` where
    /// nothing was reported yet.
    #[must_use]
    pub fn reported_at(&self, phase: Option<Phase>) -> Option<f64> {
        let of_phase = phase.and_then(|phase| self.inputs[phase.index()].report);
        let age = of_phase.or_else(|| self.report())?.age(self.now.mono);
        Some(self.now.unix - age.as_secs_f64())
    }

    /// Energy totals as served: summed, or netted by setting.
    #[must_use]
    pub fn energy_totals(&self) -> Option<Counter> {
        self.energy
            .map(|e| if self.energy_net { e.net } else { e.sum() })
    }
}
