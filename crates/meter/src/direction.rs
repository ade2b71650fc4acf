//! Whether the sign of a power agrees with the energy counters beside it. Pure.
//!
//! Power over time is energy: what is drawn makes the import counter grow, what is fed in the
//! export counter. A sensor that counts the other way round makes them grow the other way round.
//! Counters are coarse (up to whole kWh), some are renewed once an hour, and a house with solar
//! does both within minutes: so [`Check`] puts time together into chunks in which the counters
//! moved by at least two of their steps, and compares net energies, chunk by chunk.

use std::{collections::VecDeque, fmt};

use vocab::{
    EntityId, Period,
    reason::{Input, Reason, Span},
};

/// Growth below this proves nothing, Wh.
const LEAST_WH: f64 = 20.0;
/// Mean power below this has no direction worth the name, W.
const LEAST_W: f64 = 20.0;
/// A chunk holds at least so many of the counters' steps.
const STEPS: f64 = 2.0;
/// Chunks that are judged while a meter runs, so that a sign that was mended is soon seen as right.
const CHUNKS: usize = 8;
/// Chunks of a look back over days.
const CHUNKS_BACK: usize = 1000;
/// A chunk that has lasted this long without being full, in hours, is given up: the counters stand
/// still.
const LONGEST: f64 = 48.0;

/// Energies of the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// Where the power was above 0: its energy, Wh.
    pub drawn: f64,
    /// Where it was below 0: its energy, Wh, positive.
    pub fed: f64,
    /// Growth of the import counter, Wh; `None`: there is none.
    pub import: Option<f64>,
    /// Growth of the export counter, Wh.
    pub export: Option<f64>,
    /// Hours.
    pub hours: f64,
}

/// What a verdict stands on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Mean power as it is served, W, + import.
    pub watts: f64,
    /// Growth of the import counter, Wh; `None`: there is none.
    pub import: Option<f64>,
    /// Growth of the export counter, Wh.
    pub export: Option<f64>,
    /// Over so many hours.
    pub hours: f64,
}

/// Whether a sign is right.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum SignVerdict {
    /// Not known (yet).
    #[default]
    Unknown,
    /// The counters moved as this power says.
    Proven(Evidence),
    /// They moved the other way.
    Contradicted(Evidence),
    /// They moved, but neither as this power says nor the other way: it is another power than
    /// theirs.
    Unclear(Evidence),
}

impl SignVerdict {
    /// What contradicts the sign, if something does.
    #[must_use]
    pub const fn contradiction(&self) -> Option<&Evidence> {
        match self {
            Self::Contradicted(evidence) => Some(evidence),
            Self::Unknown | Self::Proven(_) | Self::Unclear(_) => None,
        }
    }

    /// Whether it says that a sign is right, or that it is wrong.
    #[must_use]
    pub const fn decides(&self) -> bool {
        matches!(self, Self::Proven(_) | Self::Contradicted(_))
    }

    /// What follows for the same power turned round.
    #[must_use]
    pub fn turned(self) -> Self {
        let turned = |evidence: Evidence| Evidence {
            watts: -evidence.watts,
            ..evidence
        };
        match self {
            Self::Unknown => Self::Unknown,
            Self::Proven(evidence) => Self::Contradicted(turned(evidence)),
            Self::Contradicted(evidence) => Self::Proven(turned(evidence)),
            Self::Unclear(evidence) => Self::Unclear(turned(evidence)),
        }
    }
}

impl Row {
    /// Mean power over a time and what the counters grew in it. `watts` is signed, + import.
    #[must_use]
    pub fn of_mean(watts: f64, hours: f64, import: Option<f64>, export: Option<f64>) -> Self {
        Self {
            drawn: watts.max(0.0) * hours,
            fed: (-watts).max(0.0) * hours,
            import,
            export,
            hours,
        }
    }

    fn add(&mut self, other: &Self) {
        let both = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b);
        self.drawn += other.drawn;
        self.fed += other.fed;
        self.import = both(self.import, other.import);
        self.export = both(self.export, other.export);
        self.hours += other.hours;
    }

    /// Growth of both counters, where they are.
    fn moved(&self) -> f64 {
        self.import.unwrap_or_default() + self.export.unwrap_or_default()
    }

    fn empty(like: &Self) -> Self {
        Self {
            import: like.import.map(|_| 0.0),
            export: like.export.map(|_| 0.0),
            ..Self::default()
        }
    }

    /// How far the power is from the counters as it is, how far if it were turned, and how much
    /// there is to tell by, Wh. With one counter only its own direction can be compared.
    fn distances(&self) -> (f64, f64, f64) {
        let net = self.drawn - self.fed;
        match (self.import, self.export) {
            (Some(import), Some(export)) => {
                let counted = import - export;
                ((net - counted).abs(), (net + counted).abs(), counted.abs())
            }
            (Some(one), None) => ((self.drawn - one).abs(), (self.fed - one).abs(), one),
            (None, Some(one)) => ((self.fed - one).abs(), (self.drawn - one).abs(), one),
            (None, None) => (0.0, 0.0, 0.0),
        }
    }

    /// The power says one direction, the counters the other: by however much.
    fn opposed(&self) -> bool {
        let net = self.drawn - self.fed;
        let one_way =
            net.abs() >= 0.9 * (self.drawn + self.fed) && net.abs() >= LEAST_W * self.hours;
        let counted = self.import.unwrap_or_default() - self.export.unwrap_or_default();
        // A counter that is late or one that jitters is off by some of its steps, not by a multiple
        // of the whole.
        one_way
            && net * counted < 0.0
            && counted.abs() >= 0.9 * self.moved()
            && (0.02..=5.0).contains(&(net / counted).abs())
    }
}

