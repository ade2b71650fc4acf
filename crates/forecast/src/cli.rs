//! `virtual-shelly backtest`: what each model would have been worth on a recorded series.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use indicatif::{ProgressBar, ProgressStyle};

use super::csv_file::{self, Choice};
use super::horizon::Horizon;
use super::plot::{self, Picture};
use super::report::Shown;
use super::rolling::{self, Drawn, Protocol};
use super::{Job, Metric, ModelKind, Progress};

/// Forecasts drawn by `--plot`.
const DRAWN: usize = 12;

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// The arguments that say which series to read; shared with `forecast`.
#[must_use]
pub(super) fn series_args() -> [Arg; 9] {
    let steps = |name, help| {
        option(name, "STEPS", help)
            .value_parser(value_parser!(u64).range(2..=300))
            .default_value("30")
    };
    [
        option(
            "csv",
            "FILE",
            "File with ts,w (Unix s, W) or one value a line",
        )
        .required(true)
        .value_parser(value_parser!(PathBuf)),
        option("step", "SECONDS", "Length of a step; must divide a day")
            .value_parser(value_parser!(u32).range(1..=43_200)),
        steps("window", "Steps looked back at"),
        steps("horizon", "Steps forecast"),
        option("column", "NAME", "Column of the power [default: w]"),
        option(
            "minus",
            "NAME",
            "Column to take off it, empty = 0 (net = load − PV)",
        ),
        flag(
            "fill-gaps",
            "Fill gaps linearly; else windows that touch one are left out",
        ),
        option("skip-rows", "ROWS", "Rows left out at the start")
            .value_parser(value_parser!(u64))
            .default_value("0"),
        option("plot", "FILE.svg", "Draw the result").value_parser(value_parser!(PathBuf)),
    ]
}

/// The arguments that both commands end with.
#[must_use]
pub(super) fn common_args() -> [Arg; 3] {
    [
        option("metric", "metric", "What the automatic choice goes by")
            .value_parser(["mae", "rmse"])
            .default_value("mae"),
        option("seed", "seed", "Seed of the perceptron")
            .value_parser(value_parser!(u64))
            .default_value("42"),
        flag("json", "Print JSON"),
    ]
}

/// The command `backtest`, to be mounted by `main`.
#[must_use]
pub fn backtest_command() -> Command {
    let days = |name, help| {
        option(name, "DAYS", help)
            .required(true)
            .value_parser(value_parser!(u64).range(1..=4000))
    };
    Command::new("backtest")
        .about("Train on the first days of a recorded series, test on the following ones")
        .args(series_args())
        .mut_arg("step", |step| step.required(true))
        .arg(days("train-days", "Days trained on"))
        .arg(days("test-days", "Days tested on"))
        .arg(
            option("stride", "STEPS", "Steps between two forecasts")
                .value_parser(value_parser!(u64).range(1..=100_000))
                .default_value("15"),
        )
        .args(common_args())
}

/// Run `backtest`; gives what is to be printed.
///
/// # Errors
/// One line: what failed, with which value.
pub fn run_backtest(args: &ArgMatches) -> anyhow::Result<String> {
    let input = Input::of(args);
    let recorded = csv_file::read(&input.file, &input.choice)?;
    let protocol = Protocol {
        horizon: input.horizon(recorded.grid.step),
        train_days: whole(args, "train-days"),
        test_days: whole(args, "test-days"),
        stride: whole(args, "stride"),
        metric: input.metric,
        models: ModelKind::ALL.to_vec(),
        seed: input.seed,
        drawn: if input.plot.is_some() { DRAWN } else { 0 },
    };
    let report = with_progress(|job| rolling::backtest(&recorded.grid.w, &protocol, job))?;
    let shown = Shown::new(&input.name(), &protocol, &report);
    if let Some(file) = &input.plot {
        let mae = report.test.chosen.mae().unwrap_or(f64::NAN);
        let title = format!(
            "{}: automatic choice, MAE {mae:.1} W, last forecasts of the test",
            input.name()
        );
        let drawn = Vec::from(report.test.drawn.clone());
        plot::write(file, &picture(title, protocol.horizon, &drawn))?;
    }
    Ok(if input.json {
        serde_json::to_string(&shown)?
    } else {
        shown.table(&report)
    })
}

