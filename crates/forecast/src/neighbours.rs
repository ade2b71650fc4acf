//! Neighbours: how did it go on after the moments that looked most like this one?
//!
//! A moment is described by at most ten numbers, since search trees slow down above that: means of
//! six blocks of the window and the last three differences, both without their offset but in watts
//! (a kettle is no fridge), and the level; all weigh the same. The median of 20 neighbours is the
//! line, 50 of them are the band. `linfa-nn`'s KdTree is used: its BallTree overflows the stack on
//! the tens of thousands of equal moments of a flat night. Equal moments are merged here
//! beforehand.

use std::collections::HashMap;

use linfa_nn::{NearestNeighbour, NearestNeighbourIndex, distance::L2Dist};
use ndarray::{Array2, ArrayView1};

use super::{Error, Horizon, Job, at_least, grid};

/// Most moments kept.
const MOMENTS: usize = 20_000;
/// Neighbours whose median is the line.
const LINE: usize = 20;
/// Neighbours that are the band.
const BAND: usize = 50;
/// Blocks of the window.
const BLOCKS: usize = 6;
/// Differences at the end of the window.
const LASTS: usize = 3;
/// Numbers are rounded to this many W: bounds the depth of the tree.
const RESOLUTION: f32 = 0.01;
/// Leaf size of the tree.
const LEAF: usize = 16;

/// The moments of the past, merged where equal.
#[derive(Debug)]
pub struct Neighbours {
    horizon: Horizon,
    past: Vec<f32>,
    points: Array2<f32>,
    /// `origins[starts[i]..starts[i + 1]]` look like point `i`.
    starts: Vec<u32>,
    origins: Vec<u32>,
}

impl Neighbours {
    /// Describe the moments of `past`.
    ///
    /// # Errors
    /// [`Error::TooFew`] with fewer than twice the band's neighbours, [`Error::Cancelled`].
    pub fn fit(past: &[f32], horizon: Horizon, job: &mut Job<'_>) -> Result<Self, Error> {
        let drawn = grid::drawn_evenly(&grid::origins(past, horizon), MOMENTS);
        at_least(2 * BAND, drawn.len())?;
        let dims = describe(&past[..horizon.window], horizon.window).len();
        let mut places: HashMap<Vec<i32>, usize> = HashMap::with_capacity(drawn.len());
        let mut values = Vec::with_capacity(drawn.len() * dims);
        let mut members: Vec<Vec<u32>> = Vec::new();
        for (i, &t) in drawn.iter().enumerate() {
            if i % 1024 == 0 {
                job.tick(i as f32 / drawn.len() as f32)?;
            }
            let point = describe(&past[..=t], horizon.window);
            let key = point
                .iter()
                .map(|x| (x / RESOLUTION).round() as i32)
                .collect();
            let place = *places.entry(key).or_insert_with(|| {
                values.extend_from_slice(&point);
                members.push(Vec::new());
                members.len() - 1
            });
            members[place].push(t as u32);
        }
        let points = Array2::from_shape_vec((members.len(), dims), values)
            .map_err(|e| Error::Library(e.to_string()))?;
        let (mut starts, mut origins) = (vec![0], Vec::with_capacity(drawn.len()));
        for equal in &members {
            origins.extend(equal);
            starts.push(origins.len() as u32);
        }
        Ok(Self {
            horizon,
            past: past.to_vec(),
            points,
            starts,
            origins,
        })
    }

    /// The search tree over the moments; it borrows them.
    ///
    /// # Errors
    /// [`Error::Library`] if the tree refuses the points.
    pub fn index(&self) -> Result<Index<'_>, Error> {
        let tree = linfa_nn::KdTree
            .from_batch_with_leaf_size(&self.points, LEAF, L2Dist)
            .map_err(|e| Error::Library(e.to_string()))?;
        Ok(Index { of: self, tree })
    }

    /// Moments kept.
    #[must_use]
    pub fn windows(&self) -> usize {
        self.origins.len()
    }
}

/// [`Neighbours`], ready to be asked.
pub struct Index<'a> {
    of: &'a Neighbours,
    tree: Box<dyn NearestNeighbourIndex<f32> + Send + Sync + 'a>,
}

/// What the neighbours did: `count` values a step, sorted, W.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread {
    /// Values a step.
    pub count: usize,
    /// Step after step, each sorted.
    pub sorted: Vec<f32>,
}

impl Spread {
    /// The sorted values of step `h`.
    #[must_use]
    pub fn step(&self, h: usize) -> &[f32] {
        &self.sorted[h * self.count..(h + 1) * self.count]
    }
}

