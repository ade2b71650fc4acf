//! RPC over UDP: what batteries ask (`docs/protocol/udp.md`, `docs/protocol/readers.md#marstek`).
//!
//! One datagram is one frame; the answer goes to the sender's address and port, from the address
//! and port that were asked. What is no request is counted and not answered. An answer is larger
//! than its request, so how many go to one address and out of one socket is limited: a forged
//! sender must not make this an amplifier.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use super::{
    board::Board,
    endpoint::{Credentials, Endpoint, FrameOutcome, Hot, Terms},
    limits::{Rate, exempt},
    listener::{self, ListenerSpec},
    udp_socket::{Datagram, PacketSocket},
};
use consumers::{Caller, Channel};
use device::{
    Manner,
    frame::{self, Frame, Message},
};

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
/// Datagrams that are answered before others have their turn.
const BURST: usize = 64;
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
    let answer_from = sockets.first().map(Arc::clone);
    let serving = sockets.into_iter().map(|socket| {
        // A socket bound to a broadcast address cannot send; its answers leave by the address
        // itself.
        let out = if is_broadcast(&socket) {
            answer_from.clone()
        } else {
            None
        };
        serve(socket, out, Arc::clone(&endpoint), cancel.clone())
    });
    futures_util::future::join_all(serving).await;
}

/// Every address of `wanted`; bound to one IPv4 address, also that subnet's broadcast address,
/// because a socket on a unicast address hears no broadcast (`docs/decisions.md#ports`).
fn bind(wanted: &ListenerSpec) -> io::Result<Vec<Arc<PacketSocket>>> {
    let mut sockets = listener::bind_all(wanted, PacketSocket::bind)?;
    if let Some(broadcast) = wanted.bind.and_then(broadcast_of) {
        let port = sockets.first().map_or(wanted.port, |s| s.local().port());
        match PacketSocket::bind_shared(SocketAddr::new(broadcast, port)) {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                tracing::warn!(
                    "UDP {broadcast}:{port} cannot be bound ({error}): batteries that search by broadcast will not be heard"
                );
            }
        }
    }
    Ok(sockets.into_iter().map(Arc::new).collect())
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

fn is_broadcast(socket: &PacketSocket) -> bool {
    match socket.local().ip() {
        IpAddr::V4(ip) => broadcasts().contains(&ip),
        IpAddr::V6(_) => false,
    }
}

