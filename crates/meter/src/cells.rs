//! What was heard of each entity, and for how long it may be believed.
//!
//! A cell is one entity read as one quantity. It is live while its entity and the link are good.
//! From the moment either is lost (the entity's own `unavailable`, or the last frame before the
//! link died) the last value is held for the hold time, then it is gone
//! (`docs/decisions.md#how-good-a-value-is`, `docs/decisions.md#how-long-a-value-is-held`). After
//! the link was lost only a new reading makes a cell live again: `Up` alone proves nothing about a
//! value from before.

use std::{collections::BTreeMap, time::Duration};

use super::{
    figures::Quality,
    rhythm::{Report, Rhythm, Usual},
};
use vocab::parse::{Quantity, parse};
use vocab::reason::{Reason, Unreachable, Unusable};
use vocab::{EntityId, Link, Reading, SourceEvent};

/// Since when and why a value is no longer fresh.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// Last sign of life, monotonic.
    pub since: Duration,
    /// Names the entity.
    pub reason: Reason,
}

impl Lost {
    /// Since then, for this reason.
    pub fn new(since: Duration, reason: impl Into<Reason>) -> Self {
        let reason = reason.into();
        Self { since, reason }
    }
}

/// One entity as one quantity.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Which entity.
    pub entity: EntityId,
    /// As what it is read.
    pub quantity: Quantity,
    /// Option keys that it feeds, e.g. `a_power`; none of a counter that only tells a sign.
    pub feeds: Vec<&'static str>,
    /// Its newest reading and when that came.
    pub last: Option<(Reading, Duration)>,
    /// Newest usable value, base unit.
    pub good: Option<f64>,
    /// Set while the value is not fresh.
    pub lost: Option<Lost>,
    /// The unit was assumed.
    pub unit_assumed: bool,
    /// When its good value was reported last, changed or not.
    pub report: Option<Report>,
    /// How often that is.
    pub rhythm: Rhythm,
    /// Nothing can have been missed since: the time until the next report is an interval.
    unbroken: bool,
}

/// A value and how good it is; of several cells the worst.
#[derive(Clone, Debug, PartialEq)]
pub enum Level {
    /// Fresh.
    Live(f64),
    /// Last known.
    Held(f64, Lost),
    /// None; `since` is when the last good value was lost, the time of holding it included.
    Absent(Lost),
}

impl Level {
    /// The value, unless absent.
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Live(v) | Self::Held(v, _) => Some(*v),
            Self::Absent(_) => None,
        }
    }

    /// What that says of a phase.
    pub fn quality(&self) -> Quality {
        match self {
            Self::Live(_) => Quality::Live,
            Self::Held(_, Lost { since, reason }) => Quality::Held {
                since: *since,
                reason: reason.clone(),
            },
            Self::Absent(Lost { since, reason }) => Quality::Absent {
                since: *since,
                reason: reason.clone(),
            },
        }
    }

    /// The same quality with another value.
    pub fn map(self, f: impl FnOnce(f64) -> f64) -> Self {
        match self {
            Self::Live(v) => Self::Live(f(v)),
            Self::Held(v, lost) => Self::Held(f(v), lost),
            Self::Absent(lost) => Self::Absent(lost),
        }
    }

    /// Both values put together; as bad as the worse one, whatever was lost first naming the
    /// reason.
    pub fn join(self, other: Self, f: impl FnOnce(f64, f64) -> f64) -> Self {
        let earlier = |a: Lost, b: Lost| if b.since < a.since { b } else { a };
        match (self, other) {
            (Self::Absent(a), Self::Absent(b)) => Self::Absent(earlier(a, b)),
            (Self::Absent(a), _) | (_, Self::Absent(a)) => Self::Absent(a),
            (Self::Held(x, a), Self::Held(y, b)) => Self::Held(f(x, y), earlier(a, b)),
            (Self::Held(x, a), Self::Live(y)) | (Self::Live(x), Self::Held(y, a)) => {
                Self::Held(f(x, y), a)
            }
            (Self::Live(x), Self::Live(y)) => Self::Live(f(x, y)),
        }
    }
}

