#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod properties;
mod together;

use std::{net::IpAddr, path::Path, time::Duration};

use serde_json::{Value, json};

use super::*;
use vocab::{
    Phase,
    reason::{Reason, Wrong},
};

/// Inputs from options, environment and command line.
fn inputs(options: &Value, env: &[(&str, &str)], args: &[(&str, &str)], app: bool) -> LoadInputs {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(owned).collect();
    LoadInputs {
        args: map(args),
        env: map(env),
        data_dir: "/d".into(),
        app,
        ..LoadInputs::default().with_options(options.to_string())
    }
}

fn file(options: &Value) -> Resolved {
    load(&inputs(options, &[], &[], false))
}

fn app(options: &Value) -> Resolved {
    load(&inputs(options, &[], &[], true))
}

fn keys(resolved: &Resolved) -> Vec<&str> {
    let problems = resolved.problems.iter();
    problems.map(|problem| problem.key.as_str()).collect()
}

fn ids(entities: &[vocab::EntityId]) -> Vec<&str> {
    entities.iter().map(AsRef::as_ref).collect()
}

#[test]
fn without_anything_there_are_the_defaults() {
    let resolved = load(&LoadInputs {
        data_dir: "/d".into(),
        ..LoadInputs::default()
    });
    assert!(
        resolved.problems.is_empty()
            && resolved.warnings.is_empty()
            && resolved.absent_reasons.is_empty()
    );
    let Settings {
        source,
        meters,
        channels,
        dashboard,
        mqtt,
        store,
        forecast,
        log_level,
    } = &resolved.settings;
    let [meter] = &meters[..] else {
        panic!("one meter")
    };
    assert_eq!(source.kind, SourceKind::HomeAssistant);
    assert!(source.auto_setup);
    assert_eq!(source.sample_step(), 2);
    assert_eq!(source.ha_base_url, "http://homeassistant:8123");
    assert_eq!(meter.http_port, Some(8080));
    assert_eq!(meter.modbus_port, Some(502));
    assert_eq!(meter.bind, None);
    assert_eq!(meter.udp_ports, [1010, 2220, 2222, 2223]);
    assert_eq!(meter.ws_fanout_ports, (6010..=6022).collect::<Vec<u16>>());
    assert_eq!(meter.hold, Duration::from_secs(30));
    assert_eq!(meter.stale, StalePolicy::Device);
    assert_eq!(meter.smoothing, None);
    assert_eq!(meter.profile, None);
    assert_eq!(meter.inputs, Inputs::none());
    assert_eq!(meter.identity, IdentitySettings::default());
    assert_eq!(channels.ws_notify_interval, Duration::from_millis(500));
    assert_eq!(channels.ws_passive_after, Some(Duration::from_secs(1)));
    assert_eq!(channels.rate_limit, 100);
    assert_eq!(channels.max_connections, 1024);
    assert_eq!(channels.modbus_unit_id, 1);
    assert_eq!(dashboard.port, 8099);
    assert_eq!(dashboard.bind, IpAddr::from([127, 0, 0, 1]));
    assert!(mqtt.enable);
    assert_eq!(mqtt.server, None);
    assert_eq!(mqtt.user, None);
    assert_eq!(store.data_dir.as_path(), Path::new("/d"));
    assert_eq!(store.raw_days, 7);
    assert_eq!(store.history_days, 400);
    assert!(forecast.enable);
    assert_eq!(forecast.window, 30);
    assert_eq!(forecast.cpu, 50);
    assert_eq!(log_level.clone(), tracing::Level::INFO.into());
    assert_eq!(app(&json!({})).settings.meters[0].http_port, Some(80));
}

