//! Modbus TCP on a real port: maps, exceptions, unit ids, switches, masters that misbehave
//! (`docs/protocol/modbus.md`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{ID, Meter, ask_modbus, ends, free_port, golden, post, read_pdu, until};
use proptest::prelude::*;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use virtual_shelly::{
    config::{ModbusMap, StalePolicy},
    consumers::Channel,
    device::{Effect, state::Setting},
    transport::{ListenerState, listener::ListenerSpec, modbus},
};

async fn master(meter: &Meter) -> TcpStream {
    TcpStream::connect(meter.modbus().await).await.unwrap()
}

async fn ask(stream: &mut TcpStream, pdu: &[u8]) -> Vec<u8> {
    ask_modbus(stream, 1, pdu).await.expect("an answer")
}

async fn exception(stream: &mut TcpStream, pdu: &[u8]) -> u8 {
    let answer = ask(stream, pdu).await;
    assert_eq!((answer.len(), answer[0]), (2, pdu[0] | 0x80), "{answer:?}");
    answer[1]
}

async fn words(stream: &mut TcpStream, function: u8, address: u16, count: u16) -> Vec<u16> {
    let answer = ask(stream, &read_pdu(function, address, count)).await;
    assert_eq!(answer[0], function, "{answer:?}");
    assert_eq!(usize::from(answer[1]), usize::from(count) * 2, "{answer:?}");
    answer[2..]
        .chunks(2)
        .map(|w| u16::from_be_bytes([w[0], w[1]]))
        .collect()
}

fn low_first(words: &[u16]) -> f32 {
    f32::from_bits(u32::from(words[1]) << 16 | u32::from(words[0]))
}

