//! Identity values that the Python original used and no device has
//! (`docs/decisions.md#identity-of-the-original`).
//!
//! In the environment, where an old compose file still sets them, each is replaced with one
//! warning. Anywhere else they are errors.

use std::collections::BTreeMap;

use vocab::{
    DeviceId, Mac,
    reason::{Quoted, Wrong},
};

use super::problem::Findings;

/// Key and value.
const REFUSED: [(&str, &str); 7] = [
    ("device_id", "shellypro3em-virtual-001"),
    ("app_id", "shellypro3em"),
    ("model", "SHPRO-3EM"),
    ("firmware", "1.0.0-virt"),
    ("fw_id", "1.0.0-virt"),
    ("mac", "AABBCCDDEEFF"),
    ("sn", "VIRT3EM001"),
];

/// Whether a value of an identity option is one of the original's.
#[must_use]
pub(super) fn is_refused(key: &str, value: &str) -> bool {
    REFUSED.iter().any(|(k, v)| *k == key && *v == value)
        || (key == "mac" && Mac::parse(value).is_some_and(|mac| mac.as_str() == "AABBCCDDEEFF"))
        || (key == "device_id" && value.to_ascii_lowercase().ends_with("aabbccddeeff"))
        || (key == "mdns_hostname" && (value.ends_with('-') || value == "shellypro3em-virtual-001"))
}

/// Takes the original's identity values out of what the environment gave, by key; one warning each.
///
/// A device id of 12 hexadecimal digits is taken as MAC where there is no other; a device id whose
/// end contradicts the MAC of the environment gives way to it.
pub(super) fn replace(
    environment: &mut BTreeMap<&'static str, (String, String)>,
    found: &mut Findings,
) {
    environment.retain(|key, (name, value)| {
        let refused = is_refused(key, value.trim());
        if refused {
            let (name, value) = (name.as_str().into(), Quoted(value.as_str().into()));
            found.warn(Wrong::OriginalDropped { name, value });
        }
        !refused
    });
    let Some((name, id)) = environment
        .get("device_id")
        .map(|(name, id)| (name.clone(), id.trim().to_string()))
    else {
        return;
    };
    let mac = environment.get("mac").map(|(_, mac)| mac.trim());
    let has_mac = mac.is_some_and(|mac| !mac.is_empty());
    let mac = mac.and_then(Mac::parse);
    let (env, value) = (name.as_str().into(), Quoted(id.as_str().into()));
    let dropped = if !id.is_empty() && !id.starts_with("shelly") {
        let bare = Some(&id)
            .filter(|id| id.len() == 12)
            .and_then(|id| Mac::parse(id))
            .filter(|mac| !is_refused("mac", mac));
        match bare {
            Some(digits) if !has_mac => {
                environment.insert("mac", (name, digits.to_string()));
                Some(Wrong::IdIsMac { name: env, value })
            }
            _ => Some(Wrong::IdWithoutPrefix { name: env, value }),
        }
    } else if let (Some(mac), true) = (mac, DeviceId::parse(&id).is_some()) {
        (!id.ends_with(&mac.to_lowercase())).then_some(Wrong::IdOfOtherMac { name: env, value })
    } else {
        None
    };
    if let Some(why) = dropped {
        found.warn(why);
        environment.remove("device_id");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(pairs: &[(&'static str, &str)]) -> (BTreeMap<&'static str, String>, usize) {
        let mut environment = pairs
            .iter()
            .map(|(key, value)| (*key, (key.to_uppercase(), (*value).to_string())))
            .collect();
        let mut found = Findings::new(false);
        replace(&mut environment, &mut found);
        (
            environment
                .into_iter()
                .map(|(key, (_, value))| (key, value))
                .collect(),
            found.warnings.len(),
        )
    }

    #[test]
    fn each_value_of_the_original_is_dropped_with_one_warning() {
        let (left, warnings) = run(&[
            ("device_id", "shellypro3em-virtual-001"),
            ("app_id", "shellypro3em"),
            ("model", "SHPRO-3EM"),
            ("firmware", "1.0.0-virt"),
            ("fw_id", "1.0.0-virt"),
            ("mac", "AA:BB:CC:DD:EE:FF"),
            ("sn", "VIRT3EM001"),
            ("mdns_hostname", "ShellyPro3EM-"),
        ]);
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(warnings, 8);
        assert_eq!(
            run(&[("device_id", "shellypro3em-aabbccddeeff")]),
            ([].into(), 1),
            "its MAC inside an id"
        );
        assert_eq!(run(&[("device_id", "aabbccddeeff")]), ([].into(), 1));
    }

    #[test]
    fn a_bare_id_becomes_the_mac_unless_there_is_one() {
        assert_eq!(
            run(&[("device_id", "2cbcbb0a1b2c")]),
            ([("mac", "2CBCBB0A1B2C".into())].into(), 1)
        );
        assert_eq!(
            run(&[("device_id", "2cbcbb0a1b2c"), ("mac", "2CBCBB0A1B2D")]),
            ([("mac", "2CBCBB0A1B2D".into())].into(), 1)
        );
        assert_eq!(run(&[("device_id", "my-meter")]), ([].into(), 1));
    }

    #[test]
    fn the_mac_wins_over_the_id() {
        let (left, warnings) = run(&[
            ("device_id", "shellypro3em-2cbcbb0a1b2c"),
            ("mac", "2CBCBB0A1B2D"),
        ]);
        assert_eq!((left.contains_key("device_id"), warnings), (false, 1));
        let (left, warnings) = run(&[
            ("device_id", "shellypro3em-2cbcbb0a1b2c"),
            ("mac", "2c-bc-bb-0a-1b-2c"),
        ]);
        assert_eq!((left.contains_key("device_id"), warnings), (true, 0));
        let (left, warnings) = run(&[("device_id", "shellypro3em-garage")]);
        assert!(
            left.contains_key("device_id"),
            "an id of wrong form stays, to be reported"
        );
        assert_eq!(warnings, 0, "an id of wrong form stays, to be reported");
    }
}
