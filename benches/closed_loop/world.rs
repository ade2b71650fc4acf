//! The loop: house − batteries → grid → sensor → policy → batteries, in steps of [`STEP`]; its
//! scores, and the limit they are compared with.
//!
//! House and grid power are positive when drawn, a battery's output when it discharges.

use std::collections::VecDeque;

use fastrand::Rng;

use super::{
    batteries::{Battery, STEP},
    policies::Policy,
};

/// How grid power reaches the meter: a value each `cadence` s that is `delay` s old when it
/// arrives.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub name: &'static str,
    pub cadence: f64,
    pub delay: f64,
    pub noise: f64,
}

/// As met: a meter pushed each second, the same by a slower path, and slower meters.
pub const SOURCES: [Source; 7] = [
    Source {
        name: "1s",
        cadence: 1.0,
        delay: 0.5,
        noise: 4.0,
    },
    Source {
        name: "1s-late",
        cadence: 1.0,
        delay: 1.2,
        noise: 4.0,
    },
    Source {
        name: "2s",
        cadence: 2.0,
        delay: 1.0,
        noise: 4.0,
    },
    Source {
        name: "5s",
        cadence: 5.0,
        delay: 1.0,
        noise: 4.0,
    },
    Source {
        name: "10s",
        cadence: 10.0,
        delay: 1.0,
        noise: 4.0,
    },
    Source {
        name: "1s-noisy",
        cadence: 1.0,
        delay: 0.5,
        noise: 25.0,
    },
    Source {
        name: "3s-late",
        cadence: 3.0,
        delay: 3.0,
        noise: 4.0,
    },
];

/// Part of a time by which polls and samples vary.
const JITTER: f64 = 0.1;

/// A moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub t: f64,
    pub grid: f64,
}

/// What one run says.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub seconds: f64,
    /// Energy moved the wrong way: drawn though the batteries could give, or fed in though they
    /// could take; Ws.
    pub wrong: f64,
    /// What the outputs moved in all, W.
    pub travel: f64,
    pub asks: u64,
    pub answers: u64,
    /// Longest time between answers, s.
    pub gap: f64,
    pub trace: Vec<Moment>,
}

fn normal(rng: &mut Rng) -> f64 {
    let (a, b) = (rng.f64().max(1e-12), rng.f64());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

fn vary(rng: &mut Rng, part: f64) -> f64 {
    1.0 + part * (2.0 * rng.f64() - 1.0)
}

/// What is avoidable of the grid power `grid`, W, with the batteries at `out` between `lo` and
/// `hi`.
fn avoidable(grid: f64, out: f64, lo: f64, hi: f64) -> f64 {
    if grid > 0.0 {
        grid.min((hi - out).max(0.0))
    } else {
        (-grid).min((out - lo).max(0.0))
    }
}

struct Asking {
    next: f64,
    since: Option<f64>,
    answered: f64,
}

/// Runs `seconds` of `house` and scores from `warm` on.
pub fn run(
    house: &dyn Fn(f64) -> f64,
    batteries: &mut [Battery],
    source: Source,
    policy: &mut dyn Policy,
    (seconds, warm): (f64, f64),
    seed: u64,
    record: bool,
) -> Run {
    let mut rng = Rng::with_seed(seed);
    let mut result = Run::default();
    let mut next_sample = rng.f64() * source.cadence;
    let mut due: VecDeque<(f64, f64, f64)> = VecDeque::new();
    let mut house_seen = 0.0;
    let mut asking: Vec<Asking> = Vec::new();
    for battery in batteries.iter_mut() {
        battery.reset();
        asking.push(Asking {
            next: rng.f64() * battery.poll,
            since: None,
            answered: 0.0,
        });
    }
    let lo: f64 = batteries.iter().map(|b| b.lo).sum();
    let hi: f64 = batteries.iter().map(|b| b.hi).sum();
    for k in 0..(seconds / STEP) as u64 {
        let t = k as f64 * STEP;
        let (mut out, mut moved) = (0.0, 0.0);
        for battery in batteries.iter_mut() {
            let before = battery.out;
            battery.physics(t);
            out += battery.out;
            moved += (battery.out - before).abs();
        }
        let grid = house(t) - out;
        if t >= next_sample {
            next_sample += source.cadence * vary(&mut rng, JITTER);
            due.push_back((
                t + source.delay * vary(&mut rng, JITTER),
                (grid + source.noise * normal(&mut rng)).round(),
                out,
            ));
        }
        while let Some((_, watts, out)) = due.pop_front_if(|(at, ..)| *at <= t) {
            house_seen = watts + out;
            policy.sample(t, watts);
        }
        for (who, a) in asking.iter_mut().enumerate() {
            if t >= a.next {
                let battery = &batteries[who];
                result.asks += 1;
                a.since.get_or_insert(t);
                a.next = a.next.max(t - battery.poll) + battery.poll * vary(&mut rng, 0.05);
            }
            let Some(since) = a.since else { continue };
            policy.told_all(batteries, house_seen);
            let battery = &mut batteries[who];
            if let Some(value) = policy.ask(t, who, t - since, battery.holds) {
                a.since = None;
                result.answers += 1;
                if t >= warm {
                    result.gap = result.gap.max(t - a.answered);
                }
                a.answered = t;
                battery.answer(t, value);
                if battery.holds {
                    a.next = a.next.max(t + 0.2);
                }
            } else if !battery.holds && t - since >= policy.udp_wait() {
                a.since = None;
            }
        }
        if t >= warm {
            result.seconds += STEP;
            result.wrong += avoidable(grid, out, lo, hi) * STEP;
            result.travel += moved;
        }
        if record {
            result.trace.push(Moment { t, grid });
        }
    }
    result
}

/// Energy moved the wrong way, Ws, by batteries that follow the house perfectly, as late as sensor,
/// poll and dead time make it.
pub fn delayed_ideal(
    house: &dyn Fn(f64) -> f64,
    batteries: &[Battery],
    source: Source,
    (seconds, warm): (f64, f64),
) -> f64 {
    let lo: f64 = batteries.iter().map(|b| b.lo).sum();
    let hi: f64 = batteries.iter().map(|b| b.hi).sum();
    let least = |of: fn(&Battery) -> f64| batteries.iter().map(of).fold(f64::INFINITY, f64::min);
    let late = source.delay + source.cadence / 2.0 + least(|b| b.poll) / 2.0 + least(|b| b.dead);
    let first = (warm / STEP) as u64;
    (first..(seconds / STEP) as u64)
        .map(|k| {
            let t = k as f64 * STEP;
            let out = house((t - late).max(0.0)).clamp(lo, hi);
            avoidable(house(t) - out, out, lo, hi) * STEP
        })
        .sum()
}
