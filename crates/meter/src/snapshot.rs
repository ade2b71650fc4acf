//! The one truth of a moment: all phases, totals, counters, time and quality, immutable.
//!
//! Rounding happens here, once (`docs/decisions.md#rounding`): phase powers to 0.1 W by largest
//! remainder so that they add up to the total rounded to 0.1 W; every other figure to its own
//! decimals, totals being the sums of the rounded. Every channel serves these very numbers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rhythm::Report;
use vocab::reason::Reason;
use vocab::{Centi, Deci, Milli, Now, Phase};

/// How good a phase's values are (`docs/decisions.md#how-good-a-value-is`).
#[derive(Clone, Debug, PartialEq)]
pub enum Quality {
    /// Heard, and the source is there.
    Live,
    /// Last known value goes on, since that monotonic time; the reason says why.
    Held {
        /// Monotonic time of the last sign of life.
        since: Duration,
        /// E.g. that `sensor.grid_power` is unavailable.
        reason: Reason,
    },
    /// No value that may be served; the reason says why.
    Absent {
        /// Monotonic time of the last sign of life: the time of holding counts too.
        since: Duration,
        /// E.g. that `sensor.grid_power` is unavailable.
        reason: Reason,
    },
    /// Nothing is configured for this phase while another is: 0.0 W at line voltage.
    Unused,
}

/// Unrounded values of one phase: power signed, import positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Electric {
    /// Active power in W, + import, − export.
    pub act_power: f64,
    /// Phase to neutral, V.
    pub voltage: f64,
    /// RMS current, A, never negative.
    pub current: f64,
    /// Apparent power, VA, never negative, at least |P|.
    pub aprt_power: f64,
    /// |P|/S, 0 to 1.
    pub pf: f64,
    /// Hz.
    pub freq: f64,
}

/// Which figures of a phase were derived and not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Derived {
    /// Voltage is the configured line voltage.
    pub voltage: bool,
    /// Current is S/U.
    pub current: bool,
    /// Power factor is |P|/S.
    pub pf: bool,
    /// Frequency is the configured line frequency.
    pub freq: bool,
}

/// A phase as the meter knows it, before rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct PhaseInput {
    /// How good.
    pub quality: Quality,
    /// The values; `None` exactly when [`Quality::Absent`].
    pub electric: Option<Electric>,
    /// What of it was derived.
    pub derived: Derived,
    /// When its power was reported last, so far as is known; of several entities the oldest that
    /// counts.
    pub report: Option<Report>,
}

/// A phase's figures as served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// W, + import, − export.
    pub act_power: Deci,
    /// VA.
    pub aprt_power: Deci,
    /// A.
    pub current: Milli,
    /// V.
    pub voltage: Deci,
    /// 0.00 to 1.00.
    pub pf: Centi,
    /// Hz.
    pub freq: Deci,
}

/// Totals as served; there are none while a used phase is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Sum of the phases as served, W.
    pub act_power: Milli,
    /// VA.
    pub aprt_power: Milli,
    /// A.
    pub current: Milli,
}

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
