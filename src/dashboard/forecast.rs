//! Forecast: what the next minute, quarter of an hour and day will bring, what that is worth, and the training.
//!
//! All texts and figures are in the HTML; `forecast.json` has the lines that the script draws, and how far a training
//! is. Everything is read from the immutable [`Outlook`] and [`Training`]; nothing here waits for the forecast.

use askama::Template;
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{
    context::{Context, to_json},
    data::{self, Ahead, Chart, failure, parameter, tenth},
    forecast_words::{self as say, ModelRow, Row},
    locale::Locale,
    page::{Asking, Page, html, json},
    words,
};
use crate::{
    forecast::{
        ModelKind, Outlook, Point,
        outlook::{HorizonOutlook, Training},
    },
    store::Store,
};

/// Values of a horizon that are listed at once; all of them are a click away.
const BRIEF: usize = 6;
/// Values listed at most.
const LISTED: usize = 96;

/// One horizon, in words.
struct Card {
    id: &'static str,
    title: String,
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
    rows: Vec<Row>,
    figures: Vec<(String, String)>,
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
    facts: Vec<(String, String)>,
    failed: Option<String>,
    button: String,
}

#[derive(Template)]
#[template(path = "forecast.html")]
struct View {
    p: Page,
    s: Shown,
    /// The meter that the forecast is about, where this page is about another.
    elsewhere: bool,
}

impl Shown {
    fn of(l: &Locale, outlook: &Outlook, training: &Training, samples: u64, now: f64, zone: &TimeZone) -> Self {
        let cards: Vec<Card> = outlook.horizons.iter().map(|h| Card::of(l, h, now, zone)).collect();
        let failed = training.last.as_ref().and_then(|last| Some(say::failure(l, last.failed.as_deref()?)));
        let count = words::number(l, samples as f64, 0);
        let waiting = cards.is_empty().then(|| match (&training.running, &failed) {
            (Some(_), _) => l.t("fc_first_training").to_owned(),
            (None, Some(why)) => l.with("fc_none_because", &[("why", why), ("n", &count)]),
            (None, None) => l.with("fc_none_yet", &[("n", &count)]),
        });
        let moment = |at: i64| words::moment(l, at as f64, now, zone);
        let mut facts = Vec::new();
        if let Some(trained) = outlook.trained {
            let n = words::number(l, trained.samples as f64, 0);
            let seconds = words::number(l, trained.seconds, 1);
            facts.push((l.t("fc_last_training").to_owned(), moment(trained.at)));
            facts.push((l.t("fc_cpu").to_owned(), format!("{seconds}\u{202f}{}", l.t("unit_s"))));
            facts.push((l.t("fc_learned_from").to_owned(), l.with("fc_samples", &[("n", &n)])));
        }
        facts.push((l.t("fc_kept").to_owned(), l.with("fc_samples", &[("n", &count)])));
        if let Some(next) = training.next.filter(|_| training.running.is_none()) {
            facts.push((l.t("fc_next_training").to_owned(), moment(next)));
        }
        let failed = failed.filter(|_| waiting.is_none() && training.running.is_none()).map(|why| {
            let at = training.last.as_ref().map(|last| moment(last.at)).unwrap_or_default();
            l.with("fc_failed", &[("time", &at), ("why", &why)])
        });
        Self {
            off: !training.enabled,
            waiting,
            progress: Progress::of(l, training),
            facts,
            failed,
            button: l.with("fc_train", &[("n", &count)]),
            cards,
        }
    }
}

impl Progress {
    fn of(l: &Locale, training: &Training) -> Self {
        let percent = training.running.map(|(fraction, _)| (fraction.clamp(0.0, 1.0) * 100.0).floor() as u8);
        let doing = training.running.map(|(_, stage)| say::stage(l, stage)).unwrap_or_default();
        let text = percent.map(|p| format!("{doing} · {}", l.with("fc_percent", &[("p", &p.to_string())]))).unwrap_or_default();
        Self { percent, text }
    }
}

