//! What the forecast's page says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use forecast::{
    HorizonForecast, Metric, Metrics,
    outlook::{Basis, LastTraining, SkillPoint, TrainedAt},
    tracker::Tracked,
};

const NOW: i64 = 1_700_046_000;

fn locale(code: &str) -> &'static Locale {
    Locale::coded(code).unwrap()
}

fn metrics(skill: Option<f64>) -> Metrics {
    Metrics {
        n: 1200,
        mae: Some(81.2),
        mse: Some(65_343.4),
        rmse: Some(255.6),
        mape: None,
        baseline_mae: Some(92.3),
        skill,
        coverage: Some(0.786),
        ..Metrics::default()
    }
}

fn horizon(id: HorizonId, metrics: Metrics) -> HorizonOutlook {
    let (step, steps) = match id {
        HorizonId::Minute => (2_u32, 30),
        HorizonId::QuarterHour => (60, 15),
        HorizonId::Day => (900, 96),
    };
    let points = (1..=steps as i64).map(|i| Point {
        ts: NOW + i * i64::from(step),
        w: 512.0,
        lo: Some(-120.4),
        hi: Some(800.0),
    });
    let forecast = HorizonForecast {
        id,
        step,
        model: ModelKind::Neighbours,
        origin: NOW,
        now: 500.0,
        points: points.collect(),
    };
    let drawn = Tracked {
        ts: NOW - 60,
        lead: 16,
        came: 500.0,
        w: 512.0,
        last: 490.0,
        lo: Some(1.0),
        hi: None,
    };
    HorizonOutlook {
        id,
        step,
        steps,
        model: ModelKind::Neighbours,
        compared: true,
        metric: Metric::Mae,
        forecast: Some(Arc::new(forecast)),
        metrics,
        basis: Basis::LastDay,
        backtest: Arc::new([
            (ModelKind::LastValue, Metrics::default()),
            (ModelKind::Neighbours, metrics),
        ]),
        drawn: Arc::new([drawn]),
    }
}

fn outlook(metrics: Metrics) -> Outlook {
    Outlook {
        horizons: HorizonId::ALL
            .into_iter()
            .map(|id| horizon(id, metrics))
            .collect(),
        trained: Some(TrainedAt {
            at: NOW - 600,
            seconds: 4.12,
            samples: 302_400,
        }),
        skills: Arc::new([SkillPoint {
            ts: NOW,
            skill: [Some(0.12), None, Some(f32::NAN)],
        }]),
    }
}

fn times(l: &'static Locale) -> Times {
    Times {
        l,
        now: NOW as f64,
        zone: TimeZone::get("Europe/Berlin").unwrap(),
    }
}

fn rendered(l: &'static Locale, outlook: &Outlook, training: &Training, full: bool) -> String {
    let p = Page {
        l,
        rel: "",
        name: "forecast",
        m: 0,
        nonce: "n".into(),
        version: "v".into(),
        device: "shellypro3em-0a1b2c3d4e5f".into(),
        full,
        locked: None,
        tabs: Vec::new(),
        meters: Vec::new(),
        notices: Vec::new(),
        refresh: true,
        sensors: true,
        zone: String::new(),
    };
    View {
        p,
        s: Shown::of(&times(l), outlook, training, 302_412, full),
        elsewhere: false,
    }
    .render()
    .unwrap()
}

#[test]
fn the_page_says_in_words_what_the_lines_are_worth() {
    let known = outlook(metrics(Some(0.12)));
    let page = rendered(locale("en"), &known, &Training::default(), true);
    for text in [
        "12\u{202f}% closer than the last value, over the last day.",
        "8 of 10 values should fall in the band; 79\u{202f}% did.",
        "The next quarter of an hour",
        "Similar moments",
        "not meaningful near zero",
        "65,343\u{202f}W\u{b2}",
        "Drawing from the grid \u{b7} 512\u{202f}W",
        "\u{2212}120\u{202f}W \u{2026} 800\u{202f}W",
        "Train now on 302,412 samples",
        "302,400 samples",
        "4.1\u{202f}s",
        "12:00:02",
        "12:15",
        "16 Nov, 12:00",
        "Forecast at least 32\u{202f}s before, and what came",
    ] {
        assert!(page.contains(text), "{text}");
    }
    // The last of the list is the end of the horizon; the chosen model is marked once a
    // horizon.
    assert_eq!(page.matches(">chosen<").count(), 3);
    assert_eq!(page.matches("data-plot=\"ahead\"").count(), 3);
    assert!(page.contains("12:01:00") && !page.contains("12:01:02"));
}

