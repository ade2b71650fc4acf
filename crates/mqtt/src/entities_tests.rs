#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;

fn reader() -> Reader {
    Reader {
        key: "192-0-2-7-udp".into(),
        ip: [192, 0, 2, 7].into(),
        name: "Marstek B2500 192.0.2.7".into(),
        last: Some(1_800_000_000.4),
        cadence: Some(1.02),
        silent: false,
        share: 0.5,
        profile: Some("evcc".into()),
    }
}

fn home() -> Home {
    Home {
        version: "0.2.0".into(),
        support: "https://example.org".into(),
        offset: (-20_000.0, 20_000.0),
        products: vec!["evcc".into(), "Victron GX".into()],
        meters: vec![Meter {
            mac: "AABBCCDDEEFF".into(),
            name: "Virtual Shelly".into(),
            model: "SPEM-003CEBEU".into(),
            url: Some("homeassistant://app/x".into()),
            total: Some(-12.34),
            phases: [Some(-12.34), Some(0.0), None],
            energy: Some((1234.9, 10.0)),
            trouble: Some("sensor.grid is unavailable".into()),
            target_offset: 50.0,
            forecast: Some(Forecast {
                quarter: Some(-0.2),
                hour: None,
                peak: Some((2100.4, 1_800_000_900)),
            }),
            readers: vec![reader()],
            tests: vec![Test {
                key: "home-assistant".into(),
                name: "Home Assistant".into(),
                passed: false,
                at: 1_800_000_000.0,
                steps: 12,
                failed: vec!["GET /shelly: no connection".into()],
            }],
            ..Meter::default()
        }],
    }
}

fn announced_at(home: &Home, device: &str) -> Value {
    let topic = format!("homeassistant/device/virtual-shelly-aabbccddeeff/{device}/config");
    serde_json::from_str(&home.devices()[&topic]).unwrap()
}

#[test]
fn a_meter_is_one_device_whose_entities_are_known_as_our_own() {
    let all = announced_at(&home(), "aabbccddeeff");
    assert_eq!(all["device"]["configuration_url"], "homeassistant://app/x");
    assert_eq!(
        all["availability_topic"],
        "virtual-shelly/aabbccddeeff/online"
    );
    let components = all["components"].as_object().unwrap();
    for (key, component) in components {
        let unique = component["unique_id"].as_str().unwrap();
        assert!(unique.starts_with("AABBCCDDEEFF-"), "{key}: {unique}");
        assert!(component["p"].is_string() && component["name"].is_string());
        let topic = component["state_topic"].as_str().unwrap();
        assert!(
            home().states().contains_key(topic),
            "{key} is never told at {topic}"
        );
    }
    let energy = &components["total_act"];
    assert_eq!(energy["device_class"], json!("energy"));
    assert_eq!(energy["state_class"], json!("total_increasing"));
    assert_eq!(energy["unit_of_measurement"], json!("kWh"));
    assert_eq!(components["source"]["device_class"], "problem");
    assert_eq!(
        components["target_offset"]["command_topic"],
        "virtual-shelly/aabbccddeeff/target_offset/set"
    );
    assert_eq!(components["target_offset"]["max"], 20_000.0);
}

#[test]
fn a_test_is_a_diagnosis_once_it_was_run() {
    let mut home = home();
    let of = |home: &Home| {
        announced_at(home, "aabbccddeeff")["components"]["test_as_home_assistant"].clone()
    };
    let test = of(&home);
    assert_eq!(test["name"], json!("Test as Home Assistant"));
    assert_eq!(test["device_class"], json!("problem"));
    assert_eq!(test["entity_category"], json!("diagnostic"));
    home.meters[0].tests.clear();
    assert!(of(&home).is_null());
    assert!(!home.states().keys().any(|topic| topic.contains("test_as")));
}

#[test]
fn a_reader_is_a_device_behind_its_meter() {
    let all = announced_at(&home(), "aabbccddeeff-reader-192-0-2-7-udp");
    let meter = announced_at(&home(), "aabbccddeeff");
    assert_eq!(
        all["device"]["via_device"],
        meter["device"]["identifiers"][0]
    );
    assert_eq!(all["device"]["name"], "Marstek B2500 192.0.2.7");
    assert_eq!(all["components"]["silent"]["device_class"], "problem");
    assert_eq!(all["components"]["cadence"]["unit_of_measurement"], "s");
    assert_eq!(
        all["components"]["profile"]["options"],
        json!(["Automatic", "evcc", "Victron GX"])
    );
    let states = home().states();
    for component in all["components"].as_object().unwrap().values() {
        let said = &states[component["state_topic"].as_str().unwrap()].payload;
        let options = component["options"].as_array();
        assert!(
            options.is_none_or(|all| all.contains(&json!(said))),
            "{said} is none of {options:?}"
        );
    }
}

