//! What automations set at run time, over HTTP (`docs/mqtt.md#over-http`).

use axum::{extract::State, http::StatusCode};

use super::{
    answer::{Answer, as_json, failure},
    asking::{Asking, Sent},
    context::Context,
    owner::Steer,
};

/// `GET control`: what is in force of a meter.
pub(super) async fn state(State(context): State<Context>, asking: Asking) -> Answer {
    Ok(as_json(&context.owner.control(asking.existing()?)))
}

/// `POST control`: changes it, and answers with what is in force then.
pub(super) async fn steer(
    State(context): State<Context>,
    asking: Asking,
    Sent(change): Sent<Steer>,
) -> Answer {
    let steered = context.owner.steer(asking.existing()?, change).await;
    match steered {
        Ok(control) => Ok(as_json(&control)),
        Err(why) => Err(failure(StatusCode::BAD_REQUEST, asking.l.say(&why))),
    }
}