#[test]
fn what_is_no_better_is_said_so() {
    let l = locale("en");
    let unknown = "What this line is worth is not known yet.";
    let same = "No better than the last value, over the last day.";
    let worse = "No better than the last value: 20\u{202f}% further off, over the last day.";
    for (skill, said) in [
        (Some(0.0049), same),
        (Some(-0.2), worse),
        (None, unknown),
        (Some(f64::NAN), unknown),
    ] {
        let day = horizon(HorizonId::Day, metrics(skill));
        assert_eq!(say::worth(l, &day), said);
    }
    let mut tested = horizon(HorizonId::Day, metrics(Some(0.05)));
    tested.basis = Basis::BackTest;
    assert_eq!(
        say::worth(l, &tested),
        "5\u{202f}% closer than the last value, in the training's test on days it had not seen."
    );
}

#[test]
fn words_go_by_what_the_choice_goes_by() {
    let l = locale("en");
    let larger = "No better than the last value: big misses 20\u{202f}% larger, over the last day.";
    let smaller = "Big misses 10\u{202f}% smaller than the last value's, over the last day.";
    for (skill_rmse, said, state) in [(0.1, smaller, "live"), (-0.2, larger, "none")] {
        let metrics = Metrics {
            skill_rmse: Some(skill_rmse),
            ..metrics(Some(-0.07))
        };
        let mut h = horizon(HorizonId::Day, metrics);
        h.metric = Metric::Rmse;
        assert_eq!(say::worth(l, &h), said);
        assert_eq!(Card::of(&times(l), &h, true).state, state);
    }
    let mut early = horizon(HorizonId::Day, metrics(Some(0.0)));
    early.compared = false;
    assert_eq!(
        say::worth(l, &early),
        "It says “as now”: two days of data are needed to compare models."
    );
}

#[test]
fn each_state_of_the_training_is_said() {
    let page = |outlook: &Outlook, training: &Training, full| {
        rendered(locale("en"), outlook, training, full)
    };
    let (none, known) = (Outlook::default(), outlook(metrics(None)));
    let off = Training {
        enabled: false,
        ..Training::default()
    };
    let off = page(&none, &off, true);
    assert!(
        off.contains("forecast_enable") && !off.contains("<progress"),
        "{off}"
    );
    let failed = |why| Training {
        last: Some(LastTraining {
            at: NOW,
            failed: Some(why),
        }),
        next: Some(NOW + 60),
        ..Training::default()
    };
    let (have, need) = (12, 1060);
    let few = failed(forecast::Error::TooFew { have, need });
    let few = page(&none, &few, true);
    assert!(few.contains("There is no forecast yet: too few samples, 12 of 1,060. Stored by now: 302,412 samples."), "{few}");
    assert!(few.contains("12:01:00"), "when the next is due");
    let running = Training {
        running: Some((0.427, "perceptron")),
        ..Training::default()
    };
    let running = page(&known, &running, true);
    assert!(
        running.contains("Trains the neural network \u{b7} 42\u{202f}%")
            && running.contains("value=\"42\""),
        "{running}"
    );
    let full = failed(forecast::Error::Library("disk full".into()));
    let why = "The training of 12:00:00 gave no new model: disk full.";
    assert!(page(&known, &full, true).contains(why));
    assert!(
        !page(&known, &full, false).contains("<button type=\"submit\""),
        "changes are off"
    );
    let mut gone = known;
    gone.horizons.iter_mut().for_each(|h| h.forecast = None);
    let gone = page(&gone, &Training::default(), true);
    assert!(gone.contains("No line now: the newest samples are missing."));
}

fn figure() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        Just(Some(f64::MAX)),
        any::<f64>().prop_map(Some),
        (-2.0..2.0).prop_map(Some)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn figures_that_are_not_known_are_never_nan(
        all in prop::array::uniform8(figure()), w in any::<f32>(), band in any::<Option<f32>>(), which in 0..5_usize,
    ) {
        let [mae, mse, rmse, wape, mape, baseline_mae, skill, coverage] = all;
        let m = Metrics { n: 3, mae, mse, rmse, wape, mape, baseline_mae, skill, coverage, ..Metrics::default() };
        let mut o = outlook(m);
        for h in &mut o.horizons {
            let mut forecast = (**h.forecast.as_ref().unwrap()).clone();
            forecast.points.iter_mut().for_each(|p| (p.w, p.lo, p.hi) = (w, band, Some(w)));
            h.forecast = Some(Arc::new(forecast));
            h.drawn = Arc::new([Tracked { came: w, w, lo: band, ..h.drawn[0] }]);
            let lines = serde_json::to_string(&drawn(h)).unwrap();
            prop_assert!(serde_json::from_str::<serde_json::Value>(&lines).is_ok() && !lines.contains("NaN"), "{}", lines);
        }
        let page = rendered(&Locale::all()[which], &o, &Training::default(), true);
        prop_assert!(!page.contains("NaN") && !page.contains(">inf"), "{}", page);
    }
}
