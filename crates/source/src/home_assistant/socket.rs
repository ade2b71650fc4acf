//! The thin IO around [`Session`]: connect, carry frames both ways, keep time.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_tungstenite::{
    Connector, client_async_tls_with_config,
    tungstenite::{
        Error, Message,
        error::{CapacityError, ProtocolError},
        protocol::WebSocketConfig,
    },
};

use super::{
    address::{Address, Cadence},
    end::{End, Lost},
    fault::{self, Fault},
    frames::Stamps,
    link_reporter::LinkReporter,
    rest::{Rest, Stamped},
    session::Session,
    shrinking_socket::{Counted, ShrinkingSocket},
};
use crate::{
    channels::{SourceChannels, Stopped},
    facts::{HaFacts, Transport},
};
use outgoing::tls;
use vocab::reason::{Cause, Failure, Unreachable};

/// Largest message taken, bytes: all states of a large house are some megabytes. It is in memory
/// two or three times while it is taken in, and a small computer has little.
const MESSAGE_MAX: usize = 32 << 20;

/// An upgraded connection.
pub(crate) struct Socket {
    pub(super) stream: ShrinkingSocket,
    peer: Option<SocketAddr>,
}

/// Connects and upgrades, within the handshake time. [`End::Refused`] is 401 or 403: the address is
/// banned, or may not use the proxy.
pub(crate) async fn connect(address: &Address, cadence: &Cadence) -> Result<Socket, End> {
    let connector = if address.websocket.scheme() == "wss" {
        Connector::Rustls(tls::client(false).map_err(|why| {
            End::Lost(Unreachable::NoClient {
                error: Cause::said(why),
            })
        })?)
    } else {
        Connector::Plain
    };
    let attempt = async {
        let url = &address.websocket;
        let (host, port) = (
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or_default(),
        );
        let tcp = fault::knock(host, port).await.map_err(Error::Io)?;
        tcp.set_nodelay(true).map_err(Error::Io)?;
        let peer = tcp.peer_addr().ok();
        let (counted, read) = Counted::new(tcp);
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let (stream, _) =
            client_async_tls_with_config(url.as_str(), counted, Some(limits), Some(connector))
                .await?;
        Ok(Socket {
            stream: ShrinkingSocket::new(stream, limits, read),
            peer,
        })
    };
    match tokio::time::timeout(cadence.handshake, attempt).await {
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
        Error::Http(response) => {
            let location = response
                .headers()
                .get(http::header::LOCATION)
                .and_then(|to| to.to_str().ok());
            Fault::Status {
                code: response.status().as_u16(),
                location: location.map(str::to_owned),
            }
        }
        // What is no WebSocket, or breaks off where one begins, is another server's.
        other => {
            let garbled = matches!(
                other,
                Error::Protocol(_) | Error::HttpFormat(_) | Error::Utf8(_)
            ) || io_kind(other).is_some_and(|kind| {
                matches!(
                    kind,
                    io::ErrorKind::ConnectionReset
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::InvalidInput
                )
            });
            Fault::of(other, cause(other), garbled)
        }
    };
    match fault {
        // Nobody can set another address of the Supervisor.
        Fault::Status { code: 502, .. } if address.proxied => End::Lost(Unreachable::NotRunning),
        Fault::Status { code, .. } if address.proxied => {
            let why = Unreachable::SupervisorRefuses {
                address: shown.into(),
                status: code,
            };
            if matches!(code, 401 | 403) {
                End::Refused(why)
            } else {
                End::Lost(why)
            }
        }
        _ if address.proxied => End::Lost(Unreachable::CannotReach {
            address: shown.into(),
            error: cause(error),
        }),
        Fault::Status {
            code: 401 | 403, ..
        } => End::Refused(fault.reason(&shown, &address.base).await),
        fault => End::Lost(fault.reason(&shown, &address.base).await),
    }
}

/// Why nothing more can be read there.
pub(super) fn broken(error: &Error) -> Broken {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => Broken::TooLarge {
            n: (*size >> 20) as u64,
            most: (*max_size >> 20) as u64,
        },
        other => Broken::Off(cause(other)),
    }
}

/// See [`broken`].
pub(super) enum Broken {
    /// A message of `n` MB, of which `most` are taken.
    TooLarge { n: u64, most: u64 },
    /// It said goodbye.
    Closed,
    /// Anything else.
    Off(Cause),
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    match error {
        Error::Io(error) => Some(error.kind()),
        _ => None,
    }
}

/// What the WebSocket says of itself.
pub(super) fn cause(error: &Error) -> Cause {
    let failure = match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | Error::ConnectionClosed
        | Error::AlreadyClosed => Some(Failure::Dropped),
        other => Failure::under(other),
    };
    Cause {
        text: error.to_string().into(),
        failure,
    }
}

/// A token that was refused there.
pub(super) fn refused(address: &Address, why: Cause) -> Unreachable {
    fault::token(
        &address.shown(Transport::Websocket),
        why,
        &address.token.0,
        address.proxied,
    )
}

