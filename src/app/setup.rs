//! Nothing configured? Home Assistant's Energy settings know the grid sensors (`decisions.md` C11).
//!
//! What was found is kept as state and used until options name entities. Later changes of the Energy settings
//! only give a notice: a meter that a battery obeys does not change its sensors by itself.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    choice::{inputs_of, options_of},
    start::Taker,
};
use crate::{
    config::{Inputs, SourceSettings},
    source::{
        Access, EntityId, HaFacts,
        discover::{Discovery, discover},
    },
    store::Store,
};

/// Key of the store.
const KEY: &str = "setup";
/// Most candidates that are listed in the log.
const LISTED: usize = 12;

/// How far the set-up is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Setup {
    /// Options name the entities.
    #[default]
    ByOptions,
    /// Nothing is known yet.
    Searching,
    /// Chosen by itself, not confirmed by anybody.
    Chosen {
        /// The options that describe it.
        options: Map<String, Value>,
        /// In words.
        words: String,
        /// The Energy settings say something else by now.
        differs: bool,
    },
    /// Home Assistant has nothing that could be taken without asking.
    Nothing,
}

/// What was chosen in an earlier run.
#[must_use]
pub fn kept(store: &Store) -> Option<(Inputs, Setup)> {
    let options: Map<String, Value> = serde_json::from_str(&store.get_state(KEY)?).ok()?;
    let inputs = inputs_of(&options);
    inputs.any_power().then(|| {
        let words = words(&options);
        info!("nothing is configured: going on with the entities chosen before, {words}; the options total_power or a_power … change that");
        (inputs, Setup::Chosen { options, words, differs: false })
    })
}

fn words(options: &Map<String, Value>) -> String {
    options
        .iter()
        .map(|(key, value)| format!("{key} = {}", value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a search works with.
pub struct Search {
    /// How to ask.
    pub source: SourceSettings,
    /// Where to ask.
    pub access: Access,
    /// MACs of ours: their entities are no inputs.
    pub macs: Vec<String>,
    /// Tells when Home Assistant runs.
    pub facts: watch::Receiver<HaFacts>,
    /// What is chosen is kept there.
    pub store: Store,
    /// How far it is.
    pub state: watch::Sender<Setup>,
    /// The end.
    pub stop: CancellationToken,
}

impl Search {
    /// Asks each time Home Assistant has come up: for the first choice, later for a difference.
    pub async fn run(mut self, taker: Taker) {
        let mut told = false;
        let mut pause = Duration::from_secs(2);
        loop {
            let asked = tokio::select! {
                () = self.stop.cancelled() => return,
                asked = discover(&self.source, &self.access, &self.macs, &[]) => asked,
            };
            match asked {
                Ok(found) if found.is_running() => {
                    if let Some(inputs) = self.weigh(&found, &mut told) {
                        taker.take(inputs).await;
                    }
                    pause = Duration::from_secs(300);
                }
                Ok(_) => pause = Duration::from_secs(5),
                Err(error) => {
                    debug!("set-up: {error}");
                    pause = (pause * 2).min(Duration::from_secs(60));
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = running(&mut self.facts) => pause = Duration::from_secs(2),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn weigh(&self, found: &Discovery, told: &mut bool) -> Option<Inputs> {
        let current = self.state.borrow().clone();
        let Some(proposal) = &found.grid else {
            if !*told && matches!(current, Setup::Searching | Setup::Nothing) {
                *told = true;
                tell_candidates(found);
                self.state.send_replace(Setup::Nothing);
            }
            return None;
        };
        let options = options_of(&proposal.inputs);
        match current {
            Setup::ByOptions => None,
            Setup::Chosen { options: old, words, differs } => {
                let now_differs = old != options;
                if now_differs && !differs {
                    warn!(
                        "the Energy settings of Home Assistant name other sensors by now ({}); the meter keeps {words}; \
                        confirm either on the dashboard or name them in the options",
                        self::words(&options)
                    );
                }
                if now_differs != differs {
                    self.state.send_replace(Setup::Chosen { options: old, words, differs: now_differs });
                }
                None
            }
            Setup::Searching | Setup::Nothing => {
                info!("nothing is configured: took {}; to change it, set total_power or a_power, b_power, c_power", proposal.describe());
                if let Ok(text) = serde_json::to_string(&options) {
                    self.store.put_state(KEY, &text);
                }
                let words = words(&options);
                self.state.send_replace(Setup::Chosen { options, words, differs: false });
                Some(proposal.inputs.clone())
            }
        }
    }
}

fn tell_candidates(found: &Discovery) {
    let line = |c: &crate::source::discover::Candidate| format!("{} ({} {})", c.entity_id, c.value, c.unit.as_deref().unwrap_or("no unit"));
    let powers: Vec<String> =
        found.candidates.iter().filter(|c| c.kind == Some(crate::source::discover::Kind::Power)).take(LISTED).map(line).collect();
    let list = if powers.is_empty() { "there is no power sensor in Home Assistant".to_owned() } else { powers.join(", ") };
    warn!(
        "nothing is configured, and the Energy settings of Home Assistant name no grid power sensor: set total_power or a_power, b_power, c_power; candidates: {list}"
    );
}

/// Ends when Home Assistant has come up anew.
async fn running(facts: &mut watch::Receiver<HaFacts>) {
    let is_up = |f: &HaFacts| f.state.as_deref() == Some("RUNNING");
    let mut was = is_up(&facts.borrow_and_update());
    loop {
        if facts.changed().await.is_err() {
            return std::future::pending().await;
        }
        let up = is_up(&facts.borrow_and_update());
        if up && !was {
            return;
        }
        was = up;
    }
}

/// The entities of all meters, for the source.
#[must_use]
pub fn union<'a>(inputs: impl IntoIterator<Item = &'a Inputs>) -> Arc<[EntityId]> {
    let mut all: Vec<EntityId> = inputs.into_iter().flat_map(Inputs::entities).collect();
    all.sort();
    all.dedup();
    all.into()
}
