//! Samples → a regular series. The one place where gaps, duplicates, steps of the clock and
//! values that are no number are dealt with.
//!
//! A cell holds the mean of the samples that fall into it. Up to [`SHORT_GAP`] empty cells hold
//! the value before them (a value holds until the next); longer gaps stay empty (NaN), and every
//! window or horizon that touches one is left out. Where time ran back, what came later counts.

use serde::{Deserialize, Serialize};

use super::{Error, Horizon};

/// Longest gap, in steps, that is bridged (`docs/decisions.md#models-and-their-sizes`).
pub const SHORT_GAP: usize = 3;
/// Largest plausible power, W; what is beyond it is no reading.
pub const MAX_WATTS: f32 = 1e6;
/// Most cells of a grid: 46 days at 2 s, 16 MB. The newest are kept.
pub const MAX_CELLS: usize = 2_000_000;

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Unix time, s.
    pub ts: i64,
    /// Power, W, positive = import. Not finite = missing.
    pub w: f32,
}

/// A regular series; NaN where nothing is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Unix time of the beginning of the first cell, a multiple of `step`.
    pub t0: i64,
    /// Length of a cell, s.
    pub step: u32,
    /// Mean power of each cell, W.
    pub w: Vec<f32>,
}

impl Grid {
    /// Unix time of the beginning of cell `index`.
    #[must_use]
    pub fn ts(&self, index: usize) -> i64 {
        self.t0 + index as i64 * i64::from(self.step)
    }

    /// Cells that hold a value.
    #[must_use]
    pub fn known(&self) -> usize {
        self.w.iter().filter(|w| w.is_finite()).count()
    }
}

/// Turn samples, in the order in which they were taken, into a grid of `step` seconds.
///
/// The grid ends with the newest sample and holds at most [`MAX_CELLS`] cells before it. Without
/// a single usable sample it is empty.
///
/// # Errors
/// [`Error::Params`] for a step of 0.
pub fn grid<'a>(
    samples: impl IntoIterator<Item = &'a Sample, IntoIter: Clone>,
    step: u32,
) -> Result<Grid, Error> {
    let mut grid = cells(samples, step, MAX_CELLS)?;
    hold_short_gaps(&mut grid.w);
    Ok(grid)
}

/// As [`grid()`], with every gap left open and another limit.
///
/// # Errors
/// [`Error::Params`] for a step of 0.
pub fn cells<'a>(
    samples: impl IntoIterator<Item = &'a Sample, IntoIter: Clone>,
    step: u32,
    limit: usize,
) -> Result<Grid, Error> {
    if step == 0 {
        return Err(Error::Params("a step of 0 s: use at least 1".to_owned()));
    }
    let size = i64::from(step);
    let cell = |sample: &Sample| sample.ts.div_euclid(size);
    let samples = samples.into_iter();
    let usable = || samples.clone().filter(|s| s.usable());
    let Some(newest) = usable().map(cell).max() else {
        return Ok(Grid {
            t0: 0,
            step,
            w: Vec::new(),
        });
    };
    let first = usable().map(cell).min().unwrap_or(newest);
    let first = first.max(newest.saturating_sub(limit as i64 - 1));
    let length = (newest - first + 1) as usize;
    let mut w = vec![f32::NAN; length];
    let mut count = vec![0_u16; length];
    let mut last_ts = i64::MIN;
    let mut last_cell = None;
    for sample in usable() {
        let Ok(index) = usize::try_from(cell(sample) - first) else {
            last_ts = sample.ts;
            continue;
        };
        // Time ran back into a cell (or gave the same second twice): what came later counts.
        let anew = sample.ts <= last_ts || last_cell != Some(index);
        if anew || count[index] == 0 {
            w[index] = sample.w;
            count[index] = 1;
        } else {
            count[index] = count[index].saturating_add(1);
            w[index] += (sample.w - w[index]) / f32::from(count[index]);
        }
        last_ts = sample.ts;
        last_cell = Some(index);
    }
    Ok(Grid {
        t0: first * size,
        step,
        w,
    })
}

impl Sample {
    /// Whether it is a reading at all.
    #[must_use]
    pub fn usable(&self) -> bool {
        // Times beyond the year 9999 (or as far back) are a broken clock, and would overflow.
        self.w.is_finite() && self.w.abs() <= MAX_WATTS && self.ts.unsigned_abs() < 253_402_300_800
    }
}

/// Let a value hold over up to [`SHORT_GAP`] missing ones.
pub fn hold_short_gaps(w: &mut [f32]) {
    for (start, end) in gaps(w) {
        if start > 0 && end < w.len() && end - start <= SHORT_GAP {
            let before = w[start - 1];
            w[start..end].fill(before);
        }
    }
}

