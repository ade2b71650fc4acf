//! Which product a reader is: named by the owner, by itself, or by how it asks.

use std::{net::IpAddr, sync::Arc};

use config::ReaderProfiles;
use profiles::{Acts, Profile};
use serde::Serialize;

use super::{Channel, brand::Brand};

/// Why a reader has its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileWhy {
    /// `readers` names its address.
    Address,
    /// It names itself, or does what nobody else is known to do.
    Named,
    /// It asks as this product does.
    LooksLike,
    /// It is the one product of `readers` that reads by this way in, and nothing says that it is
    /// another.
    Chosen,
}

impl ProfileWhy {
    /// Whether it is the owner's word, and not what the reader looks like.
    #[must_use]
    pub const fn is_owners_word(self) -> bool {
        matches!(self, Self::Address | Self::Chosen)
    }
}

/// A reader's profile, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assigned {
    /// The product.
    pub profile: &'static Profile,
    /// Why it is taken for that.
    pub why: ProfileWhy,
}

/// What is known of a reader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Known {
    pub assigned: Option<Assigned>,
    /// What it does with power.
    pub acts: Acts,
    /// That it only looks is more than a guess: it need not be counted.
    pub looks: bool,
}

impl Known {
    /// The product by name: the owner's word, else what it looks like.
    pub fn product(&self, brand: Option<Brand>) -> Option<&'static str> {
        let named = self.assigned.filter(|a| a.why.is_owners_word());
        let name = named.map(|a| &*a.profile.name);
        name.or_else(|| brand.map(|brand| brand.name))
    }
}

/// The same, kept until options or its ways change.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    of: Arc<ReaderProfiles>,
    known: Known,
}

impl Kept {
    pub fn new(of: &Arc<ReaderProfiles>, known: Known) -> Self {
        Self {
            of: Arc::clone(of),
            known,
        }
    }

    /// What was found out, if these are the options still.
    pub fn under(&self, profiles: &Arc<ReaderProfiles>) -> Option<Known> {
        Arc::ptr_eq(&self.of, profiles).then_some(self.known)
    }
}

/// What is known of who reads from `peer` by `channel` and looks like `brand`.
pub(super) fn known(
    peer: IpAddr,
    channel: Channel,
    brand: Option<Brand>,
    profiles: &ReaderProfiles,
) -> Known {
    let assigned = assign(peer, channel, brand, profiles);
    let acts = match assigned {
        Some(assigned) if assigned.why.is_owners_word() => assigned.profile.acts,
        _ => brand.map_or(Acts::Unknown, Brand::acts),
    };
    let guessed = !brand.is_some_and(|brand| brand.certain)
        && assigned.is_none_or(|a| a.why == ProfileWhy::LooksLike);
    Known {
        assigned,
        acts,
        looks: acts == Acts::Viewer && !guessed,
    }
}

fn assign(
    peer: IpAddr,
    channel: Channel,
    brand: Option<Brand>,
    profiles: &ReaderProfiles,
) -> Option<Assigned> {
    let by = |profile, why| Some(Assigned { profile, why });
    if let Some(profile) = profiles.at(peer) {
        return by(profile, ProfileWhy::Address);
    }
    let candidates = brand.map_or(&[][..], Brand::profiles);
    let certain = brand.is_some_and(|brand| brand.certain);
    let else_named = |why| if certain { ProfileWhy::Named } else { why };
    let mut chosen = profiles.chosen.iter();
    if let Some(profile) = chosen.find(|profile| candidates.contains(&profile.key)) {
        return by(profile, else_named(ProfileWhy::Chosen));
    }
    let mut of_this_way = profiles.chosen.iter().filter(|p| p.reads_by(channel));
    if let (Some(profile), None, false) = (of_this_way.next(), of_this_way.next(), certain) {
        return by(profile, ProfileWhy::Chosen);
    }
    let likeliest = profiles::find(candidates.first()?)?;
    by(likeliest, else_named(ProfileWhy::LooksLike))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{
        ProfileWhy::{Address, Chosen, LooksLike},
        *,
    };
    use crate::brand::{Evidence, guess, tests::calls};

    fn readers(chosen: &[&str], by_address: &[(&str, &str)]) -> ReaderProfiles {
        ReaderProfiles {
            chosen: chosen
                .iter()
                .map(|key| profiles::find(key).unwrap())
                .collect(),
            by_address: by_address
                .iter()
                .map(|(net, key)| (net.parse().unwrap(), profiles::find(key).unwrap()))
                .collect(),
        }
    }

    fn by(seen: &Evidence<'_>, of: &ReaderProfiles) -> (Option<(&'static str, ProfileWhy)>, Acts) {
        let channel = seen.channels[0];
        let known = known([192, 0, 2, 7].into(), channel, guess(seen), of);
        (known.assigned.map(|a| (a.profile.key, a.why)), known.acts)
    }

    #[test]
    fn the_owners_word_counts_before_what_it_looks_like() {
        let udp = calls(Channel::Udp, &["EM.GetStatus"]);
        let http = calls(Channel::Http, &["EM.GetStatus"]);
        let curl = Evidence {
            agents: vec!["curl/8"],
            ..http.clone()
        };
        let battery = |key, why| (Some((key, why)), Acts::Battery);
        let nothing = (None, Acts::Unknown);
        for (seen, chosen, want) in [
            (&udp, &[][..], battery("marstek-venus", LooksLike)),
            (&udp, &["marstek-b2500"], battery("marstek-b2500", Chosen)),
            (&http, &[], nothing),
            // It cannot be told from a script.
            (&http, &["indevolt"], battery("indevolt", Chosen)),
            // Which of both?
            (&http, &["indevolt", "jackery"], nothing),
            // It says what it is.
            (&curl, &["indevolt"], nothing),
        ] {
            assert_eq!(by(seen, &readers(chosen, &[])), want, "{seen:?} {chosen:?}");
        }
        let named = readers(&["marstek-b2500"], &[("192.0.2.0/24", "evcc")]);
        assert_eq!(by(&udp, &named), (Some(("evcc", Address)), Acts::Viewer));
    }

    #[test]
    fn who_is_only_guessed_to_look_is_counted_on() {
        let openems = calls(Channel::Http, &["EM.GetStatus", "Shelly.GetDeviceInfo"]);
        assert_eq!(
            by(&openems, &readers(&[], &[])),
            (Some(("openems", LooksLike)), Acts::Unknown)
        );
        assert_eq!(
            by(&openems, &readers(&["openems"], &[])),
            (Some(("openems", Chosen)), Acts::Viewer)
        );
        let looks = |seen: &Evidence<'_>| {
            let peer = [192, 0, 2, 7].into();
            let none = ReaderProfiles::default();
            known(peer, Channel::Http, guess(seen), &none).looks
        };
        assert!(!looks(&openems));
        let evcc = Evidence {
            srcs: vec!["evcc"],
            ..calls(Channel::Http, &["EM.GetStatus"])
        };
        assert!(looks(&evcc));
    }
}
