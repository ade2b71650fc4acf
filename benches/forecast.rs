//! The forecast's bars (`docs/decisions.md#bars`) on recorded files, as ratios against their floors
//! in the same run: last value, reference columns, and the time of a naive pass.
//!
//! `FORECAST_DATA=DIR cargo bench -p benches forecast` takes the whole files of that folder
//! (`synth_*_2s.csv`, `uci_house_1min.csv`, `emhass_house_30min.csv`; missing ones are skipped);
//! without it the committed slices are used, for which there is no reference column.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use virtual_shelly::forecast::csv_file::{self, Choice};
use virtual_shelly::forecast::mlp::{self, Mlp};
use virtual_shelly::forecast::neighbours::{Neighbours, Spread};
use virtual_shelly::forecast::rolling::{Protocol, Report, backtest};
use virtual_shelly::forecast::{Horizon, Job, Metric, Metrics, ModelKind, cost};

/// A file, how it is read and tested, and what the references reached on it.
struct Case {
    file: &'static str,
    kind: &'static str,
    column: Option<&'static str>,
    minus: Option<&'static str>,
    skip_rows: usize,
    horizon: Horizon,
    train_days: usize,
    test_days: usize,
    stride: usize,
    /// RMSE of scikit-learn's perceptron and MAE of its neighbours, W.
    sklearn: Option<(f64, f64)>,
    /// RMSE of the reference ridge blend, W.
    ridge: Option<f64>,
}

const TWO_SECONDS: Horizon = Horizon::new(2, 30, 30);
const MINUTES: Horizon = Horizon::new(60, 30, 15);
const HALF_HOURS: Horizon = Horizon::new(1800, 48, 48);

const fn synthetic(
    file: &'static str,
    sklearn: Option<(f64, f64)>,
    train_days: usize,
    test_days: usize,
) -> Case {
    Case {
        file,
        kind: "SYNTHETIC",
        column: None,
        minus: None,
        skip_rows: 0,
        horizon: TWO_SECONDS,
        train_days,
        test_days,
        stride: 15,
        sklearn,
        ridge: None,
    }
}

const fn emhass(
    file: &'static str,
    minus: Option<&'static str>,
    skip_rows: usize,
    test_days: usize,
    ridge: Option<f64>,
) -> Case {
    Case {
        file,
        kind: "REAL",
        column: Some("load_w"),
        minus,
        skip_rows,
        horizon: HALF_HOURS,
        train_days: 60,
        test_days,
        stride: 1,
        sklearn: None,
        ridge,
    }
}

const WHOLE: [Case; 6] = [
    synthetic("synth_plain_2s.csv", Some((193.0, 35.1)), 5, 2),
    synthetic("synth_pv_2s.csv", Some((450.9, 145.5)), 5, 2),
    synthetic("synth_pvbat_2s.csv", Some((323.9, 101.2)), 5, 2),
    Case {
        file: "uci_house_1min.csv",
        kind: "REAL",
        column: None,
        minus: None,
        skip_rows: 396,
        horizon: MINUTES,
        train_days: 20,
        test_days: 6,
        stride: 3,
        sklearn: Some((629.4, 280.8)),
        ridge: None,
    },
    emhass("emhass_house_30min.csv", None, 246, 195, Some(591.0)),
    emhass(
        "emhass_house_30min.csv",
        Some("pv_w"),
        246,
        195,
        Some(822.0),
    ),
];

const SLICES: [Case; 5] = [
    synthetic("synth_plain_2s_2d.csv", None, 1, 1),
    synthetic("synth_pv_2s_2d.csv", None, 1, 1),
    synthetic("synth_pvbat_2s_2d.csv", None, 1, 1),
    emhass("emhass_house_30min_80d.csv", None, 0, 20, None),
    emhass("emhass_house_30min_80d.csv", Some("pv_w"), 0, 20, None),
];

