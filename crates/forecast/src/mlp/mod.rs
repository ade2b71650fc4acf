//! Multilayer perceptron: 64-16-64, relu, Adam, from a window to the whole horizon at once.
//!
//! What makes it worth having is its input (`docs/decisions.md#what-the-measurements-said`): the
//! window minus the last value, plus the level, each divided by its deviation; what it learns is
//! the change from the last value. On raw watts, as the original has it, the same network does not
//! beat "as now".

mod network;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::{Error, Horizon, Job, at_least, grid};
pub use network::{Adam, Network, Work, count};

/// Width of the hidden layers.
const HIDDEN: [usize; 3] = [64, 16, 64];
/// Most windows, evenly drawn.
const WINDOWS: usize = 60_000;
/// Most times through all windows.
pub const EPOCHS: usize = 15;
/// Windows a step of Adam.
const BATCH: usize = 200;
/// Adam's rate at the beginning; it falls to almost 0 over the epochs.
const RATE: f32 = 1e-3;
/// Epochs without a smaller loss before it stops early.
const PATIENCE: usize = 3;
/// Fewest windows worth training on.
const LEAST: usize = 200;
/// A loss smaller by less than this share is no smaller.
const SMALLER: f32 = 0.001;
/// Share of the rate that is left at the end.
const LAST_RATE: f32 = 0.02;

/// Watts → the network's numbers and back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Deviation of each difference to the last value, W.
    pub inputs: Vec<f32>,
    /// Mean of the last value, W.
    pub level_mean: f32,
    /// Deviation of the last value, W.
    pub level: f32,
    /// Deviation of the change to come, all steps together, W.
    pub output: f32,
}

/// A trained network with what is needed to ask it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mlp {
    /// What it was trained for.
    pub horizon: Horizon,
    /// Seed it was trained with.
    pub seed: u64,
    /// Epochs it took.
    pub epochs: usize,
    /// Scaling of its inputs and outputs.
    pub scaling: Scaling,
    /// Least and greatest value seen, W: it never says more than the past and the window hold.
    pub range: (f32, f32),
    network: Network<f32>,
}

impl Mlp {
    /// Train on `past`; weights and shuffling follow from `seed`.
    ///
    /// # Errors
    /// [`Error::TooFew`] with fewer than 200 windows, [`Error::Cancelled`].
    pub fn fit(
        past: &[f32],
        horizon: Horizon,
        seed: u64,
        job: &mut Job<'_>,
    ) -> Result<Self, Error> {
        let mut drawn = grid::drawn_evenly(&grid::origins(past, horizon), WINDOWS);
        at_least(LEAST, drawn.len())?;
        let scaling = Scaling::of(past, &drawn, horizon);
        let mut sizes = vec![horizon.window];
        sizes.extend(HIDDEN);
        sizes.push(horizon.steps);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut network = Network::new(&sizes, || rng.f32());
        let mut adam = Adam::new(network.params.len());
        let mut work = Work::new(&sizes, BATCH);
        let (mut least, mut worse, mut epochs) = (f32::INFINITY, 0, 0);
        let batches = drawn.len().div_ceil(BATCH);
        while epochs < EPOCHS && worse < PATIENCE {
            rng.shuffle(&mut drawn);
            let mut loss = 0.0;
            for (i, batch) in drawn.chunks(BATCH).enumerate() {
                let done = (epochs * batches + i) as f32 / (EPOCHS * batches) as f32;
                if i % 8 == 0 {
                    job.tick(done)?;
                }
                scaling.fill(past, batch, horizon, &mut work);
                network.forward(&mut work, batch.len());
                loss += network.backward(&mut work, batch.len());
                let rate = RATE * (1.0 - done).max(LAST_RATE);
                adam.update(rate, &mut network.params, &work.grads);
            }
            epochs += 1;
            worse = if loss < least * (1.0 - SMALLER) {
                0
            } else {
                worse + 1
            };
            least = least.min(loss);
        }
        Ok(Self {
            horizon,
            seed,
            epochs,
            scaling,
            range: widened((f32::INFINITY, f32::NEG_INFINITY), past),
            network,
        })
    }

    /// Room for asking it; reuse it.
    #[must_use]
    pub fn work(&self) -> Work<f32> {
        Work::new(&self.network.sizes, 1)
    }

    /// Write the forecast after `past` into `line`, W. False: the window touches a gap.
    pub fn predict(&self, past: &[f32], work: &mut Work<f32>, line: &mut [f32]) -> bool {
        let window = self.horizon.window;
        if !grid::whole(past, window) {
            return false;
        }
        let seen = &past[past.len() - window..];
        let now = seen[window - 1];
        let inputs = &mut work.acts[0];
        self.scaling.input(seen, |c, x| inputs[[0, c]] = x);
        self.network.forward(work, 1);
        let (lo, hi) = widened(self.range, seen);
        let out = &work.acts[self.network.sizes.len() - 1];
        for (value, change) in line.iter_mut().zip(out.row(0)) {
            *value = (now + change * self.scaling.output).clamp(lo, hi);
        }
        true
    }

    /// Whether it was made for this horizon and seed, and is whole (it may come from a file).
    #[must_use]
    pub fn fits(&self, horizon: Horizon, seed: u64) -> bool {
        self.horizon == horizon
            && self.seed == seed
            && self.network.sound()
            && self.network.sizes.first() == Some(&horizon.window)
            && self.network.sizes.last() == Some(&horizon.steps)
            && self.scaling.sound(horizon)
            && self.range.0 <= self.range.1
    }
}

