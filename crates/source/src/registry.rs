//! Names of entities over time: Home Assistant's registry knows each entity by an id that a rename
//! does not change.
//!
//! It has no REST door, and what templates tell over REST (the entities of a device) does not say
//! which of several is the one that was renamed: a guess could give a battery another power. So a
//! short WebSocket connection asks the registry, also where values are polled over REST.

use std::collections::{BTreeMap, HashMap};

use futures_util::FutureExt;

use super::{
    home_assistant::{
        Access,
        command::Command,
        frames::RegistryEntry,
        query::{self, QueryConnection, QueryError},
    },
    registered::Registered,
};
use config::SourceSettings;
use vocab::EntityId;

/// What the registry says of some entities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By name, what each is known by; those that have another name by now under the name asked
    /// for.
    pub known: BTreeMap<EntityId, Registered>,
    /// Old name → new name.
    pub renamed: BTreeMap<EntityId, EntityId>,
    /// Were known before and are not there any more, under no name.
    pub gone: Vec<EntityId>,
}

/// What became of `wanted`, which were known by `before` when they were looked at last.
///
/// # Errors
/// When Home Assistant cannot be asked.
pub async fn names(
    settings: &SourceSettings,
    access: &Access,
    wanted: &[EntityId],
    before: &BTreeMap<EntityId, Registered>,
) -> Result<Names, QueryError> {
    if wanted.is_empty() {
        return Ok(Names::default());
    }
    let (wanted, before) = (wanted.to_vec(), before.clone());
    query::ask(settings, access, move |connection| {
        async move { ask(connection, &wanted, &before).await }.boxed()
    })
    .await
}

async fn ask(
    connection: &mut QueryConnection,
    ids: &[EntityId],
    before: &BTreeMap<EntityId, Registered>,
) -> Result<Names, QueryError> {
    let what = "the entity registry";
    let entries = Command::GetEntries { entity_ids: ids };
    let now: HashMap<String, Option<RegistryEntry>> = connection.ask(what, &entries).await??;
    // The whole registry is large: only where an entity is not what it was.
    let moved = before.iter().any(|(name, was)| {
        let entry = now.get(&**name).and_then(Option::as_ref);
        ids.contains(name) && !entry.is_some_and(|entry| entry.registered().is(was))
    });
    let all: Vec<RegistryEntry> = if moved {
        connection.ask(what, &Command::ListRegistry).await??
    } else {
        Vec::new()
    };
    Ok(compare(ids, before, &now, &all))
}

fn compare(
    ids: &[EntityId],
    before: &BTreeMap<EntityId, Registered>,
    now: &HashMap<String, Option<RegistryEntry>>,
    all: &[RegistryEntry],
) -> Names {
    let mut names = Names::default();
    for name in ids.iter().cloned() {
        let here = now.get(&*name).and_then(Option::as_ref);
        let here = here.map(RegistryEntry::registered);
        let was = before.get(&name);
        let is = |was: &Registered| here.as_ref().is_some_and(|here| here.is(was));
        let Some(was) = was.filter(|was| !is(was)) else {
            // Not in the registry: an entity without unique id, or none at all.
            names.known.extend(here.map(|here| (name, here)));
            continue;
        };
        let mut same = all.iter().filter(|entry| entry.registered().is(was));
        match (same.find_map(|entry| entry.entity_id.clone()), here) {
            (Some(new), _) => {
                names.known.insert(name.clone(), was.clone());
                names.renamed.insert(name, new);
            }
            // Made anew under the same name.
            (None, Some(here)) => {
                names.known.insert(name, here);
            }
            (None, None) => names.gone.push(name),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn entry(name: &str, id: &str, unique: &str) -> RegistryEntry {
        serde_json::from_value(
            json!({"entity_id": name, "id": id, "platform": "dsmr", "unique_id": unique}),
        )
        .unwrap()
    }

    fn known(entries: &[RegistryEntry]) -> BTreeMap<EntityId, Registered> {
        entries
            .iter()
            .map(|e| (e.entity_id.clone().unwrap(), e.registered()))
            .collect()
    }

    fn told(ids: &[&'static str], before: &[RegistryEntry], all: &[RegistryEntry]) -> Names {
        let ids: Vec<EntityId> = ids.iter().map(|id| EntityId::from_static(id)).collect();
        let entry = |id: &EntityId| {
            all.iter()
                .find(|e| e.entity_id.as_ref() == Some(id))
                .cloned()
        };
        let now = ids.iter().map(|id| (id.to_string(), entry(id))).collect();
        compare(&ids, &known(before), &now, all)
    }

    fn renamed(names: &Names) -> Vec<String> {
        names
            .renamed
            .iter()
            .map(|(old, new)| format!("{old} → {new}"))
            .collect()
    }

    #[test]
    fn an_entity_is_found_under_its_new_name() {
        let before = [
            entry("sensor.grid", "1", "u1"),
            entry("sensor.volt", "2", "u2"),
        ];
        let all = [
            entry("sensor.net", "1", "u1"),
            entry("sensor.volt", "2", "u2"),
            entry("sensor.x", "3", "u3"),
        ];
        let names = told(&["sensor.grid", "sensor.volt"], &before, &all);
        assert_eq!(renamed(&names), ["sensor.grid → sensor.net"]);
        assert!(names.gone.is_empty());
    }

    #[test]
    fn two_that_changed_names_are_both_followed() {
        let before = [entry("sensor.a", "1", "u1"), entry("sensor.b", "2", "u2")];
        let all = [entry("sensor.b", "1", "u1"), entry("sensor.a", "2", "u2")];
        assert_eq!(
            renamed(&told(&["sensor.a", "sensor.b"], &before, &all)),
            ["sensor.a → sensor.b", "sensor.b → sensor.a"]
        );
    }

    #[test]
    fn removed_made_anew_and_never_registered() {
        let before = [entry("sensor.a", "1", "u1")];
        assert_eq!(
            told(&["sensor.a"], &before, &[]).gone,
            [EntityId::from_static("sensor.a")]
        );
        let anew = told(&["sensor.a"], &before, &[entry("sensor.a", "9", "u9")]);
        assert_eq!(anew.known.values().next().unwrap().id.as_str(), "9");
        assert_eq!(anew.renamed.len(), 0);
        assert_eq!(anew.gone.len(), 0);
        let same = told(&["sensor.a"], &before, &[entry("sensor.a", "9", "u1")]);
        assert!(
            same.renamed.is_empty(),
            "the integration was set up anew: its own id is the same"
        );
        assert_eq!(told(&["sensor.a"], &[], &[]), Names::default());
        let moved = told(&["sensor.a"], &before, &[entry("sensor.z", "9", "u1")]);
        assert_eq!(renamed(&moved), ["sensor.a → sensor.z"]);
    }
}
