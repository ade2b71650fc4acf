//! What the log says of the inputs: each change once, each reason once, and what comes and goes not
//! for ever.

use std::time::Duration;

use super::{
    cells::{Cell, Cells},
    figures::{PhaseInput, Quality},
    rhythm::Report,
};
use vocab::parse::{Quantity, Unusable, parse};
use vocab::reason::{Reason, Span};
use vocab::{EntityId, Link, Phase};

/// Of so many losses within [`RESTLESS`] each is logged; after one more, none for as long.
const LOSSES: usize = 3;
/// See [`LOSSES`].
const RESTLESS: Duration = Duration::from_secs(600);
/// A loss of this length is logged all the same.
const LASTING: Duration = Duration::from_secs(120);
/// The source is given this time to tell of an entity.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most reasons remembered of one absence; more are not logged.
const REASONS: usize = 16;

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Something a user should mend.
    pub warning: bool,
    /// One line.
    pub text: String,
}

impl Notice {
    pub(super) const fn warning(text: String) -> Self {
        Self {
            warning: true,
            text,
        }
    }

    pub(super) const fn news(text: String) -> Self {
        Self {
            warning: false,
            text,
        }
    }
}

/// What the inputs are looked at with.
pub(super) struct WatchContext<'a> {
    /// All cells.
    pub cells: &'a Cells,
    /// Monotonic.
    pub now: Duration,
    /// Whether entities decide over the phases, and not options that are wrong or name none.
    pub by_entities: bool,
    /// What an energy entity without a value means.
    pub energy: &'static str,
}

/// Whether a loss is to be logged.
enum Log {
    /// As any.
    Yes,
    /// With the word that further ones are not.
    Last,
    /// Not at all.
    No,
}

/// Knows an input that comes and goes.
#[derive(Clone, Debug, Default)]
struct Restless {
    losses: Vec<Duration>,
    quiet_until: Option<Duration>,
}

impl Restless {
    fn loss(&mut self, now: Duration) -> Log {
        if self.quiet_until.is_some_and(|until| now < until) {
            return Log::No;
        }
        self.losses.retain(|at| now < *at + RESTLESS);
        if self.losses.len() < LOSSES {
            self.losses.push(now);
            return Log::Yes;
        }
        self.losses.clear();
        self.quiet_until = Some(now + RESTLESS);
        Log::Last
    }
}

/// The end of the last line about an input that comes and goes.
const RESTS: &str = "it comes and goes; further changes are not logged for 10 min";

/// What the log said last of a phase.
#[derive(Clone, Debug, Default, PartialEq)]
enum Told {
    /// Nothing, or that it is measured.
    #[default]
    Fine,
    /// That its last value goes on.
    Held,
    /// That it has no value, for these reasons.
    Absent(Vec<Reason>),
}

/// What the log said of a phase.
#[derive(Clone, Debug, Default)]
struct PhaseLog {
    told: Told,
    /// It had a value once.
    measured: bool,
    restless: Restless,
}

/// What the log said of an entity that gives no power.
#[derive(Clone, Debug)]
struct SideLog {
    entity: EntityId,
    quantity: Quantity,
    /// It was said that it has no value.
    told: bool,
    restless: Restless,
}

/// Remembers what was said, so that nothing is said twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    phases: [PhaseLog; 3],
    sides: Vec<SideLog>,
    /// Since when the link is up.
    up: Option<Duration>,
    unitless: Vec<EntityId>,
    /// Entities of power that are silent, and their last report.
    silent: Vec<(EntityId, Report)>,
    notices: Vec<Notice>,
}

impl Watch {
    /// Says what changed: which phase is held, has no value, and why; which other entity has none.
    pub(super) fn look(&mut self, inputs: &[PhaseInput; 3], context: &WatchContext<'_>) {
        self.up = matches!(context.cells.link, Link::Up).then(|| self.up.unwrap_or(context.now));
        let up = self.up.is_some();
        for (i, input) in inputs.iter().enumerate() {
            if let Some(Notice { warning, text }) = self.phases[i].look(&input.quality, context, up)
            {
                let text = format!("phase {}: {text}", Phase::ALL[i].letter().to_uppercase());
                self.say(Notice { warning, text });
            }
        }
        self.sides(context);
    }

