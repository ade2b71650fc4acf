//! Forms of text that options have: entity ids, MAC, device id, firmware id, addresses, shares.
//!
//! What makes up an identity is parsed by [`vocab`], for the device and what was kept too.

use std::net::IpAddr;

use super::log_levels::LogLevels;
use vocab::{BuildId, DeviceId, EntityId, Mac, Version, reason::Limit};

/// What a text has to be beyond its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Anything.
    Any,
    /// One entity id, or several with commas.
    Entities,
    /// A MAC address, with or without separators.
    Mac,
    /// `shelly…-` and twelve small hexadecimal digits.
    DeviceId,
    /// `1.7.5`.
    Version,
    /// `20250508-110717/1.6.1-g8dbd358`.
    FwId,
    /// `info,transport=debug`.
    LogLevels,
    /// An IP address, or a word that stands for the default.
    Address,
    /// A host name without domain.
    HostName,
    /// A host as in a `Host` header, without port.
    Host,
    /// `*` or an origin such as `https://example.org`.
    Origin,
    /// An address or a network.
    Network,
    /// An address or a network, `=`, and a share from 0 to 1.
    Share,
    /// The key of a profile, also with an address or a network and `=` before it.
    Reader,
    /// An MQTT broker's URL, which names no user and no topic.
    Broker,
}

impl Form {
    /// What is allowed.
    #[must_use]
    pub const fn limit(self) -> Limit {
        match self {
            Self::Any => Limit::AnyText,
            Self::Entities => Limit::Entities,
            Self::Mac => Limit::Mac,
            Self::DeviceId => Limit::DeviceId,
            Self::Version => Limit::Version,
            Self::FwId => Limit::FwId,
            Self::LogLevels => Limit::LogLevels,
            Self::Address => Limit::Address,
            Self::HostName => Limit::HostName,
            Self::Host => Limit::Host,
            Self::Origin => Limit::Origin,
            Self::Network => Limit::Network,
            Self::Share => Limit::Share,
            Self::Reader => Limit::Reader {
                words: profiles::ALLOWED,
            },
            Self::Broker => Limit::Broker,
        }
    }

    /// The text in its normal spelling (a MAC as 12 capitals), where it has the form.
    pub(super) fn normal(self, text: &str) -> Option<String> {
        match self {
            Self::Mac => Mac::parse(text).map(|mac| mac.to_string()),
            _ => self.matches(text).then(|| text.to_owned()),
        }
    }

    /// Whether the text has the form.
    #[must_use]
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Entities => {
                !text.starts_with(' ') && !text.ends_with(' ') && entities(text).is_some()
            }
            Self::Mac => Mac::parse(text).is_some(),
            Self::DeviceId => DeviceId::parse(text).is_some(),
            Self::Version => Version::parse(text).is_some(),
            Self::FwId => BuildId::parse(text).is_some(),
            Self::LogLevels => LogLevels::parse(text).is_some(),
            Self::Address => is_automatic(text) || text.parse::<IpAddr>().is_ok(),
            Self::HostName => is_host_name(text),
            Self::Host => {
                text.parse::<IpAddr>().is_ok()
                    || (text.len() <= 253 && text.split('.').all(is_host_name))
            }
            Self::Origin => is_origin(text),
            Self::Network => network(text).is_some(),
            Self::Share => share(text).is_some(),
            Self::Reader => reader(text).is_some(),
            Self::Broker => is_broker(text),
        }
    }
}

/// Whether a word stands for "every address" or "find it out".
fn is_automatic(text: &str) -> bool {
    matches!(text, "all" | "auto" | "automatic")
}

/// One entity id, or several with commas; `None` where one of them is none.
#[must_use]
pub fn entities(text: &str) -> Option<Vec<EntityId>> {
    let ids = text.split(',').map(|id| id.trim_matches(' ').parse().ok());
    ids.collect()
}

fn is_host_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_origin(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else {
        return text == "*";
    };
    !rest.contains('/')
        && url::Url::parse(text)
            .is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()))
}

/// Whether it is what the connection can be made with: what else stands in a URL has options of its
/// own, or none.
fn is_broker(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "mqtt" | "mqtts")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && !text.contains('@')
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.port() != Some(0)
    })
}

/// An address as a network of one, or a network.
#[must_use]
pub fn network(text: &str) -> Option<ipnet::IpNet> {
    let text = text.trim();
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(ipnet::IpNet::from))
}

/// `address-or-network=share`.
#[must_use]
pub fn share(text: &str) -> Option<(ipnet::IpNet, f64)> {
    let (net, share) = text.split_once('=')?;
    let share: f64 = share.trim().parse().ok()?;
    Some((network(net)?, share)).filter(|_| (0.0..=1.0).contains(&share))
}

/// The key of a profile, or `address-or-network=key`.
#[must_use]
pub fn reader(text: &str) -> Option<(Option<ipnet::IpNet>, &'static profiles::Profile)> {
    match text.split_once('=') {
        Some((net, key)) => Some((Some(network(net)?), profiles::find(key.trim())?)),
        None => Some((None, profiles::find(text.trim())?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_lists_follow_their_expression() {
        for good in [
            "sensor.a",
            "sensor.a,sensor.b",
            "sensor.a , sensor.b_2",
            "input_number.x1",
            "sensor1.a",
        ] {
            assert!(Form::Entities.matches(good), "{good}");
        }
        for bad in [
            "",
            "sensor",
            "sensor.",
            ".a",
            "Sensor.a",
            "sensor.a,",
            "sensor.a;sensor.b",
            " sensor.a",
            "sensor.a__b",
            "sensor.a.b",
            "sensor.ä",
        ] {
            assert!(!Form::Entities.matches(bad), "{bad}");
        }
    }

    #[test]
    fn each_form_takes_its_texts_and_no_others() {
        let forms: [(Form, &[&str], &[&str]); 6] = [
            (
                Form::Address,
                &["192.168.1.2", "::1", "all"],
                &["192.168.1", "host"],
            ),
            (
                Form::HostName,
                &["ShellyPro3EM-2CBCBB0A1B2C"],
                &["x-", "a.local"],
            ),
            (Form::Host, &["a.local", "::1"], &["http://a", ""]),
            (
                Form::Origin,
                &["*", "https://a.example:8443"],
                &["a.example", "https://a.example/x", "://"],
            ),
            (
                Form::Broker,
                &[
                    "mqtt://core-mosquitto",
                    "mqtt://192.0.2.7:1884/",
                    "mqtts://[2001:db8::1]:8883",
                ],
                &[
                    "broker:1883",
                    "http://broker",
                    "mqtt://",
                    "mqtt://me:word@broker",
                    "mqtt://broker/topic",
                    "mqtt://broker?x",
                    "mqtt://broker:0",
                    "mqtt://broker:99999",
                ],
            ),
            (
                Form::Share,
                &["192.168.1.0/24 = 0.5"],
                &["192.168.1.2=1.5", "192.168.1.2", "a=NaN", "1.2.3.4=nan"],
            ),
        ];
        for (form, good, bad) in forms {
            for text in good {
                assert!(form.matches(text), "{form:?} {text}");
            }
            for text in bad {
                assert!(!form.matches(text), "{form:?} {text}");
            }
        }
        assert_eq!(
            share("192.168.1.0/24 = 0.5"),
            network("192.168.1.0/24").map(|net| (net, 0.5))
        );
    }
}
