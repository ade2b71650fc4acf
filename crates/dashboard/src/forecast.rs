//! Forecast: what the next minute, quarter of an hour and day will bring, what that is worth, and
//! the training.
//!
//! All texts and figures are in the HTML; `forecast.json` has the lines that the script draws, and
//! how far a training is. Everything is read from the immutable [`Outlook`] and [`Training`];
//! nothing here waits for the forecast.

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use serde::Serialize;

use super::{
    answer::{Answer, as_json},
    asking::Asking,
    context::Context,
    data::{self, unread},
    forecast_words::{self as say, ModelRow, Row},
    locale::Locale,
    page::{Page, html},
    words::{self, Times},
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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
    fn of(times: &Times, outlook: &Outlook, training: &Training, samples: u64, all: bool) -> Self {
        let l = times.l;
        let horizons = outlook.horizons.iter().rev();
        let cards: Vec<Card> = horizons.map(|h| Card::of(times, h, all)).collect();
        let last = training.last.as_ref();
        let failed = last.and_then(|last| Some(say::failure(l, last.failed.as_ref()?)));
        let count = words::count(l, samples);
        let waiting = cards
            .is_empty()
            .then(|| match (&training.running, &failed) {
                (Some(_), _) => l.t("fc_first_training").to_owned(),
                (None, Some(why)) => l.with("fc_none_because", &[("why", why), ("n", &count)]),
                (None, None) => l.with("fc_none_yet", &[("n", &count)]),
            });
        let moment = |at: i64| times.moment(at as f64);
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
                let at = last.map(|last| moment(last.at)).unwrap_or_default();
                l.with("fc_failed", &[("time", &at), ("why", &why)])
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
            return Self::default();
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
    fn of(times: &Times, h: &HorizonOutlook, all: bool) -> Self {
        let l = times.l;
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
        let row = |p: &Point| say::row(times, p, h.step);
        let every = points.len().div_ceil(LISTED).max(1);
        // The last of each stretch: the list ends where the horizon ends.
        let stretch = points.len().div_ceil(BRIEF).max(1);
        let least = h.drawn.iter().map(|t| t.lead).min();
        Self {
            id: h.id.name(),
            title: say::title(l, h),
            says: if h.id == HorizonId::Day {
                say::outlook(times, points, h.step)
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
    let (times, samples) = (context.times(asking.l), samples.unwrap_or_default());
    html(&View {
        elsewhere: p.m > 0,
        s: Shown::of(&times, &outlook, &training, samples, all),
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
#[path = "forecast_tests.rs"]
mod forecast_tests;
