//! Why something is not kept: files, the disk, the database.

use std::sync::Arc;

use super::{Cause, Reason, reasons};

reasons! {
    /// Why a file cannot be read or written.
    pub enum Unkept {
        Unreadable { path: Arc<str>, error: Cause } = "why_unreadable", "{path} cannot be read: {error}";
        Unwritable { path: Arc<str>, error: Cause } = "why_unwritable", "{path} cannot be written: {error}";
        NotAnObject { path: Arc<str> } = "why_not_object", "{path} is not a JSON object: correct it by hand first";
        InMemory { why: Arc<Reason> } = "why_in_memory", "nothing is kept over a restart: {why}";
        Failing { why: Arc<Reason> } = "why_db_unwritten", "the database cannot be written: {why}";
        DiskHangs { n: u64 } = "why_disk_hangs",
            "the disk of the data folder has not answered for {n} s: metering goes on, nothing is kept meanwhile";
        NoOptionsFile = "why_no_options_file", "there is no options file";
    }
}
