//! What the owner told Home Assistant's Energy dashboard about the grid: power sensors with their
//! sign, and energy sensors. Pure decoding of `energy/get_prefs` in its three shapes (2025.4,
//! 2026.2, 2026.11).
//!
//! `power_config` names the owner's own sensors: one that is right, one that counts the other way
//! round, or one for each direction. Those are taken. `stat_rate` beside it then names a sensor
//! that Home Assistant makes of them, which goes when the owner changes the settings, and which
//! says half of a pair's change for a moment; it counts only where there is nothing else. An id
//! with `:` is an external statistic without an entity.

use std::{collections::HashSet, sync::Arc};

use serde::Deserialize;

use config::{Inputs, PowerInput};
use vocab::EntityId;
use vocab::reason::{Cause, LeftOut, Reason};

/// Answer of `energy/get_prefs`; unknown kinds of sources and fields are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EnergyPrefs {
    #[serde(default)]
    energy_sources: Vec<serde_json::Value>,
    #[serde(default)]
    device_consumption: Vec<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
struct GridSource {
    #[serde(default)]
    stat_energy_from: Option<String>,
    #[serde(default)]
    stat_energy_to: Option<String>,
    #[serde(default)]
    flow_from: Vec<FlowFrom>,
    #[serde(default)]
    flow_to: Vec<FlowTo>,
    #[serde(flatten)]
    own: Power,
    #[serde(default)]
    power: Vec<Power>,
}

#[derive(Debug, Deserialize)]
struct FlowFrom {
    stat_energy_from: String,
}

#[derive(Debug, Deserialize)]
struct FlowTo {
    stat_energy_to: String,
}

#[derive(Debug, Default, Deserialize)]
struct Power {
    #[serde(default)]
    stat_rate: Option<String>,
    #[serde(default)]
    power_config: Option<PowerConfig>,
}

#[derive(Debug, Default, Deserialize)]
struct PowerConfig {
    #[serde(default)]
    stat_rate: Option<String>,
    #[serde(default)]
    stat_rate_inverted: Option<String>,
    #[serde(default)]
    stat_rate_from: Option<String>,
    #[serde(default)]
    stat_rate_to: Option<String>,
}

impl PowerConfig {
    fn parts(&self) -> impl Iterator<Item = &str> {
        let all = [
            &self.stat_rate,
            &self.stat_rate_inverted,
            &self.stat_rate_from,
            &self.stat_rate_to,
        ];
        all.into_iter()
            .filter_map(Option::as_deref)
            .filter(|id| !id.is_empty())
    }
}

/// The grid as the Energy settings describe it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// The house's grid power, if sensors of it are named.
    pub power: Option<PowerInput>,
    /// The same by the sensors that Home Assistant makes: what versions before 0.2 took.
    pub ready: Option<PowerInput>,
    /// Imported energy, summed; for seeding the counters.
    pub energy_import: Vec<EntityId>,
    /// Exported energy, summed.
    pub energy_export: Vec<EntityId>,
    /// What was left out and why, for the log and the set-up page.
    pub notes: Vec<Reason>,
}

impl Grid {
    /// As inputs of a meter: one total on the default phase, and the energy entities.
    #[must_use]
    pub fn inputs(&self) -> Inputs {
        Inputs {
            total: self.power.clone(),
            energy_import: self.energy_import.clone(),
            energy_export: self.energy_export.clone(),
            ..Inputs::none()
        }
    }

    /// What versions before 0.2 made of it.
    #[must_use]
    pub fn inputs_before(&self) -> Inputs {
        Inputs {
            total: self.ready.clone(),
            ..self.inputs()
        }
    }
}

/// Why an entity cannot be an input, if it cannot.
pub type Refuse<'a> = dyn Fn(&EntityId) -> Option<Reason> + 'a;

/// A list in which each id stands once, and whether something could not be listed.
#[derive(Default)]
struct Ids {
    ids: Vec<EntityId>,
    left_out: Vec<(Arc<str>, Reason)>,
}

