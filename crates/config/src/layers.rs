//! What each layer says about each option, before anything is judged but the keys.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    definition::{Definition, ENV_PREFIX},
    definitions::{self, TEST_VARIABLES},
    inputs::{LoadInputs, OptionsFile},
    original,
    problem::{Findings, Problem},
    value::Raw,
};
use vocab::{
    Layer,
    reason::{Cause, Reason, Wrong},
};

/// One layer's word about one option.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// Which layer.
    pub layer: Layer,
    /// Its name there.
    pub name: String,
    /// The value; `None`: switched off in the Network card.
    pub value: Option<Raw>,
}

/// All layers, lowest first for each key.
pub(super) struct Gathered {
    /// By key.
    pub given: BTreeMap<&'static str, Vec<Given>>,
    /// Unknown keys, an unreadable file.
    pub found: Findings,
    /// The options file cannot be read: nothing is known about the entities.
    pub file_broken: Option<Reason>,
}

impl Gathered {
    fn push(&mut self, def: &'static Definition, layer: Layer, name: String, value: Option<Raw>) {
        self.given
            .entry(def.key)
            .or_default()
            .push(Given { layer, name, value });
    }
}

/// Collects every layer.
pub(super) fn gather(inputs: &LoadInputs) -> Gathered {
    let mut out = Gathered {
        given: BTreeMap::new(),
        found: Findings::new(inputs.app),
        file_broken: None,
    };
    file(inputs, &mut out);
    if let Some(network) = inputs.network.as_ref().filter(|_| inputs.app) {
        card(network, &mut out);
    }
    environment(inputs, &mut out);
    for (key, text) in &inputs.args {
        if let Some(def) = definitions::find(key) {
            let (flag, text) = (format!("--{}", def.flag()), Raw::Text(text.clone()));
            out.push(def, Layer::CommandLine, flag, Some(text));
        }
    }
    out
}

fn file(inputs: &LoadInputs, out: &mut Gathered) {
    let Some(file) = &inputs.options_file else {
        return;
    };
    let text = match &file.contents {
        Ok(text) => text,
        Err(error) => return broken(file, error.clone(), out),
    };
    let options = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(options)) => options,
        Ok(_) => return broken(file, Wrong::NoObject.into(), out),
        Err(error) => {
            let error = Cause::said(error.to_string());
            return broken(file, Wrong::NotJson { error }.into(), out);
        }
    };
    for (key, value) in options {
        match definitions::find(&key) {
            Some(def) if !def.in_file || (inputs.app && def.plain_only) => {
                let why = if def.in_file {
                    Wrong::Elsewhere
                } else if inputs.app {
                    Wrong::LeadsThereInApp
                } else {
                    Wrong::LeadsThere {
                        flag: def.flag().into(),
                        name: def.env_name().into(),
                    }
                };
                let problem = Problem::value(Layer::File, def.key, def, &value, why);
                out.found.unknown(problem);
            }
            Some(def) if inputs.app && def.on_in_form() && value == Value::Bool(true) => {}
            Some(def) => out.push(def, Layer::File, key, Some(Raw::Json(value))),
            None => {
                let nearest = definitions::nearest(&key);
                out.found
                    .unknown(Problem::unknown(Layer::File, &key, nearest));
            }
        }
    }
}

fn broken(file: &OptionsFile, why: Reason, out: &mut Gathered) {
    let problem = Problem::file(&file.path, why);
    out.file_broken = Some(Reason::from(&problem));
    out.found.wrong(problem);
}

/// Network card: a missing port keeps its default, an empty one is off
/// (`docs/home-assistant.md#the-network-card`).
fn card(network: &BTreeMap<String, Option<u16>>, out: &mut Gathered) {
    for (key, port) in [("http_port", "80/tcp"), ("modbus_port", "502/tcp")] {
        if let (Some(def), Some(set)) = (definitions::find(key), network.get(port)) {
            let value = set.map(|set| Raw::Json(set.into()));
            out.push(def, Layer::Network, port.into(), value);
        }
    }
    let Some(def) = definitions::find("udp_ports") else {
        return;
    };
    let defaults = def
        .default
        .unwrap_or_default()
        .split(',')
        .filter_map(|port| port.parse::<u16>().ok());
    let (mut set, mut known) = (Vec::new(), false);
    for port in defaults {
        let entry = network.get(&format!("{port}/udp"));
        known |= entry.is_some();
        set.extend(entry.copied().unwrap_or(Some(port)).map(Value::from));
    }
    if known {
        let value = (!set.is_empty()).then_some(Raw::Json(Value::Array(set)));
        out.push(def, Layer::Network, "udp".into(), value);
    }
}

fn environment(inputs: &LoadInputs, out: &mut Gathered) {
    let mut known = BTreeMap::new();
    for def in definitions::all() {
        let name = def.env_name();
        let set = |name: &str| {
            let text = inputs
                .env
                .get(name)
                .filter(|text| !text.trim().is_empty())?;
            Some((name.to_string(), text.clone()))
        };
        if let Some(pair) = set(&name).or_else(|| def.alias.and_then(set)) {
            known.insert(def.key, pair);
        }
    }
    original::replace(&mut known, &mut out.found);
    for def in definitions::all() {
        if let Some((name, text)) = known.remove(def.key) {
            out.push(def, Layer::Environment, name, Some(Raw::Text(text)));
        }
    }
    let ours = inputs.env.iter();
    for (name, text) in ours.filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
        let is_known = TEST_VARIABLES.contains(&name.as_str())
            || definitions::all().any(|def| def.env_name() == name.as_str());
        if is_known || text.trim().is_empty() {
            continue;
        }
        // Both spellings are compared: `VIRTUAL_SHELLY_HTTP_PORT` means the option that is called
        // `HTTP_PORT` here.
        let key = name[ENV_PREFIX.len()..].to_lowercase();
        let nearest = definitions::nearest(&key);
        let mut problem = Problem::unknown(Layer::Environment, name, nearest);
        problem.nearest = definitions::find(nearest).map(|def| def.env_name().into());
        out.found.unknown(problem);
    }
}
