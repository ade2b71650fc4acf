//! The one thread that writes.
//!
//! [`Writer::tick`] and the commands are plain functions of a time, so tests drive them without a
//! thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

use super::{
    DATABASE_FILE,
    buffer::Batch,
    commit,
    lock::lock,
    loss::shown,
    retention::{self, HOLD, JUMP},
    schema::{self, beside},
    series,
    shared::Shared,
    sidecar::Sidecar,
    types::{MeterRow, Rows, Run, StoreError, StoreState, cause},
};
use config::settings::StoreSettings;
use vocab::{
    Now,
    reason::{Reason, Unkept},
};

/// How often the thread looks at the clock.
const TICK: Duration = Duration::from_secs(1);
const SIDECAR_EVERY: Duration = Duration::from_secs(600);
/// Counters are kept at least so often, for they are served no sooner: in the sidecar where the
/// database is not written.
const COUNTERS_EVERY: Duration = Duration::from_secs(60);
/// Texts that change often are kept so often, beyond a few that are kept at once. An automation
/// that writes one each second would wear a card out.
const OFTEN_EVERY: Duration = Duration::from_secs(300);
/// With commits that are further apart, a minute's record waits for the next.
const MINUTE: Duration = Duration::from_secs(60);
/// The minutes of all meters end within this time: one commit holds them.
const MINUTES: Duration = Duration::from_millis(100);
/// A commit at a minute's end is the one that was due with it.
const MARGIN: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// A freeze that nobody ends (`docs/decisions.md#backups`).
const FREEZE_AT_MOST: Duration = Duration::from_secs(900);

/// What the thread is asked to do.
pub(super) type Command = Box<dyn FnOnce(&mut Writer) + Send>;

/// See the module.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) path: PathBuf,
    pub(super) db: Option<Connection>,
    pub(super) sidecar: Option<Sidecar>,
    pub(super) sidecar_failed: bool,
    pub(super) settings: StoreSettings,
    pub(super) last: Now,
    commit_at: Duration,
    pub(super) sidecar_at: Duration,
    prune_at: Duration,
    pruning: bool,
    /// Uptime that retention still waits for.
    pub(super) hold: Duration,
    /// No database could be opened yet.
    pub(super) outside: Option<Outside>,
    pub(super) frozen_at: Option<Duration>,
    rename: Option<PathBuf>,
    rare: Allowance,
    /// Keys of texts that change often and wait.
    often: BTreeSet<String>,
    often_now: Allowance,
    short: Allowance,
    often_at: Duration,
    pub(super) closed: bool,
}

/// Commits out of turn: so many at once, and one more after each pause. Beyond, what comes waits
/// for the commit that is due.
struct Allowance {
    most: u32,
    pause: Duration,
    /// When all of them are allowed again.
    full: Duration,
}

impl Allowance {
    const fn new(most: u32, pause: Duration) -> Self {
        Self {
            most,
            pause,
            full: Duration::ZERO,
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        let full = self.full.max(now) + self.pause;
        let some = full <= now + self.pause * self.most;
        if some {
            self.full = full;
        }
        some
    }
}

/// What a run knew when it began without its database.
pub(super) struct Outside {
    pub meters: BTreeMap<String, MeterRow>,
    /// Some of the state, and so all of it.
    pub state: bool,
    /// When the folder is tried again.
    pub due: Duration,
}

/// Uptime that retention waits for with a database last written at `seen`.
pub(super) fn hold(conn: &Connection, seen: Option<f64>, now: Now) -> Duration {
    let kept = schema::meta(conn, "retention_hold").ok().flatten();
    let left = kept.and_then(|seconds| u64::try_from(seconds).ok());
    let left = Duration::from_secs(left.unwrap_or(0)).min(HOLD);
    let away = seen.map_or(0.0, |seen| now.unix - seen);
    // A long stop looks like a jump forward; one that is off every night must still get to prune,
    // so only a hold that has run out is begun anew.
    if away < -JUMP || (away > JUMP && left.is_zero()) {
        HOLD
    } else {
        left
    }
}

impl Writer {
    /// `db`: none where it could not be opened. `seen`: wall time of the last commit before this
    /// start, Unix s.
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: &StoreSettings,
        db: Option<Connection>,
        seen: Option<f64>,
    ) -> Self {
        let now = shared.clock.now();
        let hold = db.as_ref().map_or(HOLD, |conn| hold(conn, seen, now));
        Self {
            shared,
            path: settings.data_dir.join(DATABASE_FILE),
            db,
            sidecar: None,
            sidecar_failed: false,
            settings: settings.clone(),
            last: now,
            commit_at: now.mono + settings.interval,
            sidecar_at: now.mono + settings.interval.min(SIDECAR_EVERY),
            prune_at: now.mono + Duration::from_secs(60),
            pruning: false,
            hold,
            outside: None,
            frozen_at: None,
            rename: None,
            rare: Allowance::new(60, Duration::from_secs(120)),
            often: BTreeSet::new(),
            often_now: Allowance::new(10, OFTEN_EVERY),
            short: Allowance::new(10, Duration::from_secs(40)),
            often_at: now.mono + OFTEN_EVERY,
            closed: false,
        }
    }