    fn sides(&mut self, context: &WatchContext<'_>) {
        let cells = context.cells.all();
        self.sides
            .retain(|side| cells.iter().any(|cell| side.is_of(cell)));
        let of_side = |cell: &&Cell| cell.quantity != Quantity::Power && !cell.feeds.is_empty();
        for cell in cells.iter().filter(of_side) {
            let known = self.sides.iter().position(|side| side.is_of(cell));
            // Mostly all is well, or said.
            if cell.lost.is_some() == known.is_some_and(|at| self.sides[at].told) {
                continue;
            }
            let at = known.unwrap_or_else(|| {
                self.sides.push(SideLog {
                    entity: cell.entity.clone(),
                    quantity: cell.quantity,
                    told: false,
                    restless: Restless::default(),
                });
                self.sides.len() - 1
            });
            if let Some(notice) = self.sides[at].look(cell, context, self.up) {
                self.say(notice);
            }
        }
    }

    /// What is wrong with entities that give no power and passes by no waiting: those the log named
    /// that do not exist, or whose unit is another.
    pub(super) fn faults(&self, cells: &[Cell]) -> Vec<Reason> {
        let told = |cell: &Cell| self.sides.iter().any(|side| side.told && side.is_of(cell));
        let fault = |cell: &Cell| {
            let (reading, _) = cell.last.as_ref()?;
            let lasting = matches!(
                parse(cell.quantity, &reading.state, reading.unit.as_deref()),
                Err(why) if why.lasts()
            );
            let problem = cell.problem().filter(|_| lasting && told(cell))?;
            Some(problem.clone().of(keys(cell)))
        };
        cells.iter().filter_map(fault).collect()
    }

    /// Says which entity of power has fallen silent, and which has come back. `cells` are all,
    /// `silent` some of them.
    pub(super) fn silent(&mut self, cells: &[Cell], silent: &[usize], now: Duration) {
        // Without a link nobody can report.
        let silent = if self.up.is_some() { silent } else { &[] };
        let is = |entity: &EntityId| silent.iter().any(|&i| cells[i].entity == *entity);
        let (still, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.silent)
            .into_iter()
            .partition(|(entity, _)| is(entity));
        self.silent = still;
        for (entity, before) in over {
            let cell = cells.iter().find(|cell| cell.entity == entity);
            let again = cell.filter(|cell| cell.lost.is_none());
            let Some(report) = again.and_then(|cell| cell.report) else {
                continue;
            };
            let lasted = before.age(now).saturating_sub(report.age(now));
            if !lasted.is_zero() {
                let lasted = Span(lasted.as_secs_f64());
                self.say(Notice::news(format!(
                    "{entity} reports again, after {lasted}"
                )));
            }
        }
        for cell in silent.iter().map(|&i| &cells[i]) {
            let known = self.silent.iter().any(|(entity, _)| *entity == cell.entity);
            if let (false, Some(report)) = (known, cell.report) {
                self.silent.push((cell.entity.clone(), report));
                if let Some(line) = silence(cell, now) {
                    self.say(Notice::warning(line.to_string()));
                }
            }
        }
    }

    /// A reason for each entity that is silent.
    pub(super) fn silences(&self, cells: &[Cell], now: Duration) -> Vec<Reason> {
        let is = |cell: &&Cell| self.silent.iter().any(|(entity, _)| *entity == cell.entity);
        let mut lines: Vec<Reason> = cells
            .iter()
            .filter(is)
            .filter_map(|cell| silence(cell, now))
            .collect();
        lines.dedup();
        lines
    }

    /// Says which entity names no unit.
    pub(super) fn units(&mut self, cells: &[Cell]) {
        for cell in cells.iter().filter(|cell| cell.unit_assumed) {
            if !self.unitless.contains(&cell.entity) {
                self.unitless.push(cell.entity.clone());
                self.say(Notice::warning(format!(
                    "{} names no unit; its {} is taken as {}",
                    cell.entity,
                    cell.quantity.name(),
                    cell.quantity.base_unit()
                )));
            }
        }
    }

