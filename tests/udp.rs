//! RPC over UDP on real sockets: what batteries ask, what is not answered, limits, password
//! (`docs/protocol/udp.md`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{ID, Meter, challenge, golden, proof};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use virtual_shelly::config::{Profile, StalePolicy};

const EM: &str = r#"{"id":1,"method":"EM.GetStatus","params":{"id":0}}"#;

/// A reader that gives up after 10 s.
struct Battery {
    socket: UdpSocket,
    meter: SocketAddr,
}

impl Battery {
    async fn at(own: &str, meter: SocketAddr) -> Self {
        let socket = UdpSocket::bind(format!("{own}:0")).await.unwrap();
        socket.set_broadcast(true).unwrap();
        Self { socket, meter }
    }

    async fn send(&self, datagram: impl AsRef<[u8]>) {
        self.socket
            .send_to(datagram.as_ref(), self.meter)
            .await
            .unwrap();
    }

    /// The next datagram and who sent it.
    async fn receive(&self) -> (String, SocketAddr) {
        let mut buffer = vec![0; 65_536];
        let (n, from) =
            tokio::time::timeout(Duration::from_secs(10), self.socket.recv_from(&mut buffer))
                .await
                .expect("an answer")
                .unwrap();
        (String::from_utf8(buffer[..n].to_vec()).unwrap(), from)
    }

    async fn ask(&self, datagram: &str) -> String {
        self.send(datagram).await;
        self.receive().await.0
    }

    async fn result(&self, method: &str) -> Value {
        let text = self
            .ask(&json!({"id": 7, "method": method, "params": {"id": 0}}).to_string())
            .await;
        serde_json::from_str::<Value>(&text).unwrap()["result"].clone()
    }

    /// Datagrams that come in answer to what was sent so far: a question after them is answered
    /// after them.
    async fn answers(&self) -> Vec<String> {
        self.send(r#"{"id":987654321,"method":"Shelly.GetDeviceInfo"}"#)
            .await;
        let mut answers = Vec::new();
        loop {
            let (text, _) = self.receive().await;
            if text.contains("987654321") {
                return answers;
            }
            answers.push(text);
        }
    }
}

/// A meter, and a battery on its own host that asks it.
async fn with_a_battery() -> (Meter, Battery) {
    let meter = Meter::new();
    let battery = Battery::at("127.0.0.1", meter.udp("127.0.0.1:0")).await;
    (meter, battery)
}

/// Every number behind a key is `#`: keys, order and format remain.
fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        let (head, tail) = rest.split_at(colon + 1);
        out.push_str(head);
        let end = tail
            .find(|c: char| !(c.is_ascii_digit() || "-.".contains(c)))
            .unwrap_or(tail.len());
        if end > 0 {
            out.push_str(if tail[..end].contains('.') {
                "#.#"
            } else {
                "#"
            });
        }
        rest = &tail[end..];
    }
    out + rest
}

fn dropped(meter: &Meter) -> Vec<(&'static str, u64)> {
    meter
        .overview()
        .udp_ports
        .iter()
        .flat_map(|p| p.dropped.clone())
        .collect()
}

