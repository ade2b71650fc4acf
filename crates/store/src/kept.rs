//! What a data folder keeps of meters and settings, read without a change to it: at a start, of a
//! database that cannot be written, and for commands beside a running service.

use std::{array, collections::BTreeMap, fs, path::Path};

use rusqlite::{Connection, Row, types::FromSql};

use super::{
    DATABASE_FILE, SIDECAR_FILE,
    commit::COUNTERS,
    part,
    schema::{self, beside},
    sidecar::Sidecar,
    types::MeterRow,
};
use meter::Energy;

/// What a database holds.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub meters: BTreeMap<String, MeterRow>,
    pub state: BTreeMap<String, String>,
    /// When a meter was last written, Unix s.
    pub seen: f64,
    /// What could not be read, for a person: the sidecar may have it.
    pub unreadable: Vec<String>,
    /// Keys of state that could not be read.
    pub unreadable_state: Vec<String>,
}

impl Kept {
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        let mut kept = Self::default();
        kept.load_meters(conn)?;
        kept.load_state(conn)?;
        Ok(kept)
    }

    fn load_meters(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut open = part::open(conn)?;
        let mut select = conn.prepare(&format!(
            "SELECT key, mac, extra, reset_at, {COUNTERS}, seen FROM meters"
        ))?;
        let names: Vec<String> = select.column_names().map(ToOwned::to_owned).collect();
        let mut rows = select.query([])?;
        while let Some(r) = rows.next()? {
            let Ok(key) = r.get::<_, String>(0) else {
                self.unreadable.push("meters.key".into());
                continue;
            };
            let mut bad = Vec::new();
            let text = |good: fn(&str) -> bool| move |text: &String| text.is_empty() || good(text);
            let mac = cell(r, 1, &mut bad, text(is_mac));
            let extra = cell(r, 2, &mut bad, text(is_json));
            let reset_at = cell(r, 3, &mut bad, |unix: &f64| unix.is_finite());
            let mut wh = |first: usize| {
                let counter = |i| cell(r, first + i, &mut bad, is_count);
                Energy::from_array(array::from_fn(counter))
            };
            let row = MeterRow {
                mac,
                extra,
                reset_at,
                energy: wh(4),
                lifetime: wh(12),
                reserve: open.remove(&key).unwrap_or_default().0,
                ..MeterRow::default()
            };
            self.seen = cell(r, 20, &mut bad, is_count).max(self.seen);
            let of = if key.is_empty() { "" } else { " of " };
            let names = bad.into_iter().map(|i| format!("{}{of}{key}", names[i]));
            self.unreadable.extend(names);
            self.meters.insert(key, row);
        }
        Ok(())
    }

    fn load_state(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut select = conn.prepare("SELECT key, json FROM state")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let Ok(key) = row.get::<_, String>(0) else {
                continue;
            };
            match row.get::<_, String>(1) {
                // Taken back: nothing is kept under this key any more.
                Ok(json) if json.is_empty() => {}
                Ok(json) if is_json(&json) => _ = self.state.insert(key, json),
                _ => {
                    self.unreadable.push(format!("state {key:?}"));
                    self.unreadable_state.push(key);
                }
            }
        }
        Ok(())
    }

    fn read(path: &Path, immutable: bool) -> Option<Self> {
        let conn = schema::open_reader(path, immutable).ok()?;
        let mut kept = Self::default();
        let (meters, state) = (kept.load_meters(&conn), kept.load_state(&conn));
        // Of what is broken or not ours alone, no cell is told of by itself.
        (kept.unreadable, kept.unreadable_state) = Default::default();
        (meters.is_ok() || state.is_ok()).then_some(kept)
    }

    /// What can be read of a database that must not or cannot be written: a card that went
    /// read-only must not change the meter's identity. With its log, in which the last changes
    /// stand; where that cannot be read beside it, in a copy; and without it only if nothing else
    /// is left.
    pub(super) fn salvage(path: &Path) -> Self {
        let log = beside(path, "-wal");
        let copied = || {
            let (id, random) = (std::process::id(), fastrand::u32(..));
            let folder = std::env::temp_dir().join(format!("virtual-shelly-{id}-{random}"));
            super::private::folder(&folder).ok()?;
            let copy = folder.join("salvage.db");
            let copied = fs::copy(path, &copy).and_then(|_| fs::copy(&log, beside(&copy, "-wal")));
            let kept = copied.ok().and_then(|_| Self::read(&copy, false));
            let _ = fs::remove_dir_all(&folder);
            kept
        };
        // Without a log the file alone is read, so that SQLite makes none.
        let with_log = || Self::read(path, false).or_else(copied);
        let kept = log.exists().then(with_log).flatten();
        kept.or_else(|| Self::read(path, true)).unwrap_or_default()
    }
}

