//! Files that are damaged, gone, or older than they were: what goes on, and what is said.

use super::*;

fn damage(hurt: impl Fn(&mut Vec<u8>), clean: bool) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    store.put_counters("", row(123.0));
    for i in 0..20_000 {
        store.sample(now_s() - 20_000 + i, i as f64);
    }
    store.close().wait().unwrap();
    drop(store);
    let path = dir.path().join(DATABASE_FILE);
    if !clean {
        change(dir.path(), "UPDATE meta SET value = 0 WHERE key = 'clean'");
    }
    let mut bytes = fs::read(&path).unwrap();
    hurt(&mut bytes);
    fs::write(&path, &bytes).unwrap();

    let opened = open(dir.path());
    let restored = &opened.restored.meters[""];
    assert_eq!(
        (restored.energy, restored.mac.as_str()),
        (row(123.0).energy, "02AABBCCDDEE")
    );
    let aside = || {
        files(dir.path())
            .into_iter()
            .find(|f| f.starts_with("virtual-shelly.db.damaged-") && !f.ends_with("-wal"))
    };
    if clean {
        // Found in the background.
        until("set aside", || aside().is_some());
    } else {
        told(&opened, |why| matches!(why, Unkept::SetAside { .. }));
    }
    let aside = aside().unwrap();
    let kept = fs::metadata(dir.path().join(&aside)).unwrap();
    assert_eq!(kept.len(), bytes.len() as u64);
    let store = opened.store;
    until("told", || {
        let all = store.health().set_aside;
        all.iter().any(|s| s.line.to_string().contains(&aside))
    });
    store.sample(now_s(), 1.0);
    store.flush().wait().unwrap();
    assert_eq!(store.health().state, StoreState::Ok);
    store.close().wait().unwrap();
    drop(store);
    let opened = open(dir.path());
    assert_eq!(opened.problems, []);
    assert_eq!(opened.restored.meters[""].energy, row(123.0).energy);
}

#[test]
fn a_truncated_database_is_set_aside() {
    damage(|bytes| bytes.truncate(bytes.len() / 2), false);
    damage(|bytes| bytes.truncate(777), true);
}

#[test]
fn garbage_is_set_aside() {
    damage(|bytes| bytes.fill(0x5a), true);
    damage(|bytes| bytes[1024 * 40..1024 * 60].fill(0x5a), false);
    // A clean stop is trusted at first: the check beside the work finds it.
    damage(|bytes| bytes[1024 * 40..1024 * 60].fill(0x5a), true);
}

/// A page of the file that holds this text, overwritten: a dying card.
fn spoil(path: &Path, text: &[u8], with: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(text.len()).rposition(|w| w == text).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    fs::write(path, bytes).unwrap();
}

const STATE: &str = r#"{"auth_ha1":"ab12","kvs":{"k":1},"name":"Haus"}"#;
const VITAL: &str = r#"{"auth_ha1":"ab12","name":"Haus"}"#;

fn with_a_password(dir: &Path) {
    let store = open(dir).store;
    store.put_counters("", row(7.0));
    store.put_vital_state("device/", STATE, VITAL);
    store.flush().wait().unwrap();
    store.close().wait().unwrap();
}

/// What happens to a database.
type Harm = (&'static str, fn(&Path));

#[test]
fn a_password_outlives_the_database_and_the_loss_is_told() {
    let harms: [Harm; 4] = [
        ("missing", |db| fs::remove_file(db).unwrap()),
        ("empty", |db| fs::write(db, "").unwrap()),
        ("no database", |db| {
            fs::write(db, "x".repeat(9000)).unwrap();
        }),
        ("a wrong cell", |db| spoil(db, STATE.as_bytes(), b"{{{{")),
    ];
    for (what, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        with_a_password(dir.path());
        harm(&dir.path().join(DATABASE_FILE));
        let opened = open(dir.path());
        let state = opened.store.get_state("device/");
        assert_eq!(state.as_deref(), Some(VITAL), "{what}");
        assert!(!opened.store.state_lost(), "{what}");
        let restored = &opened.restored.meters[""];
        assert_eq!(restored.mac, row(7.0).mac, "{what}");
        assert_eq!(restored.energy.net.import, 7.0, "{what}");
        assert!(
            !opened.problems.is_empty() && !opened.store.health().set_aside.is_empty(),
            "{what}"
        );
        opened.store.close().wait().unwrap();
        drop(opened);
        // It is in the new database too.
        let again = open(dir.path());
        let state = again.store.get_state("device/");
        assert_eq!(state.as_deref(), Some(VITAL), "{what}");
        assert_eq!(again.problems, [], "{what}");
    }
}

#[test]
fn an_older_database_lowers_no_counter_and_is_told() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (database, older) = (
        dir.path().join(DATABASE_FILE),
        backup.path().join(DATABASE_FILE),
    );
    let clock = Arc::new(Hand(AtomicI64::new(1_800_000_000)));
    let opened = || store::open(&settings(dir.path()), clock.clone());
    let store = opened().store;
    store.put_counters("", row(1.0));
    store.freeze().wait().unwrap();
    fs::copy(&database, &older).unwrap();
    store.thaw().wait().unwrap();
    clock.0.fetch_add(3_600, Ordering::Relaxed);
    store.put_counters("", row(3.0));
    store.close().wait().unwrap();
    drop(store);
    fs::copy(&older, &database).unwrap();
    let opened = opened();
    let energy = opened.restored.meters[""].energy;
    assert_eq!((energy.net.import, energy.net.export), (3.0, 1.0));
    told(&opened, |why| matches!(why, Unkept::Older { .. }));
    assert_eq!(opened.problems.len(), 1);
    assert_eq!(opened.store.health().set_aside.len(), 1);
}

