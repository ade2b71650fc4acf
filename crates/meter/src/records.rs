//! Minute records as the device asks for them; the store implements this
//! (`docs/decisions.md#the-device-is-pure`).

use crate::MinuteRecord;

/// A stretch of records without gap (`EMData.GetRecords`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Start of its first minute, Unix s.
    pub ts: i64,
    /// How many minutes.
    pub records: u32,
}

/// The records cannot be read now.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct RecordsError(pub vocab::reason::Reason);

/// Reads minute records of one meter. Calls may block for some ms on a disk: transports run the
/// methods that need them off their loop.
pub trait Records: Send + Sync {
    /// Stretches without gap from `from` (Unix s) on.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn blocks(&self, from: i64) -> Result<Vec<Block>, RecordsError>;

    /// At most `limit` records, oldest first: the one that holds `from` or the next after it, up to
    /// the one that holds `end`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&self, from: i64, end: i64, limit: usize) -> Result<Vec<MinuteRecord>, RecordsError>;
}
