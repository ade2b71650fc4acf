//! RPC over WebSocket: framing, notifications, passive listeners, slow readers
//! (`docs/protocol/websocket.md`, `docs/protocol/notifications.md`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use common::{Client, FakeRecords, ID, Meter, challenge, connect_from, get};
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::{
    io::DuplexStream,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, connect_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        protocol::{Role, frame::coding::CloseCode},
    },
};
use virtual_shelly::{
    consumers::{Caller, Channel},
    device::notify::Kind,
    transport::ws::{self, Ended, Opening, Rules},
};

/// A client of `/rpc` with these headers, and the sub-protocol that it was given.
async fn client_with(
    address: SocketAddr,
    headers: &[(&'static str, &str)],
) -> (Client, Option<String>) {
    let mut request = format!("ws://{address}/rpc").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let (socket, response) = connect_async(request).await.unwrap();
    let protocol = response.headers().get("sec-websocket-protocol");
    let protocol = protocol.map(|p| p.to_str().unwrap().to_owned());
    (Client(socket), protocol)
}

#[tokio::test]
async fn notifications_begin_with_src_and_are_bound_once() {
    let meter = Meter::new();
    let http = meter.http().await;
    let mut client = Client::open(http, "/rpc").await;
    let info = client.call(1, Some("aios-1"), "Shelly.GetDeviceInfo").await;
    assert_eq!(info["src"], json!(ID));
    assert_eq!(info["dst"], json!("aios-1"));
    assert_eq!(info["result"]["mac"], json!("AABBCCDDEEFF"));
    let other = client.call(2, Some("aios-2"), "Sys.GetStatus").await;
    assert_eq!(other["dst"], "aios-2");
    meter.power([Some(-300.5), Some(0.0), Some(1.0)]);
    let note = client.power_or_answer().await;
    assert_eq!(
        note.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["dst", "method", "params", "src"]
    );
    assert_eq!(note["dst"], json!("aios-1"));
    assert_eq!(note["method"], json!("NotifyStatus"));
    assert_eq!(note["params"]["em:0"]["a_act_power"], json!(-300.5));
    // Within the interval nothing, at its end the newest.
    meter.power([Some(1.0), Some(0.0), Some(1.0)]);
    meter.power([Some(2.0), Some(0.0), Some(1.0)]);
    let note = client.power_or_answer().await;
    assert_eq!(note["params"]["em:0"]["a_act_power"], 2.0);
    // Less than eps is nothing to tell.
    meter.power([Some(2.0), Some(0.0), Some(1.0)]);
    let more = timeout(Duration::from_millis(300), client.power_or_answer()).await;
    assert!(more.is_err(), "{more:?}");
    meter.stop().await;
}

#[tokio::test]
async fn who_speaks_without_src_gets_answers_only() {
    let meter = Meter::new();
    meter.set(|c| c.ws_passive_after = Some(Duration::from_millis(100)));
    let http = meter.http().await;
    let mut client = Client::open(http, "/rpc").await;
    let answer = client.call(1, None, "Sys.GetStatus").await;
    assert!(answer.get("dst").is_none());
    meter.power([Some(9.0), Some(0.0), Some(1.0)]);
    // Longer than a passive listener waits for everything: only time proves that nothing comes.
    assert_eq!(client.within(Duration::from_millis(300)).await, None);
    meter.stop().await;
}

#[tokio::test]
async fn a_passive_listener_gets_everything_and_then_changes() {
    let meter = Meter::new();
    meter.set(|c| c.ws_passive_after = Some(Duration::from_millis(100)));
    let http = meter.http().await;
    let mut client = Client::open(http, "/rpc").await;
    let full = client.next().await;
    assert_eq!(
        full.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["method", "params", "src"]
    );
    assert_eq!(full["method"], "NotifyFullStatus");
    for key in ["ts", "em:0", "emdata:0", "sys", "wifi", "ws", "cloud"] {
        assert!(full["params"].get(key).is_some(), "{key}");
    }
    meter.power([Some(9.0), Some(0.0), Some(1.0)]);
    let note = client.power_or_answer().await;
    assert!(note.get("dst").is_none() && note["params"]["em:0"]["a_act_power"] == 9.0);
    // With its first frame it follows the device's rules.
    client.call(1, None, "Sys.GetStatus").await;
    meter.power([Some(19.0), Some(0.0), Some(1.0)]);
    assert_eq!(client.within(Duration::from_millis(300)).await, None);
    client.call(2, Some("me"), "Sys.GetStatus").await;
    meter.power([Some(29.0), Some(0.0), Some(1.0)]);
    let note = client.find(|frame| frame["method"] == "NotifyStatus").await;
    assert_eq!(note["dst"], "me");

    meter.set(|c| c.ws_passive_after = None);
    let mut never = Client::open(http, "/rpc").await;
    assert_eq!(never.within(Duration::from_millis(300)).await, None);
    meter.stop().await;
}

#[tokio::test]
async fn nobody_is_pushed_to_before_a_password() {
    let meter = Meter::new();
    meter.set(|c| c.ws_passive_after = Some(Duration::from_millis(50)));
    let (http, fanout) = (meter.http().await, meter.fanout().await);
    meter.set_password("secret").await;
    for address in [http, fanout] {
        let mut client = Client::open(address, "/rpc").await;
        meter.power([Some(9.0), Some(0.0), Some(1.0)]);
        assert_eq!(client.within(Duration::from_millis(300)).await, None);
        let challenge = challenge(&client.call(1, Some("me"), "EM.GetStatus").await);
        assert_eq!(challenge["realm"], json!(ID));
        assert_eq!(challenge["algorithm"], json!("SHA-256"));
        meter.power([Some(10.0), Some(0.0), Some(1.0)]);
        assert_eq!(client.within(Duration::from_millis(200)).await, None);
    }
    meter.stop().await;
}

#[tokio::test]
async fn fanout_ports_push_from_the_start_on_any_path() {
    let meter = Meter::new();
    let port = meter.fanout().await;
    let mut client = Client::open(port, "/any/path?x").await;
    assert_eq!(client.next().await["method"], "NotifyFullStatus");
    let answer = client.call(1, None, "EM.GetStatus").await;
    assert_eq!(answer["result"]["id"], 0);
    meter.power([Some(9.0), Some(0.0), Some(1.0)]);
    let note = client.find(|frame| frame["method"] == "NotifyStatus").await;
    assert!(note.get("dst").is_none(), "goes on although it spoke");
    assert_eq!(get(port, "/rpc/EM.GetStatus?id=0").await.status, 404);

    meter.set(|c| c.ws_push_on_connect = false);
    let mut quiet = Client::open(port, "/").await;
    assert_eq!(quiet.within(Duration::from_millis(300)).await, None);
    meter.stop().await;
}

#[tokio::test]
async fn requests_overtake_a_slow_one_and_stay_on_their_socket() {
    let meter = Meter::with(FakeRecords {
        minutes: 10,
        slow: Duration::from_millis(500),
        ..FakeRecords::default()
    });
    let http = meter.http().await;
    let (mut one, mut two) = (
        Client::open(http, "/rpc").await,
        Client::open(http, "/rpc").await,
    );
    one.send(&json!({"id": "slow", "method": "EMData.GetRecords", "params": {"id": 0, "ts": 0}}))
        .await;
    for id in 1..4 {
        one.send(&json!({"id": id, "method": "EM.GetStatus", "params": {"id": 0}}))
            .await;
    }
    for id in [json!(1), json!(2), json!(3), json!("slow")] {
        assert_eq!(one.next().await["id"], id);
    }
    assert_eq!(two.within(Duration::from_millis(100)).await, None);
    meter.stop().await;
}

#[tokio::test]
async fn rubbish_is_survived_and_binary_understood() {
    let meter = Meter::new();
    let http = meter.http().await;
    let mut client = Client::open(http, "/rpc").await;
    for text in [
        "",
        "{",
        "17",
        "[]",
        r#"{"id":1}"#,
        r#"{"id":77,"src":"x","error":{"code":500,"message":"Not Implemented"}}"#,
    ] {
        client.0.send(Message::text(text)).await.unwrap();
    }
    let frame = br#"{"id":5,"method":"EM.GetStatus","params":{"id":0}}"#;
    for bytes in [&[0xff, 0x00, b'{'][..], frame] {
        let binary = Message::Binary(Bytes::from_static(bytes));
        client.0.send(binary).await.unwrap();
    }
    assert_eq!(client.next().await["id"], 5);
    client
        .0
        .send(Message::Ping(Bytes::from_static(b"hello")))
        .await
        .unwrap();
    let pong = timeout(Duration::from_secs(5), client.0.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"hello")));
    let _ = client.0.send(Message::text(" ".repeat(70_000))).await;
    assert_eq!(client.closed().await, Some(CloseCode::Size));
    let mut again = Client::open(http, "/rpc").await;
    let answer = again.call(1, None, "Sys.GetStatus").await;
    assert_eq!(answer["result"]["mac"], "AABBCCDDEEFF");
    meter.stop().await;
}

