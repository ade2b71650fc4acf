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
mod tests;
