//! Which options a recording keeps, and settings made of them again.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    line::Options,
    names::{self, Entities},
};
use config::{
    LoadInputs, MeterSettings, OptionsFile, PowerInput, ScalingSettings, TotalPhase, definitions,
    load,
};
use vocab::{
    EntityId, NotAnEntityId, Phase,
    reason::{Quoted, Reason, Undone, Wrong},
};

/// Options that count for the power that a reader is told, beside those of [`POWER`]; others cannot
/// be changed in a replay.
const KEYS: [&str; 15] = [
    "hold",
    "max_age",
    "stale",
    "target_offset",
    "ha_smoothing_enable",
    "smoothing_window",
    "poll_interval",
    "control",
    "control_readers",
    "request_side_scaling_enable",
    "request_side_scaling_clients",
    "request_ip_ttl",
    "scaling_shares",
    "scaling_viewers",
    "total_phase",
];

/// What there is of each power: `total_power`, `a_power`, `a_invert` ….
const POWER: [&str; 5] = ["power", "power_export", "invert", "scale", "offset"];

/// Options by address that a file has not, for it has no addresses: whether there are any.
pub(super) const BY_ADDRESS: &str = "shares_by_address";

/// What names an entity in a replay in place of its domain.
const DOMAIN: &str = "sensor.";

/// The settings in force that a recording knows.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Of each meter.
    pub meters: Vec<MeterSettings>,
    /// How power is shared.
    pub scaling: ScalingSettings,
    /// `poll_interval`.
    pub poll: Duration,
}

/// Changed options: key and text, as on a command line.
pub type Changes = BTreeMap<String, String>;

/// The options of each meter as a file has them.
#[must_use]
pub fn of(in_force: &InForce, entities: &mut Entities) -> Vec<Options> {
    entities.learn(&in_force.meters);
    let meters = in_force.meters.iter();
    meters
        .map(|meter| of_meter(in_force, meter, entities))
        .collect()
}

fn of_meter(in_force: &InForce, meter: &MeterSettings, entities: &mut Entities) -> Options {
    let mut out = Options::new();
    let inputs = &meter.inputs;
    let mut list = |ids: &[EntityId]| {
        let names: Vec<String> = ids.iter().map(|id| entities.of(id).to_string()).collect();
        names.join(", ")
    };
    let mut power = |name: &str, of: &PowerInput| {
        out.insert(format!("{name}_power"), json!(list(&of.import)));
        if !of.export.is_empty() {
            out.insert(format!("{name}_power_export"), json!(list(&of.export)));
        }
        out.insert(format!("{name}_scale"), json!(of.scale));
        out.insert(format!("{name}_offset"), json!(of.offset));
        out.insert(format!("{name}_invert"), json!(of.invert));
    };
    for (name, of) in inputs.powers() {
        power(name, of);
    }
    let phase = match inputs.total_phase {
        TotalPhase::On(Phase::A) => "a",
        TotalPhase::On(Phase::B) => "b",
        TotalPhase::On(Phase::C) => "c",
        TotalPhase::Split => "split",
    };
    let InForce { scaling, poll, .. } = in_force;
    let poll = poll.as_secs_f64();
    let max_age = meter.max_age.map_or(0, |age| age.as_secs());
    for (key, value) in [
        ("total_phase", json!(phase)),
        ("hold", json!(meter.hold.as_secs())),
        ("max_age", json!(max_age)),
        ("stale", json!(meter.stale.word())),
        ("target_offset", json!(meter.target_offset)),
        ("control", json!(meter.control.mode.word())),
        ("poll_interval", json!(poll)),
        ("ha_smoothing_enable", json!(meter.smoothing.is_some())),
        ("request_side_scaling_enable", json!(scaling.enable)),
        ("request_side_scaling_clients", json!(scaling.clients)),
        ("request_ip_ttl", json!(scaling.ttl.as_secs_f64())),
    ] {
        out.insert(key.into(), value);
    }
    if let Some(window) = meter.smoothing {
        let times = (window.as_secs_f64() / poll.max(0.001)).round();
        out.insert("smoothing_window".into(), json!(times as u32));
    }
    if !scaling.shares.is_empty() {
        out.insert(BY_ADDRESS.into(), json!(true));
    }
    out
}

