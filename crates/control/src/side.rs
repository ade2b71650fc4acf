//! What a reader does with answers of one direction.

use std::collections::VecDeque;

/// Episodes needed before a limit is believed, to begin with; doubled each time that belief was
/// wrong.
const NEED: f64 = 3.0;
const NEED_MOST: f64 = 24.0;
/// What was learned is taken this many times as large: too little booked means an answer too many,
/// and that swings.
const SAFE: f64 = 1.3;
/// The least that one answer is taken to move, W.
const REACH_LEAST: f64 = 25.0;
/// The least part of an answer that a reader is taken to do.
const GAIN_LEAST: f64 = 0.15;

/// How a reader follows answers of one direction: at most [`reach`](Self::reach) W for one answer,
/// [`gain`](Self::gain) of its value. All of it until shown otherwise.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// What one answer moves at most, W.
    pub reach: f64,
    /// Which part of an answer is done.
    pub gain: f64,
    /// How many episodes have to agree.
    need: f64,
    /// W moved an answer, of the latest episodes that moved less than they were told.
    moves: VecDeque<f64>,
    /// Sums of the regression behind `gain`: seen × asked, asked².
    seen_asked: f64,
    asked_asked: f64,
    small: u32,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            reach: f64::INFINITY,
            gain: 1.0,
            need: NEED,
            moves: VecDeque::new(),
            seen_asked: 0.0,
            asked_asked: 0.0,
            small: 0,
        }
    }
}

impl Side {
    /// Whether less is booked than was answered, so that it is answered again sooner.
    pub fn is_slow(&self) -> bool {
        self.reach.is_finite() || self.gain < 0.8
    }

    /// What of an answer of `watts` is expected to come, W.
    pub fn booked(&self, watts: f64) -> f64 {
        (self.gain * watts).min(self.reach)
    }

    /// The part of small answers that is done, once enough of them tell.
    pub fn small_part(&self) -> Option<f64> {
        (f64::from(self.small) >= 2.0 * self.need).then(|| self.seen_asked / self.asked_asked)
    }

    /// An episode is over.
    pub fn calmed(&mut self) {
        self.need = NEED.max(0.93 * self.need);
    }

    /// One answer was followed whole.
    pub fn followed(&mut self) {
        self.reach = f64::INFINITY;
        self.moves.clear();
    }

    /// An answer moved `watts`, clearly less than it said.
    pub fn fell_short(&mut self, watts: f64) {
        self.moves.push_back(watts);
        while self.moves.len() > self.need as usize {
            self.moves.pop_front();
        }
        if self.moves.len() >= self.need as usize {
            self.reach = REACH_LEAST.max(SAFE * self.moves.iter().copied().fold(0.0, f64::max));
        }
    }

    /// Answers of `asked` W in all, too small to meet a limit, moved `seen` W.
    pub fn followed_small(&mut self, seen: f64, asked: f64) {
        self.seen_asked = 0.9 * self.seen_asked + seen * asked;
        self.asked_asked = 0.9 * self.asked_asked + asked * asked;
        self.small = self.small.saturating_add(1);
        if f64::from(self.small) >= 2.0 * self.need {
            self.gain = (SAFE * self.seen_asked / self.asked_asked).clamp(GAIN_LEAST, 1.0);
        }
    }

    /// More came than was booked: nothing is believed any more, and believing takes longer.
    pub fn doubt(&mut self) {
        let need = if self.is_slow() {
            (2.0 * self.need).min(NEED_MOST)
        } else {
            self.need
        };
        *self = Self {
            need,
            ..Self::default()
        };
    }
}
