//! A fully connected network: forward, backward, Adam. Weights of all layers lie in one flat
//! vector, so that Adam, storing and the check against finite differences are plain loops.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, NdFloat, Slice};
use serde::{Deserialize, Serialize};

/// Layers of `sizes[l]` → `sizes[l + 1]`: relu between, nothing at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network<F> {
    /// Width of the input, of each hidden layer, of the output.
    pub sizes: Vec<usize>,
    /// Weights (input × output, row by row) and biases, layer after layer.
    pub params: Vec<F>,
}

/// Room for a batch, reused.
#[derive(Debug)]
pub struct Work<F> {
    /// `acts[0]` is the input, rows are windows; the last is the output.
    pub acts: Vec<Array2<F>>,
    /// What the output should have been.
    pub target: Array2<F>,
    deltas: Vec<Array2<F>>,
    /// Derivative of the loss by each weight.
    pub grads: Vec<F>,
}

impl<F: NdFloat> Work<F> {
    /// Room for batches of `rows`.
    #[must_use]
    pub fn new(sizes: &[usize], rows: usize) -> Self {
        let room = |width: &usize| Array2::zeros((rows, *width));
        Self {
            acts: sizes.iter().map(room).collect(),
            target: sizes.last().map_or_else(|| Array2::zeros((0, 0)), room),
            deltas: sizes.iter().map(room).collect(),
            grads: vec![F::zero(); count(sizes)],
        }
    }
}

/// Number of weights and biases.
#[must_use]
pub fn count(sizes: &[usize]) -> usize {
    sizes.windows(2).map(|w| (w[0] + 1) * w[1]).sum()
}

impl<F: NdFloat> Network<F> {
    /// Glorot's uniform weights from `random` (each call 0 to 1), biases 0.
    pub fn new(sizes: &[usize], mut random: impl FnMut() -> F) -> Self {
        let mut params = Vec::with_capacity(count(sizes));
        let (two, six) = (F::one() + F::one(), F::from(6.0).unwrap_or_else(F::one));
        for pair in sizes.windows(2) {
            let around = F::from(pair[0] + pair[1]).unwrap_or_else(F::one);
            let bound = (six / around).sqrt();
            params.extend((0..pair[0] * pair[1]).map(|_| (random() * two - F::one()) * bound));
            params.extend((0..pair[1]).map(|_| F::zero()));
        }
        Self {
            sizes: sizes.to_vec(),
            params,
        }
    }

    /// Whether the weights are as many as the sizes ask for, and numbers.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.sizes.len() >= 2
            && self.sizes.iter().all(|s| (1..=1000).contains(s))
            && self.params.len() == count(&self.sizes)
            && self.params.iter().all(|w| w.is_finite())
    }

    /// Where layer `l` begins in the flat vector.
    fn start(&self, l: usize) -> usize {
        count(&self.sizes[..=l])
    }

    fn weights(&self, l: usize) -> ArrayView2<'_, F> {
        view(
            &self.params[self.start(l)..],
            self.sizes[l],
            self.sizes[l + 1],
        )
    }

    fn bias(&self, l: usize) -> ArrayView1<'_, F> {
        let at = self.start(l) + self.sizes[l] * self.sizes[l + 1];
        ArrayView1::from(&self.params[at..at + self.sizes[l + 1]])
    }

    /// Run the first `rows` inputs of `work` through; the result is its last activation.
    pub fn forward(&self, work: &mut Work<F>, rows: usize) {
        let layers = self.sizes.len() - 1;
        for l in 0..layers {
            let (before, after) = work.acts.split_at_mut(l + 1);
            let input = before[l].slice_axis(Axis(0), Slice::from(..rows));
            let mut out = after[0].slice_axis_mut(Axis(0), Slice::from(..rows));
            out.assign(
                &self
                    .bias(l)
                    .broadcast((rows, self.sizes[l + 1]))
                    .unwrap_or_else(|| unreachable!("a bias is as wide as its layer")),
            );
            general_mat_mul(F::one(), &input, &self.weights(l), F::one(), &mut out);
            if l + 1 < layers {
                out.mapv_inplace(|x| x.max(F::zero()));
            }
        }
    }

    /// After [`Self::forward`]: the loss, half the squared error summed over the output and
    /// averaged over the `rows`, and its derivatives in `work.grads`.
    pub fn backward(&self, work: &mut Work<F>, rows: usize) -> F {
        let layers = self.sizes.len() - 1;
        let scale = F::one() / F::from(rows).unwrap_or_else(F::one);
        let mut loss = F::zero();
        {
            let mut delta = work.deltas[layers].slice_axis_mut(Axis(0), Slice::from(..rows));
            delta.assign(&work.acts[layers].slice_axis(Axis(0), Slice::from(..rows)));
            delta -= &work.target.slice_axis(Axis(0), Slice::from(..rows));
            for d in &delta {
                loss += *d * *d;
            }
        }
        for l in (0..layers).rev() {
            let (before, after) = work.deltas.split_at_mut(l + 1);
            let delta = after[0].slice_axis(Axis(0), Slice::from(..rows));
            let input = work.acts[l].slice_axis(Axis(0), Slice::from(..rows));
            let (inputs, outputs) = (self.sizes[l], self.sizes[l + 1]);
            let grads = &mut work.grads[self.start(l)..];
            let (by_weight, by_bias) = grads.split_at_mut(inputs * outputs);
            if let Ok(mut by_weight) = ArrayViewMut2::from_shape((inputs, outputs), by_weight) {
                general_mat_mul(scale, &input.t(), &delta, F::zero(), &mut by_weight);
            }
            let sums: Array1<F> = delta.sum_axis(Axis(0));
            for (by, sum) in by_bias.iter_mut().zip(&sums) {
                *by = *sum * scale;
            }
            if l > 0 {
                let mut below = before[l].slice_axis_mut(Axis(0), Slice::from(..rows));
                general_mat_mul(
                    F::one(),
                    &delta,
                    &self.weights(l).t(),
                    F::zero(),
                    &mut below,
                );
                below.zip_mut_with(&input, |d, a| {
                    if *a <= F::zero() {
                        *d = F::zero();
                    }
                });
            }
        }
        loss * scale / (F::one() + F::one())
    }
}

