//! What a person changes: options, what is said of a reader, a restart. Each answer says what happened.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, as_json, failure},
    asking::{Asking, Sent},
    context::Context,
    outcome::{self, refused, said},
    owner::Refusal,
    settings,
};
use config::definitions;
use diary::Mark;

#[derive(Deserialize)]
pub(super) struct Changes {
    changes: Map<String, Value>,
    /// What is doubtful is meant.
    #[serde(default)]
    anyway: bool,
}

/// Changes of options that a form gives as text.
fn meant(mut given: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in &mut given {
        if let Some(def) = definitions::find(key) {
            *value = settings::value_of(def, value);
        }
    }
    given
}

/// `POST settings`: `{"changes": {key: value or null}}`.
pub(super) async fn change(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Changes>,
) -> Response {
    let changes = meant(given.changes);
    outcome::of(asking.l, context.owner.change(changes, given.anyway).await)
}

/// `POST check`: what speaks against a change, while it is being typed; as `POST settings`, without
/// making it. It is answered with 200 either way.
pub(super) async fn check(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Changes>,
) -> Response {
    let response = match context.owner.check(meant(given.changes)).await {
        Ok(()) => said(""),
        Err(refusal) => refused(asking.l, refusal),
    };
    (StatusCode::OK, response).into_response()
}

#[derive(Deserialize)]
pub(super) struct Marked {
    ip: String,
    channel: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    must_read: bool,
    #[serde(default)]
    forget: bool,
}

/// `POST reader`: a reader's name, and whether it must read; or that it is to be forgotten.
pub(super) async fn mark_reader(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Marked>,
) -> Answer {
    let key = if given.forget {
        "reader_forgotten"
    } else if given.must_read {
        "reader_watched"
    } else {
        "reader_unwatched"
    };
    let mark = Mark {
        meter: context.meter(asking.existing()?).meter.clone(),
        address: given.ip,
        channel: given.channel,
        name: given.name,
        must_read: given.must_read,
        forget: given.forget,
    };
    match context.owner.mark_reader(mark).await {
        Ok(()) => Ok(said(asking.l.t(key))),
        Err(()) => Err(failure(StatusCode::NOT_FOUND, asking.l.t("reader_no_more"))),
    }
}

/// `POST restart`: answered before it is asked for, as the process ends by it. `run` is this run of
/// the process: the page waits for another.
pub(super) async fn restart(State(context): State<Context>, asking: Asking) -> Answer {
    let asked = context.owner.restart();
    asked.map_err(|why| refused(asking.l, Refusal::Failed(why)))?;
    let (text, run) = (asking.l.t("restarting"), context.owner.run().id);
    let told = json!({ "ok": true, "text": text, "run": run });
    Ok((StatusCode::ACCEPTED, as_json(&told)).into_response())
}

/// `GET restart`: which run this is, and whether a restart that was asked for will not come.
pub(super) async fn run(State(context): State<Context>, asking: Asking) -> Response {
    let run = context.owner.run();
    let text = match (&run.failed, run.late) {
        (Some(why), _) => asking.l.begin(why),
        (None, true) => asking.l.t("restart_late").to_owned(),
        (None, false) => String::new(),
    };
    as_json(&json!({ "ok": text.is_empty(), "text": text, "run": run.id }))
}
