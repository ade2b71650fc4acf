//! A followed energy entity (`energy_source = entities`): what its next value adds to the counter (`decisions.md` C8).
//!
//! An entity that falls was reset, and counts from where it fell to. But it may also have stumbled: an integration that
//! starts says 0 for a moment, or the parts of a sum go and come one by one. So where it fell from is remembered for
//! [`GLITCH`]. Back there by then, it never was reset: only what lies between counts. On the way back, a step that no house
//! draws counts nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::source::EntityId;

/// An entity that falls by no more than this (Wh) jitters; by more, it was reset or has stumbled.
const JITTER: f64 = 100.0;

/// Back within this time, it had stumbled.
const GLITCH: Duration = Duration::from_secs(600);

/// W that a house draws or feeds at most (`decisions.md` C5).
const MOST: f64 = 1e6;

/// A followed input: counter = its value + (counter − `last`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Follow {
    /// Its entities; others under the same key begin anew.
    pub entities: Vec<EntityId>,
    /// Value that the counter stands for, Wh.
    pub last: f64,
    /// While it may have stumbled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<Fall>,
}

/// What is remembered of a fall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fall {
    /// Value before it, Wh.
    pub from: f64,
    /// What was counted since, Wh.
    pub counted: f64,
    /// When it was, monotonic; after a restart its wait begins anew.
    #[serde(skip)]
    at: Duration,
    /// When the value last changed, monotonic; `None`: before a restart, of unknown length.
    #[serde(skip)]
    changed: Option<Duration>,
}

impl Follow {
    /// The counter stands for `value` of these entities now.
    #[must_use]
    pub const fn new(entities: Vec<EntityId>, value: f64) -> Self {
        Self { entities, last: value, fall: None }
    }

    /// What the counter gains from a value, Wh, never less than 0.
    pub fn hear(&mut self, value: f64, now: Duration) -> f64 {
        self.fall.take_if(|fall| now >= fall.at + GLITCH);
        if let Some(fall) = self.fall.take_if(|fall| value >= fall.from) {
            self.last = value;
            return (value - fall.from - fall.counted).max(0.0);
        }
        if value > self.last {
            let mut gain = value - self.last;
            if let Some(fall) = &mut self.fall {
                let hours = fall.changed.map(|at| now.saturating_sub(at).as_secs_f64() / 3600.0);
                gain = if hours.is_none_or(|hours| gain <= MOST * hours) { gain } else { 0.0 };
                fall.counted += gain;
                fall.changed = Some(now);
            }
            self.last = value;
            return gain;
        }
        if value < self.last - JITTER {
            let from = self.last;
            self.fall.get_or_insert(Fall { from, counted: 0.0, at: now, changed: None }).changed = Some(now);
            self.last = value;
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A counter over what an entity says: seconds and kWh.
    fn counter(said: &[(u64, f64)]) -> f64 {
        let mut follow = Follow::new(Vec::new(), said[0].1 * 1000.0);
        said.iter().map(|(at, kwh)| follow.hear(kwh * 1000.0, Duration::from_secs(*at))).sum()
    }

    #[test]
    fn a_stumble_counts_the_difference_only() {
        let near = |said: &[(u64, f64)], wh: f64| assert!((counter(said) - wh).abs() < 1e-6, "{said:?}: {}", counter(said));
        near(&[(0, 1500.0), (1, 0.0), (2, 0.0001), (3, 1502.0)], 2_000.0);
        near(&[(0, 1500.0), (1, 750.0), (2, 0.0), (3, 750.0), (590, 1500.0)], 0.0);
        near(&[(0, 1500.0), (1, 0.0), (2, 1499.95), (3, 1501.0)], 1_000.0);
        // One after the other, and in one another.
        near(&[(0, 1500.0), (1, 0.0), (2, 1501.0), (3, 0.0), (4, 900.0), (5, 10.0), (6, 1502.0), (700, 1503.0)], 3_000.0);
        // Within the jitter nothing happens at all.
        near(&[(0, 1500.0), (1, 1499.95), (2, 1500.5)], 500.0);
    }

    #[test]
    fn a_reset_counts_from_where_it_fell_to() {
        assert_eq!(counter(&[(0, 100.0), (10, 0.0), (70, 2.0), (700, 40.0)]), 40_000.0);
        assert_eq!(counter(&[(0, 100.0), (10, 5.0), (611, 105.0)]), 100_000.0, "too late for a stumble");
        assert_eq!(counter(&[(0, 100.0), (10, 0.0), (609, 100.5)]), 500.0, "just in time for one");
    }

    #[test]
    fn a_stumble_outlives_a_restart() {
        let mut follow = Follow::new(Vec::new(), 1_500_000.0);
        assert_eq!(follow.hear(0.0, Duration::from_secs(90_000)), 0.0);
        let mut again: Follow = serde_json::from_str(&serde_json::to_string(&follow).unwrap_or_default()).unwrap_or(follow);
        assert_eq!(again.hear(1_500_300.0, Duration::from_secs(20)), 300.0);
        assert_eq!((again.last, again.fall), (1_500_300.0, None));
    }

    /// What a meter does next, which is read once a minute.
    #[derive(Clone, Debug)]
    enum Step {
        Counts(u32),
        Stumbles(Vec<u8>),
        IsReset,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..5000_u32).prop_map(Step::Counts),
            2 => proptest::collection::vec(0..100_u8, 1..6).prop_map(Step::Stumbles),
            1 => Just(Step::IsReset),
        ]
    }

    proptest! {
        /// Whatever an entity of hundreds of kWh says for some seconds, its counter is what the meter counted.
        #[test]
        fn stumbles_leave_no_trace(steps in proptest::collection::vec(step(), 1..60)) {
            let (mut at, mut meter, mut want, mut got) = (0_u64, 1_500_000.0_f64, 0.0_f64, 0.0_f64);
            let mut follow = Follow::new(Vec::new(), meter);
            let mut hear = |value: f64, at: u64| {
                let gain = follow.hear(value, Duration::from_secs(at));
                assert!(gain >= 0.0);
                got += gain;
                got
            };
            for step in steps {
                at += 60;
                match step {
                    Step::Counts(wh) => {
                        meter += f64::from(wh);
                        want += f64::from(wh);
                    }
                    Step::Stumbles(percents) => {
                        for percent in percents {
                            at += 1;
                            hear(meter * f64::from(percent) / 100.0, at);
                        }
                        at += 1;
                    }
                    Step::IsReset => {
                        hear(0.0, at);
                        // Some days later it has a past of its own again.
                        at += 700_000;
                        meter = 1_000_000.0;
                        want += meter;
                    }
                }
                let counter = hear(meter, at);
                prop_assert!((counter - want).abs() < 1e-6 * want.max(1.0), "{} instead of {}", counter, want);
            }
        }
    }
}
