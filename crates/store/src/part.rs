//! The minute that a stop cut in two: what was measured of it before and after becomes one record.
//!
//! Each commit keeps the minute under way beside the counters that hold its energy, as `open/` and
//! the meter's key in `meta`. The next start goes on with it while that minute lasts, and makes a
//! record of it otherwise: what is counted is recorded, whether the stop was in order or not.

use std::{array, collections::BTreeMap};

use rusqlite::Connection;

use super::{codec, types::MeterRow};
use meter::{Energy, MinuteRecord, PhaseMinute};

const MINUTE: i64 = 60;

/// A record of the beginning of its minute.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    /// What there was until then.
    pub record: MinuteRecord,
    /// How far it reaches, Unix s.
    pub until: i64,
}

impl Part {
    /// This and what was recorded of the same minute later, until `until` or its end. Energy adds
    /// up. A record does not say of how many values its means are: each counts by its seconds of
    /// the minute.
    pub fn with(&self, later: MinuteRecord, until: Option<i64>) -> MinuteRecord {
        let (record, end) = (&self.record, self.record.ts + MINUTE);
        let seconds = |from: i64, to: i64| (to - from).max(1) as f64;
        let before = seconds(record.ts, self.until);
        let after = seconds(self.until, until.unwrap_or(end));
        let mean = |a: f64, b: f64| (a * before + b * after) / (before + after);
        let n_current = match (record.n_current, later.n_current) {
            (a, [0.0, 0.0, 0.0]) => a,
            ([0.0, 0.0, 0.0], b) => b,
            (a, b) => [a[0].max(b[0]), a[1].min(b[1]), mean(a[2], b[2])],
        };
        MinuteRecord {
            ts: record.ts,
            phases: array::from_fn(|i| whole(&record.phases[i], &later.phases[i], mean)),
            n_current,
            crossed: record.crossed + later.crossed,
            followed: record.followed + later.followed,
        }
    }
}

/// A phase that was absent all the time has no extremes to take part in.
fn whole(a: &PhaseMinute, b: &PhaseMinute, mean: impl Fn(f64, f64) -> f64) -> PhaseMinute {
    let extremes = match (measured(a), measured(b)) {
        (_, false) => *a,
        (false, true) => *b,
        (true, true) => PhaseMinute {
            max_act_power: a.max_act_power.max(b.max_act_power),
            min_act_power: a.min_act_power.min(b.min_act_power),
            max_aprt_power: a.max_aprt_power.max(b.max_aprt_power),
            min_aprt_power: a.min_aprt_power.min(b.min_aprt_power),
            max_voltage: a.max_voltage.max(b.max_voltage),
            min_voltage: a.min_voltage.min(b.min_voltage),
            avg_voltage: mean(a.avg_voltage, b.avg_voltage),
            max_current: a.max_current.max(b.max_current),
            min_current: a.min_current.min(b.min_current),
            avg_current: mean(a.avg_current, b.avg_current),
            ..PhaseMinute::default()
        },
    };
    PhaseMinute {
        act_energy: a.act_energy + b.act_energy,
        act_ret_energy: a.act_ret_energy + b.act_ret_energy,
        lag_react_energy: a.lag_react_energy + b.lag_react_energy,
        ..extremes
    }
}

fn measured(p: &PhaseMinute) -> bool {
    [
        p.max_voltage,
        p.max_act_power,
        p.min_act_power,
        p.max_aprt_power,
        p.max_current,
    ]
    .iter()
    .any(|v| *v != 0.0)
}

/// How far (Unix s) the record of the minute at `ts` reaches that is handed over at `now`; `None`
/// if that minute is over. A meter stays in its minute while the clock is set back by less than
/// one; one that is set back further closes it, and that is no part to go on with.
pub(super) fn reach(ts: i64, now: i64) -> Option<i64> {
    (ts - MINUTE..ts + MINUTE)
        .contains(&now)
        .then(|| now.clamp(ts + 1, ts + MINUTE - 1))
}

