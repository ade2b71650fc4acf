//! What one reader was told, what of that was seen on the meter since, and how the reader follows.

use super::{
    aside::Aside,
    bank::{Bank, KnownLaw},
    episode::{Closed, Episode},
    gate::Gate,
    params::Params,
    parts::Parts,
    side::Side,
    trial::Trial,
};

/// Errors from which on one answer's limit shows, W.
const BIG: f64 = 60.0;
/// Errors below which changing signs are hunting around zero, W.
const SMALL: f64 = 100.0;
/// How much of changing signs makes a hunter, 0 to 1.
const HUNTS: f64 = 0.85;
/// The dead band for a hunter: at least, times the noise, at most; W.
const HUNT_BAND: (f64, f64, f64) = (15.0, 2.0, 50.0);
/// From this distance of samples on, s, a slow reader is answered the same sample again …
const REPEAT_FROM: f64 = 3.0;
/// … after this time, s.
const REPEAT_AFTER: f64 = 1.0;
/// A sample counts as the reader's own for so many distances of samples.
const SAME_FOR: f64 = 1.5;
/// A change from answer to answer that a gate holds, W.
const JUMP: f64 = 50.0;
/// The loop gain up to which a reader is calm by itself.
const CALM: f64 = 0.8;
/// What is added to the time an answer took, s.
const SLACK: f64 = 0.5;
/// What is on its way changes between samples, so one whose law is known is looked at each so many s.
const LOOK_EACH: f64 = 0.1;

/// What a reader is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// The newest sample times the reader's share, W.
    Sample(f64),
    /// 0 W: it moves no known battery but one that goes on with its last answers, which it stops.
    Zero,
}

/// Why a reader is not answered at the moment, and until when that holds if no sample comes, s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NotNow {
    pub until: f64,
}

/// One reader.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// The newest sample times the share, W, and the part of that which it is answered.
    watts: f64,
    part: f64,
    /// By then an answer has been seen, s.
    patience: f64,
    /// Mean change from sample to sample, of changes below 100 W.
    noise: f64,
    /// How it follows answers to import, and to export.
    sides: [Side; 2],
    /// The number of the last sample it was answered with.
    heard: u64,
    /// When it was answered last, s.
    answered_at: f64,
    episode: Option<Episode>,
    closed: Option<Closed>,
    /// How often small episodes change their sign, 0 to 1, and the sign of the last.
    swings: f64,
    small: f64,
    /// What it was told last, W.
    said: f64,
    closed_at: f64,
    parts: Parts,
    aside: Aside,
    /// Mean distance of its questions, and when the last came, s.
    poll: f64,
    asks: u32,
    asked_at: f64,
    gate: Gate,
    trial: Trial,
    /// Models of the known laws, if it is learned how readers follow.
    bank: Option<Bank>,
}

impl Ledger {
    pub fn new(params: &Params, now: f64, watts: f64) -> Self {
        Self {
            watts,
            part: 1.0,
            patience: params.patience,
            noise: 0.0,
            sides: [Side::default(), Side::default()],
            heard: 0,
            answered_at: now,
            episode: None,
            closed: None,
            swings: 0.0,
            small: 0.0,
            said: 0.0,
            closed_at: now,
            parts: Parts::default(),
            aside: Aside::default(),
            poll: 1.0,
            asks: 0,
            asked_at: now,
            gate: Gate::default(),
            trial: Trial::new(now),
            bank: (params.learn && params.laws).then(|| Bank::new(now)),
        }
    }

    fn side(&mut self, sign: f64) -> &mut Side {
        &mut self.sides[usize::from(sign < 0.0)]
    }

    /// By when an answer has been seen, s.
    pub fn patience(&self) -> f64 {
        self.patience
    }

    /// What one answer moves at most, W, for import and export: infinite if all of it.
    pub fn reach(&self) -> [f64; 2] {
        [self.sides[0].reach, self.sides[1].reach]
    }

    /// Whether it is calm by itself and answered as without control.
    pub fn stands_aside(&self) -> bool {
        self.aside.on
    }

    /// Whether grid power swings at `now`, s.
    pub fn swings(&self, now: f64) -> bool {
        self.trial.swings(now)
    }

