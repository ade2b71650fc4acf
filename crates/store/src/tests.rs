//! The writer without its thread: a clock that tests set, a disk that fills up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    DATABASE_FILE, EnergySpan, MeterRow, Store, StoreState,
    kept::Kept,
    lock::lock,
    schema,
    shared::{Cache, Shared},
    sidecar::Sidecar,
    testing::{ManualClock, clock, settings},
    writer::{Outside, Writer},
};
use meter::{Energy, MinuteRecord, records::Records};
use vocab::{
    Clock,
    reason::{Reason, Unkept},
};

const T0: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

struct Rig {
    clock: Arc<ManualClock>,
    store: Store,
    shared: Arc<Shared>,
    writer: Writer,
}

impl Rig {
    fn new(dir: &Path, unix: i64) -> Self {
        let db = schema::open(&dir.join(DATABASE_FILE), true).unwrap();
        let seen = Kept::load(&db.conn).unwrap().seen;
        let seen = (seen > 0.0).then_some(seen);
        let mut rig = Self::of(dir, unix, Cache::default(), None, Some(db.conn), seen);
        rig.writer.sidecar = Some(Sidecar::open(&dir.join("meter.json")).unwrap().0);
        rig
    }

    /// One that could not open a database.
    fn outside(dir: &Path, unix: i64, began: &BTreeMap<String, MeterRow>) -> Self {
        let cache = Cache {
            meters: began.clone(),
            ..Cache::default()
        };
        let why = Some(Reason::foreign("no folder"));
        let mut rig = Self::of(dir, unix, cache, why, None, None);
        rig.writer.outside = Some(Outside {
            meters: began.clone(),
            state: false,
            due: Duration::ZERO,
        });
        rig
    }

    fn of(
        dir: &Path,
        unix: i64,
        cache: Cache,
        why_not: Option<Reason>,
        db: Option<Connection>,
        seen: Option<f64>,
    ) -> Self {
        let clock = clock(unix);
        let its = Arc::clone(&clock) as Arc<dyn Clock>;
        let shared = Arc::new(Shared::new(its, dir.join(DATABASE_FILE), cache, why_not));
        Self {
            clock,
            store: Store::new(Arc::clone(&shared), mpsc::channel().0, None, 7),
            writer: Writer::new(Arc::clone(&shared), &settings(dir), db, seen),
            shared,
        }
    }

    /// So many seconds pass.
    fn wait(&mut self, seconds: u64) {
        let now = self.clock.now().plus(Duration::from_secs(seconds));
        *lock(&self.clock.0) = now;
        self.writer.tick(now);
    }

    /// Time passes, a minute.
    fn minute(&mut self) {
        self.wait(61);
    }

    /// The meter of a run without a folder: `counted` on top of `first`.
    fn put(&self, first: f64, counted: f64) {
        let mac = super::fallback_mac("");
        self.store
            .put_counters("", counters(&mac, first + counted, counted, 0.0));
    }

    /// Time passes, in steps of 10 minutes, with counters put at each.
    fn pass(&mut self, seconds: u64) {
        for from in (0..seconds).step_by(600) {
            self.counters(1.0);
            self.wait((seconds - from).min(600));
        }
    }

    fn jump(&mut self, seconds: i64) {
        lock(&self.clock.0).unix += seconds as f64;
        self.writer.tick(self.clock.now());
    }

    fn counters(&self, import: f64) {
        self.store
            .put_counters("", counters("02AABBCCDDEE", import, 0.0, 0.0));
    }

    fn samples(&self, range: impl Iterator<Item = i64>) {
        lock(&self.shared.buffer).add(|b| b.samples.extend(range.map(|ts| (ts, 10))));
    }

    fn records(&self, starts: impl Iterator<Item = i64>, wh: f64) {
        let records = starts.map(|ts| ("".into(), record(ts, wh)));
        lock(&self.shared.buffer).add(|b| b.records.extend(records));
    }

    fn number(&self, sql: &str) -> i64 {
        let db = self.writer.db.as_ref().unwrap();
        db.query_row(sql, [], |r| r.get(0)).unwrap()
    }

    fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}"))
    }

    /// The import that the database has of the meter, Wh.
    fn kept_import(&self) -> f64 {
        let kept = Kept::load(self.writer.db.as_ref().unwrap()).unwrap();
        kept.meters[""].energy.net.import
    }
}

fn record(ts: i64, wh: f64) -> MinuteRecord {
    let mut record = MinuteRecord {
        ts,
        ..MinuteRecord::default()
    };
    record.phases[0].act_energy = wh;
    record
}

