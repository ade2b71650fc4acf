//! Whether the sign of a power agrees with the energy counters beside it. Pure.
//!
//! Power over time is energy: what is drawn makes the import counter grow, what is fed in the
//! export counter. A sensor that counts the other way round makes them grow the other way round.
//! Counters are coarse (up to whole kWh), some are renewed once an hour, and a house with solar
//! does both within minutes: so [`Check`] puts time together into chunks in which the counters
//! moved by at least two of their steps, and compares net energies, chunk by chunk.

use std::{collections::VecDeque, fmt};

use serde::{Deserialize, Serialize};
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
pub(super) struct Row {
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
            Self::Unknown => self,
            Self::Proven(evidence) => Self::Contradicted(turned(evidence)),
            Self::Contradicted(evidence) => Self::Proven(turned(evidence)),
            Self::Unclear(evidence) => Self::Unclear(turned(evidence)),
        }
    }
}

impl Row {
    /// Mean power over a time and what the counters grew in it. `watts` is signed, + import.
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
pub(super) struct Check {
    chunks: VecDeque<Row>,
    /// Most of them; older ones are forgotten.
    most: usize,
    /// Under way, from a movement of a counter on; `None` before the first one, whose energy is of
    /// unknown age.
    open: Option<Row>,
    /// Least growth of a counter in a row, which is at least its step, Wh; without bound before one
    /// moved.
    step: f64,
}

impl Check {
    /// Over the last chunks, for a meter that runs.
    pub const fn running() -> Self {
        Self::over(CHUNKS)
    }

    /// Over all that was recorded.
    pub const fn back() -> Self {
        Self::over(CHUNKS_BACK)
    }

    const fn over(most: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            most,
            open: None,
            step: f64::INFINITY,
        }
    }

    /// Takes the next row in.
    pub fn push(&mut self, row: &Row) {
        let growths = [row.import, row.export].into_iter().flatten();
        let moved = growths.filter(|wh| *wh > 0.0).reduce(f64::min);
        self.step = self.step.min(moved.unwrap_or(f64::INFINITY));
        let Some(open) = &mut self.open else {
            self.open = moved.map(|_| Row::empty(row));
            return;
        };
        open.add(row);
        // Full only where a counter has just moved: before, part of the energy is not in it yet.
        let enough = (STEPS * self.step).max(LEAST_WH);
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
            let Period {
                watts,
                import,
                export,
                hours,
                after_gap,
            } = *period;
            if after_gap {
                check.interrupt();
            }
            check.push(&Row::of_mean(watts, hours, import, export));
        }
        check.verdict()
    };
    let last = recent.then(|| judge(Check::running()));
    last.filter(SignVerdict::decides)
        .unwrap_or_else(|| judge(Check::back()))
}

/// The entities of the counters that were compared, for words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Import.
    pub import: Vec<EntityId>,
    /// Export.
    pub export: Vec<EntityId>,
}

