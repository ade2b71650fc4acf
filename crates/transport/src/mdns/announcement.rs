//! What a meter announces: names and TXT records by its profile, and which of several meters
//! `_shelly._tcp` is for.

use std::net::{IpAddr, Ipv4Addr};

use super::zone::{HTTP, SHELLY, Unit};
use config::MdnsProfile;
use device::Identity;

/// Longest label of a name, bytes.
const LABEL: usize = 63;
/// The port that readers take who look for `_shelly._tcp` and pass over the announced one.
const KNOWN_PORT: u16 = 80;

/// What one meter announces.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The meter's name, empty for the first.
    pub meter: String,
    /// Instance: the device id, in small letters.
    pub instance: String,
    /// Host without `.local.`: `ShellyPro3EM-AABBCCDDEEFF`.
    pub host: String,
    /// `mdns_ip`, or the meter's own bind address; `None`: those of the interface.
    pub address: Option<IpAddr>,
    /// TXT of `_http._tcp`.
    pub http_txt: Vec<String>,
    /// TXT of `_shelly._tcp`.
    pub shelly_txt: Vec<String>,
    /// Whether it is announced as `_shelly._tcp`: see [`told_apart`].
    pub shelly: bool,
}

impl Announcement {
    /// Names and TXT records of a device by its profile.
    #[must_use]
    pub fn new(
        meter: &str,
        identity: &Identity,
        profile: MdnsProfile,
        host: Option<&str>,
        address: Option<IpAddr>,
    ) -> Self {
        let (generation, app) = match profile {
            MdnsProfile::Solakon => (3, "shellypro3em"),
            _ => (identity.generation, &*identity.app),
        };
        let mut shelly_txt = vec![
            format!("gen={generation}"),
            format!("app={app}"),
            format!("ver={}", identity.ver),
        ];
        let mut http_txt = shelly_txt[..1].to_vec();
        if profile != MdnsProfile::Device {
            shelly_txt.extend([
                format!("id={}", identity.id),
                format!("mac={}", colons(&identity.mac)),
                format!("model={}", identity.model),
                format!("fw_id={}", identity.fw_id),
            ]);
            http_txt.clone_from(&shelly_txt);
        }
        Self {
            meter: meter.to_owned(),
            instance: identity.id.to_ascii_lowercase(),
            host: host.map_or_else(
                || format!("ShellyPro3EM-{}", identity.mac),
                ToOwned::to_owned,
            ),
            address,
            http_txt,
            shelly_txt,
            shelly: true,
        }
    }

    /// The units to announce on an interface with these addresses; `name` is the device's, where it
    /// may be announced.
    pub(super) fn units(&self, port: u16, addresses: &[IpAddr], name: Option<&str>) -> Vec<Unit> {
        if addresses.is_empty() {
            return Vec::new();
        }
        let mut services = vec![(HTTP, self.http_txt.clone())];
        let shelly = self.shelly.then(|| (SHELLY, self.shelly_txt.clone()));
        services.extend(shelly.clone());
        let unit = |instance: &str, host: &str, services| Unit {
            instance: instance.to_owned(),
            host: host.to_owned(),
            port,
            addresses: addresses.to_vec(),
            services,
        };
        let mut units = vec![unit(&self.instance, &self.host, services)];
        if let (Some(shelly), Some(name)) = (shelly, name)
            && let Some(host) = self.named_host(name)
        {
            units.push(unit(name, &host, vec![shelly]));
        }
        units
    }

    /// The host name that a device's name gives it; none where the name says nothing that the id
    /// does not.
    pub(super) fn named_host(&self, name: &str) -> Option<String> {
        let known = |text: &str| {
            text.eq_ignore_ascii_case(&self.instance) || text.eq_ignore_ascii_case(&self.host)
        };
        host_name(name).filter(|host| !known(name) && !known(host))
    }
}

/// The host name of a device with this name: `3EM-Pro` of `3EM Pro`; none where nothing of it can
/// stand in a host name.
#[must_use]
pub fn host_name(name: &str) -> Option<String> {
    let host: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let host = host.trim_matches('-');
    (!host.is_empty() && name.len() <= LABEL && host.len() <= LABEL).then(|| host.to_owned())
}

