//! A back-test's result as a table and as the JSON that `--json` prints.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use super::metrics::Score;
use super::rolling::{Protocol, Report};
use super::{ModelKind, cost};

/// A back-test's result, to be shown.
#[derive(Debug, Serialize)]
pub struct Shown {
    file: String,
    step: u32,
    window: usize,
    horizon: usize,
    origins: usize,
    #[serde(serialize_with = "by_name")]
    models: Vec<Row>,
    peak_rss_mb: Option<f64>,
}

/// One model's figures; None where one does not apply.
#[derive(Debug, Serialize)]
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

fn by_name<S: Serializer>(rows: &[Row], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(rows.iter().map(|row| (row.name, row)))
}

impl Shown {
    /// Of a file's back-test.
    #[must_use]
    pub fn new(file: &str, protocol: &Protocol, report: &Report) -> Self {
        let row = |name, score: &Score, train_s| {
            let m = score.metrics();
            Row {
                name,
                mae: m.mae,
                rmse: m.rmse,
                skill_mae: m.skill,
                skill_rmse: m.skill_rmse,
                pinball: m.pinball,
                coverage: m.coverage,
                train_s,
            }
        };
        let mut rows: Vec<Row> = report
            .kinds
            .iter()
            .map(|kind| {
                let k = kind.index();
                row(kind.name(), &report.test.scores[k], Some(report.seconds[k]))
            })
            .collect();
        rows.push(row("chosen", &report.test.chosen, None));
        Self {
            file: file.to_owned(),
            step: protocol.horizon.step,
            window: protocol.horizon.window,
            horizon: protocol.horizon.steps,
            origins: report.test.origins,
            models: rows,
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
        for row in &self.models {
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
