//! From HTTP to WebSocket: `/rpc`, and any path of a fan-out port.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{FromRequestParts, State, ws::WebSocketUpgrade},
    http::{HeaderMap, Response, StatusCode, header, request::Parts as Head},
    response::IntoResponse,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{
    cors,
    reply::json,
    request::caller,
    rpc,
    site::{Shared, Site},
};
use crate::{
    listener::Connection,
    ws::{self, MAX_MESSAGE, Opening, READ_BUFFER, Rules},
};
use consumers::Channel;
use device::{RpcError, frame::error_json, notify::Kind};

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// `GET /rpc`: a WebSocket if one is asked for, else the original's query form.
pub(super) async fn or_legacy(
    State(site): Shared,
    Extension(connection): Extension<Arc<Connection>>,
    head: Head,
) -> Response<Body> {
    if !wants_upgrade(&head.headers) {
        return rpc::legacy(&site, &connection, &head).await;
    }
    let passive = site.endpoint.ground().channels.ws_passive_after;
    upgrade(
        site,
        connection,
        head,
        passive.map_or(Opening::Device, Opening::Passive),
    )
    .await
}

/// A fan-out port: a WebSocket whatever the path.
pub(super) async fn any_path(
    State(site): Shared,
    Extension(connection): Extension<Arc<Connection>>,
    head: Head,
) -> Response<Body> {
    if !wants_upgrade(&head.headers) {
        let hint = RpcError {
            code: 404,
            message: "This port speaks RPC over WebSocket only".into(),
        };
        return json(
            &site.endpoint.ground(),
            &head.headers,
            StatusCode::NOT_FOUND,
            error_json(&hint).as_bytes(),
        );
    }
    let opening = {
        let ground = site.endpoint.ground();
        match ground.channels.ws_passive_after {
            // With authentication nobody is pushed to before a valid frame.
            _ if ground.channels.ws_push_on_connect && !ground.auth_on() => {
                Opening::AtOnce(Kind::Passive, None)
            }
            Some(after) => Opening::Passive(after),
            None => Opening::Device,
        }
    };
    upgrade(site, connection, head, opening).await
}

async fn upgrade(
    site: Arc<Site>,
    connection: Arc<Connection>,
    mut head: Head,
    opening: Opening,
) -> Response<Body> {
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let ground = site.endpoint.ground();
    let foreign = cors::foreign(&head.headers, &ground.channels.cors_origins);
    let rules = Rules {
        opening,
        ask_password: true,
        foreign,
        rate: Some(Arc::clone(&site.rate)),
        introduced: None,
    };
    let caller = caller(&connection, &head.headers, Channel::Websocket);
    let close: CancellationToken = connection.close.child_token();
    // The listener may be another meter's: a reboot of this one ends its sockets too.
    let over = ground.boot.over.clone();
    // From now on, so that no stop comes between the upgrade and the conversation.
    let conversing = site.sockets.token();
    let span = Span::current();
    // The sub-protocol may be offered; it is not required.
    upgrade
        .protocols(["json-rpc"])
        .read_buffer_size(READ_BUFFER)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| {
            let conversation = async move {
                let rebooted = async {
                    over.cancelled().await;
                    close.cancel();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    _ = ws::converse(socket, &site.endpoint, &caller, &rules, &close) => {}
                    () = rebooted => {}
                }
                drop(conversing);
            };
            conversation.instrument(span)
        })
}
