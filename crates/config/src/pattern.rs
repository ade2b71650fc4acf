//! Forms of text that options have: entity ids, MAC, device id, firmware id, addresses, shares.
//!
//! The one place that says what is good: the layers of the configuration ask here, and so does the
//! device's identity, with what it was given and with what was kept from before.

use std::net::IpAddr;

/// A form that has a name and a normal spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
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
}

impl Pattern {
    /// A regular expression of texts that have the form, but for what no expression says (a date, a
    /// device's own MAC).
    #[cfg(test)]
    pub(super) const fn regex(self) -> &'static str {
        match self {
            Self::Entities => r"^[a-z_]+\.[a-z0-9_]+( *, *[a-z_]+\.[a-z0-9_]+)*$",
            Self::Mac => "^([0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}$",
            Self::DeviceId => "^shelly[a-z0-9]*-[0-9a-f]{12}$",
            Self::Version => r"^[0-9]{1,5}(\.[0-9]{1,5}){1,3}$",
            Self::FwId => r"^[0-9]{8}-[0-9]{6}/[0-9]{1,5}(\.[0-9]{1,5}){1,3}-g[0-9a-f]{7,40}$",
        }
    }

    /// What is allowed, in words that follow "must be".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Entities => {
                "an entity id such as sensor.grid_power, or several separated by commas"
            }
            Self::Mac => {
                "a MAC address of 12 hexadecimal digits, with or without : or -, neither all 0 nor all F"
            }
            Self::Version => "a version such as 1.7.5: numbers with dots, without a v in front",
            Self::DeviceId => "shelly…-<mac> in small letters, such as shellypro3em-2cbcbb0a1b2c",
            Self::FwId => {
                "a firmware id such as 20250508-110717/1.6.1-g8dbd358, dated 20230803 or later"
            }
        }
    }

    /// The text in its normal spelling (a MAC as 12 capitals).
    ///
    /// # Errors
    /// What it must be, where it is something else.
    pub fn check(self, text: &str) -> Result<String, String> {
        let good = match self {
            Self::Mac => mac(text),
            _ => self.matches(text).then(|| text.to_owned()),
        };
        good.ok_or_else(|| format!("must be {}", self.words()))
    }

    /// Whether the text has the form.
    #[must_use]
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::Entities => {
                !text.starts_with(' ')
                    && !text.ends_with(' ')
                    && text.split(',').all(|id| is_entity(id.trim_matches(' ')))
            }
            Self::Mac => mac(text).is_some(),
            Self::DeviceId => is_device_id(text),
            Self::Version => is_version(text),
            Self::FwId => fw_version(text).is_some(),
        }
    }
}

/// A form that the schema only knows as `str`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Anything.
    Any,
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
}

impl Form {
    /// What is allowed, in words that follow "must be"; empty for any text.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Address => "an IP address such as 192.168.1.20",
            Self::HostName => {
                "a host name of letters, digits and inner hyphens, at most 63 characters, without domain"
            }
            Self::Host => "a host name or an IP address, without scheme and port",
            Self::Origin => "* or an origin such as https://example.org",
            Self::Network => "an IP address or a network such as 192.168.1.0/24",
            Self::Share => {
                "address-or-network=share, with a share from 0 to 1, such as 192.168.1.20=0.7"
            }
        }
    }

    /// Whether the text has the form.
    #[must_use]
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Address => is_automatic(text) || text.parse::<IpAddr>().is_ok(),
            Self::HostName => is_host_name(text),
            Self::Host => {
                text.parse::<IpAddr>().is_ok()
                    || (text.len() <= 253 && text.split('.').all(is_host_name))
            }
            Self::Origin => is_origin(text),
            Self::Network => network(text).is_some(),
            Self::Share => share(text).is_some(),
        }
    }
}

/// Whether a word stands for "every address" or "find it out".
#[must_use]
pub fn is_automatic(text: &str) -> bool {
    matches!(text, "all" | "auto" | "automatic")
}

fn is_entity(id: &str) -> bool {
    let Some((domain, name)) = id.split_once('.') else {
        return false;
    };
    let part = |text: &str, digits: bool| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || (digits && b.is_ascii_digit()))
    };
    part(domain, false) && part(name, true)
}

/// The 12 capital digits of a MAC address in any of its forms (`:` or `-` or nothing between
/// pairs). All zeros stand for "none" and all ones for "everybody": neither is a device's.
#[must_use]
pub fn mac(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut digits = String::with_capacity(12);
    let mut at = 0;
    for pair in 0..6 {
        if pair > 0 && matches!(bytes.get(at), Some(b':' | b'-')) {
            at += 1;
        }
        for _ in 0..2 {
            let byte = *bytes.get(at).filter(|b| b.is_ascii_hexdigit())?;
            digits.push(char::from(byte.to_ascii_uppercase()));
            at += 1;
        }
    }
    let of_a_device = !["000000000000", "FFFFFFFFFFFF"].contains(&digits.as_str());
    (at == bytes.len() && of_a_device).then_some(digits)
}

