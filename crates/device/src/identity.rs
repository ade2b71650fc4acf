//! Who the device is (`docs/protocol/identity.md`).
//!
//! Everything a consumer keys on hangs on the MAC, so it is fixed for the life of an installation;
//! what an option overrides is checked against what the known clients accept, because a battery
//! that rejects an id does so in silence.

use super::firmware::{self, Firmware, FirmwareSet};
use config::{
    IdentitySettings,
    pattern::{self, Pattern},
};

/// Model of the 120 A device of 2022–25.
const MODEL: &str = "SPEM-003CEBEU";
/// `app` of every variant.
const APP: &str = "Pro3EM";

/// Identity as announced on every channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `shellypro3em-aabbccddeeff`.
    pub id: String,
    /// 12 capitals.
    pub mac: String,
    /// `SPEM-003CEBEU`.
    pub model: String,
    /// `Pro3EM`.
    pub app: String,
    /// 2.
    pub generation: u8,
    /// `20260311-095913/1.7.5-g9979d16`.
    pub fw_id: String,
    /// `1.7.5`.
    pub ver: String,
    /// The set of answers of that version, or of the nearest that is known.
    pub firmware: &'static FirmwareSet,
    /// Overview only.
    pub sn: Option<String>,
    /// Overview only.
    pub manufacturer: Option<String>,
}

/// An identity setting that no client would accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: \"{value}\" {reason}")]
pub struct IdentityError {
    /// The option's key.
    pub key: &'static str,
    /// What was given.
    pub value: String,
    /// What is wrong with it and what is allowed.
    pub reason: String,
}

