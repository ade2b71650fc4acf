//! How wide a band must be: what is believed of P10 and P90 is set against what came in the last 24
//! hours.
//!
//! Two things can be turned. *Ranks* draw the ends of the band from its outcomes' middle or
//! extremes: a wide band gets much wider, a narrow one hardly. A *margin* in watts adds the same to
//! all: it mends the many small misses of calm hours and leaves wide bands as they are
//! (conformalised quantile regression: Romano, Patterson, Candès, 2019). Of all pairs that would
//! have held four points out of five the one with the least pinball loss is taken. Bands of
//! residuals are of one width anyway; there ranks say all.

use serde::{Deserialize, Serialize};

/// Share of the points that the band shall hold.
pub const WANTED: f64 = 0.8;
/// Rank of the band's lower end, P10.
pub const BAND_RANK: f64 = 0.1;
/// Lower ranks to choose from; the upper one is 1 − rank.
pub const RANKS: [f64; 15] = [
    0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.19, 0.22, 0.25,
];
/// Place of rank 0.1 in [`RANKS`].
pub const NOMINAL: usize = 8;
/// Margins to choose from grow by this factor, from [`LEAST_MARGIN`] on.
const FINER: f32 = 1.2;
/// Least margin above 0, W.
const LEAST_MARGIN: f32 = 0.5;
/// Margins to choose from: 0, then up to 0.15 MW.
const MARGINS: usize = 70;
/// A share of points held that is so near to the wanted one is as good.
const NEAR: f64 = 0.02;

/// The width of a model's band.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Place in [`RANKS`].
    pub level: usize,
    /// Added at both ends, W, not negative.
    pub margin: f32,
}

impl Calibration {
    /// As believed: P10 to P90.
    pub const NOMINAL: Self = Self {
        level: NOMINAL,
        margin: 0.0,
    };

    /// Lower and upper rank, 0–1.
    #[must_use]
    pub fn ranks(self) -> (f64, f64) {
        let rank = RANKS[self.level.min(RANKS.len() - 1)];
        (rank, 1.0 - rank)
    }

    /// Whether it is one (it may come from a file).
    #[must_use]
    pub fn sound(self) -> bool {
        self.level < RANKS.len() && (0.0..=margin(MARGINS)).contains(&self.margin)
    }
}

/// The `place`-th margin, W.
fn margin(place: usize) -> f32 {
    if place == 0 {
        0.0
    } else {
        LEAST_MARGIN * FINER.powi(place as i32 - 1)
    }
}

/// The place of the least margin that would have held a point so far outside, W.
fn place(outside: f32) -> usize {
    if outside <= 0.0 {
        return 0;
    }
    let above = (outside / LEAST_MARGIN).ln() / FINER.ln();
    let near = (above.ceil().max(0.0) as usize + 1).min(MARGINS);
    // The logarithm is rounded, the margins are what is laid on.
    match near {
        _ if margin(near) < outside => (near + 1).min(MARGINS),
        _ if margin(near - 1) >= outside => near - 1,
        _ => near,
    }
}

/// What came beside the bands of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes {
    n: u64,
    ranks: [OfRank; RANKS.len()],
}

/// … beside the band of one rank.
#[derive(Debug, Clone, Copy, PartialEq)]
struct OfRank {
    /// Sum of the widths, W.
    width: f64,
    /// Points by the place of the margin that would have held them.
    outside: [u32; MARGINS + 1],
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            n: 0,
            ranks: [OfRank {
                width: 0.0,
                outside: [0; MARGINS + 1],
            }; RANKS.len()],
        }
    }
}

impl Outcomes {
    /// Count a point in; `band` gives the band without margin.
    pub fn add(&mut self, came: f32, mut band: impl FnMut(Calibration) -> (f32, f32)) {
        self.n += 1;
        for (level, of) in self.ranks.iter_mut().enumerate() {
            let (lo, hi) = band(Calibration { level, margin: 0.0 });
            of.width += f64::from(hi - lo);
            of.outside[place((lo - came).max(came - hi))] += 1;
        }
    }

    /// Count another period in.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        for (all, some) in self.ranks.iter_mut().zip(&other.ranks) {
            all.width += some.width;
            for (a, b) in all.outside.iter_mut().zip(&some.outside) {
                *a += b;
            }
        }
    }

    /// The calibration that would have held 80 %; None where nothing was counted. `margins`:
    /// whether the band's width says how sure it is, and a margin may be added.
    #[must_use]
    pub fn calibrated(&self, margins: bool) -> Option<Calibration> {
        if self.n == 0 {
            return None;
        }
        let all = self
            .ranks
            .iter()
            .enumerate()
            .map(|(level, of)| of.tried(level, self.n as f64, margins));
        let best = all.min_by(|a, b| {
            let turned = |t: &Tried| t.calibration.level.abs_diff(NOMINAL);
            a.off
                .total_cmp(&b.off)
                .then(a.loss.total_cmp(&b.loss))
                .then(turned(a).cmp(&turned(b)))
        });
        best.map(|tried| tried.calibration)
    }
}

