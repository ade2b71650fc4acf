//! The picture on top of Now: where the value comes from, the meter, who reads it; and the sentence
//! that judges all of it.

use super::{context::Context, figures::Figures, locale::Locale, reader, words};
use consumers::overview::Role;
use meter::{EntityReport, direction::SignVerdict};

/// Readers in the picture; the rest is further down on the page.
pub(super) const SLOTS: usize = 3;

/// Where values come from.
pub(super) struct Origin {
    pub name: String,
    /// The entities, shortly.
    pub detail: String,
}

/// Where the values of a source come from, by what it is and what is read.
pub(super) fn origin(l: &Locale, source: &str, entities: &[EntityReport]) -> Origin {
    let name = match source {
        "demo" => l.t("pic_source_demo"),
        "replay" => l.t("pic_source_replay"),
        _ => "Home Assistant",
    };
    let powers: Vec<&EntityReport> = entities.iter().filter(|e| e.quantity == "power").collect();
    let detail = match &powers[..] {
        _ if source == "demo" || source == "replay" => String::new(),
        [] => l.t("pic_none").to_owned(),
        [one] => one.entity.to_string(),
        many => l.with("pic_sensors", &[("n", &many.len().to_string())]),
    };
    Origin {
        name: name.to_owned(),
        detail,
    }
}

/// What is known of the sign: `true` where counters prove it, `false` where they contradict it.
pub(super) fn checked(signs: &[SignVerdict]) -> Option<bool> {
    if signs.iter().any(|sign| sign.contradiction().is_some()) {
        return Some(false);
    }
    let proven = |sign: &SignVerdict| matches!(sign, SignVerdict::Proven(_));
    (!signs.is_empty() && signs.iter().all(proven)).then_some(true)
}

/// A reader in the picture; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slot {
    pub name: String,
    pub value: String,
    pub age: String,
    pub state: &'static str,
}

/// Who reads, and what to think of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub slots: [Slot; SLOTS],
    /// What all of it comes to, in a sentence.
    pub verdict: String,
    /// `live`, `held`, `absent`; `none` where nobody reads.
    pub state: &'static str,
}

/// What a verdict needs of a reader.
#[derive(Clone, Debug)]
struct Seen {
    slot: Slot,
    /// The age as a span, without "ago".
    time: String,
    word: String,
    viewer: bool,
    first_seen: f64,
}

impl Reading {
    /// Of a meter's readers, at figures.
    pub(super) fn of(context: &Context, m: usize, figures: &Figures, l: &'static Locale) -> Self {
        let (all, overview) = reader::list(context, context.meter(m), l);
        let seen = all.into_iter().zip(&overview.consumers);
        let seen = seen.map(|(reader, view)| Seen {
            time: view
                .value_age
                .or(view.age)
                .map_or_else(String::new, |age| words::span(l, age)),
            word: reader.word.trim_end_matches('.').to_owned(),
            viewer: view.role == Role::Viewer,
            first_seen: view.first_seen,
            slot: Slot {
                name: reader.name,
                value: reader.value,
                age: reader.age,
                state: reader.state,
            },
        });
        Self::judged(l, figures, seen.collect())
    }

    fn judged(l: &Locale, figures: &Figures, mut seen: Vec<Seen>) -> Self {
        // In an order that stays: whoever acts on it first, who is silent last.
        seen.sort_by(|a, b| {
            let rank = |s: &Seen| (s.viewer, matches!(s.slot.state, "absent" | "none"));
            rank(a)
                .cmp(&rank(b))
                .then(a.first_seen.total_cmp(&b.first_seen))
        });
        let (state, verdict) = verdict(l, figures, &seen);
        let mut slots: [Slot; SLOTS] = Default::default();
        for (slot, seen) in slots.iter_mut().zip(seen) {
            *slot = seen.slot;
        }
        for slot in &mut slots {
            if slot.state.is_empty() {
                slot.state = "none";
            }
        }
        if slots[0].name.is_empty() {
            l.t("pic_nobody").clone_into(&mut slots[0].name);
        }
        Self {
            slots,
            verdict,
            state,
        }
    }
}

