//! RPC over UDP: what batteries ask (`docs/protocol/udp.md`, `docs/protocol/readers.md#marstek`).
//!
//! One datagram is one frame; the answer goes to the sender's address and port, from the address
//! and port that were asked. What is no request is counted and not answered. An answer is larger
//! than its request, so how many go to one address and out of one socket is limited: a forged
//! sender must not make this an amplifier.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use super::{
    board::Board,
    endpoint::{Credentials, Endpoint, FrameOutcome, Spoken, Terms, connected_caller},
    ground::Ground,
    limits::{Rate, exempt},
    listener::{self, ListenerSpec},
    udp_socket::{Datagram, PacketSocket},
};
use consumers::{Caller, Channel};
use device::{
    Manner,
    frame::{self, Frame, Message},
};
use vocab::ours::{TEST_AGENT, is_our_datagram};

/// Answers a second out of one socket to all addresses but the host's own.
const SOCKET_RATE: u32 = 2000;
/// Requests of one socket that may be under way; nearly all are answered at once.
const IN_FLIGHT: usize = 16;
/// Batteries' requests of one socket that may wait for their turn besides; each for a second at
/// most.
const HELD: usize = 1024;
/// A Marstek Venus E 3.0 on its LAN port drops answers of less than about 250 bytes
/// (`docs/protocol/readers.md#marstek`); `EM1.GetStatus` alone has about 190.
const SHORTEST: usize = 256;
/// Largest payload of a datagram over IPv4.
const LARGEST: usize = 65_507;
/// `dst` of an answer to a request without `src`.
const UNKNOWN: &str = "unknown";

/// Binds `wanted`, again and again while it cannot be had, and answers there until cancelled.
pub async fn run(
    wanted: ListenerSpec,
    endpoint: Arc<Endpoint>,
    board: Board,
    cancel: CancellationToken,
) {
    let Some(sockets) = listener::acquire(&wanted, &board, &cancel, || bind(&wanted)).await else {
        return;
    };
    let serving = sockets
        .into_iter()
        .map(|(socket, out)| serve(socket, out, Arc::clone(&endpoint), cancel.clone()));
    futures_util::future::join_all(serving).await;
}

/// A socket, and the one that sends in its place where it cannot.
type Bound = (Arc<PacketSocket>, Option<Arc<PacketSocket>>);

/// Every address of `wanted`; bound to one IPv4 address, also that subnet's broadcast address,
/// because a socket on a unicast address hears no broadcast (`docs/decisions.md#ports`).
fn bind(wanted: &ListenerSpec) -> io::Result<Vec<Bound>> {
    let own = |at| PacketSocket::bind(at).map(|socket| (Arc::new(socket), None));
    let mut sockets = listener::bind_all(wanted, own)?;
    let first = sockets.first().map(|(socket, _)| Arc::clone(socket));
    let port = first.as_ref().map_or(wanted.port, |s| s.local().port());
    if let Some(broadcast) = wanted.bind.and_then(broadcast_of) {
        match PacketSocket::bind_shared(SocketAddr::new(broadcast, port)) {
            // It cannot send; its answers leave by the address itself.
            Ok(socket) => sockets.push((Arc::new(socket), first)),
            Err(error) => tracing::warn!(
                listener = wanted.name,
                "{broadcast}:{port} cannot be bound ({error}): batteries that search by broadcast will not be heard"
            ),
        }
    }
    Ok(sockets)
}

fn broadcast_of(address: IpAddr) -> Option<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    interfaces
        .into_iter()
        .find_map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(v4) if IpAddr::V4(v4.ip) == address && !v4.ip.is_loopback() => {
                v4.broadcast.filter(|b| *b != v4.ip).map(IpAddr::V4)
            }
            _ => None,
        })
}

/// An answer that carries power with white space behind it, which JSON allows, up to what every
/// battery takes.
fn long_enough(reply: Bytes) -> Bytes {
    if reply.len() >= SHORTEST {
        return reply;
    }
    let mut longer = BytesMut::from(reply);
    longer.resize(SHORTEST, b' ');
    longer.freeze()
}

