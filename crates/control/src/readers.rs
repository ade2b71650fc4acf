//! All readers of one meter that are batteries.

use std::{collections::HashMap, hash::Hash, time::Duration};

use super::{
    bank::KnownLaw,
    ledger::{Ledger, NotNow, Value},
    params::{Params, Wrong},
};

/// Readers that are told apart; further ones are answered as without control. No house has as many
/// batteries.
const READERS: usize = 64;
/// The greatest distance of samples that is believed, s.
const CADENCE_MOST: f64 = 30.0;

/// A reader's question for power.
#[derive(Clone, Copy, Debug)]
pub struct Question<R> {
    /// Who asks.
    pub reader: R,
    /// Its part of the power; `None`: one of as many parts as there are readers lately.
    pub share: Option<f64>,
    /// How long it has been waiting for this answer already.
    pub waited: Duration,
    /// Its connection waits for the answer (HTTP, WebSocket); else it is a datagram, which may stay
    /// without one.
    pub holds: bool,
}

/// What to do with a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Answer now; `share` is the reader's part, which a sample is served times.
    Answer {
        /// What to say.
        value: Value,
        /// The reader's part of the power.
        share: f64,
    },
    /// Ask again with the next sample, or at this monotonic time if none has come.
    Wait(Duration),
    /// Leave this datagram without an answer: it harms no battery, which will ask again.
    Silence,
}

/// What is known of a reader, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReaderState {
    /// By then an answer has been seen on the meter, s.
    pub patience: f64,
    /// What one answer moves at most, W, in the direction of import and of export; infinite: all of
    /// it.
    pub reach: [f64; 2],
    /// Watts that it was told and that are not seen yet, with their age, s.
    pub on_its_way: Option<(f64, f64)>,
    /// Questions, not counting looks at a waiting one.
    pub asked: u64,
    /// Answers.
    pub answered: u64,
    /// Its part of the power: its share, halved while that is tried against a swing.
    pub share: f64,
    /// It is calm by itself, and answered as without control.
    pub stands_aside: bool,
    /// Grid power crosses zero by more than 60 W six times in 75 s.
    pub swings: bool,
    /// The law by which it is believed to act.
    pub law: KnownLaw,
}

#[derive(Clone, Debug)]
struct Reader {
    ledger: Ledger,
    share: f64,
    named: bool,
    asked_at: f64,
    asked: u64,
    answered: u64,
}

/// Decides when each battery that reads a meter is answered. `R` names a reader.
///
/// ```
/// use std::time::Duration;
/// use control::{Control, Decision, Question, Value};
///
/// let mut control = Control::default();
/// let at = Duration::from_millis;
/// let question = Question { reader: "battery", share: None, waited: at(0), holds: false };
/// control.sample(at(1000), 300.0);
/// let first = control.ask(at(1000), &question);
/// assert_eq!(first, Decision::Answer { value: Value::Sample(300.0), share: 1.0 });
/// // What is on its way is not told again.
/// let second = control.ask(at(1500), &question);
/// assert!(!matches!(second, Decision::Answer { value: Value::Sample(_), .. }));
/// ```
#[derive(Clone, Debug)]
pub struct Control<R> {
    params: Params,
    watts: f64,
    /// Number of the newest sample.
    n: u64,
    /// It is the present one.
    there: bool,
    at: f64,
    cadence: f64,
    readers: HashMap<R, Reader>,
}

impl<R> Default for Control<R> {
    /// With the parameters that were measured best.
    fn default() -> Self {
        Self {
            params: Params::default(),
            watts: 0.0,
            n: 0,
            there: false,
            at: 0.0,
            cadence: 1.0,
            readers: HashMap::new(),
        }
    }
}

impl<R: Clone + Eq + Hash> Control<R> {
    /// Nobody has asked yet.
    ///
    /// # Errors
    /// A parameter out of its range.
    pub fn new(params: Params) -> Result<Self, Wrong> {
        Ok(Self {
            params: params.check()?,
            ..Self::default()
        })
    }

    /// Grid power of the meter, W, import positive. `now` is monotonic.
    pub fn sample(&mut self, now: Duration, watts: f64) {
        let now = now.as_secs_f64();
        if !watts.is_finite() {
            return;
        }
        if self.there {
            self.cadence += 0.1 * ((now - self.at).min(CADENCE_MOST) - self.cadence);
        }
        let change = watts - self.watts;
        let was_there = self.there;
        (self.watts, self.at, self.n, self.there) = (watts, now, self.n + 1, true);
        // What all batteries did is not the house's.
        let moved: f64 = self.readers.values_mut().map(|r| r.ledger.moved(now)).sum();
        for reader in self.readers.values_mut() {
            if was_there {
                reader.ledger.learn(now, change + moved);
            }
            reader
                .ledger
                .sample(&self.params, now, watts * reader.share, self.cadence);
        }
    }

