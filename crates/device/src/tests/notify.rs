//! Notifications: form against the golden frames, and the times at which they go out.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::super::{
    notify::{Kind, Note, Notifier, Policy},
    testing::*,
    *,
};
use config::StalePolicy;
use meter::Served;

const POLICY: Policy = Policy {
    interval: Duration::from_secs(1),
    eps: 0.1,
};

/// A connection in a made-up time.
struct Wire {
    bench: Bench,
    notifier: Notifier,
}

impl Wire {
    fn new(kind: Kind, phases: [Option<Served>; 3]) -> Self {
        Self::with(kind, phases, false)
    }

    fn with(kind: Kind, phases: [Option<Served>; 3], takes_nulls: bool) -> Self {
        let mut bench = Bench::of(phases);
        if takes_nulls {
            bench.manner.absent = vocab::Absent::Nulls;
        }
        let notifier = Notifier::new(kind, &bench.context());
        Self { bench, notifier }
    }

    /// What goes out `at` seconds after the start, with these phases measured then.
    fn at(&mut self, at: f64, phases: [Option<Served>; 3]) -> Vec<Note> {
        self.bench.now = now(at);
        let record = self.bench.view.record.clone();
        self.bench.view = Arc::new(View::with_record(
            Arc::new(snapshot(now(at), phases)),
            record,
        ));
        self.notifier
            .poll(&self.bench.device, &self.bench.context(), &POLICY)
    }
}

fn params(note: &Note) -> Value {
    serde_json::from_str(&note.params).unwrap()
}

fn power(watts: f64) -> [Option<Served>; 3] {
    let [_, b, c] = house();
    [Some(served(watts, 230.0, 1.0, watts.abs(), 1.0)), b, c]
}

