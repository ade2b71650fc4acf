//! What can be an input, and what to propose, of what Home Assistant answered.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;

use super::{
    discovery::{Candidate, Discovery, Kind, Origin, Proposal},
    energy_prefs::{EnergyPrefs, Grid},
    home_assistant::frames::{
        AreaEntry, Attributes, Config, DeviceEntry, RegistryEntry, id_if_any,
    },
    kin,
    rank::{Known, Measure, Power, Ranking, rank},
};
use config::{Inputs, PowerInput};
use vocab::parse::{Quantity, parse};
use vocab::reason::{LeftOut, Reason};
use vocab::{EntityId, State};

/// One of `get_states`.
#[derive(Debug, Deserialize)]
pub(super) struct FullState {
    #[serde(default, deserialize_with = "id_if_any")]
    pub(super) entity_id: Option<EntityId>,
    state: String,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    last_changed: Option<String>,
    #[serde(default)]
    last_reported: Option<String>,
}

/// What is known beside the states.
#[derive(Default)]
pub(super) struct House {
    pub(super) entries: Vec<RegistryEntry>,
    pub(super) devices: Vec<DeviceEntry>,
    pub(super) areas: Vec<AreaEntry>,
    /// The Energy settings, as told.
    pub(super) prefs: Option<String>,
}

/// The area's name of each entity that is in one: its own, else its device's.
fn areas_of<'a>(
    entries: &'a [RegistryEntry],
    devices: &'a [DeviceEntry],
    areas: &'a [AreaEntry],
) -> HashMap<&'a EntityId, &'a str> {
    let names: HashMap<&str, &str> = areas
        .iter()
        .map(|a| (a.area_id.as_str(), a.name.as_str()))
        .collect();
    let rooms: HashMap<&str, &str> = devices
        .iter()
        .filter_map(|d| Some((d.id.as_str(), d.area_id.as_deref()?)))
        .collect();
    let area = |e: &'a RegistryEntry| {
        e.area_id
            .as_deref()
            .or_else(|| rooms.get(e.device_id.as_deref()?).copied())
    };
    entries
        .iter()
        .filter_map(|e| Some((e.entity_id.as_ref()?, *names.get(area(e)?)?)))
        .collect()
}

