//! When models are trained, on what, and at whose expense.
//!
//! Samples are loaded and numbers crunched by a thread of their own at nice 10 and SCHED_IDLE,
//! which holds no lock that anybody waits for: it reads what is committed on a connection of its
//! own, and progress goes through a channel. At nice 10 alone a reply that comes while it computes
//! waits for a time slice (measured with a program that spins half of the time: a 99th percentile
//! of 1.7 ms instead of 0.2).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{debug, info, warn};

use super::{
    feed::{AT_MOST, Heard},
    past::{Loaded, Source},
    trainer::Trainer,
};
use forecast::{
    Error, Job, Progress, Trained,
    outlook::{LastTraining, Training},
    stored,
    trainer::{Incumbents, Series, Valid},
};
use store::{Model, StoreError};

/// Name of the models in the store.
const NAME: &str = "forecast";
/// Minute means looked at, s: the blend is fitted on 60 days.
const MINUTES: i64 = 75 * 86_400;
/// After a training that had too little to learn from, the next is not sooner than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// After one that failed, e.g. because a backup had the database.
const AFTER_FAILURE: Duration = Duration::from_secs(300);
/// Work of the training between two rests is at least this long: shorter ones cost more than they
/// give back.
const STINT: Duration = Duration::from_millis(5);

/// The thread that has models trained.
pub(super) struct Trains {
    pub valid: Valid,
    /// `model_train_interval`.
    pub interval: Duration,
    /// `forecast_cpu`, percent of a core.
    pub cpu: u8,
    pub source: Source,
    pub asked: Receiver<()>,
    pub trainer: Trainer,
    pub tell: SyncSender<Heard>,
    pub cancel: Arc<AtomicBool>,
}

impl Trains {
    pub(super) fn run(self) {
        background::be_nice();
        let mut speakers = self.restore();
        let (mut why, mut few_said) = ("at start", false);
        loop {
            let wait = self.once(why, &mut speakers, &mut few_said);
            self.change(|training| {
                training.next = Some(self.source.now_s() + wait.as_secs() as i64);
            });
            why = match self.wait(wait) {
                Some(why) => why,
                None => return,
            };
        }
    }

