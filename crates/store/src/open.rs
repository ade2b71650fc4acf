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
    schema::{self, Database},
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
    let dir = &settings.data_dir;
    let (path, now) = (dir.join(DATABASE_FILE), clock.now());
    let (sidecar, side, trouble) = open_sidecar(dir);
    let more = side.more.clone().unwrap_or_default();
    let existed = path.exists();
    let (aside, database) = match &trouble {
        Some(busy @ Unkept::FolderInUse { .. }) => (None, Err(busy.clone())),
        _ => open_database(&path, now.unix_s()),
    };
    let busy = matches!(database, Err(Unkept::FolderInUse { .. }));
    let mut problems: Vec<Reason> = trouble.into_iter().map(Reason::from).collect();
    problems.extend(aside.as_ref().map(|(line, _)| line.clone()));
    // What is gone although all works.
    let mut lost = Vec::new();
    let (mut kept, mut parts) = (Kept::default(), BTreeMap::new());
    let (mut conn, mut clean, mut reason) = (None, true, None);
    let mut state_lost = existed || !busy;
    match database {
        Ok(database) => {
            kept = Kept::load(&database.conn).unwrap_or_else(|error| {
                lost.push(Unkept::SettingsLost {
                    path: shown(&path),
                    error: cause(&error),
                    sidecar: SIDECAR_FILE,
                });
                Kept::default()
            });
            state_lost = database.fresh && (!side.meters.is_empty() || side.damaged);
            if let Some((_, old)) = &aside {
                kept = Kept {
                    seen: kept.seen,
                    ..Kept::salvage(old)
                };
                state_lost = true;
            } else if let Some(was) = more.database {
                lost.extend(loss::since(&path, was, database.fresh, kept.seen));
            }
            parts = part::load(&database.conn).unwrap_or_default();
            (conn, clean) = (Some(database.conn), database.clean);
        }
        Err(why) => {
            let why = Reason::from(why);
            if !busy {
                kept = Kept::salvage(aside.as_ref().map_or(&path, |(_, old)| old));
                problems.push(why.clone());
            }
            reason = Some(why);
        }
    }

    let in_memory = reason.is_some();
    let meters = merge(kept.meters, side.meters);
    lost.extend(loss::unreadable(&kept.unreadable));
    // A state that the sidecar does not have either may have held a password.
    let missing = kept
        .unreadable_state
        .iter()
        .any(|key| !more.state.contains_key(key));
    let state_lost = (state_lost && side.more.is_none() && kept.state.is_empty()) || missing;
    lay_over(&mut kept.state, &more);
    let lost: Vec<Reason> = lost.into_iter().map(Reason::from).collect();
    problems.extend(lost.iter().cloned());
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
    for line in aside.into_iter().map(|(line, _)| line).chain(lost) {
        shared.set_aside(line);
    }
    shared.write_all();
    let over = over.into_iter();
    let over = over.map(|(key, part)| (key.into(), part.record));
    lock(&shared.buffer).add(|batch| batch.records.extend(over));
    let mut writer = Writer::new(Arc::clone(&shared), settings, conn, seen);
    (writer.sidecar, writer.outside) = (sidecar, outside);
    let (commands, asked) = mpsc::channel();
    let named = |name: &str| std::thread::Builder::new().name(name.into());
    let thread = named("store-writer").spawn(move || writer.run(&asked));
    if let Err(error) = &thread {
        let error = Cause::of(error);
        problems.push(Unkept::NoThread { error }.into());
    }
    let counting = Arc::clone(&shared);
    if let Err(error) = named("store-count").spawn(move || counting.count()) {
        tracing::warn!("the database's rows cannot be counted: {error}");
    }
    let mut import = || import::start(settings, &shared, &commands, &mut problems);
    let import = (!in_memory).then(&mut import).flatten();
    let store = Store::new(shared, commands, thread.ok(), settings.raw_days);
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

/// The sidecar of the folder, what it held, and what is wrong with it.
pub(super) fn open_sidecar(dir: &Path) -> (Option<Sidecar>, SidecarContent, Option<Unkept>) {
    let none = SidecarContent::default;
    let path = dir.join(SIDECAR_FILE);
    if let Err(error) = super::private::folder(dir) {
        let (path, error) = (shown(dir), error.into());
        return (None, none(), Some(Unkept::NoFolder { path, error }));
    }
    match Sidecar::open(&path) {
        Ok((sidecar, found)) => {
            let path = shown(&path);
            let trouble = found.damaged.then_some(Unkept::Rewritten { path });
            (Some(sidecar), found, trouble)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let path = shown(dir);
            (None, none(), Some(Unkept::FolderInUse { path }))
        }
        Err(error) => {
            let found = Sidecar::peek(&path);
            let (path, error) = (shown(&path), error.into());
            (None, found, Some(Unkept::Unwritable { path, error }))
        }
    }
}

/// What became of a damaged database, and where it is.
pub(super) type Aside = Option<(Reason, PathBuf)>;

/// The database of that path, or why there is none.
pub(super) fn open_database(path: &Path, unix_s: i64) -> (Aside, Result<Database, Unkept>) {
    let (aside, opened) = match schema::open(path, true) {
        Ok(database) => return (None, Ok(database)),
        Err(Unkept::Damaged { fault, .. }) => begin_anew(path, &fault, unix_s),
        refused => (None, refused),
    };
    let goes_on = |why| Unkept::GoesOn { why: Arc::new(why) };
    (aside, opened.map_err(goes_on))
}

/// Sets the damaged file aside and makes a new one.
pub(super) fn begin_anew(
    path: &Path,
    fault: &str,
    unix_s: i64,
) -> (Aside, Result<Database, Unkept>) {
    match schema::set_aside(path, fault, unix_s) {
        Ok((line, aside)) => (Some((line.into(), aside)), schema::open(path, true)),
        Err(error) => {
            let (path, fault, error) = (shown(path), fault.into(), error.into());
            (None, Err(Unkept::NotSetAside { path, fault, error }))
        }
    }
}
