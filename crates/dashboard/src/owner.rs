//! What a person may ask of the process. `app` implements it; tests bring their own.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value};

use config::{Inputs, Layer, Problem};
use meter::{
    EntityReport, Taken,
    direction::{Counters, SignVerdict},
};
use source::discover::Discovery;
use vocab::reason::Reason;

/// Something that takes a while.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How far the set-up is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SetupState {
    /// Options name the entities, or the source needs none.
    #[default]
    ByOptions,
    /// Home Assistant has not answered yet.
    Searching,
    /// Chosen by itself, not confirmed by anybody.
    Chosen {
        /// The option keys that describe it.
        options: Map<String, Value>,
        /// The Energy settings say something else by now.
        differs: bool,
    },
    /// Nothing could be taken without asking.
    Nothing,
}

/// The options in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Effective values, secrets as `***`.
    pub values: BTreeMap<String, Value>,
    /// Where each comes from; what is missing is default.
    pub layers: BTreeMap<String, Layer>,
    /// What the options file holds, secrets as `***`.
    pub chosen: Map<String, Value>,
    /// What is wrong, a line each.
    pub problems: Vec<String>,
    /// Under the Supervisor.
    pub app: bool,
    /// Keys whose change counts only after a restart, and were changed since the start.
    pub waiting: Vec<String>,
    /// Whether [`Owner::restart`] can do it.
    pub can_restart: bool,
}

/// What became of a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changed {
    /// Keys that took effect at once.
    pub applied: Vec<String>,
    /// Keys that count after a restart.
    pub restart: Vec<String>,
    /// Why the entities could not be looked up in Home Assistant.
    pub unchecked: Option<Reason>,
}

/// One run of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Another one each time.
    pub id: String,
    /// Why the restart that was asked for does not come; `late`: nobody refused, but it did not
    /// come.
    pub failed: Option<String>,
    /// It was asked for long ago.
    pub late: bool,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// These values are wrong.
    Problems(Vec<Problem>),
    /// These may be meant: the same again with `anyway` makes them.
    Ask(Vec<Problem>),
    /// It could not be written, or Home Assistant could not be asked.
    Failed(Reason),
}

/// One phase of a preview.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PreviewPhase {
    /// W, + import; absent without a value.
    pub w: Option<f64>,
    /// Nothing is configured for it.
    pub unused: bool,
    /// Why there is no value.
    pub reason: Option<Reason>,
}

/// What energy counters say of the sign of a power.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sign {
    /// `total`, or `a`, `b`, `c`: the powers that it is about.
    pub turn: Vec<&'static str>,
    /// Whether the sign is right.
    pub verdict: SignVerdict,
    /// By which counters.
    pub counters: Counters,
    /// What the contradiction is.
    pub line: Option<Reason>,
}

/// What the meter would serve with other inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// W, + import; `None` while a used phase has no value.
    pub total: Option<f64>,
    /// L1 to L3.
    pub phases: [PreviewPhase; 3],
    /// What is known of the signs, a contradiction first; empty where there are no counters.
    pub signs: Vec<Sign>,
}

/// What a person may ask of the process.
pub trait Owner: Send + Sync {
    /// How far the set-up is.
    fn setup(&self) -> SetupState;

    /// The options in force; never waits.
    fn options(&self) -> Options;

    /// The option keys that describe these inputs.
    fn options_of(&self, inputs: &Inputs) -> Map<String, Value>;

    /// Sensors that could be inputs.
    fn discover(&self) -> Doing<'_, Result<Arc<Discovery>, Reason>>;

    /// What the first meter would serve with these input options, from the sensors' present values.
    fn preview(&self, inputs: Map<String, Value>) -> Doing<'_, Result<Preview, Refusal>>;

    /// Makes these the first meter's power inputs, in the options; other power inputs go. `anyway`:
    /// what is doubtful too.
    fn take(&self, inputs: Map<String, Value>, anyway: bool)
    -> Doing<'_, Result<Changed, Refusal>>;

    /// Changes options; null takes a key out. `anyway`: what is doubtful too.
    fn change(
        &self,
        changes: Map<String, Value>,
        anyway: bool,
    ) -> Doing<'_, Result<Changed, Refusal>>;

    /// What each entity of a meter (by index) says.
    fn entities(&self, meter: usize) -> Doing<'_, Vec<EntityReport>>;

    /// Energy counters of a meter to 0.
    fn reset(&self, meter: usize) -> Doing<'_, Result<(), String>>;

    /// Energy counters of a meter become what its energy entities say now.
    fn seed(&self, meter: usize) -> Doing<'_, Result<Vec<Taken>, Vec<Reason>>>;

    /// Trains the forecast's models in the background.
    fn train(&self) -> Doing<'_, Result<(), String>>;

    /// Asks for a restart of the process where somebody is there to start it again, and does not
    /// wait for it: the caller has to be answered before the process ends.
    ///
    /// # Errors
    /// When nobody is there to start it again.
    fn restart(&self) -> Result<(), String>;

    /// This run of the process, and what became of a restart that was asked for in it.
    fn run(&self) -> Run;

    /// Whether a user of Home Assistant, by id, is an administrator; `change`: the user wants to
    /// change something, so the answer must not be old.
    ///
    /// # Errors
    /// Why Home Assistant cannot be asked, of a user of whom nothing is known.
    fn administrator(&self, user: String, change: bool) -> Doing<'_, Result<bool, String>>;
}
