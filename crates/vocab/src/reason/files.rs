//! Why something is not kept, or not read: files, the disk, the database.

use std::sync::Arc;

use super::{Cause, Reason, reasons};

reasons! {
    /// Why a file or the database cannot be read or written, and what that means.
    pub enum Unkept {
        Unreadable { path: Arc<str>, error: Cause } = "why_unreadable", "{path} cannot be read: {error}";
        Unwritable { path: Arc<str>, error: Cause } = "why_unwritable", "{path} cannot be written: {error}";
        NotAnObject { path: Arc<str> } = "why_not_object", "{path} is not a JSON object: correct it by hand first";
        InMemory { why: Arc<Reason> } = "why_in_memory", "nothing is kept over a restart: {why}";
        Failing { why: Arc<Reason> } = "why_db_unwritten", "the database cannot be written: {why}";
        DiskHangs { n: u64 } = "why_disk_hangs",
            "the disk of the data folder has not answered for {n} s: metering goes on, nothing is kept meanwhile";
        DiskSlow { n: u64 } = "why_disk_slow",
            "the disk of the data folder did not answer in {n} s: it may be overloaded or failing";
        Busy { n: &'static str } = "why_records_busy", "too many ask for records at once: try again in {n} s";
        PasswordUnknown = "why_password_unknown",
            "the settings were lost, and nobody knows whether a password was set: changes are refused until option auth_password is set; it may be taken out again after a restart";
        NoFolder { path: Arc<str>, error: Cause } = "why_no_folder",
            "the data folder {path} cannot be made: {error}; nothing is kept over a restart";
        FolderInUse { path: Arc<str> } = "why_folder_in_use",
            "another process of ours uses the data folder {path}: nothing is kept over a restart; stop it or set data_dir";
        Rewritten { path: Arc<str> } = "why_rewritten", "{path} is damaged and is written anew";
        Unopened { path: Arc<str>, error: Cause } = "why_unopened", "{path} cannot be opened: {error}";
        Newer { path: Arc<str>, n: i64, m: i64 } = "why_newer",
            "{path} was written by a newer version (schema {n}, this one knows {m}): it is left untouched; install the newer version again";
        Damaged { path: Arc<str>, fault: Arc<str> } = "why_damaged", "{path} is damaged ({fault})";
        NotSetAside { path: Arc<str>, fault: Arc<str>, error: Cause } = "why_not_set_aside",
            "{path} is damaged ({fault}) and cannot be set aside: {error}";
        SetAside { path: Arc<str>, fault: Arc<str>, aside: Arc<str> } = "why_set_aside",
            "{path} is damaged ({fault}); it was set aside as {aside} and a new one begun: identity and counters go on, charts start anew";
        GoesOn { why: Arc<Unkept> } = "why_goes_on",
            "{why}; metering goes on in memory, nothing is kept over a restart";
        NoDatabase = "why_no_database", "no database";
        Gone { path: Arc<str>, time: Arc<str>, sidecar: &'static str } = "why_database_gone",
            "{path} is missing or empty although it was written until {time}: a new one was begun; identity, password, settings and counters go on as {sidecar} kept them, charts, minute records, models and keys of scripts are lost";
        Older { path: Arc<str>, from: Arc<str>, to: Arc<str>, sidecar: &'static str } = "why_database_older",
            "{path} has lost what was written between {from} and {to}: samples, minute records and settings of that time are gone, counters go on as {sidecar} kept them";
        SettingsLost { path: Arc<str>, error: Cause, sidecar: &'static str } = "why_settings_lost",
            "{path} cannot be read ({error}): settings are lost but for those in {sidecar}";
        CellsLost { path: Arc<str>, list: Arc<str>, sidecar: &'static str } = "why_cells_lost",
            "{path}: {list} could not be read; {sidecar} takes their place where it has them";
        NoThread { error: Cause } = "why_store_thread",
            "the store's thread cannot be started: {error}; nothing is kept";
        NotImported { path: Arc<str>, error: Cause } = "why_not_imported", "{path} cannot be imported: {error}";
        At { path: Arc<str>, error: Cause } = "at_path", "{path}: {error}";
        Database { error: Cause } = "why_database", "database: {error}";
        Frozen = "why_frozen", "the database is frozen for a backup";
        DatabaseClosed = "why_database_closed", "the database is closed";
        StoreClosed = "why_store_closed", "the store is closed";
        ImportStopped = "why_import_stopped", "the import was stopped and begins anew at the next start";
        StateUnread { error: Cause } = "why_file_unread", "cannot be read: {error}";
        NoStateFile = "why_no_state_file",
            "is not a state file of the original: neither energy nor power_dataset in it";
        PartOfStateFile { error: Cause } = "why_part_of_state_file",
            "is not a whole state file of the original ({error})";
    }
}

impl super::Value for Arc<Unkept> {
    fn arg(&self) -> super::Arg<'_> {
        super::Arg::Reason(&**self)
    }

    fn sample() -> Self {
        Self::new(Unkept::Damaged {
            path: "/data/x.db".into(),
            fault: "x".into(),
        })
    }
}
