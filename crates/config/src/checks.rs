//! Options against one another: what no single value can be wrong about.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    definitions,
    meter_values::{Meter, default_value},
    named::{self, ENERGIES, POWERS, Pair, keys_of},
    pattern,
    problem::{Findings, Problem},
    settings::Settings,
    value,
};
use vocab::{
    Layer,
    reason::{Reason, Wrong},
};

impl Meter {
    /// Whether a value is other than the option's default.
    pub(super) fn is_changed(&self, key: &str) -> bool {
        let value = self.values.get(key);
        let plain = definitions::find(key).and_then(|def| default_value(def, false));
        value.is_some_and(|value| plain.as_ref() != Some(value))
    }
}

/// Most fan-out ports.
const FANOUT_MAX: i64 = 64;

/// Checks values; what is wrong is replaced by its default, or makes the meter's phases absent.
pub(super) fn values(meters: &mut [Meter], found: &mut Findings) {
    let mut macs: Vec<String> = Vec::new();
    for meter in meters.iter_mut() {
        power(meter, found);
        energy(meter, found);
        named::check(meter, found);
        identity(meter, &mut macs, found);
    }
    for (index, meter) in meters.iter().enumerate() {
        let chosen_later = index == 0 && is_open(meter);
        if !chosen_later && meter.blocked.is_empty() {
            idle(meter, found);
        }
        resting(meter, found);
    }
    let Some((first, others)) = meters.split_first_mut() else {
        return;
    };
    first_only(first, found);
    for meter in others {
        let key = meter.full("http_port");
        let said = found.problems.iter().any(|problem| problem.key == key);
        if !meter.has("bind") && !meter.has("http_port") && !said {
            found.wrong(Problem::conflict(
                Layer::File,
                key,
                None,
                Wrong::FurtherPort,
            ));
        }
    }
}

fn power(meter: &mut Meter, found: &mut Findings) {
    let has = |key: &str| meter.has(key);
    let mut wrong = Vec::new();
    let [(total, total_export), phases @ ..] = POWERS;
    if has(total) {
        let keys = phases
            .into_iter()
            .flat_map(|(power, export)| [power, export]);
        let keys: Vec<&str> = keys.filter(|key| has(key)).collect();
        if !keys.is_empty() {
            let keys = keys.join(", ").into();
            wrong.push(meter.contradiction(total, Wrong::PowerTwice { keys }));
        }
    } else if has(total_export) {
        wrong.push(meter.contradiction(total_export, Wrong::Pair { key: total }));
    }
    for (key, export) in phases {
        if has(export) && !has(key) {
            wrong.push(meter.contradiction(export, Wrong::Pair { key }));
        }
    }
    meter.blocked.extend(wrong.iter().map(Reason::from));
    found.problems.extend(wrong);
}

fn energy(meter: &mut Meter, found: &mut Findings) {
    let set =
        |pairs: &[Pair]| -> Vec<&str> { keys_of(pairs).filter(|key| meter.has(key)).collect() };
    let (house, phases) = (set(&ENERGIES[..1]), set(&ENERGIES[1..]));
    if let (Some(key), false) = (house.first(), phases.is_empty()) {
        let keys = phases.join(", ").into();
        found.wrong(meter.contradiction(key, Wrong::EnergyTwice { keys }));
        for key in house.iter().chain(&phases) {
            meter.drop(key);
        }
    }
}

fn identity(meter: &mut Meter, macs: &mut Vec<String>, found: &mut Findings) {
    let text = |key: &str| meter.text(key).map(str::to_lowercase);
    let (id, mac) = (text("device_id"), text("mac"));
    if let (Some(id), Some(mac)) = (&id, &mac)
        && !id.ends_with(mac)
    {
        let mac = mac.as_str().into();
        found.wrong(meter.contradiction("device_id", Wrong::MacDiffers { mac }));
        meter.drop("device_id");
    }
    let own = mac.or_else(|| id.and_then(|id| id.split_once('-').map(|(_, mac)| mac.to_string())));
    let Some(own) = own else { return };
    if macs.contains(&own) {
        found.wrong(meter.contradiction("mac", Wrong::MacTaken));
        meter.drop("mac");
    }
    macs.push(own);
}

