//! Who a device is: MAC address, device id, version and build id. Each is parsed once, so whoever
//! holds one holds a good one: options, what was kept, and the device ask the same parser.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Serialize, Serializer};

macro_rules! texts {
    ($($(#[$meta:meta])* $Name:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $Name(Arc<str>);

        impl $Name {
            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $Name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $Name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    )*};
}

texts! {
    /// A device's MAC address: 12 capital hexadecimal digits, neither all 0 ("none") nor all F
    /// ("everybody").
    Mac;
    /// `shelly…-` and the 12 small digits of the device's MAC.
    DeviceId;
    /// Two to four numbers with dots, by which readers compare firmware: `1.7.5`.
    Version;
    /// `20250508-110717/1.6.1-g8dbd358`.
    BuildId;
}

impl Mac {
    /// Reads any of its forms: `:` or `-` or nothing between pairs.
    ///
    /// ```
    /// let mac = vocab::Mac::parse("2c:bc:bb:0a:1b:2c");
    /// assert_eq!(mac.as_deref(), Some("2CBCBB0A1B2C"));
    /// assert_eq!(vocab::Mac::parse("00:00:00:00:00:00"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
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
        (at == bytes.len() && of_a_device).then(|| Self(digits.into()))
    }

    /// A locally administered unicast address of six bytes, which are random or those of a hash.
    #[must_use]
    pub fn local(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xFC) | 0x02;
        let digits: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
        Self(digits.into())
    }
}

impl DeviceId {
    /// Reads it as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, mac) = text.split_once('-')?;
        let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = prefix.starts_with("shelly")
            && prefix.bytes().all(small)
            && mac.len() == 12
            && is_small_hex(mac)
            && Mac::parse(mac).is_some();
        good.then(|| Self(text.into()))
    }

    /// That of a Pro 3EM.
    #[must_use]
    pub fn of(mac: &Mac) -> Self {
        Self(format!("shellypro3em-{}", mac.to_ascii_lowercase()).into())
    }

    /// The MAC that it ends in.
    #[must_use]
    pub fn mac(&self) -> Mac {
        let (_, mac) = self.0.split_once('-').unwrap_or_default();
        Mac(mac.to_ascii_uppercase().into())
    }
}

impl Version {
    /// Reads it as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number =
            |part: &str| (1..=5).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let good = (2..=4).contains(&text.split('.').count()) && text.split('.').all(number);
        good.then(|| Self(text.into()))
    }
}

impl BuildId {
    /// Reads it as it is written. Home Assistant reads its date and takes none before 20230803.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_build_id(text).then(|| Self(text.into()))
    }

    /// One that stands in the program.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn from_static(id: &'static str) -> Self {
        assert!(is_build_id(id), "{id:?} is no build id");
        Self(id.into())
    }

    /// The version in it.
    #[must_use]
    pub fn version(&self) -> Version {
        let version = self
            .0
            .split_once('/')
            .and_then(|(_, rest)| rest.split_once("-g"));
        Version(version.unwrap_or_default().0.into())
    }
}

fn is_build_id(text: &str) -> bool {
    let parts = text.split_once('/').and_then(|(stamp, rest)| {
        let (date, time) = stamp.split_once('-')?;
        let (version, commit) = rest.split_once("-g")?;
        Some((date, time, version, commit))
    });
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    parts.is_some_and(|(date, time, version, commit)| {
        digits(date, 8)
            && digits(time, 6)
            && Version::parse(version).is_some()
            && (7..=40).contains(&commit.len())
            && is_small_hex(commit)
            && date >= "20230803"
    })
}

/// What people call a meter: its name, which is empty for the first, then `1`.
#[must_use]
pub fn meter_name(key: &str) -> &str {
    if key.is_empty() { "1" } else { key }
}

fn is_small_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mac_forms_become_twelve_capitals() {
        for good in [
            "2cbcbb0a1b2c",
            "2C:BC:BB:0A:1B:2C",
            "2c-bc-bb-0a-1b-2c",
            "2cbc:bb0a1b-2c",
        ] {
            assert_eq!(Mac::parse(good).as_deref(), Some("2CBCBB0A1B2C"), "{good}");
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
            "000000000000",
            "ff:ff:ff:ff:ff:ff",
        ] {
            assert_eq!(Mac::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_local_mac_is_unicast_and_locally_administered() {
        assert_eq!(&*Mac::local([0xFF; 6]), "FEFFFFFFFFFF");
        assert_eq!(&*Mac::local([0; 6]), "020000000000");
    }

    #[test]
    fn a_device_id_ends_in_its_mac() {
        for good in [
            "shellypro3em-2cbcbb0a1b2c",
            "shelly-2cbcbb0a1b2c",
            "shellypro3em63-2cbcbb0a1b2c",
        ] {
            let id = DeviceId::parse(good).unwrap();
            assert_eq!((&*id, &*id.mac()), (good, "2CBCBB0A1B2C"));
        }
        for bad in [
            "shellypro3em-2CBCBB0A1B2C",
            "shellypro3em-virtual-001",
            "shellypro3em-000000000000",
            "pro3em-2cbcbb0a1b2c",
            "shellypro3em2cbcbb0a1b2c",
            "shellyPro-2cbcbb0a1b2c",
            "shelly_x-0123456789ab",
            "shellypro3em-0123456789a",
            "",
        ] {
            assert_eq!(DeviceId::parse(bad), None, "{bad}");
        }
        let mac = Mac::parse("2CBCBB0A1B2C").unwrap();
        assert_eq!(DeviceId::of(&mac).mac(), mac);
    }

    #[test]
    fn a_build_id_has_a_date_and_its_version() {
        let id = BuildId::parse("20250508-110717/1.6.1-g8dbd358").unwrap();
        assert_eq!(&*id.version(), "1.6.1");
        for bad in [
            "1.0.0-virt",
            "20230802-110717/1.6.1-g8dbd358",
            "20250508-110717/1.6.1-8dbd358",
            "20250508-110717/1.6.1-g8dbd35",
            "20250508/1.6.1-g8dbd358",
        ] {
            assert_eq!(BuildId::parse(bad), None, "{bad}");
        }
        for bad in ["1.0.0-virt", "v1.7.1", "", "1/2", "1", "1..2", "1.2.3.4.5"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
        assert!(Version::parse("1.7").is_some());
    }
}
