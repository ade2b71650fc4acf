//! The thin IO around [`Session`]: connect, carry frames both ways, keep time.

use std::io;

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{
    Connector, client_async_tls_with_config,
    tungstenite::{Error, protocol::WebSocketConfig},
};

use super::{
    address::{Address, Cadence},
    end::{Broken, End, Lost, cause},
    fault::{self, Fault},
    link_reporter::LinkReporter,
    rest::{Rest, Stamped},
    session::Session,
    shrinking_socket::{ShrinkingSocket, counted},
    stamps::Stamps,
};
use crate::{channels::Stopped, facts::Transport};
use outgoing::tls;
use vocab::reason::{Cause, Unreachable};

/// Largest message taken, bytes: all states of a large house are some megabytes. It is in memory
/// two or three times while it is taken in, and a small computer has little.
const MESSAGE_MAX: usize = 32 << 20;

/// Connects and upgrades, within the handshake time. [`End::Refused`] is 401 or 403: the address is
/// banned, or may not use the proxy.
pub(super) async fn connect(address: &Address, cadence: &Cadence) -> Result<ShrinkingSocket, End> {
    let connector = if address.websocket.scheme() == "wss" {
        let error = |why| Unreachable::NoClient {
            error: Cause::said(why),
        };
        Connector::Rustls(tls::client(false).map_err(error)?)
    } else {
        Connector::Plain
    };
    let attempt = async {
        let url = &address.websocket;
        let tcp = fault::knock(url).await.map_err(Error::Io)?;
        tcp.set_nodelay(true).map_err(Error::Io)?;
        let peer = tcp.peer_addr().ok();
        let (counted, read) = counted(tcp);
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let (stream, _) =
            client_async_tls_with_config(url.as_str(), counted, Some(limits), Some(connector))
                .await?;
        Ok(ShrinkingSocket::new(stream, limits, peer, read))
    };
    match timeout(cadence.handshake, attempt).await {
        Err(_) => Err(End::Lost(Unreachable::NoAnswer {
            address: address.shown(Transport::Websocket).into(),
            n: cadence.handshake.as_secs(),
        })),
        Ok(Err(error)) => Err(no_socket(address, &error).await),
        Ok(Ok(socket)) => Ok(socket),
    }
}

async fn no_socket(address: &Address, error: &Error) -> End {
    let shown = address.shown(Transport::Websocket);
    let fault = match error {
        Error::Http(response) => Fault::Status {
            code: response.status().as_u16(),
            location: fault::location(response.headers()),
        },
        // What is no WebSocket, or breaks off where one begins, is another server's.
        other => Fault::of(other, cause(other), is_no_websocket(other)),
    };
    match fault {
        // Nobody can set another address of the Supervisor.
        Fault::Status { code: 502, .. } if address.proxied => End::Lost(Unreachable::NotRunning),
        Fault::Status { code, .. } if address.proxied => {
            let (address, status) = (shown.into(), code);
            End::of_status(code, Unreachable::SupervisorRefuses { address, status })
        }
        _ if address.proxied => End::Lost(Unreachable::CannotReach {
            address: shown.into(),
            error: cause(error),
        }),
        Fault::Status { code, .. } => {
            End::of_status(code, fault.reason(&shown, &address.base).await)
        }
        fault => End::Lost(fault.reason(&shown, &address.base).await),
    }
}

fn is_no_websocket(error: &Error) -> bool {
    match error {
        Error::Protocol(_) | Error::HttpFormat(_) | Error::Utf8(_) => true,
        Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
        ),
        _ => false,
    }
}

