//! An import and an export sensor that change direction are two readings of one power, and come one
//! after the other.
//!
//! Of a meter's pair at most one side says something. In a change of direction, 500 W drawn to 300
//! W fed in, their difference is for a moment 200 W or 0 W, which the house never took: within
//! milliseconds where Home Assistant writes both in one turn (one message of a meter, templates of
//! one sensor), within tenths of a second where an integration polls one after the other. Until the
//! sibling comes, the last whole value is served:
//!
//! - Both sides say something: that is no value of such a pair. It is waited for up to [`MOST`].
//!   Sensors of which both say something for longer, such as sums over phases, are no such pair:
//!   they are not waited for, until they are seen to take turns.
//! - One side fell to 0 and the other is 0 still: that may be the truth. It is waited for as long
//!   as the sibling has been seen to take, at first [`FIRST`].
//!
//! A side that changes alone, as one does between two changes of direction, is never waited for.

use std::{collections::VecDeque, time::Duration};

/// The longest wait for a sibling.
pub const MOST: Duration = Duration::from_secs(1);
/// The wait at 0 W while nobody knows yet how far apart the two come.
pub const FIRST: Duration = Duration::from_millis(250);
/// Added to what was learned.
const SLACK: Duration = Duration::from_millis(20);
/// Changes of direction that are remembered.
const LAGS: usize = 4;
/// So many of them make a pair again of what was none.
const CLEAN: u8 = 3;

/// Import and export, W.
pub type Sides = (f64, f64);

/// Which sides say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Import,
    Export,
    Both,
    Neither,
}

impl Speaks {
    fn of((import, export): Sides) -> Self {
        match (import != 0.0, export != 0.0) {
            (true, false) => Self::Import,
            (false, true) => Self::Export,
            (true, true) => Self::Both,
            (false, false) => Self::Neither,
        }
    }

    const fn one(self) -> bool {
        matches!(self, Self::Import | Self::Export)
    }
}

/// The moment between two directions, or what looks like it.
#[derive(Clone, Copy, Debug)]
struct Turning {
    /// Since when.
    at: Duration,
    /// The last whole value; `None`: there was none.
    before: Option<Sides>,
    /// Until when that is served.
    until: Duration,
    /// How long nothing had changed before: a lag is short against that.
    rest: Duration,
}

/// What is known of the two.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    now: Option<Sides>,
    changed: Duration,
    turning: Option<Turning>,
    lags: VecDeque<Duration>,
    /// Both were seen to say something for longer.
    apart: bool,
    /// Changes of direction since.
    clean: u8,
}

impl Pair {
    /// Both say this from `now` on; `None`: one of them has no fresh value, and nothing is waited
    /// for.
    pub fn set(&mut self, sides: Option<Sides>, now: Duration) {
        if let (Some(turning), Some(Speaks::Both)) = (self.turning, self.now.map(Speaks::of))
            && now >= turning.at + MOST
        {
            (self.apart, self.clean, self.turning) = (true, 0, None);
        }
        let Some(sides) = sides else {
            (self.now, self.turning) = (None, None);
            return;
        };
        let (before, is) = (self.now.replace(sides), Speaks::of(sides));
        if before == Some(sides) {
            return;
        }
        let rest = now.saturating_sub(std::mem::replace(&mut self.changed, now));
        let Some(old) = before else {
            // The first that is heard of them: whole or not, nobody knows.
            let both = is == Speaks::Both;
            self.turning = both.then_some(Turning {
                at: now,
                before: None,
                until: now,
                rest: Duration::ZERO,
            });
            return;
        };
        let was = Speaks::of(old);
        let wait = match is {
            _ if was == is => return,
            Speaks::Both if was.one() && self.apart => Duration::ZERO,
            Speaks::Both if was.one() => MOST,
            Speaks::Neither if was.one() => self.patience(),
            _ => return self.settled(is, now),
        };
        self.turning = Some(Turning {
            at: now,
            before: Some(old),
            until: now + wait,
            rest,
        });
    }

    /// What was between two directions has come to an end.
    fn settled(&mut self, is: Speaks, now: Duration) {
        let Some(Turning {
            at,
            before: Some(before),
            rest,
            ..
        }) = self.turning.take()
        else {
            return;
        };
        let lag = now.saturating_sub(at);
        // A sibling that came much later, or as late as the next reading, was none.
        if !is.one() || is == Speaks::of(before) || lag > MOST || lag * 3 > rest {
            return;
        }
        self.clean = (self.clean + 1).min(CLEAN);
        self.apart &= self.clean < CLEAN;
        self.lags.truncate(LAGS - 1);
        self.lags.push_front(lag);
    }

    /// How long a sibling may take at 0 W.
    fn patience(&self) -> Duration {
        match self.lags.iter().max() {
            _ if self.apart => Duration::ZERO,
            Some(lag) => (lag.mul_f64(1.5) + SLACK).min(MOST),
            None => FIRST,
        }
    }

    /// What is served instead of what both say, and until when, monotonic.
    #[must_use]
    pub fn held(&self, now: Duration) -> Option<(Sides, Duration)> {
        let turning = self.turning.filter(|turning| now < turning.until)?;
        Some((turning.before?, turning.until))
    }
}
