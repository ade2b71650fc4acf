//! Opening and closing under the writer's hands: backups, damage, a folder that comes late, the
//! stop.

use std::{path::Path, time::Duration};

use super::{
    kept::{Kept, merge},
    lock::lock,
    open::{Aside, EVERY, begin_anew, open_database, open_sidecar},
    part,
    readers::Gate,
    schema::{self, Database},
    sidecar,
    types::{MeterRow, Run, StoreError, StoreState},
    writer::{Outside, Writer, hold},
};
use vocab::reason::{Reason, Unkept};

impl Writer {
    /// Everything on disk, one file without log, closed; readers read it as immutable until
    /// [`Self::thaw`].
    pub(super) fn freeze(&mut self) -> Result<(), StoreError> {
        if self.frozen_at.is_some() {
            self.frozen_at = Some(self.last.mono);
            return Ok(());
        }
        self.collect_often();
        if let Err(error) = self.commit() {
            tracing::warn!(error = %error, "the backup will hold the database as of its last commit");
        }
        self.write_sidecar();
        if self.outside.is_none() {
            let db = self.db.take();
            self.shared.readers.turn(Gate::Immutable, || close(db));
        }
        self.frozen_at = Some(self.last.mono);
        self.sidecar_at = self.last.mono + self.settings.interval;
        self.shared.change_health(|health| {
            if !matches!(health.state, StoreState::InMemory { .. }) {
                health.state = StoreState::Frozen;
            }
        });
        Ok(())
    }

    /// Open again, and what was buffered written.
    pub(super) fn thaw(&mut self) -> Result<(), StoreError> {
        if self.frozen_at.take().is_none() {
            return Ok(());
        }
        self.shared.change_health(|health| {
            if health.state == StoreState::Frozen {
                health.state = StoreState::Ok;
            }
        });
        if self.db.is_none() && self.outside.is_none() {
            // Nobody else wrote meanwhile: what was sound still is.
            self.reopen(false)?;
        }
        match self.commit() {
            // Without a database there was nothing to freeze.
            Err(_) if self.outside.is_some() => Ok(()),
            saved => saved,
        }
    }

