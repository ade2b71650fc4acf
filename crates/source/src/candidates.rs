//! What can be an input, and what to propose, of what Home Assistant answered.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{
    discovery::{Candidate, Discovery, Origin, Proposal},
    energy_prefs::{EnergyPrefs, Grid},
    home_assistant::frames::{
        AreaEntry, Attributes, Config, DeviceEntry, FullState, RegistryEntry,
    },
    kin,
    rank::{Known, Measure, Power, Ranking, rank},
};
use config::{Inputs, PowerInput};
use vocab::parse::{Quantity, parse};
use vocab::reason::{LeftOut, Reason};
use vocab::{EntityId, State};

/// What sensors measure that could be inputs, in the order in which they are listed.
const QUANTITIES: [Quantity; 6] = [
    Quantity::Power,
    Quantity::Energy,
    Quantity::Voltage,
    Quantity::Current,
    Quantity::PowerFactor,
    Quantity::Frequency,
];

/// One of `get_states`.
pub(super) type SensorState = FullState<Attributes>;

/// What is known beside the states.
#[derive(Default)]
pub(super) struct House {
    pub(super) entries: Vec<RegistryEntry>,
    pub(super) devices: Vec<DeviceEntry>,
    pub(super) areas: Vec<AreaEntry>,
    /// The Energy settings, as told.
    pub(super) prefs: Option<String>,
}

impl House {
    /// The area's name of each entity that is in one: its own, else its device's.
    fn areas<'a>(&'a self) -> HashMap<&'a EntityId, &'a str> {
        let names: HashMap<&str, &str> = self
            .areas
            .iter()
            .map(|a| (a.area_id.as_str(), a.name.as_str()))
            .collect();
        let rooms: HashMap<&str, &str> = self
            .devices
            .iter()
            .filter_map(|d| Some((d.id.as_str(), d.area_id.as_deref()?)))
            .collect();
        let area = |e: &'a RegistryEntry| {
            let own = e.area_id.as_deref();
            own.or_else(|| rooms.get(e.device_id.as_deref()?).copied())
        };
        self.entries
            .iter()
            .filter_map(|e| Some((e.entity_id.as_ref()?, *names.get(area(e)?)?)))
            .collect()
    }

    /// Device of each entity that has one.
    fn devices_of(&self) -> HashMap<EntityId, String> {
        self.entries
            .iter()
            .filter_map(|e| Some((e.entity_id.clone()?, e.device_id.clone()?)))
            .collect()
    }

    /// Names of devices by their ids: the owner's, else their own.
    fn device_names(&self) -> HashMap<&str, &str> {
        let names = self.devices.iter().filter_map(|d| {
            let name = d.name_by_user.as_deref().or(d.name.as_deref())?;
            Some((d.id.as_str(), name))
        });
        names.collect()
    }

    /// What Home Assistant makes of others, by the Energy settings.
    fn made(&self) -> HashSet<EntityId> {
        self.entries
            .iter()
            .filter(|e| e.platform.as_deref() == Some("energy"))
            .filter_map(|e| e.entity_id.clone())
            .collect()
    }
}