pub(super) fn put_together(
    config: Config,
    states: &[FullState],
    ours: &HashSet<EntityId>,
    house: &House,
    asked: &[EntityId],
    mut notes: Vec<Reason>,
) -> Discovery {
    let by_id: HashMap<&EntityId, &FullState> = states
        .iter()
        .filter_map(|s| Some((s.entity_id.as_ref()?, s)))
        .collect();
    let made_of: HashMap<EntityId, Vec<EntityId>> = by_id
        .iter()
        .map(|(id, s)| ((*id).clone(), kin::made_of(&s.attributes)))
        .filter(|(_, parts)| !parts.is_empty())
        .collect();
    let derived = kin::standing_on(ours, &made_of, &house.entries);
    let refuse = |id: &EntityId| match derived.get(id) {
        _ if ours.contains(id) => Some(LeftOut::Own.into()),
        Some(on) => Some(LeftOut::MadeOfOwn { entity: on.clone() }.into()),
        None => None,
    };
    let read = house
        .prefs
        .as_deref()
        .map(serde_json::from_str::<EnergyPrefs>);
    let prefs = match read {
        Some(Ok(prefs)) => Some(prefs),
        Some(Err(error)) => {
            let error = Arc::new(Reason::foreign(error.to_string()));
            notes.push(LeftOut::PrefsUnread { error }.into());
            None
        }
        None => None,
    };
    let grid = prefs
        .as_ref()
        .map_or_else(Grid::default, |p| p.grid(&refuse));
    notes.extend(grid.notes.iter().cloned());
    let proposal = if grid.power.is_some() {
        Some(Proposal {
            inputs: grid.inputs(),
            origin: Origin::EnergySettings,
        })
    } else {
        let exists = |id: &EntityId| by_id.contains_key(id) && !ours.contains(id);
        original_names(&exists).map(|inputs| {
            let inputs = Inputs {
                energy_import: grid.energy_import.clone(),
                energy_export: grid.energy_export.clone(),
                ..inputs
            };
            Proposal {
                inputs,
                origin: Origin::OriginalNames,
            }
        })
    };
    let made: HashSet<EntityId> = house
        .entries
        .iter()
        .filter(|e| e.platform.as_deref() == Some("energy"))
        .filter_map(|e| e.entity_id.clone())
        .collect();
    let declared = grid.power.as_ref().map_or_else(Vec::new, |p| {
        p.import.iter().chain(&p.export).cloned().collect()
    });
    let mut candidates: Vec<Candidate> = by_id
        .iter()
        .filter(|(id, s)| refuse(id).is_none() && kind(s).is_some())
        .map(|(id, s)| candidate(id, s))
        .collect();
    // What says a number now comes first: nobody can see whether the others are right.
    let is_number = |c: &Candidate| c.value.trim().parse::<f64>().is_ok();
    candidates.sort_by_cached_key(|c| (c.kind, !is_number(c), c.entity_id.clone()));
    let known = Known {
        power: declared.clone(),
        import: grid.energy_import.clone(),
        export: grid.energy_export.clone(),
        counters: {
            let is_grids =
                |id: &EntityId| grid.energy_import.contains(id) || grid.energy_export.contains(id);
            let energies = candidates
                .iter()
                .filter(|c| c.kind == Some(Kind::Energy))
                .map(|c| c.entity_id.clone());
            energies.filter(|id| !is_grids(id)).collect()
        },
        other: prefs
            .as_ref()
            .map_or_else(HashSet::new, EnergyPrefs::other_than_grid)
            .into_iter()
            .chain(made.iter().cloned())
            .collect(),
        devices: house
            .entries
            .iter()
            .filter_map(|e| Some((e.entity_id.clone()?, e.device_id.clone()?)))
            .collect(),
        made_of,
    };
    let measures = put_in_order(&mut candidates, &known);
    let offers = if declared.is_empty() {
        measures.iter().map(|m| offer(m, &grid)).collect()
    } else {
        more_than_declared(&measures, &grid)
    };
    let area_of = areas_of(&house.entries, &house.devices, &house.areas);
    let names: HashMap<&str, &str> = house
        .devices
        .iter()
        .filter_map(|d| {
            Some((
                d.id.as_str(),
                d.name_by_user.as_deref().or(d.name.as_deref())?,
            ))
        })
        .collect();
    for candidate in &mut candidates {
        candidate.area = area_of
            .get(&candidate.entity_id)
            .map(|name| (*name).to_owned());
        candidate.device = known
            .devices
            .get(&candidate.entity_id)
            .and_then(|id| names.get(id.as_str()))
            .map(|name| (*name).to_owned());
    }
    let mut our_own: Vec<EntityId> = ours.iter().cloned().collect();
    our_own.sort();
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
        our_own,
        derived: derived.into_iter().collect(),
        made,
        notes,
    }
}

