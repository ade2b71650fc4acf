//! How every TCP listener begins and ends: bind, try again while the port is taken, accept, count,
//! stop.
//!
//! A port that cannot be had stops nothing else (`docs/decisions.md#ports`). It is tried again
//! after 5, 10, then every 15 s; one log line says which port, who needs it and what to do, one
//! says when it is ours. A TCP port is bound through [`super::hold`], which leaves others theirs.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

pub use super::spec::ListenerSpec;
use super::{
    board::{Board, ListenerState},
    lenient::Lenient,
    limits::{Activity, ConnectionSlot, Connections},
};
use vocab::reason::Closed;

/// Connections that wait to be accepted: beyond them a reader's is dropped for a second and more,
/// so a burst of strangers must fit in. It is the system's own limit on most hosts.
const BACKLOG: i32 = 4096;

/// When a port that is just taken is tried again, in words.
pub(super) const AGAIN: &str = "trying again every 15 s";

/// Pause before the `n`th new try, counted from 0: 5, 10, 15, 15 … s.
#[must_use]
pub fn retry_pause(n: u32) -> Duration {
    Duration::from_secs(u64::from(5 * (n.min(2) + 1)))
}

/// Notes that a listener has its port, `again` after it could not be had.
pub(super) fn served(wanted: &ListenerSpec, board: &Board, again: bool) {
    if again {
        tracing::info!(
            listener = wanted.name,
            "port {} is free again and now served",
            wanted.port
        );
    }
    board.set(wanted.line(ListenerState::Listening));
}

