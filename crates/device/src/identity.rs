//! Who the device is (`docs/protocol/identity.md`).
//!
//! Everything a consumer keys on hangs on the MAC, so it is fixed for the life of an installation;
//! what an option overrides is checked against what the known clients accept, because a battery
//! that rejects an id does so in silence.

use std::sync::Arc;

use super::firmware::{Firmware, FirmwareSet};
use config::IdentitySettings;
use vocab::{
    BuildId, DeviceId, Mac, Version,
    reason::{Limit, Quoted, Reason, Wrong},
};

/// Model of the 120 A device of 2022–25.
const MODEL: &str = "SPEM-003CEBEU";
/// What model and app may be.
const WORD: Limit = Limit::Long { min: 1, max: 32 };
/// `app` of every variant.
const APP: &str = "Pro3EM";
/// `gen`.
const GENERATION: u8 = 2;

/// Identity as announced on every channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `shellypro3em-aabbccddeeff`.
    pub id: DeviceId,
    /// 12 capitals.
    pub mac: Mac,
    /// `SPEM-003CEBEU`.
    pub model: String,
    /// `Pro3EM`.
    pub app: String,
    /// 2.
    pub generation: u8,
    /// `20260311-095913/1.7.5-g9979d16`.
    pub fw_id: BuildId,
    /// `1.7.5`.
    pub ver: Version,
    /// The set of answers of that version, or of the nearest that is known.
    pub firmware: &'static FirmwareSet,
    /// Overview only.
    pub sn: Option<String>,
    /// Overview only.
    pub manufacturer: Option<String>,
}

impl Identity {
    /// The device's identity with the overrides of `settings`, and what is wrong with those that no
    /// client would accept: in their place stands its own value, because a wrong option is no
    /// reason to be nobody. `stored_mac` is the one generated once and kept. A MAC in the settings
    /// wins over the one that a `device_id` ends in, and that over the stored.
    #[must_use]
    pub fn new(settings: &IdentitySettings, stored_mac: &Mac) -> (Self, Vec<Reason>) {
        let mut errors = Vec::new();
        let mut refuse = |key, value: &str, why: Reason| {
            let (value, why) = (Quoted(value.into()), Arc::new(why));
            errors.push(Wrong::Identity { key, value, why }.into());
        };
        let mut id = settings.device_id.clone();
        if let (Some(given), Some(mac)) = (&id, &settings.mac)
            && given.mac() != *mac
        {
            refuse("device_id", given, Wrong::IdOfAnother.into());
            id = None;
        }
        let mac = settings.mac.clone().or(id.as_ref().map(DeviceId::mac));
        let mac = mac.unwrap_or_else(|| stored_mac.clone());
        let mut word = |key, given: &Option<String>, own: &str| match given {
            Some(word) if is_word(word) => word.clone(),
            Some(wrong) => {
                refuse(key, wrong, WORD.into());
                own.to_owned()
            }
            None => own.to_owned(),
        };
        let app = word("app_id", &settings.app_id, APP);
        let model = word("model", &settings.model, MODEL);
        let mut generation = settings.generation.unwrap_or(GENERATION);
        if !(2..=4).contains(&generation) {
            let given = generation.to_string();
            refuse("generation", &given, Wrong::Generations.into());
            generation = GENERATION;
        }
        let firmware = firmware_of(settings);
        let identity = Self {
            id: id.unwrap_or_else(|| DeviceId::of(&mac)),
            mac,
            model,
            app,
            generation,
            fw_id: firmware.fw_id,
            ver: firmware.ver,
            firmware: firmware.set,
            sn: settings.sn.clone(),
            manufacturer: settings.manufacturer.clone(),
        };
        (identity, errors)
    }

    /// That of a Pro 3EM without any option.
    #[must_use]
    pub fn of_mac(mac: &Mac) -> Self {
        Self::new(&IdentitySettings::default(), mac).0
    }

    /// What the owner should know of the firmware options, one line each.
    #[must_use]
    pub fn remarks(settings: &IdentitySettings) -> Vec<String> {
        firmware_of(settings).remarks
    }

    /// `ShellyPro3EM-AABBCCDDEEFF`: host name, access point, Bluetooth name. Clients take the
    /// serial from what follows the dash and compare it with `mac`, hence the capitals.
    #[must_use]
    pub fn host_name(&self) -> String {
        format!("ShellyPro3EM-{}", self.mac)
    }
}

/// The firmware by the options.
fn firmware_of(settings: &IdentitySettings) -> Firmware {
    Firmware::new(settings.firmware.as_ref(), settings.fw_id.as_ref())
}

fn is_word(text: &str) -> bool {
    (1..=32).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn read(settings: &IdentitySettings) -> (Identity, Vec<Reason>) {
        Identity::new(settings, &Mac::parse("AABBCCDDEEFF").unwrap())
    }

    fn identity(settings: &IdentitySettings) -> Identity {
        let (identity, errors) = read(settings);
        assert_eq!(errors, []);
        identity
    }

    #[test]
    fn defaults_are_firmware_1_7_5() {
        let i = identity(&IdentitySettings::default());
        assert_eq!(i.id.as_str(), "shellypro3em-aabbccddeeff");
        assert_eq!(i.model, "SPEM-003CEBEU");
        assert_eq!(i.app, "Pro3EM");
        assert_eq!(i.generation, 2);
        assert_eq!(i.fw_id.as_str(), "20260311-095913/1.7.5-g9979d16");
        assert_eq!(i.ver.as_str(), "1.7.5");
        assert_eq!(i.host_name(), "ShellyPro3EM-AABBCCDDEEFF");
    }

    #[test]
    fn an_id_takes_its_mac_along_and_a_typed_mac_takes_an_old_devices_place() {
        let i = identity(&IdentitySettings {
            device_id: DeviceId::parse("shellypro3em63-0123456789ab"),
            ..Default::default()
        });
        assert_eq!(i.id.as_str(), "shellypro3em63-0123456789ab");
        assert_eq!(i.mac.as_str(), "0123456789AB");
        let i = identity(&IdentitySettings {
            mac: Mac::parse("a8:03:2a:00:00:01"),
            ..Default::default()
        });
        assert_eq!(i.id.as_str(), "shellypro3em-a8032a000001");
        assert_eq!(i.mac.as_str(), "A8032A000001");
    }

    #[test]
    fn firmware_chooses_a_set_and_fw_id_brings_its_version() {
        for set in &super::super::firmware::SETS {
            let settings = IdentitySettings {
                firmware: Version::parse(set.ver),
                ..Default::default()
            };
            let i = identity(&settings);
            assert_eq!(i.fw_id.as_str(), set.fw_id);
            assert_eq!(i.ver.as_str(), set.ver);
            assert_eq!(i.firmware, set);
            assert!(Identity::remarks(&settings).is_empty());
        }
        let i = identity(&IdentitySettings {
            fw_id: BuildId::parse("20250924-062729/1.7.1-gd336f31"),
            ..Default::default()
        });
        assert_eq!(i.ver.as_str(), "1.7.1");
    }

    #[test]
    fn what_no_client_would_accept_is_refused_with_its_reason_all_at_once() {
        let (own, errors) = read(&IdentitySettings {
            device_id: DeviceId::parse("shellypro3em-0123456789ab"),
            mac: Mac::parse("AABBCCDDEEFF"),
            app_id: Some(String::new()),
            generation: Some(1),
            ..Default::default()
        });
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let keys = said.iter().filter_map(|line| line.split(':').next());
        assert!(keys.eq(["device_id", "app_id", "generation"]), "{said:?}");
        assert_eq!(own, identity(&IdentitySettings::default()));
    }
}
