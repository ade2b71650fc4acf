//! The contract's bars on slices small enough for every test run, and what no input may do.
//! The whole files are the bench's (`benches/forecast.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::forecaster::once;
use super::horizon::HorizonId;
use super::panel::{Answers, Fitted, Panel};
use super::rolling::{self, Drawn, Protocol, Report, Rolling};
use super::testdata::{house, samples, slice};
use super::trainer::{Series, train_horizon};
use super::*;

fn protocol(horizon: Horizon, train_days: usize, test_days: usize, stride: usize) -> Protocol {
    Protocol {
        horizon,
        train_days,
        test_days,
        stride,
        metric: Metric::Mae,
        models: ModelKind::ALL.to_vec(),
        seed: 42,
        drawn: 0,
    }
}

const TWO_SECONDS: Horizon = Horizon::new(2, 30, 30);
const HALF_HOURS: Horizon = Horizon::new(1800, 48, 48);

fn figures(report: &Report, kind: ModelKind) -> Metrics {
    report.test.scores[kind.index()].metrics()
}

/// A figure is at most this share of another.
fn at_most(what: &str, got: Option<f64>, share: f64, of: Option<f64>) {
    let (got, most) = (got.unwrap(), share * of.unwrap());
    assert!(got <= most, "{what}: {got}, at most {most}");
}

fn bars(report: &Report) {
    let chosen = report.test.chosen.metrics();
    let last = figures(report, ModelKind::LastValue);
    at_most("choice", chosen.mae, 1.01, last.mae);
    at_most("pinball of the band", chosen.pinball, 0.85, last.pinball);
}

/// The coverage of the band that is served and of the models named.
fn covered(report: &Report, models: &[ModelKind]) {
    let served = ("chosen", report.test.chosen.metrics());
    let models = models
        .iter()
        .map(|kind| (kind.name(), figures(report, *kind)));
    for (name, of) in models.chain([served]) {
        assert!(
            of.coverage
                .is_some_and(|share| (0.72..=0.88).contains(&share)),
            "coverage: {name} {:?}",
            of.coverage
        );
    }
}

/// The perceptron takes 20 s of CPU without optimisation, so one of the files is enough for it.
fn two_days(name: &str, models: &[ModelKind]) -> Report {
    let w = slice(name, None, None, 2);
    let asked = Protocol {
        models: models.to_vec(),
        ..protocol(TWO_SECONDS, 1, 1, 60)
    };
    Job::unwatched(|job| rolling::backtest(&w, &asked, job)).unwrap()
}

#[test]
fn bars_on_a_day_of_a_house_with_a_battery() {
    let report = two_days("synth_pvbat_2s_2d.csv", &ModelKind::ALL);
    bars(&report);
    covered(
        &report,
        &[
            ModelKind::LastValue,
            ModelKind::Neighbours,
            ModelKind::Mlp,
            ModelKind::Average,
        ],
    );
    let [last, near, network] = [ModelKind::LastValue, ModelKind::Neighbours, ModelKind::Mlp]
        .map(|kind| figures(&report, kind));
    assert!(
        network.skill_rmse.unwrap() > 0.15,
        "network against scikit-learn"
    );
    at_most("neighbours", near.mae, 0.85, last.mae);
}

#[test]
fn bars_on_a_day_of_a_plain_house() {
    let report = two_days("synth_plain_2s_2d.csv", &[ModelKind::Neighbours]);
    bars(&report);
    covered(&report, &[ModelKind::Neighbours]);
    assert!(
        figures(&report, ModelKind::Neighbours).skill.unwrap() > 0.03,
        "neighbours"
    );
}

#[test]
fn a_day_of_training_on_pv_beats_nothing_so_the_last_value_speaks() {
    let report = two_days("synth_pv_2s_2d.csv", &[ModelKind::Neighbours]);
    bars(&report);
    covered(&report, &[ModelKind::Neighbours]);
    assert_eq!(report.test.spoke[ModelKind::LastValue.index()], 1);
}

#[test]
fn bars_on_twenty_real_days_ahead() {
    for minus in [None, Some("pv_w")] {
        let w = slice("emhass_house_30min_80d.csv", Some("load_w"), minus, 1800);
        let report =
            Job::unwatched(|job| rolling::backtest(&w, &protocol(HALF_HOURS, 60, 20, 1), job))
                .unwrap();
        covered(&report, &report.kinds);
        let chosen = report.test.chosen.metrics();
        let [last, blend, climatology] = [
            ModelKind::LastValue,
            ModelKind::Blend,
            ModelKind::Climatology,
        ]
        .map(|kind| figures(&report, kind));
        at_most("choice", chosen.mae, 1.01, last.mae);
        at_most("pinball of the band", blend.pinball, 0.85, last.pinball);
        assert!(blend.rmse.unwrap() < climatology.rmse.unwrap());
        assert!(blend.skill_rmse.unwrap() > 0.2, "{blend:?}");
        at_most("a day ahead", chosen.rmse, 1.02, blend.rmse);
        assert!(!report.kinds.contains(&ModelKind::Mlp));
    }
}

