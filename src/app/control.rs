//! What is set at run time: the target offset, a pause, profiles and shares of single readers. Kept in
//! the store are the offset and the profiles, each for as long as its option stays as it was, the
//! shares, and the kind of a pause; a pause ends with the process, so that no update leaves a battery
//! without a meter.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::kept;
use config::{ChannelSettings, ControlSettings, ReaderProfiles, definition::Kind, definitions};
use dashboard::owner::Steer;
use ipnet::IpNet;
use store::Store;
use vocab::{
    PauseKind,
    reason::{Count, Reason, Undone},
};

/// Key of the store.
const SHARES: &str = "control/shares";
/// Addresses that have a share by run-time control at most.
const MOST_SHARES: usize = 64;
/// The same for profiles, of one meter.
const MOST_PROFILES: usize = 64;
/// Longest pause that ends by itself, minutes: a week.
const LONGEST_PAUSE: f64 = 7.0 * 24.0 * 60.0;

/// Key of the store for what is set of one meter.
fn key(what: &str, meter: &str) -> String {
    format!("control/{what}/{meter}")
}

/// Readers are not told what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What they are told.
    pub kind: PauseKind,
    /// Monotonic time of its end; none: until somebody ends it.
    pub until: Option<Duration>,
}

/// An offset that was set at run time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Offset {
    w: f64,
    /// What the option said then: once it says something else, that is the owner's newer word.
    option: f64,
}

/// The target offset in force, W. One that was set at run time is over for good once the option says
/// something else: it must not come back with the option's old value.
pub fn offset(store: &Store, meter: &str, option: f64) -> f64 {
    match kept::get::<Offset>(store, &key("offset", meter)) {
        Some(kept) if kept.option == option => kept.w,
        Some(_) => {
            keep_offset(store, meter, None, option);
            option
        }
        None => option,
    }
}

/// Keeps what was set; none goes back to the option.
pub fn keep_offset(store: &Store, meter: &str, w: Option<f64>, option: f64) {
    let text = w.map(|w| serde_json::to_string(&Offset { w, option }).unwrap_or_default());
    // An automation may set it as often as a power changes.
    store.put_state_often(&key("offset", meter), &text.unwrap_or_default());
}

/// What readers are told during a pause of this meter.
pub fn pause_kind(store: &Store, meter: &str) -> PauseKind {
    kept::get(store, &key("pause_kind", meter)).unwrap_or_default()
}

/// Keeps it.
pub fn keep_pause_kind(store: &Store, meter: &str, kind: PauseKind) {
    kept::put(store, &key("pause_kind", meter), &kind);
}

/// A profile that was given to an address at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    profile: String,
    /// What `readers` gave it then: once it says something else, that is the owner's newer word.
    option: Option<String>,
}

/// All of a meter, by address.
pub type AllGiven = BTreeMap<IpAddr, Given>;

/// Those that are in force; `named`: what options say. Of whom they say something else by now, it is
/// over for good.
fn given(store: &Store, meter: &str, named: &ReaderProfiles) -> AllGiven {
    let mut all: AllGiven = kept::get(store, &key("profiles", meter)).unwrap_or_default();
    let before = all.len();
    all.retain(|ip, given| given.option.as_deref() == named.at(*ip).map(|p| p.key));
    if all.len() != before {
        keep_profiles(store, meter, &all);
    }
    all
}

/// Profiles that were set at run time and are in force, by address.
pub fn profiles(store: &Store, meter: &str, named: &ReaderProfiles) -> BTreeMap<IpAddr, String> {
    let of = |(ip, given): (IpAddr, Given)| (ip, given.profile);
    given(store, meter, named).into_iter().map(of).collect()
}

/// Lays them over what options say.
pub fn with_profiles(store: &Store, meter: &str, control: &ControlSettings) -> ControlSettings {
    let given = given(store, meter, &control.profiles);
    if given.is_empty() {
        return control.clone();
    }
    let mut named = ReaderProfiles::clone(&control.profiles);
    // Of networks that are as narrow the last one counts.
    let found = |(ip, given): (IpAddr, Given)| {
        let profile = profiles::find(&given.profile)?;
        Some((IpNet::from(ip), profile))
    };
    named.by_address.extend(given.into_iter().filter_map(found));
    ControlSettings {
        profiles: Arc::new(named),
        ..control.clone()
    }
}

