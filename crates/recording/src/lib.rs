//! A day of readings and questions in a file that a person can attach to an issue, and what readers
//! would have been told with other options.
//!
//! ```text
//! source ──── event ────▶ Recorder ──(bounded queue)──▶ writer thread ──▶ recordings/*.jsonl
//! consumers ── hear ─────▶    │                         (names, addresses replaced: names)
//!                             ▼ list, delete, read (files)
//! file ──▶ line ──▶ replay (the real Meter, Calm and shares; time is that of the file) ──▶ compare
//! ```
//!
//! What stands in a file: `docs/recording.md`.

pub mod cli;
pub mod compare;
mod engine;
pub mod files;
pub mod line;
pub mod names;
pub mod options;
pub mod recorder;
pub mod replay;
#[cfg(test)]
mod tests;
mod writer;

pub use compare::{Comparison, Point, ReaderComparison};
pub use files::{Files, Kept};
pub use line::{Answer, Header, Line};
pub use options::{Changes, InForce};
pub use recorder::{Progress, Recorder};
pub use replay::{ReplayError, replay};
pub use writer::{Limits, Settings};
