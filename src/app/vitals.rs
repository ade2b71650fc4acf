//! How the process is, for `/healthz`, `/livez`, the control socket and the health page
//! (`docs/decisions.md#alive-and-ready`).

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error};

use super::forecasting::gauges;
use forecast::Outlooks;
use store::{SetAside, Store, StoreHealth, StoreState};
use transport::{healthz::Vitals, metrics::Gauge};
use vocab::reason::{Reason, Unkept};

/// How long a damaged database that was set aside is reason to be `degraded`. All works again with
/// the new one, so nothing but a stop would end it; but its charts are lost, and a monitor that
/// looks once a day has to see that. The line itself stays on the pages and among the `problems`
/// until the stop.
const SET_ASIDE: Duration = Duration::from_secs(24 * 3_600);

/// Most lines that are told and no fault.
const TOLD_MAX: usize = 16;

/// What a reader and the owner are told while it is not known whether a password was set.
pub fn locked() -> Reason {
    Unkept::PasswordUnknown.into()
}

/// A reason with the name of its meter; the first's key is empty.
pub(super) fn of_meter(key: &str, why: Reason) -> Reason {
    if key.is_empty() { why } else { why.of(key) }
}

/// What a panic elsewhere left half done is no reason not to tell.
pub(super) fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task on the heap.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The tasks of the process and what is wrong with it.
#[derive(Clone)]
pub struct Health {
    store: Store,
    forecast: Outlooks,
    /// Found when the store was opened; they stay until the stop, or until a folder that could not
    /// be used can.
    opening: Arc<[Reason]>,
    /// The store began without its folder.
    started_in_memory: bool,
    known: Arc<Mutex<Known>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What is known to be wrong, and who said it.
#[derive(Default)]
struct Known {
    problems: Vec<Reason>,
    /// What the owner should know although all works.
    told: Vec<Reason>,
    /// By meter, what is wrong with its inputs.
    meters: BTreeMap<String, Vec<Reason>>,
    /// Why the set-up did not take a power: its counters say the opposite.
    direction: Vec<Reason>,
    /// Meters of which nobody knows whether a password was set.
    locked: BTreeSet<String>,
    /// The first task that ended by itself.
    dead: Option<&'static str>,
}

impl Health {
    /// Nothing wrong yet but what was found when the store was opened.
    pub fn new(
        store: Store,
        opening: &[Reason],
        forecast: Outlooks,
        stop: CancellationToken,
    ) -> Self {
        let started_in_memory = matches!(store.health().state, StoreState::InMemory { .. });
        Self {
            store,
            opening: opening.into(),
            started_in_memory,
            forecast,
            known: Arc::default(),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        held(&self.known)
    }

    /// Adds what stays until [`Self::replace`].
    pub fn add(&self, why: impl Into<Reason>) {
        self.known().problems.push(why.into());
    }

    /// Replaces all of it, when options were read anew.
    pub fn replace(&self, lines: Vec<Reason>) {
        self.known().problems = lines;
    }

    /// Adds what says of something that is well again what an owner should know; false if it
    /// is there already.
    pub fn tell(&self, line: impl Into<Reason>) -> bool {
        let line = line.into();
        let told = &mut self.known().told;
        let new = !told.contains(&line);
        if new {
            told.push(line);
            let over = told.len().saturating_sub(TOLD_MAX);
            told.drain(..over);
        }
        new
    }

    /// Takes it back.
    pub fn untell(&self, line: &Reason) {
        self.known().told.retain(|told| told != line);
    }

    /// What is wrong with the inputs of a meter; its key is empty for the first.
    pub fn set_meter(&self, key: &str, lines: Vec<Reason>) {
        self.known().meters.insert(key.to_owned(), lines);
    }

    /// What the set-up found contradicted.
    pub fn set_direction(&self, lines: Vec<Reason>) {
        self.known().direction = lines;
    }

    /// Whether changes of a meter are refused because its settings were lost.
    pub fn set_locked(&self, key: &str, locked: bool) {
        let all = &mut self.known().locked;
        if locked {
            all.insert(key.to_owned());
        } else {
            all.remove(key);
        }
    }

    /// Starts a task that has to live until the stop; one that ends before makes the process
    /// unhealthy.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_boxed(name, Box::pin(task));
    }

    /// A task is some hundred kilobytes: each wrapping of one that is not boxed would take as much of
    /// the main thread's stack, which stays resident.
    fn spawn_boxed(&self, name: &'static str, task: Task) {
        let (known, stop) = (Arc::clone(&self.known), self.stop.clone());
        // What it logs carries what the span says that it is started in, such as its meter.
        let task = task.in_current_span();
        let watched = async move {
            // A panic in one task is that task's end, not the process's.
            let ended = tokio::spawn(task).await;
            if !stop.is_cancelled() {
                let error = ended.err().map(tracing::field::display);
                error!(task = name, error, "a task ended by itself");
                held(&known).dead.get_or_insert(name);
            }
        };
        self.tasks.spawn(watched.in_current_span());
    }