fn broadcasts() -> Vec<Ipv4Addr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .filter_map(|i| {
            if let if_addrs::IfAddr::V4(v4) = i.addr {
                v4.broadcast
            } else {
                None
            }
        })
        .collect()
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

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers on one bound socket until cancelled; `out` sends in its place where it cannot.
pub async fn serve(
    socket: Arc<PacketSocket>,
    out: Option<Arc<PacketSocket>>,
    endpoint: Arc<Endpoint>,
    cancel: CancellationToken,
) {
    let max = endpoint.channels.borrow().udp_max;
    // One byte more than is allowed: a datagram that fills it is too long.
    let mut buffer = vec![0; max + 1];
    let port = Port {
        out: out.unwrap_or_else(|| Arc::clone(&socket)),
        endpoint,
        rate: Rate::default(),
        all: Rate::default(),
        max,
        hot: Mutex::default(),
        held: AtomicUsize::new(0),
    };
    let port = Arc::new(port);
    let mut under_way: FuturesUnordered<Answering> = FuturesUnordered::new();
    let mut complained = false;
    'next: loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            got = socket.receive(&mut buffer), if port.has_room(under_way.len()) => match got {
                Ok(mut datagram) => {
                    // Several batteries ask at once: what waits already is answered in one go,
                    // though not for ever.
                    let mut burst = 0..BURST;
                    while port.again(&datagram, &buffer[..datagram.len]) {
                        match burst.next().and_then(|_| socket.receive_waiting(&mut buffer)) {
                            Some(next) => datagram = next,
                            None => continue 'next,
                        }
                    }
                    let bytes = Bytes::copy_from_slice(&buffer[..datagram.len]);
                    let port = Arc::clone(&port);
                    let mut answering: Answering = Box::pin(async move { port.answer(datagram, bytes).await });
                    if std::future::poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await.is_pending() {
                        under_way.push(answering);
                    }
                }
                Err(error) => {
                    // An unreachable port of an earlier answer comes back as an error here;
                    // anything lasting is said once.
                    if error.kind() != io::ErrorKind::ConnectionRefused {
                        if !complained {
                            tracing::warn!("UDP {} cannot receive: {error}", socket.local());
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
    hot: Mutex<Option<Hot>>,
    /// Requests under way that wait for their turn.
    held: AtomicUsize,
}

impl Port {
    /// Whether one more request may be taken in beside these.
    fn has_room(&self, under_way: usize) -> bool {
        under_way < IN_FLIGHT + self.held.load(Ordering::Relaxed).min(HELD)
    }

    fn caller(&self, datagram: &Datagram) -> Caller {
        let local = self.out.local();
        Caller {
            peer: datagram.peer.ip().to_canonical(),
            peer_port: datagram.peer.port(),
            local: datagram
                .local
                .or(Some(local.ip()))
                .filter(|ip| !ip.is_unspecified() && !ip.is_multicast()),
            local_port: local.port(),
            channel: Channel::Udp,
            agent: None,
        }
    }

    /// Gives the last answer again if the same is asked of the same snapshot and may be sent at
    /// once; else `false`.
    fn again(&self, datagram: &Datagram, bytes: &[u8]) -> bool {
        let hot = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(hot) = hot.as_ref().filter(|hot| hot.asks(bytes)) else {
            return false;
        };
        let caller = self.caller(datagram);
        // A battery is answered when it is its turn, and what it was told is booked.
        if hot.is_controlled(&self.endpoint, &caller) || !self.endpoint.still(hot, &caller) {
            return false;
        }
        let allowed = self.allow(caller.peer);
        self.endpoint
            .consumers
            .packet(&caller, allowed.err(), self.endpoint.clock.now());
        if allowed.is_ok() {
            self.out.try_send(
                &self.endpoint.again(hot, &caller),
                caller.local,
                datagram.peer,
            );
        }
        true
    }

    /// Whether one more answer may go there; else in a word why not.
    fn allow(&self, peer: IpAddr) -> Result<(), &'static str> {
        let per_address = self.endpoint.channels.borrow().rate_limit;
        if !self.rate.allow(peer, per_address) {
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
        let caller = self.caller(&datagram);
        let reached = caller.local;
        match self.reply(&caller, &datagram, &bytes).await {
            Err(why) => endpoint
                .consumers
                .packet(&caller, Some(why), endpoint.clock.now()),
            Ok(reply) => {
                endpoint
                    .consumers
                    .packet(&caller, None, endpoint.clock.now());
                if let Some(reply) = reply
                    && let Err(error) = self.out.send(&reply, reached, datagram.peer).await
                {
                    tracing::debug!("UDP answer to {} was not sent: {error}", datagram.peer);
                }
            }
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
        if datagram.truncated || datagram.len > self.max {
            return Err("oversize");
        }
        let message = frame::parse_any(bytes).map_err(|_| "malformed")?;
        let answers = self.requests(&message)?;
        let terms = {
            let channels = endpoint.channels.borrow();
            let credentials = if channels.auth_udp {
                Credentials::Frame
            } else {
                Credentials::FrameToChange
            };
            let manner = Manner::udp(channels.udp_short, channels.udp_nonzero);
            Terms {
                credentials,
                manner,
                default_dst: Some(UNKNOWN),
                held: Some(&self.held),
                ..Terms::default()
            }
        };
        // What is not answered costs nobody anything: a forger cannot use up a battery's answers
        // with garbage.
        for _ in 0..answers {
            self.allow(caller.peer)?;
        }
        let spoken = match &message {
            Message::One(frame) => {
                let src = frame.src.as_deref();
                let ground = endpoint.ground(caller, src);
                let mut spoken = endpoint.frame(caller, frame, bytes, terms).await;
                if spoken.power.is_some() && !terms.manner.short {
                    spoken.reply = spoken.reply.map(long_enough);
                }
                if let (
                    Credentials::FrameToChange,
                    FrameOutcome::Answered,
                    Some(reply),
                    Some(method),
                ) = (
                    terms.credentials,
                    &spoken.verdict,
                    &spoken.reply,
                    &frame.method,
                ) && !endpoint.is_controlled(caller, src, method)
                {
                    let hot = Hot::keep(ground, method, src, bytes, (reply, spoken.power));
                    *self.hot.lock().unwrap_or_else(PoisonError::into_inner) = hot;
                }
                spoken
            }
            Message::Batch(frames) => endpoint.batch(caller, frames, bytes, terms).await,
        };
        match (spoken.verdict, spoken.reply) {
            (_, Some(reply)) if reply.len() > LARGEST => Err("reply_too_long"),
            (_, Some(reply)) => Ok(Some(reply)),
            (FrameOutcome::Silence, None) => Err("stale"),
            (FrameOutcome::NotNow, None) => Err("not_now"),
            (_, None) => Ok(None),
        }
    }

    /// How many requests to us are in it.
    fn requests(&self, message: &Message) -> Result<usize, &'static str> {
        let device = self.endpoint.device.borrow();
        let ours = |frame: &Frame| frame.method.is_some() && frame.is_for(&device.identity.id);
        match message {
            // Somebody's answer, or for another device: broadcasts bring both.
            Message::One(frame) => ours(frame).then_some(1).ok_or("foreign"),
            Message::Batch(frames) if frames.iter().all(Result::is_err) => Err("malformed"),
            Message::Batch(frames) => Some(frames.iter().flatten().filter(|f| ours(f)).count())
                .filter(|n| *n > 0)
                .ok_or("foreign"),
        }
    }
}