fn is_small_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_device_id(text: &str) -> bool {
    let Some((prefix, mac)) = text.split_once('-') else {
        return false;
    };
    let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    prefix.starts_with("shelly")
        && prefix.bytes().all(small)
        && mac.len() == 12
        && is_small_hex(mac)
        && self::mac(mac).is_some()
}

/// Two to four numbers with dots: what readers compare versions by.
fn is_version(text: &str) -> bool {
    let number =
        |part: &str| (1..=5).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    (2..=4).contains(&text.split('.').count()) && text.split('.').all(number)
}

/// The version inside a firmware id. Home Assistant reads its date and takes none before 20230803.
#[must_use]
pub fn fw_version(text: &str) -> Option<&str> {
    let (stamp, rest) = text.split_once('/')?;
    let (date, time) = stamp.split_once('-')?;
    let (version, commit) = rest.split_once("-g")?;
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let good = digits(date, 8)
        && digits(time, 6)
        && is_version(version)
        && (7..=40).contains(&commit.len())
        && is_small_hex(commit)
        && date >= "20230803";
    good.then_some(version)
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
        ] {
            assert!(Pattern::Entities.matches(good), "{good}");
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
            "sensor1.a",
            "sensor.a.b",
            "sensor.ä",
        ] {
            assert!(!Pattern::Entities.matches(bad), "{bad}");
        }
    }

    #[test]
    fn mac_forms_become_twelve_capitals() {
        for good in [
            "2cbcbb0a1b2c",
            "2C:BC:BB:0A:1B:2C",
            "2c-bc-bb-0a-1b-2c",
            "2cbc:bb0a1b-2c",
        ] {
            assert_eq!(mac(good).as_deref(), Some("2CBCBB0A1B2C"), "{good}");
        }
        for bad in [
            "",
            "2cbcbb0a1b2",
            "2cbcbb0a1b2c0",
            "2c::bcbb0a1b2c",
            ":2cbcbb0a1b2c",
            "2cbcbb0a1b2c:",
            "zcbcbb0a1b2c",
            "é2cbcbb0a1b2",
        ] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn device_and_firmware_ids() {
        assert!(Pattern::DeviceId.matches("shellypro3em-2cbcbb0a1b2c"));
        assert!(Pattern::DeviceId.matches("shelly-2cbcbb0a1b2c"));
        for bad in [
            "shellypro3em-2CBCBB0A1B2C",
            "shellypro3em-virtual-001",
            "pro3em-2cbcbb0a1b2c",
            "shellypro3em2cbcbb0a1b2c",
            "shellyPro-2cbcbb0a1b2c",
        ] {
            assert!(!Pattern::DeviceId.matches(bad), "{bad}");
        }
        assert!(Pattern::FwId.matches("20250508-110717/1.6.1-g8dbd358"));
        for bad in [
            "1.0.0-virt",
            "20230802-110717/1.6.1-g8dbd358",
            "20250508-110717/1.6.1-8dbd358",
            "20250508-110717/1.6.1-g8dbd35",
            "20250508/1.6.1-g8dbd358",
        ] {
            assert!(!Pattern::FwId.matches(bad), "{bad}");
        }
    }

    #[test]
    fn forms() {
        assert!(
            Form::Address.matches("192.168.1.2")
                && Form::Address.matches("::1")
                && Form::Address.matches("all")
        );
        assert!(!Form::Address.matches("192.168.1") && !Form::Address.matches("host"));
        assert!(
            Form::HostName.matches("ShellyPro3EM-2CBCBB0A1B2C")
                && !Form::HostName.matches("x-")
                && !Form::HostName.matches("a.local")
        );
        assert!(
            Form::Host.matches("a.local")
                && Form::Host.matches("::1")
                && !Form::Host.matches("http://a")
                && !Form::Host.matches("")
        );
        assert!(Form::Origin.matches("*") && Form::Origin.matches("https://a.example:8443"));
        assert!(
            !Form::Origin.matches("a.example")
                && !Form::Origin.matches("https://a.example/x")
                && !Form::Origin.matches("://")
        );
        assert_eq!(
            share("192.168.1.0/24 = 0.5"),
            Some(("192.168.1.0/24".parse().ok().unwrap_or_default(), 0.5))
        );
        assert!(
            !Form::Share.matches("192.168.1.2=1.5")
                && !Form::Share.matches("192.168.1.2")
                && !Form::Share.matches("a=NaN")
        );
        assert!(!Form::Share.matches("1.2.3.4=nan"));
    }
}