    /// There is no sample any more: what is on its way is forgotten, what was learned stays.
    pub fn absent(&mut self) {
        self.there = false;
        for reader in self.readers.values_mut() {
            reader.ledger.forget_answers();
        }
    }

    /// A question. Asked again for one that waits, with `waited` grown.
    pub fn ask(&mut self, now: Duration, question: &Question<R>) -> Decision {
        let now = now.as_secs_f64();
        let params = self.params;
        let first = question.waited.is_zero();
        if !self.readers.contains_key(&question.reader) && !self.make_room(now) {
            return Decision::Answer {
                value: Value::Sample(self.watts),
                share: question.share.unwrap_or(1.0),
            };
        }
        let watts = self.watts;
        let reader = self
            .readers
            .entry(question.reader.clone())
            .or_insert_with(|| Reader {
                ledger: Ledger::new(&params, now, watts),
                share: 1.0,
                named: false,
                asked_at: now,
                asked: 0,
                answered: 0,
            });
        reader.asked_at = now;
        reader.named = question.share.is_some();
        reader.asked += u64::from(first);
        self.share_out(now, question);
        let on_their_way: f64 = self.readers.values().map(|r| r.ledger.modelled()).sum();
        let Some(reader) = self.readers.get_mut(&question.reader) else {
            return Decision::Silence;
        };
        let error = self.watts - (on_their_way - reader.ledger.modelled());
        if first {
            reader.ledger.asks(now);
        }
        let share = reader.share * reader.ledger.part();
        let waited = question.waited.as_secs_f64();
        let asked_at = now - waited;
        let (limit, silent_at) = if question.holds {
            (asked_at + params.hold, asked_at + params.hold)
        } else {
            (
                asked_at + params.udp_wait,
                reader.ledger.answered_at() + params.silence,
            )
        };
        let answer = if self.there {
            reader.ledger.ask(&params, now, self.n, self.cadence, error)
        } else {
            Err(NotNow {
                until: f64::INFINITY,
            })
        };
        match answer {
            Ok(value) => {
                reader.answered += 1;
                Decision::Answer { value, share }
            }
            Err(_) if now >= silent_at => {
                reader.answered += 1;
                Decision::Answer {
                    value: reader.ledger.contact(now, self.n),
                    share,
                }
            }
            Err(_) if now >= limit => {
                let rests = |ledger: &mut Ledger| ledger.rests(&params, now, self.n);
                match self.there.then_some(&mut reader.ledger).and_then(rests) {
                    Some(value) => {
                        reader.answered += 1;
                        Decision::Answer { value, share }
                    }
                    None => Decision::Silence,
                }
            }
            Err(NotNow { until }) => Decision::Wait(Duration::from_secs_f64(
                until.min(limit).min(silent_at).max(now + 0.001),
            )),
        }
    }

    /// Shares anew where the number of readers or a named share changed; what is on its way to such
    /// a reader is forgotten.
    fn share_out(&mut self, now: f64, question: &Question<R>) {
        let shares_for = self.params.shares_for;
        let sharing = self
            .readers
            .values()
            .filter(|r| !r.named && now - r.asked_at < shares_for)
            .count()
            .max(1);
        for (who, reader) in &mut self.readers {
            let share = if reader.named {
                if *who == question.reader {
                    question.share.unwrap_or(1.0)
                } else {
                    reader.share
                }
            } else {
                1.0 / sharing as f64
            };
            if share != reader.share {
                reader.share = share;
                reader.ledger.restart(self.watts * share);
            }
        }
    }

    /// Whether there is room for one more reader; who has not asked for long leaves.
    fn make_room(&mut self, now: f64) -> bool {
        let forget_after = 10.0 * self.params.shares_for;
        self.readers.retain(|_, r| now - r.asked_at < forget_after);
        self.readers.len() < READERS
    }

    /// Forgets a reader.
    pub fn forget(&mut self, reader: &R) {
        self.readers.remove(reader);
    }

    /// What is known of a reader at `now`.
    #[must_use]
    pub fn state(&self, now: Duration, reader: &R) -> Option<ReaderState> {
        let reader = self.readers.get(reader)?;
        let ledger = &reader.ledger;
        Some(ReaderState {
            patience: ledger.patience(),
            reach: ledger.reach(),
            on_its_way: ledger
                .on_its_way()
                .map(|(watts, at)| (watts, now.as_secs_f64() - at)),
            asked: reader.asked,
            answered: reader.answered,
            share: reader.share * ledger.part(),
            stands_aside: ledger.stands_aside(),
            swings: ledger.swings(now.as_secs_f64()),
            law: ledger.law(),
        })
    }

    /// A reader that asked within this time shares the power with the others, s.
    #[must_use]
    pub fn shares_for(&self) -> f64 {
        self.params.shares_for
    }

    /// Mean distance of samples, s.
    #[must_use]
    pub fn cadence(&self) -> f64 {
        self.cadence
    }

    /// Readers that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.readers.len()
    }

    /// Whether nobody has asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }
}
