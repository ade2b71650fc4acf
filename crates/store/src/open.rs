//! From a data folder to a running store. Never fails: what cannot be kept is said, and metering
//! goes on.

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
    loss, part,
    retention::Keep,
    schema::{self, Database, DatabasePlace, OpenError},
    shared::{Cache, Shared, lock},
    sidecar::{self, Sidecar, SidecarContent},
    types::MeterRow,
    writer::{Start, Writer},
};
use config::settings::StoreSettings;
use vocab::Clock;

type Object = serde_json::Map<String, serde_json::Value>;

/// What was there before this start.
#[derive(Debug, Default)]
pub struct Restored {
    /// Identity and counters by meter key.
    pub meters: BTreeMap<String, MeterRow>,
    /// Where a `state.json` of the original waits: gets its energy once its samples are in. Add it
    /// to the first meter's counters and say so with [`Store::import_done`]. An error means that
    /// there was nothing to import.
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

/// Another process of ours that uses this data folder: its id, 0 where that cannot be seen from
/// here.
#[must_use]
pub fn user_of(dir: &Path) -> Option<u32> {
    sidecar::holder(&dir.join(SIDECAR_FILE))
}

/// Opens the database of the data folder, or one in memory until that can be, and starts its
/// writer.
#[must_use]
pub fn open(settings: &StoreSettings, clock: Arc<dyn Clock>) -> Opened {
    let mut problems = Vec::new();
    let dir = &settings.data_dir;
    let path = dir.join(DATABASE_FILE);
    let now = clock.now();

    let (sidecar, side) = open_sidecar(dir, &mut problems);
    let (existed, side_known) = (path.exists(), side.more.is_some());
    let more = side.more.clone().unwrap_or_default();
    let log_damaged = loss::log_damaged(&path);
    // What is gone although all works.
    let mut lost = Vec::new();
    let busy = matches!(&sidecar, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
    let mut set_aside = None;
    let database = if busy {
        None
    } else {
        open_database(&path, now.unix_s(), &mut problems, &mut set_aside)
    };
    let (mut kept, mut parts, mut cut_off) = (Kept::default(), BTreeMap::new(), BTreeMap::new());
    let (mut stored, mut stored_state, mut state_lost, mut shared_lines) =
        (BTreeMap::new(), BTreeMap::new(), false, Vec::new());
    let (place, conn, clean, reason) = match database {
        Some(Database { conn, clean, fresh }) => {
            kept = Kept::load(&conn).unwrap_or_else(|error| {
                lost.push(format!("{} cannot be read ({error}): settings are lost but for those in {SIDECAR_FILE}", path.display()));
                Kept::default()
            });
            state_lost |= fresh && (!side.meters.is_empty() || side.damaged);
            if let Some((line, aside)) = set_aside.take() {
                kept = Kept {
                    seen: kept.seen,
                    ..Kept::salvage(&aside)
                };
                state_lost = true;
                shared_lines.push(line);
            } else {
                stored.clone_from(&kept.meters);
                stored_state.clone_from(&kept.state);
                lost.extend(
                    loss::DatabaseBefore {
                        seen: more.database,
                        log_damaged,
                    }
                    .line(&path, fresh, kept.seen),
                );
            }
            parts = part::load(&conn, now.unix_s()).unwrap_or_default();
            cut_off = part::cut_off(&conn, &parts).unwrap_or_default();
            // A clock that ran ahead stamped it: nothing that comes goes on with it.
            parts.extend(
                cut_off
                    .iter()
                    .filter(|(_, part)| part.record.ts <= now.unix_s())
                    .map(|(key, part)| (key.clone(), part.clone())),
            );
            (DatabasePlace::File(path.clone()), Some(conn), clean, None)
        }
        None => {
            if !busy && path.exists() {
                kept = Kept::salvage(&path);
            }
            state_lost = existed || !busy;
            let place = DatabasePlace::memory();
            let conn = schema::open(&place, true).ok().map(|d| d.conn);
            let reason = problems
                .last()
                .cloned()
                .unwrap_or_else(|| "no database".into());
            (place, conn, true, Some(reason))
        }
    };

    let in_memory = reason.is_some();
    let meters = merge(kept.meters, side.meters);
    lost.extend(loss::unreadable(&kept.unreadable));
    // A state that the sidecar does not have either may have held a password.
    let missing = kept
        .unreadable_state
        .iter()
        .any(|key| !more.state.contains_key(key));
    let state_lost = (state_lost && !side_known && kept.state.is_empty()) || missing;
    lay_over(&mut kept.state, &more);
    problems.extend(lost.iter().cloned());
    shared_lines.extend(lost);
    let shared = Arc::new(Shared::new(
        clock,
        settings.interval,
        place.clone(),
        Cache {
            meters: meters.clone(),
            state: kept.state.clone(),
            vital: more.state,
            database: if in_memory {
                more.database
            } else {
                Some(kept.seen).filter(|seen| *seen > 0.0)
            },
            state_lost,
            parts,
            ..Cache::default()
        },
        reason,
    ));
    shared_lines
        .into_iter()
        .for_each(|line| shared.set_aside(line));
    lock(&shared.buffer).add(|batch| {
        if in_memory {
            batch.meters.clone_from(&meters);
        } else {
            batch.state.extend(
                kept.state
                    .iter()
                    .filter(|(key, json)| stored_state.get(*key) != Some(*json))
                    .map(|(k, j)| (k.clone(), j.clone())),
            );
            // With its row goes the mark of the minute that is a record now.
            let differs =
                |key: &String, row| cut_off.contains_key(key) || stored.get(key) != Some(row);
            batch.meters.extend(
                meters
                    .iter()
                    .filter(|(key, row)| differs(key, row))
                    .map(|(k, r)| (k.clone(), r.clone())),
            );
            for (key, part) in &cut_off {
                batch.put_record(
                    key,
                    part.record,
                    (part.record.ts <= now.unix_s()).then_some(part.until),
                );
            }
        }
    });

    let seen = (kept.seen > 0.0 && !in_memory).then_some(kept.seen);
    let keep = Keep::new(settings, in_memory);
    let heal = in_memory.then(|| Heal::new(settings, &meters, &kept.state, now));
    let start = Start {
        place,
        db: conn,
        sidecar: sidecar.ok(),
        keep,
        interval: settings.interval,
        seen,
        heal,
    };
    let writer = Writer::new(Arc::clone(&shared), start);
    let (control, commands) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || writer.run(&commands));
    if let Err(error) = &thread {
        problems.push(format!(
            "the store's thread cannot be started: {error}; nothing is kept"
        ));
    }
    start_check(&shared, clean && !in_memory);
    let import = if in_memory {
        None
    } else {
        start_import(settings, &shared, &control, &mut problems)
    };
    let store = Store::new(shared, control, thread.ok(), settings.raw_days);
    Opened {
        store,
        restored: Restored { meters, import },
        problems,
    }
}

/// What a database held.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub meters: BTreeMap<String, MeterRow>,
    pub state: BTreeMap<String, String>,
    pub seen: f64,
    /// What could not be read, for a person.
    pub unreadable: Vec<String>,
    /// Keys of state that could not be read.
    pub unreadable_state: Vec<String>,
}

