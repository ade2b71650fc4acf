//! Outbound WebSockets: the meter dials, as a Victron GX needs for its grid role
//! (`docs/protocol/readers.md#victron-outbound-websocket`).
//!
//! A GX that has lost a connection shows the figures of before until its driver is restarted, so a
//! socket is kept through everything that does not need it closed (a stale source included) and
//! dialled again at once when it breaks. Where there was a gap all the same, log and readers say
//! so.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        client::IntoClientRequest,
        handshake::{
            client::{Request, Response, generate_request},
            derive_accept_key,
            machine::TryParse,
        },
        http::{
            HeaderValue, StatusCode,
            header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
        },
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, error_span, info, warn};

use super::{
    board::{Board, Line, ListenerState, Place},
    endpoint::{Endpoint, connected_caller},
    ws::{self, Ended, MAX_MESSAGE, Opening, Rules},
};
use consumers::{Caller, Channel};
use device::{notify::Kind, target};
use outgoing::tls;
use vocab::{
    mask_url,
    reason::{BadTarget, Cause, Closed},
};

/// For name, connection and upgrade.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For the connection: a host that comes back is asked again soon, and not when the system's last
/// try is over.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest pause between two attempts; the device's grows to 60 s. With [`CONNECT`] a GX that came
/// back is met within 5 s.
const MAX_PAUSE: Duration = Duration::from_secs(3);
/// A connection that lived so long is dialled again at once when it breaks, a shorter one once in
/// this time.
const STEADY: Duration = Duration::from_secs(30);
/// `dst` of what is pushed there (`docs/protocol/websocket.md#outbound`).
const DST: &str = "ws";
/// What the device offers in its upgrade.
const SUB_PROTOCOL: &str = "json-rpc";
/// Longest answer to an upgrade.
const MAX_HEAD: usize = 16 * 1024;

/// One server to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// `ws://host:port/path` or `wss://…`.
    pub url: String,
    /// No certificate check (`ssl_ca: "*"`).
    pub insecure: bool,
    /// It may be this host or a link-local address: an option names it, or lets readers do so.
    pub local: bool,
}

impl Target {
    /// For log and pages: the URL without user, password and what its query holds.
    fn shown(&self) -> String {
        mask_url(&self.url)
    }
}

/// Which servers are a Victron GX that has known this meter, kept over a restart of ours.
pub trait Memory: Send + Sync {
    /// Whether this server, as shown, is one whose driver has not been restarted since.
    fn knows(&self, meter: &str, server: &str) -> bool;
    /// Keeps that it is one, or that it is none (any more).
    fn keep(&self, meter: &str, server: &str, known: bool);
}

/// Dials what options name in `fixed`, or, where they name nothing, what `Ws.SetConfig` says; until
/// cancelled.
///
/// A change of either is followed at once; a target that stays keeps its connection.
pub async fn run(
    mut fixed: watch::Receiver<Arc<[Target]>>,
    endpoint: Arc<Endpoint>,
    memory: Arc<dyn Memory>,
    board: Board,
    cancel: CancellationToken,
) {
    let mut grounds = endpoint.watch();
    let mut running: BTreeMap<Target, Kept> = BTreeMap::new();
    loop {
        let named = Arc::clone(&fixed.borrow_and_update());
        let ground = endpoint.ground();
        let (ws, local) = (&ground.state.ws, ground.channels.outbound_ws_local);
        let wanted = if named.is_empty() {
            by_config(ws, local)
        } else {
            named.to_vec()
        };
        let gone: Vec<(Target, Kept)> = running
            .extract_if(.., |target, _| !wanted.contains(target))
            .collect();
        gone.iter().for_each(|(_, kept)| kept.stop.cancel());
        for (target, kept) in gone {
            let _ = kept.task.await;
            // Another one may look the same without its token: the line is its own then.
            if running.keys().any(|other| other.shown() == target.shown()) {
                continue;
            }
            if named.is_empty() && ws.server.as_ref() == Some(&target.url) {
                let off = ListenerState::Off { by: "Ws.SetConfig" };
                board.set(line(&endpoint, &target, off));
            } else {
                board.remove(&line(&endpoint, &target, ListenerState::Listening));
            }
        }
        for target in wanted {
            running.entry(target).or_insert_with_key(|target| {
                let stop = cancel.child_token();
                let work = keep_up(
                    target.clone(),
                    Arc::clone(&endpoint),
                    Arc::clone(&memory),
                    board.clone(),
                    stop.clone(),
                );
                let span = error_span!("outbound", server = %target.shown());
                Kept {
                    task: AbortOnDropHandle::new(tokio::spawn(work.instrument(span))),
                    stop,
                }
            });
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            Ok(()) = fixed.changed() => {}
            changed = grounds.wait_for(|now| now.state.ws != *ws || now.channels.outbound_ws_local != local) => {
                if changed.is_err() { break }
            }
        }
    }
    running.values().for_each(|kept| kept.stop.cancel());
    for kept in running.into_values() {
        let _ = kept.task.await;
    }
}

