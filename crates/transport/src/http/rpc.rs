//! The forms of a call over HTTP: bare by GET and POST, whole frames, and the original's own by
//! `legacy_http`.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, Response, StatusCode, header, request::Parts as Head},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{
    legacy::{legacy_batch, legacy_frame},
    reply::{JSON, answer, json, silence, status, unauthorized},
    request::{HEAD_TIMEOUT, MAX_BODY, RequestInfo},
    site::{Shared, Site},
};
use crate::{
    endpoint::{Bare, Credentials, FrameOutcome, Terms, closed},
    ground::Ground,
    http::cors,
    listener::Connection,
};
use device::{
    Manner, RpcError,
    frame::{error_json, query_to_params},
};

/// Where a bare call's params stand.
pub(super) enum Params<'a> {
    /// In the query, each value JSON or text.
    Query(Option<&'a str>),
    /// In the body, an object.
    Body(&'a str),
}

impl RequestInfo<'_> {
    /// What the endpoint has to know of this request.
    pub(super) fn terms(&self) -> Terms<'_> {
        let credentials = Credentials::Header {
            value: self
                .headers
                .get(header::AUTHORIZATION)
                .and_then(|h| h.to_str().ok()),
            method: self.method.as_str(),
            uri: self.uri,
        };
        let settings = &self.ground.channels;
        Terms {
            credentials,
            foreign: cors::foreign(self.headers, &settings.cors_origins),
            manner: Manner::http(settings.strict_minimal_payload),
            batches: settings.legacy_http,
            rate: Some(&self.site.rate),
            ..Terms::on(&self.ground)
        }
    }
}

/// `GET` or `POST /rpc/<Method>`: a bare result or a bare error, with its status.
pub(super) async fn bare(
    asked: &RequestInfo<'_>,
    method: &str,
    params: Params<'_>,
) -> Response<Body> {
    let (site, ground) = (asked.site, &asked.ground);
    let legacy = ground.channels.legacy_http;
    let request = match params {
        Params::Query(_) => Bytes::copy_from_slice(asked.uri.as_bytes()),
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
    match site
        .endpoint
        .bare(
            &asked.caller,
            method,
            text.as_deref(),
            request,
            asked.terms(),
        )
        .await
    {
        Bare::Result(body) => answer(ground, asked.headers, StatusCode::OK, JSON, body),
        Bare::Error(refused, body) => answer(ground, asked.headers, status(&refused), JSON, body),
        Bare::Unauthorized(challenge) => {
            unauthorized(ground, asked.headers, &challenge, Bytes::new())
        }
        Bare::Silence => silence(),
    }
}

/// A whole frame, or with `legacy_http` an array of them.
pub(super) async fn frames(asked: &RequestInfo<'_>, body: &Bytes) -> Response<Body> {
    let (site, ground) = (asked.site, &asked.ground);
    let spoken = site
        .endpoint
        .frames(&asked.caller, body, asked.terms())
        .await;
    // Digest clients ask with an empty body first (curl), for the challenge.
    if spoken.verdict == FrameOutcome::Malformed
        && let Err(challenge) = site.endpoint.admit(&asked.caller, &asked.terms())
    {
        return unauthorized(ground, asked.headers, &challenge, Bytes::new());
    }
    let reply = spoken.reply.map(|text| closed(&text)).unwrap_or_default();
    match spoken.verdict {
        // A frame's error goes out with 200, as the device's; but who looks for `result` alone and
        // takes a missing power for 0 would not notice that there is none, and must.
        FrameOutcome::Answered if spoken.absent => answer(
            ground,
            asked.headers,
            StatusCode::INTERNAL_SERVER_ERROR,
            JSON,
            reply,
        ),
        FrameOutcome::Answered => answer(ground, asked.headers, StatusCode::OK, JSON, reply),
        FrameOutcome::Malformed => malformed(ground, asked.headers),
        FrameOutcome::Unauthorized(challenge) => {
            unauthorized(ground, asked.headers, &challenge, reply)
        }
        FrameOutcome::Silence | FrameOutcome::NotNow => silence(),
    }
}

/// The body was no frame: no JSON, no object, or no call.
fn malformed(ground: &Ground, headers: &HeaderMap) -> Response<Body> {
    let refused = RpcError {
        code: 400,
        message: "The request is no JSON object with a method".into(),
    };
    json(
        ground,
        headers,
        StatusCode::BAD_REQUEST,
        error_json(&refused).as_bytes(),
    )
}

/// `GET /rpc/<Method>`.
pub(super) async fn get(
    State(site): Shared,
    Extension(connection): Extension<Arc<Connection>>,
    Path(method): Path<String>,
    head: Head,
) -> Response<Body> {
    bare(
        &RequestInfo::of(&site, &connection, &head),
        &method,
        Params::Query(head.uri.query()),
    )
    .await
}

/// `POST /rpc/<Method>`: the query is not read.
pub(super) async fn post(
    State(site): Shared,
    Extension(connection): Extension<Arc<Connection>>,
    Path(method): Path<String>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let asked = RequestInfo::of(&site, &connection, &head);
    match read(&asked, body).await {
        Ok(body) => match std::str::from_utf8(&body) {
            Ok(text) => bare(&asked, &method, Params::Body(text)).await,
            Err(_) => malformed(&asked.ground, &head.headers),
        },
        Err(refused) => refused,
    }
}

/// `POST /rpc`.
pub(super) async fn frame(
    State(site): Shared,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let asked = RequestInfo::of(&site, &connection, &head);
    match read(&asked, body).await {
        Ok(body) => frames(&asked, &body).await,
        Err(refused) => refused,
    }
}

/// `GET /rpc?method=…` of the original.
pub(super) async fn legacy(
    site: &Arc<Site>,
    connection: &Arc<Connection>,
    head: &Head,
) -> Response<Body> {
    let asked = RequestInfo::of(site, connection, head);
    let query = head.uri.query().unwrap_or_default();
    let wanted = asked.ground.channels.legacy_http;
    match wanted
        .then(|| legacy_batch(None, query).or_else(|| legacy_frame(query)))
        .flatten()
    {
        Some(body) => frames(&asked, &Bytes::from(body)).await,
        None => malformed(&asked.ground, &head.headers),
    }
}

/// `GET /shelly`: never protected.
pub(super) async fn shelly(State(site): Shared, headers: HeaderMap) -> Response<Body> {
    json(
        &site.endpoint.ground(),
        &headers,
        StatusCode::OK,
        site.endpoint.info().as_bytes(),
    )
}

/// `OPTIONS`: empty, with the headers that browsers ask for first.
pub(super) async fn options(State(site): Shared, headers: HeaderMap) -> Response<Body> {
    answer(
        &site.endpoint.ground(),
        &headers,
        StatusCode::OK,
        JSON,
        Bytes::new(),
    )
}

/// The body, if it is small and comes in time.
pub(super) async fn read(asked: &RequestInfo<'_>, body: Body) -> Result<Bytes, Response<Body>> {
    let refuse = |status: StatusCode, text: &str| {
        let refused = RpcError {
            code: i32::from(status.as_u16()),
            message: text.to_owned(),
        };
        json(
            &asked.ground,
            asked.headers,
            status,
            error_json(&refused).as_bytes(),
        )
    };
    match tokio::time::timeout(HEAD_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Body is larger than 64 KiB",
        )),
        Ok(Err(_)) => Err(refuse(StatusCode::BAD_REQUEST, "Body is incomplete")),
        Err(_) => Err(refuse(
            StatusCode::REQUEST_TIMEOUT,
            "Body did not come within 10 s",
        )),
    }
}
