//! Forecast: what the next minute, quarter of an hour and day will bring, what that is worth, and
//! the training.
//!
//! All texts and figures are in the HTML; `forecast.json` has the lines that the script draws, and
//! how far a training is. Everything is read from the immutable [`Outlook`] and [`Training`];
//! nothing here waits for the forecast.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{
    answer::{Answer, as_json},
    asking::Asking,
    context::Context,
    data::{self, unread},
    forecast_words::{self as say, ModelRow, Row},
    locale::Locale,
    page::{Page, html},
    words,
};
use forecast::{
    HorizonId, ModelKind, Outlook, Point,
    outlook::{HorizonOutlook, Training},
};
use store::{
    Store,
    chart::{Chart, Figure, distances, tenth},
};

/// Values of a horizon that are listed at once; all of them are a click away.
const BRIEF: usize = 6;
/// Values listed at most.
const LISTED: usize = 96;

/// One horizon, in words.
struct Card {
    id: &'static str,
    title: String,
    /// What the line says, a sentence each; of the day ahead only.
    says: Vec<String>,
    /// What the line is worth against the last value.
    worth: String,
    /// `live` where it is worth something.
    state: &'static str,
    model: String,
    about: String,
    /// Why there is no line, or another model speaks.
    note: Option<String>,
    band: String,
    drawn: Option<String>,
    brief: Vec<Row>,
    /// All of them, where the browser has no script to write them from the line.
    rows: Vec<Row>,
    /// Whether there are more than the brief ones.
    more: bool,
    /// By the keys of their names.
    figures: Vec<(&'static str, String)>,
    models: Vec<ModelRow>,
}

/// What the training does, as the page shows it and the script keeps it fresh.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Progress {
    /// Percent while a training is under way.
    percent: Option<u8>,
    text: String,
}

/// The whole page in words; a function of what is known.
struct Shown {
    off: bool,
    cards: Vec<Card>,
    /// Why there is no card.
    waiting: Option<String>,
    progress: Progress,
    /// By the keys of their names.
    facts: Vec<(&'static str, String)>,
    failed: Option<String>,
    button: String,
}

#[derive(Template)]
#[template(path = "../../../templates/forecast.html")]
struct View {
    p: Page,
    s: Shown,
    /// The meter that the forecast is about, where this page is about another.
    elsewhere: bool,
}

impl Shown {
    fn of(
        l: &Locale,
        outlook: &Outlook,
        training: &Training,
        samples: u64,
        now: f64,
        zone: &TimeZone,
        all: bool,
    ) -> Self {
        let cards: Vec<Card> = outlook
            .horizons
            .iter()
            .rev()
            .map(|h| Card::of(l, h, now, zone, all))
            .collect();
        let failed = training
            .last
            .as_ref()
            .and_then(|last| Some(say::failure(l, last.failed.as_ref()?)));
        let count = words::count(l, samples);
        let waiting = cards
            .is_empty()
            .then(|| match (&training.running, &failed) {
                (Some(_), _) => l.t("fc_first_training").to_owned(),
                (None, Some(why)) => l.with("fc_none_because", &[("why", why), ("n", &count)]),
                (None, None) => l.with("fc_none_yet", &[("n", &count)]),
            });
        let moment = |at: i64| words::moment(l, at as f64, now, zone);
        let samples_of = |n: u64| l.with("fc_samples", &[("n", &words::count(l, n))]);
        let mut facts = Vec::new();
        if let Some(trained) = outlook.trained {
            let seconds = words::number(l, trained.seconds, 1);
            facts.extend([
                ("fc_last_training", moment(trained.at)),
                ("fc_cpu", format!("{seconds}\u{202f}{}", l.t("unit_s"))),
                ("fc_learned_from", samples_of(trained.samples as u64)),
            ]);
        }
        facts.push(("fc_kept", samples_of(samples)));
        if let Some(next) = training.next.filter(|_| training.running.is_none()) {
            facts.push(("fc_next_training", moment(next)));
        }
        let failed = failed
            .filter(|_| waiting.is_none() && training.running.is_none())
            .map(|why| {
                let at = training.last.as_ref().map(|last| moment(last.at));
                let values = [("time", &*at.unwrap_or_default()), ("why", &why)];
                l.with("fc_failed", &values)
            });
        Self {
            off: !training.enabled,
            waiting,
            progress: Progress::of(l, training),
            facts,
            failed,
            button: button(l, samples),
            cards,
        }
    }
}

impl Progress {
    fn of(l: &Locale, training: &Training) -> Self {
        let Some((fraction, stage)) = training.running else {
            return Self {
                percent: None,
                text: String::new(),
            };
        };
        let percent = (fraction.clamp(0.0, 1.0) * 100.0).floor() as u8;
        let share = l.with("fc_percent", &[("p", &percent.to_string())]);
        Self {
            percent: Some(percent),
            text: format!("{} · {share}", say::stage(l, stage)),
        }
    }
}

impl Card {
    fn of(l: &Locale, h: &HorizonOutlook, now: f64, zone: &TimeZone, all: bool) -> Self {
        let id = h.id.name();
        let model = |kind: ModelKind| l.t(&format!("model_{kind}")).to_owned();
        let forecast = h.forecast.as_deref();
        let note = match forecast {
            None => Some(l.t("fc_no_line").to_owned()),
            Some(f) if f.model != h.model => {
                Some(l.with("fc_stands_in", &[("model", &model(f.model))]))
            }
            Some(_) => None,
        };
        let points = forecast.map(|f| &f.points[..]).unwrap_or_default();
        let row = |p: &Point| say::row(l, p, h.step, now, zone);
        let every = points.len().div_ceil(LISTED).max(1);
        // The last of each stretch: the list ends where the horizon ends.
        let stretch = points.len().div_ceil(BRIEF).max(1);
        let least = h.drawn.iter().map(|t| t.lead).min();
        Self {
            id,
            title: say::title(l, h),
            says: if h.id == HorizonId::Day {
                say::outlook(l, points, h.step, now, zone)
            } else {
                Vec::new()
            },
            worth: say::worth(l, h),
            state: if say::worth_of(h).is_some_and(|s| s >= say::WORTH) {
                "live"
            } else {
                "none"
            },
            model: model(h.model),
            about: l.t(&format!("about_{}", h.model)).to_owned(),
            note,
            band: say::band(l, h),
            drawn: least
                .map(|lead| words::timed(l, "fc_drawn", f64::from(lead) * f64::from(h.step))),
            brief: points
                .iter()
                .skip(stretch - 1)
                .step_by(stretch)
                .map(row)
                .collect(),
            more: points.len() > BRIEF,
            rows: if all {
                points.iter().step_by(every).map(row).collect()
            } else {
                Vec::new()
            },
            figures: say::figures(l, h),
            models: say::models(l, h),
        }
    }
}

/// The page; with `?all=1` it has every value of the lines as text, which the script writes by itself.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response {
    let mut p = Page::new(&context, &asking, "forecast");
    let all = asking.parameter("all").is_some();
    let samples = p.noting(context.read(Store::sample_count).await);
    let (outlook, training) = known(&context);
    html(&View {
        elsewhere: p.m > 0,
        s: Shown::of(
            asking.l,
            &outlook,
            &training,
            samples.unwrap_or_default(),
            context.now().unix,
            &context.zone(),
            all,
        ),
        p,
    })
}