pub(super) fn put_together(
    config: Config,
    states: &[SensorState],
    ours: &BTreeSet<EntityId>,
    house: &House,
    asked: &[EntityId],
    mut notes: Vec<Reason>,
) -> Discovery {
    let by_id: HashMap<&EntityId, &SensorState> = states
        .iter()
        .filter_map(|s| Some((s.entity_id.as_ref()?, s)))
        .collect();
    let made_of: HashMap<EntityId, Vec<EntityId>> = by_id
        .iter()
        .map(|(id, s)| ((*id).clone(), s.attributes.sources()))
        .filter(|(_, parts)| !parts.is_empty())
        .collect();
    let derived = kin::standing_on(ours, &made_of, &house.entries);
    let refuse = |id: &EntityId| match derived.get(id) {
        _ if ours.contains(id) => Some(LeftOut::Own.into()),
        Some(on) => Some(LeftOut::MadeOfOwn { entity: on.clone() }.into()),
        None => None,
    };
    let read = house.prefs.as_deref().map(serde_json::from_str);
    let prefs: Option<EnergyPrefs> = read.transpose().unwrap_or_else(|error| {
        let error = Arc::new(Reason::foreign(error.to_string()));
        notes.push(LeftOut::PrefsUnread { error }.into());
        None
    });
    let grid = prefs
        .as_ref()
        .map_or_else(Grid::default, |p| p.grid(&refuse));
    notes.extend(grid.notes.iter().cloned());
    let exists = |id: &EntityId| by_id.contains_key(id) && !ours.contains(id);
    let proposal = proposed(&grid, &exists);
    let made = house.made();
    let declared = grid.declared();
    let mut candidates: Vec<Candidate> = by_id
        .iter()
        .filter(|(id, s)| refuse(id).is_none() && kind(s).is_some())
        .map(|(id, s)| candidate(id, s))
        .collect();
    // What says a number now comes first: nobody can see whether the others are right.
    let is_number = |c: &Candidate| c.value.trim().parse::<f64>().is_ok();
    let place = |c: &Candidate| QUANTITIES.iter().position(|q| Some(*q) == c.kind);
    candidates.sort_by_cached_key(|c| (place(c), !is_number(c), c.entity_id.clone()));
    let counters = candidates
        .iter()
        .filter(|c| c.kind == Some(Quantity::Energy) && !grid.counts(&c.entity_id))
        .map(|c| c.entity_id.clone())
        .collect();
    let other = prefs.iter().flat_map(EnergyPrefs::other_than_grid);
    let known = Known {
        power: declared.clone(),
        import: grid.energy_import.clone(),
        export: grid.energy_export.clone(),
        counters,
        other: other.chain(made.iter().cloned()).collect(),
        devices: house.devices_of(),
        made_of,
    };
    // Beside a declared total, its three phases only.
    let is_offered = |measure: &Measure| {
        declared.is_empty() || matches!(measure, Measure::Three(_) | Measure::ThreePairs(_))
    };
    let offers = put_in_order(&mut candidates, &known)
        .into_iter()
        .filter(is_offered)
        .map(|measure| offer(&measure, &grid))
        .collect();
    let (areas, device_names) = (house.areas(), house.device_names());
    for candidate in &mut candidates {
        let id = &candidate.entity_id;
        let device = known.devices.get(id);
        let device = device.and_then(|device| device_names.get(device.as_str()));
        candidate.area = areas.get(id).map(|name| (*name).to_owned());
        candidate.device = device.map(|name| (*name).to_owned());
    }
    let before = grid.inputs_before();
    Discovery {
        ha_version: config.version,
        time_zone: config.time_zone,
        state: config.state,
        grid_before: proposal
            .as_ref()
            .filter(|p| p.inputs != before && before.any_power())
            .map(|_| before),
        grid: proposal,
        offers,
        declared,
        prefs: house.prefs.clone(),
        energy_import: grid.energy_import,
        energy_export: grid.energy_export,
        candidates,
        asked: asked
            .iter()
            .map(|id| (id.clone(), by_id.get(id).map(|s| candidate(id, s))))
            .collect(),
        our_own: ours.iter().cloned().collect(),
        derived: derived.into_iter().collect(),
        made,
        notes,
    }
}

/// What may be taken unasked: what the Energy settings declare, else what has the original's names.
fn proposed(grid: &Grid, exists: &dyn Fn(&EntityId) -> bool) -> Option<Proposal> {
    if grid.power.is_some() {
        return Some(Proposal {
            inputs: grid.inputs(),
            origin: Origin::EnergySettings,
        });
    }
    Some(Proposal {
        inputs: grid.with_counters(original_names(exists)?),
        origin: Origin::OriginalNames,
    })
}

/// Puts the power sensors among the candidates in order; gives what the meter's device measures
/// with.
fn put_in_order(candidates: &mut Vec<Candidate>, known: &Known) -> Vec<Measure> {
    let (powers, rest): (Vec<Candidate>, Vec<Candidate>) = candidates
        .drain(..)
        .partition(|c| c.kind == Some(Quantity::Power));
    let watts = |c: &Candidate| {
        let state = State::Text(c.value.as_str().into());
        let parsed = parse(Quantity::Power, &state, c.unit.as_deref()).ok()?;
        Some(parsed.value)
    };
    let given: Vec<Power<'_>> = powers
        .iter()
        .map(|c| Power {
            id: &c.entity_id,
            device: known.devices.get(&c.entity_id).map(String::as_str),
            watts: watts(c),
        })
        .collect();
    let Ranking { order, offers } = rank(&given, known);
    let mut powers: Vec<Option<Candidate>> = powers.into_iter().map(Some).collect();
    candidates.extend(order.into_iter().filter_map(|i| powers[i].take()));
    candidates.extend(rest);
    offers
}

