//! The meter as its owner drives it: events and seconds in, snapshots and minute records out.
//!
//! One task owns a [`Meter`]. It calls [`Meter::apply`] for each event of the source,
//! [`Meter::tick`] once a second, and [`Meter::snapshot`] when either says so. Time comes in as an
//! argument; nothing here waits.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    cells::{Cells, Lost},
    counters::{CounterState, Ledger, Stretch, Taken},
    direction::{Counters, SignVerdict},
    figures::Electric,
    inputs::Plan,
    minutes::{MinuteBuilder, MinuteRecord, minute_of},
    report::{self, EntityReport},
    round::serve,
    snapshot::{Energy, Snapshot, SourceHealth},
    watch::{Notice, Watch, WatchContext},
    witness::{Side, SignChecks},
};
use config::{EnergySource, MeterSettings};
use vocab::Milli;
use vocab::reason::Reason;
use vocab::{EntityId, Now, SourceEvent};

/// How long the siblings of a power reading are waited for
/// (`docs/decisions.md#two-readings-of-one-power`).
pub const SIBLINGS: Duration = Duration::from_millis(20);

/// A step longer than the hold time, or than this, counts only that much energy
/// (`docs/decisions.md#energy-is-integrated`).
const LONGEST_STEP: Duration = Duration::from_secs(2);

/// Wall and monotonic clock may differ by so much (s) over a step before the wall clock is said to
/// have jumped.
const CLOCK_SLACK: f64 = 1.0;

/// Whether an event calls for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nothing to show.
    No,
    /// Take a snapshot now.
    Now,
    /// Take one after this time unless [`Changed::Now`] comes first: siblings of this reading may
    /// be on their way.
    Within(Duration),
}

/// What a second brought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ticked {
    /// A wall-clock minute is over.
    pub minute: Option<MinuteRecord>,
    /// Power by phase, W, neither smoothed nor moved by the target: for samples and forecast.
    /// `None`: absent.
    pub measured: [Option<f64>; 3],
}

impl Ticked {
    /// The house's power, W; `None` while a phase is absent.
    #[must_use]
    pub fn total(&self) -> Option<f64> {
        self.measured.iter().copied().sum()
    }
}

/// One meter.
///
/// ```
/// use std::time::Duration;
/// use config::{LoadInputs, load};
/// use meter::{CounterState, Meter};
/// use vocab::{Link, Now, Reading, SourceEvent, State};
///
/// let options = LoadInputs::of_options(r#"{"total_power": "sensor.grid", "total_phase": "a"}"#);
/// let settings = &load(&options).settings.meters[0];
/// let now = Now { mono: Duration::from_secs(1), unix: 1.8e9 };
/// let mut meter = Meter::new(settings, CounterState::default(), now);
/// meter.apply(&SourceEvent::Link(Link::Up), now);
/// let reading = Reading {
///     entity: "sensor.grid".parse().unwrap(),
///     state: State::Text("-1.2".into()),
///     unit: Some("kW".into()),
///     age: Some(Duration::ZERO),
/// };
/// meter.apply(&SourceEvent::Readings(vec![reading]), now);
/// assert_eq!(meter.snapshot(now).totals.unwrap().act_power.get(), -1200.0);
/// ```
#[derive(Clone, Debug)]
pub struct Meter {
    settings: MeterSettings,
    /// Seconds of the household for each here.
    pace: f64,
    cells: Cells,
    plan: Plan,
    ledger: Ledger,
    at: Now,
    minute: MinuteBuilder,
    done: VecDeque<MinuteRecord>,
    /// What was counted by the end of the last record, Wh.
    recorded: Energy,
    seq: u64,
    /// Power cells heard since the last snapshot, and since when siblings are awaited.
    heard: Vec<usize>,
    waiting: Option<Duration>,
    watch: Watch,
    witnesses: SignChecks,
}

impl Meter {
    /// A meter that goes on from `counters`; its phases are absent until something is heard.
    #[must_use]
    pub fn new(settings: &MeterSettings, counters: CounterState, now: Now) -> Self {
        let mut cells = Cells::new(settings.hold);
        let plan = Plan::compile(settings, &mut cells, now.mono);
        let mut meter = Self {
            settings: settings.clone(),
            pace: 1.0,
            cells,
            plan,
            ledger: Ledger::new(counters),
            at: now,
            minute: MinuteBuilder::new(minute_of(now.unix)),
            done: VecDeque::new(),
            recorded: Energy::default(),
            seq: 0,
            heard: Vec::new(),
            waiting: None,
            watch: Watch::default(),
            witnesses: SignChecks::default(),
        };
        meter.configured(now);
        meter
    }

