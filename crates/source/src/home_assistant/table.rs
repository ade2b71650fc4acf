//! The wanted entities as last heard, and which of their values already count
//! (`docs/decisions.md#while-home-assistant-starts`).
//!
//! While Home Assistant starts, an entity's first value may be one restored from before the
//! restart: it counts only after it was reported anew, or when RUNNING came. The table keeps such
//! values back and gives them out later.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    entity_changes::{Change, EntityChange, UnitChange},
    reported::{Asked, Reported},
};
use vocab::{EntityId, Now, Reading, State};

/// How far values may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Home Assistant's state is not known yet: nothing passes.
    Closed,
    /// It is starting: what was reported again passes.
    Starting,
    /// It runs: everything passes.
    Open,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    state: Option<Arc<str>>,
    unit: Option<Arc<str>>,
    /// First value heard while not running; another one counts.
    first: Option<Arc<str>>,
    /// Reported anew since the first value.
    counts: bool,
    /// Differs from what was given out last.
    news: bool,
    reported: Reported,
}

/// A state that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polled<'a> {
    pub(super) state: &'a str,
    pub(super) unit: Option<&'a str>,
    /// Home Assistant's stamp of the last report, Unix s; old versions have none.
    pub(super) stamp: Option<f64>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Table {
    gate: Gate,
    wanted: Arc<[EntityId]>,
    refused: BTreeSet<EntityId>,
    entries: HashMap<EntityId, Entry>,
    /// Between two looks at the stamp of an entity that is quiet.
    look: Duration,
}

/// `unavailable` and `unknown` are words, not values.
fn is_value(state: &str) -> bool {
    !matches!(state, "unavailable" | "unknown")
}

impl Table {
    pub(super) fn new(wanted: Arc<[EntityId]>, look: Duration) -> Self {
        let mut table = Self {
            gate: Gate::Closed,
            wanted: Arc::new([]),
            refused: BTreeSet::new(),
            entries: HashMap::new(),
            look,
        };
        table.want(wanted);
        table
    }

    pub(super) fn gate(&self) -> Gate {
        self.gate
    }

    pub(super) fn wanted(&self) -> &Arc<[EntityId]> {
        &self.wanted
    }

    /// Another list: what is in both keeps its state.
    pub(super) fn want(&mut self, wanted: Arc<[EntityId]>) {
        self.entries.retain(|id, _| wanted.contains(id));
        for id in wanted.iter() {
            self.entries
                .entry(id.clone())
                .or_insert_with(Entry::unheard);
        }
        self.wanted = wanted;
    }

    /// These are our own: from now on not read, whatever Home Assistant says of them.
    pub(super) fn refuse(&mut self, ours: BTreeSet<EntityId>) {
        for id in ours.difference(&self.refused) {
            tracing::error!(
                entity = %id,
                "one of our own entities in Home Assistant: not read, a meter must not measure itself; choose another"
            );
        }
        for id in ours.symmetric_difference(&self.refused) {
            if let Some(entry) = self.entries.get_mut(id) {
                *entry = Entry::unheard();
            }
        }
        self.refused = ours;
    }

    pub(super) fn refused(&self) -> &BTreeSet<EntityId> {
        &self.refused
    }