/// A measure as inputs, with the counters of the Energy settings.
fn offer(measure: &Measure, grid: &Grid) -> Proposal {
    let power = |import: &EntityId, export: Option<&EntityId>| {
        let export = export.into_iter().cloned().collect();
        Some(PowerInput::plain(vec![import.clone()], export))
    };
    let proposal = |total, phases| Proposal {
        inputs: grid.with_counters(Inputs {
            total,
            phases,
            ..Inputs::none()
        }),
        origin: Origin::MeterDevice,
    };
    match measure {
        Measure::One(one) => proposal(power(one, None), Default::default()),
        Measure::Pair(import, export) => proposal(power(import, Some(export)), Default::default()),
        Measure::Three(three) => proposal(None, three.each_ref().map(|one| power(one, None))),
        Measure::ThreePairs(three) => {
            let pair = |(import, export): &(EntityId, EntityId)| power(import, Some(export));
            proposal(None, three.each_ref().map(pair))
        }
    }
}

/// The original's default entities: at least one phase's power has to exist.
fn original_names(exists: &dyn Fn(&EntityId) -> bool) -> Option<Inputs> {
    let mut inputs = Inputs::none();
    for (i, phase) in ["a", "b", "c"].into_iter().enumerate() {
        let found = |what: &str| {
            let id = format!("sensor.phase_{phase}_{what}").parse().ok()?;
            exists(&id).then_some(id)
        };
        inputs.phases[i] = found("power").map(|id| PowerInput::plain(vec![id], Vec::new()));
        inputs.voltage[i] = found("voltage").into_iter().collect();
        inputs.current[i] = found("current").into_iter().collect();
        inputs.pf[i] = found("pf").into_iter().collect();
    }
    inputs.any_power().then_some(inputs)
}

/// What a sensor measures that could be an input.
pub(super) fn kind(state: &SensorState) -> Option<Quantity> {
    let domain = state.entity_id.as_ref()?.domain();
    if !["sensor", "input_number", "number"].contains(&domain) {
        return None;
    }
    if state.attributes.device_class() == Some("power_factor") {
        return Some(Quantity::PowerFactor);
    }
    // Anything else is told by the units that a meter understands.
    let unit = state.attributes.unit().map(vocab::unit::canonical)?;
    let is_known = |quantity: &Quantity| {
        *quantity != Quantity::PowerFactor && quantity.units().iter().any(|(name, _)| *name == unit)
    };
    QUANTITIES.into_iter().find(is_known)
}

