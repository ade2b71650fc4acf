//! What Home Assistant says against entities before they are saved.

use serde_json::{Map, Value};

use config::{
    Inputs, Layer, PowerInput, Problem, ProblemKind, Resolved, definition::Definition, definitions,
    pattern,
};
use dashboard::owner::Sign;
use source::discover::Discovery;
use vocab::reason::{Reason, Wrong};
use vocab::{
    EntityId, State,
    parse::{Quantity, Unusable, parse},
};

/// What speaks against a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objections {
    /// It can't be right.
    pub refused: Vec<Problem>,
    /// It may be meant: to be asked about.
    pub doubtful: Vec<Problem>,
}

/// An entity that a change names: where, for what, which.
struct Named {
    key: String,
    quantity: Quantity,
    id: EntityId,
}

fn named(changes: &Map<String, Value>) -> Vec<Named> {
    let mut all = Vec::new();
    let mut of = |prefix: &str, members: &Map<String, Value>| {
        for (key, value) in members {
            let Some(quantity) = definitions::find(key).and_then(Definition::quantity) else {
                continue;
            };
            let one = |id| Named {
                key: format!("{prefix}{key}"),
                quantity,
                id,
            };
            let ids = value
                .as_str()
                .and_then(pattern::entities)
                .unwrap_or_default();
            all.extend(ids.into_iter().map(one));
        }
    };
    of("", changes);
    let meters = changes.get("meters").and_then(Value::as_array);
    for (index, entry) in meters.into_iter().flatten().enumerate() {
        if let Some(members) = entry.as_object() {
            of(&format!("meters[{index}]."), members);
        }
    }
    all
}

/// The entities that a change names.
pub fn entities(changes: &Map<String, Value>) -> Vec<EntityId> {
    let mut ids: Vec<EntityId> = named(changes).into_iter().map(|n| n.id).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Whether a change says how a power is read.
pub fn touches_sign(changes: &Map<String, Value>) -> bool {
    ["_invert", "_scale", "_power", "_power_export"]
        .iter()
        .any(|end| changes.keys().any(|key| key.ends_with(end)))
}

fn problem(key: &str, value: Option<&str>, what: impl Into<Reason>) -> Problem {
    Problem {
        kind: ProblemKind::Conflict,
        key: key.to_owned(),
        layer: Layer::File,
        name: None,
        value: value.map(|text| format!("\"{text}\"")),
        nearest: None,
        allowed: what.into(),
    }
}

/// Device classes under which Home Assistant has a quantity.
const fn class(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Power => "power",
        Quantity::Voltage => "voltage",
        Quantity::Current => "current",
        Quantity::PowerFactor => "power_factor",
        Quantity::Frequency => "frequency",
        Quantity::Energy => "energy",
    }
}

/// What `found`, which was asked for [`entities`], says against `changes`.
pub fn to_entities(changes: &Map<String, Value>, found: &Discovery) -> Objections {
    let mut all = Objections::default();
    for Named { key, quantity, id } in named(changes) {
        let says = |why: Unusable| problem(&key, Some(&id), Reason::entity(&id, why));
        if let Some(why) = found.refusal(&id) {
            all.refused.push(says(why));
            continue;
        }
        let Some(here) = found.asked_for(&id) else {
            all.doubtful.push(says(Unusable::Gone));
            continue;
        };
        match parse(
            quantity,
            &State::Text(here.value.as_str().into()),
            here.unit.as_deref(),
        ) {
            Ok(_) | Err(Unusable::Unavailable | Unusable::Unknown | Unusable::Empty) => {}
            Err(why @ Unusable::Implausible { .. }) => all.doubtful.push(says(why)),
            Err(why) => {
                all.refused.push(says(why));
                continue;
            }
        }
        // Without a value the unit still tells.
        let unit = here.unit.as_deref().unwrap_or_default();
        if !unit.is_empty() && !quantity.units().iter().any(|(known, _)| *known == unit) {
            all.refused.push(says(Unusable::unit(
                unit,
                quantity,
                vocab::unit::not_active(unit),
            )));
        } else if let Some(other) = here.device_class.as_deref().filter(|c| {
            *c != class(quantity) && !(quantity == Quantity::Energy && *c == "energy_storage")
        }) {
            all.doubtful.push(says(Unusable::OtherClass {
                class: other.into(),
                wanted: class(quantity).into(),
            }));
        }
    }
    all
}

/// Whether a power is read the other way round than the Energy settings declare it.
pub fn to_sign(inputs: &Inputs, found: &Discovery) -> Option<Problem> {
    let grid = found.grid.as_ref().filter(|_| !found.declared.is_empty())?;
    let declared = grid.inputs.total.as_ref()?;
    let sorted = |ids: &[EntityId]| {
        let mut ids = ids.to_vec();
        ids.sort();
        ids
    };
    let (plus, minus) = (sorted(&declared.import), sorted(&declared.export));
    let turns = |given: &PowerInput| {
        let turned = (given.invert != declared.invert) != (given.scale < 0.0);
        match (sorted(&given.import), sorted(&given.export)) {
            (import, export) if import == plus && export == minus => turned,
            (import, export) if import == minus && export == plus => !turned,
            _ => false,
        }
    };
    let (name, power) = inputs.powers().find(|(_, power)| turns(power))?;
    let id = power.import.first()?;
    let what = Reason::entity(id, Unusable::Turned);
    Some(problem(&format!("{name}_invert"), None, what))
}

/// A sign that the counters contradict.
pub fn to_contradiction(sign: &Sign) -> Option<Problem> {
    let (line, name) = (sign.line.clone()?, sign.turn.first()?);
    Some(problem(&format!("{name}_invert"), None, line))
}