    /// All entities are told anew: those that do not come are gone.
    pub(super) fn start_over(&mut self) {
        self.entries.values_mut().for_each(Entry::forget);
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Takes in one thing that was said; `running`: Home Assistant has started.
    pub(super) fn hear(&mut self, told: EntityChange, running: bool, now: Now) {
        let look = self.look;
        let Some(entry) = self.entry(&told.entity) else {
            return;
        };
        match told.change {
            Change::Added { state, unit, at } => {
                entry.unit = unit.map(Arc::from);
                entry.news = true;
                entry.see(&state, false);
                if running || entry.counts {
                    entry.reported.first(at, now.unix, now.mono);
                } else {
                    entry.reported.restored(at, now.mono);
                }
            }
            Change::Changed {
                state,
                unit,
                reported,
                at,
            } => {
                if let UnitChange::Now(unit) = unit
                    && entry.unit.as_deref() != unit.as_deref()
                {
                    entry.unit = unit.map(Arc::from);
                    entry.news = true;
                }
                entry.news |= reported || at.is_some();
                if let Some(state) = state {
                    entry.see(&state, false);
                } else if let (true, Some(state)) = (reported, entry.state.clone()) {
                    entry.see(&state, true);
                }
                if running || entry.counts {
                    entry.reported.live(at, now.mono, look);
                } else {
                    entry.reported.restored(at, now.mono);
                }
            }
            Change::Removed => entry.forget(),
        }
    }

    /// A polled state: news only if something differs from what was heard last, or was reported
    /// again.
    pub(super) fn poll(
        &mut self,
        entity: &EntityId,
        polled: Option<Polled<'_>>,
        running: bool,
        asked: Asked,
        now: Duration,
    ) {
        let look = self.look;
        let Some(entry) = self.entry(entity) else {
            return;
        };
        let Some(Polled { state, unit, stamp }) = polled else {
            entry.forget();
            return;
        };
        let differs = entry.state.as_deref() != Some(state) || entry.unit.as_deref() != unit;
        entry.news |= differs;
        entry.unit = unit.map(Arc::from);
        entry.see(state, false);
        match stamp {
            _ if !running && !entry.counts => entry.reported.restored(stamp, now),
            Some(stamp) => entry.news |= entry.reported.looked(stamp, asked, now, look),
            None if differs => entry.reported.live(None, now, look),
            None => {}
        }
    }

    /// Entities that have been quiet and whose stamp is to be looked at now. They are not named
    /// again before `again`, unless [`Self::looked`] tells more.
    pub(super) fn looks(&mut self, now: Duration, again: Duration) -> Vec<EntityId> {
        if self.gate != Gate::Open {
            return Vec::new();
        }
        let mut due = Vec::new();
        for id in self.wanted.iter().filter(|id| !self.refused.contains(*id)) {
            if let Some(entry) = self.entries.get_mut(id)
                && entry.look_due().is_some_and(|due| now >= due)
            {
                entry.reported.ask(again);
                due.push(id.clone());
            }
        }
        due
    }

    /// When [`Self::looks`] will have something.
    pub(super) fn look_due(&self) -> Option<Duration> {
        self.entries
            .values()
            .filter_map(Entry::look_due)
            .min()
            .filter(|_| self.gate == Gate::Open)
    }

    /// The stamp of an entity, looked at.
    pub(super) fn looked(&mut self, entity: &EntityId, stamp: f64, asked: Asked, now: Duration) {
        let look = self.look;
        if let Some(entry) = self.entry(entity) {
            entry.news |= entry.reported.looked(stamp, asked, now, look);
        }
    }

    fn entry(&mut self, entity: &EntityId) -> Option<&mut Entry> {
        self.entries
            .get_mut(entity)
            .filter(|_| !self.refused.contains(entity))
    }

    /// What may be given out now and was not yet, in the order of the list.
    pub(super) fn news(&mut self, now: Duration) -> Vec<Reading> {
        let mut readings = Vec::new();
        for id in self.wanted.iter() {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            let own = self.refused.contains(id);
            let passes = match self.gate {
                Gate::Closed => false,
                Gate::Starting => entry.counts || own,
                Gate::Open => true,
            };
            if passes && std::mem::take(&mut entry.news) {
                let state = if own {
                    State::Own
                } else {
                    entry.state.clone().map_or(State::Gone, State::Text)
                };
                readings.push(Reading {
                    entity: id.clone(),
                    state,
                    unit: entry.unit.clone(),
                    age: entry.reported.age(now),
                });
            }
        }
        readings
    }
}

impl Entry {
    /// Nothing was heard of it, and that was not given out yet.
    fn unheard() -> Self {
        Self {
            news: true,
            ..Self::default()
        }
    }

    /// It is gone.
    fn forget(&mut self) {
        self.news |= self.state.take().is_some();
    }

    /// When to ask for its stamp, as far as it has a value.
    fn look_due(&self) -> Option<Duration> {
        let value = self.state.as_deref().filter(|state| is_value(state));
        value.and_then(|_| self.reported.due())
    }

