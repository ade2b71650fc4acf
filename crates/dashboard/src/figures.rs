//! The current values in words and digits: once for the first HTML, and the same for the live
//! socket.

use std::time::Duration;

use serde::Serialize;

use super::{
    locale::Locale,
    words::{self, Figure, Flow},
};
use meter::{PhaseInput, Quality, Report, Served, Snapshot};
use transport::healthz::quality_word;
use vocab::{Now, Phase, reason::Reason};

/// A value that was reported longer ago is not called live: it may be right, but nobody has said so
/// of late.
const OLD: Duration = Duration::from_secs(60);

/// Where there is no figure.
const NONE: &str = "–";

/// One phase's card.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct PhaseFigures {
    /// `a`, `b`, `c`: begins the keys of the live message.
    pub key: &'static str,
    /// `L1` ….
    pub name: &'static str,
    /// `live`, `held`, `absent`, `unused`.
    pub state: &'static str,
    /// `import`, `export`, `idle`, `none`.
    pub flow: &'static str,
    pub word: String,
    pub power: String,
    pub unit: &'static str,
    pub volt: String,
    pub curr: String,
    pub pf: String,
    pub quality: String,
    /// W, + import, for the chart.
    pub w: Option<f64>,
}

/// Everything at the top of the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Unix s.
    pub ts: f64,
    /// W, + import.
    pub w: Option<f64>,
    /// Worst of the phases.
    pub state: &'static str,
    pub flow: &'static str,
    pub word: String,
    pub power: String,
    pub unit: &'static str,
    pub quality: String,
    /// Readers are told something else than what is measured, as the owner wants it.
    #[serde(skip)]
    pub paused: bool,
    pub phases: [PhaseFigures; 3],
}

/// Where a power flows, that in words, and its size; without one the words for that.
pub(super) fn power(locale: &Locale, w: Option<f64>) -> (&'static str, String, Figure) {
    let flow = w.map_or("none", |w| Flow::of(w).key());
    let word = locale.t(&format!("flow_{flow}")).to_owned();
    let size = w.map_or_else(|| Figure::none("W"), |w| words::watts(locale, w));
    (flow, word, size)
}

fn quality(locale: &Locale, quality: &Quality, report: Option<Report>, now: Now) -> String {
    let because = |key, since: Duration, reason: &Reason| {
        let age = words::span(locale, now.mono.saturating_sub(since).as_secs_f64());
        locale.with(key, &[("age", &age), ("reason", &locale.say(reason))])
    };
    match quality {
        Quality::Live => {
            let Some(age) = report.map(|report| report.age(now.mono)) else {
                return locale.t("quality_live").to_owned();
            };
            let key = if age >= OLD {
                "quality_old"
            } else {
                "quality_live_age"
            };
            let age = words::span(locale, age.as_secs_f64());
            locale.with(key, &[("age", &age)])
        }
        Quality::Absent { reason, .. } if reason.pauses() => locale.say(reason),
        Quality::Held { since, reason } => because("quality_held", *since, reason),
        Quality::Absent { since, reason } => because("quality_absent", *since, reason),
        Quality::Unused => locale.t("quality_unused").to_owned(),
    }
}

fn paused(quality: &Quality) -> bool {
    matches!(quality, Quality::Absent { reason, .. } if reason.pauses())
}

/// A pause is no fault.
fn state(quality: &Quality) -> &'static str {
    if paused(quality) {
        "held"
    } else {
        quality_word(quality)
    }
}

fn phase(
    locale: &Locale,
    at: Phase,
    input: &PhaseInput,
    served: Option<&Served>,
    now: Now,
) -> PhaseFigures {
    let unused = input.quality == Quality::Unused;
    let w = served.map(|s| s.act_power.get());
    let (mut flow, mut word, power) = power(locale, w);
    if unused {
        (flow, word) = ("idle", String::new());
    }
    let figure = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| NONE.to_owned(), |v| words::number(locale, v, decimals))
    };
    let mut text = quality(locale, &input.quality, input.report, now);
    let derived: Vec<&str> = [
        (input.derived.voltage, "V"),
        (input.derived.current, "A"),
        (input.derived.pf, "PF"),
    ]
    .into_iter()
    .filter_map(|(is, name)| is.then_some(name))
    .collect();
    if !derived.is_empty() && served.is_some() && !unused {
        let derived = locale.with("derived", &[("what", &derived.join(", "))]);
        text = format!("{text} · {derived}");
    }
    PhaseFigures {
        key: at.letter(),
        name: ["L1", "L2", "L3"][at.index()],
        state: state(&input.quality),
        flow,
        word,
        power: power.value,
        unit: power.unit,
        volt: figure(served.map(|s| s.voltage.get()), 1),
        curr: figure(served.map(|s| s.current.get()), 2),
        pf: figure(served.map(|s| s.pf.get()), 2),
        quality: text,
        w,
    }
}

