//! What the set-up tries, shows and takes.

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, as_json, failure},
    asking::{Asking, Sent},
    context::Context,
    figures::power,
    locale::Locale,
    outcome::{self, refused},
    owner::{NotServed, PreviewPhase},
    setup,
    sign::{answers, sign},
};
use config::{definition::Definition, definitions};
use vocab::reason::Reason;

/// `GET served.json`: what the meter answers to `EM.GetStatus` over its own socket.
pub(super) async fn served(State(context): State<Context>, asking: Asking) -> Response {
    let l = asking.l;
    let served = context.owner.served().await;
    let text = match &served {
        Ok((w, port)) => {
            let (_, word, power) = line(l, Some(*w), None);
            let values = [
                ("port", &*port.to_string()),
                ("power", &power),
                ("word", &word),
            ];
            l.with("served_ok", &values)
        }
        Err(NotServed::NoPort) => l.t("served_no_port").to_owned(),
        Err(NotServed::NoValue) => l.t("served_no_value").to_owned(),
        Err(NotServed::Answered(status)) => {
            l.with("served_status", &[("status", &status.to_string())])
        }
        Err(NotServed::Failed(why)) => l.with("served_failed", &[("why", &l.say(why))]),
    };
    let w = served.ok().map(|(w, _)| w);
    as_json(&json!({ "ok": w.is_some(), "text": text, "w": w }))
}

#[derive(Deserialize)]
pub(super) struct Place {
    url: String,
    /// Absent or empty: that of the options.
    #[serde(default)]
    token: String,
}

/// `POST reach`: tries an address and a token of Home Assistant; says the address that it took it
/// for.
pub(super) async fn reach(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Place>,
) -> Response {
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
    as_json(&json!({ "ok": ok, "text": text, "url": url }))
}

/// Inputs, and whether what is doubtful of them is meant.
fn inputs(mut given: Value) -> Answer<(Map<String, Value>, bool)> {
    let anyway = given
        .as_object_mut()
        .and_then(|members| members.remove("anyway"))
        == Some(Value::Bool(true));
    let inputs = inputs_only(given).ok_or_else(|| {
        let why = "only the keys of power inputs belong here";
        failure(StatusCode::BAD_REQUEST, why)
    });
    Ok((inputs?, anyway))
}

/// `POST setup`: the option keys of the inputs to take.
pub(super) async fn take(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Value>,
) -> Answer {
    let (inputs, anyway) = inputs(given)?;
    let taken = context.owner.take(inputs, anyway).await;
    Ok(outcome::of(asking.l, taken))
}

/// Where a power flows, that in words, and its size; without one why.
fn line(l: &Locale, w: Option<f64>, reason: Option<&Reason>) -> (&'static str, String, String) {
    let (flow, word, size) = power(l, w);
    match w {
        Some(_) => (flow, word, size.to_string()),
        None => (flow, reason.map_or(word, |why| l.say(why)), size.value),
    }
}

/// `POST preview`: what the meter would serve with these inputs, W; the two answers about the sign,
/// which repeat what is shown, unless nobody can tell; what the energy counters say of it.
pub(super) async fn preview(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Value>,
) -> Answer {
    let l = asking.l;
    let (inputs, _) = inputs(given)?;
    let seen = context.owner.preview(inputs).await;
    let seen = seen.map_err(|refusal| refused(l, refusal))?;
    let phase = |(p, name): (&PreviewPhase, &str)| {
        let (flow, mut word, power) = line(l, p.w, p.reason.as_ref());
        if p.unused {
            l.t("quality_unused").clone_into(&mut word);
        }
        json!({ "name": name, "word": word, "power": power, "flow": flow })
    };
    let phases = seen.phases.iter().zip(["L1", "L2", "L3"]).map(phase);
    let (flow, word, power) = line(l, seen.total, None);
    let mut told = json!({
        "ok": seen.total.is_some(),
        "w": seen.total,
        "flow": flow,
        "word": word,
        "power": power,
        "phases": phases.collect::<Vec<_>>(),
    });
    let (sign, answers) = match sign(l, &seen.signs) {
        Some((sign, answers)) => (Some(sign), answers),
        None => (None, answers(l, seen.total)),
    };
    if let Some(answers) = answers {
        told["answers"] = json!(answers);
    }
    if let Some(sign) = sign {
        told["sign"] = json!(sign);
    }
    Ok(as_json(&told))
}

/// Members of a set-up: keys that name power inputs, nothing else.
fn inputs_only(given: Value) -> Option<Map<String, Value>> {
    let Value::Object(members) = given else {
        return None;
    };
    let is_input = |key: &String| definitions::find(key).is_some_and(Definition::feeds);
    members.keys().all(is_input).then_some(members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn set_up_takes_inputs_and_nothing_else() {
        let read = |text: &str| inputs(serde_json::from_str(text).unwrap());
        let keys = |text: &str| read(text).is_ok();
        let meant = |text: &str| {
            read(text)
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
        assert!(!keys(r#"{"auth_password":"x"}"#) && !keys("[]"));
    }
}
