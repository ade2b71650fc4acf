//! How good a policy is for a family of batteries.

use fastrand::Rng;

use super::{
    batteries::{self, Battery},
    houses::{self, Trace},
    policies,
    world::{self, Source},
};

/// Parameters are drawn from the families' ranges made so many times as wide.
const WIDEN: f64 = 1.4;
/// What learning takes is not counted, s.
const WARM: f64 = 600.0;

/// Batteries of a family, or of several joined by `+`.
pub fn fleet(family: &str, rng: &mut Rng) -> Vec<Battery> {
    family
        .split('+')
        .map(|one| batteries::make(one, rng, WIDEN))
        .collect()
}

/// Batteries are drawn from here on: the constants of the control were chosen on others.
const UNSEEN: u64 = 5000;

fn seed(family: &str, n: u64) -> u64 {
    family
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ (UNSEEN + n), |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
}

/// Scores over a household.
#[derive(Clone, Copy, Debug, Default)]
pub struct Household {
    /// Energy moved the wrong way as a multiple of the delayed ideal.
    pub times_ideal: f64,
    /// What the batteries' outputs moved, kW an hour.
    pub travel: f64,
    /// Longest time without an answer, s.
    pub gap: f64,
    /// Answers a question.
    pub answered: f64,
}

impl Household {
    /// Over several households: the geometric mean of what is a ratio, the longest of what is a
    /// limit.
    pub fn mean(of: &[Self]) -> Self {
        let n = of.len().max(1) as f64;
        Self {
            times_ideal: (of.iter().map(|h| h.times_ideal.ln()).sum::<f64>() / n).exp(),
            travel: of.iter().map(|h| h.travel).sum::<f64>() / n,
            gap: of.iter().map(|h| h.gap).fold(0.0, f64::max),
            answered: of.iter().map(|h| h.answered).sum::<f64>() / n,
        }
    }
}

/// `draws` batteries of the family, each over the whole trace.
pub fn household(
    trace: &Trace,
    family: &str,
    source: Source,
    policy: &str,
    draws: u64,
) -> Household {
    let house = |t: f64| trace.at(t);
    let (mut wrong, mut ideal, mut travel, mut seconds) = (0.0, 0.0, 0.0, 0.0);
    let (mut asks, mut answers) = (0, 0);
    let mut gap: f64 = 0.0;
    for n in 0..draws {
        let mut rng = Rng::with_seed(seed(family, n));
        let mut fleet = fleet(family, &mut rng);
        let time = (trace.seconds(), WARM);
        let run = world::run(
            &house,
            &mut fleet,
            source,
            &mut *policies::make(policy),
            time,
            rng.u64(..),
            false,
        );
        ideal += world::delayed_ideal(&house, &fleet, source, time);
        wrong += run.wrong;
        travel += run.travel;
        seconds += run.seconds;
        asks += run.asks;
        answers += run.answers;
        gap = gap.max(run.gap);
    }
    Household {
        times_ideal: wrong / ideal,
        travel: travel / seconds * 3.6,
        gap,
        answered: answers as f64 / asks as f64,
    }
}

/// Scores after steps of the load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    /// Mean time until grid power stays near zero for 15 s.
    pub settle: f64,
    /// Ninth tenth of what it goes beyond zero, W.
    pub overshoot: f64,
    /// Root mean square of grid power from a minute after a step on, W.
    pub swing: f64,
}

/// Steps between 400 and 700 W.
pub fn steps(family: &str, source: Source, policy: &str, seeds: u64) -> Steps {
    let many = family.matches('+').count() + 1;
    let band = if many == 1 {
        45.0
    } else {
        25.0 + 20.0 * many as f64
    };
    let (mut settles, mut overs, mut squares, mut calm) = (Vec::new(), Vec::new(), 0.0, 0_u64);
    for n in 0..seeds {
        let mut rng = Rng::with_seed(seed(family, 1000 + n));
        let (events, end) = houses::steps(&mut rng, 400.0, 700.0, 10);
        let mut fleet = fleet(family, &mut rng);
        let house = |t: f64| houses::level(&events, t);
        let run = world::run(
            &house,
            &mut fleet,
            source,
            &mut *policies::make(policy),
            (end, 0.0),
            rng.u64(..),
            true,
        );
        for (k, (from, _)) in events.iter().enumerate().skip(1) {
            let to = events.get(k + 1).map_or(end, |e| e.0);
            let part = &run.trace[(from * 10.0) as usize + 1..(to * 10.0) as usize];
            let Some(first) = part.first() else { continue };
            let sign = first.grid.signum();
            let (mut settle, mut good) = (to - from, None);
            for moment in part {
                if moment.grid.abs() < band {
                    let since = *good.get_or_insert(moment.t);
                    if moment.t - since >= 15.0 {
                        settle = since - from;
                        break;
                    }
                } else {
                    good = None;
                }
            }
            settles.push(settle);
            let crossed = part.iter().position(|m| m.grid * sign < -1.0);
            overs.push(crossed.map_or(0.0, |at| {
                part[at..]
                    .iter()
                    .map(|m| -m.grid * sign)
                    .fold(0.0, f64::max)
            }));
            for moment in part.iter().filter(|m| m.t - from > 60.0) {
                squares += moment.grid * moment.grid;
                calm += 1;
            }
        }
    }
    overs.sort_by(f64::total_cmp);
    Steps {
        settle: settles.iter().sum::<f64>() / settles.len().max(1) as f64,
        overshoot: overs.get(overs.len() * 9 / 10).copied().unwrap_or(0.0),
        swing: (squares / calm.max(1) as f64).sqrt(),
    }
}
