#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::*;
use crate::home_assistant::Access;
use config::{Secret, SourceSettings};
use vocab::{
    Reading, State,
    reason::{Cause, Failure},
};

fn at(seconds: f64) -> Now {
    Now {
        mono: Duration::from_secs_f64(seconds),
        unix: 1.8e9 + seconds,
    }
}

fn address() -> Address {
    let settings = SourceSettings {
        ha_token: Some(Secret("tok".into())),
        ..SourceSettings::default()
    };
    Address::all(&settings, &Access::default())
        .unwrap()
        .remove(0)
}

fn list(ids: &[&str]) -> Arc<[EntityId]> {
    ids.iter().map(|i| i.parse().unwrap()).collect()
}

/// A session at the other end of which the test sits.
struct Talk {
    session: Session,
    now: f64,
}

impl Talk {
    fn new(ids: &[&str], macs: &[&str]) -> Self {
        let macs = macs.iter().map(|m| (*m).to_owned()).collect();
        let cadence = Cadence::default();
        Self {
            session: Session::new(address(), list(ids), macs, cadence, at(0.0)),
            now: 0.0,
        }
    }

    /// One whose values come.
    fn running(ids: &[&str], macs: &[&str]) -> Self {
        let mut talk = Self::new(ids, macs);
        talk.login();
        talk.config(3, "RUNNING");
        talk
    }

    fn tick(&mut self, now: f64) -> Vec<String> {
        self.now = now;
        self.session.tick(at(now)).unwrap();
        self.session.take_frames()
    }

    fn hear(&mut self, frame: &str) -> Vec<String> {
        self.session.hear(frame, at(self.now)).unwrap();
        self.session.take_frames()
    }

    fn events(&mut self) -> Vec<String> {
        let show = |r: &Reading| match &r.state {
            State::Text(t) => format!(
                "{}={t}{}",
                r.entity,
                r.unit
                    .as_deref()
                    .map(|u| format!(" {u}"))
                    .unwrap_or_default()
            ),
            State::Gone => format!("{} gone", r.entity),
            State::Own => format!("{} own", r.entity),
        };
        let events = self.session.take_events();
        let texts = events.iter().filter_map(|e| match e {
            SourceEvent::Readings(r) => Some(r.iter().map(show).collect::<Vec<_>>().join(", ")),
            SourceEvent::Link(l) => Some(format!("{l:?}")),
            SourceEvent::Alive => None,
        });
        texts.collect()
    }

