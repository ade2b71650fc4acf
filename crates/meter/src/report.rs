//! What a person is told about the inputs: a line an entity, and what is wrong for longer.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{cells::Cell, counters::Slot};
use vocab::reason::{Input, Reason};
use vocab::{EntityId, State};

/// One entity as the meter sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntityReport {
    /// Entity id.
    pub entity: EntityId,
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
    /// Seconds since it was reported last, changed or not; without a good value ever, since its
    /// last word.
    pub age: Option<f64>,
    /// Seconds that half of the intervals between its reports are shorter than, once that is known.
    pub usual_interval: Option<f64>,
    /// Seconds since it stopped being good.
    pub lost_for: Option<f64>,
    /// Why it is no good now.
    pub problem: Option<Reason>,
    /// It names no unit, so the base unit was taken.
    pub unit_assumed: bool,
}

pub(super) fn entities(cells: &[Cell], now: Duration) -> Vec<EntityReport> {
    let seconds = |at: Duration| now.saturating_sub(at).as_secs_f64();
    let report = |cell: &Cell| {
        let reading = cell.last.as_ref().map(|(reading, _)| reading);
        EntityReport {
            entity: cell.entity.clone(),
            feeds: cell.feeds.clone(),
            quantity: cell.quantity.name(),
            text: reading.and_then(|r| match &r.state {
                State::Text(text) => Some(Arc::clone(text)),
                State::Gone | State::Own => None,
            }),
            unit: reading.and_then(|r| r.unit.clone()),
            value: cell.good,
            base_unit: cell.quantity.base_unit(),
            age: cell
                .report
                .map(|report| report.age(now).as_secs_f64())
                .or_else(|| cell.last.as_ref().map(|(_, at)| seconds(*at))),
            usual_interval: cell.rhythm.usual().map(|usual| usual.median),
            lost_for: cell.lost.as_ref().map(|lost| seconds(lost.since)),
            problem: cell.problem().cloned(),
            unit_assumed: cell.unit_assumed,
        }
    };
    let fed = cells.iter().filter(|cell| !cell.feeds.is_empty());
    fed.map(report).collect()
}

/// That counters began without these inputs, and what to do.
pub(super) fn missed(inputs: &[Slot]) -> Option<Reason> {
    let keys: Vec<&str> = inputs.iter().map(|slot| slot.key).collect();
    let entities = inputs.iter().flat_map(|slot| &slot.entities);
    let entities: Vec<&str> = entities.map(|entity| &**entity).collect();
    (!keys.is_empty()).then(|| {
        Reason::Input(Input::Unseeded {
            list: entities.join(", ").into(),
            keys: keys.join(", ").into(),
        })
    })
}
