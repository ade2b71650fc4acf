//! How what is asked for is sent: JSON text, and why there is none.

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

/// What was asked for, or why not.
pub(super) type Answer<T = Response> = Result<T, Response>;

/// JSON text of what can be serialised; an empty object should that fail.
pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

/// What was asked for, as JSON.
pub(super) fn as_json(value: &impl Serialize) -> Response {
    json_text(to_json(value))
}

/// JSON text.
pub(super) fn json_text(text: String) -> Response {
    of_type("application/json", text)
}

/// A body of this media type.
pub(super) fn of_type(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// Whether it is done, and a sentence.
pub(super) fn told(status: StatusCode, text: &str) -> Response {
    let told = json!({ "ok": status == StatusCode::OK, "text": text });
    (status, as_json(&told)).into_response()
}

pub(super) fn failure(status: StatusCode, error: impl Into<String>) -> Response {
    let mut response = (status, as_json(&json!({ "error": error.into() }))).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let after = header::HeaderValue::from_static(background::RETRY_AFTER);
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    response
}

pub(super) fn unreadable(error: &serde_json::Error) -> Response {
    failure(
        StatusCode::BAD_REQUEST,
        format!("the body cannot be read: {error}"),
    )
}
