//! How a broker is named.

use vocab::mask_url;

/// How the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plain,
    /// TLS, with a certificate that this host trusts.
    Tls,
    /// TLS, whatever the certificate (`ssl_ca: "*"`).
    TlsUnchecked,
}

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS or not.
    pub security: Security,
}

impl Server {
    /// `mqtt://host:1883`, `mqtts://host:8883`, or `host:1883` as the device has it; without a port
    /// it is 1883, with TLS 8883.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (security, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (Security::Plain, rest),
            Some(("mqtts", rest)) => (Security::Tls, rest),
            Some(_) => return None,
            None => (Security::Plain, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let plain = match security {
            Security::Plain => 1883,
            _ => 8883,
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':'))
            }
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let bad = |c: char| !c.is_ascii_graphic() || "/?#@[]".contains(c);
        if host.is_empty() || host.len() > 255 || host.contains(bad) {
            return None;
        }
        let port = port.map_or(Some(plain), |text| text.parse().ok().filter(|p| *p > 0))?;
        Some(Self {
            host: host.to_owned(),
            port,
            security,
        })
    }

    /// The same as text, for log and pages.
    #[must_use]
    pub fn shown(&self) -> String {
        let scheme = if self.security == Security::Plain {
            "mqtt"
        } else {
            "mqtts"
        };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        mask_url(&format!("{scheme}://{host}:{}", self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_in_the_usual_ways() {
        let of = |text: &str| Server::parse(text).map(|s| s.shown());
        for (text, shown) in [
            ("core-mosquitto", "mqtt://core-mosquitto:1883"),
            ("192.0.2.7:1884", "mqtt://192.0.2.7:1884"),
            ("mqtt://broker/", "mqtt://broker:1883"),
            ("mqtts://broker.lan", "mqtts://broker.lan:8883"),
            ("mqtts://[2001:db8::1]:8884", "mqtts://[2001:db8::1]:8884"),
        ] {
            assert_eq!(of(text).as_deref(), Some(shown), "{text}");
        }
        for wrong in [
            "",
            "http://broker",
            "broker:0",
            "broker:x",
            "broker:99999",
            "me:word@broker",
            "broker/topic",
            "bro ker",
            "[::1",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
