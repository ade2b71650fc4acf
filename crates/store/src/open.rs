//! From a data folder to a running store. Never fails: what cannot be kept is said, and metering
//! goes on.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    DATABASE_FILE, SIDECAR_FILE,
    handle::Store,
    import,
    kept::{Kept, merge},
    lock::lock,
    loss::{self, shown},
    part,
    schema::{self, Database, OpenError},
    shared::{Cache, Shared},
    sidecar::{self, Sidecar, SidecarContent},
    types::{Import, MeterRow, cause},
    writer::{Outside, Writer},
};
use config::settings::StoreSettings;
use vocab::{
    Clock,
    reason::{Cause, Reason, Unkept},
};

/// How often a folder is tried that could not be used at the start.
pub(super) const EVERY: Duration = Duration::from_secs(60);

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
    /// When the process before this one wrote last, Unix s; `None` where nothing is known of one.
    pub seen: Option<f64>,
    /// Whether that one came to its end in order.
    pub clean: bool,
}

/// See [`open`].
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub store: Store,
    /// What was there.
    pub restored: Restored,
    /// For the log and the health page.
    pub problems: Vec<Reason>,
}

/// Another process of ours that uses this data folder: its id, 0 where that cannot be seen from
/// here.
#[must_use]
pub fn user_of(dir: &Path) -> Option<u32> {
    sidecar::holder(&dir.join(SIDECAR_FILE))
}

/// Opens the database of the data folder, which is tried again where it cannot be, and starts its
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
    // What is gone although all works.
    let mut lost = Vec::new();
    let busy = matches!(&sidecar, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
    let mut set_aside = None;
    let database = if busy {
        None
    } else {
        open_database(&path, now.unix_s(), &mut problems, &mut set_aside)
    };
    let (mut kept, mut parts, mut state_lost) =
        (Kept::default(), BTreeMap::new(), existed || !busy);
    let (mut conn, mut clean, mut reason, mut shared_lines) = (None, true, None, Vec::new());
    if let Some(database) = database {
        kept = Kept::load(&database.conn).unwrap_or_else(|error| {
            lost.push(Unkept::SettingsLost {
                path: shown(&path),
                error: cause(&error),
                sidecar: SIDECAR_FILE,
            });
            Kept::default()
        });
        state_lost = database.fresh && (!side.meters.is_empty() || side.damaged);
        if let Some((line, aside)) = set_aside {
            kept = Kept {
                seen: kept.seen,
                ..Kept::salvage(&aside)
            };
            state_lost = true;
            shared_lines.push(line);
        } else {
            let was = more.database;
            lost.extend(was.and_then(|was| loss::since(&path, was, database.fresh, kept.seen)));
        }
        parts = part::load(&database.conn).unwrap_or_default();
        (conn, clean) = (Some(database.conn), database.clean);
    } else {
        if !busy && path.exists() {
            kept = Kept::salvage(&path);
        }
        reason = Some(why_not(&problems));
    }

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
    let lost = lost.into_iter().map(Reason::from);
    shared_lines.extend(lost.inspect(|line| problems.push(line.clone())));
    let seen = (kept.seen > 0.0 && !in_memory).then_some(kept.seen);
    // The minute under way goes on; one that is over by now is a record.
    let (parts, over): (BTreeMap<_, _>, BTreeMap<_, _>) = parts
        .into_iter()
        .partition(|(_, part)| part::reach(part.record.ts, now.unix_s()).is_some());
    let mut cache = Cache {
        meters: meters.clone(),
        state: kept.state,
        vital: more.state,
        database: if in_memory { more.database } else { seen },
        state_lost,
        parts,
        ..Cache::default()
    };
    for (key, row) in &mut cache.meters {
        row.run.under_way = cache.parts.get(key).map(|part| part.record);
    }
    let outside = in_memory.then(|| Outside {
        meters: meters.clone(),
        state: !cache.state.is_empty(),
        due: now.mono + EVERY,
    });
    let shared = Arc::new(Shared::new(clock, path, cache, reason));
    shared_lines
        .into_iter()
        .for_each(|line| shared.set_aside(line));
    shared.write_all();
    lock(&shared.buffer).add(|batch| {
        let over = over
            .into_iter()
            .map(|(key, part)| (key.into(), part.record));
        batch.records.extend(over);
    });
    let mut writer = Writer::new(Arc::clone(&shared), settings, conn, seen);
    (writer.sidecar, writer.outside) = (sidecar.ok(), outside);
    let (control, commands) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || writer.run(&commands));
    if let Err(error) = &thread {
        let error = Cause::of(error);
        problems.push(Unkept::NoThread { error }.into());
    }
    let counting = Arc::clone(&shared);
    if let Err(error) = std::thread::Builder::new()
        .name("store-count".into())
        .spawn(move || counting.count())
    {
        tracing::warn!("the database's rows cannot be counted: {error}");
    }
    let mut import = || import::start(settings, &shared, &control, &mut problems);
    let import = (!in_memory).then(&mut import).flatten();
    let store = Store::new(shared, control, thread.ok(), settings.raw_days);
    Opened {
        store,
        restored: Restored {
            meters,
            import,
            seen,
            clean,
        },
        problems,
    }
}

/// Why there is no database: the last of the problems.
pub(super) fn why_not(problems: &[Reason]) -> Reason {
    let last = problems.last().cloned();
    last.unwrap_or_else(|| Unkept::NoDatabase.into())
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

pub(super) fn open_sidecar(
    dir: &Path,
    problems: &mut Vec<Reason>,
) -> (io::Result<Sidecar>, SidecarContent) {
    let path = dir.join(SIDECAR_FILE);
    if let Err(error) = super::private::folder(dir) {
        let (path, cause) = (shown(dir), Cause::of(&error));
        problems.push(Unkept::NoFolder { path, error: cause }.into());
        return (Err(error), SidecarContent::default());
    }
    match Sidecar::open(&path) {
        Ok((sidecar, found)) => {
            if found.damaged {
                problems.push(Unkept::Rewritten { path: shown(&path) }.into());
            }
            (Ok(sidecar), found)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            problems.push(Unkept::FolderInUse { path: shown(dir) }.into());
            (Err(error), SidecarContent::default())
        }
        Err(error) => {
            let (name, cause) = (shown(&path), Cause::of(&error));
            problems.push(
                Unkept::Unwritable {
                    path: name,
                    error: cause,
                }
                .into(),
            );
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
    problems: &mut Vec<Reason>,
    set_aside: &mut Option<(Reason, PathBuf)>,
) -> Option<Database> {
    let why = match schema::open(path, true) {
        Ok(database) => return Some(database),
        Err(OpenError::Damaged(fault)) => match schema::set_aside(path, &fault, unix_s) {
            Ok((line, aside)) => {
                let line = Reason::from(line);
                problems.push(line.clone());
                *set_aside = Some((line, aside));
                match schema::open(path, true) {
                    Ok(database) => return Some(database),
                    Err(error) => error.of(shown(path)),
                }
            }
            Err(error) => Unkept::NotSetAside {
                path: shown(path),
                fault: fault.into(),
                error: error.into(),
            },
        },
        Err(error) => error.of(shown(path)),
    };
    let why = Arc::new(why);
    problems.push(Unkept::GoesOn { why }.into());
    None
}
