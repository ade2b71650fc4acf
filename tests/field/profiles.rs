//! What each profile promises, over real sockets: how absence is told, what a datagram is like, and
//! what is said of a reader.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};
use virtual_shelly::{
    config::{ControlSettings, Profile, ReaderProfiles, StalePolicy},
    consumers::{Verdict, verdict::PhaseAOnly},
    device::View,
    meter::Quality,
    profiles,
    vocab::{Absent, Channel},
};

use crate::common::{Answer, Client, Meter, ask_modbus, get, read_pdu, snapshot};

/// A meter whose owner says that this product reads it from here.
fn read_by(key: &str) -> Meter {
    let meter = Meter::new();
    assign(&meter, key);
    meter
}

fn assign(meter: &Meter, key: &str) {
    let profiles = ReaderProfiles {
        chosen: Vec::new(),
        by_address: vec![(
            "127.0.0.1/32".parse().unwrap(),
            profiles::find(key).unwrap(),
        )],
    };
    meter.set_control(ControlSettings {
        profiles: Arc::new(profiles),
        ..ControlSettings::default()
    });
}

async fn ask(http: std::net::SocketAddr, method: &str) -> Answer {
    let query = if method == "Shelly.GetStatus" {
        ""
    } else {
        "?id=0"
    };
    get(http, &format!("/rpc/{method}{query}")).await
}

/// Nulls were read as 0 W by four of five programs that read such meters: each product is told in
/// its own way, on every call that holds the power.
#[tokio::test]
async fn absence_is_told_as_the_profile_says() {
    let meter = Meter::new();
    let (http, udp) = (meter.http().await, meter.udp("127.0.0.1:0"));
    let battery = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    battery.connect(udp).await.unwrap();
    for (device, em) in [
        (Profile::Triphase, "EM.GetStatus"),
        (Profile::Monophase, "EM1.GetStatus"),
    ] {
        meter.set_profile(device);
        meter.power([Some(1.0), None, None]);
        meter.power([None; 3]);
        for profile in profiles::all() {
            assign(&meter, profile.key);
            let told = profile.absent(Channel::Http);
            for method in [em, "Shelly.GetStatus"] {
                let answer = ask(http, method).await;
                let what = format!(
                    "{}: {method}: {} {}",
                    profile.key, answer.status, answer.body
                );
                match told {
                    Absent::Nulls => {
                        assert!(
                            answer.status == 200 && answer.body.contains("power_meter_failure"),
                            "{what}"
                        );
                    }
                    Absent::Error => {
                        assert_eq!(answer.status, 500, "{what}");
                        assert_eq!(answer.json()["code"], json!(-114), "{what}");
                    }
                    Absent::Silence => panic!("{what}: who waits for an answer gets one"),
                }
            }
            let request = json!({"id": 1, "method": em, "params": {"id": 0}}).to_string();
            battery.send(request.as_bytes()).await.unwrap();
        }
        let mut buffer = [0; 2048];
        assert!(
            timeout(Duration::from_millis(300), battery.recv(&mut buffer))
                .await
                .is_err(),
            "a datagram stays without an answer, whoever sent it"
        );
    }
    // The owner's single word counts before any profile.
    assign(&meter, "home-assistant");
    meter.set_device(|o| o.stale = StalePolicy::Error);
    assert_eq!(ask(http, "EM1.GetStatus").await.status, 500);
    meter.stop().await;
}

/// A WebSocket of a product that takes nulls gets the failure; the same socket of one that does not
/// is told nothing.
#[tokio::test]
async fn a_notification_follows_the_profile_also_when_it_is_given_later() {
    let meter = read_by("openhab");
    meter.power([Some(100.0), Some(20.0), Some(3.0)]);
    let http = meter.http().await;
    let mut client = Client::open(http, "/rpc").await;
    let info = client.call(1, Some("me"), "Shelly.GetDeviceInfo").await;
    assert!(info["result"]["mac"].is_string());
    let mut next = async || client.power_or_answer().await;
    meter.power([None; 3]);
    tokio::task::yield_now().await;
    meter.power([Some(200.0), Some(20.0), Some(3.0)]);
    assert_eq!(next().await["params"]["em:0"]["total_act_power"], 223.0);
    assign(&meter, "home-assistant");
    meter.power([None; 3]);
    let told = next().await;
    assert_eq!(
        told["params"]["em:0"]["errors"][0], "power_meter_failure",
        "{told}"
    );
    meter.stop().await;
}

