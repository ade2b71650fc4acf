//! Samples and their one-minute means.
//!
//! `m1` is always what `s2` says: each minute that a transaction touches is summed up anew in it,
//! so a crash, a replaced sample or a clock that runs twice over the same minute leave no drift.

use rusqlite::{Connection, params};

const MINUTE: i64 = 60;
/// A gap longer than this is not a step of time, so what lies in it was not run over.
const STEP: i64 = 60;

/// Where the samples stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Series {
    /// Last sample of this run.
    last: Option<i64>,
    /// Newest stamp in the table; a sample before it runs over rows that a wrong clock stamped.
    newest: Option<i64>,
}

impl Series {
    /// As the database has it.
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            last: None,
            newest: conn.query_row("SELECT max(ts) FROM s2", [], |r| r.get(0))?,
        })
    }

    /// Writes samples (0.1 W) and the means of the minutes they touch.
    pub(super) fn write(
        &mut self,
        tx: &Connection,
        samples: impl IntoIterator<Item = (i64, i64)>,
    ) -> rusqlite::Result<()> {
        let mut insert = tx.prepare_cached("INSERT OR REPLACE INTO s2(ts, w) VALUES(?1, ?2)")?;
        let mut open = None;
        for (ts, w) in samples {
            let minute = ts - ts.rem_euclid(MINUTE);
            if let Some(done) = open.replace(minute)
                && done != minute
            {
                roll_up(tx, done)?;
            }
            if let (Some(last), Some(newest)) = (self.last, self.newest)
                && ts <= newest
                && last < ts
                && ts - last <= STEP
            {
                // Rows of the future are overwritten when time reaches them
                // (`docs/decisions.md#clocks`).
                tx.prepare_cached("DELETE FROM s2 WHERE ts > ?1 AND ts < ?2")?
                    .execute((last, ts))?;
            }
            insert.execute((ts, w))?;
            self.last = Some(ts);
            self.newest = self.newest.max(Some(ts));
        }
        open.map_or(Ok(()), |minute| roll_up(tx, minute))
    }
}

fn roll_up(tx: &Connection, minute: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO m1(ts, w, mn, mx, n)
         SELECT ?1, CAST(round(avg(w)) AS INTEGER), min(w), max(w), count(*) FROM s2 WHERE ts >= ?1 AND ts < ?1 + 60 HAVING count(*) > 0",
    )?
    .execute([minute])
    .map(|_| ())
}

/// Rows of the original's file: what is already there stays. Samples and means in 0.1 W.
pub(super) fn import(
    tx: &Connection,
    samples: &[(i64, i64)],
    means: &[(i64, i64, i64, i64, i64)],
) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO s2(ts, w) VALUES(?1, ?2)")?;
    for &(ts, w) in samples {
        insert.execute((ts, w))?;
    }
    let mut insert =
        tx.prepare_cached("INSERT OR IGNORE INTO m1(ts, w, mn, mx, n) VALUES(?1, ?2, ?3, ?4, ?5)")?;
    for &(ts, w, mn, mx, n) in means {
        insert.execute(params![ts, w, mn, mx, n])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::schema::{DatabasePlace, open};

    fn rows(conn: &Connection, sql: &str) -> Vec<(i64, i64, i64, i64, i64)> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement
            .query_map([], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
            })
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn minutes_follow_their_samples() {
        let conn = open(&DatabasePlace::memory(), false).unwrap().conn;
        let mut series = Series::load(&conn).unwrap();
        series.write(&conn, [(0, 10), (58, 30), (60, 7)]).unwrap();
        series.write(&conn, [(62, 8), (120, -5)]).unwrap();
        assert_eq!(
            rows(&conn, "SELECT * FROM m1"),
            [(0, 20, 10, 30, 2), (60, 8, 7, 8, 2), (120, -5, -5, -5, 1)]
        );
    }

    #[test]
    fn a_clock_that_went_back_overwrites_row_by_row_and_deletes_nothing_else() {
        let conn = open(&DatabasePlace::memory(), false).unwrap().conn;
        let mut series = Series::load(&conn).unwrap();
        series
            .write(&conn, (0..=300).step_by(2).map(|ts| (ts, 1)))
            .unwrap();
        // Back to 61, at odd seconds now.
        series
            .write(&conn, (61..=121).step_by(2).map(|ts| (ts, 5)))
            .unwrap();
        let count = |from: i64, to: i64, w: i64| {
            conn.query_row(
                "SELECT count(*) FROM s2 WHERE ts BETWEEN ?1 AND ?2 AND w = ?3",
                [from, to, w],
                |r| r.get::<_, i64>(0),
            )
            .unwrap()
        };
        assert_eq!((count(61, 121, 1), count(61, 121, 5)), (0, 31));
        assert_eq!(count(122, 300, 1), 90);
        assert_eq!(count(0, 60, 1), 31);
        assert_eq!(
            rows(&conn, "SELECT * FROM m1 WHERE ts = 60"),
            [(60, 5, 1, 5, 31)]
        );
        // A jump forward over what is left deletes nothing.
        series.write(&conn, [(299, 9)]).unwrap();
        assert_eq!(count(122, 300, 1), 90);
    }
}
