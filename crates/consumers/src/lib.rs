//! Who reads the meter, on which channel, how often; and power shared between several readers.
//!
//! ```text
//! transport ── share(caller) ──▶ part of the power that this caller sees      (sharing)
//!           ── is_controlled ──▶ whether it is a battery, and calm.ask ──▶ when it is answered (brand, calm, `control/`)
//!           ── absent ─────────▶ how it is told that there is no power           (known: its profile)
//!           ── note(asked) ────▶ registry: one record an address and channel  (registry, consumer)
//!           ◀─ tap ──────────  a recording hears each call and its answer          (tap)
//! pages     ── overview(now) ──▶ who reads, how often, what brand it may be   (overview, brand)
//! ```
//!
//! No wire format is known here: a transport hands in what was asked and answered.

mod about;
pub mod brand;
mod call;
pub mod calm;
mod consumer;
mod heard;
mod known;
pub mod overview;
pub mod registry;
pub mod sharing;
mod swing;
pub mod tap;
#[cfg(test)]
mod tests;
pub mod verdict;

pub use about::About;
pub use call::{AnsweredCall, Asked, Caller, Reader};
pub use calm::{Ask, Calm, ControlledAnswer, Turn};
pub use heard::HeardReader;
pub use known::{Assigned, ProfileWhy};
pub use overview::{ConsumerView, ExchangeView, Overview};
pub use registry::Consumers;
pub use tap::{Heard, ReaderKind, Tap, Told};
pub use verdict::Verdict;
pub use vocab::Channel;
