//! Writing: what takes effect, what is kept, what is refused.

use super::super::{testing::*, *};
use config::Profile;

#[test]
fn names_take_effect_and_raise_the_revision() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.apply("EM.SetConfig", r#"{"id":0,"config":{"name":"Keller"}}"#),
        r#"{"restart_required":false}"#
    );
    assert_eq!(bench.value("EM.GetConfig", r#"{"id":0}"#)["name"], "Keller");
    bench.apply(
        "Sys.SetConfig",
        r#"{"config":{"device":{"name":"Haus","unknown":1}}}"#,
    );
    assert_eq!(bench.value("Shelly.GetDeviceInfo", "{}")["name"], "Haus");
    assert_eq!(bench.state.cfg_rev, 3);
    assert_eq!(bench.value("Sys.GetStatus", "{}")["cfg_rev"], 3);
    bench.apply("Sys.SetConfig", r#"{"config":{"device":{"name":"Haus"}}}"#);
    assert_eq!(bench.state.cfg_rev, 3, "nothing changed");
    bench.apply("Shelly.SetConfig", r#"{"config":{"device":{"name":null}}}"#);
    assert_eq!(bench.state.name, None);

    let mut mono = Bench::new().monophase();
    mono.apply("EM1.SetConfig", r#"{"id":1,"config":{"name":"L2"}}"#);
    assert_eq!(mono.value("Shelly.GetConfig", "{}")["em1:1"]["name"], "L2");
}

#[test]
fn what_is_kept_is_kept_whole() {
    let mut bench = Bench::new();
    bench.apply(
        "Sys.SetConfig",
        r#"{"config":{"location":{"lat":52.5,"lon":13.405},"ui_data":{"a":[1]}}}"#,
    );
    let text = bench.text("Sys.GetConfig", "{}");
    assert!(
        text.contains(r#""lat":52.500000,"lon":13.405000"#)
            && text.contains(r#""tz":"Europe/Warsaw""#),
        "{text}"
    );
    assert!(text.contains(r#""ui_data":{"a":[1]}"#), "{text}");
    bench.apply(
        "Temperature.SetConfig",
        r#"{"id":0,"config":{"offset_C":-2}}"#,
    );
    assert_eq!(
        bench.text("Temperature.GetStatus", r#"{"id":0}"#),
        r#"{"id":0,"tC":38.0,"tF":100.4}"#
    );
    assert!(
        bench
            .text("Temperature.GetConfig", r#"{"id":0}"#)
            .contains(r#""report_thr_C":5.0,"offset_C":-2.0"#)
    );
    bench.apply(
        "Sys.SetConfig",
        r#"{"config":{"location":{"tz":"America/New_York"}}}"#,
    );
    assert_eq!(bench.value("Sys.GetStatus", "{}")["time"], "05:38");

    // Stored for good: a state that is written and read back gives the same texts.
    let before = bench.text("Shelly.GetConfig", "{}");
    bench.state = serde_json::from_str(&serde_json::to_string(&bench.state).unwrap()).unwrap();
    assert_eq!(bench.text("Shelly.GetConfig", "{}"), before);
    // What identifies the device is never taken from the store.
    bench.device.identity.fw_id = vocab::BuildId::from_static("20260101-000000/1.9.0-g1234567");
    assert_eq!(
        bench.value("Sys.GetConfig", "{}")["device"]["fw_id"],
        "20260101-000000/1.9.0-g1234567"
    );
}

#[test]
fn what_would_have_no_effect_is_refused_and_named() {
    let bench = Bench::new();
    for (method, config, named) in [
        ("BLE.SetConfig", r#"{"enable":true}"#, "enable"),
        ("BLE.SetConfig", r#"{"rpc":{"enable":false}}"#, "rpc.enable"),
        ("Cloud.SetConfig", r#"{"enable":true}"#, "enable"),
        (
            "Cloud.SetConfig",
            r#"{"server":"192.0.2.1:6012/jrpc"}"#,
            "server",
        ),
        ("WiFi.SetConfig", r#"{"ap":{"enable":true}}"#, "ap.enable"),
        ("Wifi.SetConfig", r#"{"sta":{"pass":"secret"}}"#, "pass"),
        (
            "Eth.SetConfig",
            r#"{"ipv4mode":"static","ip":"192.0.2.7"}"#,
            "ip",
        ),
        (
            "Sys.SetConfig",
            r#"{"sntp":{"server":"192.0.2.1"}}"#,
            "sntp.server",
        ),
        (
            "Sys.SetConfig",
            r#"{"debug":{"udp":{"addr":"192.0.2.2:514"}}}"#,
            "debug.udp.addr",
        ),
        ("Sys.SetConfig", r#"{"debug":{"level":4}}"#, "debug.level"),
        (
            "Sys.SetConfig",
            r#"{"device":{"name":"x","eco_mode":true}}"#,
            "device.eco_mode",
        ),
        (
            "Sys.SetConfig",
            r#"{"device":{"discoverable":false}}"#,
            "device.discoverable",
        ),
        (
            "Sys.SetConfig",
            r#"{"device":{"mac":"AABBCCDDEE00"}}"#,
            "device.mac",
        ),
        (
            "Sys.SetConfig",
            r#"{"device":{"profile":"monophase"}}"#,
            "Shelly.SetProfile",
        ),
        (
            "Sys.SetConfig",
            r#"{"rpc_udp":{"listen_port":2020}}"#,
            "rpc_udp",
        ),
        (
            "EM.SetConfig",
            r#"{"phase_selector":"a"}"#,
            "phase_selector",
        ),
        (
            "EM.SetConfig",
            r#"{"name":"x","monitor_phase_sequence":true}"#,
            "monitor_phase_sequence",
        ),
        (
            "EM.SetConfig",
            r#"{"blink_mode_selector":"apparent_energy"}"#,
            "blink_mode_selector",
        ),
        ("EM.SetConfig", r#"{"reverse":{"a":true}}"#, "reverse"),
        (
            "Temperature.SetConfig",
            r#"{"report_thr_C":1}"#,
            "report_thr_C",
        ),
    ] {
        let outcome = bench.outcome(method, &format!(r#"{{"id":0,"config":{config}}}"#));
        let Answer::Error(error) = outcome.answer else {
            panic!("{method} {config}")
        };
        assert!(
            error.code == -109 && error.message.contains(named) && outcome.effects.is_empty(),
            "{method} {config}: {}",
            error.message
        );
        assert!(!error.message.contains("secret"));
    }
}

#[test]
fn what_is_so_already_may_be_asked_for() {
    for bench in [Bench::new(), Bench::new().monophase()] {
        let config = bench.value("Shelly.GetConfig", "{}");
        for (component, own) in config.as_object().unwrap() {
            // A device is given back what it said of itself, as its app does it.
            let (name, id) = component.split_once(':').unwrap_or((component, "0"));
            let outcome = bench.outcome(
                &format!("{name}.SetConfig"),
                &format!(r#"{{"id":{id},"config":{own}}}"#),
            );
            let Answer::Result(result) = outcome.answer else {
                panic!("{component}: {:?}", outcome.answer)
            };
            assert_eq!(&*result, r#"{"restart_required":false}"#, "{component}");
            assert_eq!(outcome.effects.len(), 0, "{component}");
        }
        for (method, config) in [
            ("Mqtt.SetConfig", r#"{"enable":false}"#),
            ("BLE.SetConfig", r#"{"enable":false,"rpc":{"enable":true}}"#),
            ("Cloud.SetConfig", r#"{"enable":false}"#),
            ("WiFi.SetConfig", r#"{"ap":{"enable":false}}"#),
            ("WiFi.SetConfig", r#"{"sta":{"pass":null}}"#),
            ("BTHome.SetConfig", "{}"),
            ("Ws.SetConfig", r#"{"enable":false,"server":null}"#),
            ("Ws.SetConfig", r#"{"enable":false,"server":""}"#),
        ] {
            let outcome = bench.outcome(method, &format!(r#"{{"config":{config}}}"#));
            assert!(
                matches!(outcome.answer, Answer::Result(_)) && outcome.effects.is_empty(),
                "{method} {config}"
            );
        }
    }
}

#[test]
fn a_broker_is_kept_and_its_password_told_to_nobody() {
    let mut bench = Bench::new();
    let set = |bench: &mut Bench, config: &str| {
        let Outcome { answer, effects } =
            bench.outcome("Mqtt.SetConfig", &format!(r#"{{"config":{config}}}"#));
        for effect in effects {
            let Effect::Set(setting) = effect else {
                panic!("{effect:?}")
            };
            bench.state = bench.state.with(&setting);
        }
        answer
    };
    let given = r#"{"enable":true,"server":"192.0.2.1:1883","user":"meter","pass":"hunter2","status_ntf":true,"client_id":null}"#;
    assert_eq!(
        set(&mut bench, given),
        Answer::Result(r#"{"restart_required":true}"#.into())
    );
    let kept = bench.state.mqtt.clone();
    assert!(kept.enable && kept.status_ntf && kept.rpc_ntf);
    assert_eq!(kept.pass.as_deref(), Some("hunter2"));
    assert_eq!(kept.client_id, None);
    let told = bench.text("Mqtt.GetConfig", "{}");
    assert!(
        told.contains(r#""client_id":"shellypro3em-"#) && !told.contains("hunter2"),
        "{told}"
    );
    assert!(!format!("{:?}", bench.state).contains("hunter2"));
    assert_eq!(
        set(&mut bench, given),
        Answer::Result(r#"{"restart_required":false}"#.into())
    );

    // Another server does not get the password of the first.
    set(&mut bench, r#"{"server":"192.0.2.2"}"#);
    assert_eq!(bench.state.mqtt.pass, None);
    set(&mut bench, r#"{"enable":false,"server":""}"#);
    assert!(!bench.state.mqtt.enable);
    assert_eq!(bench.state.mqtt.server, None);

    bench.mqtt_connected = true;
    assert_eq!(bench.value("Mqtt.GetStatus", "{}")["connected"], true);
}

#[test]
fn a_broker_that_cannot_be_is_refused() {
    let bench = Bench::new();
    for (config, code) in [
        (r#"{"enable":true}"#, -103),
        (r#"{"enable":true,"server":"http://192.0.2.1"}"#, -103),
        (r#"{"enable":true,"server":"127.0.0.1:1883"}"#, -109),
        (r#"{"enable":true,"server":"192.0.2.1","ssl_ca":"x"}"#, -103),
        (r##"{"topic_prefix":"house/#"}"##, -103),
        (r#"{"pass":7}"#, -103),
        (r#"{"use_client_cert":true}"#, -109),
    ] {
        let outcome = bench.outcome("Mqtt.SetConfig", &format!(r#"{{"config":{config}}}"#));
        let Answer::Error(error) = outcome.answer else {
            panic!("{config} is taken")
        };
        assert_eq!(error.code, code, "{config}: {}", error.message);
        assert!(outcome.effects.is_empty());
    }
}

#[test]
fn what_an_older_version_kept_without_effect_is_not_told_any_more() {
    let mut bench = Bench::new();
    let members = |text: &str| serde_json::from_str(text).unwrap();
    for (component, kept) in [
        ("mqtt", r#"{"enable":true,"server":"192.0.2.1:1883"}"#),
        ("ble", r#"{"enable":true}"#),
        ("cloud", r#"{"enable":true}"#),
        (
            "sys",
            r#"{"debug":{"level":4},"location":{"tz":"America/New_York"}}"#,
        ),
        ("em:0", r#"{"phase_selector":"a"}"#),
    ] {
        bench
            .state
            .overrides
            .insert(component.into(), members(kept));
    }
    let fresh = Bench::new();
    for method in [
        "Mqtt.GetConfig",
        "BLE.GetConfig",
        "Cloud.GetConfig",
        "EM.GetConfig",
    ] {
        assert_eq!(
            bench.text(method, r#"{"id":0}"#),
            fresh.text(method, r#"{"id":0}"#),
            "{method}"
        );
    }
    let sys = bench.value("Sys.GetConfig", "{}");
    assert_eq!(sys["debug"]["level"], 2);
    assert_eq!(sys["location"]["tz"], "America/New_York");
}

#[test]
fn a_server_is_taken_away_by_none_and_by_an_empty_text() {
    // Homey sends this when the device is removed there.
    for off in [
        r#"{"enable":false,"server":"","ssl_ca":"*"}"#,
        r#"{"enable":false,"server":null}"#,
    ] {
        let mut bench = Bench::new();
        bench.apply(
            "WS.SetConfig",
            r#"{"config":{"enable":true,"server":"ws://192.0.2.7/x","ssl_ca":"*"}}"#,
        );
        assert_eq!(
            bench.apply("WS.SetConfig", &format!(r#"{{"config":{off}}}"#)),
            r#"{"restart_required":true}"#
        );
        assert_eq!(
            bench.text("WS.GetConfig", "{}"),
            r#"{"enable":false,"server":null,"ssl_ca":"*"}"#
        );
        assert_eq!(
            bench.code("WS.SetConfig", r#"{"config":{"enable":true,"server":""}}"#),
            -103,
            "none to dial"
        );
    }
}

#[test]
fn a_reader_does_not_send_the_meter_to_its_own_host() {
    let mut bench = Bench::new();
    let set = |server: &str| {
        format!(
            r#"{{"config":{{"enable":true,"server":{}}}}}"#,
            serde_json::Value::from(server)
        )
    };
    for (server, code) in [
        ("ws://127.0.0.1:22/", -109),
        ("ws://[::1]:8123/", -109),
        ("ws://localhost/", -109),
        ("ws://169.254.169.254/", -109),
        ("ws://192.0.2.7/\nWARN forged", -103),
        ("ws://192.0.2.7/\u{202e}", -103),
        ("ws://192.0.2.7:0/", -103),
    ] {
        assert_eq!(bench.code("Ws.SetConfig", &set(server)), code, "{server:?}");
    }
    bench.device.options.outbound_local = true;
    bench.apply("Ws.SetConfig", &set("ws://127.0.0.1:8000/"));
    // Kept from before the option was taken out: it may be turned off, not on.
    bench.device.options.outbound_local = false;
    assert_eq!(
        bench.code("Ws.SetConfig", r#"{"config":{"ssl_ca":"*"}}"#),
        -109
    );
    bench.apply("Ws.SetConfig", r#"{"config":{"enable":false}}"#);
    assert_eq!(
        bench.code("Ws.SetConfig", r#"{"config":{"enable":true}}"#),
        -109
    );
}

#[test]
fn methods_that_are_listed_answer() {
    for bench in [Bench::new(), Bench::new().monophase()] {
        let profile = bench.state.profile;
        let own = if profile == Profile::Triphase {
            r#""from":"a","to":"b""#
        } else {
            r#""from":1"#
        };
        let params = format!(
            r#"{{"id":0,"ts":0,"period":900,"config":{{}},"key":"k","value":1,"name":"triphase","user":"admin","realm":"{}","ha1":null,{own}}}"#,
            bench.device.identity.id
        );
        let methods = bench.value("Shelly.ListMethods", "{}");
        for method in methods["methods"].as_array().unwrap() {
            let method = method.as_str().unwrap();
            match bench.outcome(method, &params).answer {
                Answer::Result(text) => assert!(
                    serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                    "{method}: {text}"
                ),
                // Refused with a reason, or asked for one that is not there.
                Answer::Error(error) => {
                    assert!(
                        [-105, -109].contains(&error.code) && !error.message.is_empty(),
                        "{method}: {error:?}"
                    );
                    let reads = !find(method).unwrap().writes;
                    assert!(
                        !reads || method.starts_with("Script.") || method.starts_with("KVS."),
                        "{method}: {error:?}"
                    );
                }
                Answer::Silence => panic!("{method} is silent"),
            }
        }
    }
}

#[test]
fn values_that_do_not_fit_change_nothing() {
    let bench = Bench::new();
    let long = format!(r#"{{"id":0,"config":{{"name":"{}"}}}}"#, "x".repeat(65));
    let huge = format!(
        r#"{{"config":{{"ui_data":{{"a":"{}"}}}}}}"#,
        "x".repeat(5000)
    );
    for (method, params, code) in [
        ("EM.SetConfig", r#"{"id":0}"#, -103),
        ("EM.SetConfig", r#"{"id":0,"config":[]}"#, -103),
        ("EM.SetConfig", r#"{"id":0,"config":{"name":7}}"#, -103),
        ("EM.SetConfig", &long, -103),
        (
            "EM.SetConfig",
            r#"{"id":0,"config":{"phase_selector":"d"}}"#,
            -103,
        ),
        (
            "EM.SetConfig",
            r#"{"id":0,"config":{"ct_type":"400A"}}"#,
            -103,
        ),
        (
            "EM.SetConfig",
            r#"{"id":0,"config":{"reverse":{"a":true}}}"#,
            -109,
        ),
        (
            "Sys.SetConfig",
            r#"{"config":{"location":{"tz":"Mars/Olympus"}}}"#,
            -103,
        ),
        (
            "Sys.SetConfig",
            r#"{"config":{"debug":{"level":"high"}}}"#,
            -103,
        ),
        (
            "Sys.SetConfig",
            r#"{"config":{"rpc_udp":{"listen_port":1010}}}"#,
            -109,
        ),
        ("Sys.SetConfig", &huge, -108),
        ("Ws.SetConfig", r#"{"config":{"enable":true}}"#, -103),
        (
            "Ws.SetConfig",
            r#"{"config":{"enable":true,"server":"http://x"}}"#,
            -103,
        ),
        ("Ws.SetConfig", r#"{"config":{"ssl_ca":"mine"}}"#, -103),
        (
            "Temperature.SetConfig",
            r#"{"id":0,"config":{"offset_C":-50.1}}"#,
            -103,
        ),
        (
            "Temperature.SetConfig",
            r#"{"id":0,"config":{"offset_C":1000}}"#,
            -103,
        ),
        (
            "Temperature.SetConfig",
            r#"{"id":0,"config":{"offset_C":"warm"}}"#,
            -103,
        ),
        (
            "Wifi.SetConfig",
            r#"{"config":{"sta":{"enable":false}}}"#,
            -109,
        ),
        ("Eth.SetConfig", r#"{"config":{"enable":false}}"#, -109),
        ("Shelly.Update", "{}", -109),
        ("Shelly.FactoryReset", "{}", -109),
        ("Shelly.ResetWiFiConfig", "{}", -109),
        ("Shelly.PutUserCA", "{}", -109),
        (
            "EM.PhaseToPhaseCalib",
            r#"{"id":0,"from":"a","to":"b"}"#,
            -109,
        ),
        ("Shelly.SetProfile", r#"{"name":"biphase"}"#, -103),
        ("Shelly.SetProfile", "{}", -103),
        ("Shelly.Reboot", r#"{"delay_ms":"soon"}"#, -103),
        ("KVS.Set", r#"{"key":"k"}"#, -103),
        ("KVS.Set", r#"{"key":"","value":1}"#, -103),
        ("KVS.Set", r#"{"key":"k","value":1,"etag":"x"}"#, -105),
        ("KVS.Delete", r#"{"key":"k"}"#, -105),
        ("KVS.Get", r#"{"key":"k"}"#, -105),
    ] {
        let outcome = bench.outcome(method, params);
        let Answer::Error(error) = outcome.answer else {
            panic!("{method} {params}")
        };
        assert_eq!(error.code, code, "{method} {params}: {}", error.message);
        assert_eq!(
            outcome.effects.len(),
            0,
            "{method} {params}: {}",
            error.message
        );
    }
}

#[test]
fn outbound_modbus_and_key_values_take_effect() {
    let mut bench = Bench::new();
    let set = r#"{"config":{"enable":true,"server":"ws://192.0.2.7:8000/","ssl_ca":"*"}}"#;
    assert_eq!(
        bench.apply("WS.SetConfig", set),
        r#"{"restart_required":true}"#
    );
    assert_eq!(
        bench.text("Ws.GetConfig", "{}"),
        r#"{"enable":true,"server":"ws://192.0.2.7:8000/","ssl_ca":"*"}"#
    );
    bench.apply("Modbus.SetConfig", r#"{"config":{"enable":false}}"#);
    assert_eq!(bench.text("Modbus.GetConfig", "{}"), r#"{"enable":false}"#);
    let set: serde_json::Value =
        serde_json::from_str(&bench.apply("KVS.Set", r#"{"key":"a/b","value":"x"}"#)).unwrap();
    assert_eq!(set["rev"], 1);
    let got = bench.value("KVS.Get", r#"{"key":"a/b"}"#);
    assert_eq!(got["value"], serde_json::json!("x"));
    assert_eq!(got["etag"], set["etag"]);
    assert_eq!(
        bench.value("KVS.GetMany", r#"{"match":"a*"}"#)["items"][0]["key"],
        "a/b"
    );
    assert_eq!(
        bench.value("KVS.List", r#"{"match":"z*"}"#)["keys"],
        serde_json::json!({})
    );
    assert_eq!(
        bench.code("KVS.Set", r#"{"key":"a/b","value":"y","etag":"old"}"#),
        -109
    );
    // Any JSON value, says the vendor's page.
    for value in [r#"{"a":[1,null]}"#, "[]", "null"] {
        bench.apply("KVS.Set", &format!(r#"{{"key":"a/b","value":{value}}}"#));
        let got = bench.value("KVS.Get", r#"{"key":"a/b"}"#);
        assert_eq!(got["value"].to_string(), value);
    }
    let long = format!(r#"{{"key":"a/b","value":["{}"]}}"#, "x".repeat(250));
    assert_eq!(bench.code("KVS.Set", &long), -103);
    bench.apply("KVS.Delete", r#"{"key":"a/b"}"#);
    assert_eq!(
        bench.value("Sys.GetStatus", "{}")["kvs_rev"].as_u64(),
        Some(5)
    );
    assert_eq!(bench.state.kvs.len(), 0);
    for i in 0..100 {
        bench.apply("KVS.Set", &format!(r#"{{"key":"k{i}","value":{i}}}"#));
    }
    assert_eq!(bench.code("KVS.Set", r#"{"key":"more","value":1}"#), -108);
}

#[test]
fn one_channel_is_not_reset_with_the_others() {
    let bench = Bench::new().monophase();
    for method in ["EM1Data.ResetCounters", "EM1Data.DeleteAllData"] {
        let outcome = bench.outcome(method, r#"{"id":1}"#);
        assert_eq!(outcome.effects, [], "{method}");
        assert_eq!(bench.code(method, r#"{"id":1}"#), -109, "{method}");
        assert_eq!(bench.code(method, r#"{"id":3}"#), -105, "{method}");
    }
}

#[test]
fn resets_and_reboots_are_effects() {
    let bench = Bench::new();
    assert_eq!(bench.text("EMData.ResetCounters", r#"{"id":0}"#), "null");
    assert_eq!(
        bench.outcome("EMData.ResetCounters", r#"{"id":0}"#).effects,
        [Effect::ResetCounters]
    );
    assert_eq!(
        bench.outcome("EMData.DeleteAllData", r#"{"id":0}"#).effects,
        [Effect::DeleteAllData]
    );
    assert_eq!(
        bench.outcome("Shelly.Reboot", "{}").effects,
        [Effect::Reboot { delay_ms: 1000 }]
    );
    assert_eq!(
        bench
            .outcome("Shelly.Reboot", r#"{"delay_ms":500}"#)
            .effects,
        [Effect::Reboot { delay_ms: 500 }]
    );
    assert!(
        bench
            .outcome("EMData.ResetCounters", r#"{"id":1}"#)
            .effects
            .is_empty()
    );
}

#[test]
fn a_profile_change_is_kept_and_reboots() {
    let mut bench = Bench::new();
    let outcome = bench.outcome("Shelly.SetProfile", r#"{"name":"monophase"}"#);
    assert!(outcome.effects.contains(&Effect::Reboot { delay_ms: 1000 }));
    assert_eq!(
        bench.apply("Shelly.SetProfile", r#"{"name":"monophase"}"#),
        r#"{"profile_was":"triphase"}"#
    );
    assert_eq!(bench.state.profile, Profile::Monophase);
    assert_eq!(
        bench.value("Shelly.GetDeviceInfo", "{}")["profile"],
        "monophase"
    );
    assert_eq!(
        bench.value("Sys.GetConfig", "{}")["device"]["profile"],
        "monophase"
    );
    let status = bench.value("Shelly.GetStatus", "{}");
    assert!(
        status.get("em1:2").is_some()
            && status.get("em1data:0").is_some()
            && status.get("em:0").is_none()
    );
    assert!(
        bench
            .outcome("Shelly.SetProfile", r#"{"name":"monophase"}"#)
            .effects
            .is_empty(),
        "it is so already"
    );
}

#[test]
fn authentication_is_set_for_admin_in_this_realm() {
    let mut bench = Bench::new();
    let ha1 = auth::ha1(&bench.device.identity.id, "secret");
    let params = |user: &str, realm: &str, ha1: &str| {
        format!(r#"{{"user":"{user}","realm":"{realm}","ha1":{ha1}}}"#)
    };
    let id = bench.device.identity.id.clone();
    let hex = format!("\"{ha1}\"");
    for wrong in [
        params("root", &id, &hex),
        params("admin", "other", &hex),
        params("admin", &id, "\"short\""),
        format!(r#"{{"user":"admin","realm":"{id}"}}"#),
    ] {
        assert_eq!(bench.code("Shelly.SetAuth", &wrong), -103, "{wrong}");
    }
    assert_eq!(
        bench.apply("Shelly.SetAuth", &params("admin", &id, &hex)),
        "null"
    );
    assert_eq!(bench.state.auth_ha1.as_deref(), Some(ha1.as_str()));
    assert_eq!(bench.state.auth_realm.as_deref(), Some(id.as_str()));
    let info = bench.value("Shelly.GetDeviceInfo", "{}");
    assert_eq!(info["auth_en"].as_bool(), Some(true));
    assert_eq!(info["auth_domain"].as_str(), Some(id.as_str()));
    bench.apply("Shelly.SetAuth", &params("admin", &id, "null"));
    assert_eq!((bench.state.auth_ha1, bench.state.auth_realm), (None, None));
}

#[test]
fn a_password_that_nobody_can_use_or_remove_is_dropped() {
    let (id, other) = ("shellypro3em-aabbccddeeff", "shellypro3em-000000000001");
    let stored = |realm: Option<&str>| DeviceState {
        auth_ha1: Some(auth::ha1(id, "secret")),
        auth_realm: realm.map(str::to_owned),
        ..DeviceState::default()
    };
    let mut nothing = DeviceState::default();
    assert_eq!(nothing.drop_dead_password(true, id), None);
    assert_eq!(nothing, DeviceState::default());
    for mut good in [stored(Some(id)), stored(None)] {
        assert_eq!(
            good.drop_dead_password(false, id),
            None,
            "one without a realm is the present id's"
        );
        assert_eq!(
            good,
            stored(Some(id)),
            "one without a realm is the present id's"
        );
    }
    let mut dead = stored(Some(id));
    let why = dead.drop_dead_password(false, other).unwrap();
    assert!(
        why.contains(id) && why.contains(other) && why.contains("auth_password"),
        "{why}"
    );
    assert_eq!(dead, DeviceState::default());
    let mut replaced = stored(Some(id));
    assert!(
        replaced
            .drop_dead_password(true, id)
            .is_some_and(|why| why.contains("auth_password"))
    );
    assert_eq!(
        replaced,
        DeviceState::default(),
        "it does not come back when the option is taken out"
    );
}

#[test]
fn what_an_option_sets_is_changed_there() {
    let mut bench = Bench::new();
    bench.device.options.set_by_option = vec![
        "device_name",
        "profile",
        "outbound_ws",
        "modbus_enable",
        "auth_password",
    ];
    let auth = format!(
        r#"{{"user":"admin","realm":"{}","ha1":null}}"#,
        bench.device.identity.id
    );
    for (method, params, option) in [
        (
            "Sys.SetConfig",
            r#"{"config":{"device":{"name":"x"}}}"#,
            "device_name",
        ),
        ("Shelly.SetProfile", r#"{"name":"monophase"}"#, "profile"),
        (
            "Ws.SetConfig",
            r#"{"config":{"enable":true,"server":"ws://x"}}"#,
            "outbound_ws",
        ),
        (
            "Modbus.SetConfig",
            r#"{"config":{"enable":false}}"#,
            "modbus_enable",
        ),
        ("Shelly.SetAuth", &auth, "auth_password"),
    ] {
        let outcome = bench.outcome(method, params);
        let Answer::Error(error) = outcome.answer else {
            panic!("{method}")
        };
        assert!(
            error.code == -109 && error.message.contains(option) && outcome.effects.is_empty(),
            "{method}: {}",
            error.message
        );
    }
}

#[test]
fn a_password_in_an_options_url_is_not_for_readers() {
    let mut bench = Bench::new();
    let secret = "ws://gx:secret@h/rpc?token=secret";
    bench.apply(
        "Ws.SetConfig",
        &format!(r#"{{"config":{{"enable":true,"server":"{secret}"}}}}"#),
    );
    assert_eq!(
        bench.value("Ws.GetConfig", "{}")["server"],
        secret,
        "it comes back to who set it"
    );
    bench.device.options.set_by_option = vec!["outbound_ws"];
    for (method, path) in [
        ("Ws.GetConfig", "/server"),
        ("Shelly.GetConfig", "/ws/server"),
    ] {
        assert_eq!(
            bench.value(method, "{}").pointer(path).unwrap(),
            "ws://***@h/rpc?token=***",
            "{method}"
        );
    }
    let shown = bench.text("Ws.GetConfig", "{}");
    assert!(
        bench
            .outcome("Ws.SetConfig", &format!(r#"{{"config":{shown}}}"#))
            .effects
            .is_empty()
    );
    assert!(
        bench
            .apply("Ws.SetConfig", &format!(r#"{{"config":{shown}}}"#))
            .contains(r#""restart_required":false"#),
        "nothing changed"
    );
}

#[test]
fn read_only_refuses_every_write_and_nothing_else() {
    for mut bench in [Bench::new(), Bench::new().monophase()] {
        bench.device.options.read_only = true;
        for method in bench.value("Shelly.ListMethods", "{}")["methods"]
            .as_array()
            .unwrap()
        {
            let method = method.as_str().unwrap();
            let outcome = bench.outcome(method, r#"{"id":0,"config":{},"key":"k","value":1}"#);
            let forbidden = matches!(&outcome.answer, Answer::Error(e) if e.code == 403);
            assert_eq!(forbidden, find(method).unwrap().writes, "{method}");
            assert!(outcome.effects.is_empty(), "{method}");
        }
    }
    // Whatever has an effect is marked as a write.
    let bench = Bench::new();
    for method in bench.value("Shelly.ListMethods", "{}")["methods"]
        .as_array()
        .unwrap()
    {
        let method = method.as_str().unwrap();
        let params = r#"{"id":0,"config":{"enable":false,"name":"x","device":{"name":"y"}},"key":"k","value":1,"name":"monophase"}"#;
        assert!(
            bench.outcome(method, params).effects.is_empty() || find(method).unwrap().writes,
            "{method}"
        );
    }
    assert!(find("emdata.getdata").unwrap().disk && !find("EM.GetStatus").unwrap().disk);
    assert_eq!(find("em.getstatus").unwrap().name, "EM.GetStatus");
    assert_eq!(find("em.nothing").map(|m| m.name), Err("em.nothing"));
}