#[tokio::test]
async fn a_battery_gets_the_golden_answer_and_the_full_one() {
    let (meter, battery) = with_a_battery().await;
    meter.power([Some(120.5), Some(-30.2), Some(0.0)]);
    let golden = golden("udp_marstek_em");
    let request = golden["request"]["datagram_text"].as_str().unwrap();
    let full = battery.ask(request).await;
    assert!(full.len() >= 250, "a Venus drops less: {}", full.len());
    assert!(
        full.starts_with(&format!(
            r#"{{"id":1,"src":"{ID}","dst":"unknown","result":{{"id":0,"#
        )),
        "{full}"
    );
    for key in [
        "a_act_power\":120.5",
        "b_act_power\":-30.2",
        "c_act_power\":0.0",
        "total_act_power\":90.300",
    ] {
        assert!(full.contains(key), "{key}: {full}");
    }
    meter.set(|c| c.udp_short = true);
    meter.power([Some(120.5), Some(-30.2), Some(0.0)]);
    let short = battery.ask(request).await;
    assert_eq!(
        shape(&short),
        shape(golden["response"]["datagram_text"].as_str().unwrap())
    );
    // No `src` in, `unknown` out; else what came.
    assert!(
        battery
            .ask(r#"{"id":"x","src":"me","method":"em.getstatus"}"#)
            .await
            .starts_with(r#"{"id":"x","src":"shellypro3em-aabbccddeeff","dst":"me","#)
    );
    // A C program sends the end of its text with it.
    assert_eq!(battery.ask(&format!("{request}\0")).await, short);
    assert!(battery.answers().await.is_empty(), "one datagram each");
    meter.stop().await;
}

#[tokio::test]
async fn every_power_has_a_point_and_the_house_total_is_em1() {
    let (meter, battery) = with_a_battery().await;
    for (power, text) in [
        (512.0, "512.0"),
        (-300.5, "-300.5"),
        (0.0, "0.0"),
        (-0.01, "0.0"),
    ] {
        meter.power([Some(power), Some(0.0), Some(0.0)]);
        let full = battery.ask(EM).await;
        assert!(
            full.contains(&format!("\"a_act_power\":{text},"))
                && full.contains(&format!("\"total_act_power\":{text}")),
            "{full}"
        );
        assert!(!full.contains(":-0.0"), "{full}");
        let em1 = battery
            .ask(r#"{"id":2,"method":"EM1.GetStatus","params":{"id":0}}"#)
            .await;
        assert!(em1.contains(&format!("\"act_power\":{text}")), "{em1}");
    }
    let other = battery
        .ask(r#"{"id":3,"method":"EM1.GetStatus","params":{"id":1}}"#)
        .await;
    assert!(other.contains(r#""code":-105"#), "{other}");
    let none = battery.ask(r#"{"id":4,"method":"Nothing.Here"}"#).await;
    assert!(none.contains(r#""code":404"#), "{none}");
    let batch = battery
        .ask(&format!(
            r#"[{EM},{{"jsonrpc":"2.0","id":5,"method":"Shelly.GetDeviceInfo"}},17]"#
        ))
        .await;
    let batch: Vec<Value> = serde_json::from_str(&batch).unwrap();
    assert_eq!(batch.len(), 2);
    assert_eq!(batch[0]["id"], json!(1));
    assert_eq!(batch[1]["jsonrpc"], json!("2.0"));
    meter.stop().await;
}

#[tokio::test]
async fn a_battery_set_to_a_one_channel_meter_gets_an_answer_that_is_long_enough() {
    let (meter, battery) = with_a_battery().await;
    let em1 = r#"{"id":2,"method":"EM1.GetStatus","params":{"id":0}}"#;
    // The second is the first one given again.
    for _ in 0..2 {
        let answer = battery.ask(em1).await;
        assert!(
            answer.len() >= 256 && answer.trim_end().ends_with('}'),
            "{answer:?}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&answer).unwrap()["result"]["act_power"],
            104.0
        );
    }
    assert!(battery.ask(EM).await.ends_with('}'), "long as it is");
    meter.set(|c| c.udp_short = true);
    meter.power([Some(1.0), Some(2.0), Some(3.0)]);
    assert!(
        battery.ask(em1).await.ends_with('}'),
        "short is what the user asked for"
    );
    meter.stop().await;
}

#[tokio::test]
async fn what_is_answered_again_is_noted_as_what_it_is() {
    let (meter, battery) = with_a_battery().await;
    let noted = || {
        meter
            .overview()
            .consumers
            .iter()
            .map(|c| (c.calls, c.errors, c.last_value))
            .collect::<Vec<_>>()
    };
    for _ in 0..3 {
        let answer = battery
            .ask(r#"{"id":1,"method":"EM.GetStatus","params":{"id":5}}"#)
            .await;
        assert!(answer.contains(r#""code":-105"#), "{answer}");
    }
    assert_eq!(noted(), [(3, 3, None)]);
    meter.set_profile(Profile::Monophase);
    for calls in 4..7 {
        let answer = battery
            .ask(r#"{"id":1,"method":"EM1.GetStatus","params":{"id":1}}"#)
            .await;
        assert!(answer.contains(r#""act_power":55.6"#), "{answer}");
        assert_eq!(noted(), [(calls, 3, Some(55.6))]);
    }
    meter.set_profile(Profile::Triphase);
    for calls in 7..9 {
        battery
            .ask(r#"{"id":1,"method":"EM1.GetStatus","params":{"id":0}}"#)
            .await;
        assert_eq!(noted(), [(calls, 3, Some(104.0))]);
    }
    meter.stop().await;
}

#[tokio::test]
async fn what_is_no_request_to_us_is_counted_and_not_answered() {
    let meter = Meter::new();
    meter.set(|c| c.udp_max = 300);
    let battery = Battery::at("127.0.0.1", meter.udp("127.0.0.1:0")).await;
    let long = format!(
        r#"{{"id":1,"method":"EM.GetStatus","x":"{}"}}"#,
        "x".repeat(300)
    );
    for datagram in [
        long.as_str(),
        "",
        "\u{0}",
        "hello",
        "17",
        "[]",
        "[1,2]",
        r#"{"id":1,"method":"EM.GetStatus""#,
    ] {
        battery.send(datagram).await;
    }
    for datagram in [
        r#"{"id":1}"#,
        r#"{"id":1,"src":"shellypro3em-112233445566","dst":"unknown","result":{"a_act_power":1.0}}"#,
        r#"{"id":1,"dst":"shellypro3em-112233445566","method":"EM.GetStatus"}"#,
    ] {
        battery.send(datagram).await;
    }
    battery
        .send(r#"{"method":"EM.GetStatus","params":{"id":0}}"#)
        .await;
    assert_eq!(battery.answers().await, [""; 0]);
    assert_eq!(
        dropped(&meter),
        [("foreign", 3), ("malformed", 7), ("oversize", 1)]
    );
    assert!(battery.ask(EM).await.contains("a_act_power"));
    meter.stop().await;
}

#[tokio::test]
async fn answers_come_from_the_address_and_port_that_were_asked() {
    let meter = Meter::new();
    let v4 = meter.udp("0.0.0.0:0");
    for (asked, from) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.5", "127.0.0.5"),
        ("127.255.255.255", "127.0.0.1"),
    ] {
        let battery = Battery::at(
            "127.0.0.1",
            SocketAddr::new(asked.parse().unwrap(), v4.port()),
        )
        .await;
        battery.send(EM).await;
        let (text, sender) = battery.receive().await;
        assert!(text.contains("total_act_power"));
        assert_eq!(
            sender,
            SocketAddr::new(from.parse().unwrap(), v4.port()),
            "{asked}"
        );
    }
    if let Ok(socket) = UdpSocket::bind("[::1]:0").await {
        let meter_at = SocketAddr::new("::1".parse().unwrap(), meter.udp("[::]:0").port());
        let battery = Battery {
            socket,
            meter: meter_at,
        };
        battery.send(EM).await;
        assert_eq!(battery.receive().await.1, meter_at);
        let consumers = meter.overview().consumers;
        assert!(
            consumers.iter().any(|c| c.ip == meter_at.ip()),
            "{consumers:?}"
        );
    }
    meter.stop().await;
}

#[tokio::test]
async fn silent_while_a_phase_is_absent_whatever_the_policy() {
    let (meter, battery) = with_a_battery().await;
    for stale in [StalePolicy::Device, StalePolicy::Error, StalePolicy::Silent] {
        meter.set_device(|o| o.stale = stale);
        meter.power([Some(1.0), None, Some(2.0)]);
        for method in ["EM.GetStatus", "EM1.GetStatus"] {
            battery
                .send(json!({"id": 1, "method": method, "params": {"id": 0}}).to_string())
                .await;
        }
        assert!(battery.answers().await.is_empty(), "{stale:?}");
        assert_eq!(
            battery.result("EMData.GetStatus").await["a_total_act_energy"],
            1234.57
        );
        meter.power([Some(1.0), Some(-90.0), Some(2.0)]);
        assert_eq!(battery.result("EM.GetStatus").await["b_act_power"], -90.0);
    }
    assert_eq!(dropped(&meter), [("stale", 6)]);
    meter.stop().await;
}

#[tokio::test]
async fn in_profile_monophase_a_channel_is_silent_alone() {
    let meter = Meter::new();
    let battery = Battery::at("127.0.0.1", meter.udp("127.0.0.1:0")).await;
    meter.set_profile(Profile::Monophase);
    meter.power([None, Some(-90.0), Some(2.0)]);
    for id in 0..3 {
        battery
            .send(json!({"id": id, "method": "EM1.GetStatus", "params": {"id": id}}).to_string())
            .await;
    }
    let answers = battery.answers().await;
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers.iter().any(|a| a.contains("\"act_power\":-90.0")));
    meter.stop().await;
}

/// Whoever asked over UDP, for whatever it was, counted as one of the readers that share the power.
#[tokio::test]
async fn only_who_asks_for_power_gets_a_share() {
    let meter = Meter::new();
    meter.set(|c| c.scaling.enable = true);
    let at = meter.udp("127.0.0.1:0");
    let other = Battery::at("127.0.0.2", at).await;
    let battery = Battery::at("127.0.0.3", at).await;
    // A sender of datagrams counts once it has asked for a while.
    while meter.overview().counted == 0 {
        other.result("EMData.GetStatus").await;
        assert_eq!(
            battery.result("EM.GetStatus").await["total_act_power"],
            104.0
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        battery.result("EM.GetStatus").await["total_act_power"],
        104.0
    );
    meter.stop().await;
}

/// The clock of the limits stands still: nothing else here waits for it.
#[tokio::test(start_paused = true)]
async fn no_more_answers_than_the_limits_let_out() {
    let meter = Meter::new();
    meter.set(|c| c.rate_limit = 5);
    let at = meter.udp("127.0.0.1:0");
    let far = Battery::at("127.0.0.2", at).await;
    let mut buffer = [0; 2048];
    for _ in 0..5 {
        far.send(EM).await;
        far.socket.recv_from(&mut buffer).await.unwrap();
    }
    far.send("garbage costs nothing").await;
    for _ in 0..4 {
        far.send(EM).await;
    }
    let batch = format!("[{}]", [EM; 6].join(","));
    let other = Battery::at("127.0.0.3", at).await;
    other.send(&batch).await;
    let near = Battery::at("127.0.0.1", at).await;
    for _ in 0..50 {
        near.send(EM).await;
        near.socket.recv_from(&mut buffer).await.unwrap();
    }
    assert_eq!(dropped(&meter), [("malformed", 1), ("rate", 5)]);
    assert!(
        far.socket.try_recv_from(&mut buffer).is_err()
            && other.socket.try_recv_from(&mut buffer).is_err()
    );

    // All addresses but the host's own share 2,000 a second of one socket.
    meter.set(|c| c.rate_limit = 0);
    let at = meter.udp("127.0.0.1:0");
    let mut sent = 0;
    for host in 2..22 {
        let forged = Battery::at(&format!("127.0.0.{host}"), at).await;
        for _ in 0..100 {
            forged.send(EM).await;
            forged.socket.recv_from(&mut buffer).await.unwrap();
            sent += 1;
        }
    }
    assert_eq!(sent, 2000);
    let forged = Battery::at("127.0.0.99", at).await;
    forged.send(EM).await;
    let near = Battery::at("127.0.0.1", at).await;
    near.send(EM).await;
    near.socket.recv_from(&mut buffer).await.unwrap();
    assert!(forged.socket.try_recv_from(&mut buffer).is_err());
    assert!(dropped(&meter).contains(&("socket_rate", 1)));
    meter.stop().await;
}

#[tokio::test]
async fn a_password_is_asked_for_only_by_its_own_switch() {
    let (meter, battery) = with_a_battery().await;
    let ha1 = meter.set_password("secret").await;
    assert!(
        battery.ask(EM).await.contains("total_act_power"),
        "no battery can answer a challenge"
    );
    meter.set(|c| c.auth_udp = true);
    let refused = serde_json::from_str(&battery.ask(EM).await).unwrap();
    let auth = proof(&ha1, &challenge(&refused)["nonce"]);
    let frame =
        json!({"id": 1, "method": "EM.GetStatus", "params": {"id": 0}, "auth": auth}).to_string();
    assert!(battery.ask(&frame).await.contains("total_act_power"));
    let again = battery.ask(&frame).await;
    assert!(again.contains(r#""code":401"#), "it is good once");
    meter.stop().await;
}

#[tokio::test]
async fn with_a_password_reading_stays_open_and_changes_need_it() {
    let (meter, battery) = with_a_battery().await;
    let rename = json!({"id": 1, "method": "Sys.SetConfig", "params": {"config": {"device": {"name": "x"}}}});
    assert!(
        battery.ask(&rename.to_string()).await.contains("result"),
        "without a password as the device"
    );
    let ha1 = meter.set_password("secret").await;
    meter.hub.effects.lock().unwrap().clear();

    let open = json!({"user": "admin", "realm": ID, "ha1": null});
    let mut asked = Value::Null;
    for (method, params) in [
        ("Shelly.SetAuth", open.clone()),
        ("emdata.resetcounters", json!({"id": 0})),
        (
            "WS.SetConfig",
            json!({"config": {"enable": true, "server": "ws://192.0.2.1/x"}}),
        ),
        (
            "Sys.SetConfig",
            json!({"config": {"device": {"name": "y"}}}),
        ),
        ("Shelly.SetProfile", json!({"name": "monophase"})),
        ("Shelly.Reboot", json!({})),
    ] {
        let frame = json!({"id": 1, "method": method, "params": params}).to_string();
        asked = challenge(&serde_json::from_str(&battery.ask(&frame).await).unwrap());
    }
    let batch = json!([{"id": 1, "method": "Shelly.SetAuth", "params": open}, {"id": 2, "method": "EM.GetStatus", "params": {"id": 0}}]);
    let answers = battery.ask(&batch.to_string()).await;
    assert!(
        answers.contains(r#""code":401"#) && answers.contains("total_act_power"),
        "{answers}"
    );
    assert!(meter.effects().is_empty(), "nothing was changed");
    assert!(battery.ask(EM).await.contains("total_act_power"));

    let mut frame = rename;
    frame["auth"] = proof(&ha1, &asked["nonce"]);
    let (first, again) = (
        battery.ask(&frame.to_string()).await,
        battery.ask(&frame.to_string()).await,
    );
    assert!(first.contains("result"), "who knows it may");
    assert!(again.contains(r#""code":401"#), "it is good once");
    meter.stop().await;
}

/// JSON that looks like a frame, and bytes that do not.
fn datagrams() -> impl Strategy<Value = Vec<u8>> {
    let member = prop_oneof![
        Just("\"id\":1".to_owned()),
        Just("\"method\":\"EM.GetStatus\"".to_owned()),
        Just("\"params\":{\"id\":0}".to_owned()),
        (
            "id|src|dst|method|params|args|auth|tag|jsonrpc",
            "\\PC{0,12}"
        )
            .prop_map(|(key, text)| format!("\"{key}\":{}", json!(text))),
        (
            "id|src|dst|method|params|args|auth|tag|jsonrpc",
            "-?[0-9]{1,30}|\\[\\]|\\{\\}|null|true"
        )
            .prop_map(|(k, v)| format!("\"{k}\":{v}")),
    ];
    let frame = prop::collection::vec(member, 0..7).prop_map(|m| format!("{{{}}}", m.join(",")));
    let batch =
        prop::collection::vec(frame.clone(), 0..4).prop_map(|f| format!("[{}]", f.join(",")));
    let cut = (frame.clone(), any::<prop::sample::Index>())
        .prop_map(|(f, at)| f.as_bytes()[..at.index(f.len() + 1)].to_vec());
    prop_oneof![
        frame.prop_map(String::into_bytes),
        batch.prop_map(String::into_bytes),
        cut,
        prop::collection::vec(any::<u8>(), 0..400),
        Just(b"[".repeat(5000)),
    ]
}

/// Whether such a request may get a result at all.
fn may_succeed(datagram: &[u8]) -> bool {
    let ours = |frame: &Value| {
        let method = frame["method"]
            .as_str()
            .is_some_and(|m| m.eq_ignore_ascii_case("EM.GetStatus"));
        let dst = frame["dst"]
            .as_str()
            .is_none_or(|d| d.is_empty() || d.eq_ignore_ascii_case(ID));
        method && dst && !frame["id"].is_null()
    };
    match serde_json::from_slice::<Value>(datagram) {
        Ok(Value::Array(frames)) => frames.iter().any(ours),
        Ok(frame) => ours(&frame),
        Err(_) => false,
    }
}

#[test]
fn any_datagram_leaves_the_port_answering_and_gets_no_wrong_success() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (meter, battery) = runtime.block_on(with_a_battery());
    let config = ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(datagram in datagrams())| {
        let answers = runtime.block_on(async {
            battery.send(&datagram).await;
            battery.answers().await
        });
        prop_assert!(answers.len() <= 1);
        for answer in answers {
            let parsed: Value = serde_json::from_str(&answer).unwrap();
            let frames = parsed.as_array().cloned().unwrap_or_else(|| vec![parsed.clone()]);
            for frame in &frames {
                prop_assert!(frame["result"].is_object() != frame["error"].is_object(), "{frame}");
            }
            if frames.iter().any(|f| f["result"].is_object()) {
                prop_assert!(may_succeed(&datagram), "{answer}");
            }
        }
    });
    runtime.block_on(meter.stop());
}
