//! What the handle, the writer thread and the readers have in common.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    blocks::Blocks,
    buffer::Buffer,
    heal::Base,
    part::Part,
    reader::Readers,
    schema::DatabasePlace,
    types::{MeterRow, Run, SetAside, StoreHealth, StoreState},
};
use vocab::Clock;

/// How many [`SetAside`] are remembered.
const SET_ASIDE: usize = 4;

/// An owner who wants fewer writes than one a minute gets records that a power cut may take.
const MINUTE: Duration = Duration::from_secs(60);

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
    pub base: BTreeMap<String, Base>,
    /// Meters whose newest record is part of its minute.
    pub parts: BTreeMap<String, Part>,
}

/// See the module.
pub(super) struct Shared {
    pub clock: Arc<dyn Clock>,
    pub buffer: Mutex<Buffer>,
    /// Held while a batch moves from the buffer into the database, and shared by whoever adds both
    /// up: a row that is counted in one of them must not be counted in the other.
    pub moving: RwLock<()>,
    pub cache: Mutex<Cache>,
    pub readers: Readers,
    /// Whole minutes are committed as they come, and read once they are.
    pub minutes_first: bool,
    /// By meter: where a run stands with the newest row that is kept; changed after each commit.
    pub kept: watch::Sender<BTreeMap<String, Run>>,
    /// By meter key; loaded at the first question.
    pub blocks: Mutex<BTreeMap<String, Blocks>>,
    health: Mutex<StoreHealth>,
    /// What was set aside, and when on the monotonic clock.
    set_aside: Mutex<VecDeque<(Duration, String)>>,
    /// A reader met damage: the writer checks.
    suspect: AtomicBool,
    closing: AtomicBool,
    started: Instant,
    beat: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        interval: Duration,
        place: DatabasePlace,
        cache: Cache,
        memory_reason: Option<String>,
    ) -> Self {
        let path = match &place {
            DatabasePlace::File(path) => Some(path.clone()),
            DatabasePlace::Memory(_) => None,
        };
        let state = memory_reason.map_or(StoreState::Ok, |reason| StoreState::InMemory { reason });
        Self {
            clock,
            buffer: Mutex::default(),
            moving: RwLock::default(),
            cache: Mutex::new(cache),
            readers: Readers::new(place),
            minutes_first: interval <= MINUTE,
            kept: watch::Sender::default(),
            blocks: Mutex::default(),
            health: Mutex::new(StoreHealth {
                path,
                state,
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

    pub(super) fn change_health<T>(&self, change: impl FnOnce(&mut StoreHealth) -> T) -> T {
        change(&mut lock(&self.health))
    }

    pub(super) fn health(&self) -> StoreHealth {
        let mut health = lock(&self.health).clone();
        health.dropped = lock(&self.buffer).dropped;
        let now = self.clock.now().mono;
        let set_aside = lock(&self.set_aside);
        health.set_aside = set_aside
            .iter()
            .map(|(at, line)| SetAside {
                line: line.clone(),
                age: now.saturating_sub(*at),
            })
            .collect();
        drop(set_aside);
        health
    }

    /// A damaged database was set aside: see [`SetAside::line`].
    pub(super) fn set_aside(&self, line: String) {
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

    /// Whether buffered records wait until they are committed before somebody reads them.
    pub(super) fn commits_minutes(&self) -> bool {
        self.minutes_first
            && matches!(
                lock(&self.health).state,
                StoreState::Ok | StoreState::Frozen
            )
    }

    pub(super) fn is_frozen(&self) -> bool {
        lock(&self.health).state == StoreState::Frozen
    }

    /// The writer's sign of life.
    pub(super) fn beat(&self) {
        self.beat
            .store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Seconds since [`Self::beat`].
    pub(super) fn silent_for(&self) -> u64 {
        self.started
            .elapsed()
            .as_secs()
            .saturating_sub(self.beat.load(Ordering::Relaxed))
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

/// A panic elsewhere leaves these structs whole: their changes are single assignments.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
