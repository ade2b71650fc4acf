//! What Home Assistant's recorder knows of a power and of the energy counters beside it: mean and
//! growth, period by period.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;

use super::{
    discover::QueryError,
    home_assistant::{
        Access,
        command::{Command, StatisticUnits},
        query::{self, QueryConnection},
    },
    statistics::{self, Row, Statistics, stamp},
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

impl Look {
    /// The step's name to the recorder, the step, and how far back; s.
    const fn steps(self) -> (&'static str, i64, f64) {
        match self {
            Self::Day => ("5minute", 300, 86_400.0),
            Self::Week => ("hour", 3600, 7.0 * 86_400.0),
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
        let sum = |ids: &[EntityId], value: fn(&Row) -> Option<f64>, at: i64| -> Option<f64> {
            let values = ids.iter().map(|id| value(found.get(&**id)?.get(&at)?));
            values.sum()
        };
        let mean = |ids: &[EntityId], at: i64| sum(ids, |row| row.mean, at);
        // A counter that fell was reset or replaced: its growth is not known.
        let grown = |ids: &[EntityId], at: i64| match ids {
            [] => Some(None),
            ids => sum(ids, |row| row.change, at)
                .filter(|wh| *wh >= 0.0)
                .map(Some),
        };
        let starts: BTreeSet<i64> = found.values().flat_map(BTreeMap::keys).copied().collect();
        let mut periods = Vec::new();
        let mut before: Option<i64> = None;
        for at in starts {
            let power: Option<f64> = self
                .power
                .iter()
                .map(|p| Some(p.of(mean(&p.import, at)?, mean(&p.export, at)?)))
                .sum();
            if let (Some(watts), Some(import), Some(export)) =
                (power, grown(&self.import, at), grown(&self.export, at))
            {
                let after_gap = before.is_some_and(|before| at - before != step);
                periods.push(Period {
                    watts,
                    import,
                    export,
                    hours: step as f64 / 3600.0,
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
    let questions = questions.to_vec();
    query::ask(settings, access, move |connection| {
        async move {
            let mut answers = Vec::with_capacity(questions.len());
            for question in questions {
                answers.push(periods(connection, &question, look, now).await?);
            }
            Ok(answers)
        }
        .boxed()
    })
    .await
}

async fn periods(
    connection: &mut QueryConnection,
    asked: &Question,
    look: Look,
    now: f64,
) -> Result<Vec<Period>, QueryError> {
    if !asked.can_be_asked() {
        return Ok(Vec::new());
    }
    let ids = asked.ids();
    let (period, step, back) = look.steps();
    let question = Command::Statistics {
        start_time: &stamp(now - back),
        statistic_ids: &ids.iter().map(|id| &**id).collect::<Vec<_>>(),
        period,
        types: &["mean", "change"],
        units: StatisticUnits {
            power: "W",
            energy: "Wh",
        },
    };
    let what = "the recorder's statistics";
    Ok(match statistics::ask(connection, what, &question).await? {
        Ok(found) => asked.periods(&found, step),
        Err(error) => {
            tracing::debug!(%error, "the recorder's statistics cannot be read");
            Vec::new()
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::statistics::tests::statistics;

    fn power(import: &str, export: &[&str], invert: bool) -> PowerInput {
        let export = export.iter().map(|id| id.parse().unwrap()).collect();
        PowerInput {
            invert,
            ..PowerInput::plain(vec![import.parse().unwrap()], export)
        }
    }

    #[test]
    fn rows_as_the_recorder_tells_them_become_periods() {
        let found = statistics(
            r#"{"sensor.in":[{"start":1795438800000,"end":1795439100000,"mean":null,"last_reset":null,"min":null,"sum":0.0,"max":null,"state":1000.0,"change":40.0},
                {"start":1795439100000,"change":-5.0},{"start":1795439400000,"change":60}],
               "sensor.p":[{"start":1795438800000,"end":1795439100000,"mean":-480.5,"min":-800.0,"max":1234.5,"change":null},
                {"start":1795439100000,"mean":-1.0},{"start":1795439400000,"mean":-720},{"start":1795439700000,"mean":1}]}"#,
        );
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
            question.periods(&found, 300),
            [period(480.5, 40.0, false), period(720.0, 60.0, true)]
        );
        let pair = Question {
            power: vec![power("sensor.p", &["sensor.none"], false)],
            ..question
        };
        assert_eq!(pair.periods(&found, 300), [], "half a pair is none");
        assert!(!Question::default().can_be_asked());
    }
}
