//! What is too old goes, hourly and in chunks, and not while the clock is in doubt.

use std::time::Duration;

use rusqlite::Connection;

use config::settings::StoreSettings;

/// Rows one transaction deletes at most.
const CHUNK: i64 = 2_000;
const DAY: i64 = 86_400;
/// A difference between the clocks that suspends retention (`docs/decisions.md#clocks`).
pub(super) const JUMP: f64 = 3_600.0;
/// For how long.
pub(super) const HOLD: Duration = Duration::from_secs(24 * 3_600);

/// Days each table is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    raw: i64,
    history: i64,
    records: i64,
}

impl Keep {
    /// As the options say; in memory, as much as memory is worth.
    pub(super) fn new(settings: &StoreSettings, in_memory: bool) -> Self {
        let days = |wanted: u32, in_memory_at_most: u32| {
            i64::from(if in_memory {
                wanted.min(in_memory_at_most)
            } else {
                wanted
            })
        };
        Self {
            raw: days(settings.raw_days, 1),
            history: days(settings.history_days, 30),
            records: days(settings.records_days, 3),
        }
    }

    /// Oldest minute record that stays.
    pub(super) fn records_from(self, now: i64) -> i64 {
        now - self.records * DAY
    }

    /// Deletes one chunk of each table; whether there is more to delete.
    pub(super) fn prune(self, conn: &mut Connection, now: i64) -> rusqlite::Result<bool> {
        let tx = conn.transaction()?;
        let mut more = false;
        for (table, days) in [("s2", self.raw), ("m1", self.history)] {
            let sql = format!(
                "DELETE FROM {table} WHERE ts IN (SELECT ts FROM {table} WHERE ts < ?1 ORDER BY ts LIMIT ?2)"
            );
            more |= tx
                .prepare_cached(&sql)?
                .execute([now - days * DAY, CHUNK])? as i64
                == CHUNK;
        }
        let meters: Vec<i64> = tx
            .prepare_cached("SELECT id FROM meters")?
            .query_map([], |r| r.get(0))?
            .collect::<Result<_, _>>()?;
        for meter in meters {
            let deleted = tx
                .prepare_cached(
                    "DELETE FROM records WHERE meter = ?1 AND ts IN (SELECT ts FROM records WHERE meter = ?1 AND ts < ?2 ORDER BY ts LIMIT ?3)",
                )?
                .execute([meter, self.records_from(now), CHUNK])?;
            more |= deleted as i64 == CHUNK;
        }
        tx.commit()?;
        Ok(more)
    }
}
