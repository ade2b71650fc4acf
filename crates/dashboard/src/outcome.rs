//! What a change came to, for the page that asked for it.

use axum::{
    body::Body,
    http::{Response, StatusCode},
};
use serde::Serialize;

use super::{
    answer::{as_json, json, to_json},
    locale::Locale,
    owner::{Changed, Refusal},
};

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
    /// The same again with `anyway` is done.
    ask: bool,
    text: String,
    problems: Vec<Wrong>,
}

/// It is done, and nothing of it waits for a restart.
pub(super) fn said(text: String) -> Response<Body> {
    let done = Done {
        ok: true,
        text,
        restart: false,
    };
    as_json(&done)
}

/// It is not done, `anyway` or not.
pub(super) fn not_done(status: StatusCode, text: String) -> Response<Body> {
    let refused = Refused {
        ok: false,
        ask: false,
        text,
        problems: Vec::new(),
    };
    json(status, to_json(&refused))
}

/// Options are changed: what of them waits for a restart, and what could not be checked.
pub(super) fn done(l: &Locale, changed: &Changed) -> Response<Body> {
    let restart = !changed.restart.is_empty();
    let text = match (changed.applied.is_empty(), restart) {
        (_, false) => l.t("saved_live").to_owned(),
        (true, true) => l.with("saved_restart", &[("keys", &changed.restart.join(", "))]),
        (false, true) => l.with("saved_both", &[("keys", &changed.restart.join(", "))]),
    };
    let text = match &changed.unchecked {
        Some(why) => format!(
            "{text} {}",
            l.with("saved_unchecked", &[("why", &l.say(why))])
        ),
        None => text,
    };
    as_json(&Done {
        ok: true,
        text,
        restart,
    })
}

/// Why it is not done.
pub(super) fn refused(l: &Locale, refusal: Refusal) -> Response<Body> {
    let wrong = |p: config::Problem| Wrong {
        text: l.say(&p.wrong()),
        key: p.key,
    };
    let ask = matches!(refusal, Refusal::Ask(_));
    let (status, text, problems) = match refusal {
        Refusal::Failed(why) => (StatusCode::BAD_GATEWAY, l.begin(&why), Vec::new()),
        Refusal::Problems(all) => (
            StatusCode::BAD_REQUEST,
            l.t("not_saved").to_owned(),
            all.into_iter().map(wrong).collect(),
        ),
        Refusal::Ask(all) => (
            StatusCode::CONFLICT,
            l.t("not_yet_saved").to_owned(),
            all.into_iter().map(wrong).collect(),
        ),
    };
    json(
        status,
        to_json(&Refused {
            ok: false,
            ask,
            text,
            problems,
        }),
    )
}