#[test]
fn retention_prunes_in_chunks_and_keeps_what_the_options_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), T0);
    rig.samples((T0 - 4 * DAY..T0).step_by(10));
    rig.writer.commit().unwrap();
    rig.records((T0 - 4 * DAY..T0).step_by(120), 1.0);
    rig.writer.commit().unwrap();
    assert_eq!(rig.count("s2"), 4 * DAY / 10);
    rig.pass(3 * 3_600);
    let now = rig.clock.now().unix_s();
    // Pruned within the last hour, which is as exact as it gets.
    for (table, days) in [("s2", 1), ("m1", 3), ("records", 2)] {
        let age = now - rig.number(&format!("SELECT min(ts) FROM {table}"));
        let late = age - days * DAY;
        assert!((-3_600..=2 * 3_600).contains(&late), "{table} {age}");
    }
    let blocks = rig.store.records("").blocks(0).unwrap();
    assert_eq!(
        blocks.iter().map(|b| i64::from(b.records)).sum::<i64>(),
        rig.count("records")
    );
}

#[test]
fn a_jump_of_the_clock_deletes_nothing_for_a_day_and_hides_the_future() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), T0);
    rig.pass(1_200);
    let now = rig.clock.now().unix_s();
    rig.samples((now - DAY / 2..now).step_by(10));
    rig.writer.commit().unwrap();
    let rows = rig.count("s2");
    rig.jump(10 * DAY);
    rig.pass(23 * 3_600);
    assert_eq!(rig.count("s2"), rows);
    // Back again: what was written meanwhile is hidden, not gone.
    let wrong = rig.clock.now().unix_s();
    rig.samples([wrong].into_iter());
    rig.writer.commit().unwrap();
    rig.jump(-10 * DAY);
    assert_eq!(rig.store.samples(wrong - 5, wrong + 5).unwrap(), []);
    assert_eq!(rig.count("s2"), rows + 1);
    rig.pass(23 * 3_600);
    assert_eq!(rig.count("s2"), rows + 1);
    rig.pass(4 * 3_600);
    assert_eq!(rig.count("s2"), 1);
}

#[test]
fn the_suspension_survives_a_restart_and_a_nightly_stop_still_prunes() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), T0);
    rig.counters(1.0);
    rig.writer.commit().unwrap();
    rig.samples((T0 - 2 * DAY..T0 - DAY - 60).step_by(60));
    rig.jump(2 * DAY);
    rig.pass(12 * 3_600);
    let rows = rig.count("s2");
    assert!(rows > 0);
    rig.writer.close().unwrap();
    let mut unix = rig.clock.now().unix_s();
    drop(rig);
    // Off for 8 hours: the first day still waits for the rest of the 24 hours.
    unix += 8 * 3_600;
    let mut rig = Rig::new(dir.path(), unix);
    rig.pass(10 * 3_600);
    assert_eq!(rig.count("s2"), rows);
    rig.pass(4 * 3_600);
    assert_eq!(rig.count("s2"), 0);
}

#[test]
fn a_full_disk_loses_nothing_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), T0);
    rig.counters(1.0);
    rig.writer.commit().unwrap();
    let pages = rig.number("PRAGMA page_count");
    rig.number(&format!("PRAGMA max_page_count = {pages}"));
    rig.samples(T0 - 10_000..T0);
    rig.counters(2.0);
    let error = rig.writer.commit().unwrap_err().to_string();
    assert!(
        error.contains("full") && error.contains(DATABASE_FILE),
        "{error}"
    );
    assert!(matches!(
        rig.shared.health().state,
        StoreState::Failing { .. }
    ));
    // What waits is still read.
    assert_eq!(rig.store.samples(T0 - 10_000, T0).unwrap().len(), 10_000);
    rig.counters(3.0);
    assert!(rig.writer.commit().is_err());
    rig.number("PRAGMA max_page_count = 100000");
    rig.writer.commit().unwrap();
    assert_eq!(rig.shared.health().state, StoreState::Ok);
    assert_eq!(rig.count("s2"), 10_000);
    assert_eq!(rig.kept_import(), 3.0);
}

