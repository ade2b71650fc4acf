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

/// Deletes one chunk of each table; whether there is more to delete.
pub(super) fn prune(
    settings: &StoreSettings,
    conn: &mut Connection,
    now: i64,
) -> rusqlite::Result<bool> {
    let before = |days: u32| now - i64::from(days) * DAY;
    let tx = conn.transaction()?;
    let mut more = false;
    for (table, days) in [("s2", settings.raw_days), ("m1", settings.history_days)] {
        let sql = format!(
            "DELETE FROM {table} WHERE ts IN (SELECT ts FROM {table} WHERE ts < ?1 ORDER BY ts LIMIT ?2)"
        );
        more |= tx.prepare_cached(&sql)?.execute([before(days), CHUNK])? as i64 == CHUNK;
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
            .execute([meter, before(settings.records_days), CHUNK])?;
        more |= deleted as i64 == CHUNK;
    }
    super::event_rows::prune(&tx, before(settings.history_days) as f64)?;
    tx.commit()?;
    Ok(more)
}
