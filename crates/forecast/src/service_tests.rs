//! Training, storing, restoring, forecasting and keeping score, as the service does it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use super::horizon::{Horizon, HorizonId};
use super::stored;
use super::testdata::{house, samples};
use super::trainer::{Series, TrainedHorizon, Valid, train_horizon};
use super::*;

const T0: i64 = 1_700_006_400;

/// Five days at 30 s steps, so that a test of everything is quick.
fn settings() -> Settings {
    Settings {
        sample_step: 30,
        window: 6,
        steps: 4,
        ..Settings::default()
    }
}

struct Home {
    s2: Vec<Sample>,
    m1: Vec<Sample>,
    valid: Valid,
}

impl Home {
    fn new(days: usize) -> Self {
        let w = house(days * 2880, 2880);
        let m1: Vec<f32> = w.chunks(2).map(|c| c.iter().sum::<f32>() / 2.0).collect();
        Self {
            s2: samples(&w, T0, 30),
            m1: samples(&m1, T0, 60),
            valid: settings().check().unwrap(),
        }
    }

    fn series(&self) -> Series<'_> {
        Series {
            s2: &self.s2,
            m1: &self.m1,
            now: self.s2[self.s2.len() - 1].ts + 29,
        }
    }

    fn recent(&self) -> Recent {
        let mut recent = Recent::new(&self.valid);
        recent.fill(&self.s2, &self.m1);
        recent
    }

    fn train(&self) -> Trained {
        Job::unwatched(|job| train(&self.series(), &self.valid, None, job)).unwrap()
    }
}

/// Trained once for all tests that only look.
static FIVE_DAYS: LazyLock<(Home, Trained)> = LazyLock::new(|| {
    let home = Home::new(5);
    let trained = home.train();
    (home, trained)
});

#[test]
fn a_training_survives_a_restart_and_says_the_same() {
    let (home, trained) = &*FIVE_DAYS;
    assert_eq!(trained.horizons.len(), 3);
    let metrics = trained
        .horizon(HorizonId::Minute)
        .unwrap()
        .metrics()
        .unwrap();
    assert!(metrics.n > 1000 && metrics.mae.is_some() && metrics.wape.is_some());
    let bytes = stored::to_bytes(trained).unwrap();
    assert!(bytes.len() < 400_000, "{}", bytes.len());
    let again = stored::restore(&bytes, &home.valid, &home.series()).unwrap();
    assert_eq!(again.at, trained.at);
    let (recent, now) = (home.recent(), home.series().now);
    let said = |trained: &Trained| Forecaster::new(trained).unwrap().forecast(&recent, now);
    assert_eq!(said(trained), said(&again));
    assert_eq!(trained.to_string(), again.to_string());
    for (one, other) in trained.horizons.iter().zip(&again.horizons) {
        assert_eq!((&one.state, &one.backtest), (&other.state, &other.backtest));
    }
}

#[test]
fn a_stored_training_that_does_not_fit_is_refused_and_never_panics() {
    let (home, trained) = &*FIVE_DAYS;
    let bytes = stored::to_bytes(trained).unwrap();
    let refused = |bytes: &[u8], settings: Settings, series: &Series<'_>| match stored::restore(
        bytes,
        &settings.check().unwrap(),
        series,
    ) {
        Err(Error::Stored(why)) => why,
        other => panic!("{:?}", other.map(|t| t.at)),
    };
    let series = home.series();
    let changes: [fn(&mut Settings); 5] = [
        |s| s.window = 7,
        |s| s.steps = 5,
        |s| s.seed = 1,
        |s| s.metric = Metric::Rmse,
        |s| s.models = vec![ModelKind::Mlp],
    ];
    for change in changes {
        let mut other = settings();
        change(&mut other);
        assert_eq!(
            refused(&bytes, other, &series),
            "it was made for other settings"
        );
    }
    assert!(refused(b"SQLite format 3", settings(), &series).contains("no forecast model"));
    assert!(refused(b"VSFORECAST0", settings(), &series).contains("another version"));
    // A bit that flipped on the way is noticed wherever it is.
    let start = bytes.len() - body(&bytes).len();
    for at in (start - 8..bytes.len()).step_by(997) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(
            refused(&flipped, settings(), &series).contains("damaged"),
            "{at}"
        );
    }
    assert!(refused(&bytes[..start - 1], settings(), &series).contains("cut off"));
    // And what has the right sum without being a model never panics.
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..300 {
        let mut broken = body(&bytes).to_vec();
        broken.truncate(rng.usize(1..broken.len()));
        for _ in 0..4 {
            let at = rng.usize(..broken.len());
            broken[at] = rng.u8(..);
        }
        let _ = stored::restore(&stored::sealed(&broken), &home.valid, &raw(&[], 0));
    }
}