#[test]
fn a_later_layer_wins_and_is_named() {
    let options = json!({"poll_interval": 3, "hold": 10, "device_name": "file"});
    let resolved = load(&inputs(
        &options,
        &[("POLL_INTERVAL", "4"), ("VIRTUAL_SHELLY_HOLD", "")],
        &[("poll_interval", "5")],
        false,
    ));
    assert_eq!(resolved.problems, []);
    assert_eq!(
        resolved.settings.source.poll_interval,
        Duration::from_secs(5)
    );
    assert_eq!(resolved.layer("poll_interval"), Layer::CommandLine);
    assert_eq!(
        resolved.layer("hold"),
        Layer::File,
        "an empty variable is not set"
    );
    assert_eq!(resolved.settings.meters[0].hold.as_secs(), 10);
    assert_eq!(resolved.layer("stale"), Layer::Default);
    let resolved = load(&inputs(
        &options,
        &[("POLL_INTERVAL", "4"), ("VIRTUAL_SHELLY_HOLD", "11")],
        &[],
        false,
    ));
    assert_eq!(resolved.layer("poll_interval"), Layer::Environment);
    assert_eq!(resolved.layer("hold"), Layer::Environment);
    assert_eq!(resolved.settings.meters[0].hold.as_secs(), 11);
    let mut resolved = file(&options);
    resolved.note_device_state("device_name", json!("device"));
    resolved.note_device_state("profile", json!("monophase"));
    assert_eq!(resolved.layer("device_name"), Layer::File);
    assert_eq!(resolved.layer("profile"), Layer::Device);
}

#[test]
fn a_plain_run_lists_everything_wrong_at_once() {
    let options = json!({"poll_intervall": 2, "hold": -1, "stale": "maybe", "a_power": "Grid Power", "ws_notify_eps": "0.1", "data_dir": "/x"});
    let resolved = load(&inputs(
        &options,
        &[
            ("HTTP_PORT", "99999"),
            ("VIRTUAL_SHELLY_HOLDD", "1"),
            ("STRANGER", "1"),
        ],
        &[("udp_max", "1")],
        false,
    ));
    assert!(resolved.fatal());
    let report = report(&resolved);
    let errors = report.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 9);
    let mut found = keys(&resolved);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "VIRTUAL_SHELLY_HOLDD",
            "a_power",
            "data_dir",
            "hold",
            "http_port",
            "poll_intervall",
            "stale",
            "udp_max",
            "ws_notify_eps"
        ]
    );
    let text = |key: &str| {
        let problem = resolved.problems.iter().find(|p| p.key == key);
        problem.unwrap().to_string()
    };
    assert_eq!(
        text("poll_intervall"),
        "options file: poll_intervall: no such option; the nearest is poll_interval: a number from 0.5 to 60"
    );
    assert_eq!(
        text("http_port"),
        "environment: http_port (HTTP_PORT) = \"99999\": must be a port from 1 to 65535"
    );
    assert_eq!(
        text("udp_max"),
        "command line: udp_max (--udp-max) = \"1\": must be a whole number from 256 to 65507"
    );
    assert!(text("VIRTUAL_SHELLY_HOLDD").contains("VIRTUAL_SHELLY_HOLD:"));
    let env = [("VIRTUAL_SHELLY_HTTP_PORT", "81")];
    let http = load(&inputs(&json!({}), &env, &[], false));
    assert_eq!(http.problems[0].nearest.as_deref(), Some("HTTP_PORT"));
}

