//! Reading: which methods there are, how strict they are, what becomes of stale values.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{testing::*, *};
use config::Profile;
use meter::records::Records;
use vocab::{Fixed, Now};

#[test]
fn list_methods_holds_what_is_answered_in_this_profile() {
    for bench in [Bench::new(), Bench::new().monophase()] {
        let value = bench.value("Shelly.ListMethods", "{}");
        let methods: Vec<&str> = value["methods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m.as_str().unwrap())
            .collect();
        let mono = bench.state.profile == Profile::Monophase;
        assert_eq!(methods.iter().any(|m| m.starts_with("EM.")), !mono);
        assert_eq!(methods.iter().any(|m| m.starts_with("EM1Data.")), mono);
        for absent in [
            "Switch.",
            "Light.",
            "Cover.",
            "ProOutputAddon.",
            "HTTP.",
            "BTHome.",
            "Script.Create",
            "Webhook.Create",
            "Shelly.Ping",
        ] {
            assert!(!methods.iter().any(|m| m.starts_with(absent)), "{absent}");
        }
        for method in &methods {
            if let Answer::Error(error) = bench.outcome(method, "{}").answer {
                assert_ne!(error.code, 404, "{method} is listed");
            }
        }
        let mut sorted = methods.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), methods.len(), "each once");
    }
}

