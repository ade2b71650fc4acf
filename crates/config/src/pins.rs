//! What must not change unseen: every option has a setting that it changes, and options of each
//! kind read as they did.
//!
//! After a change that is meant: `UPDATE_DOCS=1 cargo test --lib pins::`, and look at the
//! difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    definition::{Definition, Kind},
    pattern::Form,
    *,
};

/// A value that an option takes and that is not its default.
fn other(def: &Definition) -> Value {
    let default = def.default.unwrap_or_default();
    match def.kind {
        Kind::Bool => Value::Bool(default != "true"),
        Kind::Meters => json!([{"name": "PV", "a_power": "sensor.pv", "http_port": 4712}]),
        kind => sample(kind, default),
    }
}

fn sample(kind: Kind, but: &str) -> Value {
    match kind {
        Kind::Bool => Value::Bool(true),
        Kind::Int { min, .. } if but.parse() != Ok(min) => min.into(),
        Kind::Int { min, .. } => (min + 1).into(),
        Kind::Float { max, .. } if but.parse() != Ok(max) => max.into(),
        Kind::Float { max, .. } => (max - 1.0).into(),
        Kind::Password => "secret".into(),
        Kind::Url(schemes) => format!("{}://h.example/", schemes[0]).into(),
        // Within the range of the further WebSocket ports for these, and out of it for others.
        Kind::Port if but.starts_with("60") => 6015.into(),
        Kind::Port => 4711.into(),
        Kind::Choice(words) => (*words.iter().find(|word| **word != but).unwrap()).into(),
        Kind::Many(item) => Value::Array(vec![sample(*item, "")]),
        Kind::Meters => Value::Null,
        Kind::Match(form) | Kind::Text { form, .. } => match form {
            Form::Entities => "sensor.x",
            Form::Mac => "2C:BC:BB:0A:1B:2C",
            Form::DeviceId => "shellypro3em-2cbcbb0a1b2d",
            Form::Version => "1.6.1",
            Form::FwId => "20250508-110717/1.6.1-g8dbd358",
            Form::LogLevels => "info,transport=debug",
            Form::Address => "127.0.0.7",
            Form::Origin => "https://example.org",
            Form::Network => "192.168.1.0/24",
            Form::Share => "192.168.1.20=0.7",
            Form::Reader => "evcc",
            Form::Broker => "mqtt://h.example/",
            Form::Any | Form::HostName | Form::Host => "other",
        }
        .into(),
    }
}

/// What an option may need beside it: without power a scale is nothing.
fn beside() -> [Value; 5] {
    [
        json!({}),
        json!({"total_power": "sensor.t"}),
        json!({"a_power": "sensor.a", "b_power": "sensor.b", "c_power": "sensor.c"}),
        json!({"ha_smoothing_enable": true}),
        json!({"raw_days": 7, "history_days": 1}),
    ]
}

/// These options without and with another value of one, where both are good.
fn without_and_with(options: &Value, def: &Definition) -> Option<[Resolved; 2]> {
    let value = other(def);
    let read = |with: bool| {
        let (mut args, mut options) = (std::collections::BTreeMap::new(), options.clone());
        if with && def.in_file {
            options[def.key] = value.clone();
        } else if with {
            args.insert(def.key.to_owned(), super::value::to_text(&value));
        }
        let resolved = load(&LoadInputs {
            args,
            ..LoadInputs::default().with_options(options.to_string())
        });
        resolved.problems.is_empty().then_some(resolved)
    };
    Some([read(false)?, read(true)?])
}

/// Every option but the two that say where the others are.
fn settable() -> impl Iterator<Item = &'static Definition> {
    definitions::all().filter(|def| !["data_dir", "options"].contains(&def.key))
}

#[test]
fn every_option_changes_a_setting() {
    for def in settable() {
        let changes = beside()
            .iter()
            .filter_map(|options| without_and_with(options, def))
            .any(|[without, with]| without.settings != with.settings);
        assert!(changes, "{} = {} changes no setting", def.key, other(def));
    }
}