    /// The law by which it is believed to act.
    pub fn law(&self) -> KnownLaw {
        self.bank.as_ref().map_or(KnownLaw::Unknown, Bank::law)
    }

    /// Watts answered that are on their way, and since when, s.
    pub fn on_its_way(&self) -> Option<(f64, f64)> {
        if self.decides() {
            let left = self.modelled();
            return (left.abs() > 1.0).then_some((left, self.answered_at));
        }
        let episode = self.episode.as_ref()?;
        let left = episode.booked - episode.seen(episode.sign * self.watts);
        (left > 0.0).then_some((episode.sign * left, episode.answered_at))
    }

    /// Whether a known law decides when it is answered.
    fn decides(&self) -> bool {
        self.bank.as_ref().is_some_and(Bank::decides)
    }

    /// Watts that are on their way as its model has it.
    pub fn modelled(&self) -> f64 {
        self.bank.as_ref().map_or(0.0, Bank::on_its_way)
    }

    /// A sample has come: says by how much the reader's output moved since the last one, as its
    /// model has it, W.
    pub fn moved(&mut self, now: f64) -> f64 {
        self.bank.as_mut().map_or(0.0, |bank| bank.moved(now))
    }

    /// Grid power would have changed by `change` W with that sample if no battery had moved.
    pub fn learn(&mut self, now: f64, change: f64) {
        let swings = self.trial.swings(now);
        if let Some(bank) = &mut self.bank {
            bank.learn(now, change, swings);
        }
    }

    /// Nothing is on its way any more; what was learned stays.
    pub fn forget_answers(&mut self) {
        (self.episode, self.closed) = (None, None);
    }

    /// The same reader with another share: what was answered was answered in other watts.
    pub fn restart(&mut self, watts: f64) {
        self.forget_answers();
        self.watts = watts * self.part;
    }

    /// A fresh sample times the share: what of the answers has been seen?
    pub fn sample(&mut self, params: &Params, now: f64, whole: f64, cadence: f64) {
        if params.learn {
            if self.trial.sample(now, whole) {
                self.restart(whole);
            }
            self.aside.sample(now, self.trial.swings(now));
        }
        let law = self.bank.as_ref().map_or(1.0, |bank| bank.part(self.poll));
        self.part = self.trial.part() * law;
        let watts = whole * self.part;
        let change = watts - self.watts;
        self.watts = watts;
        if change.abs() < 100.0 {
            self.noise += 0.02 * (change.abs() - self.noise);
        }
        if let Some(episode) = &mut self.episode {
            let error = episode.sign * watts;
            let (before, seen) = episode.sample(now, error);
            let fell = -episode.sign * change;
            // Still moving, and sampled often enough to tell.
            let more = fell > f64::max(10.0, 0.08 * episode.booked)
                && episode.age - before < 0.6 * self.patience;
            if error < params.still
                || seen >= episode.booked - params.still
                || (seen >= 0.85 * episode.booked && !more)
            {
                self.close(params, now, seen, error, true, cadence);
            } else if episode.age >= self.patience
                && !(more && episode.age < 2.0 * params.patience_most)
            {
                self.close(params, now, seen, error, false, cadence);
            }
        } else if let Some(closed) = self.closed {
            let over = -closed.sign * watts;
            if now > closed.until {
                self.closed = None;
            } else if over > closed.limit {
                self.closed = None;
                if closed.primed
                    && closed.given == 1
                    && (0.6 * closed.asked..=1.4 * closed.asked).contains(&over)
                {
                    self.gate.learn(0.0);
                }
                if over <= closed.unseen + 50.0 {
                    self.late(params, closed);
                } else if params.learn
                    && closed.given == 1
                    && (2.0 * closed.limit..=4.0 * closed.limit + 50.0).contains(&over)
                {
                    // It may have been later than it looked.
                    self.patience = (self.patience * 1.2).min(params.patience_most);
                }
            }
        }
    }

    /// Whether it does so little of each answer that all of its questions within the time an answer
    /// takes come to less than the error.
    fn is_calm(&self) -> bool {
        let small = match [self.sides[0].small_part(), self.sides[1].small_part()] {
            [Some(import), Some(export)] => Some(f64::max(import, export)),
            _ => None,
        };
        let Some(part) = self.parts.usual().into_iter().chain(small).reduce(f64::max) else {
            return false;
        };
        (0.1..=0.5).contains(&part) && part * self.patience / self.poll.max(0.1) <= CALM
    }

