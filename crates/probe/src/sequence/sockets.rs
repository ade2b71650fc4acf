//! Readers that live on notifications: Victron GX and Home Assistant, both by aioshelly
//! (`docs/protocol/readers.md`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::play::{HTTP_KIND, Need, OnSocket, Play, SHELLY_KIND, instance};
use crate::{
    Expect, Fault,
    judge::{
        announcement::Wants,
        device::{self, Who},
        meter::{self, Counters, Look, Nulls},
        reply::{refusal, result},
    },
    step::Verdict,
};

/// The device tells at least once in this time, changed or not.
const UPDATE: Duration = Duration::from_secs(12);
/// How aioshelly, which both use, begins the `src` of its calls.
const AIOSHELLY: &str = "aios-test-as";
/// What dbus-shelly reads of a phase; a single null in current and power stops it, and while all are
/// null its last figures stand.
const VICTRON: Look<'static> = Look {
    needs: &["voltage", "current", "act_power", "pf"],
    nulls: Nulls::Unknown,
    decimals: false,
};
/// Home Assistant has a sensor for each, and knows null as unknown.
const HOME: Look<'static> = Look {
    needs: &meter::PHASE,
    nulls: Nulls::Unknown,
    decimals: false,
};
/// Members of status and configuration that Home Assistant's sensors, repairs and diagnostics read.
const HOME_KEYS: [&str; 5] = ["sys", "wifi", "ws", "ble", "cloud"];

/// Victron GX, found by mDNS.
pub async fn victron(play: &mut Play<'_>) {
    let wants = Wants {
        host_mac: true,
        port_80: true,
        text: &[],
    };
    play.only_at_80();
    play.announced(&[SHELLY_KIND], Need::May, wants).await;
    let Some(mut socket) = play.socket(AIOSHELLY).await else {
        return;
    };
    set_up(&mut socket, &["sys"], false).await;
    let who = socket.play.known();
    let needed: &[&str] = if who.monophase {
        &["EM1.GetStatus", "EM1.GetConfig", "EM1Data.GetStatus"]
    } else {
        &["EM.GetStatus", "EM.GetConfig", "EMData.GetStatus"]
    };
    let listed = |body: &_, v: &mut _| device::methods(body, &who, needed, v);
    socket
        .call("Shelly.ListMethods", &Value::Null, Expect::Methods, listed)
        .await;
    // It counts meters: an id more until one fails.
    let (space, data, beyond) = if who.monophase {
        ("EM1", "EM1Data", 3)
    } else {
        ("EM", "EMData", 1)
    };
    let config = format!("{space}.GetConfig");
    let expected = Expect::Component { key: "em:0" };
    socket
        .call(&config, &instance(0), expected, |body, v| {
            device::component(body, &["id", "name"], v);
        })
        .await;
    for method in [config, format!("{data}.GetConfig")] {
        let stub = Fault::AnyInstance {
            method: method.as_str().into(),
        };
        refused(&mut socket, &method, beyond, Expect::NoInstance, stub).await;
    }
    let method = "Switch.GetConfig";
    let stub = Fault::Stub {
        method: method.into(),
    };
    refused(&mut socket, method, 0, Expect::NoMethod, stub).await;
    values(&mut socket, &who, VICTRON, true).await;
    ping(&mut socket).await;
    socket.raw.close().await;
}

/// Home Assistant's Shelly integration.
pub async fn home_assistant(play: &mut Play<'_>) {
    let kinds = [HTTP_KIND, SHELLY_KIND];
    play.announced(&kinds, Need::May, Wants::default()).await;
    play.info("/shelly", true).await;
    let Some(mut socket) = play.socket(AIOSHELLY).await else {
        return;
    };
    set_up(&mut socket, &HOME_KEYS, true).await;
    let who = socket.play.known();
    values(&mut socket, &who, HOME, false).await;
    let all = |body: &_, v: &mut _| device::components(body, &who, &HOME_KEYS, v);
    socket
        .call("Shelly.GetStatus", &Value::Null, Expect::Status, all)
        .await;
    ping(&mut socket).await;
    socket.raw.close().await;
}