impl Identity {
    /// The device's identity with the overrides of `settings`; `stored_mac` is the one generated
    /// once and kept. A MAC in the settings wins over the one that a `device_id` ends in, and that
    /// over the stored.
    ///
    /// # Errors
    /// Every setting that no client would accept, each with the reason.
    pub fn new(settings: &IdentitySettings, stored_mac: &str) -> Result<Self, Vec<IdentityError>> {
        let mut errors = Vec::new();
        let mut refuse = |key, value: &str, reason: &str| {
            errors.push(IdentityError {
                key,
                value: value.into(),
                reason: reason.into(),
            });
        };
        let mac = mac_of(settings, stored_mac, &mut refuse);
        let Firmware {
            set: firmware,
            ver,
            fw_id,
            ..
        } = firmware_of(settings, &mut refuse);
        let app = settings.app_id.clone().unwrap_or_else(|| APP.to_owned());
        if !is_word(&app) {
            refuse("app_id", &app, "must be text of 1 to 32 characters");
        }
        let model = settings.model.clone().unwrap_or_else(|| MODEL.to_owned());
        if !is_word(&model) {
            refuse("model", &model, "must be text of 1 to 32 characters");
        }
        let generation = settings.generation.unwrap_or(2);
        if !(2..=4).contains(&generation) {
            refuse(
                "generation",
                &generation.to_string(),
                "is out of range: 2 to 4 (2 is a Pro 3EM's)",
            );
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let id = settings
            .device_id
            .clone()
            .unwrap_or_else(|| format!("shellypro3em-{}", mac.to_ascii_lowercase()));
        Ok(Self {
            id,
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
        firmware_of(settings, &mut |_, _, _| {}).remarks
    }

    /// The same, with its own value in the place of each setting that no client would accept: a
    /// wrong option is no reason to be nobody. `stored_mac` has to be good ([`kept_mac`]).
    #[must_use]
    pub fn with_own_values(
        settings: &IdentitySettings,
        stored_mac: &str,
    ) -> (Self, Vec<IdentityError>) {
        let errors = match Self::new(settings, stored_mac) {
            Ok(identity) => return (identity, Vec::new()),
            Err(errors) => errors,
        };
        let mut left = settings.clone();
        for error in &errors {
            match error.key {
                "device_id" => left.device_id = None,
                "mac" => left.mac = None,
                "app_id" => left.app_id = None,
                "model" => left.model = None,
                "firmware" => left.firmware = None,
                "fw_id" => left.fw_id = None,
                _ => left.generation = None,
            }
        }
        let identity = Self::new(&left, stored_mac).unwrap_or_else(|_| Self {
            id: format!("shellypro3em-{}", stored_mac.to_ascii_lowercase()),
            mac: stored_mac.to_owned(),
            model: MODEL.to_owned(),
            app: APP.to_owned(),
            generation: 2,
            fw_id: firmware::DEFAULT.fw_id.to_owned(),
            ver: firmware::DEFAULT.ver.to_owned(),
            firmware: firmware::DEFAULT,
            sn: None,
            manufacturer: None,
        });
        (identity, errors)
    }

    /// `ShellyPro3EM-AABBCCDDEEFF`: host name, access point, Bluetooth name. Clients take the
    /// serial from what follows the dash and compare it with `mac`, hence the capitals.
    #[must_use]
    pub fn host_name(&self) -> String {
        format!("ShellyPro3EM-{}", self.mac)
    }
}

/// Notes a setting that no client would accept: key, value, reason.
type Refuse<'a> = &'a mut dyn FnMut(&'static str, &str, &str);

/// The MAC by the settings, else the stored one; empty once it was refused.
fn mac_of(settings: &IdentitySettings, stored_mac: &str, refuse: Refuse<'_>) -> String {
    let id_mac = settings.device_id.as_deref().and_then(|id| {
        let mac = mac_of_id(id);
        if mac.is_none() {
            refuse(
                "device_id",
                id,
                &format!("must be {}", Pattern::DeviceId.words()),
            );
        }
        mac
    });
    let mac = match (settings.mac.as_deref(), &id_mac) {
        (None, Some(mac)) => mac.clone(),
        (given, _) => {
            let text = given.unwrap_or(stored_mac);
            Pattern::Mac.check(text).unwrap_or_else(|reason| {
                refuse("mac", text, &reason);
                String::new()
            })
        }
    };
    if let (Some(id), Some(of_id)) = (&settings.device_id, &id_mac)
        && !mac.is_empty()
        && *of_id != mac
    {
        refuse(
            "device_id",
            id,
            "does not end in the MAC of option mac: clients compare the two; drop one of the options or make them agree",
        );
    }
    mac
}

/// The firmware by the options.
fn firmware_of(settings: &IdentitySettings, refuse: Refuse<'_>) -> Firmware {
    let ver = settings
        .firmware
        .as_deref()
        .filter(|ver| match Pattern::Version.check(ver) {
            Ok(_) => true,
            Err(reason) => {
                refuse("firmware", ver, &reason);
                false
            }
        });
    let fw_id = settings.fw_id.as_deref();
    let of_id = fw_id.and_then(pattern::fw_version);
    if let (Some(id), None) = (fw_id, of_id) {
        refuse("fw_id", id, &format!("must be {}", Pattern::FwId.words()));
    }
    Firmware::new(ver, fw_id, of_id)
}

/// A locally administered unicast MAC, 12 capitals, of six random bytes.
#[must_use]
pub fn generate_mac(random: [u8; 6]) -> String {
    let mut bytes = random;
    bytes[0] = (bytes[0] & 0xFC) | 0x02;
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

/// A MAC that was kept from before, if it still is one: what stands in a file may have been changed
/// by anything.
#[must_use]
pub fn kept_mac(text: &str) -> Option<String> {
    pattern::mac(text)
}

/// The MAC that a well-formed device id ends in.
fn mac_of_id(id: &str) -> Option<String> {
    let mac = id
        .rsplit_once('-')
        .filter(|_| Pattern::DeviceId.matches(id))?
        .1;
    pattern::mac(mac)
}

fn is_word(text: &str) -> bool {
    (1..=32).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn identity(settings: &IdentitySettings) -> Result<Identity, Vec<IdentityError>> {
        Identity::new(settings, "AABBCCDDEEFF")
    }

    #[test]
    fn defaults_are_firmware_1_7_5() {
        let i = identity(&IdentitySettings::default()).unwrap();
        assert_eq!(i.id, "shellypro3em-aabbccddeeff");
        assert_eq!(
            (i.model.as_str(), i.app.as_str(), i.generation),
            ("SPEM-003CEBEU", "Pro3EM", 2)
        );
        assert_eq!(
            (i.fw_id.as_str(), i.ver.as_str()),
            ("20260311-095913/1.7.5-g9979d16", "1.7.5")
        );
        assert_eq!(i.host_name(), "ShellyPro3EM-AABBCCDDEEFF");
    }

    #[test]
    fn an_id_takes_its_mac_along_and_a_typed_mac_takes_an_old_devices_place() {
        let i = identity(&IdentitySettings {
            device_id: Some("shellypro3em63-0123456789ab".into()),
            ..Default::default()
        })
        .unwrap();
        assert_eq!(
            (i.id.as_str(), i.mac.as_str()),
            ("shellypro3em63-0123456789ab", "0123456789AB")
        );
        let i = identity(&IdentitySettings {
            mac: Some("a8:03:2a:00:00:01".into()),
            ..Default::default()
        })
        .unwrap();
        assert_eq!(
            (i.id.as_str(), i.mac.as_str()),
            ("shellypro3em-a8032a000001", "A8032A000001")
        );
    }

    #[test]
    fn firmware_chooses_a_set_and_fw_id_brings_its_version() {
        for set in &super::super::firmware::SETS {
            let settings = IdentitySettings {
                firmware: Some(set.ver.into()),
                ..Default::default()
            };
            let i = identity(&settings).unwrap();
            assert_eq!(
                (i.fw_id.as_str(), i.ver.as_str(), i.firmware),
                (set.fw_id, set.ver, set)
            );
            assert!(Identity::remarks(&settings).is_empty());
        }
        let i = identity(&IdentitySettings {
            fw_id: Some("20250924-062729/1.7.1-gd336f31".into()),
            ..Default::default()
        })
        .unwrap();
        assert_eq!(i.ver, "1.7.1");
    }

    #[test]
    fn what_no_client_would_accept_is_refused_with_its_reason_all_at_once() {
        let errors = identity(&IdentitySettings {
            device_id: Some("shellypro3em-virtual-001".into()),
            mac: Some("AA:BB".into()),
            fw_id: Some("20200101-000000/1.0-g1234567".into()),
            app_id: Some(String::new()),
            generation: Some(1),
            ..Default::default()
        })
        .unwrap_err();
        let keys: Vec<_> = errors.iter().map(|e| e.key).collect();
        assert_eq!(keys, ["device_id", "mac", "fw_id", "app_id", "generation"]);
        assert!(errors[2].to_string().contains("20230803"), "{}", errors[2]);

        let two = IdentitySettings {
            device_id: Some("shellypro3em-0123456789ab".into()),
            mac: Some("AABBCCDDEEFF".into()),
            ..Default::default()
        };
        assert_eq!(identity(&two).unwrap_err()[0].key, "device_id");
        for id in [
            "shellypro3em-0123456789AB",
            "shellypro3em-0123456789a",
            "0123456789ab",
            "Shelly-0123456789ab",
            "shelly_x-0123456789ab",
        ] {
            assert!(
                identity(&IdentitySettings {
                    device_id: Some(id.into()),
                    ..Default::default()
                })
                .is_err(),
                "{id}"
            );
        }
        for ver in ["1.0.0-virt", "v1", "", "1/2"] {
            assert_eq!(
                identity(&IdentitySettings {
                    firmware: Some(ver.into()),
                    ..Default::default()
                })
                .unwrap_err()[0]
                    .key,
                "firmware",
                "{ver}"
            );
        }
    }

    #[test]
    fn a_generated_mac_is_unicast_and_locally_administered() {
        assert_eq!(generate_mac([0xFF; 6]), "FEFFFFFFFFFF");
        assert_eq!(generate_mac([0; 6]), "020000000000");
    }
}
