//! What a person changes: options, what is said of a reader, a restart. Each answer says what happened.

use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    answer::{as_json, failure, json, to_json},
    asking::{Asking, Sent},
    context::Context,
    outcome::{done, refused, said},
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
fn meant(given: Map<String, Value>) -> Map<String, Value> {
    given
        .into_iter()
        .map(|(key, value)| {
            let value = definitions::find(&key)
                .map_or_else(|| value.clone(), |def| settings::value_of(def, &value));
            (key, value)
        })
        .collect()
}

/// `POST settings`: `{"changes": {key: value or null}}`.
pub(super) async fn change(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Changes>,
) -> Response<Body> {
    match context
        .owner
        .change(meant(given.changes), given.anyway)
        .await
    {
        Ok(changed) => done(asking.l, &changed),
        Err(refusal) => refused(asking.l, refusal),
    }
}

/// `POST check`: what speaks against a change, while it is being typed; as `POST settings`, without
/// making it. It is answered with 200 either way.
pub(super) async fn check(
    State(context): State<Context>,
    asking: Asking,
    Sent(given): Sent<Changes>,
) -> Response<Body> {
    let mut response = match context.owner.check(meant(given.changes)).await {
        Ok(()) => said(String::new()),
        Err(refusal) => refused(asking.l, refusal),
    };
    *response.status_mut() = StatusCode::OK;
    response
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
) -> Response<Body> {
    let m = match asking.existing(&context) {
        Ok(m) => m,
        Err(response) => return response,
    };
    let mark = Mark {
        meter: context.meter(m).meter.clone(),
        address: given.ip,
        channel: given.channel,
        name: given.name,
        must_read: given.must_read,
        forget: given.forget,
    };
    let key = if given.forget {
        "reader_forgotten"
    } else if given.must_read {
        "reader_watched"
    } else {
        "reader_unwatched"
    };
    match context.owner.mark_reader(mark).await {
        Ok(()) => said(asking.l.t(key).to_owned()),
        Err(()) => failure(
            StatusCode::NOT_FOUND,
            asking.l.t("reader_no_more").to_owned(),
        ),
    }
}

#[derive(Serialize)]
struct Restarting {
    ok: bool,
    text: String,
    /// Of this run of the process: the page waits for another.
    run: String,
}

/// `POST restart`: answered before it is asked for, as the process ends by it.
pub(super) async fn restart(State(context): State<Context>, asking: Asking) -> Response<Body> {
    match context.owner.restart() {
        Ok(()) => {
            let (text, run) = (asking.l.t("restarting").to_owned(), context.owner.run().id);
            json(
                StatusCode::ACCEPTED,
                to_json(&Restarting {
                    ok: true,
                    text,
                    run,
                }),
            )
        }
        Err(why) => refused(asking.l, Refusal::Failed(why)),
    }
}

/// `GET restart`: which run this is, and whether a restart that was asked for will not come.
pub(super) async fn run(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let run = context.owner.run();
    let text = match (&run.failed, run.late) {
        (Some(why), _) => asking.l.begin(why),
        (None, true) => asking.l.t("restart_late").to_owned(),
        (None, false) => String::new(),
    };
    as_json(&Restarting {
        ok: text.is_empty(),
        text,
        run: run.id,
    })
}
