//! Where a reader may send the meter: servers of `Ws.SetConfig` and `Mqtt.SetConfig`.
//!
//! Whoever is on the network may name one. A meter that then dials whatever it is told tells a
//! stranger which ports of its own host are open, and reaches what only the host itself should
//! reach. So a server is an ordinary address: checked as text when it is set, and again as the
//! addresses that its name stands for when it is dialled. What the option `outbound_ws` names is
//! its owner's own word and not looked at; `outbound_ws_local` lets readers name this host too.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};
use vocab::reason::BadTarget;

/// Most characters of a server's address.
const LONGEST: usize = 255;

/// Whether `server` is an address that a reader may set; `local` lets this host and link-local
/// addresses in.
///
/// # Errors
/// What is wrong with it, as it follows its name in a sentence.
pub fn check(server: &str, local: bool) -> Result<(), BadTarget> {
    const FORM: BadTarget = BadTarget::NotWebsocket;
    // `Url` leaves tabs and line ends out, so what it takes need not be what is dialled and shown.
    if server.len() > LONGEST || !server.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(FORM);
    }
    let url = Url::parse(server).map_err(|_| FORM)?;
    if !matches!(url.scheme(), "ws" | "wss") || url.fragment().is_some() || url.port() == Some(0) {
        return Err(FORM);
    }
    let near = match url.host().ok_or(FORM)? {
        Host::Ipv4(ip) => is_near(ip.into()),
        Host::Ipv6(ip) => is_near(ip.into()),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
    };
    if near && !local {
        Err(BadTarget::Near)
    } else {
        Ok(())
    }
}

/// Whether `server` may be a broker of `Mqtt.SetConfig`: `host:port`; `local` as for [`check`].
///
/// # Errors
/// What is wrong with it.
pub fn check_broker(server: &str, local: bool) -> Result<(), BadTarget> {
    if server.contains(['/', '?', '#', '@', '\\']) {
        return Err(BadTarget::NotBroker);
    }
    check(&format!("ws://{server}/"), local).map_err(|why| match why {
        BadTarget::Near => why,
        BadTarget::NotWebsocket | BadTarget::NotBroker => BadTarget::NotBroker,
    })
}

/// Whether an address is this host's own by any network, of the link alone, or of nobody in
/// particular.
#[must_use]
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => near_v4(ip),
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                // Also one that carries an IPv4 address within (::127.0.0.1).
                || ip.to_ipv4().is_some_and(near_v4)
        }
    }
}

fn near_v4(ip: Ipv4Addr) -> bool {
    ip.is_loopback()
        || ip.octets()[0] == 0
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_server_is_an_ordinary_address() {
        for good in [
            "ws://192.0.2.7",
            "ws://192.0.2.7:8000/",
            "wss://gx.local/rpc?token=x",
            "ws://user:word@meter.lan/",
            "ws://[2001:db8::1]:80/x",
        ] {
            assert_eq!(check(good, false), Ok(()), "{good}");
        }
        for wrong in [
            "",
            " ",
            "192.0.2.7:8000",
            "http://192.0.2.7",
            "ws://",
            "ws://192.0.2.7:0/",
            "ws://192.0.2.7/\nWARN everything is fine",
            "ws://192.0.2.7/\t",
            "ws://192.0.2.7/a b",
            "ws://192.0.2.7/\u{202e}evil",
            "ws://192.0.2.7/#x",
            "ws://h\u{1b}[31m/",
            &format!("ws://{}", "x".repeat(251)),
        ] {
            assert!(check(wrong, true).is_err(), "{wrong:?}");
        }
        for near in [
            "ws://127.0.0.1:22/",
            "ws://127.9:22/",
            "ws://2130706433/",
            "ws://0x7f.1/",
            "ws://017700000001/",
            "ws://0.0.0.0/",
            "ws://localhost:80/",
            "ws://LOCALHOST./",
            "ws://a.localhost/",
            "ws://[::1]:8123/",
            "ws://[::]/",
            "ws://[::ffff:127.0.0.1]/",
            "ws://[::127.0.0.1]/",
            "ws://169.254.169.254/latest/meta-data",
            "wss://[fe80::1]/",
            "ws://224.0.0.251/",
            "ws://255.255.255.255/",
        ] {
            assert_eq!(check(near, false), Err(BadTarget::Near), "{near}");
            assert_eq!(check(near, true), Ok(()), "{near}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_one_plain_word(text in "(ws|wss|http)?(://)?\\PC{0,40}[\\x00-\\x20]?\\PC{0,8}") {
            if check(&text, true).is_ok() {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(text.to_ascii_lowercase().starts_with("ws"));
            }
        }
    }
}
