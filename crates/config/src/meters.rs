//! Entries of `meters`: the further meters, each with its own entities, identity and ports.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    definition::{Definition, Kind},
    definitions::{self, NAME},
    meter_values::Meter,
    problem::{Findings, Problem},
    value::{self, Raw},
};
use vocab::{
    Layer,
    reason::{Reason, Wrong},
};

/// Reads all entries, which this layer says, as meters; what is wrong is listed and left out. Lists
/// are lists then.
pub(super) fn read(entries: &[Value], layer: Layer, found: &mut Findings) -> Vec<Meter> {
    let mut names = BTreeSet::new();
    let mut read = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let mut meter = Meter {
            prefix: format!("meters[{index}]."),
            ..Meter::default()
        };
        for (name, given) in entry.as_object().into_iter().flatten() {
            if name == NAME.key {
                continue;
            }
            let Some(def) = definitions::find(name).filter(|def| definitions::in_meter(def)) else {
                let known = definitions::meter_entry().map(|def| def.key);
                let nearest = definitions::nearest_of(name, known);
                found.unknown(Problem::unknown(layer, &meter.full(name), nearest));
                continue;
            };
            match member(def, given) {
                Ok(Some(value)) => meter.put(def.key, value, layer),
                Ok(None) => {}
                Err(allowed) => {
                    let key = meter.full(name);
                    let problem = Problem::value(layer, key, def, given, allowed);
                    if def.safety {
                        meter.blocked.push(Reason::from(&problem));
                    }
                    found.wrong(problem);
                }
            }
        }
        let given = entry.get(NAME.key).unwrap_or(&Value::Null);
        let key = meter.full(NAME.key);
        let name = given
            .as_str()
            .and_then(|text| value::from_text(NAME.kind, text).ok()?);
        meter.name = match name.as_ref().and_then(Value::as_str) {
            Some(name) if names.insert(name.to_owned()) => name.to_owned(),
            Some(name) => {
                let problem = Problem::conflict(layer, key, Some(given), Wrong::NameTaken);
                found.wrong(problem);
                free(&mut names, &format!("{name} {}", index + 2))
            }
            None => {
                let problem = Problem::value(layer, key, &NAME, given, NAME.kind.limit());
                found.wrong(problem);
                free(&mut names, &format!("meter {}", index + 2))
            }
        };
        read.push(meter);
    }
    read
}

/// A name that no other meter has: counters and records are kept under it.
fn free(names: &mut BTreeSet<String>, wish: &str) -> String {
    let mut name = wish.to_owned();
    while !names.insert(name.clone()) {
        name.push('\'');
    }
    name
}

/// A member of an entry: lists are text with commas, as the Supervisor's schema allows no list
/// there.
fn member(def: &Definition, given: &Value) -> value::Checked {
    match (def.kind, given) {
        (Kind::Many(_), Value::String(text)) => value::check(def, &Raw::Text(text.clone())),
        _ => value::check(def, &Raw::Json(given.clone())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_read_whole_and_every_fault_named() {
        let entries = json!([
            {"name": "garage", "a_power": "sensor.garage", "http_port": 8081, "udp_ports": "1011, 1012", "outbound_ws": "ws://gx/"},
            {"name": "garage", "a_pwoer": "sensor.x", "hold": -1, "stale": "maybe", "device_id": "shellypro3em-2cbcbb0a1b2c"},
            {}
        ]);
        let mut found = Findings::new(false);
        let read = read(entries.as_array().unwrap(), Layer::File, &mut found);
        let problems = found.problems;
        assert_eq!(read[0].name, "garage");
        assert_eq!(read[0].values["udp_ports"], json!([1011, 1012]));
        assert_eq!(read[0].values["outbound_ws"], json!(["ws://gx/"]));
        assert_eq!(read[1].blocked.len(), 2, "hold and stale");
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "meters[1].a_pwoer",
                "meters[1].device_id",
                "meters[1].hold",
                "meters[1].stale",
                "meters[1].name",
                "meters[2].name"
            ]
        );
        assert_eq!(problems[0].nearest.as_deref(), Some("a_power"));
    }
}
