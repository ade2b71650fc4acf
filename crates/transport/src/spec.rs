//! What a listener is meant to be.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A listener that shall be: for its log lines and its line on the [`crate::Board`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSpec {
    /// `http`, `udp`, `modbus`, `websocket`, `dashboard`.
    pub name: &'static str,
    /// The meter's name, empty for the first.
    pub meter: String,
    /// `None`: every address, IPv4 and, where there is one, IPv6.
    pub bind: Option<IpAddr>,
    /// 0 lets the system choose.
    pub port: u16,
    /// Who reads there, e.g. `Hoymiles, NOAH and Victron use port 80 only`.
    pub needed_by: &'static str,
}

impl ListenerSpec {
    /// The addresses to bind, in order; the second may be missing on a host without IPv6.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self.bind {
            Some(address) => vec![SocketAddr::new(address, self.port)],
            None => [
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ]
            .map(|a| SocketAddr::new(a, self.port))
            .to_vec(),
        }
    }

    /// What a user reads when the port cannot be had: which, why, who misses it, what to do, when
    /// it is tried `again`.
    pub(super) fn complaint(&self, error: &io::Error, again: &str) -> String {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program has it: stop that one or choose another port here"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root or CAP_NET_BIND_SERVICE: grant it or choose a higher port"
            }
            io::ErrorKind::AddrNotAvailable => "no interface has this address: correct `bind`",
            _ => "choose another port or address",
        };
        let port = self.port;
        format!(
            "port {port} cannot be opened ({error}); {}; {remedy}; {again}",
            self.needed_by
        )
    }
}