/// A target that is being dialled.
struct Kept {
    task: AbortOnDropHandle<()>,
    stop: CancellationToken,
}

fn by_config(ws: &device::state::WsConfig, local: bool) -> Vec<Target> {
    let insecure = ws.ssl_ca.as_deref() == Some("*");
    ws.server
        .iter()
        .filter(|_| ws.enable)
        .map(|url| Target {
            url: url.clone(),
            insecure,
            local,
        })
        .collect()
}

fn line(endpoint: &Endpoint, target: &Target, state: ListenerState) -> Line {
    Line {
        name: "outbound",
        meter: endpoint.meter.clone(),
        address: Place::Named(target.shown()),
        port: 0,
        state,
    }
}

/// Dials one target for ever.
async fn keep_up(
    target: Target,
    endpoint: Arc<Endpoint>,
    memory: Arc<dyn Memory>,
    board: Board,
    cancel: CancellationToken,
) {
    let (mut pace, shown) = (Pace::default(), target.shown());
    let mut said: Option<Closed> = None;
    let tell = |state| board.set(line(&endpoint, &target, state));
    loop {
        let dialled = tokio::select! {
            () = cancel.cancelled() => return,
            dialled = timeout(HANDSHAKE, dial(&target)) => dialled.unwrap_or_else(|_| Err(late(HANDSHAKE).into())),
        };
        let lived = match dialled {
            Ok((socket, caller)) => {
                info!("the outbound WebSocket is up");
                said = None;
                tell(ListenerState::Listening);
                let since = Instant::now();
                let ended =
                    speak(socket, &endpoint, &caller, memory.as_ref(), &shown, &cancel).await;
                if cancel.is_cancelled() {
                    return;
                }
                warn!("the outbound WebSocket ended ({ended:?}), dialling again");
                tell(ListenerState::waiting(Closed::Ended));
                Some(since.elapsed())
            }
            Err(Failed { why, refused }) => {
                if refused {
                    // The driver itself is down: the next one that answers there begins anew.
                    memory.keep(&endpoint.meter, &shown, false);
                }
                if said.as_ref() != Some(&why) {
                    let every = MAX_PAUSE.as_secs();
                    warn!(
                        "the outbound WebSocket cannot be opened: {why}; trying on every {every} s"
                    );
                }
                tell(ListenerState::waiting(why.clone()));
                said = Some(why);
                None
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(pace.next(lived, Instant::now())) => {}
        }
    }
}

/// Talks on one connection; `ws.connected` says so meanwhile.
async fn speak(
    socket: Socket,
    endpoint: &Arc<Endpoint>,
    caller: &Caller,
    memory: &dyn Memory,
    shown: &str,
    cancel: &CancellationToken,
) -> Ended {
    endpoint.outbound_up.fetch_add(1, Ordering::Relaxed);
    let introduced = Arc::new(Notify::new());
    let rules = Rules {
        opening: Opening::AtOnce(Kind::Outbound, Some(DST.into())),
        ask_password: endpoint.ground().channels.auth_outbound,
        foreign: false,
        rate: None,
        introduced: Some(Arc::clone(&introduced)),
    };
    let meeting = async {
        introduced.notified().await;
        let again = memory.knows(&endpoint.meter, shown);
        let gx = endpoint.consumers.introduced(caller, again);
        if gx && again {
            warn!(
                "the Victron GX is back after a gap; unless its Shelly driver was restarted meanwhile, it goes on \
                 showing the figures of before: restart it there (svc -t /service/dbus-shelly) or restart the GX; Modbus TCP needs no \
                 restart (docs/consumers/victron.md)"
            );
        }
        memory.keep(&endpoint.meter, shown, gx);
        std::future::pending::<std::convert::Infallible>().await
    };
    let ended = tokio::select! {
        ended = ws::converse(socket, endpoint, caller, &rules, cancel) => ended,
        never = meeting => match never {},
    };
    endpoint.outbound_up.fetch_sub(1, Ordering::Relaxed);
    ended
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a server was not reached.
struct Failed {
    why: Closed,
    /// The host answers, and nobody listens there.
    refused: bool,
}

impl From<Closed> for Failed {
    fn from(why: Closed) -> Self {
        Self {
            why,
            refused: false,
        }
    }
}

fn late(patience: Duration) -> Closed {
    Closed::Late {
        n: patience.as_secs(),
    }
}

/// What the system or a library said.
fn system(error: &(dyn std::error::Error + 'static)) -> Closed {
    let error = Cause::of(error);
    Closed::System { error }
}

fn said(error: &impl ToString) -> Cause {
    Cause::said(error.to_string())
}

/// A connection to the first address of `host` that takes one. Where readers set the target, a name
/// may stand for this host too: then it is not tried, so that what is said is the same whatever
/// listens there.
async fn connect(target: &Target, host: &str, port: u16) -> Result<TcpStream, Failed> {
    if !target.local {
        // A server kept by an older version was looked at less closely.
        target::check(&target.url, false).map_err(|why| Closed::Target { why })?;
    }
    let mut failed = Failed::from(Closed::NoAddress);
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|e| Closed::System {
        error: Cause::of_lookup(&e),
    })?;
    for address in found {
        if !target.local && target::is_near(address.ip()) {
            failed = Closed::Target {
                why: BadTarget::Near,
            }
            .into();
            continue;
        }
        failed = match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => Failed {
                refused: error.kind() == std::io::ErrorKind::ConnectionRefused,
                why: system(&error),
            },
            Err(_) => late(CONNECT).into(),
        };
    }
    Err(failed)
}

async fn dial(target: &Target) -> Result<(Socket, Caller), Failed> {
    let mut request: Request = target
        .url
        .as_str()
        .into_client_request()
        .map_err(|e| Closed::NotWebsocket { error: said(&e) })?;
    request.headers_mut().insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUB_PROTOCOL),
    );
    let uri = request.uri();
    let host = uri
        .host()
        .ok_or(Closed::NoHost)?
        .trim_matches(['[', ']'])
        .to_owned();
    let secure = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = connect(target, &host, port).await?;
    let _ = stream.set_nodelay(true);
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let (peer, local) = (
        stream.peer_addr().unwrap_or(nowhere),
        stream.local_addr().unwrap_or(nowhere),
    );
    let stream = if secure {
        let name = ServerName::try_from(host).map_err(|e| Closed::NotAHost { error: said(&e) })?;
        let config =
            tls::client(target.insecure).map_err(|e| Closed::System { error: said(&e) })?;
        let tls = TlsConnector::from(config).connect(name, stream).await;
        MaybeTlsStream::Rustls(tls.map_err(|e| refused(&e))?)
    } else {
        MaybeTlsStream::Plain(stream)
    };
    let caller = connected_caller(Channel::Outbound, peer, local);
    Ok((upgrade(stream, request).await?, caller))
}

