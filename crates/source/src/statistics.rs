//! Statistics of Home Assistant's recorder.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde::Deserialize;

use super::home_assistant::{
    command::Command,
    query::{QueryConnection, QueryError},
};

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

/// Asks the recorder, by [`Command::Statistics`]. Errors as those of [`QueryConnection::ask`].
pub(super) async fn ask(
    connection: &mut QueryConnection,
    what: &'static str,
    question: &Command<'_>,
) -> Result<Result<Statistics, QueryError>, QueryError> {
    Ok(connection.ask(what, question).await?.map(by_start))
}

fn by_start(told: HashMap<String, Vec<Row>>) -> Statistics {
    let start = |row: Row| ((row.start / 1000.0) as i64, row);
    let of_one = |(id, rows): (_, Vec<Row>)| (id, rows.into_iter().map(start).collect());
    told.into_iter().map(of_one).collect()
}

/// Unix s, as the recorder wants it.
pub(super) fn stamp(unix: f64) -> String {
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
