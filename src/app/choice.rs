//! Inputs as options and back: what the automatic set-up keeps, what the set-up page writes, and
//! how options that somebody set lie over a choice.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{Mutex, watch};

pub use dashboard::owner::SetupState as Setup;

use super::sign::Contradicted;

use config::{
    Inputs, Layer, PowerInput, Resolved, TotalPhase,
    definition::{Definition, Group},
    definitions,
    pattern::entities,
};
use vocab::{EntityId, Phase};

/// The lists of entities that are no powers, by option.
fn lists(inputs: &mut Inputs) -> impl Iterator<Item = (String, &mut Vec<EntityId>)> {
    let by_phase = [
        ("volt", &mut inputs.voltage),
        ("curr", &mut inputs.current),
        ("pf", &mut inputs.pf),
        ("energy_import", &mut inputs.phase_energy_import),
        ("energy_export", &mut inputs.phase_energy_export),
    ];
    let by_phase = by_phase.into_iter().flat_map(|(what, lists)| {
        let keys = Phase::ALL.map(|phase| format!("{}_{what}", phase.letter()));
        keys.into_iter().zip(lists)
    });
    let house = [
        ("n_curr", &mut inputs.n_current),
        ("frequency", &mut inputs.frequency),
        ("energy_import", &mut inputs.energy_import),
        ("energy_export", &mut inputs.energy_export),
    ];
    by_phase.chain(house.map(|(key, ids)| (key.to_owned(), ids)))
}

/// Option keys and values that describe these inputs.
pub fn options_of(inputs: &Inputs) -> Map<String, Value> {
    let mut options = Map::new();
    let listed = |ids: &[EntityId]| (!ids.is_empty()).then(|| Value::String(ids.join(",")));
    for (name, power) in inputs.powers() {
        let number = |value: f64, plain| (value != plain).then(|| Value::from(value));
        let values = [
            ("power", listed(&power.import)),
            ("power_export", listed(&power.export)),
            ("invert", power.invert.then(|| Value::from(true))),
            ("scale", number(power.scale, 1.0)),
            ("offset", number(power.offset, 0.0)),
        ];
        let set = values
            .into_iter()
            .filter_map(|(what, value)| Some((what, value?)));
        options.extend(set.map(|(what, value)| (format!("{name}_{what}"), value)));
    }
    let mut others = inputs.clone();
    let set = lists(&mut others).filter_map(|(key, ids)| Some((key, listed(ids)?)));
    options.extend(set);
    let place = match inputs.total_phase {
        TotalPhase::On(Phase::A) => None,
        TotalPhase::On(phase) => Some(phase.letter()),
        TotalPhase::Split => Some("split"),
    };
    if let Some(place) = place.filter(|_| inputs.total.is_some()) {
        options.insert("total_phase".into(), Value::String(place.into()));
    }
    options
}

/// The inverse of [`options_of`]; keys that are no inputs are passed over.
pub fn inputs_of(options: &Map<String, Value>) -> Inputs {
    // Of a list in which one is no id nothing is taken: half a sum is a wrong order to a battery.
    let all = |key: &str| match options.get(key).and_then(Value::as_str) {
        None | Some("") => Some(Vec::new()),
        Some(text) => entities(text),
    };
    let power = |name: &str| -> Option<PowerInput> {
        let value = |what: &str| options.get(&format!("{name}_{what}"));
        let number = |what, plain| value(what).and_then(Value::as_f64).unwrap_or(plain);
        let import = all(&format!("{name}_power"))?;
        let export = all(&format!("{name}_power_export"))?;
        (!import.is_empty()).then(|| PowerInput {
            import,
            export,
            scale: number("scale", 1.0),
            offset: number("offset", 0.0),
            invert: value("invert").and_then(Value::as_bool).unwrap_or(false),
        })
    };
    let total_phase = match options.get("total_phase").and_then(Value::as_str) {
        Some("b") => TotalPhase::On(Phase::B),
        Some("c") => TotalPhase::On(Phase::C),
        Some("split") => TotalPhase::Split,
        _ => TotalPhase::On(Phase::A),
    };
    let mut inputs = Inputs {
        total: power("total"),
        total_phase,
        phases: Phase::ALL.map(|p| power(p.letter())),
        ..Inputs::none()
    };
    for (key, ids) in lists(&mut inputs) {
        *ids = all(&key).unwrap_or_default();
    }
    inputs
}

/// Whether an option says which power is read, or how.
pub fn is_power(key: &str) -> bool {
    definitions::find(key).is_some_and(|def| def.group == Group::Power)
}

/// Whether an option names entities that feed a meter, or says how.
pub fn is_input(key: &str) -> bool {
    definitions::find(key).is_some_and(Definition::feeds)
}

fn is_energy(key: &str) -> bool {
    key.ends_with("energy_import") || key.ends_with("energy_export")
}