/// The arguments of [`series_args`] and [`common_args`].
pub(super) struct Input {
    pub file: PathBuf,
    pub choice: Choice,
    pub metric: Metric,
    pub seed: u64,
    pub json: bool,
    pub plot: Option<PathBuf>,
    window: usize,
    steps: usize,
}

impl Input {
    pub(super) fn of(args: &ArgMatches) -> Self {
        let text = |name: &str| args.get_one::<String>(name).cloned();
        let path = |name: &str| args.get_one::<PathBuf>(name).cloned();
        Self {
            file: path("csv").unwrap_or_default(),
            choice: Choice {
                column: text("column"),
                minus: text("minus"),
                skip_rows: whole(args, "skip-rows"),
                fill_gaps: args.get_flag("fill-gaps"),
                step: args.get_one::<u32>("step").copied(),
            },
            metric: if text("metric").as_deref() == Some("rmse") {
                Metric::Rmse
            } else {
                Metric::Mae
            },
            seed: args.get_one::<u64>("seed").copied().unwrap_or(42),
            json: args.get_flag("json"),
            plot: path("plot"),
            window: whole(args, "window"),
            steps: whole(args, "horizon"),
        }
    }

    pub(super) const fn horizon(&self, step: u32) -> Horizon {
        Horizon {
            step,
            window: self.window,
            steps: self.steps,
        }
    }

    pub(super) fn name(&self) -> String {
        let name = self.file.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

fn whole(args: &ArgMatches, name: &str) -> usize {
    args.get_one::<u64>(name)
        .copied()
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(0)
}

/// Run something long with a progress bar on a terminal, none elsewhere.
pub(super) fn with_progress<T>(run: impl FnOnce(&mut Job<'_>) -> T) -> T {
    // indicatif draws on stderr, and only on a terminal.
    let bar = ProgressBar::new(1000);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} % {msg}") {
        bar.set_style(style);
    }
    let never = AtomicBool::new(false);
    let mut report = |progress: Progress| {
        bar.set_position((1000.0 * progress.fraction) as u64);
        bar.set_message(progress.stage);
    };
    let result = run(&mut Job::new(&never, &mut report));
    bar.finish_and_clear();
    result
}

fn picture(title: String, horizon: Horizon, drawn: &[Drawn]) -> Picture {
    let unit = if horizon.long() { 3600.0 } else { 60.0 };
    let first = drawn.first().map_or(0, |d| d.index);
    let time = |d: &Drawn| (d.index - first) as f64 * f64::from(horizon.step) / unit;
    Picture {
        title,
        unit: if horizon.long() { "h" } else { "min" }.to_owned(),
        came: drawn.iter().map(|d| (time(d), d.came)).collect(),
        forecasts: drawn
            .chunk_by(|a, b| b.lead == a.lead + 1)
            .map(|one| one.iter().map(|d| (time(d), d.line, d.band)).collect())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_commands_arguments_are_consistent() {
        backtest_command().debug_assert();
        super::super::cli_forecast::forecast_command().debug_assert();
    }

    #[test]
    fn a_pinned_call_is_understood() {
        let call = "backtest --csv f.csv --step 1800 --window 48 --horizon 48 --stride 1 --skip-rows 246 \
                    --train-days 60 --test-days 195 --column load_w --minus pv_w --fill-gaps --json";
        let args = backtest_command()
            .try_get_matches_from(call.split_whitespace())
            .unwrap();
        let input = Input::of(&args);
        assert_eq!(input.horizon(1800), Horizon::new(1800, 48, 48));
        assert_eq!(input.choice.skip_rows, 246);
        assert!(input.choice.fill_gaps);
        assert!(input.json);
        assert!(
            backtest_command()
                .try_get_matches_from(["backtest", "--csv", "f"])
                .is_err()
        );
    }

    #[test]
    fn forecasts_that_follow_one_another_are_drawn_apart() {
        let of = |index, lead| Drawn {
            index,
            lead,
            came: 1.0,
            line: 2.0,
            band: None,
        };
        let horizon = Horizon::new(60, 2, 2);
        let got = picture(
            String::new(),
            horizon,
            &[of(10, 1), of(11, 2), of(12, 1), of(13, 2)],
        );
        assert_eq!(got.forecasts.len(), 2);
        assert_eq!(got.came.last(), Some(&(3.0, 1.0)));
    }
}
