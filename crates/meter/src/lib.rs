//! Physics, pure: units, signs, smoothing, staleness, energy. Time comes in as an argument.
//!
//! ```text
//! SourceEvent ─▶ cells (what each entity says, and for how long that may be believed)
//!                  └▶ inputs (sum, pair, scale, offset, invert; total to phases; smoothing)
//!                       ├▶ counters, minutes (exact integration of what was measured)
//!                       └▶ derive ─▶ round ─▶ Snapshot
//! ```
//!
//! [`Meter`] is the door: events and seconds in, [`Snapshot`]s and [`MinuteRecord`]s out.

mod cells;
pub mod counters;
mod derive;
pub mod direction;
mod engine;
mod figures;
mod follow;
mod inputs;
mod minutes;
pub mod pair;
mod rating;
pub mod records;
mod report;
pub mod rhythm;
pub mod round;
mod shown;
mod smooth;
mod snapshot;
mod watch;
pub mod witness;

pub use counters::{CounterState, Taken};
pub use engine::{Changed, Meter, SIBLINGS, Ticked};
pub use figures::{Derived, Electric, PhaseInput, Quality, Served, Totals};
pub use minutes::{MinuteBuilder, MinuteRecord, PhaseMinute};
pub use report::EntityReport;
pub use rhythm::Report;
pub use snapshot::{Counter, Energy, Snapshot, SourceHealth};
pub use watch::Notice;

#[cfg(test)]
mod tests;