impl Cell {
    fn level(&self, hold: Duration, now: Duration) -> Level {
        match (self.good, &self.lost) {
            (Some(v), None) => Level::Live(v),
            (Some(v), Some(lost)) if now < lost.since + hold => Level::Held(v, lost.clone()),
            (_, Some(lost)) => Level::Absent(lost.clone()),
            (None, None) => Level::Absent(Lost::new(now, no_state(&self.entity))),
        }
    }

    fn read(&mut self, reading: &Reading, now: Duration) {
        self.last = Some((reading.clone(), now));
        match parse(self.quantity, &reading.state, reading.unit.as_deref()) {
            Ok(parsed) => {
                self.reported(reading.age, self.good == Some(parsed.value), now);
                self.good = Some(parsed.value);
                self.unit_assumed = parsed.unit_assumed;
                self.lost = None;
            }
            Err(why) => {
                self.unbroken = false;
                let reason = Reason::entity(&self.entity, why);
                let since = self.lost.as_ref().map_or(now, |lost| lost.since);
                self.lost = Some(Lost { since, reason });
            }
        }
    }

    fn reported(&mut self, age: Option<Duration>, unchanged: bool, now: Duration) {
        // Of a value that was restored nobody knows: what was known before goes on.
        let Some(age) = age else {
            self.unbroken = false;
            self.report.get_or_insert(Report {
                at: now,
                age: Duration::ZERO,
            });
            return;
        };
        let before = self.report.replace(Report { at: now, age });
        if let Some(before) = before.filter(|_| std::mem::replace(&mut self.unbroken, true)) {
            let since = before.age(now).saturating_sub(age);
            // What was found by looking was found somewhere between two reports: on average half an
            // interval old.
            let interval = if age.is_zero() {
                since
            } else {
                since.min(age * 2)
            };
            if !interval.is_zero() {
                self.rhythm.learn(interval, unchanged);
            }
        }
    }

    /// For how long it has said nothing, if that is unusual for it.
    pub fn silence(&self, now: Duration) -> Option<(Duration, Usual)> {
        let age = self.report?.age(now);
        let usual = self.rhythm.usual().filter(|_| {
            self.lost.is_none() && self.rhythm.patience().is_some_and(|most| age > most)
        })?;
        Some((age, usual))
    }

    /// Whether it is there and said something of late.
    fn lively(&self, now: Duration) -> bool {
        let most = self.rhythm.patience().unwrap_or(UNKNOWN_RHYTHM);
        self.lost.is_none() && self.report.is_some_and(|report| report.age(now) <= most)
    }

    /// Why the entity is no good now, if it isn't.
    pub fn problem(&self) -> Option<&Reason> {
        self.lost.as_ref().map(|lost| &lost.reason)
    }
}

/// Who reported within this time is there, while nobody knows how often it does.
const UNKNOWN_RHYTHM: Duration = Duration::from_secs(300);

/// The source has not told of it yet.
fn no_state(entity: &EntityId) -> Reason {
    Reason::entity(entity, Unusable::NotYet)
}

/// Why nothing comes over the link.
fn link_reason(link: &Link) -> Option<Unreachable> {
    match link {
        Link::Idle(why) | Link::Down { reason: why, .. } => Some(why.clone()),
        Link::Connecting => Some(Unreachable::Connecting),
        Link::Starting => Some(Unreachable::Starting),
        Link::Up => None,
    }
}

/// Why nothing was heard of an entity yet.
fn missing(link: &Link, entity: &EntityId) -> Reason {
    link_reason(link).map_or_else(
        || no_state(entity),
        |why| Reason::Link(why).of(entity.clone()),
    )
}