/// Raw samples alone.
const fn raw(s2: &[Sample], now: i64) -> Series<'_> {
    let m1 = &[];
    Series { s2, m1, now }
}

/// A blob without its mark and check sum.
fn body(bytes: &[u8]) -> &[u8] {
    &bytes[stored::sealed(&[]).len()..]
}

#[test]
fn too_few_samples_are_said_and_a_cancelled_training_stops() {
    let home = Home::new(1);
    let now = home.s2[8].ts;
    let few = raw(&home.s2[..9], now);
    let got = Job::unwatched(|job| train(&few, &home.valid, None, job)).map(|t| t.at);
    assert_eq!(got, Err(Error::TooFew { have: 9, need: 10 }));
    // Samples of the future do not count.
    let hidden = raw(&home.s2, now);
    assert!(Job::unwatched(|job| train(&hidden, &home.valid, None, job)).is_err());
    let cancelled = AtomicBool::new(true);
    let mut last = 0.0;
    let got = train(
        &home.series(),
        &home.valid,
        None,
        &mut Job::new(&cancelled, &mut |p| last = p.fraction),
    );
    assert_eq!(got.map(|t| t.at), Err(Error::Cancelled));
    assert!(last < 0.5);
}

#[test]
fn progress_rises_from_nothing_to_one() {
    let home = Home::new(3);
    let (never, mut seen) = (AtomicBool::new(false), Vec::new());
    train(
        &home.series(),
        &home.valid,
        None,
        &mut Job::new(&never, &mut |p| seen.push(p.fraction)),
    )
    .unwrap();
    assert!(seen.is_sorted() && seen[0] < 0.05 && seen.last() == Some(&1.0));
    assert!(seen.len() > 50);
}

#[test]
fn below_two_days_the_last_value_speaks_with_a_band() {
    let home = Home::new(1);
    let trained = home.train();
    let first = trained.horizon(HorizonId::Minute).unwrap();
    assert_eq!(first.model(), ModelKind::LastValue);
    let forecasts = Forecaster::new(&trained)
        .unwrap()
        .forecast(&home.recent(), home.series().now);
    assert!(
        forecasts[0]
            .points
            .iter()
            .all(|p| p.lo < p.hi && p.w == forecasts[0].now)
    );
}

#[test]
fn forecasts_start_after_now_and_stop_when_nothing_comes() {
    let (home, trained) = &*FIVE_DAYS;
    let (recent, now) = (home.recent(), home.series().now);
    let mut forecaster = Forecaster::new(trained).unwrap();
    let forecasts = forecaster.forecast(&recent, now);
    let shapes: Vec<_> = forecasts
        .iter()
        .map(|f| (f.id, f.step, f.points.len()))
        .collect();
    assert_eq!(
        shapes,
        [
            (HorizonId::Minute, 30, 4),
            (HorizonId::QuarterHour, 60, 15),
            (HorizonId::Day, 900, 96)
        ]
    );
    assert_eq!(
        forecasts[0].points[0].ts,
        home.s2[home.s2.len() - 1].ts + 30
    );
    for forecast in &forecasts {
        assert_eq!(
            forecast.points[0].ts,
            forecast.origin + i64::from(forecast.step)
        );
    }
    // Nothing new: the same, not computed again.
    let same = forecaster.forecast(&recent, now);
    assert!(forecasts.iter().zip(&same).all(|(a, b)| Arc::ptr_eq(a, b)));
    // Ten minutes of silence: the minute has no now any more, the day has.
    let later = forecaster.forecast(&recent, now + 600);
    assert_eq!(
        later.iter().map(|f| f.id).collect::<Vec<_>>(),
        [HorizonId::Day]
    );
}

