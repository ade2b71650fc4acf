//! The source against a Home Assistant of the test's own: first values, changes, faults and
//! recoveries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/fake_ha.rs"]
mod fake_ha;
#[path = "common/until.rs"]
mod until;

use std::{io::Write, sync::Arc, time::Duration};

use fake_ha::{FakeHa, TOKEN};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use until::until;
use virtual_shelly::{
    config::{HaTransport, Secret, SourceKind, SourceSettings},
    source::{
        self, Access, Cadence, HaFacts, SourceChannels, Supervisor, Transport,
        discover::{Origin, QueryError, discover},
    },
    vocab::{EntityId, Link, Now, SourceEvent, State, SystemClock, reason::Unreachable},
};

/// Bounds a wait on a condition; nothing is timed.
const LONG: Duration = Duration::from_secs(20);
const GRID: &[&str] = &["sensor.grid"];

fn settings(ha: &FakeHa) -> SourceSettings {
    SourceSettings {
        ha_base_url: ha.url(),
        ha_token: Some(Secret(TOKEN.into())),
        poll_interval: Duration::from_millis(50),
        ..SourceSettings::default()
    }
}

fn over(ha_transport: HaTransport, ha: &FakeHa) -> SourceSettings {
    SourceSettings {
        ha_transport,
        ..settings(ha)
    }
}

/// The real order of events, sooner.
fn quick() -> Access {
    let cadence = Cadence {
        ping: Duration::from_millis(150),
        pong_wait: Duration::from_millis(400),
        handshake: Duration::from_secs(2),
        starting_poll: Duration::from_millis(50),
        refused_first: Duration::from_millis(200),
        websocket_again: Duration::from_millis(300),
        reconnect_scale: 0.02,
        ..Cadence::default()
    };
    Access {
        cadence,
        ..Access::default()
    }
}

/// A Home Assistant with a sensor that says 1 W.
async fn with_grid() -> FakeHa {
    let ha = FakeHa::start().await;
    ha.set("sensor.grid", "1", "W");
    ha
}

/// The same, and a source whose values of it come.
async fn followed() -> (FakeHa, Running) {
    let ha = with_grid().await;
    let mut source = Running::start(settings(&ha), quick(), GRID);
    source.until("Up").await;
    (ha, source)
}

fn list(ids: &[&str]) -> Arc<[EntityId]> {
    ids.iter().map(|i| i.parse().unwrap()).collect()
}

struct Running {
    events: mpsc::Receiver<(Now, SourceEvent)>,
    entities: watch::Sender<Arc<[EntityId]>>,
    macs: watch::Sender<Arc<[String]>>,
    facts: watch::Receiver<HaFacts>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    seen: Vec<String>,
}

impl Running {
    fn start(settings: SourceSettings, access: Access, ids: &[&str]) -> Self {
        let (meter, events) = mpsc::channel(64);
        let (entities, entities_rx) = watch::channel(list(ids));
        let (macs, macs_rx) = watch::channel(Arc::from(["AABBCCDDEEFF".to_owned()]));
        let (facts_tx, facts) = watch::channel(HaFacts::default());
        let stop = CancellationToken::new();
        let clock = Arc::new(SystemClock::new());
        let registry = tokio::sync::mpsc::channel(8).0;
        let channels = SourceChannels {
            battery: source::demo::SharedBattery::default(),
            entities: entities_rx,
            macs: macs_rx,
            out: source::Outlet {
                tap: Arc::new(|_, _| {}),
                meters: vec![meter],
            },
            registry,
            facts: facts_tx,
            clock,
            stop: stop.clone(),
        };
        let task = tokio::spawn(source::run(settings, access, channels));
        Self {
            events,
            entities,
            macs,
            facts,
            stop,
            task,
            seen: Vec::new(),
        }
    }

    async fn event(&mut self) -> SourceEvent {
        let waited = tokio::time::timeout(LONG, self.events.recv()).await;
        let event = waited.unwrap_or_else(|_| panic!("nothing more after {:?}", self.seen));
        event.expect("source ended").1
    }

