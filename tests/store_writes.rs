//! What a day costs a memory card (`docs/decisions.md#bars`). Alone in its process: it counts what
//! the process writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

#[path = "common/wait.rs"]
mod wait;

use virtual_shelly::{
    config::settings::StoreSettings,
    meter::{Counter, Energy, MinuteRecord, PhaseMinute},
    store::{self, MeterRow, Run, StoreState},
    vocab::{Clock, Now},
};

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

/// What the tests count is the whole process's: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings(dir: &tempfile::TempDir) -> StoreSettings {
    StoreSettings {
        data_dir: dir.path().into(),
        state_path: None,
        interval: Duration::from_secs(30),
        records_days: 60,
        raw_days: 7,
        history_days: 400,
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
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir);
    let clock = Arc::new(Simulated(AtomicI64::new(0)));
    let store = store::open(&settings, Arc::clone(&clock) as Arc<dyn Clock>).store;
    let mut random = fastrand::Rng::with_seed(42);
    let mut energy = Energy::default();
    let before = written();
    for second in (30..=DAY).step_by(30) {
        for ts in (second - 30..second).step_by(2) {
            store.sample(START + ts, random.f64() * 4000.0 - 1000.0);
        }
        let phase = Counter {
            import: energy.phases[0].import + random.f64() * 10.0,
            export: energy.phases[0].export + random.f64(),
        };
        energy = Energy {
            phases: [phase; 3],
            net: phase,
        };
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
            n_current: [0.0; 3],
            ..MinuteRecord::default()
        };
        let reserve = Counter {
            import: random.f64(),
            export: random.f64(),
        };
        let phase_reserve = Energy {
            phases: [reserve; 3],
            net: reserve,
        };
        let whole = second % 60 == 0;
        let run = Run {
            limit: Some(energy),
            under_way: (!whole).then_some(minute),
            ..Run::default()
        };
        store.put_counters(
            "",
            MeterRow {
                mac: "02AABBCCDDEE".into(),
                energy,
                reserve: phase_reserve,
                lifetime: energy,
                reset_at: 0.0,
                extra,
                run,
                ..MeterRow::default()
            },
        );
        if whole {
            store.minute("", minute);
        }
        clock.0.store(second, Ordering::Relaxed);
        store.flush().wait().unwrap();
    }
    store.close().wait().unwrap();
    let written = written() - before;
    let size = std::fs::metadata(dir.path().join(store::DATABASE_FILE))
        .unwrap()
        .len();
    println!(
        "written in a simulated day: {:.1} MB; database after it: {:.1} MB",
        written as f64 / 1e6,
        size as f64 / 1e6
    );
    assert!(!matches!(store.health().state, StoreState::Failing { .. }));
    assert!(written <= BAR, "{written}");
    // The bar would be meaningless if the day were not there.
    let store = store::open(&settings, clock).store;
    assert_eq!(store.samples(0, i64::MAX).unwrap().len(), 43_200);
    assert_eq!(store.minutes(0, i64::MAX).unwrap().len(), 1_440);
}

/// An automation that sets a key once a second: 740 MB a day were written for it.
#[test]
fn a_key_set_every_second_of_a_day_costs_little_and_is_kept() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir);
    let clock = Arc::new(Simulated(AtomicI64::new(0)));
    let store = store::open(&settings, Arc::clone(&clock) as Arc<dyn Clock>).store;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    // The device's whole state is one text; some 20 keys more stand in it.
    let text = |second: i64| {
        format!(
            r#"{{"kvs":{{"heartbeat":{second},"more":"{}"}}}}"#,
            "x".repeat(2_000)
        )
    };
    let before = written();
    for second in 1..=DAY {
        clock.0.store(second, Ordering::Relaxed);
        store.put_state_often("device/", &text(second));
        // Each answer waits for the writer, as over the network.
        runtime.block_on(store.saved());
    }
    let written = written() - before;
    println!(
        "written in a simulated day of one KVS.Set a second: {:.1} MB",
        written as f64 / 1e6
    );
    assert!(written <= BAR / 10, "{written}");
    store.close().wait().unwrap();
    let store = store::open(&settings, Arc::clone(&clock) as Arc<dyn Clock>).store;
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
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Simulated(AtomicI64::new(0)));
    let store = store::open(&settings(&dir), Arc::clone(&clock) as Arc<dyn Clock>).store;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let kept = || {
        let conn = rusqlite::Connection::open(dir.path().join(store::DATABASE_FILE)).unwrap();
        conn.query_row("SELECT json FROM state WHERE key = 'device/'", [], |row| {
            row.get::<_, String>(0)
        })
        .ok()
    };
    let mut set = |second: i64| {
        clock.0.store(second, Ordering::Relaxed);
        store.put_state_often("device/", &second.to_string());
        runtime.block_on(store.saved());
    };
    for second in [1, 400, 800] {
        set(second);
        assert_eq!(kept().as_deref(), Some(&*second.to_string()));
    }
    // A burst is coalesced, and its last word is on the disk within 5 minutes without a further
    // change.
    (801..=900).for_each(&mut set);
    assert_ne!(kept().as_deref(), Some("900"));
    clock.0.store(1_201, Ordering::Relaxed);
    runtime.block_on(store.saved());
    runtime.block_on(store.saved());
    assert_eq!(kept().as_deref(), Some("900"));
    store.close().wait().unwrap();
}
