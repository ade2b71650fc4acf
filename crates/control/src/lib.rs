//! Calm control: when a battery is answered, so that it does not swing.
//!
//! A battery adds what it is told to its set point. Between an answer and the moment when its
//! effect is on the meter lie the battery's dead time and ramp and the sensor's delay: 1.5 to 5 s.
//! A battery that asks each half a second acts several times on one error in that time, overshoots,
//! and swings. So watts that were answered and are still on their way are not answered again; new
//! watts are answered at once (`docs/calm-control.md`).
//!
//! ```text
//! sample(now, W) ──▶ Control ──▶ one Ledger a reader: what it was told, what of that was seen, how it follows
//! ask(now, who)  ──▶         ──▶ Answer (the newest sample, or 0 W) | Wait (until then, or the next sample) | Silence
//! ```
//!
//! Pure: no clock and no sockets. Every value served is a measured one times the reader's share, or
//! 0 W, which moves no known battery but one that goes on with its last answers. State is kept for
//! each reader, bounded, and forgotten with it.

mod aside;
mod bank;
mod doubt;
mod episode;
mod gate;
mod law;
mod ledger;
mod model;
mod params;
mod parts;
mod readers;
mod side;
mod swing;
#[cfg(test)]
mod tests;
mod trial;

pub use bank::KnownLaw;
pub use ledger::Value;
pub use params::{Params, Wrong};
pub use readers::{Control, Decision, Question, ReaderState};
pub use swing::Swing;
