//! SQLite: schema versions, energy counters, samples and their roll-ups, minute records, model
//! blobs, retention.
//!
//! ```text
//!  put_counters, sample, minute, put_state …           power, samples, records …
//!        │  (never blocks: into a bounded buffer)            ▲  own read-only connections,
//!        ▼                                                   │  what is buffered included
//!    Buffer ── every store_interval ──▶ writer thread ──▶ virtual-shelly.db (WAL)
//!                                          │ every 10 min, at a reset, at stop, during a backup
//!                                          ▼
//!                                      meter.json (identity and counters once more)
//! ```
//!
//! One thread owns the writing connection; one transaction holds everything that came since the
//! last, counters included (`docs/decisions.md#writing-little`). The crate knows no meaning of the
//! numbers: device state is text to it. Nothing here ends the process: what cannot be written is
//! kept in a bounded buffer, said once, and tried again; a folder that cannot be used at all is
//! done without, in memory, and tried again too.

mod blocks;
mod buffer;
pub mod chart;
mod codec;
mod commit;
mod handle;
mod heal;
mod import;
mod loss;
mod machine;
mod open;
mod original;
mod part;
mod peek;
mod private;
mod reader;
mod retention;
mod schema;
mod series;
mod shared;
mod sidecar;
#[cfg(test)]
mod tests;
mod types;
mod upkeep;
mod writer;

pub use chart::{Chart, Range};
pub use handle::{Done, Store};
pub use import::Import;
pub use machine::fallback_mac;
pub use open::user_of;
pub use open::{Opened, Restored, open};
pub use peek::{Peek, peek};
pub use reader::MeterRecords;
pub use types::{
    Bar, EnergySpan, MeterRow, Minute, Model, Run, SetAside, StoreError, StoreHealth, StoreState,
};

/// Name of the database inside the data folder.
pub const DATABASE_FILE: &str = "virtual-shelly.db";
/// Name of the sidecar inside the data folder (`docs/decisions.md#the-sidecar`).
pub const SIDECAR_FILE: &str = "meter.json";
