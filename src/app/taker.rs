//! What all meters read, and how that changes while they run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

use super::{
    choice::union, meter_task::Command, running::Running, sign::Contradicted, vitals::held,
};
use config::Inputs;
use vocab::{EntityId, reason::Reason};

/// Takes entities over that were found while running.
#[derive(Clone)]
pub struct Taker {
    meters: Arc<[Running]>,
    /// Every entity that a source has to follow.
    entities: Arc<watch::Sender<Arc<[EntityId]>>>,
    aliases: Arc<Mutex<BTreeMap<EntityId, EntityId>>>,
    /// See [`Inputs::witnesses`].
    witnesses: Arc<Mutex<[Vec<EntityId>; 2]>>,
}

impl Taker {
    /// Over these meters, with what they read now.
    pub fn new(meters: &Arc<[Running]>) -> Self {
        Self {
            meters: Arc::clone(meters),
            entities: Arc::new(watch::Sender::new(all_entities(meters))),
            aliases: Arc::default(),
            witnesses: Arc::default(),
        }
    }

    /// What a source has to follow.
    pub fn entities(&self) -> watch::Receiver<Arc<[EntityId]>> {
        self.entities.subscribe()
    }

    /// The first meter reads these from now on; its counters stay.
    pub async fn take(&self, mut inputs: Inputs) {
        let Some(first) = self.meters.first() else {
            return;
        };
        if !inputs.any_energy() {
            inputs.witnesses = held(&self.witnesses).clone();
        }
        let inputs = under(inputs, &self.aliases());
        let settings = first.change(|settings| settings.inputs = inputs);
        first.reconfigure(settings).await;
        self.entities.send_replace(all_entities(&self.meters));
    }

    /// The first meter serves nothing from now on, for this reason, of a power that nobody
    /// confirmed; `inputs` are what is left.
    pub async fn withhold(&self, inputs: Inputs, why: Reason) {
        if self.meters.first().is_some_and(|first| first.withhold(why)) {
            self.take(inputs).await;
        }
    }

    /// Import and export counters that the first meter compares its sign with wherever options name
    /// none.
    pub async fn witness(&self, counters: [Vec<EntityId>; 2]) {
        let Some(first) = self.meters.first() else {
            return;
        };
        held(&self.witnesses).clone_from(&counters);
        let inputs = first.inputs();
        if inputs.any_power() && !inputs.any_energy() && inputs.witnesses != counters {
            self.take(inputs).await;
        }
    }

    /// What energy counters say against the sign of the first meter's power, as far as it knows.
    pub async fn contradiction(&self) -> Option<Contradicted> {
        let first = self.meters.first()?;
        let inputs = first.inputs();
        let signs = first.ask(Command::Signs).await?;
        signs.iter().find_map(|(_, verdict, counters)| {
            Some(Contradicted::new(
                &inputs,
                verdict.contradiction()?,
                counters,
            ))
        })
    }

    /// What is read in place of entities that options still name by an old name.
    pub fn aliases(&self) -> BTreeMap<EntityId, EntityId> {
        held(&self.aliases).clone()
    }

    /// These have other names; of those that are `named` by options the old one is remembered.
    pub fn alias(&self, renamed: &BTreeMap<EntityId, EntityId>, named: impl Fn(&EntityId) -> bool) {
        let mut aliases = held(&self.aliases);
        for now in aliases.values_mut() {
            if let Some(new) = renamed.get(now) {
                *now = new.clone();
            }
        }
        let more = renamed
            .iter()
            .filter(|(old, _)| named(old))
            .map(|(old, new)| (old.clone(), new.clone()));
        aliases.extend(more);
        aliases.retain(|named, now| named != now);
    }
}

fn all_entities(meters: &[Running]) -> Arc<[EntityId]> {
    let inputs: Vec<Inputs> = meters.iter().map(Running::inputs).collect();
    union(&inputs)
}

/// Inputs under the new names.
pub fn under(mut inputs: Inputs, aliases: &BTreeMap<EntityId, EntityId>) -> Inputs {
    if !aliases.is_empty() {
        for id in inputs.entities_mut() {
            if let Some(new) = aliases.get(id) {
                *id = new.clone();
            }
        }
    }
    inputs
}