    /// Texts that change often go with the next commit.
    pub(super) fn collect_often(&mut self) {
        let cache = lock(&self.shared.cache);
        let texts = std::mem::take(&mut self.often).into_iter();
        let texts = texts.filter_map(|key| cache.state.get_key_value(&key));
        let texts = texts.map(|(key, text)| (key.clone(), text.clone()));
        lock(&self.shared.buffer).add(|batch| batch.state.extend(texts));
        drop(cache);
        self.often_at = self.last.mono + OFTEN_EVERY;
    }

    /// Until it is closed or every handle is gone.
    pub(super) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while !self.closed {
            self.shared.beat();
            match commands.recv_timeout(self.wait()) {
                Ok(command) => command(&mut self),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.close() {
                        tracing::error!("{error}");
                    }
                }
            }
            if !self.closed {
                self.tick(self.shared.clock.now());
            }
        }
    }

    fn wait(&self) -> Duration {
        if self.pruning {
            return Duration::ZERO;
        }
        if self.frozen_at.is_some() {
            return TICK;
        }
        let due = self.commit_at.saturating_sub(self.shared.clock.now().mono);
        due.clamp(Duration::from_millis(10), TICK)
    }

    /// Something rare and dear came: commits now.
    pub(super) fn wake(&mut self) {
        if self.rare.take(self.shared.clock.now().mono) {
            let _ = self.commit();
            self.write_sidecar();
        }
    }

    /// The text of this key changed, as it may do all day.
    pub(super) fn often(&mut self, key: String) {
        self.often.insert(key);
        if self.often_now.take(self.shared.clock.now().mono) {
            self.collect_often();
            let _ = self.commit();
        }
    }

    /// A counter waits to be served further.
    pub(super) fn short(&mut self) {
        if self.short.take(self.shared.clock.now().mono) && self.commit().is_err() {
            self.write_sidecar();
        }
    }

    /// A whole minute came: commits soon. An owner who wants fewer writes than one a minute gets
    /// records later.
    pub(super) fn minute(&mut self) {
        if self.settings.interval <= MINUTE {
            let soon = self.shared.clock.now().mono + MINUTES;
            self.commit_at = self.commit_at.min(soon);
        }
    }

    /// Everything that waits is committed.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.collect_often();
        self.commit()
    }

    /// The original's file is in the database: it is renamed once its mark is committed.
    pub(super) fn imported(&mut self, path: PathBuf) {
        self.rename = Some(path);
        let _ = self.commit();
    }

    /// What is due.
    pub(super) fn tick(&mut self, now: Now) {
        let passed = now.mono.saturating_sub(self.last.mono);
        if ((now.unix - self.last.unix) - passed.as_secs_f64()).abs() > JUMP {
            tracing::warn!(
                "the clock jumped by more than an hour: nothing old is deleted for 24 hours"
            );
            self.hold = HOLD;
            self.pruning = false;
        } else {
            self.hold = self.hold.saturating_sub(passed);
        }
        self.last = now;
        if let Some(since) = self.frozen_at {
            if now.mono.saturating_sub(since) >= FREEZE_AT_MOST {
                tracing::warn!(
                    "the backup has not ended for 15 minutes: the database is written again"
                );
                let _ = self.thaw();
            } else if now.mono >= self.sidecar_at {
                self.write_sidecar();
                self.sidecar_at = now.mono + self.settings.interval.min(COUNTERS_EVERY);
            }
            return;
        }
        if self.shared.take_suspect() {
            self.verify();
        }
        if self.outside.as_ref().is_some_and(|it| now.mono >= it.due) {
            let _ = self.commit();
        }
        if !self.often.is_empty() && now.mono >= self.often_at {
            self.collect_often();
        }
        if now.mono >= self.commit_at {
            self.commit_at = now.mono + self.settings.interval;
            if self.settings.interval <= MINUTE {
                self.commit_at += MARGIN;
            }
            if self.commit().is_err() {
                self.sidecar_at = now.mono;
            }
        }
        if now.mono >= self.sidecar_at {
            self.write_sidecar();
            let alone = self.settings.interval > COUNTERS_EVERY || self.outside.is_some();
            let counters = self.settings.interval.min(COUNTERS_EVERY);
            self.sidecar_at = now.mono + if alone { counters } else { SIDECAR_EVERY };
        }
        if self.pruning || now.mono >= self.prune_at {
            self.prune(now);
        }
    }

    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        if self.frozen_at.is_some() {
            return Err(Unkept::Frozen.into());
        }
        if self.db.is_none() {
            self.reopen(true)?;
        }
        let shared = Arc::clone(&self.shared);
        let batch = lock(&shared.buffer).take();
        if batch.is_empty() {
            lock(&shared.buffer).done();
            self.rename_imported();
            return Ok(());
        }
        let written = self.write(&batch);
        let run = |(key, row): (&String, &MeterRow)| (key.clone(), row.run.clone());
        let runs: Vec<(String, Run)> = batch.meters.iter().map(run).collect();
        drop(batch);
        match written {
            Ok(()) => {
                lock(&shared.buffer).done();
                if !runs.is_empty() {
                    lock(&shared.cache).database = Some(self.last.unix);
                }
                shared.keep(runs);
                self.recovered();
                self.rename_imported();
                Ok(())
            }
            Err(error) => {
                lock(&shared.buffer).failed();
                Err(self.failed(&error))
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let conn = self.db.as_mut().ok_or(rusqlite::Error::InvalidQuery)?;
        let tx = conn.transaction()?;
        commit::apply(&tx, batch, self.last.unix)?;
        tx.commit()
    }

    fn recovered(&self) {
        let unix = self.last.unix;
        let bytes = self.bytes();
        let was_failing = self.shared.change_health(|health| {
            health.bytes = bytes;
            health.last_commit = Some(unix);
            let failing = matches!(health.state, StoreState::Failing { .. });
            if failing {
                health.state = StoreState::Ok;
            }
            failing
        });
        if was_failing {
            let rows = lock(&self.shared.buffer).dropped;
            tracing::warn!(
                "the database is written again; {rows} rows that waited too long were given up, the counters are whole"
            );
        }
    }

    /// Says it once and keeps it for the health page; what to do next time depends on the error.
    fn failed(&mut self, error: &rusqlite::Error) -> StoreError {
        let reason = Reason::from(Unkept::At {
            path: self.name(),
            error: cause(error),
        });
        self.failing(&reason);
        match error.sqlite_error_code() {
            // The connection is as good as before.
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {}
            _ if schema::is_damage(error) => self.replace(&error.to_string()),
            // The file may have been moved, remounted or deleted below us.
            _ => self.disconnect(),
        }
        StoreError(reason)
    }

    pub(super) fn failing(&self, reason: &Reason) {
        let since = self.last.unix;
        let first = self.shared.change_health(|health| match &mut health.state {
            StoreState::Failing { reason: old, .. } => {
                old.clone_from(reason);
                false
            }
            StoreState::InMemory { .. } => false,
            state => {
                *state = StoreState::Failing {
                    since,
                    reason: reason.clone(),
                };
                true
            }
        });
        if first {
            tracing::error!(
                "{reason}; metering goes on, what comes is kept in memory and written as soon as that works again"
            );
        }
    }

    /// Database and its log on disk. Here and not where it is asked for: a disk that hangs answers
    /// nobody.
    fn bytes(&self) -> u64 {
        let files = [self.path.clone(), beside(&self.path, "-wal")];
        let sizes = files.iter().filter_map(|path| fs::metadata(path).ok());
        sizes.map(|meta| meta.len()).sum()
    }

    pub(super) fn name(&self) -> Arc<str> {
        shown(&self.path)
    }

    fn prune(&mut self, now: Now) {
        self.prune_at = now.mono + PRUNE_EVERY;
        let Some(conn) = &mut self.db else { return };
        if !self.pruning {
            let left = i64::try_from(self.hold.as_secs()).unwrap_or(i64::MAX);
            let _ = schema::set_meta(conn, "retention_hold", left);
        }
        if !self.hold.is_zero() {
            return;
        }
        match retention::prune(&self.settings, conn, now.unix_s()) {
            Ok(more) => self.pruning = more,
            Err(error) => {
                self.pruning = false;
                self.failed(&error);
            }
        }
        if !self.pruning {
            self.shared.count();
        }
    }

    /// Takes rows of the original's file.
    pub(super) fn import(&mut self, rows: &Rows) -> Result<(), StoreError> {
        if self.frozen_at.is_some() {
            return Err(Unkept::Frozen.into());
        }
        let conn = self.db.as_mut().ok_or(Unkept::DatabaseClosed)?;
        let tx = conn.transaction()?;
        series::import(&tx, rows)?;
        tx.commit()?;
        Ok(())
    }

    /// Only once its mark is committed: else the next start would add it again, or never.
    fn rename_imported(&mut self) {
        let Some(path) = self.rename.take() else {
            return;
        };
        let mut aside = beside(&path, ".imported");
        if aside.exists() {
            aside = beside(&aside, &format!("-{}", self.last.unix_s()));
        }
        match fs::rename(&path, &aside) {
            Ok(()) => tracing::info!(
                path = %path.display(),
                "imported, and is now {}",
                aside.display()
            ),
            Err(error) => tracing::warn!(
                path = %path.display(),
                %error,
                "imported, but cannot be renamed; it will not be imported again"
            ),
        }
    }
}
