//! Stepping aside.

/// Stepping aside for a reader that is calm by itself: it is answered as without control.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    /// It was found to be calm by itself.
    found: bool,
    /// It is answered as without control.
    pub on: bool,
    since: f64,
    /// How often it swung at once.
    wrong: u32,
    /// Closed episodes since then in which it looked calm.
    seen: u32,
    /// When it may be tried again after a swing, and how long that takes, s.
    again: f64,
    pause: f64,
}

impl Aside {
    /// An episode is over, and the reader looks calm or not.
    pub fn closed(&mut self, calm: bool) {
        self.seen = if calm { self.seen + 1 } else { 0 };
        self.found |= self.seen > 4 * (1 << self.wrong.min(8));
    }

    /// A sample, and whether grid power swings.
    pub fn sample(&mut self, now: f64, swings: bool) {
        if self.on && swings {
            let soon = now - self.since < 2.0 * self.pause.max(150.0);
            self.pause = if soon {
                (2.0 * self.pause).clamp(300.0, 4.0 * 3600.0)
            } else {
                300.0
            };
            (self.on, self.again) = (false, now + self.pause);
            if soon {
                self.found = false;
                self.wrong = self.wrong.saturating_add(1);
                self.seen = 0;
            }
        } else if self.found && !self.on && !swings && now >= self.again {
            (self.on, self.since) = (true, now);
        }
    }
}