/// Keeps what a stop leaves open of a meter: the reserve of its counters and the minute under way.
pub(super) fn put_open(
    tx: &Connection,
    meter: &str,
    row: &MeterRow,
    now: f64,
) -> rusqlite::Result<()> {
    let name = format!("open/{meter}");
    let under_way = &row.run.under_way;
    if under_way.is_none() && row.reserve == Energy::default() {
        let mut delete = tx.prepare_cached("DELETE FROM meta WHERE key = ?1")?;
        return delete.execute([name]).map(|_| ());
    }
    let mut blob = row.reserve.to_array().map(f64::to_le_bytes).concat();
    if let Some(minute) = under_way {
        let times = [minute.ts, now.floor() as i64];
        blob.extend(times.map(i64::to_le_bytes).concat());
        blob.extend(codec::encode(minute));
    }
    tx.prepare_cached("INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)")?
        .execute((name, blob))
        .map(|_| ())
}

/// What [`put_open`] kept, by meter: the reserve, Wh, and the minute if there is one.
pub(super) fn open(
    conn: &Connection,
) -> rusqlite::Result<BTreeMap<String, (Energy, Option<Part>)>> {
    let mut select = conn.prepare(
        "SELECT substr(key, 6), value FROM meta WHERE key GLOB 'open/*' AND typeof(value) = 'blob'",
    )?;
    let rows = select.query_map([], |r| {
        Ok((r.get::<_, String>(0)?, opened(&r.get::<_, Vec<u8>>(1)?)))
    })?;
    rows.filter_map(|row| row.map(|(meter, open)| Some((meter, open?))).transpose())
        .collect()
}

fn opened(blob: &[u8]) -> Option<(Energy, Option<Part>)> {
    let (reserve, rest) = blob.split_first_chunk::<64>()?;
    let (numbers, _) = reserve.as_chunks();
    let wh = |i: usize| {
        let wh = f64::from_le_bytes(numbers[i]);
        if (0.0..1e6).contains(&wh) { wh } else { 0.0 }
    };
    Some((Energy::from_array(array::from_fn(wh)), under_way(rest)))
}

fn under_way(blob: &[u8]) -> Option<Part> {
    let (ts, rest) = blob.split_first_chunk()?;
    let (until, rest) = rest.split_first_chunk()?;
    let ts = i64::from_le_bytes(*ts);
    Some(Part {
        record: codec::decode(ts, rest)?,
        until: i64::from_le_bytes(*until).clamp(ts + 1, ts + MINUTE - 1),
    })
}

/// The minutes that the last stop cut, by meter, but for those that were recorded after they were
/// kept.
pub(super) fn load(conn: &Connection) -> rusqlite::Result<BTreeMap<String, Part>> {
    let mut parts = before(conn)?;
    for (meter, (_, part)) in open(conn)? {
        let Some(part) = part else { continue };
        let sql = "SELECT 1 FROM records WHERE meter = (SELECT id FROM meters WHERE key = ?1) AND ts = ?2";
        if !conn.prepare_cached(sql)?.exists((&meter, part.record.ts))? {
            parts.insert(meter, part);
        }
    }
    Ok(parts)
}