    /// Says a line.
    pub(super) fn say(&mut self, notice: Notice) {
        // Nobody collecting is no reason to grow.
        if self.notices.len() < 100 {
            self.notices.push(notice);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}

/// How long an entity has been silent, and what is usual for it.
fn silence(cell: &Cell, now: Duration) -> Option<Reason> {
    let (age, how) = cell.silence(now)?;
    let time = Span(age.as_secs_f64());
    let (usual, most) = (Span(how.median), Span(how.most));
    let why = if how.repeats {
        Unusable::Quiet { time, usual, most }
    } else {
        Unusable::QuietSteady { time, usual, most }
    };
    Some(Reason::entity(&cell.entity, why))
}

/// Option keys that a cell feeds, as one word.
fn keys(cell: &Cell) -> String {
    cell.feeds.join("/")
}

impl PhaseLog {
    /// The line that is due.
    fn look(&mut self, quality: &Quality, context: &WatchContext<'_>, up: bool) -> Option<Notice> {
        match quality {
            Quality::Unused => *self = Self::default(),
            Quality::Live => {
                let before = std::mem::take(&mut self.told);
                let measured = std::mem::replace(&mut self.measured, true);
                let again = if measured { " again" } else { "" };
                return (before != Told::Fine).then(|| Notice::news(format!("measured{again}")));
            }
            Quality::Held { reason, .. } if self.told != Told::Held => {
                let log = if self.told == Told::Fine {
                    self.restless.loss(context.now)
                } else {
                    Log::Yes
                };
                match log {
                    Log::No => {}
                    Log::Last => return Some(Notice::news(format!("{reason}; {RESTS}"))),
                    Log::Yes => {
                        self.told = Told::Held;
                        let hold = context.cells.hold.as_secs();
                        return Some(Notice::news(format!(
                            "{reason}; its last value goes on for up to {hold} s"
                        )));
                    }
                }
            }
            Quality::Held { .. } => {}
            Quality::Absent { since, reason } => {
                return self.absent(reason, context.now.saturating_sub(*since), context, up);
            }
        }
        None
    }

    fn absent(
        &mut self,
        reason: &Reason,
        lasts: Duration,
        context: &WatchContext<'_>,
        up: bool,
    ) -> Option<Notice> {
        let unheard = matches!(reason, Reason::Entity { why, .. } if *why == Unusable::NotYet);
        if context.by_entities && unheard && lasts < PATIENCE {
            return None;
        }
        // Without a link it is the link that is told about; options that name nothing are told at
        // once.
        let by_link = !up && context.by_entities;
        let loss = match &self.told {
            Told::Absent(said) if said.iter().any(|said| said.same_fault(reason)) => return None,
            Told::Absent(said) if by_link || said.len() >= REASONS => return None,
            Told::Fine if self.measured => self.restless.loss(context.now),
            Told::Fine if by_link => return None,
            _ => Log::Yes,
        };
        match loss {
            Log::No if lasts < context.cells.hold + LASTING => return None,
            Log::Last => return Some(Notice::warning(format!("{reason}; {RESTS}"))),
            Log::Yes | Log::No => {}
        }
        match &mut self.told {
            Told::Absent(said) => said.push(reason.clone()),
            told => *told = Told::Absent(vec![reason.clone()]),
        }
        Some(Notice {
            warning: context.by_entities || self.measured,
            text: format!("no value: {reason}"),
        })
    }
}

impl SideLog {
    fn is_of(&self, cell: &Cell) -> bool {
        self.quantity == cell.quantity && self.entity == cell.entity
    }

    /// The line that is due.
    fn look(
        &mut self,
        cell: &Cell,
        context: &WatchContext<'_>,
        up: Option<Duration>,
    ) -> Option<Notice> {
        let keys = keys(cell);
        let Some(lost) = &cell.lost else {
            return std::mem::take(&mut self.told)
                .then(|| Notice::news(format!("{keys}: {} has a value again", cell.entity)));
        };
        // What never had a value holds none.
        let wait = match cell.good {
            Some(_) => context.cells.hold,
            None => PATIENCE,
        };
        let lasts = context.now.saturating_sub(lost.since.max(up?));
        if lasts < wait {
            return None;
        }
        let meanwhile = match cell.quantity {
            Quantity::Energy => context.energy,
            _ if keys == "n_curr" => "; the neutral current is left out",
            _ => "; it is derived meanwhile",
        };
        let reason = &lost.reason;
        Some(Notice::warning(match self.restless.loss(context.now) {
            Log::No if lasts < wait + LASTING => return None,
            Log::Last => format!("{keys}: {reason}; {RESTS}"),
            Log::Yes | Log::No => {
                self.told = true;
                format!("{keys}: {reason}{meanwhile}")
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fourth_loss_in_ten_minutes_is_the_last_for_as_long() {
        let mut restless = Restless::default();
        let mut at = |minute: u64| match restless.loss(Duration::from_secs(minute * 60)) {
            Log::Yes => 'y',
            Log::Last => 'l',
            Log::No => 'n',
        };
        assert_eq!(
            [0, 1, 2, 3, 4, 12, 13, 14, 15, 16].map(&mut at),
            ['y', 'y', 'y', 'l', 'n', 'n', 'y', 'y', 'y', 'l']
        );
        assert_eq!(
            [100, 104, 108, 111, 115].map(&mut at),
            ['y', 'y', 'y', 'y', 'y'],
            "spread over more than ten minutes"
        );
    }
}