impl Scaling {
    /// Deviations over the windows drawn; at least 1 W, so that a flat house divides by no zero.
    fn of(past: &[f32], drawn: &[usize], horizon: Horizon) -> Self {
        let Horizon { window, steps, .. } = horizon;
        let n = drawn.len().max(1) as f64;
        let mean = drawn.iter().map(|&t| f64::from(past[t])).sum::<f64>() / n;
        let mut inputs = vec![0.0_f64; window - 1];
        let (mut level, mut output) = (0.0, 0.0);
        for &t in drawn {
            let now = past[t];
            for (sum, w) in inputs.iter_mut().zip(&past[t + 1 - window..t]) {
                *sum += f64::from(w - now).powi(2);
            }
            level += (f64::from(now) - mean).powi(2);
            output += past[t + 1..=t + steps]
                .iter()
                .map(|w| f64::from(w - now).powi(2))
                .sum::<f64>();
        }
        let deviation = |sum: f64, n: f64| (sum / n).sqrt().max(1.0) as f32;
        Self {
            inputs: inputs.into_iter().map(|sum| deviation(sum, n)).collect(),
            level_mean: mean as f32,
            level: deviation(level, n),
            output: deviation(output, n * steps as f64),
        }
    }

    /// Write one window, ending with `seen`'s last value, as the network reads it.
    fn input(&self, seen: &[f32], mut row: impl FnMut(usize, f32)) {
        let now = seen[seen.len() - 1];
        for (i, (w, deviation)) in seen.iter().zip(&self.inputs).enumerate() {
            row(i, (w - now) / deviation);
        }
        row(self.inputs.len(), (now - self.level_mean) / self.level);
    }

    /// Write the windows of a batch and what came after them.
    fn fill(&self, past: &[f32], batch: &[usize], horizon: Horizon, work: &mut Work<f32>) {
        let Horizon { window, steps, .. } = horizon;
        let (inputs, target): (&mut Array2<f32>, _) = (&mut work.acts[0], &mut work.target);
        for (r, &t) in batch.iter().enumerate() {
            self.input(&past[t + 1 - window..=t], |c, x| inputs[[r, c]] = x);
            for (h, w) in past[t + 1..=t + steps].iter().enumerate() {
                target[[r, h]] = (w - past[t]) / self.output;
            }
        }
    }

    fn sound(&self, horizon: Horizon) -> bool {
        self.inputs.len() + 1 == horizon.window
            && self
                .inputs
                .iter()
                .chain([&self.level, &self.output])
                .all(|d| *d > 0.0 && d.is_finite())
            && self.level_mean.is_finite()
    }
}

/// A range that holds all known values too.
fn widened(range: (f32, f32), values: &[f32]) -> (f32, f32) {
    let known = values.iter().filter(|w| w.is_finite());
    known.fold(range, |(lo, hi), w| (lo.min(*w), hi.max(*w)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const H: Horizon = Horizon::new(2, 10, 5);

    fn fit(past: &[f32], seed: u64) -> Result<Mlp, Error> {
        Job::unwatched(|job| Mlp::fit(past, H, seed, job))
    }

    fn wave() -> Vec<f32> {
        (0..4000)
            .map(|i| 500.0 + 300.0 * (i as f32 / 5.0).sin())
            .collect()
    }

    #[test]
    fn it_learns_a_wave_and_the_same_seed_gives_the_same_network() {
        let past = wave();
        let model = fit(&past, 42).unwrap();
        let (mut line, mut work) = ([0.0; 5], model.work());
        let (mut miss, mut still) = (0.0, 0.0);
        for t in (1000..3900).step_by(7) {
            assert!(model.predict(&past[..=t], &mut work, &mut line));
            for (h, w) in line.iter().enumerate() {
                miss += (w - past[t + 1 + h]).abs();
                still += (past[t] - past[t + 1 + h]).abs();
            }
        }
        assert!(miss < 0.2 * still, "{miss} {still}");
        assert_eq!(model, fit(&past, 42).unwrap());
        assert_ne!(model, fit(&past, 1).unwrap());
        assert!(
            model.fits(H, 42) && !model.fits(H, 1) && !model.fits(Horizon { window: 9, ..H }, 42)
        );
    }

    #[test]
    fn a_constant_goes_on_and_nothing_unseen_is_said() {
        let model = fit(&[250.0; 1000], 42).unwrap();
        let (mut line, mut work) = ([0.0; 5], model.work());
        assert!(model.predict(&[250.0; 10], &mut work, &mut line));
        assert!(line.iter().all(|w| (w - 250.0).abs() < 1.0), "{line:?}");
        let mut window = [250.0; 10];
        window[9] = 9000.0;
        assert!(model.predict(&window, &mut work, &mut line));
        assert!(
            line.iter().all(|w| (250.0..=9000.0).contains(w)),
            "{line:?}"
        );
        window[3] = f32::NAN;
        assert!(!model.predict(&window, &mut work, &mut line));
    }

    #[test]
    fn it_stops_when_cancelled_and_says_how_far_it_is() {
        let cancel = AtomicBool::new(false);
        let mut seen = Vec::new();
        let mut report = |p: crate::Progress| {
            seen.push(p.fraction);
            if p.fraction > 0.3 {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        let got = Mlp::fit(&wave(), H, 42, &mut Job::new(&cancel, &mut report));
        assert_eq!(got, Err(Error::Cancelled));
        assert!(
            seen.is_sorted() && seen.last().is_some_and(|f| *f < 0.4),
            "{seen:?}"
        );
    }

    #[test]
    fn little_data_is_said() {
        let (have, need) = (86, 200);
        assert_eq!(fit(&[1.0; 100], 42), Err(Error::TooFew { have, need }));
    }
}