/// Index, lead, line and band of a step.
type Said = (usize, usize, f32, Option<(f32, f32)>);

/// What was forecast before `cut`.
fn said_before(cut: usize, drawn: impl IntoIterator<Item = Drawn>) -> Vec<Said> {
    let said = drawn.into_iter().filter(|d| d.index - d.lead < cut);
    said.map(|d| (d.index, d.lead, d.line, d.band)).collect()
}

/// Whether forecasts made before `cut` change when all that came after it is another world. Each
/// world is handed over whole, as a careless model might get hold of it.
fn leaks<T: PartialEq>(w: &[f32], cut: usize, said: impl Fn(&[f32]) -> Vec<T>) -> bool {
    let mut other = w.to_vec();
    for (i, value) in other[cut + 1..].iter_mut().enumerate() {
        *value = 5000.0 - 3.0 * *value + (i % 17) as f32;
    }
    let honest = said(w);
    assert!(honest.len() > 100, "nothing was compared");
    honest != said(&other)
}

const QUARTERS: Horizon = Horizon::new(900, 6, 3);
const HOURS: Horizon = Horizon::new(3600, 24, 24);

#[test]
fn the_back_test_with_all_models_choice_and_bands_sees_no_future() {
    for (horizon, days) in [(QUARTERS, 12), (HOURS, 40)] {
        let day = horizon.day();
        let w = house(days * day, day);
        let mut asked = protocol(horizon, days / 2, days / 2, 1);
        asked.drawn = usize::MAX / 1000;
        let cut = (days - 2) * day + day / 3;
        let said = |w: &[f32]| {
            let report = Job::unwatched(|job| rolling::backtest(w, &asked, job)).unwrap();
            assert!(report.kinds.len() >= 4);
            said_before(cut, report.test.drawn)
        };
        assert!(!leaks(&w, cut, said));
    }
}

#[test]
fn a_day_that_begins_with_a_hole_is_one_day() {
    let day = QUARTERS.day();
    let mut w = house(8 * day, day);
    w[4 * day - 2..4 * day + 20].fill(f32::NAN);
    let asked = Protocol {
        models: vec![ModelKind::Yesterday],
        ..protocol(QUARTERS, 4, 4, 1)
    };
    let report = Job::unwatched(|job| rolling::backtest(&w, &asked, job)).unwrap();
    assert_eq!(report.test.spoke.iter().sum::<usize>(), 4);
}

/// A model that got hold of the whole series, and says what will come.
struct Peek(Vec<f32>);

impl Panel for Peek {
    fn kinds(&self) -> &[ModelKind] {
        &[ModelKind::LastValue, ModelKind::Mlp]
    }

    fn answer(
        &mut self,
        past: &[f32],
        answers: &mut Answers,
        _: &mut Job<'_>,
    ) -> Result<(), Error> {
        let steps = answers.line(ModelKind::Mlp).len();
        answers
            .line_mut(ModelKind::LastValue)
            .fill(past[past.len() - 1]);
        answers
            .line_mut(ModelKind::Mlp)
            .copy_from_slice(&self.0[past.len()..past.len() + steps]);
        Ok(())
    }
}

#[test]
fn a_model_that_peeks_is_caught_and_an_honest_one_is_not() {
    let day = QUARTERS.day();
    let w = house(12 * day, day);
    let cut = 10 * day + 7;
    let said = |w: &[f32], panel: &mut dyn Panel| {
        let mut rolling = Rolling::new(QUARTERS, Metric::Mae, 1);
        let all = usize::MAX / 1000;
        let got = Job::unwatched(|job| rolling.run(w, 6 * day..12 * day, panel, all, job)).unwrap();
        said_before(cut, got.drawn)
    };
    assert!(leaks(&w, cut, |w| said(w, &mut Peek(w.to_vec()))));
    assert!(!leaks(&w, cut, |w| {
        let fitted = Job::unwatched(|job| {
            Fitted::fit(&w[..6 * day], QUARTERS, &ModelKind::ALL, 42, None, job)
        })
        .unwrap();
        said(w, &mut fitted.ready(QUARTERS).unwrap())
    }));
}

