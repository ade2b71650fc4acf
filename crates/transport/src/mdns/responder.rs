//! The responder on one interface: a socket of the group, and the [`Schedule`] of what it says.
//!
//! `mdns-sd`, which asks for us, has no way to set the life of a record or its flush bit, so what
//! is announced is sent from here.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    schedule::Schedule,
    zone::{Query, Unit},
};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// Largest packet that is read (RFC 6762, 17).
const LARGEST: usize = 9000;
/// How long the goodbyes may take.
const PATIENCE: Duration = Duration::from_millis(700);
/// After an error of the socket, so that a network that is gone keeps nothing busy.
const REST: Duration = Duration::from_millis(500);

/// One interface that is announced on.
pub struct Responder {
    /// The interface's address.
    pub address: Ipv4Addr,
    units: watch::Sender<Vec<Unit>>,
    task: AbortOnDropHandle<()>,
}

impl Responder {
    /// Listens on the interface with this address; resolvers of plain DNS are answered in its
    /// `networks`.
    ///
    /// # Errors
    /// When port 5353 cannot be shared, or the group not be joined.
    pub fn start(address: Ipv4Addr, networks: Vec<IpNet>) -> io::Result<Self> {
        let socket = open(address)?;
        let (units, wanted) = watch::channel(Vec::new());
        let task = AbortOnDropHandle::new(tokio::spawn(serve(socket, networks, wanted)));
        Ok(Self {
            address,
            units,
            task,
        })
    }

    /// Announces these from now on, and nothing else.
    pub fn announce(&self, units: Vec<Unit>) {
        self.units.send_if_modified(|now| {
            let differs = *now != units;
            *now = units;
            differs
        });
    }

    /// Says goodbye and ends.
    pub async fn end(self) {
        drop(self.units);
        let _ = timeout(PATIENCE, self.task).await;
    }
}

fn open(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    // What other sockets of this machine joined on other interfaces is theirs to answer.
    socket.set_multicast_all_v4(false)?;
    socket.join_multicast_v4(&GROUP, &address)?;
    socket.set_multicast_if_v4(&address)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.set_multicast_loop_v4(true)?;
    UdpSocket::from_std(socket.into())
}

async fn serve(socket: UdpSocket, networks: Vec<IpNet>, mut wanted: watch::Receiver<Vec<Unit>>) {
    let mut schedule = Schedule::default();
    let mut buffer = vec![0; LARGEST];
    loop {
        let due = schedule.due();
        let out = tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => schedule.follow(&wanted.borrow_and_update(), Instant::now()),
                Err(_) => break,
            },
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => schedule.tick(Instant::now()),
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, from)) => match Query::parse(buffer.get(..length).unwrap_or_default()) {
                    Some(query) if from.port() == PORT => schedule.ask(&query, jitter(), Instant::now()),
                    // Only neighbours: an answer is larger than its question, and must not be aimed
                    // through us at others.
                    Some(query) if networks.iter().any(|network| network.contains(&from.ip())) => {
                        if let Some(reply) = schedule.ask_plainly(&query) {
                            let _ = socket.send_to(&reply, from).await;
                        }
                        Vec::new()
                    }
                    _ => Vec::new(),
                },
                Err(_) => {
                    sleep(REST).await;
                    Vec::new()
                }
            },
        };
        send(&socket, out).await;
    }
    send(&socket, schedule.farewell()).await;
}

/// How long an answer waits that others may give too (RFC 6762, 6).
fn jitter() -> Duration {
    Duration::from_millis(fastrand::u64(20..=120))
}

async fn send(socket: &UdpSocket, packets: Vec<Vec<u8>>) {
    for bytes in packets {
        if let Err(error) = socket.send_to(&bytes, (GROUP, PORT)).await {
            tracing::debug!(%error, "mDNS cannot send");
        }
    }
}
