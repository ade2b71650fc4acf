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
        let mut loaded = Loaded {
            s2: Vec::new(),
            m1: Vec::new(),
            now,
        };
        stretches(
            now - raw,
            now - STRETCH - 1,
            STRETCH,
            cancel,
            &rest,
            |from, to| {
                loaded
                    .s2
                    .extend(self.store.kept_samples(from, to)?.into_iter().map(sample));
                Ok(())
            },
        )?;
        loaded.s2.extend(newest.s2.into_iter().map(sample));
        stretches(
            now - minutes,
            now,
            MINUTES_STRETCH,
            cancel,
            &rest,
            |from, to| {
                loaded
                    .m1
                    .extend(self.store.minutes(from, to)?.into_iter().map(|m| Sample {
                        ts: m.ts,
                        w: m.w as f32,
                    }));
                Ok(())
            },
        )?;
        Ok(loaded)
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

/// Calls `read` for each stretch from `from` to `to`, both included.
fn stretches(
    mut from: i64,
    to: i64,
    length: i64,
    cancel: &AtomicBool,
    rest: &impl Fn(Duration),
    mut read: impl FnMut(i64, i64) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while from <= to && !cancel.load(Ordering::Relaxed) {
        let began = Instant::now();
        let end = (from + length - 1).min(to);
        read(from, end)?;
        rest(began.elapsed());
        from = end + 1;
    }
    Ok(())
}