/// Answers on one bound socket until cancelled; `out` sends in its place where it cannot.
pub async fn serve(
    socket: Arc<PacketSocket>,
    out: Option<Arc<PacketSocket>>,
    endpoint: Arc<Endpoint>,
    cancel: CancellationToken,
) {
    let max = endpoint.ground().channels.udp_max;
    // One byte more than is allowed: a datagram that fills it is too long.
    let mut buffer = vec![0; max + 1];
    let port = Port {
        out: out.unwrap_or_else(|| Arc::clone(&socket)),
        endpoint,
        rate: Rate::default(),
        all: Rate::default(),
        max,
        held: AtomicUsize::new(0),
    };
    let port = Arc::new(port);
    let mut under_way: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    let mut complained = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            got = socket.receive(&mut buffer), if port.has_room(under_way.len()) => match got {
                Ok(datagram) => {
                    let bytes = Bytes::copy_from_slice(&buffer[..datagram.len]);
                    let port = Arc::clone(&port);
                    let mut answering = async move { port.answer(datagram, bytes).await }.boxed();
                    // What waits is looked at anew among those under way.
                    if (&mut answering).now_or_never().is_none() {
                        under_way.push(answering);
                    }
                }
                Err(error) => {
                    // An unreachable port of an earlier answer comes back as an error here;
                    // anything lasting is said once.
                    if error.kind() != io::ErrorKind::ConnectionRefused {
                        if !complained {
                            tracing::warn!(listener = "udp", address = %socket.local(), %error, "cannot receive");
                            complained = true;
                        }
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
    }
}

struct Port {
    out: Arc<PacketSocket>,
    endpoint: Arc<Endpoint>,
    rate: Rate,
    all: Rate,
    max: usize,
    /// Requests under way that wait for their turn.
    held: AtomicUsize,
}

impl Port {
    /// Whether one more request may be taken in beside these.
    fn has_room(&self, under_way: usize) -> bool {
        under_way < IN_FLIGHT + self.held.load(Ordering::Relaxed).min(HELD)
    }

    fn caller(&self, datagram: &Datagram, bytes: &[u8]) -> Caller {
        let local = self.out.local();
        let reached = datagram.local.or(Some(local.ip()));
        Caller {
            local: reached.filter(|ip| !ip.is_unspecified() && !ip.is_multicast()),
            agent: is_our_datagram(bytes).then(|| TEST_AGENT.into()),
            ..connected_caller(Channel::Udp, datagram.peer, local)
        }
    }

    /// Whether one more answer may go there; else in a word why not.
    fn allow(&self, ground: &Ground, peer: IpAddr) -> Result<(), &'static str> {
        if !self.rate.allow(peer, ground.channels.rate_limit) {
            return Err("rate");
        }
        // All others share one bucket: a forger changes the sender with every datagram.
        if !exempt(peer)
            && !self
                .all
                .allow(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SOCKET_RATE)
        {
            return Err("socket_rate");
        }
        Ok(())
    }

    async fn answer(&self, datagram: Datagram, bytes: Bytes) {
        let endpoint = &self.endpoint;
        let caller = self.caller(&datagram, &bytes);
        let reply = self.reply(&caller, &datagram, &bytes).await;
        let dropped = reply.as_ref().err().copied();
        endpoint
            .consumers
            .packet(&caller, dropped, endpoint.clock.now());
        if let Ok(Some(reply)) = reply
            && let Err(error) = self.out.send(&reply, caller.local, datagram.peer).await
        {
            tracing::debug!(listener = "udp", peer = %datagram.peer, %error, "an answer was not sent");
        }
    }

    /// The answer, if there is one; else in a word why there is none.
    async fn reply(
        &self,
        caller: &Caller,
        datagram: &Datagram,
        bytes: &Bytes,
    ) -> Result<Option<Bytes>, &'static str> {
        let endpoint = &self.endpoint;
        // As a C program sends it: with the end of its text.
        let ended = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        let bytes = &bytes.slice(..ended);
        if datagram.len > self.max {
            return Err("oversize");
        }
        let ground = endpoint.ground();
        let channels = &ground.channels;
        let manner = Manner::udp(channels.udp_short, channels.udp_nonzero);
        let terms = Terms {
            credentials: Credentials::of_frames(channels.auth_udp),
            manner,
            default_dst: Some(UNKNOWN),
            held: Some(&self.held),
            ..Terms::on(&ground)
        };
        // What is not answered costs nobody anything: a forger cannot use up a battery's answers
        // with garbage.
        let spoken = if let Some(kept) = endpoint.kept(caller, bytes, &terms) {
            self.allow(&ground, caller.peer)?;
            endpoint.again(&kept, caller, &terms)
        } else {
            let message = frame::parse_any(bytes).map_err(|_| "malformed")?;
            for _ in 0..requests(&message, &ground.device.identity.id)? {
                self.allow(&ground, caller.peer)?;
            }
            endpoint.message(caller, &message, bytes, terms).await
        };
        let Spoken {
            reply,
            verdict,
            power,
            ..
        } = spoken;
        match (verdict, reply) {
            (_, Some(reply)) if reply.len() > LARGEST => Err("reply_too_long"),
            (_, Some(reply)) if power.is_some() && !manner.short => Ok(Some(long_enough(reply))),
            (_, Some(reply)) => Ok(Some(reply)),
            (FrameOutcome::Silence, None) => Err("stale"),
            (FrameOutcome::NotNow, None) => Err("not_now"),
            (_, None) => Ok(None),
        }
    }
}

/// How many requests to the device of this id are in it.
fn requests(message: &Message, id: &str) -> Result<usize, &'static str> {
    let ours = |frame: &Frame| frame.method.is_some() && frame.is_for(id);
    match message {
        // Somebody's answer, or for another device: broadcasts bring both.
        Message::One(frame) => ours(frame).then_some(1).ok_or("foreign"),
        Message::Batch(frames) if frames.iter().all(Result::is_err) => Err("malformed"),
        Message::Batch(frames) => Some(frames.iter().flatten().filter(|f| ours(f)).count())
            .filter(|n| *n > 0)
            .ok_or("foreign"),
    }
}