/// Venus E 3.0 drops short datagrams, a B2500 stumbles over whole numbers.
#[tokio::test]
async fn datagrams_are_long_enough_and_have_decimals_for_each_battery() {
    let meter = Meter::new();
    let udp = meter.udp("127.0.0.1:0");
    let battery = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    battery.connect(udp).await.unwrap();
    meter.power([Some(100.0), Some(0.0), Some(-3.0)]);
    let mut seen = 0;
    for profile in profiles::all().iter().filter(|p| p.decimals > 0) {
        for method in ["EM.GetStatus", "EM1.GetStatus"] {
            let request = json!({"id": 1, "method": method, "params": {"id": 0}}).to_string();
            battery.send(request.as_bytes()).await.unwrap();
            let mut buffer = vec![0; 4096];
            let n = timeout(Duration::from_secs(10), battery.recv(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            let text = std::str::from_utf8(&buffer[..n]).unwrap();
            assert!(n >= profile.datagram, "{}: {n} bytes: {text}", profile.key);
            for (at, key) in text.match_indices("act_power\":") {
                let number = text[at + key.len()..].split([',', '}']).next().unwrap();
                let decimals = number.split_once('.').map_or(0, |(_, d)| d.trim().len());
                assert!(
                    decimals >= usize::from(profile.decimals),
                    "{}: {number}",
                    profile.key
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 15, "{seen}");
    meter.stop().await;
}

/// A charger in a house with three phases charged by the first one alone; one that was told that it
/// is Home Assistant went on with 0 W.
#[tokio::test]
async fn what_goes_wrong_with_a_reader_is_said() {
    let meter = read_by("home-assistant");
    let http = meter.http().await;
    meter.set_profile(Profile::Monophase);
    meter.power([Some(100.0), Some(20.0), Some(3.0)]);
    for _ in 0..4 {
        assert_eq!(ask(http, "EM1.GetStatus").await.status, 200);
    }
    ask(http, "Switch.GetStatus").await;
    let verdicts = || meter.overview().consumers[0].verdicts.clone();
    let phase_a = Verdict::PhaseAOnly {
        because: PhaseAOnly::Monophase,
    };
    let asks = Verdict::AsksFor {
        method: "Switch.GetStatus".into(),
    };
    let found = verdicts();
    assert!(
        found.contains(&phase_a) && found.contains(&asks),
        "{found:?}"
    );
    get(http, "/rpc/EM1.GetStatus?id=1").await;
    assert!(!verdicts().contains(&phase_a), "it reads the others too");
    let took = |key| Verdict::TookNull { give: key };
    assert!(
        !verdicts().contains(&took("shelly")),
        "nobody was told nulls yet"
    );
    meter.power([None; 3]);
    assert_eq!(ask(http, "EM1.GetStatus").await.status, 200);
    assert!(verdicts().contains(&took("shelly")), "{:?}", verdicts());
    assign(&meter, "shelly");
    assert!(!verdicts().contains(&took("shelly")));
    assert_eq!(ask(http, "EM1.GetStatus").await.status, 500);
    meter.stop().await;
}

/// Masters that were told the registers of one phase, and a battery that was told of another meter.
#[tokio::test]
async fn why_a_reader_sees_phase_a_only_is_said() {
    let meter = Meter::new();
    meter.power([Some(100.0), Some(20.0), Some(3.0)]);
    let because = |meter: &Meter| -> Vec<PhaseAOnly> {
        let seen = meter.overview();
        let verdicts = seen.consumers.into_iter().flat_map(|c| c.verdicts);
        verdicts
            .filter_map(|verdict| match verdict {
                Verdict::PhaseAOnly { because } => Some(because),
                _ => None,
            })
            .collect()
    };
    let mut master = TcpStream::connect(meter.modbus().await).await.unwrap();
    let mut read = async |address, count| {
        let answer = ask_modbus(&mut master, 1, &read_pdu(4, address, count)).await;
        assert_eq!(answer.unwrap()[0], 4);
    };
    read(1020, 20).await;
    assert_eq!(because(&meter), [PhaseAOnly::Registers]);
    assert_eq!(meter.overview().consumers[0].last_value, Some(100.0));
    read(1013, 2).await;
    assert_eq!(because(&meter), [], "it reads the total too");
    meter.stop().await;

    // Where there is one phase nothing is missed.
    let meter = Meter::new();
    let mut single = snapshot(1, meter.clock.now(), [Some(100.0), Some(0.0), Some(0.0)]);
    for input in &mut single.inputs[1..] {
        input.quality = Quality::Unused;
    }
    meter.set_view(View::new(Arc::new(single)));
    let mut master = TcpStream::connect(meter.modbus().await).await.unwrap();
    let answer = ask_modbus(&mut master, 1, &read_pdu(4, 1024, 2)).await;
    assert_eq!(answer.unwrap()[0], 4);
    assert_eq!(because(&meter), []);
    meter.stop().await;
}
