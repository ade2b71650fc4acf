//! What an event of `subscribe_entities` says of each entity.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{frames::Unit, loose::Loose};
use vocab::EntityId;

/// The event of `subscribe_entities`: added, changed, removed.
#[derive(Debug, Deserialize)]
pub(super) struct EntitiesEvent<'a> {
    #[serde(default, borrow)]
    a: HashMap<Cow<'a, str>, &'a RawValue>,
    #[serde(default, borrow)]
    c: HashMap<Cow<'a, str>, &'a RawValue>,
    #[serde(default, borrow)]
    r: Vec<Cow<'a, str>>,
}

/// A state: all of it, or what of it changed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CompressedState {
    s: Option<String>,
    a: Unit,
    lc: Option<Loose>,
    lu: Option<Loose>,
}

impl CompressedState {
    /// The later stamp: `lu` is left out where it equals `lc`.
    fn at(&self) -> Option<f64> {
        [&self.lc, &self.lu]
            .into_iter()
            .filter_map(|stamp| stamp.as_ref()?.as_f64())
            .filter(|at| at.is_finite())
            .reduce(f64::max)
    }
}

#[derive(Deserialize)]
struct Diff {
    #[serde(default, rename = "+")]
    plus: CompressedState,
    #[serde(default, rename = "-")]
    minus: Minus,
}

#[derive(Default, Deserialize)]
struct Minus {
    #[serde(default)]
    a: Vec<String>,
}

/// A new unit, if an event says anything about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnitChange {
    Same,
    Now(Option<String>),
}

/// What an entities event says of one entity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EntityChange {
    pub(super) entity: EntityId,
    pub(super) change: Change,
}

/// See [`EntityChange`]. `at` is Home Assistant's stamp of the last report, Unix seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Added {
        state: String,
        unit: Option<String>,
        at: Option<f64>,
    },
    /// `reported`: its state was, not its attributes alone.
    Changed {
        state: Option<String>,
        unit: UnitChange,
        reported: bool,
        at: Option<f64>,
    },
    Removed,
}

impl EntitiesEvent<'_> {
    /// All it says, in its order: added, changed, removed; entries of another shape are counted.
    pub(super) fn told(self) -> (Vec<EntityChange>, usize) {
        let all = self.a.len() + self.c.len() + self.r.len();
        let added = self.a.into_iter().map(|(id, raw)| (id, added(raw)));
        let changed = self.c.into_iter().map(|(id, raw)| (id, changed(raw)));
        let removed = self.r.into_iter().map(|id| (id, Some(Change::Removed)));
        let told: Vec<EntityChange> = added
            .chain(changed)
            .chain(removed)
            .filter_map(|(id, change)| {
                Some(EntityChange {
                    entity: id.parse().ok()?,
                    change: change?,
                })
            })
            .collect();
        let bad = all - told.len();
        (told, bad)
    }
}

fn added(raw: &RawValue) -> Option<Change> {
    let state: CompressedState = serde_json::from_str(raw.get()).ok()?;
    Some(Change::Added {
        unit: state.a.unit().map(str::to_owned),
        at: state.at(),
        state: state.s?,
    })
}

fn changed(raw: &RawValue) -> Option<Change> {
    let Diff { plus, minus } = serde_json::from_str(raw.get()).ok()?;
    let unit = if plus.a.is_told() {
        UnitChange::Now(plus.a.unit().map(str::to_owned))
    } else if minus.a.iter().any(|name| name == "unit_of_measurement") {
        UnitChange::Now(None)
    } else {
        UnitChange::Same
    };
    Some(Change::Changed {
        unit,
        // A forced update of the same value carries `lc` alone.
        reported: plus.s.is_some() || plus.lc.is_some(),
        at: plus.at(),
        state: plus.s,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(event: &str) -> (Vec<EntityChange>, usize) {
        serde_json::from_str::<EntitiesEvent>(event).unwrap().told()
    }

    #[test]
    fn recorded_events_say_what_they_said() {
        let stamp = |text: &str| serde_json::from_str::<f64>(text).ok();
        let added = |state: &str, unit: Option<&str>, at| Change::Added {
            state: state.to_owned(),
            unit: unit.map(str::to_owned),
            at,
        };
        let changed = |state: Option<&str>, unit, reported, at| Change::Changed {
            state: state.map(str::to_owned),
            unit,
            reported,
            at,
        };
        for (event, expected) in [
            (
                r#"{"a":{"sensor.x":{"s":"1234.5","a":{"state_class":"measurement","unit_of_measurement":"W","device_class":"power","friendly_name":"Grid power"},"c":{"id":"01M8","parent_id":null,"user_id":"b116"},"lc":1795439063.0075302}}}"#,
                added("1234.5", Some("W"), stamp("1795439063.0075302")),
            ),
            // A unit that is no text is none.
            (
                r#"{"a":{"sensor.x":{"s":"1","a":{"unit_of_measurement":7}}}}"#,
                added("1", None, None),
            ),
            (
                r#"{"c":{"sensor.x":{"+":{"s":"-800.0","lc":1795439063.7176902,"c":"01M8"}}}}"#,
                changed(
                    Some("-800.0"),
                    UnitChange::Same,
                    true,
                    stamp("1795439063.7176902"),
                ),
            ),
            (
                r#"{"c":{"sensor.x":{"+":{"lu":1795439065.8350127,"c":"01M8","a":{"unit_of_measurement":"kW"}},"-":{"a":["state_class"]}}}}"#,
                changed(
                    None,
                    UnitChange::Now(Some("kW".into())),
                    false,
                    stamp("1795439065.8350127"),
                ),
            ),
            (
                r#"{"c":{"sensor.x":{"+":{"lu":1.5},"-":{"a":["unit_of_measurement"]}}}}"#,
                changed(None, UnitChange::Now(None), false, Some(1.5)),
            ),
            (
                r#"{"c":{"sensor.x":{"+":{"lc":1795439067.2449274,"c":"01M8"}}}}"#,
                changed(None, UnitChange::Same, true, stamp("1795439067.2449274")),
            ),
            (
                r#"{"c":{"sensor.x":{"-":{"a":["icon"]}}}}"#,
                changed(None, UnitChange::Same, false, None),
            ),
            (r#"{"r":["sensor.x"]}"#, Change::Removed),
        ] {
            let expected = EntityChange {
                entity: EntityId::from_static("sensor.x"),
                change: expected,
            };
            assert_eq!(told(event), (vec![expected], 0), "{event}");
        }
        assert_eq!(told(r#"{"a":{}}"#), (vec![], 0));
    }

    #[test]
    fn one_odd_entity_does_not_cost_the_others() {
        let ids = |event: &str| {
            let (told, bad) = told(event);
            let ids: Vec<String> = told.iter().map(|told| told.entity.to_string()).collect();
            (ids.join(" "), bad)
        };
        let odd_values = r#"{"a":{"sensor.odd":{"s":5},"sensor.good":{"s":"1","a":{"unit_of_measurement":7}}},
            "c":{"sensor.odd":7}}"#;
        assert_eq!(ids(odd_values), ("sensor.good".to_owned(), 2));
        let odd_ids = r#"{"a":{"sensor._x":{"s":"1"},"sensor.a":{"s":"1"}},"c":{"sensor.x__y":{"+":{"s":"2"}},
            "sensor.b":{"+":{"s":"2"}}},"r":["sensor","sensor.c"]}"#;
        assert_eq!(ids(odd_ids), ("sensor.a sensor.b sensor.c".to_owned(), 3));
    }
}
