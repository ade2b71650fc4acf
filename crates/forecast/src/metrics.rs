//! What a forecast was worth: out of sample, never on what it was fitted to
//! (`docs/decisions.md#figures-that-are-served`).

use serde::{Deserialize, Serialize};

use super::Metric;

/// Lower and upper rank of the band.
pub const BAND: (f64, f64) = (0.1, 0.9);

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
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
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
}

impl Score {
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
            self.pinball += pinball(came, lo, BAND.0) + pinball(came, hi, BAND.1);
            self.covered += u64::from(lo <= came && came <= hi);
        }
    }

    /// Count another period in.
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

    /// The figures; MAPE is not among the sums (see [`Mape`]).
    #[must_use]
    pub fn metrics(&self, mape: &Mape) -> Metrics {
        let (mape, mape_points) = mape.value();
        Metrics {
            n: self.n,
            mae: self.mae(),
            mse: ratio(self.square, self.n),
            rmse: self.rmse(),
            wape: quotient(self.abs, self.came_abs).map(|q| 100.0 * q),
            mape,
            mape_points,
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

/// Mean absolute percentage error, only over points that are worth a percentage:
/// |W| ≥ max(50 W, 10 % of the mean of |W|). None when fewer than half qualify.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mape {
    /// Least |W| that is worth a percentage.
    least: f64,
    n: u64,
    count: u64,
    sum: f64,
}

impl Mape {
    /// Of points whose |W| will be `mean` on average.
    #[must_use]
    pub fn of(mean: f64) -> Self {
        Self {
            least: (0.1 * mean).max(50.0),
            ..Self::default()
        }
    }

    /// Take a point into account.
    pub fn add(&mut self, came: f32, line: f32) {
        self.n += 1;
        let size = f64::from(came.abs());
        if size >= self.least {
            self.sum += f64::from((came - line).abs()) / size;
            self.count += 1;
        }
    }

    /// Percentage and the number of points that qualified.
    #[must_use]
    pub fn value(&self) -> (Option<f64>, u64) {
        let enough = self.count > 0 && 2 * self.count >= self.n;
        (
            enough.then(|| 100.0 * self.sum / self.count as f64),
            self.count,
        )
    }
}

/// Mean of |W|; 0 of none.
pub fn mean_size(came: impl Iterator<Item = f32>) -> f64 {
    let (sum, n) = came.fold((0.0, 0_u64), |(sum, n), w| {
        (sum + f64::from(w.abs()), n + 1)
    });
    ratio(sum, n).unwrap_or(0.0)
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
    /// Mean absolute percentage error, %, see [`Mape`].
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
        let mut score = Score::default();
        let mut mape = Mape::of(150.0);
        for p in [point(100.0, 90.0, 60.0), point(200.0, 230.0, 260.0)] {
            score.add(p);
            mape.add(p.came, p.line);
        }
        let m = score.metrics(&mape);
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
            let mut mape = Mape::of(mean_size(came.iter().copied()));
            came.iter()
                .zip(lines)
                .for_each(|(came, line)| mape.add(*came, *line));
            mape.value()
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
        let m = Score::default().metrics(&Mape::default());
        assert_eq!(m, Metrics::default());
        let mut score = Score::default();
        score.add(point(5.0, 5.0, 5.0));
        assert_eq!(score.metrics(&Mape::default()).skill, None);
    }
}
