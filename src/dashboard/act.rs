//! What a person changes. Each answer says what happened.

use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    context::{Context, to_json},
    data::failure,
    locale::Locale,
    owner::{Changed, Preview, Refusal},
    page::{Asking, json},
    settings, setup, words,
};
use crate::config::definitions;

#[derive(Deserialize)]
struct Changes {
    changes: Map<String, Value>,
}

#[derive(Serialize)]
struct Wrong {
    key: String,
    text: String,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
    text: String,
    restart: bool,
}

#[derive(Serialize)]
struct Refused {
    ok: bool,
    text: String,
    problems: Vec<Wrong>,
}

fn done(l: &Locale, changed: &Changed) -> Response<Body> {
    let restart = !changed.restart.is_empty();
    let text = match (changed.applied.is_empty(), restart) {
        (_, false) => l.t("saved_live").to_owned(),
        (true, true) => l.with("saved_restart", &[("keys", &changed.restart.join(", "))]),
        (false, true) => l.with("saved_both", &[("keys", &changed.restart.join(", "))]),
    };
    json(StatusCode::OK, to_json(&Done { ok: true, text, restart }))
}

fn refused(l: &Locale, refusal: Refusal) -> Response<Body> {
    let (status, text, problems) = match refusal {
        Refusal::Failed(why) => (StatusCode::BAD_GATEWAY, l.sentence(&why), Vec::new()),
        Refusal::Problems(all) => {
            let wrong = |p: crate::config::Problem| Wrong { text: settings::allowed(l, &p), key: p.key };
            (StatusCode::BAD_REQUEST, l.t("not_saved").to_owned(), all.into_iter().map(wrong).collect())
        }
    };
    json(status, to_json(&Refused { ok: false, text, problems }))
}

fn unreadable(error: &serde_json::Error) -> Response<Body> {
    failure(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))
}

/// `POST settings`: `{"changes": {key: value or null}}`.
pub(super) async fn change(State(context): State<Context>, asking: Asking, body: Bytes) -> Response<Body> {
    let given: Changes = match serde_json::from_slice(&body) {
        Ok(given) => given,
        Err(error) => return unreadable(&error),
    };
    let changes = given
        .changes
        .into_iter()
        .map(|(key, value)| {
            let value = definitions::find(&key).map_or_else(|| value.clone(), |def| settings::value_of(def, &value));
            (key, value)
        })
        .collect();
    match context.owner.change(changes).await {
        Ok(changed) => done(asking.l, &changed),
        Err(refusal) => refused(asking.l, refusal),
    }
}

fn inputs(body: &[u8]) -> Result<Map<String, Value>, Response<Body>> {
    let given: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    setup::inputs_only(given).ok_or_else(|| failure(StatusCode::BAD_REQUEST, "only the keys of power inputs belong here".into()))
}

/// `POST setup`: the option keys of the inputs to take.
pub(super) async fn take(State(context): State<Context>, asking: Asking, body: Bytes) -> Response<Body> {
    let inputs = match inputs(&body) {
        Ok(inputs) => inputs,
        Err(response) => return response,
    };
    match context.owner.take(inputs).await {
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
    flow: &'static str,
    word: String,
    power: String,
    phases: Vec<PhaseLine>,
}

fn line(l: &Locale, w: Option<f64>, reason: Option<&str>) -> (&'static str, String, String) {
    match w {
        Some(w) => {
            let flow = words::Flow::of(w).key();
            (flow, l.t(&format!("flow_{flow}")).to_owned(), words::watts(l, w).to_string())
        }
        None => ("none", reason.map_or_else(|| l.t("flow_none").to_owned(), |why| l.why(why).into_owned()), "–".to_owned()),
    }
}

/// `POST preview`: what the meter would serve with these inputs.
pub(super) async fn preview(State(context): State<Context>, asking: Asking, body: Bytes) -> Response<Body> {
    let inputs = match inputs(&body) {
        Ok(inputs) => inputs,
        Err(response) => return response,
    };
    let l = asking.l;
    let Preview { total, phases } = match context.owner.preview(inputs).await {
        Ok(preview) => preview,
        Err(refusal) => return refused(l, refusal),
    };
    let (flow, word, power) = line(l, total, None);
    let phases = phases
        .iter()
        .zip(["L1", "L2", "L3"])
        .map(|(p, name)| {
            let (flow, word, power) = line(l, p.w, p.reason.as_deref());
            let word = if p.unused { l.t("quality_unused").to_owned() } else { word };
            PhaseLine { name, word, power, flow }
        })
        .collect();
    json(StatusCode::OK, to_json(&PreviewLine { ok: total.is_some(), flow, word, power, phases }))
}

#[derive(Deserialize)]
struct Confirmed {
    /// The device's id, repeated: a reset names what it resets.
    device: String,
}

/// `POST reset`: energy counters of the meter to 0.
pub(super) async fn reset(State(context): State<Context>, asking: Asking, body: Bytes) -> Response<Body> {
    let given: Confirmed = match serde_json::from_slice(&body) {
        Ok(given) => given,
        Err(error) => return unreadable(&error),
    };
    let m = asking.m.min(context.meters.len() - 1);
    if given.device != context.meter(m).device.borrow().identity.id {
        return failure(StatusCode::BAD_REQUEST, "the device named is not this one".into());
    }
    match context.owner.reset(m).await {
        Ok(()) => json(StatusCode::OK, to_json(&Done { ok: true, text: asking.l.t("was_reset").to_owned(), restart: false })),
        Err(why) => refused(asking.l, Refusal::Failed(why)),
    }
}

/// `POST restart`.
pub(super) async fn restart(State(context): State<Context>, asking: Asking) -> Response<Body> {
    match context.owner.restart().await {
        Ok(()) => json(StatusCode::OK, to_json(&Done { ok: true, text: asking.l.t("restarting").to_owned(), restart: false })),
        Err(why) => refused(asking.l, Refusal::Failed(why)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn set_up_takes_inputs_and_nothing_else() {
        let keys = |text: &str| inputs(text.as_bytes()).is_ok();
        assert!(keys(r#"{"total_power":"sensor.a","total_invert":true,"total_phase":"split"}"#));
        assert!(!keys(r#"{"auth_password":"x"}"#) && !keys("[]") && !keys("{"));
    }
}
