//! What was heard of each entity, and for how long it may be believed.
//!
//! A cell is one entity read as one quantity. It is live while its entity and the link are good.
//! From the moment either is lost (the entity's own `unavailable`, or the last frame before the
//! link died) the last value is held for the hold time, then it is gone
//! (`docs/decisions.md#how-good-a-value-is`, `docs/decisions.md#how-long-a-value-is-held`). After
//! the link was lost only a new reading makes a cell live again: `Up` alone proves nothing about a
//! value from before.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::rhythm::{Report, Rhythm, Usual};
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

/// One entity as one quantity.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Which entity.
    pub entity: EntityId,
    /// As what it is read.
    pub quantity: Quantity,
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
    #[must_use]
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Live(v) | Self::Held(v, _) => Some(*v),
            Self::Absent(_) => None,
        }
    }

    /// The same quality with another value.
    #[must_use]
    pub fn map(self, f: impl FnOnce(f64) -> f64) -> Self {
        match self {
            Self::Live(v) => Self::Live(f(v)),
            Self::Held(v, lost) => Self::Held(f(v), lost),
            Self::Absent(lost) => Self::Absent(lost),
        }
    }

    /// Both values put together; as bad as the worse one, whatever was lost first naming the
    /// reason.
    #[must_use]
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
            (None, None) => Level::Absent(Lost {
                since: now,
                reason: no_state(&self.entity),
            }),
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
                match &mut self.lost {
                    Some(lost) => lost.reason = reason,
                    None => self.lost = Some(Lost { since: now, reason }),
                }
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
    #[must_use]
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
    #[must_use]
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

/// All cells of a meter, and the link they came over.
#[derive(Clone, Debug)]
pub struct Cells {
    cells: Vec<Cell>,
    by_entity: HashMap<EntityId, Vec<usize>>,
    /// The link as last told.
    pub link: Link,
    /// Last sign of life, monotonic.
    pub last_alive: Option<Duration>,
    /// When the link was up for the first time.
    pub first_up: Option<Duration>,
}

