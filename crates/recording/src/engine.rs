//! One meter of a replay: the real [`Meter`], shares and calm control, on the file's time.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

use super::{
    compare::Comparer,
    line::{Answer, QuestionLine, ReaderLine, seconds},
    names,
};
use config::{ControlMode, ControlSettings, MeterSettings, ScalingSettings, StalePolicy};
use consumers::{
    Ask, Calm, Channel, Reader, ReaderKind, Turn,
    calm::PowerSample,
    sharing::{CallerSigns, Seen},
};
use meter::{Changed, CounterState, Meter, Quality, Report, Snapshot};
use vocab::{Now, SourceEvent};

/// Monotonic time of second 0: what was known before has room.
const ORIGIN: Duration = Duration::from_secs(200 * 24 * 3600);
/// A question that control names no time for is looked at again after this, as by the transport.
const LOOK: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// Questions that wait at once; further ones are answered as anybody's.
const WAITING: usize = 512;
/// Readers of whom it is remembered how they were told that there is no power.
const REMEMBERED: usize = 4096;
/// The device's error for what is unavailable, and Modbus' one.
const UNAVAILABLE: i32 = -114;
const MODBUS_FAILURE: i32 = 4;

/// Settings of a meter, and whether those that were changed count for what is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setup {
    pub meter: MeterSettings,
    pub scaling: ScalingSettings,
    /// Shares, viewers and batteries by address are those of the changes.
    pub by_changes: [bool; 3],
    /// `stale` is as it was recorded.
    pub same_stale: bool,
    /// Who is controlled is decided as it was recorded.
    pub same_control: bool,
}

/// A question that waits for its turn.
#[derive(Debug)]
struct Waiting {
    ask: Ask,
    until: Duration,
    question: QuestionLine,
}

/// One meter.
#[derive(Debug)]
pub(super) struct Engine {
    setup: Setup,
    control: ControlSettings,
    scaling: ScalingSettings,
    named: BTreeMap<IpAddr, ReaderLine>,
    meter: Meter,
    view: Snapshot,
    start: f64,
    at: Duration,
    due: Option<Duration>,
    tick: Duration,
    calm: Calm,
    seen: Seen,
    told: HashMap<Reader, (f64, Duration)>,
    absent: HashMap<(Reader, String), Answer>,
    waiting: Vec<Waiting>,
    /// Comparison begins here: what was smoothed before is not known.
    from: f64,
}

/// Monotonic time of a second of the file.
pub(super) fn mono(t: f64) -> Duration {
    let since = Duration::try_from_secs_f64(t.abs()).unwrap_or_default();
    if t < 0.0 {
        ORIGIN.saturating_sub(since)
    } else {
        ORIGIN + since
    }
}

fn second(at: Duration) -> f64 {
    at.as_secs_f64() - ORIGIN.as_secs_f64()
}

impl Engine {
    /// A meter that has heard nothing. `from`: seconds that are not compared.
    pub fn new(setup: Setup, start: f64, from: f64) -> Self {
        let begin = Now {
            mono: Duration::ZERO,
            unix: start - ORIGIN.as_secs_f64(),
        };
        let mut meter = Meter::new(&setup.meter, CounterState::default(), begin);
        let view = meter.snapshot(begin);
        Self {
            control: setup.meter.control.clone(),
            scaling: setup.scaling.clone(),
            setup,
            named: BTreeMap::new(),
            meter,
            view,
            start,
            at: begin.mono,
            due: None,
            tick: ORIGIN,
            calm: Calm::new(),
            seen: Seen::default(),
            told: HashMap::new(),
            absent: HashMap::new(),
            waiting: Vec::new(),
            from,
        }
    }

    fn now(&self, at: Duration) -> Now {
        Now {
            mono: at,
            unix: self.start + second(at),
        }
    }

    /// Other settings count from now on.
    pub fn configure(&mut self, setup: Setup) {
        if setup.meter != self.setup.meter {
            let now = self.now(self.at);
            self.meter.reconfigure(&setup.meter, now);
        }
        if setup != self.setup {
            self.calm.forget_answers();
        }
        self.setup = setup;
        self.by_address();
    }

    /// What options by address say of a reader.
    pub fn name(&mut self, line: ReaderLine) {
        if let Some(address) = names::address(&line.reader) {
            self.named.insert(address, line);
            self.by_address();
        }
    }

