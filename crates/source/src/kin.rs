//! What stands on what: helpers and the sensors they are made of. Pure.
//!
//! Home Assistant says it in attributes (`source` of integrals and counters of a period,
//! `entity_id` of groups and filters, in the plural of some), and hangs a helper on the device of
//! what it is made of.

use std::collections::{BTreeSet, HashMap};

use super::home_assistant::frames::RegistryEntry;
use vocab::EntityId;

/// Which entities stand on one of ours, and on which: by what they say, or because they hang on our
/// device.
pub(super) fn standing_on(
    ours: &BTreeSet<EntityId>,
    made_of: &HashMap<EntityId, Vec<EntityId>>,
    entries: &[RegistryEntry],
) -> HashMap<EntityId, EntityId> {
    let our_devices: HashMap<&str, &EntityId> = entries
        .iter()
        .filter_map(|e| Some((e.device_id.as_deref()?, ours.get(e.entity_id.as_ref()?)?)))
        .collect();
    let on_device = |e: &RegistryEntry| {
        let id = e.entity_id.clone().filter(|id| !ours.contains(id))?;
        Some((id, (*our_devices.get(e.device_id.as_deref()?)?).clone()))
    };
    let mut found: HashMap<EntityId, EntityId> = entries.iter().filter_map(on_device).collect();
    // Helpers of helpers: until nothing is added.
    loop {
        let root = |id: &EntityId| ours.get(id).or_else(|| found.get(id)).cloned();
        let more: Vec<(EntityId, EntityId)> = made_of
            .iter()
            .filter(|(id, _)| !ours.contains(*id) && !found.contains_key(*id))
            .filter_map(|(id, parts)| Some((id.clone(), parts.iter().find_map(root)?)))
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::home_assistant::frames::Attributes;

    #[test]
    fn helpers_of_helpers_stand_on_ours() {
        let all = [
            ("sensor.integral", json!({"source": "sensor.ours_power"})),
            ("sensor.daily", json!({"source": "sensor.integral"})),
            (
                "sensor.group",
                json!({"entity_id": ["sensor.other", "sensor.ours_power"]}),
            ),
            ("sensor.filtered", json!({"entity_id": "sensor.group"})),
            (
                "sensor.innocent",
                json!({"entity_id": ["sensor.other"], "source": "grid meter"}),
            ),
            ("sensor.a", json!({"source": "sensor.b"})),
            ("sensor.b", json!({"source": "sensor.a"})),
        ];
        let made: HashMap<EntityId, Vec<EntityId>> = all
            .into_iter()
            .map(|(id, value)| {
                let attributes: Attributes = serde_json::from_value(value).unwrap();
                (EntityId::from_static(id), attributes.sources())
            })
            .collect();
        let entries: Vec<RegistryEntry> = serde_json::from_value(json!([
            {"entity_id": "sensor.ours_power", "unique_id": "AABBCCDDEEFF-em:0-total", "device_id": "d1"},
            {"entity_id": "sensor.template_on_device", "unique_id": "x", "platform": "template", "device_id": "d1"},
            {"entity_id": "sensor.other", "unique_id": "y", "device_id": "d2"}
        ]))
        .unwrap();
        let found = standing_on(
            &[EntityId::from_static("sensor.ours_power")].into(),
            &made,
            &entries,
        );
        let mut ids: Vec<&str> = found.keys().map(|id| &**id).collect();
        ids.sort_unstable();
        assert_eq!(
            ids,
            [
                "sensor.daily",
                "sensor.filtered",
                "sensor.group",
                "sensor.integral",
                "sensor.template_on_device"
            ]
        );
        assert!(found.values().all(|on| &**on == "sensor.ours_power"));
    }
}
