//! Opening and closing under the writer's hands: backups, damage, a lost file, the stop.

use std::collections::BTreeSet;

use super::{
    schema::{self, Database, DatabasePlace, OpenError},
    shared::lock,
    sidecar,
    types::{MeterRow, Run, StoreError, StoreState},
    writer::Writer,
};

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
            tracing::warn!("backup: {error}; it will hold the database as of its last commit");
        }
        self.write_sidecar();
        if matches!(self.place, DatabasePlace::File(_)) {
            let (place, db) = (&self.place, self.db.take());
            self.shared.readers.shut(|gate| {
                close(db);
                gate.place = Some(place.clone());
                gate.immutable = true;
            });
        }
        self.frozen_at = Some(self.last.mono);
        self.sidecar_at = self.last.mono + self.interval;
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
        if self.db.is_none() {
            // Nobody else wrote meanwhile: what was sound still is.
            self.reopen(false)?;
        }
        self.commit()
    }

    /// Everything saved; a freeze ends with it, since what it buffered would be lost otherwise.
    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        self.shared.set_closing();
        self.last = self.shared.clock.now();
        self.collect_often();
        let saved = if self.frozen_at.is_some() {
            self.thaw()
        } else {
            self.try_folder_now();
            self.commit()
        };
        self.write_sidecar();
        if saved.is_ok()
            && let Some(conn) = &self.db
            && let Err(error) = schema::mark_clean(conn)
        {
            tracing::warn!(
                "{}: the clean stop could not be marked: {error}",
                self.name()
            );
        }
        let db = self.db.take();
        self.shared.readers.shut(|gate| {
            gate.place = None;
            close(db);
        });
        self.sidecar = None;
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
        let waits: BTreeSet<String> = lock(&self.shared.buffer)
            .batches()
            .flat_map(|batch| batch.state.keys().cloned())
            .collect();
        let in_file = matches!(self.place, DatabasePlace::File(_));
        let ahead = state
            .keys()
            .filter(|key| !in_file || waits.contains(*key))
            .cloned()
            .collect();
        let more = sidecar::More {
            database,
            state,
            ahead,
        };
        if meters.is_empty() {
            return;
        }
        match sidecar.write(&meters, &more) {
            Ok(()) => {
                self.sidecar_failed = false;
                let run = |row: MeterRow| Run {
                    limit: row.run.limit.map(|limit| sidecar::as_kept(&limit)),
                    ..row.run
                };
                self.shared.keep(
                    meters
                        .into_iter()
                        .map(|(key, row)| (key, run(row)))
                        .collect(),
                );
            }
            Err(error) if !self.sidecar_failed => {
                self.sidecar_failed = true;
                tracing::error!(
                    "{} cannot be written: {error}; identity and counters are in the database only",
                    super::SIDECAR_FILE
                );
            }
            Err(_) => {}
        }
    }

    /// Lets go of a connection whose file may be gone; the next commit opens it anew.
    pub(super) fn disconnect(&mut self) {
        if matches!(self.place, DatabasePlace::File(_)) {
            let db = self.db.take();
            self.shared.readers.shut(|gate| {
                gate.place = None;
                drop(db);
            });
        }
    }

    /// SQLite would go on writing into a file that no longer has a name.
    pub(super) fn notice_a_lost_file(&mut self) {
        if self.db.is_some() && self.place.file_id() != self.file {
            tracing::error!(
                "{} was deleted or replaced while in use: it is opened anew",
                self.name()
            );
            self.disconnect();
        }
    }

    pub(super) fn reopen(&mut self, check: bool) -> Result<(), StoreError> {
        if matches!(self.place, DatabasePlace::Memory(_)) {
            return Err(StoreError("there is no database in memory".into()));
        }
        match schema::open(&self.place, check) {
            Ok(database) => {
                self.adopt(database);
                Ok(())
            }
            Err(OpenError::Damaged(fault)) => {
                self.replace(&fault);
                if self.db.is_some() {
                    Ok(())
                } else {
                    Err(StoreError(format!("{} is damaged ({fault})", self.name())))
                }
            }
            Err(error) => {
                let reason = format!("{} {error}", self.name());
                self.failing(&reason);
                Err(StoreError(reason))
            }
        }
    }

    /// A reader met damage: looks for itself before anything is set aside.
    pub(super) fn verify(&mut self) {
        let Some(conn) = &self.db else { return };
        match schema::fault(conn, "quick_check") {
            Ok(Some(fault)) => self.replace(&fault),
            Ok(None) => {}
            Err(error) => tracing::warn!("{}: cannot be checked: {error}", self.name()),
        }
    }

    /// Sets the damaged file aside and begins a new one with what memory knows.
    pub(super) fn replace(&mut self, fault: &str) {
        let DatabasePlace::File(path) = &self.place else {
            return;
        };
        let (path, db, unix_s) = (path.clone(), self.db.take(), self.last.unix_s());
        let aside = self.shared.readers.shut(|gate| {
            gate.place = None;
            drop(db);
            schema::set_aside(&path, fault, unix_s)
        });
        match aside {
            Ok((line, _)) => {
                tracing::error!("{line}");
                self.shared.set_aside(line);
                match schema::open(&self.place, true) {
                    Ok(database) => self.adopt(database),
                    Err(error) => self.failing(&format!("{} {error}", path.display())),
                }
            }
            Err(error) => self.failing(&format!(
                "{} is damaged ({fault}) and cannot be set aside: {error}",
                path.display()
            )),
        }
    }

    /// Goes on with that connection. A new database gets everything that is kept in memory.
    pub(super) fn adopt(&mut self, database: Database) {
        if database.fresh {
            let cache = lock(&self.shared.cache);
            let (meters, state) = (cache.meters.clone(), cache.state.clone());
            drop(cache);
            lock(&self.shared.buffer).add(|batch| {
                for (key, row) in meters {
                    batch.meters.entry(key).or_insert(row);
                }
                for (key, json) in state {
                    batch.state.entry(key).or_insert(json);
                }
            });
        }
        lock(&self.shared.blocks).clear();
        self.progress = super::commit::Progress::load(&database.conn).unwrap_or_default();
        self.db = Some(database.conn);
        self.file = self.place.file_id();
        let place = self.place.clone();
        self.shared.readers.shut(|gate| {
            gate.place = Some(place);
            gate.immutable = false;
        });
    }
}

/// Log into the file, then no log: nothing vanishes while a backup reads the folder.
fn close(db: Option<rusqlite::Connection>) {
    let Some(conn) = db else { return };
    conn.flush_prepared_statement_cache();
    if let Err(error) = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!("the database's log could not be written back: {error}");
    }
    if let Err((_, error)) = conn.close() {
        tracing::warn!("the database could not be closed: {error}");
    }
}