    /// Authenticates; the frames that follow.
    fn login(&mut self) -> Vec<String> {
        let auth = self.hear(r#"{"type":"auth_required","ha_version":"2026.11.0"}"#);
        assert_eq!(auth, [r#"{"type":"auth","access_token":"tok"}"#]);
        self.hear(r#"{"type":"auth_ok","ha_version":"2026.11.0"}"#)
    }

    fn config(&mut self, id: u64, state: &str) -> Vec<String> {
        self.hear(&format!(r#"{{"id":{id},"type":"result","success":true,"result":{{"state":"{state}","version":"2026.11.0","time_zone":"Europe/Berlin","components":["a"]}}}}"#))
    }

    fn event(&mut self, id: u64, event: &str) {
        self.hear(&format!(r#"{{"type":"event","event":{event},"id":{id}}}"#));
    }
}

#[test]
fn being_let_in_is_no_sign_of_life() {
    let mut t = Talk::new(&["sensor.grid"], &[]);
    t.now = 1.0;
    t.login();
    assert!(
        !t.session.lives_at(at(1.0)),
        "the Supervisor says it itself"
    );
    t.now = 2.0;
    t.config(3, "RUNNING");
    assert!(t.session.lives_at(at(2.0)));
}

const NO_PONG: Result<(), End> = Err(End::Lost(Unreachable::NoPong { n: 10 }));
const GRID: &str = r#"{"a":{"sensor.grid":{"s":"1234.5","a":{"unit_of_measurement":"W"},"c":"01","lc":1795439063.0}}}"#;

#[test]
fn first_values_come_before_up() {
    let mut t = Talk::new(&["sensor.grid", "sensor.later"], &[]);
    let frames = t.login();
    assert_eq!(
        frames,
        [
            r#"{"type":"subscribe_events","event_type":"homeassistant_started","id":1}"#,
            r#"{"type":"subscribe_events","event_type":"core_config_updated","id":2}"#,
            r#"{"type":"get_config","id":3}"#,
            r#"{"type":"subscribe_entities","entity_ids":["sensor.grid","sensor.later"],"id":4}"#,
        ]
    );
    t.config(3, "RUNNING");
    t.hear(r#"{"id":4,"type":"result","success":true,"result":null}"#);
    assert_eq!(t.events(), [""; 0]);
    t.event(4, GRID);
    assert_eq!(
        t.events(),
        ["sensor.grid=1234.5 W, sensor.later gone", "Up"]
    );
    let facts = t.session.facts(None).unwrap();
    assert_eq!(facts.time_zone.as_deref(), Some("Europe/Berlin"));
    t.event(
        4,
        r#"{"c":{"sensor.grid":{"+":{"lu":1.0,"a":{"unit_of_measurement":"kW"}}}}}"#,
    );
    t.event(
        4,
        r#"{"c":{"sensor.grid":{"+":{"s":"unavailable","lc":2.0}}}}"#,
    );
    t.event(4, r#"{"r":["sensor.grid"]}"#);
    t.event(4, r#"{"a":{"sensor.later":{"s":"1","a":{}}}}"#);
    assert_eq!(
        t.events(),
        [
            "sensor.grid=1234.5 kW",
            "sensor.grid=unavailable kW",
            "sensor.grid gone",
            "sensor.later=1"
        ]
    );
    t.hear(r#"[{"type":"event","event":{"c":{"sensor.later":{"+":{"s":"2"}}}},"id":4},{"type":"event","event":{"c":{"sensor.later":{"+":{"s":"3"}}}},"id":4}]"#);
    assert_eq!(
        t.events(),
        ["sensor.later=3"],
        "of one frame the newest counts"
    );
}

#[test]
fn a_starting_home_assistant_is_waited_for() {
    let mut t = Talk::new(&["sensor.grid", "sensor.b"], &[]);
    t.login();
    t.config(3, "NOT_RUNNING");
    t.hear(r#"{"id":1,"type":"result","success":true,"result":null}"#);
    t.event(4, r#"{"a":{}}"#);
    assert_eq!(t.events(), ["Starting"]);
    t.event(
        4,
        r#"{"a":{"sensor.grid":{"s":"321.0","a":{"unit_of_measurement":"W"}}}}"#,
    );
    t.event(
        4,
        r#"{"a":{"sensor.b":{"s":"unavailable","a":{"restored":true,"unit_of_measurement":"W"}}}}"#,
    );
    assert_eq!(t.events(), [""; 0], "restored");
    t.event(4, r#"{"c":{"sensor.grid":{"+":{"s":"0.0","lc":5.0}}}}"#);
    assert_eq!(t.events(), ["sensor.grid=0.0 W"]);
    assert_eq!(t.tick(2.0), [r#"{"type":"get_config","id":5}"#]);
    t.event(1, r#"{"event_type":"homeassistant_started","data":{}}"#);
    assert_eq!(t.events(), ["sensor.b=unavailable W", "Up"]);
}

#[test]
fn after_five_minutes_of_starting_values_count() {
    let mut t = Talk::new(&["sensor.grid"], &[]);
    t.login();
    t.config(3, "STARTING");
    t.event(4, GRID);
    assert_eq!(t.events(), ["Starting"]);
    t.session.alive(at(299.0));
    t.tick(299.9);
    assert_eq!(t.events(), [""; 0]);
    t.tick(300.0);
    assert_eq!(t.events(), ["sensor.grid=1234.5 W", "Up"]);
}

#[test]
fn our_own_entities_are_never_subscribed_to() {
    let mut t = Talk::new(&["sensor.grid", "sensor.ours"], &["AABBCCDDEEFF"]);
    let frames = t.login();
    assert_eq!(
        frames[3],
        r#"{"type":"config/entity_registry/get_entries","entity_ids":["sensor.grid","sensor.ours"],"id":4}"#
    );
    t.config(3, "RUNNING");
    let frames = t.hear(r#"{"id":4,"type":"result","success":true,"result":{"sensor.grid":null,"sensor.ours":{"entity_id":"sensor.ours","platform":"shelly","unique_id":"AABBCCDDEEFF-em:0-total_act_power"}}}"#);
    assert_eq!(
        frames,
        [r#"{"type":"subscribe_entities","entity_ids":["sensor.grid"],"id":5}"#]
    );
    t.event(
        5,
        r#"{"a":{"sensor.grid":{"s":"1","a":{}},"sensor.ours":{"s":"1","a":{}}}}"#,
    );
    assert_eq!(t.events(), ["sensor.grid=1, sensor.ours own", "Up"]);
    let facts = t.session.facts(None).unwrap();
    assert_eq!(*facts.refused, *list(&["sensor.ours"]));
    // Another meter of ours: asked again, nothing is said meanwhile.
    t.session.set_macs(Arc::new(["112233445566".to_owned()]));
    assert!(t.session.take_frames()[0].contains("get_entries"));
    let frames = t.hear(r#"{"id":6,"type":"result","success":true,"result":{"sensor.ours":{"unique_id":"AABBCCDDEEFF-x"}}}"#);
    assert_eq!(frames.len(), 2, "{frames:?}");
    t.event(
        8,
        r#"{"a":{"sensor.grid":{"s":"1","a":{}},"sensor.ours":{"s":"2","a":{}}}}"#,
    );
    assert_eq!(t.events(), ["sensor.grid=1, sensor.ours=2"]);
}

#[test]
fn only_our_own_configured_means_no_subscription_at_all() {
    let mut t = Talk::running(&["sensor.ours"], &["AABBCCDDEEFF"]);
    let frames = t.hear(r#"{"id":4,"type":"result","success":true,"result":{"sensor.ours":{"unique_id":"AABBCCDDEEFF-x"}}}"#);
    assert_eq!(
        frames, [""; 0],
        "an empty list would subscribe to the whole house"
    );
    assert_eq!(t.events(), ["sensor.ours own", "Up"]);
}

#[test]
fn a_registry_that_is_not_there_yet_is_asked_again() {
    let mut t = Talk::new(&["sensor.grid"], &["AABBCCDDEEFF"]);
    t.login();
    t.config(3, "NOT_RUNNING");
    let frames = t.hear(r#"{"id":4,"type":"result","success":false,"error":{"code":"unknown_command","message":"Unknown command."}}"#);
    assert_eq!(frames, [""; 0]);
    let frames = t.tick(2.0);
    assert!(
        frames.iter().any(|f| f.contains("get_entries")),
        "{frames:?}"
    );
}

#[test]
fn another_list_resubscribes_on_the_same_connection() {
    let mut t = Talk::running(&["sensor.grid"], &[]);
    t.event(4, GRID);
    t.events();
    t.session.set_entities(list(&["sensor.grid", "sensor.new"]));
    assert_eq!(
        t.session.take_frames(),
        [
            r#"{"type":"unsubscribe_events","subscription":4,"id":5}"#,
            r#"{"type":"subscribe_entities","entity_ids":["sensor.grid","sensor.new"],"id":6}"#
        ]
    );
    t.event(4, r#"{"c":{"sensor.grid":{"+":{"s":"9"}}}}"#);
    assert_eq!(t.events(), [""; 0], "the old subscription is over");
    t.event(
        6,
        r#"{"a":{"sensor.grid":{"s":"9","a":{}},"sensor.new":{"s":"5","a":{}}}}"#,
    );
    assert_eq!(t.events(), ["sensor.grid=9, sensor.new=5"]);
    t.session.set_entities(list(&[]));
    assert_eq!(
        t.session.take_frames(),
        [r#"{"type":"unsubscribe_events","subscription":6,"id":7}"#]
    );
}

#[test]
fn only_questions_whose_answer_is_still_wanted_are_remembered() {
    let mut t = Talk::running(&["sensor.grid"], &["AABBCCDDEEFF"]);
    t.hear(r#"{"id":1,"type":"result","success":true,"result":null}"#);
    let mut id = 4;
    for round in 0..100 {
        for frame in t.tick(t.now + 15.0) {
            let sent: serde_json::Value = serde_json::from_str(&frame).unwrap();
            id = sent["id"].as_u64().unwrap();
            match sent["type"].as_str().unwrap() {
                "ping" => t.hear(&format!(r#"{{"id":{id},"type":"pong"}}"#)),
                other => panic!("{other}"),
            };
        }
        // The first of the two is answered late, when nobody wants it any more.
        t.session
            .set_entities(list(&["sensor.grid", "sensor.more"][..1 + round % 2]));
        t.session
            .set_macs(Arc::new([format!("AABBCCDDEE{round:02X}")]));
        assert_eq!(t.session.take_frames().len(), 2 - usize::from(round == 0));
        for late in [id + 1, id + 2] {
            t.hear(&format!(
                r#"{{"id":{late},"type":"result","success":true,"result":{{}}}}"#
            ));
        }
    }
    assert!(t.session.asked.len() <= 4, "{:?}", t.session.asked);
}

#[test]
fn names_of_wanted_entities_are_followed() {
    let mut t = Talk::running(&["sensor.grid"], &[]);
    t.event(4, GRID);
    t.tick(1.0);
    t.hear(r#"{"id":6,"type":"result","success":true,"result":null}"#);
    let told = |data: &str| {
        format!(r#"{{"event_type":"entity_registry_updated","data":{data},"origin":"LOCAL"}}"#)
    };
    for data in [
        r#"{"action":"update","entity_id":"sensor.net","old_entity_id":"sensor.grid","changes":{"entity_id":"sensor.grid"}}"#,
        r#"{"action":"update","entity_id":"sensor.x","old_entity_id":"sensor.y","changes":{}}"#,
        r#"{"action":"update","entity_id":"sensor.grid","changes":{"name":null}}"#,
        r#"{"action":"create","entity_id":"sensor.grid"}"#,
        r#"{"action":"remove","entity_id":"sensor.z"}"#,
        r#"{"action":"remove","entity_id":"sensor.grid"}"#,
        r#"{"action":7}"#,
    ] {
        t.event(6, &told(data));
    }
    let (old, new) = (
        EntityId::from_static("sensor.grid"),
        EntityId::from_static("sensor.net"),
    );
    assert_eq!(
        t.session.take_names(),
        [
            RegistryEvent::Renamed {
                old: old.clone(),
                new
            },
            RegistryEvent::Removed(old)
        ]
    );
}

#[test]
fn a_dead_link_is_noticed_within_25_seconds() {
    let mut t = Talk::running(&["sensor.grid"], &[]);
    t.event(4, GRID);
    let later = [
        r#"{"type":"http/config","id":5}"#,
        r#"{"type":"subscribe_events","event_type":"entity_registry_updated","id":6}"#,
    ];
    assert_eq!(
        t.tick(1.0),
        later,
        "what is not urgent is asked once values come"
    );
    for (sent, pong) in [(15.0, 15.1), (30.0, 30.1)] {
        assert_eq!(t.tick(sent - 0.1), [""; 0]);
        let ping: serde_json::Value = serde_json::from_str(&t.tick(sent)[0]).unwrap();
        assert_eq!(ping["type"], "ping");
        t.now = pong;
        t.hear(&format!(r#"{{"id":{},"type":"pong"}}"#, ping["id"]));
    }
    // The other end dies right after the last pong.
    t.tick(45.0);
    assert_eq!(t.session.looks(at(45.0)).len(), 0, "asked by a template");
    assert!(t.session.take_frames()[0].contains("render_template"));
    assert_eq!(t.session.deadline(), Duration::from_secs(55));
    t.tick(54.9);
    assert_eq!(t.session.tick(at(55.0)), NO_PONG);
}

#[test]
fn what_answers_no_question_of_ours_is_no_sign_of_life() {
    let mut t = Talk::running(&["sensor.grid"], &[]);
    t.event(4, GRID);
    t.tick(15.0);
    let ping = t.session.last_id;
    for foreign in [
        format!(r#"{{"id":{},"type":"pong"}}"#, ping + 1),
        format!(r#"{{"id":{},"type":"event","event":{{}}}}"#, ping + 1),
        r#"{"type":"pong"}"#.to_owned(),
        r#"{"id":null,"type":"result","success":true}"#.to_owned(),
        r#"{"id":0,"type":"result","success":true}"#.to_owned(),
        r#"{"type":"auth_required","ha_version":"2026.11.0"}"#.to_owned(),
        "no JSON at all".to_owned(),
    ] {
        t.now += 1.0;
        t.hear(&foreign);
        assert!(!t.session.lives_at(at(t.now)), "{foreign}");
    }
    assert_eq!(t.session.tick(at(25.0)), NO_PONG);
}

#[test]
fn what_no_value_comes_without_is_waited_for_only_so_long() {
    for (answers, missing) in [
        (0, "get_config"),
        (1, "config/entity_registry/get_entries"),
        (2, "subscribe_entities"),
    ] {
        let mut t = Talk::new(&["sensor.grid"], &["AABBCCDDEEFF"]);
        t.login();
        if answers > 0 {
            t.config(3, "RUNNING");
        }
        if answers > 1 {
            t.hear(r#"{"id":4,"type":"result","success":true,"result":{}}"#);
            // That it was heard is not yet what was asked for.
            t.hear(r#"{"id":5,"type":"result","success":true,"result":null}"#);
        }
        t.tick(0.0);
        assert_eq!(
            t.session.deadline(),
            Duration::from_secs(15),
            "{missing}: a ping comes first"
        );
        t.session.alive(at(29.0));
        let end = (1..=6).find_map(|n| t.session.tick(at(f64::from(n) * 5.0)).err());
        assert_eq!(
            end,
            Some(End::Lost(Unreachable::NotAnswered {
                what: missing.into(),
                n: 30
            }))
        );
    }
}

#[test]
fn news_instead_of_a_pong_is_a_sign_of_life() {
    let mut t = Talk::new(&["sensor.grid"], &[]);
    t.login();
    t.tick(15.0);
    t.session.alive(at(20.0));
    t.tick(25.0);
    t.tick(30.0);
    assert!(t.session.tick(at(40.0)).is_err());
}

#[test]
fn refusals_and_silence_end_the_session() {
    let mut t = Talk::new(&["sensor.grid"], &[]);
    t.hear(r#"{"type":"auth_required","ha_version":"2026.11.0"}"#);
    let end = t.session.hear(
        r#"{"type":"auth_invalid","message":"Invalid access token or password"}"#,
        at(0.0),
    );
    let said = Cause::known("Invalid access token or password", Failure::NoToken);
    let asked = "ws://homeassistant:8123/api/websocket";
    let why = address().token_refused(asked, said);
    assert_eq!(end, Err(End::Refused(why)));
    let mut t = Talk::new(&["sensor.grid"], &[]);
    assert!(t.session.tick(at(9.9)).is_ok());
    assert!(t.session.tick(at(10.0)).is_err());
    let mut t = Talk::new(&["sensor.grid"], &[]);
    t.login();
    let end = t.session.hear(r#"{"id":4,"type":"result","success":false,"error":{"code":"invalid_format","message":"bad"}}"#, at(0.0));
    assert_eq!(
        end,
        Err(End::Lost(Unreachable::AskFailed {
            what: "subscribe_entities".into(),
            error: Cause::said("bad (invalid_format)")
        }))
    );
}

#[test]
fn signs_of_life_come_once_a_second_at_most() {
    let mut t = Talk::running(&[], &[]);
    let alive: Vec<SourceEvent> = (0..50)
        .flat_map(|i| {
            t.session.alive(at(1.0 + f64::from(i) * 0.1));
            t.session.take_events()
        })
        .filter(|event| *event == SourceEvent::Alive)
        .collect();
    assert_eq!(alive.len(), 5);
}

proptest! {
    #[test]
    fn any_frames_are_no_panic(frames in prop::collection::vec(prop_oneof![
        ".{0,120}",
        Just(r#"{"type":"auth_required"}"#.to_owned()),
        Just(r#"{"type":"auth_ok"}"#.to_owned()),
        (0u64..9, "(true|false|null)", "(null|\\{\\}|\\[\\]|5|\\{\"state\":\"RUNNING\"\\})")
            .prop_map(|(id, ok, result)| format!(r#"{{"id":{id},"type":"result","success":{ok},"result":{result}}}"#)),
        (0u64..9, "(\\{\"a\":\\{\"sensor.x\":(5|\\{\"s\":\"1\"\\})\\}\\}|\\{\"r\":\\[\"sensor.x\"\\]\\}|\\{\"c\":\\{\"sensor.x\":\\{\"[+-]\":\\{\"a\":\\{\\}\\}\\}\\}\\}|7)")
            .prop_map(|(id, event)| format!(r#"{{"type":"event","event":{event},"id":{id}}}"#)),
    ], 0..25), step in 0.0..20.0f64) {
        let mut session = Session::new(address(), list(&["sensor.x"]), Arc::new(["AABBCCDDEEFF".to_owned()]), Cadence::default(), at(0.0));
        let mut told = false;
        for (i, frame) in frames.iter().enumerate() {
            let now = at(i as f64 * step);
            if session.hear(frame, now).is_err() || session.tick(now).is_err() {
                break;
            }
            for event in session.take_events() {
                told |= matches!(event, SourceEvent::Readings(_));
                prop_assert!(told || event != SourceEvent::Link(Link::Up), "up before the readings");
            }
        }
    }
}