impl Ids {
    fn add(&mut self, id: Option<String>, refuse: &Refuse<'_>) {
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return;
        };
        let Ok(entity) = id.parse::<EntityId>() else {
            self.left_out.push((id.into(), LeftOut::External.into()));
            return;
        };
        match refuse(&entity) {
            Some(why) => self.left_out.push((entity.into(), why)),
            None if self.ids.contains(&entity) => {}
            None => self.ids.push(entity),
        }
    }
}

impl EnergyPrefs {
    /// The grid's sensors. `refuse` says why an entity cannot be an input (it is our own). A
    /// sum that would lack a part is not offered: half a grid is a wrong order to a battery.
    #[must_use]
    pub fn grid(&self, refuse: &Refuse<'_>) -> Grid {
        let (mut plus, mut minus, mut import, mut export) = (
            Ids::default(),
            Ids::default(),
            Ids::default(),
            Ids::default(),
        );
        let mut ready = Ids::default();
        let mut notes = Vec::new();
        let mut without_power = 0;
        let mut sources: u64 = 0;
        for value in &self.energy_sources {
            if value.get("type").and_then(serde_json::Value::as_str) != Some("grid") {
                continue;
            }
            sources += 1;
            let source: GridSource = match serde_json::from_value(value.clone()) {
                Ok(source) => source,
                Err(error) => {
                    let error = Cause::said(error.to_string());
                    notes.push(LeftOut::GridSource { error }.into());
                    return Grid {
                        notes,
                        ..Grid::default()
                    };
                }
            };
            import.add(source.stat_energy_from, refuse);
            export.add(source.stat_energy_to, refuse);
            source
                .flow_from
                .into_iter()
                .for_each(|f| import.add(Some(f.stat_energy_from), refuse));
            source
                .flow_to
                .into_iter()
                .for_each(|f| export.add(Some(f.stat_energy_to), refuse));
            let before =
                plus.ids.len() + minus.ids.len() + plus.left_out.len() + minus.left_out.len();
            for power in std::iter::once(source.own).chain(source.power) {
                ready.add(power.stat_rate.clone(), refuse);
                power.put(&mut plus, &mut minus, refuse);
            }
            without_power += u64::from(
                plus.ids.len() + minus.ids.len() + plus.left_out.len() + minus.left_out.len()
                    == before,
            );
        }
        if without_power == sources {
            notes.push(LeftOut::NoGridPower.into());
        } else if without_power > 0 {
            let (n, m) = (without_power, sources);
            notes.push(LeftOut::SomeWithoutPower { n, m }.into());
        }
        let mut whole = |left_out: fn(Arc<str>, Arc<Reason>) -> LeftOut, ids: Ids| {
            let whole = ids.left_out.is_empty().then_some(ids.ids);
            for (entity, why) in ids.left_out {
                notes.push(left_out(entity, Arc::new(why)).into());
            }
            whole
        };
        let import_left = |entity, why| LeftOut::Import { entity, why };
        let export_left = |entity, why| LeftOut::Export { entity, why };
        let power_left = |entity, why| LeftOut::Power { entity, why };
        let mut energy_import = whole(import_left, import).unwrap_or_default();
        let mut energy_export = whole(export_left, export).unwrap_or_default();
        let power = match (whole(power_left, plus), whole(power_left, minus)) {
            (Some(plus), Some(minus)) => Some((plus, minus)),
            _ => None,
        };
        let both = |one: &[EntityId], other: &[EntityId]| {
            one.iter().find(|id| other.contains(id)).cloned()
        };
        if let Some(id) = both(&energy_import, &energy_export) {
            notes.push(LeftOut::EnergyBothWays { entity: id }.into());
            (energy_import, energy_export) = (Vec::new(), Vec::new());
        }
        let power = power.filter(|(plus, minus)| match both(plus, minus) {
            Some(id) => {
                notes.push(LeftOut::PowerBothWays { entity: id }.into());
                false
            }
            None => true,
        });
        let power = power.and_then(|(plus, minus)| power_input(plus, minus));
        let ready = (ready.left_out.is_empty() && power.is_some())
            .then(|| power_input(ready.ids, Vec::new()))
            .flatten();
        Grid {
            power,
            ready,
            energy_import,
            energy_export,
            notes,
        }
    }
}