/// A failed TLS handshake in words.
fn refused(error: &std::io::Error) -> Closed {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(why)) = inner {
        return Closed::Certificate {
            what: format!("{why:?}").into(),
        };
    }
    Closed::Tls {
        error: Cause::of(error),
    }
}

/// The upgrade by hand: tungstenite's own refuses a server that does not take up the offered
/// sub-protocol, as a GX does not, and to dial such a server a second time without the offer would
/// leave it a broken session each time.
async fn upgrade(
    mut stream: MaybeTlsStream<TcpStream>,
    request: Request,
) -> Result<Socket, Closed> {
    let (head, key) = generate_request(request).map_err(|e| system(&e))?;
    stream.write_all(&head).await.map_err(|e| system(&e))?;
    let mut answer = Vec::with_capacity(512);
    let (end, response) = loop {
        if stream.read_buf(&mut answer).await.map_err(|e| system(&e))? == 0 {
            return Err(Closed::NoUpgrade);
        }
        match Response::try_parse(&answer).map_err(|e| system(&e))? {
            Some(parsed) => break parsed,
            None if answer.len() > MAX_HEAD => {
                return Err(Closed::LongUpgrade);
            }
            None => {}
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Closed::NotUpgraded {
            status: response.status().to_string().into(),
        });
    }
    let says = |name, token: &str| {
        let value = response.headers().get(name).and_then(|v| v.to_str().ok());
        value.is_some_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    };
    let accepted = response
        .headers()
        .get(SEC_WEBSOCKET_ACCEPT)
        .is_some_and(|v| v.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
    if !(accepted && says(UPGRADE, "websocket") && says(CONNECTION, "upgrade")) {
        return Err(Closed::NoWebsocket);
    }
    if response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL)
        && !says(SEC_WEBSOCKET_PROTOCOL, SUB_PROTOCOL)
    {
        return Err(Closed::OtherSubProtocol);
    }
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    Ok(WebSocketStream::from_partially_read(
        stream,
        answer.split_off(end),
        Role::Client,
        Some(limits),
    )
    .await)
}