/// Carries one session until it ends; tells whether Home Assistant spoke first, as it should.
pub(super) async fn serve(
    mut socket: ShrinkingSocket,
    address: &Address,
    cadence: &Cadence,
    reporter: &mut LinkReporter<'_>,
) -> Result<(Lost, bool), Stopped> {
    let channels = &mut *reporter.channels;
    let mut session = Session::new(
        address.clone(),
        channels.entities.borrow_and_update().clone(),
        channels.macs.borrow_and_update().clone(),
        *cadence,
        channels.clock.now(),
    );
    reporter.goes(Transport::Websocket, address);
    let ended = carry(&mut socket, &mut session, address, cadence, reporter).await;
    socket.close().await;
    reporter.channels.forget_state();
    let settled = session.settled();
    Ok((
        Lost {
            end: ended?,
            settled,
        },
        session.greeted(),
    ))
}

async fn carry(
    socket: &mut ShrinkingSocket,
    session: &mut Session,
    address: &Address,
    cadence: &Cadence,
    reporter: &mut LinkReporter<'_>,
) -> Result<End, Stopped> {
    // No event tells that a sensor said the same again. Where it cannot be asked here, REST has to
    // do.
    let rest = Rest::new(address)
        .map_err(|why| tracing::warn!(error = %why, "Home Assistant cannot be asked over REST"))
        .ok();
    let mut looks: FuturesUnordered<BoxFuture<'_, Stamped>> = FuturesUnordered::new();
    loop {
        let channels = &mut *reporter.channels;
        let wait = session.deadline().saturating_sub(channels.clock.now().mono);
        let mut end = None;
        tokio::select! {
            biased;
            () = channels.stop.cancelled() => return Err(Stopped),
            Ok(()) = channels.entities.changed() => {
                session.set_entities(channels.entities.borrow_and_update().clone());
            }
            Ok(()) = channels.macs.changed() => {
                session.set_macs(channels.macs.borrow_and_update().clone());
            }
            // Whatever comes, time is looked at after each message.
            text = socket.next() => match text {
                Ok(None) => {}
                Ok(Some(text)) => {
                    let now = channels.clock.now();
                    end = session.hear(&text, now).err();
                    if session.lives_at(now) {
                        reporter.heard(now);
                    }
                }
                Err(broken) => end = Some(broken_off(address, broken)),
            },
            Some(answer) = looks.next() => {
                let now = channels.clock.now();
                let stamps = answer.unwrap_or_else(|end| {
                    tracing::debug!(error = ?end, "it cannot be asked when sensors were reported");
                    Stamps::default()
                });
                session.looked(&stamps, now);
            }
            () = sleep(wait) => {}
        }
        socket.give_back().await;
        let channels = &*reporter.channels;
        let now = channels.clock.now();
        if end.is_none() {
            end = session.tick(now).err();
        }
        let quiet = session.looks(now);
        match &rest {
            _ if quiet.is_empty() => {}
            Some(rest) => looks.push(Box::pin(async move { rest.stamps(&quiet).await })),
            None => session.looked(&Stamps::default(), now),
        }
        if let Some(facts) = session.facts(socket.peer) {
            channels.know(facts);
        }
        for event in session.take_names() {
            // Whoever missed one finds it when the registry is looked at next.
            let _ = channels.registry.try_send(event);
        }
        for event in session.take_events() {
            reporter.say(now, event).await?;
        }
        if let Some(end) = end {
            return Ok(end);
        }
        for frame in session.take_frames() {
            match timeout(cadence.pong_wait, socket.send(frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Ok(broken_off(address, Broken::Off(error))),
                Err(_) => {
                    let address = address.shown(Transport::Websocket).into();
                    return Ok(End::Lost(Unreachable::TakesNothing { address }));
                }
            }
        }
    }
}

fn broken_off(address: &Address, broken: Broken) -> End {
    let address = address.shown(Transport::Websocket).into();
    match broken {
        Broken::Off(error) => End::Lost(Unreachable::Broke { address, error }),
        Broken::Closed => End::Lost(Unreachable::Closed { address }),
        Broken::TooLarge { n, most } => End::TooLarge(Unreachable::TooLarge { address, n, most }),
    }
}
