//! "Test as" against this meter over real sockets, and against meters that are broken in one way
//! each: the right step has to say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/program.rs"]
mod running;

mod bridge;
mod broken;
mod program;

use bridge::{datagrams, registers, web};
use broken::BROKEN;
use common::Meter;
use tokio::net::{TcpListener, UdpSocket};
use virtual_shelly::{
    config::Profile,
    probe::{Broadcast, Consumer, Fault, Lookup, Report, Service, State, Step, Target, run},
};

fn target(http: u16, udp: u16, modbus: u16) -> Target {
    Target {
        host: "127.0.0.1".into(),
        http: Service::On(vec![http]),
        udp: Service::On(vec![udp]),
        any_udp: false,
        broadcast: Broadcast::Loopback,
        modbus: Service::On(vec![modbus]),
        mdns: Lookup::Loopback,
    }
}

async fn ask(consumer: Consumer, target: &Target) -> Report {
    let mut told = 0;
    let mut report = run(consumer, target, &mut |_| told += 1).await;
    assert_eq!(told, report.steps.len(), "each step is told as it ends");
    // The ports here are free ones: who asks a fixed one says that first.
    let fixed = |step: &Step| matches!(step.why[..], [Fault::OnlyPort { .. }]);
    report.steps.retain(|step| !fixed(step));
    report
}

/// What is red: the call, and what is wrong.
fn red(report: &Report) -> Vec<(String, String)> {
    let bad = report.steps.iter().filter(|step| step.state == State::Bad);
    bad.flat_map(|step| {
        step.why
            .iter()
            .map(|why| (step.call.clone(), why.to_string()))
    })
    .collect()
}

#[tokio::test]
async fn this_meter_passes_as_every_reader() {
    let meter = Meter::new();
    meter.power([Some(1200.5), Some(-30.2), Some(0.0)]);
    let target = target(
        meter.http().await.port(),
        meter.udp("127.0.0.1:0").port(),
        meter.modbus().await.port(),
    );
    for consumer in Consumer::ALL {
        // What is told by itself comes with a change.
        let report = tokio::select! {
            report = ask(consumer, &target) => report,
            () = tell(&meter) => unreachable!("it never ends"),
        };
        assert!(report.passed(), "{}: {:#?}", consumer.word(), red(&report));
        assert!(report.steps.len() >= 2, "{}", consumer.word());
        let green = report.steps.iter().filter(|step| step.state == State::Good);
        assert!(
            green.count() * 2 >= report.steps.len(),
            "{}: {report:#?}",
            consumer.word()
        );
    }
    meter.stop().await;
}

#[tokio::test]
async fn a_meter_on_another_port_than_a_product_asks_is_said_to_be_elsewhere() {
    let meter = Meter::new();
    meter.power([Some(1200.5), Some(-30.2), Some(0.0)]);
    let (http, udp) = (meter.http().await.port(), meter.udp("127.0.0.1:0").port());
    let here = target(http, udp, 1);
    for (consumer, wanted) in [
        (Consumer::Victron, Some((http, "80"))),
        (Consumer::Hoymiles, Some((http, "80"))),
        (Consumer::Noah, Some((http, "80"))),
        (Consumer::Solakon, Some((http, "80"))),
        (Consumer::Marstek, Some((udp, "1010/2220/2222/2223"))),
        (Consumer::Evcc, None),
    ] {
        let mut deaf = |_: &Step| {};
        let report = tokio::select! {
            report = run(consumer, &here, &mut deaf) => report,
            () = tell(&meter) => unreachable!("it never ends"),
        };
        assert!(report.passed(), "{}: {:#?}", consumer.word(), red(&report));
        let why = report.elsewhere().map(ToString::to_string);
        let asks = wanted.map(|(port, wanted)| {
            format!(
                "this reader asks port {wanted} only, and the meter is on {port}: move it there"
            )
        });
        assert_eq!(why.is_some(), asks.is_some(), "{}", consumer.word());
        assert!(
            why.unwrap_or_default()
                .starts_with(&asks.unwrap_or_default())
        );
    }
    meter.stop().await;
}

#[tokio::test]
async fn a_broken_meter_fails_at_the_right_step() {
    let meter = Meter::new();
    meter.power([Some(1200.5), Some(-30.2), Some(0.0)]);
    let (http, udp) = (meter.http().await, meter.udp("127.0.0.1:0"));
    for (what, consumer, broken, call, words) in BROKEN {
        let target = target(web(http, *broken).await, datagrams(udp, *broken).await, 1);
        let report = tokio::select! {
            report = ask(*consumer, &target) => report,
            () = tell(&meter) => unreachable!("it never ends"),
        };
        let red = red(&report);
        assert!(!report.passed(), "{what}");
        assert!(
            red.iter()
                .any(|(at, why)| at.contains(call) && why.contains(words)),
            "{what}: {red:#?}"
        );
        assert!(
            red.iter()
                .all(|(at, _)| at.contains(call) || broken_elsewhere(at)),
            "{what}: {red:#?}"
        );
    }
    meter.stop().await;
}