    /// Everything saved; a freeze ends with it, since what it buffered would be lost otherwise.
    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        self.shared.set_closing();
        self.last = self.shared.clock.now();
        self.collect_often();
        if let Some(outside) = &mut self.outside {
            outside.due = Duration::ZERO;
        }
        let saved = self.thaw().and_then(|()| self.commit());
        self.write_sidecar();
        if saved.is_ok()
            && let Some(conn) = &self.db
            && let Err(error) = schema::mark_clean(conn)
        {
            tracing::warn!(path = %self.name(), %error, "the clean stop could not be marked");
        }
        let db = self.db.take();
        self.shared.readers.turn(Gate::Shut, || close(db));
        self.sidecar = None;
        self.closed = true;
        saved
    }

    /// Identity and counters into `meter.json`; a failure is said once.
    pub(super) fn write_sidecar(&mut self) {
        let Some(sidecar) = &mut self.sidecar else {
            return;
        };
        let cache = lock(&self.shared.cache);
        let (meters, state, database) = (cache.meters.clone(), cache.vital.clone(), cache.database);
        drop(cache);
        if meters.is_empty() {
            return;
        }
        let waits = self.shared.pending(|batch| &batch.state);
        let ahead = |key: &&String| self.outside.is_some() || waits.contains_key(*key);
        let more = sidecar::More {
            database,
            ahead: state.keys().filter(ahead).cloned().collect(),
            state,
        };
        match sidecar.write(&meters, &more) {
            Ok(()) => {
                self.sidecar_failed = false;
                let run = |row: MeterRow| Run {
                    limit: row.run.limit.map(sidecar::as_kept),
                    ..row.run
                };
                let runs = meters.into_iter().map(|(key, row)| (key, run(row)));
                self.shared.keep(runs.collect());
            }
            Err(error) if !self.sidecar_failed => {
                self.sidecar_failed = true;
                tracing::error!(
                    path = super::SIDECAR_FILE,
                    %error,
                    "the sidecar cannot be written: identity and counters are in the database only"
                );
            }
            Err(_) => {}
        }
    }

    /// Lets go of a connection whose file may be gone; the next commit opens it anew.
    pub(super) fn disconnect(&mut self) {
        let db = self.db.take();
        self.shared.readers.turn(Gate::Shut, || drop(db));
    }

    /// Opens the database again, or for the first time where the start could not.
    pub(super) fn reopen(&mut self, check: bool) -> Result<(), StoreError> {
        if let Some(outside) = self.outside.take() {
            return self.enter(outside);
        }
        match schema::open(&self.path, check) {
            Ok(database) => {
                self.adopt(database);
                Ok(())
            }
            Err(Unkept::Damaged { path, fault }) => {
                self.replace(&fault);
                match self.db {
                    Some(_) => Ok(()),
                    None => Err(Unkept::Damaged { path, fault }.into()),
                }
            }
            Err(why) => {
                let reason = Reason::from(why);
                self.failing(&reason);
                Err(StoreError(reason))
            }
        }
    }

    /// The folder could not be used until now. Who the meter is and what it serves cannot change
    /// while it is read: that stays as it began. What is *kept* stands on what the folder held, so
    /// that the next start has the folder's identity, and no counter below either.
    fn enter(&mut self, mut outside: Outside) -> Result<(), StoreError> {
        let now = self.last.mono;
        if now >= outside.due {
            outside.due = now + EVERY;
            match self.try_folder(&outside) {
                Ok(()) => return Ok(()),
                Err(reason) => self
                    .shared
                    .change_health(|health| health.state = StoreState::InMemory { reason }),
            }
        }
        self.outside = Some(outside);
        // Waiting for what cannot be kept is no use, unless the sidecar can keep the counters.
        if self.sidecar.is_none() || self.sidecar_failed {
            let meters = lock(&self.shared.cache).meters.clone();
            let runs = meters.into_iter().map(|(key, row)| (key, row.run));
            self.shared.keep(runs.collect());
        }
        Err(Unkept::NoDatabase.into())
    }

    fn try_folder(&mut self, outside: &Outside) -> Result<(), Reason> {
        let path = self.path.clone();
        let (mut found, mut sidecar) = (outside.meters.clone(), None);
        if self.sidecar.is_none() {
            let folder = path.parent().unwrap_or(Path::new(""));
            let (opened, side, trouble) = open_sidecar(folder);
            if let Some(busy @ Unkept::FolderInUse { .. }) = trouble {
                return Err(busy.into());
            }
            found = merge(found, side.meters);
            sidecar = opened;
        }
        let (aside, opened) = open_database(&path, self.last.unix_s());
        self.tell_aside(aside);
        let database = opened?;
        let said = |error| StoreError::from(error).0;
        let kept = Kept::load(&database.conn).map_err(said)?;
        let parts = part::load(&database.conn).map_err(said)?;
        let mut cache = lock(&self.shared.cache);
        for (key, base) in merge(kept.meters, found) {
            let row = cache.meters.remove(&key);
            let row = row.map_or_else(|| base.clone(), |row| row.upon(&base));
            cache.meters.insert(key.clone(), row);
            cache.base.insert(key, base);
        }
        for (key, json) in kept.state {
            // What this run did not know it cannot have meant to replace.
            if !outside.state || !cache.state.contains_key(&key) {
                cache.state.insert(key, json);
            }
        }
        drop(cache);
        lock(&self.shared.buffer).add(|batch| {
            for (key, part) in parts {
                batch.records.push_front((key.into(), part.record));
            }
        });
        self.sidecar = self.sidecar.take().or(sidecar);
        self.sidecar_at = self.last.mono;
        let seen = (kept.seen > 0.0).then_some(kept.seen);
        self.hold = hold(&database.conn, seen, self.last);
        self.shared.change_health(|health| {
            health.path = Some(path.clone());
            health.state = StoreState::Ok;
        });
        tracing::info!(
            "{} can be used by now: what was kept in memory goes into it",
            path.display()
        );
        self.adopt(database);
        Ok(())
    }

    /// A reader met damage: looks for itself before anything is set aside.
    pub(super) fn verify(&mut self) {
        let Some(conn) = &self.db else { return };
        match schema::fault(conn, "quick_check") {
            Ok(Some(fault)) => self.replace(&fault),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = %self.name(), %error, "the database cannot be checked");
            }
        }
    }

    /// Sets the damaged file aside and begins a new one with what memory knows.
    pub(super) fn replace(&mut self, fault: &str) {
        self.disconnect();
        let (aside, opened) = begin_anew(&self.path, fault, self.last.unix_s());
        self.tell_aside(aside);
        match opened {
            Ok(database) => self.adopt(database),
            Err(why) => self.failing(&why.into()),
        }
    }

    fn tell_aside(&self, aside: Aside) {
        if let Some((line, _)) = aside {
            tracing::error!("{line}");
            self.shared.set_aside(line);
        }
    }

    /// Goes on with that connection, which gets everything that is kept in memory: it may be new.
    fn adopt(&mut self, database: Database) {
        self.shared.write_all();
        self.db = Some(database.conn);
        self.shared.readers.turn(Gate::Open, || ());
    }
}

/// Log into the file, then no log: nothing vanishes while a backup reads the folder.
fn close(db: Option<rusqlite::Connection>) {
    let Some(conn) = db else { return };
    conn.flush_prepared_statement_cache();
    if let Err(error) = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "the database's log could not be written back");
    }
    if let Err((_, error)) = conn.close() {
        tracing::warn!(%error, "the database could not be closed");
    }
}