#[test]
fn an_app_goes_on_but_never_with_a_doubtful_power() {
    let resolved = app(&json!({"old_key": 1, "udp_max": 1, "http_port": 81}));
    assert!(!resolved.fatal());
    assert_eq!(
        (keys(&resolved), resolved.warnings.len()),
        (vec!["udp_max"], 2),
        "unknown keys and keys of the Network card are warnings"
    );
    assert_eq!(resolved.settings.channels.udp_max, 32768);
    assert_eq!(resolved.settings.meters[0].http_port, Some(80));
    assert!(resolved.absent_reasons.is_empty());

    for (key, wrong) in [
        ("a_invert", json!("maybe")),
        ("hold", json!(-5)),
        ("request_ip_ttl", json!(0)),
        ("smoothing_window", json!(1)),
    ] {
        let resolved = app(&json!({"a_power": "sensor.a", key: wrong}));
        assert_eq!(resolved.absent_reasons.len(), 1, "{key}");
        assert!(
            !resolved.settings.meters[0].inputs.any_power() && !resolved.settings.source.auto_setup,
            "{key}"
        );
    }
    // A good value of a later layer makes up for it; the wrong one stays listed.
    let resolved = load(&inputs(
        &json!({"hold": -5, "a_power": "sensor.a"}),
        &[("VIRTUAL_SHELLY_HOLD", "5")],
        &[],
        true,
    ));
    assert_eq!(keys(&resolved), vec!["hold"]);
    assert_eq!(resolved.absent_reasons.len(), 0);
    assert!(resolved.settings.meters[0].inputs.any_power());
}

#[test]
fn a_broken_file_is_one_problem_and_no_phase() {
    for contents in [
        Ok("{".to_string()),
        Ok("[]".into()),
        Err(Wrong::TooLarge { n: 1 }.into()),
    ] {
        let options_file = Some(OptionsFile {
            path: "o.json".into(),
            contents,
        });
        let resolved = load(&LoadInputs {
            options_file: options_file.clone(),
            app: true,
            ..LoadInputs::default()
        });
        assert_eq!(resolved.problems.len(), 1);
        assert_eq!(resolved.absent_reasons.len(), 1);
        assert!(!resolved.settings.source.auto_setup);
        assert!(
            load(&LoadInputs {
                options_file,
                ..LoadInputs::default()
            })
            .fatal()
        );
    }
}

#[test]
fn power_inputs_are_read() {
    let resolved = file(&json!({
        "a_power": "sensor.a1, sensor.a2", "a_power_export": "sensor.a_out", "a_invert": true, "a_scale": 2, "a_offset": -3.5,
        "c_power": "sensor.c", "b_volt": "sensor.v", "n_curr": "sensor.n", "c_energy_import": "sensor.e",
        "ha_smoothing_enable": true, "smoothing_window": 3, "energy_total": "net"
    }));
    assert_eq!(resolved.problems, []);
    let meter = &resolved.settings.meters[0];
    let a = meter.inputs.phases[0].as_ref().unwrap();
    assert_eq!(ids(&a.import), vec!["sensor.a1", "sensor.a2"]);
    assert_eq!(ids(&a.export), vec!["sensor.a_out"]);
    assert_eq!((a.invert, a.scale, a.offset), (true, 2.0, -3.5));
    assert!(meter.inputs.phases[1].is_none() && meter.inputs.phases[2].is_some());
    assert_eq!(ids(&meter.inputs.voltage[1]), vec!["sensor.v"]);
    assert_eq!(ids(&meter.inputs.n_current), vec!["sensor.n"]);
    assert_eq!(ids(&meter.inputs.phase_energy_import[2]), ["sensor.e"]);
    assert_eq!(meter.smoothing, Some(Duration::from_secs(6)));
    assert!(meter.energy_net);
    let total =
        file(&json!({"total_power": "sensor.t", "total_phase": "split", "total_invert": true}));
    assert_eq!(
        total.settings.meters[0].inputs.total_phase,
        TotalPhase::Split
    );
    assert_eq!(total.problems.len(), 0);
    let total = file(&json!({"total_power": "sensor.t", "total_phase": "c"}));
    assert_eq!(
        total.settings.meters[0].inputs.total_phase,
        TotalPhase::On(Phase::C)
    );
}

