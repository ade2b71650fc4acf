//! Batteries: Marstek by UDP, the others by mDNS, HTTP and WebSocket at port 80.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::play::{HTTP_KIND, Need, Play, SHELLY_KIND, instance};
use crate::{
    Broadcast, Expect, Fault, Service, State, Step,
    client::udp::Asker,
    judge::{
        announcement::Wants,
        device,
        meter::{self, Look, Nulls},
        reply::{Body, frame, result},
    },
    step::Verdict,
};
use vocab::ours::TEST_SRC;

/// What a battery reads of the phases.
const LOOK: Look<'static> = Look {
    needs: &["act_power", "voltage", "current"],
    nulls: Nulls::Zero,
    decimals: false,
};
/// Answers that take longer make a battery act late.
const SLOW: Duration = Duration::from_millis(500);
/// What each of the device's firmwares has in `Shelly.GetStatus`.
const STATUS: [&str; 8] = ["ble", "cloud", "eth", "modbus", "mqtt", "sys", "wifi", "ws"];
/// The ports that such batteries ask; none can be set to another one.
const PORTS: [u16; 4] = [1010, 2220, 2222, 2223];
/// Ports at which a battery is set to a meter of one phase.
const ONE_PHASE: [u16; 2] = [2222, 2223];

const PORT_80: Wants<'static> = Wants {
    host_mac: false,
    port_80: true,
    text: &[],
};

/// The port that a battery of one port sends from: a B2500, else a Venus.
const fn sends_from(port: u16) -> u16 {
    if port == 2220 { 10_000 } else { 22_222 }
}

/// Marstek: looks for the meter by broadcast, then asks the same again and again, by UDP.
pub async fn marstek(play: &mut Play<'_>) {
    let target = play.target;
    let ports = match &target.udp {
        Service::On(ports) => ports,
        Service::Off(option) => return play.off(option, "UDP", Expect::Datagram),
    };
    play.only_at(&PORTS, &target.udp, "UDP", "udp_ports");
    let mut steps = Vec::new();
    for port in ports {
        let method = if ONE_PHASE.contains(port) {
            "EM1.GetStatus"
        } else {
            "EM.GetStatus"
        };
        let asker = Asker::open(&target.host, *port, sends_from(*port)).await;
        let everybody = match (&asker, target.broadcast) {
            (Ok(_), Broadcast::To(at)) => Ok(Everybody { at, ours: true }),
            (Ok(asker), Broadcast::OfHost) => asker
                .broadcast()
                .map(|at| Everybody { at, ours: false })
                .ok_or(Fault::OtherNetwork),
            (_, _) => Err(Fault::OnLoopback),
        };
        let found = match everybody {
            Ok(all) => datagram(asker.as_ref(), Some(all), *port, method, 1).await,
            Err(why) => Step::skipped(format!("UDP broadcast {port}"), Expect::Datagram, why),
        };
        let told = |step: &Step, is: fn(&Fault) -> bool| step.why.iter().any(is);
        let unheard = told(&found, |why| matches!(why, Fault::NoBroadcast { .. }));
        let at = steps.len();
        steps.push((false, found));
        for id in [1, 2] {
            let step = datagram(asker.as_ref(), None, *port, method, id).await;
            let silent = told(&step, |why| {
                matches!(why, Fault::Silent { .. } | Fault::Unreached { .. })
            });
            steps.push((silent, step));
            if silent {
                // A port at which nobody listens, and not a broadcast that is lost.
                steps[at].0 = unheard;
                break;
            }
        }
    }
    // A device listens on one port, and which one depends on how it was set up.
    let answered = steps
        .iter()
        .any(|(silent, step)| !silent && step.state != State::Skipped);
    // A battery that is left without an answer goes to its safe state: so is told that there is no
    // value, which only another channel says in words.
    let without_value = !answered && play.has_no_value().await;
    for (silent, mut step) in steps {
        if silent && answered && target.any_udp {
            step.state = State::Note;
        }
        if silent && without_value {
            step.state = State::Note;
            step.why.push(Fault::SilentForNone);
        }
        play.tell(step);
    }
}

/// Whom a broadcast goes to.
#[derive(Clone, Copy)]
struct Everybody {
    at: Ipv4Addr,
    /// Any address of this machine may answer, not only the one that is asked.
    ours: bool,
}