/// Puts the power sensors among the candidates in order; gives what the meter's device measures
/// with.
fn put_in_order(candidates: &mut Vec<Candidate>, known: &Known) -> Vec<Measure> {
    let (mut powers, rest): (Vec<Candidate>, Vec<Candidate>) = candidates
        .drain(..)
        .partition(|c| c.kind == Some(Kind::Power));
    let watts = |c: &Candidate| {
        parse(
            Quantity::Power,
            &State::Text(c.value.as_str().into()),
            c.unit.as_deref(),
        )
        .ok()
        .map(|p| p.value)
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
    let mut places = vec![0; order.len()];
    order
        .iter()
        .enumerate()
        .for_each(|(place, &i)| places[i] = place);
    let mut placed: Vec<(usize, Candidate)> = places.into_iter().zip(powers.drain(..)).collect();
    placed.sort_by_key(|(place, _)| *place);
    candidates.extend(placed.into_iter().map(|(_, c)| c).chain(rest));
    offers
}

/// A measure as inputs, with the counters of the Energy settings.
fn offer(measure: &Measure, grid: &Grid) -> Proposal {
    let power = |import: &EntityId, export: Option<&EntityId>| {
        let export = export.into_iter().cloned().collect();
        Some(PowerInput::plain(vec![import.clone()], export))
    };
    let inputs = Inputs {
        energy_import: grid.energy_import.clone(),
        energy_export: grid.energy_export.clone(),
        ..Inputs::none()
    };
    let inputs = match measure {
        Measure::One(one) => Inputs {
            total: power(one, None),
            ..inputs
        },
        Measure::Pair(import, export) => Inputs {
            total: power(import, Some(export)),
            ..inputs
        },
        Measure::Three(three) => Inputs {
            phases: three.each_ref().map(|one| power(one, None)),
            ..inputs
        },
        Measure::ThreePairs(three) => Inputs {
            phases: three
                .each_ref()
                .map(|(import, export)| power(import, Some(export))),
            ..inputs
        },
    };
    Proposal {
        inputs,
        origin: Origin::MeterDevice,
    }
}

/// Beside a declared total, its three phases.
fn more_than_declared(measures: &[Measure], grid: &Grid) -> Vec<Proposal> {
    measures
        .iter()
        .filter(|m| matches!(m, Measure::Three(_) | Measure::ThreePairs(_)))
        .map(|m| offer(m, grid))
        .collect()
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

pub(super) fn kind(state: &FullState) -> Option<Kind> {
    let domain = state.entity_id.as_ref()?.domain();
    if !["sensor", "input_number", "number"].contains(&domain) {
        return None;
    }
    match (
        state.attributes.device_class(),
        state.attributes.unit().map(vocab::unit::canonical),
    ) {
        (Some("power_factor"), _) => Some(Kind::PowerFactor),
        // What is measured is told by the units that a meter understands.
        (_, Some(unit)) => [
            Kind::Power,
            Kind::Energy,
            Kind::Voltage,
            Kind::Current,
            Kind::Frequency,
        ]
        .into_iter()
        .find(|kind| {
            kind.quantity()
                .units()
                .iter()
                .any(|(known, _)| *known == unit)
        }),
        _ => None,
    }
}

fn candidate(id: &EntityId, state: &FullState) -> Candidate {
    let unix = |text: &Option<String>| {
        text.as_deref()?
            .parse::<jiff::Timestamp>()
            .ok()
            .map(|t| Duration::try_from(t.as_duration()).map_or(0.0, |d| d.as_secs_f64()))
    };
    let plain = Candidate::new(id.clone(), &*state.state);
    let name = state.attributes.friendly_name().map(str::to_owned);
    Candidate {
        name: name.unwrap_or(plain.name),
        unit: state.attributes.unit().map(str::to_owned),
        last_changed: unix(&state.last_changed),
        last_reported: unix(&state.last_reported),
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

    fn states(json: &str) -> Vec<FullState> {
        serde_json::from_str(json).unwrap()
    }

    const STATES: &str = r#"[
        {"entity_id":"sensor.solar_power","state":"5","attributes":{"unit_of_measurement":"W","device_class":"power"}},
        {"entity_id":"sensor.grid_power_kw","state":"0.5","attributes":{"unit_of_measurement":"kW","device_class":"power","friendly_name":"Grid power kW"},
         "last_changed":"2026-11-23T13:02:34.808429+00:00","last_reported":"2026-11-23T13:02:36.808429+00:00"},
        {"entity_id":"sensor.shelly_total","state":"1","attributes":{"unit_of_measurement":"W"}},
        {"entity_id":"sensor.phase_a_power","state":"1","attributes":{"unit_of_measurement":"W"}},
        {"entity_id":"sensor.phase_a_pf","state":"0.9","attributes":{"device_class":"power_factor","unit_of_measurement":"%"}},
        {"entity_id":"sensor._none","state":"7","attributes":{"unit_of_measurement":"W"}},
        {"entity_id":"light.lamp","state":"on"}]"#;

    #[test]
    fn candidates_leave_our_own_out_and_put_the_grid_first() {
        let asked = ["sensor.grid_power_kw", "sensor.nowhere"].map(EntityId::from_static);
        let d = put_together(
            Config::default(),
            &states(STATES),
            &HashSet::from([EntityId::from_static("sensor.shelly_total")]),
            &House::default(),
            &asked,
            Vec::new(),
        );
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
        assert!(
            (kw.age(1_795_438_960.0).unwrap() - 3.19).abs() < 0.01,
            "{:?}",
            kw.age(1_795_438_960.0)
        );
        assert_eq!(d.asked[1].1, None);
        assert_eq!(d.our_own, [EntityId::from_static("sensor.shelly_total")]);
    }

    #[test]
    fn an_entity_is_where_its_device_is_unless_it_says_otherwise() {
        let entries: Vec<RegistryEntry> = serde_json::from_str(
            r#"[{"entity_id":"sensor.own","unique_id":"1","area_id":"hall","device_id":"d1"},
                {"entity_id":"sensor.of_device","unique_id":"2","area_id":null,"device_id":"d1"},
                {"entity_id":"sensor.nowhere","unique_id":3,"device_id":"d2"},{"entity_id":"sensor.lost","area_id":"gone"}]"#,
        )
        .unwrap();
        let devices: Vec<DeviceEntry> =
            serde_json::from_str(r#"[{"id":"d1","area_id":"cellar"},{"id":"d2","area_id":null}]"#)
                .unwrap();
        let areas: Vec<AreaEntry> =
            serde_json::from_str(r#"[{"area_id":"cellar","name":"Cellar","floor_id":null},{"area_id":"hall","name":"Hall"}]"#).unwrap();
        let found = areas_of(&entries, &devices, &areas);
        assert_eq!(
            found,
            HashMap::from([
                (&EntityId::from_static("sensor.own"), "Hall"),
                (&EntityId::from_static("sensor.of_device"), "Cellar")
            ])
        );
    }

    #[test]
    fn the_originals_names_are_the_second_guess() {
        let d = put_together(
            Config::default(),
            &states(STATES),
            &HashSet::new(),
            &House::default(),
            &[],
            Vec::new(),
        );
        let p = d.grid.unwrap();
        assert_eq!(p.origin, Origin::OriginalNames);
        assert_eq!(
            feeds(&p.inputs, &EntityId::from_static("sensor.phase_a_power")),
            ["a_power"]
        );
        assert!(
            p.describe().contains("sensor.phase_a_pf as a_pf"),
            "{}",
            p.describe()
        );
        assert!(p.inputs.voltage[0].is_empty() && p.inputs.phases[1].is_none());
        let prefs = r#"{"energy_sources":[{"type":"grid","stat_energy_from":"sensor.e","stat_rate":"sensor.grid_power_kw"}]}"#;
        let house = House {
            prefs: Some(prefs.into()),
            ..House::default()
        };
        let d = put_together(
            Config::default(),
            &states(STATES),
            &HashSet::new(),
            &house,
            &[],
            Vec::new(),
        );
        assert_eq!(d.grid.as_ref().unwrap().origin, Origin::EnergySettings);
        assert_eq!(
            feeds(&d.grid.unwrap().inputs, &EntityId::from_static("sensor.e")),
            ["energy_import"]
        );
        let ours = HashSet::from([
            EntityId::from_static("sensor.grid_power_kw"),
            EntityId::from_static("sensor.phase_a_power"),
        ]);
        let d = put_together(
            Config::default(),
            &states(STATES),
            &ours,
            &house,
            &[],
            Vec::new(),
        );
        assert_eq!(d.grid, None, "our own is never an input");
    }
}
