//! A followed energy entity (`energy_source = entities`): what its next value adds to the counter
//! (`docs/decisions.md#energy-counters`).
//!
//! An entity that falls was reset, and counts from where it fell to. But it may also have stumbled:
//! an integration that starts says 0 for a moment, or the parts of a sum go and come one by one. So
//! where it fell from is remembered. Back there, it never was reset: only what lies between counts.
//!
//! An entity that rises by more than can have flown since its last step ([`Rating`]) is doubted:
//! nothing counts. Back on its line, it goes on from there. Where it goes on from the doubted value
//! instead for [`SETTLED`], the meter behind it is another one: the counter goes on with it, and
//! nothing is added for the step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rating::Rating;
use vocab::{EntityId, Now};

/// An entity that falls by no more than this (Wh) jitters; by more, it was reset or has stumbled.
const JITTER: f64 = 100.0;

/// Back within this time, even by small steps, it had stumbled.
const GLITCH: Duration = Duration::from_secs(600);

/// Back within this time by a step that cannot have flown, it had stumbled.
const STUMBLE: Duration = Duration::from_secs(86_400);

/// What flows in this time is let through at any moment: values come late and together.
const BURST: Duration = Duration::from_secs(120);

/// So long a doubted value has to go on without a fault to be believed,
const SETTLED: Duration = Duration::from_secs(900);

/// and has to grow this often.
const STEPS: u32 = 2;

/// Time that is taken to have passed over a restart, at most,
const AWAY: Duration = Duration::from_secs(30 * 86_400);

/// and where the clock does not tell.
const UNKNOWN: Duration = Duration::from_secs(7 * 86_400);

/// Coarsest step (Wh) that is believed to be an entity's resolution.
const COARSEST: f64 = 100_000.0;

/// A followed input: counter = its value + (counter − `last`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Follow {
    /// Its entities; others under the same key begin anew.
    pub entities: Vec<EntityId>,
    /// Value that the counter stands for, Wh.
    pub last: f64,
    /// When that was heard, Unix s; 0: not known.
    #[serde(default)]
    at: i64,
    /// The smallest step it was seen to make, Wh: of two entities that are summed, both may step at
    /// once.
    #[serde(default = "coarsest")]
    grain: f64,
    /// While it may have stumbled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<Fall>,
    /// While what it says is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    #[serde(skip)]
    credit: Credit,
}

/// What is remembered of a fall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fall {
    /// Value before it, Wh.
    pub from: f64,
    /// What was counted since, Wh.
    pub counted: f64,
    /// What may have flown by then without being counted, Wh.
    #[serde(default)]
    credit: f64,
    /// When it was, monotonic; after a restart its wait begins anew.
    #[serde(skip)]
    at: Duration,
}

/// A value that is too high to be believed, and what came after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    /// The newest, Wh.
    pub value: f64,
    /// How often it has grown.
    steps: u32,
    /// Since when, monotonic; after a restart its wait begins anew.
    #[serde(skip)]
    since: Duration,
    /// When it has grown last, monotonic.
    #[serde(skip)]
    at: Duration,
}

/// What may have flown without being counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Credit {
    /// When the value changed last, or was heard first after a restart, monotonic; `None`: not
    /// since the restart.
    at: Option<Duration>,
    /// How long before that it had changed last.
    away: Duration,
    /// What was left then, Wh; `None`: a burst.
    left: Option<f64>,
    /// When the last long pause ended: what was left of it is for the other parts of a sum, which
    /// step one by one.
    paused: Option<Duration>,
}

/// What a value came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// What the counter gains, Wh, never less than 0.
    pub gain: f64,
    /// What is worth a line in the log.
    pub said: Option<Said>,
}

/// What is told of a followed entity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    /// It rose by more than can have flown; Wh.
    Doubted {
        /// The value before.
        last: f64,
        /// The one that is not believed.
        value: f64,
    },
    /// It is back on its line.
    Back {
        /// The value that was not believed, Wh.
        doubted: f64,
        /// The one now, Wh.
        value: f64,
    },
    /// The doubted value has gone on for long enough: the counter follows it from here, without the
    /// step.
    Believed {
        /// The value before, Wh.
        last: f64,
        /// The one now, Wh.
        value: f64,
    },
}

const fn coarsest() -> f64 {
    COARSEST
}