#[test]
fn a_freeze_that_nobody_ends_thaws_and_the_sidecar_goes_on_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), T0);
    rig.counters(1.0);
    rig.writer.freeze().unwrap();
    assert_eq!(rig.shared.health().state, StoreState::Frozen);
    let sidecar = dir.path().join("meter.json");
    let database = std::fs::read(dir.path().join(DATABASE_FILE)).unwrap();
    rig.counters(7.0);
    rig.wait(31);
    assert_eq!(Sidecar::peek(&sidecar).meters[""].energy.net.import, 7.0);
    assert_eq!(
        std::fs::read(dir.path().join(DATABASE_FILE)).unwrap(),
        database
    );
    assert!(rig.writer.commit().is_err());
    rig.pass(900);
    assert_eq!(rig.shared.health().state, StoreState::Ok);
    rig.pass(30);
    assert_eq!(rig.kept_import(), 1.0);
}

#[test]
fn records_overwritten_by_a_clock_that_went_back_leave_the_energy_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), T0 + 7_200);
    let add = |rig: &mut Rig, minutes: std::ops::Range<i64>, wh: f64| {
        rig.records(minutes.map(|m| T0 + m * 60), wh);
        rig.writer.commit().unwrap();
    };
    let hour = |rig: &Rig| {
        let hour = rig.store.energy_between("", &[T0, T0 + 3_600]).unwrap()[0];
        hour.sum().unwrap().import
    };
    add(&mut rig, 0..60, 1.0);
    assert_eq!(hour(&rig), 60.0);
    // Again over some of the same minutes.
    add(&mut rig, 10..20, 2.0);
    add(&mut rig, 65..70, 2.0);
    assert!((hour(&rig) - 70.0).abs() < 1e-9, "{}", hour(&rig));
    assert_eq!(rig.count("records"), 65);
    let blocks = |rig: &Rig| -> Vec<u32> {
        let blocks = rig.store.records("").blocks(0).unwrap();
        blocks.iter().map(|b| b.records).collect()
    };
    assert_eq!(blocks(&rig), [60, 5]);
    lock(&rig.shared.buffer).add(|b| b.delete_records(""));
    rig.writer.wake();
    assert_eq!(rig.count("records"), 0);
    assert_eq!((blocks(&rig), hour(&rig)), (vec![], 70.0));
}

fn counters(mac: &str, import: f64, counted: f64, reset_at: f64) -> MeterRow {
    let (energy, counted) = (
        Energy::from_array([import; 8]),
        Energy::from_array([counted; 8]),
    );
    MeterRow {
        mac: mac.into(),
        energy,
        lifetime: energy,
        counted,
        reset_at,
        extra: "{}".into(),
        ..MeterRow::default()
    }
}