    /// The next thing said, signs of life aside.
    async fn next(&mut self) -> String {
        loop {
            let text = match self.event().await {
                SourceEvent::Alive => continue,
                SourceEvent::Link(Link::Down { reason, .. }) => format!("down: {reason}"),
                SourceEvent::Link(link) => format!("{link:?}"),
                SourceEvent::Readings(readings) => readings
                    .iter()
                    .map(|r| match &r.state {
                        State::Text(t) => {
                            format!("{}={t}{}", r.entity, r.unit.as_deref().unwrap_or(""))
                        }
                        State::Gone => format!("{} gone", r.entity),
                        State::Own => format!("{} own", r.entity),
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
            };
            self.seen.push(text.clone());
            return text;
        }
    }

    /// Waits until this was said; all that was said up to it.
    async fn until(&mut self, what: &str) -> Vec<String> {
        let from = self.seen.len();
        while !self.next().await.contains(what) {}
        self.seen[from..].to_vec()
    }

    /// Waits until the link is down; why.
    async fn down(&mut self) -> String {
        self.until("down").await.pop().unwrap()
    }

    /// Waits for a reading of this entity; its state, and its age in whole seconds.
    async fn reading(&mut self, id: &str) -> (State, Option<u64>) {
        loop {
            if let SourceEvent::Readings(readings) = self.event().await
                && let Some(reading) = readings.into_iter().find(|r| *r.entity == *id)
            {
                let age = reading.age.map(|age| age.as_secs_f64().round() as u64);
                return (reading.state, age);
            }
        }
    }

    /// Whatever was said and not heard yet, the last thing said is that the source is gone.
    async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(LONG, &mut self.task)
            .await
            .expect("the source does not stop")
            .unwrap();
        self.until(&format!("down: {}", Unreachable::Ended)).await;
        assert!(self.events.recv().await.is_none());
    }
}

#[tokio::test]
async fn first_values_then_changes_units_unavailable_gone() {
    let ha = FakeHa::start().await;
    ha.set("sensor.grid", "512", "W");
    ha.set("sensor.other", "1", "W");
    let mut s = Running::start(settings(&ha), quick(), &["sensor.grid", "sensor.later"]);
    assert_eq!(s.next().await, "Connecting");
    assert_eq!(s.next().await, "sensor.grid=512W sensor.later gone");
    assert_eq!(s.next().await, "Up");
    ha.set("sensor.other", "2", "W");
    ha.set("sensor.grid", "2", "W");
    assert_eq!(s.next().await, "sensor.grid=2W");
    ha.set("sensor.grid", "2", "kW");
    assert_eq!(s.next().await, "sensor.grid=2kW");
    ha.set("sensor.grid", "unavailable", "kW");
    assert_eq!(s.next().await, "sensor.grid=unavailablekW");
    ha.set("sensor.grid", "3", "");
    assert_eq!(s.next().await, "sensor.grid=3");
    ha.remove("sensor.grid");
    assert_eq!(s.next().await, "sensor.grid gone");
    ha.set("sensor.later", "7", "W");
    assert_eq!(s.next().await, "sensor.later=7W");
    assert_eq!(
        ha.subscriptions(),
        [["sensor.grid", "sensor.later"]],
        "exactly what is wanted"
    );
    let facts = s.facts.borrow().clone();
    assert_eq!(facts.version.as_deref(), Some("2026.11.0"));
    assert_eq!(facts.time_zone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(facts.transport, Some(Transport::Websocket));
    assert_eq!(facts.address, Some(ha.addr.ip()));
    s.stop().await;
}

#[tokio::test]
async fn readings_are_as_old_as_their_report() {
    let value = |text: &str| State::Text(text.into());
    for (transport, templates) in [
        (HaTransport::Websocket, true),
        (HaTransport::Rest, true),
        (HaTransport::Websocket, false),
        (HaTransport::Rest, false),
    ] {
        let ha = FakeHa::start().await;
        if !templates {
            ha.refuse_templates();
        }
        ha.set("sensor.grid", "812", "W");
        ha.grow_old("sensor.grid", Duration::from_secs(3600));
        let mut access = quick();
        access.cadence.look = Duration::from_millis(50);
        let mut s = Running::start(over(transport, &ha), access, GRID);
        let is = |(state, age): (State, Option<u64>), text: &str, old: u64| {
            assert_eq!(state, value(text), "{transport:?}");
            let right = age.is_some_and(|age| age.abs_diff(old) <= 1);
            assert!(right, "{transport:?}: {age:?}, not {old}");
        };
        is(s.reading("sensor.grid").await, "812", 3600);
        // The same value again: no event, only a stamp.
        ha.report("sensor.grid", Duration::ZERO);
        is(s.reading("sensor.grid").await, "812", 0);
        ha.set("sensor.grid", "5", "W");
        is(s.reading("sensor.grid").await, "5", 0);
        // A Home Assistant that cannot be asked costs no value.
        if transport == HaTransport::Websocket {
            ha.refuse_rest(Some(500));
            ha.set("sensor.grid", "6", "W");
            assert_eq!(s.reading("sensor.grid").await.0, value("6"));
        }
        s.stop().await;
    }
}

#[tokio::test]
async fn a_value_of_before_a_restart_has_no_age() {
    let ha = FakeHa::start().await;
    ha.set_core_state("STARTING");
    ha.set("sensor.grid", "321", "W");
    let mut s = Running::start(settings(&ha), quick(), GRID);
    s.until("Starting").await;
    ha.subscribed(1).await;
    ha.set_core_state("RUNNING");
    assert_eq!(
        s.reading("sensor.grid").await,
        (State::Text("321".into()), None)
    );
    s.stop().await;
}

#[tokio::test]
async fn another_list_keeps_the_connection() {
    let ha = FakeHa::start().await;
    ha.set("sensor.a", "1", "W");
    ha.set("sensor.b", "2", "W");
    let mut s = Running::start(settings(&ha), quick(), &[]);
    s.until("Up").await;
    assert!(
        ha.subscriptions().is_empty(),
        "nothing wanted: not the whole house"
    );
    s.entities.send_replace(list(&["sensor.a", "sensor.b"]));
    assert_eq!(s.next().await, "sensor.a=1W sensor.b=2W");
    s.entities.send_replace(list(&["sensor.b"]));
    s.until("sensor.b=2W").await;
    assert_eq!((ha.logins(), ha.connections()), (1, 1));
    s.stop().await;
}

#[tokio::test]
async fn comes_back_after_a_loss_and_a_kill() {
    let (ha, mut s) = followed().await;
    ha.drop_connections();
    let said = s.next().await;
    // The system says either, by what was still on its way.
    let lost = ["closed the connection", "connection broke"];
    assert!(lost.iter().any(|how| said.contains(how)), "{said}");
    assert_eq!(
        s.until("Up").await,
        ["sensor.grid=1W", "Up"],
        "values before the link"
    );
    ha.go_down();
    ha.set("sensor.grid", "unknown", "W");
    s.until("down").await;
    ha.come_up().await;
    let said = s.until("Up").await;
    assert_eq!(said[said.len() - 2..], ["sensor.grid=unknownW", "Up"]);
    ha.set("sensor.grid", "2", "W");
    s.until("sensor.grid=2W").await;
    s.stop().await;
}

#[tokio::test]
async fn a_silent_link_is_dead() {
    let (ha, mut s) = followed().await;
    ha.fall_silent(true);
    assert!(s.next().await.contains("no sign of life"));
    ha.fall_silent(false);
    s.until("Up").await;
    s.stop().await;
}

#[tokio::test]
async fn pings_of_a_proxy_are_no_sign_of_life() {
    let (ha, mut s) = followed().await;
    ha.keep_pinging();
    ha.fall_silent(true);
    assert!(s.next().await.contains("no sign of life"));
    s.stop().await;
}

#[tokio::test]
async fn a_question_that_is_never_answered_ends_the_connection_and_is_named() {
    for question in [
        "get_config",
        "config/entity_registry/get_entries",
        "subscribe_entities",
    ] {
        let ha = with_grid().await;
        ha.never_answer(&[question]);
        let mut access = quick();
        access.cadence.answer = Duration::from_millis(400);
        let mut s = Running::start(settings(&ha), access, GRID);
        let said = s.down().await;
        let expected = format!("{question} was not answered for 0 s");
        assert!(said.contains(&expected), "{said}");
        ha.never_answer(&[]);
        s.until("Up").await;
        s.stop().await;
    }
}

#[tokio::test]
async fn without_answers_that_no_value_needs_it_goes_on() {
    let ha = with_grid().await;
    ha.grow_old("sensor.grid", Duration::from_secs(3600));
    ha.never_answer(&["http/config", "subscribe_events", "render_template"]);
    let mut access = quick();
    access.cadence.answer = Duration::from_millis(100);
    access.cadence.look = Duration::from_millis(50);
    let mut s = Running::start(settings(&ha), access, GRID);
    s.until("Up").await;
    let before = ha.rest_calls();
    until("REST is asked when sensors were reported", || {
        ha.rest_calls() > before
    })
    .await;
    ha.set("sensor.grid", "2", "W");
    s.until("sensor.grid=2W").await;
    assert_eq!(ha.logins(), 1, "the same connection");
    s.stop().await;
}

/// Why a one-shot question gets no answer.
async fn unreachable(settings: &SourceSettings, access: &Access) -> String {
    match discover(settings, access, &[], &[]).await {
        Err(QueryError::Unreachable(why)) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_one_shot_question_that_is_never_answered_is_named() {
    let ha = FakeHa::start().await;
    let mut access = quick();
    access.cadence.answer = Duration::from_millis(100);
    for (question, name) in [
        ("get_states", "get_states"),
        ("energy/get_prefs", "the Energy settings"),
    ] {
        // What else comes meanwhile does not make the wait longer.
        ha.keep_pinging();
        ha.never_answer(&[question]);
        let why = unreachable(&settings(&ha), &access).await;
        let expected = format!("did not answer {name} for");
        assert!(why.contains(&expected), "{why}");
    }
}

/// Attributes with `n` bytes that are of no use.
fn blob(n: usize) -> Map<String, Value> {
    let unit = ("unit_of_measurement".to_owned(), "W".into());
    [unit, ("blob".to_owned(), "x".repeat(n).into())]
        .into_iter()
        .collect()
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_read_again_and_again() {
    let ha = FakeHa::start().await;
    ha.set_with("sensor.grid", "1", &blob(33 << 20));
    let mut access = quick();
    // It takes its time on a machine that has other work.
    access.cadence.pong_wait = LONG;
    let mut s = Running::start(settings(&ha), access, GRID);
    let said = s.down().await;
    let expected = "sent a message of 33 MB, and at most 32 MB are taken";
    assert!(said.contains(expected), "{said}");
    // At once, as it may have been the only one; then the next try is a minute away.
    tokio::time::timeout(LONG, ha.subscribed(2))
        .await
        .expect("tried again");
    assert!(
        tokio::time::timeout(Duration::from_millis(600), ha.subscribed(3))
            .await
            .is_err()
    );
    s.stop().await;
}

#[tokio::test]
async fn a_large_message_is_taken_in() {
    let ha = FakeHa::start().await;
    ha.set_with("sensor.grid", "1", &blob(1));
    let mut access = quick();
    // A pong comes after it, and it takes as long as the link is slow.
    access.cadence.pong_wait = LONG;
    let mut s = Running::start(settings(&ha), access, GRID);
    s.until("Up").await;
    ha.set_with("sensor.grid", "2", &blob(20 << 20));
    assert_eq!(s.next().await, "sensor.grid=2W");
    ha.set("sensor.grid", "3", "W");
    assert_eq!(s.next().await, "sensor.grid=3W");
    s.stop().await;
}

#[tokio::test]
async fn an_answer_of_rest_that_does_not_end_is_cut() {
    let ha = with_grid().await;
    ha.answer_without_end(true);
    let rest = over(HaTransport::Rest, &ha);
    let mut s = Running::start(rest.clone(), quick(), GRID);
    let said = s.down().await;
    let expected = "REST /api/config: the answer is larger than the 32768 kB that are taken";
    assert!(said.contains(expected), "{said}");
    s.stop().await;
    let why = unreachable(&rest, &quick()).await;
    assert!(why.contains("larger than the 32768 kB"), "{why}");
}

#[tokio::test]
async fn a_wrong_token_is_not_hammered_and_never_shown() {
    let ha = FakeHa::start().await;
    ha.set_token("another");
    let mut s = Running::start(settings(&ha), quick(), GRID);
    let said = s.down().await;
    let expected = "token was refused (Invalid access token or password)";
    assert!(said.contains(expected) && !said.contains(TOKEN), "{said}");
    until("it is tried again once after the first pause", || {
        ha.logins() >= 2
    })
    .await;
    // The next try is half an hour away, so a right token now changes nothing.
    ha.set_token(TOKEN);
    assert!(
        tokio::time::timeout(Duration::from_millis(600), s.events.recv())
            .await
            .is_err()
    );
    assert_eq!(ha.logins(), 2);
    s.stop().await;
}

#[tokio::test]
async fn answers_that_refuse_us_do_not_freshen_old_values() {
    let (ha, mut s) = followed().await;
    ha.set_token("another");
    ha.drop_connections();
    let mut alive = Vec::new();
    while alive.len() < 2 {
        if let Some((_, SourceEvent::Link(Link::Down { last_alive, reason }))) =
            tokio::time::timeout(LONG, s.events.recv()).await.unwrap()
        {
            alive.push((last_alive, reason));
        }
    }
    assert!(alive[1].1.to_string().contains("refused"), "{alive:?}");
    assert!(
        alive[0].0.is_some() && alive[0].0 == alive[1].0,
        "{alive:?}"
    );
    s.stop().await;
}

#[tokio::test]
async fn https_to_what_does_not_speak_it_is_a_reason_and_no_panic() {
    let ha = FakeHa::start().await;
    let https = SourceSettings {
        ha_base_url: ha.url().replace("http:", "https:"),
        ..settings(&ha)
    };
    let mut s = Running::start(https.clone(), quick(), GRID);
    let said = s.down().await;
    for part in ["wss://", "is plain http", &ha.url()] {
        assert!(said.contains(part), "{said}");
    }
    s.stop().await;
    let mut s = Running::start(
        SourceSettings {
            ha_transport: HaTransport::Rest,
            ..https
        },
        quick(),
        GRID,
    );
    let said = s.down().await;
    let expected = "is plain http, not https: set ha_base_url to http://127.0.0.1:";
    assert!(said.contains(expected), "{said}");
    s.stop().await;
}

#[tokio::test]
async fn without_a_token_nothing_is_tried() {
    let ha = FakeHa::start().await;
    let mut s = Running::start(
        SourceSettings {
            ha_token: None,
            ..settings(&ha)
        },
        quick(),
        GRID,
    );
    assert!(s.next().await.starts_with("Idle(NoToken"));
    assert_eq!((ha.logins(), ha.rest_calls()), (0, 0));
    s.stop().await;
}

#[tokio::test]
async fn restored_values_wait_while_home_assistant_starts() {
    let ha = FakeHa::start().await;
    ha.set_core_state("NOT_RUNNING");
    let mut s = Running::start(settings(&ha), quick(), &["sensor.a", "sensor.b"]);
    s.until("Starting").await;
    ha.subscribed(1).await;
    ha.set("sensor.a", "321.0", "W");
    ha.set("sensor.b", "5", "W");
    ha.set("sensor.a", "0.0", "W");
    assert_eq!(s.next().await, "sensor.a=0.0W", "b's first value waits");
    ha.set_core_state("RUNNING");
    assert_eq!(s.next().await, "sensor.b=5W");
    assert_eq!(s.next().await, "Up");
    s.stop().await;
}

#[tokio::test]
async fn behind_the_supervisor_502_means_not_yet() {
    let ha = with_grid().await;
    ha.refuse_upgrades(Some(502));
    ha.refuse_rest(Some(502));
    let access = Access {
        supervisor: Some(Supervisor {
            url: ha.url(),
            token: Secret(TOKEN.into()),
        }),
        ..quick()
    };
    let mut s = Running::start(
        SourceSettings {
            ha_token: None,
            ..settings(&ha)
        },
        access,
        GRID,
    );
    let said = s.down().await;
    assert!(
        said.contains("not running yet, says the Supervisor"),
        "{said}"
    );
    ha.refuse_upgrades(None);
    let said = s.until("Up").await;
    assert_eq!(said, ["sensor.grid=1W", "Up"], "one reason, said once");
    s.stop().await;
}

#[tokio::test]
async fn our_own_entity_is_refused_on_both_ways() {
    let ha = with_grid().await;
    ha.set("sensor.ours", "2", "W");
    ha.register("sensor.ours", "AABBCCDDEEFF-em:0-total_act_power");
    for ha_transport in [HaTransport::Websocket, HaTransport::Rest] {
        let ids = ["sensor.grid", "sensor.ours"];
        let mut s = Running::start(over(ha_transport, &ha), quick(), &ids);
        assert_eq!(
            s.until("Up").await,
            ["Connecting", "sensor.grid=1W sensor.ours own", "Up"],
            "{ha_transport:?}"
        );
        assert_eq!(*s.facts.borrow().refused, *list(&["sensor.ours"]));
        s.macs.send_replace(Arc::from(["112233445566".to_owned()]));
        s.until("sensor.ours=2W").await;
        s.stop().await;
    }
}

#[tokio::test]
async fn rest_carries_on_while_upgrades_fail() {
    let ha = with_grid().await;
    ha.refuse_upgrades(Some(400));
    let mut s = Running::start(settings(&ha), quick(), &["sensor.grid", "sensor.nowhere"]);
    let said = s.until("Up").await;
    assert_eq!(
        said[said.len() - 2],
        "sensor.grid=1W sensor.nowhere gone",
        "{said:?}"
    );
    assert_eq!(s.facts.borrow().transport, Some(Transport::Rest));
    ha.set("sensor.grid", "2", "kW");
    assert_eq!(s.next().await, "sensor.grid=2kW", "the link stays up");
    ha.refuse_upgrades(None);
    let mut facts = s.facts.clone();
    tokio::time::timeout(
        LONG,
        facts.wait_for(|f| f.transport == Some(Transport::Websocket)),
    )
    .await
    .expect("WebSocket again")
    .unwrap();
    ha.set("sensor.grid", "3", "W");
    assert!(
        s.until("sensor.grid=3W")
            .await
            .iter()
            .all(|t| !t.contains("down"))
    );
    s.stop().await;
}

#[tokio::test]
async fn rest_by_choice_polls_many_in_one_and_sees_a_restart() {
    let ha = FakeHa::start().await;
    let ids: Vec<String> = (0..12).map(|i| format!("sensor.s{i}")).collect();
    ids.iter().for_each(|id| ha.set(id, "1", "W"));
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut s = Running::start(over(HaTransport::Rest, &ha), quick(), &ids);
    assert_eq!(s.until("Up").await[1].split(' ').count(), 12);
    assert_eq!(ha.logins(), 0, "no WebSocket");
    ha.go_down();
    s.until("down").await;
    ha.set_core_state("NOT_RUNNING");
    ha.come_up().await;
    s.until("Starting").await;
    ha.set("sensor.s3", "9", "W");
    assert_eq!(s.next().await, "sensor.s3=9W", "changed while starting");
    ha.set_core_state("RUNNING");
    s.until("Up").await;
    ha.set_token("another");
    assert!(s.down().await.contains("token was refused"));
    s.stop().await;
}

#[tokio::test]
async fn stops_at_once_with_nobody_listening() {
    let ha = FakeHa::start().await;
    ha.set("sensor.grid", "0", "W");
    let s = Running::start(settings(&ha), quick(), GRID);
    let mut facts = s.facts.clone();
    tokio::time::timeout(LONG, facts.wait_for(|f| f.version.is_some()))
        .await
        .unwrap()
        .unwrap();
    // More than the channel holds, and nobody reads it.
    for i in 0..200 {
        ha.set("sensor.grid", &i.to_string(), "W");
    }
    s.stop().await;
}

#[tokio::test]
async fn discovery_finds_the_grid_and_leaves_our_own_out() {
    let ha = FakeHa::start().await;
    ha.set("sensor.grid_power", "512", "W");
    ha.set("sensor.ours_power", "512", "W");
    ha.set("sensor.energy", "3", "kWh");
    ha.register("sensor.ours_power", "AABBCCDDEEFF-em:0-total_act_power");
    ha.set_prefs(json!({"energy_sources": [{"type": "grid", "stat_energy_from": "sensor.energy", "stat_rate": "sensor.grid_power"}]}));
    let macs = ["AABBCCDDEEFF".to_owned()];
    let asked = list(&["sensor.grid_power", "sensor.nowhere"]);
    let d = discover(&settings(&ha), &quick(), &macs, &asked)
        .await
        .unwrap();
    assert!(d.is_running());
    let grid = d.grid.unwrap();
    assert_eq!(grid.origin, Origin::EnergySettings);
    assert_eq!(
        grid.inputs.entities(),
        list(&["sensor.energy", "sensor.grid_power"]).to_vec()
    );
    assert_eq!(
        d.candidates
            .iter()
            .map(|c| &*c.entity_id)
            .collect::<Vec<_>>(),
        ["sensor.grid_power", "sensor.energy"]
    );
    assert_eq!(d.our_own, list(&["sensor.ours_power"]).to_vec());
    assert!(d.asked[0].1.as_ref().unwrap().age(f64::MAX).is_some() && d.asked[1].1.is_none());
    // The same over REST, where the Energy settings cannot be asked.
    let rest = over(HaTransport::Rest, &ha);
    let d = discover(&rest, &quick(), &macs, &asked).await.unwrap();
    assert_eq!(d.grid, None);
    assert_eq!(d.our_own, list(&["sensor.ours_power"]).to_vec());
    assert_eq!(d.notes.len(), 1);
    ha.set_token("another");
    assert!(matches!(
        discover(&settings(&ha), &quick(), &macs, &asked).await,
        Err(QueryError::Refused(_))
    ));
    ha.go_down();
    assert!(matches!(
        discover(&settings(&ha), &quick(), &macs, &asked).await,
        Err(QueryError::Unreachable(_))
    ));
}

#[tokio::test]
async fn demo_and_replay_speak_the_same_way() {
    let ha = FakeHa::start().await;
    let demo = SourceSettings {
        kind: SourceKind::Demo,
        demo_speed: 100.0,
        ..settings(&ha)
    };
    let mut s = Running::start(demo, quick(), &[]);
    assert!(s.next().await.starts_with("demo.a_power="));
    assert_eq!(s.next().await, "Up");
    assert!(s.next().await.contains("demo.frequency="));
    s.stop().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"ts,w\n100,1.5\n101,\n102,-2\n").unwrap();
    let replay = SourceSettings {
        kind: SourceKind::Replay,
        replay_file: Some(file.path().to_owned()),
        replay_speed: 100.0,
        ..settings(&ha)
    };
    let mut s = Running::start(replay, quick(), &[]);
    let said = s.until("down").await;
    let value = |v: &str| format!("replay.total_power={v}W");
    assert_eq!(
        said,
        [
            value("1.5"),
            "Up".into(),
            value("unavailable"),
            value("-2"),
            value("unavailable"),
            "down: replay ended".into()
        ]
    );
    s.stop().await;
}