/// The largest power of ten that a value is a multiple of, Wh: no entity steps by less than the
/// last of its digits.
fn grain(value: f64) -> f64 {
    let is_multiple = |of: &f64| (value / of - (value / of).round()).abs() < 1e-6;
    [COARSEST, 10_000.0, 1_000.0, 100.0, 10.0, 1.0]
        .into_iter()
        .find(is_multiple)
        .unwrap_or_default()
}

impl Follow {
    /// The counter stands for `value` of these entities now.
    #[must_use]
    pub fn new(entities: Vec<EntityId>, value: f64, now: Now) -> Self {
        let credit = Credit {
            at: Some(now.mono),
            ..Credit::default()
        };
        Self {
            entities,
            last: value,
            at: now.unix_s(),
            grain: grain(value),
            fall: None,
            doubt: None,
            credit,
        }
    }

    /// The first value after a restart: what was waited for begins anew, and what may have flown
    /// meanwhile is known.
    fn resume(&mut self, now: Now, rating: Rating) {
        // A clock that was not set yet at either end tells nothing.
        let away = match u64::try_from(now.unix_s().saturating_sub(self.at)) {
            Ok(seconds) if self.at > 0 => Duration::from_secs(seconds).min(AWAY),
            _ => UNKNOWN,
        };
        (self.credit.at, self.credit.away) = (Some(now.mono), away);
        if let Some(fall) = &mut self.fall {
            fall.at = now.mono;
            fall.credit += rating.energy(away);
        }
        if let Some(doubt) = &mut self.doubt {
            (doubt.since, doubt.at) = (now.mono, now.mono);
        }
    }

    /// Time since the value changed last.
    fn since(&self, now: Now) -> Duration {
        now.mono.saturating_sub(self.credit.at.unwrap_or(now.mono)) + self.credit.away
    }

    /// Wh that may have flown since the value changed last, with what had flown before it and was
    /// not counted.
    fn credit(&self, now: Now, rating: Rating) -> f64 {
        let burst = rating.energy(BURST) + self.grain;
        let left = match self.credit.left {
            Some(left)
                if self
                    .credit
                    .paused
                    .is_some_and(|ended| now.mono < ended + BURST) =>
            {
                left
            }
            Some(left) => left.min(burst),
            None => burst,
        };
        left + rating.energy(self.since(now))
    }

    fn step_to(&mut self, value: f64, now: Now, left: f64) {
        let paused = if self.since(now) >= BURST {
            Some(now.mono)
        } else {
            self.credit.paused
        };
        self.credit = Credit {
            at: Some(now.mono),
            away: Duration::ZERO,
            left: Some(left),
            paused,
        };
        (self.last, self.at) = (value, now.unix_s());
    }

    /// What comes of a value.
    pub fn hear(&mut self, value: f64, now: Now, rating: Rating) -> Heard {
        if self.credit.at.is_none() {
            self.resume(now, rating);
        }
        self.grain = self.grain.min(grain(value));
        self.fall.take_if(|fall| now.mono >= fall.at + STUMBLE);
        let undone = self
            .fall
            .as_ref()
            .is_some_and(|fall| fall.is_undone(value, now, rating));
        if let Some(doubt) = &mut self.doubt
            && value >= doubt.value - JITTER
            && !undone
        {
            // It may have gone up further: the first that is not believed is told.
            let believed = doubt.goes_on(value, now, rating, self.grain);
            let said = believed.then_some(Said::Believed {
                last: self.last,
                value,
            });
            if believed {
                (self.doubt, self.fall) = (None, None);
                self.step_to(value, now, 0.0);
            }
            return Heard { gain: 0.0, said };
        }
        let back = self.doubt.as_ref().map(|doubt| Said::Back {
            doubted: doubt.value,
            value,
        });
        if value < self.last - JITTER {
            let young = self.fall.take().filter(|fall| now.mono < fall.at + GLITCH);
            let credit = self.credit(now, rating);
            self.fall = Some(young.unwrap_or(Fall {
                from: self.last,
                counted: 0.0,
                credit,
                at: now.mono,
            }));
            self.doubt = None;
            self.step_to(value, now, 0.0);
            self.credit.paused = None;
            return Heard {
                gain: 0.0,
                said: back,
            };
        }
        if value <= self.last {
            self.doubt = None;
            return Heard {
                gain: 0.0,
                said: back,
            };
        }
        let (step, credit) = (value - self.last, self.credit(now, rating));
        if step <= credit {
            self.doubt = None;
            let gain = match self
                .fall
                .take_if(|fall| value >= fall.from && now.mono < fall.at + GLITCH)
            {
                Some(fall) => (value - fall.from - fall.counted).max(0.0),
                None => step,
            };
            if let Some(fall) = &mut self.fall {
                fall.counted += gain;
            }
            self.step_to(value, now, credit - step);
            return Heard { gain, said: back };
        }
        if undone && let Some(fall) = self.fall.take() {
            self.doubt = None;
            let (step, credit) = (
                value - fall.from,
                fall.credit + rating.energy(now.mono.saturating_sub(fall.at)),
            );
            self.step_to(
                value.max(fall.from),
                now,
                (credit - step.max(fall.counted)).max(0.0),
            );
            return Heard {
                gain: (step - fall.counted).max(0.0),
                said: back,
            };
        }
        let known = self.doubt.replace(Doubt {
            value,
            steps: 0,
            since: now.mono,
            at: now.mono,
        });
        let said = known.is_none().then_some(Said::Doubted {
            last: self.last,
            value,
        });
        Heard { gain: 0.0, said }
    }
}