/// What counts first comes first; last, the nominal ranks.
struct Tried {
    calibration: Calibration,
    /// Distance of the share held to the wanted one; 0 where a margin brings it near enough.
    off: f64,
    /// Pinball loss of both ends, W; 0 for ranks alone, where the nearest share says all.
    loss: f64,
}

impl OfRank {
    /// The least margin of this rank that holds enough, and what it would have been worth.
    fn tried(&self, level: usize, n: f64, margins: bool) -> Tried {
        let mut held = f64::from(self.outside[0]);
        let mut at = 0;
        while margins && at < MARGINS && held < WANTED * n {
            at += 1;
            held += f64::from(self.outside[at]);
        }
        let added = margin(at);
        let beyond =
            |(place, count): (usize, &u32)| f64::from(*count) * f64::from(margin(place) - added);
        let missed: f64 = self
            .outside
            .iter()
            .enumerate()
            .skip(at + 1)
            .map(beyond)
            .sum();
        // The loss of both ends is a tenth of the width wherever it came, and all of what it lay
        // outside.
        let loss = BAND_RANK * (self.width / n + 2.0 * f64::from(added)) + missed / n;
        let off = (held / n - WANTED).abs();
        let near = margins && off <= NEAR;
        Tried {
            calibration: Calibration {
                level,
                margin: added,
            },
            off: if near { 0.0 } else { off },
            loss: if margins { loss } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::super::band::of;
    use super::*;

    #[test]
    fn ranks_widen_a_band_that_is_too_narrow_and_narrow_one_too_wide() {
        // Outcomes 0..=100, what came is spread wider, then half as wide.
        let sorted: Vec<f32> = (0..=100).map(|i| i as f32).collect();
        let mut wide = Outcomes::default();
        let mut narrow = Outcomes::default();
        for i in 0..=200 {
            wide.add(50.0 + 0.62 * (i as f32 - 100.0), |c| of(&sorted, c));
            narrow.add(50.0 + 0.35 * (i as f32 - 100.0), |c| of(&sorted, c));
        }
        let rank = |outcomes: &Outcomes| outcomes.calibrated(false).unwrap().ranks().0;
        assert!(rank(&wide) <= 0.01);
        assert!(rank(&narrow) >= 0.19);
        wide.merge(&narrow);
        assert!((0.03..=0.19).contains(&rank(&wide)));
        assert_eq!(Outcomes::default().calibrated(true), None);
        assert_eq!(RANKS[NOMINAL], BAND_RANK);
    }

    #[test]
    fn many_small_misses_of_calm_hours_cost_a_small_margin_and_no_wide_band() {
        // By day the outcomes are ±1000 W and right, by night ±1 W where ±4 W come.
        let day: Vec<f32> = (-50..=50).map(|i| 20.0 * i as f32).collect();
        let night: Vec<f32> = (-50..=50).map(|i| 0.02 * i as f32).collect();
        let mut outcomes = Outcomes::default();
        for i in -100..=100 {
            outcomes.add(10.0 * i as f32, |c| of(&day, c));
            outcomes.add(0.04 * i as f32, |c| of(&night, c));
        }
        let Calibration { level, margin } = outcomes.calibrated(true).unwrap();
        assert!(
            margin > 0.0 && margin < 4.0 && RANKS[level] >= 0.06,
            "{level} {margin}"
        );
        // Ranks alone would have to take the extremes by day too.
        assert!(RANKS[outcomes.calibrated(false).unwrap().level] < 0.04);
    }

    proptest! {
        #[test]
        fn four_out_of_five_are_held_wherever_it_came(came in prop::collection::vec(-5000.0_f32..5000.0, 50..300), width in 0.0_f32..300.0) {
            let sorted: Vec<f32> = (0..50).map(|i| width * (i as f32 / 49.0 - 0.5)).collect();
            let mut outcomes = Outcomes::default();
            came.iter().for_each(|w| outcomes.add(*w, |c| of(&sorted, c)));
            let calibration = outcomes.calibrated(true).unwrap();
            prop_assert!(calibration.sound());
            let held = |calibration, slack: f32| {
                let (lo, hi) = of(&sorted, calibration);
                came.iter().filter(|w| (lo - slack..=hi + slack).contains(*w)).count() as f64 / came.len() as f64
            };
            // A thousandth of a watt is the rounding of values so large.
            prop_assert!(held(calibration, 0.001) >= WANTED, "{calibration:?}");
            // … and no more than must be: the next smaller margin would not do.
            if calibration.margin > LEAST_MARGIN {
                let smaller = Calibration { margin: calibration.margin / FINER * 0.999, ..calibration };
                prop_assert!(held(smaller, 0.0) < WANTED, "{calibration:?}");
            }
        }

        #[test]
        fn a_margins_place_holds_its_point(outside in 0.0_f32..100_000.0) {
            let at = place(outside);
            prop_assert!(margin(at) >= outside || at == MARGINS);
            prop_assert!(at == 0 || margin(at - 1) < outside);
        }
    }
}
