//! The register as transports use it: two batteries and a browser, bounds, the original's lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::{brand::Brand, overview::Role, *};
use config::{ControlMode, ControlSettings, ScalingSettings};
use vocab::Now;

fn scaling(shares: &[(&str, f64)]) -> ScalingSettings {
    ScalingSettings {
        enable: true,
        clients: 0,
        ttl: Duration::from_secs(30),
        shares: shares
            .iter()
            .map(|(net, share)| (net.parse().unwrap(), *share))
            .collect(),
        viewers: Vec::new(),
    }
}

fn off() -> ScalingSettings {
    ScalingSettings {
        enable: false,
        ..scaling(&[])
    }
}

fn caller(ip: &str, channel: Channel) -> Caller {
    Caller {
        peer: ip.parse().unwrap(),
        peer_port: 40_000,
        local: None,
        local_port: 1010,
        channel,
        agent: None,
    }
}

fn at(ms: u64) -> Now {
    Now {
        mono: Duration::from_millis(ms),
        unix: 1e9 + ms as f64 / 1000.0,
    }
}

fn asked<'a>(caller: &'a Caller, method: &'a str, value: Option<f64>) -> AnsweredCall<'a> {
    AnsweredCall {
        caller,
        src: None,
        method,
        known: true,
        error: None,
        value,
        phase: None,
        nulls: false,
        asked: Asked::default(),
        request: Bytes::from_static(b"{\"id\":1}"),
        reply: Bytes::from_static(b"{}"),
    }
}

fn of<'a>(overview: &'a Overview, ip: &str, channel: Channel) -> &'a ConsumerView {
    overview
        .consumers
        .iter()
        .find(|c| c.ip == ip.parse::<IpAddr>().unwrap() && c.channel == channel)
        .unwrap()
}

#[test]
fn two_batteries_and_a_browser_are_told_apart() {
    let consumers = Consumers::new(100);
    let s = scaling(&[("127.0.0.2/32", 0.7), ("127.0.0.3/32", 0.3)]);
    let (two, three, nine) = (
        caller("127.0.0.2", Channel::Websocket),
        caller("127.0.0.3", Channel::Udp),
        caller("127.0.0.9", Channel::Http),
    );
    consumers.connected(&two, at(0));
    for ms in (0..=20_000).step_by(500) {
        let now = at(ms);
        assert_eq!(consumers.share(&two, None, &s, now), 0.7);
        consumers.note(&asked(&two, "EM.GetStatus", Some(700.0)), now);
        consumers.note(&asked(&two, "EMData.GetStatus", None), at(ms + 10));
        if ms % 1000 == 0 {
            assert_eq!(consumers.share(&three, None, &s, now), 0.3);
            consumers.packet(&three, None, now);
            consumers.note(&asked(&three, "EM.GetStatus", Some(300.0)), now);
        }
    }
    assert_eq!(consumers.share(&nine, None, &s, at(20_000)), 1.0);
    assert_eq!(
        consumers.share(&caller("127.0.0.2", Channel::Modbus), None, &s, at(20_000)),
        1.0
    );
    consumers.note(&asked(&nine, "EM.GetStatus", Some(1000.0)), at(20_000));
    let now = consumers.overview(&s, at(22_000));
    assert_eq!(now.consumers.len(), 3);
    let first = of(&now, "127.0.0.2", Channel::Websocket);
    assert_eq!(first.cadence, Some(0.5));
    assert_eq!(first.last_value, Some(700.0));
    assert_eq!(first.share, 0.7);
    assert_eq!(first.role, Role::Reader);
    assert_eq!(first.connected, 1);
    assert_eq!(first.methods[0].calls, 41);
    assert!(first.age.unwrap() < 5.0);
    assert_eq!(first.silent_since, None);
    let second = of(&now, "127.0.0.3", Channel::Udp);
    assert_eq!(second.cadence, Some(1.0));
    assert_eq!(second.last_value, Some(300.0));
    let marstek = Brand {
        name: "Marstek or compatible",
        certain: false,
    };
    assert_eq!(second.brand, Some(marstek));
    let browser = of(&now, "127.0.0.9", Channel::Http);
    assert_eq!(browser.role, Role::Viewer);
    assert_eq!(browser.share, 1.0);
    assert_eq!(browser.last_value, Some(1000.0));
    assert_eq!(now.metrics.udp.packets, 21);
    consumers.disconnected(&two, at(22_000));
    let later = consumers.overview(&s, at(40_000));
    for (ip, channel) in [
        ("127.0.0.2", Channel::Websocket),
        ("127.0.0.3", Channel::Udp),
    ] {
        assert!((of(&later, ip, channel).silent_since.unwrap() - at(20_000).unix).abs() < 5.0);
    }
    assert!(
        consumers
            .overview(&s, at(20_000 + 24 * 3_600_000 + 20_000))
            .consumers
            .is_empty()
    );
}

