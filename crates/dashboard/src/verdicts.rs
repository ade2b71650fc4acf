//! What there is to say of a reader, and what its profile sets, in the person's language.

use serde_json::Value;

use super::{
    locale::Locale,
    option_texts,
    owner::Options,
    words::{self, Times},
};
use config::Layer;
use consumers::{ConsumerView, ProfileWhy, Verdict};
use profiles::{Acts, Profile};
use vocab::Absent;

/// Up to this many times as fast is "twice".
const TWICE: f64 = 2.4;

/// One verdict: how grave, and the sentence.
pub(super) fn say(times: &Times, verdict: &Verdict) -> (&'static str, String) {
    let l = times.l;
    match verdict {
        Verdict::Silent { since } => {
            let time = times.moment(*since);
            ("absent", l.with("verdict_is_silent", &[("time", &time)]))
        }
        Verdict::TookNull { give } => {
            let profile = profile_name(l, give);
            let values = [("profile", &*profile)];
            ("absent", l.with("verdict_took_null", &values))
        }
        Verdict::AsksFor { method } => ("held", l.with("verdict_asks_for", &[("method", method)])),
        Verdict::PhaseAOnly { because } => {
            let key = format!("verdict_phase_a_{}", because.key());
            ("held", l.t(&key).to_owned())
        }
        Verdict::FasterThanSensor {
            asks,
            changes,
            times,
        } => {
            let key = if *times <= TWICE {
                "verdict_twice"
            } else {
                "verdict_faster"
            };
            let [asks, changes] = [asks, changes].map(|s| words::span(l, *s));
            let times = words::number(l, *times, 0);
            let values = [("times", &*times), ("asks", &asks), ("changes", &changes)];
            ("unused", l.with(key, &values))
        }
        Verdict::Viewer { .. } => ("unused", l.t("verdict_viewer").to_owned()),
    }
}

/// A product's name.
pub(super) fn profile_name(l: &Locale, key: &str) -> String {
    match profiles::find(key) {
        Some(profile) if profile.key != profiles::ANYTHING => profile.name.clone(),
        _ => l.t("profile_anything").to_owned(),
    }
}

/// Why a reader has its profile.
pub(super) fn why(l: &Locale, why: ProfileWhy) -> &str {
    l.t(match why {
        ProfileWhy::Address => "profile_by_address",
        ProfileWhy::Named => "profile_by_name",
        ProfileWhy::LooksLike => "profile_by_looks",
        ProfileWhy::Chosen => "profile_by_choice",
    })
}

/// A line of what a profile sets: what, how, why.
pub(super) struct SetLine {
    pub what: String,
    pub is: String,
    pub why: String,
}

const fn absent_keys(told: Absent) -> (&'static str, &'static str) {
    match told {
        Absent::Nulls => ("absent_nulls", "absent_nulls_why"),
        Absent::Error => ("absent_error", "absent_error_why"),
        Absent::Silence => ("absent_silence", "absent_silence_why"),
    }
}

const fn acts_keys(acts: Acts) -> (&'static str, &'static str) {
    match acts {
        Acts::Battery => ("acts_battery", "acts_battery_why"),
        Acts::Viewer => ("acts_viewer", "acts_viewer_why"),
        Acts::Unknown => ("acts_unknown", "acts_unknown_why"),
    }
}