fn view<F>(flat: &[F], rows: usize, columns: usize) -> ArrayView2<'_, F> {
    ArrayView2::from_shape((rows, columns), &flat[..rows * columns])
        .unwrap_or_else(|_| unreachable!("the slice has rows × columns elements"))
}

/// Adam (Kingma & Ba, 2015) with the usual constants.
#[derive(Debug)]
pub struct Adam {
    step: i32,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Adam {
    /// For `count` weights.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            step: 0,
            mean: vec![0.0; count],
            square: vec![0.0; count],
        }
    }

    /// Move the weights against their derivatives.
    pub fn update(&mut self, rate: f32, params: &mut [f32], grads: &[f32]) {
        const B1: f32 = 0.9;
        const B2: f32 = 0.999;
        self.step += 1;
        let rate = rate * (1.0 - B2.powi(self.step)).sqrt() / (1.0 - B1.powi(self.step));
        for (((w, g), m), v) in params
            .iter_mut()
            .zip(grads)
            .zip(&mut self.mean)
            .zip(&mut self.square)
        {
            *m = B1 * *m + (1.0 - B1) * g;
            *v = B2 * *v + (1.0 - B2) * g * g;
            *w -= rate * *m / (v.sqrt() + 1e-8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rows: usize) -> (Network<f64>, Work<f64>) {
        let mut rng = fastrand::Rng::with_seed(7);
        let sizes = [5, 8, 3, 8, 4];
        let mut network = Network::new(&sizes, || rng.f64());
        for w in &mut network.params {
            *w += 0.1 * (rng.f64() - 0.5);
        }
        let mut work = Work::new(&sizes, rows);
        work.acts[0].mapv_inplace(|_| 2.0 * rng.f64() - 1.0);
        work.target.mapv_inplace(|_| 2.0 * rng.f64() - 1.0);
        (network, work)
    }

    #[test]
    fn derivatives_agree_with_finite_differences() {
        let rows = 11;
        let (mut network, mut work) = filled(rows);
        network.forward(&mut work, rows);
        network.backward(&mut work, rows);
        let grads = work.grads.clone();
        assert!(grads.iter().filter(|g| g.abs() > 1e-6).count() > grads.len() / 2);
        for (i, grad) in grads.iter().enumerate() {
            let here = network.params[i];
            let mut loss_at = |w: f64| {
                network.params[i] = w;
                network.forward(&mut work, rows);
                network.backward(&mut work, rows)
            };
            let eps = 1e-6;
            let slope = (loss_at(here + eps) - loss_at(here - eps)) / (2.0 * eps);
            network.params[i] = here;
            assert!(
                (slope - grad).abs() < 1e-6 * (1.0 + grad.abs()),
                "{i}: {slope} {grad}"
            );
        }
    }

    #[test]
    fn fewer_rows_than_there_is_room_for_use_only_theirs() {
        let (network, mut work) = filled(6);
        network.forward(&mut work, 6);
        let all = work.acts[4].clone();
        work.acts[4].fill(0.0);
        network.forward(&mut work, 2);
        assert_eq!(
            work.acts[4].slice_axis(Axis(0), Slice::from(..2)),
            all.slice_axis(Axis(0), Slice::from(..2))
        );
        assert!(
            work.acts[4]
                .slice_axis(Axis(0), Slice::from(2..))
                .iter()
                .all(|x| *x == 0.0)
        );
    }

    #[test]
    fn adam_finds_the_bottom_of_a_bowl() {
        let mut at = [5.0_f32, -3.0];
        let mut adam = Adam::new(2);
        for _ in 0..1000 {
            let grads = [2.0 * (at[0] - 1.0), 20.0 * (at[1] - 2.0)];
            adam.update(0.05, &mut at, &grads);
        }
        assert!(
            (at[0] - 1.0).abs() < 0.01 && (at[1] - 2.0).abs() < 0.01,
            "{at:?}"
        );
    }
}