/// Puts rows together and judges them. Rows are to be without gaps; after one, call
/// [`Check::interrupt`].
#[derive(Clone, Debug)]
pub struct Check {
    chunks: VecDeque<Row>,
    /// Most of them; older ones are forgotten.
    most: usize,
    /// Under way, from a movement of a counter on; `None` before the first one, whose energy is of
    /// unknown age.
    open: Option<Row>,
    /// Least growth of a counter in a row, which is at least its step, Wh.
    step: Option<f64>,
}

impl Check {
    /// Over the last chunks, for a meter that runs.
    #[must_use]
    pub const fn running() -> Self {
        Self {
            chunks: VecDeque::new(),
            most: CHUNKS,
            open: None,
            step: None,
        }
    }

    /// Over all that was recorded.
    #[must_use]
    pub const fn back() -> Self {
        Self {
            chunks: VecDeque::new(),
            most: CHUNKS_BACK,
            open: None,
            step: None,
        }
    }

    /// Takes the next row in.
    pub fn push(&mut self, row: &Row) {
        let growths = [row.import, row.export].into_iter().flatten();
        let moved = growths
            .filter(|wh| *wh > 0.0)
            .fold(None, |least: Option<f64>, wh| {
                Some(least.map_or(wh, |least| least.min(wh)))
            });
        if let Some(wh) = moved {
            self.step = Some(self.step.map_or(wh, |step| step.min(wh)));
        }
        let Some(open) = &mut self.open else {
            if moved.is_some() {
                self.open = Some(Row::empty(row));
            }
            return;
        };
        open.add(row);
        // Full only where a counter has just moved: before, part of the energy is not in it yet.
        let enough = (STEPS * self.step.unwrap_or_default()).max(LEAST_WH);
        if moved.is_some() && (open.moved() >= enough || open.drawn + open.fed >= 2.0 * enough) {
            let full = std::mem::replace(open, Row::empty(row));
            self.chunks.push_back(full);
            if self.chunks.len() > self.most {
                self.chunks.pop_front();
            }
        } else if open.hours > LONGEST {
            self.open = None;
        }
    }

    /// Something is missing between what was pushed and what comes: power or a counter had no
    /// value, or a counter fell.
    pub fn interrupt(&mut self) {
        self.open = None;
    }

    /// What follows from the rows so far.
    #[must_use]
    pub fn verdict(&self) -> SignVerdict {
        let (mut right, mut turned, mut much, mut opposed) = (0.0, 0.0, 0.0, 0.0);
        let Some(mut all) = self.chunks.front().map(Row::empty) else {
            return SignVerdict::Unknown;
        };
        for chunk in &self.chunks {
            let (as_is, inverted, weight) = chunk.distances();
            right += as_is;
            turned += inverted;
            much += weight;
            opposed += if chunk.opposed() { weight } else { 0.0 };
            all.add(chunk);
        }
        if much < LEAST_WH || all.hours <= 0.0 {
            return SignVerdict::Unknown;
        }
        let evidence = Evidence {
            watts: (all.drawn - all.fed) / all.hours,
            import: all.import,
            export: all.export,
            hours: all.hours,
        };
        // Of two distances that add up to twice the whole, one is near and the other far; with one
        // counter alone the power that it does not count is free.
        let far = if all.import.is_some() && all.export.is_some() {
            1.5
        } else {
            0.8
        };
        if (turned <= 0.5 * much && right >= far * much) || opposed >= 0.9 * much {
            SignVerdict::Contradicted(evidence)
        } else if right <= 0.5 * much && turned >= far * much {
            SignVerdict::Proven(evidence)
        } else {
            SignVerdict::Unclear(evidence)
        }
    }
}