fn candidate(id: &EntityId, state: &SensorState) -> Candidate {
    let plain = Candidate::new(id.clone(), &*state.state);
    let name = state.attributes.friendly_name().map(str::to_owned);
    Candidate {
        name: name.unwrap_or(plain.name),
        unit: state.attributes.unit().map(str::to_owned),
        last_changed: state.changed(),
        last_reported: state.reported(),
        device_class: state.attributes.device_class().map(str::to_owned),
        kind: kind(state),
        restored: state.attributes.is_restored(),
        ..plain
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::discovery::feeds;

    const STATES: &str = r#"[
        {"entity_id":"sensor.solar_power","state":"5","attributes":{"unit_of_measurement":"W","device_class":"power"}},
        {"entity_id":"sensor.grid_power_kw","state":"0.5","attributes":{"unit_of_measurement":"kW","device_class":"power","friendly_name":"Grid power kW"},
         "last_changed":"2026-11-23T13:02:34.808429+00:00","last_reported":"2026-11-23T13:02:36.808429+00:00"},
        {"entity_id":"sensor.shelly_total","state":"1","attributes":{"unit_of_measurement":"W"}},
        {"entity_id":"sensor.phase_a_power","state":"1","attributes":{"unit_of_measurement":"W"}},
        {"entity_id":"sensor.phase_a_pf","state":"0.9","attributes":{"device_class":"power_factor","unit_of_measurement":"%"}},
        {"entity_id":"sensor._none","state":"7","attributes":{"unit_of_measurement":"W"}},
        {"entity_id":"light.lamp","state":"on"}]"#;

    fn found(ours: &[&'static str], house: &House, asked: &[EntityId]) -> Discovery {
        let states: Vec<SensorState> = serde_json::from_str(STATES).unwrap();
        let ours = ours.iter().map(|id| EntityId::from_static(id)).collect();
        put_together(Config::default(), &states, &ours, house, asked, Vec::new())
    }

    #[test]
    fn candidates_leave_our_own_out_and_put_the_grid_first() {
        let asked = ["sensor.grid_power_kw", "sensor.nowhere"].map(EntityId::from_static);
        let d = found(&["sensor.shelly_total"], &House::default(), &asked);
        let ids: Vec<&str> = d.candidates.iter().map(|c| &*c.entity_id).collect();
        assert_eq!(
            ids,
            [
                "sensor.grid_power_kw",
                "sensor.phase_a_power",
                "sensor.solar_power",
                "sensor.phase_a_pf"
            ],
            "powers first"
        );
        let kw = d.asked[0].1.as_ref().unwrap();
        assert_eq!(kw.name.as_str(), "Grid power kW");
        assert_eq!(kw.value.as_str(), "0.5");
        assert_eq!(kw.unit.as_deref(), Some("kW"));
        let age = kw.age(1_795_438_960.0).unwrap();
        assert!((age - 3.19).abs() < 0.01, "{age}");
        assert_eq!(d.asked[1].1, None);
        assert_eq!(d.our_own, [EntityId::from_static("sensor.shelly_total")]);
    }

    #[test]
    fn an_entity_is_where_its_device_is_unless_it_says_otherwise() {
        let entries = serde_json::from_str(
            r#"[{"entity_id":"sensor.own","unique_id":"1","area_id":"hall","device_id":"d1"},
                {"entity_id":"sensor.of_device","unique_id":"2","area_id":null,"device_id":"d1"},
                {"entity_id":"sensor.nowhere","unique_id":3,"device_id":"d2"},{"entity_id":"sensor.lost","area_id":"gone"}]"#,
        )
        .unwrap();
        let devices = r#"[{"id":"d1","area_id":"cellar"},{"id":"d2","area_id":null}]"#;
        let areas = r#"[{"area_id":"cellar","name":"Cellar","floor_id":null},{"area_id":"hall","name":"Hall"}]"#;
        let house = House {
            entries,
            devices: serde_json::from_str(devices).unwrap(),
            areas: serde_json::from_str(areas).unwrap(),
            prefs: None,
        };
        assert_eq!(
            house.areas(),
            HashMap::from([
                (&EntityId::from_static("sensor.own"), "Hall"),
                (&EntityId::from_static("sensor.of_device"), "Cellar")
            ])
        );
    }

    #[test]
    fn the_originals_names_are_the_second_guess() {
        let d = found(&[], &House::default(), &[]);
        let p = d.grid.unwrap();
        assert_eq!(p.origin, Origin::OriginalNames);
        let power = EntityId::from_static("sensor.phase_a_power");
        assert_eq!(feeds(&p.inputs, &power), ["a_power"]);
        let described = p.describe();
        let pf = "sensor.phase_a_pf as a_pf";
        assert!(described.contains(pf), "{described}");
        assert!(p.inputs.voltage[0].is_empty() && p.inputs.phases[1].is_none());
        let prefs = r#"{"energy_sources":[{"type":"grid","stat_energy_from":"sensor.e","stat_rate":"sensor.grid_power_kw"}]}"#;
        let house = House {
            prefs: Some(prefs.into()),
            ..House::default()
        };
        let p = found(&[], &house, &[]).grid.unwrap();
        assert_eq!(p.origin, Origin::EnergySettings);
        let energy = EntityId::from_static("sensor.e");
        assert_eq!(feeds(&p.inputs, &energy), ["energy_import"]);
        let ours = ["sensor.grid_power_kw", "sensor.phase_a_power"];
        let d = found(&ours, &house, &[]);
        assert_eq!(d.grid, None, "our own is never an input");
    }
}