/// One question to the meter, or to everybody.
async fn datagram(
    asker: Result<&Asker, &Fault>,
    everybody: Option<Everybody>,
    port: u16,
    method: &str,
    id: u64,
) -> Step {
    // The battery's own question has no `src`; by it a meter of ours knows that nobody reads.
    let question = json!({"id": id, "src": TEST_SRC, "method": method, "params": {"id": 0}});
    let question = question.to_string();
    let begin = Instant::now();
    let mut verdict = Verdict::default();
    let look = Look {
        needs: &["act_power"],
        decimals: true,
        ..LOOK
    };
    let answer = match (asker, everybody) {
        (Ok(asker), Some(Everybody { at, ours })) => asker.call_out(&question, at, ours).await,
        (Ok(asker), None) => asker.ask(&question).await,
        (Err(fault), _) => Err(fault.clone()),
    };
    let took = begin.elapsed();
    let mut came = String::new();
    if let Some((text, from)) = verdict.take(answer) {
        if method == "EM.GetStatus" {
            meter::datagram(&text, &id.into(), look, &mut verdict);
        } else {
            let outcome = frame(&text, &id.into(), &mut verdict);
            if let Some(body) = result(outcome, method, &mut verdict) {
                meter::phase(&body, look, &mut verdict);
            }
        }
        if from.port() != port {
            verdict.fault(Fault::OtherPort { port: from.port() });
        }
        if took > SLOW {
            verdict.note(Fault::Slow {
                ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            });
        }
        came = text;
    }
    let call = match everybody {
        None => format!("UDP {port} {question}"),
        Some(Everybody { at, .. }) => format!("UDP broadcast {at}:{port} {question}"),
    };
    Step::new(call, Expect::Datagram, &came, took, verdict)
}

/// Hoymiles MS-A2, `HiBattery`: pairs by HTTP, then asks by WebSocket.
pub async fn hoymiles(play: &mut Play<'_>) {
    play.only_at_80();
    play.announced(&[HTTP_KIND, SHELLY_KIND], Need::Must, PORT_80)
        .await;
    play.info("/rpc/Shelly.GetDeviceInfo", false).await;
    let who = play.known();
    play.get("/rpc/Shelly.GetStatus", None, Expect::Status, |body, v| {
        device::components(body, &who, &["sys", "wifi", "cloud"], v);
        device::cloud(body, true, v);
    })
    .await;
    const PAIRING: [(&str, &str, &[&str]); 5] = [
        ("/rpc/Sys.GetStatus", "sys", &["mac", "uptime"]),
        ("/rpc/WiFi.GetStatus", "wifi", &["sta_ip", "status"]),
        ("/rpc/WiFi.GetConfig", "wifi", &["ap", "sta"]),
        ("/rpc/Sys.GetConfig", "sys", &["device"]),
        ("/rpc/EM.GetConfig?id=0", "em:0", &["id"]),
    ];
    for (path, key, needed) in PAIRING {
        component(play, path, key, needed).await;
    }
    let Some(mut socket) = play.socket("test-as").await else {
        return;
    };
    for _ in 0..2 {
        socket
            .call("EM.GetStatus", &instance(0), Expect::Power, powers)
            .await;
        let energy = meter::energy;
        socket
            .call("EMData.GetStatus", &instance(0), Expect::Energy, energy)
            .await;
    }
    socket.raw.close().await;
}

/// Growatt NOAH, NEXA: everything in one answer.
pub async fn noah(play: &mut Play<'_>) {
    play.only_at_80();
    play.announced(&[HTTP_KIND, SHELLY_KIND], Need::Must, PORT_80)
        .await;
    let who = play.known();
    let judge = |body: &Body, v: &mut Verdict| {
        device::components(body, &who, &STATUS, v);
        device::cloud(body, false, v);
        if let Some(em) = body.member("em:0") {
            powers(&em, v);
        }
        if let Some(data) = body.member("emdata:0") {
            meter::energy(&data, v);
        }
    };
    for _ in 0..2 {
        play.get("/rpc/Shelly.GetStatus?esp", None, Expect::Status, judge)
            .await;
    }
}

/// Solakon ONE.
pub async fn solakon(play: &mut Play<'_>) {
    play.only_at_80();
    // Some versions of it took a meter by these only; a real Pro 3EM has others.
    let wants = Wants {
        text: &[("gen", "3"), ("app", "shellypro3em")],
        ..PORT_80
    };
    play.announced(&[SHELLY_KIND], Need::Must, wants).await;
    play.info("/rpc/Shelly.GetDeviceInfo", false).await;
    component(play, "/rpc/WiFi.GetStatus", "wifi", &["sta_ip", "status"]).await;
    for _ in 0..2 {
        play.get("/rpc/EM.GetStatus?id=0", None, Expect::Power, powers)
            .await;
    }
}

/// One component, with the members that are looked at.
async fn component(play: &mut Play<'_>, path: &str, key: &'static str, needed: &[&str]) {
    play.get(path, None, Expect::Component { key }, |body, v| {
        device::component(body, needed, v);
    })
    .await;
}

fn powers(body: &Body, verdict: &mut Verdict) {
    meter::power(body, LOOK, verdict);
}