/// Fill every gap linearly (`--fill-gaps`); at the ends with the nearest value.
pub fn fill_linearly(w: &mut [f32]) {
    for (start, end) in gaps(w) {
        if start == 0 && end == w.len() {
            return;
        }
        let before = if start > 0 { w[start - 1] } else { w[end] };
        let after = if end < w.len() { w[end] } else { before };
        let length = (end - start + 1) as f32;
        for (k, value) in w[start..end].iter_mut().enumerate() {
            *value = before + (after - before) * (k + 1) as f32 / length;
        }
    }
}

/// The runs of missing values, `start..end`.
fn gaps(w: &[f32]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = None;
    for (i, value) in w.iter().enumerate() {
        match (value.is_finite(), start) {
            (false, None) => start = Some(i),
            (true, Some(from)) => {
                found.push((from, i));
                start = None;
            }
            _ => {}
        }
    }
    found.extend(start.map(|from| (from, w.len())));
    found
}

/// Whether each of the last `length` values is known.
#[must_use]
pub fn whole(past: &[f32], length: usize) -> bool {
    past.len() >= length && past[past.len() - length..].iter().all(|w| w.is_finite())
}

/// Every origin (index of the last known value) whose window and horizon touch no gap.
#[must_use]
pub fn origins(w: &[f32], horizon: Horizon) -> Vec<usize> {
    let need = horizon.window + horizon.steps;
    let mut run = 0;
    let mut found = Vec::new();
    for (i, value) in w.iter().enumerate() {
        run = if value.is_finite() { run + 1 } else { 0 };
        if run >= need {
            found.push(i - horizon.steps);
        }
    }
    found
}

/// At most `limit` of `all`, evenly drawn, in order.
#[must_use]
pub fn drawn_evenly(all: &[usize], limit: usize) -> Vec<usize> {
    if all.len() <= limit {
        return all.to_vec();
    }
    (0..limit).map(|j| all[j * all.len() / limit]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn samples(of: &[(i64, f32)]) -> Vec<Sample> {
        of.iter().map(|&(ts, w)| Sample { ts, w }).collect()
    }

    #[test]
    fn cells_are_means_and_lie_on_multiples_of_the_step() {
        let g = grid(&samples(&[(121, 10.0), (123, 30.0), (180, 5.0)]), 60).unwrap();
        assert_eq!((g.t0, g.w), (120, vec![20.0, 5.0]));
    }

    #[test]
    fn three_missing_steps_are_held_and_four_are_a_gap() {
        let g = grid(&samples(&[(0, 1.0), (8, 2.0), (18, 3.0)]), 2).unwrap();
        assert_eq!(&g.w[..5], &[1.0, 1.0, 1.0, 1.0, 2.0]);
        assert!(g.w[5..9].iter().all(|w| w.is_nan()));
        assert_eq!(g.w[9], 3.0);
        assert_eq!(g.known(), 6);
    }

    #[test]
    fn what_came_later_counts_where_time_ran_back_or_stood() {
        let g = grid(
            &samples(&[
                (0, 1.0),
                (2, 2.0),
                (4, 3.0),
                (2, 20.0),
                (4, 30.0),
                (4, 31.0),
            ]),
            2,
        )
        .unwrap();
        assert_eq!(g.w, vec![1.0, 20.0, 31.0]);
    }

    #[test]
    fn what_is_no_reading_is_dropped() {
        let g = grid(
            &samples(&[
                (0, f32::NAN),
                (2, 5.0),
                (4, f32::INFINITY),
                (i64::MAX, 1.0),
                (6, 2e6),
            ]),
            2,
        )
        .unwrap();
        assert_eq!((g.t0, g.w), (2, vec![5.0]));
        assert!(grid(&[], 2).unwrap().w.is_empty());
    }

    #[test]
    fn a_stray_old_time_cannot_ask_for_more_than_the_limit() {
        let g = grid(&samples(&[(0, 1.0), (1_700_000_000, 2.0)]), 1).unwrap();
        assert_eq!(g.w.len(), MAX_CELLS);
        assert_eq!(g.ts(MAX_CELLS - 1), 1_700_000_000);
    }

    #[test]
    fn windows_that_touch_a_gap_are_left_out() {
        let mut w = vec![1.0; 20];
        w[10] = f32::NAN;
        let h = Horizon::new(2, 3, 2);
        assert_eq!(origins(&w, h), vec![2, 3, 4, 5, 6, 7, 13, 14, 15, 16, 17]);
    }

    #[test]
    fn linear_filling_reaches_the_ends() {
        let nan = f32::NAN;
        let mut w = vec![nan, 2.0, nan, nan, 8.0, nan];
        fill_linearly(&mut w);
        assert_eq!(w, vec![2.0, 2.0, 4.0, 6.0, 8.0, 8.0]);
    }
}