#[test]
fn without_any_trace_of_the_settings_it_is_said_that_they_are_unknown() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!open(dir.path()).store.state_lost(), "a new installation");
    let dir = tempfile::tempdir().unwrap();
    with_a_password(dir.path());
    fs::write(dir.path().join(DATABASE_FILE), "x".repeat(9000)).unwrap();
    fs::write(dir.path().join(SIDECAR_FILE), "x".repeat(4096)).unwrap();
    assert!(open(dir.path()).store.state_lost());
}

#[test]
fn a_mac_that_no_device_has_is_taken_from_the_sidecar() {
    for wrong in ["02AABBCCDDEg", "000000000000", "02aabbccddee"] {
        let dir = tempfile::tempdir().unwrap();
        with_a_password(dir.path());
        let database = dir.path().join(DATABASE_FILE);
        spoil(&database, b"02AABBCCDDEE", wrong.as_bytes());
        let opened = open(dir.path());
        assert_eq!(opened.restored.meters[""].mac, "02AABBCCDDEE", "{wrong}");
        told(
            &opened,
            |why| matches!(why, Unkept::CellsLost { list, .. } if list.contains("mac")),
        );
    }
}

#[test]
fn salvage_reads_the_log_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    store.put_counters("", row(7.0));
    store.put_state("device/", STATE);
    store.flush().wait().unwrap();
    // As a kill leaves it: the changes stand in the log. Then the sidecar is lost and the
    // database's folder is read-only.
    let left = tempfile::tempdir().unwrap();
    for name in [DATABASE_FILE.to_owned(), format!("{DATABASE_FILE}-wal")] {
        fs::copy(dir.path().join(&name), left.path().join(&name)).unwrap();
    }
    fs::create_dir(left.path().join(SIDECAR_FILE)).unwrap();
    let path = left.path().join(DATABASE_FILE);
    let mut bytes = fs::read(&path).unwrap();
    // It is of a later version, so it is not opened: meters and state are whole.
    bytes[60..64].copy_from_slice(&i32::MAX.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let opened = open(left.path());
    assert!(in_memory(&opened));
    assert_eq!(opened.store.get_state("device/").as_deref(), Some(STATE));
    assert_eq!(opened.restored.meters[""].energy.net.import, 7.0);
}

#[test]
fn a_damaged_database_is_salvaged_where_no_new_one_can_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    store.put_counters("", row(7.0));
    for i in 0..20_000 {
        store.sample(now_s() - 20_000 + i, i as f64);
    }
    store.close().wait().unwrap();
    drop(store);
    change(
        dir.path(),
        "PRAGMA journal_mode = DELETE; UPDATE meta SET value = 0 WHERE key = 'clean'",
    );
    let path = dir.path().join(DATABASE_FILE);
    let mut bytes = fs::read(&path).unwrap();
    bytes[1024 * 40..1024 * 60].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    fs::remove_file(dir.path().join(SIDECAR_FILE)).unwrap();
    fs::create_dir(dir.path().join(SIDECAR_FILE)).unwrap();
    // Without its index SQLite cannot begin a new log.
    fs::create_dir(dir.path().join(format!("{DATABASE_FILE}-shm"))).unwrap();

    let opened = open(dir.path());
    assert!(in_memory(&opened));
    let restored = &opened.restored.meters[""];
    assert_eq!(restored.mac, "02AABBCCDDEE");
    assert_eq!(restored.energy.net.import, 7.0);
    let set_aside = opened.store.health().set_aside;
    let aside = files(dir.path())
        .into_iter()
        .find(|name| name.starts_with("virtual-shelly.db.damaged-"));
    assert!(set_aside[0].line.to_string().contains(&aside.unwrap()));
}