impl Index<'_> {
    /// Write the forecast after `past` into `line` and what the neighbours did into `spread`, W.
    /// False: the window touches a gap.
    pub fn predict(&self, past: &[f32], line: &mut [f32], spread: &mut Spread) -> bool {
        let (then, window) = (&self.of.past, self.of.horizon.window);
        if !grid::whole(past, window) {
            return false;
        }
        let now = past[past.len() - 1];
        let point = describe(past, window);
        let Ok(near) = self.tree.k_nearest(ArrayView1::from(&point), BAND) else {
            return false;
        };
        let mut origins = Vec::with_capacity(BAND);
        for (_, place) in near {
            let equal = self.of.starts[place] as usize..self.of.starts[place + 1] as usize;
            let equal = &self.of.origins[equal];
            // Of more equal moments than are wanted, every so many-th.
            let want = equal.len().min(BAND - origins.len());
            origins.extend((0..want).map(|j| equal[j * equal.len() / want] as usize));
            if origins.len() == BAND {
                break;
            }
        }
        spread.count = origins.len();
        spread.sorted.clear();
        let mut close = Vec::with_capacity(LINE);
        for (h, value) in line.iter_mut().enumerate() {
            let start = spread.sorted.len();
            spread
                .sorted
                .extend(origins.iter().map(|&t| now + (then[t + 1 + h] - then[t])));
            let here = &mut spread.sorted[start..];
            close.clear();
            close.extend_from_slice(&here[..LINE.min(here.len())]);
            close.sort_unstable_by(f32::total_cmp);
            *value = median(&close);
            here.sort_unstable_by(f32::total_cmp);
        }
        true
    }
}

/// Median of sorted values; NaN of none.
fn median(sorted: &[f32]) -> f32 {
    let n = sorted.len();
    if n == 0 {
        return f32::NAN;
    }
    0.5 * (sorted[(n - 1) / 2] + sorted[n / 2])
}

/// The at most ten numbers that describe the moment at the end of `past`, in W.
fn describe(past: &[f32], window: usize) -> Vec<f32> {
    let seen = &past[past.len() - window..];
    let now = seen[window - 1];
    let blocks = BLOCKS.min(window);
    let mut point = Vec::with_capacity(blocks + LASTS + 1);
    for b in 0..blocks {
        let block = &seen[b * window / blocks..(b + 1) * window / blocks];
        let mean = block.iter().sum::<f32>() / block.len() as f32;
        point.push(mean - now);
    }
    for back in 1..=LASTS.min(window - 1) {
        point.push(now - seen[window - 1 - back]);
    }
    point.push(now);
    for x in &mut point {
        *x = (*x / RESOLUTION).round() * RESOLUTION;
    }
    point
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const H: Horizon = Horizon::new(2, 30, 30);

    fn fit(past: &[f32]) -> Neighbours {
        Job::unwatched(|job| Neighbours::fit(past, H, job)).unwrap()
    }

    #[test]
    fn it_recognises_a_shape_at_another_level() {
        // A kettle of 120 steps now and then on a base that drifts: 70 steps after it came on
        // it still has 50 to go, then falls by exactly what it rose.
        let past: Vec<f32> = (0..40_000_usize)
            .map(|i| 100.0 + (i / 1000) as f32 + if i % 500 < 120 { 2000.0 } else { 0.0 })
            .collect();
        let model = fit(&past);
        let index = model.index().unwrap();
        let mut line = [0.0; 30];
        let mut spread = Spread::default();
        // It came on 12 steps ago: on for all of the next 30.
        assert!(index.predict(&past[..35_012], &mut line, &mut spread));
        assert!(
            line.iter().all(|w| (w - past[35_011]).abs() < 2.0),
            "{line:?}"
        );
        assert_eq!((spread.count, spread.sorted.len()), (50, 1500));
        assert!(spread.step(3).is_sorted());
    }

    #[test]
    fn three_hundred_thousand_equal_values_are_one_point() {
        let model = fit(&vec![123.4; 302_400]);
        assert_eq!((model.points.nrows(), model.windows()), (1, 20_000));
        let mut line = [0.0; 30];
        let mut spread = Spread::default();
        assert!(
            model
                .index()
                .unwrap()
                .predict(&[77.0; 30], &mut line, &mut spread)
        );
        assert!(line.iter().all(|w| *w == 77.0));
        assert_eq!(spread.count, 50);
    }

    #[test]
    fn a_moment_is_at_most_ten_numbers_and_short_windows_work() {
        for window in 2..=300 {
            let seen: Vec<f32> = (0..window).map(|i| i as f32).collect();
            let point = describe(&seen, window);
            assert!(
                point.len() <= 10 && point.iter().all(|x| x.is_finite()),
                "{window}"
            );
        }
    }

    #[test]
    fn little_data_is_said() {
        let got = Job::unwatched(|job| Neighbours::fit(&[1.0; 100], H, job));
        let (have, need) = (41, 100);
        assert_eq!(got.map(|_| ()), Err(Error::TooFew { have, need }));
    }
}
