//! The figures of a phase: as the meter knows them, and as they are served.

use std::time::Duration;

use super::rhythm::Report;
use vocab::{Centi, Deci, Milli, reason::Reason};

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

impl Quality {
    /// Why there is no live value of a phase that is used.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Held { reason, .. } | Self::Absent { reason, .. } => Some(reason),
            Self::Live | Self::Unused => None,
        }
    }
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
