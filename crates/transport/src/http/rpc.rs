//! The forms of a call over HTTP: bare by GET and POST, whole frames, and the original's own by
//! `legacy_http`.

use std::borrow::Cow;

use axum::{
    body::Body,
    extract::Path,
    http::{Response, StatusCode},
};
use bytes::Bytes;

use super::{
    legacy::{legacy_batch, legacy_frame},
    request::{Asked, silence, status},
};
use crate::endpoint::{Bare, FrameOutcome, closed};
use device::frame::query_to_params;

/// Where a bare call's params stand.
pub(super) enum Params<'a> {
    /// In the query, each value JSON or text.
    Query(Option<&'a str>),
    /// In the body, an object.
    Body(&'a str),
}

/// `GET` or `POST /rpc/<Method>`: a bare result or a bare error, with its status.
pub(super) async fn bare(asked: &Asked, method: &str, params: Params<'_>) -> Response<Body> {
    let legacy = asked.ground.channels.legacy_http;
    let request = match params {
        Params::Query(_) => Bytes::copy_from_slice(asked.target().as_bytes()),
        Params::Body(body) => Bytes::copy_from_slice(body.as_bytes()),
    };
    let text = match params {
        Params::Query(None) => None,
        Params::Query(Some(query))
            if legacy && let Some(batch) = legacy_batch(Some(method), query) =>
        {
            return frames(asked, &Bytes::from(batch)).await;
        }
        // What nearly everybody asks, without a detour through a map.
        Params::Query(Some("id=0")) => Some(Cow::Borrowed(r#"{"id":0}"#)),
        Params::Query(Some(query)) => Some(Cow::Owned(query_to_params(query))),
        Params::Body(body) => Some(Cow::Borrowed(body)),
    };
    let (endpoint, caller) = (&asked.site.endpoint, asked.caller());
    let answering = endpoint.bare(&caller, method, text.as_deref(), request, asked.terms());
    match answering.await {
        Bare::Result(body) => asked.answer(StatusCode::OK, body),
        Bare::Error(refused, body) => asked.answer(status(&refused), body),
        Bare::Unauthorized(challenge) => asked.unauthorized(&challenge, Bytes::new()),
        Bare::Silence => silence(),
    }
}

/// A whole frame, or with `legacy_http` an array of them.
async fn frames(asked: &Asked, body: &Bytes) -> Response<Body> {
    let (endpoint, caller) = (&asked.site.endpoint, asked.caller());
    let spoken = endpoint.frames(&caller, body, asked.terms()).await;
    // Digest clients ask with an empty body first (curl), for the challenge.
    if spoken.verdict == FrameOutcome::Malformed
        && let Err(challenge) = asked.admit()
    {
        return challenge;
    }
    let reply = spoken.reply.map(|text| closed(&text)).unwrap_or_default();
    match spoken.verdict {
        // A frame's error goes out with 200, as the device's; but who looks for `result` alone and
        // takes a missing power for 0 would not notice that there is none, and must.
        FrameOutcome::Answered if spoken.absent => {
            asked.answer(StatusCode::INTERNAL_SERVER_ERROR, reply)
        }
        FrameOutcome::Answered => asked.answer(StatusCode::OK, reply),
        FrameOutcome::Malformed => malformed(asked),
        FrameOutcome::Unauthorized(challenge) => asked.unauthorized(&challenge, reply),
        FrameOutcome::Silence | FrameOutcome::NotNow => silence(),
    }
}

/// The body was no frame: no JSON, no object, or no call.
fn malformed(asked: &Asked) -> Response<Body> {
    let why = "The request is no JSON object with a method";
    asked.refuse(StatusCode::BAD_REQUEST, why)
}

/// `GET /rpc/<Method>`.
pub(super) async fn get(Path(method): Path<String>, asked: Asked) -> Response<Body> {
    bare(&asked, &method, Params::Query(asked.head.uri.query())).await
}

/// `POST /rpc/<Method>`: the query is not read.
pub(super) async fn post(
    Path(method): Path<String>,
    asked: Asked,
    body: Body,
) -> Result<Response<Body>, Response<Body>> {
    let body = asked.read(body).await?;
    let text = std::str::from_utf8(&body).map_err(|_| malformed(&asked))?;
    Ok(bare(&asked, &method, Params::Body(text)).await)
}

/// `POST /rpc`.
pub(super) async fn frame(asked: Asked, body: Body) -> Result<Response<Body>, Response<Body>> {
    let body = asked.read(body).await?;
    Ok(frames(&asked, &body).await)
}

/// `GET /rpc?method=…` of the original.
pub(super) async fn legacy(asked: &Asked) -> Response<Body> {
    let query = asked.head.uri.query().unwrap_or_default();
    let wanted = asked.ground.channels.legacy_http;
    match wanted
        .then(|| legacy_batch(None, query).or_else(|| legacy_frame(query)))
        .flatten()
    {
        Some(body) => frames(asked, &Bytes::from(body)).await,
        None => malformed(asked),
    }
}

/// `GET /shelly`: never protected.
pub(super) async fn shelly(asked: Asked) -> Response<Body> {
    let info = asked.ground.device.info_json(&asked.ground.state);
    asked.answer(StatusCode::OK, closed(info.as_bytes()))
}

/// `OPTIONS`: empty, with the headers that browsers ask for first.
pub(super) async fn options(asked: Asked) -> Response<Body> {
    asked.answer(StatusCode::OK, Bytes::new())
}
