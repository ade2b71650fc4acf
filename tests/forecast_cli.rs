//! `backtest` and `forecast` as somebody with a recorded house runs them
//! (`docs/forecast.md#try-it-on-your-own-record`).

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const HOUSE: &str = "tests/data/forecast/emhass_house_30min_80d.csv";
/// A documented call, on the committed slice.
const CALL: [&str; 16] = [
    "--column",
    "load_w",
    "--minus",
    "pv_w",
    "--fill-gaps",
    "--step",
    "1800",
    "--window",
    "48",
    "--horizon",
    "48",
    "--stride",
    "1",
    "--skip-rows",
    "0",
    "--csv",
];

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_virtual-shelly"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(args: &[&str]) -> String {
    let output = run(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    // Off a terminal there is no progress bar, and nothing else to say.
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

/// One line that names what failed.
fn refused(code: i32, args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}: {}",
        text(&output.stderr)
    );
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr)
}

fn backtest<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["backtest"][..], &CALL, &[HOUSE], more].concat()
}

#[test]
fn a_back_test_prints_the_pinned_json() {
    let shown: Value = serde_json::from_str(&good(&backtest(&[
        "--train-days",
        "60",
        "--test-days",
        "20",
        "--json",
    ])))
    .unwrap();
    let keys = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&shown),
        [
            "file",
            "horizon",
            "models",
            "origins",
            "peak_rss_mb",
            "step",
            "window"
        ]
    );
    assert_eq!(shown["step"].as_u64(), Some(1800));
    assert_eq!(shown["window"].as_u64(), Some(48));
    assert_eq!(shown["horizon"].as_u64(), Some(48));
    assert_eq!(shown["file"], "emhass_house_30min_80d.csv");
    // Neighbours, perceptron and average do not apply from an hour on, and are absent.
    assert_eq!(
        keys(&shown["models"]),
        ["blend", "chosen", "climatology", "last_value", "yesterday"]
    );
    for (name, figures) in shown["models"].as_object().unwrap() {
        assert_eq!(
            keys(figures),
            [
                "coverage",
                "mae",
                "pinball",
                "rmse",
                "skill_mae",
                "skill_rmse",
                "train_s"
            ],
            "{name}"
        );
        assert!(figures["mae"].as_f64().unwrap() > 0.0, "{name}");
    }
    assert!(shown["models"]["chosen"]["train_s"].is_null());
    assert_eq!(shown["models"]["last_value"]["skill_mae"], 0.0);
}

#[test]
fn a_table_and_a_picture_are_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("result.svg");
    let table = good(&backtest(&[
        "--train-days",
        "60",
        "--test-days",
        "20",
        "--plot",
        picture.to_str().unwrap(),
    ]));
    for word in [
        "last_value",
        "climatology",
        "chosen",
        "MAE W",
        "coverage",
        "days spoken for by",
    ] {
        assert!(table.contains(word), "{word} is not in {table}");
    }
    let svg = fs::read_to_string(picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("automatic choice") && svg.contains("polygon"));
}

/// Three days of minutes, one value a line, with a heater each hour.
fn minutes(folder: &Path) -> PathBuf {
    let mut lines = String::new();
    for i in 0..3 * 1440 {
        let heater = if i % 60 < 20 { 1500 } else { 0 };
        writeln!(lines, "{}", 200 + heater + i % 7).unwrap();
    }
    let file = folder.join("minutes.csv");
    fs::write(&file, lines).unwrap();
    file
}

#[test]
fn the_next_values_are_printed_for_people_and_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let (file, picture) = (minutes(folder.path()), folder.path().join("next.svg"));
    let call = [
        "forecast",
        "--csv",
        file.to_str().unwrap(),
        "--step",
        "60",
        "--horizon",
        "15",
        "--plot",
        picture.to_str().unwrap(),
    ];
    let table = good(&call);
    assert!(
        table.contains("P10")
            && table.contains("P90")
            && table.contains("closer than the last value"),
        "{table}"
    );
    assert_eq!(
        table.lines().filter(|line| line.starts_with('+')).count(),
        15,
        "{table}"
    );
    assert!(
        fs::read_to_string(&picture)
            .unwrap()
            .contains("min from now")
    );
    let shown: Value = serde_json::from_str(&good(&[&call[..7], &["--json"]].concat())).unwrap();
    let values = shown["values"].as_array().unwrap();
    assert_eq!(values.len(), 15);
    // It ended just before a heater comes on again: the past says so.
    for value in values {
        assert!(
            (value["w"].as_f64().unwrap() - 1703.0).abs() < 300.0,
            "{value}"
        );
        assert!(
            value["lo"].as_f64() <= value["w"].as_f64()
                && value["w"].as_f64() <= value["hi"].as_f64(),
            "{value}"
        );
    }
}