#[tokio::test]
async fn the_sub_protocol_is_accepted_and_a_foreign_page_may_only_read() {
    let meter = Meter::new();
    let http = meter.http().await;
    let (_plain, protocol) = client_with(http, &[]).await;
    assert_eq!(protocol, None);
    let (mut page, protocol) = client_with(
        http,
        &[
            ("sec-websocket-protocol", "json-rpc"),
            ("origin", "http://evil.example"),
        ],
    )
    .await;
    assert_eq!(protocol.as_deref(), Some("json-rpc"));
    let read = page.call(1, None, "EM.GetStatus").await;
    assert_eq!(read["result"]["a_act_power"], 16.2);
    let refused = page.call(2, None, "EMData.ResetCounters").await;
    assert_eq!(refused["error"]["code"], 403);
    assert!(meter.effects().is_empty());
    meter.stop().await;
}

#[tokio::test]
async fn stop_and_reboot_close_cleanly() {
    let meter = Meter::new();
    let http = meter.http().await;
    let mut client = Client::open(http, "/rpc").await;
    let answer = client.call(1, Some("me"), "Shelly.Reboot").await;
    assert_eq!(answer["result"], Value::Null);
    assert_eq!(client.closed().await, Some(CloseCode::Away));
    let mut next = Client::open(http, "/rpc").await;
    next.call(1, Some("me"), "Sys.GetStatus").await;
    let stopping = async { meter.stop().await };
    let (code, ()) = tokio::join!(next.closed(), stopping);
    assert_eq!(code, Some(CloseCode::Away));
}

