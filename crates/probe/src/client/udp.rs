//! One datagram there, one back.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::{address, silent, unreached};
use crate::Fault;

/// Marstek's limit.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks from one socket, as a battery does.
pub struct Asker {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Asker {
    /// Of `host:port`, from the battery's own port `from` where that is free.
    ///
    /// # Errors
    /// When the name has no address, or no socket can be had.
    pub async fn open(host: &str, port: u16, from: u16) -> Result<Self, Fault> {
        let to = address(host, port).await?;
        let own = |port: u16| -> SocketAddr {
            if to.is_ipv4() {
                ([0, 0, 0, 0], port).into()
            } else {
                ([0; 8], port).into()
            }
        };
        let socket = match UdpSocket::bind(own(from)).await {
            Ok(socket) => socket,
            Err(_) => UdpSocket::bind(own(0)).await.map_err(unreached)?,
        };
        Ok(Self { socket, to })
    }

    /// The broadcast address of the network in which this machine meets the one that is asked.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        let IpAddr::V4(to) = self.to.ip() else {
            return None;
        };
        own().find_map(|interface| {
            let mask = u32::from(interface.netmask);
            let inside = u32::from(interface.ip) & mask == u32::from(to) & mask;
            inside.then_some(interface.broadcast).flatten()
        })
    }

    /// The answer to a datagram that goes to everybody at `broadcast`, and who sent it: whom we ask,
    /// or with `ours` any address of this machine.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn call_out(
        &self,
        datagram: &str,
        broadcast: Ipv4Addr,
        ours: bool,
    ) -> Result<(String, SocketAddr), Fault> {
        self.socket.set_broadcast(true).map_err(unreached)?;
        let to = SocketAddr::from((broadcast, self.to.port()));
        let mine: Vec<IpAddr> = own().map(|interface| interface.ip.into()).collect();
        let from =
            |ip: IpAddr| ip == self.to.ip() || (ours && (ip.is_loopback() || mine.contains(&ip)));
        let answered = self.exchange(datagram, to, from).await;
        answered.map_err(|fault| match fault {
            Fault::Silent { seconds } => Fault::NoBroadcast {
                address: to.to_string().into(),
                seconds,
            },
            other => other,
        })
    }

    /// The answer and who sent it.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn ask(&self, datagram: &str) -> Result<(String, SocketAddr), Fault> {
        self.exchange(datagram, self.to, |ip| ip == self.to.ip())
            .await
    }

    async fn exchange(
        &self,
        datagram: &str,
        to: SocketAddr,
        may: impl Fn(IpAddr) -> bool,
    ) -> Result<(String, SocketAddr), Fault> {
        self.socket
            .send_to(datagram.as_bytes(), to)
            .await
            .map_err(unreached)?;
        let end = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 65_536];
        loop {
            match timeout_at(end, self.socket.recv_from(&mut buffer)).await {
                // What others send here is no answer.
                Ok(Ok((length, from))) if may(from.ip()) => {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    return Ok((text, from));
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(unreached(error)),
                Err(_) => return Err(silent(PATIENCE)),
            }
        }
    }
}

/// This machine's networks.
fn own() -> impl Iterator<Item = if_addrs::Ifv4Addr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.into_iter()
        .filter_map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(v4) => Some(v4),
            if_addrs::IfAddr::V6(_) => None,
        })
}
