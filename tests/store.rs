//! The store through its public door: crashes, damage, backups, other folders, the original's file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

#[path = "store/lost.rs"]
mod lost;
#[path = "store/original.rs"]
mod original;
#[path = "common/wait.rs"]
mod wait;

use virtual_shelly::{
    config::{Settings, settings::StoreSettings},
    meter::{Counter, Energy, MinuteRecord, PhaseMinute, records::Records},
    store::{self, DATABASE_FILE, MeterRow, Model, Opened, SIDECAR_FILE, StoreState},
    vocab::{
        Clock, Now, SystemClock,
        reason::{Reason, Unkept},
    },
};

use wait::Wait as _;

fn settings(dir: &Path) -> StoreSettings {
    StoreSettings {
        data_dir: dir.into(),
        ..Settings::default().store
    }
}

fn open(dir: &Path) -> Opened {
    store::open(&settings(dir), Arc::new(SystemClock::new()))
}

fn row(import: f64) -> MeterRow {
    let counter = Counter::new(import, import / 3.0);
    let energy = Energy {
        phases: [counter; 3],
        net: counter,
    };
    MeterRow {
        mac: "02AABBCCDDEE".into(),
        energy,
        lifetime: energy,
        reset_at: 1000.125,
        extra: r#"{"a":1}"#.into(),
        ..MeterRow::default()
    }
}

fn record(ts: i64, wh: f64) -> MinuteRecord {
    let phase = PhaseMinute {
        act_energy: wh,
        act_ret_energy: wh / 2.0,
        max_voltage: 231.5,
        ..PhaseMinute::default()
    };
    MinuteRecord {
        ts,
        phases: [phase; 3],
        ..MinuteRecord::default()
    }
}

fn now_s() -> i64 {
    SystemClock::new().now().unix_s()
}

fn files(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The two files of a folder whose store is closed.
fn both() -> BTreeSet<String> {
    [SIDECAR_FILE, DATABASE_FILE].map(String::from).into()
}

/// That it is said at the start.
fn told(opened: &Opened, is: impl Fn(&Unkept) -> bool) {
    let told = |line: &Reason| matches!(line, Reason::Unkept(why) if is(why));
    assert!(opened.problems.iter().any(told), "{:?}", opened.problems);
}

fn in_memory(opened: &Opened) -> bool {
    matches!(opened.store.health().state, StoreState::InMemory { .. })
}

/// Changes the database of a folder that nobody uses.
fn change(dir: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(dir.join(DATABASE_FILE)).unwrap();
    conn.execute_batch(sql).unwrap();
}

#[derive(Debug)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Now {
        Now {
            mono: Duration::from_secs(1),
            unix: self.0.load(Ordering::Relaxed) as f64,
        }
    }
}

/// Waits for a condition, for as long as no machine needs.
fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn everything_comes_back_after_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let minute = now_s() / 60 * 60 - 600;
    let opened = open(dir.path());
    assert_eq!(opened.problems, []);
    assert!(opened.restored.meters.is_empty() && opened.restored.import.is_none());
    let store = opened.store;
    store.put_counters("", row(5.0 / 7.0));
    store.put_counters("garage", row(2.0));
    store.put_state("device/", r#"{"name":"x"}"#);
    let model = Model {
        meta: "{}".into(),
        blob: vec![7; 100_000],
    };
    store.put_model("minute", model.clone());
    for i in 0..300 {
        store.sample(minute + i, i as f64);
    }
    store.sample(minute, f64::NAN);
    store.minute("", record(minute, 1.5));
    store.flush().wait().unwrap();
    assert_eq!(
        store.records("").read(minute, minute, 9).unwrap(),
        [record(minute, 1.5)]
    );
    assert!(store.alive());
    store.close().wait().unwrap();
    assert!(store.flush().wait().is_err());
    until("the thread ends", || !store.alive());
    assert_eq!(files(dir.path()), both());

    let opened = open(dir.path());
    assert_eq!(opened.problems, []);
    assert_eq!(opened.restored.meters[""], row(5.0 / 7.0));
    assert_eq!(opened.restored.meters["garage"], row(2.0));
    let store = opened.store;
    assert_eq!(
        store.get_state("device/").as_deref(),
        Some(r#"{"name":"x"}"#)
    );
    assert_eq!(store.get_model("minute").unwrap(), Some(model));
    assert_eq!(store.get_model("none").unwrap(), None);
    let samples = store.samples(minute, minute + 299).unwrap();
    assert_eq!(
        (samples.len(), samples[0], samples[299]),
        (300, (minute, 0.0), (minute + 299, 299.0))
    );
    let minutes = store.minutes(minute, minute + 299).unwrap();
    assert_eq!(minutes.len(), 5);
    assert_eq!(
        (minutes[1].w, minutes[1].mn, minutes[1].mx, minutes[1].n),
        (89.5, 60.0, 119.0, 60)
    );
    assert_eq!(
        store.records("").read(0, i64::MAX, 9).unwrap(),
        [record(minute, 1.5)]
    );
    let hour = minute / 3600 * 3600;
    let borders = [hour - 3600, hour, hour + 3600];
    let spans = store.energy_between("", &borders).unwrap();
    assert_eq!((spans.len(), spans[0].energy), (2, None));
    let counter = spans[1].energy.unwrap().phases[2];
    assert_eq!(
        (spans[1].from, spans[1].to, counter),
        (hour, hour + 3600, Counter::new(1.5, 0.75))
    );
}

#[test]
fn charts_choose_their_rows_and_add_what_is_buffered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    let end = now_s() / 3600 * 3600;
    let start = end - 7200;
    for ts in (start..end).step_by(2) {
        store.sample(ts, (ts - start) as f64);
    }
    store.flush().wait().unwrap();
    store.sample(end, 10_000.0);
    let raw = store.power(end - 20, end, 100).unwrap();
    assert_eq!((raw.len(), raw[0].ts, raw[10].w), (11, end - 20, 10_000.0));
    let bars = store.power(start, end, 24).unwrap();
    assert_eq!(bars.len(), 25);
    assert!(bars.windows(2).all(|b| b[1].ts - b[0].ts == 300));
    assert_eq!((bars[0].w, bars[0].mn, bars[0].mx), (149.0, 0.0, 298.0));
    assert_eq!((bars[24].w, bars[24].ts), (10_000.0, end));
    assert_eq!(store.power(end, start, 0).unwrap(), []);
}