impl EnergyPrefs {
    /// What is of the grid.
    pub(crate) fn grid_sources(&self) -> impl Iterator<Item = &serde_json::Value> {
        self.energy_sources
            .iter()
            .filter(|source| source.get("type").and_then(serde_json::Value::as_str) == Some("grid"))
    }

    /// Sensors named for anything but the grid: solar, batteries, single devices.
    #[must_use]
    pub fn other_than_grid(&self) -> HashSet<EntityId> {
        let is_grid = |source: &&serde_json::Value| {
            source.get("type").and_then(serde_json::Value::as_str) == Some("grid")
        };
        let others = self
            .energy_sources
            .iter()
            .filter(|source| !is_grid(source))
            .chain(&self.device_consumption);
        let members = others.flat_map(|value| value.as_object().into_iter().flatten());
        members
            .flat_map(|(key, value)| match value {
                serde_json::Value::Object(config) if key == "power_config" => {
                    config.iter().collect()
                }
                _ => vec![(key, value)],
            })
            .filter(|(key, _)| key.starts_with("stat_"))
            .filter_map(|(_, value)| value.as_str()?.parse().ok())
            .collect()
    }
}

impl Power {
    /// The owner's own sensors.
    fn put(self, plus: &mut Ids, minus: &mut Ids, refuse: &Refuse<'_>) {
        match self.power_config {
            Some(config) if config.parts().next().is_some() => {
                plus.add(config.stat_rate, refuse);
                minus.add(config.stat_rate_inverted, refuse);
                plus.add(config.stat_rate_from, refuse);
                minus.add(config.stat_rate_to, refuse);
            }
            _ => plus.add(self.stat_rate, refuse),
        }
    }
}