impl Kept {
    pub(super) fn load(conn: &rusqlite::Connection) -> rusqlite::Result<Self> {
        let commit::Loaded {
            meters,
            seen,
            mut unreadable,
        } = commit::load_meters(conn)?;
        let (state, unreadable_state) = commit::load_state(conn)?;
        unreadable.extend(
            unreadable_state
                .iter()
                .map(|key| format!("the settings {key:?}")),
        );
        Ok(Self {
            meters,
            seen,
            state,
            unreadable,
            unreadable_state,
        })
    }

    /// What can be read of a database that must not or cannot be written: a card that went
    /// read-only must not change the meter's identity. With its log, in which the last changes
    /// stand; where that cannot be read beside it, in a copy; and without it only if nothing else
    /// is left.
    fn salvage(path: &Path) -> Self {
        let read = |path: &Path, immutable| {
            let conn =
                schema::open_reader(&DatabasePlace::File(path.to_owned()), immutable).ok()?;
            let meters = commit::load_meters(&conn);
            let state = commit::load_state(&conn);
            if meters.is_err() && state.is_err() {
                return None;
            }
            let ((state, _), meters) = (state.unwrap_or_default(), meters.unwrap_or_default());
            Some(Self {
                meters: meters.meters,
                seen: meters.seen,
                state,
                ..Self::default()
            })
        };
        let log = PathBuf::from(format!("{}-wal", path.display()));
        let copied = || {
            let folder = std::env::temp_dir().join(format!(
                "virtual-shelly-{}-{}",
                std::process::id(),
                fastrand::u32(..)
            ));
            super::private::folder(&folder).ok()?;
            let copy = folder.join("salvage.db");
            let copied = std::fs::copy(path, &copy)
                .and_then(|_| std::fs::copy(&log, folder.join("salvage.db-wal")));
            let kept = copied.ok().and_then(|_| read(&copy, false));
            let _ = std::fs::remove_dir_all(&folder);
            kept
        };
        // Without a log the file alone is read, so that SQLite makes none.
        let with_log = log
            .exists()
            .then(|| read(path, false).or_else(copied))
            .flatten();
        with_log.or_else(|| read(path, true)).unwrap_or_default()
    }
}

