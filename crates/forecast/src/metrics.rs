//! What a forecast was worth: out of sample, never on what it was fitted to
//! (`docs/decisions.md#figures-that-are-served`).

use serde::{Deserialize, Serialize};

use super::Metric;
use super::calibration::BAND_RANK;

/// A forecast point beside what came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// What came, W.
    pub came: f32,
    /// What was forecast, W.
    pub line: f32,
    /// What the last value said, W.
    pub last: f32,
    /// The band, W.
    pub band: Option<(f32, f32)>,
}

/// Running sums of [`Scored`] points; sums of two periods add up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    n: u64,
    abs: f64,
    square: f64,
    last_abs: f64,
    last_square: f64,
    came_abs: f64,
    banded: u64,
    pinball: f64,
    covered: u64,
    mape: Option<Mape>,
}

impl Score {
    /// With a MAPE, for points of which these will be what came.
    #[must_use]
    pub fn with_mape(came: impl Iterator<Item = f32>) -> Self {
        let (sum, n) = came.fold((0.0, 0), |(sum, n), w| (sum + f64::from(w.abs()), n + 1));
        let mean = ratio(sum, n).unwrap_or(0.0);
        Self {
            mape: Some(Mape {
                least: (0.1 * mean).max(50.0),
                points: 0,
                sum: 0.0,
            }),
            ..Self::default()
        }
    }

    /// Count a point in.
    pub fn add(&mut self, point: Scored) {
        let came = f64::from(point.came);
        let miss = came - f64::from(point.line);
        let last = came - f64::from(point.last);
        self.n += 1;
        self.abs += miss.abs();
        self.square += miss * miss;
        self.last_abs += last.abs();
        self.last_square += last * last;
        self.came_abs += came.abs();
        if let Some((lo, hi)) = point.band {
            let (lo, hi) = (f64::from(lo), f64::from(hi));
            self.banded += 1;
            self.pinball += pinball(came, lo, BAND_RANK) + pinball(came, hi, 1.0 - BAND_RANK);
            self.covered += u64::from(lo <= came && came <= hi);
        }
        if let Some(mape) = &mut self.mape {
            mape.add(point);
        }
    }

    /// Count another period in, but for its MAPE.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.abs += other.abs;
        self.square += other.square;
        self.last_abs += other.last_abs;
        self.last_square += other.last_square;
        self.came_abs += other.came_abs;
        self.banded += other.banded;
        self.pinball += other.pinball;
        self.covered += other.covered;
    }

    /// Points counted.
    #[must_use]
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// Mean absolute error, W.
    #[must_use]
    pub fn mae(&self) -> Option<f64> {
        ratio(self.abs, self.n)
    }

    /// Root mean square error, W.
    #[must_use]
    pub fn rmse(&self) -> Option<f64> {
        ratio(self.square, self.n).map(f64::sqrt)
    }

    /// Pinball loss of the band, P10 plus P90, W.
    #[must_use]
    pub fn pinball(&self) -> Option<f64> {
        ratio(self.pinball, self.banded)
    }

    /// The figures.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            n: self.n,
            mae: self.mae(),
            mse: ratio(self.square, self.n),
            rmse: self.rmse(),
            wape: quotient(self.abs, self.came_abs).map(|q| 100.0 * q),
            mape: self.mape.and_then(|mape| mape.percent(self.n)),
            mape_points: self.mape.map_or(0, |mape| mape.points),
            baseline_mae: ratio(self.last_abs, self.n),
            skill: quotient(self.abs, self.last_abs).map(|q| 1.0 - q),
            skill_rmse: quotient(self.square, self.last_square).map(|q| 1.0 - q.sqrt()),
            pinball: self.pinball(),
            coverage: ratio(self.covered as f64, self.banded),
        }
    }
}

/// Pinball (quantile) loss of the forecast `q` of rank `rank`, W.
///
/// ```
/// use forecast::metrics::pinball;
///
/// // What is above P90 is dear, what is below it is cheap.
/// assert_eq!(pinball(600.0, 500.0, 0.9), 90.0);
/// assert!(pinball(400.0, 500.0, 0.9) < 11.0);
/// ```
#[must_use]
pub fn pinball(came: f64, q: f64, rank: f64) -> f64 {
    if came >= q {
        rank * (came - q)
    } else {
        (1.0 - rank) * (q - came)
    }
}

fn ratio(sum: f64, n: u64) -> Option<f64> {
    (n > 0).then(|| sum / n as f64)
}

fn quotient(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}

/// Mean absolute percentage error, only over points that are worth a percentage.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mape {
    /// Least |W| that is worth one.
    least: f64,
    points: u64,
    sum: f64,
}