#[tokio::test]
async fn a_stop_is_over_when_every_socket_has_got_its_close_frame() {
    let meter = Meter::new();
    let http = meter.http().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::open(http, "/rpc").await);
    }
    // Nobody answers the close frame, as nobody reads yet: each conversation waits for that as long
    // as it may.
    let began = Instant::now();
    meter.stop().await;
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "the conversations were waited for: {:?}",
        began.elapsed()
    );
    for client in &mut clients {
        assert_eq!(client.closed().await, Some(CloseCode::Away));
    }
}

#[tokio::test]
async fn over_the_rate_frames_are_answered_with_429() {
    let meter = Meter::new();
    meter.set(|c| c.rate_limit = 10);
    let http = meter.http().await;
    let stream = connect_from("127.0.0.11", http).await;
    let (socket, _) = tokio_tungstenite::client_async(format!("ws://{http}/rpc"), stream)
        .await
        .unwrap();
    let mut ws = Client(socket);
    let mut codes = Vec::new();
    for id in 0..30 {
        let answer = ws.call(id, None, "Sys.GetStatus").await;
        codes.push(answer["error"]["code"].as_i64());
    }
    assert!(
        codes[..9].iter().all(Option::is_none) && codes.contains(&Some(429)),
        "{codes:?}"
    );
    drop(ws);
    meter.stop().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_loses_old_powers_and_delays_nobody() {
    let meter = Meter::new();
    meter.set(|c| c.ws_notify_interval = Duration::ZERO);
    let http = meter.http().await;
    let (mut slow, mut quick) = (
        Client::open(http, "/rpc").await,
        Client::open(http, "/rpc").await,
    );
    slow.call(1, Some("slow"), "Sys.GetStatus").await;
    quick.call(1, Some("quick"), "Sys.GetStatus").await;
    // More than any socket buffer holds; the quick one takes each newest.
    let rounds = 30_000;
    let (mut seen, mut taken) = (0.0, 0);
    for round in 1..=rounds {
        meter.power([Some(f64::from(round)), Some(0.0), Some(0.0)]);
        let began = Instant::now();
        while seen < f64::from(round) {
            // A minute that ends meanwhile has a frame of its own, without powers.
            if let Some(w) = quick.next().await["params"]["em:0"]["a_act_power"].as_f64() {
                (seen, taken) = (w, taken + 1);
            }
        }
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    let (mut frames, mut last) = (0, 0.0);
    while last < f64::from(rounds) {
        if let Some(w) = slow.next().await["params"]["em:0"]["a_act_power"].as_f64() {
            (last, frames) = (w, frames + 1);
        }
    }
    assert_eq!(taken, rounds);
    assert!(
        frames < rounds * 9 / 10,
        "old powers were dropped: {frames} of {rounds}, and the newest came"
    );
    meter.stop().await;
}

/// A conversation over a pipe of `capacity` bytes, so that the clock can be paused.
async fn conversation(
    meter: &Meter,
    capacity: usize,
    opening: Opening,
) -> (WebSocketStream<DuplexStream>, JoinHandle<Ended>) {
    let (ours, theirs) = tokio::io::duplex(capacity);
    let server = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let endpoint = std::sync::Arc::clone(&meter.endpoint);
    let caller = Caller {
        peer: "192.0.2.1".parse().unwrap(),
        peer_port: 1,
        local: None,
        local_port: 80,
        channel: Channel::Websocket,
        agent: None,
    };
    let rules = Rules {
        opening,
        ask_password: true,
        foreign: false,
        rate: None,
        introduced: None,
    };
    let close = meter.cancel.clone();
    let talking =
        tokio::spawn(async move { ws::converse(server, &endpoint, &caller, &rules, &close).await });
    (client, talking)
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_for_a_minute_is_closed() {
    let meter = Meter::new();
    let began = Instant::now();
    let (client, talking) = conversation(&meter, 256, Opening::AtOnce(Kind::Passive, None)).await;
    assert_eq!(talking.await.unwrap(), Ended::Stalled);
    assert!(
        (60..63).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_kept_while_it_answers() {
    let meter = Meter::new();
    let (mut client, talking) = conversation(&meter, 65_536, Opening::Device).await;
    let began = Instant::now();
    let mut pings = 0;
    while pings < 10 {
        // Reading answers the ping.
        if let Some(Ok(Message::Ping(_))) = client.next().await {
            pings += 1;
        }
    }
    assert!(
        (290..310).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    client.close(None).await.unwrap();
    assert_eq!(talking.await.unwrap(), Ended::ByPeer);

    let (silent, talking) = conversation(&meter, 65_536, Opening::Device).await;
    let began = Instant::now();
    assert_eq!(talking.await.unwrap(), Ended::Stalled);
    assert!(
        (110..125).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    drop(silent);
}

#[test]
fn any_frame_is_survived() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (meter, http, client) = runtime.block_on(async {
        let meter = Meter::new();
        meter.set(|c| c.ws_passive_after = None);
        let http = meter.http().await;
        let client = Client::open(http, "/rpc").await;
        (meter, http, std::cell::RefCell::new(client))
    });
    let _ = http;
    let text = prop_oneof![
        any::<String>(),
        "[\\[\\]{}:,\"a-z0-9 .]{0,80}",
        "\\{\"id\":[0-9]{1,3},\"method\":\"[A-Za-z.]{0,16}\",\"params\":[{}\\[\\]0-9\"a-z:]{0,8}\\}",
    ];
    proptest!(ProptestConfig::with_cases(300), |(text in text, bytes in prop::collection::vec(any::<u8>(), 0..100))| {
        let mut client = client.borrow_mut();
        let answer = runtime.block_on(async {
            client.0.send(Message::text(text)).await.unwrap();
            client.0.send(Message::Binary(bytes.into())).await.unwrap();
            client.call(987_654, None, "EM.GetStatus").await
        });
        prop_assert_eq!(&answer["result"]["a_act_power"], &json!(16.2));
    });
    runtime.block_on(async {
        drop(client);
        meter.stop().await;
    });
}