impl Fall {
    /// Whether a value lies where the entity would be by now if it had never fallen.
    fn is_undone(&self, value: f64, now: Now, rating: Rating) -> bool {
        let most = self.credit + rating.energy(now.mono.saturating_sub(self.at));
        value >= self.from - JITTER && value - self.from <= most
    }
}

impl Doubt {
    /// Takes in a value from here on up; whether it is believed by now.
    fn goes_on(&mut self, value: f64, now: Now, rating: Rating, grain: f64) -> bool {
        let most = rating.energy(now.mono.saturating_sub(self.at)) + rating.energy(BURST) + grain;
        if value - self.value > most {
            *self = Self {
                value,
                steps: 0,
                since: now.mono,
                at: now.mono,
            };
        } else if value > self.value {
            (self.value, self.at) = (value, now.mono);
            self.steps = self.steps.saturating_add(1);
        }
        self.steps >= STEPS && now.mono >= self.since + SETTLED
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now(seconds: u64) -> Now {
        Now {
            mono: Duration::from_secs(seconds),
            unix: 1.8e9 + seconds as f64,
        }
    }

    fn house() -> Rating {
        Rating::new(0.0, 1.0)
    }

    /// What comes of what an entity says: seconds and kWh.
    fn heard(said: &[(u64, f64)]) -> (f64, Vec<Said>) {
        let mut follow = Follow::new(Vec::new(), said[0].1 * 1000.0, now(said[0].0));
        let all: Vec<Heard> = said
            .iter()
            .map(|(at, kwh)| follow.hear(kwh * 1000.0, now(*at), house()))
            .collect();
        (
            all.iter().map(|heard| heard.gain).sum(),
            all.into_iter().filter_map(|heard| heard.said).collect(),
        )
    }

    fn counter(said: &[(u64, f64)]) -> f64 {
        heard(said).0
    }

    #[test]
    fn a_stumble_counts_the_difference_only() {
        let near = |said: &[(u64, f64)], wh: f64| {
            assert!(
                (counter(said) - wh).abs() < 1e-6,
                "{said:?}: {}",
                counter(said)
            );
        };
        near(&[(0, 1500.0), (1, 0.0), (2, 0.0001), (3, 1502.0)], 2_000.0);
        near(
            &[(0, 1500.0), (1, 750.0), (2, 0.0), (3, 750.0), (590, 1500.0)],
            0.0,
        );
        near(&[(0, 1500.0), (1, 0.0), (2, 1499.95), (3, 1501.0)], 1_000.0);
        // One after the other, and in one another.
        near(
            &[
                (0, 1500.0),
                (1, 0.0),
                (2, 1501.0),
                (3, 0.0),
                (4, 900.0),
                (5, 10.0),
                (6, 1502.0),
                (700, 1503.0),
            ],
            3_000.0,
        );
        // Within the jitter nothing happens at all.
        near(&[(0, 1500.0), (1, 1499.95), (2, 1500.5)], 500.0);
    }

    #[test]
    fn a_reset_counts_from_where_it_fell_to() {
        assert_eq!(
            counter(&[(0, 100.0), (10, 0.0), (70, 2.0), (700, 40.0)]),
            40_000.0
        );
        assert_eq!(
            counter(&[(0, 100.0), (10, 5.0), (611, 45.0), (1300, 105.0)]),
            100_000.0,
            "too late for a stumble"
        );
        assert_eq!(
            counter(&[(0, 100.0), (10, 5.0), (611, 105.0)]),
            5_000.0,
            "no house draws that: it was a stumble all the same"
        );
        assert_eq!(
            counter(&[(0, 100.0), (10, 0.0), (609, 100.5)]),
            500.0,
            "just in time for one"
        );
    }

    #[test]
    fn a_stumble_outlives_a_restart() {
        let mut follow = Follow::new(Vec::new(), 1_500_000.0, now(0));
        assert_eq!(follow.hear(0.0, now(90_000), house()).gain, 0.0);
        let mut again = restarted(&follow);
        assert_eq!(again.hear(1_500_300.0, now(20), house()).gain, 300.0);
        assert_eq!((again.last, again.fall), (1_500_300.0, None));
    }

    fn restarted(follow: &Follow) -> Follow {
        serde_json::from_str(&serde_json::to_string(follow).unwrap_or_default())
            .unwrap_or_else(|_| follow.clone())
    }

    #[test]
    fn a_wrong_sample_counts_nothing_and_its_readings_are_told() {
        let (wh, said) = heard(&[(0, 1234.1), (60, 123_410.0), (120, 1234.2), (180, 1234.3)]);
        assert!((wh - 200.0).abs() < 1e-6, "{wh}");
        let doubted = Said::Doubted {
            last: 1_234_100.0,
            value: 123_410_000.0,
        };
        assert_eq!(
            said,
            [
                doubted,
                Said::Back {
                    doubted: 123_410_000.0,
                    value: 1_234_200.0
                }
            ]
        );
        // For days, over a restart, and one on top of the other.
        assert!(
            (counter(&[
                (0, 1234.1),
                (60, 123_410.0),
                (300_000, 123_410.0),
                (300_060, 1240.0)
            ]) - 5_900.0)
                .abs()
                < 1e-6
        );
        let (wh, said) = heard(&[
            (0, 1234.1),
            (60, 123_410.0),
            (61, 1e9),
            (62, 123_410.0),
            (63, 1234.2),
        ]);
        assert!(
            (wh - 100.0).abs() < 1e-6 && said.len() == 2,
            "{wh} {said:?}"
        );
        let mut follow = restarted(&Follow::new(Vec::new(), 1_234_100.0, now(0)));
        assert_eq!(
            follow.hear(123_410_000.0, now(3600), house()).gain,
            0.0,
            "the first value after a start"
        );
        follow = restarted(&follow);
        assert_eq!(follow.hear(1_234_200.0, now(3700), house()).gain, 100.0);
        // A clock that was not set then, or is not now.
        for unix in [0.0, 1e9, 4e9] {
            let mut follow = restarted(&Follow::new(Vec::new(), 1_234_100.0, now(0)));
            let late = Now { unix, ..now(5) };
            assert_eq!(
                follow.hear(123_410_000.0, late, house()).gain,
                0.0,
                "{unix}"
            );
            assert_eq!(
                follow.hear(1_264_100.0, late, house()).gain,
                30_000.0,
                "{unix}: what a house draws in some days"
            );
        }
    }

    #[test]
    fn another_meter_is_followed_once_it_has_gone_on_for_a_while() {
        // One that has counted before, one that starts at 0, and one that is a little ahead.
        for (first, gain) in [(57_000.0, 400.0), (0.0, 1_200.0), (1300.0, 400.0)] {
            let said: Vec<(u64, f64)> = (0..=12)
                .map(|n| (60 + n * 120, first + n as f64 * 0.1))
                .collect();
            let (wh, lines) = heard(&[&[(0, 1234.1)], &said[..]].concat());
            assert!((wh - gain).abs() < 1e-6, "{first}: {wh} {lines:?}");
            assert_eq!(
                lines
                    .iter()
                    .filter(|l| matches!(l, Said::Believed { .. }))
                    .count(),
                usize::from(first > 0.0),
                "{lines:?}"
            );
        }
        // One that stands still is no proof, and costs nothing: the old one may come back.
        assert!(
            (counter(&[
                (0, 1234.1),
                (60, 57_000.0),
                (9_000, 57_000.0),
                (9_060, 1234.5)
            ]) - 400.0)
                .abs()
                < 1e-6
        );
        // That a wrong one was believed costs what it stood for, no more.
        let wrong: Vec<(u64, f64)> = (0..20)
            .map(|n| (60 + n * 60, 57_000.0 + n as f64 * 0.1))
            .collect();
        let wh = counter(
            &[
                &[(0, 1234.1)],
                &wrong[..],
                &[(3_000, 1236.0), (3_060, 1236.1)],
            ]
            .concat(),
        );
        assert!((wh - 500.0).abs() < 1e-6, "{wh}");
    }

    #[test]
    fn late_and_coarse_values_are_no_wrong_ones() {
        let whole: Vec<(u64, f64)> = (0..100)
            .map(|n| (n * 3600, 1000.0 + n as f64 * 11.0))
            .collect();
        assert_eq!(counter(&whole), 99.0 * 11_000.0, "once an hour");
        assert_eq!(
            counter(&[
                (0, 500.0),
                (86_400, 560.0),
                (90_000, 560.0),
                (90_005, 570.0)
            ]),
            70_000.0,
            "the next comes late"
        );
        assert_eq!(
            counter(&[(0, 9_100.0), (360_000, 9_200.0), (360_001, 9_300.0)]),
            200_000.0,
            "a sum of two that count in 0.1 MWh"
        );
        assert_eq!(
            counter(&[
                (0, 500.0),
                (86_400, 540.0),
                (86_401, 580.0),
                (86_402, 620.0)
            ]),
            120_000.0,
            "of three, once a day"
        );
        assert_eq!(
            counter(&[(0, 500.0), (86_400, 541.0), (86_700, 582.0)]),
            41_000.0,
            "but not later"
        );
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
        /// Whatever an entity of hundreds of kWh says for some seconds, its counter is what the
        /// meter counted.
        #[test]
        fn stumbles_leave_no_trace(steps in proptest::collection::vec(step(), 1..60)) {
            let (mut at, mut meter, mut want, mut got) = (0_u64, 1_500_000.0_f64, 0.0_f64, 0.0_f64);
            let mut follow = Follow::new(Vec::new(), meter, now(0));
            let mut hear = |value: f64, at: u64| {
                let gain = follow.hear(value, now(at), house()).gain;
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

        /// Whatever an entity says, its counter neither falls nor rises by more than can have
        /// flown; back on its line, it has the difference at most.
        #[test]
        fn no_samples_raise_a_counter_by_more_than_can_have_flown(
            samples in proptest::collection::vec((sample(), 0..4000_u64, proptest::bool::weighted(0.05)), 1..80),
        ) {
            let mut follow = Follow::new(Vec::new(), 1_234_100.0, now(0));
            let (mut at, mut meter, mut total, mut restarts) = (0, 1_234_100.0, 0.0, 0);
            for (sample, pause, restart) in samples {
                at += pause;
                if restart {
                    follow = restarted(&follow);
                    restarts += 1;
                }
                let value = match sample {
                    Sample::Counts(wh) => {
                        meter += f64::from(wh);
                        meter
                    }
                    Sample::Times(factor) => meter * factor,
                    Sample::Says(wh) => wh,
                };
                let gain = follow.hear(value, now(at), house()).gain;
                prop_assert!(gain >= 0.0);
                total += gain;
            }
            // A restart forgets how much of a burst there was, and how long a fall ago was.
            let most = f64::from(restarts + 1) * (300_000.0 / 30.0 + COARSEST) + 300_000.0 * at as f64 / 3600.0;
            prop_assert!(total <= most + 1e-3, "{total} > {most}");
        }
    }

    #[derive(Clone, Debug)]
    enum Sample {
        Counts(u16),
        Times(f64),
        Says(f64),
    }

    fn sample() -> impl Strategy<Value = Sample> {
        prop_oneof![
            5 => (0..3000_u16).prop_map(Sample::Counts),
            2 => prop_oneof![Just(0.0), Just(0.001), Just(0.5), Just(1.01), Just(100.0), 0.9..1.1_f64].prop_map(Sample::Times),
            1 => (0.0..1e10_f64).prop_map(Sample::Says),
        ]
    }
}
