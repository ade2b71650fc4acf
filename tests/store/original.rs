//! The Python original's file, taken over once.

use super::*;

const ORIGINAL: &str = r#"{"energy": {"a_import": 1.5, "b_import": 2, "c_import": 0, "a_export": 0.5, "b_export": 0, "c_export": 0,
    "total_import": 3.25, "total_export": 0.25}, "power_dataset": [SAMPLES], "model_metrics": {"mape": NaN}, "last_model_train": 1.0}"#;

fn original(dir: &Path, now: i64) {
    let old = (0..90).map(|i| (now / 60 * 60 - 20 * 86_400 + i * 2, i as f64));
    let recent = (0..30).map(|i| (now / 60 * 60 - 3600 + i * 2, 500.25));
    let sample = |(ts, w)| format!("[{ts}.25, {w}]");
    let samples: Vec<String> = old.chain(recent).map(sample).collect();
    let text = ORIGINAL.replace("SAMPLES", &samples.join(", "));
    fs::write(dir.join("state.json"), text).unwrap();
}

#[test]
fn the_originals_file_is_imported_once() {
    let dir = tempfile::tempdir().unwrap();
    let now = 1_800_000_030;
    original(dir.path(), now);
    let clock = Arc::new(Hand(AtomicI64::new(now)));
    let opened = store::open(&settings(dir.path()), clock.clone());
    let import = opened.restored.import.unwrap().blocking_recv().unwrap();
    assert_eq!(import.samples, 120);
    let wh = [1500.0, 500.0, 2000.0, 0.0, 0.0, 0.0, 3250.0, 250.0];
    assert_eq!(import.energy.to_array(), wh);
    let store = opened.store;
    let minute = now / 60 * 60;
    assert_eq!(store.samples(minute - 3600, now).unwrap().len(), 30);
    assert_eq!(store.samples(0, minute - 3601).unwrap(), []);
    let old = store.minutes(0, minute - 3601).unwrap();
    assert_eq!(
        (old.len(), old[0].w, old[0].mn, old[0].mx, old[0].n),
        (3, 14.5, 0.0, 29.0, 30)
    );
    // Stopped before the meter had it: the next start offers it again, and nothing is twice there.
    store.close().wait().unwrap();
    drop(store);
    assert!(dir.path().join("state.json").exists());
    let opened = store::open(&settings(dir.path()), clock.clone());
    let import = opened.restored.import.unwrap().blocking_recv().unwrap();
    let store = opened.store;
    assert_eq!(store.minutes(0, now).unwrap().len(), 4);
    store.import_done(&import, "", row(1500.0));
    until("renamed", || {
        dir.path().join("state.json.imported").exists()
    });
    assert!(!dir.path().join("state.json").exists());
    store.close().wait().unwrap();
    drop(store);
    // Renaming that failed is made up for, without counting twice.
    let imported = dir.path().join("state.json.imported");
    fs::rename(&imported, dir.path().join("state.json")).unwrap();
    let opened = store::open(&settings(dir.path()), clock);
    assert!(opened.restored.import.unwrap().blocking_recv().is_err());
    until("renamed", || imported.exists());
    assert_eq!(opened.store.counters("").unwrap(), row(1500.0));
}

#[test]
fn a_malformed_original_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    original(dir.path(), now_s());
    let path = dir.path().join("state.json");
    let mut text = fs::read_to_string(&path).unwrap();
    text.truncate(text.len() - 40);
    fs::write(&path, &text).unwrap();
    let opened = open(dir.path());
    assert!(opened.restored.import.unwrap().blocking_recv().is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(opened.store.minutes(0, i64::MAX).unwrap(), []);
}

#[test]
fn state_path_names_another_file() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    original(other.path(), now_s());
    let settings = StoreSettings {
        state_path: Some(other.path().join("state.json")),
        ..settings(dir.path())
    };
    let opened = store::open(&settings, Arc::new(SystemClock::new()));
    let import = opened.restored.import.unwrap().blocking_recv().unwrap();
    opened.store.import_done(&import, "", row(1.0));
    until("renamed", || {
        other.path().join("state.json.imported").exists()
    });
}