    /// Puts what is known of the readers of the file in place of addresses.
    fn by_address(&mut self) {
        let [shares, viewers, readers] = self.setup.by_changes;
        (self.control, self.scaling) =
            (self.setup.meter.control.clone(), self.setup.scaling.clone());
        for (address, line) in &self.named {
            let net = (*address).into();
            if let Some(share) = line.share.filter(|_| !shares) {
                self.scaling.shares.push((net, share));
            }
            if line.viewer && !viewers {
                self.scaling.viewers.push(net);
            }
            if line.controlled && !readers {
                self.control.readers.push(net);
            }
        }
    }

    /// Comes to `at`: what is due until then is done in its order.
    pub fn advance(&mut self, to: Duration, out: &mut Comparer) {
        while let Some(next) = self.next().filter(|next| *next <= to) {
            self.at = self.at.max(next);
            if self.due.is_some_and(|due| due <= next) {
                self.publish(out);
            } else if self.tick <= next {
                self.tick += Duration::from_secs(1);
                let now = self.now(self.at);
                self.meter.tick(now);
                self.publish(out);
            } else {
                self.ask_again(out, |waiting| waiting.until <= next);
            }
        }
        self.at = self.at.max(to);
    }

    fn next(&self) -> Option<Duration> {
        let waiting = self.waiting.iter().map(|waiting| waiting.until).min();
        let tick = Some(self.tick);
        [self.due, tick, waiting].into_iter().flatten().min()
    }

    /// What the source says, now.
    pub fn event(&mut self, event: &SourceEvent, out: &mut Comparer) {
        let now = self.now(self.at);
        match self.meter.apply(event, now) {
            Changed::No => {}
            Changed::Now => self.publish(out),
            Changed::Within(wait) => {
                let then = self.at + wait;
                self.due = Some(self.due.map_or(then, |due| due.min(then)));
            }
        }
    }

    fn publish(&mut self, out: &mut Comparer) {
        let now = self.now(self.at);
        self.view = self.meter.snapshot(now);
        self.due = self.meter.due().map(|wait| self.at + wait);
        self.meter.notices();
        let made = [0, 1, 2].map(|i| self.view.inputs[i].report.map(Report::made));
        let sample = self.view.totals.map(|totals| PowerSample {
            made,
            watts: totals.act_power.get(),
        });
        if self.calm.reading(self.at, sample) {
            self.ask_again(out, |_| true);
        }
    }

    /// A question comes, now.
    pub fn question(&mut self, question: QuestionLine, out: &mut Comparer) {
        let Some(reader) =
            names::address(&question.reader).map(|address| (address, question.channel))
        else {
            return;
        };
        if !carries_power(&question) {
            return;
        }
        if question.answer.watts().is_none() && question.waited.is_none() {
            let key = (reader, question.method.clone());
            if self.absent.len() < REMEMBERED || self.absent.contains_key(&key) {
                self.absent.insert(key, question.answer);
            }
        }
        if !self.is_controlled(&question, reader) {
            return self.answer(&question, reader, None, out);
        }
        let share = self.scaling.enable.then(|| self.share(&question, reader));
        let ticket = self.calm.ticket(self.at, reader);
        let ask = Ask {
            reader,
            ticket,
            share,
            part: (
                device::find(&question.method).map_or("", |method| method.name),
                question.phase,
            ),
            since: self.at,
            first: true,
            before: self.told.get(&reader).copied(),
        };
        self.turn(ask, question, out);
    }

    fn turn(&mut self, mut ask: Ask, question: QuestionLine, out: &mut Comparer) {
        if self.view.totals.is_none() {
            return self.answer(&question, ask.reader, None, out);
        }
        match self.calm.ask(self.at, &ask) {
            Turn::Answer(factor) => self.answer(&question, ask.reader, Some(factor), out),
            Turn::Silence => self.done(&question, ask.reader, Answer::SILENCE, out),
            Turn::Wait(until) if self.waiting.len() < WAITING => {
                ask.first = false;
                let rest = until.saturating_sub(self.at).clamp(SHORTEST_WAIT, LOOK);
                self.waiting.push(Waiting {
                    ask,
                    until: self.at + rest,
                    question,
                });
            }
            Turn::Wait(_) | Turn::Free => self.answer(&question, ask.reader, None, out),
        }
    }

    fn ask_again(&mut self, out: &mut Comparer, due: impl Fn(&Waiting) -> bool) {
        let (again, wait): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(due);
        self.waiting = wait;
        for waiting in again {
            self.turn(waiting.ask, waiting.question, out);
        }
    }

