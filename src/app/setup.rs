//! Nothing configured? Home Assistant's Energy settings know the grid sensors
//! (`docs/decisions.md#nothing-configured`).
//!
//! What was found is kept as state and used until options name entities; the other input options
//! lie over it. Later changes of the Energy settings only give a notice: a meter that a battery
//! obeys does not change its sensors by itself. Only what is gone from Home Assistant together with
//! the settings that named it is chosen anew, as long as nobody confirmed it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::{
    choice::{Choice, KEY, Setup, inputs_of, laid, options_of},
    direction::refuse_contradicted,
    kept,
    shared::Shared,
    sign::Contradicted,
    taker::Taker,
    vitals::held,
};
use config::Inputs;
use source::{
    HaFacts,
    discover::{Candidate, Discovery, discover},
    prefs_watch,
};
use vocab::reason::{Quantity, Reason};

/// Key of what counters contradicted while it was served.
const REFUSED: &str = "setup_refused";
/// How often a choice that nobody confirmed is looked at for that.
const LOOK: Duration = Duration::from_secs(5);
/// Most candidates that are listed in the log.
const LISTED: usize = 12;

fn words(options: &Map<String, Value>) -> String {
    let word = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!("{key} = {text}"),
        other => format!("{key} = {other}"),
    };
    options.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// What a search works with.
pub struct Search {
    /// What all parts share.
    pub shared: Shared,
    /// MACs of ours: their entities are no inputs.
    pub macs: Vec<String>,
    /// How far it is.
    pub choice: Choice,
}

/// A choice that counters contradicted: it is not taken again, also not by the next start, unless
/// somebody says so.
#[derive(Debug, Serialize, Deserialize)]
struct Refused {
    options: Map<String, Value>,
    line: String,
    /// What `line` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    against: Option<Contradicted>,
}

