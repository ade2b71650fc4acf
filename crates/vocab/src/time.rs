//! Time as an argument: a monotonic part for intervals, a wall part for stamps.
//!
//! Nothing in the pure crates reads a clock. The shell around them asks a [`Clock`] once and passes
//! the [`Now`] in, so a jump of the wall clock changes no energy and tests replay any sequence of
//! times.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment, seen by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Now {
    /// Time since this process started; never goes back.
    pub mono: Duration,
    /// Seconds since 1970-01-01 UTC as the host's wall clock tells them; may jump.
    pub unix: f64,
}

impl Now {
    /// Whole wall-clock seconds.
    #[must_use]
    pub fn unix_s(self) -> i64 {
        self.unix.floor() as i64
    }

    /// The moment `by` later on both clocks.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self {
            mono: self.mono + by,
            unix: self.unix + by.as_secs_f64(),
        }
    }
}

/// Where the shell gets its [`Now`] from.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Now;
}

/// The host's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic part starts at zero now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now {
            mono: self.start.elapsed(),
            unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |d| d.as_secs_f64()),
        }
    }
}