#[tokio::test]
async fn the_golden_registers() {
    let golden = golden("modbus_em_voltage_word_order");
    let meter = Meter::new();
    let mut master = master(&meter).await;
    let number = |key: &str| u16::try_from(golden["request"][key].as_u64().unwrap()).unwrap();
    let read = words(&mut master, 4, number("address"), number("count")).await;
    assert_eq!(low_first(&read), 230.0);
    let sent: Vec<u16> = golden["response"]["registers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| u16::from_str_radix(w.as_str().unwrap().trim_start_matches("0x"), 16).unwrap())
        .collect();
    assert_eq!(
        f64::from(low_first(&sent)),
        golden["response"]["value"].as_f64().unwrap()
    );
    meter.power([Some(-300.5), Some(0.0), Some(1.0)]);
    assert_eq!(low_first(&words(&mut master, 4, 1013, 2).await), -299.5);
    // Legacy: the same, high word first, by either function.
    for function in [3, 4] {
        let read = words(&mut master, function, 3026, 2).await;
        assert_eq!(low_first(&[read[1], read[0]]), -299.5);
    }
    let model: String = words(&mut master, 4, 6, 6)
        .await
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .map(char::from)
        .collect();
    assert_eq!(model, "SPEM-003CEBE");
    meter.stop().await;
}

#[tokio::test]
async fn exceptions_as_the_device() {
    let meter = Meter::new();
    let mut master = master(&meter).await;
    // Function 01: whatever is not a read of input registers.
    for pdu in [
        read_pdu(3, 1000, 2),
        read_pdu(1, 1000, 2),
        read_pdu(2, 0, 1),
        vec![5, 0, 1, 0xFF, 0],
        vec![6, 0x10, 0x68, 0, 1],
        // 16 coils in one byte.
        vec![15, 0, 1, 0, 16, 1, 0xFF],
        vec![17],
        vec![99, 1, 2],
    ] {
        assert_eq!(exception(&mut master, &pdu).await, 1, "{pdu:?}");
    }
    // Victron's prober counts on 02 for what is not there.
    for (address, count) in [
        (2040, 1),
        (2000, 2),
        (1080, 1),
        (1079, 2),
        (48, 1),
        (40, 9),
        (1150, 2),
        (1229, 2),
        (4201, 1),
        (4200, 2),
        (65535, 125),
    ] {
        assert_eq!(
            exception(&mut master, &read_pdu(4, address, count)).await,
            2,
            "{address} {count}"
        );
    }
    for count in [0, 126, 65535] {
        assert_eq!(
            exception(&mut master, &read_pdu(4, 1000, count)).await,
            3,
            "{count}"
        );
    }
    meter.power([Some(1.0), None, Some(2.0)]);
    for policy in [StalePolicy::Error, StalePolicy::Device] {
        meter.set_device(|o| o.stale = policy);
        assert_eq!(exception(&mut master, &read_pdu(4, 1013, 2)).await, 4);
        assert_eq!(
            words(&mut master, 4, 1162, 2).await.len(),
            2,
            "energy stands"
        );
    }
    meter.set(|c| c.modbus_map = ModbusMap::Official);
    assert_eq!(exception(&mut master, &read_pdu(4, 3000, 2)).await, 2);
    meter.set(|c| c.modbus_map = ModbusMap::Legacy);
    assert_eq!(exception(&mut master, &read_pdu(4, 1013, 2)).await, 2);
    meter.stop().await;
}

#[tokio::test]
async fn silent_policy_says_nothing_and_keeps_the_connection() {
    let meter = Meter::new();
    let mut master = master(&meter).await;
    meter.set_device(|o| o.stale = StalePolicy::Silent);
    meter.power([Some(1.0), None, Some(2.0)]);
    master
        .write_all(&[0, 9, 0, 0, 0, 6, 1, 4, 0x03, 0xF5, 0, 2])
        .await
        .unwrap();
    // The next answer belongs to the next question.
    assert_eq!(words(&mut master, 4, 0, 6).await.len(), 6);
    meter.stop().await;
}

#[tokio::test]
async fn its_own_unit_id_0_and_255_are_answered() {
    let meter = Meter::new();
    let mut master = master(&meter).await;
    for (own, unit, answered) in [
        (1, 1, true),
        (1, 0, true),
        (1, 255, true),
        (1, 2, false),
        (7, 1, false),
        (7, 7, true),
        (0, 99, true),
    ] {
        meter.set(|c| c.modbus_unit_id = own);
        let answer = ask_modbus(&mut master, unit, &read_pdu(4, 1013, 2))
            .await
            .unwrap();
        assert_eq!(answer[..2] == [0x84, 0x0B], !answered, "{own} {unit}");
    }
    meter.stop().await;
}

#[tokio::test]
async fn a_reset_needs_its_switch_and_a_1() {
    let meter = Meter::new();
    let mut master = master(&meter).await;
    let single = [6, 0x10, 0x68, 0, 1];
    let multiple = [16, 0x10, 0x68, 0, 1, 2, 0, 1];
    assert_eq!(exception(&mut master, &single).await, 1);
    meter.set(|c| c.modbus_reset = true);
    assert_eq!(exception(&mut master, &[6, 0x10, 0x68, 0, 2]).await, 3);
    assert_eq!(exception(&mut master, &[6, 0x10, 0x67, 0, 1]).await, 2);
    meter.set_device(|o| o.read_only = true);
    assert_eq!(exception(&mut master, &single).await, 1);
    assert!(meter.effects().is_empty());
    meter.set_device(|o| o.read_only = false);
    // There is no place for a password in Modbus, so with one nothing is changed.
    meter.set_password("secret").await;
    assert_eq!(exception(&mut master, &single).await, 1);
    assert_eq!(exception(&mut master, &multiple).await, 1);
    let (realm, ha1) = (ID.to_owned(), None);
    meter.write(Setting::Auth { realm, ha1 }).await;
    meter.hub.effects.lock().unwrap().clear();
    assert_eq!(ask(&mut master, &single).await, single);
    assert_eq!(ask(&mut master, &multiple).await, multiple[..5]);
    let reset = Effect::ResetCounters;
    assert_eq!(meter.effects(), [reset.clone(), reset]);
    meter.stop().await;
}

#[tokio::test]
async fn many_masters_at_once_and_the_idlest_goes() {
    let meter = Meter::new();
    let at = meter.modbus().await;
    let mut masters = Vec::new();
    for _ in 0..100 {
        masters.push(TcpStream::connect(at).await.unwrap());
    }
    let all = masters.iter_mut().map(|m| words(m, 4, 1013, 2));
    assert_eq!(futures_util::future::join_all(all).await.len(), 100);
    let connected = |meter: &Meter| {
        meter
            .overview()
            .consumers
            .iter()
            .map(|c| (c.channel, c.connected, c.calls, c.last_value))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        connected(&meter),
        [(Channel::Modbus, 100, 100, Some(104.0))]
    );
    drop(masters);
    until("all gone", || connected(&meter)[0].1 == 0).await;

    meter.set(|c| c.max_connections = 8);
    let mut first = TcpStream::connect(at).await.unwrap();
    words(&mut first, 4, 1013, 2).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut other = TcpStream::connect(at).await.unwrap();
        words(&mut other, 4, 1013, 2).await;
        others.push(other);
    }
    ends(&mut first).await;
    words(others.last_mut().unwrap(), 4, 1013, 2).await;
    meter.stop().await;
}

