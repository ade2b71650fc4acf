//! Statistics of Home Assistant's recorder.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde::Deserialize;

use super::home_assistant::{
    command::{Command, StatisticUnits},
    query::{QueryConnection, QueryError},
};

/// What is asked of the recorder.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// In words.
    pub(super) what: &'static str,
    pub(super) ids: &'a [&'a str],
    /// Unix s.
    pub(super) since: f64,
    /// `5minute`, `hour`.
    pub(super) period: &'static str,
    /// `mean`, `change`.
    pub(super) types: &'a [&'a str],
    /// The unit of energies; powers are in W.
    pub(super) energy: &'static str,
}

/// Of each id its rows by their starts, Unix s.
pub(super) type Statistics = HashMap<String, BTreeMap<i64, Row>>;

/// One row of the recorder.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Row {
    /// ms
    start: f64,
    #[serde(default)]
    pub(super) mean: Option<f64>,
    #[serde(default)]
    pub(super) change: Option<f64>,
}

/// Asks the recorder. Errors as those of [`QueryConnection::ask`].
pub(super) async fn ask(
    connection: &mut QueryConnection,
    wanted: Wanted<'_>,
) -> Result<Result<Statistics, QueryError>, QueryError> {
    let command = Command::Statistics {
        start_time: &stamp(wanted.since),
        statistic_ids: wanted.ids,
        period: wanted.period,
        types: wanted.types,
        units: StatisticUnits {
            power: "W",
            energy: wanted.energy,
        },
    };
    let rows = connection.ask(wanted.what, &command).await?;
    Ok(rows.map(by_start))
}

fn by_start(told: HashMap<String, Vec<Row>>) -> Statistics {
    let start = |row: Row| ((row.start / 1000.0) as i64, row);
    let of_one = |(id, rows): (_, Vec<Row>)| (id, rows.into_iter().map(start).collect());
    told.into_iter().map(of_one).collect()
}

fn stamp(unix: f64) -> String {
    let since = Duration::try_from_secs_f64(unix.max(0.0).floor()).unwrap_or_default();
    jiff::Timestamp::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What the recorder told.
    pub fn statistics(json: &str) -> Statistics {
        by_start(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn stamps_are_in_utc() {
        assert_eq!(stamp(1_795_438_800.9), "2026-11-23T13:00:00Z");
        assert_eq!(stamp(-5.0), "1970-01-01T00:00:00Z");
    }
}
