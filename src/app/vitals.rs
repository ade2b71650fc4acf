//! How the process is, for `/healthz`, `/livez`, the control socket and the health page (`decisions.md` C19).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::forecasting::gauges;
use crate::{
    forecast::Outlooks,
    store::{Store, StoreState},
    transport::{healthz::Vitals, metrics::Gauge},
};

/// The tasks of the process and what is wrong with it.
#[derive(Clone)]
pub struct Health {
    store: Store,
    forecast: Outlooks,
    /// Found when the store was opened; they stay until the stop, or until a folder that could not be used can.
    opening: Arc<[String]>,
    /// The store began without its folder.
    homeless: bool,
    problems: Arc<Mutex<Vec<String>>>,
    /// By meter, what is wrong with its inputs.
    meters: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
    dead: Arc<Mutex<Vec<&'static str>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Health {
    /// Nothing wrong yet but what was found when the store was opened.
    #[must_use]
    pub fn new(store: Store, opening: &[String], forecast: Outlooks, stop: CancellationToken) -> Self {
        let homeless = matches!(store.health().state, StoreState::InMemory { .. });
        Self {
            store,
            opening: opening.into(),
            homeless,
            forecast,
            problems: Arc::default(),
            meters: Arc::default(),
            dead: Arc::default(),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    /// Adds a line that stays until [`Self::replace`].
    pub fn add(&self, line: impl Into<String>) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(line.into());
    }

    /// Replaces all lines, when options were read anew.
    pub fn replace(&self, lines: Vec<String>) {
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// What is wrong with the inputs of a meter; its key is empty for the first.
    pub fn set_meter(&self, key: &str, lines: Vec<String>) {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            meters.remove(key);
        } else {
            meters.insert(key.to_owned(), lines);
        }
    }

    /// Starts a task that has to live until the stop; one that ends before makes the process unhealthy.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (dead, stop) = (Arc::clone(&self.dead), self.stop.clone());
        self.tasks.spawn(async move {
            // A panic in one task is that task's end, not the process's.
            let ended = tokio::spawn(task).await;
            if !stop.is_cancelled() {
                error!("the {name} task ended by itself ({})", ended.err().map_or_else(|| "returned".to_owned(), |e| e.to_string()));
                dead.lock().unwrap_or_else(PoisonError::into_inner).push(name);
            }
        });
    }

    /// Starts a task that may end when it has done its work.
    pub fn spawn_work(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits for all tasks.
    pub async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Vitals for Health {
    fn problems(&self) -> Vec<String> {
        let mut lines = self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (key, of) in &*self.meters.lock().unwrap_or_else(PoisonError::into_inner) {
            lines.extend(of.iter().map(|line| if key.is_empty() { line.clone() } else { format!("{key}: {line}") }));
        }
        let state = self.store.health().state;
        if !self.homeless || matches!(state, StoreState::InMemory { .. }) {
            lines.extend(self.opening.iter().cloned());
        }
        match state {
            StoreState::Ok | StoreState::Frozen => {}
            // What opening the store found wrong mostly says so itself.
            StoreState::InMemory { reason } if lines.contains(&reason) => {}
            StoreState::InMemory { reason } => lines.push(format!("nothing is kept over a restart: {reason}")),
            StoreState::Failing { reason, .. } => lines.push(format!("the database cannot be written: {reason}")),
        }
        lines
    }

    fn gauges(&self) -> Vec<Gauge> {
        gauges::of(&self.forecast.outlook.borrow(), &self.forecast.training.borrow())
    }

    fn alive(&self) -> Result<(), String> {
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = dead.first() {
            return Err(format!("the {name} task is gone"));
        }
        if self.store.alive() { Ok(()) } else { Err("the store's writer does not respond".to_owned()) }
    }
}
