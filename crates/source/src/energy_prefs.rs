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
use serde_json::Value;

use config::{Inputs, PowerInput};
use vocab::EntityId;
use vocab::reason::{Cause, LeftOut, Reason};

/// Answer of `energy/get_prefs`; unknown kinds of sources and fields are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EnergyPrefs {
    #[serde(default)]
    energy_sources: Vec<Value>,
    #[serde(default)]
    device_consumption: Vec<Value>,
}

#[derive(Debug, Deserialize)]
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
#[serde(default)]
struct Power {
    stat_rate: Option<String>,
    power_config: Option<PowerConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PowerConfig {
    stat_rate: Option<String>,
    stat_rate_inverted: Option<String>,
    stat_rate_from: Option<String>,
    stat_rate_to: Option<String>,
}

impl PowerConfig {
    fn names_any(&self) -> bool {
        let all = [
            &self.stat_rate,
            &self.stat_rate_inverted,
            &self.stat_rate_from,
            &self.stat_rate_to,
        ];
        all.into_iter().flatten().any(|id| !id.is_empty())
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
        self.with_counters(Inputs {
            total: self.power.clone(),
            ..Inputs::none()
        })
    }

    /// The same counters beside other power sensors.
    pub(super) fn with_counters(&self, power: Inputs) -> Inputs {
        Inputs {
            energy_import: self.energy_import.clone(),
            energy_export: self.energy_export.clone(),
            ..power
        }
    }

    /// Power sensors that are named.
    pub(super) fn declared(&self) -> Vec<EntityId> {
        let power = self.power.iter();
        power
            .flat_map(|p| p.import.iter().chain(&p.export).cloned())
            .collect()
    }

