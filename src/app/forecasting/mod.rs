//! The forecast's life in the service: one thread that speaks, one that has models trained.
//!
//! ```text
//!  meter task ──samples──▶ speaking ──Outlook──▶ pages, /ui/power, /metrics
//!                            ▲ Trained
//!  clock, button ──ask──▶ training ──▶ a thread at the lowest priority for each training
//! ```
//!
//! Neither holds a lock that a reading or a reply waits for; samples that find the channel full are
//! left out.

pub mod gauges;
mod speaking;
mod training;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{error, info};

use super::{start::Shared, vitals::Health};
use config::{ForecastSettings, Settings};
use forecast::{
    Metric, Outlook, Outlooks, Sample, Trained,
    outlook::{LastTraining, Training},
    trainer::Valid,
};
use store::{Store, StoreError, StoreState};
use vocab::Clock;
use vocab::reason::Reason;

/// Samples that may wait for the speaking thread.
const WAITING: usize = 1024;
/// Samples are loaded in stretches of this length, s: nobody else waits long for the database
/// meanwhile.
const STRETCH: i64 = 3600;
/// Minute means are a thirtieth as many.
const MINUTES_STRETCH: i64 = 30 * STRETCH;

/// What the speaking thread hears.
enum Heard {
    /// A sample of the house.
    Sample(Sample),
    /// Models that speak from now on; whether they were trained just now.
    Trained(Arc<Trained>, bool),
    /// The end.
    End,
}

/// Where the first meter's samples go.
#[derive(Clone)]
pub struct Feed(SyncSender<Heard>);

impl Feed {
    /// A sample: Unix s, W. Never waits.
    pub fn sample(&self, ts: i64, w: f64) {
        let _ = self.0.try_send(Heard::Sample(Sample { ts, w: w as f32 }));
    }
}

/// How a training is asked for.
#[derive(Clone)]
pub struct Trainer {
    asks: SyncSender<()>,
    training: watch::Sender<Training>,
    store: Store,
    need: usize,
}

impl Trainer {
    /// Has models trained on all raw samples kept; returns at once. Reads the store: call it off
    /// the event loop.
    ///
    /// # Errors
    /// When there are too few samples, or a training is under way: one line.
    pub fn train(&self) -> Result<(), String> {
        let have = self.store.sample_count().map_err(|e| e.to_string())?;
        if have < self.need as u64 {
            return Err(forecast::Error::TooFew {
                have: usize::try_from(have).unwrap_or_default(),
                need: self.need,
            }
            .to_string());
        }
        let mut idle = false;
        self.training.send_if_modified(|training| {
            idle = training.running.is_none();
            if idle {
                training.running = Some((0.0, "waiting"));
            }
            idle
        });
        if !idle {
            return Err("a training is under way already".to_owned());
        }
        match self.asks.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => Ok(()),
            Err(TrySendError::Disconnected(())) => {
                self.training
                    .send_modify(|training| training.running = None);
                Err("the forecast has ended: restart the service".to_owned())
            }
        }
    }
}

/// The forecast before its threads run.
pub struct Forecasting {
    valid: Valid,
    settings: ForecastSettings,
    raw_days: u32,
    heard: mpsc::Receiver<Heard>,
    tell: SyncSender<Heard>,
    asked: mpsc::Receiver<()>,
    trainer: Trainer,
    outlook: watch::Sender<Arc<Outlook>>,
    outlooks: Outlooks,
}

impl Forecasting {
    /// A forecast by the options; None when it is switched off.
    #[must_use]
    pub fn new(settings: &Settings, store: &Store) -> Option<Self> {
        let of = &settings.forecast;
        if !of.enable {
            info!("the forecast is off (forecast_enable)");
            return None;
        }
        let wanted = forecast::Settings {
            sample_step: settings.source.sample_step(),
            window: of.window,
            steps: of.horizon,
            metric: if of.rmse { Metric::Rmse } else { Metric::Mae },
            // Names were checked with the options.
            models: of
                .models
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect(),
            ..forecast::Settings::default()
        };
        let valid = wanted
            .check()
            .inspect_err(|why| error!("there is no forecast: {why}"))
            .ok()?;
        let (tell, heard) = mpsc::sync_channel(WAITING);
        let (asks, asked) = mpsc::sync_channel(1);
        let (outlook, outlook_seen) = watch::channel(Arc::default());
        let (training, training_seen) = watch::channel(Training::default());
        let first = valid.horizons()[0];
        let trainer = Trainer {
            asks,
            training,
            store: store.clone(),
            need: first.window + first.steps,
        };
        let outlooks = Outlooks {
            outlook: outlook_seen,
            training: training_seen,
        };
        Some(Self {
            valid,
            settings: of.clone(),
            raw_days: settings.store.raw_days,
            heard,
            tell,
            asked,
            trainer,
            outlook,
            outlooks,
        })
    }

    /// Where samples go.
    #[must_use]
    pub fn feed(&self) -> Feed {
        Feed(self.tell.clone())
    }

    /// Where it is read.
    #[must_use]
    pub fn outlooks(&self) -> Outlooks {
        self.outlooks.clone()
    }

