//! One error and the answers to it, until what was answered has been seen on the meter.

use std::collections::VecDeque;

/// Samples of one episode that are remembered.
const PATH: usize = 128;

/// An open episode: watts that were answered and are not all seen yet. "Error" is the sample in the
/// episode's direction, W.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    /// +1.0 while the house draws, −1.0 while it feeds in.
    pub sign: f64,
    /// The greatest error since it began: load that came meanwhile is owed, not seen.
    pub peak: f64,
    /// What of the answers is expected to come.
    pub booked: f64,
    /// What was answered, all together.
    pub asked: f64,
    /// Answers.
    pub given: u32,
    /// When the last of them was given, s.
    pub answered_at: f64,
    /// Its first answer was far from what the reader was told before.
    pub jump: bool,
    /// It follows one whose answer was not seen at all.
    pub after_held: bool,
    /// Nothing was on its way for some seconds before.
    pub rested: bool,
    /// The same was said just before, to a reader that would hold it once.
    pub primed: bool,
    /// Age of that answer at the newest sample, s.
    pub age: f64,
    /// Age and what was seen by then, of each sample.
    path: VecDeque<(f64, f64)>,
}

impl Episode {
    pub fn new(sign: f64, error: f64) -> Self {
        Self {
            sign,
            peak: error,
            booked: 0.0,
            asked: 0.0,
            given: 0,
            answered_at: 0.0,
            jump: false,
            primed: false,
            rested: false,
            after_held: false,
            age: 0.0,
            path: VecDeque::new(),
        }
    }

    /// An answer of `watts` was given, of which `booked` are expected.
    pub fn answered(&mut self, now: f64, watts: f64, booked: f64) {
        self.booked += booked;
        self.asked += watts;
        self.given = self.given.saturating_add(1);
        self.answered_at = now;
        self.age = 0.0;
    }

    /// A sample: the age before it, and what has been seen by now.
    pub fn sample(&mut self, now: f64, error: f64) -> (f64, f64) {
        self.peak = self.peak.max(error);
        let (before, seen) = (self.age, self.peak - error);
        self.age = now - self.answered_at;
        if self.path.len() == PATH {
            self.path.pop_front();
        }
        self.path.push_back((self.age, seen));
        (before, seen)
    }

    /// What has been seen of the answers while the error is `error`, W.
    pub fn seen(&self, error: f64) -> f64 {
        (self.peak - error).max(0.0)
    }

    /// Whether two samples and more showed nothing of the answer, and nothing else.
    pub fn nothing_seen(&self) -> bool {
        self.path.len() >= 2
            && self
                .path
                .iter()
                .all(|(_, seen)| seen.abs() <= 0.12 * self.booked)
    }

    /// After how many seconds `part` of `seen` had been seen, straight lines between samples.
    pub fn took(&self, part: f64, seen: f64) -> Option<f64> {
        let goal = part * seen;
        let (mut age0, mut seen0) = (0.0, 0.0);
        for &(age, seen) in &self.path {
            if seen >= goal {
                return Some(if seen > seen0 {
                    age0 + (age - age0) * (goal - seen0) / (seen - seen0)
                } else {
                    age
                });
            }
            (age0, seen0) = (age, seen);
        }
        None
    }
}

/// An episode that was closed lately: what shows beyond zero may be its late effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    /// Until when that may be, s.
    pub until: f64,
    /// Its direction.
    pub sign: f64,
    /// Answers.
    pub given: u32,
    /// All of what was booked has been seen.
    pub whole: bool,
    /// Beyond zero by more than this is worth a thought, W.
    pub limit: f64,
    /// What was answered and not seen, W.
    pub unseen: f64,
    /// See [`Episode::primed`].
    pub primed: bool,
    /// What was answered, all together, W.
    pub asked: f64,
}
