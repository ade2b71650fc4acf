//! What went wrong and when it was over, and what a kWh cost from a time on. The store knows no
//! meaning of either.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{
    Store,
    event_rows::MOST,
    types::{Event, Price, StoreError},
};

/// Those that reach into a stretch of time (Unix s), the newest of them.
fn between(
    conn: &Connection,
    from: f64,
    to: f64,
    most: i64,
) -> rusqlite::Result<BTreeMap<i64, Event>> {
    let mut select = conn.prepare_cached(
        "SELECT id, meter, kind, subject, since, ended, detail FROM events
         WHERE since <= ?2 AND (ended IS NULL OR ended >= ?1) ORDER BY since DESC, id DESC LIMIT ?3",
    )?;
    let rows = select.query_map((from, to, most), |r| {
        let event = Event {
            id: r.get(0)?,
            meter: r.get(1)?,
            kind: r.get(2)?,
            subject: r.get(3)?,
            since: r.get(4)?,
            ended: r.get(5)?,
            detail: r.get(6)?,
        };
        Ok((event.id, event))
    })?;
    rows.collect()
}

/// All prices of a database, by the time from which each holds.
fn load_prices(conn: &Connection) -> rusqlite::Result<BTreeMap<i64, Price>> {
    let mut select = conn.prepare_cached("SELECT ts, import, export FROM prices ORDER BY ts")?;
    let rows = select.query_map([], |r| {
        let (import, export) = (r.get(1)?, r.get(2)?);
        Ok((r.get(0)?, Price { import, export }))
    })?;
    rows.collect()
}

impl Store {
    /// What went wrong in a stretch of time (Unix s), newest first and `most` at most, what is
    /// buffered included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn events(&self, from: f64, to: f64, most: usize) -> Result<Vec<Event>, StoreError> {
        let limit = i64::try_from(most).unwrap_or(MOST).min(MOST);
        // First what waits: it may be in the database a moment later, and is in one of them.
        let pending = self.0.shared.pending(|batch| &batch.events);
        let mut found = self.0.shared.query(|conn| between(conn, from, to, limit))?;
        found.extend(pending);
        let reaches =
            |event: &Event| event.since <= to && event.ended.is_none_or(|ended| ended >= from);
        let mut all: Vec<Event> = found.into_values().filter(reaches).collect();
        all.sort_by(|a, b| b.since.total_cmp(&a.since).then(b.id.cmp(&a.id)));
        all.truncate(most);
        Ok(all)
    }

    /// What a kWh costs, by the time (Unix s) from which it holds.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn prices(&self) -> Result<BTreeMap<i64, Price>, StoreError> {
        let pending = self.0.shared.pending(|batch| &batch.prices);
        let mut all = self.0.shared.query(load_prices)?;
        all.extend(pending);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::path::Path;

    use super::*;
    use crate::event_rows::{prune, write};
    use crate::{DATABASE_FILE, Opened, testing};

    const T0: f64 = 1_800_000_000.0;

    fn start(dir: &Path) -> Opened {
        testing::opened(dir, &testing::clock(T0 as i64))
    }

    fn event(id: i64, since: f64, ended: Option<f64>) -> Event {
        Event {
            id,
            kind: "no_reading".into(),
            since,
            ended,
            detail: "{}".into(),
            ..Event::default()
        }
    }

    fn ids(all: &[Event]) -> Vec<i64> {
        all.iter().map(|event| event.id).collect()
    }

    #[test]
    fn events_are_kept_over_a_restart_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let opened = start(dir.path());
        assert_eq!(opened.restored.seen, None, "nobody was here before");
        let store = opened.store;
        store.put_event(event(1, T0 - 900.0, Some(T0 - 800.0)));
        store.put_event(event(2, T0 - 100.0, None));
        store.put_event(event(3, T0 - 50.0, Some(T0 - 40.0)));
        let all = |store: &crate::Store| store.events(f64::MIN, f64::MAX, 10).unwrap();
        assert_eq!(ids(&all(&store)), [3, 2, 1]);
        store.flush().wait().unwrap();
        // What is over is the same event.
        store.put_event(event(2, T0 - 100.0, Some(T0)));
        assert_eq!(all(&store)[1], event(2, T0 - 100.0, Some(T0)));
        store.close().wait().unwrap();
        drop(store);
        let opened = start(dir.path());
        let store = opened.store;
        assert_eq!(all(&store)[1], event(2, T0 - 100.0, Some(T0)));
        assert_eq!(
            ids(&store.events(T0 - 850.0, T0 - 60.0, 10).unwrap()),
            [2, 1],
            "those that reach into it"
        );
        assert_eq!(ids(&store.events(f64::MIN, f64::MAX, 2).unwrap()), [3, 2]);
    }

    #[test]
    fn old_events_and_more_than_there_is_room_for_go_but_not_what_lasts() {
        let dir = tempfile::tempdir().unwrap();
        drop(start(dir.path()));
        let conn = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
        let mut all = vec![event(1, 0.0, None), event(2, 10.0, Some(20.0))];
        all.extend((3..MOST + 10).map(|id| event(id, id as f64 + 1000.0, Some(1e9))));
        write(&conn, all.iter(), &BTreeMap::new()).unwrap();
        prune(&conn, 500.0).unwrap();
        let kept = between(&conn, f64::MIN, f64::MAX, 2 * MOST).unwrap();
        assert_eq!(kept.len() as i64, MOST + 1);
        assert!(kept.contains_key(&1) && !kept.contains_key(&2) && !kept.contains_key(&3));
    }

    #[test]
    fn a_database_of_version_0_2_0_is_netted_too() {
        let dir = tempfile::tempdir().unwrap();
        let from = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/store/0.2.0.sqlite"
        );
        std::fs::copy(from, dir.path().join(DATABASE_FILE)).unwrap();
        let opened = start(dir.path());
        let borders = [1_795_910_400, 1_795_996_800];
        let span = opened.store.energy_between("", &borders).unwrap()[0];
        let (sum, net) = (span.sum().unwrap(), span.net().unwrap());
        // 1500, -600 and 250 W: 1150 W in all, and nothing was fed in.
        for (wh, want, by) in [
            (sum.import, 92.39, 0.1),
            (sum.export, 31.68, 0.1),
            (net.import, 60.71, 0.1),
            (net.export, 0.0, 0.01),
        ] {
            assert!((wh - want).abs() < by, "{wh} is not {want}");
        }
        assert_eq!(opened.store.events(f64::MIN, f64::MAX, 10).unwrap(), []);
        assert!(opened.restored.seen.is_some_and(|seen| seen > 1.79e9));
    }
}