pub fn run() -> ExitCode {
    match all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<(), Box<dyn Error>> {
    let given = std::env::var_os("FORECAST_DATA").map(PathBuf::from);
    let (folder, cases): (PathBuf, &[Case]) = match &given {
        Some(folder) => (folder.clone(), &WHOLE),
        None => (
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/forecast"),
            &SLICES,
        ),
    };
    let mut missed = 0;
    for case in cases {
        let path = folder.join(case.file);
        if path.exists() {
            missed += tested(case, &path)?;
        } else {
            println!("{}: not there, skipped\n", case.file);
        }
    }
    missed += cost_of_training()?;
    if given.is_some() && missed > 0 {
        return Err(format!("{missed} bars missed").into());
    }
    Ok(())
}

fn tested(case: &Case, path: &Path) -> Result<usize, Box<dyn Error>> {
    let choice = Choice {
        column: case.column.map(str::to_owned),
        minus: case.minus.map(str::to_owned),
        skip_rows: case.skip_rows,
        fill_gaps: true,
        step: Some(case.horizon.step),
    };
    let w = csv_file::read(path, &choice)?.grid.w;
    let protocol = Protocol {
        horizon: case.horizon,
        train_days: case.train_days,
        test_days: case.test_days,
        stride: case.stride,
        metric: Metric::Mae,
        models: ModelKind::ALL.to_vec(),
        seed: 42,
        drawn: 0,
    };
    let report = Job::unwatched(|job| backtest(&w, &protocol, job))?;
    let what = case
        .minus
        .map_or(String::new(), |minus| format!(" minus {minus}"));
    println!(
        "{} {}{what}: {} forecasts",
        case.kind, case.file, report.test.origins
    );
    println!(
        "  {:<12} {:>8} {:>8} {:>9} {:>9} {:>9} {:>8}",
        "model", "MAE", "RMSE", "skill", "pinball", "coverage", "train s"
    );
    let rows = report.kinds.iter().map(|k| {
        (
            k.name(),
            report.test.scores[k.index()],
            Some(report.seconds[k.index()]),
        )
    });
    for (name, score, seconds) in rows.chain([("chosen", report.test.chosen, None)]) {
        let m = score.metrics();
        println!(
            "  {name:<12} {:>8.1} {:>8.1} {:>7.1} % {:>9.1} {:>7.1} % {:>8}",
            m.mae.unwrap_or(f64::NAN),
            m.rmse.unwrap_or(f64::NAN),
            100.0 * m.skill.unwrap_or(f64::NAN),
            m.pinball.unwrap_or(f64::NAN),
            100.0 * m.coverage.unwrap_or(f64::NAN),
            seconds.map_or("–".to_owned(), |s| format!("{s:.2}")),
        );
    }
    let missed = bars(case, &report);
    println!();
    Ok(missed)
}

/// Print a bar; whether it is missed.
fn bar(name: &str, what: &str, got: f64, most: f64) -> usize {
    let missed = got.is_nan() || got > most;
    println!(
        "  {name}  {what:<52} {got:>7.3} ≤ {most:<6.3} {}",
        if missed { "MISSED" } else { "ok" }
    );
    usize::from(missed)
}

fn bars(case: &Case, report: &Report) -> usize {
    let of = |kind: ModelKind| report.test.scores[kind.index()].metrics();
    let last = of(ModelKind::LastValue);
    let chosen = report.test.chosen.metrics();
    let ratio = |a: Option<f64>, b: Option<f64>| a.zip(b).map_or(f64::NAN, |(a, b)| a / b);
    let mut missed = 0;
    if let Some((rmse, mae)) = case.sklearn {
        missed += bar(
            "A1",
            "perceptron RMSE / scikit-learn's",
            ratio(of(ModelKind::Mlp).rmse, Some(rmse)),
            1.03,
        );
        missed += bar(
            "A2",
            "neighbours MAE / scikit-learn's",
            ratio(of(ModelKind::Neighbours).mae, Some(mae)),
            1.03,
        );
        missed += bar(
            "A2",
            "neighbours MAE / last value's",
            ratio(of(ModelKind::Neighbours).mae, last.mae),
            1.0,
        );
    }
    missed += bar(
        "A3",
        "band pinball / last value's with residual quantiles",
        ratio(chosen.pinball, last.pinball),
        0.85,
    );
    let off = |m: Metrics| m.coverage.map_or(f64::NAN, |c| (c - 0.8).abs());
    missed += bar(
        "A4",
        "served band: coverage's distance to 80 %",
        off(chosen),
        0.08,
    );
    if case.train_days > 1 {
        let farthest = report
            .kinds
            .iter()
            .map(|k| off(of(*k)))
            .fold(0.0, |most: f64, d| if d.is_nan() { d } else { most.max(d) });
        missed += bar("A4", "… the farthest of all models' bands", farthest, 0.08);
    }
    if let Some(rmse) = case.ridge {
        missed += bar(
            "A5",
            "blend RMSE / reference ridge blend's",
            ratio(of(ModelKind::Blend).rmse, Some(rmse)),
            1.02,
        );
        missed += bar(
            "A5",
            "automatic choice RMSE / reference ridge blend's",
            ratio(chosen.rmse, Some(rmse)),
            1.02,
        );
    }
    missed
        + bar(
            "A6",
            "automatic choice MAE / last value's",
            ratio(chosen.mae, last.mae),
            1.01,
        )
}

/// A7 on a synthetic series of a week: 60,000 windows, 15 epochs; queries; memory.
fn cost_of_training() -> Result<usize, Box<dyn Error>> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut level = 100.0_f32;
    let w: Vec<f32> = (0..302_400)
        .map(|_| {
            if rng.f32() < 0.01 {
                level = 2500.0 * rng.f32();
            }
            level + 5.0 * rng.f32()
        })
        .collect();
    let before = cost::peak_rss_mb().unwrap_or(f64::NAN);
    // The floor: what the multiplications of one epoch alone cost, as one large product.
    let floor = product_seconds();
    let start = cost::cpu_seconds();
    let network = Job::unwatched(|job| Mlp::fit(&w, TWO_SECONDS, 42, job))?;
    // It may stop early: what all epochs take is what counts.
    let share = network.epochs as f64 / mlp::EPOCHS as f64;
    let training = (cost::cpu_seconds() - start) / share;
    let near = Job::unwatched(|job| Neighbours::fit(&w, TWO_SECONDS, job))?;
    let index = near.index()?;
    let (mut line, mut spread) = ([0.0; 30], Spread::default());
    let mut queries: Vec<f64> = (0..2000)
        .map(|i| {
            let start = cost::cpu_seconds();
            index.predict(&w[..1000 + 150 * i], &mut line, &mut spread);
            1e3 * (cost::cpu_seconds() - start)
        })
        .collect();
    queries.sort_by(f64::total_cmp);
    println!(
        "Cost: {} epochs of 60,000 windows (trained {}), {} moments",
        mlp::EPOCHS,
        network.epochs,
        near.windows()
    );
    println!(
        "  training {training:.2} s of CPU = {:.1} × the bare products ({floor:.2} s)",
        training / floor
    );
    println!(
        "  neighbours query: median {:.3} ms, 99 % {:.3} ms",
        queries[1000], queries[1980]
    );
    let grown = cost::peak_rss_mb().unwrap_or(f64::NAN) - before;
    println!(
        "  peak memory {:.1} MB, {grown:.1} MB of it by this",
        before + grown
    );
    Ok(bar("A7", "training, s of CPU", training, 4.0)
        + bar("A7", "neighbours query, ms (99 %)", queries[1980], 2.0)
        + bar("A7", "memory, MB", before + grown, 40.0))
}

/// Seconds that the multiplications of a training take when done in one go: three passes over
/// 5952 weights for each of 60,000 windows and 15 epochs.
fn product_seconds() -> f64 {
    let a = ndarray::Array2::<f32>::from_elem((512, 512), 0.5);
    let b = a.clone();
    let one = 512.0_f64.powi(3);
    let all = 3.0 * 5952.0 * 60_000.0 * 15.0;
    let start = cost::cpu_seconds();
    let mut sum = 0.0;
    for _ in 0..20 {
        sum += a.dot(&b)[[0, 0]];
    }
    std::hint::black_box(sum);
    (cost::cpu_seconds() - start) / 20.0 * all / one
}
