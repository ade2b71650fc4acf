//! Series for the tests: slices of files (`tests/data/forecast/README.md`) and simple shapes.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::Sample;
use super::csv_file::{self, Choice};

/// A committed slice, gaps filled; `minus` for the net power of the EMHASS file.
pub(super) fn slice(name: &str, column: Option<&str>, minus: Option<&str>, step: u32) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data/forecast")
        .join(name);
    let choice = Choice {
        column: column.map(str::to_owned),
        minus: minus.map(str::to_owned),
        fill_gaps: true,
        step: Some(step),
        skip_rows: 0,
    };
    csv_file::read(&path, &choice).unwrap().grid.w
}

/// Values as samples, `step` seconds apart from `t0` on.
pub(super) fn samples(w: &[f32], t0: i64, step: i64) -> Vec<Sample> {
    w.iter()
        .enumerate()
        .map(|(i, w)| Sample {
            ts: t0 + i as i64 * step,
            w: *w,
        })
        .collect()
}

/// A house in miniature: a base, a compressor, a kettle now and then.
pub(super) fn house(length: usize, day: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut left, mut w) = (0_usize, Vec::with_capacity(length));
    for i in 0..length {
        if left == 0 && rng.f32() < 0.01 {
            left = 12;
        }
        left = left.saturating_sub(1);
        let kettle = if left > 0 { 1900.0 } else { 0.0 };
        let compressor = if i % 40 < 15 { 80.0 } else { 0.0 };
        let evening = if i % day > 3 * day / 4 { 150.0 } else { 0.0 };
        w.push(120.0 + kettle + compressor + evening + 4.0 * rng.f32());
    }
    w
}