    /// The answers have been seen, whole or as much of them as comes. Learns from it.
    fn close(
        &mut self,
        params: &Params,
        now: f64,
        seen: f64,
        error: f64,
        whole: bool,
        cadence: f64,
    ) {
        let Some(episode) = self.episode.take() else {
            return;
        };
        let Episode {
            sign,
            peak,
            asked,
            given,
            booked,
            jump,
            ..
        } = episode;
        if peak < SMALL {
            self.swings = 0.85 * self.swings + if sign == -self.small { 0.15 } else { 0.0 };
            self.small = sign;
        }
        let limit = f64::max(50.0, 0.25 * peak);
        let closed = Closed {
            until: now + self.patience,
            sign,
            given,
            whole,
            limit,
            unseen: (asked - seen).max(0.0),
            primed: episode.primed,
            asked,
        };
        if params.learn {
            let each = seen / f64::from(given.max(1));
            let still = params.still;
            if given == 1 && asked > 3.0 * still {
                self.parts.note(seen, asked);
            }
            if given == 1 && booked >= 50.0 {
                self.trial.did(now, seen >= 0.2 * booked);
            }
            if given == 1 && !episode.primed && booked >= BIG {
                if jump && episode.nothing_seen() {
                    self.gate.held = Some((sign, now + f64::max(1.5 * cadence, 1.3 * self.poll)));
                } else if jump && episode.rested && seen >= 0.5 * booked {
                    self.gate.learn(0.0);
                } else if episode.after_held && (0.4 * booked..=1.15 * booked).contains(&seen) {
                    self.gate.learn(1.0);
                }
            }
            let side = self.side(sign);
            side.calmed();
            if peak >= BIG {
                if given == 1 && each >= 0.7 * peak {
                    side.followed();
                } else if seen > 20.0 && each < 0.6 * peak {
                    side.fell_short(each);
                }
            } else if peak > 2.0 * still && asked < 2.5 * BIG {
                side.followed_small(seen, asked);
            }
            if given == 1
                && seen >= 30.0
                && let Some(took) = episode.took(0.7, seen)
            {
                self.timed(params, took);
            }
            // Beyond zero by no more than the answers that followed the first: they did it.
            if given > 1 && limit < -error && -error <= asked - peak {
                self.late(params, closed);
            }
        }
        self.closed = Some(closed);
        self.closed_at = now;
        if params.learn {
            let calm = self.is_calm();
            self.aside.closed(calm);
        }
    }

    /// Beyond zero after an episode by no more than was answered: the answers did more, or later,
    /// than was booked.
    fn late(&mut self, params: &Params, closed: Closed) {
        if !params.learn {
            return;
        }
        if closed.given > 1 {
            self.side(closed.sign).doubt();
        }
        if !closed.whole {
            self.patience = (self.patience + 0.5).min(params.patience_most);
        }
    }

    /// Moves the patience towards the 70th percentile of the time that answers took.
    fn timed(&mut self, params: &Params, took: f64) {
        let step = if took + SLACK > self.patience {
            0.7
        } else {
            -0.3
        };
        self.patience = (self.patience * (1.0 + 0.05 * step))
            .clamp(params.patience_least, params.patience_most);
    }

    /// It asks, and does not only wait.
    pub fn asks(&mut self, now: f64) {
        if self.asks > 0 {
            let rate = f64::max(0.1, 1.0 / f64::from(self.asks));
            self.poll += rate * ((now - self.asked_at).min(30.0) - self.poll);
        }
        self.asks = self.asks.saturating_add(1);
        self.asked_at = now;
    }

    /// A question while sample `n` is the newest, these being `cadence` s apart, and `error` W are on
    /// the meter that are not on their way to others.
    pub fn ask(
        &mut self,
        params: &Params,
        now: f64,
        n: u64,
        cadence: f64,
        error: f64,
    ) -> Result<Value, NotNow> {
        if self.aside.on {
            self.forget_answers();
            return Ok(self.say(now, n, Value::Sample(self.watts)));
        }
        let answer = if self.decides() {
            self.forget_answers();
            self.answer_by_law(now, n, error)
        } else {
            self.answer(params, now, n, cadence)
        };
        if answer.is_err() && self.trial.zeros() && now > self.answered_at {
            return Ok(self.contact(now, n));
        }
        answer
    }

