//! evcc: HTTP, a whole frame posted to the method's own address.

use serde_json::{Value, json};

use super::play::Play;
use crate::{
    Expect, Fault,
    judge::{
        device,
        meter::{self, Look, Nulls},
        reply::refusal,
    },
};

/// What it reads of a phase.
const LOOK: Look<'static> = Look {
    needs: &["act_power", "current", "voltage"],
    nulls: Nulls::Zero,
    decimals: false,
};

fn frame(method: &str, id: u64) -> Option<Value> {
    Some(json!({"id": id, "src": "evcc", "method": method}))
}

/// See the module.
pub async fn ask(play: &mut Play<'_>) {
    play.who = play
        .get("/shelly", None, Expect::DeviceInfo, |body, v| {
            device::info(body, true, v)
        })
        .await
        .flatten();
    let who = play.known();
    let needed: &[&str] = if who.monophase {
        &["EM1.GetStatus", "EM1Data.GetStatus"]
    } else {
        &["EM.GetStatus", "EMData.GetStatus"]
    };
    let post = |method: &str| (format!("/rpc/{method}"), frame(method, 0));
    let (path, body) = post("Shelly.ListMethods");
    play.get(&path, body, Expect::Methods, |body, v| {
        device::methods(body, &who, needed, v);
    })
    .await;
    if who.monophase {
        for id in 0..3 {
            let body = frame("EM1.GetStatus", id);
            play.get("/rpc/EM1.GetStatus", body, Expect::Power, |body, v| {
                meter::phase(
                    body,
                    Look {
                        needs: &["act_power", "current", "voltage"],
                        ..LOOK
                    },
                    v,
                );
            })
            .await;
        }
    } else {
        let (path, body) = post("EM.GetStatus");
        play.get(&path, body, Expect::Power, |body, v| {
            meter::power(body, LOOK, v);
        })
        .await;
        let (path, body) = post("EMData.GetStatus");
        play.get(&path, body, Expect::Energy, |body, v| {
            meter::energy(body, v);
        })
        .await;
    }
    let (path, body) = post("Switch.GetStatus");
    let stub = Fault::Stub {
        method: "Switch.GetStatus".into(),
    };
    play.ask(&path, body, Expect::NoMethod, |outcome, v| {
        refusal(&outcome, stub, v);
    })
    .await;
}
