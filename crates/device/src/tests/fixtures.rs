//! Key by key, type by type and in number format against `tests/fixtures`.

use std::sync::Arc;

use meter::records::Records;
use serde_json::Value;

use super::super::{frame, testing::*, *};

fn fixture(path: &str) -> Value {
    let path = format!("{}/../../tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The text with every number's digits made 0 and without blanks, so that keys, their order and the
/// decimals remain. Numbers before the point become one 0.
fn shape(text: &str) -> String {
    let mut out = String::new();
    let (mut in_string, mut after_point, mut escaped) = (false, false, false);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            out.push(c);
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '0'..='9' if after_point => out.push('0'),
            '0'..='9' => {
                if !out.ends_with('0') {
                    out.push('0');
                }
            }
            '.' => {
                after_point = true;
                out.push(c);
            }
            '-' => {}
            c if c.is_whitespace() => {}
            _ => {
                after_point = false;
                out.push(c);
            }
        }
    }
    out
}

#[test]
fn em_status_has_the_keys_order_and_decimals_of_the_golden_body() {
    let golden = fixture("golden/http_get_em_getstatus.json");
    let body = golden["response"]["body_text"].as_str().unwrap();
    assert_eq!(
        shape(&Bench::new().text("EM.GetStatus", r#"{"id":0}"#)),
        shape(body)
    );
}

#[test]
fn emdata_status_is_the_golden_body() {
    let golden = fixture("golden/http_get_emdata_getstatus.json");
    let body = golden["response"]["body_text"].as_str().unwrap();
    let ours = Bench::new().text("EMData.GetStatus", r#"{"id":0}"#);
    assert_eq!(shape(&ours), shape(body));
    assert_eq!(
        ours, body,
        "the counters of the bench are those of the golden body, unrounded"
    );
}

#[test]
fn device_info_is_the_golden_body_but_for_the_firmware() {
    let golden = fixture("golden/http_get_shelly.json");
    let mut bench = Bench::new();
    bench.state.name = Some("Test Name".into());
    bench.device.identity.firmware = &firmware::SETS[0];
    bench.device.identity.fw_id = vocab::BuildId::from_static("20231219-134001/1.1.0-g34b5d4f");
    bench.device.identity.ver = bench.device.identity.fw_id.version();
    let body = golden["response"]["body_text"].as_str().unwrap();
    assert_eq!(&*bench.device.info_json(&bench.state), body);

    let golden = fixture("golden/ws_getdeviceinfo.json");
    let request = frame::parse(golden["request"]["frame"].to_string().as_bytes()).unwrap();
    let answer = bench
        .device
        .call(
            find(request.method.as_deref().unwrap()),
            request.params.as_deref(),
            &bench.context(),
        )
        .answer;
    let reply = frame::reply(&request, &bench.device.identity.id, None, &answer).unwrap();
    assert_eq!(reply, golden["response"]["frame_text"].as_str().unwrap());
}

#[test]
fn errors_are_the_golden_frames() {
    let bench = Bench::new();
    for name in ["post_rpc_missing_id", "post_rpc_unknown_instance"] {
        let golden = fixture(&format!("golden/{name}.json"));
        let request = frame::parse(golden["request"]["body"].to_string().as_bytes()).unwrap();
        let answer = bench
            .device
            .call(
                find(request.method.as_deref().unwrap()),
                request.params.as_deref(),
                &bench.context(),
            )
            .answer;
        let reply: Value = serde_json::from_str(
            &frame::reply(&request, &bench.device.identity.id, None, &answer).unwrap(),
        )
        .unwrap();
        assert_eq!(reply, golden["response"]["frame"], "{name}");
    }
    let golden = fixture("golden/http_unknown_method.json");
    let Answer::Error(error) = bench.outcome("ProOutputAddon.GetPeripherals", "{}").answer else {
        panic!("no error")
    };
    assert_eq!(
        serde_json::to_value(&error).unwrap(),
        golden["response"]["body"]
    );
    assert_eq!(
        u64::from(error.http_status()),
        golden["response"]["status"].as_u64().unwrap()
    );
}

#[test]
fn the_outbound_reply_carries_the_string_id() {
    let golden = fixture("golden/outbound_ws_victron_legacy.json");
    let bench = Bench::new();
    let request = frame::parse(golden["request"]["frame"].to_string().as_bytes()).unwrap();
    let answer = bench
        .device
        .call(
            find(request.method.as_deref().unwrap()),
            None,
            &bench.context(),
        )
        .answer;
    let reply: Value = serde_json::from_str(
        &frame::reply(&request, &bench.device.identity.id, None, &answer).unwrap(),
    )
    .unwrap();
    let expected = &golden["response"]["frame"];
    assert_eq!(reply["id"], expected["id"]);
    assert_eq!(reply["src"], expected["src"]);
    assert!(
        reply.get("dst").is_none()
            && reply["result"]["mac"] == "AABBCCDDEEFF"
            && reply["result"]["fw_id"].is_string()
    );
}

#[test]
fn udp_answers_in_both_forms() {
    let golden = fixture("golden/udp_marstek_em.json");
    let request = frame::parse(
        golden["request"]["datagram_text"]
            .as_str()
            .unwrap()
            .as_bytes(),
    )
    .unwrap();
    let watts = |w| Some(served(w, 230.0, 1.0, 230.0, 1.0));
    let mut bench = Bench::of([watts(120.5), watts(-30.2), watts(0.0)]);
    let mut reply = |manner| {
        bench.manner = manner;
        let answer = bench
            .device
            .call(
                find("EM.GetStatus"),
                request.params.as_deref(),
                &bench.context(),
            )
            .answer;
        frame::reply(
            &request,
            &bench.device.identity.id,
            Some("unknown"),
            &answer,
        )
        .unwrap()
    };
    let body = golden["response"]["datagram_text"].as_str().unwrap();
    assert_eq!(
        reply(Manner::udp(true, true)),
        body.replace("90.3}", "90.300}")
    );
    let full = reply(Manner::udp(false, false));
    assert!(
        full.len() > 250
            && full.contains("\"dst\":\"unknown\"")
            && full.contains("\"c_act_power\":0.0,"),
        "{full}"
    );
    let full = reply(Manner::udp(false, true));
    assert!(
        full.contains("\"c_act_power\":0.001,") && full.contains("\"a_act_power\":120.5,"),
        "{full}"
    );
}

/// Whether two values are of one type; null goes with anything, since the dumps hold names and
/// addresses.
fn alike(path: &str, dump: &Value, ours: &Value, missing: &mut Vec<String>) {
    match (dump, ours) {
        (Value::Object(dump), Value::Object(ours)) => {
            for (key, value) in dump {
                match ours.get(key) {
                    Some(our) => alike(&format!("{path}.{key}"), value, our, missing),
                    None => missing.push(format!("{path}.{key}")),
                }
            }
            for key in ours.keys().filter(|key| !dump.contains_key(*key)) {
                // Only wifi.sta is left of the dump's wifi configuration.
                if path != "config.wifi" {
                    missing.push(format!("{path}.{key} is not in the dump"));
                }
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (dump, ours) => {
            let same = std::mem::discriminant(dump) == std::mem::discriminant(ours);
            let same_number = !dump.is_number() || dump.is_f64() == ours.is_f64();
            if !same || !same_number {
                missing.push(format!("{path}: {dump} against {ours}"));
            }
        }
    }
}

/// A bench that answers as this version.
fn answering_as(ver: &str) -> Bench {
    let mut bench = Bench::new();
    let settings = config::IdentitySettings {
        firmware: vocab::Version::parse(ver),
        ..Default::default()
    };
    bench.device.identity = Identity::new(&settings, &bench.device.identity.mac).0;
    bench
}

/// The keys of all objects in a JSON text, in the order in which they stand there.
fn keys_of(text: &str) -> Vec<String> {
    let (mut keys, mut rest) = (Vec::new(), text);
    while let Some((_, after)) = rest.split_once('"') {
        let Some((string, after)) = after.split_once('"') else {
            break;
        };
        if after.trim_start().starts_with(':') {
            keys.push(string.to_owned());
        }
        rest = after;
    }
    keys
}

#[test]
fn the_captures_of_1_7_5_have_our_keys_in_our_order_in_both_profiles() {
    #[derive(serde::Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        shelly: &'a serde_json::value::RawValue,
        #[serde(borrow)]
        settings: &'a serde_json::value::RawValue,
        #[serde(borrow)]
        status: &'a serde_json::value::RawValue,
    }
    #[derive(serde::Deserialize)]
    struct Capture<'a> {
        #[serde(borrow)]
        dump: Parts<'a>,
    }
    for (name, mono) in [("pro3em-1.7.5-triphase", false), ("pro3em-monophase", true)] {
        let path = format!(
            "{}/../../tests/fixtures/dumps/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(path).unwrap();
        let capture: Capture<'_> = serde_json::from_str(&text).unwrap();
        let bench = if mono {
            answering_as("1.7.5").monophase()
        } else {
            answering_as("1.7.5")
        };
        for (method, theirs) in [
            ("Shelly.GetDeviceInfo", capture.dump.shelly),
            ("Shelly.GetConfig", capture.dump.settings),
            ("Shelly.GetStatus", capture.dump.status),
        ] {
            // An update that waited, and a place that was set: neither is a matter of the firmware.
            let keys = |text: &str| {
                keys_of(text)
                    .into_iter()
                    .filter(|k| !["beta", "version", "tz", "lat", "lon"].contains(&k.as_str()))
            };
            assert_eq!(
                keys(&bench.text(method, "{}")).collect::<Vec<_>>(),
                keys(theirs.get()).collect::<Vec<_>>(),
                "{name} {method}"
            );
        }
        let info = bench.value("Shelly.GetDeviceInfo", "{}");
        let theirs: Value = serde_json::from_str(capture.dump.shelly.get()).unwrap();
        for key in [
            "model",
            "gen",
            "fw_id",
            "ver",
            "app",
            "profile",
            "provision",
        ] {
            assert_eq!(info[key], theirs[key], "{key}");
        }
    }
}

#[test]
fn every_key_and_type_of_the_2_0_1_dump_is_there_and_no_other() {
    let dump = fixture("dumps/pro3em63-2.0.1-triphase.json");
    let bench = answering_as("2.0.1");
    let mut missing = Vec::new();
    for (part, method) in [
        ("config", "Shelly.GetConfig"),
        ("status", "Shelly.GetStatus"),
        ("device_info", "Shelly.GetDeviceInfo"),
    ] {
        alike(part, &dump[part], &bench.value(method, "{}"), &mut missing);
    }
    // A radio that is on, an add-on, an access point that was left: none is here. Its place was set
    // to whole degrees.
    let own = [
        ".ble.",
        "sys.alt",
        "ui_data",
        "status.wifi",
        "config.sys.location",
    ];
    missing.retain(|difference| !own.iter().any(|o| difference.contains(o)));
    assert!(missing.is_empty(), "{missing:#?}");
    let mono = bench.monophase().text("EM1.GetConfig", r#"{"id":0}"#);
    assert!(mono.ends_with(r#""ct_type":"120A","alarms":{"voltage":[null,null],"current":[null,null],"power":[null,null]}}"#), "{mono}");
}

#[test]
fn what_a_set_has_not_is_refused_or_ignored_and_never_stored() {
    let bench = answering_as("2.0.1");
    assert_eq!(
        bench.code(
            "Sys.SetConfig",
            r#"{"config":{"device":{"enhanced_security":true}}}"#
        ),
        -109
    );
    assert_eq!(
        bench.code(
            "EM.SetConfig",
            r#"{"id":0,"config":{"alarms":{"a":{"power":[null,3000]}}}}"#
        ),
        -109
    );
    assert_eq!(bench.code("EM1.SetConfig", r#"{"id":0,"config":{}}"#), 404);
    for (method, params) in [
        (
            "EM.SetConfig",
            r#"{"id":0,"config":{"alarms":{"a":{"power":[null,null]}}}}"#,
        ),
        (
            "Sys.SetConfig",
            r#"{"config":{"device":{"enhanced_security":false}}}"#,
        ),
    ] {
        let outcome = bench.outcome(method, params);
        assert!(
            matches!(outcome.answer, Answer::Result(_)) && outcome.effects.is_empty(),
            "{method}: {outcome:?}"
        );
    }
}

#[test]
fn every_key_and_type_of_the_1_6_1_dump_is_there_and_no_other() {
    let dump = fixture("dumps/pro3em-1.6.1-triphase.json");
    let bench = answering_as("1.6.1");
    let mut missing = Vec::new();
    for (part, method) in [
        ("config", "Shelly.GetConfig"),
        ("status", "Shelly.GetStatus"),
        ("shelly", "Shelly.GetDeviceInfo"),
    ] {
        alike(part, &dump[part], &bench.value(method, "{}"), &mut missing);
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn monophase_configuration_and_status_have_the_devices_keys() {
    let dump = fixture("dumps/pro3em63-2.0.0-monophase-config.json");
    let bench = answering_as("2.0.0").monophase();
    let config = bench.value("Shelly.GetConfig", "{}");
    for (key, value) in dump["config"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| !key.starts_with("script") && *key != "sys")
    {
        for member in value.as_object().unwrap().keys() {
            assert!(config[key].get(member).is_some(), "{key}.{member}");
        }
    }
    let mut small = answering_as("2.0.0").monophase();
    small.device.identity.model = "SPEM-003CEBEU63".into();
    for (bench, ct) in [(&small, "3x63A"), (&bench, "120A")] {
        assert_eq!(
            bench.value("Shelly.GetConfig", "{}")["em1:2"]["ct_type"],
            ct
        );
        assert_eq!(
            bench.text("EM1.GetCTTypes", r#"{"id":2}"#),
            format!(r#"{{"supported":["{ct}"]}}"#)
        );
        let set = format!(r#"{{"id":2,"config":{{"ct_type":"{ct}"}}}}"#);
        assert!(matches!(
            bench.outcome("EM1.SetConfig", &set).answer,
            Answer::Result(_)
        ));
    }
    assert_eq!(dump["config"]["em1:2"]["ct_type"], "3x63A");
    // A sibling of the next generation has the same keys, but current before voltage; a Pro 3EM has
    // voltage first.
    let dump = fixture("dumps/shelly3em63g3-related.json");
    let ours = bench.text("EM1.GetStatus", r#"{"id":2}"#);
    let keys = |text: &str| {
        text.split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .filter(|k| k != "factory")
            .collect::<Vec<_>>()
    };
    let text = std::fs::read_to_string(format!(
        "{}/../../tests/fixtures/dumps/shelly3em63g3-related.json",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap();
    let line = text
        .lines()
        .find(|l| l.contains("mqtt_status_em1_2"))
        .unwrap();
    let (_, object) = line.split_once(": ").unwrap();
    let mut theirs = keys(object);
    theirs.swap(1, 2);
    assert_eq!(keys(&ours), theirs);
    assert_eq!(
        dump["mqtt_status_em1_2"]["calibration"],
        bench.value("EM1.GetStatus", r#"{"id":2}"#)["calibration"]
    );
}

#[test]
fn keys_stand_in_the_devices_order() {
    let bench = Bench::new();
    let order = |text: &str, keys: &[&str]| {
        let at: Vec<_> = keys
            .iter()
            .map(|k| {
                text.find(&format!("\"{k}\":"))
                    .unwrap_or_else(|| panic!("{k} in {text}"))
            })
            .collect();
        assert!(at.is_sorted(), "{text}");
    };
    let all = [
        "ble",
        "bthome",
        "cloud",
        "em:0",
        "emdata:0",
        "eth",
        "modbus",
        "mqtt",
        "sys",
        "temperature:0",
        "wifi",
        "ws",
    ];
    order(&bench.text("Shelly.GetStatus", "{}"), &all);
    order(&bench.text("Shelly.GetConfig", "{}"), &all);
    let sys = [
        "mac",
        "restart_required",
        "time",
        "unixtime",
        "last_sync_ts",
        "uptime",
        "ram_size",
        "cfg_rev",
        "available_updates",
        "utc_offset",
    ];
    order(&bench.text("Sys.GetStatus", "{}"), &sys);
    order(
        &bench.text("Sys.GetConfig", "{}"),
        &[
            "device", "location", "debug", "ui_data", "rpc_udp", "sntp", "cfg_rev",
        ],
    );
    order(
        &bench.text("EM.GetConfig", r#"{"id":0}"#),
        &[
            "id",
            "name",
            "blink_mode_selector",
            "phase_selector",
            "ct_type",
            "reverse",
        ],
    );
    assert_eq!(
        bench.text("Temperature.GetStatus", r#"{"id":0}"#),
        r#"{"id":0,"tC":40.0,"tF":104.0}"#
    );
    assert_eq!(
        bench.text("Ws.GetConfig", "{}"),
        r#"{"enable":false,"server":null,"ssl_ca":"ca.pem"}"#
    );
    let sys = bench.value("Sys.GetStatus", "{}");
    assert_eq!(sys["time"].as_str(), Some("11:38"), "as in the dump");
    assert_eq!(sys["utc_offset"].as_i64(), Some(7200), "as in the dump");
}

#[test]
fn csv_header_and_row_are_the_golden_ones() {
    let golden = fixture("golden/csv_emdata_header_and_row.json");
    let records: Arc<dyn Records> = Arc::new(Minutes(vec![minute(1_771_180_620, 12.0)]));
    let csv: String = history::Csv::new(records, history::Columns::Em, 0, i64::MAX, true)
        .map(Result::unwrap)
        .collect();
    let mut lines = csv.lines();
    assert_eq!(lines.next().unwrap(), golden["response"]["header"]);
    assert_eq!(
        shape(lines.next().unwrap()),
        shape(golden["response"]["row"].as_str().unwrap())
    );
    assert!(lines.next().is_none() && csv.ends_with('\n'));
}
