//! Households to regulate: invented ones by a seed, recorded ones from files, and steps between two
//! levels.

use std::path::Path;

use fastrand::Rng;

/// Seconds between the values of a trace.
const STEP: f64 = 2.0;

/// Power of a house over time, W.
#[derive(Clone, Debug)]
pub struct Trace {
    watts: Vec<f64>,
}

impl Trace {
    /// Power at `t` s.
    pub fn at(&self, t: f64) -> f64 {
        self.watts[((t / STEP) as usize).min(self.watts.len() - 1)]
    }

    /// Its length, s.
    pub fn seconds(&self) -> f64 {
        self.watts.len() as f64 * STEP
    }

    /// Hours on which no constant of the control was chosen, of the files under `folder`
    /// (`synth_plain_2s.csv`, `synth_pv_2s.csv`).
    pub fn recorded(folder: &Path) -> Self {
        let mut watts = Vec::new();
        let (plain, pv, days) = (
            [2.0, 8.0, 13.0, 19.0],
            [6.0, 7.5, 17.0, 20.0],
            [4.0, 5.0, 6.0],
        );
        for (file, hours) in [("synth_plain_2s.csv", plain), ("synth_pv_2s.csv", pv)] {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let all: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
            for day in days {
                for hour in hours {
                    let from = ((day * 24.0 + hour) * 3600.0 / STEP) as usize;
                    watts.extend_from_slice(&all[from..from + (3600.0 / STEP) as usize]);
                }
            }
        }
        Self { watts }
    }

    /// `hours` of an invented house: a base load, cold appliances, kettles, hobs that switch by
    /// thermostat, a washing machine; every other hour under a sun with clouds.
    pub fn invented(seed: u64, hours: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let n = (hours as f64 * 3600.0 / STEP) as usize;
        let mut watts = vec![0.0; n];
        let between = |rng: &mut Rng, a: f64, b: f64| a + (b - a) * rng.f64();
        let add = |watts: &mut [f64], from: f64, length: f64, power: f64| {
            let from = (from / STEP) as usize;
            let to = (from + (length / STEP) as usize).min(watts.len());
            for w in watts.get_mut(from..to).unwrap_or_default() {
                *w += power;
            }
        };
        let base = between(&mut rng, 110.0, 220.0);
        let mut drift = 0.0;
        for w in &mut watts {
            drift = 0.999 * drift + between(&mut rng, -1.0, 1.0);
            *w = base + drift + between(&mut rng, -3.0, 3.0);
        }
        let end = n as f64 * STEP;
        for (power, on, off) in [(85.0, 1000.0, 2000.0), (65.0, 1300.0, 2800.0)] {
            let mut t = between(&mut rng, 0.0, off);
            while t < end {
                let long = on * between(&mut rng, 0.8, 1.2);
                add(&mut watts, t, STEP, between(&mut rng, 200.0, 700.0));
                add(&mut watts, t, long, power);
                t += long + off * between(&mut rng, 0.8, 1.2);
            }
        }
        for hour in 0..hours {
            let begin = hour as f64 * 3600.0;
            for _ in 0..rng.usize(1..5) {
                let at = begin + between(&mut rng, 0.0, 3500.0);
                add(
                    &mut watts,
                    at,
                    between(&mut rng, 70.0, 210.0),
                    between(&mut rng, 1850.0, 2200.0),
                );
            }
            for _ in 0..rng.usize(2..7) {
                let at = begin + between(&mut rng, 0.0, 3500.0);
                add(
                    &mut watts,
                    at,
                    between(&mut rng, 60.0, 2400.0),
                    between(&mut rng, 20.0, 160.0),
                );
            }
            if rng.f64() < 0.5 {
                let (power, on, off) = (
                    between(&mut rng, 900.0, 1800.0),
                    between(&mut rng, 6.0, 22.0),
                    between(&mut rng, 5.0, 70.0),
                );
                let mut t = begin + between(&mut rng, 0.0, 2000.0);
                let stop = t + between(&mut rng, 300.0, 1500.0);
                while t < stop {
                    let long = on * between(&mut rng, 0.8, 1.2);
                    add(&mut watts, t, long, power);
                    t += long + off * between(&mut rng, 0.8, 1.2);
                }
            }
            if rng.f64() < 0.3 {
                let mut t = begin + between(&mut rng, 0.0, 1500.0);
                let stop = t + 1800.0;
                let power = between(&mut rng, 180.0, 420.0);
                while t < stop {
                    add(&mut watts, t, 9.0, power);
                    t += 9.0 + between(&mut rng, 4.0, 7.0);
                }
            }
            if hour % 2 == 1 {
                let (sun, mut cloud) = (between(&mut rng, 500.0, 2600.0), 0.0_f64);
                let mut goal = 0.0;
                for w in watts
                    .iter_mut()
                    .skip((begin / STEP) as usize)
                    .take((3600.0 / STEP) as usize)
                {
                    if rng.f64() < STEP / 90.0 {
                        goal = between(&mut rng, 0.0, 0.7);
                    }
                    cloud += (goal - cloud) * 0.08;
                    *w -= sun * (1.0 - cloud);
                }
            }
        }
        for w in &mut watts {
            *w = w.round();
        }
        Self { watts }
    }
}

/// `n` steps between `low` and `high` W at varied times: when and to what, and the end, s.
pub fn steps(rng: &mut Rng, low: f64, high: f64, n: usize) -> (Vec<(f64, f64)>, f64) {
    let mut events = vec![(0.0, low)];
    let mut t = 120.0 + 10.0 * rng.f64();
    let mut watts = low;
    for _ in 0..n {
        watts = if watts == low { high } else { low };
        events.push((t, watts));
        t += 90.0 + 10.0 * rng.f64();
    }
    (events, t)
}

/// The level at `t`.
pub fn level(events: &[(f64, f64)], t: f64) -> f64 {
    events
        .iter()
        .rev()
        .find(|(at, _)| t >= *at)
        .map_or(0.0, |(_, watts)| *watts)
}