#[test]
fn home_assistant_is_told_by_its_frames_even_if_it_was_counted_before() {
    let consumers = Consumers::new(100);
    let (s, ha, battery) = (
        scaling(&[]),
        caller("127.0.0.4", Channel::Websocket),
        caller("127.0.0.2", Channel::Udp),
    );
    assert_eq!(consumers.share(&ha, None, &s, at(0)), 1.0);
    assert_eq!(consumers.share(&battery, None, &s, at(1)), 0.5);
    let named = AnsweredCall {
        src: Some("aios-1"),
        ..asked(&ha, "Shelly.GetDeviceInfo", None)
    };
    consumers.note(&named, at(2));
    assert_eq!(consumers.share(&ha, None, &s, at(3)), 1.0);
    assert_eq!(consumers.share(&battery, None, &s, at(4)), 1.0);
    consumers.set_home_assistant(vec!["127.0.0.2".parse().unwrap()]);
    assert_eq!(of_role(&consumers, &s, &battery), None);
    consumers.note(&asked(&battery, "EM.GetStatus", Some(1.0)), at(5));
    assert_eq!(of_role(&consumers, &s, &battery), Some(Role::Viewer));
}

fn of_role(consumers: &Consumers, s: &ScalingSettings, caller: &Caller) -> Option<Role> {
    consumers
        .overview(s, at(10))
        .consumers
        .iter()
        .find(|c| c.ip == caller.peer)
        .map(|c| c.role)
}

#[test]
fn what_was_said_is_kept_and_cut() {
    let consumers = Consumers::new(100);
    let http = caller("127.0.0.5", Channel::Http);
    for i in 0..25_u64 {
        let get = AnsweredCall {
            request: Bytes::from(format!("/rpc/Shelly.GetStatus?esp&n={i}")),
            reply: Bytes::from(vec![b'x'; 5000]),
            ..asked(&http, "Shelly.GetStatus", None)
        };
        consumers.note(&get, at(i * 1000));
    }
    let odd = AnsweredCall {
        known: false,
        error: Some(404),
        ..asked(&http, "Shelly.Nonsense", None)
    };
    consumers.note(&odd, at(25_000));
    let kept = consumers.exchanges(http.peer, Channel::Http);
    assert_eq!(kept.len(), 20);
    assert_eq!(kept[0].request.as_str(), "/rpc/Shelly.GetStatus?esp&n=6");
    assert_eq!(kept[0].reply.len(), 2048);
    assert_eq!(kept[19].error, Some(404));
    assert_eq!(kept[19].request.as_str(), "{\"id\":1}");
    let overview = consumers.overview(&off(), at(26_000));
    let c = of(&overview, "127.0.0.5", Channel::Http);
    assert_eq!(c.calls, 26);
    assert_eq!(c.unknown, 1);
    assert_eq!(c.errors, 1);
    assert_eq!(c.last_error, Some(404));
    assert_eq!(c.cadence, Some(1.0));
    let growatt = Brand {
        name: "Growatt NOAH / NEXA",
        certain: true,
    };
    assert_eq!(c.brand, Some(growatt));
    let http = &overview.metrics.http;
    assert_eq!(http.total, 26);
    assert_eq!(http.by_method["Shelly.GetStatus"], 25);
    assert_eq!(http.by_method["unknown"], 1);
    assert_eq!(http.errors["unknown"], 1);
    assert_eq!(overview.clients.http_recent.len(), 20);
    let last = overview.clients.http_recent.last().unwrap();
    assert_eq!(last.verb, Some("POST"));
    assert_eq!(last.event, None);
    assert_eq!(last.method.as_deref(), Some("Shelly.Nonsense"));
    let json = serde_json::to_value(&overview).unwrap();
    assert_eq!(json["clients"]["http_unique"][0], "127.0.0.5");
    assert_eq!(json["consumers"][0]["channel"], "http");
    assert!(
        json["clients"]["http_recent"][0]["verb"] == "GET" && json["metrics"]["ws"]["clients"] == 0
    );
}

