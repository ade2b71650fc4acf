//! A made-up battery behind the demo's meter: it reads the meter as a real one would, and what it
//! gives or takes shows on phase A.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What it holds, Wh.
const CAPACITY: f64 = 5_120.0;
/// The most that it gives or takes, W.
const MOST: f64 = 800.0;
/// How long a new set point takes until it acts, s.
const DEAD_TIME: f64 = 0.8;
/// How quickly its output moves, W/s.
const RAMP: f64 = 400.0;
/// Answers within this are left alone, W.
const BAND: f64 = 15.0;
/// What of the energy taken comes back.
const EFFICIENCY: f64 = 0.88;

/// A battery that adds what it hears to its set point, as a Venus does. Pure: time is an argument,
/// in monotonic seconds.
#[derive(Clone, Debug)]
pub struct Battery {
    /// Wh, 0 to [`CAPACITY`].
    stored: f64,
    /// W, positive while it gives.
    output: f64,
    /// The newest set point, and those that do not act yet, each with the time from which it does.
    set: f64,
    coming: VecDeque<(f64, f64)>,
    goal: f64,
    at: f64,
}

impl Default for Battery {
    /// Half full and at rest.
    fn default() -> Self {
        Self {
            stored: CAPACITY / 2.0,
            output: 0.0,
            set: 0.0,
            coming: VecDeque::new(),
            goal: 0.0,
            at: 0.0,
        }
    }
}

impl Battery {
    /// Its output at `now`, W, positive while it gives.
    pub fn output(&mut self, now: f64) -> f64 {
        while let Some(&(from, set)) = self.coming.front()
            && from <= now
        {
            self.go_on(from);
            self.goal = set;
            self.coming.pop_front();
        }
        self.go_on(now);
        self.output
    }

    /// It hears that the meter says `watts`, + import.
    pub fn hears(&mut self, now: f64, watts: f64) {
        if watts.is_finite() && watts.abs() > BAND {
            self.set = (self.set + watts).clamp(-MOST, MOST);
            self.coming.push_back((now + DEAD_TIME, self.set));
        }
    }

    /// For a past that nobody lived through: it levels a house that takes `watts` for `seconds`, and
    /// gives that output back.
    pub fn levels(&mut self, watts: f64, seconds: f64) -> f64 {
        self.output = watts.clamp(-MOST, MOST);
        self.store(seconds);
        (self.set, self.goal) = (self.output, self.output);
        self.output
    }

    fn go_on(&mut self, now: f64) {
        let seconds = (now - self.at).max(0.0);
        self.at = self.at.max(now);
        let step = RAMP * seconds;
        self.output += (self.goal - self.output).clamp(-step, step);
        self.store(seconds);
    }

    /// What `seconds` at this output do to what is stored; empty it gives nothing, full it takes
    /// nothing.
    fn store(&mut self, seconds: f64) {
        let energy = self.output * seconds / 3600.0;
        let stored = self.stored
            - if energy > 0.0 {
                energy
            } else {
                energy * EFFICIENCY
            };
        if !(0.0..=CAPACITY).contains(&stored) {
            self.output = 0.0;
        }
        self.stored = stored.clamp(0.0, CAPACITY);
    }
}

/// The battery that the household and whoever reads the meter for it share. Times are those of the
/// process's monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct SharedBattery(Arc<Mutex<Battery>>);

impl SharedBattery {
    /// See [`Battery::output`].
    #[must_use]
    pub fn output(&self, now: Duration) -> f64 {
        self.with(|battery| battery.output(now.as_secs_f64()))
    }

    /// See [`Battery::hears`].
    pub fn hears(&self, now: Duration, watts: f64) {
        self.with(|battery| battery.hears(now.as_secs_f64(), watts));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Battery) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_late_and_not_beyond_what_it_can() {
        let mut battery = Battery::default();
        battery.hears(0.0, 500.0);
        assert_eq!(battery.output(0.7), 0.0, "its dead time");
        assert!((battery.output(1.3) - 200.0).abs() < 1e-9, "its ramp");
        assert_eq!(battery.output(5.0), 500.0);
        battery.hears(5.0, 3000.0);
        assert_eq!(battery.output(10.0), MOST);
        battery.hears(10.0, 10.0);
        battery.hears(10.0, f64::NAN);
        assert_eq!(battery.output(20.0), MOST, "too little to act on");
        battery.hears(20.0, -1000.0);
        assert_eq!(battery.output(30.0), -200.0);
    }

    #[test]
    fn empty_it_gives_nothing_and_full_it_takes_nothing() {
        let mut battery = Battery::default();
        let given: f64 = (0..24)
            .map(|_| battery.levels(2000.0, 3600.0).max(0.0))
            .sum();
        assert!(given <= CAPACITY / 2.0 + MOST, "{given} Wh");
        assert_eq!(battery.levels(2000.0, 3600.0), 0.0);
        let taken: f64 = (0..24).map(|_| -battery.levels(-2000.0, 3600.0)).sum();
        assert!(
            (CAPACITY / EFFICIENCY - MOST..=CAPACITY / EFFICIENCY + MOST).contains(&taken),
            "{taken} Wh"
        );
        assert_eq!(battery.levels(-2000.0, 3600.0), 0.0);
    }
}
