//! `virtual-shelly forecast`: the next values of a recorded series.

use std::fmt::Write as _;

use clap::{ArgMatches, Command};
use serde::Serialize;

use super::cli::{Input, common_args, series_args, with_progress};
use super::forecaster::{self, HorizonForecast};
use super::grid::Grid;
use super::horizon::HorizonId;
use super::plot::{self, Picture};
use super::trainer::{Settings, TrainedHorizon, train_horizon};
use super::{Metric, ModelKind, at_least, csv_file};

/// Windows of the past drawn before the forecast.
const DRAWN_WINDOWS: usize = 3;

/// The command `forecast`, to be mounted by `main`.
#[must_use]
pub fn forecast_command() -> Command {
    Command::new("forecast")
        .about("Learn from a recorded series and print its next values")
        .args(series_args())
        .args(common_args())
}

#[derive(Serialize)]
struct Printed<'a> {
    file: &'a str,
    step: u32,
    model: ModelKind,
    skill: Option<f64>,
    now: f32,
    values: &'a [forecaster::Point],
}

/// Run `forecast`; gives what is to be printed.
///
/// # Errors
/// One line: what failed, with which value.
pub fn run_forecast(args: &ArgMatches) -> anyhow::Result<String> {
    let input = Input::of(args);
    let mut recorded = csv_file::read(&input.file, &input.choice)?;
    let grid = &mut recorded.grid;
    let horizon = input.horizon(grid.step).check()?;
    // Values missing at the end: go on from the last one.
    let known = grid
        .w
        .iter()
        .rposition(|w| w.is_finite())
        .map_or(0, |last| last + 1);
    grid.w.truncate(known);
    at_least(horizon.window + horizon.steps, grid.known())?;
    let settings = Settings {
        metric: input.metric,
        seed: input.seed,
        models: ModelKind::ALL.to_vec(),
        ..Settings::default()
    };
    let trained =
        with_progress(|job| train_horizon(HorizonId::Minute, horizon, grid, &settings, None, job))?;
    let forecast = forecaster::once(&trained, &grid.w, grid.ts(known - 1))?;
    if let Some(file) = &input.plot {
        plot::write(file, &picture(&input.name(), &forecast, grid))?;
    }
    if input.json {
        let printed = Printed {
            file: &input.name(),
            step: forecast.step,
            model: forecast.model,
            skill: trained
                .metrics()
                .filter(|_| forecast.model == trained.model())
                .and_then(|m| m.skill),
            now: forecast.now,
            values: &forecast.points,
        };
        return Ok(serde_json::to_string(&printed)?);
    }
    Ok(table(
        &input.name(),
        &forecast,
        &trained,
        recorded.timed,
        input.metric,
    ))
}

fn table(
    file: &str,
    forecast: &HorizonForecast,
    trained: &TrainedHorizon,
    timed: bool,
    metric: Metric,
) -> String {
    let mut text = format!(
        "{file}: now {:.0} W; model {}{}",
        forecast.now,
        forecast.model,
        worth(forecast, trained, metric)
    );
    let _ = write!(
        text,
        "\n\n{:<20} {:>9} {:>9} {:>9}",
        "from", "W", "P10", "P90"
    );
    for point in &forecast.points {
        let when = jiff::Timestamp::from_second(point.ts)
            .ok()
            .filter(|_| timed)
            .map_or_else(
                || format!("+{} s", point.ts - forecast.origin),
                |t| t.to_string(),
            );
        let end = |w: Option<f32>| w.map_or("–".to_owned(), |w| format!("{w:.0}"));
        let _ = write!(
            text,
            "\n{when:<20} {:>9.0} {:>9} {:>9}",
            point.w,
            end(point.lo),
            end(point.hi)
        );
    }
    text
}

/// Why this model speaks, and what its line is worth.
fn worth(forecast: &HorizonForecast, trained: &TrainedHorizon, metric: Metric) -> String {
    let by = match metric {
        Metric::Mae => "closer than",
        Metric::Rmse => "smaller in its big misses (RMSE) than",
    };
    match trained.metrics().and_then(|m| m.skill_by(metric)) {
        _ if !trained.compared() => {
            ": too little data to compare models, two days are needed".to_owned()
        }
        _ if forecast.model != trained.model() => {
            format!(
                ": stands in for {}, which finds a gap among the newest values",
                trained.model()
            )
        }
        Some(skill) if forecast.model != ModelKind::LastValue => {
            format!(
                ", {:.1} % {by} the last value over the last days of the file",
                100.0 * skill
            )
        }
        _ => ": nothing beat it over the last days of the file".to_owned(),
    }
}

fn picture(file: &str, forecast: &HorizonForecast, grid: &Grid) -> Picture {
    let long = u64::from(forecast.step) * forecast.points.len() as u64 >= 3600;
    let unit = f64::from(forecast.step) / if long { 3600.0 } else { 60.0 };
    let shown = (DRAWN_WINDOWS * forecast.points.len()).min(grid.w.len());
    let past = &grid.w[grid.w.len() - shown..];
    let start = 1.0 - shown as f64;
    let from_now = std::iter::once((0.0, forecast.now, Some((forecast.now, forecast.now))));
    let next = forecast
        .points
        .iter()
        .enumerate()
        .map(|(h, p)| ((h + 1) as f64 * unit, p.w, p.lo.zip(p.hi)));
    Picture {
        title: format!(
            "{file}: the next {} steps, model {}",
            forecast.points.len(),
            forecast.model
        ),
        unit: if long { "h from now" } else { "min from now" }.to_owned(),
        came: past
            .iter()
            .enumerate()
            .filter(|(_, w)| w.is_finite())
            .map(|(i, w)| ((start + i as f64) * unit, *w))
            .collect(),
        forecasts: vec![from_now.chain(next).collect()],
    }
}