#[test]
fn records_page_block_and_hide_the_future() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    let records = store.records("");
    let start = now_s() / 60 * 60 - 6000;
    for i in (0..20).chain(25..30).chain(1000..1003) {
        store.minute("", record(start + i * 60, i as f64));
        if i == 10 {
            store.flush().wait().unwrap();
            assert_eq!(records.blocks(0).unwrap().len(), 1);
        }
    }
    store.flush().wait().unwrap();
    let stretches = |from| -> Vec<_> {
        let blocks = records.blocks(from).unwrap();
        blocks.iter().map(|b| (b.ts - start, b.records)).collect()
    };
    assert_eq!(stretches(0), [(0, 20), (1500, 5)]);
    assert_eq!(stretches(start + 61), [(60, 19), (1500, 5)]);
    let read = |from, to, limit| -> Vec<_> {
        let read = records.read(start + from, start + to, limit).unwrap();
        read.iter().map(|r| (r.ts - start) / 60).collect()
    };
    assert_eq!(read(59, 240, 10), [0, 1, 2, 3, 4]);
    assert_eq!(read(540, 10_000_000, 4), [9, 10, 11, 12]);
    assert_eq!(read(1200, 10_000_000, 3), [25, 26, 27]);
    store.delete_records("");
    store.minute("", record(start + 1800, 1.0));
    store.flush().wait().unwrap();
    assert_eq!(
        (stretches(0), read(0, i64::MAX - start, 9)),
        (vec![(1800, 1)], vec![30])
    );
    assert_eq!(store.records("other").blocks(0).unwrap(), []);
}

/// Not a test of its own: the process that [`a_killed_process_loses_no_committed_counter`] kills.
#[test]
fn crash_child() {
    let Ok(dir) = std::env::var("STORE_TEST_CRASH_DIR") else {
        return;
    };
    let store = open(Path::new(&dir)).store;
    store.put_counters("", row(100.0));
    for i in 0..1000 {
        store.sample(now_s() - 1000 + i, 1.0);
    }
    store.flush().wait().unwrap();
    store.put_counters("", row(200.0));
    store.sample(now_s(), 2.0);
    std::process::abort();
}

#[test]
fn a_killed_process_loses_no_committed_counter() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash_child"])
        .env("STORE_TEST_CRASH_DIR", dir.path())
        .output()
        .unwrap();
    assert!(!child.status.success());
    assert!(files(dir.path()).contains(&format!("{DATABASE_FILE}-wal")));
    let opened = open(dir.path());
    assert_eq!(opened.problems, []);
    assert!(opened.restored.meters[""].energy.net.import >= 100.0);
    assert_eq!(opened.restored.meters[""].mac, "02AABBCCDDEE");
    assert!(opened.store.samples(0, i64::MAX).unwrap().len() >= 1000);
}

#[test]
fn without_a_writable_folder_metering_goes_on_in_memory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = file.path().join("data");
    let opened = open(&dir);
    let name = dir.to_str().unwrap();
    told(&opened, |why| why.to_string().contains(name));
    assert!(in_memory(&opened));
    let store = opened.store;
    store.put_counters("", row(1.0));
    store.put_state("k", "1");
    let minute = now_s() / 60 * 60 - 60;
    for i in 0..60 {
        store.sample(minute + i, 5.0);
    }
    store.minute("", record(minute, 1.0));
    assert!(store.flush().wait().is_err());
    assert_eq!(store.samples(minute, minute + 59).unwrap().len(), 60);
    assert!(store.power(minute, minute + 59, 9).unwrap().len() >= 9);
    assert_eq!(store.records("").blocks(0).unwrap().len(), 1);
    assert!(store.alive());
    store.freeze().wait().unwrap();
    store.sample(minute + 60, 6.0);
    assert_eq!(store.samples(minute, minute + 60).unwrap().len(), 61);
    store.thaw().wait().unwrap();
    assert!(store.close().wait().is_err(), "nothing is kept");
}

