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

/// See the module.
pub async fn ask(play: &mut Play<'_>) {
    play.info("/shelly", true).await;
    let who = play.known();
    let needed: &[&str] = if who.monophase {
        &["EM1.GetStatus", "EM1Data.GetStatus"]
    } else {
        &["EM.GetStatus", "EMData.GetStatus"]
    };
    let (path, body) = post("Shelly.ListMethods", 0);
    play.get(&path, body, Expect::Methods, |body, v| {
        device::methods(body, &who, needed, v);
    })
    .await;
    if who.monophase {
        for id in 0..3 {
            let (path, body) = post("EM1.GetStatus", id);
            play.get(&path, body, Expect::Power, |body, v| {
                meter::phase(body, LOOK, v);
            })
            .await;
        }
    } else {
        let (path, body) = post("EM.GetStatus", 0);
        play.get(&path, body, Expect::Power, |body, v| {
            meter::power(body, LOOK, v)
        })
        .await;
        let (path, body) = post("EMData.GetStatus", 0);
        play.get(&path, body, Expect::Energy, meter::energy).await;
    }
    let (path, body) = post("Switch.GetStatus", 0);
    let stub = Fault::Stub {
        method: "Switch.GetStatus".into(),
    };
    play.ask(&path, body, Expect::NoMethod, |outcome, v| {
        refusal(&outcome, stub, v);
    })
    .await;
}

/// Where a call is posted to, and the frame.
fn post(method: &str, id: u64) -> (String, Option<Value>) {
    let frame = json!({"id": id, "src": "evcc", "method": method});
    (format!("/rpc/{method}"), Some(frame))
}