/// A master that asks and asks and takes no answer, until its questions are not taken either.
async fn deaf(at: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.set_send_buffer_size(2048).unwrap();
    let mut stream = socket.connect(at).await.unwrap();
    let questions = [&[0, 1, 0, 0, 0, 6, 1][..], &read_pdu(4, 1000, 80)]
        .concat()
        .repeat(100);
    while matches!(
        tokio::time::timeout(Duration::from_millis(300), stream.write_all(&questions)).await,
        Ok(Ok(()))
    ) {}
    stream
}

#[tokio::test]
async fn a_master_that_takes_no_answer_has_to_go_too() {
    let meter = Meter::new();
    meter.set(|c| c.max_connections = 2);
    let at = meter.modbus().await;
    let connected = || {
        meter
            .overview()
            .consumers
            .iter()
            .map(|c| c.connected)
            .sum::<u32>()
    };
    let mut masters = Vec::new();
    for _ in 0..6 {
        masters.push(deaf(at).await);
    }
    until("only as many as are allowed", || connected() == 2).await;
    meter.set(|c| c.max_connections = 8);
    masters.push(deaf(at).await);
    assert_eq!(connected(), 3);
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    while connected() > 0 {
        assert!(began.elapsed().as_secs() < 400, "they stay for ever");
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert!(began.elapsed().as_secs() >= 290, "{:?}", began.elapsed());
    tokio::time::resume();
    meter.stop().await;
}

#[tokio::test]
async fn set_config_opens_and_closes_the_port() {
    let meter = Meter::new();
    let http = meter.http().await;
    let port = free_port();
    let wanted = ListenerSpec {
        name: "modbus",
        meter: String::new(),
        bind: Some([127, 0, 0, 1].into()),
        port,
        needed_by: "",
    };
    meter.spawn(modbus::run(
        wanted,
        Arc::clone(&meter.endpoint),
        meter.board.clone(),
        meter.cancel.clone(),
    ));
    let state = || meter.state(|line| line.name == "modbus");
    let enable = async |enable: bool| {
        let config = json!({"config": {"enable": enable}}).to_string();
        post(http, "/rpc/Modbus.SetConfig", &config).await
    };
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..2 {
        until("open", || state() == Some(ListenerState::Listening)).await;
        let mut master = TcpStream::connect(at).await.unwrap();
        words(&mut master, 4, 1013, 2).await;
        let done = enable(false).await;
        assert_eq!(done.status, 200, "{}", done.body);
        let by = "Modbus.SetConfig";
        until("closed", || state() == Some(ListenerState::Off { by })).await;
        ends(&mut master).await;
        assert!(TcpStream::connect(at).await.is_err(), "nobody listens");
        enable(true).await;
    }
    meter.stop().await;
}

#[tokio::test]
async fn a_master_that_asks_nothing_for_5_minutes_is_closed() {
    let meter = Meter::new();
    let mut master = master(&meter).await;
    words(&mut master, 4, 1013, 2).await;
    tokio::time::pause();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(290)).await;
        words(&mut master, 4, 1013, 2).await;
    }
    let last = tokio::time::Instant::now();
    assert_eq!(master.read(&mut [0]).await.unwrap_or(0), 0, "closed");
    assert!(
        (299..=301).contains(&last.elapsed().as_secs()),
        "{:?}",
        last.elapsed()
    );
    tokio::time::resume();
    meter.stop().await;
}

