//! A UDP socket that knows which of our addresses was asked, and answers from it
//! (`docs/decisions.md#ports`).
//!
//! A battery drops an answer that comes from another address of the host than the one it asked. On
//! a socket bound to every address only the packet's own information (`IP_PKTINFO`, `IPV6_PKTINFO`)
//! tells.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
        setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

/// A datagram as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Our address it reached; for a broadcast, ours on that network.
    pub local: Option<IpAddr>,
    /// Its length, or that of the part that fitted into the buffer.
    pub len: usize,
}

/// One bound socket.
#[derive(Debug)]
pub struct PacketSocket {
    socket: UdpSocket,
    local: SocketAddr,
}

impl PacketSocket {
    /// Binds one address. An IPv6 socket takes IPv6 only.
    ///
    /// # Errors
    /// When the system refuses: port taken, forbidden, address not ours.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::open(address, false)
    }

    /// Binds a broadcast address, which the meters of one network share: each gets every datagram.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_shared(address: SocketAddr) -> io::Result<Self> {
        Self::open(address, true)
    }

    fn open(address: SocketAddr, shared: bool) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        socket.set_reuse_address(shared)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    /// Where it is bound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits for the next datagram.
    ///
    /// # Errors
    /// The system's.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        self.socket
            .async_io(Interest::READABLE, || self.receive_now(buffer))
            .await
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let mut space = cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let peer = message
            .address
            .as_ref()
            .and_then(to_std)
            .ok_or_else(|| io::Error::other("a datagram without a sender"))?;
        let local = message.cmsgs()?.find_map(|m| match m {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::V4(Ipv4Addr::from(
                u32::from_be(info.ipi_spec_dst.s_addr),
            ))),
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)))
            }
            _ => None,
        });
        Ok(Datagram {
            peer,
            local,
            len: message.bytes,
        })
    }

    /// Sends from `from`, the address that was asked, or the one the system chooses.
    ///
    /// # Errors
    /// The system's.
    pub async fn send(&self, bytes: &[u8], from: Option<IpAddr>, to: SocketAddr) -> io::Result<()> {
        self.socket
            .async_io(Interest::WRITABLE, || self.send_now(bytes, from, to))
            .await
    }

    fn send_now(&self, bytes: &[u8], from: Option<IpAddr>, to: SocketAddr) -> io::Result<()> {
        let (v4, v6);
        let control = match (from, to) {
            (Some(IpAddr::V4(ip)), SocketAddr::V4(_)) => {
                v4 = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(ip).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                Some(ControlMessage::Ipv4PacketInfo(&v4))
            }
            (Some(IpAddr::V6(ip)), SocketAddr::V6(to)) => {
                // A link-local peer keeps its scope in `to`; the source's interface is then its
                // own.
                v6 = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: to.scope_id(),
                };
                Some(ControlMessage::Ipv6PacketInfo(&v6))
            }
            _ => None,
        };
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control.as_slice(),
            MsgFlags::MSG_DONTWAIT,
            Some(&SockaddrStorage::from(to)),
        )?;
        Ok(())
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address
        .as_sockaddr_in6()
        .map(|v6| SocketAddr::V6((*v6).into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn answers_from_the_address_that_was_asked() {
        let ours = PacketSocket::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for asked in ["127.0.0.1", "127.0.0.2"] {
            let asked: IpAddr = asked.parse().unwrap();
            client
                .send_to(b"hello", (asked, ours.local().port()))
                .await
                .unwrap();
            let mut buffer = [0; 16];
            let got = ours.receive(&mut buffer).await.unwrap();
            assert_eq!((got.local, got.len), (Some(asked), 5));
            ours.send(b"world", got.local, got.peer).await.unwrap();
            let (_, from) = client.recv_from(&mut buffer).await.unwrap();
            assert_eq!(from, SocketAddr::new(asked, ours.local().port()));
        }
    }

    #[tokio::test]
    async fn meters_of_one_network_share_its_broadcast_address() {
        let first = PacketSocket::bind_shared("127.255.255.255:0".parse().unwrap()).unwrap();
        let second = PacketSocket::bind_shared(first.local()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.set_broadcast(true).unwrap();
        client.send_to(b"hello", first.local()).await.unwrap();
        for socket in [&first, &second] {
            let got = socket.receive(&mut [0; 16]).await.unwrap();
            assert_eq!((got.len, got.peer), (5, client.local_addr().unwrap()));
        }
    }

    #[tokio::test]
    async fn a_datagram_that_does_not_fit_fills_the_buffer() {
        let ours = PacketSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&[b'x'; 100], ours.local()).await.unwrap();
        let got = ours.receive(&mut [0; 64]).await.unwrap();
        assert_eq!(got.len, 64);
    }

    #[tokio::test]
    async fn speaks_ipv6() {
        let Ok(ours) = PacketSocket::bind("[::]:0".parse().unwrap()) else {
            return;
        };
        let Ok(client) = UdpSocket::bind("[::1]:0").await else {
            return;
        };
        client
            .send_to(b"six", ("::1", ours.local().port()))
            .await
            .unwrap();
        let mut buffer = [0; 16];
        let got = ours.receive(&mut buffer).await.unwrap();
        assert_eq!(got.local, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        ours.send(b"back", got.local, got.peer).await.unwrap();
        assert_eq!(client.recv_from(&mut buffer).await.unwrap().0, 4);
    }
}
