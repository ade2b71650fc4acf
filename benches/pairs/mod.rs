//! Ours against a floor: interleaved rounds of askers on threads, median rate and latency of each.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

/// Least ratio of the rates.
pub const BAR: f64 = 0.8;

/// Whether the bar is met. With `BENCH_CHECK` a tenth less counts too: one short run on a machine
/// that others share.
#[must_use]
pub fn met(ratio: f64) -> bool {
    ratio
        >= if std::env::var_os("BENCH_CHECK").is_some() {
            BAR * 0.9
        } else {
            BAR
        }
}

const ASKERS: usize = 4;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(400);

/// One connection that asks the same again and again.
pub trait Ask: Send {
    /// Asks once and takes the answer in.
    fn ask(&mut self);
}

/// Prints both and gives the ratio of their median rates.
pub fn compare<A: Ask, B: Ask>(name: &str, ours: impl Fn() -> A, floor: impl Fn() -> B) -> f64 {
    let mut ours: Vec<A> = (0..ASKERS).map(|_| ours()).collect();
    let mut floor: Vec<B> = (0..ASKERS).map(|_| floor()).collect();
    let mut figures = [Figures::default(), Figures::default()];
    for warm in 0..=ROUNDS {
        let rounds = [one_round(&mut ours), one_round(&mut floor)];
        // The first round warms up.
        if warm > 0 {
            for (figures, times) in figures.iter_mut().zip(rounds) {
                figures.take(times);
            }
        }
    }
    let [ours, floor] = figures.map(Figures::medians);
    println!(
        "{name:<10} {:>8.0}/s  p50 {:>9.1?}  p99 {:>9.1?}",
        ours.0, ours.1, ours.2
    );
    println!(
        "{:<10} {:>8.0}/s  p50 {:>9.1?}  p99 {:>9.1?}",
        "  bare", floor.0, floor.1, floor.2
    );
    let ratio = ours.0 / floor.0;
    println!("{:<10} {ratio:>8.2}    bar {BAR}", "  ratio");
    ratio
}

#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
}

impl Figures {
    fn take(&mut self, mut times: Vec<Duration>) {
        times.sort();
        self.rates.push(times.len() as f64 / ROUND.as_secs_f64());
        self.p50.push(times[times.len() / 2]);
        self.p99.push(times[times.len() * 99 / 100]);
    }

    fn medians(mut self) -> (f64, Duration, Duration) {
        self.rates.sort_by(f64::total_cmp);
        self.p50.sort();
        self.p99.sort();
        let middle = ROUNDS / 2;
        (self.rates[middle], self.p50[middle], self.p99[middle])
    }
}

fn one_round<A: Ask>(askers: &mut [A]) -> Vec<Duration> {
    let end = Instant::now() + ROUND;
    std::thread::scope(|scope| {
        let threads: Vec<_> = askers
            .iter_mut()
            .map(|asker| {
                scope.spawn(move || {
                    let mut times = Vec::with_capacity(32_768);
                    loop {
                        let began = Instant::now();
                        if began >= end {
                            return times;
                        }
                        asker.ask();
                        times.push(began.elapsed());
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    })
}
