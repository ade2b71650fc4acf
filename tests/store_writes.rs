//! What a day costs a memory card (`docs/decisions.md#bars`). Alone in its process: it counts what
//! the process writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

#[path = "common/wait.rs"]
mod wait;

use virtual_shelly::{
    config::{Settings, settings::StoreSettings},
    meter::{Counter, Energy, MinuteRecord, PhaseMinute},
    store::{self, DATABASE_FILE, MeterRow, Run, Store, StoreState},
    vocab::{Clock, Now},
};

use tokio::runtime::{Builder, Runtime};
use wait::Wait as _;

const START: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const BAR: u64 = 30_000_000;

#[derive(Debug)]
struct Simulated(AtomicI64);

impl Clock for Simulated {
    fn now(&self) -> Now {
        let s = self.0.load(Ordering::Relaxed);
        Now {
            mono: Duration::from_secs(s.unsigned_abs()),
            unix: (START + s) as f64,
        }
    }
}

/// A folder and its clock. What the tests count is the whole process's: one at a time.
struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<Simulated>,
    runtime: Runtime,
    _alone: MutexGuard<'static, ()>,
}

impl Rig {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(Simulated(AtomicI64::new(0))),
            runtime: Builder::new_current_thread().enable_time().build().unwrap(),
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn open(&self) -> Store {
        let settings = StoreSettings {
            data_dir: self.dir.path().into(),
            ..Settings::default().store
        };
        store::open(&settings, Arc::clone(&self.clock) as Arc<dyn Clock>).store
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join(DATABASE_FILE)
    }

    /// Sets a key; each answer waits for the writer, as over the network.
    fn set(&self, store: &Store, second: i64, text: &str) {
        self.clock.0.store(second, Ordering::Relaxed);
        store.put_state_often("device/", text);
        self.runtime.block_on(store.saved());
    }
}

/// So much in each direction of all counters, Wh.
fn alike(import: f64, export: f64) -> Energy {
    let counter = Counter::new(import, export);
    Energy {
        phases: [counter; 3],
        net: counter,
    }
}

/// Bytes that this process has handed to `write` in any form.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines()
        .find_map(|line| line.strip_prefix("wchar: "))
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_day_of_commits_every_30_s_writes_less_than_30_mb() {
    let rig = Rig::new();
    let store = rig.open();
    let mut random = fastrand::Rng::with_seed(42);
    let mut energy = Energy::default();
    let before = written();
    for second in (30..=DAY).step_by(30) {
        for ts in (second - 30..second).step_by(2) {
            store.sample(START + ts, random.f64() * 4000.0 - 1000.0);
        }
        energy += alike(random.f64() * 10.0, random.f64());
        let extra = r#"{"seeded":true,"offset":[0.0,0.0,0.0,0.0,0.0,0.0]}"#.to_owned();
        let wh = random.f64() * 20.0;
        let phase = PhaseMinute {
            act_energy: wh,
            lag_react_energy: wh / 3.0,
            max_act_power: wh * 70.0,
            min_act_power: wh * 50.0,
            max_aprt_power: wh * 75.0,
            min_aprt_power: wh * 55.0,
            max_voltage: 231.123,
            min_voltage: 228.456,
            avg_voltage: 230.0,
            max_current: wh / 3.0,
            min_current: wh / 4.0,
            avg_current: wh / 3.5,
            ..PhaseMinute::default()
        };
        let ts = START + (second - 1) / 60 * 60;
        let minute = MinuteRecord {
            ts,
            phases: [phase; 3],
            ..MinuteRecord::default()
        };
        let reserve = alike(random.f64(), random.f64());
        let whole = second % 60 == 0;
        let run = Run {
            limit: Some(energy),
            under_way: (!whole).then_some(minute),
            ..Run::default()
        };
        let row = MeterRow {
            mac: "02AABBCCDDEE".into(),
            energy,
            reserve,
            lifetime: energy,
            extra,
            run,
            ..MeterRow::default()
        };
        store.put_counters("", row);
        if whole {
            store.minute("", minute);
        }
        rig.clock.0.store(second, Ordering::Relaxed);
        store.flush().wait().unwrap();
    }
    store.close().wait().unwrap();
    let written = written() - before;
    let size = std::fs::metadata(rig.database()).unwrap().len();
    println!(
        "written in a simulated day: {:.1} MB; database after it: {:.1} MB",
        written as f64 / 1e6,
        size as f64 / 1e6
    );
    assert!(!matches!(store.health().state, StoreState::Failing { .. }));
    assert!(written <= BAR, "{written}");
    // The bar would be meaningless if the day were not there.
    let store = rig.open();
    assert_eq!(store.samples(0, i64::MAX).unwrap().len(), 43_200);
    assert_eq!(store.minutes(0, i64::MAX).unwrap().len(), 1_440);
}

/// An automation that sets a key once a second: 740 MB a day were written for it.
#[test]
fn a_key_set_every_second_of_a_day_costs_little_and_is_kept() {
    let rig = Rig::new();
    let store = rig.open();
    // The device's whole state is one text; some 20 keys more stand in it.
    let text = |second: i64| {
        format!(
            r#"{{"kvs":{{"heartbeat":{second},"more":"{}"}}}}"#,
            "x".repeat(2_000)
        )
    };
    let before = written();
    for second in 1..=DAY {
        rig.set(&store, second, &text(second));
    }
    let written = written() - before;
    println!(
        "written in a simulated day of one KVS.Set a second: {:.1} MB",
        written as f64 / 1e6
    );
    assert!(written <= BAR / 10, "{written}");
    store.close().wait().unwrap();
    let store = rig.open();
    assert_eq!(
        store.get_state("device/").as_deref(),
        Some(&*text(DAY)),
        "a stop loses none"
    );
    store.close().wait().unwrap();
}

/// The first changes are kept at once, later ones within 5 minutes.
#[test]
fn a_key_set_now_and_then_is_kept_at_once() {
    let rig = Rig::new();
    let store = rig.open();
    let kept = || {
        let conn = rusqlite::Connection::open(rig.database()).unwrap();
        let sql = "SELECT json FROM state WHERE key = 'device/'";
        conn.query_row(sql, [], |row| row.get::<_, String>(0)).ok()
    };
    let set = |second: i64| rig.set(&store, second, &second.to_string());
    for second in [1, 400, 800] {
        set(second);
        assert_eq!(kept().as_deref(), Some(&*second.to_string()));
    }
    // A burst is coalesced, and its last word is on the disk within 5 minutes without a further
    // change.
    (801..=900).for_each(set);
    assert_ne!(kept().as_deref(), Some("900"));
    rig.clock.0.store(1_201, Ordering::Relaxed);
    rig.runtime.block_on(store.saved());
    rig.runtime.block_on(store.saved());
    assert_eq!(kept().as_deref(), Some("900"));
    store.close().wait().unwrap();
}