/// Carries one session until it ends; tells whether Home Assistant spoke first, as it should.
pub(super) async fn serve(
    socket: Socket,
    address: &Address,
    cadence: &Cadence,
    link_reporter: &mut LinkReporter,
    channels: &mut SourceChannels,
) -> Result<(Lost, bool), Stopped> {
    let Socket { mut stream, peer } = socket;
    let wanted = channels.entities.borrow_and_update().clone();
    let macs = channels.macs.borrow_and_update().clone();
    let mut session = Session::new(
        address.token.clone(),
        wanted,
        macs,
        *cadence,
        channels.clock.now(),
    );
    let outcome = carry(
        &mut stream,
        &mut session,
        address,
        cadence,
        link_reporter,
        channels,
        peer,
    )
    .await;
    // Politely, but not for long: the other end may be dead.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.close()).await;
    channels
        .facts
        .send_if_modified(|facts| facts.state.take().is_some());
    let end = match outcome? {
        End::Refused(why) => End::Refused(refused(address, why)),
        End::TooLarge(why) => End::TooLarge(why),
        End::Lost(why) => End::Lost(why),
    };
    let settled = session.settled();
    Ok((Lost { end, settled }, session.greeted()))
}

async fn carry(
    stream: &mut ShrinkingSocket,
    session: &mut Session,
    address: &Address,
    cadence: &Cadence,
    link_reporter: &mut LinkReporter,
    channels: &mut SourceChannels,
    peer: Option<SocketAddr>,
) -> Result<End<Cause>, Stopped> {
    let shown = address.shown(Transport::Websocket);
    // A dropped sender is no change to wait for.
    let (mut entities_open, mut macs_open) = (true, true);
    // No event tells that a sensor said the same again. Where it cannot be asked here, REST has to
    // do.
    let rest = Rest::new(address)
        .map_err(|why| tracing::warn!(error = %why, "Home Assistant cannot be asked over REST"))
        .ok();
    let mut looks: FuturesUnordered<BoxFuture<'_, Stamped>> = FuturesUnordered::new();
    loop {
        let wait = session.deadline().saturating_sub(channels.clock.now().mono);
        let mut heard = Ok(());
        let mut closed = None;
        tokio::select! {
            biased;
            () = channels.stop.cancelled() => return Err(Stopped),
            changed = channels.entities.changed(), if entities_open => match changed {
                Ok(()) => session.set_entities(channels.entities.borrow_and_update().clone()),
                Err(_) => entities_open = false,
            },
            changed = channels.macs.changed(), if macs_open => match changed {
                Ok(()) => session.set_macs(channels.macs.borrow_and_update().clone()),
                Err(_) => macs_open = false,
            },
            frame = stream.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let now = channels.clock.now();
                    heard = session.hear(&text, now);
                    if session.lives_at(now) {
                        link_reporter.heard(now);
                    }
                }
                Some(Ok(Message::Close(_))) | None => closed = Some(Broken::Closed),
                // Pings and pongs of the WebSocket itself are a proxy's as well as Home
                // Assistant's: no sign of life.
                Some(Ok(_)) => {}
                Some(Err(error)) => closed = Some(broken(&error)),
            },
            Some(answer) = looks.next(), if !looks.is_empty() => {
                let now = channels.clock.now();
                let stamps = answer.unwrap_or_else(|end| {
                    tracing::debug!(error = ?end, "it cannot be asked when sensors were reported");
                    Stamps::default()
                });
                session.looked(&stamps, now);
            }
            () = tokio::time::sleep(wait) => {}
        }
        stream.give_back().await;
        let now = channels.clock.now();
        if heard.is_ok() && closed.is_none() {
            heard = session.tick(now);
        }
        let quiet = session.looks(now);
        match &rest {
            _ if quiet.is_empty() => {}
            Some(rest) => looks.push(Box::pin(async move { rest.stamps(&quiet).await })),
            None => session.looked(&Stamps::default(), now),
        }
        publish_facts(session, channels, peer);
        for event in session.take_names() {
            // Whoever missed one finds it when the registry is looked at next.
            let _ = channels.registry.try_send(event);
        }
        for event in session.take_events() {
            link_reporter
                .say(channels, now, event, Transport::Websocket, &shown)
                .await?;
        }
        if let Err(end) = heard {
            return Ok(end);
        }
        match closed {
            Some(Broken::Off(error)) => {
                return Ok(End::Lost(Unreachable::Broke {
                    address: shown.into(),
                    error,
                }));
            }
            Some(Broken::Closed) => {
                return Ok(End::Lost(Unreachable::Closed {
                    address: shown.into(),
                }));
            }
            Some(Broken::TooLarge { n, most }) => {
                return Ok(End::TooLarge(Unreachable::TooLarge {
                    address: shown.into(),
                    n,
                    most,
                }));
            }
            None => {}
        }
        for frame in session.take_frames() {
            match tokio::time::timeout(cadence.pong_wait, stream.send(Message::text(frame))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return Ok(End::Lost(Unreachable::Broke {
                        address: shown.into(),
                        error: cause(&error),
                    }));
                }
                Err(_) => {
                    return Ok(End::Lost(Unreachable::TakesNothing {
                        address: shown.into(),
                    }));
                }
            }
        }
    }
}

fn publish_facts(session: &Session, channels: &SourceChannels, peer: Option<SocketAddr>) {
    if !session.settled() {
        return;
    }
    let config = session.config();
    channels.know(HaFacts {
        version: config.version.as_deref().map(Into::into),
        time_zone: config.time_zone.as_deref().map(Into::into),
        state: config.state.as_deref().map(Into::into),
        address: peer.map(|peer| peer.ip()),
        port: peer.map(|peer| peer.port()),
        places: session.places(),
        transport: Some(Transport::Websocket),
        refused: session.refused(),
    });
}