#[test]
fn calm_control_is_by_itself_unless_told_otherwise_for_each_meter() {
    let meters = |options: Value| -> Vec<ControlSettings> {
        let resolved = file(&options);
        assert_eq!(resolved.problems, [], "{options}");
        let meters = resolved.settings.meters.into_iter();
        meters.map(|meter| meter.control).collect()
    };
    let mode = |value: Value| meters(json!({"control": value}))[0].mode;
    assert_eq!(
        meters(json!({}))[0],
        ControlSettings {
            mode: ControlMode::Auto,
            profiles: std::sync::Arc::default(),
            readers: Vec::new(),
            smoothed: false
        }
    );
    for (value, wanted) in [
        (json!("on"), ControlMode::On),
        (json!("off"), ControlMode::Off),
        (json!("auto"), ControlMode::Auto),
        // YAML of old.
        (json!(true), ControlMode::On),
        (json!(false), ControlMode::Off),
    ] {
        assert_eq!(mode(value), wanted);
    }
    assert_eq!(
        keys(&file(
            &json!({"control": "maybe", "control_readers": ["kitchen"]})
        )),
        ["control", "control_readers"]
    );
    let two = meters(json!({
        "control": "off", "control_readers": ["192.168.1.20", "10.0.0.0/8"], "ha_smoothing_enable": true,
        "meters": [{"name": "x", "a_power": "sensor.x", "http_port": 81, "control": "on"},
            {"name": "y", "a_power": "sensor.y", "http_port": 82, "control_readers": "10.1.1.1"}]
    }));
    assert_eq!(
        two.iter().map(|c| c.mode).collect::<Vec<_>>(),
        [ControlMode::Off, ControlMode::On, ControlMode::Off]
    );
    assert_eq!(
        two.iter().map(|c| c.readers.len()).collect::<Vec<_>>(),
        [2, 2, 1]
    );
    assert!(two.iter().all(|c| c.smoothed));
}

#[test]
fn demo_and_replay_stay_on_loopback_unless_told_otherwise() {
    let demo = |args: &[(&str, &str)]| load(&inputs(&json!({}), &[], args, false)).settings;
    let quiet = demo(&[("source", "demo")]);
    assert_eq!(quiet.source.kind, SourceKind::Demo);
    assert_eq!(quiet.meters[0].bind, Some(IpAddr::from([127, 0, 0, 1])));
    assert!(!quiet.meters[0].mdns_enable);
    assert_eq!(
        quiet.meters[0].modbus_bind,
        Some(IpAddr::from([127, 0, 0, 1]))
    );
    let loud = demo(&[("source", "demo"), ("bind", "all"), ("mdns_enable", "true")]);
    assert_eq!(loud.meters[0].bind, None);
    assert!(loud.meters[0].mdns_enable);
    let wrong = load(&inputs(&json!({}), &[], &[("source", "dmeo")], false));
    assert_eq!(wrong.settings.source.kind, SourceKind::HomeAssistant);
    assert_eq!(wrong.absent_reasons.len(), 1);
}

#[test]
fn the_network_card_sets_ports() {
    let network = [
        ("80/tcp", Some(8081)),
        ("502/tcp", None),
        ("1010/udp", None),
        ("2220/udp", Some(3220)),
    ];
    let network = network.map(|(key, value)| (key.to_owned(), value));
    let network = Some(network.into_iter().collect());
    let resolved = load(&LoadInputs {
        network: network.clone(),
        ..inputs(&json!({}), &[], &[], true)
    });
    let meter = &resolved.settings.meters[0];
    assert_eq!((meter.http_port, meter.modbus_port), (Some(8081), None));
    assert_eq!(
        meter.udp_ports,
        [3220, 2222, 2223],
        "a missing port keeps its default"
    );
    assert_eq!(resolved.layer("http_port"), Layer::Network);
    assert_eq!(resolved.layer("modbus_port"), Layer::Network);
    assert!(as_text(&resolved).contains("modbus_port = off (Network card)"));
    let resolved = load(&LoadInputs {
        network,
        ..inputs(&json!({}), &[("MODBUS_PORT", "1502")], &[], true)
    });
    assert_eq!(resolved.settings.meters[0].modbus_port, Some(1502));
    assert_eq!(resolved.layer("modbus_port"), Layer::Environment);
}