    /// For a household that lives faster or slower than time passes here, as a demo or a replay
    /// may: its energy, in counters and records alike, is its power times its own time. Stamps,
    /// holding and the length of a minute stay ours.
    #[must_use]
    pub fn at_pace(mut self, pace: f64) -> Self {
        self.pace = pace;
        self
    }

    /// Serves counters only as far as a restart brings them back: see [`Self::kept`]. `interval`:
    /// between two commits.
    #[must_use]
    pub fn serving_kept(mut self, interval: Duration, now: Now) -> Self {
        self.ledger.serve_kept(interval, now.mono);
        self
    }

    /// Counters of so many resets are kept as far as this, Wh: they may be served.
    pub fn kept(&mut self, limit: Energy, resets: u32, now: Now) {
        self.ledger.kept(limit, resets, now.mono);
    }

    /// The counters: what is counted, kept and served of them.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn configured(&mut self, now: Now) {
        let settings = &self.settings;
        self.heard.clear();
        self.witnesses = self.plan.witnesses(&self.cells);
        self.ledger.configure(
            settings.energy_source,
            self.plan.slots.clone(),
            settings.inputs.any_power(),
            now.mono,
        );
        self.settle(now);
    }

    /// Takes other settings over; counters and the values of entities that stay are kept, a block
    /// is lifted.
    pub fn reconfigure(&mut self, settings: &MeterSettings, now: Now) {
        let now = self.enter(now);
        self.settings = settings.clone();
        self.plan = Plan::compile(settings, &mut self.cells, now.mono);
        self.configured(now);
    }

    /// These entities have other names; [`Self::reconfigure`] with settings that say so comes next.
    /// What was heard under the old name goes on until the new one is heard, for the hold time
    /// where the old one was said to be gone.
    pub fn rename(&mut self, renamed: &BTreeMap<EntityId, EntityId>, now: Now) {
        self.enter(now);
        self.cells.rename(renamed);
    }

    /// Makes all phases absent for `reason` (options that are wrong:
    /// `docs/decisions.md#wrong-values`) until [`Self::reconfigure`].
    pub fn block(&mut self, reason: &Reason, now: Now) {
        let now = self.enter(now);
        self.plan.blocked = Some(Lost::new(now.mono, reason.clone()));
    }

    /// Takes an event of the source in, and says whether a snapshot is due.
    pub fn apply(&mut self, event: &SourceEvent, now: Now) -> Changed {
        let now = self.enter(now);
        let waited = self.plan.waiting(now.mono).is_some();
        let (heard, power_cells) = (&mut self.heard, &self.plan.power_cells);
        let (mut any, mut power) = (false, false);
        self.cells.apply(event, now.mono, |cell| {
            any = true;
            if power_cells.binary_search(&cell).is_ok() {
                power = true;
                if !heard.contains(&cell) {
                    heard.push(cell);
                }
            }
        });
        self.settle(now);
        match event {
            SourceEvent::Alive => Changed::No,
            SourceEvent::Link(_) => Changed::Now,
            SourceEvent::Readings(_) if !any => Changed::No,
            // The other half of a pair is here.
            SourceEvent::Readings(_) if waited && self.plan.waiting(now.mono).is_none() => {
                Changed::Now
            }
            SourceEvent::Readings(_) if power && self.heard.len() < self.plan.power_cells.len() => {
                let since = *self.waiting.get_or_insert(now.mono);
                match SIBLINGS.saturating_sub(now.mono.saturating_sub(since)) {
                    Duration::ZERO => Changed::Now,
                    left => Changed::Within(left),
                }
            }
            SourceEvent::Readings(_) => Changed::Now,
        }
    }

    /// How long until a snapshot is due though nothing is heard: the other half of a pair did not
    /// come.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.plan
            .waiting(self.at.mono)
            .map(|until| until.saturating_sub(self.at.mono))
    }

    /// To be called once a second: integrates, takes a one-second value, closes minutes.
    pub fn tick(&mut self, now: Now) -> Ticked {
        let now = self.enter(now);
        self.settle(now);
        self.ledger.tick(now.mono);
        let phases = self.plan.measured(&self.cells, now.mono).map(|(e, _)| e);
        let n_current = self.plan.n_current(&self.cells, now.mono);
        self.minute.sample(&phases, n_current);
        let said = self.witnesses.tick(&self.cells, now.mono);
        said.into_iter().for_each(|notice| self.watch.say(notice));
        Ticked {
            minute: self.done.pop_front(),
            measured: phases.map(|e| e.map(|e| e.act_power)),
        }
    }

    /// Closes the minute under way, for a stop: a minute with fewer values is stored with what
    /// there was.
    pub fn finish(&mut self, now: Now) -> Vec<MinuteRecord> {
        self.enter(now);
        self.close(self.minute.ts());
        self.done.drain(..).collect()
    }

    /// The truth of this moment.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        let now = self.enter(now);
        self.settle(now);
        self.heard.clear();
        self.waiting = None;
        self.seq += 1;
        let inputs = self.plan.served(&self.cells, now.mono);
        let n_current = self.plan.n_current(&self.cells, now.mono);
        self.watch.look(
            &inputs,
            &WatchContext {
                cells: &self.cells,
                now: now.mono,
                by_entities: self.plan.blocked.is_none() && !self.plan.power_cells.is_empty(),
                energy: match (self.settings.energy_source, self.ledger.counters()) {
                    (EnergySource::Integrate, _) | (EnergySource::Seed, Some(_)) => "",
                    (EnergySource::Seed, None) => "; the counters wait for it",
                    (EnergySource::Entities, _) => "; its counter stands still",
                },
            },
        );
        let silent = self.plan.silent(&self.cells, now.mono);
        self.watch.silent(self.cells.all(), &silent, now.mono);
        let (phases, totals) = serve(&inputs);
        Snapshot {
            seq: self.seq,
            now,
            inputs,
            phases,
            totals,
            n_current: n_current.map(Milli::round),
            energy: self.ledger.served(),
            energy_net: self.settings.energy_net,
            source: SourceHealth {
                link: self.cells.link.clone(),
                last_alive: self.cells.last_alive,
            },
        }
    }

    fn settle(&mut self, now: Now) {
        self.plan.settle(&self.cells, now.mono);
        if self.plan.blocked.is_none() {
            let waited = self.ledger.counters().is_none();
            self.ledger.settle(&self.cells, self.pace, now);
            if waited && let Some(line) = report::missed(self.ledger.missed()) {
                self.watch.say(Notice::warning(line.to_string()));
            }
            for line in self.ledger.take_said() {
                self.watch.say(Notice::warning(line));
            }
        }
        self.watch.units(self.cells.all());
    }

    /// Comes to `now`, or stays where it is: an event may be older than what was handled before it,
    /// and no value is of before the one that it follows.
    fn enter(&mut self, now: Now) -> Now {
        let now = Now {
            mono: now.mono.max(self.at.mono),
            ..now
        };
        // From where a pair is not waited for any longer on, what it says counts.
        while let Some(until) = self
            .plan
            .waiting(self.at.mono)
            .filter(|until| *until < now.mono)
        {
            self.advance(Now {
                mono: until,
                unix: now.unix - (now.mono - until).as_secs_f64(),
            });
            self.plan.settle(&self.cells, until);
        }
        self.advance(now);
        now
    }

    /// Integrates from the last moment to `now` with what was known then.
    fn advance(&mut self, now: Now) {
        let from = self.at.mono;
        if now.mono > from {
            let end = now.mono.min(from + self.settings.hold.max(LONGEST_STEP));
            let phases = self.plan.measured(&self.cells, from);
            let mut cuts: Vec<Duration> = phases.iter().filter_map(|(_, until)| *until).collect();
            let turn = self.minute_turn(now);
            cuts.extend(turn);
            cuts.push(end);
            cuts.retain(|cut| *cut > from && *cut <= end);
            cuts.sort_unstable();
            let mut start = from;
            for cut in cuts {
                if turn.is_some_and(|turn| start >= turn) {
                    self.roll(now);
                }
                self.stretch(&phases, start, cut);
                start = cut;
            }
        }
        self.at = now;
        self.roll(now);
    }

    fn stretch(
        &mut self,
        phases: &[(Option<Electric>, Option<Duration>); 3],
        start: Duration,
        end: Duration,
    ) {
        let hours = (end - start).as_secs_f64() * self.pace / 3600.0;
        let here = phases.map(|(e, until)| e.filter(|_| until.is_none_or(|until| start < until)));
        self.minute.integrate(&here, hours);
        let stretch = Stretch {
            power: here.map(|e| e.map(|e| e.act_power)),
            hours,
        };
        self.witnesses.integrate(stretch);
        self.ledger.integrate(stretch);
    }

    /// When, on the monotonic clock, the minute under way ended, if it did so on this step and the
    /// wall clock did not jump.
    fn minute_turn(&self, now: Now) -> Option<Duration> {
        let step = now.mono.saturating_sub(self.at.mono).as_secs_f64();
        let over = now.unix - (self.minute.ts() + 60) as f64;
        let jumped = ((now.unix - self.at.unix) - step).abs() > CLOCK_SLACK;
        (!jumped && over >= 0.0).then(|| {
            now.mono
                .saturating_sub(Duration::from_secs_f64(over.min(step)))
        })
    }

    /// Closes the minute if the wall clock is in another one; a clock set back by less than a
    /// minute stays in it.
    fn roll(&mut self, now: Now) {
        let ts = minute_of(now.unix);
        if ts > self.minute.ts() || ts < self.minute.ts() - 60 {
            self.close(ts);
        }
    }

    /// Closes the minute under way and begins the one at `ts`. What counters grow by while nothing is
    /// measured goes into the next record.
    fn close(&mut self, ts: i64) {
        if let Some(record) = self.under_way() {
            self.done.push_back(record);
            self.recorded = self.ledger.counted();
        }
        self.minute = MinuteBuilder::new(ts);
    }

    /// Counters to 0; history and lifetime sums stay.
    pub fn reset(&mut self, now: Now) {
        let now = self.enter(now);
        self.ledger.reset(now);
    }

    /// The counters become what the energy entities say now, and go on from there; lifetime sums do
    /// not fall.
    ///
    /// # Errors
    /// Reasons, one line each; nothing is changed then.
    pub fn seed_now(&mut self, now: Now) -> Result<Vec<Taken>, Vec<Reason>> {
        let now = self.enter(now);
        match &self.plan.blocked {
            Some(lost) => Err(vec![lost.reason.clone()]),
            None => self.ledger.seed_now(&self.cells, now),
        }
    }

    /// Adds the counters of a meter that this one replaces: the original's.
    pub fn take(&mut self, more: Energy, now: Now) {
        self.enter(now);
        self.ledger.take(more);
    }

    /// What the recorder proves of a sign, by which counters; what is seen while running counts
    /// more.
    pub fn recorded(&mut self, side: Side, verdict: SignVerdict, counters: &Counters) {
        self.witnesses.recorded(side, verdict, counters);
    }

    /// Whether the signs of the powers are right, as far as is known, and the counters that tell so.
    #[must_use]
    pub fn signs(&self) -> Vec<(Side, SignVerdict, Counters)> {
        self.witnesses.signs()
    }

    /// The minute under way with what there is of it; `None` while nothing was measured in it.
    #[must_use]
    pub fn under_way(&self) -> Option<MinuteRecord> {
        let mut record = self.minute.finish()?;
        let grown = self.ledger.followed_since(self.recorded, record.crossed);
        record.followed = grown.map_or(Energy::default(), |grown| grown - record.energy());
        Some(record)
    }

    /// Each entity: what it says, what that feeds, what is wrong with it.
    #[must_use]
    pub fn entities(&self, now: Now) -> Vec<EntityReport> {
        report::entities(self.cells.all(), now.mono)
    }

    /// What is wrong for longer and leaves the power as it is: other entities that
    /// cannot be read, a seed that did not come, a sensor that is silent, a sign that the counters
    /// contradict.
    #[must_use]
    pub fn problems(&self) -> Vec<Reason> {
        let faults = self.watch.faults(self.cells.all());
        let silent = self.watch.silences(self.cells.all(), self.at.mono);
        faults
            .into_iter()
            .chain(report::missed(self.ledger.missed()))
            .chain(silent)
            .chain(self.witnesses.problems())
            .collect()
    }

    /// Lines for the log since the last call, each about a change and said once.
    pub fn notices(&mut self) -> Vec<Notice> {
        self.watch.take()
    }
}