/// Judges what was recorded: all of it, or where `recent` the last of it, if that decides.
#[must_use]
pub fn look_back(periods: &[Period], recent: bool) -> SignVerdict {
    let judge = |mut check: Check| {
        for period in periods {
            if period.after_gap {
                check.interrupt();
            }
            check.push(&Row::of_mean(
                period.watts,
                period.hours,
                period.import,
                period.export,
            ));
        }
        check.verdict()
    };
    let last = if recent {
        judge(Check::running())
    } else {
        SignVerdict::Unknown
    };
    if last.decides() {
        last
    } else {
        judge(Check::back())
    }
}

/// The entities of the counters that were compared, for words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Import.
    pub import: Vec<EntityId>,
    /// Export.
    pub export: Vec<EntityId>,
}

/// A contradiction with its numbers; `power`: of which entities.
#[must_use]
pub fn contradiction(power: &str, evidence: &Evidence, counters: &Counters) -> Reason {
    let Evidence {
        watts,
        import,
        export,
        hours,
    } = *evidence;
    let rose = |ids: &[EntityId], wh: Option<f64>| {
        wh.filter(|_| !ids.is_empty())
            .map(|wh| format!("{} +{}", ids.join("+"), Wh(wh)))
    };
    let both: Vec<String> = [
        rose(&counters.import, import),
        rose(&counters.export, export),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (list, time) = (both.join(", ").into(), Span(hours * 3600.0));
    let watts_shown = watts.abs().round();
    Reason::Input(if watts < 0.0 {
        Input::Feeding {
            power: format!("{power}: \u{2212}{watts_shown} W").into(),
            list,
            time,
        }
    } else {
        Input::Drawing {
            power: format!("{power}: {watts_shown} W").into(),
            list,
            time,
        }
    })
}

/// Energy for people: `0 Wh`, `250 Wh`, `1.0 kWh`.
struct Wh(f64);

impl fmt::Display for Wh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.abs() < 999.5 {
            write!(f, "{:.0} Wh", self.0)
        } else {
            write!(f, "{:.1} kWh", self.0 / 1000.0)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_known_of_a_power_is_known_of_it_turned_round() {
        let evidence = Evidence {
            watts: -3000.0,
            import: Some(72_000.0),
            export: Some(0.0),
            hours: 24.0,
        };
        let other = Evidence {
            watts: 3000.0,
            ..evidence
        };
        assert_eq!(
            SignVerdict::Contradicted(evidence).turned(),
            SignVerdict::Proven(other)
        );
        assert_eq!(
            SignVerdict::Proven(other).turned(),
            SignVerdict::Contradicted(evidence)
        );
        assert_eq!(SignVerdict::Unknown.turned(), SignVerdict::Unknown);
        assert_eq!(
            SignVerdict::Unclear(evidence).turned(),
            SignVerdict::Unclear(other)
        );
    }

    /// A house: W by minute, as the power sensor says it, and counters that show whole steps, each
    /// renewed after so many minutes.
    fn watch(
        watts: impl Fn(usize) -> f64,
        minutes: usize,
        sign: f64,
        step: f64,
        every: usize,
        with_export: bool,
    ) -> SignVerdict {
        let mut check = Check::running();
        let (mut total, mut shown) = ([0.0, 0.0], [0.0, 0.0]);
        for minute in 0..minutes {
            let w = watts(minute);
            total[usize::from(w < 0.0)] += w.abs() / 60.0;
            let mut grown = [0.0, 0.0];
            if minute % every == 0 {
                for way in 0..2 {
                    let now = (total[way] / step).floor() * step;
                    grown[way] = now - shown[way];
                    shown[way] = now;
                }
            }
            check.push(&Row::of_mean(
                w * sign,
                1.0 / 60.0,
                Some(grown[0]),
                with_export.then_some(grown[1]),
            ));
        }
        check.verdict()
    }

    fn word(verdict: SignVerdict) -> &'static str {
        match verdict {
            SignVerdict::Unknown => "unknown",
            SignVerdict::Proven(_) => "proven",
            SignVerdict::Contradicted(_) => "contradicted",
            SignVerdict::Unclear(_) => "unclear",
        }
    }

    #[test]
    fn a_sensor_whose_plus_is_export_contradicts_its_counters() {
        let verdict = watch(|_| 3000.0, 25, -1.0, 10.0, 1, true);
        let SignVerdict::Contradicted(evidence) = verdict else {
            panic!("{verdict:?}")
        };
        let counters = Counters {
            import: vec![EntityId::from_static("sensor.import")],
            export: vec![EntityId::from_static("sensor.export")],
        };
        let line = contradiction(
            "sensor.grid",
            &Evidence {
                hours: 1.0 / 3.0,
                import: Some(1000.0),
                ..evidence
            },
            &counters,
        );
        assert_eq!(
            line.to_string(),
            "sensor.grid: \u{2212}3000 W counts as feeding in, but the counters say the opposite: sensor.import +1.0 kWh, sensor.export +0 Wh in \
             20 min; check the sign (invert)"
        );
        assert_eq!(word(watch(|_| 3000.0, 25, 1.0, 10.0, 1, true)), "proven");
    }

    #[test]
    fn coarse_and_late_counters_need_longer_but_are_no_contradiction() {
        for (step, every) in [(1000.0, 1), (100.0, 1), (1.0, 15), (1.0, 60), (1000.0, 30)] {
            for (sign, want) in [(1.0, "proven"), (-1.0, "contradicted")] {
                let flows: [&dyn Fn(usize) -> f64; 3] = [
                    &|_| 3000.0,
                    &|m| if m % 40 < 25 { -2500.0 } else { 400.0 },
                    &|m| (m as f64 / 200.0).sin() * 3000.0,
                ];
                for (i, flow) in flows.into_iter().enumerate() {
                    assert_eq!(
                        word(watch(flow, 1440, sign, step, every, true)),
                        want,
                        "step {step}, every {every} min, flow {i}"
                    );
                }
            }
        }
        assert_eq!(
            word(watch(|_| 3000.0, 19, -1.0, 1000.0, 1, true)),
            "unknown",
            "one step proves nothing"
        );
        assert_eq!(
            word(watch(|_| 2.0, 60, -1.0, 1.0, 1, true)),
            "unknown",
            "nor do 2 Wh"
        );
    }

    #[test]
    fn one_counter_tells_its_own_direction_only() {
        assert_eq!(word(watch(|_| 600.0, 60, 1.0, 10.0, 1, false)), "proven");
        assert_eq!(
            word(watch(|_| 600.0, 60, -1.0, 10.0, 1, false)),
            "contradicted"
        );
        assert_eq!(
            word(watch(|_| -600.0, 60, -1.0, 10.0, 1, false)),
            "unknown",
            "only fed in: the import counter stands"
        );
        let both = |m: usize| if m.is_multiple_of(2) { 600.0 } else { -600.0 };
        assert_eq!(
            word(watch(both, 60, 1.0, 10.0, 1, false)),
            "unclear",
            "as much one way as the other"
        );
    }

    #[test]
    fn another_power_than_the_counters_is_unclear() {
        let mut check = Check::back();
        for minute in 0..240 {
            // The load of a house whose sun sometimes feeds in: never negative.
            let grid = if minute % 120 < 60 { -3000.0 } else { 500.0 };
            let grown = (f64::max(grid, 0.0) / 60.0, f64::max(-grid, 0.0) / 60.0);
            check.push(&Row::of_mean(
                500.0,
                1.0 / 60.0,
                Some(grown.0),
                Some(grown.1),
            ));
        }
        assert_eq!(word(check.verdict()), "unclear");
        let mut late = Check::running();
        for _ in 0..120 {
            // Feeds in 3 kW; the export counter stands, and that of import jitters.
            late.push(&Row::of_mean(-3000.0, 1.0 / 60.0, Some(1.0), Some(0.0)));
        }
        assert!(
            !matches!(late.verdict(), SignVerdict::Contradicted(_)),
            "{:?}",
            late.verdict()
        );
    }

    #[test]
    fn a_gap_begins_anew() {
        let mut check = Check::running();
        for _ in 0..30 {
            check.push(&Row::of_mean(-3000.0, 1.0 / 60.0, Some(50.0), Some(0.0)));
            check.interrupt();
        }
        assert_eq!(check.verdict(), SignVerdict::Unknown);
    }

    #[test]
    fn spans_are_short() {
        let said = [0.94, 2.0, 10.4, 99.0, 150.0, 1500.0, 12_600.0, 400_000.0]
            .map(|s| Span(s).to_string());
        assert_eq!(
            said,
            [
                "0.9 s", "2 s", "10 s", "99 s", "2.5 min", "25 min", "3.5 h", "4.6 d"
            ]
        );
    }

    proptest! {
        /// A right sign is never called wrong, nor a wrong one right, whatever the house does and
        /// however its counters are.
        #[test]
        fn never_the_other_verdict(
            powers in proptest::collection::vec(-5000.0..5000.0_f64, 1..12), step in 1.0..1000.0_f64, every in 1_usize..61, both: bool,
        ) {
            let flow = |minute: usize| powers[(minute / 30) % powers.len()];
            prop_assert_ne!(word(watch(flow, 900, 1.0, step, every, both)), "contradicted");
            prop_assert_ne!(word(watch(flow, 900, -1.0, step, every, both)), "proven");
        }

        #[test]
        fn any_row_is_no_panic(rows in proptest::collection::vec((-1e6..1e6_f64, -1e6..1e6_f64, 0.0..10.0_f64), 0..50)) {
            let mut check = Check::running();
            for (watts, wh, hours) in rows {
                check.push(&Row::of_mean(watts, hours, Some(wh), None));
            }
            let _ = check.verdict();
        }
    }
}