/// The profiles after a change, which nobody has kept yet.
///
/// # Errors
/// Why it cannot be.
pub fn changed_profiles(
    store: &Store,
    meter: &str,
    named: &ReaderProfiles,
    changes: &BTreeMap<IpAddr, Option<String>>,
) -> Result<AllGiven, Reason> {
    let mut all = given(store, meter, named);
    for (ip, profile) in changes {
        let ip = ip.to_canonical();
        match profile {
            Some(profile) => {
                let option = named.at(ip).map(|p| p.key.to_owned());
                let profile = profile.clone();
                all.insert(ip, Given { profile, option });
            }
            None => drop(all.remove(&ip)),
        }
    }
    if all.len() > MOST_PROFILES {
        let most = Count(MOST_PROFILES as u64);
        return Err(Undone::TooManyProfiles { most }.into());
    }
    Ok(all)
}

/// Keeps them.
pub fn keep_profiles(store: &Store, meter: &str, all: &AllGiven) {
    kept::put(store, &key("profiles", meter), all);
}

/// Shares that were set at run time.
pub fn shares(store: &Store) -> BTreeMap<IpAddr, f64> {
    kept::get(store, SHARES).unwrap_or_default()
}

/// Lays them over what options say.
pub fn with_shares(
    mut channels: ChannelSettings,
    shares: &BTreeMap<IpAddr, f64>,
) -> ChannelSettings {
    let scaling = &mut channels.scaling;
    if shares.is_empty() || by_count(scaling) {
        return channels;
    }
    if !scaling.enable {
        // What options name counts only where it is switched on.
        scaling.shares.clear();
        scaling.enable = true;
    }
    // Of networks that are as narrow the last one counts.
    let named = shares.iter().map(|(ip, share)| (IpNet::from(*ip), *share));
    scaling.shares.extend(named);
    channels
}

/// Whether options divide by the number of readers, where single shares mean nothing.
fn by_count(scaling: &config::ScalingSettings) -> bool {
    scaling.enable && scaling.shares.is_empty()
}

/// Changes the shares that are kept.
///
/// # Errors
/// Why nothing was changed.
pub fn change_shares(
    store: &Store,
    channels: &ChannelSettings,
    changes: &BTreeMap<IpAddr, Option<f64>>,
) -> Result<BTreeMap<IpAddr, f64>, Reason> {
    let mut all = shares(store);
    if changes.is_empty() {
        return Ok(all);
    }
    if by_count(&channels.scaling) {
        return Err(Undone::SharesByCount.into());
    }
    for (ip, share) in changes {
        match share {
            Some(share) if (0.0..=1.0).contains(share) => {
                all.insert(ip.to_canonical(), *share);
            }
            Some(_) => return Err(Undone::ShareOutOfRange.into()),
            None => {
                all.remove(&ip.to_canonical());
            }
        }
    }
    if all.len() > MOST_SHARES {
        let most = Count(MOST_SHARES as u64);
        return Err(Undone::TooManyShares { most }.into());
    }
    kept::put(store, SHARES, &all);
    Ok(all)
}

/// Bounds of the target offset, W: the option's.
pub fn offset_range() -> (f64, f64) {
    match definitions::find("target_offset").map(|def| def.kind) {
        Some(Kind::Float { min, max }) => (min, max),
        _ => (0.0, 0.0),
    }
}