/// The input options of the first meter that somebody set, in normal form; `None`: what is wrong
/// with the options leaves its phases without value, and nothing may be chosen for them.
pub fn said(resolved: &Resolved) -> Option<Map<String, Value>> {
    let set = resolved.values.iter().filter(|(key, value)| {
        is_input(key) && resolved.layer(key) > Layer::Profile && !value.is_null()
    });
    resolved.absent_reason(0).is_none().then(|| {
        set.map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect()
    })
}

/// A choice of the set-up with the options that somebody set laid over it
/// (`docs/decisions.md#nothing-configured`).
///
/// The power entities are those of the choice; factor, offset and sign apply to what was chosen;
/// all else is the option's where there is one.
pub fn laid(chosen: &Map<String, Value>, said: &Map<String, Value>) -> Inputs {
    let is_house = |key: &str| is_energy(key) && !key.contains("_energy");
    let mut options = chosen.clone();
    // The energy of the house and that of the phases exclude one another.
    if let Some(house) = said
        .keys()
        .find(|key| is_energy(key))
        .map(|key| is_house(key))
    {
        options.retain(|key, _| !is_energy(key) || is_house(key) == house);
    }
    for (key, value) in said {
        let (name, what) = key.split_once('_').unwrap_or(("", key));
        // The sign comes last: over one that is turned already, turning turns it back, and what is
        // added has the other sign.
        let turned = chosen.get(&format!("{name}_invert")) == Some(&Value::Bool(true));
        let value = match what {
            "power" | "power_export" => continue,
            "invert" => Value::Bool(value.as_bool().unwrap_or_default() != turned),
            "offset" if turned => value.as_f64().map_or(Value::Null, |watts| (-watts).into()),
            _ => value.clone(),
        };
        options.insert(key.clone(), value);
    }
    inputs_of(&options)
}

/// The entities of all meters, for the source.
pub fn union<'a>(inputs: impl IntoIterator<Item = &'a Inputs>) -> Arc<[EntityId]> {
    let mut all: Vec<EntityId> = inputs.into_iter().flat_map(Inputs::entities).collect();
    all.sort();
    all.dedup();
    all.into()
}

/// Key of the store.
pub const KEY: &str = "setup";

/// What was chosen in an earlier run, from the text that was kept.
pub fn kept(text: Option<&str>) -> Option<Map<String, Value>> {
    let options: Map<String, Value> = serde_json::from_str(text?).ok()?;
    inputs_of(&options).any_power().then_some(options)
}

/// What the first meter reads: the entities that options `named`, else what the set-up chose, under
/// what options `said`.
pub fn in_force(setup: &Setup, named: &Inputs, said: Option<&Map<String, Value>>) -> Inputs {
    match (setup, said) {
        (Setup::Chosen { options, .. }, Some(said)) if !named.any_power() => laid(options, said),
        _ => named.clone(),
    }
}

/// How far the set-up is and what options say: the search and the page share it.
#[derive(Clone)]
pub struct Choice {
    /// How far the set-up is.
    pub state: watch::Sender<Setup>,
    /// What [`said`] gave last. Held while the first meter takes inputs over, so
    /// that the last to come are those of the newest of both.
    pub said: Arc<Mutex<Option<Map<String, Value>>>>,
    /// Why a choice is not served (any more): a page that asks about its sign shows it.
    pub against: Arc<std::sync::Mutex<Option<Contradicted>>>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use config::{LoadInputs, load};