    /// Until the next by schedule, or until somebody asks; None at the stop.
    fn wait(&self, wait: Duration) -> Option<&'static str> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let heard = self.asked.recv_timeout(left.min(AT_MOST));
            if self.cancel.load(Ordering::Relaxed) {
                return None;
            }
            match heard {
                Ok(()) => return Some("by hand"),
                Err(RecvTimeoutError::Timeout) if left <= AT_MOST => return Some("by schedule"),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Training)) {
        self.trainer.training.send_modify(change);
    }

    /// The models of the last run speak until there are new ones; who they are.
    fn restore(&self) -> Option<Incumbents> {
        let blob = match self.source.store.get_model(NAME) {
            Ok(model) => model?.blob,
            Err(why) => {
                warn!(error = %why, "the stored forecast model cannot be read");
                return None;
            }
        };
        let valid = &self.valid;
        let restored = self.when_idle(
            |loaded, _| stored::restore(&blob, valid, &loaded.series()),
            |_| {},
        );
        match restored {
            Ok(trained) => {
                info!("forecast models of the last run speak on: {trained}");
                let speakers = trained.speakers();
                let _ = self.tell.send(Heard::Trained(Arc::new(trained), false));
                return speakers;
            }
            Err(Error::Cancelled) => {}
            Err(why) => info!("{why}: the models are trained anew"),
        }
        None
    }

    /// One training; gives how long until the next. `speakers`: who speaks before it, and after it.
    /// `few_said`: it was said that there is too little to learn from. While nothing is configured
    /// that stays so, and a line is enough.
    fn once(&self, why: &str, speakers: &mut Option<Incumbents>, few_said: &mut bool) -> Duration {
        self.change(|training| (training.running, training.next) = (Some((0.0, "loading")), None));
        let (valid, incumbents, again) = (&self.valid, *speakers, *few_said);
        let train = |loaded: &Loaded, job: &mut Job<'_>| {
            let begins = format!(
                "forecast training starts ({why}): {} samples, {} minutes",
                loaded.s2.len(),
                loaded.m1.len()
            );
            if again {
                debug!("{begins}");
            } else {
                info!("{begins}");
            }
            debug!("training inputs: {}", loaded.describe());
            forecast::train(&loaded.series(), valid, incumbents, job)
        };
        let result = self.when_idle(train, |now| {
            self.change(|training| training.running = Some((now.fraction, now.stage)));
        });
        let now = self.source.now_s();
        let (last, wait) = match result {
            Ok(trained) => {
                *few_said = false;
                info!("forecast trained: {trained}");
                self.keep(&trained);
                *speakers = trained.speakers();
                let _ = self.tell.send(Heard::Trained(Arc::new(trained), true));
                (ended(now, None), self.interval)
            }
            Err(Error::Cancelled) => (None, self.interval),
            Err(few @ Error::TooFew { have, need }) => {
                if std::mem::replace(few_said, true) {
                    debug!("forecast training skipped: {few}");
                } else {
                    info!(
                        "forecast training skipped: {few}; it begins by itself when there are enough"
                    );
                }
                let missing =
                    need.saturating_sub(have) as u64 * u64::from(self.valid.horizons()[0].step);
                let wait =
                    Duration::from_secs(missing).clamp(PATIENCE, self.interval.max(PATIENCE));
                (ended(now, Some(few)), wait)
            }
            Err(why) => {
                let wait = self.interval.min(AFTER_FAILURE);
                warn!(
                    error = %why,
                    "forecast training failed, the next is in {} s",
                    wait.as_secs()
                );
                (ended(now, Some(why)), wait)
            }
        };
        self.change(|training| {
            training.running = None;
            training.last = last.or(training.last.take());
        });
        wait
    }

    /// Loads the samples and works on them on a thread that runs when nobody else wants to; `show`
    /// is told how far it is.
    fn when_idle<T: Send>(
        &self,
        work: impl FnOnce(&Loaded, &mut Job<'_>) -> Result<T, Error> + Send,
        show: impl Fn(Progress),
    ) -> Result<T, Error> {
        let unreadable = |why: StoreError| Error::Library(why.to_string());
        let newest = self.source.newest().map_err(unreadable)?;
        let (report, progress) = mpsc::channel();
        thread::scope(|scope| {
            let (source, cancel, cpu) = (&self.source, &*self.cancel, self.cpu);
            let work = move || {
                lower_priority();
                let loaded = source
                    .load(newest, source.raw_span(), MINUTES, cancel, |busy| {
                        rest(cpu, busy);
                    })
                    .map_err(unreadable)?;
                if cancel.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled);
                }
                let (mut since, mut shown) = (
                    Instant::now(),
                    Progress {
                        fraction: 0.0,
                        stage: "",
                    },
                );
                let mut report = |now: Progress| {
                    // Each message wakes a thread: only those that show.
                    if now.stage != shown.stage || now.fraction - shown.fraction >= 0.01 {
                        shown = now;
                        let _ = report.send(now);
                    }
                    let busy = since.elapsed();
                    if busy >= STINT {
                        rest(cpu, busy);
                        since = Instant::now();
                    }
                };
                work(&loaded, &mut Job::new(cancel, &mut report))
            };
            let worker = thread::Builder::new()
                .name("train".to_owned())
                .spawn_scoped(scope, work);
            let worker = worker.map_err(|e| {
                Error::Library(format!("the training's thread cannot be started: {e}"))
            })?;
            // Ends when the worker is done, and its end of the channel with it.
            progress.iter().for_each(show);
            worker
                .join()
                .unwrap_or_else(|_| Err(Error::Library("the training broke off".to_owned())))
        })
    }

    fn keep(&self, trained: &Trained) {
        match stored::to_bytes(trained) {
            Ok(blob) => {
                let names: Vec<_> = trained
                    .horizons
                    .iter()
                    .map(|h| format!("\"{}\":\"{}\"", h.id.name(), h.model()))
                    .collect();
                let meta = format!("{{\"trained_at\":{},{}}}", trained.at, names.join(","));
                self.source.store.put_model(NAME, Model { meta, blob });
            }
            Err(why) => warn!(error = %why, "the forecast models cannot be kept over a restart"),
        }
    }
}

impl Loaded {
    fn series(&self) -> Series<'_> {
        Series {
            s2: &self.s2,
            m1: &self.m1,
            now: self.now,
        }
    }

    fn describe(&self) -> String {
        let span = |of: &[forecast::Sample]| match of {
            [] => "none".to_owned(),
            [first, .., last] => format!(
                "{} from {} to {}, {:.1} … {:.1} W",
                of.len(),
                first.ts,
                last.ts,
                first.w,
                last.w
            ),
            [only] => format!("1 at {}, {:.1} W", only.ts, only.w),
        };
        format!("samples: {}; minutes: {}", span(&self.s2), span(&self.m1))
    }
}

/// After so much work: leaves the core to others, so that `cpu` percent of it are taken.
fn rest(cpu: u8, busy: Duration) {
    let cpu = f64::from(cpu.clamp(1, 100));
    thread::sleep(busy.mul_f64((100.0 - cpu) / cpu));
}

fn ended(at: i64, failed: Option<forecast::Error>) -> Option<LastTraining> {
    Some(LastTraining { at, failed })
}

/// This thread works when nobody else wants to.
fn lower_priority() {
    use thread_priority::{
        NormalThreadSchedulePolicy::Idle, ThreadPriority, ThreadSchedulePolicy::Normal,
        set_thread_priority_and_policy, thread_native_id,
    };
    if let Err(error) =
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, Normal(Idle))
    {
        debug!(error = ?error, "the training is not scheduled as idle");
    }
    // After the policy, whose change sets it to 0.
    background::be_nice();
}
