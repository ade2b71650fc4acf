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

/// An identity setting that no client would accept.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key}: \"{value}\" {reason}")]
pub struct IdentityError {
    /// The option's key.
    pub key: &'static str,
    /// What was given.
    pub value: String,
    /// What is wrong with it and what is allowed.
    pub reason: Reason,
}

impl From<IdentityError> for Reason {
    fn from(error: IdentityError) -> Self {
        Wrong::Identity {
            key: error.key,
            value: Quoted(error.value.into()),
            why: Arc::new(error.reason),
        }
        .into()
    }
}

impl Identity {
    /// The device's identity with the overrides of `settings`; `stored_mac` is the one generated
    /// once and kept. A MAC in the settings wins over the one that a `device_id` ends in, and that
    /// over the stored.
    ///
    /// # Errors
    /// Every setting that no client would accept, each with the reason.
    pub fn new(settings: &IdentitySettings, stored_mac: &Mac) -> Result<Self, Vec<IdentityError>> {
        let mut errors = Vec::new();
        let mut refuse = |key, value: &str, reason| {
            errors.push(IdentityError {
                key,
                value: value.into(),
                reason,
            });
        };
        let mac = mac_of(settings, stored_mac, &mut refuse);
        let Firmware {
            set: firmware,
            ver,
            fw_id,
            ..
        } = firmware_of(settings);
        let app = settings.app_id.clone().unwrap_or_else(|| APP.to_owned());
        if !is_word(&app) {
            refuse("app_id", &app, WORD.into());
        }
        let model = settings.model.clone().unwrap_or_else(|| MODEL.to_owned());
        if !is_word(&model) {
            refuse("model", &model, WORD.into());
        }
        let generation = settings.generation.unwrap_or(2);
        if !(2..=4).contains(&generation) {
            refuse(
                "generation",
                &generation.to_string(),
                Wrong::Generations.into(),
            );
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let id = settings.device_id.clone();
        Ok(Self {
            id: id.unwrap_or_else(|| DeviceId::of(&mac)),
            mac,
            model,
            app,
            generation,
            fw_id,
            ver,
            firmware,
            sn: settings.sn.clone(),
            manufacturer: settings.manufacturer.clone(),
        })
    }

    /// What the owner should know of the firmware options, one line each.
    #[must_use]
    pub fn remarks(settings: &IdentitySettings) -> Vec<String> {
        firmware_of(settings).remarks
    }

    /// The same, with its own value in the place of each setting that no client would accept: a
    /// wrong option is no reason to be nobody.
    #[must_use]
    pub fn with_own_values(
        settings: &IdentitySettings,
        stored_mac: &Mac,
    ) -> (Self, Vec<IdentityError>) {
        let errors = match Self::new(settings, stored_mac) {
            Ok(identity) => return (identity, Vec::new()),
            Err(errors) => errors,
        };
        let mut left = settings.clone();
        for error in &errors {
            match error.key {
                "device_id" => left.device_id = None,
                "app_id" => left.app_id = None,
                "model" => left.model = None,
                _ => left.generation = None,
            }
        }
        let identity =
            Self::new(&left, stored_mac).unwrap_or_else(|_| Self::of_mac(stored_mac.clone()));
        (identity, errors)
    }

    /// That of a Pro 3EM without any option.
    #[must_use]
    pub fn of_mac(mac: Mac) -> Self {
        let Firmware {
            set, ver, fw_id, ..
        } = Firmware::new(None, None);
        Self {
            id: DeviceId::of(&mac),
            mac,
            model: MODEL.to_owned(),
            app: APP.to_owned(),
            generation: 2,
            fw_id,
            ver,
            firmware: set,
            sn: None,
            manufacturer: None,
        }
    }

    /// `ShellyPro3EM-AABBCCDDEEFF`: host name, access point, Bluetooth name. Clients take the
    /// serial from what follows the dash and compare it with `mac`, hence the capitals.
    #[must_use]
    pub fn host_name(&self) -> String {
        format!("ShellyPro3EM-{}", self.mac)
    }
}

/// Notes a setting that no client would accept: key, value, reason.
type Refuse<'a> = &'a mut dyn FnMut(&'static str, &str, Reason);

/// The MAC by the settings, else the stored one.
fn mac_of(settings: &IdentitySettings, stored_mac: &Mac, refuse: Refuse<'_>) -> Mac {
    let of_id = settings.device_id.as_ref().map(DeviceId::mac);
    if let (Some(id), Some(of_id), Some(mac)) = (&settings.device_id, &of_id, &settings.mac)
        && of_id != mac
    {
        refuse("device_id", id, Wrong::IdOfAnother.into());
    }
    let given = settings.mac.clone().or(of_id);
    given.unwrap_or_else(|| stored_mac.clone())
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

    fn identity(settings: &IdentitySettings) -> Result<Identity, Vec<IdentityError>> {
        Identity::new(settings, &Mac::parse("AABBCCDDEEFF").unwrap())
    }

    #[test]
    fn defaults_are_firmware_1_7_5() {
        let i = identity(&IdentitySettings::default()).unwrap();
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
        })
        .unwrap();
        assert_eq!(i.id.as_str(), "shellypro3em63-0123456789ab");
        assert_eq!(i.mac.as_str(), "0123456789AB");
        let i = identity(&IdentitySettings {
            mac: Mac::parse("a8:03:2a:00:00:01"),
            ..Default::default()
        })
        .unwrap();
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
            let i = identity(&settings).unwrap();
            assert_eq!(i.fw_id.as_str(), set.fw_id);
            assert_eq!(i.ver.as_str(), set.ver);
            assert_eq!(i.firmware, set);
            assert!(Identity::remarks(&settings).is_empty());
        }
        let i = identity(&IdentitySettings {
            fw_id: BuildId::parse("20250924-062729/1.7.1-gd336f31"),
            ..Default::default()
        })
        .unwrap();
        assert_eq!(i.ver.as_str(), "1.7.1");
    }

    #[test]
    fn what_no_client_would_accept_is_refused_with_its_reason_all_at_once() {
        let errors = identity(&IdentitySettings {
            device_id: DeviceId::parse("shellypro3em-0123456789ab"),
            mac: Mac::parse("AABBCCDDEEFF"),
            app_id: Some(String::new()),
            generation: Some(1),
            ..Default::default()
        })
        .unwrap_err();
        let keys: Vec<_> = errors.iter().map(|e| e.key).collect();
        assert_eq!(keys, ["device_id", "app_id", "generation"]);
    }
}