fn first_only(first: &mut Meter, found: &mut Findings) {
    let whole = |key| first.whole(key).unwrap_or_default();
    let (start, end) = (whole("ws_port_start"), whole("ws_port_end"));
    if end < start || end - start >= FANOUT_MAX {
        let key = if first.layer("ws_port_end") >= first.layer("ws_port_start") {
            "ws_port_end"
        } else {
            "ws_port_start"
        };
        let max = FANOUT_MAX;
        found.wrong(first.contradiction(key, Wrong::FanOut { start, end, max }));
        for key in ["ws_port_start", "ws_port_end"] {
            first.drop(key);
            if let Some(value) = definitions::find(key).and_then(|def| default_value(def, false)) {
                first.put(key, value, Layer::Default);
            }
        }
    }
    if first.text("source") == Some("replay") && !first.has("replay_file") {
        let problem = first.contradiction("source", Wrong::NoReplayFile);
        first.blocked.push(Reason::from(&problem));
        found.wrong(problem);
    }
    warn(first, found);
}

/// Honoured, but worth a line.
fn warn(first: &Meter, found: &mut Findings) {
    let generation = first.whole("generation").unwrap_or(2);
    if generation != 2 {
        found.warn(Wrong::Generation { n: generation });
    }
    if first.text("energy_unit") == Some("kwh") {
        found.warn(Wrong::Kwh);
    }
    if first.is_on("outbound_ws_insecure") {
        found.warn(Wrong::Insecure);
    }
    let shares = first.values.get("scaling_shares").and_then(Value::as_array);
    let share = |item: &Value| pattern::share(item.as_str()?).map(|(_, share)| share);
    let shares: Vec<f64> = shares.into_iter().flatten().filter_map(share).collect();
    if !shares.is_empty() && !first.is_on("request_side_scaling_enable") {
        found.warn(Wrong::SharesUnused);
    }
    let sum: f64 = shares.iter().sum();
    if sum > 1.0 + 1e-9 {
        found.warn(Wrong::SharesSum { sum });
    }
}

/// Whether the first meter's power comes from elsewhere than its options: the set-up may still
/// choose, or values are made up.
fn is_open(first: &Meter) -> bool {
    let names_power = POWERS.iter().any(|(power, _)| first.has(power));
    first.text("source") != Some("home-assistant") || (first.is_on("auto_setup") && !names_power)
}

/// Names what was set and acts on nothing. The voltage of an unused phase is served, its current
/// and power factor are not.
fn idle(meter: &Meter, found: &mut Findings) {
    let has = |key: &str| meter.has(key);
    let changed = |key: &str| meter.is_changed(key);
    let total = has("total_power");
    let place = meter.text("total_phase").unwrap_or("a");
    // `None`: its phase carries no power.
    let mut say = |key: &str, power: Option<&str>| {
        let key = meter.full(key).into();
        let why = match power.map(Into::into) {
            Some(power) => Wrong::IdlePower { key, power },
            None => Wrong::IdlePhase { key },
        };
        found.warn(why);
    };
    for name in ["total", "a", "b", "c"] {
        let power = format!("{name}_power");
        for what in ["invert", "scale", "offset"] {
            let key = format!("{name}_{what}");
            if changed(&key) && !has(&power) {
                say(&key, Some(&power));
            }
        }
    }
    // The phase of the total is also that of the house's energy and of the target, where there are
    // phases to choose from.
    let phases = POWERS[1..].iter().filter(|(power, _)| has(power)).count();
    let placed_too = phases > 1 && (keys_of(&ENERGIES[..1]).any(has) || changed("target_offset"));
    if changed("total_phase") && !total && !placed_too {
        say("total_phase", Some("total_power"));
    }
    for name in ["a", "b", "c"] {
        let used = if total {
            [name, "split"].contains(&place)
        } else {
            has(&format!("{name}_power"))
        };
        for key in ["curr", "pf"].map(|what| format!("{name}_{what}")) {
            if !used && has(&key) {
                say(&key, None);
            }
        }
    }
}