#[test]
fn names_compare_without_case_and_the_rest_is_404() {
    let bench = Bench::new();
    for method in [
        "shelly.getconfig",
        "WiFi.GetConfig",
        "Wifi.getconfig",
        "Ws.GetConfig",
        "WS.GetConfig",
        "MQTT.GetConfig",
        "mqtt.getconfig",
    ] {
        bench.text(method, "{}");
    }
    for method in ["Shelly.Ping", "MQTT.Status", "Sys.GetInfo"] {
        bench.text(method, "{}");
    }
    for method in [
        "EM1.GetStatus",
        "EM1Data.GetConfig",
        "Script.Create",
        "Schedule.Create",
        "Webhook.Create",
        "Switch.GetStatus",
        "",
        "EM",
        "EM.GetStatus ",
        "HTTP.GET",
    ] {
        assert_eq!(bench.code(method, r#"{"id":0}"#), 404, "{method}");
    }
    assert_eq!(
        Bench::new().monophase().code("EM.GetStatus", r#"{"id":0}"#),
        404
    );
    let mut dummy = Bench::new();
    dummy.device.options.unknown_methods_dummy = true;
    assert_eq!(
        dummy.text("Foo.\"Bar", "{}"),
        r#"{"ok":true,"dummy":true,"method":"Foo.\"Bar"}"#
    );
}

/// dbus-shelly counts channels by calling GetConfig with id 0, 1, 2 … until an error; with EM and
/// EMData it goes on as long as either answers. A device that is lenient keeps it busy for ever.
#[test]
fn victrons_enumeration_ends() {
    for (bench, kinds, channels) in [
        (Bench::new(), ["EM", "EMData"], 1),
        (Bench::new().monophase(), ["EM1", "EM1Data"], 3),
        (Bench::new(), ["Temperature", "EM"], 1),
    ] {
        let found = (0..100).take_while(|id| {
            kinds.iter().any(|kind| {
                let outcome =
                    bench.outcome(&format!("{kind}.GetConfig"), &format!("{{\"id\":{id}}}"));
                matches!(outcome.answer, Answer::Result(ref r) if &**r != "null")
            })
        });
        assert_eq!(found.count(), channels);
    }
}

#[test]
fn every_method_with_instances_is_strict_about_them() {
    let (tri, mono) = (Bench::new(), Bench::new().monophase());
    for bench in [&tri, &mono] {
        for method in bench.value("Shelly.ListMethods", "{}")["methods"]
            .as_array()
            .unwrap()
        {
            let method = method.as_str().unwrap();
            let instances = [
                "EM.",
                "EMData.",
                "EM1.",
                "EM1Data.",
                "Temperature.",
                "Script.",
            ]
            .iter()
            .any(|p| method.starts_with(p));
            if !instances || method == "Script.List" {
                continue;
            }
            assert_eq!(bench.code(method, "{}"), -103, "{method} without id");
            assert_eq!(
                bench.code(method, r#"{"id":"0"}"#),
                -103,
                "{method} with a text"
            );
            assert_eq!(
                bench.code(method, r#"{"id":7}"#),
                -105,
                "{method} with id 7"
            );
            assert_eq!(
                bench.code(method, r#"{"id":-1}"#),
                -105,
                "{method} with id -1"
            );
        }
    }
}

#[test]
fn components_come_in_pages() {
    let bench = Bench::new();
    assert_eq!(
        bench.text("Shelly.GetComponents", r#"{"dynamic_only":true}"#),
        r#"{"components":[],"cfg_rev":1,"offset":0,"total":0}"#
    );
    let (mut offset, mut pages, mut keys) = (0, Vec::new(), Vec::new());
    loop {
        let page = bench.value("Shelly.GetComponents", &format!(r#"{{"offset":{offset}}}"#));
        let both = format!(r#"{{"offset":{offset},"include":["config","status"]}}"#);
        assert_eq!(
            bench.value("Shelly.GetComponents", &both),
            page,
            "without include both come"
        );
        let components = page["components"].as_array().unwrap().clone();
        assert_eq!(page["offset"].as_u64(), Some(offset));
        assert_eq!(page["total"].as_u64(), Some(12));
        for component in &components {
            let key = component["key"].as_str().unwrap();
            assert_eq!(
                component["status"],
                bench.value("Shelly.GetStatus", "{}")[key],
                "{key}"
            );
            assert_eq!(
                component["config"],
                bench.value("Shelly.GetConfig", "{}")[key],
                "{key}"
            );
            keys.push(key.to_owned());
        }
        offset += components.len() as u64;
        pages.push(components.len());
        if offset >= 12 {
            break;
        }
    }
    assert_eq!(
        keys.len(),
        12,
        "a device's first page holds 9 of 12: {pages:?}"
    );
    assert_eq!(
        pages[0], 9,
        "a device's first page holds 9 of 12: {pages:?}"
    );
    let page = bench.value("Shelly.GetComponents", r#"{"keys":["em:0","nosuch"]}"#);
    assert_eq!(page["total"].as_u64(), Some(1));
    assert_eq!(page["components"][0]["key"].as_str(), Some("em:0"));
    let members = |params: &str| -> Vec<String> {
        let page = bench.value("Shelly.GetComponents", params);
        page["components"][0]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(
        members(r#"{"keys":["em:0"],"include":["status"]}"#),
        ["key", "status"]
    );
    assert_eq!(
        members(r#"{"keys":["emdata:0"],"include":["config"]}"#),
        ["config", "key"]
    );
    assert_eq!(members(r#"{"include":[]}"#), ["key"]);
    assert_eq!(members(r#"{"include":null}"#), ["config", "key", "status"]);
    assert_eq!(
        bench.code("Shelly.GetComponents", r#"{"include":["all"]}"#),
        -103
    );
    assert_eq!(bench.code("Shelly.GetComponents", r#"{"offset":-1}"#), -103);
}

#[test]
fn the_rest_of_shelly_answers_as_listed() {
    let bench = Bench::new();
    assert_eq!(
        bench.text("Shelly.ListProfiles", "{}"),
        r#"{"profiles":{"triphase":{"components":[{"type":"em","count":1},{"type":"emdata","count":1}]},"monophase":{"components":[{"type":"em1","count":3},{"type":"em1data","count":3}]}}}"#
    );
    let zones = bench.value("Shelly.ListTimezones", "{}");
    let zones = zones["timezones"].as_array().unwrap();
    assert!(
        zones.len() > 300
            && zones.iter().any(|z| z == "Europe/Berlin")
            && zones.iter().any(|z| z == "Africa/Abidjan")
    );
    assert_eq!(
        bench.text("Shelly.DetectLocation", "{}"),
        r#"{"tz":"Europe/Warsaw","lat":null,"lon":null}"#
    );
    assert_eq!(bench.text("Shelly.CheckForUpdate", "{}"), "{}");
    assert_eq!(bench.text("Shelly.Identify", "{}"), "null");
    let supported = bench.value("Webhook.ListSupported", "{}");
    assert_eq!(
        supported["types"]["em.active_power_change"]["attrs"][0]["name"],
        "phase"
    );
    assert_eq!(supported["types"].as_object().unwrap().len(), 3);
    let single = Bench::new()
        .monophase()
        .value("Webhook.ListSupported", "{}");
    assert_eq!(
        single["types"]["em1.voltage_change"]["attrs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(bench.text("Script.List", "{}"), r#"{"scripts":[]}"#);
    assert_eq!(
        bench.text("EM.GetCTTypes", r#"{"id":0}"#),
        r#"{"supported":["120A"]}"#
    );
    assert_eq!(
        bench.text("Wifi.GetStatus", "{}"),
        r#"{"sta_ip":"192.168.2.151","status":"got ip","ssid":"virtual","bssid":"02:00:00:00:00:01","rssi":-55,"sta_ip6":[]}"#
    );
    let ap = &bench.value("Wifi.GetConfig", "{}")["ap"];
    assert_eq!(ap["enable"].as_bool(), Some(false));
    assert_eq!(ap["ssid"].as_str(), Some("ShellyPro3EM-AABBCCDDEEFF"));
}

#[test]
fn a_status_is_encoded_once_a_snapshot() {
    let bench = Bench::new();
    let answer = |method, params| match bench.outcome(method, params).answer {
        Answer::Result(text) => text,
        other => panic!("{other:?}"),
    };
    for method in ["EM.GetStatus", "EMData.GetStatus"] {
        assert!(
            Arc::ptr_eq(
                &answer(method, r#"{"id":0}"#),
                &answer(method, r#"{ "id" : 0 }"#)
            ),
            "{method}"
        );
    }
}

#[test]
fn an_absent_phase_makes_nulls_and_no_partial_total() {
    let [a, _, c] = house();
    let mut bench = Bench::of([a, None, c]);
    bench.manner.absent = vocab::Absent::Nulls;
    let em = bench.value("EM.GetStatus", r#"{"id":0}"#);
    for field in [
        "b_current",
        "b_voltage",
        "b_act_power",
        "b_aprt_power",
        "b_pf",
        "b_freq",
        "total_current",
        "total_act_power",
        "total_aprt_power",
    ] {
        assert!(em[field].is_null(), "{field}");
    }
    assert_eq!(em["a_voltage"].as_f64(), Some(233.5));
    assert_eq!(em["c_act_power"].as_f64(), Some(-72.1));
    assert_eq!(em["errors"], serde_json::json!(["power_meter_failure"]));
    assert_eq!(
        bench.value("EMData.GetStatus", r#"{"id":0}"#)["total_act"].as_f64(),
        Some(1_562_384.2),
        "counters stand"
    );

    let mut mono = Bench::of([a, None, c]).monophase();
    mono.manner.absent = vocab::Absent::Nulls;
    assert!(mono.value("EM1.GetStatus", r#"{"id":1}"#)["act_power"].is_null());
    assert!(
        mono.value("EM1.GetStatus", r#"{"id":0}"#)
            .get("errors")
            .is_none()
    );
}

#[test]
fn a_channel_without_a_value_keeps_nobody_from_the_others() {
    let [a, _, c] = house();
    let mut mono = Bench::of([a, None, c]).monophase();
    for manner in [
        Manner::default(),
        Manner {
            absent: vocab::Absent::Nulls,
            ..Manner::default()
        },
        Manner::udp(true, false),
    ] {
        mono.manner = manner;
        for id in [0, 2] {
            let status = mono.value("EM1.GetStatus", &format!(r#"{{"id":{id}}}"#));
            assert!(status["act_power"].is_number(), "{id} {manner:?}");
        }
    }
    mono.manner = Manner::default();
    assert_eq!(mono.code("EM1.GetStatus", r#"{"id":1}"#), -114);
    assert_eq!(
        mono.code("Shelly.GetStatus", "{}"),
        -114,
        "it would hold the null"
    );
    mono.manner = Manner::udp(true, false);
    let silent = mono.outcome("EM1.GetStatus", r#"{"id":1}"#).answer;
    assert!(matches!(silent, Answer::Silence));
    // Where the one answer is the sum of all, it is missing with any of them.
    let mut tri = Bench::of([a, None, c]);
    tri.manner = Manner::udp(true, false);
    let silent = tri.outcome("EM1.GetStatus", r#"{"id":0}"#).answer;
    assert!(matches!(silent, Answer::Silence));
}

#[test]
fn the_stale_policy_speaks_for_power_only() {
    let [a, _, c] = house();
    let mut bench = Bench::of([a, None, c]);
    bench.device.options.stale = config::StalePolicy::Error;
    assert_eq!(bench.code("EM.GetStatus", r#"{"id":0}"#), -114);
    assert_eq!(
        bench.code("EM.GetStatus", r#"{"id":1}"#),
        -105,
        "a wrong id stays one"
    );
    assert_eq!(bench.code("Shelly.GetStatus", "{}"), -114);
    assert_eq!(
        bench.code("Shelly.GetComponents", r#"{"include":["status"]}"#),
        -114
    );
    bench.text(
        "Shelly.GetComponents",
        r#"{"include":["status"],"keys":["sys","emdata:0"]}"#,
    );
    bench.text("EMData.GetStatus", r#"{"id":0}"#);
    bench.device.options.stale = config::StalePolicy::Silent;
    assert_eq!(
        bench.outcome("EM.GetStatus", r#"{"id":0}"#).answer,
        Answer::Silence
    );
    bench.text("EM.GetConfig", r#"{"id":0}"#);
    bench.device.options.stale = config::StalePolicy::Device;
    assert_eq!(
        bench.code("EM.GetStatus", r#"{"id":0}"#),
        -114,
        "nulls only to who takes them"
    );
    assert_eq!(bench.code("Shelly.GetStatus", "{}"), -114);
    bench.manner.absent = vocab::Absent::Nulls;
    assert!(bench.value("EM.GetStatus", r#"{"id":0}"#)["total_act_power"].is_null());
    assert_eq!(
        bench.value("Shelly.GetStatus", "{}")["em:0"]["errors"][0],
        "power_meter_failure"
    );
    for policy in [config::StalePolicy::Device, config::StalePolicy::Error] {
        bench.device.options.stale = policy;
        bench.manner = Manner::udp(false, false);
        assert_eq!(
            bench.outcome("EM.GetStatus", r#"{"id":0}"#).answer,
            Answer::Silence
        );
        assert_eq!(
            bench.outcome("EM1.GetStatus", r#"{"id":0}"#).answer,
            Answer::Silence
        );
        assert_eq!(
            bench.outcome("Shelly.GetStatus", "{}").answer,
            Answer::Silence
        );
    }
}

#[test]
fn manners_change_the_form_and_not_the_numbers() {
    let mut bench = Bench::new();
    bench.manner = Manner::http(true);
    let four =
        r#"{"a_act_power":0.0,"b_act_power":1.7,"c_act_power":-72.1,"total_act_power":-70.400}"#;
    assert_eq!(bench.text("EM.GetStatus", r#"{"id":0}"#), four);
    bench.manner = Manner::udp(true, false);
    assert_eq!(bench.text("EM.GetStatus", r#"{"id":0}"#), four);
    assert_eq!(
        bench.text("EM1.GetStatus", r#"{"id":0}"#),
        r#"{"act_power":-70.400}"#
    );
    bench.manner = Manner::udp(false, false);
    let total = bench.value("EM1.GetStatus", r#"{"id":0}"#);
    assert_eq!(total["act_power"].as_f64(), Some(-70.4));
    assert_eq!(total["aprt_power"].as_f64(), Some(343.4));
    assert_eq!(total["pf"].as_f64(), Some(0.21));
    assert_eq!(bench.code("EM1.GetStatus", r#"{"id":1}"#), -105);
    assert_eq!(bench.code("EM1.GetConfig", r#"{"id":0}"#), 404);
    let mut mono = Bench::new().monophase();
    mono.manner = Manner::udp(true, true);
    assert_eq!(
        mono.text("EM1.GetStatus", r#"{"id":0}"#),
        r#"{"act_power":0.001}"#
    );
    mono.manner = Manner::udp(false, true);
    assert_eq!(
        mono.value("EM1.GetStatus", r#"{"id":2}"#)["act_power"].as_f64(),
        Some(-72.1)
    );
}

#[test]
fn energy_comes_in_wh_or_by_option_in_kwh_and_is_null_before_its_seed() {
    let mut bench = Bench::new();
    bench.device.options.energy_kwh = true;
    let text = bench.text("EMData.GetStatus", r#"{"id":0}"#);
    assert!(
        text.contains("\"a_total_act_energy\":819.087500,")
            && text.contains("\"total_act\":1562.384204,"),
        "{text}"
    );
    let mut snapshot = snapshot(now(0.0), house());
    snapshot.energy = None;
    bench.view = Arc::new(View::new(Arc::new(snapshot)));
    assert!(bench.value("EMData.GetStatus", r#"{"id":0}"#)["total_act"].is_null());
    let mut net = testing::snapshot(now(0.0), house());
    net.energy_net = true;
    let mut bench = Bench::new();
    bench.view = Arc::new(View::new(Arc::new(net)));
    assert!(
        bench
            .text("EMData.GetStatus", r#"{"id":0}"#)
            .ends_with("\"total_act\":1.00,\"total_act_ret\":2.00}")
    );
}

#[test]
fn records_come_in_pages_that_miss_nothing() {
    let mut bench = Bench::new();
    let first = 1_747_500_000;
    let minutes: Vec<_> = (0..100)
        .filter(|i| *i != 50)
        .map(|i| minute(first + 60 * i, 60.0))
        .collect();
    bench.records = Arc::new(Minutes(minutes));
    assert_eq!(
        bench.text("EMData.GetRecords", r#"{"id":0}"#),
        format!(
            r#"{{"data_blocks":[{{"ts":{first},"period":60,"records":50}},{{"ts":{},"period":60,"records":49}}]}}"#,
            first + 51 * 60
        )
    );
    let (mut from, mut seen, mut replies) = (first, Vec::new(), 0);
    loop {
        let page = bench.value("EMData.GetData", &format!(r#"{{"id":0,"ts":{from}}}"#));
        assert_eq!(page["keys"].as_array().unwrap().len(), 51);
        for block in page["data"].as_array().unwrap() {
            for (j, values) in block["values"].as_array().unwrap().iter().enumerate() {
                seen.push(block["ts"].as_i64().unwrap() + 60 * j as i64);
                assert_eq!(values.as_array().unwrap().len(), 51);
            }
        }
        replies += 1;
        match page["next_record_ts"].as_i64() {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(
        seen,
        (0..100)
            .filter(|i| *i != 50)
            .map(|i| first + 60 * i)
            .collect::<Vec<_>>()
    );
    assert_eq!(replies, 3);
    let ts = first + 30;
    assert!(
        bench
            .text(
                "EMData.GetData",
                &format!(r#"{{"id":0,"ts":{ts},"end_ts":{ts},"add_keys":false}}"#)
            )
            .starts_with(&format!("{{\"data\":[{{\"ts\":{first},"))
    );
    assert_eq!(
        bench.text(
            "EMData.GetData",
            r#"{"id":0,"ts":1900000000,"add_keys":false}"#
        ),
        r#"{"data":[]}"#
    );
    assert_eq!(bench.code("EMData.GetData", r#"{"id":0}"#), -103);
    assert_eq!(bench.code("EMData.GetData", r#"{"id":0,"ts":"now"}"#), -103);
    bench.records = Arc::new(Broken);
    assert_eq!(bench.code("EMData.GetData", r#"{"id":0,"ts":0}"#), -114);
    assert_eq!(bench.code("EMData.GetRecords", r#"{"id":0}"#), -114);
}

#[test]
fn net_energies_add_up_whole_stretches() {
    let mut bench = Bench::new();
    let first = 1_747_500_000 / 3600 * 3600;
    // 2500 minutes of 3 × 60 W in, then out: 3 Wh a minute, signed.
    bench.records = Arc::new(Minutes(
        (0..2500)
            .map(|i| minute(first + 60 * i, if i < 1200 { 60.0 } else { -60.0 }))
            .collect(),
    ));
    bench.now = Now {
        unix: (first + 2500 * 60 + 30) as f64,
        ..bench.now
    };
    for period in [300, 900, 1800, 3600] {
        let (mut from, mut sum, mut stretches) = (first + 10, 0.0, 0);
        loop {
            let page = bench.value(
                "EMData.GetNetEnergies",
                &format!(r#"{{"id":0,"ts":{from},"period":{period}}}"#),
            );
            assert_eq!(
                page["keys"],
                serde_json::json!(["a_net_act_energy", "b_net_act_energy", "c_net_act_energy"])
            );
            for block in page["data"].as_array().unwrap() {
                assert_eq!(block["period"].as_i64(), Some(period));
                for values in block["values"].as_array().unwrap() {
                    let phases: Vec<f64> = values
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|v| v.as_f64().unwrap())
                        .collect();
                    let net = (period / 60) as f64;
                    assert!(phases == [net; 3] || phases == [-net; 3], "{phases:?}");
                    sum += phases.iter().sum::<f64>();
                    stretches += 1;
                }
            }
            match page["next_record_ts"].as_i64() {
                Some(next) => from = next,
                None => break,
            }
        }
        let whole = 2500 * 60 / period;
        assert_eq!(
            stretches, whole,
            "the stretch under way is left out ({period})"
        );
        assert_eq!(sum, 3.0 * (1200 - (whole * period / 60 - 1200)) as f64);
    }
    assert_eq!(
        bench.code("EMData.GetNetEnergies", r#"{"id":0,"ts":0,"period":60}"#),
        -103
    );
    assert_eq!(
        bench.code("EMData.GetNetEnergies", r#"{"id":0,"ts":0}"#),
        -103
    );
}

#[test]
fn a_day_of_quarter_hours_comes_in_one_reply() {
    let first = 1_747_500_000 / 3600 * 3600;
    let minutes = || {
        (0..14 * 1440)
            .filter(|i| i % 1000 != 7)
            .map(|i| minute(first + 60 * i, 60.0))
            .collect()
    };
    let tri = (
        "EMData.GetNetEnergies",
        &["a_net_act_energy", "b_net_act_energy", "c_net_act_energy"][..],
    );
    for (mut bench, (method, keys)) in [
        (Bench::new(), tri),
        (
            Bench::new().monophase(),
            ("EM1Data.GetNetEnergies", &["net_act_energy"][..]),
        ),
    ] {
        bench.records = Arc::new(Minutes(minutes()));
        bench.now = Now {
            unix: (first + 14 * 86_400 + 30) as f64,
            ..bench.now
        };
        for (period, end_ts, stretches) in [
            (900, first + 86_400 - 900, 96),
            (300, first + 86_399, 288),
            (3600, first, 1),
        ] {
            let page = bench.value(
                method,
                &format!(
                    r#"{{"id":0,"ts":{},"end_ts":{end_ts},"period":{period}}}"#,
                    first + 59
                ),
            );
            assert_eq!(page.get("next_record_ts"), None, "{method} {period}");
            assert_eq!(page["keys"], serde_json::json!(keys), "{method} {period}");
            assert_eq!(page["data"].as_array().unwrap().len(), 1);
            assert_eq!(page["data"][0]["ts"], first);
            let values = page["data"][0]["values"].as_array().unwrap();
            assert!(
                values.len() == stretches
                    && values
                        .iter()
                        .all(|row| row.as_array().unwrap().len() == keys.len()),
                "{method} {period}"
            );
        }
        // More than a page: asked on where it says, nothing is told twice or left out.
        let (mut from, mut seen) = (first, Vec::new());
        loop {
            let page = bench.value(
                method,
                &format!(r#"{{"id":0,"ts":{from},"period":1800,"add_keys":false}}"#),
            );
            assert_eq!(page.get("keys"), None);
            for block in page["data"].as_array().unwrap() {
                let start = block["ts"].as_i64().unwrap();
                seen.extend(
                    (0..block["values"].as_array().unwrap().len() as i64).map(|j| start + 1800 * j),
                );
            }
            match page["next_record_ts"].as_i64() {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(
            seen,
            (0..14 * 48).map(|i| first + 1800 * i).collect::<Vec<_>>()
        );
        assert_eq!(
            bench.text(
                method,
                &format!(
                    r#"{{"id":0,"ts":{},"period":900,"add_keys":false}}"#,
                    first + 20 * 86_400
                )
            ),
            r#"{"data":[]}"#
        );
    }
}

#[test]
fn a_stretch_is_told_when_its_last_minute_is_stored_or_seconds_later() {
    for mut bench in [Bench::new(), Bench::new().monophase()] {
        let method = if bench.state.profile == Profile::Monophase {
            "EM1Data.GetNetEnergies"
        } else {
            "EMData.GetNetEnergies"
        };
        let first = 1_747_500_000 / 900 * 900;
        let minutes = |n: i64| {
            (0..n)
                .map(|i| minute(first + 60 * i, 60.0))
                .collect::<Vec<_>>()
        };
        for (stored, seconds, stretches) in [
            (9, 0.0, 1),
            (9, 0.2, 1),
            (10, 0.2, 2),
            (9, 4.9, 1),
            (9, 5.0, 2),
            (8, 30.0, 2),
        ] {
            bench.records = Arc::new(Minutes(minutes(stored)));
            bench.now = Now {
                unix: (first + 600) as f64 + seconds,
                ..bench.now
            };
            let page = bench.value(method, &format!(r#"{{"id":0,"ts":{first},"period":300}}"#));
            let told = page["data"][0]["values"].as_array().unwrap().len();
            assert_eq!(
                told, stretches,
                "{method}: {stored} minutes, {seconds} s after the end"
            );
        }
        // What was over long ago does not wait for the present minute.
        bench.records = Arc::new(Minutes(minutes(5)));
        let page = bench.value(
            method,
            &format!(r#"{{"id":0,"ts":{first},"end_ts":{first},"period":300}}"#),
        );
        assert_eq!(page["data"][0]["values"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn em1_data_has_14_columns() {
    let mut bench = Bench::new().monophase();
    bench.records = Arc::new(Minutes(vec![minute(1_747_500_000, -60.0)]));
    let page = bench.value("EM1Data.GetData", r#"{"id":2,"ts":0}"#);
    assert_eq!(page["keys"].as_array().unwrap().len(), 14);
    assert_eq!(page["data"][0]["values"][0].as_array().unwrap().len(), 14);
    let text = bench.text("EM1Data.GetData", r#"{"id":2,"ts":0,"add_keys":false}"#);
    assert!(
        text.contains("[[0.0000,1.0000,0.0000,0.0000,-60.0,-60.0,60.0,60.0,230.000,"),
        "{text}"
    );
    assert!(text.ends_with("0.000]]}]}"), "{text}");
}

#[test]
fn a_csv_of_many_records_comes_in_pieces() {
    let records: Arc<dyn Records> =
        Arc::new(Minutes((0..1000).map(|i| minute(60 * i, 1.0)).collect()));
    let csv = || {
        history::Csv::new(
            Arc::clone(&records),
            history::Columns::Em1(0),
            120,
            59_940,
            false,
        )
    };
    let text: String = csv().map(Result::unwrap).collect();
    assert_eq!((text.lines().count(), csv().count()), (998, 5));
    assert!(text.starts_with("120,") && !text.contains("timestamp"));
    assert!(
        history::Csv::new(Arc::new(Broken), history::Columns::Em, 0, 1, false)
            .next()
            .unwrap()
            .is_err()
    );
}

proptest! {
    #[test]
    fn any_call_gets_an_answer_that_is_json(
        method in prop_oneof!["[A-Za-z0-9.]{0,16}", prop::sample::select(vec![
            "EM.GetStatus", "EM.SetConfig", "Sys.SetConfig", "Shelly.GetComponents", "EMData.GetData", "EMData.GetNetEnergies",
            "KVS.Set", "KVS.GetMany", "Shelly.SetAuth", "Mqtt.SetConfig", "Ws.SetConfig", "Shelly.Reboot", "Webhook.Delete",
        ]).prop_map(str::to_owned)],
        id in prop_oneof![Just("0".to_owned()), any::<i64>().prop_map(|n| n.to_string()), Just("\"x\"".to_owned())],
        rest in prop_oneof![Just(String::new()), "\\PC{0,24}", Just(r#","config":{"device":{"name":7}}"#.to_owned()),
            Just(r#","ts":-9223372036854775808,"end_ts":9223372036854775807,"period":300"#.to_owned()),
            Just(r#","ts":9223372036854775807,"period":3600"#.to_owned()), Just(r#","offset":1e300,"key":"k","value":null"#.to_owned())],
    ) {
        let bench = Bench::new();
        match bench.outcome(&method, &format!("{{\"id\":{id}{rest}}}")).answer {
            Answer::Result(text) => prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text),
            Answer::Error(error) => prop_assert!(error.code != 0 && !error.message.is_empty()),
            Answer::Silence => prop_assert!(false, "nothing is stale"),
        }
    }

    #[test]
    fn every_number_keeps_its_decimals(watts in -1_000_000.0_f64..1_000_000.0, volts in 50.0_f64..500.0, amps in 0.0_f64..5000.0) {
        let phase = Some(served(watts, volts, amps, watts.abs(), 1.0));
        let bench = Bench::of([phase, phase, phase]);
        for (text, decimals) in [
            (bench.text("EM.GetStatus", r#"{"id":0}"#), &[("a_current", 3), ("b_voltage", 1), ("c_act_power", 1), ("a_aprt_power", 1),
                ("a_pf", 2), ("a_freq", 1), ("total_current", 3), ("total_act_power", 3), ("total_aprt_power", 3)][..]),
            (bench.text("EMData.GetStatus", r#"{"id":0}"#), &[("a_total_act_energy", 2), ("total_act_ret", 2)][..]),
        ] {
            for (key, n) in decimals {
                let rest = text.split_once(&format!("\"{key}\":")).unwrap().1;
                let number = &rest[..rest.find([',', '}']).unwrap()];
                prop_assert_eq!(number.split_once('.').unwrap().1.len(), *n, "{}: {}", key, number);
                prop_assert!(!number.starts_with("-0") || number.contains(|c: char| ('1'..='9').contains(&c)), "{}", number);
            }
        }
        let em = bench.value("EM.GetStatus", r#"{"id":0}"#);
        let sum: f64 = ["a_act_power", "b_act_power", "c_act_power"].iter().map(|k| em[k].as_f64().unwrap()).sum();
        prop_assert_eq!(Fixed::<1>::round(sum), Fixed::<1>::round(em["total_act_power"].as_f64().unwrap()));
    }
}
