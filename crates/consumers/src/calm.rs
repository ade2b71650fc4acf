//! The batteries of one meter, and when each is answered: [`Control`] behind one lock, fed with
//! every reading.
//!
//! A transport asks for each question that carries power, and again while it waits. What is booked
//! is a round, not a call: a reader that asks for its power in parts (three phases one after the
//! other, `EM.GetStatus` and `Shelly.GetStatus`) acts once.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Channel, Reader,
    sharing::{RepeatedCalls, least_lately},
    swing::Swing,
};
use control::{Control, Decision, Question, ReaderState, Value};

/// Batteries that are told apart; further ones are answered as without control. No house has as
/// many.
const READERS: usize = 64;
/// A battery that has not asked for so long makes room for another.
const FORGET: Duration = Duration::from_secs(300);
/// Other parts of the power that are asked for within this time of an answer belong to its round.
const ROUND: Duration = Duration::from_millis(500);
/// What a battery was told within this time before it was known for one is on its way.
const BEFORE: Duration = Duration::from_secs(4);
/// Parts of a round.
const PARTS: usize = 8;
/// Answers that are remembered for people, for so long at most.
const TOLD: usize = 1024;
const TOLD_FOR: Duration = Duration::from_secs(600);

/// What control is told of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerSample {
    /// When each phase was reported, monotonic: another time is another reading, also of an equal
    /// value.
    pub made: [Option<Duration>; 3],
    /// Grid power, W, import positive.
    pub watts: f64,
}

