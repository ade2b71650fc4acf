//! Blend: one ridge regression a step on the last value, the mean of the last day, the mean of
//! the last three days, the climatology at that time, and 1
//! (`docs/decisions.md#models-and-their-sizes`).
//!
//! λ = 0.001 · trace / 5 on the 60 days before, fitted again every five days of a back-test.

use super::{Error, Horizon, Job, at_least, climatology};

/// Days a fit looks back.
pub const FIT_DAYS: usize = 60;
/// Days after which a back-test fits again.
pub const REFIT_DAYS: usize = 5;
/// Fewest origins of a fit: three days of quarters of an hour.
const LEAST: usize = 128;
const FEATURES: usize = 5;
const RIDGE: f64 = 0.001;

/// One row of weights a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Blend {
    day: usize,
    weights: Vec<[f64; FEATURES]>,
}

/// Running sums, so that means of days cost nothing; gaps count as no value.
struct Sums {
    sum: Vec<f64>,
    known: Vec<u32>,
}

impl Sums {
    fn new(w: &[f32]) -> Self {
        let (mut sum, mut known) = (vec![0.0], vec![0]);
        for value in w {
            let here = if value.is_finite() {
                f64::from(*value)
            } else {
                0.0
            };
            sum.push(sum[sum.len() - 1] + here);
            known.push(known[known.len() - 1] + u32::from(value.is_finite()));
        }
        Self { sum, known }
    }

    /// Mean of the `length` values that end before index `end`; at least half must be known.
    fn mean(&self, end: usize, length: usize) -> Option<f64> {
        let start = end.checked_sub(length)?;
        let n = self.known[end] - self.known[start];
        (2 * n as usize >= length && n > 0)
            .then(|| (self.sum[end] - self.sum[start]) / f64::from(n))
    }
}

/// Mean of the last `length` values of `past`; at least half must be known.
fn mean(past: &[f32], length: usize) -> Option<f64> {
    let tail = &past[past.len().checked_sub(length)?..];
    let (mut sum, mut n) = (0.0, 0_usize);
    for w in tail.iter().filter(|w| w.is_finite()) {
        sum += f64::from(*w);
        n += 1;
    }
    (2 * n >= length && n > 0).then(|| sum / n as f64)
}

impl Blend {
    /// Fit on the last [`FIT_DAYS`] of `past`; both origins and what came lie within.
    ///
    /// # Errors
    /// [`Error::TooFew`] with fewer than 128 usable origins, [`Error::Cancelled`].
    pub fn fit(past: &[f32], horizon: Horizon, job: &mut Job<'_>) -> Result<Self, Error> {
        let day = horizon.day();
        let sums = Sums::new(past);
        let from = past.len().saturating_sub(FIT_DAYS * day);
        let mut means = Vec::new();
        for (t, &now) in past.iter().enumerate().skip(from) {
            let end = t + 1;
            if let (true, Some(one), Some(three)) = (
                now.is_finite(),
                sums.mean(end, day),
                sums.mean(end, 3 * day),
            ) {
                means.push((t, f64::from(now), one, three));
            }
        }
        let mut weights = Vec::with_capacity(horizon.steps);
        for h in 0..horizon.steps {
            job.tick(h as f32 / horizon.steps as f32)?;
            let mut xx = [[0.0; FEATURES]; FEATURES];
            let mut xy = [0.0; FEATURES];
            let mut n = 0;
            for &(t, now, one, three) in &means {
                let Some(came) = past.get(t + 1 + h).filter(|w| w.is_finite()) else {
                    continue;
                };
                let Some(usual) = climatology::at(&past[..=t], day, h) else {
                    continue;
                };
                let x = [now, one, three, f64::from(usual), 1.0];
                for (i, a) in x.iter().enumerate() {
                    for (j, b) in x.iter().enumerate() {
                        xx[i][j] += a * b;
                    }
                    xy[i] += a * f64::from(*came);
                }
                n += 1;
            }
            at_least(LEAST, n)?;
            weights.push(ridge(xx, xy));
        }
        Ok(Self { day, weights })
    }