/// A contradiction with its numbers; `power`: of which entities.
#[must_use]
pub fn contradiction(power: &str, evidence: &Evidence, counters: &Counters) -> Reason {
    let rose = |ids: &[EntityId], wh: Option<f64>| {
        let wh = wh.filter(|_| !ids.is_empty())?;
        Some(format!("{} +{}", ids.join("+"), Wh(wh)))
    };
    let import = rose(&counters.import, evidence.import);
    let both: Vec<String> = import
        .into_iter()
        .chain(rose(&counters.export, evidence.export))
        .collect();
    let (list, time) = (both.join(", ").into(), Span(evidence.hours * 3600.0));
    let watts = evidence.watts.abs().round();
    Reason::Input(if evidence.watts < 0.0 {
        let power = format!("{power}: \u{2212}{watts} W").into();
        Input::Feeding { power, list, time }
    } else {
        let power = format!("{power}: {watts} W").into();
        Input::Drawing { power, list, time }
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
    #![allow(clippy::unwrap_used)]
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
        use SignVerdict::{Contradicted, Proven, Unclear, Unknown};
        for (verdict, turned) in [
            (Contradicted(evidence), Proven(other)),
            (Proven(other), Contradicted(evidence)),
            (Unclear(evidence), Unclear(other)),
            (Unknown, Unknown),
        ] {
            assert_eq!(verdict.turned(), turned);
        }
    }

    type Flow<'a> = &'a dyn Fn(usize) -> f64;

    /// A house: W by minute, and counters beside it.
    #[derive(Clone, Copy)]
    struct House {
        minutes: usize,
        /// What the power sensor makes of it.
        sign: f64,
        /// What the counters show is a multiple of it, Wh.
        step: f64,
        /// Minutes after which they are renewed.
        every: usize,
        with_export: bool,
    }

    const HOUSE: House = House {
        minutes: 60,
        sign: 1.0,
        step: 10.0,
        every: 1,
        with_export: true,
    };

    impl House {
        fn verdict(self, watts: Flow<'_>) -> SignVerdict {
            let mut check = Check::running();
            let (mut total, mut shown) = ([0.0, 0.0], [0.0, 0.0]);
            for minute in 0..self.minutes {
                let w = watts(minute);
                total[usize::from(w < 0.0)] += w.abs() / 60.0;
                let mut grown = [0.0, 0.0];
                if minute % self.every == 0 {
                    for way in 0..2 {
                        let now = (total[way] / self.step).floor() * self.step;
                        grown[way] = now - shown[way];
                        shown[way] = now;
                    }
                }
                let export = self.with_export.then_some(grown[1]);
                check.push(&Row::of_mean(
                    w * self.sign,
                    1.0 / 60.0,
                    Some(grown[0]),
                    export,
                ));
            }
            check.verdict()
        }

        /// The verdict where the sign is right, and where it is not.
        fn both(self, watts: Flow<'_>) -> [&'static str; 2] {
            [1.0, -1.0].map(|sign| word(House { sign, ..self }.verdict(watts)))
        }
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
        let house = House {
            minutes: 25,
            ..HOUSE
        };
        assert_eq!(house.both(&|_| 3000.0), ["proven", "contradicted"]);
        let verdict = House {
            sign: -1.0,
            ..house
        }
        .verdict(&|_| 3000.0);
        let evidence = Evidence {
            hours: 1.0 / 3.0,
            import: Some(1000.0),
            ..*verdict.contradiction().unwrap()
        };
        let counters = Counters {
            import: vec![EntityId::from_static("sensor.import")],
            export: vec![EntityId::from_static("sensor.export")],
        };
        assert_eq!(
            contradiction("sensor.grid", &evidence, &counters).to_string(),
            "sensor.grid: \u{2212}3000 W counts as feeding in, but the counters say the opposite: sensor.import +1.0 kWh, sensor.export +0 Wh in \
             20 min; check the sign (total_invert, or a_invert, b_invert, c_invert)"
        );
    }

    #[test]
    fn coarse_and_late_counters_need_longer_but_are_no_contradiction() {
        let flows: [Flow<'_>; 3] = [
            &|_| 3000.0,
            &|m| if m % 40 < 25 { -2500.0 } else { 400.0 },
            &|m| (m as f64 / 200.0).sin() * 3000.0,
        ];
        for (step, every) in [(1000.0, 1), (100.0, 1), (1.0, 15), (1.0, 60), (1000.0, 30)] {
            for (i, flow) in flows.into_iter().enumerate() {
                let house = House {
                    minutes: 1440,
                    step,
                    every,
                    ..HOUSE
                };
                assert_eq!(
                    house.both(flow),
                    ["proven", "contradicted"],
                    "step {step}, every {every} min, flow {i}"
                );
            }
        }
        let one_step = House {
            minutes: 19,
            step: 1000.0,
            ..HOUSE
        };
        assert_eq!(one_step.both(&|_| 3000.0), ["unknown"; 2]);
        let little = House { step: 1.0, ..HOUSE };
        assert_eq!(little.both(&|_| 2.0), ["unknown"; 2], "nor do 2 Wh");
    }

    #[test]
    fn one_counter_tells_its_own_direction_only() {
        let house = House {
            with_export: false,
            ..HOUSE
        };
        assert_eq!(house.both(&|_| 600.0), ["proven", "contradicted"]);
        assert_eq!(
            house.both(&|_| -600.0)[1],
            "unknown",
            "only fed in: the import counter stands"
        );
        assert_eq!(
            house.both(&|m| if m.is_multiple_of(2) { 600.0 } else { -600.0 })[0],
            "unclear",
            "as much one way as the other"
        );
    }

    #[test]
    fn another_power_than_the_counters_is_unclear() {
        let mut check = Check::back();
        for minute in 0..240 {
            // The load of a house whose sun sometimes feeds in: never negative.
            let grid: f64 = if minute % 120 < 60 { -3000.0 } else { 500.0 };
            let (import, export) = (grid.max(0.0) / 60.0, (-grid).max(0.0) / 60.0);
            check.push(&Row::of_mean(500.0, 1.0 / 60.0, Some(import), Some(export)));
        }
        assert_eq!(word(check.verdict()), "unclear");
        let mut late = Check::running();
        for _ in 0..120 {
            // Feeds in 3 kW; the export counter stands, and that of import jitters.
            late.push(&Row::of_mean(-3000.0, 1.0 / 60.0, Some(1.0), Some(0.0)));
        }
        assert_ne!(word(late.verdict()), "contradicted");
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
            let house = House { minutes: 900, sign: 1.0, step, every, with_export: both };
            let [right, wrong] = house.both(&|minute| powers[(minute / 30) % powers.len()]);
            prop_assert_ne!(right, "contradicted");
            prop_assert_ne!(wrong, "proven");
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
