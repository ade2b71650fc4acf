//! Answers as the device sends them.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;

use super::cors;
use crate::{endpoint::closed, ground::Ground};
use background::RETRY_AFTER;
use device::{RpcError, frame::error_json};

/// Marks an answer that must not be sent.
#[derive(Clone, Copy)]
pub(super) struct Silence;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of the device: JSON text.
pub(super) fn json(
    ground: &Ground,
    headers: &HeaderMap,
    status: StatusCode,
    text: &[u8],
) -> Response<Body> {
    answer(ground, headers, status, JSON, closed(text))
}

pub(super) fn answer(
    ground: &Ground,
    headers: &HeaderMap,
    status: StatusCode,
    kind: HeaderValue,
    body: Bytes,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    cors::allow(
        response.headers_mut(),
        &ground.channels.cors_origins,
        headers.get(header::ORIGIN),
    );
    response
}

/// A bare error with its status (`docs/protocol/http.md#status`).
pub(super) fn error(ground: &Ground, headers: &HeaderMap, error: &RpcError) -> Response<Body> {
    let status = status(error);
    let mut response = json(ground, headers, status, error_json(error).as_bytes());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    response
}

pub(super) fn status(error: &RpcError) -> StatusCode {
    StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn silence() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Silence);
    response
}

/// 401 with the challenge.
pub(super) fn unauthorized(
    ground: &Ground,
    headers: &HeaderMap,
    challenge: &str,
    body: Bytes,
) -> Response<Body> {
    let mut response = answer(ground, headers, StatusCode::UNAUTHORIZED, JSON, body);
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
