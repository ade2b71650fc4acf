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
pub struct Said {
    /// What became of it.
    pub news: News,
    /// The value before, Wh.
    pub before: f64,
    /// The one now, Wh.
    pub value: f64,
}

/// What became of a followed entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It rose by more than can have flown: that is not believed.
    Doubted,
    /// It is back on its line, from a value that was not believed.
    Back,
    /// The doubted value has gone on for long enough: the counter follows it from here, without the
    /// step.
    Believed,
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
        let Credit { left, paused, .. } = self.credit;
        let left = match left {
            Some(left) if paused.is_some_and(|ended| now.mono < ended + BURST) => left,
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
        let fall = self.fall.as_ref();
        let undone = fall.is_some_and(|fall| fall.is_undone(value, now, rating));
        let before = self.last;
        let told = |news, before| {
            Some(Said {
                news,
                before,
                value,
            })
        };
        if let Some(doubt) = &mut self.doubt
            && value >= doubt.value - JITTER
            && !undone
        {
            // It may have gone up further: the first that is not believed is told.
            if !doubt.goes_on(value, now, rating, self.grain) {
                return Heard::default();
            }
            (self.doubt, self.fall) = (None, None);
            self.step_to(value, now, 0.0);
            let said = told(News::Believed, before);
            return Heard { gain: 0.0, said };
        }
        let doubt = self.doubt.take();
        let gain = if value > before {
            self.rise(value, undone, now, rating)
        } else {
            if value < before - JITTER {
                self.sink(value, now, rating);
            }
            Some(0.0)
        };
        if gain.is_none() {
            self.doubt = Some(Doubt::new(value, now));
        }
        let said = match (gain, doubt) {
            (Some(_), Some(doubt)) => told(News::Back, doubt.value),
            (None, None) => told(News::Doubted, before),
            _ => None,
        };
        let gain = gain.unwrap_or_default();
        Heard { gain, said }
    }

    /// It falls: where from is remembered, of falls within a short time the first.
    fn sink(&mut self, value: f64, now: Now, rating: Rating) {
        let credit = self.credit(now, rating);
        let young = self.fall.take().filter(|fall| now.mono < fall.at + GLITCH);
        self.fall = Some(young.unwrap_or(Fall {
            from: self.last,
            counted: 0.0,
            credit,
            at: now.mono,
        }));
        self.step_to(value, now, 0.0);
        self.credit.paused = None;
    }

    /// What counts of a rise, Wh; `None` if it is more than can have flown.
    fn rise(&mut self, value: f64, undone: bool, now: Now, rating: Rating) -> Option<f64> {
        let (step, credit) = (value - self.last, self.credit(now, rating));
        if step <= credit {
            let is_back = |fall: &mut Fall| value >= fall.from && now.mono < fall.at + GLITCH;
            let gain = match self.fall.take_if(is_back) {
                Some(fall) => (value - fall.from - fall.counted).max(0.0),
                None => step,
            };
            if let Some(fall) = &mut self.fall {
                fall.counted += gain;
            }
            self.step_to(value, now, credit - step);
            return Some(gain);
        }
        let fall = self.fall.take_if(|_| undone)?;
        let (step, most) = (value - fall.from, fall.most(now, rating));
        let left = (most - step.max(fall.counted)).max(0.0);
        self.step_to(value.max(fall.from), now, left);
        Some((step - fall.counted).max(0.0))
    }
}

impl Fall {
    /// Wh that may have flown since it was where it fell from.
    fn most(&self, now: Now, rating: Rating) -> f64 {
        self.credit + rating.energy(now.mono.saturating_sub(self.at))
    }

    /// Whether a value lies where the entity would be by now if it had never fallen.
    fn is_undone(&self, value: f64, now: Now, rating: Rating) -> bool {
        value >= self.from - JITTER && value - self.from <= self.most(now, rating)
    }
}

impl Doubt {
    const fn new(value: f64, now: Now) -> Self {
        Self {
            value,
            steps: 0,
            since: now.mono,
            at: now.mono,
        }
    }

