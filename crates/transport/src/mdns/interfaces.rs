//! Where announcements go: the interfaces that reach the LAN, and which addresses can be announced
//! on them.

use std::net::{IpAddr, Ipv4Addr};

use if_addrs::IfAddr;
use ipnet::IpNet;
use vocab::reason::{Closed, Networks};

/// Which interfaces to announce on.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    /// `mdns_interfaces`; empty: automatic.
    pub named: Vec<String>,
    /// The Supervisor's primary interface, where one is known.
    pub primary: Option<String>,
}

/// The address by which this machine is reached from its network: that of the interface of the
/// default route.
#[must_use]
pub fn lan_address() -> Option<Ipv4Addr> {
    let found = Interfaces::default().now();
    found.iter().find_map(|interface| interface.v4().next())
}

/// An interface that is announced on.
#[derive(Clone, Debug)]
pub(super) struct InterfaceAddresses {
    pub name: String,
    pub addresses: Vec<IfAddr>,
}

impl Interfaces {
    /// Interfaces to announce on now. Docker's bridges never come up by themselves.
    pub(super) fn now(&self) -> Vec<InterfaceAddresses> {
        let names = match (&self.named[..], &self.primary) {
            ([], Some(primary)) => vec![primary.clone()],
            ([], None) => {
                default_route(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
                    .into_iter()
                    .collect()
            }
            (named, _) => named.to_vec(),
        };
        let all = if_addrs::get_if_addrs().unwrap_or_default();
        names
            .into_iter()
            .map(|name| {
                let addresses = all
                    .iter()
                    .filter(|i| i.name == name)
                    .map(|i| i.addr.clone())
                    .collect();
                InterfaceAddresses { name, addresses }
            })
            .collect()
    }
}

impl InterfaceAddresses {
    /// Its IPv4 addresses.
    pub(super) fn v4(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.addresses.iter().filter_map(|address| match address {
            IfAddr::V4(v4) => Some(v4.ip),
            IfAddr::V6(_) => None,
        })
    }

    /// The networks that it is in.
    pub(super) fn networks(&self) -> Vec<IpNet> {
        self.addresses.iter().filter_map(network).collect()
    }

    /// What to announce here: its own addresses, or `fixed` where that is in a network of this
    /// interface.
    pub(super) fn announced(&self, fixed: Option<IpAddr>) -> Vec<IpAddr> {
        match fixed {
            None => self.v4().map(IpAddr::V4).collect(),
            Some(fixed) => self
                .networks()
                .iter()
                .any(|net| net.contains(&fixed))
                .then_some(fixed)
                .into_iter()
                .collect(),
        }
    }
}

fn network(address: &IfAddr) -> Option<IpNet> {
    match address {
        IfAddr::V4(v4) => IpNet::new(IpAddr::V4(v4.ip), v4.prefixlen).ok(),
        IfAddr::V6(v6) => IpNet::new(IpAddr::V6(v6.ip), v6.prefixlen).ok(),
    }
}

/// Why `fixed` reaches nobody: an address is announced only in its own network, and none of these
/// interfaces is in it.
pub(super) fn outside(fixed: IpAddr, found: &[InterfaceAddresses]) -> Option<Closed> {
    let (mut inside, mut here) = (false, Vec::new());
    for (name, network) in found.iter().flat_map(|f| {
        f.addresses
            .iter()
            .filter_map(network)
            .map(move |net| (&f.name, net))
    }) {
        inside |= network.contains(&fixed);
        if network.addr().is_ipv4() {
            here.push((network.to_string(), name.clone()));
        }
    }
    (!inside).then(|| Closed::OutsideNetworks {
        ip: fixed,
        list: Networks(here.into()),
    })
}

/// The interface of the default route with the least metric, from the text of `/proc/net/route`.
fn default_route(table: &str) -> Option<String> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let (name, destination, metric, mask) =
                (cells.first()?, cells.get(1)?, cells.get(6)?, cells.get(7)?);
            (*destination == "00000000" && *mask == "00000000")
                .then_some((metric.parse::<u32>().ok()?, (*name).to_owned()))
        })
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(in crate::mdns) fn interface(name: &str, ip: &str, prefixlen: u8) -> InterfaceAddresses {
        let address = IfAddr::V4(if_addrs::Ifv4Addr {
            ip: ip.parse().unwrap(),
            netmask: [0; 4].into(),
            prefixlen,
            broadcast: None,
        });
        InterfaceAddresses {
            name: name.into(),
            addresses: vec![address],
        }
    }

    #[test]
    fn an_address_of_no_announced_network_is_named() {
        let found = [
            interface("eth0", "192.0.2.5", 25),
            interface("wlan0", "198.51.100.9", 24),
        ];
        for inside in ["192.0.2.5", "192.0.2.99", "198.51.100.1"] {
            assert_eq!(outside(inside.parse().unwrap(), &found), None, "{inside}");
        }
        for lost in ["192.0.2.130", "203.0.113.1", "fd00::1"] {
            let why = outside(lost.parse().unwrap(), &found).unwrap().to_string();
            for part in [
                lost,
                "192.0.2.5/25 on eth0",
                "198.51.100.9/24 on wlan0",
                "`mdns_ip`",
                "`mdns_interfaces`",
            ] {
                assert!(why.contains(part), "{part} not in {why}");
            }
            assert!(!why.contains('\n'));
        }
    }

    #[test]
    fn default_route_by_metric() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(default_route(table).as_deref(), Some("eth0"));
        assert_eq!(default_route(""), None);
    }
}