    /// Whether an entity is one of the counters.
    pub(super) fn counts(&self, id: &EntityId) -> bool {
        self.energy_import.contains(id) || self.energy_export.contains(id)
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

/// A list in which each id stands once, and what could not be listed.
struct Ids<'a> {
    refuse: &'a Refuse<'a>,
    ids: Vec<EntityId>,
    left_out: Vec<(Arc<str>, Reason)>,
}

impl<'a> Ids<'a> {
    const fn new(refuse: &'a Refuse<'a>) -> Self {
        Self {
            refuse,
            ids: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Adds these; whether there were any.
    fn add(&mut self, ids: impl IntoIterator<Item = String>) -> bool {
        let mut any = false;
        for id in ids.into_iter().filter(|id| !id.is_empty()) {
            any = true;
            let Ok(entity) = id.parse::<EntityId>() else {
                self.left_out.push((id.into(), LeftOut::External.into()));
                continue;
            };
            match (self.refuse)(&entity) {
                Some(why) => self.left_out.push((entity.into(), why)),
                None if self.ids.contains(&entity) => {}
                None => self.ids.push(entity),
            }
        }
        any
    }

    /// Nothing, where one could not be listed: it is noted.
    fn whole(
        self,
        notes: &mut Vec<Reason>,
        left_out: fn(Arc<str>, Arc<Reason>) -> LeftOut,
    ) -> Option<Vec<EntityId>> {
        let whole = self.left_out.is_empty().then_some(self.ids);
        let left = self.left_out.into_iter();
        notes.extend(left.map(|(entity, why)| left_out(entity, Arc::new(why)).into()));
        whole
    }
}

/// One that stands in both.
fn in_both(one: &[EntityId], other: &[EntityId]) -> Option<EntityId> {
    one.iter().find(|id| other.contains(id)).cloned()
}

fn is_grid(source: &Value) -> bool {
    source.get("type").and_then(Value::as_str) == Some("grid")
}

impl EnergyPrefs {
    /// The grid's sensors. `refuse` says why an entity cannot be an input (it is our own). A
    /// sum that would lack a part is not offered: half a grid is a wrong order to a battery.
    #[must_use]
    pub fn grid(&self, refuse: &Refuse<'_>) -> Grid {
        let [mut plus, mut minus, mut ready, mut import, mut export] =
            std::array::from_fn(|_| Ids::new(refuse));
        let (mut sources, mut without_power) = (0, 0);
        for source in self.grid_sources() {
            let source = match GridSource::deserialize(source) {
                Ok(source) => source,
                Err(error) => {
                    let error = Cause::said(error.to_string());
                    return Grid {
                        notes: vec![LeftOut::GridSource { error }.into()],
                        ..Grid::default()
                    };
                }
            };
            import.add(source.stat_energy_from);
            import.add(
                source
                    .flow_from
                    .into_iter()
                    .map(|flow| flow.stat_energy_from),
            );
            export.add(source.stat_energy_to);
            export.add(source.flow_to.into_iter().map(|flow| flow.stat_energy_to));
            let mut has_power = false;
            for power in std::iter::once(source.own).chain(source.power) {
                ready.add(power.stat_rate.clone());
                has_power |= power.put(&mut plus, &mut minus);
            }
            sources += 1;
            without_power += u64::from(!has_power);
        }
        let mut notes = Vec::new();
        if without_power == sources {
            notes.push(LeftOut::NoGridPower.into());
        } else if without_power > 0 {
            let (n, m) = (without_power, sources);
            notes.push(LeftOut::SomeWithoutPower { n, m }.into());
        }
        let left_out = |entity, why| LeftOut::Import { entity, why };
        let mut energy_import = import.whole(&mut notes, left_out).unwrap_or_default();
        let left_out = |entity, why| LeftOut::Export { entity, why };
        let mut energy_export = export.whole(&mut notes, left_out).unwrap_or_default();
        let left_out = |entity, why| LeftOut::Power { entity, why };
        let plus = plus.whole(&mut notes, left_out);
        let minus = minus.whole(&mut notes, left_out);
        if let Some(entity) = in_both(&energy_import, &energy_export) {
            notes.push(LeftOut::EnergyBothWays { entity }.into());
            (energy_import, energy_export) = (Vec::new(), Vec::new());
        }
        let power = plus.zip(minus).and_then(|(plus, minus)| {
            if let Some(entity) = in_both(&plus, &minus) {
                notes.push(LeftOut::PowerBothWays { entity }.into());
                return None;
            }
            power_input(plus, minus)
        });
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

    /// What is of the grid.
    pub(crate) fn grid_sources(&self) -> impl Iterator<Item = &Value> {
        self.energy_sources.iter().filter(|source| is_grid(source))
    }

    /// Sensors named for anything but the grid: solar, batteries, single devices.
    #[must_use]
    pub fn other_than_grid(&self) -> HashSet<EntityId> {
        let others = self
            .energy_sources
            .iter()
            .filter(|source| !is_grid(source))
            .chain(&self.device_consumption);
        let members = others.flat_map(|value| value.as_object().into_iter().flatten());
        members
            .flat_map(|(key, value)| match value {
                Value::Object(config) if key == "power_config" => config.iter().collect(),
                _ => vec![(key, value)],
            })
            .filter(|(key, _)| key.starts_with("stat_"))
            .filter_map(|(_, value)| value.as_str()?.parse().ok())
            .collect()
    }
}

impl Power {
    /// Adds the owner's own sensors; whether there are any.
    fn put(self, plus: &mut Ids<'_>, minus: &mut Ids<'_>) -> bool {
        match self.power_config {
            Some(config) if config.names_any() => {
                plus.add(config.stat_rate);
                minus.add(config.stat_rate_inverted);
                plus.add(config.stat_rate_from);
                minus.add(config.stat_rate_to);
                true
            }
            _ => plus.add(self.stat_rate),
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
    fn a_flow_counts_in_its_own_direction_only() {
        let flow = |member: &str| {
            grid(&format!(
                r#"{{"energy_sources":[{{"type":"grid","flow_from":[{{{member}}}],"power":[{{"stat_rate":"sensor.p"}}]}}]}}"#
            ))
        };
        for odd in [r#""stat_energy_to":"sensor.e""#, r#""counter":"sensor.e""#] {
            let odd = flow(odd);
            assert!(odd.energy_import.is_empty() && odd.power.is_none());
            assert_eq!(odd.notes.len(), 1);
        }
        let both = flow(r#""stat_energy_from":"sensor.e","stat_energy_to":null"#);
        assert_eq!(ids(&both.energy_import), ["sensor.e"]);
        assert!(both.power.is_some());
    }

    #[test]
    fn the_owners_own_sensors_are_taken_and_not_what_is_made_of_them() {
        let inverted = r#"{"stat_rate_inverted":"sensor.i"}"#;
        let pair = r#"{"stat_rate_from":"sensor.f","stat_rate_to":"sensor.t"}"#;
        for (config, ready, power) in [
            (
                inverted,
                Some("sensor.i_inverted"),
                Some(("sensor.i", "", true)),
            ),
            (inverted, None, Some(("sensor.i", "", true))),
            (
                pair,
                Some("sensor.net"),
                Some(("sensor.f", "sensor.t", false)),
            ),
            (pair, None, Some(("sensor.f", "sensor.t", false))),
            (
                r#"{"stat_rate":"sensor.p"}"#,
                Some("sensor.p"),
                Some(("sensor.p", "", false)),
            ),
            // Nothing but the ready one.
            (
                r#"{"stat_rate":null}"#,
                Some("sensor.p"),
                Some(("sensor.p", "", false)),
            ),
            ("{}", None, None),
        ] {
            let stat_rate = serde_json::to_string(&ready).unwrap();
            let flat = format!(r#""power_config":{config},"stat_rate":{stat_rate}"#);
            let nested = format!(r#""flow_from":[],"power":[{{{flat}}}]"#);
            for source in [flat, nested] {
                let g = grid(&format!(
                    r#"{{"energy_sources":[{{"type":"grid",{source}}}]}}"#
                ));
                let text = |all: &[EntityId]| ids(all).join(",");
                let taken = g
                    .power
                    .map(|p| (text(&p.import), text(&p.export), p.invert));
                let power = power.map(|(plus, minus, invert)| (plus.into(), minus.into(), invert));
                assert_eq!(taken, power, "{source}");
                let made = g.ready.map(|ready| text(&ready.import));
                assert_eq!(made.as_deref(), ready, "{source}");
            }
        }
        let notes = grid(r#"{"energy_sources":[]}"#).notes;
        assert_eq!(notes.len(), 1, "whoever takes no power says why");
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
        assert_eq!(ids(&p.import), ["sensor.f", "sensor.s"]);
        assert_eq!(ids(&p.export), ["sensor.raw", "sensor.t"]);
        assert!(!p.invert);
        assert_eq!(ids(&g.energy_import), ["sensor.t1", "sensor.t2"]);
        assert_eq!(g.energy_export.len(), 0);
        assert_eq!(g.notes.len(), 1);
        let two = r#"{"energy_sources":[{"type":"grid","power_config":{"stat_rate_inverted":"sensor.a"}},{"type":"grid","power_config":{"stat_rate_inverted":"sensor.b"}}]}"#;
        let p = grid(two).power.unwrap();
        assert_eq!(ids(&p.import), ["sensor.a", "sensor.b"]);
        assert_eq!(p.export.len(), 0);
        assert!(p.invert);
        let same = two.replace("sensor.b", "sensor.a");
        assert_eq!(grid(&same).notes.len(), 0, "each names its power");
    }

    #[test]
    fn one_sensor_for_both_directions_is_none() {
        let g = grid(
            r#"{"energy_sources":[{"type":"grid","stat_energy_from":"sensor.e","stat_energy_to":"sensor.e",
            "power_config":{"stat_rate_from":"sensor.p","stat_rate_to":"sensor.p"},"stat_rate":"sensor.net"}]}"#,
        );
        let nothing = Grid {
            notes: g.notes.clone(),
            ..Grid::default()
        };
        assert_eq!(g, nothing, "never 0 for ever");
        assert_eq!(g.notes.len(), 2, "{:?}", g.notes);
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
    fn external_statistics_and_our_own_leave_no_partial_sum() {
        let g = grid(
            r#"{"energy_sources":[
            {"type":"grid","stat_energy_from":"tibber:import","stat_energy_to":"sensor.e","stat_rate":"sensor.a"},
            {"type":"grid","stat_energy_from":"sensor.i","stat_rate":"sensor.ours_power"}]}"#,
        );
        assert_eq!(g.power, None);
        assert_eq!(g.energy_import.len(), 0);
        assert_eq!(ids(&g.energy_export), ["sensor.e"]);
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
