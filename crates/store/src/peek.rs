//! A look into a data folder for a command that must not disturb it: nothing is made or changed
//! there, whether a service runs on it or not.

use std::{collections::BTreeMap, path::Path};

use super::{
    DATABASE_FILE, SIDECAR_FILE,
    open::{Kept, merge},
    schema::{self, DatabasePlace},
    sidecar::Sidecar,
    types::MeterRow,
};

/// What a data folder keeps; empty where it cannot be read.
#[derive(Debug, Default)]
pub struct Peek {
    /// Identity and counters by meter key.
    pub meters: BTreeMap<String, MeterRow>,
    /// Texts by key, as [`super::Store::get_state`] gives them.
    pub state: BTreeMap<String, String>,
}

/// Reads database and sidecar of a data folder.
#[must_use]
pub fn peek(dir: &Path) -> Peek {
    let path = dir.join(DATABASE_FILE);
    let beside = |ending: &str| dir.join(format!("{DATABASE_FILE}{ending}")).exists();
    // What a running service committed last stands in its log; without log and index the file alone
    // is read, so that SQLite makes none.
    let with_log = path.exists() && beside("-wal") && beside("-shm");
    let read = |immutable| {
        schema::open_reader(&DatabasePlace::File(path.clone()), immutable)
            .and_then(|conn| Kept::load(&conn))
            .ok()
    };
    let kept = with_log
        .then(|| read(false))
        .flatten()
        .or_else(|| read(true))
        .unwrap_or_default();
    Peek {
        meters: merge(kept.meters, Sidecar::peek(&dir.join(SIDECAR_FILE)).meters),
        state: kept.state,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, sync::Arc, time::Duration};

    use super::*;
    use crate::{Store, open};
    use config::StoreSettings;
    use vocab::SystemClock;

    fn start(dir: &Path) -> Store {
        let settings = StoreSettings {
            data_dir: dir.into(),
            state_path: None,
            interval: Duration::from_secs(30),
            records_days: 1,
            raw_days: 1,
            history_days: 1,
        };
        open(&settings, Arc::new(SystemClock::new())).store
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_look_finds_what_is_kept_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let seen = || {
            (
                peek(dir.path()).meters.get("").map(|row| row.mac.clone()),
                peek(dir.path()).state.get("setup").cloned(),
            )
        };
        assert_eq!((seen(), names(dir.path()).len()), ((None, None), 0));
        assert!(peek(&dir.path().join("none")).meters.is_empty());
        let store = start(dir.path());
        store.put_counters(
            "",
            MeterRow {
                mac: "AA1122334455".into(),
                ..MeterRow::default()
            },
        );
        store.put_state("setup", "{}");
        store.flush().wait().unwrap();
        let kept = (Some("AA1122334455".to_owned()), Some("{}".to_owned()));
        let before = names(dir.path());
        assert_eq!(
            (seen(), names(dir.path())),
            (kept.clone(), before),
            "beside a running service"
        );
        store.put_state("setup", "[]");
        store.close().wait().unwrap();
        drop(store);
        let before = names(dir.path());
        assert_eq!(
            (seen(), names(dir.path())),
            ((kept.0, Some("[]".to_owned())), before),
            "after its stop"
        );
    }
}
