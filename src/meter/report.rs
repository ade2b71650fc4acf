//! What a person is told about the inputs: a line an entity for pages and `check`, and notices for the log.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    cells::Cell,
    engine::letter,
    snapshot::{PhaseInput, Quality},
};
use crate::source::State;

/// One entity as the meter sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntityReport {
    /// Entity id.
    pub entity: Arc<str>,
    /// Option keys that it feeds, e.g. `a_power`.
    pub feeds: Vec<&'static str>,
    /// What is read: `power`, `energy` ….
    pub quantity: &'static str,
    /// Its last state as Home Assistant told it; `None`: nothing heard, or it does not exist.
    pub text: Option<Arc<str>>,
    /// Its own unit.
    pub unit: Option<Arc<str>>,
    /// Last usable value in `base_unit`, held or not.
    pub value: Option<f64>,
    /// W, V, A, Hz, Wh, or empty.
    pub base_unit: &'static str,
    /// Seconds since its last reading.
    pub age: Option<f64>,
    /// Seconds since it stopped being good.
    pub lost_for: Option<f64>,
    /// Why it is no good now.
    pub problem: Option<Arc<str>>,
    /// It names no unit, so the base unit was taken.
    pub unit_assumed: bool,
}

pub(super) fn entities(cells: &[Cell], feeds: &[(usize, &'static str)], now: Duration) -> Vec<EntityReport> {
    let seconds = |at: Duration| now.saturating_sub(at).as_secs_f64();
    let report = |(index, cell): (usize, &Cell)| {
        let reading = cell.last.as_ref().map(|(reading, _)| reading);
        EntityReport {
            entity: Arc::clone(&cell.entity),
            feeds: feeds.iter().filter(|(of, _)| *of == index).map(|(_, key)| *key).collect(),
            quantity: cell.quantity.name(),
            text: reading.and_then(|r| match &r.state {
                State::Text(text) => Some(Arc::clone(text)),
                State::Gone | State::Own => None,
            }),
            unit: reading.and_then(|r| r.unit.clone()),
            value: cell.good,
            base_unit: cell.quantity.base_unit(),
            age: cell.last.as_ref().map(|(_, at)| seconds(*at)),
            lost_for: cell.lost.as_ref().map(|lost| seconds(lost.since)),
            problem: cell.problem().cloned(),
            unit_assumed: cell.unit_assumed,
        }
    };
    let mut all: Vec<EntityReport> = cells.iter().enumerate().map(report).collect();
    all.retain(|entity| !entity.feeds.is_empty());
    all
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Something a user should mend.
    pub warning: bool,
    /// One line.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fine,
    Held,
    Absent,
}

/// Remembers what was said, so that nothing is said twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    kinds: [Option<Kind>; 3],
    unitless: Vec<Arc<str>>,
    notices: Vec<Notice>,
}

impl Watch {
    /// Says which phase became live, held or absent, and why.
    pub(super) fn qualities(&mut self, inputs: &[PhaseInput; 3], hold: Duration) {
        for (i, input) in inputs.iter().enumerate() {
            let (kind, text) = match &input.quality {
                Quality::Live | Quality::Unused => (Kind::Fine, String::new()),
                Quality::Held { reason, .. } => (Kind::Held, format!("{reason}; its last value goes on for up to {} s", hold.as_secs())),
                Quality::Absent { reason, .. } => (Kind::Absent, format!("no value: {reason}")),
            };
            let before = self.kinds[i].replace(kind);
            let text = match before {
                Some(Kind::Held | Kind::Absent) if kind == Kind::Fine => "measured again".to_owned(),
                None if kind != Kind::Absent => continue,
                _ if before == Some(kind) || kind == Kind::Fine => continue,
                _ => text,
            };
            self.say(kind == Kind::Absent && before.is_some(), format!("phase {}: {text}", letter(i)));
        }
    }

    /// Says which entity names no unit.
    pub(super) fn units(&mut self, cells: &[Cell]) {
        for cell in cells.iter().filter(|cell| cell.unit_assumed) {
            if !self.unitless.contains(&cell.entity) {
                self.unitless.push(Arc::clone(&cell.entity));
                let text = format!("{} names no unit; its {} is taken as {}", cell.entity, cell.quantity.name(), cell.quantity.base_unit());
                self.say(true, text);
            }
        }
    }

    fn say(&mut self, warning: bool, text: String) {
        // Nobody collecting is no reason to grow.
        if self.notices.len() < 100 {
            self.notices.push(Notice { warning, text });
        }
    }

    pub(super) fn take(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}