#[test]
fn sockets_and_drops_are_counted() {
    let consumers = Consumers::new(100);
    let ws = caller("::ffff:127.0.0.6", Channel::Websocket);
    consumers.connected(&ws, at(0));
    consumers.connected(&ws, at(1));
    consumers.notified(&ws, Some(5.0), at(60_000));
    let udp = caller("127.0.0.7", Channel::Udp);
    consumers.packet(&udp, Some("malformed"), at(60_000));
    consumers.packet(&udp, None, at(60_001));
    let o = consumers.overview(&off(), at(60_002));
    assert_eq!(o.metrics.ws.clients, 2);
    assert_eq!(o.metrics.ws.notify_total, 1);
    assert_eq!(o.clients.ws_connected.len(), 2);
    let c = of(&o, "127.0.0.6", Channel::Websocket);
    assert_eq!(c.connected, 2);
    assert_eq!(c.last_value, Some(5.0));
    assert_eq!(c.silent_since, None);
    assert_eq!(c.cadence, None);
    assert_eq!(o.metrics.udp.packets, 2);
    assert_eq!(o.metrics.udp.dropped["malformed"], 1);
    assert_eq!(o.udp_ports[0].last_from, Some(udp.peer));
    consumers.disconnected(&ws, at(60_003));
    let later = consumers.overview(&off(), at(60_004)).clients;
    assert_eq!(later.ws_connected.len(), 1);
    let events = o.clients.ws_recent.iter().map(|r| r.event.unwrap());
    assert!(events.eq(["connect", "connect"]));
}

#[test]
fn what_somebody_calls_itself_last_counts() {
    let consumers = Consumers::new(10);
    let from = caller("127.0.0.6", Channel::Http);
    for src in ["", "ev", "evcc"] {
        let call = AnsweredCall {
            src: Some(src),
            ..asked(&from, "EM.GetStatus", None)
        };
        consumers.note(&call, at(0));
        let seen = consumers.overview(&off(), at(1));
        let reader = of(&seen, "127.0.0.6", Channel::Http);
        assert_eq!(reader.src.as_deref(), Some(src));
    }
}

/// Calls of one reader at these ms: method and whether its answer carries power.
fn rhythm(calls: &[(u64, &str, bool)], notified: Option<u64>, now: u64) -> Option<f64> {
    let consumers = Consumers::new(10);
    let from = caller("127.0.0.6", Channel::Websocket);
    for (ms, method, power) in calls {
        consumers.note(&asked(&from, method, power.then_some(5.0)), at(*ms));
    }
    if let Some(every) = notified {
        for ms in (0..now).step_by(every as usize) {
            consumers.notified(&from, Some(5.0), at(ms));
        }
    }
    let seen = consumers.overview(&off(), at(now));
    of(&seen, "127.0.0.6", Channel::Websocket).cadence
}

