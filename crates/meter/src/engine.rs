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
    cells::{Cells, Level, Lost},
    counters::{CounterState, Ledger, Stretch, Taken},
    derive::{derive, unused},
    direction::{Counters, SignVerdict},
    figures::{Derived, Electric, PhaseInput, Quality},
    inputs::{PhasePower, Plan, line},
    minutes::{MinuteBuilder, MinuteRecord, minute_of},
    report::{self, EntityReport},
    round::serve,
    shown::each,
    snapshot::{Snapshot, SourceHealth},
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
    target: [f64; 3],
    ledger: Ledger,
    blocked: Option<Lost>,
    at: Now,
    minute: MinuteBuilder,
    done: VecDeque<MinuteRecord>,
    /// What was counted by the end of the last record, Wh.
    recorded: super::Energy,
    seq: u64,
    power_cells: Vec<usize>,
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
        let mut cells = Cells::new();
        let plan = Plan::compile(settings, &mut cells, now.mono);
        let mut meter = Self {
            settings: settings.clone(),
            pace: 1.0,
            cells,
            plan,
            target: [0.0; 3],
            ledger: Ledger::new(counters),
            blocked: None,
            at: now,
            minute: MinuteBuilder::new(minute_of(now.unix)),
            done: VecDeque::new(),
            recorded: super::Energy::default(),
            seq: 0,
            power_cells: Vec::new(),
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
        self.ledger.set_pace(pace);
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
    pub fn kept(&mut self, limit: &super::Energy, resets: u32, now: Now) {
        self.ledger.kept(limit, resets, now.mono);
    }

    /// How far beyond [`Self::counters`] they have to be kept to be served until the next commit,
    /// Wh.
    #[must_use]
    pub fn reserve(&self) -> super::Energy {
        self.ledger.reserve()
    }

    /// What an earlier run may have served beyond [`Self::counters`], Wh: a stop in order keeps no
    /// more.
    #[must_use]
    pub fn ahead(&self) -> super::Energy {
        self.ledger.ahead()
    }

    /// Whether a counter waits for a commit to be served further.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.ledger.is_short()
    }

    fn configured(&mut self, now: Now) {
        let settings = &self.settings;
        self.target = Plan::target(settings);
        self.power_cells = self.plan.power_cells();
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
        self.blocked = None;
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
        self.blocked = Some(Lost {
            since: now.mono,
            reason: reason.clone(),
        });
    }

    /// Takes an event of the source in, and says whether a snapshot is due.
    pub fn apply(&mut self, event: &SourceEvent, now: Now) -> Changed {
        let now = self.enter(now);
        let waited = self.plan.waiting(now.mono).is_some();
        let (mut any, heard, power_cells) = (false, &mut self.heard, &self.power_cells);
        let mut power = false;
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
            SourceEvent::Readings(_) if power && self.heard.len() < self.power_cells.len() => {
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
        let phases = self.measured(now.mono);
        let n_current = self
            .plan
            .n_current(&self.cells, self.settings.hold, now.mono)
            .filter(|_| self.blocked.is_none());
        self.minute.sample(&phases.map(|(e, _)| e), n_current);
        for said in self
            .witnesses
            .tick(&self.cells, self.settings.hold, now.mono)
        {
            self.watch.say(said.warning, said.text);
        }
        Ticked {
            minute: self.done.pop_front(),
            measured: phases.map(|(e, _)| e.map(|e| e.act_power)),
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
        let hold = self.settings.hold;
        let powers = self.plan.smoothed(&self.cells, hold, now.mono);
        let reports = self.plan.reports(&self.cells, now.mono);
        let mut inputs = [0, 1, 2].map(|i| PhaseInput {
            report: reports[i],
            ..self.input(i, &powers[i], now.mono)
        });
        if let Some(lost) = &self.blocked {
            inputs = [0, 1, 2].map(|_| absent(lost));
        }
        let n_current = self
            .plan
            .n_current(&self.cells, hold, now.mono)
            .filter(|_| self.blocked.is_none())
            .map(Milli::round);
        self.watch.look(
            &inputs,
            &WatchContext {
                cells: &self.cells,
                feeds: &self.plan.feeds,
                hold,
                now: now.mono,
                by_entities: self.blocked.is_none() && !self.power_cells.is_empty(),
                energy: match (self.settings.energy_source, self.ledger.counters()) {
                    (EnergySource::Integrate, _) | (EnergySource::Seed, Some(_)) => "",
                    (EnergySource::Seed, None) => "; the counters wait for it",
                    (EnergySource::Entities, _) => "; its counter stands still",
                },
            },
        );
        let silent = if self.blocked.is_none() {
            self.plan.silent(&self.cells, now.mono)
        } else {
            Vec::new()
        };
        self.watch.silent(self.cells.all(), &silent, now.mono);
        let (phases, totals) = serve(&inputs, 1.0);
        Snapshot {
            seq: self.seq,
            now,
            inputs,
            phases,
            totals,
            n_current,
            energy: self.ledger.served(),
            energy_net: self.settings.energy_net,
            source: SourceHealth {
                link: self.cells.link.clone(),
                last_alive: self.cells.last_alive,
            },
        }
    }

    fn input(&self, i: usize, power: &PhasePower, now: Duration) -> PhaseInput {
        let side = self.plan.side(i, &self.cells, self.settings.hold, now);
        let (quality, (electric, derived)) = match power {
            PhasePower::Unused => (Quality::Unused, unused(side, line(&self.settings))),
            PhasePower::Fed(Level::Absent(lost)) => return absent(lost),
            PhasePower::Fed(Level::Live(p)) => (
                Quality::Live,
                derive(p - self.target[i], side, line(&self.settings)),
            ),
            PhasePower::Fed(Level::Held(p, lost)) => {
                let quality = Quality::Held {
                    since: lost.since,
                    reason: lost.reason.clone(),
                };
                (
                    quality,
                    derive(p - self.target[i], side, line(&self.settings)),
                )
            }
        };
        PhaseInput {
            quality,
            electric: Some(electric),
            derived,
            report: None,
        }
    }

    /// Measured values by phase, and until when they hold if nothing is heard.
    fn measured(&self, now: Duration) -> [(Option<Electric>, Option<Duration>); 3] {
        if self.blocked.is_some() {
            return [(None, None); 3];
        }
        let hold = self.settings.hold;
        let powers = self.plan.measured(&self.cells, hold, now);
        // The 0 W of unused phases is no measurement: alone it makes no record.
        let any = powers
            .iter()
            .any(|(power, _)| matches!(power, PhasePower::Fed(level) if level.value().is_some()));
        [0, 1, 2].map(|i| {
            let (power, until) = &powers[i];
            let side = self.plan.side(i, &self.cells, hold, now);
            let electric = match power {
                PhasePower::Unused => any.then(|| unused(side, line(&self.settings)).0),
                PhasePower::Fed(level) => level
                    .value()
                    .map(|p| derive(p, side, line(&self.settings)).0),
            };
            (electric, *until)
        })
    }

    fn settle(&mut self, now: Now) {
        self.plan.settle(&self.cells, self.settings.hold, now.mono);
        if self.blocked.is_none() {
            let waited = self.ledger.counters().is_none();
            self.ledger.settle(&self.cells, self.settings.hold, now);
            if waited && let Some(line) = report::missed(self.ledger.missed()) {
                self.watch.say(true, line.to_string());
            }
            for line in self.ledger.take_said() {
                self.watch.say(true, line);
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
            self.plan.settle(&self.cells, self.settings.hold, until);
        }
        self.advance(now);
        now
    }

    /// Integrates from the last moment to `now` with what was known then.
    fn advance(&mut self, now: Now) {
        let from = self.at.mono;
        if now.mono > from {
            let end = now.mono.min(from + self.settings.hold.max(LONGEST_STEP));
            let phases = self.measured(from);
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
        match &self.blocked {
            Some(lost) => Err(vec![lost.reason.clone()]),
            None => self.ledger.seed_now(&self.cells, self.settings.hold, now),
        }
    }

    /// Adds the counters of a meter that this one replaces: the original's.
    pub fn take(&mut self, more: &super::Energy, now: Now) {
        self.enter(now);
        self.ledger.take(more);
    }

    /// What the recorder proves of a sign, by which counters; what is seen while running counts
    /// more.
    pub fn recorded(&mut self, side: Side, verdict: SignVerdict, counters: &Counters) {
        self.witnesses.recorded(side, verdict, counters);
    }

    /// Whether the signs of the powers are right, as far as is known.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(Side, SignVerdict)> {
        self.witnesses.verdicts()
    }

    /// The same with the counters that tell so.
    #[must_use]
    pub fn signs(&self) -> Vec<(Side, SignVerdict, Counters)> {
        self.witnesses.signs()
    }

    /// What the store keeps of the counters.
    #[must_use]
    pub const fn counters(&self) -> &CounterState {
        self.ledger.state()
    }

    /// Whether the counters are served, or wait for their seed.
    #[must_use]
    pub const fn is_counting(&self) -> bool {
        self.ledger.state().seeded
    }

    /// The minute under way with what there is of it; `None` while nothing was measured in it.
    #[must_use]
    pub fn under_way(&self) -> Option<MinuteRecord> {
        let mut record = self.minute.finish()?;
        let grown = self.ledger.followed_since(&self.recorded, record.crossed);
        if let Some(mut more) = grown {
            each(&mut more, &record.energy(), |counter, said| {
                *counter -= said;
            });
            record.followed = more;
        }
        Some(record)
    }

    /// What this process has counted, Wh; a reset does not undo it.
    #[must_use]
    pub const fn counted(&self) -> super::Energy {
        self.ledger.counted()
    }

    /// Each entity: what it says, what that feeds, what is wrong with it.
    #[must_use]
    pub fn entities(&self, now: Now) -> Vec<EntityReport> {
        report::entities(self.cells.all(), &self.plan.feeds, now.mono)
    }

    /// What is wrong for longer and leaves the power as it is: other entities that
    /// cannot be read, a seed that did not come, a sensor that is silent, a sign that the counters
    /// contradict.
    #[must_use]
    pub fn problems(&self) -> Vec<Reason> {
        let faults = self.watch.faults(self.cells.all(), &self.plan.feeds);
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

fn absent(lost: &Lost) -> PhaseInput {
    PhaseInput {
        quality: Quality::Absent {
            since: lost.since,
            reason: lost.reason.clone(),
        },
        electric: None,
        derived: Derived::default(),
        report: None,
    }
}