/// All cells of a meter, and the link they came over.
#[derive(Clone, Debug)]
pub struct Cells {
    cells: Vec<Cell>,
    /// How long a value is held that is lost.
    pub hold: Duration,
    /// The link as last told.
    pub link: Link,
    /// Last sign of life, monotonic.
    pub last_alive: Option<Duration>,
    /// When the link was up for the first time.
    pub first_up: Option<Duration>,
}

impl Cells {
    /// No cells; `link` not tried yet.
    pub const fn new(hold: Duration) -> Self {
        Self {
            cells: Vec::new(),
            hold,
            link: Link::Idle(Unreachable::NotStarted),
            last_alive: None,
            first_up: None,
        }
    }

    /// All cells.
    pub fn all(&self) -> &[Cell] {
        &self.cells
    }

    /// The cell of `entity` as `quantity`, made if there is none. What is known of the entity
    /// already is taken over.
    pub fn of(&mut self, entity: &EntityId, quantity: Quantity, now: Duration) -> usize {
        let is = |cell: &Cell| cell.entity == *entity && cell.quantity == quantity;
        if let Some(index) = self.cells.iter().position(is) {
            return index;
        }
        let mut cell = Cell {
            entity: entity.clone(),
            quantity,
            feeds: Vec::new(),
            last: None,
            good: None,
            lost: Some(Lost::new(now, missing(&self.link, entity))),
            unit_assumed: false,
            report: None,
            rhythm: Rhythm::default(),
            unbroken: false,
        };
        if let Some(twin) = self.cells.iter().find(|cell| cell.entity == *entity)
            && let Some((reading, at)) = &twin.last
        {
            cell.read(reading, *at);
            if cell.lost.is_none() {
                cell.lost.clone_from(&twin.lost);
            }
        }
        self.cells.push(cell);
        self.cells.len() - 1
    }

    /// The cells of `entities` as `quantity`, which feed the option `key` from now on.
    pub fn feed(
        &mut self,
        entities: &[EntityId],
        quantity: Quantity,
        key: &'static str,
        now: Duration,
    ) -> Vec<usize> {
        let feed = |entity| {
            let index = self.of(entity, quantity, now);
            self.cells[index].feeds.push(key);
            index
        };
        entities.iter().map(feed).collect()
    }

    /// These entities have other names; what was heard of them is theirs.
    pub fn rename(&mut self, renamed: &BTreeMap<EntityId, EntityId>) {
        for cell in &mut self.cells {
            if let Some(new) = renamed.get(&cell.entity) {
                cell.entity = new.clone();
            }
        }
    }

    /// Drops every cell that `keep` doesn't name; indices change, and none feeds anything.
    pub fn retain(&mut self, keep: impl Fn(&Cell) -> bool) {
        self.cells.retain(keep);
        self.cells.iter_mut().for_each(|cell| cell.feeds.clear());
    }

    /// Takes an event in; the cells that a reading touched are passed to `touched`.
    pub fn apply(&mut self, event: &SourceEvent, now: Duration, mut touched: impl FnMut(usize)) {
        match event {
            SourceEvent::Alive => self.last_alive = Some(now),
            SourceEvent::Readings(readings) => {
                self.last_alive = Some(now);
                for reading in readings {
                    for (index, cell) in self.cells.iter_mut().enumerate() {
                        if cell.entity == reading.entity {
                            cell.read(reading, now);
                            touched(index);
                        }
                    }
                }
            }
            SourceEvent::Link(link) => self.link_changed(link, now),
        }
    }

    fn link_changed(&mut self, link: &Link, now: Duration) {
        self.link = link.clone();
        match link {
            Link::Up => {
                self.last_alive = Some(now);
                self.first_up.get_or_insert(now);
            }
            Link::Starting => self.last_alive = Some(now),
            Link::Down {
                last_alive: Some(at),
                ..
            } => self.last_alive = Some((*at).min(now)),
            Link::Down { .. } | Link::Idle(_) | Link::Connecting => {}
        }
        let since = self.last_alive.unwrap_or(now);
        let gone = link_reason(link).filter(|_| !matches!(link, Link::Starting));
        for cell in &mut self.cells {
            cell.unbroken &= gone.is_none();
            if cell.last.is_none() {
                if let Some(lost) = &mut cell.lost {
                    lost.reason = missing(link, &cell.entity);
                }
            } else if let (None, Some(why)) = (&cell.lost, &gone) {
                let reason = Reason::Link(why.clone()).of(cell.entity.clone());
                cell.lost = Some(Lost { since, reason });
            }
        }
    }