#[test]
fn a_burst_to_begin_with_is_no_rhythm() {
    let set_up = [
        "Shelly.GetDeviceInfo",
        "Shelly.GetConfig",
        "Shelly.GetStatus",
        "Shelly.GetComponents",
        "Shelly.ListMethods",
        "EM.GetConfig",
    ];
    let mut calls: Vec<(u64, &str, bool)> = Vec::new();
    // A Victron driver: the whole set-up when it found the meter, and again when its channel is
    // enabled.
    for start in [0, 4000] {
        let burst = (start..).step_by(100).zip(set_up);
        calls.extend(burst.map(|(ms, method)| (ms, method, false)));
        calls.extend([700, 800].map(|ms| (start + ms, "EM.GetStatus", true)));
    }
    assert_eq!(rhythm(&calls, Some(500), 9000), None);
    assert_eq!(rhythm(&calls, Some(500), 600_000), None);
    assert_eq!(
        rhythm(&calls, None, 9000),
        None,
        "nor without notifications"
    );
    // Home Assistant looks at everything once, then polls rarely and is told.
    let polls: Vec<(u64, &str, bool)> = (0..6)
        .map(|n| (n * 60_000, "Shelly.GetStatus", true))
        .collect();
    assert_eq!(rhythm(&polls, Some(1000), 330_000), Some(60.0));
    // One who asked ten times a second to begin with, and is told since.
    let eager: Vec<(u64, &str, bool)> = (0..30).map(|n| (n * 100, "EM.GetStatus", true)).collect();
    assert!((rhythm(&eager, None, 4000).unwrap() - 0.1).abs() < 1e-6);
    assert_eq!(rhythm(&eager, Some(500), 60_000), None);
}

