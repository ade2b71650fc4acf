//! One file becomes a [`Profile`], or a line that says what is wrong with which file.

use thiserror::Error;

use super::{KEYS, Profile, Step};
use vocab::Channel;

/// What is wrong with a profile's file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("profile {file}: {what}")]
pub struct ProfileError {
    /// The file's name, without folder.
    pub file: String,
    /// What is wrong, and what is allowed.
    pub what: String,
}

/// Reads the file of `key`.
///
/// # Errors
/// It is no profile: the file is named, and the member of it.
pub fn parse(key: &str, text: &str) -> Result<Profile, ProfileError> {
    let wrong = |what: String| ProfileError {
        file: format!("{key}.json"),
        what,
    };
    let key = *KEYS
        .iter()
        .find(|known| **known == key)
        .ok_or_else(|| wrong(format!("{key} is not in the list of profiles")))?;
    let mut profile: Profile =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    profile.key = key;
    check(&profile).map_err(wrong)?;
    Ok(profile)
}

fn check(profile: &Profile) -> Result<(), String> {
    let lengths = [
        ("name", profile.name.len()),
        ("channels", profile.channels.len()),
        ("steps", profile.steps.len()),
        ("sources", profile.sources.len()),
    ];
    if let Some((member, _)) = lengths.iter().find(|(_, length)| *length == 0) {
        return Err(format!("{member} is empty"));
    }
    if let Some(channel) = profile
        .absent
        .keys()
        .find(|channel| !profile.channels.contains_key(channel))
    {
        return Err(format!(
            "absent names {channel:?}, by which it does not read"
        ));
    }
    if let Some(channel) = profile
        .channels
        .keys()
        .find(|channel| !profile.absent.contains_key(channel))
    {
        return Err(format!("absent says nothing of {channel:?}"));
    }
    if profile.channels.values().flatten().any(|port| *port == 0) {
        return Err("channels: 0 is no port".to_owned());
    }
    if profile.datagram > 1400 || profile.decimals > 3 {
        return Err("datagram is at most 1400 bytes, decimals at most 3".to_owned());
    }
    if profile.datagram > 0 && !profile.channels.contains_key(&Channel::Udp) {
        return Err("datagram is of udp, by which it does not read".to_owned());
    }
    for (step, member, there) in [
        (Step::Menu, "menu", profile.menu.is_some()),
        (Step::Firmware, "firmware", profile.firmware.is_some()),
    ] {
        if profile.steps.contains(&step) != there {
            return Err(format!("{member} and the step {} go together", step.key()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::{super::FILES, *};

    fn with(member: &str, value: Value) -> String {
        let (_, evcc) = FILES.iter().find(|(key, _)| *key == "evcc").unwrap();
        let mut file: Value = serde_json::from_str(evcc).unwrap();
        file[member] = value;
        parse("evcc", &file.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_file_is_named() {
        for (member, value, says) in [
            ("hodl", json!(5), "hodl"),
            ("acts", json!("sleeps"), "sleeps"),
            ("absent", json!({"http": "zero"}), "zero"),
            ("absent", json!({"udp": "silence"}), "Udp"),
            ("absent", json!({}), "Http"),
            ("channels", json!({"http": [0]}), "0 is no port"),
            ("channels", json!({"pigeon": []}), "pigeon"),
            ("sources", json!([]), "sources is empty"),
            ("firmware", json!("1.0"), "firmware"),
            ("steps", json!(["dance"]), "dance"),
            ("datagram", json!(250), "datagram"),
            ("set", json!({"hold": 30}), "invalid type"),
        ] {
            let error = with(member, value);
            assert!(
                error.starts_with("profile evcc.json: ") && error.contains(says),
                "{member}: {error}"
            );
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert!(parse("evcc", "{").unwrap_err().what.contains("EOF"));
        assert!(parse("nobody", "{}").unwrap_err().what.contains("nobody"));
    }
}
