//! What the set-up tries, shows and takes.

use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    answer::{as_json, failure, unreadable},
    asking::{Asking, Sent},
    context::Context,
    locale::Locale,
    outcome::{done, refused},
    owner::{NotServed, Preview},
    setup,
    sign::{SignLine, answers, sign},
    words,
};
use vocab::reason::Reason;

#[derive(Serialize)]
struct Served {
    ok: bool,
    text: String,
    w: Option<f64>,
}

/// `GET served.json`: what the meter answers to `EM.GetStatus` over its own socket.
pub(super) async fn served(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let l = asking.l;
    let (w, text) = match context.owner.served().await {
        Ok((w, port)) => {
            let (_, word, power) = line(l, Some(w), None);
            let values = [
                ("port", &*port.to_string()),
                ("power", &power),
                ("word", &word),
            ];
            (Some(w), l.with("served_ok", &values))
        }
        Err(NotServed::NoPort) => (None, l.t("served_no_port").to_owned()),
        Err(NotServed::NoValue) => (None, l.t("served_no_value").to_owned()),
        Err(NotServed::Answered(status)) => (
            None,
            l.with("served_status", &[("status", &status.to_string())]),
        ),
        Err(NotServed::Failed(why)) => (None, l.with("served_failed", &[("why", &l.say(&why))])),
    };
    let ok = w.is_some();
    as_json(&Served { ok, text, w })
}

#[derive(Deserialize)]
pub(super) struct Place {
    url: String,
    /// Absent or empty: that of the options.
    #[serde(default)]
    token: String,
}

#[derive(Serialize)]
struct ReachedLine {
    ok: bool,
    text: String,
    /// The address, cleaned.
    url: Option<String>,
}

/// `POST reach`: tries an address and a token of Home Assistant.
pub(super) async fn reach(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Place>,
) -> Response<Body> {
    let l = asking.l;
    let token = Some(given.token.trim().to_owned()).filter(|token| !token.is_empty());
    let reached = context.owner.reach(given.url, token);
    let (ok, text, url) = match tokio::time::timeout(setup::PATIENCE * 2, reached).await {
        Ok(Ok(reached)) => match reached.found {
            Ok(found) => {
                let n = found.candidates.len().to_string();
                let text = l.with("reach_ok", &[("n", &n), ("url", &reached.url)]);
                (true, text, Some(reached.url))
            }
            Err(why) => (false, l.begin(&why), Some(reached.url)),
        },
        Ok(Err(why)) => (false, l.begin(&why), None),
        Err(_) => (false, l.t("ha_slow").to_owned(), None),
    };
    as_json(&ReachedLine { ok, text, url })
}

/// Inputs, and whether what is doubtful of them is meant.
fn inputs(body: &[u8]) -> Result<(Map<String, Value>, bool), Response<Body>> {
    let mut given: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let anyway = given
        .as_object_mut()
        .and_then(|members| members.remove("anyway"))
        == Some(Value::Bool(true));
    inputs_only(given)
        .map(|inputs| (inputs, anyway))
        .ok_or_else(|| {
            failure(
                StatusCode::BAD_REQUEST,
                "only the keys of power inputs belong here".into(),
            )
        })
}

/// `POST setup`: the option keys of the inputs to take.
pub(super) async fn take(
    State(context): State<Context>,
    asking: Asking,
    body: Bytes,
) -> Response<Body> {
    let (inputs, anyway) = match inputs(&body) {
        Ok(given) => given,
        Err(response) => return response,
    };
    match context.owner.take(inputs, anyway).await {
        Ok(changed) => done(asking.l, &changed),
        Err(refusal) => refused(asking.l, refusal),
    }
}

#[derive(Serialize)]
struct PhaseLine {
    name: &'static str,
    word: String,
    power: String,
    flow: &'static str,
}

#[derive(Serialize)]
struct PreviewLine {
    ok: bool,
    /// W, + import.
    w: Option<f64>,
    flow: &'static str,
    word: String,
    power: String,
    phases: Vec<PhaseLine>,
    /// The two answers about the sign, which repeat what is shown; none while nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<[String; 2]>,
    /// What the energy counters say of the sign, where they say something.
    #[serde(skip_serializing_if = "Option::is_none")]
    sign: Option<SignLine>,
}

fn line(l: &Locale, w: Option<f64>, reason: Option<&Reason>) -> (&'static str, String, String) {
    match w {
        Some(w) => {
            let flow = words::Flow::of(w).key();
            (
                flow,
                l.t(&format!("flow_{flow}")).to_owned(),
                words::watts(l, w).to_string(),
            )
        }
        None => (
            "none",
            reason.map_or_else(|| l.t("flow_none").to_owned(), |why| l.say(why)),
            "–".to_owned(),
        ),
    }
}

/// `POST preview`: what the meter would serve with these inputs.
pub(super) async fn preview(
    State(context): State<Context>,
    asking: Asking,
    body: Bytes,
) -> Response<Body> {
    let inputs = match inputs(&body) {
        Ok((inputs, _)) => inputs,
        Err(response) => return response,
    };
    let l = asking.l;
    let Preview {
        total,
        phases,
        signs,
    } = match context.owner.preview(inputs).await {
        Ok(preview) => preview,
        Err(refusal) => return refused(l, refusal),
    };
    let (flow, word, power) = line(l, total, None);
    let phases = phases
        .iter()
        .zip(["L1", "L2", "L3"])
        .map(|(p, name)| {
            let (flow, word, power) = line(l, p.w, p.reason.as_ref());
            let word = if p.unused {
                l.t("quality_unused").to_owned()
            } else {
                word
            };
            PhaseLine {
                name,
                word,
                power,
                flow,
            }
        })
        .collect();
    let (sign, answers) = match sign(l, &signs) {
        Some((sign, answers)) => (Some(sign), answers),
        None => (None, answers(l, total)),
    };
    as_json(&PreviewLine {
        ok: total.is_some(),
        w: total,
        flow,
        word,
        power,
        phases,
        answers,
        sign,
    })
}

/// Members of a set-up: keys that name power inputs, nothing else.
fn inputs_only(given: Value) -> Option<Map<String, Value>> {
    let Value::Object(members) = given else {
        return None;
    };
    let ends = [
        "_power",
        "_power_export",
        "_invert",
        "_scale",
        "_offset",
        "_phase",
        "energy_import",
        "energy_export",
        "_volt",
        "_curr",
        "_pf",
    ];
    members
        .keys()
        .all(|key| ends.iter().any(|end| key.ends_with(end)) || key == "frequency")
        .then_some(members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn set_up_takes_inputs_and_nothing_else() {
        let keys = |text: &str| inputs(text.as_bytes()).is_ok();
        let meant = |text: &str| {
            inputs(text.as_bytes())
                .map(|(inputs, anyway)| (inputs.len(), anyway))
                .unwrap()
        };
        assert_eq!(
            meant(r#"{"total_power":"sensor.a","anyway":true}"#),
            (1, true)
        );
        assert_eq!(
            meant(r#"{"total_power":"sensor.a","anyway":"yes"}"#),
            (1, false)
        );
        assert!(keys(
            r#"{"total_power":"sensor.a","total_invert":true,"total_phase":"split"}"#
        ));
        assert!(!keys(r#"{"auth_password":"x"}"#) && !keys("[]") && !keys("{"));
    }
}