/// A cell as it must be; another one is as in a new row, and its number with the `bad`.
fn cell<T: FromSql + Default>(
    row: &Row<'_>,
    i: usize,
    bad: &mut Vec<usize>,
    good: impl Fn(&T) -> bool,
) -> T {
    let value = row.get(i).ok().filter(good);
    value.unwrap_or_else(|| {
        bad.push(i);
        T::default()
    })
}

fn is_count(number: &f64) -> bool {
    number.is_finite() && *number >= 0.0
}

/// Whether it is the text of an address that a device may have.
fn is_mac(text: &str) -> bool {
    vocab::Mac::parse(text).as_deref() == Some(text)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// By key, the [newest](MeterRow::newest) of both.
pub(super) fn merge(
    mut stored: BTreeMap<String, MeterRow>,
    side: BTreeMap<String, MeterRow>,
) -> BTreeMap<String, MeterRow> {
    for (key, row) in side {
        let newest = MeterRow::newest(stored.remove(&key), Some(row));
        stored.extend(newest.map(|row| (key, row)));
    }
    stored
}

/// What a data folder keeps; empty where it cannot be read.
#[derive(Debug, Default)]
pub struct Peek {
    /// Identity and counters by meter key.
    pub meters: BTreeMap<String, MeterRow>,
    /// Texts by key, as [`super::Store::get_state`] gives them.
    pub state: BTreeMap<String, String>,
}

/// Reads database and sidecar of a data folder, whether a service runs on it or not; nothing is
/// made or changed there.
#[must_use]
pub fn peek(dir: &Path) -> Peek {
    let path = dir.join(DATABASE_FILE);
    // What a running service committed last stands in its log; without log and index the file alone
    // is read, so that SQLite makes none.
    let with_log = beside(&path, "-wal").exists() && beside(&path, "-shm").exists();
    let kept = with_log.then(|| Kept::read(&path, false)).flatten();
    let kept = kept.or_else(|| Kept::read(&path, true)).unwrap_or_default();
    Peek {
        meters: merge(kept.meters, Sidecar::peek(&dir.join(SIDECAR_FILE)).meters),
        state: kept.state,
    }
}

/// Whether the database of a data folder that nobody uses is whole; `None` where there is none yet.
///
/// # Errors
/// What is wrong with it, one line.
pub fn intact(dir: &Path) -> Result<Option<()>, String> {
    let path = dir.join(DATABASE_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let fault = schema::open_reader(&path, true)
        .and_then(|conn| schema::fault(&conn, "quick_check"))
        .map_err(|error| error.to_string())?;
    fault.map_or(Ok(Some(())), Err)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{clock, opened};

    fn names(dir: &Path) -> Vec<String> {
        let files = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = files
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_state_that_was_taken_back_is_nothing_that_was_lost() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            // No problem is said of it.
            let store = opened(dir.path(), &clock(1_800_000_000)).store;
            assert_eq!(store.get_state("control/offset/"), None);
            assert!(!store.state_lost());
            store.put_state("control/offset/", "{}");
            assert_eq!(store.get_state("control/offset/").as_deref(), Some("{}"));
            store.put_state("control/offset/", "");
            assert_eq!(store.get_state("control/offset/"), None);
            store.close().wait().unwrap();
        }
    }

    #[test]
    fn a_look_finds_what_is_kept_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let look = || {
            let before = names(dir.path());
            let peek = peek(dir.path());
            assert_eq!(names(dir.path()), before);
            (
                peek.meters.get("").map(|row| row.mac.clone()),
                peek.state.get("setup").cloned(),
            )
        };
        assert_eq!(look(), (None, None));
        assert!(peek(&dir.path().join("none")).meters.is_empty());
        let store = opened(dir.path(), &clock(1_800_000_000)).store;
        let mac = "AA1122334455".to_owned();
        let row = MeterRow {
            mac: mac.clone(),
            ..MeterRow::default()
        };
        store.put_counters("", row);
        store.put_state("setup", "{}");
        store.flush().wait().unwrap();
        let kept = |state: &str| (Some(mac.clone()), Some(state.to_owned()));
        assert_eq!(look(), kept("{}"), "beside a running service");
        store.put_state("setup", "[]");
        store.close().wait().unwrap();
        drop(store);
        assert_eq!(look(), kept("[]"), "after its stop");
    }
}
