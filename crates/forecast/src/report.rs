//! A back-test's result as a table and as the JSON that `--json` prints.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::metrics::{Mape, Score};
use super::rolling::{Protocol, Report};
use super::{Metrics, ModelKind, cost};

/// A back-test's result, to be shown.
#[derive(Debug, serde::Serialize)]
pub struct Shown {
    file: String,
    step: u32,
    window: usize,
    horizon: usize,
    origins: usize,
    models: Rows,
    peak_rss_mb: Option<f64>,
}

#[derive(Debug)]
struct Rows(Vec<Row>);

/// One model's figures; None where one does not apply.
#[derive(Debug, serde::Serialize)]
struct Row {
    #[serde(skip)]
    name: &'static str,
    mae: Option<f64>,
    rmse: Option<f64>,
    skill_mae: Option<f64>,
    skill_rmse: Option<f64>,
    pinball: Option<f64>,
    coverage: Option<f64>,
    train_s: Option<f64>,
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for row in &self.0 {
            map.serialize_entry(row.name, row)?;
        }
        map.end()
    }
}

impl Shown {
    /// Of a file's back-test.
    #[must_use]
    pub fn new(file: &str, protocol: &Protocol, report: &Report) -> Self {
        let row = |name, score: &Score, train_s| {
            let Metrics {
                mae,
                rmse,
                skill,
                skill_rmse,
                pinball,
                coverage,
                ..
            } = score.metrics(&Mape::default());
            Row {
                name,
                mae,
                rmse,
                skill_mae: skill,
                skill_rmse,
                pinball,
                coverage,
                train_s,
            }
        };
        let mut rows: Vec<Row> = report
            .kinds
            .iter()
            .map(|kind| {
                let k = kind.index();
                row(kind.name(), &report.test.scores[k], report.seconds[k])
            })
            .collect();
        rows.push(row("chosen", &report.test.chosen, None));
        Self {
            file: file.to_owned(),
            step: protocol.horizon.step,
            window: protocol.horizon.window,
            horizon: protocol.horizon.steps,
            origins: report.test.origins,
            models: Rows(rows),
            peak_rss_mb: cost::peak_rss_mb(),
        }
    }

    /// A table for people.
    #[must_use]
    pub fn table(&self, report: &Report) -> String {
        let mut text = format!(
            "{}: {} forecasts of {} × {} s, windows of {} steps, out of sample\n\n",
            self.file, self.origins, self.horizon, self.step, self.window
        );
        let _ = writeln!(
            text,
            "{:<12} {:>9} {:>9} {:>10} {:>10} {:>9} {:>9} {:>8}",
            "model",
            "MAE W",
            "RMSE W",
            "skill MAE",
            "skill RMSE",
            "pinball W",
            "coverage",
            "train s"
        );
        let number =
            |x: Option<f64>, digits: usize| x.map_or("–".to_owned(), |x| format!("{x:.digits$}"));
        let percent =
            |x: Option<f64>| x.map_or("–".to_owned(), |x| format!("{:+.1} %", 100.0 * x));
        for row in &self.models.0 {
            let _ = writeln!(
                text,
                "{:<12} {:>9} {:>9} {:>10} {:>10} {:>9} {:>9} {:>8}",
                row.name,
                number(row.mae, 1),
                number(row.rmse, 1),
                percent(row.skill_mae),
                percent(row.skill_rmse),
                number(row.pinball, 1),
                row.coverage
                    .map_or("–".to_owned(), |c| format!("{:.1} %", 100.0 * c)),
                number(row.train_s, 2),
            );
        }
        let spoke = ModelKind::ALL
            .iter()
            .zip(report.test.spoke)
            .filter(|(_, days)| *days > 0)
            .map(|(kind, days)| format!("{kind} {days}"));
        let _ = write!(
            text,
            "\ndays spoken for by: {}; peak memory {} MB",
            spoke.collect::<Vec<_>>().join(", "),
            number(self.peak_rss_mb, 1)
        );
        text
    }
}
