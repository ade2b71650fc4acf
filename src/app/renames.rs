//! Entities that were renamed in Home Assistant are followed: at once by its registry's events, or
//! where values are polled when one is not there any more, and after a start by what the registry
//! knew them by before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{kept, pages::actor::Actor, shared::Shared};
use config::{HaTransport, SourceKind};
use source::{
    registered::{Registered, RegistryEvent},
    registry::names,
};
use vocab::EntityId;
use vocab::reason::{Reason, Renamed};

/// Key of the store.
const KEY: &str = "entities";
/// How long after a change of the list, or of the connection, the registry is looked at once more:
/// events may come late.
const SOON: Duration = Duration::from_secs(3);
/// The same after it could not be asked.
const AGAIN: Duration = Duration::from_secs(30);
/// Between two looks where values are polled: no event tells of a change.
const SELDOM: Duration = Duration::from_secs(600);

/// What came of a look at the registry.
enum Looked {
    /// All that is known is there, under whatever name.
    All,
    /// Something is gone.
    Missing,
    /// It cannot be asked.
    Failed,
}

/// Follows names.
pub struct Following {
    /// What all parts share.
    pub shared: Shared,
    /// What is read.
    pub entities: watch::Receiver<Arc<[EntityId]>>,
    /// What the registry's events say.
    pub events: mpsc::Receiver<RegistryEvent>,
    /// Who changes options.
    pub actor: Arc<Actor>,
}

impl Following {
    /// Until the stop.
    pub async fn run(mut self) {
        let kept: Option<BTreeMap<EntityId, Registered>> = kept::get(&self.shared.store, KEY);
        let mut known = kept.unwrap_or_default();
        let source = self.shared.source();
        if source.kind != SourceKind::HomeAssistant {
            return self.shared.stop.cancelled().await;
        }
        let polls = source.ha_transport == HaTransport::Rest;
        let mut up = false;
        // When to look, and once more after that.
        let mut due: Option<Instant> = None;
        let mut more = false;
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                Ok(()) = self.shared.facts.changed() => {
                    let now_up = self.shared.facts.borrow_and_update().state.is_some();
                    if now_up && !up {
                        (due, more) = (Some(Instant::now()), true);
                    }
                    up = now_up;
                }
                Ok(()) = self.entities.changed() => {
                    self.entities.mark_unchanged();
                    due = due.or(Some(Instant::now() + SOON));
                }
                Some(event) = self.events.recv() => {
                    let wait = match event {
                        RegistryEvent::Renamed { old, new } => {
                            self.follow(&mut known, BTreeMap::from([(old, new)])).await;
                            SOON
                        }
                        RegistryEvent::Removed(entity) => {
                            self.removed(&entity);
                            SOON
                        }
                        RegistryEvent::Missing(_) => Duration::ZERO,
                    };
                    due = Some(Instant::now() + wait);
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && up => {
                    let wait = match self.look(&mut known).await {
                        Looked::All | Looked::Missing if more => Some(SOON),
                        // Without events only looking tells that one is back.
                        Looked::Missing if polls => Some(AGAIN),
                        // And that two have changed names, which are both there.
                        _ if polls => Some(SELDOM),
                        Looked::All | Looked::Missing => None,
                        Looked::Failed => Some(AGAIN),
                    };
                    due = wait.map(|wait| Instant::now() + wait);
                    more = false;
                }
            }
        }
    }

    /// Asks the registry what became of what is read, and of what options that cannot be written
    /// still name.
    async fn look(&self, known: &mut BTreeMap<EntityId, Registered>) -> Looked {
        let mut wanted: Vec<EntityId> = self.entities.borrow().to_vec();
        let named = self.actor.aliases();
        // What is read in another's place was asked for by the other's name.
        wanted.retain(|id| !named.values().any(|new| new == id));
        wanted.extend(named.keys().cloned());
        wanted.sort();
        wanted.dedup();
        let asked = tokio::select! {
            () = self.shared.stop.cancelled() => return Looked::Failed,
            asked = names(self.shared.source(), &self.shared.access, &wanted, known) => asked,
        };
        let told = match asked {
            Ok(told) => told,
            Err(error) => {
                debug!(%error, "the entity registry cannot be asked");
                return Looked::Failed;
            }
        };
        for entity in &told.gone {
            self.removed(entity);
        }
        for entity in told.known.keys() {
            self.shared.health.untell(&removed(entity));
        }
        // Those that are gone may come back.
        known.retain(|id, _| wanted.contains(id));
        known.extend(told.known);
        let fresh: BTreeMap<EntityId, EntityId> = told
            .renamed
            .into_iter()
            .filter(|(old, new)| named.get(old) != Some(new))
            .collect();
        if fresh.is_empty() {
            self.keep(known);
        } else {
            self.follow(known, fresh).await;
        }
        if told.gone.is_empty() {
            Looked::All
        } else {
            Looked::Missing
        }
    }

    async fn follow(
        &self,
        known: &mut BTreeMap<EntityId, Registered>,
        renamed: BTreeMap<EntityId, EntityId>,
    ) {
        let lines = self.actor.rename(&renamed).await;
        let moved: Vec<_> = renamed
            .iter()
            .filter_map(|(old, new)| Some((new.clone(), known.get(old)?.clone())))
            .collect();
        let still = self.actor.aliases();
        // An option that cannot be written goes on naming the old one.
        for old in renamed.keys().filter(|old| !still.contains_key(*old)) {
            known.remove(old);
        }
        known.extend(moved);
        self.keep(known);
        for line in lines {
            warn!("{line}");
            self.shared.health.tell(line);
        }
    }

    fn removed(&self, entity: &EntityId) {
        let line = removed(entity);
        if self.shared.health.tell(line.clone()) {
            warn!("{line}");
        }
    }

    fn keep(&self, known: &BTreeMap<EntityId, Registered>) {
        kept::put(&self.shared.store, KEY, known);
    }
}

fn removed(entity: &EntityId) -> Reason {
    let entity = entity.clone();
    Renamed::Removed { entity }.into()
}
