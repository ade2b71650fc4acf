//! Whether grid power swings around zero.

use std::collections::VecDeque;

/// Beyond zero by more than this on both sides, W …
const BEYOND: f64 = 60.0;
/// … so many times …
const CROSSINGS: usize = 6;
/// … within this time, s.
const WITHIN: f64 = 75.0;

/// Looks for a swing: grid power that crosses zero by more than 60 W six times in 75 s.
#[derive(Clone, Debug, Default)]
pub struct Swing {
    side: f64,
    crossed: VecDeque<f64>,
}

impl Swing {
    /// A sample, W.
    pub fn sample(&mut self, now: f64, watts: f64) {
        if watts.abs() > BEYOND && watts.signum() != self.side {
            if self.side != 0.0 {
                self.crossed.push_back(now);
            }
            self.side = watts.signum();
        }
        while self.crossed.len() > CROSSINGS {
            self.crossed.pop_front();
        }
    }

    /// Whether it swings at `now`, s.
    #[must_use]
    pub fn is_on(&self, now: f64) -> bool {
        self.crossed.len() >= CROSSINGS
            && self
                .crossed
                .front()
                .is_some_and(|first| now - first <= WITHIN)
    }

    /// Looks anew.
    pub fn clear(&mut self) {
        self.crossed.clear();
    }
}