/// As a version before this one left them: recorded, and marked with how far they reach.
fn before(conn: &Connection) -> rusqlite::Result<BTreeMap<String, Part>> {
    let mut select = conn.prepare(
        "SELECT m.key, p.value, ts, rec FROM meta p JOIN meters m ON p.key = 'part/' || m.key
         JOIN records ON meter = id AND ts = p.value - p.value % 60",
    )?;
    let rows = select.query_map([], |r| {
        let record = codec::decode(r.get(2)?, r.get_ref(3)?.as_blob().unwrap_or(&[]));
        let until = r.get(1)?;
        Ok((r.get(0)?, record.map(|record| Part { record, until })))
    })?;
    let parts = rows
        .filter_map(|row| row.map(|(meter, part)| Some((meter, part?))).transpose())
        .collect::<rusqlite::Result<_>>()?;
    conn.execute("DELETE FROM meta WHERE key GLOB 'part/*'", [])?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use super::*;
    use crate::{
        DATABASE_FILE, Store,
        lock::lock,
        testing::{ManualClock, clock, opened},
    };
    use meter::records::Records;

    const T0: i64 = 1_800_000_000;

    struct House {
        dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
    }

    impl House {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                clock: clock(T0),
            }
        }

        /// From a start, s after T0, to a stop.
        fn run(&self, start: i64, life: impl FnOnce(&Store)) {
            self.at(start);
            let store = opened(self.dir.path(), &self.clock).store;
            life(&store);
            store.close().wait().unwrap();
        }

        /// A life of 20 s that ends with 5 Wh in the minute under way.
        fn stop_at_20(&self) {
            self.run(0, |store| {
                self.at(20);
                stop(store, "", record(0, 5.0, 230.0));
            });
        }

        fn at(&self, s: i64) {
            lock(&self.clock.0).unix = (T0 + s) as f64;
        }
    }

    fn record(s: i64, wh: f64, volts: f64) -> MinuteRecord {
        let phase = PhaseMinute {
            act_energy: wh,
            max_voltage: volts,
            min_voltage: volts,
            avg_voltage: volts,
            ..PhaseMinute::default()
        };
        MinuteRecord {
            ts: T0 + s,
            phases: [phase, PhaseMinute::default(), PhaseMinute::default()],
            ..MinuteRecord::default()
        }
    }

    /// Wh in all, and those of the minutes that are listed.
    fn wh(store: &Store) -> (f64, Vec<f64>) {
        let span = store.energy_between("", &[T0 - 900, T0 + 90_000]).unwrap()[0];
        let listed = store.records("").read(0, i64::MAX, 99).unwrap();
        (
            span.sum().unwrap_or_default().import,
            listed.iter().map(|r| r.phases[0].act_energy).collect(),
        )
    }

    /// The minute under way at a stop in order, and the counters that come last.
    fn stop(store: &Store, meter: &str, minute: MinuteRecord) {
        store.minute(meter, minute);
        store.put_counters(meter, MeterRow::default());
    }

    /// A minute that is under way when counters are kept.
    fn under_way(store: &Store, minute: MinuteRecord) {
        let mut row = MeterRow::default();
        row.run.under_way = Some(minute);
        store.put_counters("", row);
    }

    fn committed(store: &Store, sum: f64, listed: &[f64]) {
        store.flush().wait().unwrap();
        assert_eq!(wh(store), (sum, listed.to_vec()));
    }

    #[test]
    fn restarts_within_a_minute_lose_nothing_of_it() {
        let house = House::new();
        let garage = |store: &Store| store.records("garage").read(0, i64::MAX, 9).unwrap();
        house.run(0, |store| {
            house.at(20);
            stop(store, "garage", record(0, 1.0, 0.0));
            stop(store, "", record(0, 5.0, 230.0));
        });
        house.run(25, |store| {
            committed(store, 0.0, &[]);
            house.at(40);
            stop(store, "", record(0, 4.0, 240.0));
        });
        // One that is killed, one that measures nothing, and one that is killed while it measures.
        house.run(45, |_| {});
        house.run(46, |store| store.put_counters("", MeterRow::default()));
        house.run(50, |store| under_way(store, record(0, 2.0, 236.0)));
        house.run(55, |store| {
            house.at(60);
            store.minute("", record(0, 1.0, 236.0));
            committed(store, 12.0, &[12.0]);
            let a = store.records("").read(T0, T0, 1).unwrap()[0].phases[0];
            assert_eq!((a.max_voltage, a.min_voltage), (240.0, 230.0));
            house.at(120);
            store.minute("", record(60, 1.0, 230.0));
            committed(store, 13.0, &[12.0, 1.0]);
            assert_eq!(garage(store), [], "still under way");
        });
        house.run(130, |store| {
            store.flush().wait().unwrap();
            assert_eq!(garage(store), [record(0, 1.0, 0.0)], "it is over");
            committed(store, 13.0, &[12.0, 1.0]);
        });
    }

    #[test]
    fn a_minute_in_which_nothing_more_is_measured_becomes_a_record() {
        let house = House::new();
        house.stop_at_20();
        house.run(25, |store| {
            house.at(130);
            under_way(store, record(120, 1.0, 230.0));
            committed(store, 5.0, &[5.0]);
        });
    }

    #[test]
    fn the_mark_of_a_version_before_is_gone_on_with() {
        let house = House::new();
        house.run(0, |store| {
            house.at(60);
            store.minute("", record(0, 5.0, 230.0));
        });
        let conn = Connection::open(house.dir.path().join(DATABASE_FILE)).unwrap();
        conn.execute("INSERT INTO meta VALUES('part/', ?1)", [T0 + 20])
            .unwrap();
        drop(conn);
        house.run(25, |store| {
            house.at(60);
            store.minute("", record(0, 4.0, 230.0));
            committed(store, 9.0, &[9.0]);
        });
    }

    #[test]
    fn a_whole_minute_is_overwritten() {
        let house = House::new();
        house.stop_at_20();
        house.run(25, |store| {
            house.at(60);
            store.minute("", record(0, 4.0, 230.0));
            committed(store, 9.0, &[9.0]);
        });
        // The clock is back in a minute that was over.
        house.run(30, |store| {
            house.at(60);
            store.minute("", record(0, 2.0, 230.0));
            committed(store, 2.0, &[2.0]);
        });
    }

    #[test]
    fn what_a_clock_that_ran_ahead_stamped_is_overwritten() {
        let house = House::new();
        house.run(3_600, |store| {
            house.at(3_630);
            stop(store, "", record(3_600, 7.0, 230.0));
        });
        house.run(1_000, |store| {
            committed(store, 0.0, &[]);
            house.at(1_080);
            store.minute("", record(1_020, 1.0, 230.0));
        });
        house.run(3_605, |store| {
            house.at(3_660);
            store.minute("", record(3_600, 2.0, 230.0));
            committed(store, 3.0, &[1.0, 2.0]);
        });
    }

    #[test]
    fn deleted_records_do_not_come_back_with_the_minute_under_way() {
        let house = House::new();
        house.stop_at_20();
        house.run(25, |store| {
            store.delete_records("");
            house.at(60);
            store.minute("", record(0, 3.0, 230.0));
            committed(store, 3.0, &[3.0]);
        });
    }

    #[test]
    fn extremes_are_those_of_both_and_absent_phases_have_none() {
        let phase = |p: f64| PhaseMinute {
            act_energy: p,
            act_ret_energy: p,
            lag_react_energy: p,
            max_act_power: p + 1.0,
            min_act_power: p - 1.0,
            max_aprt_power: p + 2.0,
            min_aprt_power: p - 2.0,
            max_voltage: p + 3.0,
            min_voltage: p - 3.0,
            avg_voltage: p,
            max_current: p + 4.0,
            min_current: p - 4.0,
            avg_current: p,
        };
        let absent = PhaseMinute {
            act_energy: 0.5,
            ..PhaseMinute::default()
        };
        let minute = |phases, n_current| MinuteRecord {
            ts: T0,
            phases,
            n_current,
            crossed: 1.5,
            ..MinuteRecord::default()
        };
        let (low, high) = (phase(10.0), phase(20.0));
        let part = |record, s| Part {
            record,
            until: T0 + s,
        };
        let before = minute([low, absent, low], [3.0, 1.0, 2.0]);
        let both = part(before, 45).with(minute([high, high, absent], [0.0; 3]), None);
        let joined = PhaseMinute {
            act_energy: 30.0,
            act_ret_energy: 30.0,
            lag_react_energy: 30.0,
            max_act_power: 21.0,
            min_act_power: 9.0,
            max_aprt_power: 22.0,
            min_aprt_power: 8.0,
            max_voltage: 23.0,
            min_voltage: 7.0,
            avg_voltage: 12.5,
            max_current: 24.0,
            min_current: 6.0,
            avg_current: 12.5,
        };
        let beside = |wh, phase| PhaseMinute {
            act_energy: wh,
            ..phase
        };
        assert_eq!(
            both,
            MinuteRecord {
                crossed: 3.0,
                ..minute(
                    [joined, beside(20.5, high), beside(10.5, low)],
                    [3.0, 1.0, 2.0]
                )
            }
        );
        let again = part(both, 50).with(minute([high; 3], [9.0, 0.5, 8.0]), Some(T0 + 60));
        assert_eq!(again.n_current, [9.0, 0.5, 3.0]);
    }

    #[test]
    fn a_record_is_a_part_while_its_minute_lasts() {
        assert_eq!(
            [-61, -60, -5, 0, 30, 59, 60].map(|s| reach(T0, T0 + s).map(|until| until - T0)),
            [None, Some(1), Some(1), Some(1), Some(30), Some(59), None]
        );
    }
}