/// What is forecast, and the training.
pub(super) fn known(context: &Context) -> (Arc<Outlook>, Training) {
    let of = &context.forecast;
    (of.outlook.borrow().clone(), of.training.borrow().clone())
}

/// The lines of one horizon.
#[derive(Serialize)]
struct Lines {
    id: &'static str,
    step: u32,
    /// What was measured, and what is forecast after it.
    chart: Chart,
    /// What had been forecast beside what came: `ts`, `w` (came), `forecast`.
    drawn: Drawn,
}

/// A forecast: W, and the band's ends.
type Said = (Figure, Option<Figure>, Option<Figure>);

#[derive(Serialize)]
struct Drawn {
    /// Between two points, s.
    step: u32,
    /// By distance, as those of the chart.
    ts: Vec<i64>,
    w: Vec<Figure>,
    forecast: Vec<Said>,
}

/// A point of the skill's history: Unix s; percent closer than the last value for each horizon.
type Skill = (i64, [Option<Figure>; 3]);

#[derive(Serialize)]
struct Answered {
    training: Progress,
    button: String,
    horizons: Vec<Lines>,
    /// Where asked for with `?skills=1`: a month of it weighs more than all else.
    #[serde(skip_serializing_if = "Option::is_none")]
    skills: Option<Vec<Skill>>,
}

fn drawn(h: &HorizonOutlook) -> Drawn {
    let end = |w: Option<f32>| w.map(|w| Figure::whole(w.into()));
    let every = h.drawn.len().div_ceil(DRAWN).max(1);
    let points: Vec<_> = h.drawn.iter().step_by(every).collect();
    let mut ts: Vec<i64> = points.iter().map(|t| t.ts).collect();
    distances(ts.iter_mut());
    Drawn {
        step: h
            .step
            .saturating_mul(u32::try_from(every).unwrap_or(u32::MAX)),
        ts,
        w: points
            .iter()
            .map(|t| Figure::whole(t.came.into()))
            .collect(),
        forecast: points
            .iter()
            .map(|t| (Figure::whole(t.w.into()), end(t.lo), end(t.hi)))
            .collect(),
    }
}

/// Points of the past in one drawing, which is half as wide as the page: three of them and all else
/// weigh below 150 kB.
const POINTS: usize = 150;
/// Points of what was forecast beside what came.
const DRAWN: usize = 100;