#[test]
fn either_file_alone_carries_identity_and_counters() {
    // The database cannot be one: the sidecar goes on alone.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(DATABASE_FILE)).unwrap();
    let opened = open(dir.path());
    told(&opened, |why| matches!(why, Unkept::GoesOn { .. }));
    opened.store.put_counters("", row(4.0));
    assert!(opened.store.close().wait().is_err());
    drop(opened.store);
    let restored = open(dir.path()).restored.meters;
    assert_eq!(
        (restored[""].mac.as_str(), restored[""].energy.net.import),
        ("02AABBCCDDEE", 4.0)
    );

    // And the other way round.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(SIDECAR_FILE)).unwrap();
    let opened = open(dir.path());
    told(
        &opened,
        |why| matches!(why, Unkept::Unwritable { path, .. } if path.ends_with(SIDECAR_FILE)),
    );
    assert_eq!(opened.store.health().state, StoreState::Ok);
    opened.store.put_counters("", row(5.0));
    opened.store.close().wait().unwrap();
    drop(opened.store);
    assert_eq!(open(dir.path()).restored.meters[""], row(5.0));
}

#[test]
fn a_newer_database_is_left_untouched_and_its_identity_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    store.put_counters("", row(9.0));
    store.put_state("k", "1");
    store.close().wait().unwrap();
    drop(store);
    let path = dir.path().join(DATABASE_FILE);
    change(dir.path(), "PRAGMA user_version = 99");
    let before = fs::read(&path).unwrap();
    let opened = open(dir.path());
    let newer = |why: &Unkept| matches!(why, Unkept::Newer { n: 99, .. });
    told(
        &opened,
        |why| matches!(why, Unkept::GoesOn { why } if newer(why)),
    );
    assert_eq!(opened.restored.meters[""], row(9.0));
    assert_eq!(opened.store.get_state("k").as_deref(), Some("1"));
    opened.store.put_counters("", row(10.0));
    assert!(opened.store.close().wait().is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(files(dir.path()), both());
    // The newer version takes over again, with what was counted meanwhile.
    change(dir.path(), "PRAGMA user_version = 1");
    let row = &open(dir.path()).restored.meters[""];
    assert_eq!(row.energy.phases[0].import, 10.0);
}

#[test]
fn a_second_process_does_not_touch_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = open(dir.path());
    told(&second, |why| matches!(why, Unkept::FolderInUse { .. }));
    assert!(in_memory(&second));
    assert_eq!(first.store.health().state, StoreState::Ok);
}

#[test]
fn a_freeze_leaves_static_files_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    let minute = now_s() / 60 * 60 - 600;
    store.put_counters("", row(1.0));
    store.minute("", record(minute, 1.0));
    for i in 0..60 {
        store.sample(minute + i, 1.0);
    }
    // Readers hold connections of their own.
    assert_eq!(store.samples(minute, minute + 59).unwrap().len(), 60);
    store.freeze().wait().unwrap();
    assert_eq!(store.health().state, StoreState::Frozen);
    assert_eq!(files(dir.path()), both());
    let database = fs::read(dir.path().join(DATABASE_FILE)).unwrap();

    store.put_counters("", row(2.0));
    store.put_state("k", "1");
    store.minute("", record(minute + 60, 2.0));
    store.sample(minute + 60, 2.0);
    assert!(store.flush().wait().is_err());
    store.freeze().wait().unwrap();
    // Reading goes on, with the samples that wait.
    assert_eq!(store.samples(minute, minute + 60).unwrap().len(), 61);
    assert_eq!(
        store.records("").blocks(0).unwrap()[0].records,
        1,
        "a kill would take what is not kept"
    );
    let borders = [0, minute / 900 * 900 + 1800];
    let span = store.energy_between("", &borders).unwrap()[0];
    assert_eq!(span.energy.unwrap().phases[0].import, 1.0);
    assert_eq!(files(dir.path()), both());
    assert_eq!(fs::read(dir.path().join(DATABASE_FILE)).unwrap(), database);

    // A restored backup is a sound database.
    let restored = tempfile::tempdir().unwrap();
    for name in both() {
        fs::copy(dir.path().join(&name), restored.path().join(&name)).unwrap();
    }
    let opened = open(restored.path());
    assert_eq!(opened.problems, []);
    assert_eq!(opened.store.samples(minute, minute + 59).unwrap().len(), 60);

    store.thaw().wait().unwrap();
    assert_eq!(store.health().state, StoreState::Ok);
    assert_eq!(store.samples(minute, minute + 60).unwrap().len(), 61);
    // A stop inside a freeze saves as well.
    store.freeze().wait().unwrap();
    store.put_counters("", row(3.0));
    store.close().wait().unwrap();
    drop(store);
    let opened = open(dir.path());
    assert_eq!(opened.restored.meters[""], row(3.0));
    assert_eq!(opened.store.get_state("k").as_deref(), Some("1"));
}
