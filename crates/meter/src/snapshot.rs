//! The one truth of a moment: all phases, totals, counters, time and quality, immutable.
//!
//! Rounding happens here, once (`docs/decisions.md#rounding`): phase powers to 0.1 W by largest
//! remainder so that they add up to the total rounded to 0.1 W; every other figure to its own
//! decimals, totals being the sums of the rounded. Every channel serves these very numbers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    figures::{PhaseInput, Quality, Served, Totals},
    rhythm::Report,
    round::{scale, serve},
};
use vocab::reason::Reason;
use vocab::{Milli, Now, Phase};

/// Energy of one direction pair, Wh, unrounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// Imported, `total_act_energy`.
    pub import: f64,
    /// Exported, `total_act_ret_energy`.
    pub export: f64,
}

/// All counters, Wh, unrounded (`docs/protocol/emdata.md#counters`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
        self.phases.iter().fold(Counter::default(), |t, p| Counter {
            import: t.import + p.import,
            export: t.export + p.export,
        })
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
        let mut told = self.clone();
        let values = told.inputs.iter_mut().filter_map(|i| i.electric.as_mut());
        for electric in values {
            electric.act_power = 0.0;
            electric.aprt_power = 0.0;
            electric.current = 0.0;
            electric.pf = 0.0;
        }
        (told.phases, told.totals) = serve(&told.inputs, 1.0);
        told.n_current = self.n_current.map(|_| Milli::default());
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
        Some(
            self.now.unix
                - of_phase
                    .or_else(|| self.report())?
                    .age(self.now.mono)
                    .as_secs_f64(),
        )
    }

    /// Energy totals as served: summed, or netted by setting.
    #[must_use]
    pub fn energy_totals(&self) -> Option<Counter> {
        self.energy
            .map(|e| if self.energy_net { e.net } else { e.sum() })
    }
}

impl Snapshot {
    /// The same moment for a reader that gets `share` (1.0: all) of it: powers, apparent powers and
    /// currents are scaled, then rounded; voltage, power factor, frequency and energy stay.
    #[must_use]
    pub fn scaled(&self, share: f64) -> Self {
        let mut scaled = self.clone();
        (scaled.phases, scaled.totals) = serve(&self.inputs, share);
        scaled.n_current = self.n_current.map(|n| Milli::round(n.get() * share));
        for e in scaled
            .inputs
            .iter_mut()
            .filter_map(|input| input.electric.as_mut())
        {
            *e = scale(*e, share);
        }
        scaled
    }
}
