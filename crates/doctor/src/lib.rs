//! What keeps a meter from being read: facts of it and of its host in, findings out, each with its
//! cause and one thing to do (`docs/doctor.md#doctor`).
//!
//! ```text
//!  a running meter (dashboard) ─┐
//!                               ├─▶ Facts ──▶ findings (pure) ──▶ page, command line
//!  this host (`host`) ──────────┘
//! ```

mod facts;
mod finding;
pub mod host;
mod judge;
mod words;

pub use facts::{
    Address, Announced, Asked, Facts, Heard, Hold, Link, Port, PortState, Sensor, Store, StoreKept,
};
pub use finding::{Area, Finding, Level};
pub use judge::{findings, remedy_of_port};
pub use words::{Cause, Remedy};
