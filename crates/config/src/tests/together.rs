//! Options that act on nothing beside others, or contradict them.

use serde_json::json;

use super::{app, file, inputs, keys};
use crate::load;

#[test]
fn what_acts_on_nothing_is_named() {
    for row in [
        r#"{"control": "off", "control_readers": ["192.168.1.20"], "udp_enable": false, "udp_ports": [1010]} → control_readers udp_ports"#,
        r#"{"scaling_shares": ["192.168.1.20=0.5"], "smoothing_window": 9} → smoothing_window scaling_shares"#,
        r#"{"control_readers": ["192.168.1.20"], "udp_ports": [1010], "mdns_ip": "auto"} → "#,
        r#"{"total_power": "sensor.t", "a_invert": true, "b_scale": 2, "c_offset": 3} → a_invert b_scale c_offset"#,
        r#"{"total_power": "sensor.t", "total_invert": true, "total_scale": 2, "total_phase": "b", "b_curr": "sensor.i"} → "#,
        // As without it.
        r#"{"total_power": "sensor.t", "a_invert": false, "a_scale": 1} → "#,
        r#"{"total_power": "sensor.t", "a_curr": "sensor.i", "b_curr": "sensor.i", "c_pf": "sensor.p"} → b_curr c_pf"#,
        // Served and counted.
        r#"{"total_power": "sensor.t", "b_volt": "sensor.u", "n_curr": "sensor.n", "b_energy_import": "sensor.e"} → "#,
        r#"{"total_power": "sensor.t", "total_phase": "split", "b_curr": "sensor.i", "c_pf": "sensor.p"} → "#,
        r#"{"a_power": "sensor.a", "total_invert": true, "b_invert": true} → total_invert b_invert"#,
        r#"{"a_power": "sensor.a", "total_phase": "split"} → total_phase"#,
        // One phase takes all.
        r#"{"a_power": "sensor.a", "total_phase": "split", "energy_import": "sensor.e"} → total_phase"#,
        r#"{"a_power": "sensor.a", "total_phase": "split", "b_power": "sensor.b", "energy_import": "sensor.e"} → "#,
        r#"{"a_power": "sensor.a", "total_phase": "split", "b_power": "sensor.b", "target_offset": 5} → "#,
        // While something may still be chosen, or made up, nobody knows.
        r#"{"total_invert": true, "a_invert": true, "a_curr": "sensor.i"} → "#,
        r#"{"source": "demo", "total_power": "sensor.t", "a_invert": true} → "#,
        r#"{"total_invert": true, "auto_setup": false} → total_invert"#,
        r#"{"meters": [{"name": "x", "http_port": 81, "a_power": "sensor.a", "total_invert": true}]} → meters[0].total_invert"#,
    ] {
        let (options, named) = row.split_once(" → ").unwrap();
        let resolved = file(&serde_json::from_str(options).unwrap());
        assert_eq!(resolved.problems, [], "{options}");
        let warnings: Vec<String> = resolved.warnings.iter().map(ToString::to_string).collect();
        let idle = warnings
            .iter()
            .filter_map(|line| line.split(" is set but").next());
        assert_eq!(idle.collect::<Vec<_>>().join(" "), named, "{options}");
    }
    // What is wrong is said already.
    assert_eq!(
        app(&json!({"total_power": "sensor.t", "a_power": "sensor.a", "b_invert": true})).warnings,
        []
    );
}

#[test]
fn options_that_contradict_one_another() {
    let powerless = [
        r#"total_power: {"total_power": "sensor.t", "b_power": "sensor.b"}"#,
        r#"total_power_export: {"total_power_export": "sensor.t"}"#,
        r#"b_power_export: {"b_power_export": "sensor.b", "a_power": "sensor.a"}"#,
    ];
    let others = [
        r#"energy_import: {"energy_import": "sensor.e", "a_energy_import": "sensor.a"}"#,
        r#"device_id: {"mac": "2CBCBB0A1B2C", "device_id": "shellypro3em-2cbcbb0a1b2d"}"#,
        r#"ws_port_end: {"ws_port_start": 6000, "ws_port_end": 6064}"#,
        r#"ws_port_start: {"ws_port_start": 6023}"#,
        r#"meters[0].http_port: {"meters": [{"name": "x"}]}"#,
        r#"meters[0].modbus_port: {"meters": [{"name": "x", "http_port": 8081, "modbus_port": 8081}]}"#,
        r#"meters[0].http_port: {"meters": [{"name": "x", "http_port": 6011}]}"#,
        r#"meters[1].name: {"meters": [{"name": "x", "http_port": 81}, {"name": "x", "http_port": 82}]}"#,
        r#"meters[0].mac: {"meters": [{"name": "x", "http_port": 81, "mac": "2CBCBB0A1B2C"}], "mac": "2c:bc:bb:0a:1b:2c"}"#,
    ];
    for (row, absent) in
        (powerless.map(|row| (row, true)).into_iter()).chain(others.map(|row| (row, false)))
    {
        let (key, options) = row.split_once(": ").unwrap();
        let options = serde_json::from_str(options).unwrap();
        let resolved = file(&options);
        assert_eq!(keys(&resolved), [key], "{row}");
        let of_app = app(&options);
        let same = keys(&of_app).into_iter().filter(|other| *other == key);
        assert_eq!(same.count(), 1, "{row}");
        assert_eq!(!resolved.absent_reasons.is_empty(), absent, "{row}");
    }
    let resolved = load(&inputs(&json!({}), &[("HTTP_PORT", "8099")], &[], false));
    assert_eq!(keys(&resolved), ["dashboard_port"]);
    let resolved = load(&inputs(&json!({}), &[], &[("source", "replay")], false));
    assert_eq!(keys(&resolved), ["source"]);
}
