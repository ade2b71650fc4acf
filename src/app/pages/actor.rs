//! Who acts for a person: the parts of the process that a change reaches.

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::super::{
    choice::Choice, forecasting::trainer::Trainer, running::Running, shared::Shared, sign::Signs,
    taker::Taker, users::Users, watching::Marked,
};
use crate::{logging::LevelHandle, supervisor::Supervisor};
use config::{LoadInputs, Resolved};
use source::discover::Discovery;
use vocab::reason::Reason;

/// Acts for a person.
pub struct Actor {
    pub(super) shared: Shared,
    pub(super) meters: Arc<[Running]>,
    pub(super) macs: Vec<String>,
    pub(super) taker: Taker,
    pub(super) supervisor: Option<Supervisor>,
    pub(super) setup: Choice,
    pub(super) trainer: Option<Trainer>,
    pub(super) log: LevelHandle,
    /// One change at a time.
    pub(super) inputs: tokio::sync::Mutex<LoadInputs>,
    pub(super) started: Resolved,
    pub(super) current: Mutex<(Resolved, Map<String, Value>)>,
    /// Until when it is good.
    pub(super) found: tokio::sync::Mutex<Option<(Instant, Arc<Discovery>)>>,
    /// Another text in each run of the process.
    pub(super) run: String,
    pub(super) restart: watch::Sender<Restart>,
    pub(super) users: Users,
    pub(super) signs: Signs,
    pub(super) marker: mpsc::Sender<Marked>,
}

/// A restart that a person asked for.
#[derive(Clone, Default)]
pub(super) struct Restart {
    pub(super) asked: Option<Instant>,
    pub(super) failed: Option<Reason>,
}