impl Mape {
    fn add(&mut self, point: Scored) {
        let size = f64::from(point.came.abs());
        if size >= self.least {
            self.sum += f64::from((point.came - point.line).abs()) / size;
            self.points += 1;
        }
    }

    /// None when fewer than half of `all` points qualified.
    fn percent(self, all: u64) -> Option<f64> {
        let enough = 2 * self.points >= all;
        ratio(100.0 * self.sum, self.points).filter(|_| enough)
    }
}

/// The figures of a period; `None` where a figure says nothing (no points, a yardstick of 0).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Points: a forecast step beside what came.
    pub n: u64,
    /// Mean absolute error, W.
    pub mae: Option<f64>,
    /// Mean square error, W².
    pub mse: Option<f64>,
    /// Root mean square error, W.
    pub rmse: Option<f64>,
    /// Sum of |miss| over sum of |W|, %.
    pub wape: Option<f64>,
    /// Mean absolute percentage error, %, only over points with |W| ≥ max(50 W, 10 % of the mean of
    /// |W|); None when fewer than half qualify, and where it was not asked for.
    pub mape: Option<f64>,
    /// Points that qualified for `mape`.
    pub mape_points: u64,
    /// Mean absolute error of the last value on the same points, W.
    pub baseline_mae: Option<f64>,
    /// 1 − MAE / MAE of the last value; above 0 is better than the last value.
    pub skill: Option<f64>,
    /// The same by RMSE.
    pub skill_rmse: Option<f64>,
    /// Pinball loss of the band, P10 plus P90, W.
    pub pinball: Option<f64>,
    /// Share of points inside the band, 0–1; 0.8 is wanted.
    pub coverage: Option<f64>,
}

impl Metrics {
    /// The skill by what a choice goes by.
    #[must_use]
    pub const fn skill_by(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Mae => self.skill,
            Metric::Rmse => self.skill_rmse,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn point(came: f32, line: f32, last: f32) -> Scored {
        Scored {
            came,
            line,
            last,
            band: Some((line - 10.0, line + 10.0)),
        }
    }

    #[test]
    fn figures_of_two_points() {
        let mut score = Score::with_mape([100.0, 200.0].into_iter());
        score.add(point(100.0, 90.0, 60.0));
        score.add(point(200.0, 230.0, 260.0));
        let m = score.metrics();
        assert_eq!(m.n, 2);
        assert_eq!(m.mae, Some(20.0));
        assert_eq!(m.mse, Some(500.0));
        assert_eq!(m.baseline_mae, Some(50.0));
        assert_eq!(m.skill, Some(0.6));
        assert!((m.wape.unwrap() - 40.0 / 3.0).abs() < 1e-9);
        assert!((m.mape.unwrap() - 12.5).abs() < 1e-4);
        assert_eq!(m.coverage, Some(0.5));
        // 100 in 80..100: 0.1·20 + 0; hi: 0.9·0. 200 in 220..240: 0.9·20 + 0.1·40.
        assert!((m.pinball.unwrap() - (2.0 + 22.0) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn mape_leaves_out_what_is_near_zero_and_says_nothing_of_a_house_regulated_to_zero() {
        let of = |came: &[f32], lines: &[f32]| {
            let mut score = Score::with_mape(came.iter().copied());
            for (came, line) in came.iter().zip(lines) {
                score.add(point(*came, *line, 0.0));
            }
            let m = score.metrics();
            (m.mape, m.mape_points)
        };
        assert_eq!(
            of(&[0.001, 0.001, 0.001, 100.0], &[38.0, 38.0, 38.0, 90.0]),
            (None, 1)
        );
        let (value, points) = of(
            &[0.001, 0.001, 0.001, 100.0, -100.0, 100.0],
            &[38.0, 38.0, 38.0, 90.0, -90.0, 110.0],
        );
        assert_eq!(points, 3);
        assert!((value.unwrap() - 10.0).abs() < 1e-4);
        // A tenth of the mean: 300 W of a house of 5 kW are not worth a percentage.
        assert_eq!(of(&[300.0, 9_700.0], &[600.0, 9_700.0]), (Some(0.0), 1));
        assert_eq!(of(&[], &[]), (None, 0));
    }

    #[test]
    fn nothing_counted_and_a_flat_line_give_no_figures_instead_of_nan() {
        assert_eq!(Score::default().metrics(), Metrics::default());
        let mut score = Score::default();
        score.add(point(5.0, 5.0, 5.0));
        assert_eq!(score.metrics().skill, None);
    }
}