    /// Answers from the view of now: with this part of the power, or with that of a reader's share.
    fn answer(
        &mut self,
        question: &QuestionLine,
        reader: Reader,
        factor: Option<f64>,
        out: &mut Comparer,
    ) {
        let factor = factor.unwrap_or_else(|| self.share(question, reader));
        let nulls = question.kind == ReaderKind::Viewer;
        // A channel of profile `monophase` is a meter of its own.
        let alone = question.phase.is_some() && (nulls || question.method == "EM1.GetStatus");
        let answer = if self.view.stale() && !alone {
            self.without(question, reader)
        } else {
            let scaled = (factor != 1.0).then(|| self.view.scaled(factor));
            let view = scaled.as_ref().unwrap_or(&self.view);
            let watts = match question.phase {
                Some(phase) => view
                    .phases
                    .get(usize::from(phase))
                    .and_then(|phase| phase.map(|phase| phase.act_power.get())),
                None => view.totals.map(|totals| totals.act_power.get()),
            };
            watts.map_or_else(|| self.without(question, reader), Answer::Watts)
        };
        self.done(question, reader, answer, out);
    }

    fn done(
        &mut self,
        question: &QuestionLine,
        reader: Reader,
        answer: Answer,
        out: &mut Comparer,
    ) {
        if let Some(watts) = answer.watts() {
            self.told.insert(reader, (watts, self.at));
        } else if let Some(told) = self.told.get_mut(&reader) {
            told.1 = self.at;
        }
        let t = seconds(second(self.at));
        if t >= self.from {
            out.add(t, question, answer);
        }
    }

    /// How it is told that there is no power: as it was while that was recorded, else by the rules.
    fn without(&self, question: &QuestionLine, reader: Reader) -> Answer {
        if self.setup.same_stale {
            if question.answer.watts().is_none() && question.waited.is_none() {
                return question.answer;
            }
            if let Some(answer) = self.absent.get(&(reader, question.method.clone())) {
                return *answer;
            }
        }
        let code = if question.channel == Channel::Modbus {
            MODBUS_FAILURE
        } else {
            UNAVAILABLE
        };
        match (self.setup.meter.stale, question.channel) {
            (StalePolicy::Silent, _) | (_, Channel::Udp | Channel::Outbound) => Answer::SILENCE,
            (StalePolicy::Device, _) if question.kind == ReaderKind::Viewer => Answer::RESULT,
            (StalePolicy::Device | StalePolicy::Error, _) => Answer::Error { error: code },
        }
    }

    fn share(&mut self, question: &QuestionLine, reader: Reader) -> f64 {
        if !self.scaling.enable || question.channel == Channel::Modbus {
            return 1.0;
        }
        let signs = CallerSigns {
            peer: reader.0,
            agent: None,
            src: None,
            datagram: question.channel == Channel::Udp,
            viewer: question.kind == ReaderKind::Viewer,
        };
        self.seen.share(signs, &self.scaling, &[], self.at)
    }

    /// Whether it is a battery that is answered in its turn: as it was recorded where the options
    /// are the same, for then more was known of it.
    fn is_controlled(&self, question: &QuestionLine, (address, channel): Reader) -> bool {
        let of_the_house = question.phase.is_none_or(|phase| {
            let used = |quality: &Quality| *quality != Quality::Unused;
            let inputs = &self.view.inputs;
            let only = inputs.iter().filter(|input| used(&input.quality)).count() == 1;
            only && inputs
                .get(usize::from(phase))
                .is_some_and(|input| used(&input.quality))
        });
        if self.control.mode == ControlMode::Off
            || matches!(channel, Channel::Modbus | Channel::Outbound)
            || question.method == NOTIFIED
            || self.view.totals.is_none()
            || !of_the_house
        {
            return false;
        }
        let asked = question.waited.is_some();
        if self.setup.same_control && (asked || question.answer.watts().is_some()) {
            return asked;
        }
        let named = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&address));
        if named(&self.scaling.viewers) || question.kind == ReaderKind::Viewer {
            return false;
        }
        named(&self.control.readers)
            || match self.control.mode {
                ControlMode::Off => false,
                ControlMode::Auto => question.kind == ReaderKind::Battery,
                ControlMode::On => true,
            }
    }
}

/// What a notification is called in a file.
const NOTIFIED: &str = "NotifyStatus";

/// Whether a question was for power, and was answered with it or with its absence.
fn carries_power(question: &QuestionLine) -> bool {
    let for_power = || device::find(&question.method).is_ok_and(|method| method.power.is_some());
    match question.answer {
        _ if question.answer.watts().is_some() => true,
        Answer::Error { error } if question.channel == Channel::Modbus => error == MODBUS_FAILURE,
        Answer::Error { error } => error == UNAVAILABLE && for_power(),
        _ => for_power(),
    }
}
