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

pub mod feed;
pub mod gauges;
mod past;
mod speaking;
pub mod trainer;
mod training;

use std::sync::{Arc, atomic::Ordering, mpsc};

use tokio::sync::watch;
use tracing::{error, info};

use self::{
    feed::{Feed, Heard},
    past::Source,
    speaking::Speaking,
    trainer::Trainer,
    training::Trains,
};
use super::{shared::Shared, vitals::Health};
use config::Settings;
use forecast::{Metric, Outlooks, outlook::Training};
use store::Store;
use vocab::{Clock, reason::Undone};

/// Samples that may wait for the speaking thread.
const WAITING: usize = 1024;

/// The forecast before its threads run.
pub struct Forecasting {
    speaking: Speaking,
    training: Trains,
    outlooks: Outlooks,
}

impl Forecasting {
    /// A forecast by the options; None when it is switched off.
    pub fn new(settings: &Settings, store: &Store, clock: &Arc<dyn Clock>) -> Option<Self> {
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
            .inspect_err(|why| error!(error = %why, "there is no forecast"))
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
        let source = Source {
            store: store.clone(),
            clock: Arc::clone(clock),
            raw_days: settings.store.raw_days,
        };
        Some(Self {
            speaking: Speaking {
                valid: valid.clone(),
                interval: of.interval,
                source: source.clone(),
                heard,
                outlook,
            },
            training: Trains {
                valid,
                interval: of.train_interval,
                cpu: of.cpu,
                source,
                asked,
                trainer,
                tell,
                cancel: Arc::default(),
            },
            outlooks: Outlooks {
                outlook: outlook_seen,
                training: training_seen,
            },
        })
    }

    /// Where samples go.
    pub fn feed(&self) -> Feed {
        Feed(self.training.tell.clone())
    }

    /// Where it is read.
    pub fn outlooks(&self) -> Outlooks {
        self.outlooks.clone()
    }

    /// How a training is asked for.
    pub fn trainer(&self) -> Trainer {
        self.training.trainer.clone()
    }

    /// Starts both threads; they end with the stop.
    pub fn start(self, shared: &Shared) {
        let Self {
            speaking, training, ..
        } = self;
        let (tell, cancel) = (training.tell.clone(), Arc::clone(&training.cancel));
        let asks = training.trainer.asks.clone();
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
            shown.add(Undone::ThreadEnded { name });
        }
    };
    match std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
    {
        Ok(thread) => Some(thread),
        Err(error) => {
            let why = Undone::NoThread {
                name,
                error: error.into(),
            };
            error!("{why}");
            health.add(why);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use config::Settings;
    use vocab::{SystemClock, reason::Count};

    #[test]
    fn a_training_is_asked_for_once_and_not_of_a_thread_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.store.data_dir = dir.path().to_owned();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store = store::open(&settings.store, Arc::clone(&clock)).store;
        let forecasting = Forecasting::new(&settings, &store, &clock).unwrap();
        let (trainer, training) = (forecasting.trainer(), forecasting.outlooks().training);
        assert_eq!(
            trainer.train(),
            Err(Undone::TooFew {
                have: Count(0),
                need: Count(60)
            }
            .into())
        );
        let now = clock.now().unix_s();
        (0..60).for_each(|i| store.sample(now - 120 + 2 * i, 1.0));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(store.flush()).unwrap();
        assert_eq!(trainer.train(), Ok(()));
        assert_eq!(training.borrow().running, Some((0.0, "waiting")));
        assert_eq!(trainer.train(), Err(Undone::TrainingUnderWay.into()));
        trainer
            .training
            .send_modify(|training| training.running = None);
        drop(forecasting);
        assert_eq!(trainer.train(), Err(Undone::ForecastEnded.into()));
        assert_eq!(training.borrow().running, None, "nothing is under way");
    }
}