/// What a profile sets of the first meter, and what the owner said instead.
pub(super) fn sets(
    l: &Locale,
    profile: &Profile,
    told: Absent,
    options: Option<&Options>,
) -> Vec<SetLine> {
    let line = |what: &str, (is, why): (&str, &str)| SetLine {
        what: l.t(what).to_owned(),
        is: l.t(is).to_owned(),
        why: l.t(why).to_owned(),
    };
    let mut all = vec![
        line("sets_absent", absent_keys(told)),
        line("sets_answers", acts_keys(profile.acts)),
    ];
    if profile.pause_at_zero {
        all.insert(1, line("sets_pause", ("pause_zero", "pause_zero_why")));
    }
    if profile.decimals > 0 {
        let bytes = profile.datagram.to_string();
        all.push(SetLine {
            what: l.t("sets_numbers").to_owned(),
            is: if profile.datagram > 0 {
                l.with("numbers_long", &[("bytes", &bytes)])
            } else {
                l.t("numbers_decimals").to_owned()
            },
            why: l.t("numbers_why").to_owned(),
        });
    }
    for (key, set) in &profile.set {
        let text = |value: &Value| option_texts::value(l, key, &text(value)).to_owned();
        let value = text(&set.value);
        let unit = config::definitions::find(key).map_or("", |def| def.unit);
        let wanted = format!("{value}\u{202f}{unit}");
        let wanted = wanted.trim_end_matches('\u{202f}').to_owned();
        let is = options
            .and_then(|options| {
                let layer = options.layers.get(key.as_str()).unwrap_or(&Layer::Default);
                let is = options.values.get(key.as_str()).map(&text)?;
                let key = if *layer > Layer::Profile {
                    "set_otherwise"
                } else {
                    "set_in_force"
                };
                (is != value).then(|| l.with(key, &[("value", &wanted), ("is", &is)]))
            })
            .unwrap_or(wanted);
        all.push(SetLine {
            what: config::definitions::find(key)
                .map_or_else(|| key.clone(), |def| option_texts::name(l, def)),
            is,
            why: l.t(&format!("set_{}", set.why.key())).to_owned(),
        });
    }
    all
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The profile of a reader in a line, and what it sets.
pub(super) fn of_reader(
    l: &Locale,
    c: &ConsumerView,
    options: Option<&Options>,
) -> (String, Vec<SetLine>) {
    let Some((view, profile)) = c
        .profile
        .and_then(|view| Some((view, profiles::find(view.key)?)))
    else {
        return (l.t("profile_none").to_owned(), Vec::new());
    };
    let name = profile_name(l, view.key);
    let line = format!("{name}: {}", why(l, view.why));
    (line, sets(l, profile, profile.absent(c.channel), options))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use consumers::verdict::PhaseAOnly;

    fn said(code: &str, verdict: &Verdict) -> String {
        let times = Times {
            l: Locale::coded(code).unwrap(),
            now: 1_000.0,
            zone: jiff::tz::TimeZone::UTC,
        };
        say(&times, verdict).1.replace('\u{202f}', " ")
    }

    #[test]
    fn verdicts_are_said_by_what_they_are() {
        let faster = |asks, changes| Verdict::FasterThanSensor {
            asks,
            changes,
            times: changes / asks,
        };
        let twice = faster(0.5, 1.0);
        assert!(said("en", &twice).starts_with("Reads twice as fast as your sensor changes"));
        assert!(said("de", &twice).contains("doppelt so oft"));
        let ten = faster(1.0, 10.0);
        assert!(said("en", &ten).starts_with("Reads 10 times as fast as your sensor changes"));
        let asks = Verdict::AsksFor {
            method: "Switch.GetStatus".into(),
        };
        assert_eq!(
            said("en", &asks),
            "Asks for Switch.GetStatus, which a Pro 3EM does not have."
        );
        let null = Verdict::TookNull { give: "evcc" };
        assert_eq!(
            said("en", &null),
            "Took null for 0 W: give it the profile evcc."
        );
        for because in PhaseAOnly::ALL {
            let phase = Verdict::PhaseAOnly { because };
            assert!(said("en", &phase).starts_with("Reads phase A only, because"));
            for l in Locale::all() {
                let key = format!("verdict_phase_a_{}", because.key());
                assert!(l.find(&key).is_some(), "{} {key}", l.code);
            }
        }
        assert!(
            said("en", &Verdict::Viewer { profile: None }).starts_with("Is a viewer: not counted")
        );
    }

    #[test]
    fn all_that_a_profile_says_has_words_in_every_language() {
        for l in Locale::all() {
            for profile in profiles::all() {
                for channel in profile.channels.keys() {
                    for line in sets(l, profile, profile.absent(*channel), None) {
                        assert!(
                            !line.why.contains('_') && !line.is.is_empty(),
                            "{}",
                            line.why
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_phase_that_a_profile_sets_is_called_as_on_the_cable() {
        let l = &Locale::all()[0];
        let venus = profiles::find("marstek-venus").unwrap();
        let mut options = Options::default();
        let is = |options: &Options| {
            let lines = sets(l, venus, Absent::Silence, Some(options));
            lines.into_iter().next_back().unwrap().is
        };
        assert_eq!(is(&options), "L1");
        options.values.insert("total_phase".into(), "b".into());
        options.layers.insert("total_phase".into(), Layer::File);
        let is = is(&options);
        assert!(is.contains("L1") && is.contains("L2"), "{is}");
    }

    #[test]
    fn what_the_owner_said_instead_is_shown() {
        let l = &Locale::all()[0];
        let mut options = Options::default();
        options.layers.insert("hold".into(), Layer::File);
        options.values.insert("hold".into(), 300.into());
        let evcc = profiles::find("evcc").unwrap();
        let line = |options: Option<&Options>| {
            sets(l, evcc, Absent::Error, options)
                .into_iter()
                .find(|line| line.is.starts_with("60"))
                .unwrap()
                .is
        };
        assert_eq!(line(None).replace('\u{202f}', " "), "60 s");
        assert!(line(Some(&options)).contains("300"));
        let mut options = options.clone();
        options.layers.insert("hold".into(), Layer::Profile);
        options.values.insert("hold".into(), 30.into());
        assert_eq!(
            line(Some(&options)).replace('\u{202f}', " "),
            "60 s; 30 is in force",
            "a shorter one of another profile is no word of the owner's"
        );
    }
}