    /// Takes in a value from here on up; whether it is believed by now.
    fn goes_on(&mut self, value: f64, now: Now, rating: Rating, grain: f64) -> bool {
        let most = rating.energy(now.mono.saturating_sub(self.at)) + rating.energy(BURST) + grain;
        if value - self.value > most {
            *self = Self::new(value, now);
        } else if value > self.value {
            (self.value, self.at) = (value, now.mono);
            self.steps = self.steps.saturating_add(1);
        }
        self.steps >= STEPS && now.mono >= self.since + SETTLED
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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

    /// That it counts so many Wh, and what there is to tell.
    fn counts(said: &[(u64, f64)], wh: f64) -> Vec<Said> {
        let (counted, told) = heard(said);
        assert!((counted - wh).abs() < 1e-6, "{said:?}: {counted}");
        told
    }

    fn restarted(follow: &Follow) -> Follow {
        serde_json::from_str(&serde_json::to_string(follow).unwrap()).unwrap()
    }

    #[test]
    fn a_stumble_counts_the_difference_only() {
        counts(&[(0, 1500.0), (1, 0.0), (2, 0.0001), (3, 1502.0)], 2_000.0);
        counts(
            &[(0, 1500.0), (1, 750.0), (2, 0.0), (3, 750.0), (590, 1500.0)],
            0.0,
        );
        counts(&[(0, 1500.0), (1, 0.0), (2, 1499.95), (3, 1501.0)], 1_000.0);
        // One after the other, and in one another.
        let several = [(0, 1500.0), (1, 0.0), (2, 1501.0), (3, 0.0), (4, 900.0)];
        let more = [(5, 10.0), (6, 1502.0), (700, 1503.0)];
        counts(&[&several[..], &more].concat(), 3_000.0);
        // Within the jitter nothing happens at all.
        counts(&[(0, 1500.0), (1, 1499.95), (2, 1500.5)], 500.0);
    }

    #[test]
    fn a_reset_counts_from_where_it_fell_to() {
        counts(&[(0, 100.0), (10, 0.0), (70, 2.0), (700, 40.0)], 40_000.0);
        // Too late for a stumble.
        counts(
            &[(0, 100.0), (10, 5.0), (611, 45.0), (1300, 105.0)],
            100_000.0,
        );
        // No house draws that: it was a stumble all the same.
        counts(&[(0, 100.0), (10, 5.0), (611, 105.0)], 5_000.0);
        // Just in time for one.
        counts(&[(0, 100.0), (10, 0.0), (609, 100.5)], 500.0);
    }

    #[test]
    fn a_stumble_outlives_a_restart() {
        let mut follow = Follow::new(Vec::new(), 1_500_000.0, now(0));
        assert_eq!(follow.hear(0.0, now(90_000), house()).gain, 0.0);
        let mut again = restarted(&follow);
        assert_eq!(again.hear(1_500_300.0, now(20), house()).gain, 300.0);
        assert_eq!((again.last, again.fall), (1_500_300.0, None));
    }

    #[test]
    fn a_wrong_sample_counts_nothing_and_its_readings_are_told() {
        let wrong = 123_410.0;
        let one = [(0, 1234.1), (60, wrong), (120, 1234.2), (180, 1234.3)];
        let said = |news, before, value| Said {
            news,
            before,
            value,
        };
        assert_eq!(
            counts(&one, 200.0),
            [
                said(News::Doubted, 1_234_100.0, 123_410_000.0),
                said(News::Back, 123_410_000.0, 1_234_200.0)
            ]
        );
        // For days, over a restart, and one on top of the other.
        let days = [
            (0, 1234.1),
            (60, wrong),
            (300_000, wrong),
            (300_060, 1240.0),
        ];
        counts(&days, 5_900.0);
        let higher = [
            (0, 1234.1),
            (60, wrong),
            (61, 1e9),
            (62, wrong),
            (63, 1234.2),
        ];
        assert_eq!(counts(&higher, 100.0).len(), 2);
        let first = || restarted(&Follow::new(Vec::new(), 1_234_100.0, now(0)));
        let mut follow = first();
        assert_eq!(
            follow.hear(123_410_000.0, now(3600), house()).gain,
            0.0,
            "the first value after a start"
        );
        follow = restarted(&follow);
        assert_eq!(follow.hear(1_234_200.0, now(3700), house()).gain, 100.0);
        // A clock that was not set then, or is not now.
        for unix in [0.0, 1e9, 4e9] {
            let late = Now { unix, ..now(5) };
            let mut follow = first();
            // The other is what a house draws in some days.
            for (value, gain) in [(123_410_000.0, 0.0), (1_264_100.0, 30_000.0)] {
                assert_eq!(follow.hear(value, late, house()).gain, gain, "{unix}");
            }
        }
    }

    /// A value in kWh that grows by 0.1 kWh at each of so many steps of so many seconds.
    fn growing(from: f64, steps: u64, every: u64) -> Vec<(u64, f64)> {
        (0..steps)
            .map(|n| (60 + n * every, from + n as f64 * 0.1))
            .collect()
    }

    #[test]
    fn another_meter_is_followed_once_it_has_gone_on_for_a_while() {
        let before = [(0, 1234.1)];
        // One that has counted before, one that starts at 0, and one that is a little ahead.
        for (first, gain) in [(57_000.0, 400.0), (0.0, 1_200.0), (1300.0, 400.0)] {
            let other = growing(first, 13, 120);
            let said = counts(&[&before[..], &other].concat(), gain);
            let believed = said.iter().filter(|said| said.news == News::Believed);
            assert_eq!(believed.count(), usize::from(first > 0.0), "{said:?}");
        }
        // One that stands still is no proof, and costs nothing: the old one may come back.
        let still = [(60, 57_000.0), (9_000, 57_000.0), (9_060, 1234.5)];
        counts(&[&before[..], &still].concat(), 400.0);
        // That a wrong one was believed costs what it stood for, no more.
        let wrong = growing(57_000.0, 20, 60);
        let after = [(3_000, 1236.0), (3_060, 1236.1)];
        counts(&[&before[..], &wrong, &after].concat(), 500.0);
    }

    #[test]
    fn late_and_coarse_values_are_no_wrong_ones() {
        // Once an hour.
        let hour = |n: u64| (n * 3600, 1000.0 + n as f64 * 11.0);
        counts(&(0..100).map(hour).collect::<Vec<_>>(), 99.0 * 11_000.0);
        // The next comes late.
        counts(
            &[
                (0, 500.0),
                (86_400, 560.0),
                (90_000, 560.0),
                (90_005, 570.0),
            ],
            70_000.0,
        );
        // A sum of two that count in 0.1 MWh.
        counts(
            &[(0, 9_100.0), (360_000, 9_200.0), (360_001, 9_300.0)],
            200_000.0,
        );
        // Of three, once a day,
        let three = [(86_400, 540.0), (86_401, 580.0), (86_402, 620.0)];
        counts(&[&[(0, 500.0)], &three[..]].concat(), 120_000.0);
        // but not later.
        counts(&[(0, 500.0), (86_400, 541.0), (86_700, 582.0)], 41_000.0);
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
