//! Words that every other crate uses, each declared once: phases, entities and what is heard of
//! them, moments, numbers as the device prints them, texts made fit for a line.
//!
//! Nothing here depends on another crate of ours, so none of these words makes an arrow point up.

pub mod address;
mod fixed;
mod mask;
pub mod one_line;
pub mod parse;
mod phase;
mod reading;
pub mod reason;
mod time;
pub mod unit;

pub use fixed::{Centi, Deci, Fixed, Milli};
pub use mask::{MASK, mask_url};
pub use phase::Phase;
pub use reading::{EntityId, Link, Period, Reading, SourceEvent, State};
pub use time::{Clock, Now, SystemClock};
