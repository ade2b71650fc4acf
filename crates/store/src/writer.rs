//! The one thread that writes.
//!
//! [`Writer::tick`] and the commands are plain functions of a time, so tests drive them without a
//! thread.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, PoisonError, mpsc},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

use super::{
    DATABASE_FILE,
    blocks::Blocks,
    buffer::Batch,
    commit::{Progress, RecordChange},
    heal::Heal,
    import::Rows,
    retention::{HOLD, JUMP, Keep},
    schema::{self, DatabasePlace},
    series,
    shared::{Shared, lock},
    sidecar::Sidecar,
    types::{Run, StoreError, StoreState},
};
use vocab::Now;

/// How often the thread looks at the clock.
const TICK: Duration = Duration::from_secs(1);
const SIDECAR_EVERY: Duration = Duration::from_secs(600);
/// Counters are kept at least so often, for they are served no sooner: in the sidecar where the
/// database is not written.
const COUNTERS_EVERY: Duration = Duration::from_secs(60);
/// Texts that change often are kept so often, beyond a few that are kept at once. An automation
/// that writes one each second would wear a card out.
const OFTEN_EVERY: Duration = Duration::from_secs(300);
/// The minutes of all meters end within this time: one commit holds them.
const MINUTES: Duration = Duration::from_millis(100);
/// A commit at a minute's end is the one that was due with it.
const MARGIN: Duration = Duration::from_secs(1);
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// A freeze that nobody ends (`docs/decisions.md#backups`).
const FREEZE_AT_MOST: Duration = Duration::from_secs(900);

/// Called once with the outcome.
pub(super) type Ack = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What the handle asks of the thread.
pub(super) enum Control {
    /// Commit now: something rare and dear came.
    Wake,
    /// The text of this key changed, as it may do all day.
    Often(String),
    /// A whole minute came: commit soon.
    Minute,
    /// A counter waits to be served further.
    Short,
    /// Tell when what came before is kept.
    Saved(Ack),
    Flush(Ack),
    Freeze(Ack),
    Thaw(Ack),
    Close(Ack),
    /// Rows of the original's file.
    Import(Rows, Ack),
    /// The original's file is in the database: rename it once its mark is committed.
    Imported(PathBuf),
}

/// See the module.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) place: DatabasePlace,
    pub(super) db: Option<Connection>,
    /// The file that `db` has open.
    pub(super) file: Option<(u64, u64)>,
    pub(super) sidecar: Option<Sidecar>,
    pub(super) sidecar_failed: bool,
    pub(super) progress: Progress,
    pub(super) keep: Keep,
    pub(super) interval: Duration,
    pub(super) last: Now,
    commit_at: Duration,
    pub(super) sidecar_at: Duration,
    prune_at: Duration,
    pruning: bool,
    /// Uptime that retention still waits for.
    pub(super) hold: Duration,
    /// Only in memory: how to get out of it.
    pub(super) heal: Option<Heal>,
    pub(super) frozen_at: Option<Duration>,
    rename: Option<PathBuf>,
    rare: Allowance,
    /// Keys of texts that change often and wait.
    often: BTreeSet<String>,
    often_now: Allowance,
    short: Allowance,
    often_at: Duration,
}

/// Commits out of turn: so many at once, and one more after each pause. Beyond, what comes waits
/// for the commit that is due.
struct Allowance {
    left: u32,
    most: u32,
    pause: Duration,
    since: Duration,
}

