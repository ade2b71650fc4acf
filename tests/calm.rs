//! Calm control on real sockets: whose answers are paced, and how each channel waits
//! (`docs/calm-control.md`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Client, Meter, connect_from, until};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout},
};
use virtual_shelly::{
    config::{ControlMode, ControlSettings},
    consumers::Channel,
};

const EM: &str = r#"{"id":1,"method":"EM.GetStatus","params":{"id":0}}"#;
/// Far more than an answer needs that is given at once, and far less than one waits for its turn.
const AT_ONCE: Duration = Duration::from_millis(700);
const SOON: Duration = Duration::from_secs(10);

fn meter(mode: ControlMode) -> Meter {
    let meter = Meter::new();
    meter.set_control(ControlSettings {
        mode,
        ..ControlSettings::default()
    });
    meter.power([Some(400.0), Some(0.0), Some(0.0)]);
    meter
}

fn total(text: &str) -> f64 {
    let at = text
        .find("total_act_power\":")
        .unwrap_or_else(|| panic!("{text}"))
        + 17;
    let end = text[at..]
        .find(|c: char| !(c.is_ascii_digit() || "-.".contains(c)))
        .unwrap();
    text[at..at + end].parse().unwrap()
}

async fn battery(from: &str) -> UdpSocket {
    UdpSocket::bind(format!("{from}:0")).await.unwrap()
}

async fn heard(socket: &UdpSocket, within: Duration) -> Option<f64> {
    let mut buffer = vec![0; 4096];
    let (n, _) = timeout(within, socket.recv_from(&mut buffer))
        .await
        .ok()?
        .unwrap();
    Some(total(std::str::from_utf8(&buffer[..n]).unwrap()))
}

fn dropped(meter: &Meter, why: &str) -> u64 {
    meter
        .overview()
        .udp_ports
        .iter()
        .filter_map(|p| p.dropped.get(why))
        .sum()
}

/// How often control was asked by this reader.
fn asked(meter: &Meter, reader: &str, channel: Channel) -> u64 {
    let (now, reader) = (meter.clock.now().mono, reader.parse().unwrap());
    let state = meter.endpoint.calm.state(now, &(reader, channel));
    state.map_or(0, |s| s.asked)
}