    /// The sum of `cells`; none of them gives no value, which is not the same as 0.
    pub fn sum(&self, cells: &[usize], now: Duration) -> Option<Level> {
        cells
            .iter()
            .map(|&i| self.cells[i].level(self.hold, now))
            .reduce(|a, b| a.join(b, |x, y| x + y))
    }

    /// The same without how good it is.
    pub fn value(&self, cells: &[usize], now: Duration) -> Option<f64> {
        self.sum(cells, now)?.value()
    }

    /// The report that a value made of these cells stands on, and whose it is: the oldest one. A
    /// part that says 0 does not count beside one that says something, as the other side of a pair
    /// says 0 for hours.
    pub fn report(
        &self,
        cells: impl Iterator<Item = usize>,
        now: Duration,
    ) -> Option<(usize, Report)> {
        let known: Vec<(usize, Report)> = cells
            .filter_map(|i| Some((i, self.cells[i].report?)))
            .collect();
        let age = |(_, report): &&(usize, Report)| report.age(now);
        let speaks = |(i, _): &&(usize, Report)| self.cells[*i].good != Some(0.0);
        known
            .iter()
            .filter(speaks)
            .max_by_key(age)
            .or_else(|| known.iter().min_by_key(age))
            .copied()
    }

    /// Those of `cells`, which make up one value, that are silent for longer than is usual for
    /// them. Not one that says 0 beside one that is lively.
    pub fn silent(
        &self,
        cells: impl Iterator<Item = usize> + Clone,
        now: Duration,
    ) -> impl Iterator<Item = usize> {
        let others = cells.clone();
        cells.filter(move |&i| {
            let excused = || {
                self.cells[i].good == Some(0.0)
                    && others
                        .clone()
                        .any(|other| other != i && self.cells[other].lively(now))
            };
            self.cells[i].silence(now).is_some() && !excused()
        })
    }

