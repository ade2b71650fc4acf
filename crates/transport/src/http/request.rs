//! A request as far as it concerns who asks and how.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, Method, Uri, header, request::Parts as Head};

use super::site::Site;
use crate::{ground::Ground, listener::Connection};
use consumers::{Caller, Channel};

/// Largest request body.
pub const MAX_BODY: usize = 64 * 1024;
/// A request's head, and then its body, has to be there within this time.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A request as far as it concerns who asks and how.
pub(super) struct RequestInfo<'a> {
    pub(super) site: &'a Site,
    pub(super) method: &'a Method,
    /// As sent, query included: the digest is over it.
    pub(super) uri: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) caller: Caller,
    pub(super) ground: Arc<Ground>,
}

impl<'a> RequestInfo<'a> {
    pub(super) fn of(site: &'a Site, connection: &Connection, head: &'a Head) -> Self {
        Self {
            site,
            method: &head.method,
            uri: target(&head.uri),
            headers: &head.headers,
            caller: caller(connection, &head.headers, Channel::Http),
            ground: site.endpoint.ground(),
        }
    }
}

pub(super) fn target(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |target| target.as_str())
}

/// Who sends these headers over this connection.
#[must_use]
pub fn caller(connection: &Connection, headers: &HeaderMap, channel: Channel) -> Caller {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|a| a.to_str().ok());
    Caller {
        peer: connection.peer.ip(),
        peer_port: connection.peer.port(),
        local: Some(connection.local.ip()),
        local_port: connection.local.port(),
        channel,
        agent: agent.map(|a| a.chars().take(128).collect::<String>().into()),
    }
}
