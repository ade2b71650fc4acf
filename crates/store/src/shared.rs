//! What the handle, the writer thread and the readers have in common.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    buffer::{Batch, Buffer},
    lock::lock,
    part::Part,
    readers::{Gate, Readers},
    types::{MeterRow, Run, SetAside, StoreHealth, StoreState},
};
use vocab::{Clock, reason::Reason};

/// How many [`SetAside`] are remembered.
const SET_ASIDE: usize = 4;

/// What is small and always at hand: no read of it waits for a disk.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub meters: BTreeMap<String, MeterRow>,
    pub state: BTreeMap<String, String>,
    /// What of it the sidecar keeps too.
    pub vital: BTreeMap<String, String>,
    /// Last commit that the database in the folder is known to have, Unix s.
    pub database: Option<f64>,
    /// There was state before that could not be read.
    pub state_lost: bool,
    /// What the folder held of meters that began without it: what is kept stands on that.
    pub base: BTreeMap<String, MeterRow>,
    /// Meters of whose minute under way an earlier run has measured the beginning.
    pub parts: BTreeMap<String, Part>,
}

/// See the module.
pub(super) struct Shared {
    pub clock: Arc<dyn Clock>,
    pub buffer: Mutex<Buffer>,
    pub cache: Mutex<Cache>,
    pub readers: Readers,
    /// By meter: where a run stands with the newest row that is kept; changed after each commit.
    pub kept: watch::Sender<BTreeMap<String, Run>>,
    health: Mutex<StoreHealth>,
    /// What was set aside, and when on the monotonic clock.
    set_aside: Mutex<VecDeque<(Duration, Reason)>>,
    /// A reader met damage: the writer checks.
    suspect: AtomicBool,
    closing: AtomicBool,
    started: Instant,
    beat: AtomicU64,
}

impl Shared {
    /// Of the database at `path`; of none where `why_not` says so.
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        path: PathBuf,
        cache: Cache,
        why_not: Option<Reason>,
    ) -> Self {
        let (gate, shown) = match why_not {
            None => (Gate::Open, Some(path.clone())),
            Some(_) => (Gate::Nothing, None),
        };
        Self {
            clock,
            buffer: Mutex::default(),
            cache: Mutex::new(cache),
            readers: Readers::new(path, gate),
            kept: watch::Sender::default(),
            health: Mutex::new(StoreHealth {
                path: shown,
                state: why_not.map_or(StoreState::Ok, |reason| StoreState::InMemory { reason }),
                last_commit: None,
                rows: 0,
                bytes: 0,
                dropped: 0,
                set_aside: Vec::new(),
            }),
            set_aside: Mutex::default(),
            suspect: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            started: Instant::now(),
            beat: AtomicU64::new(0),
        }
    }

    /// All that is known goes with the next commit.
    pub(super) fn write_all(&self) {
        let cache = lock(&self.cache);
        lock(&self.buffer).add(|batch| {
            batch.meters.clone_from(&cache.meters);
            batch.state.clone_from(&cache.state);
        });
    }

    /// What waits of a sort; of what waits twice the newer.
    pub(super) fn pending<K: Ord + Clone, V: Clone>(
        &self,
        of: fn(&Batch) -> &BTreeMap<K, V>,
    ) -> BTreeMap<K, V> {
        let buffer = lock(&self.buffer);
        let batches = buffer.batches().flat_map(|batch| of(batch).clone());
        batches.collect()
    }

    pub(super) fn change_health<T>(&self, change: impl FnOnce(&mut StoreHealth) -> T) -> T {
        change(&mut lock(&self.health))
    }

    pub(super) fn health(&self) -> StoreHealth {
        let mut health = lock(&self.health).clone();
        health.dropped = lock(&self.buffer).dropped;
        let now = self.clock.now().mono;
        let aside = |(at, line): &(Duration, Reason)| SetAside {
            line: line.clone(),
            age: now.saturating_sub(*at),
        };
        health.set_aside = lock(&self.set_aside).iter().map(aside).collect();
        health
    }

    /// A damaged database was set aside: see [`SetAside::line`].
    pub(super) fn set_aside(&self, line: Reason) {
        let mut all = lock(&self.set_aside);
        if all.len() == SET_ASIDE {
            all.pop_front();
        }
        all.push_back((self.clock.now().mono, line));
    }

    /// These rows are on the disk.
    pub(super) fn keep(&self, rows: Vec<(String, Run)>) {
        if !rows.is_empty() {
            self.kept.send_modify(|kept| kept.extend(rows));
        }
    }

    /// Whether there is no database, and what waits is all there is.
    pub(super) fn in_memory(&self) -> bool {
        matches!(lock(&self.health).state, StoreState::InMemory { .. })
    }

    pub(super) fn is_frozen(&self) -> bool {
        lock(&self.health).state == StoreState::Frozen
    }

    /// The writer's sign of life.
    pub(super) fn beat(&self) {
        let now = self.started.elapsed().as_secs();
        self.beat.store(now, Ordering::Relaxed);
    }

    /// Seconds since [`Self::beat`].
    pub(super) fn silent_for(&self) -> u64 {
        let now = self.started.elapsed().as_secs();
        now.saturating_sub(self.beat.load(Ordering::Relaxed))
    }

    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    pub(super) fn take_suspect(&self) -> bool {
        self.suspect.swap(false, Ordering::Relaxed)
    }

    pub(super) fn set_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}
