//! A single value: from text (environment, command line) or JSON (options file) to its one normal
//! form, or what is allowed.
//!
//! Normal form: booleans and numbers as such, MAC addresses as 12 capitals, lists without
//! duplicates. `None` is "not set": empty text or an empty list.

use serde_json::{Value, json};

use super::{
    definition::{Definition, Kind},
    log_levels, original,
};
use vocab::reason::{Cause, Limit, Reason, Wrong};

/// Longest text of an option without a bound of its own.
const TEXT_MAX: usize = 4096;

/// Longest secret; access tokens of Home Assistant have some 180 characters.
const SECRET_MAX: usize = 1024;

/// A value in normal form, `None` if not set, or what is allowed instead.
pub(super) type Checked = Result<Option<Value>, Reason>;

/// Reads text as the environment and the command line give it.
pub(super) fn from_text(kind: Kind, text: &str) -> Checked {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let refused = || Reason::MustBe(kind.limit());
    let json = match kind {
        Kind::Bool => Value::Bool(match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => true,
            "0" | "false" | "no" | "off" => false,
            _ => return Err(Limit::FlagText.into()),
        }),
        Kind::Int { .. } | Kind::Port => json!(text.parse::<i64>().map_err(|_| refused())?),
        Kind::Float { .. } => json!(text.parse::<f64>().map_err(|_| refused())?),
        Kind::Many(item) => {
            let items = text
                .split(',')
                .map(|part| from_text(*item, part))
                .filter_map(Result::transpose);
            return items.collect::<Result<Vec<_>, _>>().map(list);
        }
        Kind::Meters => serde_json::from_str(text).map_err(|error| Limit::MetersText {
            error: Cause::said(error.to_string()),
        })?,
        Kind::Text { .. } | Kind::Password | Kind::Url(_) | Kind::Match(_) | Kind::Choice(_) => {
            Value::String(text.into())
        }
    };
    from_json(kind, &json)
}

/// Reads JSON as the options file gives it. The members of `meters` are looked at by
/// [`super::meters`].
pub(super) fn from_json(kind: Kind, value: &Value) -> Checked {
    let refused = || Reason::MustBe(kind.limit());
    let text = match value {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => Some(text.as_str()),
        _ => None,
    };
    let checked = match kind {
        Kind::Bool => value.as_bool().map(Value::Bool),
        Kind::Int { min, max } => whole(value)
            .filter(|n| (min..=max).contains(n))
            .map(Value::from),
        Kind::Port => whole(value)
            .filter(|n| (1..=65_535).contains(n))
            .map(Value::from),
        Kind::Float { min, max } => value
            .as_f64()
            .filter(|n| (min..=max).contains(n))
            .map(Value::from),
        Kind::Text { min, max, form } => text
            .filter(|t| {
                (min..=max.min(TEXT_MAX)).contains(&t.chars().count())
                    && !t.chars().any(char::is_control)
                    && form.matches(t)
            })
            .map(Value::from),
        Kind::Password => text
            .filter(|t| t.chars().count() <= SECRET_MAX && !t.chars().any(char::is_control))
            .map(Value::from),
        Kind::Url(schemes) => text.filter(|t| is_url(t, schemes)).map(Value::from),
        Kind::Match(form) => text
            .filter(|t| t.len() <= TEXT_MAX)
            .and_then(|t| form.normal(t))
            .map(Value::from),
        Kind::Choice(words) => {
            // YAML of old reads a bare `on` or `off` as a boolean.
            let word = text.or_else(|| value.as_bool().map(|on| if on { "on" } else { "off" }));
            word.filter(|t| words.contains(t)).map(Value::from)
        }
        Kind::Many(item) => {
            let Value::Array(items) = value else {
                return Err(refused());
            };
            let items = items
                .iter()
                .map(|value| from_json(*item, value)?.ok_or_else(refused));
            return items.collect::<Result<Vec<_>, _>>().map(list);
        }
        Kind::Meters => value
            .as_array()
            .filter(|all| all.len() <= 32 && all.iter().all(Value::is_object))
            .map(|_| value.clone()),
    };
    checked.map(Some).ok_or_else(refused)
}

/// Text that [`from_text`] reads back.
pub(super) fn to_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.iter().any(Value::is_object) && !items.is_empty() => {
            items.iter().map(to_text).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// Text or JSON, as its layer gives it.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// Environment and command line.
    Text(String),
    /// Options file.
    Json(Value),
}

impl Raw {
    /// As JSON, to be shown.
    pub(super) fn shown(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Json(value) => value.clone(),
        }
    }
}

