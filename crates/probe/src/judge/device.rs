//! Who the meter is, what it is made of, which methods it has.

use serde_json::Value;

use super::{
    Verdict, is_id, is_mac,
    reply::{Body, written},
};
use crate::Fault;

/// Firmware date from which on Home Assistant takes a device.
const OLDEST_FIRMWARE: u32 = 20_230_803;

/// Who a meter is, by what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Its id, in small letters.
    pub id: String,
    /// Its MAC as it wrote it.
    pub mac: String,
    /// Three meters of one phase each in place of one of three.
    pub monophase: bool,
}

fn differs(verdict: &mut Verdict, value: &Value, path: &str, wanted: &str) {
    verdict.differs(path, written(value.get(path)), wanted);
}

/// `Shelly.GetDeviceInfo`; with `password` one may be set, as this reader can enter it.
pub fn info(body: &Body, password: bool, verdict: &mut Verdict) -> Option<Who> {
    let value = &body.value;
    if !value.is_object() {
        verdict.fault(Fault::Unreadable);
        return None;
    }
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    if !is_mac(text("mac"), true) {
        differs(verdict, value, "mac", "AABBCCDDEEFF");
    }
    let mac = text("mac").to_ascii_lowercase();
    if !is_id(text("id")) || !text("id").ends_with(&mac) {
        let digits = if is_mac(&mac, false) {
            &*mac
        } else {
            "aabbccddeeff"
        };
        differs(verdict, value, "id", &format!("shellypro3em-{digits}"));
    }
    if value["gen"] != 2 {
        differs(verdict, value, "gen", "2");
    }
    let firmware = text("fw_id");
    let date = firmware.get(..8).and_then(|date| date.parse::<u32>().ok());
    if date.is_none_or(|date| date < OLDEST_FIRMWARE) || !firmware.contains('/') {
        differs(verdict, value, "fw_id", "20230803-…/…");
    }
    for key in ["model", "app", "ver"] {
        if text(key).is_empty() {
            verdict.missing(key);
        }
    }
    match value.get("auth_en") {
        Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) if password => verdict.note(Fault::Password),
        Some(Value::Bool(true)) => verdict.fault(Fault::Password),
        _ => differs(verdict, value, "auth_en", "false"),
    }
    Some(Who {
        id: text("id").to_ascii_lowercase(),
        mac: text("mac").to_owned(),
        monophase: value["profile"] == "monophase",
    })
}

/// The meter's components by profile.
fn meters(who: &Who) -> &'static [&'static str] {
    if who.monophase {
        &[
            "em1:0",
            "em1:1",
            "em1:2",
            "em1data:0",
            "em1data:1",
            "em1data:2",
        ]
    } else {
        &["em:0", "emdata:0"]
    }
}

/// Members of `Shelly.GetConfig` and `Shelly.GetStatus` that are objects.
pub fn components(body: &Body, who: &Who, needed: &[&str], verdict: &mut Verdict) {
    if !body.value.is_object() {
        verdict.fault(Fault::Unreadable);
        return;
    }
    for key in meters(who).iter().chain(needed) {
        object(&body.value, key, verdict);
    }
}

/// Whether there is an object under a key.
fn object(value: &Value, key: &str, verdict: &mut Verdict) {
    match value.get(key) {
        Some(Value::Object(_)) => {}
        Some(_) => verdict.fault(Fault::NoObject { path: key.into() }),
        None => verdict.missing(key),
    }
}

/// What `Shelly.GetConfig` says of the device itself.
pub fn config(body: &Body, verdict: &mut Verdict) {
    let device = &body.value["sys"]["device"];
    if body.value["sys"].is_object() && !device.is_object() {
        verdict.missing("sys.device");
    }
    if device.is_object() && !device["mac"].is_string() {
        verdict.missing("sys.device.mac");
    }
}

/// The cloud must be off; `only_worth_knowing` where this reader does not mind.
pub fn cloud(body: &Body, only_worth_knowing: bool, verdict: &mut Verdict) {
    if body.value["cloud"]["connected"] != true {
        return;
    }
    if only_worth_knowing {
        verdict.note(Fault::CloudOn);
    } else {
        verdict.fault(Fault::CloudOn);
    }
}

/// `Shelly.GetComponents`.
pub fn list(body: &Body, verdict: &mut Verdict) {
    if !body.value["components"].is_array() {
        verdict.missing("components");
    }
    if !body.value["total"].is_u64() {
        verdict.missing("total");
    }
}

/// `Shelly.ListMethods`: `needed` must be there, nothing of the other profile, and nothing that a
/// Pro 3EM has not got.
pub fn methods(body: &Body, who: &Who, needed: &[&str], verdict: &mut Verdict) {
    let list = match &body.value {
        Value::Array(list) => {
            verdict.fault(Fault::MethodArray);
            list
        }
        value => match value["methods"].as_array() {
            Some(list) => list,
            None => return verdict.missing("methods"),
        },
    };
    let methods: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    let has = |method: &str| methods.iter().any(|m| m.eq_ignore_ascii_case(method));
    for method in needed.iter().filter(|method| !has(method)) {
        verdict.fault(Fault::Unlisted {
            method: (*method).into(),
        });
    }
    let others: &[&str] = if who.monophase {
        &["EM", "EMData"]
    } else {
        &["EM1", "EM1Data"]
    };
    const FOREIGN: [&str; 5] = ["Switch", "Light", "Cover", "PM1", "ProOutputAddon"];
    let of = |names: &[&str]| {
        let is = |method: &&str| {
            let space = method.split_once('.');
            space.is_some_and(|(space, _)| names.contains(&space))
        };
        methods.iter().copied().find(is).map(Into::into)
    };
    if let Some(method) = of(others) {
        verdict.fault(Fault::OtherProfile { method });
    }
    if let Some(method) = of(&FOREIGN) {
        verdict.fault(Fault::Foreign { method });
    }
}

/// One component's state or configuration, with the members that this reader looks at.
pub fn component(body: &Body, needed: &[&str], verdict: &mut Verdict) {
    if !body.value.is_object() {
        verdict.fault(Fault::Unreadable);
        return;
    }
    for key in needed {
        if body.value.get(*key).is_none() {
            verdict.missing(key);
        }
    }
}
