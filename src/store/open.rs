//! From a data folder to a running store. Never fails: what cannot be kept is said, and metering goes on.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use tokio::sync::oneshot;

use super::{
    DATABASE_FILE, SIDECAR_FILE, commit,
    handle::Store,
    heal::Heal,
    import::{self, Import},
    part,
    retention::Keep,
    schema::{self, Database, OpenError, Place},
    shared::{Cache, Shared, lock},
    sidecar::{self, Sidecar},
    types::MeterRow,
    writer::{Start, Writer},
};
use crate::{config::settings::StoreSettings, time::Clock};

/// What was there before this start.
#[derive(Debug, Default)]
pub struct Restored {
    /// Identity and counters by meter key.
    pub meters: BTreeMap<String, MeterRow>,
    /// Where a `state.json` of the original waits: gets its energy once its samples are in. Add it to the first meter's
    /// counters and say so with [`Store::import_done`]. An error means that there was nothing to import.
    pub import: Option<oneshot::Receiver<Import>>,
}

/// See [`open`].
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub store: Store,
    /// What was there.
    pub restored: Restored,
    /// One line each for the log and the health page.
    pub problems: Vec<String>,
}

/// Another process of ours that uses this data folder: its id, 0 where that cannot be seen from here.
#[must_use]
pub fn user_of(dir: &Path) -> Option<u32> {
    sidecar::holder(&dir.join(SIDECAR_FILE))
}

/// Opens the database of the data folder, or one in memory until that can be, and starts its writer.
#[must_use]
pub fn open(settings: &StoreSettings, clock: Arc<dyn Clock>) -> Opened {
    let mut problems = Vec::new();
    let dir = &settings.data_dir;
    let path = dir.join(DATABASE_FILE);
    let now = clock.now();

    let (sidecar, side) = open_sidecar(dir, &mut problems);
    let busy = matches!(&sidecar, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
    let mut set_aside = None;
    let database = if busy { None } else { open_database(&path, now.unix_s(), &mut problems, &mut set_aside) };
    let (mut kept, mut parts, mut cut_off) = (Kept::default(), BTreeMap::new(), BTreeMap::new());
    let (place, conn, clean, reason) = match database {
        Some(Database { conn, clean, .. }) => {
            kept = Kept::load(&conn).unwrap_or_default();
            parts = part::load(&conn, now.unix_s()).unwrap_or_default();
            cut_off = part::cut_off(&conn, &parts).unwrap_or_default();
            // A clock that ran ahead stamped it: nothing that comes goes on with it.
            parts.extend(cut_off.iter().filter(|(_, part)| part.record.ts <= now.unix_s()).map(|(key, part)| (key.clone(), part.clone())));
            (Place::File(path.clone()), Some(conn), clean, None)
        }
        None => {
            if !busy && path.exists() {
                kept = Kept::salvage(&path);
            }
            let place = Place::memory();
            let conn = schema::open(&place, true).ok().map(|d| d.conn);
            let reason = problems.last().cloned().unwrap_or_else(|| "no database".into());
            (place, conn, true, Some(reason))
        }
    };

    let in_memory = reason.is_some();
    let stored = kept.meters.clone();
    let meters = merge(kept.meters, side);
    let shared = Arc::new(Shared::new(
        clock,
        settings.interval,
        place.clone(),
        Cache { meters: meters.clone(), state: kept.state.clone(), parts, ..Cache::default() },
        reason,
    ));
    if let Some(line) = set_aside {
        shared.set_aside(line);
    }
    lock(&shared.buffer).add(|batch| {
        if in_memory {
            batch.meters.clone_from(&meters);
        } else {
            // With its row goes the mark of the minute that is a record now.
            let differs = |key: &String, row| cut_off.contains_key(key) || stored.get(key) != Some(row);
            batch.meters.extend(meters.iter().filter(|(key, row)| differs(key, row)).map(|(k, r)| (k.clone(), r.clone())));
            for (key, part) in &cut_off {
                batch.put_record(key, part.record, (part.record.ts <= now.unix_s()).then_some(part.until));
            }
        }
    });

    let seen = (kept.seen > 0.0 && !in_memory).then_some(kept.seen);
    let keep = Keep::new(settings, in_memory);
    let heal = in_memory.then(|| Heal::new(settings, &meters, &kept.state, now));
    let start = Start { place, db: conn, sidecar: sidecar.ok(), keep, interval: settings.interval, seen, heal };
    let writer = Writer::new(Arc::clone(&shared), start);
    let (control, commands) = mpsc::channel();
    let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(&commands));
    if let Err(error) = &thread {
        problems.push(format!("the store's thread cannot be started: {error}; nothing is kept"));
    }
    start_check(&shared, clean && !in_memory);
    let import = if in_memory { None } else { start_import(settings, &shared, &control, &mut problems) };
    let store = Store::new(shared, control, thread.ok(), settings.raw_days);
    Opened { store, restored: Restored { meters, import }, problems }
}