/// A value of one option, with the rules that belong to the option and not to its kind.
pub(super) fn check(def: &Definition, raw: &Raw) -> Checked {
    // What people write in these two, in the form that the definition knows.
    let familiar = |text: &str| match def.key {
        "log_level" => log_levels::familiar(text),
        "mdns_hostname" => text
            .trim()
            .trim_end_matches('.')
            .trim_end_matches(".local")
            .to_string(),
        _ => text.to_string(),
    };
    let checked = match raw {
        Raw::Text(text) => from_text(def.kind, &familiar(text)),
        Raw::Json(Value::String(text)) => from_json(def.kind, &familiar(text).into()),
        Raw::Json(value) => from_json(def.kind, value),
    }?;
    match &checked {
        Some(Value::String(text)) if original::is_refused(def.key, text) => {
            Err(Wrong::TheOriginals.into())
        }
        _ => Ok(checked),
    }
}

/// A whole number, also when written as `5.0`.
fn whole(value: &Value) -> Option<i64> {
    let exact = |n: &f64| n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(exact).map(|n| n as i64))
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    text.len() <= 2048
        && url::Url::parse(text).is_ok_and(|url| {
            schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty())
        })
}

/// Each item once, in order; an empty list is not set.
fn list(items: Vec<Value>) -> Option<Value> {
    let mut once: Vec<Value> = Vec::with_capacity(items.len());
    for item in items {
        if !once.contains(&item) {
            once.push(item);
        }
    }
    (!once.is_empty()).then_some(Value::Array(once))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{definitions, validate};

    fn text(key: &str, text: &str) -> Checked {
        check(definitions::find(key).unwrap(), &Raw::Text(text.into()))
    }

    #[test]
    fn a_text_becomes_the_value_of_its_option() {
        for (key, given, want) in [
            ("cors_enable", "Yes", json!(true)),
            ("cors_enable", "OFF", json!(false)),
            ("hold", " 60 ", json!(60)),
            ("poll_interval", "5", json!(5.0)),
            ("poll_interval", "1e0", json!(1.0)),
            ("udp_ports", "1010, 2220,,1010", json!([1010, 2220])),
            ("log_level", "WARNING", json!("warn")),
            ("log_level", "Critical", json!("error")),
            ("mdns_hostname", "Meter.local.", json!("Meter")),
            ("mac", "2c:bc:bb:0a:1b:2c", json!("2CBCBB0A1B2C")),
            ("forecast_models", "mlp,blend", json!(["mlp", "blend"])),
            (
                "meters",
                r#"[{"name":"garage"}]"#,
                json!([{"name":"garage"}]),
            ),
        ] {
            assert_eq!(text(key, given), Ok(Some(want)), "{key} {given}");
        }
        for (key, given) in [("hold", ""), ("udp_ports", " , "), ("device_name", "  ")] {
            assert_eq!(text(key, given), Ok(None), "{key}");
        }
        for (key, given) in [
            ("cors_enable", "2"),
            ("hold", "1.5"),
            ("hold", "3601"),
            ("poll_interval", "nan"),
            ("poll_interval", "inf"),
            ("poll_interval", "1,5"),
            ("http_port", "0"),
            ("http_port", "65536"),
            ("udp_ports", "1010,x"),
            ("outbound_ws", "http://gx"),
            ("ha_base_url", "homeassistant:8123"),
            ("app_id", "shellypro3em"),
            ("mac", "aa-bb-cc-dd-ee-ff"),
            ("mdns_hostname", "virtual-"),
            ("meters", "[1]"),
            ("meters", "["),
        ] {
            assert!(text(key, given).is_err(), "{key} {given}");
        }
    }

    #[test]
    fn json_types_are_not_mixed_up() {
        for (key, value) in [
            ("hold", json!("60")),
            ("hold", json!(true)),
            ("hold", Value::Null),
            ("cors_enable", json!("true")),
            ("cors_enable", json!(1)),
            ("device_name", json!(5)),
            ("udp_ports", json!("1010")),
            ("udp_ports", json!([["1010"]])),
            ("cors_origins", json!([""])),
            ("meters", json!({})),
            ("device_name", json!("a\nb")),
            ("hold", json!(1e300)),
        ] {
            let problem = validate(key, &value).expect_err(key);
            assert_eq!(problem.key, key);
            assert!(problem.to_string().contains("must be"), "{problem}");
        }
        assert_eq!(validate("hold", &json!(60.0)), Ok(Some(json!(60))));
        assert_eq!(validate("hold", &json!("")), Ok(None));
        assert_eq!(validate("udp_ports", &json!([])), Ok(None));
        let problem = validate("holdd", &json!(1)).expect_err("unknown");
        assert_eq!(problem.nearest.as_deref(), Some("hold"));
    }

    #[test]
    fn secrets_and_passwords_in_urls_are_not_shown() {
        let long = "x".repeat(SECRET_MAX + 1);
        let problem = validate("auth_password", &json!(long)).expect_err("too long");
        assert!(!problem.to_string().contains("xxx") && problem.to_string().contains("***"));
        let problem = validate("ha_base_url", &json!("ftp://me:hidden@h/")).expect_err("scheme");
        assert!(!problem.to_string().contains("hidden"), "{problem}");
    }
}