#[test]
fn em_is_the_golden_frame() {
    let path = format!(
        "{}/../../tests/fixtures/golden/ws_notifystatus_em0.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut wire = Wire::new(Kind::Inbound, power(1.0));
    let notes = wire.at(2.0, power(100.0));
    assert_eq!(notes.len(), 1);
    let frame = frame::notification(
        &wire.bench.device.identity.id,
        Some("aios-546959572720"),
        notes[0].method,
        &notes[0].params,
    );
    let keys = |text: &str| {
        text.split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, wanted) = text.split_once("\"frame\": ").unwrap();
    let (wanted, _) = wanted.split_once("\"notes\"").unwrap();
    let wanted = wanted.replace("1714766408.04", "0");
    assert_eq!(keys(&frame), keys(&wanted), "keys in the device's order");
    assert_eq!(
        golden["response"]["frame"]["params"]["em:0"]
            .as_object()
            .unwrap()
            .len(),
        params(&notes[0])["em:0"].as_object().unwrap().len()
    );
    assert!(
        frame.contains(
            "\"params\":{\"ts\":1747561103.00,\"em:0\":{\"id\":0,\"a_act_power\":100.0,\"a_aprt_power\":100.0,\"a_current\":1.000,"
        ),
        "{frame}"
    );
    assert!(!frame.contains("user_calibrated_phase"));
}

#[test]
fn power_goes_out_when_it_moved_and_the_interval_is_over() {
    let mut wire = Wire::new(Kind::Inbound, power(100.0));
    assert_eq!(
        params(&wire.at(0.1, power(150.0))[0])["em:0"]["a_act_power"],
        150.0,
        "the first change at once"
    );
    assert!(wire.at(0.5, power(200.0)).is_empty(), "within the interval");
    assert_eq!(
        wire.notifier.wake(),
        Duration::from_secs(1),
        "which gives way by a tenth"
    );
    assert_eq!(
        params(&wire.at(1.0, power(210.0))[0])["em:0"]["a_act_power"],
        210.0,
        "the newest at its end"
    );
    assert!(wire.at(5.0, power(210.0)).is_empty(), "nothing moved");
    assert_eq!(wire.at(5.1, power(210.1)).len(), 1, "0.1 W is enough");
    assert!(wire.at(15.0, power(210.1)).is_empty());
    assert_eq!(wire.notifier.wake(), Duration::from_secs_f64(15.1));
    assert_eq!(
        wire.at(15.1, power(210.1)).len(),
        1,
        "every ten seconds without change"
    );
    let [a, _, c] = power(210.1);
    let mut held = snapshot(now(17.0), [a, power(0.0)[1], c]);
    held.inputs[1].quality = meter::Quality::Held {
        since: Duration::from_secs(16),
        reason: vocab::reason::Unreachable::HaClosed.into(),
    };
    wire.bench.now = now(17.0);
    wire.bench.view = Arc::new(View::new(Arc::new(held)));
    assert_eq!(
        wire.notifier
            .poll(&wire.bench.device, &wire.bench.context(), &POLICY)
            .len(),
        1,
        "a quality changed"
    );
}

/// How late a reader hears each value of a source with this rhythm, s, sorted; and how many values
/// it never hears.
fn lateness(kind: Kind, interval: Duration, rhythm: f64, jitter: f64) -> (Vec<f64>, usize) {
    let policy = Policy { interval, eps: 0.1 };
    let mut wire = Wire::new(kind, power(0.0));
    let mut random = fastrand::Rng::with_seed(7);
    let (mut late, mut lost, mut pending): (Vec<f64>, usize, Option<f64>) = (Vec::new(), 0, None);
    let mut look = |wire: &mut Wire, at: f64, pending: &mut Option<f64>| {
        wire.bench.now = now(at);
        let notes = wire
            .notifier
            .poll(&wire.bench.device, &wire.bench.context(), &policy);
        if notes.iter().any(|n| n.topic == crate::notify::Topic::Power) {
            late.extend(pending.take().map(|came| at - came));
        }
    };
    look(&mut wire, 0.0, &mut pending);
    for n in 1..600 {
        let came = f64::from(n) * rhythm + (random.f64() - 0.5) * jitter;
        while wire.notifier.wake().as_secs_f64() < came {
            let due = wire.notifier.wake().as_secs_f64();
            look(&mut wire, due + 1e-6, &mut pending);
        }
        lost += usize::from(pending.replace(came).is_some());
        wire.bench.view = Arc::new(View::new(Arc::new(snapshot(
            now(came),
            power(f64::from(n)),
        ))));
        look(&mut wire, came, &mut pending);
    }
    late.sort_by(f64::total_cmp);
    (late, lost)
}

#[test]
fn a_reader_hears_a_value_at_once_whatever_the_rhythm_of_the_source() {
    let default = Duration::from_secs_f64(0.5);
    for kind in [Kind::Inbound, Kind::Passive, Kind::Outbound] {
        for (interval, rhythm) in [
            (default, 1.0),
            (default, 0.99),
            (default, 0.5),
            (default, 2.0),
            (Duration::from_secs(1), 1.0),
        ] {
            let (late, lost) = lateness(kind, interval, rhythm, 0.02);
            assert!(
                late[late.len() * 95 / 100] < 0.001 && lost == 0,
                "{kind:?} {interval:?} {rhythm}: {late:?}"
            );
        }
        let (late, _) = lateness(kind, default, 0.1, 0.02);
        assert!(
            late[late.len() - 1] < 0.125,
            "a fast source: the newest value, never one that another has replaced"
        );
    }
}

#[test]
fn all_connections_share_one_text() {
    let mut wire = Wire::new(Kind::Inbound, power(1.0));
    let mut other = Notifier::new(Kind::Inbound, &wire.bench.context());
    let notes = wire.at(2.0, power(5.0));
    let again = other.poll(&wire.bench.device, &wire.bench.context(), &POLICY);
    assert!(Arc::ptr_eq(&notes[0].params, &again[0].params));
}

#[test]
fn while_a_channel_is_missing_the_others_are_told_on_to_who_takes_nulls() {
    let [_, b, _] = power(0.0);
    let missing = |watts: f64| [None, b, Some(served(watts, 230.0, 1.0, watts.abs(), 1.0))];
    let mono = |kind, nulls, values| {
        let mut wire = Wire::with(kind, values, nulls);
        wire.bench.state.profile = config::Profile::Monophase;
        wire
    };
    let mut wire = mono(Kind::Inbound, true, power(100.0));
    assert_eq!(wire.at(0.2, missing(1.0)).len(), 1, "at once");
    for (at, watts) in [(2.0, 2.0), (4.0, 3.0)] {
        let told = params(&wire.at(at, missing(watts))[0]);
        assert_eq!(told["em1:2"]["act_power"].as_f64(), Some(watts));
        assert!(told["em1:0"]["act_power"].is_null());
        assert_eq!(told["em1:0"]["errors"][0], "power_meter_failure");
    }
    assert!(wire.at(6.0, missing(3.0)).is_empty(), "nothing new");
    assert_eq!(wire.at(14.0, missing(3.0)).len(), 1, "kept alive");
    let told = params(&wire.at(15.0, [None; 3])[0]);
    let standing = &told["em1:2"]["act_power"];
    assert!(standing.is_null(), "nothing old is left standing");
    assert!(wire.at(30.0, [None; 3]).is_empty());
    assert_eq!(wire.at(30.2, missing(4.0)).len(), 1, "at once");

    let mut stranger = mono(Kind::Inbound, false, power(100.0));
    for at in 1..30 {
        let notes = stranger.at(f64::from(at), missing(f64::from(at)));
        assert!(notes.is_empty(), "{at}");
    }
    let mut dialled = mono(Kind::Outbound, true, power(100.0));
    dialled.at(0.0, power(100.0));
    assert!(dialled.at(2.0, missing(1.0)).is_empty());
}

#[test]
fn a_channel_that_is_back_loses_its_error_though_another_has_none() {
    let [a, b, c] = power(1.0);
    let mut wire = Wire::with(Kind::Inbound, power(1.0), true);
    wire.bench.state.profile = config::Profile::Monophase;
    let errors = |notes: &[Note]| {
        let told = params(&notes[0]);
        [0, 1, 2].map(|id| told[format!("em1:{id}")]["errors"].clone())
    };
    let failure = serde_json::json!(["power_meter_failure"]);
    let none = serde_json::json!([]);
    let told = errors(&wire.at(2.0, [None, None, c]));
    assert_eq!(told, [failure.clone(), failure.clone(), Value::Null]);
    let told = errors(&wire.at(4.0, [None, b, c]));
    assert_eq!(told, [failure, none.clone(), none.clone()]);
    let told = errors(&wire.at(6.0, [a, b, c]));
    assert_eq!(told, [none.clone(), none.clone(), none]);
    let told = errors(&wire.at(8.0, power(9.0)));
    assert_eq!(told, [Value::Null, Value::Null, Value::Null]);
}

#[test]
fn records_are_told_on_after_the_clock_was_set_back() {
    let mut wire = Wire::new(Kind::Inbound, power(1.0));
    for (at, ts) in [(1.0, 1_747_561_080), (2.0, 1_747_557_480)] {
        let view = Arc::get_mut(&mut wire.bench.view).unwrap();
        view.record = Some(Arc::new(minute(ts, 60.0)));
        let data = |note: &Note| params(note)["events"][0]["data"]["ts"] == ts;
        assert!(wire.at(at, power(1.0)).iter().any(data), "{ts}");
        assert!(!wire.at(at + 0.1, power(1.0)).iter().any(data), "{ts} once");
    }
}

#[test]
fn going_stale_is_said_once_to_who_takes_nulls_then_silence_until_back() {
    let [a, _, c] = power(100.0);
    let mut wire = Wire::with(Kind::Inbound, power(100.0), true);
    let notes = wire.at(0.2, [a, None, c]);
    assert_eq!(notes.len(), 1, "at once");
    let em = &params(&notes[0])["em:0"];
    assert!(
        em["b_act_power"].is_null()
            && em["total_act_power"].is_null()
            && em["errors"][0] == "power_meter_failure"
    );
    for at in [0.4, 5.0, 11.0, 70.0, 700.0] {
        assert!(wire.at(at, [a, None, c]).is_empty(), "{at}");
    }
    let notes = wire.at(700.1, power(100.0));
    assert_eq!(
        params(&notes[0])["em:0"]["errors"],
        serde_json::json!([]),
        "a NotifyStatus is laid over: the error is taken back"
    );
    assert!(
        params(&wire.at(702.0, power(101.0))[0])["em:0"]
            .get("errors")
            .is_none()
    );

    let mut stranger = Wire::new(Kind::Inbound, power(100.0));
    assert!(
        stranger.at(2.0, [a, None, c]).is_empty(),
        "it would take the nulls for 0 W"
    );
    let back = stranger.at(3.0, power(100.0));
    assert!(
        back.len() == 1 && params(&back[0])["em:0"].get("errors").is_none(),
        "it never saw an error"
    );

    let mut silent = Wire::with(Kind::Inbound, power(100.0), true);
    silent.bench.device.options.stale = StalePolicy::Silent;
    assert!(silent.at(2.0, [a, None, c]).is_empty());
    assert_eq!(silent.at(3.0, power(100.0)).len(), 1);
}

#[test]
fn a_client_that_came_while_stale_is_told_when_values_are_back() {
    let [a, _, c] = power(100.0);
    let mut wire = Wire::new(Kind::Inbound, [a, None, c]);
    assert!(
        wire.at(1.0, [a, None, c]).is_empty(),
        "it fetched the nulls itself"
    );
    assert_eq!(wire.at(1.1, power(100.0)).len(), 1);
}

#[test]
fn a_passive_listener_waits_for_a_value_unless_it_takes_nulls() {
    let [a, _, c] = power(100.0);
    let mut wire = Wire::new(Kind::Passive, [a, None, c]);
    assert!(wire.at(0.0, [a, None, c]).is_empty() && wire.at(9.0, [a, None, c]).is_empty());
    assert_eq!(wire.at(9.5, power(100.0))[0].method, "NotifyFullStatus");
    let mut wire = Wire::with(Kind::Passive, [a, None, c], true);
    assert_eq!(wire.at(0.0, [a, None, c])[0].method, "NotifyFullStatus");
}

#[test]
fn an_outbound_connection_begins_complete_and_is_silent_while_stale() {
    let [a, _, c] = power(100.0);
    let mut wire = Wire::new(Kind::Outbound, [a, None, c]);
    assert!(wire.at(0.0, [a, None, c]).is_empty() && wire.at(60.0, [a, None, c]).is_empty());
    let notes = wire.at(61.0, power(100.0));
    assert_eq!(
        notes.iter().map(|n| n.method).collect::<Vec<_>>(),
        ["NotifyFullStatus", "NotifyStatus"]
    );
    let full = params(&notes[0]);
    let status = wire.bench.value("Shelly.GetStatus", "{}");
    for key in status.as_object().unwrap().keys() {
        assert!(full.get(key).is_some(), "{key}");
    }
    assert!(
        notes[0]
            .params
            .starts_with("{\"ts\":1747561162.00,\"ble\":{},"),
        "{}",
        notes[0].params
    );
    let both = params(&notes[1]);
    assert_eq!(both["em:0"].as_object().unwrap().len(), 23);
    assert_eq!(both["emdata:0"].as_object().unwrap().len(), 9);
    assert!(
        wire.at(62.5, [a, None, c]).is_empty(),
        "nothing while stale"
    );
    let notes = wire.at(63.0, power(100.0));
    assert_eq!((notes.len(), notes[0].method), (1, "NotifyStatus"));
    assert!(
        params(&notes[0])["em:0"].get("errors").is_none(),
        "it never saw an error"
    );
}

#[test]
fn a_passive_listener_begins_with_a_complete_status() {
    let mut wire = Wire::new(Kind::Passive, power(1.0));
    let notes = wire.at(0.0, power(1.0));
    assert_eq!((notes.len(), notes[0].method), (1, "NotifyFullStatus"));
    assert_eq!(wire.at(1.0, power(2.0))[0].method, "NotifyStatus");
}

#[test]
fn counters_and_records_go_out_once_a_minute() {
    // UNIX is 21 s into its minute; the next one is over 39 s later, its record comes a second
    // after.
    let mut wire = Wire::new(Kind::Inbound, power(1.0));
    let mut sent = Vec::new();
    for at in 1..=200 {
        if at == 41 {
            let record = minute(1_747_561_080, 60.0);
            let view = Arc::get_mut(&mut wire.bench.view).unwrap();
            view.record = Some(Arc::new(record));
        }
        for note in wire.at(f64::from(at), power(1.0)) {
            let p = params(&note);
            if p.get("emdata:0").is_some() {
                assert_eq!(p["emdata:0"].as_object().unwrap().len(), 9);
                sent.push((at, "emdata"));
            }
            if let Some(event) = p["events"].get(0) {
                assert_eq!(event["component"], "emdata:0");
                assert_eq!(event["id"], 0);
                assert_eq!(event["event"], "data");
                assert_eq!(event["data"]["ts"], 1_747_561_080);
                assert_eq!(event["data"]["values"][0].as_array().unwrap().len(), 51);
                assert!(
                    note.params.contains("\"ts\":1747561080.00,\"data\":{\"ts\":1747561080,\"period\":60,\"values\":[[1.0000,"),
                    "{}",
                    note.params
                );
                sent.push((at, "data"));
            }
        }
    }
    assert_eq!(
        sent,
        [
            (40, "emdata"),
            (41, "data"),
            (100, "emdata"),
            (160, "emdata")
        ]
    );
}

#[test]
fn counters_are_told_when_their_seed_is_there() {
    let mut wire = Wire::new(Kind::Inbound, power(1.0));
    let mut unseeded = snapshot(now(0.0), power(1.0));
    unseeded.energy = None;
    wire.bench.view = Arc::new(View::new(Arc::new(unseeded)));
    wire.notifier = Notifier::new(Kind::Inbound, &wire.bench.context());
    assert!(
        wire.at(2.0, power(1.0))
            .iter()
            .any(|n| params(n).get("emdata:0").is_some())
    );
}

#[test]
fn writes_are_told_as_events() {
    let mut wire = Wire::new(Kind::Inbound, power(1.0));
    wire.bench
        .apply("EM.SetConfig", r#"{"id":0,"config":{"name":"Keller"}}"#);
    wire.bench.apply("KVS.Set", r#"{"key":"k","value":1}"#);
    let notes = wire.at(0.1, power(1.0));
    assert_eq!(
        &*notes[0].params,
        r#"{"ts":1747561101.10,"events":[{"component":"em:0","id":0,"event":"config_changed","restart_required":false,"ts":1747561101.10,"cfg_rev":2}]}"#
    );
    assert_eq!(
        &*notes[1].params,
        r#"{"ts":1747561101.10,"sys":{"cfg_rev":2,"kvs_rev":1}}"#
    );
    assert_eq!(notes.len(), 2);
    wire.bench.apply(
        "Temperature.SetConfig",
        r#"{"id":0,"config":{"name":"inside"}}"#,
    );
    let notes = wire.at(0.2, power(1.0));
    assert!(
        notes[0]
            .params
            .contains(r#"{"component":"temperature:0","id":0,"event":"config_changed""#),
        "{}",
        notes[0].params
    );
    assert!(wire.at(0.3, power(1.0)).is_empty());
}

#[test]
fn a_status_beside_powers_is_told_when_it_changes() {
    let mut wire = Wire::new(Kind::Inbound, power(1.0));
    wire.bench.ws_connected = true;
    let told = |notes: &[Note]| {
        notes
            .iter()
            .map(|n| (n.method, n.params.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&wire.at(0.1, power(1.0))),
        [(
            "NotifyStatus",
            r#"{"ts":1747561101.10,"ws":{"connected":true}}"#.to_owned()
        )]
    );
    assert!(wire.at(0.2, power(1.0)).is_empty());
    wire.bench.apply(
        "Temperature.SetConfig",
        r#"{"id":0,"config":{"offset_C":-2}}"#,
    );
    wire.bench.ws_connected = false;
    let notes = told(&wire.at(0.3, power(1.0)));
    let all = r#"{"ts":1747561101.30,"sys":{"cfg_rev":2},"temperature:0":{"id":0,"tC":38.0,"tF":100.4},"ws":{"connected":false}}"#;
    assert_eq!((notes.len(), notes[1].1.as_str()), (2, all));
    wire.bench.apply(
        "Temperature.SetConfig",
        r#"{"id":0,"config":{"name":"inside"}}"#,
    );
    assert_eq!(
        told(&wire.at(0.4, power(1.0)))[1].1,
        r#"{"ts":1747561101.40,"sys":{"cfg_rev":3}}"#,
        "the status is the same"
    );

    // Who begins with a full status has both in it.
    let mut outbound = Wire::new(Kind::Outbound, power(1.0));
    outbound.bench.ws_connected = true;
    let notes = outbound.at(0.0, power(1.0));
    assert_eq!(params(&notes[0])["ws"]["connected"], true);
    assert!(
        !notes[1..].iter().any(|n| n.params.contains("\"ws\"")),
        "{notes:?}"
    );
}

#[test]
fn an_event_says_of_a_restart_what_the_call_said() {
    let config = [
        (
            "Ws.SetConfig",
            r#"{"config":{"enable":true,"server":"ws://192.0.2.7/"}}"#,
        ),
        ("Modbus.SetConfig", r#"{"config":{"enable":false}}"#),
        (
            "Temperature.SetConfig",
            r#"{"id":0,"config":{"offset_C":1}}"#,
        ),
        ("EM.SetConfig", r#"{"id":0,"config":{"name":"x"}}"#),
        ("Sys.SetConfig", r#"{"config":{"device":{"name":"x"}}}"#),
    ];
    let mut wire = Wire::new(Kind::Inbound, power(1.0));
    for (n, (method, params_text)) in config.into_iter().enumerate() {
        let result: Value = serde_json::from_str(&wire.bench.apply(method, params_text)).unwrap();
        let notes = wire.at(0.01 * (n + 1) as f64, power(1.0));
        let event = &params(&notes[0])["events"][0];
        assert_eq!(event["event"], "config_changed", "{method}");
        assert_eq!(
            event["restart_required"], result["restart_required"],
            "{method}"
        );
    }
}

#[test]
fn monophase_tells_its_channels() {
    let bench = Bench::of(power(1.0)).monophase();
    let mut notifier = Notifier::new(Kind::Inbound, &bench.context());
    let mut later = Bench::of(power(50.0)).monophase();
    later.now = now(2.0);
    later.view = Arc::new(View::with_record(
        Arc::new(snapshot(later.now, power(50.0))),
        Some(Arc::new(minute(1_747_561_080, 6.0))),
    ));
    let notes = notifier.poll(&later.device, &later.context(), &POLICY);
    assert_eq!(notes.len(), 2);
    let em = params(&notes[0]);
    assert_eq!(em["em1:0"]["act_power"].as_f64(), Some(50.0));
    assert_eq!(em["em1:2"]["id"].as_u64(), Some(2));
    let events = params(&notes[1]);
    assert_eq!(events["events"].as_array().unwrap().len(), 3);
    assert_eq!(events["events"][2]["component"], "em1data:2");
    assert_eq!(
        events["events"][2]["data"]["values"][0]
            .as_array()
            .unwrap()
            .len(),
        14
    );
}