    /// How a training is asked for.
    #[must_use]
    pub fn trainer(&self) -> Trainer {
        self.trainer.clone()
    }

    /// Starts both threads; they end with the stop.
    pub fn start(self, shared: &Shared) {
        let cancel = Arc::new(AtomicBool::new(false));
        let Self {
            valid,
            settings,
            raw_days,
            heard,
            tell,
            asked,
            trainer,
            outlook,
            ..
        } = self;
        let source = Source {
            store: shared.store.clone(),
            clock: Arc::clone(&shared.clock),
            raw_days,
        };
        let speaking = speaking::Speaking {
            valid: valid.clone(),
            interval: settings.interval,
            source: source.clone(),
            heard,
            outlook,
        };
        let asks = trainer.asks.clone();
        let training = training::Trains {
            valid,
            interval: settings.train_interval,
            cpu: settings.cpu,
            source,
            asked,
            trainer,
            tell: tell.clone(),
            cancel: Arc::clone(&cancel),
        };
        let threads = [
            thread("forecast", &shared.health, move || speaking.run()),
            thread("training", &shared.health, move || training.run()),
        ];
        let stop = shared.stop.clone();
        shared.health.spawn_work(async move {
            stop.cancelled().await;
            cancel.store(true, Ordering::Relaxed);
            let _ = tokio::task::spawn_blocking(move || {
                // A full channel is drained by its thread, or the thread is gone.
                let _ = tell.send(Heard::End);
                let _ = asks.try_send(());
                for thread in threads.into_iter().flatten() {
                    let _ = thread.join();
                }
            })
            .await;
        });
    }
}

/// A thread whose end by a panic is a problem that is shown; metering goes on without a forecast.
fn thread(
    name: &'static str,
    health: &Health,
    run: impl FnOnce() + Send + 'static,
) -> Option<std::thread::JoinHandle<()>> {
    let shown = health.clone();
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            shown.add(Reason::foreign(format!(
                "the {name} thread has ended: there is no new forecast until a restart"
            )));
        }
    };
    match std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
    {
        Ok(thread) => Some(thread),
        Err(error) => {
            error!("the {name} thread cannot be started: {error}");
            health.add(Reason::foreign(format!(
                "the {name} thread cannot be started: {error}"
            )));
            None
        }
    }
}

/// Where samples of the past come from.
#[derive(Clone)]
struct Source {
    store: Store,
    clock: Arc<dyn Clock>,
    raw_days: u32,
}

/// The last hour of raw samples: Unix s, W.
struct Newest {
    s2: Vec<(i64, f64)>,
    now: i64,
}

/// Raw samples and minute means.
struct Loaded {
    s2: Vec<Sample>,
    m1: Vec<Sample>,
    now: i64,
}

impl Source {
    /// The last hour of samples, what is not committed yet included: asks under a lock that the
    /// meter needs, so not from a thread that may have to wait for its turn.
    fn newest(&self) -> Result<Newest, StoreError> {
        let now = self.now_s();
        Ok(Newest {
            s2: self.store.samples(now - STRETCH, now)?,
            now,
        })
    }

    /// What lies before `newest` as of the last commit, and that. `raw` and `minutes`: how far
    /// back, s. Raw samples are not kept longer than the option says anyway. `rest` is told after
    /// each stretch how long it took.
    fn load(
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
    fn kept(&self) -> bool {
        !matches!(self.store.health().state, StoreState::InMemory { .. })
    }

    /// All raw samples that are kept, at most a month of them.
    fn raw_span(&self) -> i64 {
        i64::from(self.raw_days.min(31)) * 86_400 + 3600
    }

    fn now_s(&self) -> i64 {
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

fn ended(at: i64, failed: Option<String>) -> Option<LastTraining> {
    Some(LastTraining { at, failed })
}

/// No wait is longer: the clock of the schedule and the stop are looked at again.
const AT_MOST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use config::{LoadInputs, load};
    use vocab::SystemClock;

    #[test]
    fn a_training_is_asked_for_once_and_not_of_a_thread_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = load(&LoadInputs::default()).settings;
        settings.store.data_dir = dir.path().to_owned();
        let store = store::open(&settings.store, Arc::new(SystemClock::new())).store;
        let forecasting = Forecasting::new(&settings, &store).unwrap();
        let (trainer, training) = (forecasting.trainer(), forecasting.outlooks().training);
        assert_eq!(
            trainer.train(),
            Err("too few samples: 0 usable, 60 needed".to_owned())
        );
        let now = SystemClock::new().now().unix_s();
        (0..60).for_each(|i| store.sample(now - 120 + 2 * i, 1.0));
        assert_eq!(trainer.train(), Ok(()));
        assert_eq!(training.borrow().running, Some((0.0, "waiting")));
        assert_eq!(
            trainer.train(),
            Err("a training is under way already".to_owned())
        );
        trainer
            .training
            .send_modify(|training| training.running = None);
        drop(forecasting);
        assert_eq!(
            trainer.train(),
            Err("the forecast has ended: restart the service".to_owned())
        );
        assert_eq!(training.borrow().running, None, "nothing is under way");
    }
}