/// What is wrong with a change.
///
/// # Errors
/// One line.
pub fn check(change: &Steer) -> Result<(), Reason> {
    let (min, max) = offset_range();
    if let Some(Some(w)) = change.target_offset
        && !(min..=max).contains(&w)
    {
        return Err(Undone::OffsetOutOfRange { w, min, max }.into());
    }
    let wrong = |profile: &&String| profiles::find(profile).is_none();
    if let Some(profile) = change.profiles.values().flatten().find(wrong) {
        return Err(Undone::NoProduct {
            product: profile.as_str().into(),
            products: profiles::KEYS.join(", ").into(),
        }
        .into());
    }
    match (change.minutes, change.pause) {
        (None, _) => Ok(()),
        (Some(minutes), Some(true)) if minutes > 0.0 && minutes <= LONGEST_PAUSE => Ok(()),
        (Some(_), Some(true)) => Err(Undone::MinutesOutOfRange {
            most: LONGEST_PAUSE,
        }
        .into()),
        (Some(_), _) => Err(Undone::MinutesWithoutPause.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn steer(change: serde_json::Value) -> Result<(), String> {
        let change =
            serde_json::from_value(change).map_err(|e: serde_json::Error| e.to_string())?;
        check(&change).map_err(|why| why.to_string())
    }

    #[test]
    fn a_change_is_bounded_and_each_refusal_names_the_value() {
        for good in [
            json!({}),
            json!({"target_offset": -20_000}),
            json!({"target_offset": null}),
            json!({"pause": true, "minutes": 30}),
            json!({"pause": false}),
            json!({"shares": {"192.0.2.7": 0.5, "192.0.2.8": null}}),
            json!({"pause_kind": "zero"}),
            json!({"pause": true, "pause_kind": "nothing"}),
            json!({"profiles": {"192.0.2.7": "victron", "192.0.2.8": null}}),
        ] {
            assert_eq!(steer(good.clone()), Ok(()), "{good}");
        }
        for (wrong, names) in [
            (json!({"target_offset": 20_001}), "20001"),
            (json!({"target_offset": "50"}), "f64"),
            (json!({"minutes": 30}), "pause"),
            (json!({"pause": true, "minutes": 0}), "minutes"),
            (json!({"pause": true, "minutes": 20_000}), "minutes"),
            (json!({"shares": {"battery": 0.5}}), "IP address"),
            (json!({"offset": 50}), "offset"),
            (json!({"pause_kind": "none"}), "nothing"),
            (json!({"profiles": {"192.0.2.7": "toaster"}}), "toaster"),
            (json!({"profiles": {"battery": "evcc"}}), "IP address"),
        ] {
            let why = steer(wrong.clone()).unwrap_err();
            assert!(why.contains(names), "{wrong}: {why}");
        }
    }

    #[test]
    fn what_was_set_does_not_come_back_with_the_options_old_value() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = config::Settings::default();
        settings.store.data_dir = dir.path().to_owned();
        let clock = Arc::new(vocab::SystemClock::new());
        let store = store::open(&settings.store, clock).store;

        keep_offset(&store, "", Some(50.0), 0.0);
        assert_eq!(offset(&store, "", 0.0), 50.0);
        assert_eq!(offset(&store, "", 20.0), 20.0, "the owner's newer word");
        assert_eq!(offset(&store, "", 0.0), 0.0, "and so is this");

        let ip = IpAddr::from([192, 0, 2, 7]);
        let named = |key: &str| {
            let profile = profiles::find(key).into_iter();
            ReaderProfiles {
                by_address: profile.map(|profile| (IpNet::from(ip), profile)).collect(),
                ..ReaderProfiles::default()
            }
        };
        let wanted = BTreeMap::from([(ip, Some("evcc".to_owned()))]);
        let all = changed_profiles(&store, "", &named(""), &wanted).unwrap();
        keep_profiles(&store, "", &all);
        let in_force = |named: &ReaderProfiles| super::profiles(&store, "", named).len();
        assert_eq!(in_force(&named("")), 1);
        assert_eq!(in_force(&named("victron")), 0);
        assert_eq!(in_force(&named("")), 0);
    }

    #[test]
    fn shares_of_single_readers_lie_over_the_options() {
        let ip = |n| IpAddr::from([192, 0, 2, n]);
        let shares = BTreeMap::from([(ip(7), 0.5)]);
        let of = |named: &[(&str, f64)], enable| {
            let mut channels = ChannelSettings::default();
            let named = named
                .iter()
                .map(|(net, share)| (net.parse().unwrap(), *share));
            (channels.scaling.enable, channels.scaling.shares) = (enable, named.collect());
            let scaling = with_shares(channels, &shares).scaling;
            let share = |n| consumers::sharing::named_share(ip(n), &scaling);
            [7, 8].map(|n| share(n).filter(|_| scaling.enable))
        };
        assert_eq!(of(&[], false), [Some(0.5), None]);
        let named = [("192.0.2.0/24", 0.1), ("192.0.2.7/32", 0.2)];
        assert_eq!(of(&named, true), [Some(0.5), Some(0.1)]);
        assert_eq!(of(&named, false), [Some(0.5), None]);
        assert_eq!(of(&[], true), [None, None], "by the number of readers");
    }
}