    /// A sample that moves nothing, in place of silence: some go to their safe state without a word.
    pub fn rests(&mut self, params: &Params, now: f64, n: u64) -> Option<Value> {
        let plain = self.bank.as_ref().is_some_and(Bank::is_plain);
        (plain && self.watts.abs() <= params.still)
            .then(|| self.say(now, n, Value::Sample(self.watts)))
    }

    /// Answers one whose law is known.
    fn answer_by_law(&mut self, now: f64, n: u64, error: f64) -> Result<Value, NotNow> {
        let watts = self.watts;
        let poll = self.poll;
        let says = |bank: &mut Bank| bank.says(now, watts, error, poll);
        if self.bank.as_mut().is_some_and(says) {
            return Ok(self.say(now, n, Value::Sample(watts)));
        }
        if self
            .bank
            .as_ref()
            .is_some_and(|bank| bank.goes_on(self.said))
        {
            return Ok(self.contact(now, n));
        }
        Err(NotNow {
            until: now + LOOK_EACH,
        })
    }

    fn answer(&mut self, params: &Params, now: f64, n: u64, cadence: f64) -> Result<Value, NotNow> {
        let sign = if self.watts < 0.0 { -1.0 } else { 1.0 };
        let error = self.watts.abs();
        let mut until = f64::INFINITY;
        if self.heard == n && now - self.answered_at < SAME_FOR * cadence {
            until = self.answered_at + SAME_FOR * cadence;
            if cadence >= REPEAT_FROM && error > params.still && self.side(sign).is_slow() {
                until = until.min(self.answered_at + REPEAT_AFTER);
            }
            if now < until {
                return Err(NotNow { until });
            }
        }
        if error <= params.still {
            return Ok(self.say(now, n, Value::Sample(self.watts)));
        }
        let (least, times, most) = HUNT_BAND;
        if self.swings > HUNTS && error <= most.min(least.max(times * self.noise)) {
            return Ok(self.say(now, n, Value::Zero));
        }
        match &self.episode {
            Some(episode) if episode.sign == sign => {
                // What nobody has been told yet.
                let left = error - (episode.booked - episode.seen(error)).max(0.0);
                if left < params.still.max(0.1 * error) {
                    return Err(NotNow { until });
                }
            }
            // An error on the other side is a new matter at once.
            _ => {
                let jump = (self.watts - self.said).abs() > JUMP;
                let primed = self.gate.primed > 0;
                if jump && self.gate.on && self.gate.primed < 2 {
                    self.gate.primed += 1;
                    self.episode = None;
                    let value = self.say(now, n, Value::Sample(self.watts));
                    self.heard = 0;
                    return Ok(value);
                }
                self.gate.primed = 0;
                let after_held = self
                    .gate
                    .held
                    .take()
                    .is_some_and(|(s, until)| s == sign && now < until);
                let mut episode = Episode::new(sign, error);
                (episode.jump, episode.primed, episode.after_held) = (jump, primed, after_held);
                episode.rested = now - self.closed_at > 3.0;
                self.episode = Some(episode);
            }
        }
        let booked = self.side(sign).booked(error);
        if let Some(episode) = &mut self.episode {
            episode.answered(now, error, booked);
        }
        Ok(self.say(now, n, Value::Sample(self.watts)))
    }

    fn say(&mut self, now: f64, n: u64, value: Value) -> Value {
        (self.answered_at, self.heard) = (now, n);
        self.said = match value {
            Value::Sample(watts) => watts,
            Value::Zero => 0.0,
        };
        if let Some(bank) = &mut self.bank {
            bank.told(now, self.said);
        }
        value
    }

    /// 0 W, so that it is not left without contact.
    pub fn contact(&mut self, now: f64, n: u64) -> Value {
        self.say(now, n, Value::Zero)
    }

    /// The part of its share that it is answered.
    pub fn part(&self) -> f64 {
        self.part
    }

    /// When it was answered last, s.
    pub fn answered_at(&self) -> f64 {
        self.answered_at
    }
}