/// A folder with a past: 1000 Wh, a name, a sample and a record.
fn past(dir: &Path) {
    let mut rig = Rig::new(dir, T0 - 7_200);
    rig.counters(1_000.0);
    rig.store.put_state("device/", r#"{"name":"old"}"#);
    lock(&rig.shared.buffer).add(|b| b.samples.push_back((T0 - 7_200, 50)));
    rig.records([T0 - 7_200].into_iter(), 5.0);
    rig.writer.close().unwrap();
}

fn kept(dir: &Path) -> (MeterRow, BTreeMap<String, String>) {
    let db = schema::open(&dir.join(DATABASE_FILE), true).unwrap();
    let mut kept = Kept::load(&db.conn).unwrap();
    (kept.meters.remove("").unwrap(), kept.state)
}

#[test]
fn a_folder_that_comes_late_gets_what_was_counted_without_it() {
    let home = tempfile::tempdir().unwrap();
    let (dir, hidden) = (home.path().join("data"), home.path().join("hidden"));
    std::fs::create_dir(&hidden).unwrap();
    past(&hidden);
    std::fs::write(&dir, "in the way").unwrap();
    let mut rig = Rig::outside(&dir, T0, &BTreeMap::new());
    rig.put(400.0, 0.0);
    rig.minute();
    assert!(
        matches!(rig.shared.health().state, StoreState::InMemory { reason } if reason.to_string().contains("data"))
    );
    rig.put(400.0, 3.0);
    rig.store.put_state("new", "1");
    rig.store.put_state("device/", "never meant for that meter");
    rig.store.minute("", record(T0, 3.0));
    rig.store.sample(T0, 30.0);
    rig.minute();
    rig.store.minute("", record(T0 + 60, 2.0));
    // What waits is all there is to see.
    let records = rig.store.records("");
    assert_eq!(records.blocks(0).unwrap()[0].records, 2);
    assert_eq!(records.read(T0, T0, 9).unwrap(), [record(T0, 3.0)]);
    let seen = rig.store.energy_between("", &[T0, T0 + 900]).unwrap();
    assert_eq!(seen[0].sum().unwrap().import, 5.0);
    assert_eq!(rig.store.power(T0 - 86_400, T0 + 200, 9).unwrap().len(), 1);

    std::fs::remove_file(&dir).unwrap();
    std::fs::rename(&hidden, &dir).unwrap();
    rig.minute();
    let health = rig.shared.health();
    assert_eq!(
        (health.state, health.path),
        (StoreState::Ok, Some(dir.join(DATABASE_FILE)))
    );
    // Identity and counters of the folder, and what was counted: the seed was another count of the
    // same.
    let wh = |n: f64| Energy::from_array([n; 8]);
    let (row, state) = kept(&dir);
    assert_eq!(row.lifetime, wh(1_003.0));
    assert_eq!(
        (state["device/"].as_str(), state["new"].as_str()),
        (r#"{"name":"old"}"#, "1")
    );
    let side = &Sidecar::peek(&dir.join("meter.json")).meters[""];
    for row in [&row, side] {
        assert_eq!(
            (row.mac.as_str(), row.energy),
            ("02AABBCCDDEE", wh(1_003.0))
        );
    }
    // Charts and records hold both.
    assert_eq!(
        rig.store.samples(0, i64::MAX).unwrap(),
        [(T0 - 7_200, 5.0), (T0, 30.0)]
    );
    assert_eq!(rig.store.minutes(0, i64::MAX).unwrap().len(), 2);
    let borders = [T0 - 7_200, T0 - 3_600, T0 + 900];
    let spans = rig.store.energy_between("", &borders).unwrap();
    let wh_of = |span: &EnergySpan| span.sum().unwrap().import;
    assert_eq!(spans.iter().map(wh_of).collect::<Vec<_>>(), [5.0, 5.0]);
    assert_eq!(rig.store.records("").read(0, i64::MAX, 9).unwrap().len(), 3);

    // It goes on from there, and a reset is one.
    rig.put(400.0, 4.0);
    rig.minute();
    assert_eq!(kept(&dir).0.energy, wh(1_004.0));
    let reset_at = T0 as f64 + 300.0;
    let reset = counters(&super::fallback_mac(""), 1.0, 5.0, reset_at);
    rig.store.put_counters("", reset);
    rig.writer.close().unwrap();
    let (row, _) = kept(&dir);
    assert_eq!(
        (row.energy, row.lifetime, row.reset_at),
        (wh(1.0), wh(1_005.0), reset_at)
    );
}

#[test]
fn a_new_folder_gets_all_and_the_stop_tries_it_once_more() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    std::fs::write(&dir, "in the way").unwrap();
    let mut rig = Rig::outside(&dir, T0, &BTreeMap::new());
    rig.put(400.0, 3.0);
    rig.minute();
    std::fs::remove_file(&dir).unwrap();
    rig.put(400.0, 4.0);
    rig.writer.close().unwrap();
    let (row, _) = kept(&dir);
    assert_eq!(
        (row.mac, row.energy.net.import),
        (super::fallback_mac("").to_string(), 404.0)
    );
}

#[test]
fn a_folder_in_the_hands_of_another_process_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    past(dir.path());
    let other = Sidecar::open(&dir.path().join("meter.json")).unwrap();
    let mut rig = Rig::outside(dir.path(), T0, &BTreeMap::new());
    rig.put(0.0, 7.0);
    rig.minute();
    assert!(
        matches!(rig.shared.health().state, StoreState::InMemory { reason } if matches!(reason, Reason::Unkept(Unkept::FolderInUse { .. })))
    );
    assert_eq!(kept(dir.path()).0.energy, Energy::from_array([1_000.0; 8]));
    drop(other);
    rig.minute();
    assert_eq!(rig.shared.health().state, StoreState::Ok);
}

#[test]
fn a_meter_that_could_read_its_past_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    past(dir.path());
    let began = BTreeMap::from([(String::new(), counters("02AABBCCDDEE", 1_000.0, 0.0, 0.0))]);
    let mut rig = Rig::outside(dir.path(), T0, &began);
    rig.store
        .put_counters("", counters("02AABBCCDDEE", 1_006.0, 6.0, 0.0));
    rig.store.delete_records("");
    rig.minute();
    assert_eq!(kept(dir.path()).0.energy.to_array(), [1_006.0; 8]);
    assert_eq!(
        rig.store.records("").read(0, i64::MAX, 9).unwrap(),
        [],
        "deleted while in memory"
    );
}
