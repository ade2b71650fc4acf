//! Which MAC a meter has: typed by the user, kept from before, or made once
//! (`docs/decisions.md#which-mac`).

use std::collections::BTreeMap;

use config::MeterSettings;
use device::Identity;
use store::{MeterRow, fallback_mac};
use vocab::{
    Mac,
    reason::{Quoted, Reason, Wrong},
};

/// The MAC of a meter that has one already: typed, or kept in `stored`.
pub fn known_mac(
    key: &str,
    settings: &MeterSettings,
    stored: &BTreeMap<String, MeterRow>,
) -> Option<Mac> {
    let kept = || stored.get(key).and_then(|row| Mac::parse(&row.mac));
    settings.identity.mac.clone().or_else(kept)
}

/// The identity of a meter, and what was wrong with what it was to be made of. There always is one:
/// a meter without would end the process, and with it the page on which its options can be mended.
///
/// `in_memory`: nothing can be kept, so the MAC comes from the machine and stays the same.
pub fn of(
    key: &str,
    settings: &MeterSettings,
    stored: &BTreeMap<String, MeterRow>,
    in_memory: bool,
) -> (Identity, Vec<Reason>) {
    let new = if in_memory { fallback_mac } else { fresh };
    let mac = known_mac(key, settings, stored).unwrap_or_else(|| new(key));
    let (identity, mut problems) = Identity::new(&settings.identity, &mac);
    for remark in Identity::remarks(&settings.identity) {
        tracing::warn!("{remark}");
    }
    let kept = stored.get(key).map_or("", |row| &row.mac);
    if !kept.is_empty() && settings.identity.mac.is_none() && Mac::parse(kept).is_none() {
        let value = Quoted(kept.chars().take(40).collect::<String>().into());
        let id = identity.id.as_str().into();
        problems.push(Wrong::MacReplaced { value, id }.into());
    }
    (identity, problems)
}

/// A MAC that was never there, locally administered.
fn fresh(key: &str) -> Mac {
    let mut bytes = [0; 6];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Mac::local(bytes),
        Err(_) => fallback_mac(key),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use config::Settings;

    #[test]
    fn a_mac_that_was_kept_and_is_none_is_replaced_and_named() {
        let settings = Settings::default().meters.remove(0);
        let of = |mac: &str| {
            let row = MeterRow {
                mac: mac.into(),
                ..MeterRow::default()
            };
            super::of("", &settings, &[(String::new(), row)].into(), false)
        };
        for kept in [
            "000000000000",
            "ffffffffffff",
            "02AABBCCDDE",
            "x",
            "\u{202e}\0",
            &"A".repeat(5000),
        ] {
            let (identity, problems) = of(kept);
            assert_ne!(identity.mac.as_str(), kept);
            assert_eq!(problems.len(), 1, "{problems:?}");
            let line = problems[0].to_string();
            assert!(line.contains(&*identity.id), "{line}");
            assert_eq!(line.lines().count(), 1, "{line}");
        }
        let (identity, problems) = of("02AABBCCDDEE");
        assert_eq!(identity.id.as_str(), "shellypro3em-02aabbccddee");
        assert_eq!(problems, Vec::new());
    }
}