impl Allowance {
    fn new(most: u32, pause: Duration, now: Duration) -> Self {
        Self {
            left: most,
            most,
            pause,
            since: now,
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        while self.left < self.most && now.saturating_sub(self.since) >= self.pause {
            self.left += 1;
            self.since += self.pause;
        }
        if self.left == self.most {
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

/// What the writer starts with.
pub(super) struct Start {
    pub place: DatabasePlace,
    pub db: Option<Connection>,
    pub sidecar: Option<Sidecar>,
    pub keep: Keep,
    pub interval: Duration,
    /// Wall time of the last commit before this start, Unix s.
    pub seen: Option<f64>,
    /// In memory: how to get out of it.
    pub heal: Option<Heal>,
}

/// Uptime that retention waits for with a database last written at `seen`.
pub(super) fn hold(conn: &Connection, seen: Option<f64>, now: Now) -> Duration {
    let kept = schema::meta(conn, "retention_hold")
        .ok()
        .flatten()
        .unwrap_or(0);
    let left = Duration::from_secs(u64::try_from(kept).unwrap_or(0)).min(HOLD);
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
    pub(super) fn new(shared: Arc<Shared>, start: Start) -> Self {
        let now = shared.clock.now();
        let progress = start
            .db
            .as_ref()
            .and_then(|conn| Progress::load(conn).ok())
            .unwrap_or_default();
        let hold = start
            .db
            .as_ref()
            .map_or(Duration::ZERO, |conn| hold(conn, start.seen, now));
        Self {
            shared,
            file: start.place.file_id(),
            place: start.place,
            db: start.db,
            sidecar: start.sidecar,
            sidecar_failed: false,
            progress,
            keep: start.keep,
            interval: start.interval,
            last: now,
            commit_at: now.mono + start.interval,
            sidecar_at: now.mono + start.interval.min(SIDECAR_EVERY),
            prune_at: now.mono + Duration::from_secs(60),
            pruning: false,
            hold,
            heal: start.heal,
            frozen_at: None,
            rename: None,
            rare: Allowance::new(60, Duration::from_secs(120), now.mono),
            often: BTreeSet::new(),
            often_now: Allowance::new(10, OFTEN_EVERY, now.mono),
            short: Allowance::new(10, Duration::from_secs(40), now.mono),
            often_at: now.mono + OFTEN_EVERY,
        }
    }

    /// Texts that change often go with the next commit.
    pub(super) fn collect_often(&mut self) {
        let cache = lock(&self.shared.cache);
        let texts: Vec<(String, String)> = std::mem::take(&mut self.often)
            .into_iter()
            .filter_map(|key| {
                cache
                    .state
                    .get(&key)
                    .map(|text| (key.clone(), text.clone()))
            })
            .collect();
        lock(&self.shared.buffer).add(|batch| batch.state.extend(texts));
        drop(cache);
        self.often_at = self.last.mono + OFTEN_EVERY;
    }

    /// Until it is closed or every handle is gone.
    pub(super) fn run(mut self, control: &mpsc::Receiver<Control>) {
        loop {
            self.shared.beat();
            match control.recv_timeout(self.wait()) {
                Ok(Control::Close(ack)) => return ack(self.close()),
                Ok(command) => self.handle(command),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.close() {
                        tracing::error!("{error}");
                    }
                    return;
                }
            }
            self.tick(self.shared.clock.now());
        }
    }

    fn wait(&self) -> Duration {
        if self.pruning {
            return Duration::ZERO;
        }
        let due = self.commit_at.saturating_sub(self.shared.clock.now().mono);
        if self.frozen_at.is_some() {
            TICK
        } else {
            due.clamp(Duration::from_millis(10), TICK)
        }
    }

    pub(super) fn handle(&mut self, command: Control) {
        match command {
            Control::Wake => {
                let now = self.shared.clock.now().mono;
                if !self.rare.take(now) {
                    return;
                }
                if self.frozen_at.is_none() {
                    let _ = self.commit();
                }
                self.write_sidecar();
            }
            Control::Often(key) => {
                self.often.insert(key);
                if self.often_now.take(self.shared.clock.now().mono) && self.frozen_at.is_none() {
                    self.collect_often();
                    let _ = self.commit();
                }
            }
            // What is rare was committed when it came; where that fails it was said, and is tried
            // again.
            Control::Saved(ack) => ack(Ok(())),
            Control::Short => {
                if self.short.take(self.shared.clock.now().mono)
                    && self.frozen_at.is_none()
                    && self.commit().is_err()
                {
                    self.write_sidecar();
                }
            }
            Control::Minute => {
                self.commit_at = self.commit_at.min(self.shared.clock.now().mono + MINUTES);
            }
            Control::Flush(ack) => {
                self.collect_often();
                ack(self.commit());
            }
            Control::Freeze(ack) => ack(self.freeze()),
            Control::Thaw(ack) => ack(self.thaw()),
            Control::Close(ack) => ack(self.close()),
            Control::Import(rows, ack) => ack(self.import(&rows)),
            Control::Imported(path) => {
                self.rename = Some(path);
                if self.frozen_at.is_none() {
                    let _ = self.commit();
                }
            }
        }
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
                self.sidecar_at = now.mono + self.interval.min(COUNTERS_EVERY);
            }
            return;
        }
        self.try_folder(now);
        if self.shared.take_suspect() {
            self.verify();
        }
        if !self.often.is_empty() && now.mono >= self.often_at {
            self.collect_often();
        }
        if now.mono >= self.commit_at {
            self.commit_at = now.mono
                + self.interval
                + if self.shared.minutes_first {
                    MARGIN
                } else {
                    Duration::ZERO
                };
            if self.commit().is_err() {
                self.sidecar_at = now.mono;
            }
        }
        if now.mono >= self.sidecar_at {
            self.write_sidecar();
            let alone =
                self.interval > COUNTERS_EVERY || matches!(self.place, DatabasePlace::Memory(_));
            self.sidecar_at = now.mono
                + if alone {
                    self.interval.min(COUNTERS_EVERY)
                } else {
                    SIDECAR_EVERY
                };
        }
        if self.pruning || now.mono >= self.prune_at {
            self.prune(now);
        }
    }

    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        if self.frozen_at.is_some() {
            return Err(StoreError("the database is frozen for a backup".into()));
        }
        self.notice_a_lost_file();
        if self.db.is_none() {
            self.reopen(true)?;
        }
        let shared = Arc::clone(&self.shared);
        let moving = shared
            .moving
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let batch = lock(&shared.buffer).take();
        if batch.is_empty() {
            lock(&shared.buffer).done();
            drop((batch, moving));
            self.rename_imported();
            return Ok(());
        }
        let written = self.write(&batch);
        if let Some(heal) = &mut self.heal {
            heal.cleared.extend(batch.deleted.iter().cloned());
        }
        // In memory nothing is kept, and waiting for what cannot come is no use: unless the sidecar
        // can keep the counters.
        let kept = matches!(self.place, DatabasePlace::File(_))
            || self.sidecar.is_none()
            || self.sidecar_failed;
        let runs: Vec<(String, Run)> = if kept {
            batch
                .meters
                .iter()
                .map(|(key, row)| (key.clone(), row.run.clone()))
                .collect()
        } else {
            Vec::new()
        };
        let had_meters = !batch.meters.is_empty();
        drop(batch);
        match written {
            Ok((progress, changes)) => {
                self.progress = progress;
                // The index first, then the buffer: a reader finds a record in one of them at any
                // moment.
                self.index(&changes);
                lock(&shared.buffer).done();
                drop(moving);
                if had_meters && matches!(self.place, DatabasePlace::File(_)) {
                    lock(&shared.cache).database = Some(self.last.unix);
                }
                shared.keep(runs);
                self.recovered();
                self.rename_imported();
                Ok(())
            }
            Err(error) => {
                lock(&shared.buffer).failed();
                // What follows may wait for the readers.
                drop(moving);
                Err(self.failed(&error))
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> rusqlite::Result<(Progress, Vec<RecordChange>)> {
        let conn = self.db.as_mut().ok_or(rusqlite::Error::InvalidQuery)?;
        let mut progress = self.progress.clone();
        let tx = conn.transaction()?;
        let changes = progress.apply(&tx, batch, self.last.unix)?;
        tx.commit()?;
        Ok((progress, changes))
    }

    fn index(&self, changes: &[RecordChange]) {
        let mut all = lock(&self.shared.blocks);
        for change in changes {
            let (RecordChange::Cleared(key)
            | RecordChange::Removed(key, ..)
            | RecordChange::Added(key, _)) = change;
            // A meter that nobody asked about yet is not indexed.
            let Some(blocks) = all.get_mut(key) else {
                continue;
            };
            match change {
                RecordChange::Cleared(_) => *blocks = Blocks::default(),
                RecordChange::Removed(_, from, to) => blocks.remove(*from, *to),
                RecordChange::Added(_, ts) => blocks.insert(*ts),
            }
        }
    }

    pub(super) fn recovered(&self) {
        let unix = self.last.unix;
        let bytes = self.bytes();
        let was = self.shared.change_health(|health| {
            health.bytes = bytes;
            health.last_commit = Some(unix);
            if matches!(health.state, StoreState::Failing { .. }) {
                Some(std::mem::replace(&mut health.state, StoreState::Ok))
            } else {
                None
            }
        });
        if was.is_some() {
            match super::shared::lock(&self.shared.buffer).dropped {
                0 => tracing::info!(
                    "the database is written again, nothing of what was buffered is lost"
                ),
                rows => {
                    tracing::warn!(
                        "the database is written again; {rows} rows that waited too long were given up, the counters are whole"
                    );
                }
            }
        }
    }

    /// Says it once and keeps it for the health page; what to do next time depends on the error.
    fn failed(&mut self, error: &rusqlite::Error) -> StoreError {
        let reason = format!("{}: {error}", self.name());
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

    pub(super) fn failing(&self, reason: &str) {
        let since = self.last.unix;
        let first = self.shared.change_health(|health| match &mut health.state {
            StoreState::Failing { reason: old, .. } => {
                reason.clone_into(old);
                false
            }
            StoreState::InMemory { .. } => false,
            state => {
                *state = StoreState::Failing {
                    since,
                    reason: reason.to_owned(),
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
        let DatabasePlace::File(path) = &self.place else {
            return 0;
        };
        let log = PathBuf::from(format!("{}-wal", path.display()));
        [path, &log]
            .iter()
            .filter_map(|p| fs::metadata(p).ok())
            .map(|m| m.len())
            .sum()
    }

    pub(super) fn name(&self) -> String {
        match &self.place {
            DatabasePlace::File(path) => path.display().to_string(),
            DatabasePlace::Memory(_) => format!("{DATABASE_FILE} in memory"),
        }
    }

    fn prune(&mut self, now: Now) {
        self.prune_at = now.mono + PRUNE_EVERY;
        let Some(conn) = &mut self.db else { return };
        if !self.pruning && matches!(self.place, DatabasePlace::File(_)) {
            let left = i64::try_from(self.hold.as_secs()).unwrap_or(i64::MAX);
            if schema::meta(conn, "retention_hold")
                .ok()
                .flatten()
                .unwrap_or(0)
                != left
            {
                let _ = schema::set_meta(conn, "retention_hold", left);
            }
        }
        if !self.hold.is_zero() {
            return;
        }
        match self.keep.prune(conn, now.unix_s()) {
            Ok(more) => self.pruning = more,
            Err(error) => {
                self.pruning = false;
                self.failed(&error);
            }
        }
        if !self.pruning {
            let before = self.keep.records_from(now.unix_s());
            lock(&self.shared.blocks)
                .values_mut()
                .for_each(|blocks| blocks.remove(i64::MIN / 4, before.div_euclid(60) * 60));
            if let Ok(rows) = self.shared.count_rows() {
                self.shared.change_health(|health| health.rows = rows);
            }
        }
    }

    fn import(&mut self, rows: &Rows) -> Result<(), StoreError> {
        if self.frozen_at.is_some() {
            return Err(StoreError("the database is frozen for a backup".into()));
        }
        let conn = self
            .db
            .as_mut()
            .ok_or_else(|| StoreError("the database is closed".into()))?;
        let tx = conn.transaction()?;
        series::import(&tx, &rows.samples, &rows.means)?;
        tx.commit()?;
        Ok(())
    }

    /// Only once its mark is committed: else the next start would add it again, or never.
    fn rename_imported(&mut self) {
        let Some(path) = self.rename.take() else {
            return;
        };
        let plain = PathBuf::from(format!("{}.imported", path.display()));
        let aside = if plain.exists() {
            PathBuf::from(format!(
                "{}.imported-{}",
                path.display(),
                self.last.unix_s()
            ))
        } else {
            plain
        };
        match fs::rename(&path, &aside) {
            Ok(()) => tracing::info!(
                "{} was imported and is now {}",
                path.display(),
                aside.display()
            ),
            Err(error) => tracing::warn!(
                "{} was imported but cannot be renamed: {error}; it will not be imported again",
                path.display()
            ),
        }
    }
}