/// `forecast.json`: lines and progress; with `?part=training` the progress alone, with `?skills=1`
/// the skill's history too.
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Answer {
    let (outlook, training) = known(&context);
    let progress = Progress::of(asking.l, &training);
    if asking.parameter("part").as_deref() == Some("training") {
        return Ok(as_json(&progress));
    }
    let mut horizons = Vec::with_capacity(outlook.horizons.len());
    for h in &outlook.horizons {
        let past = data::beside(h.id);
        let chart = data::power(&context, past, past.seconds(), POINTS).await;
        horizons.push(Lines {
            id: h.id.name(),
            step: h.step,
            chart: chart.map_err(|error| unread(&error))?.whole().by_distance(),
            drawn: drawn(h),
        });
    }
    let percent = |s: Option<f32>| s.map(|s| tenth(f64::from(s) * 100.0));
    let skills = asking.parameter("skills").map(|_| {
        let points = outlook.skills.iter();
        points.map(|p| (p.ts, p.skill.map(percent))).collect()
    });
    let samples = context.read(Store::sample_count).await.unwrap_or_default();
    Ok(as_json(&Answered {
        training: progress,
        button: button(asking.l, samples),
        horizons,
        skills,
    }))
}

/// What the button to train says.
fn button(l: &Locale, samples: u64) -> String {
    l.with("fc_train", &[("n", &words::count(l, samples))])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

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

    fn rendered(l: &'static Locale, outlook: &Outlook, training: &Training, full: bool) -> String {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
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
            s: Shown::of(l, outlook, training, 302_412, NOW as f64, &zone, full),
            elsewhere: false,
        }
        .render()
        .unwrap()
    }

    #[test]
    fn the_page_says_in_words_what_the_lines_are_worth() {
        let page = rendered(
            locale("en"),
            &outlook(metrics(Some(0.12))),
            &Training::default(),
            true,
        );
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
        let said = |skill| say::worth(l, &horizon(HorizonId::Day, metrics(skill)));
        assert_eq!(
            said(Some(0.0049)),
            "No better than the last value, over the last day."
        );
        assert_eq!(
            said(Some(-0.2)),
            "No better than the last value: 20\u{202f}% further off, over the last day."
        );
        assert_eq!(said(None), "What this line is worth is not known yet.");
        assert_eq!(
            said(Some(f64::NAN)),
            "What this line is worth is not known yet."
        );
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
        let by_rmse = |skill_rmse| {
            let mut h = horizon(
                HorizonId::Day,
                Metrics {
                    skill_rmse: Some(skill_rmse),
                    ..metrics(Some(-0.07))
                },
            );
            h.metric = Metric::Rmse;
            (
                say::worth(l, &h),
                Card::of(l, &h, NOW as f64, &TimeZone::UTC, true).state,
            )
        };
        assert_eq!(
            by_rmse(0.1),
            (
                "Big misses 10\u{202f}% smaller than the last value's, over the last day."
                    .to_owned(),
                "live"
            )
        );
        assert_eq!(
            by_rmse(-0.2),
            (
                "No better than the last value: big misses 20\u{202f}% larger, over the last day."
                    .to_owned(),
                "none"
            )
        );
        let mut early = horizon(HorizonId::Day, metrics(Some(0.0)));
        early.compared = false;
        assert_eq!(
            say::worth(l, &early),
            "It says “as now”: two days of data are needed to compare models."
        );
    }

    #[test]
    fn each_state_of_the_training_is_said() {
        let en = locale("en");
        let none = Outlook::default();
        let off = rendered(
            en,
            &none,
            &Training {
                enabled: false,
                ..Training::default()
            },
            true,
        );
        assert!(
            off.contains("forecast_enable") && !off.contains("<progress"),
            "{off}"
        );
        let why = forecast::Error::TooFew {
            have: 12,
            need: 1060,
        };
        let few = Training {
            last: Some(LastTraining {
                at: NOW,
                failed: Some(why),
            }),
            next: Some(NOW + 60),
            ..Training::default()
        };
        let page = rendered(en, &none, &few, true);
        assert!(page.contains("There is no forecast yet: too few samples, 12 of 1,060. Stored by now: 302,412 samples."), "{page}");
        assert!(page.contains("12:01:00"), "when the next is due");
        let running = Training {
            running: Some((0.427, "perceptron")),
            ..Training::default()
        };
        let page = rendered(en, &outlook(metrics(None)), &running, true);
        assert!(
            page.contains("Trains the neural network \u{b7} 42\u{202f}%")
                && page.contains("value=\"42\""),
            "{page}"
        );
        let failed = Training {
            last: Some(LastTraining {
                at: NOW,
                failed: Some(forecast::Error::Library("disk full".into())),
            }),
            ..Training::default()
        };
        assert!(
            rendered(en, &outlook(metrics(None)), &failed, true)
                .contains("The training of 12:00:00 gave no new model: disk full.")
        );
        assert!(
            !rendered(en, &outlook(metrics(None)), &failed, false)
                .contains("<button type=\"submit\""),
            "changes are off"
        );
        let mut gone = outlook(metrics(None));
        for h in &mut gone.horizons {
            h.forecast = None;
        }
        assert!(
            rendered(en, &gone, &Training::default(), true)
                .contains("No line now: the newest samples are missing.")
        );
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
}
