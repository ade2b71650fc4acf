//! Which MAC a meter has: typed by the user, kept from before, or made once
//! (`docs/decisions.md#which-mac`).

use std::collections::BTreeMap;

use config::MeterSettings;
use device::{Identity, identity};
use store::{MeterRow, fallback_mac};

/// The MAC of a meter that has one already: typed, or kept in `stored`.
#[must_use]
pub fn known_mac(
    key: &str,
    settings: &MeterSettings,
    stored: &BTreeMap<String, MeterRow>,
) -> Option<String> {
    let kept = || stored.get(key).and_then(|row| identity::kept_mac(&row.mac));
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
) -> (Identity, Vec<String>) {
    let new = || {
        if in_memory {
            fallback_mac(key)
        } else {
            fresh(key)
        }
    };
    let mac = known_mac(key, settings, stored).unwrap_or_else(new);
    let (identity, errors) = Identity::with_own_values(
        &settings.identity,
        &identity::kept_mac(&mac).unwrap_or_else(new),
    );
    for remark in Identity::remarks(&settings.identity) {
        tracing::warn!("{remark}");
    }
    let mut problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let kept = stored
        .get(key)
        .map(|row| row.mac.as_str())
        .filter(|mac| !mac.is_empty());
    if let Some(kept) =
        kept.filter(|kept| settings.identity.mac.is_none() && identity::kept_mac(kept).is_none())
    {
        problems.push(format!(
            "the MAC address that was kept is none (\"{}\"): the meter is {} now, and readers may have to be paired again; the option mac gives it its old one",
            kept.chars().take(40).collect::<String>().escape_debug(),
            identity.id
        ));
    }
    (identity, problems)
}

/// A MAC that was never there, locally administered.
fn fresh(key: &str) -> String {
    let mut bytes = [0; 6];
    match getrandom::fill(&mut bytes) {
        Ok(()) => identity::generate_mac(bytes),
        Err(_) => fallback_mac(key),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use config::{LoadInputs, load};

    #[test]
    fn a_mac_that_was_kept_and_is_none_is_replaced_and_named() {
        let settings = load(&LoadInputs::default()).settings.meters.remove(0);
        for kept in [
            "000000000000",
            "ffffffffffff",
            "02AABBCCDDE",
            "x",
            "\u{202e}\0",
            &"A".repeat(5000),
        ] {
            let row = MeterRow {
                mac: kept.into(),
                ..MeterRow::default()
            };
            let stored = [(String::new(), row)].into();
            let (identity, problems) = of("", &settings, &stored, false);
            assert_eq!(
                identity::kept_mac(&identity.mac).as_ref(),
                Some(&identity.mac),
                "{kept}"
            );
            assert_eq!(
                (
                    problems.len(),
                    problems[0].contains(&identity.id),
                    problems[0].lines().count()
                ),
                (1, true, 1),
                "{problems:?}"
            );
        }
        let row = MeterRow {
            mac: "02AABBCCDDEE".into(),
            ..MeterRow::default()
        };
        let (identity, problems) = of("", &settings, &[(String::new(), row)].into(), false);
        assert_eq!(
            (identity.id.as_str(), problems),
            ("shellypro3em-02aabbccddee", Vec::new())
        );
    }
}