#[test]
fn an_option_counts_at_once_if_it_says_so_and_only_then() {
    for def in settable() {
        let at_once = beside()
            .iter()
            .filter_map(|options| without_and_with(options, def))
            .any(|[started, new]| new.running(&started) != started.settings);
        assert_eq!(at_once, def.live, "{}", def.key);
    }
    for def in settable().filter(|def| def.live) {
        for [started, new] in beside()
            .iter()
            .filter_map(|options| without_and_with(options, def))
        {
            assert!(
                new.running(&started) == new.settings,
                "{}: at once is not as after a restart",
                def.key
            );
        }
    }
}

/// Options as they are found somewhere, and what `config --json` made of them.
#[derive(Deserialize)]
struct Golden {
    given: Given,
    #[serde(default)]
    config: Value,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    /// Where options like these come from.
    about: String,
    app: bool,
    /// Members of the options file, or its text where it is no JSON.
    options: Value,
    env: std::collections::BTreeMap<String, String>,
    args: std::collections::BTreeMap<String, String>,
    network: Option<std::collections::BTreeMap<String, Option<u16>>>,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            about: String::new(),
            app: false,
            options: Value::Object(Map::new()),
            env: Default::default(),
            args: Default::default(),
            network: None,
        }
    }
}

macro_rules! goldens {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("golden/", $name, ".json")))),*]
    };
}

#[test]
fn options_of_each_kind_read_as_they_did() {
    let goldens = goldens![
        "app",
        "app_wrong",
        "broken_file",
        "every_key",
        "layers",
        "original_environment",
        "plain",
        "wrong"
    ];
    for (name, text) in goldens {
        let mut whole: Value = serde_json::from_str(text).unwrap();
        let golden: Golden = serde_json::from_value(whole.clone()).unwrap();
        let given = golden.given;
        assert!(!given.about.is_empty(), "{name} says what it is");
        let text = match &given.options {
            Value::String(text) => text.clone(),
            options => options.to_string(),
        };
        let config = as_json(&load(&LoadInputs {
            args: given.args,
            env: given.env,
            options_file: Some(OptionsFile {
                path: "/d/options.json".into(),
                contents: Ok(text),
            }),
            network: given.network,
            data_dir: "/d".into(),
            app: given.app,
            ..LoadInputs::default()
        }));
        if golden.config == config {
            continue;
        }
        let file = format!("golden/{name}.json");
        assert!(
            std::env::var_os("UPDATE_DOCS").is_some(),
            "{file}: options read otherwise: {:?}",
            differences(&golden.config, &config)
        );
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .find(|folder| folder.join(file!()).exists())
            .unwrap();
        whole["config"] = config;
        let path = root.join(file!()).with_file_name(file);
        std::fs::write(path, format!("{whole:#}\n")).unwrap();
    }
}

/// Options that read otherwise, else the parts that are different.
fn differences(old: &Value, new: &Value) -> Vec<String> {
    let names = |value: &Value| -> Vec<String> {
        let members = value.as_object().into_iter().flatten();
        members.map(|(name, _)| name.clone()).collect()
    };
    let of = |old: &Value, new: &Value| -> Vec<String> {
        let mut all = names(old);
        all.extend(names(new));
        all.retain(|name| old[name] != new[name]);
        all.dedup();
        all.iter()
            .map(|name| format!("{name}: {} was {}", new[name], old[name]))
            .collect()
    };
    match of(&old["options"], &new["options"]) {
        found if found.is_empty() => of(old, new),
        found => found,
    }
}

#[test]
fn the_golden_options_name_every_key() {
    let text = include_str!("golden/every_key.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    for def in definitions::all() {
        let given = &golden["given"];
        let named = [&given["options"], &given["args"]]
            .into_iter()
            .any(|layer| layer.get(def.key).is_some());
        assert!(named, "{} has no line in golden/every_key.json", def.key);
    }
}