/// Train on samples and forecast from their end; the figures must be numbers.
fn survive(of: &[Sample]) -> Option<HorizonForecast> {
    let grid = grid::grid(of, QUARTERS.step).unwrap();
    let settings = Settings {
        models: ModelKind::ALL.to_vec(),
        ..Settings::default()
    };
    let trained = Job::unwatched(|job| {
        train_horizon(HorizonId::Minute, QUARTERS, &grid, &settings, None, job)
    })
    .unwrap();
    let end = grid.w.iter().rposition(|w| w.is_finite())?;
    let forecast = once(&trained, &grid.w[..=end], grid.ts(end)).unwrap();
    for point in &forecast.points {
        assert!(
            point.w.is_finite() && point.ts > forecast.origin,
            "{point:?}"
        );
        let (lo, hi) = (point.lo.unwrap_or(point.w), point.hi.unwrap_or(point.w));
        assert!(lo <= point.w && point.w <= hi, "{point:?}");
    }
    Some(forecast)
}

#[test]
fn empty_one_sample_and_nothing_but_nan_are_survived() {
    assert!(survive(&[]).is_none());
    assert!(survive(&samples(&[f32::NAN; 10], 0, 900)).is_none());
    let one = survive(&samples(&[7.5], 0, 900)).unwrap();
    assert!(one.points.iter().all(|p| p.w == 7.5) && one.model == ModelKind::LastValue);
}

fn shape() -> impl Strategy<Value = Vec<f32>> {
    let level = -5000.0_f32..5000.0;
    prop_oneof![
        (level.clone(), 1_usize..600).prop_map(|(w, n)| vec![w; n]),
        (level.clone(), level.clone(), 1_usize..600)
            .prop_map(|(a, b, n)| { (0..n).map(|i| if i < n / 2 { a } else { b }).collect() }),
        (level, 1.0_f32..500.0, 2_usize..30, 1_usize..600).prop_map(|(w, rise, period, n)| {
            (0..n).map(|i| w + rise * (i % period) as f32).collect()
        }),
    ]
}

/// What may be wrong with a sample: missing, late, twice, or before its predecessor.
fn spoil(of: &mut Vec<Sample>, faults: &[(usize, u8, i64)]) {
    for &(place, fault, by) in faults {
        if of.is_empty() {
            return;
        }
        let at = place % of.len();
        match fault {
            0 => of[at].w = f32::NAN,
            1 => of[at..].iter_mut().for_each(|s| s.ts += by.abs() * 900),
            2 => of.insert(at, of[at]),
            3 => of[at..].iter_mut().for_each(|s| s.ts -= by.abs() * 900),
            _ => of[at].w = 1e30,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_series_however_spoilt_breaks_training_or_forecast(
        w in shape(),
        faults in prop::collection::vec((0_usize..600, 0_u8..5, -40_i64..40), 0..12),
    ) {
        let mut of = samples(&w, 1_700_000_100, 900);
        spoil(&mut of, &faults);
        survive(&of);
    }

    #[test]
    fn a_constant_is_forecast_as_itself(w in -20_000.0_f32..20_000.0, n in 1_usize..600) {
        let forecast = survive(&samples(&vec![w; n], 0, 900)).unwrap();
        for p in &forecast.points {
            prop_assert!((p.w - w).abs() <= 1.0, "{p:?}");
            prop_assert!((p.lo.unwrap_or(w) - w).abs() <= 1.0 && (p.hi.unwrap_or(w) - w).abs() <= 1.0);
        }
    }

    #[test]
    fn the_ring_agrees_with_the_grid(
        w in shape(),
        faults in prop::collection::vec((0_usize..600, 0_u8..3, -40_i64..40), 0..12),
    ) {
        let mut of = samples(&w, 1_700_000_100, 2);
        spoil(&mut of, &faults);
        let valid = Settings::default().check().unwrap();
        let mut recent = Recent::new(&valid);
        recent.fill(&of, &[]);
        let grid = grid::grid(&of, 2).unwrap();
        let now = grid.ts(grid.w.len().max(1) - 1);
        if let Some((past, last)) = recent.past(HorizonId::Minute, now) {
            prop_assert_eq!(last, now);
            for (a, b) in past.iter().rev().zip(grid.w.iter().rev()) {
                prop_assert!(a == b || (a.is_nan() && b.is_nan()), "{} {}", a, b);
            }
        }
    }
}

#[test]
fn a_week_of_equal_values_is_no_trouble() {
    let s2 = samples(&vec![-432.1; 302_400], 1_700_000_000, 2);
    let settings = Settings::default().check().unwrap();
    let now = s2[s2.len() - 1].ts;
    let series = Series {
        s2: &s2,
        m1: &[],
        now,
    };
    let trained = Job::unwatched(|job| train(&series, &settings, None, job)).unwrap();
    let mut recent = Recent::new(&settings);
    recent.fill(&s2, &[]);
    let forecasts = Forecaster::new(&trained).unwrap().forecast(&recent, now);
    assert_eq!(forecasts.len(), 3);
    for point in forecasts.iter().flat_map(|f| &f.points) {
        assert!((point.w + 432.1).abs() <= 1.0, "{point:?}");
    }
}
