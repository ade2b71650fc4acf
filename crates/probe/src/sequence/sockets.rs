//! Readers that live on notifications: Victron GX and Home Assistant, both by aioshelly
//! (`docs/protocol/readers.md`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::play::{HTTP_KIND, Need, Play, SHELLY_KIND, instance};
use crate::{
    Expect, Fault, Step,
    client::socket::Socket,
    judge::{
        announcement::Wants,
        device::{self, Who},
        meter::{self, Counters, Look, Nulls, Powers},
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
    play.announced(&[SHELLY_KIND], Need::May, wants).await;
    let Some(mut socket) = play.socket(AIOSHELLY).await else {
        return;
    };
    let s = &mut socket;
    set_up(play, s, &["sys"], false).await;
    let who = play.known();
    let needed: &[&str] = if who.monophase {
        &["EM1.GetStatus", "EM1.GetConfig", "EM1Data.GetStatus"]
    } else {
        &["EM.GetStatus", "EM.GetConfig", "EMData.GetStatus"]
    };
    play.call(
        s,
        "Shelly.ListMethods",
        Value::Null,
        Expect::Methods,
        |body, v| {
            device::methods(body, &who, needed, v);
        },
    )
    .await;
    // It counts meters: an id more until one fails.
    let (space, data, beyond) = if who.monophase {
        ("EM1", "EM1Data", 3)
    } else {
        ("EM", "EMData", 1)
    };
    let config = format!("{space}.GetConfig");
    play.call(
        s,
        &config,
        instance(0),
        Expect::Component { key: "em:0" },
        |body, v| {
            device::component(body, &["id", "name"], v);
        },
    )
    .await;
    for method in [config, format!("{data}.GetConfig")] {
        let stub = Fault::AnyInstance {
            method: method.as_str().into(),
        };
        play.try_call(
            s,
            &method,
            instance(beyond),
            Expect::NoInstance,
            |outcome, v| {
                refusal(&outcome, stub, v);
            },
        )
        .await;
    }
    no_such(play, s, "Switch.GetConfig").await;
    let (powers, counters) = read(play, s, &who, VICTRON, true).await;
    let counted = Instant::now();
    update(play, s, &who, VICTRON).await;
    again(play, s, &who, powers, counters, counted).await;
    ping(play, s).await;
    socket.close().await;
}

/// Home Assistant's Shelly integration.
pub async fn home_assistant(play: &mut Play<'_>) {
    let wants = Wants {
        host_mac: false,
        port_80: false,
        text: &[],
    };
    play.announced(&[HTTP_KIND, SHELLY_KIND], Need::May, wants)
        .await;
    let who = play
        .get("/shelly", None, Expect::DeviceInfo, |body, v| {
            device::info(body, true, v)
        })
        .await
        .flatten();
    play.who = who.or(play.who.take());
    let Some(mut socket) = play.socket(AIOSHELLY).await else {
        return;
    };
    let s = &mut socket;
    set_up(play, s, &HOME_KEYS, true).await;
    let who = play.known();
    let (powers, counters) = read(play, s, &who, HOME, false).await;
    let counted = Instant::now();
    update(play, s, &who, HOME).await;
    again(play, s, &who, powers, counters, counted).await;
    play.call(
        s,
        "Shelly.GetStatus",
        Value::Null,
        Expect::Status,
        |body, v| {
            device::components(body, &who, &HOME_KEYS, v);
        },
    )
    .await;
    ping(play, s).await;
    socket.close().await;
}

/// What aioshelly asks first: who is there, then three calls at once.
async fn set_up(play: &mut Play<'_>, s: &mut Socket, keys: &[&str], password: bool) {
    let before = play.who.clone();
    let who = play
        .call(
            s,
            "Shelly.GetDeviceInfo",
            Value::Null,
            Expect::DeviceInfo,
            |body, v| {
                let who = device::info(body, password, v);
                if let (Some(before), Some(who)) = (&before, &who)
                    && before.mac != who.mac
                {
                    v.fault(Fault::Differs {
                        path: "mac".into(),
                        came: who.mac.as_str().into(),
                        wanted: before.mac.as_str().into(),
                    });
                }
                who
            },
        )
        .await
        .flatten();
    play.who = who.or(before);
    let who = play.known();
    let begin = Instant::now();
    let dynamic = json!({"dynamic_only": true});
    let mut sent = Vec::new();
    for (method, params) in [
        ("Shelly.GetConfig", Value::Null),
        ("Shelly.GetStatus", Value::Null),
        ("Shelly.GetComponents", dynamic),
    ] {
        sent.push((method, s.send(method, &params).await, params));
    }
    for (method, sent, params) in sent {
        let expected = match method {
            "Shelly.GetConfig" => Expect::Config,
            "Shelly.GetStatus" => Expect::Status,
            _ => Expect::Components,
        };
        play.answered(s, method, &params, sent, begin, expected, |outcome, v| {
            let Some(body) = result(outcome, method, v) else {
                return;
            };
            match method {
                "Shelly.GetConfig" => {
                    device::components(&body, &who, keys, v);
                    device::config(&body, v);
                }
                "Shelly.GetStatus" => {
                    device::components(&body, &who, keys, v);
                    device::cloud(&body, true, v);
                }
                _ => device::list(&body, v),
            }
        })
        .await;
    }
}

/// Powers and counters, as a channel is opened.
async fn read(
    play: &mut Play<'_>,
    s: &mut Socket,
    who: &Who,
    look: Look<'_>,
    zero_tells: bool,
) -> (Option<Powers>, Option<Counters>) {
    if who.monophase {
        for id in 0..3 {
            play.call(
                s,
                "EM1.GetStatus",
                instance(id),
                Expect::Power,
                |body, v| {
                    meter::phase(body, look, v);
                },
            )
            .await;
        }
        return (None, None);
    }
    let powers = play
        .call(s, "EM.GetStatus", instance(0), Expect::Power, |body, v| {
            meter::power(body, look, v)
        })
        .await
        .flatten();
    let counters = play
        .call(
            s,
            "EMData.GetStatus",
            instance(0),
            Expect::Energy,
            |body, v| {
                let counters = meter::energy(body, v);
                if zero_tells && counters.is_some_and(|c| c.import == 0.0) {
                    v.note(Fault::ZeroCounter);
                }
                counters
            },
        )
        .await
        .flatten();
    (powers, counters)
}

/// Waits for a notification.
async fn update(play: &mut Play<'_>, s: &mut Socket, who: &Who, look: Look<'_>) {
    let key = if who.monophase { "em1:0" } else { "em:0" };
    let begin = Instant::now();
    let mut verdict = Verdict::default();
    let came = match s.update(key, UPDATE).await {
        Ok(text) => {
            meter::update(&text, key, &who.id, look, &mut verdict);
            text
        }
        // What has no value has said so, and has nothing more to tell.
        Err(fault @ Fault::NoUpdate { .. }) if told_of_no_value(play) => {
            verdict.note(fault);
            String::new()
        }
        Err(fault) => {
            verdict.fault(fault);
            String::new()
        }
    };
    play.tell(Step::new(
        "NotifyStatus",
        Expect::Update,
        &came,
        begin.elapsed(),
        verdict,
    ));
}

/// Whether a step before found that the meter has no value now.
fn told_of_no_value(play: &Play<'_>) -> bool {
    let none = |why: &Fault| matches!(why, Fault::NoValue | Fault::NullUnderstood);
    play.report
        .steps
        .iter()
        .any(|step| step.why.iter().any(none))
}

/// The counters once more: they never fall.
async fn again(
    play: &mut Play<'_>,
    s: &mut Socket,
    who: &Who,
    powers: Option<Powers>,
    before: Option<Counters>,
    counted: Instant,
) {
    if who.monophase {
        return;
    }
    let seconds = counted.elapsed().as_secs_f64();
    play.call(
        s,
        "EMData.GetStatus",
        instance(0),
        Expect::Energy,
        |body, v| {
            if let (Some(before), Some(after)) = (before, meter::energy(body, v)) {
                meter::grown(before, after, powers, seconds, v);
            }
        },
    )
    .await;
}

/// A method that a Pro 3EM does not have.
async fn no_such(play: &mut Play<'_>, s: &mut Socket, method: &str) {
    let stub = Fault::Stub {
        method: method.into(),
    };
    play.try_call(s, method, instance(0), Expect::NoMethod, |outcome, v| {
        refusal(&outcome, stub, v);
    })
    .await;
}

async fn ping(play: &mut Play<'_>, s: &mut Socket) {
    let begin = Instant::now();
    let (verdict, came) = match s.ping().await {
        Ok(()) => (Verdict::default(), "PONG"),
        Err(fault) => (Verdict::bad(fault), ""),
    };
    play.tell(Step::new(
        "PING",
        Expect::Pong,
        came,
        begin.elapsed(),
        verdict,
    ));
}
