//! The wanted entities as last heard, and which of their values already count (`decisions.md` C10).
//!
//! While Home Assistant starts, an entity's first value may be one restored from before the restart: it counts only
//! after it was reported anew, or when RUNNING came. The table keeps such values back and gives them out later.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::frames::{Told, UnitChange};
use crate::source::{EntityId, Reading, State};

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
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Table {
    gate: Gate,
    wanted: Arc<[EntityId]>,
    refused: HashSet<EntityId>,
    entries: HashMap<EntityId, Entry>,
}

/// `unavailable` and `unknown` are words, not values.
fn is_value(state: &str) -> bool {
    !matches!(state, "unavailable" | "unknown")
}

impl Table {
    pub(super) fn new(wanted: Arc<[EntityId]>) -> Self {
        let mut table = Self { gate: Gate::Closed, wanted: Arc::new([]), refused: HashSet::new(), entries: HashMap::new() };
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
            self.entries.entry(id.clone()).or_insert_with(|| Entry { news: true, ..Entry::default() });
        }
        self.wanted = wanted;
    }

    /// These are our own: from now on not read, whatever Home Assistant says of them.
    pub(super) fn refuse(&mut self, ours: HashSet<EntityId>) {
        for (id, entry) in &mut self.entries {
            if ours.contains(id) != self.refused.contains(id) {
                *entry = Entry { news: true, ..Entry::default() };
            }
        }
        self.refused = ours;
    }

    pub(super) fn refused(&self) -> &HashSet<EntityId> {
        &self.refused
    }

    /// All entities are told anew: those that do not come are gone.
    pub(super) fn start_over(&mut self) {
        for entry in self.entries.values_mut() {
            entry.news |= entry.state.take().is_some();
        }
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Takes in one thing that was said.
    pub(super) fn hear(&mut self, told: Told) {
        match told {
            Told::Added { entity, state, unit } => {
                if let Some(entry) = self.entry(&entity) {
                    entry.unit = unit.map(Arc::from);
                    entry.news = true;
                    entry.see(&state, false);
                }
            }
            Told::Changed { entity, state, unit, reported } => {
                if let Some(entry) = self.entry(&entity) {
                    if let UnitChange::Now(unit) = unit
                        && entry.unit.as_deref() != unit.as_deref()
                    {
                        entry.unit = unit.map(Arc::from);
                        entry.news = true;
                    }
                    entry.news |= reported;
                    match state {
                        Some(state) => entry.see(&state, false),
                        None if reported => {
                            if let Some(state) = entry.state.clone() {
                                entry.see(&state, true);
                            }
                        }
                        None => {}
                    }
                }
            }
            Told::Removed { entity } => {
                if let Some(entry) = self.entry(&entity) {
                    entry.news |= entry.state.take().is_some();
                }
            }
        }
    }

    /// A polled state: news only if something differs from what was heard last.
    pub(super) fn poll(&mut self, entity: &str, state: Option<(&str, Option<&str>)>) {
        if let Some(entry) = self.entry(entity) {
            match state {
                Some((state, unit)) => {
                    entry.news |= entry.state.as_deref() != Some(state) || entry.unit.as_deref() != unit;
                    entry.unit = unit.map(Arc::from);
                    entry.see(state, false);
                }
                None => entry.news |= entry.state.take().is_some(),
            }
        }
    }

    fn entry(&mut self, entity: &str) -> Option<&mut Entry> {
        if self.refused.contains(entity) { None } else { self.entries.get_mut(entity) }
    }

    /// What may be given out now and was not yet, in the order of the list.
    pub(super) fn news(&mut self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for id in self.wanted.iter() {
            let Some(entry) = self.entries.get_mut(id) else { continue };
            let own = self.refused.contains(id);
            let passes = match self.gate {
                Gate::Closed => false,
                Gate::Starting => entry.counts || own,
                Gate::Open => true,
            };
            if passes && std::mem::take(&mut entry.news) {
                let state = if own { State::Own } else { entry.state.clone().map_or(State::Gone, State::Text) };
                readings.push(Reading { entity: id.clone(), state, unit: entry.unit.clone() });
            }
        }
        readings
    }
}