/// Tries `bind` until it succeeds, keeping the board; `None` when cancelled first.
pub async fn acquire<T>(
    wanted: &ListenerSpec,
    board: &Board,
    cancel: &CancellationToken,
    mut bind: impl FnMut() -> io::Result<T>,
) -> Option<T> {
    let mut failures = 0;
    loop {
        match bind() {
            Ok(bound) => {
                served(wanted, board, failures > 0);
                return Some(bound);
            }
            Err(error) => {
                if failures == 0 {
                    tracing::error!(
                        listener = wanted.name,
                        "{}",
                        wanted.complaint(&error, AGAIN)
                    );
                }
                board.set(wanted.line(ListenerState::waiting(Closed::System {
                    error: error.into(),
                })));
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return None,
            () = tokio::time::sleep(retry_pause(failures)) => failures += 1,
        }
    }
}

/// A TCP socket bound to one address, not listening yet. An IPv6 socket takes IPv6 only, so that
/// both families can share a port.
pub(super) fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted service gets its port back at once although old connections linger in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listening TCP socket on one address.
///
/// # Errors
/// When the system refuses: port taken, forbidden, address not ours.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Binds every address of `wanted` with `bind`: all or nothing, but a host without IPv6 does with
/// IPv4.
///
/// # Errors
/// When an address that counts cannot be bound.
pub fn bind_all<T>(
    wanted: &ListenerSpec,
    mut bind: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<Vec<T>> {
    let mut bound = Vec::with_capacity(2);
    for address in wanted.addresses() {
        match bind(address) {
            Ok(socket) => bound.push(socket),
            Err(error) if wanted.bind.is_none() && address.is_ipv6() && no_ipv6(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bound)
}

fn no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// A connection as its handler sees it.
#[derive(Debug)]
pub struct Connection {
    /// Who called; an IPv4 address that came over IPv6 is shown as IPv4.
    pub peer: SocketAddr,
    /// What it reached.
    pub local: SocketAddr,
    /// Cancelled when it has to end: stop, reboot, or the listener is over its limit.
    pub close: CancellationToken,
    /// When it last moved a byte.
    pub activity: Arc<Activity>,
}

/// A socket that notes each byte's time and keeps its place in the listener's table while it lives.
#[derive(Debug)]
pub struct Watched {
    stream: TcpStream,
    place: ConnectionSlot,
    lenient: Option<Lenient>,
}

/// Accepts until cancelled and gives each connection to `handle`, all joined before this returns.
/// `max` is asked at each accept.
///
/// Handlers learn by [`Connection::close`] that they have to end; after `grace` they are dropped. A
/// handler that hands its socket on, as one that is upgraded, has ended with that: who took it
/// learns by the same token and is waited for by its owner.
pub async fn accept<F, Fut>(
    listener: TcpListener,
    connections: &Connections,
    max: impl Fn() -> usize,
    parent: impl Fn() -> CancellationToken,
    cancel: &CancellationToken,
    grace: Duration,
    handle: F,
) where
    F: Fn(Watched, Arc<Connection>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    let mut complained = false;
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: waiting lets others close. One line is enough.
                if !complained {
                    let address = listener.local_addr().ok().map(tracing::field::display);
                    tracing::warn!(address, %error, "cannot accept connections");
                    complained = true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        let place = connections.enter(peer.ip(), max(), &parent());
        let connection = Arc::new(Connection {
            peer,
            local,
            close: place.close.clone(),
            activity: Arc::clone(&place.activity),
        });
        let watched = Watched {
            stream,
            place,
            lenient: None,
        };
        let work = handle(watched, connection);
        let abort = abort.clone();
        let served = async move {
            tokio::select! {
                () = abort.cancelled() => {}
                () = work => {}
            }
        };
        tasks.spawn(served.instrument(tracing::error_span!("connection", %peer)));
    }
    drop(listener);
    connections.close_all();
    tasks.close();
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        abort.cancel();
        tasks.wait().await;
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream,
            place,
            lenient,
        } = &mut *self;
        if lenient.as_mut().is_some_and(|lenient| lenient.give(buf)) {
            return Poll::Ready(Ok(()));
        }
        let begins = place.activity.between();
        let before = buf.filled().len();
        let poll = Pin::new(stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            place.activity.read();
            if let Some(lenient) = lenient {
                lenient.mend(buf, before, begins);
            }
        }
        poll
    }
}

impl Watched {
    /// The same with request lines repaired.
    pub(super) fn lenient(mut self) -> Self {
        self.lenient = Some(Lenient::default());
        self
    }

    fn note<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(poll, Poll::Ready(Ok(_))) {
            self.place.activity.wrote();
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::time::Instant;
    use vocab::reason::{Failure, Reason};

    use super::*;

    pub(crate) fn wanted(port: u16) -> ListenerSpec {
        let bind = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        ListenerSpec {
            name: "http",
            meter: String::new(),
            bind,
            port,
            needed_by: "Hoymiles, NOAH and Victron use port 80 only",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_taken_port_is_tried_again_after_5_10_15_15_seconds() {
        let (board, cancel, began) = (Board::default(), CancellationToken::new(), Instant::now());
        let mut tries = Vec::new();
        let wanted = wanted(80);
        let bound = acquire(&wanted, &board, &cancel, || {
            tries.push(began.elapsed().as_secs());
            match tries.len() {
                5 => Ok(()),
                _ => {
                    assert!(
                        board
                            .lines()
                            .iter()
                            .all(|l| l.state != ListenerState::Listening)
                    );
                    Err(io::ErrorKind::AddrInUse.into())
                }
            }
        });
        assert_eq!(bound.await, Some(()));
        assert_eq!(tries, [0, 5, 15, 30, 45]);
        assert_eq!(board.lines().len(), 1);
        assert_eq!(board.lines()[0].state, ListenerState::Listening);
        assert_eq!(board.http_port(""), Some(80));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_waiting() {
        let (board, cancel) = (Board::default(), CancellationToken::new());
        let (stop, wanted) = (cancel.clone(), wanted(80));
        let (bound, ()) = tokio::join!(
            acquire::<()>(&wanted, &board, &cancel, || Err(
                io::ErrorKind::PermissionDenied.into()
            )),
            async {
                tokio::time::sleep(Duration::from_secs(7)).await;
                stop.cancel();
            }
        );
        assert_eq!(bound, None);
        assert!(
            matches!(&board.lines()[0].state, ListenerState::Waiting { reason: Reason::Closed(Closed::System { error }) } if error.failure == Some(Failure::Forbidden))
        );
    }

    #[test]
    fn the_line_names_port_reader_and_remedy() {
        let line = wanted(80).complaint(&io::ErrorKind::AddrInUse.into(), AGAIN);
        for part in [
            "port 80",
            "Hoymiles, NOAH and Victron use port 80 only",
            "choose another port",
            "15 s",
        ] {
            assert!(line.contains(part), "{part} not in {line}");
        }
        assert!(
            wanted(80)
                .complaint(&io::ErrorKind::PermissionDenied.into(), AGAIN)
                .contains("CAP_NET_BIND_SERVICE")
        );
    }

    #[tokio::test]
    async fn two_listeners_cannot_share_a_port_and_both_families_can() {
        let two = || {
            let first = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
            let port = first.local_addr().unwrap().port();
            assert_eq!(
                bind_all(&wanted(port), tcp).unwrap_err().kind(),
                io::ErrorKind::AddrInUse
            );
            drop(first);
            let all = ListenerSpec {
                bind: None,
                ..wanted(port)
            };
            bind_all(&all, tcp).ok().map(|bound| (all, bound))
        };
        // Another test may get the port as soon as it is free.
        let (all, bound) = (0..20).find_map(|_| two()).unwrap();
        let port = |bound: &TcpListener| bound.local_addr().unwrap().port();
        assert!(bound[0].local_addr().unwrap().is_ipv4());
        assert!(
            bound.iter().all(|l| port(l) == all.port),
            "0.0.0.0 and, where there is IPv6, ::"
        );
        let none = bind_all(&all, |address| {
            if address.is_ipv6() {
                Err(io::ErrorKind::AddrNotAvailable.into())
            } else {
                Ok(())
            }
        });
        assert_eq!(none.unwrap().len(), 1, "a host without IPv6 does with IPv4");
    }
}