/// A question for power.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Who.
    pub reader: Reader,
    /// Its ticket, by [`Calm::ticket`].
    pub ticket: u64,
    /// The part of the power that an option gives it; `None`: as many parts as there are batteries.
    pub share: Option<f64>,
    /// The method that asks for power, and the one phase that it asks for.
    pub part: (&'static str, Option<u8>),
    /// When it was asked, monotonic.
    pub since: Duration,
    /// The first look at it.
    pub first: bool,
    /// The power that it was told last, W, and when: before it was known for a battery it was
    /// answered as anybody.
    pub before: Option<(f64, Duration)>,
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// Answered with the newest reading times this.
    Answer(f64),
    /// To be asked again at the next reading, or at this monotonic time.
    Wait(Duration),
    /// A datagram that stays without an answer; its reader asks again.
    Silence,
    /// There are too many batteries: answered as without control.
    Free,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControlledAnswer {
    /// When, monotonic.
    pub at: Duration,
    /// Whom.
    pub reader: Reader,
    /// What, W.
    pub watts: f64,
}

#[derive(Clone, Debug)]
struct Battery {
    /// A datagram's sender may be forged, so such an address takes a share once it counts.
    asking: RepeatedCalls,
    /// Its newest datagram; an older one that waits is not answered any more.
    ticket: u64,
    round: Option<Round>,
    /// It has been asked of control.
    known: bool,
}

/// An answer whose other parts are still to come.
#[derive(Clone, Debug)]
struct Round {
    at: Duration,
    factor: f64,
    parts: Vec<(&'static str, Option<u8>)>,
}

impl Battery {
    fn new(now: Duration) -> Self {
        Self {
            asking: RepeatedCalls::new(now),
            ticket: 0,
            round: None,
            known: false,
        }
    }
}

#[derive(Debug, Default)]
struct Book {
    control: Control<Reader>,
    reading: Option<PowerSample>,
    batteries: HashMap<Reader, Battery>,
    told: VecDeque<ControlledAnswer>,
    swing: Swing,
}

/// The batteries of a meter.
#[derive(Debug, Default)]
pub struct Calm(Mutex<Book>);

impl Calm {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the newest reading in, `None` while a phase has no value; whether it is another one
    /// than the last.
    pub fn reading(&self, now: Duration, reading: Option<PowerSample>) -> bool {
        let book = &mut *self.book();
        if book.reading == reading {
            return false;
        }
        book.reading = reading;
        match reading {
            Some(reading) => {
                book.control.sample(now, reading.watts);
                book.swing.add(now, reading.watts);
            }
            None => book.control.absent(),
        }
        true
    }

    /// What is on its way is forgotten, as after other options; what was learned stays.
    pub fn forget_answers(&self) {
        let book = &mut *self.book();
        book.control.absent();
        book.reading = None;
        book.batteries
            .values_mut()
            .for_each(|battery| battery.round = None);
    }

    /// A question came. A datagram that waits gives way to the next of its reader: only the newest
    /// ticket is answered.
    pub fn ticket(&self, now: Duration, reader: Reader) -> u64 {
        let book = &mut *self.book();
        let Some(battery) = book.entry(now, reader) else {
            return 0;
        };
        if battery.asking.silent_for(now) >= FORGET {
            *battery = Battery {
                ticket: battery.ticket,
                ..Battery::new(now)
            };
        }
        battery.asking.mark(reader.1 == Channel::Udp, now);
        battery.ticket += 1;
        battery.ticket
    }

    /// What becomes of a question at `now`.
    pub fn ask(&self, now: Duration, ask: &Ask) -> Turn {
        let book = &mut *self.book();
        let datagram = ask.reader.1 == Channel::Udp;
        let Some(battery) = book.batteries.get_mut(&ask.reader) else {
            return Turn::Free;
        };
        if datagram && battery.ticket != ask.ticket {
            return Turn::Silence;
        }
        if let Some(round) = battery
            .round
            .as_mut()
            .filter(|round| now.saturating_sub(round.at) < ROUND)
            && round.parts.len() < PARTS
            && !round.parts.contains(&ask.part)
        {
            round.parts.push(ask.part);
            return Turn::Answer(round.factor);
        }
        let counts = battery.asking.counts();
        let new = !std::mem::replace(&mut battery.known, true);
        let waited = if ask.first {
            Duration::ZERO
        } else {
            now.saturating_sub(ask.since).max(Duration::from_nanos(1))
        };
        let share = ask
            .share
            .or_else(|| (!counts).then(|| 1.0 / (book.counting(now) + 1) as f64));
        let mut question = Question {
            reader: ask.reader,
            share,
            waited,
            holds: !datagram,
        };
        let watts = book.reading.map_or(0.0, |reading| reading.watts);
        let about = |told: f64| (told - watts).abs() <= f64::max(20.0, watts.abs() / 4.0);
        if new
            && ask
                .before
                .is_some_and(|(told, at)| now.saturating_sub(at) < BEFORE && about(told))
        {
            // It is booked, and not said again.
            book.control.ask(now, &question);
            question.waited = question.waited.max(Duration::from_nanos(1));
        }
        match book.control.ask(now, &question) {
            Decision::Answer { value, share } => {
                let factor = if value == Value::Zero { 0.0 } else { share };
                book.tell(ControlledAnswer {
                    at: now,
                    reader: ask.reader,
                    watts: factor * watts,
                });
                if let Some(battery) = book.batteries.get_mut(&ask.reader) {
                    battery.round = Some(Round {
                        at: now,
                        factor,
                        parts: vec![ask.part],
                    });
                }
                Turn::Answer(factor)
            }
            Decision::Wait(until) => Turn::Wait(until),
            Decision::Silence if datagram => Turn::Silence,
            Decision::Silence => Turn::Answer(0.0),
        }
    }

    /// What would become of a question of a battery that asks for the first time; nothing is kept of
    /// it. Our own test asks so: it does not act on what it is told.
    #[must_use]
    pub fn tried(&self, now: Duration, ask: &Ask) -> Turn {
        let book = self.book();
        let apart = Book {
            control: book.control.clone(),
            reading: book.reading,
            batteries: book.batteries.clone(),
            ..Book::default()
        };
        drop(book);
        let apart = Self(Mutex::new(apart));
        // Nobody has this address: a battery beside us may have that of the test.
        let reader = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), ask.reader.1);
        let ticket = apart.ticket(now, reader);
        apart.ask(
            now,
            &Ask {
                reader,
                ticket,
                before: None,
                ..*ask
            },
        )
    }

    /// What is known of a battery that asked within the last minutes.
    #[must_use]
    pub fn state(&self, now: Duration, reader: &Reader) -> Option<ReaderState> {
        let book = self.book();
        book.batteries
            .get(reader)
            .filter(|battery| battery.asking.silent_for(now) < FORGET)?;
        book.control.state(now, reader)
    }

    /// The answers of the last 10 minutes, oldest first.
    #[must_use]
    pub fn told(&self, now: Duration) -> Vec<ControlledAnswer> {
        self.book()
            .told
            .iter()
            .filter(|told| now.saturating_sub(told.at) <= TOLD_FOR)
            .copied()
            .collect()
    }

    /// How far grid power swung in the last 10 minutes, from the 5th to the 95th percentile, W; and
    /// whether it does now.
    #[must_use]
    pub fn swing(&self, now: Duration) -> (Option<f64>, bool) {
        let book = self.book();
        (book.swing.span(now), book.swing.swings(now))
    }

    /// The same, `None` while there is no reading to go by.
    #[must_use]
    pub fn readings_each(&self) -> Option<f64> {
        let book = self.book();
        book.reading.map(|_| book.control.cadence())
    }

    /// Mean distance of the readings, s.
    #[must_use]
    pub fn cadence(&self) -> f64 {
        self.book().control.cadence()
    }
}

impl Book {
    fn tell(&mut self, told: ControlledAnswer) {
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(told);
    }

    /// Batteries that share the power.
    fn counting(&self, now: Duration) -> usize {
        let lately = Duration::from_secs_f64(self.control.shares_for());
        let counts = |b: &&Battery| b.asking.counts() && b.asking.silent_for(now) < lately;
        self.batteries.values().filter(counts).count()
    }

    /// The battery, if there is room or somebody makes some.
    fn entry(&mut self, now: Duration, reader: Reader) -> Option<&mut Battery> {
        if self.batteries.len() >= READERS && !self.batteries.contains_key(&reader) {
            let all = self.batteries.iter().map(|(reader, b)| (*reader, b.asking));
            for gone in least_lately(all, FORGET, now) {
                self.batteries.remove(&gone);
                self.control.forget(&gone);
            }
            if self.batteries.len() >= READERS {
                return None;
            }
        }
        let new = || Battery::new(now);
        Some(self.batteries.entry(reader).or_insert_with(new))
    }
}

#[cfg(test)]
#[path = "calm_tests.rs"]
mod calm_tests;