#[test]
fn score_is_kept_of_forecasts_against_what_came_for_a_day() {
    let (home, trained) = &*FIVE_DAYS;
    let mut forecaster = Forecaster::new(trained).unwrap();
    let mut recent = home.recent();
    let mut tracker = Tracker::new(&home.valid);
    let id = HorizonId::Minute;
    assert_eq!(tracker.metrics(id), Metrics::default());
    let start = home.s2[home.s2.len() - 1].ts;
    let more = house(8 * 2880, 2880);
    let mut largest = 0;
    for (i, w) in more[5 * 2880..7 * 2880].iter().enumerate() {
        let ts = start + 30 * (i as i64 + 1);
        recent.push(Sample { ts, w: *w });
        tracker.note(&forecaster.forecast(&recent, ts), &recent, ts);
        largest = largest.max(tracker.points(id).count());
    }
    let now = start + 2 * 86_400;
    let m = tracker.metrics(id);
    // A forecast of 4 steps every 2 steps: two points a step.
    assert!(
        (5700..=5800).contains(&m.n) && largest < 5900,
        "{} {largest}",
        m.n
    );
    assert!(
        tracker
            .points(id)
            .all(|p| p.ts > now - 86_400 && (1..=4).contains(&p.lead))
    );
    // By hand: what came is what was pushed.
    let mut sum = 0.0;
    for p in tracker.points(id) {
        let at = usize::try_from((p.ts - start) / 30 - 1).unwrap();
        assert_eq!(p.came, more[5 * 2880 + at]);
        sum += f64::from((p.came - p.w).abs());
    }
    assert!((m.mae.unwrap() - sum / m.n as f64).abs() < 1e-3);
    assert!(m.coverage.is_some_and(|c| c > 0.5) && m.baseline_mae.is_some());
    assert!(tracker.metrics(HorizonId::QuarterHour).n > 1000);
    assert!(tracker.metrics(HorizonId::Day).n > 90);
    // Drawn is one point a step, of what was said longest before.
    for (id, step, span) in [
        (id, 30, 3600),
        (HorizonId::QuarterHour, 60, 6 * 3600),
        (HorizonId::Day, 900, 40_000),
    ] {
        let drawn = tracker.drawn(id, now - span);
        assert!(
            drawn.len() as i64 >= span / step - 12,
            "{} {}",
            id.name(),
            drawn.len()
        );
        assert!(
            drawn.windows(2).all(|pair| pair[1].ts - pair[0].ts == step),
            "{}",
            id.name()
        );
        assert!(
            drawn
                .iter()
                .all(|p| p.ts >= now - span && tracker.points(id).any(|q| q == p))
        );
    }
    // A clock that jumps back: nothing of the future is left.
    tracker.note(&[], &recent, now - 43_200);
    assert!(tracker.points(id).all(|p| p.ts <= now - 43_200));
}

#[test]
fn who_speaks_stays_from_one_training_to_the_next() {
    let horizon = Horizon::new(900, 96, 96);
    let models = vec![ModelKind::Yesterday, ModelKind::Climatology];
    // Every day the same: both are right, neither is more than 1 % better.
    let w: Vec<f32> = (0..20 * 96).map(|i| (i % 96) as f32 * 10.0).collect();
    let grid = grid::Grid {
        t0: T0,
        step: 900,
        w,
    };
    let settings = Settings {
        models,
        ..Settings::default()
    };
    let speaker = |incumbent| {
        Job::unwatched(|job| {
            train_horizon(HorizonId::Day, horizon, &grid, &settings, incumbent, job)
        })
        .unwrap()
        .model()
    };
    assert_eq!(
        speaker(Some(ModelKind::Climatology)),
        ModelKind::Climatology
    );
    assert_eq!(speaker(Some(ModelKind::Yesterday)), ModelKind::Yesterday);
    assert_eq!(speaker(Some(ModelKind::LastValue)), ModelKind::Yesterday);
    assert_eq!(
        speaker(Some(ModelKind::Blend)),
        ModelKind::Yesterday,
        "it is not among the models any more"
    );
}

#[test]
fn two_days_of_data_are_counted_without_the_hole_between() {
    let horizon = Horizon::new(60, 30, 15);
    let settings = Settings {
        models: vec![ModelKind::Yesterday, ModelKind::Neighbours],
        ..Settings::default()
    };
    let mut w = house(6 * 1440, 1440);
    let mut train = |hole: std::ops::Range<usize>| {
        w[hole].fill(f32::NAN);
        let grid = grid::Grid {
            t0: T0,
            step: 60,
            w: w.clone(),
        };
        let trained = Job::unwatched(|job| {
            train_horizon(HorizonId::QuarterHour, horizon, &grid, &settings, None, job)
        })
        .unwrap();
        (trained.compared(), trained.model() == ModelKind::LastValue)
    };
    assert_eq!(train(0..0), (true, false));
    assert_eq!(train(100..100 + 4 * 1440 + 1), (false, true));
}

#[test]
fn a_band_that_is_the_neighbours_needs_them() {
    let (_, trained) = &*FIVE_DAYS;
    let mut minute = TrainedHorizon {
        fitted: panel::Fitted::default(),
        backtest: Vec::new(),
        state: trained.horizons[0].state.clone(),
        ..trained.horizons[0]
    };
    minute.state.line = ModelKind::LastValue;
    minute.state.band = Some(ModelKind::Mlp);
    minute.state.residuals = Default::default();
    assert_eq!(
        minute.needed(),
        [ModelKind::LastValue, ModelKind::Neighbours, ModelKind::Mlp]
    );
}