    /// Until when the value of `cells` may be believed if nothing more is heard; `None` without
    /// bound.
    pub fn until(&self, cells: impl Iterator<Item = usize>) -> Option<Duration> {
        cells
            .filter_map(|i| Some(self.cells[i].lost.as_ref()?.since + self.hold))
            .min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use vocab::State;

    const GRID: &str = "sensor.grid";

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Powers in W that are held for 5 s; times are in s.
    struct Rig(Cells);

    impl Rig {
        fn new(entities: &[&'static str]) -> Self {
            let mut cells = Cells::new(s(5));
            for entity in entities {
                cells.of(&EntityId::from_static(entity), Quantity::Power, s(0));
            }
            Self(cells)
        }

        fn link(&mut self, link: Link, now: u64) {
            self.0.apply(&SourceEvent::Link(link), s(now), |_| {});
        }

        fn say(&mut self, entity: &'static str, text: &str, now: u64) {
            let reading = Reading {
                entity: EntityId::from_static(entity),
                state: State::Text(text.into()),
                unit: Some("W".into()),
                age: Some(Duration::ZERO),
            };
            self.0
                .apply(&SourceEvent::Readings(vec![reading]), s(now), |_| {});
        }

        fn sum(&self, now: u64) -> Level {
            let all: Vec<usize> = (0..self.0.all().len()).collect();
            self.0.sum(&all, s(now)).unwrap()
        }

        /// Why there is no value.
        fn absent(&self, now: u64) -> String {
            match self.sum(now) {
                Level::Absent(lost) => lost.reason.to_string(),
                there => panic!("{there:?}"),
            }
        }
    }

    #[test]
    fn nothing_heard_is_absent_and_says_why() {
        let mut rig = Rig::new(&[GRID]);
        assert_eq!(rig.absent(1), "sensor.grid: the source has not started yet");
        for (link, why) in [
            (
                Link::Connecting,
                "sensor.grid: the source is being connected",
            ),
            (Link::Starting, "sensor.grid: Home Assistant is starting"),
            (Link::Up, "sensor.grid has no state yet"),
        ] {
            rig.link(link, 1);
            assert_eq!(rig.absent(1), why);
        }
        assert_eq!(rig.0.sum(&[], s(1)), None);
    }

    #[test]
    fn holds_from_the_entitys_own_unavailable() {
        let mut rig = Rig::new(&[GRID]);
        rig.link(Link::Up, 0);
        rig.say(GRID, "100", 1);
        assert_eq!(rig.sum(1000), Level::Live(100.0));
        rig.say(GRID, "unavailable", 1000);
        rig.say(GRID, "unknown", 1003);
        let lost = Lost::new(
            s(1000),
            Reason::entity(&EntityId::from_static(GRID), Unusable::Unknown),
        );
        assert_eq!(rig.sum(1004), Level::Held(100.0, lost.clone()));
        assert_eq!(rig.sum(1005), Level::Absent(lost));
        rig.say(GRID, "-90", 1010);
        assert_eq!(rig.sum(1010), Level::Live(-90.0));
    }

    #[test]
    fn holds_from_the_last_frame_and_needs_a_reading_after_the_link_is_back() {
        let mut rig = Rig::new(&[GRID]);
        rig.link(Link::Up, 0);
        rig.say(GRID, "100", 1);
        let down = Link::Down {
            reason: Unreachable::NoPong { n: 10 },
            last_alive: Some(s(10)),
        };
        rig.link(down, 30);
        assert!(matches!(rig.sum(14), Level::Held(_, lost) if lost.since == s(10)));
        let why = "sensor.grid: no sign of life for 10 s after a ping";
        assert_eq!(rig.absent(30), why);
        rig.link(Link::Up, 7200);
        assert_eq!(
            rig.absent(7200),
            why,
            "a value of two hours ago must not come back"
        );
        rig.say(GRID, "unknown", 7200);
        assert_eq!(
            rig.absent(7201),
            "sensor.grid is unknown",
            "and the hold does not begin anew"
        );
        rig.say(GRID, "100", 7202);
        assert_eq!(rig.sum(7202), Level::Live(100.0));
    }

    #[test]
    fn a_sum_is_as_bad_as_its_worst_part() {
        let mut rig = Rig::new(&[GRID, "sensor.two"]);
        rig.link(Link::Up, 0);
        rig.say(GRID, "100", 1);
        assert_eq!(rig.absent(1), "sensor.two has no state yet");
        rig.say("sensor.two", "20", 1);
        assert_eq!(rig.sum(1), Level::Live(120.0));
        rig.say("sensor.two", "nan", 2);
        assert!(matches!(rig.sum(3), Level::Held(v, _) if v == 120.0));
        assert_eq!(rig.0.until([0, 1].into_iter()), Some(s(7)));
        assert!(matches!(rig.sum(7), Level::Absent(_)));
    }

    #[test]
    fn an_entity_read_as_something_new_keeps_what_was_heard() {
        let mut rig = Rig::new(&[GRID]);
        rig.link(Link::Up, 0);
        rig.say(GRID, "230", 1);
        let grid = EntityId::from_static(GRID);
        let volts = rig.0.of(&grid, Quantity::Voltage, s(2));
        let why = rig.0.all()[volts].problem();
        assert!(matches!(
            why,
            Some(Reason::Entity {
                why: Unusable::ForeignUnit {
                    what: Quantity::Voltage,
                    ..
                },
                ..
            })
        ));
    }
}
