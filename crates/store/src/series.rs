//! Samples and their one-minute means.
//!
//! `m1` is always what `s2` says: each minute that a transaction touches is summed up anew in it,
//! so a crash, a replaced sample or a clock that runs twice over the same minute leave no drift.

use rusqlite::Connection;

use super::types::Rows;

/// Writes samples (0.1 W) and the means of the minutes they touch.
pub(super) fn write(
    tx: &Connection,
    samples: impl IntoIterator<Item = (i64, i64)>,
) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached("INSERT OR REPLACE INTO s2(ts, w) VALUES(?1, ?2)")?;
    let mut open = None;
    for (ts, w) in samples {
        let minute = ts - ts.rem_euclid(60);
        if let Some(done) = open.replace(minute)
            && done != minute
        {
            roll_up(tx, done)?;
        }
        insert.execute((ts, w))?;
    }
    open.map_or(Ok(()), |minute| roll_up(tx, minute))
}

fn roll_up(tx: &Connection, minute: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO m1(ts, w, mn, mx, n)
         SELECT ?1, CAST(round(avg(w)) AS INTEGER), min(w), max(w), count(*) FROM s2 WHERE ts >= ?1 AND ts < ?1 + 60 HAVING count(*) > 0",
    )?
    .execute([minute])
    .map(|_| ())
}

/// Rows of the original's file: what is already there stays.
pub(super) fn import(tx: &Connection, rows: &Rows) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO s2(ts, w) VALUES(?1, ?2)")?;
    for sample in &rows.samples {
        insert.execute(*sample)?;
    }
    let mut insert =
        tx.prepare_cached("INSERT OR IGNORE INTO m1(ts, w, mn, mx, n) VALUES(?1, ?2, ?3, ?4, ?5)")?;
    for minute in &rows.means {
        let [w, mn, mx] = [minute.w, minute.mn, minute.mx].map(|deci| deci as i64);
        insert.execute((minute.ts, w, mn, mx, minute.n))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn rows(conn: &Connection, sql: &str) -> Vec<(i64, i64, i64, i64, i64)> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |r| r.try_into()).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn minutes_follow_their_samples_however_often_time_runs_over_them() {
        let conn = crate::schema::empty().unwrap();
        write(&conn, [(0, 10), (58, 30), (60, 7)]).unwrap();
        write(&conn, [(62, 8), (120, -5)]).unwrap();
        // The clock went back.
        write(&conn, [(0, 20), (60, 9)]).unwrap();
        assert_eq!(
            rows(&conn, "SELECT * FROM m1"),
            [(0, 25, 20, 30, 2), (60, 9, 8, 9, 2), (120, -5, -5, -5, 1)]
        );
    }
}