#[test]
fn further_meters_take_policy_but_no_identity() {
    let resolved = file(&json!({
        "bind": "127.0.0.1", "a_power": "sensor.a", "hold": 7, "stale": "error", "line_voltage": 240, "model": "X", "target_offset": 5,
        "meters": [
            {"name": "garage", "total_power": "sensor.g", "http_port": 8081, "stale": "silent"},
            {"name": "flat", "bind": "127.0.0.2", "udp_ports": "1012", "mac": "2cbcbb0a1b2c"}
        ]
    }));
    assert_eq!(resolved.problems, []);
    let [_, garage, flat] = <&[_; 3]>::try_from(&resolved.settings.meters[..]).unwrap();
    assert_eq!(garage.name.as_str(), "garage");
    assert_eq!(garage.hold.as_secs(), 7);
    assert_eq!(garage.stale, StalePolicy::Silent);
    assert_eq!(garage.line_voltage, 240.0);
    assert_eq!(garage.target_offset, 0.0);
    assert_eq!(garage.identity.model.as_deref(), None);
    assert_eq!(garage.http_port, Some(8081));
    assert_eq!(garage.modbus_port, None);
    assert_eq!(garage.udp_ports.len(), 0);
    assert_eq!(garage.ws_fanout_ports.len(), 0);
    assert_eq!(garage.bind, Some(IpAddr::from([127, 0, 0, 1])));
    assert!(garage.inputs.phases[0].is_none());
    assert_eq!(flat.http_port, Some(8080));
    assert_eq!(flat.modbus_port, Some(502));
    assert_eq!(flat.udp_ports.as_slice(), &[1012][..]);
    assert_eq!(flat.bind, Some(IpAddr::from([127, 0, 0, 2])));
    assert_eq!(flat.identity.mac.as_deref(), Some("2CBCBB0A1B2C"));

    let covered = file(&json!({"meters": [{"name": "x", "bind": "10.0.0.2", "http_port": 81}]}));
    assert_eq!(
        (covered.problems.len(), covered.warnings.len()),
        (0, 5),
        "a default port under a listener on all addresses is left out"
    );
    let [_, covered] = <&[_; 2]>::try_from(&covered.settings.meters[..]).unwrap();
    assert_eq!(covered.http_port, Some(81));
    assert_eq!(covered.modbus_port, None);
    assert_eq!(covered.udp_ports.len(), 0);

    let unknown = app(&json!({"meters": [{"name": "x", "http_port": 81, "old_key": 1}]}));
    assert_eq!((unknown.problems.len(), unknown.warnings.len()), (0, 1));

    let resolved = app(&json!({"hold": -1, "meters": [
        {"name": "own", "http_port": 81, "hold": 3, "a_power": "sensor.x"}, {"name": "takes", "http_port": 82, "a_power": "sensor.y"}
    ]}));
    let absent = resolved.absent_reasons.iter().map(|(meter, _)| *meter);
    assert!(
        absent.eq([0, 2]),
        "who takes the wrong value from the first is as doubtful"
    );
    assert!(
        resolved.settings.meters[1].inputs.any_power()
            && !resolved.settings.meters[2].inputs.any_power()
    );
}

