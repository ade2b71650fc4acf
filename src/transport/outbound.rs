//! Outbound WebSockets: the meter dials, as a Victron GX needs for its grid role (`consumers.md` section 2).
//!
//! A GX that has lost a connection shows frozen values for ever, so a socket is kept through everything that does
//! not need it closed (a stale source included) and dialled again at once when it breaks.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, client_async_tls_with_config,
    tungstenite::{
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    board::{Board, Line, ListenerState},
    endpoint::Endpoint,
    ws::{self, MAX_MESSAGE, Opening, READ_BUFFER, Rules},
};
use crate::{
    consumers::{Caller, Channel},
    device::notify::Kind,
    tls,
};

/// For connecting and the upgrade.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A connection that lived so long is dialled again at once when it breaks.
const STEADY: Duration = Duration::from_secs(30);
/// `dst` of what is pushed there (`shelly-pro-3em.md` section 2.3).
const DST: &str = "ws";

/// One server to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// `ws://host:port/path` or `wss://…`.
    pub url: String,
    /// No certificate check (`ssl_ca: "*"`).
    pub insecure: bool,
}

/// Dials what options name in `fixed`, or, where they name nothing, what `Ws.SetConfig` says; until cancelled.
pub async fn run(fixed: Vec<Target>, endpoint: Arc<Endpoint>, board: Board, cancel: CancellationToken) {
    let mut state = endpoint.state.clone();
    let mut running: Option<(Vec<Target>, CancellationToken, JoinSet<()>)> = None;
    loop {
        let wanted = if fixed.is_empty() { by_config(&state.borrow_and_update().ws) } else { fixed.clone() };
        if running.as_ref().is_none_or(|(targets, ..)| *targets != wanted) {
            if let Some((old, stop, mut tasks)) = running.take() {
                stop.cancel();
                while tasks.join_next().await.is_some() {}
                old.iter().for_each(|t| board.set(line(&endpoint, t, ListenerState::Off)));
            }
            let stop = cancel.child_token();
            let mut tasks = JoinSet::new();
            for target in wanted.clone() {
                tasks.spawn(keep_up(target, Arc::clone(&endpoint), board.clone(), stop.clone()));
            }
            running = Some((wanted, stop, tasks));
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            changed = state.changed() => if changed.is_err() { break },
        }
    }
    if let Some((_, stop, mut tasks)) = running {
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }
}

fn by_config(ws: &crate::device::state::WsConfig) -> Vec<Target> {
    let insecure = ws.ssl_ca.as_deref() == Some("*");
    ws.server.iter().filter(|_| ws.enable).map(|url| Target { url: url.clone(), insecure }).collect()
}

fn line(endpoint: &Endpoint, target: &Target, state: ListenerState) -> Line {
    Line { name: "outbound", meter: endpoint.meter.clone(), address: target.url.clone(), port: 0, state }
}

/// Dials one target for ever.
async fn keep_up(target: Target, endpoint: Arc<Endpoint>, board: Board, cancel: CancellationToken) {
    let mut pause = Duration::ZERO;
    let mut said: Option<String> = None;
    while !cancel.is_cancelled() {
        let lived = tokio::select! {
            () = cancel.cancelled() => return,
            dialled = timeout(HANDSHAKE, dial(&target)) => match dialled.unwrap_or_else(|_| Err("no answer within 10 s".to_owned())) {
                Ok((socket, caller)) => {
                    info!("outbound WebSocket to {} is up", target.url);
                    said = None;
                    board.set(line(&endpoint, &target, ListenerState::Listening));
                    let since = Instant::now();
                    endpoint.outbound_up.fetch_add(1, Ordering::Relaxed);
                    let rules = Rules {
                        opening: Opening::AtOnce(Kind::Outbound, Some(DST.into())),
                        ask_password: endpoint.channels.borrow().auth_outbound,
                        foreign: false,
                        rate: None,
                    };
                    let ended = ws::converse(socket, &endpoint, &caller, &rules, &cancel).await;
                    endpoint.outbound_up.fetch_sub(1, Ordering::Relaxed);
                    if cancel.is_cancelled() {
                        return;
                    }
                    warn!("outbound WebSocket to {} ended ({ended:?}), dialling again", target.url);
                    since.elapsed()
                }
                Err(why) => {
                    if said.as_ref() != Some(&why) {
                        warn!("outbound WebSocket to {} cannot be opened: {why}; trying on, at least every minute", target.url);
                    }
                    board.set(line(&endpoint, &target, ListenerState::Waiting { reason: why.clone() }));
                    said = Some(why);
                    Duration::ZERO
                }
            },
        };
        pause = if lived >= STEADY { Duration::ZERO } else { (pause * 2).clamp(Duration::from_secs(1), MAX_PAUSE) };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

type Socket = tokio_tungstenite::WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn dial(target: &Target) -> Result<(Socket, Caller), String> {
    let mut request: Request = target.url.as_str().into_client_request().map_err(|e| format!("not a WebSocket address: {e}"))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("json-rpc"));
    let uri = request.uri();
    let host = uri.host().ok_or("the address names no host")?.trim_matches(['[', ']']).to_owned();
    let secure = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| e.to_string())?;
    let _ = stream.set_nodelay(true);
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let (peer, local) = (stream.peer_addr().unwrap_or(nowhere), stream.local_addr().unwrap_or(nowhere));
    let connector = if secure { Connector::Rustls(tls::client(target.insecure)?) } else { Connector::Plain };
    let limits = WebSocketConfig::default().read_buffer_size(READ_BUFFER).max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    // A server that does not take up the offered sub-protocol is as good: a GX names none.
    let (socket, _) = match client_async_tls_with_config(request, stream, Some(limits), Some(connector.clone())).await {
        Ok(open) => open,
        Err(tokio_tungstenite::tungstenite::Error::Protocol(_)) => {
            let plain = target.url.as_str().into_client_request().map_err(|e| e.to_string())?;
            let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| e.to_string())?;
            client_async_tls_with_config(plain, stream, Some(limits), Some(connector)).await.map_err(|e| e.to_string())?
        }
        Err(error) => return Err(error.to_string()),
    };
    let caller = Caller {
        peer: IpAddr::to_canonical(&peer.ip()),
        peer_port: peer.port(),
        local: Some(local.ip().to_canonical()),
        local_port: local.port(),
        channel: Channel::Outbound,
        agent: None,
    };
    Ok((socket, caller))
}
