//! Whose an address is, as far as limits can tell.

use std::net::{IpAddr, Ipv6Addr};

/// What limits count as one: an IPv4 address, or the first 64 bits of an IPv6 address. Every host
/// has all addresses of its /64 to choose from, so a limit by single addresses would limit nobody.
/// `::1` stays itself.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::address::*;

    #[test]
    fn a_host_is_its_ipv4_address_or_its_slash_64() {
        for (given, counted) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("fe80::1234", "fe80::"),
            ("::1", "::1"),
        ] {
            assert_eq!(
                counted_as(given.parse().unwrap()),
                counted.parse::<IpAddr>().unwrap(),
                "{given}"
            );
        }
    }
}
