//! The connections of those who read.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError, RwLock},
};

use rusqlite::Connection;

use super::{lock::lock, schema, types::StoreError};
use vocab::reason::Unkept;

/// Connections that wait for the next question.
const IDLE: usize = 2;

/// What readers find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// A database that is written.
    Open,
    /// One that is frozen.
    Immutable,
    /// No database yet: no rows.
    Nothing,
    /// The file is being moved, or the store is closed.
    Shut,
}

/// The readers' connections.
pub(super) struct Readers {
    path: PathBuf,
    gate: RwLock<Gate>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, gate: Gate) -> Self {
        Self {
            path,
            gate: RwLock::new(gate),
            idle: Mutex::default(),
        }
    }

    /// A query on an idle or new connection; SQLite's own error is inside.
    pub(super) fn try_read<T: Default>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<rusqlite::Result<T>, StoreError> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let immutable = match *gate {
            Gate::Open => false,
            Gate::Immutable => true,
            Gate::Nothing => return Ok(Ok(T::default())),
            Gate::Shut => return Err(Unkept::StoreClosed.into()),
        };
        let idle = lock(&self.idle).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => match schema::open_reader(&self.path, immutable) {
                Ok(conn) => conn,
                Err(error) => return Ok(Err(error)),
            },
        };
        let answer = query(&conn);
        let mut idle = lock(&self.idle);
        if answer.is_ok() && idle.len() < IDLE {
            idle.push(conn);
        }
        Ok(answer)
    }

    /// Waits for the running queries, closes all connections and, while nobody reads, does
    /// `change`; what readers find then.
    pub(super) fn turn<T>(&self, then: Gate, change: impl FnOnce() -> T) -> T {
        let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        lock(&self.idle).clear();
        *gate = then;
        change()
    }
}
