//! What Home Assistant's recorder knows of a power and of the energy counters beside it: mean and
//! growth, period by period.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use serde::Deserialize;

use super::{
    beside,
    discover::QueryError,
    home_assistant::{
        Access, Address,
        frames::{Outgoing, StatisticUnits},
        query::QueryConnection,
    },
};
use config::{HaTransport, PowerInput, SourceSettings};
use vocab::{EntityId, Period};

/// How far back, and in which steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Over a day in steps of 5 minutes.
    Day,
    /// Over a week in hours.
    Week,
}

/// A power and the counters beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// As it is, or would be, served; summed.
    pub power: Vec<PowerInput>,
    /// Counters of what is drawn, summed; empty: none.
    pub import: Vec<EntityId>,
    /// Counters of what is fed in, summed; empty: none.
    pub export: Vec<EntityId>,
}

/// One row of the recorder; times in ms, W and Wh as asked for.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Row {
    start: f64,
    #[serde(default)]
    mean: Option<f64>,
    #[serde(default)]
    change: Option<f64>,
}

type Statistics = HashMap<String, Vec<Row>>;

impl Look {
    const fn period(self) -> &'static str {
        match self {
            Self::Day => "5minute",
            Self::Week => "hour",
        }
    }

    const fn step_ms(self) -> i64 {
        match self {
            Self::Day => 300_000,
            Self::Week => 3_600_000,
        }
    }

    const fn back_s(self) -> f64 {
        match self {
            Self::Day => 86_400.0,
            Self::Week => 7.0 * 86_400.0,
        }
    }
}

impl Question {
    fn ids(&self) -> Vec<EntityId> {
        let power = self
            .power
            .iter()
            .flat_map(|p| p.import.iter().chain(&p.export));
        let all: BTreeSet<&EntityId> = power.chain(&self.import).chain(&self.export).collect();
        all.into_iter().cloned().collect()
    }

    /// Whether there is something to compare.
    #[must_use]
    pub fn can_be_asked(&self) -> bool {
        let counters = self.import.len() + self.export.len();
        counters > 0 && !self.power.is_empty()
    }

    fn periods(&self, found: &Statistics, step: i64) -> Vec<Period> {
        let by_start = |of: fn(&Row) -> Option<f64>| -> HashMap<&str, BTreeMap<i64, f64>> {
            let values = |rows: &[Row]| {
                rows.iter()
                    .filter_map(|r| Some((r.start as i64, of(r).filter(|v| v.is_finite())?)))
                    .collect()
            };
            found
                .iter()
                .map(|(id, rows)| (id.as_str(), values(rows)))
                .collect()
        };
        let (means, changes) = (by_start(|r| r.mean), by_start(|r| r.change));
        let sum =
            |ids: &[EntityId], from: &HashMap<&str, BTreeMap<i64, f64>>, at: i64| -> Option<f64> {
                ids.iter()
                    .map(|id| from.get(&**id)?.get(&at).copied())
                    .sum()
            };
        // A counter that fell was reset or replaced: its growth is not known.
        let grown = |ids: &[EntityId], at: i64| match ids {
            [] => Some(None),
            ids => sum(ids, &changes, at).filter(|wh| *wh >= 0.0).map(Some),
        };
        let starts: BTreeSet<i64> = means.values().flat_map(BTreeMap::keys).copied().collect();
        let mut periods = Vec::new();
        let mut before: Option<i64> = None;
        for at in starts {
            let power: Option<f64> = self
                .power
                .iter()
                .map(|p| Some(p.of(sum(&p.import, &means, at)?, sum(&p.export, &means, at)?)))
                .sum();
            if let (Some(watts), Some(import), Some(export)) =
                (power, grown(&self.import, at), grown(&self.export, at))
            {
                let after_gap = before.is_some_and(|before| at - before != step);
                periods.push(Period {
                    watts,
                    import,
                    export,
                    hours: step as f64 / 3_600_000.0,
                    after_gap,
                });
                before = Some(at);
            }
        }
        periods
    }
}

