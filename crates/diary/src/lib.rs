//! What went wrong and when it was over, and which readers are missed.
//!
//! ```text
//!  conditions of this second ──▶ Diary ──▶ events that began, changed, ended   (to be kept)
//!  who was heard, and when   ──▶ Readers ─▶ who is missed, a condition          (to be kept)
//! ```
//!
//! Pure: time is an argument. Whoever calls keeps what comes out, and brings it back at the next
//! start.

mod event;
mod machine;
mod readers;
#[cfg(test)]
mod tests;

pub use event::{Detail, Entry, Kind, Subject};
pub use machine::{Before, Condition, Diary, Since};
pub use readers::{Heard, Known, Mark, Readers};

/// What pages show of now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// What is wrong and not over, oldest first.
    pub open: Vec<Entry>,
    /// Readers that are known, by meter, address and channel.
    pub readers: Vec<Known>,
}
