//! What automations set at run time, over HTTP (`docs/mqtt.md#over-http`).

use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};

use super::{
    answer::{as_json, failure},
    asking::{Asking, Sent},
    context::Context,
    owner::Steer,
};

/// `GET control`: what is in force of a meter.
pub(super) async fn state(State(context): State<Context>, asking: Asking) -> Response<Body> {
    match asking.existing(&context) {
        Ok(m) => as_json(&context.owner.control(m)),
        Err(response) => response,
    }
}

/// `POST control`: changes it, and answers with what is in force then.
pub(super) async fn steer(
    State(context): State<Context>,
    asking: Asking,
    Sent(change): Sent<Steer>,
) -> Response<Body> {
    let m = match asking.existing(&context) {
        Ok(m) => m,
        Err(response) => return response,
    };
    match context.owner.steer(m, change).await {
        Ok(control) => as_json(&control),
        Err(why) => failure(StatusCode::BAD_REQUEST, asking.l.say(&why)),
    }
}