/// The same answer comes more than once in a sequence: as a notification, within the whole state.
fn broken_elsewhere(call: &str) -> bool {
    [
        "EMData.GetConfig",
        "Switch.GetConfig",
        "UDP",
        "EM.GetStatus",
    ]
    .iter()
    .any(|same| call.contains(same))
}

async fn tell(meter: &Meter) {
    let mut every = tokio::time::interval(std::time::Duration::from_millis(200));
    for n in 0.. {
        every.tick().await;
        meter.power([Some(1200.5 + f64::from(n)), Some(-30.2), Some(0.0)]);
    }
}

#[tokio::test]
async fn broken_registers_fail_at_the_right_step() {
    let meter = Meter::new();
    meter.power([Some(1200.5), Some(-30.2), Some(0.0)]);
    let real = meter.modbus().await;
    let swap: fn(&[u8], &mut Vec<u8>) = |asked, answer| {
        if asked[1..3] == 1000u16.to_be_bytes() || asked[1..3] == 1160u16.to_be_bytes() {
            // Numbers of 32 bits from an even or an odd address on.
            let voltage = 2 + 20 * 2;
            for at in [voltage, voltage + 40, voltage + 80] {
                let at = at.min(answer.len() - 4);
                let words: Vec<u8> = answer[at..at + 4].to_vec();
                answer[at..at + 4].copy_from_slice(&[words[2], words[3], words[0], words[1]]);
            }
        }
    };
    let zeros: fn(&[u8], &mut Vec<u8>) = |asked, answer| {
        if answer[0] == 0x84 {
            let bytes = asked[4] * 2;
            *answer = [vec![4, bytes], vec![0; usize::from(bytes)]].concat();
        }
    };
    let refuses: fn(&[u8], &mut Vec<u8>) = |_, answer| *answer = vec![0x84, 1];
    for (broken, call, words) in [
        (swap, "1000–1079", "wrong order"),
        (zeros, "2040", "finds a meter that is not"),
        (refuses, "1000–1079", "exception 1"),
    ] {
        let port = registers(real, broken).await;
        let report = ask(Consumer::Modbus, &target(1, 1, port)).await;
        let red = red(&report);
        assert!(
            red.iter()
                .any(|(at, why)| at.contains(call) && why.contains(words)),
            "{words}: {red:#?}"
        );
    }
    meter.stop().await;
}

#[tokio::test]
async fn three_meters_of_one_phase_have_registers_of_their_own() {
    let meter = Meter::new();
    meter.set_profile(Profile::Monophase);
    meter.power([Some(1200.5), Some(-30.2), Some(0.0)]);
    let real = meter.modbus().await;
    let report = ask(Consumer::Modbus, &target(1, 1, real.port())).await;
    assert!(report.passed(), "{:#?}", red(&report));
    let asked = |call: &str| report.steps.iter().any(|step| step.call.contains(call));
    assert!(asked("2000–2059") && asked("2300–2359") && !asked("1160–1229"));
    // Values of 32 bits from the third register of each phase on.
    let swap: fn(&[u8], &mut Vec<u8>) = |asked, answer| {
        if asked[1..3] == 2000u16.to_be_bytes() && answer.len() > 100 {
            let volts = answer[2 + 2 * 23..][..4].to_vec();
            answer[2 + 2 * 23..][..4].copy_from_slice(&[volts[2], volts[3], volts[0], volts[1]]);
        }
    };
    let nan: fn(&[u8], &mut Vec<u8>) = |asked, answer| {
        if asked[1..3] == 2000u16.to_be_bytes() && answer.len() > 100 {
            answer[2 + 2 * 43..][..4].copy_from_slice(&[0, 0, 0x7f, 0xc0]);
        }
    };
    let negative: fn(&[u8], &mut Vec<u8>) = |asked, answer| {
        if asked[1..3] == 2300u16.to_be_bytes() {
            answer[2 + 2 * 10..][..4].copy_from_slice(&[0, 0, 0xc0, 0]);
        }
    };
    for (broken, call, words) in [
        (swap, "2000–2059", "2023 stand in the wrong order"),
        (nan, "2000–2059", "2043 is NaN"),
        (negative, "2300–2359", "2310 is -2"),
    ] {
        let port = registers(real, broken).await;
        let red = red(&ask(Consumer::Modbus, &target(1, 1, port)).await);
        let [(at, why)] = &red[..] else {
            panic!("{words}: {red:#?}");
        };
        assert!(at.contains(call) && why.contains(words), "{at}: {why}");
    }
    // No value now is told by exception 4, which is right and worth a word.
    meter.power([None, Some(-30.2), Some(0.0)]);
    let report = ask(Consumer::Modbus, &target(1, 1, real.port())).await;
    assert!(report.passed(), "{:#?}", red(&report));
    let told = |step: &&Step| step.why == [Fault::NoValue];
    assert_eq!(report.steps.iter().filter(told).count(), 1);
    meter.stop().await;
}