impl Card {
    fn of(l: &Locale, h: &HorizonOutlook, now: f64, zone: &TimeZone) -> Self {
        let id = h.id.name();
        let model = |kind: ModelKind| l.t(&format!("model_{kind}")).to_owned();
        let forecast = h.forecast.as_deref();
        let note = match forecast {
            None => Some(l.t("fc_no_line").to_owned()),
            Some(f) if f.model != h.model => Some(l.with("fc_stands_in", &[("model", &model(f.model))])),
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
            worth: say::worth(l, h),
            state: if h.metrics.skill.is_some_and(|s| s >= say::WORTH) { "live" } else { "none" },
            model: model(h.model),
            about: l.t(&format!("about_{}", h.model)).to_owned(),
            note,
            band: say::band(l, h),
            drawn: least.map(|lead| l.with("fc_drawn", &[("time", &words::span(l, f64::from(lead) * f64::from(h.step)))])),
            brief: points.iter().skip(stretch - 1).step_by(stretch).map(row).collect(),
            rows: if points.len() > BRIEF { points.iter().step_by(every).map(row).collect() } else { Vec::new() },
            figures: say::figures(l, h),
            models: say::models(l, h),
        }
    }
}

fn shown(context: &Context, l: &Locale, samples: u64) -> Shown {
    let (outlook, training) = (context.forecast.outlook.borrow().clone(), context.forecast.training.borrow().clone());
    Shown::of(l, &outlook, &training, samples, context.now().unix, &context.zone())
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let p = Page::new(&context, &asking, "forecast");
    let samples = context.read(Store::sample_count).await.unwrap_or_default();
    let s = shown(&context, asking.l, samples);
    html(&View { elsewhere: p.m > 0, p, s })
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

#[derive(Serialize)]
struct Drawn {
    ts: Vec<i64>,
    w: Vec<f64>,
    forecast: Vec<Ahead>,
}

/// A point of the skill's history: Unix s; percent closer than the last value for each horizon.
type Skill = (i64, [Option<f64>; 3]);

#[derive(Serialize)]
struct Answer {
    training: Progress,
    button: String,
    horizons: Vec<Lines>,
    skills: Vec<Skill>,
}

fn drawn(h: &HorizonOutlook) -> Drawn {
    let end = |w: Option<f32>| w.map(|w| tenth(w.into()));
    Drawn {
        ts: h.drawn.iter().map(|t| t.ts).collect(),
        w: h.drawn.iter().map(|t| tenth(t.came.into())).collect(),
        forecast: h.drawn.iter().map(|t| (t.ts, tenth(t.w.into()), end(t.lo), end(t.hi))).collect(),
    }
}

/// `forecast.json`: lines and progress; with `?part=training` the progress alone.
pub(super) async fn data(State(context): State<Context>, asking: Asking, RawQuery(query): RawQuery) -> Response<Body> {
    let (outlook, training) = (context.forecast.outlook.borrow().clone(), context.forecast.training.borrow().clone());
    let progress = Progress::of(asking.l, &training);
    if parameter(query.as_deref(), "part").as_deref() == Some("training") {
        return json(StatusCode::OK, to_json(&progress));
    }
    let mut horizons = Vec::with_capacity(outlook.horizons.len());
    for h in &outlook.horizons {
        match data::power(&context, data::Range::beside(h.id)).await {
            Ok(chart) => horizons.push(Lines { id: h.id.name(), step: h.step, chart, drawn: drawn(h) }),
            Err(error) => return failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }
    let percent = |s: Option<f32>| s.map(|s| tenth(f64::from(s) * 100.0));
    let skills = outlook.skills.iter().map(|p| (p.ts, p.skill.map(percent))).collect();
    let samples = context.read(Store::sample_count).await.unwrap_or_default();
    let button = asking.l.with("fc_train", &[("n", &words::number(asking.l, samples as f64, 0))]);
    json(StatusCode::OK, to_json(&Answer { training: progress, button, horizons, skills }))
}