#[test]
fn an_old_compose_file_starts() {
    let env = [
        ("HA_BASE_URL", "http://ha:8123/"),
        ("HA_TOKEN", "hush"),
        ("A_POWER", "sensor.a"),
        ("DEVICE_ID", "shellypro3em-virtual-001"),
        ("APP_ID", "shellypro3em"),
        ("MODEL", "SHPRO-3EM"),
        ("FIRMWARE", "1.0.0-virt"),
        ("FW_ID", "1.0.0-virt"),
        ("MAC", "AA:BB:CC:DD:EE:FF"),
        ("SN", "VIRT3EM001"),
        ("MANUFACTURER", "Allterco Robotics"),
        ("GENERATION", "2"),
        ("UDP_PORTS", "1010,2220"),
        ("LOG_LEVEL", "WARNING"),
        ("CORS_ORIGINS", "*"),
        ("STATE_PATH", "/data/state.json"),
        ("MODEL_PATH", ""),
        ("MODBUS_BIND", "0.0.0.0"),
        ("MDNS_HOSTNAME", "ShellyPro3EM-"),
        ("REQUEST_SIDE_SCALING_ENABLE", "true"),
        ("VIRTUAL_SHELLY_SUPERVISOR_URL", "http://127.0.0.1:1"),
    ];
    let resolved = load(&inputs(&json!({}), &env, &[], false));
    assert_eq!(resolved.problems, []);
    assert_eq!(resolved.warnings.len(), 8, "{:?}", resolved.warnings);
    let Settings {
        source,
        meters,
        channels,
        log_level,
        ..
    } = &resolved.settings;
    assert_eq!(
        (
            source.ha_base_url.as_str(),
            log_level.clone(),
            channels.scaling.enable
        ),
        ("http://ha:8123", tracing::Level::WARN.into(), true)
    );
    assert_eq!(meters[0].udp_ports.as_slice(), &[1010, 2220][..]);
    assert_eq!(meters[0].identity.mac.as_deref(), None);
    for shown in [
        as_text(&resolved),
        as_json(&resolved).to_string(),
        format!("{resolved:?}"),
    ] {
        assert!(!shown.contains("hush"), "a secret is shown");
    }
    assert_eq!(
        keys(&file(&json!({"model": "SHPRO-3EM", "mac": "aabbccddeeff"}))),
        ["mac", "model"],
        "in the file they are errors"
    );
}

#[test]
fn what_is_odd_is_warned_about() {
    let resolved = file(&json!({
        "generation": 3, "energy_unit": "kwh", "outbound_ws_insecure": true, "scaling_shares": ["10.0.0.1=0.7", "10.0.0.2=0.6"]
    }));
    assert_eq!(resolved.problems.len(), 0, "{:?}", resolved.warnings);
    assert_eq!(resolved.warnings.len(), 5, "{:?}", resolved.warnings);
    assert_eq!(resolved.settings.meters[0].identity.generation, Some(3));
    let id = file(&json!({"device_id": "shellypro3em-2cbcbb0a1b2c"}));
    assert_eq!(
        id.settings.meters[0].identity.mac.as_deref(),
        Some("2CBCBB0A1B2C"),
        "an id alone names the MAC"
    );
    assert_eq!(resolved.settings.channels.scaling.shares[1].1, 0.6);
}

#[test]
fn the_effective_configuration_has_a_line_an_option() {
    let resolved = load(&inputs(
        &json!({"outbound_ws": ["ws://u:pw@gx/"], "auth_password": "hush"}),
        &[],
        &[("hold", "3")],
        false,
    ));
    let text = as_text(&resolved);
    assert_eq!(text.lines().count(), definitions::all().count());
    for line in [
        "hold = 3 (command line)",
        "auth_password = *** (options file)",
        "outbound_ws = ws://***@gx/ (options file)",
        "a_power = not set (default)",
        "mac = not set (default: generated once and kept)",
        "data_dir = /d (default)",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    let json = as_json(&resolved);
    assert_eq!(
        json["options"]["hold"],
        json!({"value": 3, "layer": "command-line"})
    );
}

#[test]
fn the_example_files_are_what_they_say() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../addon/options");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("addon/options") {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let options: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let resolved = app(&options);
        assert_eq!(
            resolved.problems.is_empty(),
            !name.starts_with("bad-"),
            "{name}: {:?}",
            resolved.problems
        );
        assert!(
            resolved
                .warnings
                .iter()
                .all(|warning| !matches!(warning, Reason::Option { why, .. } if matches!(**why, Reason::Wrong(Wrong::Unknown { .. })))),
            "{name}"
        );
        seen += 1;
    }
    assert!(seen >= 6, "{seen} examples");
}