/// What aioshelly asks first: who is there, then three calls at once.
async fn set_up(socket: &mut OnSocket<'_, '_>, keys: &[&str], password: bool) {
    let before = socket.play.who.clone();
    let (method, expected) = ("Shelly.GetDeviceInfo", Expect::DeviceInfo);
    let told = socket.call(method, &Value::Null, expected, |body, v| {
        let who = device::info(body, password, v)?;
        if let Some(before) = &before
            && before.mac != who.mac
        {
            v.differs("mac", who.mac.as_str(), before.mac.as_str());
        }
        Some(who)
    });
    let who = told.await.flatten();
    socket.play.who = who.or(before);
    let who = socket.play.known();
    let dynamic = json!({"dynamic_only": true});
    let config = socket.send("Shelly.GetConfig", &Value::Null).await;
    let status = socket.send("Shelly.GetStatus", &Value::Null).await;
    let components = socket.send("Shelly.GetComponents", &dynamic).await;
    socket
        .answer(config, Expect::Config, |outcome, v| {
            if let Some(body) = result(outcome, "Shelly.GetConfig", v) {
                device::components(&body, &who, keys, v);
                device::config(&body, v);
            }
        })
        .await;
    socket
        .answer(status, Expect::Status, |outcome, v| {
            if let Some(body) = result(outcome, "Shelly.GetStatus", v) {
                device::components(&body, &who, keys, v);
                device::cloud(&body, true, v);
            }
        })
        .await;
    socket
        .answer(components, Expect::Components, |outcome, v| {
            if let Some(body) = result(outcome, "Shelly.GetComponents", v) {
                device::list(&body, v);
            }
        })
        .await;
}

/// Powers and counters, as a channel is opened, a notification of powers, and the counters once
/// more: they never fall.
async fn values(socket: &mut OnSocket<'_, '_>, who: &Who, look: Look<'_>, zero_tells: bool) {
    if who.monophase {
        for id in 0..3 {
            socket
                .call("EM1.GetStatus", &instance(id), Expect::Power, |body, v| {
                    meter::phase(body, look, v);
                })
                .await;
        }
        return update(socket, "em1:0", who, look).await;
    }
    let flow = socket
        .call("EM.GetStatus", &instance(0), Expect::Power, |body, v| {
            meter::power(body, look, v)
        })
        .await
        .flatten();
    let before = counters(socket, |counters, v| {
        if zero_tells && counters.import == 0.0 {
            v.note(Fault::ZeroCounter);
        }
    })
    .await;
    let counted = Instant::now();
    update(socket, "em:0", who, look).await;
    let seconds = counted.elapsed().as_secs_f64();
    counters(socket, |after, v| {
        if let Some(before) = before {
            meter::grown(before, after, flow, seconds, v);
        }
    })
    .await;
}

/// The counters, which `judge` looks at as well.
async fn counters(
    socket: &mut OnSocket<'_, '_>,
    judge: impl FnOnce(Counters, &mut Verdict),
) -> Option<Counters> {
    let (method, expected) = ("EMData.GetStatus", Expect::Energy);
    socket
        .call(method, &instance(0), expected, |body, v| {
            let counters = meter::energy(body, v)?;
            judge(counters, v);
            Some(counters)
        })
        .await
        .flatten()
}

/// Waits for a notification of `key`.
async fn update(socket: &mut OnSocket<'_, '_>, key: &str, who: &Who, look: Look<'_>) {
    let begin = Instant::now();
    let mut verdict = Verdict::default();
    let came = match socket.raw.update(key, UPDATE).await {
        Ok(text) => {
            meter::update(&text, key, &who.id, look, &mut verdict);
            text
        }
        Err(fault) => {
            // What has no value has said so, and has nothing more to tell.
            if matches!(fault, Fault::NoUpdate { .. }) && told_of_no_value(socket.play) {
                verdict.note(fault);
            } else {
                verdict.fault(fault);
            }
            String::new()
        }
    };
    socket
        .play
        .ended("NotifyStatus", Expect::Update, &came, begin, verdict);
}

/// Whether a step before found that the meter has no value now.
fn told_of_no_value(play: &Play<'_>) -> bool {
    let none = |why: &Fault| matches!(why, Fault::NoValue | Fault::NullUnderstood);
    play.report
        .steps
        .iter()
        .any(|step| step.why.iter().any(none))
}

/// A call that has to fail; `stub` is what a success means.
async fn refused(
    socket: &mut OnSocket<'_, '_>,
    method: &str,
    id: u64,
    expected: Expect,
    stub: Fault,
) {
    socket
        .try_call(method, &instance(id), expected, |outcome, v| {
            refusal(&outcome, stub, v);
        })
        .await;
}

async fn ping(socket: &mut OnSocket<'_, '_>) {
    let begin = Instant::now();
    let mut verdict = Verdict::default();
    let pong = verdict.take(socket.raw.ping().await);
    let came = pong.map_or("", |()| "PONG");
    socket
        .play
        .ended("PING", Expect::Pong, came, begin, verdict);
}