/// What the sidecar has and the database has not, or not yet.
fn lay_over(state: &mut BTreeMap<String, String>, more: &sidecar::More) {
    for (key, vital) in &more.state {
        let Some(old) = state.get_mut(key) else {
            state.insert(key.clone(), vital.clone());
            continue;
        };
        if more.ahead.contains(key)
            && let (Ok(mut whole), Ok(newer)) = (
                serde_json::from_str::<Object>(old),
                serde_json::from_str::<Object>(vital),
            )
        {
            whole.extend(newer);
            *old = serde_json::Value::Object(whole).to_string();
        }
    }
}

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

pub(super) fn open_sidecar(
    dir: &Path,
    problems: &mut Vec<String>,
) -> (io::Result<Sidecar>, SidecarContent) {
    let path = dir.join(SIDECAR_FILE);
    if let Err(error) = super::private::folder(dir) {
        problems.push(format!(
            "the data folder {} cannot be made: {error}; nothing is kept over a restart",
            dir.display()
        ));
        return (Err(error), SidecarContent::default());
    }
    match Sidecar::open(&path) {
        Ok((sidecar, found)) => {
            if found.damaged {
                problems.push(format!("{} is damaged and is written anew", path.display()));
            }
            (Ok(sidecar), found)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            problems.push(format!(
                "another process of ours uses the data folder {}: nothing is kept over a restart; stop it or set data_dir",
                dir.display()
            ));
            (Err(error), SidecarContent::default())
        }
        Err(error) => {
            problems.push(format!("{} cannot be written: {error}", path.display()));
            let found = Sidecar::peek(&path);
            (Err(error), found)
        }
    }
}

/// The database of that path; else why not is the last of the `problems`. `set_aside` gets what
/// became of a damaged one.
pub(super) fn open_database(
    path: &Path,
    unix_s: i64,
    problems: &mut Vec<String>,
    set_aside: &mut Option<(String, PathBuf)>,
) -> Option<Database> {
    let place = DatabasePlace::File(path.to_owned());
    let error = match schema::open(&place, true) {
        Ok(database) => return Some(database),
        Err(OpenError::Damaged(fault)) => match schema::set_aside(path, &fault, unix_s) {
            Ok((line, aside)) => {
                problems.push(line.clone());
                *set_aside = Some((line, aside));
                match schema::open(&place, true) {
                    Ok(database) => return Some(database),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => format!("is damaged ({fault}) and cannot be set aside: {error}"),
        },
        Err(error) => error.to_string(),
    };
    problems.push(format!(
        "{} {error}; metering goes on in memory, nothing is kept over a restart",
        path.display()
    ));
    None
}

/// After a clean stop the quick check runs beside the work; after an unclean one the whole check
/// ran before.
pub(super) fn start_check(shared: &Arc<Shared>, quick: bool) {
    let shared = Arc::clone(shared);
    let check = move || {
        while quick && !shared.is_closing() {
            match shared
                .readers
                .check(|conn| schema::fault(conn, "quick_check"))
            {
                Ok(Ok(Some(_))) => shared.suspect(),
                // Broken off by a backup: once more, on the frozen file.
                Ok(Err(error))
                    if error.sqlite_error_code()
                        == Some(rusqlite::ErrorCode::OperationInterrupted) =>
                {
                    continue;
                }
                _ => {}
            }
            break;
        }
        if let Ok(rows) = shared.count_rows() {
            shared.change_health(|health| health.rows = rows);
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("store-check".into())
        .spawn(check)
    {
        tracing::warn!("the database cannot be checked: {error}");
    }
}

fn start_import(
    settings: &StoreSettings,
    shared: &Arc<Shared>,
    control: &mpsc::Sender<super::writer::Control>,
    problems: &mut Vec<String>,
) -> Option<oneshot::Receiver<Import>> {
    let path = settings
        .state_path
        .clone()
        .unwrap_or_else(|| settings.data_dir.join("state.json"));
    if !path.is_file() {
        return None;
    }
    match import::start(
        Arc::clone(shared),
        control.clone(),
        PathBuf::from(&path),
        settings.raw_days,
    ) {
        Ok(receiver) => Some(receiver),
        Err(error) => {
            problems.push(format!("{} cannot be imported: {error}", path.display()));
            None
        }
    }
}
