//! A reader's gate against spikes.

/// A reader that holds an answer once which jumped while its own output did not move, as against
/// spikes (Marstek's firmware).
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    /// How sure it is, 0 to 1.
    sure: f64,
    /// It is taken for one.
    pub on: bool,
    /// The direction of a jump that nothing was seen of just now, and until when that counts, s.
    pub held: Option<(f64, f64)>,
    /// Answers given now that it will hold.
    pub primed: u32,
}

impl Gate {
    /// An answer that jumped was held (1) or followed (0).
    pub fn learn(&mut self, holds: f64) {
        self.sure += 0.25 * (holds - self.sure);
        self.on = self.sure > if self.on { 0.35 } else { 0.6 };
    }
}
