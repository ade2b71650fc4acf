//! The minute that a stop cut in two: what is recorded of it before and after becomes one record.
//!
//! A stop stores the minute under way with what there was. A mark in `meta`, `part/` and the
//! meter's key, says how far into it that reaches; it is written with that record and gone with the
//! meter's next one. A record that follows goes on with the one that is marked and with no other,
//! so a minute that a wrong clock stamped is overwritten (`docs/decisions.md#clocks`).
//!
//! Before a stop without notice nobody stores it. So each commit keeps the minute under way beside
//! the counters that hold its energy, as `open/` and the meter's key in `meta`, and the next start
//! makes a record of it: what is counted is recorded.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::types::{MeterRow, from_numbers, to_numbers};
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
    /// This and what was recorded later, until `until` or the end of the minute, where both are of
    /// one minute. Energy adds up. A record does not say of how many values its means are: each
    /// counts by its seconds of the minute.
    pub fn with(&self, later: MinuteRecord, until: Option<i64>) -> MinuteRecord {
        let Self {
            record:
                MinuteRecord {
                    ts,
                    phases,
                    n_current,
                },
            ..
        } = self;
        if *ts != later.ts {
            return later;
        }
        let (before, after) = (self.until - ts, until.unwrap_or(ts + MINUTE) - self.until);
        let mean = |a: f64, b: f64| {
            (a * before.max(1) as f64 + b * after.max(1) as f64)
                / (before.max(1) + after.max(1)) as f64
        };
        let n = match (n_current, later.n_current) {
            (a, [0.0, 0.0, 0.0]) => *a,
            ([0.0, 0.0, 0.0], b) => b,
            ([max, min, avg], b) => [max.max(b[0]), min.min(b[1]), mean(*avg, b[2])],
        };
        MinuteRecord {
            ts: *ts,
            phases: std::array::from_fn(|i| whole(&phases[i], &later.phases[i], mean)),
            n_current: n,
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

/// Keeps what a stop without notice leaves open of a meter: the reserve of its counters and the
/// minute under way.
pub(super) fn put_open(
    tx: &Connection,
    meter: &str,
    row: &MeterRow,
    now: f64,
) -> rusqlite::Result<()> {
    let name = format!("open/{meter}");
    let reserve = to_numbers(&row.reserve);
    if row.run.under_way.is_none() && reserve.iter().all(|wh| *wh == 0.0) {
        return tx
            .prepare_cached("DELETE FROM meta WHERE key = ?1")?
            .execute([name])
            .map(|_| ());
    }
    let mut blob: Vec<u8> = reserve.iter().flat_map(|wh| wh.to_le_bytes()).collect();
    if let Some(minute) = &row.run.under_way {
        blob.extend(
            [minute.ts, now.floor() as i64]
                .iter()
                .flat_map(|n| n.to_le_bytes()),
        );
        blob.extend(super::codec::encode(minute));
    }
    tx.prepare_cached("INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)")?
        .execute((name, blob))
        .map(|_| ())
}

/// What [`put_open`] kept, by meter: the reserve, and the rest.
fn open(conn: &Connection) -> rusqlite::Result<Vec<(String, Energy, Vec<u8>)>> {
    let mut select = conn.prepare(
        "SELECT substr(key, 6), value FROM meta WHERE key GLOB 'open/*' AND typeof(value) = 'blob'",
    )?;
    let rows = select.query_map([], |r| {
        Ok((r.get::<_, String>(0)?, r.get::<_, Vec<u8>>(1)?))
    })?;
    let mut all = Vec::new();
    for row in rows {
        let (meter, blob) = row?;
        let Some((reserve, rest)) = blob.split_at_checked(64) else {
            continue;
        };
        let wh = |i: usize| {
            reserve[i * 8..]
                .first_chunk()
                .map_or(0.0, |bytes| f64::from_le_bytes(*bytes))
        };
        let reserve = std::array::from_fn(|i| {
            Some(wh(i))
                .filter(|wh| (0.0..1e6).contains(wh))
                .unwrap_or_default()
        });
        all.push((meter, from_numbers(reserve), rest.to_vec()));
    }
    Ok(all)
}

/// The reserve of each meter's counters, Wh.
pub(super) fn reserves(conn: &Connection) -> rusqlite::Result<BTreeMap<String, Energy>> {
    Ok(open(conn)?
        .into_iter()
        .map(|(meter, reserve, _)| (meter, reserve))
        .collect())
}

/// The minutes that were under way at a stop without notice, by meter: with what `parts` has of an
/// earlier stop in them. One that was recorded after it was kept here is no longer under way.
pub(super) fn cut_off(
    conn: &Connection,
    parts: &BTreeMap<String, Part>,
) -> rusqlite::Result<BTreeMap<String, Part>> {
    let mut all = BTreeMap::new();
    for (meter, _, blob) in open(conn)? {
        let Some((ts, until, record)) = under_way(&blob) else {
            continue;
        };
        let before = parts.get(&meter).filter(|part| part.record.ts == ts);
        let sql = "SELECT 1 FROM records WHERE meter = (SELECT id FROM meters WHERE key = ?1) AND ts = ?2";
        if before.is_none() && conn.prepare_cached(sql)?.exists((&meter, ts))? {
            continue;
        }
        let Some(until) = reach(ts, until) else {
            continue;
        };
        let record = before.map_or(record, |part| part.with(record, Some(until)));
        all.insert(meter, Part { record, until });
    }
    Ok(all)
}

fn under_way(blob: &[u8]) -> Option<(i64, i64, MinuteRecord)> {
    let (ts, rest) = blob.split_first_chunk()?;
    let (until, rest) = rest.split_first_chunk()?;
    let ts = i64::from_le_bytes(*ts);
    Some((
        ts,
        i64::from_le_bytes(*until),
        super::codec::decode(ts, rest)?,
    ))
}

/// The name of a meter's mark.
pub(super) fn mark(meter: &str) -> String {
    format!("part/{meter}")
}

/// The marks of all meters.
pub(super) fn marks(conn: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut select =
        conn.prepare("SELECT substr(key, 6), value FROM meta WHERE key GLOB 'part/*'")?;
    select
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect()
}

/// The minutes that the last stop cut, by meter. Those of the future are forgotten: a clock that
/// ran ahead stamped them.
pub(super) fn load(conn: &Connection, now: i64) -> rusqlite::Result<BTreeMap<String, Part>> {
    conn.execute(
        "DELETE FROM meta WHERE key GLOB 'part/*' AND value - value % 60 > ?1",
        [now],
    )?;
    let mut parts = BTreeMap::new();
    for (meter, until) in marks(conn)? {
        let ts = until - until.rem_euclid(MINUTE);
        let mut select = conn.prepare_cached("SELECT rec FROM records WHERE meter = (SELECT id FROM meters WHERE key = ?1) AND ts = ?2")?;
        let mut rows = select.query((&meter, ts))?;
        let record = rows.next()?.and_then(|row| {
            row.get_ref(0)
                .ok()
                .and_then(|rec| super::codec::decode(ts, rec.as_blob().ok()?))
        });
        parts.extend(record.map(|record| (meter, Part { record, until })));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::{
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
        time::Duration,
    };

    use super::*;
    use crate::{DATABASE_FILE, Store, open};
    use config::settings::StoreSettings;
    use meter::records::Records;
    use vocab::{Clock, Now};

    const T0: i64 = 1_800_000_000;

    struct ManualClock(AtomicI64);

    impl Clock for ManualClock {
        fn now(&self) -> Now {
            Now {
                mono: Duration::from_secs(1),
                unix: self.0.load(Ordering::Relaxed) as f64,
            }
        }
    }

    struct House {
        dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
    }

    impl House {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                clock: Arc::new(ManualClock(AtomicI64::new(0))),
            }
        }

        /// From a start, s after T0, to a stop.
        fn run(&self, start: i64, life: impl FnOnce(&Store)) {
            self.at(start);
            let settings = StoreSettings {
                data_dir: self.dir.path().into(),
                state_path: None,
                interval: Duration::from_secs(3_600),
                records_days: 2,
                raw_days: 1,
                history_days: 3,
            };
            let opened = open(&settings, self.clock.clone());
            assert_eq!(opened.problems, Vec::<String>::new());
            life(&opened.store);
            opened.store.close().wait().unwrap();
        }

        /// A life of 20 s that ends with 5 Wh in the minute under way.
        fn stop_at_20(&self) {
            self.run(0, |store| {
                self.at(20);
                store.minute("", record(0, 5.0, 230.0));
            });
        }

        fn at(&self, s: i64) {
            self.clock.0.store(T0 + s, Ordering::Relaxed);
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
            n_current: [0.0; 3],
        }
    }

    /// Wh in all, and those of the minutes that are listed.
    fn wh(store: &Store) -> (f64, Vec<f64>) {
        let span = store.energy_between("", &[T0 - 900, T0 + 90_000]).unwrap()[0].phases;
        let listed = store.records("").read(0, i64::MAX, 99).unwrap();
        (
            span.map_or(0.0, |phases| phases[0].import),
            listed.iter().map(|r| r.phases[0].act_energy).collect(),
        )
    }

    /// The same while it is buffered and once it is committed.
    fn both(store: &Store, sum: f64, listed: &[f64]) {
        assert_eq!(wh(store), (sum, listed.to_vec()), "buffered");
        store.flush().wait().unwrap();
        assert_eq!(wh(store), (sum, listed.to_vec()), "committed");
    }

    fn marked(dir: &Path) -> BTreeMap<String, i64> {
        marks(&Connection::open(dir.join(DATABASE_FILE)).unwrap()).unwrap()
    }

    #[test]
    fn restarts_within_a_minute_lose_nothing_of_it() {
        let house = House::new();
        house.run(0, |store| {
            house.at(20);
            store.minute("garage", record(0, 1.0, 0.0));
            store.minute("", record(0, 5.0, 230.0));
        });
        assert_eq!(
            marked(house.dir.path()),
            BTreeMap::from([(String::new(), T0 + 20), ("garage".into(), T0 + 20)])
        );
        house.run(25, |store| {
            both(store, 5.0, &[5.0]);
            house.at(40);
            store.minute("", record(0, 4.0, 240.0));
            both(store, 9.0, &[9.0]);
        });
        // One that is killed, or that measures nothing, leaves it as it is.
        house.run(45, |_| {});
        house.run(50, |store| {
            house.at(60);
            store.minute("", record(0, 3.0, 236.0));
            both(store, 12.0, &[12.0]);
            let a = store.records("").read(T0, T0, 1).unwrap()[0].phases[0];
            assert_eq!(
                (a.max_voltage, a.min_voltage, a.avg_voltage),
                (240.0, 230.0, 235.333)
            );
            house.at(120);
            store.minute("", record(60, 1.0, 230.0));
            both(store, 13.0, &[12.0, 1.0]);
        });
        assert_eq!(
            marked(house.dir.path()).into_keys().collect::<Vec<_>>(),
            ["garage"]
        );
    }

    #[test]
    fn a_whole_minute_is_overwritten() {
        let house = House::new();
        house.stop_at_20();
        house.run(25, |store| {
            house.at(60);
            store.minute("", record(0, 4.0, 230.0));
            both(store, 9.0, &[9.0]);
        });
        // The clock is back in a minute that was over.
        house.run(30, |store| {
            house.at(60);
            store.minute("", record(0, 2.0, 230.0));
            both(store, 2.0, &[2.0]);
        });
    }

    #[test]
    fn what_a_clock_that_ran_ahead_stamped_is_overwritten() {
        for between in [true, false] {
            let house = House::new();
            house.run(3_600, |store| {
                house.at(3_630);
                store.minute("", record(3_600, 7.0, 230.0));
            });
            house.run(1_000, |store| {
                assert_eq!(wh(store), (0.0, vec![]));
                if between {
                    house.at(1_050);
                    store.minute("", record(1_020, 1.0, 230.0));
                }
            });
            house.run(3_605, |store| {
                house.at(3_660);
                store.minute("", record(3_600, 2.0, 230.0));
                let minutes: &[f64] = if between { &[1.0, 2.0] } else { &[2.0] };
                both(store, minutes.iter().sum(), minutes);
            });
        }
    }

    #[test]
    fn deleted_records_do_not_come_back_with_the_minute_under_way() {
        let house = House::new();
        house.stop_at_20();
        house.run(25, |store| {
            store.delete_records("");
            house.at(60);
            store.minute("", record(0, 3.0, 230.0));
            both(store, 8.0, &[3.0]);
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
        let (absent, low, high) = (
            PhaseMinute {
                act_energy: 0.5,
                ..PhaseMinute::default()
            },
            phase(10.0),
            phase(20.0),
        );
        let before = MinuteRecord {
            ts: T0,
            phases: [low, absent, low],
            n_current: [3.0, 1.0, 2.0],
        };
        let after = MinuteRecord {
            ts: T0,
            phases: [high, high, absent],
            n_current: [0.0; 3],
        };
        let both = Part {
            record: before,
            until: T0 + 45,
        }
        .with(after, None);
        let a = both.phases[0];
        assert_eq!(
            (a.act_energy, a.act_ret_energy, a.lag_react_energy),
            (30.0, 30.0, 30.0)
        );
        assert_eq!(
            [
                a.max_act_power,
                a.max_aprt_power,
                a.max_voltage,
                a.max_current
            ],
            [21.0, 22.0, 23.0, 24.0]
        );
        assert_eq!(
            [
                a.min_act_power,
                a.min_aprt_power,
                a.min_voltage,
                a.min_current
            ],
            [9.0, 8.0, 7.0, 6.0]
        );
        assert_eq!((a.avg_voltage, a.avg_current), (12.5, 12.5));
        assert_eq!(
            both.phases[1],
            PhaseMinute {
                act_energy: 20.5,
                ..high
            }
        );
        assert_eq!(
            both.phases[2],
            PhaseMinute {
                act_energy: 10.5,
                ..low
            }
        );
        assert_eq!(both.n_current, [3.0, 1.0, 2.0]);
        let again = Part {
            record: both,
            until: T0 + 50,
        }
        .with(
            MinuteRecord {
                n_current: [9.0, 0.5, 8.0],
                ..after
            },
            Some(T0 + 60),
        );
        assert_eq!(again.n_current, [9.0, 0.5, 3.0]);
        let other = MinuteRecord {
            ts: T0 + 60,
            ..after
        };
        assert_eq!(
            Part {
                record: before,
                until: T0 + 45
            }
            .with(other, None),
            other
        );
    }

    #[test]
    fn a_record_is_a_part_while_its_minute_lasts() {
        assert_eq!(
            [-61, -60, -5, 0, 30, 59, 60].map(|s| reach(T0, T0 + s).map(|until| until - T0)),
            [None, Some(1), Some(1), Some(1), Some(30), Some(59), None]
        );
    }
}
