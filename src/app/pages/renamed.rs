//! A renamed entity in the options: written where it stands, and read under its new name where it
//! cannot be written.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use tracing::info;

use super::{
    super::{
        choice::{KEY, Setup, is_input},
        kept,
        meter_task::Command,
    },
    actor::Actor,
    options::chosen,
};
use config::{LoadInputs, change_options, load};
use dashboard::owner::Refusal;
use vocab::EntityId;
use vocab::reason::{self, Reason};

type Renamed = BTreeMap<EntityId, EntityId>;

impl Actor {
    /// Old name → new name of what options name that cannot be written.
    pub(crate) fn aliases(&self) -> Renamed {
        self.taker.aliases()
    }

    /// The options with the new names, once they are written, and which they are; `None` where they
    /// name none of these.
    async fn renamed_options(
        &self,
        inputs: &LoadInputs,
        renamed: &Renamed,
    ) -> Result<Option<(LoadInputs, String)>, String> {
        let failed = |why: Refusal| format!("{why:?}");
        let next = self.stored(inputs).await.map_err(failed)?;
        let changes = changes(&next.options(), renamed);
        if changes.is_empty() {
            return Ok(None);
        }
        let options = change_options(&next, &changes).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("; ")
        })?;
        let next = self.write(&next, &options).await.map_err(failed)?;
        let keys: Vec<String> = changes.keys().cloned().collect();
        Ok(Some((next, keys.join(", "))))
    }

    /// These entities have other names: changes the options, the set-up's choice and what is read.
    /// Says what became of each.
    pub(crate) async fn rename(&self, renamed: &Renamed) -> Vec<Reason> {
        let mut inputs = self.inputs.lock().await;
        let mut failed = None;
        let mut resolved = self.current().0.clone();
        match self.renamed_options(&inputs, renamed).await {
            Ok(Some((next, keys))) => {
                info!("options changed for a rename in Home Assistant: {keys}");
                resolved = load(&next);
                *self.current() = (resolved.clone(), chosen(&next));
                *inputs = next;
            }
            Ok(None) => {}
            Err(why) => failed = Some(why),
        }
        self.setup.state.send_if_modified(|state| {
            let Setup::Chosen { options, .. } = state else {
                return false;
            };
            let changed = changes(options, renamed);
            options.extend(changed.clone());
            kept::put(&self.shared.store, KEY, options);
            !changed.is_empty()
        });
        // What still names the old one: environment, command line, or a file that cannot be
        // written. What was written may name it too, where two have changed names.
        let stuck = |key: &str| failed.is_some() || resolved.layer(key).read_only();
        let names = |old: &EntityId| -> Vec<String> {
            let own = resolved.values.iter().filter(|(key, value)| {
                is_input(key) && stuck(key) && ids(value).any(|id| *id == **old)
            });
            let further = resolved.settings.meters.iter().skip(1);
            let further = further.filter(|m| stuck("meters") && m.inputs.entities().contains(old));
            own.map(|(key, _)| (*key).to_owned())
                .chain(further.map(|m| format!("meters ({})", m.name)))
                .collect()
        };
        let before = self.aliases();
        let all = |old: &EntityId| -> Vec<String> {
            let earlier = before.iter().filter(|(_, now)| *now == old);
            let earlier = earlier.flat_map(|(named, _)| names(named));
            names(old).into_iter().chain(earlier).collect()
        };
        let stands: Vec<(EntityId, EntityId, Vec<String>)> = renamed
            .iter()
            .map(|(old, new)| (old.clone(), new.clone(), all(old)))
            .collect();
        self.taker.alias(renamed, |old| !names(old).is_empty());
        for meter in self.meters.iter() {
            let _ = meter.commands.send(Command::Rename(renamed.clone())).await;
        }
        self.apply(&resolved).await;
        let line = |(entity, new, stuck): (EntityId, EntityId, Vec<String>)| {
            let keys = stuck.join(", ").into();
            Reason::Renamed(match &failed {
                _ if stuck.is_empty() => reason::Renamed::Followed { entity, new },
                Some(why) => {
                    let error = Arc::new(Reason::foreign(&**why));
                    reason::Renamed::Unwritten {
                        entity,
                        new,
                        keys,
                        error,
                    }
                }
                None => reason::Renamed::Fixed { entity, new, keys },
            })
        };
        stands.into_iter().map(line).collect()
    }
}

/// The entity ids of an option's value.
fn ids(value: &Value) -> impl Iterator<Item = &str> {
    value.as_str().unwrap_or_default().split(',').map(str::trim)
}

/// The input options that name one of these, with the new names; further meters as a whole.
fn changes(options: &Map<String, Value>, renamed: &Renamed) -> Map<String, Value> {
    let mut changes = Map::new();
    for (key, value) in options {
        let mut new = value.clone();
        match &mut new {
            Value::Array(meters) if key == "meters" => {
                for options in meters.iter_mut().filter_map(Value::as_object_mut) {
                    let changed = self::changes(options, renamed);
                    options.extend(changed);
                }
            }
            Value::String(text) if is_input(key) => {
                let ids: Vec<String> = text.split(',').map(|id| replaced(id, renamed)).collect();
                *text = ids.join(",");
            }
            _ => {}
        }
        if new != *value {
            changes.insert(key.clone(), new);
        }
    }
    changes
}

/// One id with the blanks around it.
fn replaced(part: &str, renamed: &Renamed) -> String {
    let id = part.trim();
    match renamed.get(id) {
        Some(new) => part.replacen(id, new, 1),
        None => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn renamed(pairs: &[(&str, &str)]) -> Renamed {
        pairs
            .iter()
            .map(|(old, new)| (old.parse().unwrap(), new.parse().unwrap()))
            .collect()
    }

    fn told(options: &Value, pairs: &[(&str, &str)]) -> Value {
        Value::Object(changes(options.as_object().unwrap(), &renamed(pairs)))
    }

    #[test]
    fn every_kind_of_input_is_renamed_and_nothing_else() {
        let options = json!({
            "total_power": "sensor.a, sensor.b", "total_power_export": "sensor.c", "n_curr": "sensor.a", "frequency": "sensor.f",
            "energy_import": "sensor.a,sensor.aa", "device_name": "sensor.a", "hold": 5,
            "meters": [{"name": "sensor.a", "a_power": "sensor.a", "http_port": 81}, {"name": "y", "b_power": "sensor.y"}]
        });
        assert_eq!(
            told(&options, &[("sensor.a", "sensor.z")]),
            json!({
                "total_power": "sensor.z, sensor.b", "n_curr": "sensor.z", "energy_import": "sensor.z,sensor.aa",
                "meters": [{"name": "sensor.a", "a_power": "sensor.z", "http_port": 81}, {"name": "y", "b_power": "sensor.y"}]
            })
        );
        assert_eq!(told(&options, &[("sensor.q", "sensor.z")]), json!({}));
    }

    #[test]
    fn two_that_changed_names_are_changed_once_each() {
        let swap = [("sensor.a", "sensor.b"), ("sensor.b", "sensor.a")];
        let pair = json!({"total_power": "sensor.a", "total_power_export": "sensor.b"});
        assert_eq!(
            told(&pair, &swap),
            json!({"total_power": "sensor.b", "total_power_export": "sensor.a"})
        );
    }
}
