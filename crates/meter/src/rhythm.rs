//! How often an entity reports, learned from what it did, and how long a silence is more than its
//! usual one.
//!
//! Reports are of two kinds: Home Assistant says each change, and of an entity that it tells the
//! same value again it moves a stamp only, which the source looks at now and then. Integrations
//! differ: many report at every poll, some only a change. A steady value of the latter looks like a
//! dead sensor, so they are given much longer.

use std::time::Duration;

/// When Home Assistant was told something of an entity last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// When that was heard, monotonic.
    pub at: Duration,
    /// How old it was then: it may be of before this process.
    pub age: Duration,
}

impl Report {
    /// Its age at `now`.
    #[must_use]
    pub fn age(self, now: Duration) -> Duration {
        now.saturating_sub(self.at) + self.age
    }

    /// When it was made, monotonic; at the earliest when this process began.
    #[must_use]
    pub fn made(self) -> Duration {
        self.at.saturating_sub(self.age)
    }
}

/// Buckets a doubling of the interval.
const FINE: f64 = 4.0;
/// The shortest interval told from shorter ones, s.
const SHORTEST: f64 = 0.125;
/// Up to three days.
const BUCKETS: usize = 86;
/// Beyond so many intervals the older ones count half.
const MEMORY: u32 = 20_000;
/// With fewer intervals than this nothing is usual.
const LEAST: u32 = 20;
/// Silent for this many times what nearly all its intervals are within.
const TIMES: f64 = 20.0;
/// No silence of an entity that repeats unchanged values is shorter, s.
const REPEATING: f64 = 120.0;
/// No silence of an entity that never did is shorter, s.
const CHANGING: f64 = 300.0;

/// What an entity usually does, s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// Half of its intervals are shorter.
    pub median: f64,
    /// 99 of 100 are.
    pub most: f64,
    /// It has been seen to report an unchanged value again: its silence is no steady value.
    pub repeats: bool,
}

/// Learned intervals, in little room.
#[derive(Clone, Debug)]
pub struct Rhythm {
    /// Number and sum of the intervals of about the same length.
    buckets: Box<[(u32, f32); BUCKETS]>,
    count: u32,
    repeats: bool,
    /// The longest interval of all, s: whoever came back from it by himself may be that long again.
    longest: f64,
    /// How long a silence has to be, kept: it is asked for far more often than it changes.
    patience: Option<f64>,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            buckets: Box::new([(0, 0.0); BUCKETS]),
            count: 0,
            repeats: false,
            longest: 0.0,
            patience: None,
        }
    }
}

impl Rhythm {
    /// Learns from a report this long after the one before.
    pub fn learn(&mut self, interval: Duration, unchanged: bool) {
        let seconds = interval.as_secs_f64();
        let bucket = ((seconds.max(SHORTEST) / SHORTEST).log2() * FINE) as usize;
        let (count, sum) = &mut self.buckets[bucket.min(BUCKETS - 1)];
        *count += 1;
        *sum += seconds as f32;
        self.count += 1;
        self.repeats |= unchanged;
        self.longest = self.longest.max(seconds);
        if self.count > MEMORY {
            self.count = 0;
            for (count, sum) in self.buckets.iter_mut() {
                // What is left of a single one is nothing.
                let half = *count / 2;
                *sum *= half as f32 / (*count).max(1) as f32;
                *count = half;
                self.count += half;
            }
        }
        // While little is known each interval counts, later few change anything.
        if self.count < 1000 || self.count.is_multiple_of(64) || seconds > self.longest / 2.0 {
            self.patience = self.usual().map(|usual| {
                let many = TIMES * usual.most;
                if usual.repeats {
                    many.max(REPEATING)
                } else {
                    many.max(CHANGING).max(1.5 * self.longest)
                }
            });
        }
    }

    fn quantile(&self, part: f64) -> f64 {
        // Rounded down, so that of some dozens the one odd interval, as of a start, is not what is
        // usual.
        let wanted = (f64::from(self.count) * part).floor().max(1.0);
        let mut seen = 0.0;
        for (count, sum) in self.buckets.iter().filter(|(count, _)| *count > 0) {
            seen += f64::from(*count);
            if seen >= wanted {
                return f64::from(*sum) / f64::from(*count);
            }
        }
        self.longest
    }

    /// What is usual, once that is known.
    #[must_use]
    pub fn usual(&self) -> Option<Usual> {
        (self.count >= LEAST).then(|| Usual {
            median: self.quantile(0.5),
            most: self.quantile(0.99),
            repeats: self.repeats,
        })
    }

    /// From which length on a silence is unusual; `None` while too little is known.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        self.patience.map(Duration::from_secs_f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn taught(intervals: impl IntoIterator<Item = f64>, unchanged: bool) -> Rhythm {
        let mut rhythm = Rhythm::default();
        intervals
            .into_iter()
            .for_each(|s| rhythm.learn(Duration::from_secs_f64(s), unchanged));
        rhythm
    }

    #[test]
    fn the_usual_is_known_after_some_reports() {
        assert_eq!(taught([2.0; 19], true).usual(), None);
        assert_eq!(taught([2.0; 19], true).patience(), None);
        let usual = taught([2.0; 100], true).usual().unwrap();
        assert_eq!((usual.median, usual.most, usual.repeats), (2.0, 2.0, true));
        let mixed = taught(
            (0..1000).map(|i| if i % 50 == 0 { 10.0 } else { 2.0 }),
            false,
        )
        .usual()
        .unwrap();
        assert!(
            (mixed.median - 2.0).abs() < 1e-3 && (mixed.most - 10.0).abs() < 1e-3,
            "{mixed:?}"
        );
    }

    #[test]
    fn a_silence_is_minutes_at_least_and_many_times_the_usual() {
        let patience = |rhythm: &Rhythm| rhythm.patience().unwrap().as_secs();
        assert_eq!(patience(&taught([1.0; 100], true)), 120);
        assert_eq!(
            patience(&taught([1.0; 100], false)),
            300,
            "it may only report changes"
        );
        assert_eq!(patience(&taught([60.0; 100], true)), 1200);
        // A night at the same value, once: the next one is as long.
        let night = taught(
            (0..100).map(|i| if i == 50 { 28_800.0 } else { 5.0 }),
            false,
        );
        assert_eq!(patience(&night), 43_200);
    }

    #[test]
    fn what_is_long_ago_fades() {
        let mut rhythm = taught([60.0; 10_000], true);
        for _ in 0..60_000 {
            rhythm.learn(Duration::from_secs(1), true);
        }
        let usual = rhythm.usual().unwrap();
        assert!(usual.median < 1.01 && rhythm.count <= MEMORY, "{usual:?}");
    }

    #[test]
    fn a_report_may_be_older_than_the_process() {
        let report = Report {
            at: Duration::from_secs(3),
            age: Duration::from_secs(3600),
        };
        assert_eq!(report.age(Duration::from_secs(5)).as_secs(), 3602);
        assert_eq!(report.made(), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn quantiles_are_in_order(intervals in proptest::collection::vec(0.0..1e6_f64, 20..300)) {
            let rhythm = taught(intervals.iter().copied(), false);
            let usual = rhythm.usual().unwrap();
            prop_assert!(usual.median <= usual.most && usual.most <= rhythm.longest * 1.001);
            prop_assert!(rhythm.patience().unwrap().as_secs_f64() >= rhythm.longest);
        }
    }
}