/// The worst comes first; where nothing is wrong, who read what and when.
fn verdict(l: &Locale, figures: &Figures, seen: &[Seen]) -> (&'static str, String) {
    if figures.paused {
        return ("held", format!("{}.", words::capitalised(&figures.quality)));
    }
    if figures.w.is_none() {
        return (
            "absent",
            l.with("verdict_absent", &[("quality", &figures.quality)]),
        );
    }
    let here = |s: &&Seen| !s.viewer && s.slot.state != "none";
    let acting: Vec<&Seen> = seen.iter().filter(here).collect();
    let named = |key: &str, s: &Seen| {
        let values = [
            ("name", &*s.slot.name),
            ("time", &s.time),
            ("word", &s.word),
            ("power", &s.slot.value),
        ];
        l.with(key, &values)
    };
    if let Some(silent) = acting.iter().find(|s| s.slot.state == "absent") {
        return ("held", named("verdict_silent", silent));
    }
    if let Some(odd) = acting.iter().find(|s| s.slot.state == "held") {
        return ("held", named("verdict_odd", odd));
    }
    if figures.state == "held" {
        return (
            "held",
            l.with("verdict_held", &[("quality", &figures.quality)]),
        );
    }
    match &acting[..] {
        [] => match seen.iter().find(|s| s.slot.state != "none") {
            Some(viewer) => ("none", named("verdict_viewers", viewer)),
            None => ("none", l.t("verdict_nobody").to_owned()),
        },
        [one, ..] if one.slot.value.is_empty() => ("live", named("verdict_asked", one)),
        [one] => ("live", named("verdict_ok", one)),
        [one, more @ ..] => {
            let n = more.len().to_string();
            let values = [
                ("name", &*one.slot.name),
                ("time", &one.time),
                ("power", &one.slot.value),
                ("n", &n),
            ];
            ("live", l.with("verdict_ok_more", &values))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use meter::direction::Evidence;

    fn reader(name: &str, state: &'static str, viewer: bool, first_seen: f64) -> Seen {
        Seen {
            slot: Slot {
                name: name.to_owned(),
                value: "−389 W".to_owned(),
                age: "0.4 s ago".to_owned(),
                state,
            },
            time: "0.4 s".to_owned(),
            word: "asks for unknown methods".to_owned(),
            viewer,
            first_seen,
        }
    }

    fn said(w: Option<f64>, state: &'static str, seen: Vec<Seen>) -> Reading {
        let figures = Figures {
            w,
            state,
            quality: "no reading for 9 s: sensor.x is unavailable".to_owned(),
            ..Figures::default()
        };
        Reading::judged(&Locale::all()[0], &figures, seen)
    }

    #[test]
    fn the_sentence_names_the_worst_and_else_who_read_what() {
        let at = Some(-389.0);
        let battery = || reader("Marstek", "live", false, 5.0);
        let viewer = || reader("Home Assistant", "live", true, 0.0);
        let silent = || reader("Zendure", "absent", false, 1.0);
        let ok = "Marstek read −389 W 0.4 s ago. All is well.";
        // Who looked once and is gone is nobody, and no cause for alarm.
        let once = || reader("Home Assistant", "none", true, 0.0);
        let nobody = said(at, "live", Vec::new());
        assert_eq!(nobody.state, "none");
        assert_eq!(said(at, "live", vec![once()]).verdict, nobody.verdict);
        for (state, seen, judged, verdict) in [
            ("live", vec![battery()], "live", ok),
            (
                "live",
                vec![battery(), reader("evcc", "live", false, 1.0)],
                "live",
                "evcc read −389 W 0.4 s ago, 1 more read too. All is well.",
            ),
            ("live", vec![battery(), once()], "live", ok),
            (
                "live",
                vec![battery(), silent()],
                "held",
                "Zendure fell silent: it last read 0.4 s ago.",
            ),
            (
                "live",
                vec![reader("X", "held", false, 0.0)],
                "held",
                "X: asks for unknown methods.",
            ),
        ] {
            let reading = said(at, state, seen);
            assert_eq!((reading.state, &*reading.verdict), (judged, verdict));
        }
        let looks = said(at, "live", vec![viewer()]);
        assert!(looks.state == "none" && looks.verdict.contains("Only Home Assistant looks"));
        let held = said(at, "held", vec![battery()]);
        assert!(held.state == "held" && held.verdict.starts_with("The last value"));
        let paused = Figures {
            paused: true,
            quality: "paused: readers are told nothing".to_owned(),
            ..Figures::default()
        };
        let paused = Reading::judged(&Locale::all()[0], &paused, vec![battery()]);
        let verdict = "Paused: readers are told nothing.";
        assert_eq!((paused.state, &*paused.verdict), ("held", verdict));
        let none = said(None, "absent", vec![battery()]);
        assert!(none.state == "absent" && none.verdict.contains("sensor.x is unavailable"));
        // Who only looks, and who is silent, come after the others, whoever spoke last.
        let order = said(at, "live", vec![viewer(), silent(), battery()]);
        assert_eq!(
            order.slots.map(|slot| slot.name),
            ["Marstek", "Zendure", "Home Assistant"]
        );
    }

    #[test]
    fn the_badge_needs_proof_of_all_and_one_contradiction_is_enough() {
        let evidence = Evidence {
            watts: 1.0,
            import: None,
            export: None,
            hours: 1.0,
        };
        let (right, wrong) = (
            SignVerdict::Proven(evidence),
            SignVerdict::Contradicted(evidence),
        );
        assert_eq!(checked(&[]), None);
        assert_eq!(checked(&[right, SignVerdict::Unknown]), None);
        assert_eq!(checked(&[right, right]), Some(true));
        assert_eq!(checked(&[right, wrong]), Some(false));
    }
}