    /// The members of an object.
    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(members) = value else {
            panic!("{value}")
        };
        members
    }

    /// What options say over a choice, as options again.
    fn over(chosen: Value, options: &Value, env: &[(&str, &str)]) -> Value {
        let env = env
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let resolved = load(&LoadInputs {
            env: env.collect(),
            ..LoadInputs::default().with_options(options.to_string())
        });
        assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
        let inputs = laid(&object(chosen), &said(&resolved).unwrap());
        Value::Object(options_of(&inputs))
    }

    #[test]
    fn options_lie_over_a_choice() {
        let grid = || json!({"total_power": "sensor.grid", "energy_import": "sensor.in", "energy_export": "sensor.out"});
        assert_eq!(over(grid(), &json!({}), &[]), grid());
        let more = json!({"total_power": "sensor.grid", "energy_import": "sensor.mine", "energy_export": "sensor.out", "total_phase": "b",
            "total_invert": true, "total_scale": 2.0, "total_offset": 5.0, "a_volt": "sensor.u", "n_curr": "sensor.n", "frequency": "sensor.f"});
        let said = json!({"energy_import": "sensor.mine", "total_phase": "b", "total_invert": true, "total_scale": 2, "total_offset": 5,
            "a_volt": "sensor.u", "n_curr": "sensor.n", "hold": 5, "a_invert": true, "target_offset": 9});
        assert_eq!(
            over(grid(), &said, &[("VIRTUAL_SHELLY_FREQUENCY", "sensor.f")]),
            more
        );
        let phases = json!({"b_energy_import": "sensor.b1, sensor.b2"});
        assert_eq!(
            over(grid(), &phases, &[]),
            json!({"total_power": "sensor.grid", "b_energy_import": "sensor.b1,sensor.b2"})
        );
        let three = json!({"a_power": "sensor.a", "c_power": "sensor.c", "c_volt": "sensor.u"});
        let said =
            json!({"a_invert": true, "total_invert": true, "c_volt": "sensor.v", "c_offset": 3});
        let more = json!({"a_power": "sensor.a", "c_power": "sensor.c", "c_volt": "sensor.v", "a_invert": true, "c_offset": 3.0});
        assert_eq!(over(three, &said, &[]), more);
    }

    #[test]
    fn a_choice_that_is_turned_already_is_turned_back() {
        let to_grid = || json!({"total_power": "sensor.to_grid", "total_invert": true});
        assert_eq!(
            over(to_grid(), &json!({"total_invert": false}), &[]),
            to_grid(),
            "said, but nothing to turn"
        );
        assert_eq!(
            over(to_grid(), &json!({"total_invert": true}), &[]),
            json!({"total_power": "sensor.to_grid"})
        );
        // Of -300 W chosen, 10 W more are -290 W: -(300 - 10).
        let more =
            json!({"total_power": "sensor.to_grid", "total_invert": true, "total_offset": -10.0});
        assert_eq!(over(to_grid(), &json!({"total_offset": 10}), &[]), more);
    }

    #[test]
    fn wrong_options_leave_nothing_to_choose_for() {
        let inputs = LoadInputs {
            app: true,
            ..LoadInputs::default().with_options(r#"{"total_invert": "maybe"}"#)
        };
        assert_eq!(said(&load(&inputs)), None);
    }

    #[test]
    fn of_a_sum_in_which_one_is_no_entity_nothing_is_taken() {
        for options in [
            json!({"total_power": "sensor.a, sensor._b"}),
            json!({"total_power": "sensor.a", "total_power_export": "sensor.b, sensor"}),
        ] {
            let inputs = inputs_of(&object(options.clone()));
            assert_eq!(inputs, Inputs::none(), "{options}");
        }
    }

    #[test]
    fn inputs_are_the_same_after_being_options() {
        let ids = |text: &str| entities(text).unwrap();
        let mut inputs = Inputs::none();
        assert!(options_of(&inputs).is_empty());
        inputs.total = Some(PowerInput {
            import: ids("sensor.a,sensor.b"),
            export: ids("sensor.c"),
            scale: 2.0,
            offset: -5.0,
            invert: true,
        });
        inputs.total_phase = TotalPhase::Split;
        inputs.voltage[1] = ids("sensor.u");
        inputs.energy_import = ids("sensor.e");
        inputs.phase_energy_export[2] = ids("sensor.f");
        let options = options_of(&inputs);
        assert_eq!(options["total_power"], "sensor.a,sensor.b");
        assert_eq!(inputs_of(&options), inputs);
    }

    #[test]
    fn what_was_chosen_counts_only_while_it_is_in_use() {
        let chosen = Setup::Chosen {
            options: object(json!({"total_power": "sensor.grid"})),
            differs: false,
        };
        let said = object(json!({"total_invert": true}));
        let laid_over = json!({"total_power": "sensor.grid", "total_invert": true});
        let (named, volt) = (
            json!({"a_power": "sensor.a"}),
            json!({"a_volt": "sensor.u"}),
        );
        for (setup, options, said, want) in [
            (&chosen, json!({}), Some(&said), laid_over),
            (&chosen, named.clone(), Some(&said), named),
            // Options are wrong.
            (&chosen, json!({}), None, json!({})),
            // The last power is gone.
            (&Setup::ByOptions, volt.clone(), Some(&said), volt.clone()),
            (&Setup::Searching, volt.clone(), Some(&said), volt.clone()),
            (&Setup::Nothing, volt.clone(), Some(&said), volt),
        ] {
            let inputs = in_force(setup, &inputs_of(&object(options)), said);
            assert_eq!(Value::Object(options_of(&inputs)), want, "{setup:?}");
        }
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let text = r#"{"total_power":"sensor.grid","energy_import":"sensor.in"}"#;
        let options = object(serde_json::from_str(text).unwrap());
        assert_eq!(kept(Some(text)), Some(options));
        let no_power = r#"{"a_volt":"sensor.u"}"#;
        for text in [None, Some("{"), Some("[]"), Some(no_power)] {
            assert_eq!(kept(text), None, "{text:?}");
        }
    }
}