/// What a database held.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub meters: BTreeMap<String, MeterRow>,
    pub state: BTreeMap<String, String>,
    pub seen: f64,
}

impl Kept {
    pub(super) fn load(conn: &rusqlite::Connection) -> rusqlite::Result<Self> {
        let (meters, seen) = commit::load_meters(conn)?;
        Ok(Self { meters, seen, state: commit::load_state(conn)? })
    }

    /// What can be read of a database that must not or cannot be written: a card that went read-only must not
    /// change the meter's identity.
    fn salvage(path: &Path) -> Self {
        schema::open_reader(&Place::File(path.to_owned()), true).and_then(|conn| Self::load(&conn)).unwrap_or_default()
    }
}

pub(super) fn merge(mut stored: BTreeMap<String, MeterRow>, side: BTreeMap<String, MeterRow>) -> BTreeMap<String, MeterRow> {
    for (key, row) in side {
        let newest = MeterRow::newest(stored.remove(&key), Some(row));
        stored.extend(newest.map(|row| (key, row)));
    }
    stored
}

pub(super) fn open_sidecar(dir: &Path, problems: &mut Vec<String>) -> (io::Result<Sidecar>, BTreeMap<String, MeterRow>) {
    let path = dir.join(SIDECAR_FILE);
    if let Err(error) = super::private::folder(dir) {
        problems.push(format!("the data folder {} cannot be made: {error}; nothing is kept over a restart", dir.display()));
        return (Err(error), BTreeMap::new());
    }
    match Sidecar::open(&path) {
        Ok((sidecar, found)) => {
            if found.damaged {
                problems.push(format!("{} is damaged and is written anew", path.display()));
            }
            (Ok(sidecar), found.meters)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            problems.push(format!(
                "another process of ours uses the data folder {}: nothing is kept over a restart; stop it or set data_dir",
                dir.display()
            ));
            (Err(error), BTreeMap::new())
        }
        Err(error) => {
            problems.push(format!("{} cannot be written: {error}", path.display()));
            let found = Sidecar::peek(&path);
            (Err(error), found.meters)
        }
    }
}

/// The database of that path; else why not is the last of the `problems`. `set_aside` gets what became of a damaged one.
pub(super) fn open_database(path: &Path, unix_s: i64, problems: &mut Vec<String>, set_aside: &mut Option<String>) -> Option<Database> {
    let place = Place::File(path.to_owned());
    let error = match schema::open(&place, true) {
        Ok(database) => return Some(database),
        Err(OpenError::Damaged(fault)) => match schema::set_aside(path, &fault, unix_s) {
            Ok(line) => {
                problems.push(line.clone());
                *set_aside = Some(line);
                match schema::open(&place, true) {
                    Ok(database) => return Some(database),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => format!("is damaged ({fault}) and cannot be set aside: {error}"),
        },
        Err(error) => error.to_string(),
    };
    problems.push(format!("{} {error}; metering goes on in memory, nothing is kept over a restart", path.display()));
    None
}

/// After a clean stop the quick check runs beside the work; after an unclean one the whole check ran before.
pub(super) fn start_check(shared: &Arc<Shared>, quick: bool) {
    let shared = Arc::clone(shared);
    let check = move || {
        while quick && !shared.is_closing() {
            match shared.readers.check(|conn| schema::fault(conn, "quick_check")) {
                Ok(Ok(Some(_))) => shared.suspect(),
                // Broken off by a backup: once more, on the frozen file.
                Ok(Err(error)) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => continue,
                _ => {}
            }
            break;
        }
        if let Ok(rows) = shared.count_rows() {
            shared.change_health(|health| health.rows = rows);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("store-check".into()).spawn(check) {
        tracing::warn!("the database cannot be checked: {error}");
    }
}

fn start_import(
    settings: &StoreSettings,
    shared: &Arc<Shared>,
    control: &mpsc::Sender<super::writer::Control>,
    problems: &mut Vec<String>,
) -> Option<oneshot::Receiver<Import>> {
    let path = settings.state_path.clone().unwrap_or_else(|| settings.data_dir.join("state.json"));
    if !path.is_file() {
        return None;
    }
    match import::start(Arc::clone(shared), control.clone(), PathBuf::from(&path), settings.raw_days) {
        Ok(receiver) => Some(receiver),
        Err(error) => {
            problems.push(format!("{} cannot be imported: {error}", path.display()));
            None
        }
    }
}
