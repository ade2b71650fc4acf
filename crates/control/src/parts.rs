//! Which part of an answer a reader does.

use std::collections::VecDeque;

/// Episodes that tell.
const EPISODES: usize = 10;
/// A part outside of this tells of the load, or of a battery that is full, and not of the reader.
const BELIEVED: std::ops::RangeInclusive<f64> = 0.05..=1.3;
/// An answer that is large enough to tell, W: smaller ones drown in noise.
const ASKED: f64 = 80.0;
/// The middle half of the parts lies within this part of their median, if they tell anything.
const SPREAD: f64 = 0.4;

/// Parts of their one answer that were seen, of the latest episodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts(VecDeque<f64>);

impl Parts {
    /// One answer of `asked` W moved `seen` W.
    pub fn note(&mut self, seen: f64, asked: f64) {
        let part = seen / asked;
        if asked >= ASKED && BELIEVED.contains(&part) {
            if self.0.len() == EPISODES {
                self.0.pop_front();
            }
            self.0.push_back(part);
        }
    }

    /// The part that three of four episodes did not exceed, if they agree.
    pub fn usual(&self) -> Option<f64> {
        if self.0.len() < EPISODES {
            return None;
        }
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let (low, middle, high) = (
            sorted[EPISODES / 4],
            sorted[EPISODES / 2],
            sorted[EPISODES * 3 / 4],
        );
        (high - low <= SPREAD * middle).then_some(high)
    }
}