async fn get(stream: &mut TcpStream, agent: &str) {
    let request = format!(
        "GET /rpc/EM.GetStatus?id=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\nUser-Agent: {agent}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// The power in the next answer.
async fn answer(stream: &mut TcpStream) -> f64 {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.ends_with("}\r\n") {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    total(&text)
}

#[tokio::test]
async fn over_udp_the_same_watts_are_said_once_and_new_ones_at_once() {
    let meter = meter(ControlMode::On);
    let udp = meter.udp("127.0.0.1:0");
    let battery = battery("127.0.0.2").await;
    battery.send_to(EM.as_bytes(), udp).await.unwrap();
    assert_eq!(heard(&battery, SOON).await, Some(400.0));
    // The same bytes again, of the same reading: neither answered nor repeated from what was kept.
    battery.send_to(EM.as_bytes(), udp).await.unwrap();
    assert_eq!(heard(&battery, AT_ONCE).await, None);
    // A newer one takes its place and waits for a second.
    battery.send_to(EM.as_bytes(), udp).await.unwrap();
    until("it is so", || dropped(&meter, "not_now") >= 2).await;
    assert_eq!(heard(&battery, Duration::from_millis(1)).await, None);
    // The house takes 300 W more: the datagram that waits is answered by that reading.
    battery.send_to(EM.as_bytes(), udp).await.unwrap();
    until("it waits", || asked(&meter, "127.0.0.2", Channel::Udp) == 4).await;
    meter.power([Some(700.0), Some(0.0), Some(0.0)]);
    assert_eq!(heard(&battery, AT_ONCE).await, Some(700.0));
    meter.stop().await;
}

#[tokio::test]
async fn waiting_datagrams_block_no_socket() {
    let meter = meter(ControlMode::On);
    let udp = meter.udp("127.0.0.1:0");
    for n in 2..42 {
        let battery = battery(&format!("127.0.1.{n}")).await;
        battery.send_to(EM.as_bytes(), udp).await.unwrap();
        assert!(heard(&battery, SOON).await.is_some());
        battery.send_to(EM.as_bytes(), udp).await.unwrap();
    }
    let asked = Instant::now();
    let viewer = battery("127.0.0.1").await;
    viewer.send_to(EM.as_bytes(), udp).await.unwrap();
    assert_eq!(heard(&viewer, SOON).await, Some(400.0));
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    meter.stop().await;
}

/// A battery over HTTP that was told 400 W.
async fn told_400(meter: &Meter) -> TcpStream {
    let mut battery = connect_from("127.0.0.2", meter.http().await).await;
    get(&mut battery, "").await;
    assert_eq!(answer(&mut battery).await, 400.0);
    battery
}

#[tokio::test]
async fn over_http_the_answer_is_held_until_there_is_something_new() {
    let meter = meter(ControlMode::On);
    let mut battery = told_400(&meter).await;
    get(&mut battery, "").await;
    assert!(timeout(AT_ONCE, answer(&mut battery)).await.is_err());
    meter.power([Some(700.0), Some(0.0), Some(0.0)]);
    assert_eq!(timeout(AT_ONCE, answer(&mut battery)).await.unwrap(), 700.0);
    // With nothing new it is told 0 W, which moves no battery, before it gives up.
    get(&mut battery, "").await;
    let asked = Instant::now();
    assert_eq!(answer(&mut battery).await, 0.0);
    assert!(
        (4.0..6.0).contains(&asked.elapsed().as_secs_f64()),
        "{:?}",
        asked.elapsed()
    );
    // Off counts at once, for who waits too.
    get(&mut battery, "").await;
    assert!(timeout(AT_ONCE, answer(&mut battery)).await.is_err());
    meter.set_control(ControlSettings::default());
    assert_eq!(timeout(AT_ONCE, answer(&mut battery)).await.unwrap(), 700.0);
    meter.stop().await;
}

#[tokio::test]
async fn over_a_websocket_others_calls_go_on_while_one_waits() {
    let meter = meter(ControlMode::Auto);
    meter.set_control(ControlSettings {
        mode: ControlMode::Auto,
        readers: vec!["127.0.0.2/32".parse().unwrap()],
        ..ControlSettings::default()
    });
    let http = meter.http().await;
    let stream = connect_from("127.0.0.2", http).await;
    let (socket, _) = tokio_tungstenite::client_async(format!("ws://{http}/rpc"), stream)
        .await
        .unwrap();
    let mut client = Client(socket);
    let call = |id: u32, method: &str| json!({"id": id, "method": method, "params": {"id": 0}});
    for id in 1..=20 {
        client.send(&call(id, "EM.GetStatus")).await;
    }
    client.send(&call(99, "EMData.GetStatus")).await;
    for id in [1, 99] {
        assert_eq!(client.within(AT_ONCE).await.unwrap()["id"], id);
    }
    meter.power([Some(700.0), Some(0.0), Some(0.0)]);
    let answer = client.within(AT_ONCE).await.unwrap();
    assert_eq!(answer["result"]["total_act_power"], 700.0);
    drop(client);
    meter.stop().await;
}

/// More questions than make a battery's rhythm.
const ROUNDS: usize = 9;
/// As far apart as a battery's.
const PAUSE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn who_is_no_battery_is_answered_as_ever() {
    let meter = meter(ControlMode::Auto);
    let (http, udp) = (meter.http().await, meter.udp("127.0.0.1:0"));
    meter.set(|c| c.scaling.viewers = vec!["127.0.0.8/32".parse().unwrap()]);
    let mut by_http = Vec::new();
    for (from, agent) in [
        ("127.0.0.2", ""),
        ("127.0.0.3", ""),
        ("127.0.0.4", "curl/8.9"),
        ("127.0.0.5", "HomeAssistant/2026.11"),
        ("127.0.0.1", "python-requests/2"),
    ] {
        by_http.push((connect_from(from, http).await, agent));
    }
    // One on this host, one that names itself, and one that an option names.
    let mut by_udp = Vec::new();
    for (from, src) in [
        ("127.0.0.1", "x"),
        ("127.0.0.7", "evcc"),
        ("127.0.0.8", "x"),
    ] {
        by_udp.push((
            self::battery(from).await,
            format!(r#"{{"id":1,"src":"{src}","method":"EM.GetStatus","params":{{"id":0}}}}"#),
        ));
    }
    let battery = self::battery("127.0.0.2").await;
    let mut answered = 0;
    for _ in 0..ROUNDS {
        for (stream, agent) in &mut by_http {
            get(stream, agent).await;
            assert_eq!(timeout(AT_ONCE, answer(stream)).await.expect(agent), 400.0);
        }
        for (reader, text) in &by_udp {
            reader.send_to(text.as_bytes(), udp).await.unwrap();
            assert_eq!(heard(reader, AT_ONCE).await, Some(400.0), "{text}");
        }
        battery.send_to(EM.as_bytes(), udp).await.unwrap();
        answered += usize::from(heard(&battery, PAUSE).await.is_some());
        tokio::time::sleep(PAUSE).await;
    }
    // It has the address of one of the others, and asks as they do, but by datagrams.
    assert!((1..ROUNDS).contains(&answered), "{answered}");
    meter.stop().await;
}

#[tokio::test]
async fn who_asks_faster_than_any_battery_is_answered_each_time() {
    let meter = meter(ControlMode::Auto);
    let udp = meter.udp("127.0.0.1:0");
    let poller = battery("127.0.0.3").await;
    for _ in 0..60 {
        poller.send_to(EM.as_bytes(), udp).await.unwrap();
        assert_eq!(heard(&poller, SOON).await, Some(400.0));
    }
    meter.stop().await;
}

#[tokio::test]
async fn without_power_the_stale_policy_answers() {
    let meter = meter(ControlMode::On);
    let mut battery = told_400(&meter).await;
    get(&mut battery, "").await;
    assert!(timeout(AT_ONCE, battery.peek(&mut [0])).await.is_err());
    meter.power([None, Some(0.0), Some(0.0)]);
    let mut buffer = [0; 1024];
    let n = timeout(AT_ONCE, battery.read(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    let text = std::str::from_utf8(&buffer[..n]).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 500") && text.contains("-114"),
        "{text}"
    );
    meter.stop().await;
}

#[tokio::test]
async fn two_batteries_get_halves_and_named_shares_count_once() {
    let meter = meter(ControlMode::On);
    let http = meter.http().await;
    let (mut one, mut two) = (
        connect_from("127.0.0.2", http).await,
        connect_from("127.0.0.3", http).await,
    );
    get(&mut one, "").await;
    assert_eq!(answer(&mut one).await, 400.0);
    get(&mut two, "").await;
    assert_eq!(answer(&mut two).await, 200.0);
    meter.set(|c| {
        c.scaling.enable = true;
        c.scaling.shares = vec![
            ("127.0.0.2/32".parse().unwrap(), 0.75),
            ("127.0.0.3/32".parse().unwrap(), 0.25),
        ];
    });
    meter.power([Some(1000.0), Some(0.0), Some(0.0)]);
    for (battery, watts) in [(&mut one, 750.0), (&mut two, 250.0)] {
        get(battery, "").await;
        assert_eq!(timeout(AT_ONCE, answer(battery)).await.unwrap(), watts);
    }
    meter.stop().await;
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[tokio::test]
async fn five_hundred_that_wait_are_nothing() {
    let meter = Arc::new(meter(ControlMode::On));
    let http = meter.http().await;
    let reader = |n: usize| format!("127.0.2.{}", n % 50 + 1);
    for n in 0..50 {
        let mut first = connect_from(&reader(n), http).await;
        get(&mut first, "").await;
        timeout(SOON, answer(&mut first)).await.unwrap();
    }
    let before = threads();
    let mut waiting = Vec::new();
    for n in 0..500 {
        let mut stream = connect_from(&reader(n), http).await;
        get(&mut stream, "").await;
        waiting.push(stream);
    }
    let all = || (0..50).map(|n| asked(&meter, &reader(n), Channel::Http));
    until("it is so", || all().sum::<u64>() == 550).await;
    assert!(
        threads() <= before + 2,
        "{} threads, before {before}",
        threads()
    );
    let began = Instant::now();
    let mut viewer = connect_from("127.0.0.1", http).await;
    get(&mut viewer, "").await;
    assert_eq!(answer(&mut viewer).await, 400.0);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    meter.set_control(ControlSettings::default());
    for mut stream in waiting {
        timeout(SOON, answer(&mut stream)).await.unwrap();
    }
    meter.stop().await;
}
