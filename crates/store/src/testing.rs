//! A clock that tests set, and stores that go by it.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Opened, lock::lock, open};
use config::{Settings, settings::StoreSettings};
use vocab::{Clock, Now};

#[derive(Debug)]
pub(super) struct ManualClock(pub Mutex<Now>);

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *lock(&self.0)
    }
}

/// At a time, Unix s.
pub(super) fn clock(unix: i64) -> Arc<ManualClock> {
    Arc::new(ManualClock(Mutex::new(Now {
        mono: Duration::ZERO,
        unix: unix as f64,
    })))
}

/// Commits every 30 s; 1 day of samples, 2 of records, 3 of means.
pub(super) fn settings(dir: &Path) -> StoreSettings {
    StoreSettings {
        data_dir: dir.into(),
        records_days: 2,
        raw_days: 1,
        history_days: 3,
        ..Settings::default().store
    }
}

/// A store that commits when it is told to, and at a stop.
pub(super) fn opened(dir: &Path, clock: &Arc<ManualClock>) -> Opened {
    let settings = StoreSettings {
        interval: Duration::from_secs(3_600),
        ..settings(dir)
    };
    let opened = open(&settings, Arc::clone(clock) as Arc<dyn Clock>);
    assert_eq!(opened.problems, []);
    opened
}