impl Entry {
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

    fn table(ids: &[&str]) -> Table {
        Table::new(ids.iter().map(|i| EntityId::from(*i)).collect())
    }

    fn added(id: &str, state: &str) -> Told {
        Told::Added { entity: id.into(), state: state.into(), unit: Some("W".into()) }
    }

    fn changed(id: &str, state: Option<&str>) -> Told {
        Told::Changed { entity: id.into(), state: state.map(str::to_owned), unit: UnitChange::Same, reported: true }
    }

    fn texts(table: &mut Table) -> Vec<String> {
        table
            .news()
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
        t.hear(added("s.a", "321.0"));
        assert_eq!(texts(&mut t), [""; 0], "nothing before the state is known");
        t.set_gate(Gate::Starting);
        t.hear(added("s.b", "unavailable"));
        assert_eq!(texts(&mut t), [""; 0], "neither a first value nor a word of the registry");
        t.hear(changed("s.a", Some("unavailable")));
        t.hear(changed("s.a", Some("321.0")));
        assert_eq!(texts(&mut t), [""; 0], "the same restored value again");
        t.hear(changed("s.a", Some("0.0")));
        t.hear(changed("s.b", Some("5")));
        assert_eq!(texts(&mut t), ["s.a=0.0"]);
        t.hear(changed("s.b", None));
        assert_eq!(texts(&mut t), ["s.b=5"], "a forced update is a report");
        t.hear(changed("s.a", Some("unavailable")));
        assert_eq!(texts(&mut t), ["s.a=unavailable"], "who counted may leave");
        t.set_gate(Gate::Open);
        assert_eq!(texts(&mut t), ["s.c gone"], "missing at RUNNING");
        assert_eq!(texts(&mut t), [""; 0], "once");
    }

    #[test]
    fn a_new_list_keeps_what_it_shares() {
        let mut t = table(&["s.a", "s.b"]);
        t.set_gate(Gate::Open);
        t.hear(added("s.a", "1"));
        t.hear(added("s.b", "2"));
        assert_eq!(texts(&mut t), ["s.a=1", "s.b=2"]);
        t.want(["s.b", "s.c"].map(EntityId::from).into_iter().collect());
        t.start_over();
        t.hear(added("s.b", "2"));
        assert_eq!(texts(&mut t), ["s.b=2", "s.c gone"]);
        t.hear(changed("s.a", Some("9")));
        assert_eq!(texts(&mut t), [""; 0], "no longer wanted");
    }

    #[test]
    fn our_own_is_not_read_whatever_is_said() {
        let mut t = table(&["s.a", "s.b"]);
        t.set_gate(Gate::Open);
        t.refuse([EntityId::from("s.a")].into());
        t.hear(added("s.a", "1"));
        t.hear(added("s.b", "2"));
        assert_eq!(texts(&mut t), ["s.a own", "s.b=2"]);
        t.refuse(HashSet::new());
        t.hear(added("s.a", "1"));
        assert_eq!(texts(&mut t), ["s.a=1"]);
    }

    #[test]
    fn polls_are_news_only_when_different() {
        let mut t = table(&["s.a"]);
        t.set_gate(Gate::Open);
        t.poll("s.a", Some(("1", Some("W"))));
        assert_eq!(texts(&mut t), ["s.a=1"]);
        t.poll("s.a", Some(("1", Some("W"))));
        assert_eq!(texts(&mut t), [""; 0]);
        t.poll("s.a", Some(("1", Some("kW"))));
        assert_eq!(t.news()[0].unit.as_deref(), Some("kW"));
        t.poll("s.a", None);
        assert_eq!(texts(&mut t), ["s.a gone"]);
    }
}