/// Asks what the recorder knows, a list of periods for each question. `now` is Unix time. What the
/// recorder does not keep, and anything at all over REST, gives none.
///
/// # Errors
/// Home Assistant could not be reached.
pub async fn ask(
    settings: &SourceSettings,
    access: &Access,
    questions: &[Question],
    look: Look,
    now: f64,
) -> Result<Vec<Vec<Period>>, QueryError> {
    if settings.ha_transport == HaTransport::Rest || !questions.iter().any(Question::can_be_asked) {
        return Ok(vec![Vec::new(); questions.len()]);
    }
    let (address, cadence, questions) = (
        Address::choose(settings, access)?,
        access.cadence,
        questions.to_vec(),
    );
    beside::ask(async move {
        let mut connection = QueryConnection::open(&address, &cadence).await?;
        let answers = over(&mut connection, &questions, look, now).await;
        connection.close().await;
        answers
    })
    .await
}

async fn over(
    connection: &mut QueryConnection,
    questions: &[Question],
    look: Look,
    now: f64,
) -> Result<Vec<Vec<Period>>, QueryError> {
    let mut answers = Vec::with_capacity(questions.len());
    let start_time = stamp(now - look.back_s());
    for question in questions {
        if !question.can_be_asked() {
            answers.push(Vec::new());
            continue;
        }
        let ids = question.ids();
        let statistic_ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        let asked = |id| {
            let (start_time, statistic_ids) = (&*start_time, &*statistic_ids);
            let units = StatisticUnits {
                power: "W",
                energy: "Wh",
            };
            Outgoing::Statistics {
                id,
                start_time,
                statistic_ids,
                period: look.period(),
                types: &["mean", "change"],
                units,
            }
            .frame()
        };
        answers.push(
            match connection
                .ask::<Statistics>("the recorder's statistics", asked)
                .await?
            {
                Ok(found) => question.periods(&found, look.step_ms()),
                Err(error) => {
                    tracing::debug!(%error, "the recorder's statistics cannot be read");
                    Vec::new()
                }
            },
        );
    }
    Ok(answers)
}

pub(super) fn stamp(unix: f64) -> String {
    let since = Duration::try_from_secs_f64(unix.max(0.0).floor()).unwrap_or_default();
    jiff::Timestamp::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn power(import: &str, export: &[&str], invert: bool) -> PowerInput {
        let export = export.iter().map(|id| id.parse().unwrap()).collect();
        PowerInput {
            invert,
            ..PowerInput::plain(vec![import.parse().unwrap()], export)
        }
    }

    #[test]
    fn rows_as_the_recorder_tells_them_become_periods() {
        let found: Statistics = serde_json::from_str(
            r#"{"sensor.in":[{"start":1795438800000,"end":1795439100000,"mean":null,"last_reset":null,"min":null,"sum":0.0,"max":null,"state":1000.0,"change":40.0},
                {"start":1795439100000,"change":-5.0},{"start":1795439400000,"change":60}],
               "sensor.p":[{"start":1795438800000,"end":1795439100000,"mean":-480.5,"min":-800.0,"max":1234.5,"change":null},
                {"start":1795439100000,"mean":-1.0},{"start":1795439400000,"mean":-720},{"start":1795439700000,"mean":1}]}"#,
        )
        .unwrap();
        let question = Question {
            power: vec![power("sensor.p", &[], true)],
            import: vec![EntityId::from_static("sensor.in")],
            export: Vec::new(),
        };
        let period = |watts, import, after_gap| Period {
            watts,
            import: Some(import),
            export: None,
            hours: 1.0 / 12.0,
            after_gap,
        };
        assert_eq!(
            question.periods(&found, 300_000),
            [period(480.5, 40.0, false), period(720.0, 60.0, true)]
        );
        let pair = Question {
            power: vec![power("sensor.p", &["sensor.none"], false)],
            ..question
        };
        assert_eq!(pair.periods(&found, 300_000), [], "half a pair is none");
        assert!(!Question::default().can_be_asked());
    }

    #[test]
    fn stamps_are_in_utc() {
        assert_eq!(stamp(1_795_438_800.9), "2026-11-23T13:00:00Z");
        assert_eq!(stamp(-5.0), "1970-01-01T00:00:00Z");
    }
}
