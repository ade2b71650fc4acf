//! The database file: versions, opening, checking, setting aside.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::{loss::shown, types::cause};
use vocab::reason::Unkept;

/// Version of the schema: how many of [`MIGRATIONS`] a database has seen (`user_version`).
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// Forward only; a step is never changed once released. Energy in Wh, `w`, `mn`, `mx` in 0.1 W,
/// `ts` in Unix s.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE meta(key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE meters(
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, mac TEXT NOT NULL DEFAULT '', seen REAL NOT NULL DEFAULT 0,
        reset_at REAL NOT NULL DEFAULT 0, extra TEXT NOT NULL DEFAULT '',
        a_import REAL NOT NULL DEFAULT 0, a_export REAL NOT NULL DEFAULT 0, b_import REAL NOT NULL DEFAULT 0, b_export REAL NOT NULL DEFAULT 0,
        c_import REAL NOT NULL DEFAULT 0, c_export REAL NOT NULL DEFAULT 0, net_import REAL NOT NULL DEFAULT 0, net_export REAL NOT NULL DEFAULT 0,
        life_a_import REAL NOT NULL DEFAULT 0, life_a_export REAL NOT NULL DEFAULT 0, life_b_import REAL NOT NULL DEFAULT 0,
        life_b_export REAL NOT NULL DEFAULT 0, life_c_import REAL NOT NULL DEFAULT 0, life_c_export REAL NOT NULL DEFAULT 0,
        life_net_import REAL NOT NULL DEFAULT 0, life_net_export REAL NOT NULL DEFAULT 0);
    CREATE TABLE state(key TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE s2(ts INTEGER PRIMARY KEY, w INTEGER NOT NULL);
    CREATE TABLE m1(ts INTEGER PRIMARY KEY, w INTEGER NOT NULL, mn INTEGER NOT NULL, mx INTEGER NOT NULL, n INTEGER NOT NULL);
    CREATE TABLE records(meter INTEGER NOT NULL, ts INTEGER NOT NULL, rec BLOB NOT NULL, PRIMARY KEY(meter, ts)) WITHOUT ROWID;
    CREATE TABLE quarters(
        meter INTEGER NOT NULL, ts INTEGER NOT NULL, a_import REAL NOT NULL, a_export REAL NOT NULL, b_import REAL NOT NULL,
        b_export REAL NOT NULL, c_import REAL NOT NULL, c_export REAL NOT NULL, PRIMARY KEY(meter, ts)) WITHOUT ROWID;
    CREATE TABLE models(name TEXT PRIMARY KEY, meta TEXT NOT NULL, blob BLOB NOT NULL);
",
    // What went wrong; what a kWh costs from a time on; what a meter that nets does not count, by the
    // quarter of an hour: it came in on one phase while it went out on another.
    //
    // Of the quarters before, that is as much as the smaller direction at most, and where one phase
    // alone is used nothing. Of the first meter the means of the minutes tell how much its sum drew and
    // fed at most, for a minute that was cut short counts as a whole one.
    "
    CREATE TABLE IF NOT EXISTS events(
        id INTEGER PRIMARY KEY, meter TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
        since REAL NOT NULL, ended REAL, detail TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS events_since ON events(since);
    CREATE TABLE IF NOT EXISTS prices(ts INTEGER PRIMARY KEY, import REAL, export REAL);
    CREATE TABLE IF NOT EXISTS crossed(meter INTEGER NOT NULL, ts INTEGER NOT NULL, wh REAL NOT NULL, PRIMARY KEY(meter, ts)) WITHOUT ROWID;
    WITH
        sums AS (
            SELECT meter, ts, a_import + b_import + c_import AS up, a_export + b_export + c_export AS down,
                   (a_import + a_export > 0) + (b_import + b_export > 0) + (c_import + c_export > 0) AS used FROM quarters),
        means AS (
            SELECT meter, ts, up, down,
                (SELECT sum(max(w, 0)) / 600.0 FROM m1
                    WHERE m1.ts >= sums.ts AND m1.ts < sums.ts + 900 AND meter = (SELECT id FROM meters WHERE key = '')) AS drawn,
                (SELECT sum(max(-w, 0)) / 600.0 FROM m1
                    WHERE m1.ts >= sums.ts AND m1.ts < sums.ts + 900 AND meter = (SELECT id FROM meters WHERE key = '')) AS fed
            FROM sums WHERE used > 1 AND up > 0 AND down > 0),
        guessed AS (
            SELECT meter, ts, min(up, down, max(up - coalesce(drawn, 0), down - coalesce(fed, 0))) AS wh FROM means)
    INSERT OR IGNORE INTO crossed SELECT meter, ts, wh FROM guessed WHERE wh > 0;
",
    // What energy entities counted beyond the power, by the quarter of an hour, where they count.
    "
    CREATE TABLE IF NOT EXISTS followed(
        meter INTEGER NOT NULL, ts INTEGER NOT NULL, a_import REAL NOT NULL, a_export REAL NOT NULL, b_import REAL NOT NULL,
        b_export REAL NOT NULL, c_import REAL NOT NULL, c_export REAL NOT NULL, net_import REAL NOT NULL, net_export REAL NOT NULL,
        PRIMARY KEY(meter, ts)) WITHOUT ROWID;
"];

/// The file with this at the end of its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    format!("{}{ending}", path.display()).into()
}

fn uri(path: &Path, immutable: bool) -> String {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            uri.push(byte as char);
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    if immutable { uri + "?immutable=1" } else { uri }
}

/// Whether an error says that the file itself is broken.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// The writing connection.
#[derive(Debug)]
pub(super) struct Database {
    pub conn: Connection,
    /// It was empty.
    pub fresh: bool,
    /// The last use ended with [`mark_clean`].
    pub clean: bool,
}

/// Opens for writing, migrates, and with `check` checks wholly what was not closed cleanly.
///
/// # Errors
/// Why it cannot be used: [`Unkept::Newer`], [`Unkept::Damaged`] or [`Unkept::Unopened`]. The file
/// is untouched then, but for a log of its own that was played back.
pub(super) fn open(path: &Path, check: bool) -> Result<Database, Unkept> {
    let refused = |version: i32| Unkept::Newer {
        path: shown(path),
        n: version.into(),
        m: VERSION.into(),
    };
    let damaged = |fault: String| Unkept::Damaged {
        path: shown(path),
        fault: fault.into(),
    };
    let why = |error: rusqlite::Error| {
        if is_damage(&error) {
            return damaged(error.to_string());
        }
        let (path, error) = (shown(path), cause(&error));
        Unkept::Unopened { path, error }
    };
    if let Some(version) = header_version(path).filter(|version| *version > VERSION) {
        return Err(refused(version));
    }
    super::private::database(path);
    let mut conn = connect(path).map_err(why)?;
    let version = conn.query_row("PRAGMA user_version", [], |r| r.get(0));
    let version: i32 = version.map_err(why)?;
    if version > VERSION {
        return Err(refused(version));
    }
    let fresh = version == 0;
    let clean = fresh || matches!(meta(&conn, "clean"), Ok(Some(1)));
    if check
        && !clean
        && let Some(fault) = fault(&conn, "integrity_check").map_err(why)?
    {
        return Err(damaged(fault));
    }
    let marked = migrate(&mut conn, version).and_then(|()| set_meta(&conn, "clean", 0));
    marked.map_err(why)?;
    Ok(Database { conn, fresh, clean })
}

/// A connection that writes.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(2))?;
    // A commit rewrites a handful of pages, 2,880 times a day: 20 MB with pages of 1 KiB, 53 MB
    // with SQLite's 4 KiB (tests/store_writes.rs), while reading a chart takes the same time
    // (benches/store.rs).
    conn.execute_batch(
        "PRAGMA page_size = 1024; PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY;",
    )?;
    // Without it, as in a network folder without shared memory, SQLite's rollback journal is as
    // safe, only slower.
    let wal = conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()));
    if let Some(error) = wal.err().filter(is_damage) {
        return Err(error);
    }
    // A commit is on the disk before anything builds on it: counters are served, records read and
    // settings answered after it. One sync a commit, 2,880 a day and those of what is rare.
    conn.execute_batch("PRAGMA synchronous = FULL;")?;
    conn.query_row("PRAGMA journal_size_limit = 4194304", [], |_| Ok(()))?;
    Ok(conn)
}