/// ADUs with a right frame, and bytes.
fn adus() -> impl Strategy<Value = Vec<u8>> {
    let framed = |pdu: Vec<u8>, unit: u8| {
        [
            &[0, 1, 0, 0][..],
            &(pdu.len() as u16 + 1).to_be_bytes(),
            &[unit],
            &pdu,
        ]
        .concat()
    };
    let read = (1..=4_u8, any::<u16>(), any::<u16>()).prop_map(|(f, a, c)| read_pdu(f, a, c));
    let near = (3..=6_u8, 990..1240_u16, 0..130_u16).prop_map(|(f, a, c)| read_pdu(f, a, c));
    let write = (
        any::<u16>(),
        any::<u16>(),
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(a, q, n, data)| {
            [&[16][..], &a.to_be_bytes(), &q.to_be_bytes(), &[n], &data].concat()
        });
    let overflow = Just(vec![16, 0, 0, 0x80, 0, 0]);
    let coils = (
        any::<u16>(),
        any::<u16>(),
        0..20_u8,
        prop::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(a, q, n, data)| {
            [&[15][..], &a.to_be_bytes(), &q.to_be_bytes(), &[n], &data].concat()
        });
    let any_pdu = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (
            prop_oneof![read, near, write, overflow, coils, any_pdu],
            prop_oneof![Just(1_u8), any::<u8>()]
        )
            .prop_map(move |(pdu, unit)| framed(pdu, unit)),
        prop::collection::vec(any::<u8>(), 0..300),
    ]
}

#[test]
fn any_adu_leaves_the_port_answering_and_gets_no_wrong_success() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (meter, at) = runtime.block_on(async {
        let meter = Meter::new();
        meter.set(|c| c.modbus_reset = true);
        let at = meter.modbus().await;
        (meter, at)
    });
    let panics = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (count, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        before(info);
    }));
    let config = ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(adu in adus())| {
        let (answer, after) = runtime.block_on(async {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(&adu).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            let mut stream = TcpStream::connect(at).await.unwrap();
            (answer, words(&mut stream, 4, 1013, 2).await)
        });
        prop_assert_eq!(low_first(&after), 104.0);
        if answer.len() > 7 && answer[7] < 0x80 {
            let (function, address) = (adu[7], u16::from_be_bytes([adu[8], adu[9]]));
            let count = u16::from_be_bytes([adu[10], adu[11]]);
            let inside = [(0, 47), (1000, 1079), (1160, 1229), (3000, 4200)]
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&address) && u32::from(address) + u32::from(count) - 1 <= u32::from(*last));
            let read = function == 4 || function == 3 && address >= 3000;
            let reset = (function == 6 || function == 16) && address == 4200;
            prop_assert!(reset || (read && inside && (1..=125).contains(&count)), "{:?}", answer);
        }
    });
    let _ = std::panic::take_hook();
    assert_eq!(panics.load(std::sync::atomic::Ordering::Relaxed), 0);
    runtime.block_on(meter.stop());
}
