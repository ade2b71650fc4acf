//! What a change came to, for the page that asked for it.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    answer::as_json,
    locale::Locale,
    owner::{Changed, Refusal},
};
use config::Problem;

/// It is done, and nothing of it waits for a restart.
pub(super) fn said(text: &str) -> Response {
    as_json(&json!({ "ok": true, "text": text, "restart": false }))
}

/// It is not done, `anyway` or not.
pub(super) fn not_done(status: StatusCode, text: &str) -> Response {
    not_yet_done(status, text, false, &[])
}

/// `ask`: the same again with `anyway` is done.
fn not_yet_done(status: StatusCode, text: &str, ask: bool, problems: &[Value]) -> Response {
    let told = json!({ "ok": false, "ask": ask, "text": text, "problems": problems });
    (status, as_json(&told)).into_response()
}

/// What became of a change of options.
pub(super) fn of(l: &Locale, changed: Result<Changed, Refusal>) -> Response {
    match changed {
        Ok(changed) => done(l, &changed),
        Err(refusal) => refused(l, refusal),
    }
}

/// Options are changed: what of them waits for a restart, and what could not be checked.
pub(super) fn done(l: &Locale, changed: &Changed) -> Response {
    let restart = !changed.restart.is_empty();
    let keys = changed.restart.join(", ");
    let mut text = match (changed.applied.is_empty(), restart) {
        (_, false) => l.t("saved_live").to_owned(),
        (true, true) => l.with("saved_restart", &[("keys", &keys)]),
        (false, true) => l.with("saved_both", &[("keys", &keys)]),
    };
    if let Some(why) = &changed.unchecked {
        text = format!(
            "{text} {}",
            l.with("saved_unchecked", &[("why", &l.say(why))])
        );
    }
    as_json(&json!({ "ok": true, "text": text, "restart": restart, "waiting": changed.waiting }))
}

/// Why it is not done.
pub(super) fn refused(l: &Locale, refusal: Refusal) -> Response {
    let wrong = |all: Vec<Problem>| -> Vec<Value> {
        let one = |p: Problem| json!({ "text": l.say(&p.wrong()), "key": p.key });
        all.into_iter().map(one).collect()
    };
    match refusal {
        Refusal::Failed(why) => not_done(StatusCode::BAD_GATEWAY, &l.begin(&why)),
        Refusal::Problems(all) => not_yet_done(
            StatusCode::BAD_REQUEST,
            l.t("not_saved"),
            false,
            &wrong(all),
        ),
        Refusal::Ask(all) => not_yet_done(
            StatusCode::CONFLICT,
            l.t("not_yet_saved"),
            true,
            &wrong(all),
        ),
    }
}
