//! What is announced by mDNS.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Verdict, device::Who, is_id};
use crate::Fault;

/// A service as it was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Instance, without the kind.
    pub instance: String,
    /// SRV's host; empty while only its name was heard.
    pub host: String,
    /// SRV's port.
    pub port: u16,
    /// Of that host.
    pub addresses: Vec<IpAddr>,
    /// TXT.
    pub text: BTreeMap<String, String>,
}

impl Service {
    /// Whether it is this meter.
    #[must_use]
    pub fn is(&self, who: Option<&Who>, address: Option<IpAddr>) -> bool {
        let mac = who
            .map(|who| who.mac.to_ascii_lowercase())
            .unwrap_or_default();
        let named = |text: &str| !mac.is_empty() && text.to_ascii_lowercase().contains(&mac);
        named(&self.instance)
            || named(&self.host)
            || address.is_some_and(|ip| self.addresses.contains(&ip))
    }
}

/// What a reader asks of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants<'a> {
    /// It compares the host's name with `mac`, in capitals.
    pub host_mac: bool,
    /// It asks at port 80 only.
    pub port_80: bool,
    /// TXT that some versions of it look for.
    pub text: &'a [(&'a str, &'a str)],
}

/// Judges the service of one kind.
pub fn service(
    found: &Service,
    who: Option<&Who>,
    address: Option<IpAddr>,
    wants: Wants<'_>,
    verdict: &mut Verdict,
) {
    let mac = who.map_or("AABBCCDDEEFF", |who| &*who.mac);
    if !is_id(&found.instance) {
        let wanted = format!("shellypro3em-{}", mac.to_ascii_lowercase());
        verdict.differs("PTR", &*found.instance, wanted);
    }
    if found.addresses.is_empty() {
        verdict.fault(Fault::NoAddress);
        return;
    }
    let host = found.host.trim_end_matches('.');
    if wants.host_mac && !host.ends_with(&format!("-{mac}.local")) {
        let wanted = format!("ShellyPro3EM-{mac}.local.");
        verdict.differs("SRV", &*found.host, wanted);
    }
    if let Some(address) = address.filter(|ip| !ip.is_loopback() && !found.addresses.contains(ip)) {
        let all: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        verdict.note(Fault::OtherAddress {
            came: all.join(", ").into(),
            wanted: address.to_string().into(),
        });
    }
    if wants.port_80 && found.port != 80 {
        verdict.note(Fault::Port { port: found.port });
    }
    for (key, wanted) in wants.text {
        let came = found.text.get(*key).map_or("–", String::as_str);
        if came != *wanted {
            verdict.note(Fault::Differs {
                path: format!("TXT {key}").into(),
                came: came.into(),
                wanted: (*wanted).into(),
            });
        }
    }
}
