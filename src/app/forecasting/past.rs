//! Samples of the past, from the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use forecast::Sample;
use store::{Store, StoreError, StoreState};
use vocab::Clock;

/// Samples are loaded in stretches of this length, s: nobody else waits long for the database
/// meanwhile.
const STRETCH: i64 = 3600;

/// Minute means are a thirtieth as many.
const MINUTES_STRETCH: i64 = 30 * STRETCH;

/// Unix s and W.
type Samples = Result<Vec<(i64, f64)>, StoreError>;

/// Where samples of the past come from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) raw_days: u32,
}

/// The last hour of raw samples: Unix s, W.
pub(super) struct Newest {
    s2: Vec<(i64, f64)>,
    now: i64,
}

/// Raw samples and minute means.
pub(super) struct Loaded {
    pub(super) s2: Vec<Sample>,
    pub(super) m1: Vec<Sample>,
    pub(super) now: i64,
}

impl Source {
    /// The last hour of samples, what is not committed yet included: asks under a lock that the
    /// meter needs, so not from a thread that may have to wait for its turn.
    pub(super) fn newest(&self) -> Result<Newest, StoreError> {
        let now = self.now_s();
        Ok(Newest {
            s2: self.store.samples(now - STRETCH, now)?,
            now,
        })
    }

    /// What lies before `newest` as of the last commit, and that. `raw` and `minutes`: how far
    /// back, s. Raw samples are not kept longer than the option says anyway. `rest` is told after
    /// each stretch how long it took.
    pub(super) fn load(
        &self,
        newest: Newest,
        raw: i64,
        minutes: i64,
        cancel: &AtomicBool,
        rest: impl Fn(Duration),
    ) -> Result<Loaded, StoreError> {
        let now = newest.now;
        let sample = |(ts, w): (i64, f64)| Sample { ts, w: w as f32 };
        let stretches =
            |mut from: i64, to: i64, length: i64, read: &dyn Fn(i64, i64) -> Samples| {
                let mut all = Vec::new();
                while from <= to && !cancel.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let end = (from + length - 1).min(to);
                    all.extend(read(from, end)?.into_iter().map(sample));
                    rest(began.elapsed());
                    from = end + 1;
                }
                Ok::<_, StoreError>(all)
            };
        let mut s2 = stretches(now - raw, now - STRETCH - 1, STRETCH, &|from, to| {
            self.store.kept_samples(from, to)
        })?;
        s2.extend(newest.s2.into_iter().map(sample));
        let m1 = stretches(now - minutes, now, MINUTES_STRETCH, &|from, to| {
            let means = self.store.minutes(from, to)?;
            Ok(means.into_iter().map(|m| (m.ts, m.w)).collect())
        })?;
        Ok(Loaded { s2, m1, now })
    }

    /// Whether there is a past: not while the store is only in memory.
    pub(super) fn kept(&self) -> bool {
        !matches!(self.store.health().state, StoreState::InMemory { .. })
    }

    /// All raw samples that are kept, at most a month of them.
    pub(super) fn raw_span(&self) -> i64 {
        i64::from(self.raw_days.min(31)) * 86_400 + 3600
    }

    pub(super) fn now_s(&self) -> i64 {
        self.clock.now().unix_s()
    }
}
