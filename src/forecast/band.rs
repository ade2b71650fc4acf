//! Bands: between which values will it be, four times out of five?
//!
//! Neighbours bring 50 outcomes, which the perceptron and the average share; every other model
//! uses the residuals it left in the back-test, step by step. Which ranks make a band of 80 % is not believed but calibrated:
//! those that would have covered 80 % of the last day.

use serde::{Deserialize, Serialize};

/// Share of the points that the band shall hold.
pub const WANTED: f64 = 0.8;
/// Lower ranks to choose from; the upper one is 1 − rank.
pub const RANKS: [f64; 15] = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.14, 0.16, 0.19, 0.22, 0.25];
/// Place of rank 0.1 in [`RANKS`].
pub const NOMINAL: usize = 8;
/// Quantiles kept of a step's residuals.
const KEPT: usize = 101;
/// Fewest residuals a step worth a band.
const LEAST: usize = 20;

/// The value of rank `rank` (0–1) among sorted ones, between neighbours linearly; NaN of none.
#[must_use]
pub fn quantile(sorted: &[f32], rank: f64) -> f32 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f32::NAN;
    };
    let at = rank.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64) as f32
}

/// The band of sorted outcomes at place `level` of [`RANKS`].
#[must_use]
pub fn of(sorted: &[f32], level: usize) -> (f32, f32) {
    let rank = RANKS[level.min(RANKS.len() - 1)];
    (quantile(sorted, rank), quantile(sorted, 1.0 - rank))
}

/// A model's residuals (what came minus the line, W) as quantiles, step by step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Residuals {
    steps: Vec<Vec<f32>>,
}

impl Residuals {
    /// From the residuals of each step, in any order. None where a step has fewer than 20.
    #[must_use]
    pub fn new(mut steps: Vec<Vec<f32>>) -> Option<Self> {
        for step in &mut steps {
            if step.len() < LEAST {
                return None;
            }
            step.sort_unstable_by(f32::total_cmp);
            *step = (0..KEPT).map(|k| quantile(step, k as f64 / (KEPT - 1) as f64)).collect();
        }
        Some(Self { steps })
    }

    /// The band around `line` at step `h`.
    #[must_use]
    pub fn band(&self, h: usize, line: f32, level: usize) -> (f32, f32) {
        let (lo, hi) = of(&self.steps[h], level);
        (line + lo, line + hi)
    }

    /// Whether it was made for so many steps, and is whole (it may come from a file).
    #[must_use]
    pub fn fits(&self, steps: usize) -> bool {
        self.steps.len() == steps && self.steps.iter().all(|s| s.len() == KEPT && s.iter().all(|r| r.is_finite()))
    }
}

/// How often each rank's band held what came.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Coverage {
    n: u64,
    covered: [u64; RANKS.len()],
}

impl Coverage {
    /// Count a point in; `band` gives the band at a level.
    pub fn add(&mut self, came: f32, mut band: impl FnMut(usize) -> (f32, f32)) {
        self.n += 1;
        // Bands are nested: once one does not hold it, no narrower one does.
        for (level, covered) in self.covered.iter_mut().enumerate() {
            let (lo, hi) = band(level);
            if !(lo <= came && came <= hi) {
                break;
            }
            *covered += 1;
        }
    }

    /// Count another period in.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        for (all, some) in self.covered.iter_mut().zip(&other.covered) {
            *all += some;
        }
    }

    /// The level that came nearest to 80 %; None where nothing was counted.
    #[must_use]
    pub fn calibrated(&self) -> Option<usize> {
        if self.n == 0 {
            return None;
        }
        let off = |level: usize| (self.covered[level] as f64 / self.n as f64 - WANTED).abs();
        (0..RANKS.len()).min_by(|&a, &b| off(a).total_cmp(&off(b)).then(a.abs_diff(NOMINAL).cmp(&b.abs_diff(NOMINAL))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantiles_lie_between_sorted_values() {
        let sorted = [0.0, 10.0, 20.0];
        assert_eq!(quantile(&sorted, 0.0), 0.0);
        assert_eq!(quantile(&sorted, 0.25), 5.0);
        assert_eq!(quantile(&sorted, 1.0), 20.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(RANKS[NOMINAL], 0.1);
    }

    #[test]
    fn a_band_that_is_too_narrow_is_widened_and_one_too_wide_narrowed() {
        // Outcomes 0..=100, what came is spread twice as wide, then half as wide.
        let sorted: Vec<f32> = (0..=100).map(|i| i as f32).collect();
        let mut wide = Coverage::default();
        let mut narrow = Coverage::default();
        for i in 0..=200 {
            wide.add(50.0 + 0.62 * (i as f32 - 100.0), |level| of(&sorted, level));
            narrow.add(50.0 + 0.35 * (i as f32 - 100.0), |level| of(&sorted, level));
        }
        assert!(RANKS[wide.calibrated().unwrap()] <= 0.01);
        assert!(RANKS[narrow.calibrated().unwrap()] >= 0.19);
        wide.merge(&narrow);
        assert!((0.03..=0.19).contains(&RANKS[wide.calibrated().unwrap()]));
        assert_eq!(Coverage::default().calibrated(), None);
    }

    #[test]
    fn residuals_need_some_and_give_a_band_around_the_line() {
        assert_eq!(Residuals::new(vec![vec![1.0; 19]]), None);
        let table = Residuals::new(vec![(0..=100).map(|i| i as f32 - 50.0).rev().collect()]).unwrap();
        assert_eq!(table.band(0, 1000.0, NOMINAL), (960.0, 1040.0));
        assert!(table.fits(1) && !table.fits(2));
    }
}