/// The entity of a replay that a file calls `input`.
///
/// # Errors
/// In a line, if the file gives it a name that no entity can have.
pub fn entity(input: &str) -> Result<EntityId, NotAnEntityId> {
    format!("{DOMAIN}{input}").parse()
}

fn entities(text: &str) -> String {
    let one = |name: &str| format!("{DOMAIN}{}", name.trim());
    text.split(',').map(one).collect::<Vec<_>>().join(", ")
}

fn names_entities(key: &str) -> bool {
    definitions::find(key).is_some_and(|def| def.quantity().is_some())
}

/// Whether an option can be changed in a replay.
#[must_use]
pub fn counts(key: &str) -> bool {
    let of_power = |(name, what): (&str, &str)| {
        ["total", "a", "b", "c"].contains(&name) && POWER.contains(&what)
    };
    KEYS.contains(&key) || key.split_once('_').is_some_and(of_power)
}

/// Checks the keys of `changes`.
///
/// # Errors
/// In a line, the first that does not count.
pub fn check(changes: &Changes) -> Result<(), Reason> {
    let Some(key) = changes.keys().find(|key| !counts(key)) else {
        return Ok(());
    };
    let named: Arc<str> = key.as_str().into();
    Err(Reason::from(if definitions::find(key).is_some() {
        Wrong::NotInReplay { key: named }
    } else {
        let nearest = definitions::nearest(key).into();
        let key = Quoted(named);
        Wrong::NoOption { key, nearest }
    }))
}

/// The settings that a meter's options make, with `changes` over them.
///
/// # Errors
/// In a line, what is wrong with a value.
pub fn settings(
    options: &Options,
    changes: &Changes,
) -> Result<(MeterSettings, ScalingSettings), Reason> {
    let mut file = serde_json::Map::new();
    for (key, value) in options.iter().filter(|(key, _)| counts(key)) {
        let value = match value.as_str() {
            Some(text) if names_entities(key) => entities(text).into(),
            _ => value.clone(),
        };
        file.insert(key.clone(), value);
    }
    let mut args = BTreeMap::new();
    for (key, text) in changes {
        let text = if names_entities(key) && !text.trim().is_empty() {
            entities(text)
        } else {
            names::with_addresses(text)
        };
        // The power goes to the total or to phases, and whoever names one means it.
        if key == "total_power" {
            file.retain(|key, _| !is_phase_power(key));
        } else if is_phase_power(key) {
            file.remove("total_power");
            file.remove("total_power_export");
        }
        file.remove(key);
        args.insert(key.clone(), text);
    }
    let resolved = load(&LoadInputs {
        args,
        options_file: Some(OptionsFile {
            path: "recording".into(),
            contents: Ok(Value::Object(file).to_string()),
        }),
        ..LoadInputs::default()
    });
    if let Some(problem) = resolved.problems.first() {
        // Where the values come from is nothing that anybody has to look for.
        let what = match &problem.value {
            Some(value) => format!("{} = {value}", problem.key),
            None => problem.key.clone(),
        };
        return Err(problem.wrong().of(what));
    }
    let mut settings = resolved.settings;
    if settings.meters.is_empty() {
        return Err(Undone::NoMeter.into());
    }
    let meter = settings.meters.swap_remove(0);
    let mut scaling = settings.channels.scaling;
    if options.contains_key(BY_ADDRESS) && scaling.shares.is_empty() {
        // Nobody's: who is not named gets all, and counting is off.
        let nobody = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        scaling.shares.push((nobody.into(), 1.0));
    }
    Ok((meter, scaling))
}

fn is_phase_power(key: &str) -> bool {
    key.strip_prefix(['a', 'b', 'c'])
        .is_some_and(|rest| rest == "_power" || rest == "_power_export")
}