    /// Write the forecast after `past` into `line`, W. False: too much of the last three days is
    /// unknown.
    pub fn predict(&self, past: &[f32], line: &mut [f32]) -> bool {
        let (Some(now), Some(one), Some(three)) = (
            past.last().filter(|w| w.is_finite()),
            mean(past, self.day),
            mean(past, 3 * self.day),
        ) else {
            return false;
        };
        for (h, (value, weights)) in line.iter_mut().zip(&self.weights).enumerate() {
            let Some(usual) = climatology::at(past, self.day, h) else {
                return false;
            };
            let x = [f64::from(*now), one, three, f64::from(usual), 1.0];
            *value = x.iter().zip(weights).map(|(a, b)| a * b).sum::<f64>() as f32;
        }
        true
    }
}

/// Solve (xx + λ·I) w = xy by Gaussian elimination with pivots; zeros where it has no answer
/// (a series that is zero throughout).
fn ridge(mut xx: [[f64; FEATURES]; FEATURES], mut xy: [f64; FEATURES]) -> [f64; FEATURES] {
    let trace: f64 = (0..FEATURES).map(|i| xx[i][i]).sum();
    for (i, row) in xx.iter_mut().enumerate() {
        row[i] += RIDGE * trace / FEATURES as f64;
    }
    for i in 0..FEATURES {
        let pivot = (i..FEATURES)
            .max_by(|&a, &b| xx[a][i].abs().total_cmp(&xx[b][i].abs()))
            .unwrap_or(i);
        xx.swap(i, pivot);
        xy.swap(i, pivot);
        if xx[i][i].abs() < f64::MIN_POSITIVE {
            return [0.0; FEATURES];
        }
        let above = xx[i];
        for r in i + 1..FEATURES {
            let factor = xx[r][i] / above[i];
            for (value, above) in xx[r].iter_mut().zip(&above).skip(i) {
                *value -= factor * above;
            }
            xy[r] -= factor * xy[i];
        }
    }
    for i in (0..FEATURES).rev() {
        let known: f64 = (i + 1..FEATURES).map(|c| xx[i][c] * xy[c]).sum();
        xy[i] = (xy[i] - known) / xx[i][i];
    }
    xy
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const H: Horizon = Horizon::new(3600, 24, 24);

    fn fit(past: &[f32]) -> Result<Blend, Error> {
        Job::unwatched(|job| Blend::fit(past, H, job))
    }

    #[test]
    fn ridge_solves_a_system_with_a_known_answer() {
        let want = [1.0, -2.0, 3.0, 0.5, 7.0];
        let mut xx = [[0.0; FEATURES]; FEATURES];
        let mut xy = [0.0; FEATURES];
        for k in 0..200_u32 {
            let f = f64::from(k);
            let x = [
                f.sin(),
                (0.7 * f).cos(),
                (1.3 * f).sin(),
                (2.1 * f).cos(),
                1.0,
            ];
            let y: f64 = x.iter().zip(want).map(|(a, b)| a * b).sum();
            for i in 0..FEATURES {
                for j in 0..FEATURES {
                    xx[i][j] += x[i] * x[j];
                }
                xy[i] += x[i] * y;
            }
        }
        for (got, want) in ridge(xx, xy).iter().zip(want) {
            assert!((got - want).abs() < 0.05, "{got} {want}");
        }
        assert_eq!(
            ridge([[0.0; FEATURES]; FEATURES], [0.0; FEATURES]),
            [0.0; FEATURES]
        );
    }

    #[test]
    fn it_learns_a_daily_shape() {
        let past: Vec<f32> = (0..30 * 24)
            .map(|i| if i % 24 < 12 { 100.0 } else { 900.0 })
            .collect();
        let model = fit(&past).unwrap();
        let mut line = [0.0; 24];
        assert!(model.predict(&past, &mut line));
        for (h, w) in line.iter().enumerate() {
            assert!((w - past[h]).abs() < 10.0, "{h} {w}");
        }
    }

    #[test]
    fn four_days_are_too_few_and_a_hole_in_the_last_day_is_survived() {
        assert!(matches!(fit(&[1.0; 96]), Err(Error::TooFew { .. })));
        let past: Vec<f32> = (0..480).map(|i| 100.0 + (i % 24) as f32).collect();
        let model = fit(&past).unwrap();
        let mut holed = past.clone();
        holed[460..470].fill(f32::NAN);
        let mut line = [0.0; 24];
        assert!(model.predict(&holed, &mut line));
        assert!(line.iter().all(|w| (90.0..140.0).contains(w)));
    }
}
