//! When to try again: quickly while Home Assistant restarts, then calmly; rarely with a refused
//! token.

use std::time::Duration;

use super::address::Cadence;

/// The schedule of one outage. Pure: time and chance come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Reconnect {
    since: Option<Duration>,
    tries: u32,
    pause: Duration,
    refused: u32,
    /// When a message was too large last.
    too_large: Option<Duration>,
}

const QUICK: Duration = Duration::from_secs(120);
const LONGEST: Duration = Duration::from_secs(15);
/// A message that is too large is the first, if there was none for so long.
const TOO_LARGE: Duration = Duration::from_secs(600);

impl Reconnect {
    /// Connected: the next outage starts afresh.
    pub(super) fn reset(&mut self) {
        *self = Self {
            too_large: self.too_large,
            ..Self::default()
        };
    }

    /// Pause after a message that was too large to be taken, at monotonic time `now`: it may have
    /// been the only one, but if it comes with each connection it is not to be read all the time.
    pub(super) fn too_large(&mut self, now: Duration, cadence: &Cadence) -> Duration {
        let again = self
            .too_large
            .replace(now)
            .is_some_and(|last| now.saturating_sub(last) < TOO_LARGE);
        if again {
            cadence.too_large_again
        } else {
            Duration::from_secs(1).mul_f64(cadence.reconnect_scale)
        }
    }

    /// Pause after a failure at monotonic time `now`: 1, 2, 4, 4 … s for two minutes, then doubling
    /// to 15 s. `chance` in 0..1 spreads it by ±10 %, so that a house full of clients does not
    /// knock in step.
    pub(super) fn failed(&mut self, now: Duration, cadence: &Cadence, chance: f64) -> Duration {
        let since = *self.since.get_or_insert(now);
        self.refused = 0;
        self.pause = match self.tries {
            0 => Duration::from_secs(1),
            1 => Duration::from_secs(2),
            _ if now.saturating_sub(since) < QUICK => Duration::from_secs(4),
            _ => (self.pause * 2).min(LONGEST),
        };
        self.tries = self.tries.saturating_add(1);
        self.pause
            .mul_f64((0.9 + 0.2 * chance.clamp(0.0, 1.0)) * cadence.reconnect_scale)
    }

    /// Pause after a refused token: Home Assistant bans addresses that keep on trying.
    pub(super) fn refused(&mut self, cadence: &Cadence) -> Duration {
        self.refused = self.refused.saturating_add(1);
        if self.refused == 1 {
            cadence.refused_first
        } else {
            cadence.refused_again
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_for_two_minutes_then_calm() {
        let (mut r, c) = (Reconnect::default(), Cadence::default());
        let mut now = Duration::from_secs(7);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            let p = r.failed(now, &c, 0.5);
            pauses.push(p.as_secs_f64().round() as u32);
            now += p;
        }
        assert_eq!(pauses[..5], [1, 2, 4, 4, 4]);
        assert_eq!(pauses[30..36], [4, 4, 8, 15, 15, 15]);
        assert!(pauses[36..].iter().all(|&p| p == 15));
        r.reset();
        assert_eq!(r.failed(now, &c, 0.5), Duration::from_secs(1));
        assert!(r.failed(now, &c, 1.0) <= Duration::from_millis(2200));
        assert!(r.failed(now, &c, 0.0) >= Duration::from_millis(3600));
    }

    #[test]
    fn messages_that_are_too_large_are_not_read_all_the_time() {
        let (mut r, c) = (Reconnect::default(), Cadence::default());
        let pauses = [0, 2, 63, 1000].map(|at| {
            r.reset();
            r.too_large(Duration::from_secs(at), &c).as_secs()
        });
        assert_eq!(pauses, [1, 60, 60, 1]);
    }

    #[test]
    fn a_refused_token_is_tried_rarely() {
        let (mut r, c) = (Reconnect::default(), Cadence::default());
        let pauses: Vec<u64> = (0..4).map(|_| r.refused(&c).as_secs()).collect();
        assert_eq!(pauses, [60, 1800, 1800, 1800]);
    }
}
