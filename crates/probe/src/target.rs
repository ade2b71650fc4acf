//! Whom to ask, and as whom.

use std::net::{IpAddr, Ipv4Addr};

/// A reader whose calls can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// Victron GX, found by mDNS.
    Victron,
    /// Home Assistant's Shelly integration.
    HomeAssistant,
    /// evcc's `shelly-pro-3em`.
    Evcc,
    /// Marstek Venus, Jupiter, B2500.
    Marstek,
    /// Hoymiles MS-A2, `HiBattery`.
    Hoymiles,
    /// Growatt NOAH, NEXA.
    Noah,
    /// Solakon ONE.
    Solakon,
    /// A Modbus master.
    Modbus,
}

impl Consumer {
    /// All of them, in the order that they are offered in.
    pub const ALL: [Self; 8] = [
        Self::Victron,
        Self::HomeAssistant,
        Self::Evcc,
        Self::Marstek,
        Self::Hoymiles,
        Self::Noah,
        Self::Solakon,
        Self::Modbus,
    ];

    /// Its word and its name.
    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Victron => ("victron", "Victron GX"),
            Self::HomeAssistant => ("home-assistant", "Home Assistant"),
            Self::Evcc => ("evcc", "evcc"),
            Self::Marstek => ("marstek", "Marstek"),
            Self::Hoymiles => ("hoymiles", "Hoymiles"),
            Self::Noah => ("noah", "Growatt NOAH, NEXA"),
            Self::Solakon => ("solakon", "Solakon ONE"),
            Self::Modbus => ("modbus", "Modbus TCP"),
        }
    }

    /// The word of the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.texts().0
    }

    /// As people call it; the same in every language.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.texts().1
    }

    /// By its word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|consumer| consumer.word() == word)
    }
}

/// What a meter offers on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// On these ports; never empty.
    On(Vec<u16>),
    /// An option turned it off.
    Off(&'static str),
}

impl Service {
    /// On one port, or off by this option.
    #[must_use]
    pub fn of(port: Option<u16>, option: &'static str) -> Self {
        port.map_or(Self::Off(option), |port| Self::On(vec![port]))
    }

    /// The first port.
    ///
    /// # Errors
    /// The option that turned it off.
    pub(crate) fn port(&self) -> Result<u16, &'static str> {
        match self {
            Self::On(ports) => Ok(ports[0]),
            Self::Off(option) => Err(option),
        }
    }
}

/// Whether and where the network is asked for the meter's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// On these interfaces; empty: on all but loopback.
    On(Vec<String>),
    /// An option turned the announcement off.
    Off(&'static str),
    /// It is asked on this machine's loopback, where nothing is announced.
    Loopback,
}

/// Where a battery's broadcast goes that looks for the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// To this address; any address of this machine may answer.
    To(Ipv4Addr),
    /// To that of the network in which this machine meets the meter, which answers itself.
    OfHost,
    /// Nowhere: the meter is asked on loopback.
    Loopback,
}

/// A meter to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address or name.
    pub host: String,
    /// HTTP and WebSocket.
    pub http: Service,
    /// UDP.
    pub udp: Service,
    /// Of several UDP ports one is enough: a device listens on one, and which is not known.
    pub any_udp: bool,
    /// How a battery looks for it by UDP.
    pub broadcast: Broadcast,
    /// Modbus TCP.
    pub modbus: Service,
    /// mDNS.
    pub mdns: Lookup,
}

impl Target {
    /// A meter somewhere: `host` or `host:port`, the port being that of the channel that `consumer`
    /// uses.
    ///
    /// # Errors
    /// One line when the port is no number from 1 to 65535, or the host is missing.
    pub fn parse(text: &str, consumer: Consumer) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no host[:port]: write 192.0.2.5 or 192.0.2.5:8080");
        let (host, port) = split(text.trim()).ok_or_else(wrong)?;
        let port = port
            .map(|port| port.parse::<u16>().ok().filter(|port| *port > 0))
            .map_or(Ok(None), |port| port.map(Some).ok_or_else(wrong))?;
        let on = |mine: bool, usual: &[u16]| {
            let given = port.filter(|_| mine).map(|port| vec![port]);
            Service::On(given.unwrap_or_else(|| usual.to_vec()))
        };
        let (udp, modbus) = (consumer == Consumer::Marstek, consumer == Consumer::Modbus);
        let loopback =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        Ok(Self {
            host: host.to_owned(),
            http: on(!udp && !modbus, &[80]),
            udp: on(udp, &[1010, 2220]),
            any_udp: true,
            broadcast: if loopback {
                Broadcast::Loopback
            } else {
                Broadcast::OfHost
            },
            modbus: on(modbus, &[502]),
            mdns: if loopback {
                Lookup::Loopback
            } else {
                Lookup::On(Vec::new())
            },
        })
    }

    /// `host:port`, an IPv6 address in brackets.
    #[must_use]
    pub fn at(&self, port: u16) -> String {
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

/// Host and port of `host`, `host:port`, `[v6]:port` or a bare IPv6 address.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        match rest {
            "" => (host, None),
            rest => (host, Some(rest.strip_prefix(':')?)),
        }
    } else if text.parse::<IpAddr>().is_ok() {
        (text, None)
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let good = !host.is_empty()
        && (host.contains(':') && host.parse::<IpAddr>().is_ok()
            || host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)));
    good.then_some((host, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_target_is_host_and_the_port_of_the_readers_channel() {
        let udp = Target::parse("192.0.2.5:2223", Consumer::Marstek).unwrap();
        assert_eq!(&*udp.host, "192.0.2.5");
        assert_eq!(udp.udp, Service::On(vec![2223]));
        assert_eq!(udp.http, Service::On(vec![80]));
        assert_eq!(udp.broadcast, Broadcast::OfHost);
        let web = Target::parse("meter.local:8080", Consumer::Evcc).unwrap();
        assert_eq!(web.at(8080), "meter.local:8080");
        assert_eq!(web.http, Service::On(vec![8080]));
        assert_eq!(web.mdns, Lookup::On(Vec::new()));
        let six = Target::parse("[::1]:5020", Consumer::Modbus).unwrap();
        assert_eq!(six.at(1), "[::1]:1");
        assert_eq!(six.modbus, Service::On(vec![5020]));
        assert_eq!(six.mdns, Lookup::Loopback);
        assert_eq!(six.broadcast, Broadcast::Loopback);
        assert_eq!(Target::parse("::1", Consumer::Noah).unwrap().host, "::1");
        for wrong in [
            "", ":80", "a:b", "h:0", "h:70000", "http://h", "h/x", "[x]:1", "a b",
        ] {
            assert!(Target::parse(wrong, Consumer::Noah).is_err(), "{wrong}");
        }
    }

    #[test]
    fn readers_are_known_by_their_words() {
        for consumer in Consumer::ALL {
            assert_eq!(Consumer::of(consumer.word()), Some(consumer));
        }
        assert_eq!(Consumer::of("shelly"), None);
    }
}
