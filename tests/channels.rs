//! All channels against each other: in the same snapshot HTTP, WebSocket, UDP, both Modbus maps and
//! `/metrics` say the same numbers, whatever the readings (`docs/decisions.md#rounding`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Meter, ask_modbus, get, read_pdu};
use futures_util::{SinkExt, StreamExt};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::{
    net::{TcpStream, UdpSocket},
    sync::Mutex,
};
use tokio_tungstenite::tungstenite::Message;

const FRAME: &str = r#"{"id":1,"method":"EM.GetStatus","params":{"id":0}}"#;

/// The result's text of a frame, to the letter.
fn result(frame: &str) -> &str {
    let at = frame.find("\"result\":").expect("a result") + "\"result\":".len();
    &frame[at..frame.len() - 1]
}

async fn float(master: &mut TcpStream, address: u16, low_first: bool) -> f32 {
    let answer = ask_modbus(master, 1, &read_pdu(4, address, 2))
        .await
        .expect("an answer");
    let words: Vec<u16> = answer[2..]
        .chunks(2)
        .map(|w| u16::from_be_bytes([w[0], w[1]]))
        .collect();
    let (low, high) = if low_first {
        (words[0], words[1])
    } else {
        (words[1], words[0])
    };
    f32::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// The value of a `/metrics` line whose name ends so and which has this phase, or none.
fn metric(text: &str, name: &str, phase: Option<&str>) -> f64 {
    let line = text
        .lines()
        .find(|l| {
            !l.starts_with('#')
                && l.contains(name)
                && phase.is_none_or(|p| l.contains(&format!("phase=\"{p}\"")))
        })
        .unwrap_or_else(|| panic!("no {name} of {phase:?} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn every_channel_says_the_same_numbers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (meter, http, udp, master, socket) = runtime.block_on(async {
        let meter = Meter::new();
        let http = meter.http().await;
        let at = meter.udp("127.0.0.1:0");
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        udp.connect(at).await.unwrap();
        let master = TcpStream::connect(meter.modbus().await).await.unwrap();
        let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{http}/rpc"))
            .await
            .unwrap();
        (meter, http, udp, Mutex::new(master), Mutex::new(socket))
    });
    let power = prop_oneof![-30_000.0..30_000.0, -0.2..0.2, Just(0.0), Just(100.0 / 3.0)];
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&[power.clone(), power.clone(), power], |powers| {
        meter.power(powers.map(Some));
        runtime.block_on(async {
            let (mut master, mut socket) = (master.lock().await, socket.lock().await);
            let bare = get(http, "/rpc/EM.GetStatus?id=0").await.body;
            let bare = bare.trim_end();
            udp.send(FRAME.as_bytes()).await.unwrap();
            let mut buffer = vec![0; 4096];
            let size = udp.recv(&mut buffer).await.unwrap();
            prop_assert_eq!(result(std::str::from_utf8(&buffer[..size]).unwrap()), bare);
            socket.send(Message::text(FRAME)).await.unwrap();
            // A socket that gave no `src` hears nothing but its answers.
            let frame = socket.next().await.unwrap().unwrap();
            prop_assert_eq!(result(frame.to_text().unwrap()), bare);

            let em: serde_json::Value = serde_json::from_str(bare).unwrap();
            let number = |key: &str| em[key].as_f64().unwrap();
            let sum: f64 = ["a_act_power", "b_act_power", "c_act_power"]
                .map(number)
                .iter()
                .sum();
            prop_assert!((sum - number("total_act_power")).abs() < 1e-6, "{}", bare);
            let metrics = get(http, "/metrics").await.body;
            prop_assert_eq!(
                metric(&metrics, "_total_act_power", None),
                number("total_act_power")
            );
            let registers = [
                (1013, 3026, "total_act_power"),
                (1024, 3020, "a_act_power"),
                (1044, 3022, "b_act_power"),
                (1064, 3024, "c_act_power"),
            ];
            for (official, legacy, key) in registers {
                let served = number(key) as f32;
                prop_assert_eq!(
                    float(&mut master, official, true).await,
                    served,
                    "{} of {}",
                    official,
                    bare
                );
                prop_assert_eq!(
                    float(&mut master, legacy, false).await,
                    served,
                    "{} of {}",
                    legacy,
                    bare
                );
            }
            for (address, key) in [
                (1020, "a_voltage"),
                (1022, "a_current"),
                (1026, "a_aprt_power"),
                (1028, "a_pf"),
                (1011, "total_current"),
            ] {
                prop_assert_eq!(
                    float(&mut master, address, true).await,
                    number(key) as f32,
                    "{} of {}",
                    address,
                    bare
                );
            }
            Ok(())
        })
    });
    runtime.block_on(meter.stop());
    outcome.unwrap();
}
