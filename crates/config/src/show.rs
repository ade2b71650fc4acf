//! The effective configuration for people and for scripts: `virtual-shelly config [--json]`.
//! Secrets are masked.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{
    definitions,
    problem::{hide, mask_any},
    resolve::Resolved,
    value::to_text,
};
use vocab::mask_url;

/// What is wrong, then what is odd, a line each; empty if all is well.
#[must_use]
pub fn report(resolved: &Resolved) -> String {
    let problems = resolved.problems.iter().map(|p| format!("error: {p}\n"));
    let warnings = resolved.warnings.iter().map(|w| format!("warning: {w}\n"));
    problems.chain(warnings).collect()
}

/// One line an option: `key = value (layer)`.
#[must_use]
pub fn as_text(resolved: &Resolved) -> String {
    let mut out = String::new();
    for def in definitions::all() {
        let words = resolved.layer(def.key).words();
        let layer = match resolved.profile_of(def.key) {
            Some(profile) => format!("{words} {profile}"),
            None => words.to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = match (resolved.values.get(def.key), def.automatic) {
            (Some(Value::Null), _) => writeln!(out, "{} = off ({layer})", def.key),
            (Some(value), _) => writeln!(out, "{} = {} ({layer})", def.key, line(&masked(value))),
            (None, "") => writeln!(out, "{} = not set ({layer})", def.key),
            (None, words) => writeln!(out, "{} = not set ({layer}: {words})", def.key),
        };
    }
    out
}

/// `{"options": {key: {"value", "layer", "profile"?}}, "problems": […], "warnings": […], "absent": [{"meter",
/// "reason"}]}`.
#[must_use]
pub fn as_json(resolved: &Resolved) -> Value {
    let options: Map<String, Value> = definitions::all()
        .map(|def| {
            let value = resolved.values.get(def.key).map_or(Value::Null, masked);
            let mut option = json!({ "value": value, "layer": resolved.layer(def.key) });
            if let Some(profile) = resolved.profile_of(def.key) {
                option["profile"] = profile.into();
            }
            (def.key.to_string(), option)
        })
        .collect();
    let absent: Vec<Value> = resolved
        .absent_reasons
        .iter()
        .map(|(meter, reason)| json!({ "meter": meter, "reason": reason }))
        .collect();
    json!({ "options": options, "problems": resolved.problems, "warnings": resolved.warnings, "absent": absent })
}

/// Without passwords and tokens in URLs; secrets are masked before.
#[must_use]
pub fn masked(value: &Value) -> Value {
    // What is wrong inside `meters` was not taken, but it stands there.
    hide(value, mask_url, |text| {
        // Lists there may be text with commas.
        if text.split(',').all(is_url) {
            let urls: Vec<String> = text.split(',').map(mask_url).collect();
            urls.join(",")
        } else {
            mask_any(text)
        }
    })
}

/// The same of what has other keys than options, a device's configuration: all its texts.
#[must_use]
pub fn masked_texts(value: &Value) -> Value {
    match value {
        Value::String(text) => mask_any(text).into(),
        Value::Array(items) => items.iter().map(masked_texts).collect(),
        Value::Object(members) => {
            let members = members.iter();
            Value::Object(members.map(|(k, v)| (k.clone(), masked_texts(v))).collect())
        }
        other => other.clone(),
    }
}

fn is_url(text: &str) -> bool {
    url::Url::parse(text.trim()).is_ok_and(|url| url.has_host())
}

/// As the command line takes it; empty lists as such.
fn line(value: &Value) -> String {
    to_text(value)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_in_a_list_of_a_further_meter_is_shown_without_its_password() {
        let meters = json!([{"name": "x", "outbound_ws": ["me:secret@h", "ws://me:secret@h/x"]}]);
        let shown = json!([{"name": "x", "outbound_ws": ["***@h", "ws://***@h/x"]}]);
        assert_eq!(masked(&meters), shown);
    }

    #[test]
    fn a_devices_configuration_is_shown_without_passwords() {
        let config = json!({"ws": {"server": "ws://me:secret@h/x?token=1", "enable": true},
            "mqtt": {"server": "me:secret@h:1883", "user": null}, "em:0": {"ct_type": "120A"}});
        let shown = json!({"ws": {"server": "ws://***@h/x?token=***", "enable": true},
            "mqtt": {"server": "***@h:1883", "user": null}, "em:0": {"ct_type": "120A"}});
        assert_eq!(masked_texts(&config), shown);
    }
}