    fn see(&mut self, state: &str, reported_again: bool) {
        if is_value(state) {
            match &self.first {
                None => self.first = Some(Arc::from(state)),
                Some(first) => self.counts |= reported_again || **first != *state,
            }
        }
        if self.state.as_deref() != Some(state) {
            self.state = Some(Arc::from(state));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const NOW: Now = Now {
        mono: Duration::from_secs(10),
        unix: 1000.0,
    };

    fn table(ids: &[&str]) -> Table {
        Table::new(
            ids.iter().map(|i| i.parse().unwrap()).collect(),
            Duration::from_secs(5),
        )
    }

    fn added(id: &str, state: &str) -> EntityChange {
        EntityChange {
            entity: id.parse().unwrap(),
            change: Change::Added {
                state: state.into(),
                unit: Some("W".into()),
                at: Some(990.0),
            },
        }
    }

    fn changed(id: &str, state: Option<&str>) -> EntityChange {
        EntityChange {
            entity: id.parse().unwrap(),
            change: Change::Changed {
                state: state.map(str::to_owned),
                unit: UnitChange::Same,
                reported: true,
                at: Some(1000.0),
            },
        }
    }

    impl Table {
        /// Hears as the gate lets it.
        fn told(&mut self, told: EntityChange) {
            self.hear(told, self.gate == Gate::Open, NOW);
        }

        fn polled(&mut self, id: &str, state: Option<(&str, &str)>, stamp: f64) {
            let polled = state.map(|(state, unit)| Polled {
                state,
                unit: Some(unit),
                stamp: Some(stamp),
            });
            let asked = Asked {
                at: NOW.mono,
                home: NOW.unix,
            };
            let running = self.gate == Gate::Open;
            self.poll(&id.parse().unwrap(), polled, running, asked, NOW.mono);
        }
    }

    fn texts(table: &mut Table) -> Vec<String> {
        table
            .news(NOW.mono)
            .into_iter()
            .map(|r| match r.state {
                State::Text(t) => format!("{}={t}", r.entity),
                State::Gone => format!("{} gone", r.entity),
                State::Own => format!("{} own", r.entity),
            })
            .collect()
    }

    #[test]
    fn restored_values_wait_for_a_change_or_running() {
        let mut t = table(&["s.a", "s.b", "s.c"]);
        t.told(added("s.a", "321.0"));
        assert_eq!(texts(&mut t), [""; 0], "nothing before the state is known");
        t.set_gate(Gate::Starting);
        t.told(added("s.b", "unavailable"));
        assert_eq!(
            texts(&mut t),
            [""; 0],
            "neither a first value nor a word of the registry"
        );
        t.told(changed("s.a", Some("unavailable")));
        t.told(changed("s.a", Some("321.0")));
        assert_eq!(texts(&mut t), [""; 0], "the same restored value again");
        t.told(changed("s.a", Some("0.0")));
        t.told(changed("s.b", Some("5")));
        assert_eq!(texts(&mut t), ["s.a=0.0"]);
        t.told(changed("s.b", None));
        assert_eq!(texts(&mut t), ["s.b=5"], "a forced update is a report");
        t.told(changed("s.a", Some("unavailable")));
        assert_eq!(texts(&mut t), ["s.a=unavailable"], "who counted may leave");
        t.set_gate(Gate::Open);
        assert_eq!(texts(&mut t), ["s.c gone"], "missing at RUNNING");
        assert_eq!(texts(&mut t), [""; 0], "once");
    }

    #[test]
    fn a_new_list_keeps_what_it_shares() {
        let mut t = table(&["s.a", "s.b"]);
        t.set_gate(Gate::Open);
        t.told(added("s.a", "1"));
        t.told(added("s.b", "2"));
        assert_eq!(texts(&mut t), ["s.a=1", "s.b=2"]);
        t.want(["s.b", "s.c"].map(EntityId::from_static).into());
        t.start_over();
        t.told(added("s.b", "2"));
        assert_eq!(texts(&mut t), ["s.b=2", "s.c gone"]);
        t.told(changed("s.a", Some("9")));
        assert_eq!(texts(&mut t), [""; 0], "no longer wanted");
    }

    #[test]
    fn our_own_is_not_read_whatever_is_said() {
        let mut t = table(&["s.a", "s.b"]);
        t.set_gate(Gate::Open);
        t.refuse([EntityId::from_static("s.a")].into());
        t.told(added("s.a", "1"));
        t.told(added("s.b", "2"));
        assert_eq!(texts(&mut t), ["s.a own", "s.b=2"]);
        t.refuse(BTreeSet::new());
        t.told(added("s.a", "1"));
        assert_eq!(texts(&mut t), ["s.a=1"]);
    }

    #[test]
    fn polls_are_news_only_when_different() {
        let mut t = table(&["s.a"]);
        t.set_gate(Gate::Open);
        t.polled("s.a", Some(("1", "W")), 990.0);
        assert_eq!(texts(&mut t), ["s.a=1"]);
        t.polled("s.a", Some(("1", "W")), 990.0);
        assert_eq!(texts(&mut t), [""; 0]);
        t.polled("s.a", Some(("1", "W")), 999.0);
        assert_eq!(texts(&mut t), ["s.a=1"], "reported again");
        t.polled("s.a", Some(("1", "kW")), 999.0);
        assert_eq!(t.news(NOW.mono)[0].unit.as_deref(), Some("kW"));
        t.polled("s.a", None, 0.0);
        assert_eq!(texts(&mut t), ["s.a gone"]);
    }

    #[test]
    fn ages_are_those_of_the_reports() {
        let ages = |t: &mut Table, now: u64| -> Vec<Option<u64>> {
            t.news(Duration::from_secs(now))
                .into_iter()
                .map(|r| r.age.map(|age| age.as_secs()))
                .collect()
        };
        let mut t = table(&["s.a", "s.b", "s.c"]);
        t.set_gate(Gate::Starting);
        t.told(added("s.b", "5"));
        t.told(added("s.c", "6"));
        t.told(changed("s.c", Some("7")));
        t.set_gate(Gate::Open);
        t.told(added("s.a", "1"));
        assert_eq!(
            ages(&mut t, 12),
            [Some(12), None, Some(2)],
            "as old as it was told, of before a restart, as it happened"
        );
        let (ten, again) = (Duration::from_secs(10), Duration::from_secs(60));
        assert_eq!(t.look_due(), Some(ten));
        assert_eq!(t.looks(ten, again).len(), 2);
        assert_eq!(t.looks(ten, again).len(), 0);
        let asked = Asked {
            at: ten,
            home: 1000.0,
        };
        let b = EntityId::from_static("s.b");
        t.looked(&b, 998.0, asked, Duration::from_secs(12));
        assert_eq!(ages(&mut t, 12), [Some(2)]);
        t.told(added("s.a", "unavailable"));
        t.told(added("s.b", "unknown"));
        assert_eq!(t.looks(again, again).len(), 1, "a word has no age");
    }
}
