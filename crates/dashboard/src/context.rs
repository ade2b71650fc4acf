//! What all pages share: receivers and trait objects, cheap to clone.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::tz::TimeZone;
use tokio::sync::watch;

use super::{
    locale::Locale,
    owner::Owner,
    sums::{Calendar, Sums},
    words::Times,
};
use diary::Watched;
use forecast::Outlooks;
use recording::Recorder;
use source::{HaFacts, prices::Told};
use store::{Store, StoreError};
use transport::{Board, Endpoint, healthz::Vitals};
use vocab::Now;
use vocab::reason::Unkept;

/// What `app` gives.
pub struct Parts {
    /// The meters' doors; the first is what the flat options describe.
    pub meters: Vec<Arc<Endpoint>>,
    /// All listeners.
    pub board: Board,
    /// Problems, and whether the process responds.
    pub vitals: Arc<dyn Vitals>,
    /// History and counters.
    pub store: Store,
    /// What is known of Home Assistant.
    pub facts: watch::Receiver<HaFacts>,
    /// Who acts.
    pub owner: Arc<dyn Owner>,
    /// The forecast and its training.
    pub forecast: Outlooks,
    /// Recordings.
    pub recorder: Arc<Recorder>,
    /// `power_history_seconds`: history in `/ui/power`, and of the shortest range of the chart.
    pub history_seconds: u32,
    /// What is wrong and not over, and which readers are known.
    pub watched: watch::Receiver<Arc<Watched>>,
    /// What a kWh costs.
    pub tariff: watch::Receiver<Arc<Told>>,
}

/// See [`Parts`].
pub struct Shared {
    /// What `app` gave.
    pub parts: Parts,
    /// One test as a reader at a time.
    testing: Arc<tokio::sync::Mutex<()>>,
    /// Energy by day and month, of each meter.
    pub(super) sums: Mutex<BTreeMap<String, (Duration, Sums)>>,
}

/// What all pages share.
#[derive(Clone)]
pub struct Context(Arc<Shared>);

impl Deref for Context {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

/// How long a sum of stored energy may be shown before it is made anew.
const SUMS_FOR: Duration = Duration::from_secs(10);

/// Why the store was not asked.
pub(super) fn not_asked(refused: background::Refused) -> Unkept {
    match refused {
        background::Refused::Busy => Unkept::Busy {
            n: background::RETRY_AFTER,
        },
        background::Refused::Slow => Unkept::DiskSlow {
            n: background::PATIENCE.as_secs(),
        },
    }
}

impl Context {
    /// From what `app` gives; `parts.meters` must not be empty.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            parts,
            testing: Arc::default(),
            sums: Mutex::default(),
        }))
    }

    /// A meter by index; the first for an index that there is not.
    #[must_use]
    pub fn meter(&self, index: usize) -> &Arc<Endpoint> {
        self.meters.get(index).unwrap_or(&self.meters[0])
    }

    /// The turn to test as a reader, while nobody else does.
    pub(super) fn test_turn(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        Arc::clone(&self.0.testing).try_lock_owned().ok()
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Now {
        self.meters[0].clock.now()
    }

    /// Home Assistant's time zone, else that of the host (`docs/decisions.md#clocks`).
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        self.facts.borrow().zone()
    }

    /// Moments in a language, as seen from this one.
    pub(super) fn times(&self, l: &'static Locale) -> Times {
        let (now, zone) = (self.now().unix, self.zone());
        Times { l, now, zone }
    }

    /// Reads the store off the event loop.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        background::run(move || ask(&store))
            .await
            .unwrap_or_else(|refused| Err(not_asked(refused).into()))
    }

    fn kept_sums(&self) -> MutexGuard<'_, BTreeMap<String, (Duration, Sums)>> {
        self.0.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Energy of a meter by day and month; remembered for some seconds.
    ///
    /// # Errors
    /// When the database cannot be read: what is not known is not 0.
    pub(super) async fn sums(&self, meter: usize) -> Result<Sums, StoreError> {
        let key = self.meter(meter).meter.clone();
        let now = self.now();
        let kept = self.kept_sums().get(&key).cloned();
        if let Some((at, sums)) = kept
            && now.mono.saturating_sub(at) < SUMS_FOR
        {
            return Ok(sums);
        }
        let zone = self.zone();
        let calendar = Calendar::new(now.unix_s(), &zone);
        let (days, months) = calendar.borders(now.unix_s(), &zone);
        let name = key.clone();
        let spans = self.read(move |store| {
            let days = store.energy_between(&name, &days)?;
            Ok((days, store.energy_between(&name, &months)?))
        });
        let (days, months) = spans.await?;
        let sums = Sums::new(&calendar, &days, &months);
        self.kept_sums().insert(key, (now.mono, sums.clone()));
        Ok(sums)
    }
}
