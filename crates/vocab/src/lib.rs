//! Words that every other crate uses, each declared once: phases, entities and what is heard of
//! them, moments, numbers as the device prints them, texts made fit for a line.
//!
//! Nothing here depends on another crate of ours, so none of these words makes an arrow point up.

pub mod address;
mod channel;
mod entity;
mod fixed;
mod id;
mod layer;
mod mask;
pub mod one_line;
pub mod ours;
pub mod parse;
mod pause;
mod phase;
mod reading;
pub mod reason;
mod time;
pub mod unit;

pub use channel::{Absent, Channel};
pub use entity::{EntityId, NotAnEntityId};
pub use fixed::{Centi, Deci, Fixed, Milli};
pub use id::{BuildId, DeviceId, Mac, Version, meter_name};
pub use layer::Layer;
pub use mask::{MASK, mask_url};
pub use pause::PauseKind;
pub use phase::Phase;
pub use reading::{Link, Period, Reading, SourceEvent, State};
pub use time::{Clock, Now, SystemClock};
