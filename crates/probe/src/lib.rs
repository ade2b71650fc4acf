//! "Test as": asks a meter the way one of its readers does, over real sockets, and judges each answer
//! by what that reader needs and breaks on (`docs/doctor.md#test-as`).
//!
//! ```text
//!  sequence (one a reader) ──call──▶ client (HTTP, WebSocket, UDP, Modbus, mDNS) ──▶ the meter
//!        │                                                                             │
//!        └──── Step (call, what was expected, what came, faults) ◀── judge (pure) ◀────┘
//! ```
//!
//! Nothing of our own process is used, so a real Shelly or another emulator can be asked as well.
//! Only `client` touches the network; `judge` is text in, faults out.

mod client;
mod expect;
mod fault;
pub mod judge;
mod look;
mod sequence;
mod step;
mod target;

pub use expect::Expect;
pub use fault::Fault;
pub use look::{Announcement, announced, date};
pub use sequence::run;
pub use step::{Report, State, Step};
pub use target::{Broadcast, Consumer, Lookup, Service, Target};
