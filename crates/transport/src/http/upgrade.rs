//! From HTTP to WebSocket: `/rpc`, and any path of a fan-out port.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, ws::WebSocketUpgrade},
    http::{HeaderMap, Response, StatusCode, header},
    response::IntoResponse,
};
use tracing::{Instrument, Span};

use super::{
    cors,
    request::{Asked, caller},
    rpc,
};
use crate::ws::{self, MAX_MESSAGE, Opening, READ_BUFFER, Rules};
use consumers::Channel;
use device::notify::Kind;

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// `GET /rpc`: a WebSocket if one is asked for, else the original's query form.
pub(super) async fn or_legacy(asked: Asked) -> Response<Body> {
    if !wants_upgrade(&asked.head.headers) {
        return rpc::legacy(&asked).await;
    }
    let passive = asked.ground.channels.ws_passive_after;
    upgrade(asked, passive.map_or(Opening::Device, Opening::Passive)).await
}

/// A fan-out port: a WebSocket whatever the path.
pub(super) async fn any_path(asked: Asked) -> Response<Body> {
    if !wants_upgrade(&asked.head.headers) {
        let hint = "This port speaks RPC over WebSocket only";
        return asked.refuse(StatusCode::NOT_FOUND, hint);
    }
    let settings = &asked.ground.channels;
    let opening = match settings.ws_passive_after {
        // With authentication nobody is pushed to before a valid frame.
        _ if settings.ws_push_on_connect && !asked.ground.auth_on() => {
            Opening::AtOnce(Kind::Passive, None)
        }
        Some(after) => Opening::Passive(after),
        None => Opening::Device,
    };
    upgrade(asked, opening).await
}

async fn upgrade(asked: Asked, opening: Opening) -> Response<Body> {
    let Asked {
        site,
        connection,
        mut head,
        ground,
        ..
    } = asked;
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let foreign = cors::foreign(&head.headers, &ground.channels.cors_origins);
    let rules = Rules {
        opening,
        ask_password: true,
        foreign,
        rate: Some(Arc::clone(&site.rate)),
        introduced: None,
    };
    let caller = caller(&connection, &head.headers, Channel::Websocket);
    let close = connection.close.child_token();
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
