//! What a person may ask of the process. `app` implements it; tests bring their own.

use std::{collections::BTreeMap, future::Future, net::IpAddr, pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use config::{Inputs, Layer, Problem};
use diary::Mark;
use meter::{
    EntityReport, Taken,
    direction::{Counters, SignVerdict},
};
use source::discover::Discovery;
use vocab::{
    PauseKind,
    reason::{Cause, Reason},
};

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
        /// The options that describe it, before others are laid over them.
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
    pub problems: Vec<Reason>,
    /// Under the Supervisor.
    pub app: bool,
    /// Keys whose change counts only after a restart, and were changed since the start.
    pub waiting: Vec<String>,
    /// Whether [`Owner::restart`] can do it.
    pub can_restart: bool,
}

impl Options {
    /// Whether values come from Home Assistant, not from a demo or a recording.
    #[must_use]
    pub fn reads_home_assistant(&self) -> bool {
        let source = self.values.get("source");
        source.is_none_or(|source| source == "home-assistant")
    }

    /// Layer that an option comes from.
    #[must_use]
    pub fn layer(&self, key: &str) -> Layer {
        self.layers.get(key).copied().unwrap_or(Layer::Default)
    }

    /// Whether what is chosen on the pages would not count.
    #[must_use]
    pub fn fixed(&self, key: &str) -> bool {
        self.layer(key).read_only()
    }
}

/// What became of a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changed {
    /// Keys that took effect at once.
    pub applied: Vec<String>,
    /// Keys that count after a restart.
    pub restart: Vec<String>,
    /// All keys that wait for a restart by now, those of earlier changes too.
    pub waiting: Vec<String>,
    /// Why the entities could not be looked up in Home Assistant.
    pub unchecked: Option<Reason>,
}

/// One run of the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Another one each time.
    pub id: String,
    /// Why the restart that was asked for does not come; `late`: nobody refused, but it did not
    /// come.
    pub failed: Option<Reason>,
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

/// Why the meter serves no value.
#[derive(Clone, Debug, PartialEq)]
pub enum NotServed {
    /// Its HTTP port is switched off, or not to be had.
    NoPort,
    /// It answers, without a value.
    NoValue,
    /// It answers with this HTTP status.
    Answered(u16),
    /// It cannot be asked.
    Failed(Cause),
}

/// What answers at an address of Home Assistant.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// The address without what was pasted around it.
    pub url: String,
    /// What the token lets in, or why not.
    pub found: Result<Arc<Discovery>, Reason>,
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

/// How the last test as one reader ended, of a meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// The reader's word.
    #[serde(rename = "as")]
    pub consumer: String,
    /// Unix time of its end, s.
    pub at: f64,
    /// Whether no step was red.
    pub passed: bool,
    /// Steps that were made or left out.
    pub steps: usize,
    /// Each red step and what is wrong with it, in English.
    pub failed: Vec<String>,
}

/// What is set at run time of a meter, and holds until it is set otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Control {
    /// The device's id.
    pub device: String,
    /// W, in force: import that a reader which regulates to 0 leaves.
    pub target_offset: f64,
    /// What the option says, W.
    pub target_offset_option: f64,
    /// Readers are not told what is measured.
    pub paused: bool,
    /// What they are told in a pause.
    pub pause_kind: PauseKind,
    /// Seconds until they are told again by themselves; none: until somebody says so, or a restart.
    pub resumes_in: Option<u64>,
    /// Products by address, of this meter, set at run time.
    pub profiles: BTreeMap<IpAddr, String>,
    /// Parts of the power by address, of all meters, set at run time.
    pub shares: BTreeMap<IpAddr, f64>,
}

/// A change of it; what is missing stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Steer {
    /// W; null: what the option says.
    #[serde(deserialize_with = "given")]
    pub target_offset: Option<Option<f64>>,
    /// Whether readers are told something else than what is measured.
    pub pause: Option<bool>,
    /// What, in this pause and in later ones.
    pub pause_kind: Option<PauseKind>,
    /// How long, minutes; without it until somebody says otherwise, or a restart.
    pub minutes: Option<f64>,
    /// Products by address, as `readers` calls them; null: what options say.
    pub profiles: BTreeMap<IpAddr, Option<String>>,
    /// Parts of the power by address, 0 to 1; null: what options say.
    pub shares: BTreeMap<IpAddr, Option<f64>>,
}

/// A member that is there, null or not.
fn given<'de, D: serde::Deserializer<'de>>(member: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(member).map(Some)
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

    /// What speaks against a change of options, without making it.
    fn check(&self, changes: Map<String, Value>) -> Doing<'_, Result<(), Refusal>>;

    /// The power that the first meter answers over its own HTTP port, W, and that port.
    fn served(&self) -> Doing<'_, Result<(f64, u16), NotServed>>;

    /// Tries an address and token of Home Assistant as they were typed; without a token that of the
    /// options.
    fn reach(&self, url: String, token: Option<String>) -> Doing<'_, Result<Reached, Reason>>;

    /// What each entity of a meter (by index) says.
    fn entities(&self, meter: usize) -> Doing<'_, Vec<EntityReport>>;

    /// Where a meter (by index) is asked by whoever tests it as this reader.
    fn target(&self, meter: usize, consumer: probe::Consumer) -> probe::Target;
    /// Keeps how a test of a meter ended.
    fn tested(&self, meter: usize, ended: Tested);

    /// What counters say of the signs of a meter's powers while it runs; empty where none can.
    fn signs(&self, meter: usize) -> Doing<'_, Vec<SignVerdict>>;

    /// Energy counters of a meter to 0.
    fn reset(&self, meter: usize) -> Doing<'_, Result<(), Reason>>;

    /// Energy counters of a meter become what its energy entities say now.
    fn seed(&self, meter: usize) -> Doing<'_, Result<Vec<Taken>, Vec<Reason>>>;

    /// What is set at run time of a meter, by index.
    fn control(&self, meter: usize) -> Control;

    /// Changes it.
    fn steer(&self, meter: usize, change: Steer) -> Doing<'_, Result<Control, Reason>>;
    /// What a person says of a reader: its name, and whether it must read. An error: there is none.
    fn mark_reader(&self, mark: Mark) -> Doing<'_, Result<(), ()>>;

    /// Trains the forecast's models in the background.
    fn train(&self) -> Doing<'_, Result<(), Reason>>;

    /// Asks for a restart of the process where somebody is there to start it again, and does not
    /// wait for it: the caller has to be answered before the process ends.
    ///
    /// # Errors
    /// When nobody is there to start it again.
    fn restart(&self) -> Result<(), Reason>;

    /// This run of the process, and what became of a restart that was asked for in it.
    fn run(&self) -> Run;

    /// Whether a user of Home Assistant, by id, is an administrator; `change`: the user wants to
    /// change something, so the answer must not be old.
    ///
    /// # Errors
    /// Why Home Assistant cannot be asked, of a user of whom nothing is known.
    fn administrator(&self, user: String, change: bool) -> Doing<'_, Result<bool, Reason>>;
}