#[tokio::test]
async fn a_marstek_looks_for_the_meter_by_broadcast() {
    let meter = Meter::new();
    meter.power([Some(1200.5), Some(-30.2), Some(0.0)]);
    let every = meter.udp("0.0.0.0:0").port();
    let loopback = Broadcast::To([127, 255, 255, 255].into());
    let asked = |udp, broadcast| Target {
        broadcast,
        ..target(1, udp, 1)
    };
    let report = ask(Consumer::Marstek, &asked(every, loopback)).await;
    assert!(report.passed(), "{:#?}", red(&report));
    let first = &report.steps[0];
    assert!(
        first.call.starts_with("UDP broadcast 127.255.255.255:") && first.state == State::Good,
        "{first:?}"
    );
    // Who is asked at one address alone is not found.
    let one = meter.udp("127.0.0.1:0").port();
    let report = ask(Consumer::Marstek, &asked(one, loopback)).await;
    let red = red(&report);
    assert_eq!(red.len(), 1, "{red:#?}");
    assert!(red[0].1.contains("nobody answers to 127.255.255.255"));
    let green = report.steps.iter().filter(|step| step.state == State::Good);
    assert_eq!(green.count(), 2, "asked by its address it answers");
    // What cannot be tried is no fault.
    let skipped = ask(Consumer::Marstek, &asked(every, Broadcast::Loopback)).await;
    assert!(skipped.passed() && skipped.steps[0].state == State::Skipped);
    meter.stop().await;
}

#[tokio::test]
async fn a_meter_without_a_value_is_no_fault() {
    for profile in [Profile::Triphase, Profile::Monophase] {
        let meter = Meter::new();
        meter.set_profile(profile);
        meter.power([None, None, None]);
        let target = target(
            meter.http().await.port(),
            meter.udp("127.0.0.1:0").port(),
            meter.modbus().await.port(),
        );
        let all = Consumer::ALL.into_iter().filter(|consumer| {
            // These read a three-phase meter only.
            profile == Profile::Triphase
                || !matches!(
                    consumer,
                    Consumer::Marstek | Consumer::Hoymiles | Consumer::Solakon
                )
        });
        let tests = all.map(|consumer| {
            let target = &target;
            async move { (consumer, ask(consumer, target).await) }
        });
        for (consumer, report) in futures_util::future::join_all(tests).await {
            let word = consumer.word();
            assert!(report.passed(), "{profile:?} {word}: {:#?}", red(&report));
            let said = |why: &Fault| {
                matches!(
                    why,
                    Fault::NoValue | Fault::NullUnderstood | Fault::SilentForNone
                )
            };
            let told = report.steps.iter().any(|step| step.why.iter().any(said));
            assert!(told, "{profile:?} {word}: {report:#?}");
        }
        meter.stop().await;
    }
}

#[tokio::test]
async fn a_step_that_is_not_made_is_no_answer() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let anywhere = Target {
        any_udp: true,
        ..target(1, silent.local_addr().unwrap().port(), 1)
    };
    let report = ask(Consumer::Marstek, &anywhere).await;
    assert_eq!(report.steps[0].state, State::Skipped);
    assert!(!report.passed(), "{report:#?}");
}

#[tokio::test]
async fn nobody_there_is_red_and_said_so() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = target(port, silent.local_addr().unwrap().port(), port);
    for consumer in Consumer::ALL {
        let report = ask(consumer, &target).await;
        assert!(!report.passed(), "{}", consumer.word());
        let red = red(&report);
        let said = if consumer == Consumer::Marstek {
            "no answer within 2 s"
        } else {
            "no connection"
        };
        assert!(red[0].1.contains(said), "{}: {red:?}", consumer.word());
    }
    let off = Target {
        modbus: Service::Off("modbus_enable"),
        ..target
    };
    let report = ask(Consumer::Modbus, &off).await;
    assert_eq!(
        report.steps[0].why,
        [Fault::Off {
            option: "modbus_enable"
        }]
    );
}
