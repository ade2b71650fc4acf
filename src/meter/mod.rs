//! Physics, pure: units, signs, smoothing, staleness, energy. Time comes in as an argument.

pub mod fixed;
pub mod minutes;
pub mod snapshot;

pub use fixed::Fixed;
pub use minutes::{MinuteRecord, PhaseMinute};
pub use snapshot::{Counter, Derived, Electric, Energy, Phase, PhaseInput, Quality, Served, Snapshot, SourceHealth, Totals};
