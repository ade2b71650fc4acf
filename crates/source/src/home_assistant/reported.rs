//! When an entity was reported last, by Home Assistant's stamps, and when it is worth asking.
//!
//! A change comes as an event. Of an entity that is told the same value again only a stamp moves,
//! without an event: so one that has been quiet is asked for it. Stamps are compared with one
//! another and with Home Assistant's own time as it stands in the same answer, and what follows is
//! kept on our monotonic clock: neither a clock that differs nor one that jumps makes a reading
//! old.

use std::time::Duration;

/// Stamps closer than this are the same, s.
const SAME: f64 = 0.001;

/// When answers were asked for, and what time it was there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Monotonic.
    pub(super) at: Duration,
    /// Home Assistant's own clock in its answer, Unix s.
    pub(super) home: f64,
}

/// What is known of one entity's last report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reported {
    /// Home Assistant's stamp of it, Unix s.
    stamp: Option<f64>,
    /// When we heard of it, monotonic, and how old it was then. `None`: nobody knows.
    known: Option<(Duration, Duration)>,
    /// Its age was reckoned with our clock.
    unsure: bool,
    /// When we last knew that nothing newer was there.
    checked: Duration,
    /// When to ask next.
    due: Option<Duration>,
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default()
}

impl Reported {
    /// Heard as it happened.
    pub(super) fn live(&mut self, stamp: Option<f64>, now: Duration, look: Duration) {
        *self = Self {
            stamp: stamp.or(self.stamp),
            known: Some((now, Duration::ZERO)),
            unsure: false,
            checked: now,
            due: Some(now + look),
        };
    }

    /// Told at the beginning of a subscription; `ours` is what our wall clock says.
    pub(super) fn first(&mut self, stamp: Option<f64>, ours: f64, now: Duration) {
        let age = stamp.map_or(Duration::ZERO, |stamp| seconds(ours - stamp));
        *self = Self {
            stamp,
            known: Some((now, age)),
            unsure: true,
            checked: now,
            due: Some(now),
        };
    }

    /// Told while Home Assistant starts: the stamp is that of its start, the value may be of
    /// before.
    pub(super) fn restored(&mut self, stamp: Option<f64>, now: Duration) {
        *self = Self {
            stamp,
            known: None,
            unsure: false,
            checked: now,
            due: Some(now),
        };
    }

    /// Looked at: the stamp in an answer to what was asked. Whether that is news.
    pub(super) fn looked(
        &mut self,
        stamp: f64,
        asked: Asked,
        now: Duration,
        look: Duration,
    ) -> bool {
        if self.checked > asked.at {
            // An event overtook it.
            return false;
        }
        let age = seconds(asked.home - stamp);
        let moved = self
            .stamp
            .is_none_or(|before| (stamp - before).abs() > SAME);
        let known = if moved {
            // Whatever the clocks say, it came since we looked last.
            let since = now.saturating_sub(self.checked);
            let longest = self.stamp.map_or(Duration::MAX, |_| since);
            Some((now, age.min(longest)))
        } else if self.unsure {
            Some((now, age))
        } else {
            self.known
        };
        let before = self.age(now);
        (self.stamp, self.known, self.unsure, self.checked) = (Some(stamp), known, false, now);
        // Who has been quiet for long is asked less often.
        let quiet = self.age(now).filter(|_| !moved).unwrap_or_default();
        self.due = Some(now + (quiet / 4).clamp(look, look * 3));
        let corrected = before
            .zip(self.age(now))
            .is_some_and(|(before, after)| before.abs_diff(after) > Duration::from_secs(1));
        moved || corrected
    }

    /// Asked: not again until there is an answer, or until `again`.
    pub(super) fn ask(&mut self, again: Duration) {
        self.due = Some(again);
    }

    /// When to ask.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// How old the last report is.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        self.known.map(|(at, age)| now.saturating_sub(at) + age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(5);

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    impl Reported {
        /// Asked at `at` s and answered at `now` s.
        fn told(&mut self, stamp: f64, home: f64, at: u64, now: u64) -> bool {
            self.looked(stamp, Asked { at: s(at), home }, s(now), LOOK)
        }
    }

    #[test]
    fn the_first_word_may_be_old() {
        let mut reported = Reported::default();
        reported.first(Some(1000.0), 2500.0, s(1));
        assert_eq!(reported.age(s(2)), Some(s(1501)));
        assert_eq!(reported.due(), Some(s(1)));
        // Home Assistant's clock is an hour behind ours, as its answer shows: the value is fresh.
        reported.first(Some(1000.0), 4601.0, s(1));
        assert!(reported.told(1000.0, 1001.0, 1, 2));
        assert_eq!(reported.age(s(2)), Some(s(1)));
        assert_eq!(reported.due(), Some(s(7)));
    }

    #[test]
    fn the_same_value_again_is_a_report() {
        let mut reported = Reported::default();
        reported.live(Some(1000.0), s(10), LOOK);
        assert_eq!(reported.age(s(20)), Some(s(10)));
        assert!(reported.told(1009.0, 1010.0, 20, 20));
        assert_eq!(reported.age(s(21)), Some(s(2)));
        assert!(!reported.told(1009.0, 1015.0, 25, 25), "nothing new");
        assert_eq!(reported.age(s(25)), Some(s(6)));
        assert_eq!(reported.due(), Some(s(30)));
    }

    #[test]
    fn a_clock_that_jumps_makes_nothing_old() {
        let mut reported = Reported::default();
        reported.live(Some(1000.0), s(10), LOOK);
        // Forward by a year: the old stamp looks ancient.
        assert!(!reported.told(1000.0, 3.2e7, 16, 16));
        assert_eq!(reported.age(s(16)), Some(s(6)));
        // And a report whose stamp lies on the other side of the jump.
        assert!(reported.told(1012.0, 3.2e7, 22, 22));
        assert_eq!(reported.age(s(22)), Some(s(6)));
        // Back by a year.
        assert!(reported.told(5.0, 6.0, 30, 30));
        assert_eq!(reported.age(s(30)), Some(s(1)));
    }

    #[test]
    fn an_event_overtakes_an_answer() {
        let mut reported = Reported::default();
        reported.live(Some(1000.0), s(10), LOOK);
        reported.live(Some(1020.0), s(30), LOOK);
        assert!(!reported.told(1000.0, 1020.0, 29, 31));
        assert_eq!(reported.age(s(31)), Some(s(1)));
    }

    #[test]
    fn restored_is_no_report() {
        let mut reported = Reported::default();
        reported.restored(Some(1000.0), s(3));
        assert!(!reported.told(1000.0, 1002.0, 4, 4));
        assert_eq!(reported.age(s(5)), None);
        assert!(reported.told(1004.0, 1005.0, 6, 6));
        assert_eq!(reported.age(s(6)), Some(s(1)));
    }

    #[test]
    fn who_is_quiet_is_asked_less_often() {
        let mut reported = Reported::default();
        reported.live(Some(0.0), s(0), LOOK);
        for (now, next) in [(8, 13), (40, 50), (100, 115), (1000, 1015)] {
            assert!(!reported.told(0.0, now as f64, now, now));
            assert_eq!(reported.due(), Some(s(next)));
        }
    }
}