impl Search {
    /// Asks each time Home Assistant has come up: for the first choice, later for a difference,
    /// until options name entities.
    pub async fn run(self, taker: Taker) {
        let mut facts = self.shared.facts.clone();
        self.go_on(&taker).await;
        let mut refused: Option<Refused> = kept::get(&self.shared.store, REFUSED);
        let mut told = false;
        let mut pause = Duration::from_secs(2);
        while *self.choice.state.borrow() != Setup::ByOptions {
            let chosen = match &*self.choice.state.borrow() {
                Setup::Chosen { options, .. } => inputs_of(options).entities(),
                _ => Vec::new(),
            };
            let (source, access) = (self.shared.source(), &self.shared.access);
            let mut seen = None;
            match discover(source, access, &self.macs, &chosen).await {
                Ok(mut found) if found.is_running() => {
                    self.prove(&mut found, &taker, refused.as_ref()).await;
                    let said = self.choice.said.lock().await;
                    if let Some(inputs) = said
                        .as_ref()
                        .and_then(|said| self.weigh(&found, said, &mut told))
                    {
                        taker.take(inputs).await;
                    }
                    pause = Duration::from_secs(300);
                    seen = Some(found.prefs);
                }
                Ok(_) => pause = Duration::from_secs(5),
                Err(error) => {
                    debug!(%error, "the set-up cannot ask Home Assistant");
                    pause = (pause * 2).min(Duration::from_secs(60));
                }
            }
            tokio::select! {
                () = running(&mut facts) => pause = Duration::from_secs(2),
                () = changed(&self.shared, seen) => told = false,
                () = by_options(&self.choice.state) => {}
                (options, against) = contradicted(&self.choice.state, &taker) => {
                    self.withdraw(&against, &taker).await;
                    let line = against.why().to_string();
                    let new = Refused { options, line, against: Some(against) };
                    kept::put(&self.shared.store, REFUSED, &new);
                    refused = Some(new);
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.shared.health.set_direction(Vec::new());
        std::future::pending::<()>().await;
    }

    /// Leaves out what the counters contradict; what was chosen before and turns out so is
    /// withdrawn, as nobody confirmed it.
    async fn prove(&self, found: &mut Discovery, taker: &Taker, refused: Option<&Refused>) {
        let Some(options) = found
            .grid
            .as_ref()
            .map(|proposal| options_of(&proposal.inputs))
        else {
            return;
        };
        if let Some(refused) = refused.filter(|refused| refused.options == options) {
            found.grid = None;
            let why = match &refused.against {
                Some(against) => {
                    self.withhold(against, taker).await;
                    against.why()
                }
                None => Reason::foreign(&*refused.line),
            };
            found.notes.push(why.clone());
            self.shared.health.set_direction(vec![why]);
            return;
        }
        let over = self.choice.said.lock().await.clone().unwrap_or_default();
        let (laid_over, now) = (laid(&options, &over), self.shared.clock.now().unix);
        let against = refuse_contradicted(&self.shared, found, &laid_over, now).await;
        let health = &self.shared.health;
        health.set_direction(against.iter().map(Contradicted::why).collect());
        let Some(against) = against else { return };
        let current = self.choice.state.borrow().clone();
        match current {
            Setup::Chosen { options: of, .. } if options == of => {
                self.withdraw(&against, taker).await;
            }
            Setup::Searching | Setup::Nothing => self.withhold(&against, taker).await,
            Setup::Chosen { .. } | Setup::ByOptions => {}
        }
    }

    /// What was chosen is served no longer.
    async fn withdraw(&self, against: &Contradicted, taker: &Taker) {
        warn!(
            "{}; what was chosen by itself is not served any more: confirm it, or turn it, on the dashboard",
            against.why()
        );
        self.shared.store.put_state(KEY, "");
        self.withhold(against, taker).await;
    }

    /// The first meter has no value for this reason, and the question about the sign shows it.
    async fn withhold(&self, against: &Contradicted, taker: &Taker) {
        *held(&self.choice.against) = Some(against.clone());
        let said = self.choice.said.lock().await;
        if *self.choice.state.borrow() == Setup::ByOptions {
            return;
        }
        self.choice.state.send_replace(Setup::Nothing);
        // What is wrong with the options leaves the meter without value anyway, and says so.
        if let Some(said) = &*said {
            let left = laid(&Map::new(), said);
            taker.withhold(left, against.why()).await;
        }
    }

    /// The first meter reads what was chosen in an earlier run.
    async fn go_on(&self, taker: &Taker) {
        let said = self.choice.said.lock().await;
        let (Setup::Chosen { options, .. }, Some(said)) =
            (self.choice.state.borrow().clone(), &*said)
        else {
            return;
        };
        let inputs = laid(&options, said);
        info!(
            "no power entity is configured: going on with what was chosen before, {}{}; the options total_power or a_power … change that",
            words(&options),
            beside(said)
        );
        taker.take(inputs).await;
    }

    /// What to take, for a first choice; `said` is what options say beside it.
    fn weigh(
        &self,
        found: &Discovery,
        said: &Map<String, Value>,
        told: &mut bool,
    ) -> Option<Inputs> {
        let state = &self.choice.state;
        let current = state.borrow().clone();
        let Some(proposal) = &found.grid else {
            if !*told && matches!(current, Setup::Searching | Setup::Nothing) {
                *told = true;
                warn!("{}", nothing_taken(found));
                state.send_replace(Setup::Nothing);
            }
            return None;
        };
        let options = options_of(&proposal.inputs);
        match current {
            Setup::ByOptions => None,
            Setup::Chosen { options: old, .. }
                if found
                    .grid_before
                    .as_ref()
                    .is_some_and(|before| options_of(before) == old) =>
            {
                info!(
                    "the meter reads {} from now on, of which Home Assistant makes what it read before",
                    words(&options)
                );
                Some(self.choose(options, said))
            }
            Setup::Chosen { options: old, .. } if old != options && gone(&old, found) => {
                warn!(
                    "what the meter read ({}) is gone from Home Assistant, and its Energy settings name other sensors: took {}; \
                    please confirm them on the dashboard",
                    words(&old),
                    proposal.describe()
                );
                Some(self.choose(options, said))
            }
            Setup::Chosen {
                options: old,
                differs,
            } => {
                let now_differs = old != options;
                if now_differs && !differs {
                    warn!(
                        "the Energy settings of Home Assistant name other sensors by now ({}); the meter keeps {}; \
                        confirm either on the dashboard or name them in the options",
                        words(&options),
                        words(&old)
                    );
                }
                if now_differs != differs {
                    state.send_replace(Setup::Chosen {
                        options: old,
                        differs: now_differs,
                    });
                }
                None
            }
            Setup::Searching | Setup::Nothing => {
                // What was left out, and why.
                found.notes.iter().for_each(|note| info!("{note}"));
                info!(
                    "no power entity is configured: took {}{}; to change it, set total_power or a_power, b_power, c_power",
                    proposal.describe(),
                    beside(said)
                );
                Some(self.choose(options, said))
            }
        }
    }

    /// Keeps a choice and gives what is read by it.
    fn choose(&self, options: Map<String, Value>, said: &Map<String, Value>) -> Inputs {
        kept::put(&self.shared.store, KEY, &options);
        let inputs = laid(&options, said);
        self.choice.state.send_replace(Setup::Chosen {
            options,
            differs: false,
        });
        inputs
    }
}

/// Whether a power that was chosen is not in Home Assistant any more.
fn gone(options: &Map<String, Value>, found: &Discovery) -> bool {
    let inputs = inputs_of(options);
    let mut powers = inputs.powers().flat_map(|(_, power)| power.entities());
    let gone = |here: &Option<Candidate>| here.as_ref().is_none_or(|c| c.restored);
    powers.any(|id| found.asked.iter().any(|(of, here)| of == id && gone(here)))
}

/// Ends when the Energy settings are others than those that were `seen`; never where nothing was,
/// or where they can't be watched.
async fn changed(shared: &Shared, seen: Option<Option<String>>) {
    match seen {
        Some(seen) => prefs_watch::changed(shared.source(), &shared.access, seen).await,
        None => std::future::pending().await,
    }
}

/// Ends when the running meter sees that the sign of what nobody has confirmed is wrong: where the
/// recorder keeps nothing, only that tells. Gives what was chosen, and the reason.
async fn contradicted(
    state: &watch::Sender<Setup>,
    taker: &Taker,
) -> (Map<String, Value>, Contradicted) {
    loop {
        tokio::time::sleep(LOOK).await;
        let current = state.borrow().clone();
        if let Setup::Chosen { options, .. } = current
            && let Some(line) = taker.contradiction().await
        {
            return (options, line);
        }
    }
}

/// Ends when options name entities: nothing of a choice is to be told any more.
async fn by_options(state: &watch::Sender<Setup>) {
    let mut state = state.subscribe();
    if state
        .wait_for(|now| *now == Setup::ByOptions)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}

/// What options say beside a choice, in words.
fn beside(said: &Map<String, Value>) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!("; the options lay over it {}", words(said))
    }
}

/// Why nothing could be taken, and what could be named.
fn nothing_taken(found: &Discovery) -> String {
    let line = |c: &Candidate| {
        let unit = c.unit.as_deref().unwrap_or("no unit");
        format!("{} ({} {unit})", c.entity_id, c.value)
    };
    let candidates = found.candidates.iter();
    let powers = candidates.filter(|c| c.kind == Some(Quantity::Power));
    let powers: Vec<String> = powers.take(LISTED).map(line).collect();
    let list = if powers.is_empty() {
        "there is no power sensor in Home Assistant".to_owned()
    } else {
        powers.join(", ")
    };
    let notes: Vec<String> = found.notes.iter().map(ToString::to_string).collect();
    let notes = notes.join("; ");
    format!(
        "no power entity is configured, and nothing could be taken by itself ({notes}): set total_power or a_power, b_power, c_power; candidates: {list}"
    )
}

/// Ends when Home Assistant has come up anew.
pub async fn running(facts: &mut watch::Receiver<HaFacts>) {
    let mut was = facts.borrow_and_update().is_running();
    loop {
        if facts.changed().await.is_err() {
            return std::future::pending().await;
        }
        let up = facts.borrow_and_update().is_running();
        if up && !was {
            return;
        }
        was = up;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_could_not_be_taken_is_said() {
        let found = Discovery {
            notes: vec![
                vocab::reason::LeftOut::Power {
                    entity: "sensor.own".into(),
                    why: Arc::new(vocab::reason::LeftOut::Own.into()),
                }
                .into(),
            ],
            ..Discovery::default()
        };
        let text = nothing_taken(&found);
        assert!(
            text.contains("sensor.own: it is this meter's own")
                && text.contains("there is no power sensor"),
            "{text}"
        );
    }
}