impl Cells {
    /// No cells; `link` not tried yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cells: Vec::new(),
            by_entity: HashMap::new(),
            link: Link::Idle(Unreachable::NotStarted),
            last_alive: None,
            first_up: None,
        }
    }

    /// All cells.
    #[must_use]
    pub fn all(&self) -> &[Cell] {
        &self.cells
    }

    /// The cell of `entity` as `quantity`, made if there is none. What is known of the entity
    /// already is taken over.
    pub fn of(&mut self, entity: &EntityId, quantity: Quantity, now: Duration) -> usize {
        let known = self
            .by_entity
            .get(entity)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if let Some(&index) = known.iter().find(|&&i| self.cells[i].quantity == quantity) {
            return index;
        }
        let lost = Lost {
            since: now,
            reason: self.missing(entity),
        };
        let mut cell = Cell {
            entity: entity.clone(),
            quantity,
            last: None,
            good: None,
            lost: Some(lost),
            unit_assumed: false,
            report: None,
            rhythm: Rhythm::default(),
            unbroken: false,
        };
        if let Some(twin) = known.first().map(|&i| &self.cells[i])
            && let Some((reading, at)) = &twin.last
        {
            cell.read(reading, *at);
            if cell.lost.is_none() {
                cell.lost.clone_from(&twin.lost);
            }
        }
        let index = self.cells.len();
        self.cells.push(cell);
        self.by_entity
            .entry(entity.clone())
            .or_default()
            .push(index);
        index
    }

    /// These entities have other names; what was heard of them is theirs.
    pub fn rename(&mut self, renamed: &BTreeMap<EntityId, EntityId>) {
        for cell in &mut self.cells {
            if let Some(new) = renamed.get(&cell.entity) {
                cell.entity = new.clone();
            }
        }
        self.index();
    }

    /// Drops every cell that `keep` doesn't name; indices change.
    pub fn retain(&mut self, keep: impl Fn(&Cell) -> bool) {
        self.cells.retain(keep);
        self.index();
    }

    fn index(&mut self) {
        self.by_entity.clear();
        for (index, cell) in self.cells.iter().enumerate() {
            self.by_entity
                .entry(cell.entity.clone())
                .or_default()
                .push(index);
        }
    }

    fn missing(&self, entity: &EntityId) -> Reason {
        link_reason(&self.link).map_or_else(
            || no_state(entity),
            |why| Reason::Link(why).of(entity.clone()),
        )
    }

    /// Takes an event in; the cells that a reading touched are passed to `touched`.
    pub fn apply(&mut self, event: &SourceEvent, now: Duration, mut touched: impl FnMut(usize)) {
        match event {
            SourceEvent::Alive => self.last_alive = Some(now),
            SourceEvent::Readings(readings) => {
                self.last_alive = Some(now);
                for reading in readings {
                    for &index in self
                        .by_entity
                        .get(&reading.entity)
                        .map(Vec::as_slice)
                        .unwrap_or_default()
                    {
                        self.cells[index].read(reading, now);
                        touched(index);
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
        for index in 0..self.cells.len() {
            self.cells[index].unbroken &= gone.is_none();
            if self.cells[index].last.is_none() {
                let reason = self.missing(&self.cells[index].entity);
                if let Some(lost) = &mut self.cells[index].lost {
                    lost.reason = reason;
                }
            } else if let (None, Some(why)) = (&self.cells[index].lost, &gone) {
                let cell = &mut self.cells[index];
                cell.lost = Some(Lost {
                    since,
                    reason: Reason::Link(why.clone()).of(cell.entity.clone()),
                });
            }
        }
    }

    /// The sum of `cells`; none of them gives no value, which is not the same as 0.
    #[must_use]
    pub fn sum(&self, cells: &[usize], hold: Duration, now: Duration) -> Option<Level> {
        cells
            .iter()
            .map(|&i| self.cells[i].level(hold, now))
            .reduce(|a, b| a.join(b, |x, y| x + y))
    }

    /// The report that a value made of these cells stands on, and whose it is: the oldest one. A
    /// part that says 0 does not count beside one that says something, as the other side of a pair
    /// says 0 for hours.
    #[must_use]
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
    #[must_use]
    pub fn until(&self, cells: &[usize], hold: Duration) -> Option<Duration> {
        cells
            .iter()
            .filter_map(|&i| self.cells[i].lost.as_ref())
            .map(|lost| lost.since + hold)
            .min()
    }
}

impl Default for Cells {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use vocab::State;

    const HOLD: Duration = Duration::from_secs(5);

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn say(cells: &mut Cells, entity: &str, text: &str, now: u64) {
        let reading = Reading {
            entity: entity.parse().unwrap(),
            state: State::Text(text.into()),
            unit: Some("W".into()),
            age: Some(Duration::ZERO),
        };
        cells.apply(&SourceEvent::Readings(vec![reading]), s(now), |_| {});
    }

    fn link(cells: &mut Cells, link: Link, now: u64) {
        cells.apply(&SourceEvent::Link(link), s(now), |_| {});
    }

    fn one() -> Cells {
        let mut cells = Cells::new();
        cells.of(&EntityId::from_static("sensor.grid"), Quantity::Power, s(0));
        cells
    }

    #[test]
    fn nothing_heard_is_absent_and_says_why() {
        let mut cells = one();
        let reason = |cells: &Cells| match cells.sum(&[0], HOLD, s(1)) {
            Some(Level::Absent(lost)) => lost.reason.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            reason(&cells),
            "sensor.grid: the source has not started yet"
        );
        link(&mut cells, Link::Connecting, 1);
        assert_eq!(reason(&cells), "sensor.grid: the source is being connected");
        link(&mut cells, Link::Starting, 1);
        assert_eq!(reason(&cells), "sensor.grid: Home Assistant is starting");
        link(&mut cells, Link::Up, 1);
        assert_eq!(reason(&cells), "sensor.grid has no state yet");
        assert_eq!(cells.sum(&[], HOLD, s(1)), None);
    }

    #[test]
    fn holds_from_the_entitys_own_unavailable() {
        let mut cells = one();
        link(&mut cells, Link::Up, 0);
        say(&mut cells, "sensor.grid", "100", 1);
        assert_eq!(cells.sum(&[0], HOLD, s(1000)), Some(Level::Live(100.0)));
        say(&mut cells, "sensor.grid", "unavailable", 1000);
        say(&mut cells, "sensor.grid", "unknown", 1003);
        let lost = Lost {
            since: s(1000),
            reason: Reason::entity(&EntityId::from_static("sensor.grid"), Unusable::Unknown),
        };
        assert_eq!(
            cells.sum(&[0], HOLD, s(1004)),
            Some(Level::Held(100.0, lost.clone()))
        );
        assert_eq!(cells.sum(&[0], HOLD, s(1005)), Some(Level::Absent(lost)));
        say(&mut cells, "sensor.grid", "-90", 1010);
        assert_eq!(cells.sum(&[0], HOLD, s(1010)), Some(Level::Live(-90.0)));
    }

    #[test]
    fn holds_from_the_last_frame_and_needs_a_reading_after_the_link_is_back() {
        let mut cells = one();
        link(&mut cells, Link::Up, 0);
        say(&mut cells, "sensor.grid", "100", 1);
        link(
            &mut cells,
            Link::Down {
                reason: Unreachable::NoPong { n: 10 },
                last_alive: Some(s(10)),
            },
            30,
        );
        assert!(
            matches!(cells.sum(&[0], HOLD, s(14)), Some(Level::Held(_, lost)) if lost.since == s(10))
        );
        assert!(
            matches!(cells.sum(&[0], HOLD, s(30)), Some(Level::Absent(lost)) if lost.reason.to_string() == "sensor.grid: no sign of life for 10 s after a ping")
        );
        link(&mut cells, Link::Up, 7200);
        assert!(
            matches!(cells.sum(&[0], HOLD, s(7200)), Some(Level::Absent(_))),
            "a value of two hours ago must not come back"
        );
        say(&mut cells, "sensor.grid", "unknown", 7200);
        assert!(
            matches!(cells.sum(&[0], HOLD, s(7201)), Some(Level::Absent(_))),
            "and the hold does not begin anew"
        );
        say(&mut cells, "sensor.grid", "100", 7202);
        assert_eq!(cells.sum(&[0], HOLD, s(7202)), Some(Level::Live(100.0)));
    }

    #[test]
    fn a_sum_is_as_bad_as_its_worst_part() {
        let mut cells = one();
        cells.of(&EntityId::from_static("sensor.two"), Quantity::Power, s(0));
        link(&mut cells, Link::Up, 0);
        say(&mut cells, "sensor.grid", "100", 1);
        assert!(
            matches!(cells.sum(&[0, 1], HOLD, s(1)), Some(Level::Absent(lost)) if lost.reason.to_string() == "sensor.two has no state yet")
        );
        say(&mut cells, "sensor.two", "20", 1);
        assert_eq!(cells.sum(&[0, 1], HOLD, s(1)), Some(Level::Live(120.0)));
        say(&mut cells, "sensor.two", "nan", 2);
        assert!(matches!(cells.sum(&[0, 1], HOLD, s(3)), Some(Level::Held(v, _)) if v == 120.0));
        assert_eq!(cells.until(&[0, 1], HOLD), Some(s(7)));
        assert!(matches!(
            cells.sum(&[0, 1], HOLD, s(7)),
            Some(Level::Absent(_))
        ));
    }

    #[test]
    fn an_entity_read_as_something_new_keeps_what_was_heard() {
        let mut cells = one();
        link(&mut cells, Link::Up, 0);
        say(&mut cells, "sensor.grid", "230", 1);
        let volts = cells.of(
            &EntityId::from_static("sensor.grid"),
            Quantity::Voltage,
            s(2),
        );
        assert!(
            matches!(cells.sum(&[volts], HOLD, s(2)), Some(Level::Absent(lost)) if matches!(&lost.reason, Reason::Entity { why: Unusable::ForeignUnit { what: Quantity::Voltage, .. }, .. }))
        );
    }
}
