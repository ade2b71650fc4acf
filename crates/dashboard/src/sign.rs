//! What a person is asked about the sign of a power, and what the energy counters say of it.

use serde::Serialize;

use super::{locale::Locale, owner::Sign, words};
use meter::direction::{Evidence, SignVerdict};
use vocab::EntityId;

/// What the energy counters say of the sign.
#[derive(Debug, Serialize, PartialEq)]
pub(super) struct SignLine {
    /// `proven`: nothing needs to be asked. `contradicted`: the other answer is the right one.
    state: &'static str,
    text: String,
    /// The powers that turning is about.
    turn: Vec<&'static str>,
}

/// The counters' word on all signs, or on the first that is wrong, and the answers that it leaves.
pub(super) fn sign(l: &Locale, signs: &[Sign]) -> Option<(SignLine, Option<[String; 2]>)> {
    let text = |sign: &Sign, evidence: &Evidence, import, export| {
        let rose = |ids: &[EntityId], wh: Option<f64>| {
            Some(format!("{} +{}", ids.join(" + "), words::energy(l, wh?)))
        };
        let both = [
            rose(&sign.counters.import, evidence.import),
            rose(&sign.counters.export, evidence.export),
        ];
        let list = both.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let power = words::watts(l, evidence.watts).to_string();
        let time = words::span(l, evidence.hours * 3600.0);
        let key = if evidence.watts < 0.0 { export } else { import };
        l.with(key, &[("power", &power), ("list", &list), ("time", &time)])
    };
    let first = signs.first()?;
    if let SignVerdict::Contradicted(evidence) = &first.verdict {
        let line = SignLine {
            state: "contradicted",
            text: text(first, evidence, "sign_wrong_import", "sign_wrong_export"),
            turn: first.turn.clone(),
        };
        let answers = ["sign_keep", "sign_turn"].map(|key| l.t(key).to_owned());
        return Some((line, Some(answers)));
    }
    let proven = |sign: &Sign| match &sign.verdict {
        SignVerdict::Proven(evidence) => {
            let text = text(sign, evidence, "sign_right_import", "sign_right_export");
            Some(text)
        }
        _ => None,
    };
    let texts: Vec<String> = signs.iter().map(proven).collect::<Option<_>>()?;
    let line = SignLine {
        state: "proven",
        text: texts.join(" "),
        turn: Vec::new(),
    };
    Some((line, None))
}

/// Below this the direction of a power is no thing that a person can know, W.
const TELLING_W: f64 = 20.0;

/// What a person can answer to a power that is shown: that it is right, or what is true instead.
pub(super) fn answers(l: &Locale, total: Option<f64>) -> Option<[String; 2]> {
    let w = total.filter(|w| w.abs() >= TELLING_W)?;
    let (yes, no) = if w > 0.0 {
        ("sign_yes_import", "sign_no_import")
    } else {
        ("sign_yes_export", "sign_no_export")
    };
    Some([
        l.with(yes, &[("power", &words::watts(l, w).to_string())]),
        l.t(no).to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use meter::direction::Counters;

    #[test]
    fn answers_repeat_what_is_shown_and_wait_at_zero() {
        let l = &Locale::all()[0];
        let said = |w| answers(l, w).map(|a| a.map(|text| text.replace('\u{202f}', " ")));
        let feeding = [
            "Yes, feeding in 616 W is right",
            "No, I am drawing from the grid",
        ];
        let drawing = [
            "Yes, drawing 2,050 W is right",
            "No, I am feeding into the grid",
        ];
        assert_eq!(said(Some(-616.0)).unwrap(), feeding);
        assert_eq!(said(Some(2050.0)).unwrap(), drawing);
        assert_eq!(
            [Some(0.0), Some(19.9), Some(-3.0), None].map(said),
            [const { None }; 4],
            "nobody can tell"
        );
        for l in Locale::all() {
            let all: Vec<String> = [-616.0, 616.0]
                .into_iter()
                .flat_map(|w| answers(l, Some(w)).unwrap())
                .collect();
            assert!(
                all.iter().all(|text| !text.contains('{'))
                    && all[0].contains("616")
                    && all[0] != all[2]
                    && all[1] != all[3],
                "{all:?}"
            );
        }
    }

    fn counted(turn: &'static str, verdict: SignVerdict) -> Sign {
        let counters = Counters {
            import: vec![EntityId::from_static("sensor.in")],
            export: vec![EntityId::from_static("sensor.out")],
        };
        Sign {
            turn: vec![turn],
            verdict,
            counters,
            line: None,
        }
    }

    fn rose(watts: f64, import: f64, export: f64) -> Evidence {
        Evidence {
            watts,
            import: Some(import),
            export: Some(export),
            hours: 24.0,
        }
    }

    #[test]
    fn the_counters_word_stands_at_the_question_in_each_language() {
        for l in Locale::all() {
            // A SolarEdge meter as it comes: plus is export.
            let evidence = rose(-3000.0, 72_000.0, 0.0);
            let wrong = counted("total", SignVerdict::Contradicted(evidence));
            let (line, given) = sign(l, &[wrong]).unwrap();
            assert_eq!((line.state, line.turn), ("contradicted", vec!["total"]));
            let power = words::watts(l, -3000.0).to_string();
            let list = words::energy(l, 72_000.0).to_string();
            let time = words::span(l, 86_400.0);
            for part in ["sensor.in +", "sensor.out +0", &list, &time, &power] {
                assert!(line.text.contains(part), "{}: {} {part}", l.code, line.text);
            }
            let both = ["sign_keep", "sign_turn"].map(|key| l.t(key));
            assert_eq!(given.unwrap(), both, "asked at 0 W too");
            let right = counted("total", SignVerdict::Proven(rose(512.0, 12_300.0, 40.0)));
            let (line, given) = sign(l, &[right]).unwrap();
            assert!(
                line.state == "proven" && line.turn.is_empty() && given.is_none(),
                "{line:?}: no question is left"
            );
            assert!(
                line.text.contains(&words::energy(l, 40.0).to_string()),
                "{}",
                line.text
            );
            let ways = [("sign_right_import", 500.0), ("sign_right_export", -500.0)];
            let ways = ways.map(|(key, watts)| {
                let right = counted("total", SignVerdict::Proven(rose(watts, 10.0, 10.0)));
                let said = sign(l, &[right]).unwrap().0.text;
                let begin = l.t(key).split('{').next().unwrap();
                assert!(said.starts_with(begin), "{said}");
                said
            });
            assert_ne!(ways[0], ways[1]);
        }
    }

    #[test]
    fn where_the_counters_say_nothing_the_question_stays() {
        let l = &Locale::all()[0];
        let proven = || counted("a", SignVerdict::Proven(rose(500.0, 900.0, 0.0)));
        let unknown = || counted("b", SignVerdict::Unknown);
        let unclear = counted("b", SignVerdict::Unclear(rose(500.0, 900.0, 900.0)));
        // One phase of two is not the whole.
        for signs in [
            vec![],
            vec![unknown()],
            vec![unclear],
            vec![proven(), unknown()],
        ] {
            assert_eq!(sign(l, &signs), None, "{signs:?}");
        }
        let other = counted("b", SignVerdict::Proven(rose(1.0, 2.0, 3.0)));
        assert!(sign(l, &[proven(), other]).is_some());
        let wrong = counted("b", SignVerdict::Contradicted(rose(-600.0, 900.0, 0.0)));
        let (line, _) = sign(l, &[wrong, proven()]).unwrap();
        assert_eq!(line.turn, ["b"], "that one is to be turned");
    }
}
