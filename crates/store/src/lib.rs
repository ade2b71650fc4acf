//! SQLite: schema versions, energy counters, samples and their roll-ups, minute records, model
//! blobs, retention.
//!
//! ```text
//!  put_counters, sample, minute, put_state …           power, samples, records …
//!        │  (never blocks: into a bounded buffer)            ▲  own read-only connections, as of the
//!        ▼                                                   │  last commit; samples that wait too
//!    Buffer ── every store_interval ──▶ writer thread ──▶ virtual-shelly.db (WAL)
//!                                          │ every 10 min, at a reset, at stop, during a backup
//!                                          ▼
//!                                      meter.json (identity and counters once more)
//! ```
//!
//! One thread owns the writing connection; one transaction holds everything that came since the
//! last, counters included. What that promises, and what proves it: `docs/store.md`. The crate
//! knows no meaning of the numbers: device state is text to it. Nothing here ends the process: what
//! cannot be written is kept in the bounded buffer, said once, and tried again.

mod buffer;
pub mod chart;
mod codec;
mod commit;
mod event_rows;
mod events;
mod handle;
mod import;
mod kept;
mod lock;
mod loss;
mod machine;
mod money;
mod open;
mod original;
mod part;
mod private;
mod reader;
mod readers;
mod retention;
mod schema;
mod series;
mod shared;
mod sidecar;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod types;
mod upkeep;
mod writer;

pub use chart::{Chart, Range};
pub use handle::{Done, Store};
pub use kept::{Peek, intact, peek};
pub use machine::fallback_mac;
pub use open::{Opened, Restored, open, user_of};
pub use reader::MeterRecords;
pub use types::{
    Bar, EnergySpan, Event, Import, MeterRow, Model, Money, Price, Run, SetAside, StoreError,
    StoreHealth, StoreState,
};

/// Name of the database inside the data folder.
pub const DATABASE_FILE: &str = "virtual-shelly.db";
/// Name of the sidecar inside the data folder (`docs/decisions.md#the-sidecar`).
pub const SIDECAR_FILE: &str = "meter.json";