fn colons(mac: &str) -> String {
    mac.as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect::<Vec<_>>()
        .join(":")
}

/// An address that says "any": no announcement can name it.
#[must_use]
pub fn announceable(bind: Option<IpAddr>) -> Option<IpAddr> {
    bind.filter(|ip| !ip.is_unspecified() && *ip != IpAddr::V4(Ipv4Addr::BROADCAST))
}

/// `bind` and `http_port` of a meter.
pub type MeterAddress = (Option<IpAddr>, Option<u16>);

/// Which of these meters, by `bind` and `http_port`, may be announced as `_shelly._tcp`.
///
/// Many who look for that (Victron, Hoymiles, NOAH, the Shelly app) ask port 80 of the address,
/// whatever port is announced. Of meters that share an address only the one on that port is told
/// apart from the others by them, or the first, if none is on it.
#[must_use]
pub fn told_apart(meters: &[MeterAddress]) -> Vec<bool> {
    let any = |bind: Option<IpAddr>| bind.is_none_or(|ip| ip.is_unspecified());
    let one = |(index, (bind, port)): (usize, &MeterAddress)| {
        let mut beside = meters.iter().enumerate().filter(|(other, (at, port))| {
            *other != index && port.is_some() && (at == bind || any(*at) || any(*bind))
        });
        *port == Some(KNOWN_PORT)
            || !beside.any(|(other, (_, port))| other < index || *port == Some(KNOWN_PORT))
    };
    meters.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{super::tests::identity, *};

    #[test]
    fn announces_as_the_device_does() {
        let a = Announcement::new("", &identity(), MdnsProfile::Device, None, None);
        assert_eq!(a.instance.as_str(), "shellypro3em-aabbccddeeff");
        assert_eq!(a.host.as_str(), "ShellyPro3EM-AABBCCDDEEFF");
        assert_eq!(a.http_txt, ["gen=2"]);
        assert_eq!(a.shelly_txt, ["gen=2", "app=Pro3EM", "ver=1.7.5"]);
    }

    #[test]
    fn solakon_sees_what_it_looks_for() {
        let a = Announcement::new("", &identity(), MdnsProfile::Solakon, None, None);
        for want in [
            "gen=3",
            "app=shellypro3em",
            "mac=AA:BB:CC:DD:EE:FF",
            "id=shellypro3em-aabbccddeeff",
        ] {
            assert!(a.shelly_txt.iter().any(|text| text == want), "{want}");
        }
    }

    #[test]
    fn a_name_gives_a_host_name_only_where_it_says_something_new() {
        let a = Announcement::new("", &identity(), MdnsProfile::Device, None, None);
        assert_eq!(a.named_host("3EM Pro").as_deref(), Some("3EM-Pro"));
        assert_eq!(
            a.named_host("Zähler (Keller)").as_deref(),
            Some("Z-hler--Keller")
        );
        for empty in [
            "",
            "  ",
            "電力",
            "shellypro3em-AABBCCDDEEFF",
            "ShellyPro3EM-AABBCCDDEEFF",
            &"x".repeat(64),
        ] {
            assert_eq!(a.named_host(empty), None, "{empty}");
        }
    }

    #[test]
    fn of_meters_on_one_address_one_is_told_apart() {
        let at = |ip: &str| Some(ip.parse::<IpAddr>().unwrap());
        let cases: [(&[MeterAddress], &[bool]); 7] = [
            (&[(None, Some(80))], &[true]),
            (&[(None, Some(8080))], &[true]),
            (&[(None, Some(80)), (None, Some(8081))], &[true, false]),
            (
                &[(None, Some(8080)), (None, Some(80)), (None, Some(8082))],
                &[false, true, false],
            ),
            (&[(None, Some(8080)), (None, Some(8081))], &[true, false]),
            (
                &[
                    (at("192.0.2.1"), Some(80)),
                    (at("192.0.2.2"), Some(80)),
                    (at("192.0.2.2"), Some(81)),
                ],
                &[true, true, false],
            ),
            (&[(None, None), (None, Some(8081))], &[true, true]),
        ];
        for (meters, expected) in cases {
            assert_eq!(told_apart(meters), expected, "{meters:?}");
        }
    }
}