#[test]
fn several_questions_one_after_the_other_are_one_round() {
    let mut calls = Vec::new();
    for n in 0..10 {
        calls.extend([0, 15, 30].map(|ms| (n * 1000 + ms, "read input registers", true)));
    }
    assert!(
        (rhythm(&calls, None, 10_000).unwrap() - 1.0).abs() < 0.05,
        "a Modbus master that reads three blocks a second"
    );
    let pair = |ms| {
        let power = (ms, "EM.GetStatus", true);
        [power, (ms + 40, "EMData.GetStatus", false)]
    };
    let pairs: Vec<_> = (0..12).flat_map(|n| pair(n * 2000)).collect();
    assert_eq!(rhythm(&pairs, None, 24_000), Some(2.0));
    let paused = (0..8).chain(98..105);
    let paused: Vec<_> = paused.map(|n| (n * 1000, "EM.GetStatus", true)).collect();
    assert_eq!(
        rhythm(&paused, None, 105_000),
        Some(1.0),
        "a pause of the reader's is none"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn stays_within_its_bounds(max in 1..40_usize, hosts in proptest::collection::vec((0..200_u8, 0..3_u8), 1..200)) {
        let consumers = Consumers::new(max);
        for (i, (host, method)) in hosts.iter().enumerate() {
            let from = caller(&format!("10.0.0.{host}"), Channel::Udp);
            consumers.note(&asked(&from, ["EM.GetStatus", "x", ""][usize::from(*method)], None), at(i as u64));
            let list = consumers.overview(&off(), at(i as u64)).consumers;
            prop_assert!(list.len() <= max);
            prop_assert_eq!(list[0].ip, from.peer, "the newest is never the one to go");
        }
    }
}

#[test]
fn who_asks_faster_than_any_battery_is_none() {
    let consumers = Consumers::new(100);
    let auto = ControlSettings {
        mode: ControlMode::Auto,
        ..ControlSettings::default()
    };
    let controlled = |caller: &Caller, ms| {
        consumers.is_controlled(caller, None, "EM.GetStatus", &auto, &off(), at(ms))
    };
    let ask = |caller: &Caller, ms| {
        let was = controlled(caller, ms);
        consumers.note(&asked(caller, "EM.GetStatus", Some(1.0)), at(ms));
        was
    };
    let battery = caller("192.0.2.7", Channel::Udp);
    assert!((0..20).all(|n| ask(&battery, n * 500)));
    // Its other channels are somebody else's.
    for channel in [Channel::Http, Channel::Websocket] {
        assert!(!controlled(&caller("192.0.2.7", channel), 10_000));
    }
    let poller = caller("192.0.2.8", Channel::Udp);
    assert!(ask(&poller, 0), "nobody knows yet");
    assert!((1..100).all(|n| !ask(&poller, n * 40)));
    // One long distance among many is a machine that was busy.
    assert!(!ask(&poller, 6_000));
    // A battery begins with two questions at once, and once sends one twice.
    let hasty = caller("192.0.2.9", Channel::Udp);
    ask(&hasty, 0);
    ask(&hasty, 20);
    assert!((1..20).all(|n| ask(&hasty, n * 500)));
    assert!(ask(&hasty, 9_510));
    // What is left without an answer is part of the rhythm.
    for n in 0..20 {
        consumers.passed_over(&asked(&poller, "EM.GetStatus", None), at(10_000 + n * 500));
    }
    assert!(controlled(&poller, 20_000));
    // Three phases, one after the other, are one round.
    let phases = caller("192.0.2.10", Channel::Udp);
    for n in 0..4 {
        for phase in 0..3 {
            let call = asked(&phases, "EM1.GetStatus", Some(1.0));
            consumers.note(&call, at(n * 1000 + phase * 10));
        }
    }
    assert!(controlled(&phases, 4_000));
}

#[test]
fn our_own_test_is_answered_as_whom_it_plays_and_is_no_reader() {
    let consumers = Consumers::new(100);
    let ours = |ip, channel, who| Caller {
        agent: Some(format!("{} {who}", vocab::ours::TEST_AGENT).into()),
        ..caller(ip, channel)
    };
    let auto = ControlSettings {
        mode: ControlMode::Auto,
        ..ControlSettings::default()
    };
    let controlled = |caller: &Caller, src, ms| {
        consumers.is_controlled(caller, src, "EM.GetStatus", &auto, &off(), at(ms))
    };
    // A GX first: it is not taken for the battery that is played next, from the same address.
    let gx = ours("192.0.2.9", Channel::Websocket, "victron");
    consumers.connected(&gx, at(0));
    let call = AnsweredCall {
        src: Some("aios-test-as"),
        known: false,
        ..asked(&gx, "Switch.GetConfig", None)
    };
    consumers.note(&call, at(10));
    consumers.notified(&gx, Some(5.0), at(20));
    assert!(!controlled(&gx, Some("aios-test-as"), 30));
    consumers.disconnected(&gx, at(40));
    let battery = |channel| ours("192.0.2.9", channel, "hoymiles");
    for method in ["Shelly.GetStatus", "Sys.GetStatus", "WiFi.GetStatus"] {
        consumers.note(&asked(&battery(Channel::Http), method, None), at(50));
    }
    let socket = battery(Channel::Websocket);
    for method in ["EM.GetStatus", "EMData.GetStatus"] {
        consumers.note(&asked(&socket, method, Some(1.0)), at(60));
    }
    assert!(
        controlled(&socket, None, 2000),
        "as the battery that it plays"
    );
    let datagram = ours("192.0.2.9", Channel::Udp, "marstek");
    consumers.packet(&datagram, None, at(2100));
    consumers.passed_over(&asked(&datagram, "EM.GetStatus", None), at(2100));

    // It sees the part that one more battery would see, and takes nothing of the others'.
    let (shared, one) = (scaling(&[]), caller("192.0.2.7", Channel::Http));
    assert_eq!(consumers.share(&one, None, &shared, at(2200)), 1.0);
    assert_eq!(consumers.share(&socket, None, &shared, at(2300)), 0.5);
    assert_eq!(consumers.share(&one, None, &shared, at(2400)), 1.0);

    let seen = consumers.overview(&off(), at(3000));
    assert!(seen.consumers.is_empty(), "{:#?}", seen.consumers);
    assert_eq!(seen.metrics, overview::MetricsView::default());
    assert_eq!(seen.clients, overview::ClientsView::default());
    assert!(seen.udp_ports.is_empty());
    // Who reads from there is known by its own calls only.
    let evcc = caller("192.0.2.9", Channel::Http);
    consumers.note(&asked(&evcc, "EM.GetStatus", Some(1.0)), at(3000));
    let seen = consumers.overview(&off(), at(3000));
    let [reader] = &seen.consumers[..] else {
        panic!("{:#?}", seen.consumers);
    };
    assert_eq!((reader.calls, reader.brand, reader.unknown), (1, None, 0));
}

#[test]
fn a_master_is_ours_while_our_own_test_plays_one() {
    let consumers = Consumers::new(100);
    let one = consumers.play_master();
    let two = consumers.play_master();
    drop(one);
    assert!(consumers.plays_master());
    drop(two);
    assert!(!consumers.plays_master());
}
