//! An identity for a meter that cannot keep one: always the same on this machine.

use std::{fs, path::Path};

use sha2::{Digest, Sha256};

use vocab::Mac;

/// A locally administered MAC (12 capitals) derived from the machine's id, for a meter without a
/// writable folder (`docs/decisions.md#the-sidecar`). Falls back to the address of a network card,
/// then to the host's name.
#[must_use]
pub fn fallback_mac(meter_key: &str) -> Mac {
    mac_of(&machine_id(), meter_key)
}

fn mac_of(machine: &str, meter_key: &str) -> Mac {
    let digest = Sha256::digest(format!("virtual-shelly\n{machine}\n{meter_key}"));
    Mac::local(std::array::from_fn(|i| digest[i]))
}

fn machine_id() -> String {
    let line = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .map(|s| s.trim().to_owned())
            .filter(|s| !s.is_empty())
    };
    line("/etc/machine-id")
        .or_else(|| line("/var/lib/dbus/machine-id"))
        .or_else(|| card_address(Path::new("/sys/class/net")))
        .or_else(|| line("/proc/sys/kernel/hostname"))
        .unwrap_or_else(|| "unnamed".into())
}

/// Smallest address of a physical card: bridges and containers come and go.
fn card_address(folder: &Path) -> Option<String> {
    let cards = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|card| card.path().join("device").exists());
    cards
        .filter_map(|card| fs::read_to_string(card.path().join("address")).ok())
        .map(|a| a.trim().to_owned())
        .filter(|a| !a.is_empty())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_local_and_one_a_meter() {
        let mac = mac_of("machine", "");
        assert_eq!(mac, mac_of("machine", ""));
        assert_ne!(mac, mac_of("machine", "garage"));
        assert_ne!(mac, mac_of("other", ""));
        assert_eq!(mac.len(), 12);
        assert!(
            mac.bytes()
                .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
        );
        assert_eq!(
            u8::from_str_radix(&mac[..2], 16).map(|b| b & 0x03),
            Ok(0x02)
        );
        assert_eq!(fallback_mac(""), fallback_mac(""));
    }
}
