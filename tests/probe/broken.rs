//! Meters that are wrong in one way each.

use serde_json::{Value, json};
use virtual_shelly::probe::Consumer;

use crate::bridge::Break;

/// A wrong meter, who sees it, at which call, and by which word of the fault.
pub const BROKEN: &[(&str, Consumer, Break, &str, &str)] = &[
    (
        "counters in kWh",
        Consumer::Evcc,
        |p| {
            if let Some(data) = p.of("EMData.GetStatus") {
                for (_, value) in data
                    .as_object_mut()
                    .unwrap()
                    .iter_mut()
                    .filter(|(key, _)| *key != "id")
                {
                    *value = json!(value.as_f64().unwrap() / 1000.0);
                }
            }
        },
        "EMData.GetStatus",
        "kWh",
    ),
    (
        "powers in kW",
        Consumer::HomeAssistant,
        |p| {
            if let Some(em) = p.of("EM.GetStatus") {
                for key in [
                    "a_act_power",
                    "b_act_power",
                    "c_act_power",
                    "total_act_power",
                ] {
                    em[key] = json!(em[key].as_f64().unwrap() / 1000.0);
                }
            }
        },
        "EM.GetStatus",
        "in kW",
    ),
    (
        "a method is missing",
        Consumer::Hoymiles,
        |p| {
            if p.method == "WiFi.GetConfig" {
                p.outcome = Err(json!({"code": 404, "message": "No handler for WiFi.GetConfig"}));
            }
        },
        "WiFi.GetConfig",
        "no method WiFi.GetConfig",
    ),
    (
        "a stub answers everything",
        Consumer::Evcc,
        |p| {
            if p.outcome.is_err() {
                p.outcome = Ok(json!({"ok": true, "dummy": true}));
            }
        },
        "Switch.GetStatus",
        "answered with success",
    ),
    (
        "ids are not looked at",
        Consumer::Victron,
        |p| {
            if p.outcome.is_err() && p.method == "EMData.GetConfig" {
                p.outcome = Ok(json!({}));
            }
        },
        "EMData.GetConfig",
        "id that there is not",
    ),
    (
        "integers by UDP",
        Consumer::Marstek,
        |p| {
            if let Some(em) = p.of("EM.GetStatus") {
                for key in [
                    "a_act_power",
                    "b_act_power",
                    "c_act_power",
                    "total_act_power",
                ] {
                    em[key] = json!(em[key].as_f64().unwrap().trunc() as i64);
                }
            }
        },
        "UDP",
        "without a decimal point",
    ),
    (
        "a short datagram",
        Consumer::Marstek,
        |p| {
            if let Some(em) = p.of("EM.GetStatus") {
                let keep = |key: &str| key == "id" || key.ends_with("act_power");
                em.as_object_mut().unwrap().retain(|key, _| keep(key));
            }
        },
        "UDP",
        "shorter than 250",
    ),
    (
        "the id is not echoed",
        Consumer::Marstek,
        |p| p.id = json!("1"),
        "UDP",
        "the id comes back as",
    ),
    (
        "another src",
        Consumer::Marstek,
        |p| p.src = json!("shellypro3em-virtual-001"),
        "UDP",
        "src is",
    ),
    (
        "null in place of an error",
        Consumer::Solakon,
        |p| {
            if let Some(em) = p.of("EM.GetStatus") {
                for (_, value) in em
                    .as_object_mut()
                    .unwrap()
                    .iter_mut()
                    .filter(|(key, _)| *key != "id")
                {
                    *value = Value::Null;
                }
            }
        },
        "EM.GetStatus",
        "an error would be right",
    ),
    (
        "zeros in place of an error",
        Consumer::Hoymiles,
        |p| {
            if let Some(em) = p.of("EM.GetStatus") {
                for (_, value) in em.as_object_mut().unwrap().iter_mut() {
                    if value.is_f64() {
                        *value = json!(0.0);
                    }
                }
            }
        },
        "EM.GetStatus",
        "every voltage is 0",
    ),
    (
        "one null",
        Consumer::Victron,
        |p| {
            if let Some(em) = p.of("EM.GetStatus") {
                em["b_current"] = Value::Null;
            }
        },
        "EM.GetStatus",
        "b_current is null",
    ),
    (
        "a frame in place of the result",
        Consumer::Evcc,
        |p| {
            if p.method.starts_with("EM.") {
                (p.framed, p.id, p.src) = (true, json!(0), json!("shellypro3em-aabbccddeeff"));
            }
        },
        "POST /rpc/EM.GetStatus",
        "within a frame",
    ),
    (
        "methods as an array",
        Consumer::Victron,
        |p| {
            if let Some(list) = p.of("Shelly.ListMethods") {
                *list = list["methods"].clone();
            }
        },
        "Shelly.ListMethods",
        "bare array",
    ),
    (
        "methods of the other profile",
        Consumer::Evcc,
        |p| {
            if let Some(list) = p.of("Shelly.ListMethods") {
                list["methods"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!("EM1.GetStatus"));
            }
        },
        "Shelly.ListMethods",
        "EM1.GetStatus is listed",
    ),
    (
        "a sum that is none",
        Consumer::Hoymiles,
        |p| {
            if let Some(em) = p.of("EM.GetStatus") {
                em["total_act_power"] = json!(em["total_act_power"].as_f64().unwrap() + 5.0);
            }
        },
        "EM.GetStatus",
        "add up to",
    ),
    (
        "netted counters",
        Consumer::HomeAssistant,
        |p| {
            if let Some(data) = p.of("EMData.GetStatus") {
                data["total_act"] = json!(1.0);
            }
        },
        "EMData.GetStatus",
        "add up to",
    ),
    (
        "a password",
        Consumer::Hoymiles,
        |p| {
            if let Some(info) = p.of("Shelly.GetDeviceInfo") {
                info["auth_en"] = json!(true);
            }
        },
        "Shelly.GetDeviceInfo",
        "password",
    ),
    (
        "the cloud is on",
        Consumer::Noah,
        |p| {
            if let Some(status) = p.of("Shelly.GetStatus") {
                status["cloud"]["connected"] = json!(true);
            }
        },
        "Shelly.GetStatus?esp",
        "cloud.connected",
    ),
    (
        "keys are missing",
        Consumer::Noah,
        |p| {
            if let Some(status) = p.of("Shelly.GetStatus") {
                status.as_object_mut().unwrap().remove("eth");
            }
        },
        "Shelly.GetStatus?esp",
        "eth is missing",
    ),
    (
        "?esp is refused",
        Consumer::Noah,
        |p| {
            if p.method == "Shelly.GetStatus" {
                p.outcome = Err(json!({"code": -103, "message": "Invalid argument 'esp'"}));
            }
        },
        "Shelly.GetStatus?esp",
        "-103",
    ),
    (
        "no ws for Home Assistant",
        Consumer::HomeAssistant,
        |p| {
            if let Some(config) = p.of("Shelly.GetConfig") {
                config.as_object_mut().unwrap().remove("ws");
            }
        },
        "Shelly.GetConfig",
        "ws is missing",
    ),
    (
        "a list without its total",
        Consumer::Victron,
        |p| {
            if let Some(list) = p.of("Shelly.GetComponents") {
                list.as_object_mut().unwrap().remove("total");
            }
        },
        "Shelly.GetComponents",
        "total is missing",
    ),
    (
        "a firmware without a date",
        Consumer::HomeAssistant,
        |p| {
            if let Some(info) = p.of("/shelly") {
                info["fw_id"] = json!("1.0.0-virt");
            }
        },
        "GET /shelly",
        "fw_id is",
    ),
    (
        "a MAC with colons",
        Consumer::Victron,
        |p| {
            if let Some(info) = p.of("Shelly.GetDeviceInfo") {
                info["mac"] = json!("AA:BB:CC:DD:EE:FF");
            }
        },
        "Shelly.GetDeviceInfo",
        "mac is",
    ),
    (
        "a partial notification",
        Consumer::Victron,
        |p| {
            if let Some(params) = p.of("NotifyStatus")
                && let Some(em) = params.get_mut("em:0")
            {
                em.as_object_mut().unwrap().remove("c_voltage");
            }
        },
        "NotifyStatus",
        "c_voltage is missing",
    ),
    (
        "no error code",
        Consumer::Victron,
        |p| {
            if let Err(error) = &mut p.outcome {
                error.as_object_mut().unwrap().remove("message");
            }
        },
        "EM.GetConfig",
        "a code and a message",
    ),
];
