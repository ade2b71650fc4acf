//! Which MAC a meter has: typed by the user, kept from before, or made once (`decisions.md` A `mac`).

use std::collections::BTreeMap;

use crate::{
    config::MeterSettings,
    device::{Identity, identity},
    store::{MeterRow, Restored, fallback_mac},
};

/// The MAC of a meter that has one already: typed, or kept in `stored`.
#[must_use]
pub fn known_mac(key: &str, settings: &MeterSettings, stored: &BTreeMap<String, MeterRow>) -> Option<String> {
    let kept = || stored.get(key).map(|row| row.mac.clone()).filter(|mac| !mac.is_empty());
    settings.identity.mac.clone().or_else(kept)
}

/// The identity of a meter. `in_memory`: nothing can be kept, so the MAC comes from the machine and stays the same.
///
/// # Errors
/// An id that no client would accept, with the reason.
pub fn of(key: &str, settings: &MeterSettings, restored: &Restored, in_memory: bool) -> Result<Identity, String> {
    let mac = known_mac(key, settings, &restored.meters).unwrap_or_else(|| if in_memory { fallback_mac(key) } else { fresh(key) });
    Identity::new(&settings.identity, &mac).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// A MAC that was never there, locally administered.
fn fresh(key: &str) -> String {
    let mut bytes = [0; 6];
    match getrandom::fill(&mut bytes) {
        Ok(()) => identity::generate_mac(bytes),
        Err(_) => fallback_mac(key),
    }
}
