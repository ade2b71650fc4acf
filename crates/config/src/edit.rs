//! Changing the options file from the settings page: validated as a whole before anything is
//! written.

use serde_json::{Map, Value};

use super::{
    definition::Kind,
    definitions,
    inputs::LoadInputs,
    meters,
    problem::{Findings, Problem},
    resolve::load,
    value::{Raw, check},
};
use vocab::{Layer, reason::Wrong};

/// The options file after some changes; a change to null takes the key out, so that its default
/// counts again.
///
/// `inputs` are those the process was loaded from, with the current options file. Other keys stay
/// as they are.
///
/// # Errors
/// Everything that the changes make wrong, each once: unknown keys, wrong values, contradictions,
/// and options that the Network card, the environment or the command line sets, where a change
/// would be without effect. What was wrong before and stays so is no reason to refuse.
pub fn change_options(
    inputs: &LoadInputs,
    changes: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<Problem>> {
    let before = load(inputs);
    let mut options = inputs.options();
    let mut problems = Vec::new();
    for (key, value) in changes {
        let def = definitions::find(key);
        let layer = before.layer(key);
        if layer.read_only() {
            let why = Wrong::set_by(layer);
            problems.push(Problem::conflict(layer, key.as_str(), None, why));
        } else if value.is_null() {
            options.remove(key);
        } else if let Some(def) = def.filter(|def| !def.in_file || (inputs.app && def.plain_only)) {
            problems.push(Problem::conflict(layer, def.key, None, Wrong::NotInFile));
        } else {
            match validate(key, value) {
                // As the user wrote it, so that a MAC stays readable; empty is not set.
                Ok(Some(_)) => {
                    options.insert(key.clone(), value.clone());
                }
                Ok(None) => {
                    options.remove(key);
                }
                Err(problem) => problems.push(*problem),
            }
        }
    }
    if problems.is_empty() {
        let after = load(&inputs.with_options(Value::Object(options.clone()).to_string()));
        let new = after.problems.into_iter();
        problems.extend(new.filter(|problem| !before.problems.contains(problem)));
    }
    if problems.is_empty() {
        Ok(options)
    } else {
        Err(problems)
    }
}

/// What is wrong with options by themselves, each once.
#[must_use]
pub fn contradictions(options: &Map<String, Value>) -> Vec<Problem> {
    let text = Value::Object(options.clone()).to_string();
    load(&LoadInputs::default().with_options(text)).problems
}

/// Checks one value as the options file would hold it, and gives its normal form; `None`: not set.
///
/// # Errors
/// The key is unknown, or the value has the wrong type, form or range. Contradictions between
/// options are found by [`change_options`].
pub fn validate(key: &str, value: &Value) -> Result<Option<Value>, Box<Problem>> {
    let Some(def) = definitions::find(key) else {
        let problem = Problem::unknown(Layer::File, key, definitions::nearest(key));
        return Err(Box::new(problem));
    };
    let checked = check(def, &Raw::Json(value.clone()))
        .map_err(|allowed| Box::new(Problem::value(Layer::File, key, def, value, allowed)))?;
    let mut found = Findings::new(false);
    if let (Kind::Meters, Some(Value::Array(entries))) = (def.kind, &checked) {
        meters::read(entries, Layer::File, &mut found);
    }
    match found.problems.into_iter().next() {
        Some(problem) => Err(Box::new(problem)),
        None => Ok(checked),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn inputs(options: &Value, app: bool) -> LoadInputs {
        LoadInputs {
            app,
            ..LoadInputs::default().with_options(options.to_string())
        }
    }

    fn change(inputs: &LoadInputs, changes: &Value) -> Result<Value, Vec<String>> {
        change_options(inputs, changes.as_object().unwrap())
            .map(Value::Object)
            .map_err(|problems| problems.into_iter().map(|problem| problem.key).collect())
    }

    #[test]
    fn changes_are_checked_as_a_whole() {
        let start = inputs(&json!({"a_power": "sensor.a", "hold": 5}), true);
        assert_eq!(
            change(&start, &json!({"hold": 9, "stale": "error"})),
            Ok(json!({"a_power": "sensor.a", "hold": 9, "stale": "error"}))
        );
        assert_eq!(
            change(&start, &json!({"hold": null})),
            Ok(json!({"a_power": "sensor.a"}))
        );
        assert_eq!(
            change(&start, &json!({"hold": ""})),
            Ok(json!({"a_power": "sensor.a"}))
        );
        assert_eq!(
            change(&start, &json!({"hold": -1, "x": 1})),
            Err(vec!["hold".into(), "x".into()])
        );
        assert_eq!(
            change(&start, &json!({"total_power": "sensor.t"})),
            Err(vec!["total_power".into()])
        );
        assert_eq!(
            change(&start, &json!({"total_power": "sensor.t", "a_power": null})),
            Ok(json!({"total_power": "sensor.t", "hold": 5}))
        );
        assert_eq!(
            change(&start, &json!({"http_port": 81})),
            Err(vec!["http_port".into()]),
            "the Network card has it"
        );
        assert_eq!(
            change(
                &start,
                &json!({"meters": [{"name": "x", "hold": -1, "http_port": 81}]})
            ),
            Err(vec!["meters[0].hold".into()])
        );
    }

    #[test]
    fn what_another_layer_sets_is_not_written_in_vain() {
        let mut start = inputs(&json!({}), false);
        start.env.insert("POLL_INTERVAL".into(), "3".into());
        assert_eq!(
            change(&start, &json!({"poll_interval": 2})),
            Err(vec!["poll_interval".into()])
        );
    }

    #[test]
    fn an_old_fault_does_not_stop_another_change() {
        let start = inputs(&json!({"udp_max": 1, "old": 1}), true);
        assert_eq!(
            change(&start, &json!({"hold": 9})),
            Ok(json!({"udp_max": 1, "old": 1, "hold": 9}))
        );
    }
}
