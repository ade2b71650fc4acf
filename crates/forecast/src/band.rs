//! Bands: between which values will it be, four times out of five?
//!
//! Neighbours bring 50 outcomes, which the perceptron and the average share; every other model uses
//! the residuals it left in the back-test, step by step. How wide a band of 80 % is is not believed
//! but calibrated ([`super::calibration`]).

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;

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

/// The band of sorted outcomes.
#[must_use]
pub fn of(sorted: &[f32], calibration: Calibration) -> (f32, f32) {
    let (low, high) = calibration.ranks();
    (
        quantile(sorted, low) - calibration.margin,
        quantile(sorted, high) + calibration.margin,
    )
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
            *step = (0..KEPT)
                .map(|k| quantile(step, k as f64 / (KEPT - 1) as f64))
                .collect();
        }
        Some(Self { steps })
    }

    /// The band around `line` at step `h`.
    #[must_use]
    pub fn band(&self, h: usize, line: f32, calibration: Calibration) -> (f32, f32) {
        let (lo, hi) = of(&self.steps[h], calibration);
        (line + lo, line + hi)
    }

    /// Whether it was made for so many steps, and is whole (it may come from a file).
    #[must_use]
    pub fn fits(&self, steps: usize) -> bool {
        self.steps.len() == steps
            && self
                .steps
                .iter()
                .all(|s| s.len() == KEPT && s.iter().all(|r| r.is_finite()))
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
    }

    #[test]
    fn residuals_need_some_and_give_a_band_around_the_line() {
        assert_eq!(Residuals::new(vec![vec![1.0; 19]]), None);
        let table =
            Residuals::new(vec![(0..=100).map(|i| i as f32 - 50.0).rev().collect()]).unwrap();
        assert_eq!(table.band(0, 1000.0, Calibration::NOMINAL), (960.0, 1040.0));
        assert!(table.fits(1) && !table.fits(2));
    }
}