/// Options that rest while another is off.
const SWITCHED: [(&str, &str, &[&str]); 7] = [
    ("control", "off", &["control_readers"]),
    (
        "request_side_scaling_enable",
        "false",
        // Shares have a line of their own, which says what happens then.
        &["request_side_scaling_clients"],
    ),
    ("ha_smoothing_enable", "false", &["smoothing_window"]),
    ("cors_enable", "false", &["cors_origins"]),
    ("udp_enable", "false", &["udp_ports"]),
    ("modbus_enable", "false", &["modbus_port", "modbus_bind"]),
    (
        "mdns_enable",
        "false",
        &["mdns_hostname", "mdns_ip", "mdns_interfaces"],
    ),
];

/// Names what was set in a file and rests because its switch is off. The environment and the
/// command line often carry a whole set of options, as that of a container.
fn resting(meter: &Meter, found: &mut Findings) {
    for (switch, off, keys) in SWITCHED {
        let at = meter.values.get(switch).map(value::to_text);
        if at.as_deref() != Some(off) {
            continue;
        }
        for key in keys {
            if meter.layer(key) == Layer::File && meter.is_changed(key) {
                let key = meter.full(key).into();
                found.warn(Wrong::Resting { key, switch, off });
            }
        }
    }
}

/// One listener, as it would be bound.
struct Listener {
    udp: bool,
    bind: Option<IpAddr>,
    port: u16,
    key: String,
}

impl Listener {
    /// Whether both cannot be bound at once.
    fn clashes(&self, other: &Self) -> bool {
        let any = |bind: Option<IpAddr>| bind.is_none_or(|ip| ip.is_unspecified());
        self.udp == other.udp
            && self.port == other.port
            && (self.bind == other.bind || any(self.bind) || any(other.bind))
    }
}

/// No two listeners on the same address and port. The later one is left out; a default port that a
/// further meter would have had on its own address, were it not for a listener on all addresses, is
/// no error.
pub(super) fn listeners(settings: &mut Settings, meters: &[Meter], found: &mut Findings) {
    let app = found.app;
    let mut taken: Vec<Listener> = Vec::new();
    let mut free = |index: usize, udp: bool, bind: Option<IpAddr>, port: u16, name: &str| {
        let (prefix, layer) = meters.get(index).map_or(("", Layer::Default), |meter| {
            (meter.prefix.as_str(), meter.layer(name))
        });
        let key = format!("{prefix}{name}");
        let new = Listener {
            udp,
            bind,
            port,
            key,
        };
        if let Some(old) = taken.iter().find(|old| old.clashes(&new)) {
            let what = Wrong::taken(&old.key, old.bind, new.bind);
            let problem = Problem::conflict(layer, new.key, Some(&Value::from(port)), what);
            if index > 0 && layer == Layer::Default {
                let why = std::sync::Arc::new(Reason::from(&problem));
                found.warn(Wrong::NotServed { why });
            } else {
                found.wrong(problem);
            }
            return false;
        }
        taken.push(new);
        true
    };
    let dashboard = (settings.dashboard.bind, settings.dashboard.port);
    for (index, meter) in settings.meters.iter_mut().enumerate() {
        let bind = meter.bind;
        meter.http_port = meter
            .http_port
            .filter(|port| free(index, false, bind, *port, "http_port"));
        meter.modbus_port = meter
            .modbus_port
            .filter(|port| free(index, false, meter.modbus_bind, *port, "modbus_port"));
        if index == 0 && !app {
            free(
                index,
                false,
                Some(dashboard.0),
                dashboard.1,
                "dashboard_port",
            );
        }
        meter
            .ws_fanout_ports
            .retain(|port| free(index, false, bind, *port, "ws_port_start"));
        meter
            .udp_ports
            .retain(|port| free(index, true, bind, *port, "udp_ports"));
    }
}