/// What a change makes doubtful by the options alone, as warnings that were not there before.
pub fn to_options(before: &Resolved, after: &Resolved) -> Vec<Problem> {
    let warnings = after.warnings.iter();
    let new = warnings.filter(|warning| !before.warnings.contains(warning));
    let asked = |warning: &&Reason| {
        matches!(
            warning,
            Reason::Wrong(Wrong::TwoPhases { .. } | Wrong::NotServed { .. })
        )
    };
    new.filter(asked)
        .map(|warning| problem("", None, warning.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::{super::choice::inputs_of, *};
    use source::discover::{Candidate, Origin, Proposal};

    fn here(
        id: &'static str,
        value: &str,
        unit: &str,
        class: Option<&str>,
    ) -> (EntityId, Option<Candidate>) {
        let candidate = Candidate {
            unit: (!unit.is_empty()).then(|| unit.to_owned()),
            device_class: class.map(Into::into),
            ..Candidate::new(EntityId::from_static(id), value)
        };
        (candidate.entity_id.clone(), Some(candidate))
    }

    fn keys(problems: &[Problem]) -> Vec<String> {
        let key = |p: &Problem| {
            let what = p.allowed.to_string();
            format!("{} {}", p.key, what.split(' ').next().unwrap())
        };
        problems.iter().map(key).collect()
    }

    #[test]
    fn what_is_not_there_is_asked_about_and_what_measures_something_else_refused() {
        let found = Discovery {
            asked: vec![
                here("sensor.grid", "5", "W", Some("power")),
                here("sensor.gone", "unavailable", "kW", Some("power")),
                here("sensor.warm", "21", "°C", Some("temperature")),
                here("sensor.cold", "unavailable", "°C", Some("temperature")),
                here("sensor.phone", "80", "%", Some("battery")),
                here("light.lamp", "on", "", None),
                here("sensor.bare", "5", "", None),
                (EntityId::from_static("sensor.typo"), None),
            ],
            our_own: vec![EntityId::from_static("sensor.own")],
            derived: vec![
                ["sensor.mean", "sensor.own"]
                    .map(EntityId::from_static)
                    .into(),
            ],
            ..Discovery::default()
        };
        let of = |changes: Value| {
            let Objections { refused, doubtful } =
                to_entities(changes.as_object().unwrap(), &found);
            (keys(&refused), keys(&doubtful))
        };
        for (changes, doubtful) in [
            (json!({"total_power": "sensor.grid", "hold": 5}), vec![]),
            (
                json!({"device_name": "sensor.typo", "a_power": null}),
                vec![],
            ),
            // They may come back, or have no unit as before.
            (json!({"total_power": "sensor.gone, sensor.bare"}), vec![]),
            (
                json!({"total_power": "sensor.grid,sensor.typo"}),
                vec!["total_power sensor.typo".to_owned()],
            ),
            (
                json!({"a_pf": "sensor.phone"}),
                vec!["a_pf sensor.phone".to_owned()],
            ),
        ] {
            assert_eq!(of(changes), (vec![], doubtful));
        }
        for (key, id) in [
            ("total_power", "sensor.warm"),
            ("a_power_export", "sensor.cold"),
            ("b_power", "light.lamp"),
            ("energy_import", "sensor.grid"),
            ("c_energy_export", "sensor.bare"),
            ("total_power", "sensor.own"),
            ("a_power", "sensor.mean"),
            ("a_volt", "sensor.grid"),
        ] {
            assert_eq!(of(json!({key: id})), (vec![format!("{key} {id}")], vec![]));
        }
        let meters = json!({"meters": [{"name": "x", "a_power": "sensor.grid"}, {"name": "y", "a_power": "sensor.typo", "a_volt": "sensor.grid"}]});
        assert_eq!(
            of(meters),
            (
                vec!["meters[1].a_volt sensor.grid".to_owned()],
                vec!["meters[1].a_power sensor.typo".to_owned()]
            )
        );
    }

    #[test]
    fn turning_what_the_energy_settings_declare_is_asked_about() {
        let declared = |options: &Value| {
            let inputs = inputs_of(options.as_object().unwrap());
            Discovery {
                declared: inputs.entities(),
                grid: Some(Proposal {
                    inputs,
                    origin: Origin::EnergySettings,
                }),
                ..Discovery::default()
            }
        };
        let grid = json!({"total_power": "sensor.grid"});
        let inverted = json!({"total_power": "sensor.raw", "total_invert": true});
        let pair = json!({"total_power": "sensor.in", "total_power_export": "sensor.out"});
        let total = Some("total_invert");
        for (declares, options, asked) in [
            (&grid, grid.clone(), None),
            (
                &grid,
                json!({"total_power": "sensor.grid", "total_invert": true}),
                total,
            ),
            (
                &grid,
                json!({"total_power": "sensor.grid", "total_scale": -1.0}),
                total,
            ),
            (
                &grid,
                json!({"total_power": "sensor.grid", "total_scale": -1.0, "total_invert": true}),
                None,
            ),
            (
                &grid,
                json!({"a_power": "sensor.grid", "a_invert": true}),
                Some("a_invert"),
            ),
            // Nothing is declared of it.
            (
                &grid,
                json!({"total_power": "sensor.other", "total_invert": true}),
                None,
            ),
            (&inverted, json!({"total_power": "sensor.raw"}), total),
            (&inverted, inverted.clone(), None),
            (&pair, pair.clone(), None),
            (
                &pair,
                json!({"total_power": "sensor.out", "total_power_export": "sensor.in"}),
                total,
            ),
        ] {
            let inputs = inputs_of(options.as_object().unwrap());
            let found = to_sign(&inputs, &declared(declares)).map(|p| p.key);
            assert_eq!(found.as_deref(), asked, "{options}");
        }
    }
}