/// Sum of `plus` − sum of `minus`; nothing but `minus` is an inverted sum.
fn power_input(plus: Vec<EntityId>, minus: Vec<EntityId>) -> Option<PowerInput> {
    let (import, export, invert) = match (plus.is_empty(), minus.is_empty()) {
        (true, true) => return None,
        (true, false) => (minus, Vec::new(), true),
        (false, _) => (plus, minus, false),
    };
    Some(PowerInput {
        invert,
        ..PowerInput::plain(import, export)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const V2026_11: &str = r#"{"energy_sources":[{"type":"grid","stat_energy_from":"sensor.grid_import_energy","stat_energy_to":"sensor.grid_export_energy","stat_cost":null,"cost_adjustment_day":0.0,"power_config":{"stat_rate":"sensor.grid_power"},"stat_rate":"sensor.grid_power"},{"type":"solar","stat_energy_from":"sensor.solar_energy","stat_rate":"sensor.solar_power","config_entry_solar_forecast":null}],"device_consumption":[],"device_consumption_water":[]}"#;
    const V2026_2: &str = r#"{"energy_sources":[{"type":"grid","flow_from":[{"stat_energy_from":"sensor.grid_import_energy"}],"flow_to":[{"stat_energy_to":"sensor.grid_export_energy"}],"cost_adjustment_day":0.0,"power":[{"power_config":{"stat_rate":"sensor.grid_power"},"stat_rate":"sensor.grid_power"}]}],"device_consumption":[]}"#;
    const V2025_4: &str = r#"{"energy_sources":[{"type":"grid","flow_from":[{"stat_energy_from":"sensor.grid_import_energy"}],"flow_to":[{"stat_energy_to":"sensor.grid_export_energy"}],"cost_adjustment_day":0.0}],"device_consumption":[]}"#;

    fn grid(json: &str) -> Grid {
        serde_json::from_str::<EnergyPrefs>(json)
            .unwrap()
            .grid(&|id| id.contains("ours").then(|| LeftOut::Own.into()))
    }

    fn ids(ids: &[EntityId]) -> Vec<&str> {
        ids.iter().map(|i| &**i).collect()
    }

    #[test]
    fn three_shapes_say_the_same() {
        for json in [V2026_11, V2026_2, V2025_4] {
            let g = grid(json);
            assert_eq!(ids(&g.energy_import), ["sensor.grid_import_energy"]);
            assert_eq!(ids(&g.energy_export), ["sensor.grid_export_energy"]);
            let power = g
                .power
                .as_ref()
                .map(|p| (ids(&p.import), ids(&p.export), p.invert));
            assert_eq!(
                power,
                (json != V2025_4).then(|| (vec!["sensor.grid_power"], vec![], false))
            );
            assert_eq!(g.notes.is_empty(), json != V2025_4, "{:?}", g.notes);
            assert_eq!(g.inputs().any_power(), json != V2025_4);
        }
    }

    #[test]
    fn the_owners_own_sensors_are_taken_and_not_what_is_made_of_them() {
        let one = |shape: fn(&str) -> String, config: &str, ready: &str| {
            let power = format!(r#""power_config":{config},"stat_rate":"{ready}""#);
            let g = grid(&format!(
                r#"{{"energy_sources":[{{"type":"grid",{}}}]}}"#,
                shape(&power)
            ));
            let p = g.power.unwrap();
            (
                ids(&p.import).join(","),
                ids(&p.export).join(","),
                p.invert,
                ids(&g.ready.unwrap().import).join(","),
            )
        };
        let flat = |power: &str| power.to_owned();
        let nested = |power: &str| format!(r#""flow_from":[],"power":[{{{power}}}]"#);
        for shape in [flat as fn(&str) -> String, nested] {
            let text = |a: &str, b: &str, invert, ready: &str| {
                (a.to_owned(), b.to_owned(), invert, ready.to_owned())
            };
            assert_eq!(
                one(
                    shape,
                    r#"{"stat_rate_inverted":"sensor.raw"}"#,
                    "sensor.raw_inverted"
                ),
                text("sensor.raw", "", true, "sensor.raw_inverted")
            );
            assert_eq!(
                one(
                    shape,
                    r#"{"stat_rate_from":"sensor.f","stat_rate_to":"sensor.t"}"#,
                    "sensor.energy_grid_f_t_net_power"
                ),
                text(
                    "sensor.f",
                    "sensor.t",
                    false,
                    "sensor.energy_grid_f_t_net_power"
                )
            );
            assert_eq!(
                one(shape, r#"{"stat_rate":"sensor.p"}"#, "sensor.p"),
                text("sensor.p", "", false, "sensor.p")
            );
            assert_eq!(
                one(shape, r#"{"stat_rate":null}"#, "sensor.p"),
                text("sensor.p", "", false, "sensor.p"),
                "nothing but the ready one"
            );
        }
    }

    #[test]
    fn sources_of_any_kind_are_summed() {
        let g = grid(
            r#"{"energy_sources":[
            {"type":"grid","stat_energy_from":"sensor.t1","stat_energy_to":null,"power_config":{"stat_rate_inverted":"sensor.raw"},"stat_rate":"sensor.raw_inverted"},
            {"type":"grid","stat_energy_from":"sensor.t2","power_config":{"stat_rate_from":"sensor.f","stat_rate_to":"sensor.t"},"stat_rate":"sensor.net_power"},
            {"type":"grid","power_config":{"stat_rate":"sensor.s"},"stat_rate":"sensor.s"},
            {"type":"grid","stat_energy_from":"sensor.t1"},
            {"type":"battery","stat_rate":"sensor.battery"},{"type":"martian"},7]}"#,
        );
        let p = g.power.unwrap();
        assert_eq!(ids(&p.import), vec!["sensor.f", "sensor.s"]);
        assert_eq!(ids(&p.export), vec!["sensor.raw", "sensor.t"]);
        assert!(!p.invert);
        assert_eq!(ids(&g.energy_import), vec!["sensor.t1", "sensor.t2"]);
        assert_eq!(g.energy_export.len(), 0);
        assert_eq!(g.notes.len(), 1);
        let two = r#"{"energy_sources":[{"type":"grid","power_config":{"stat_rate_inverted":"sensor.a"}},{"type":"grid","power_config":{"stat_rate_inverted":"sensor.b"}}]}"#;
        let p = grid(two).power.unwrap();
        assert_eq!(ids(&p.import), vec!["sensor.a", "sensor.b"]);
        assert_eq!(p.export.len(), 0);
        assert!(p.invert);
    }

    #[test]
    fn one_sensor_for_both_directions_is_none() {
        let g = grid(
            r#"{"energy_sources":[{"type":"grid","stat_energy_from":"sensor.e","stat_energy_to":"sensor.e",
            "power_config":{"stat_rate_from":"sensor.p","stat_rate_to":"sensor.p"},"stat_rate":"sensor.net"}]}"#,
        );
        assert_eq!(g.power, None, "never 0 for ever");
        assert_eq!(g.ready, None, "never 0 for ever");
        assert_eq!(g.energy_import.len(), 0, "never 0 for ever");
        assert_eq!(g.energy_export.len(), 0, "never 0 for ever");
        assert_eq!(g.notes.len(), 2, "never 0 for ever");
    }

    #[test]
    fn what_is_named_for_something_else() {
        let prefs: EnergyPrefs = serde_json::from_str(
            r#"{"energy_sources":[{"type":"grid","stat_energy_from":"sensor.g"},{"type":"solar","stat_energy_from":"sensor.s","config_entry_solar_forecast":["x"]},
            {"type":"battery","stat_energy_from":"sensor.d","stat_energy_to":"sensor.c","power_config":{"stat_rate_from":"sensor.bd","stat_rate_to":"sensor.bc"},"stat_rate":"sensor.b"}],
            "device_consumption":[{"stat_consumption":"sensor.washer","stat_rate":"sensor.washer_power","name":"W"}]}"#,
        )
        .unwrap();
        let mut other: Vec<EntityId> = prefs.other_than_grid().into_iter().collect();
        other.sort();
        let want = [
            "sensor.b",
            "sensor.bc",
            "sensor.bd",
            "sensor.c",
            "sensor.d",
            "sensor.s",
            "sensor.washer",
            "sensor.washer_power",
        ];
        assert_eq!(ids(&other), want);
    }

    #[test]
    fn without_a_ready_sensor_the_parts_are_put_together() {
        let one = |config: &str| {
            let g = grid(&format!(
                r#"{{"energy_sources":[{{"type":"grid","power_config":{config}}}]}}"#
            ));
            g.power.map(|p| {
                (
                    p.import.len(),
                    p.export.len(),
                    p.invert,
                    p.import[0].to_string(),
                )
            })
        };
        assert_eq!(
            one(r#"{"stat_rate_inverted":"sensor.i"}"#),
            Some((1, 0, true, "sensor.i".into()))
        );
        assert_eq!(
            one(r#"{"stat_rate_from":"sensor.f","stat_rate_to":"sensor.t"}"#),
            Some((1, 1, false, "sensor.f".into()))
        );
        assert_eq!(one("{}"), None);
        assert_eq!(
            grid(r#"{"energy_sources":[]}"#).notes.len(),
            1,
            "whoever takes no power says why"
        );
    }

    #[test]
    fn external_statistics_and_our_own_leave_no_partial_sum() {
        let g = grid(
            r#"{"energy_sources":[
            {"type":"grid","stat_energy_from":"tibber:import","stat_energy_to":"sensor.e","stat_rate":"sensor.a"},
            {"type":"grid","stat_energy_from":"sensor.i","stat_rate":"sensor.ours_power"}]}"#,
        );
        assert_eq!(g.power, None);
        assert_eq!(g.energy_import.len(), 0);
        assert_eq!(ids(&g.energy_export), vec!["sensor.e"]);
        assert_eq!(g.notes.len(), 2, "{:?}", g.notes);
    }

    #[test]
    fn a_sensor_made_from_our_own_is_our_own() {
        let g = grid(
            r#"{"energy_sources":[{"type":"grid","power_config":{"stat_rate_inverted":"sensor.ours"},"stat_rate":"sensor.grid_inverted"}]}"#,
        );
        assert_eq!((g.power, g.notes.len()), (None, 1));
    }

    proptest! {
        #[test]
        fn any_text_is_no_panic(text in ".{0,200}", kind in "[a-z_]{1,16}", value in "(null|5|\"sensor.x\"|\\[\\]|\\{\\})") {
            let _ = serde_json::from_str::<EnergyPrefs>(&text).map(|p| p.grid(&|_| None));
            let json = format!(r#"{{"energy_sources":[{{"type":"grid","{kind}":{value},"power":{value},"stat_rate":{value}}}]}}"#);
            if let Ok(prefs) = serde_json::from_str::<EnergyPrefs>(&json) {
                let _ = prefs.grid(&|_| None);
            }
        }
    }
}