#[test]
fn why_a_model_speaks_is_said_truly() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, values: &[String]| {
        let file = folder.path().join(name);
        fs::write(&file, values.join("\n")).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let heater = |i: usize| (200 + if i % 47 < 15 { 1500 } else { 0 } + i % 7).to_string();
    let call = |file: &str, more: &[&str]| {
        good(
            &[
                &["forecast", "--csv", file, "--step", "60", "--horizon", "15"],
                more,
            ]
            .concat(),
        )
    };
    let little = write("little.csv", &(0..300).map(heater).collect::<Vec<_>>());
    assert!(
        call(&little, &[]).contains("too little data to compare models, two days are needed"),
        "{}",
        call(&little, &[])
    );
    let mut gap: Vec<String> = (0..3 * 1440).map(heater).collect();
    let end = gap.len();
    gap[end - 20..end - 12].fill("unavailable".to_owned());
    let gap = write("gap.csv", &gap);
    assert!(
        call(&gap, &[]).contains("model last_value: stands in for"),
        "{}",
        call(&gap, &[])
    );
    let shown: Value = serde_json::from_str(&call(&gap, &["--json"])).unwrap();
    assert_eq!(shown["model"], Value::from("last_value"));
    assert_eq!(shown["skill"], Value::Null);
    let whole = minutes(folder.path());
    let rmse = call(whole.to_str().unwrap(), &["--metric", "rmse"]);
    assert!(
        rmse.contains("smaller in its big misses (RMSE)") && !rmse.contains(", -"),
        "{rmse}"
    );
}

#[test]
fn a_power_column_at_the_beginning_is_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("columns.csv");
    let rows: Vec<String> = (0..300)
        .map(|i| format!("{},{}", 500 + i % 9, i % 5))
        .collect();
    fs::write(&file, format!("load,pv\n{}", rows.join("\n"))).unwrap();
    let call = [
        "forecast",
        "--csv",
        file.to_str().unwrap(),
        "--column",
        "load",
        "--minus",
        "pv",
        "--step",
        "60",
        "--horizon",
        "15",
    ];
    assert!(good(&call).contains("now 498 W"), "{}", good(&call));
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_virtual-shelly"));
    let output = command
        .args(["config", "--source", "demo"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("cannot write"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_cannot_be_read_is_one_line_with_the_value() {
    let days = ["--train-days", "60", "--test-days", "20"];
    let missing = refused(
        1,
        &[
            &["backtest", "--step", "60", "--csv", "no-such.csv"],
            &days[..],
        ]
        .concat(),
    );
    assert!(
        missing.contains("no-such.csv") && missing.trim_end().lines().count() == 1,
        "{missing}"
    );
    let column = refused(
        1,
        &[
            &[
                "backtest", "--step", "1800", "--column", "watts", "--csv", HOUSE,
            ],
            &days[..],
        ]
        .concat(),
    );
    assert!(column.contains("watts"), "{column}");
    let step = refused(
        1,
        &[
            &[
                "backtest", "--step", "7", "--column", "load_w", "--csv", HOUSE,
            ],
            &days[..],
        ]
        .concat(),
    );
    assert!(step.contains('7'), "{step}");
    let few = refused(
        1,
        &[
            &[
                "backtest", "--step", "1800", "--column", "load_w", "--csv", HOUSE,
            ],
            &["--train-days", "90", "--test-days", "9"][..],
        ]
        .concat(),
    );
    assert!(few.contains("too few samples"), "{few}");
    let short = refused(1, &backtest(&["--train-days", "60", "--test-days", "1"]));
    assert!(
        short.contains("1 test days are 48 steps, no more than the horizon of 48"),
        "{short}"
    );
    let picture = refused(
        1,
        &backtest(&[
            "--train-days",
            "60",
            "--test-days",
            "20",
            "--plot",
            "/no/such/folder/x.svg",
        ]),
    );
    assert!(picture.contains("/no/such/folder/x.svg"), "{picture}");
    assert!(refused(2, &["backtest", "--csv", HOUSE]).contains("--step"));
    assert!(refused(2, &["forecast"]).contains("--csv"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_virtual-shelly"))
        .args(backtest(&["--train-days", "60", "--test-days", "20"]))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        text(&output.stderr)
    );
}