#[test]
fn what_is_forecast_is_announced_where_it_is_there() {
    let mut home = home();
    assert!(announced_at(&home, "aabbccddeeff")["components"]["forecast_1h"].is_object());
    home.meters[0].forecast = None;
    assert!(announced_at(&home, "aabbccddeeff")["components"]["forecast_1h"].is_null());
    assert!(
        home.states()
            .keys()
            .all(|topic| !topic.contains("forecast"))
    );
}

#[test]
fn states_are_what_home_assistant_reads() {
    let states = home().states();
    let said = |key: &str| {
        states[&format!("virtual-shelly/aabbccddeeff/{key}")]
            .payload
            .clone()
    };
    for (key, payload) in [
        ("total_act_power", "-12.3"),
        ("b_act_power", "0.0"),
        ("c_act_power", "None"),
        ("total_act", "1.234"),
        ("total_act_ret", "0.010"),
        ("a_total_act_energy", "None"),
        ("source", "ON"),
        (
            "source/attributes",
            r#"{"reason":"sensor.grid is unavailable"}"#,
        ),
        ("health", "OFF"),
        ("target_offset", "50"),
        ("pause", "OFF"),
        ("pause_kind", "By profile"),
        ("forecast_15min", "0"),
        ("forecast_1h", "None"),
        ("forecast_peak", "2100"),
        ("forecast_peak_at", "2027-01-15T08:15:00Z"),
        ("reader/192-0-2-7-udp/last_call", "2027-01-15T08:00:00Z"),
        ("reader/192-0-2-7-udp/cadence", "1.0"),
        ("reader/192-0-2-7-udp/silent", "OFF"),
        ("test_as_home_assistant", "ON"),
        (
            "test_as_home_assistant/attributes",
            r#"{"failed":["GET /shelly: no connection"],"run_at":"2027-01-15T08:00:00Z","steps":12}"#,
        ),
        ("reader/192-0-2-7-udp/share", "50"),
        ("reader/192-0-2-7-udp/profile", "evcc"),
    ] {
        assert_eq!(said(key), payload, "{key}");
    }
    assert!(
        states
            .values()
            .all(|said| said.pace >= Duration::from_secs(1))
    );
}

#[test]
fn commands_are_read_and_nonsense_is_not() {
    let of = |rest: &str, payload: &str| {
        command(
            &format!("virtual-shelly/aabbccddeeff/{rest}"),
            payload.as_bytes(),
        )
        .map(|(mac, command)| {
            assert_eq!(mac, "aabbccddeeff");
            command
        })
    };
    assert_eq!(
        of("target_offset/set", "-50.5"),
        Some(Command::TargetOffset(-50.5))
    );
    assert_eq!(of("pause/set", "ON"), Some(Command::Pause(true)));
    assert_eq!(
        of("reader/192-0-2-7-udp/share/set", "50"),
        Some(Command::Share("192-0-2-7-udp".into(), 0.5))
    );
    assert_eq!(
        of("pause_kind/set", "0 W"),
        Some(Command::PauseKind(PauseKind::Zero))
    );
    let named = |name: &str| {
        let named = Some(name.to_owned()).filter(|name| name != BY_ITSELF);
        Some(Command::Profile("192-0-2-7-udp".into(), named))
    };
    for name in ["Victron GX", BY_ITSELF] {
        assert_eq!(of("reader/192-0-2-7-udp/profile/set", name), named(name));
    }
    for (rest, payload) in [
        ("pause_kind/set", "zero"),
        ("reader/192-0-2-7-udp/name/set", "x"),
        ("target_offset/set", "NaN"),
        ("target_offset/set", "inf"),
        ("target_offset/set", ""),
        ("pause/set", "1"),
        ("pause", "ON"),
        ("reader/x/share", "1"),
    ] {
        assert_eq!(of(rest, payload), None, "{rest} {payload}");
    }
    assert_eq!(command("virtual-shelly", b"ON"), None);
    assert_eq!(command("other/aabbccddeeff/pause/set", b"ON"), None);
}
