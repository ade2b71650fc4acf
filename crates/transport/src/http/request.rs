//! A request with who sends it and what it stands on, and how it is answered as the device answers.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{FromRequestParts, rejection::ExtensionRejection},
    http::{
        HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
        request::Parts as Head,
    },
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{cors, site::Site};
use crate::{
    endpoint::{Credentials, Terms, closed, connected_caller},
    ground::Ground,
    lenient,
    listener::Connection,
};
use background::RETRY_AFTER;
use consumers::{Caller, Channel};
use device::{Manner, RpcError, auth, frame::error_json};

/// Largest request body.
pub const MAX_BODY: usize = 64 * 1024;
/// A request's head, and then its body, has to be there within this time.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Marks an answer that must not be sent.
#[derive(Clone, Copy)]
pub(super) struct Silence;

pub(super) fn silence() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Silence);
    response
}

/// A request with who sends it and what it stands on.
pub(super) struct Asked {
    pub(super) site: Arc<Site>,
    pub(super) connection: Arc<Connection>,
    pub(super) head: Head,
    pub(super) ground: Arc<Ground>,
}

impl FromRequestParts<Arc<Site>> for Asked {
    type Rejection = ExtensionRejection;

    /// Takes the head away: what is extracted after it is the body, to be read by [`Asked::read`].
    async fn from_request_parts(
        head: &mut Head,
        site: &Arc<Site>,
    ) -> Result<Self, Self::Rejection> {
        let connection = Extension::<Arc<Connection>>::from_request_parts(head, site).await?;
        let (nothing, ()) = Request::new(()).into_parts();
        Ok(Self {
            site: Arc::clone(site),
            connection: connection.0,
            head: std::mem::replace(head, nothing),
            ground: site.endpoint.ground(),
        })
    }
}

impl Asked {
    pub(super) fn caller(&self) -> Caller {
        caller(&self.connection, &self.head.headers, Channel::Http)
    }

    /// The target, query included.
    pub(super) fn target(&self) -> &str {
        target(&self.head.uri)
    }

    /// What the endpoint has to know of this request.
    pub(super) fn terms(&self) -> Terms<'_> {
        let headers = &self.head.headers;
        let settings = &self.ground.channels;
        Terms {
            credentials: credentials(&self.head.method, &self.head.uri, headers),
            foreign: cors::foreign(headers, &settings.cors_origins),
            manner: Manner::http(settings.strict_minimal_payload),
            batches: settings.legacy_http,
            rate: Some(&self.site.rate),
            ..Terms::on(&self.ground)
        }
    }

    /// Lets in who knows the password, where one is set.
    ///
    /// # Errors
    /// With the answer to whom does not.
    pub(super) fn admit(&self) -> Result<(), Response<Body>> {
        let admitted = self.site.endpoint.admit(&self.caller(), &self.terms());
        admitted.map_err(|challenge| self.unauthorized(&challenge, Bytes::new()))
    }

    /// The body, if it is small and comes in time.
    ///
    /// # Errors
    /// With the answer that says why not.
    pub(super) async fn read(&self, body: Body) -> Result<Bytes, Response<Body>> {
        let body = Limited::new(body, MAX_BODY);
        let (status, why) = match tokio::time::timeout(HEAD_TIMEOUT, body.collect()).await {
            Ok(Ok(body)) => return Ok(body.to_bytes()),
            Ok(Err(e)) if e.is::<LengthLimitError>() => {
                (StatusCode::PAYLOAD_TOO_LARGE, "Body is larger than 64 KiB")
            }
            Ok(Err(_)) => (StatusCode::BAD_REQUEST, "Body is incomplete"),
            Err(_) => (StatusCode::REQUEST_TIMEOUT, "Body did not come within 10 s"),
        };
        Err(self.refuse(status, why))
    }

    /// An answer of the device: JSON text, [`closed`], or nothing.
    pub(super) fn answer(&self, status: StatusCode, body: Bytes) -> Response<Body> {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        let origin = self.head.headers.get(header::ORIGIN);
        cors::allow(headers, &self.ground.channels.cors_origins, origin);
        response
    }

    /// The device's error with its status (`docs/protocol/http.md#status`).
    pub(super) fn error(&self, error: &RpcError) -> Response<Body> {
        let status = status(error);
        let mut response = self.answer(status, closed(error_json(error).as_bytes()));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let after = HeaderValue::from_static(RETRY_AFTER);
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        response
    }

    /// An error whose code is that of HTTP.
    pub(super) fn refuse(&self, status: StatusCode, why: &str) -> Response<Body> {
        let error = RpcError::new(status.as_u16().into(), why);
        self.answer(status, closed(error_json(&error).as_bytes()))
    }

    /// 401 with the challenge.
    pub(super) fn unauthorized(&self, challenge: &str, body: Bytes) -> Response<Body> {
        let mut response = self.answer(StatusCode::UNAUTHORIZED, body);
        if let Ok(challenge) = HeaderValue::from_str(challenge) {
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

pub(super) fn status(error: &RpcError) -> StatusCode {
    StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |target| target.as_str())
}

/// What a request shows for itself.
#[must_use]
pub fn credentials<'a>(
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Credentials<'a> {
    let value = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    // The digest is over the target as sent: what was mended on its way in stands unmended in the
    // caller's own header.
    let target = target(uri);
    let sent = value
        .and_then(auth::header_uri)
        .filter(|sent| lenient::encoded(sent.as_bytes()) == target);
    Credentials::Header {
        value,
        method: method.as_str(),
        uri: sent.unwrap_or(target),
    }
}

/// Who sends these headers over this connection.
#[must_use]
pub fn caller(connection: &Connection, headers: &HeaderMap, channel: Channel) -> Caller {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|a| a.to_str().ok());
    Caller {
        agent: agent.map(|a| a.chars().take(128).collect::<String>().into()),
        ..connected_caller(channel, connection.peer, connection.local)
    }
}