fn migrate(conn: &mut Connection, from: i32) -> rusqlite::Result<()> {
    let steps = usize::try_from(from).unwrap_or(0);
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(steps) {
        let tx = conn.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", step as i64 + 1)?;
        tx.commit()?;
    }
    Ok(())
}

/// What `check` (`integrity_check` or `quick_check`) complains about; `None` when nothing.
pub(super) fn fault(conn: &Connection, check: &str) -> rusqlite::Result<Option<String>> {
    let sql = format!("PRAGMA {check}(1)");
    match conn.query_row(&sql, [], |r| r.get::<_, String>(0)) {
        Ok(text) if text == "ok" => Ok(None),
        Ok(text) => Ok(Some(text.replace('\n', " "))),
        Err(error) if is_damage(&error) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// The mark of a clean stop.
pub(super) fn mark_clean(conn: &Connection) -> rusqlite::Result<()> {
    set_meta(conn, "clean", 1)
}

/// One whole number of the store's own.
pub(super) fn set_meta(conn: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO meta(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2",
        (key, value),
    )
    .map(|_| ())
}

/// See [`set_meta`].
pub(super) fn meta(conn: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |r| r.get(0))
        .optional()
}

/// A connection that only reads. `immutable`: the file is frozen, so neither log nor locks are
/// made.
pub(super) fn open_reader(path: &Path, immutable: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(uri(path, immutable), flags)?;
    conn.busy_timeout(Duration::from_secs(2))?;
    conn.execute_batch(
        "PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY; PRAGMA query_only = 1;",
    )?;
    Ok(conn)
}

/// Moves a damaged database with its log out of the way; what that means, one line, and where it
/// is.
///
/// # Errors
/// When the folder refuses; then the database is where it was.
pub(super) fn set_aside(
    path: &Path,
    fault: &str,
    unix_s: i64,
) -> std::io::Result<(Unkept, PathBuf)> {
    let aside = beside(path, &format!(".damaged-{unix_s}"));
    fs::rename(path, &aside)?;
    let wal = beside(path, "-wal");
    if wal.exists()
        && let Err(error) = fs::rename(wal, beside(&aside, "-wal"))
    {
        fs::rename(&aside, path)?;
        return Err(error);
    }
    // Its index is made anew: one that stays does no harm.
    let _ = fs::remove_file(beside(path, "-shm"));
    let line = Unkept::SetAside {
        path: shown(path),
        fault: fault.into(),
        aside: shown(&aside),
    };
    Ok((line, aside))
}

/// `user_version` from the file's header, without SQLite and so without a trace. Only before it is
/// opened: closing any descriptor of the file drops SQLite's locks.
fn header_version(path: &Path) -> Option<i32> {
    let mut header = [0; 100];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    header
        .starts_with(b"SQLite format 3\0")
        .then(|| i32::from_be_bytes([header[60], header[61], header[62], header[63]]))
}

/// An empty database of this version, for tests of what is written into one.
#[cfg(test)]
pub(super) fn empty() -> rusqlite::Result<Connection> {
    let mut conn = Connection::open_in_memory()?;
    migrate(&mut conn, 0)?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn opens_migrates_once_and_checks_what_was_not_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a ?#%ä.db");
        for (fresh, clean, stops) in [
            (true, true, true),
            (false, true, false),
            (false, false, false),
        ] {
            let db = open(&path, true).unwrap();
            assert_eq!((db.fresh, db.clean), (fresh, clean));
            if stops {
                mark_clean(&db.conn).unwrap();
            }
        }
    }

    #[test]
    fn a_newer_schema_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.db");
        let conn = open(&path, true).unwrap().conn;
        conn.pragma_update(None, "user_version", VERSION + 1)
            .unwrap();
        drop(conn);
        let before = fs::read(&path).unwrap();
        assert!(
            matches!(open(&path, true), Err(Unkept::Newer { n, .. }) if n == i64::from(VERSION) + 1)
        );
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
