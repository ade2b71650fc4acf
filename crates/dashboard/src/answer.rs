//! How what is asked for is sent: JSON text, and why there is none.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde::Serialize;

/// JSON text of what can be serialised; an empty object should that fail.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

/// What was asked for, as JSON.
pub(super) fn as_json(value: &impl Serialize) -> Response<Body> {
    json(StatusCode::OK, to_json(value))
}

/// JSON text.
pub(super) fn json(status: StatusCode, text: String) -> Response<Body> {
    text_response(status, "application/json", text)
}

pub(super) fn text_response(
    status: StatusCode,
    kind: &'static str,
    text: String,
) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[derive(Serialize)]
struct Told {
    ok: bool,
    text: String,
}

/// Whether it is done, and a sentence.
pub(super) fn told(status: StatusCode, text: String) -> Response<Body> {
    let ok = status == StatusCode::OK;
    json(status, to_json(&Told { ok, text }))
}

#[derive(Serialize)]
struct Failure {
    error: String,
}

pub(super) fn failure(status: StatusCode, error: String) -> Response<Body> {
    let mut response = json(status, to_json(&Failure { error }));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(
            header::RETRY_AFTER,
            HeaderValue::from_static(background::RETRY_AFTER),
        );
    }
    response
}

pub(super) fn unreadable(error: &serde_json::Error) -> Response<Body> {
    failure(
        StatusCode::BAD_REQUEST,
        format!("the body cannot be read: {error}"),
    )
}