    /// The same of one that has nothing to save or to take back: the stop ends it wherever it waits.
    pub fn spawn_until_stop(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (stop, task): (_, Task) = (self.stop.clone(), Box::pin(task));
        let until_stop = async move {
            let _ = stop.run_until_cancelled(task).await;
        };
        self.spawn_boxed(name, Box::pin(until_stop));
    }

    /// Starts a task that may end when it has done its work.
    pub fn spawn_work(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task: Task = Box::pin(task);
        self.tasks.spawn(task.in_current_span());
    }

    /// Waits for all tasks.
    pub async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Vitals for Health {
    fn problems(&self) -> Vec<Reason> {
        let StoreHealth {
            state, set_aside, ..
        } = self.store.health();
        let known = self.known();
        let mut lines = known.problems.clone();
        for (key, of) in &known.meters {
            lines.extend(of.iter().map(|line| of_meter(key, line.clone())));
        }
        lines.extend(known.direction.iter().cloned());
        lines.extend(known.locked.iter().map(|key| of_meter(key, locked())));
        if !self.started_in_memory || matches!(state, StoreState::InMemory { .. }) {
            lines.extend(self.opening.iter().cloned());
        }
        match state {
            StoreState::Ok | StoreState::Frozen => {}
            // What opening the store found wrong mostly says so itself.
            StoreState::InMemory { reason } if lines.contains(&reason) => {}
            StoreState::InMemory { reason } => {
                let why = Arc::new(reason);
                lines.push(Unkept::InMemory { why }.into());
            }
            StoreState::Failing { reason, .. } => {
                let why = Arc::new(reason);
                lines.push(Unkept::Failing { why }.into());
            }
        }
        lines.extend(known.told.iter().cloned());
        drop(known);
        if let Some(n) = self.store.hangs().max(background::hangs()) {
            lines.push(Unkept::DiskHangs { n }.into());
        }
        for SetAside { line, .. } in set_aside {
            // Found when the store was opened, or since.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    fn degraded(&self) -> bool {
        let set_aside = self.store.health().set_aside.into_iter();
        let long_ago = set_aside.filter(|s| s.age >= SET_ASIDE);
        let mut over: Vec<Reason> = long_ago.map(|s| s.line).collect();
        over.extend(self.known().told.iter().cloned());
        self.problems().iter().any(|line| !over.contains(line))
    }

    fn gauges(&self) -> Vec<Gauge> {
        gauges::of(
            &self.forecast.outlook.borrow(),
            &self.forecast.training.borrow(),
        )
    }

    fn alive(&self) -> Result<(), String> {
        let dead = self.known().dead;
        match dead {
            Some(name) => Err(format!("the {name} task is gone")),
            None if self.store.alive() => Ok(()),
            None => Err("the store's writer does not respond".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use config::{Settings, settings::StoreSettings};
    use store::{DATABASE_FILE, open};
    use vocab::reason::{Input, Renamed};
    use vocab::{Clock, EntityId, Now};

    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Now {
            Now::default()
                .plus(Duration::from_secs(1_800_000_000))
                .plus(*self.0.lock().unwrap())
        }
    }

    fn removed() -> Reason {
        let entity = EntityId::from_static("sensor.a");
        Renamed::Removed { entity }.into()
    }

    #[test]
    fn a_database_set_aside_is_told_until_the_stop_and_degrades_for_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(DATABASE_FILE);
        std::fs::write(file, "no database at all ".repeat(400)).unwrap();
        let clock = Arc::new(Hand(Mutex::default()));
        let settings = StoreSettings {
            data_dir: dir.path().into(),
            ..Settings::default().store
        };
        let opened = open(&settings, clock.clone());
        let found = opened.problems;
        let stop = CancellationToken::new();
        let health = Health::new(opened.store, &found, Outlooks::none(), stop);
        assert_eq!((health.problems().len(), health.degraded()), (1, true));
        *clock.0.lock().unwrap() += SET_ASIDE;
        assert_eq!((health.problems(), health.degraded()), (found, false));
        let line = health.problems()[0].to_string();
        assert!(line.contains(".damaged-1800000000") && line.contains("charts start anew"));
        assert!(health.tell(removed()) && !health.tell(removed()));
        assert_eq!(health.problems().len(), 2, "told, and no fault");
        assert!(!health.degraded(), "told, and no fault");
        health.untell(&removed());
        assert_eq!(health.problems().len(), 1);
        health.add(Input::NoPower);
        assert!(health.degraded());
    }
}