/// How long to wait before each try: none after a break, so that a GX sees us at once; growing
/// where a server refuses or hangs up at once, so that nobody is dialled in a circle.
#[derive(Debug, Default)]
struct Pace {
    pause: Duration,
    at_once: Option<Instant>,
}

impl Pace {
    /// The pause after a try; `lived` is how long its connection was up, if it came about.
    fn next(&mut self, lived: Option<Duration>, now: Instant) -> Duration {
        let lately = self
            .at_once
            .is_some_and(|at| now.saturating_duration_since(at) < STEADY);
        if lived.is_some_and(|lived| lived >= STEADY || !lately) {
            self.at_once = Some(now);
            self.pause = Duration::ZERO;
        } else {
            self.pause = (self.pause * 2).clamp(Duration::from_secs(1), MAX_PAUSE);
        }
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_is_mended_at_once_and_a_refusal_is_not_pestered() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let s = Duration::from_secs;
        assert_eq!(
            pace.next(Some(s(3)), start),
            s(0),
            "a short connection, the first time"
        );
        assert_eq!(
            [1, 2, 3].map(|n| pace.next(Some(s(0)), start + s(n))),
            [1, 2, 3].map(s),
            "it hangs up each time"
        );
        assert_eq!(
            (0..4)
                .map(|_| pace.next(None, start + s(10)))
                .collect::<Vec<_>>(),
            [3, 3, 3, 3].map(s)
        );
        assert_eq!(pace.next(Some(s(1)), start + s(60)), s(0));
        assert_eq!(
            [
                pace.next(Some(s(40)), start + s(61)),
                pace.next(Some(s(40)), start + s(62))
            ],
            [s(0), s(0)]
        );
    }
}