impl Figures {
    /// Of a snapshot, at this moment, in a language.
    pub fn of(snapshot: &Snapshot, now: Now, locale: &Locale) -> Self {
        let phases = Phase::ALL.map(|p| {
            phase(
                locale,
                p,
                &snapshot.inputs[p.index()],
                snapshot.phases[p.index()].as_ref(),
                now,
            )
        });
        let rank = |q: &Quality| match q {
            Quality::Absent { .. } => 3,
            Quality::Held { .. } => 2,
            Quality::Live => 1,
            Quality::Unused => 0,
        };
        let worst = snapshot
            .inputs
            .iter()
            .map(|i| &i.quality)
            .max_by_key(|q| rank(q))
            .unwrap_or(&Quality::Unused);
        let w = snapshot.totals.map(|t| t.act_power.get());
        let (flow, word, power) = power(locale, w);
        Self {
            ts: now.unix,
            w,
            state: state(worst),
            flow,
            word,
            power: power.value,
            unit: power.unit,
            quality: quality(locale, worst, snapshot.report(), now),
            paused: paused(worst),
            phases,
        }
    }
}

/// Width and height of the sparkline's own coordinates.
const SPARK: (f64, f64) = (300.0, 48.0);

/// A line of the last minutes, for the first HTML; gaps are gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Spark {
    /// `d` of the path.
    pub line: String,
    /// Where 0 W lies, if it is in sight.
    pub zero: Option<f64>,
    /// `d` of a path of dots: what batteries were told.
    pub dots: String,
}

impl Spark {
    /// Of points and answers (Unix s, W) between two times; a gap longer than `gap` s breaks the
    /// line.
    pub fn of(points: &[(i64, f64)], told: &[(f64, f64)], from: i64, to: i64, gap: i64) -> Self {
        use std::fmt::Write;
        if points.len() < 2 || to <= from {
            return Self::default();
        }
        let told = || {
            told.iter()
                .filter(|(at, _)| (from as f64..=to as f64).contains(at))
        };
        let all = points
            .iter()
            .map(|(_, w)| *w)
            .chain(told().map(|(_, w)| *w));
        let (low, high) = all.fold((0.0_f64, 0.0_f64), |(l, h), w| (l.min(w), h.max(w)));
        let range = (high - low).max(10.0);
        let y = |w: f64| 2.0 + (SPARK.1 - 4.0) * (1.0 - (w - low) / range);
        let mut line = String::with_capacity(points.len() * 12);
        let mut last = i64::MIN;
        let x = |at: f64| (at - from as f64) / (to - from) as f64 * SPARK.0;
        for (ts, w) in points {
            let x = x(*ts as f64);
            let pen = if last == i64::MIN || ts - last > gap {
                'M'
            } else {
                'L'
            };
            // Writing to a String cannot fail.
            let _ = write!(line, "{pen}{x:.1} {:.1}", y(*w));
            last = *ts;
        }
        // A line of no length with round ends is a dot, however the drawing is stretched.
        let mut dots = String::new();
        for (at, w) in told() {
            let _ = write!(dots, "M{:.1} {:.1}h0", x(*at), y(*w));
        }
        Self {
            line,
            zero: Some(y(0.0)),
            dots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_breaks_the_line() {
        let spark = Spark::of(
            &[(0, 0.0), (2, 10.0), (60, 5.0), (62, 5.0)],
            &[(-1.0, 5.0), (31.0, 0.0)],
            0,
            62,
            10,
        );
        assert_eq!(spark.dots, "M150.0 46.0h0");
        assert_eq!(spark.line.matches('M').count(), 2);
        assert_eq!(spark.line.matches('L').count(), 2);
        assert_eq!(Spark::of(&[(0, 1.0)], &[], 0, 10, 5), Spark::default());
    }

    #[test]
    fn a_pause_is_no_fault_and_has_no_age() {
        use vocab::reason::Input;

        let absent = |reason: Reason| Quality::Absent {
            since: Duration::ZERO,
            reason,
        };
        let now = Now {
            mono: Duration::from_secs(5),
            unix: 0.0,
        };
        let said = |of: &Quality| quality(&Locale::all()[0], of, None, now);
        let pause = absent(Input::Paused.into());
        assert_eq!(state(&pause), "held");
        assert!(said(&pause).starts_with("paused: "), "{}", said(&pause));
        let none = absent(Input::NoPower.into());
        assert_eq!(state(&none), "absent");
        assert!(said(&none).starts_with("no reading for 5"));
    }
}
