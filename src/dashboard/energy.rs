//! Energy: today, yesterday, this month; bars a day and a month; the counters a phase.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde::Serialize;

use super::{
    context::{Context, to_json},
    locale::Locale,
    page::{Asking, Page, html, json},
    words::{self, Figure},
};
use crate::{
    meter::{Counter, Phase},
    store::HourEnergy,
};

/// Days drawn.
const DAYS: i64 = 30;
/// Months drawn.
const MONTHS: usize = 12;

/// Energy of a meter by day and month of the house's time zone, Wh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Today's date.
    pub today: Date,
    /// The last 30 days, oldest first, today last; days without records count 0.
    pub days: Vec<(Date, Counter)>,
    /// The last months with records, by their first day.
    pub months: Vec<(Date, Counter)>,
}

fn plus(a: Counter, b: Counter) -> Counter {
    Counter { import: a.import + b.import, export: a.export + b.export }
}

impl Sums {
    /// From energy by hour, at Unix time `now`.
    #[must_use]
    pub fn new(hours: &[HourEnergy], now: i64, zone: &TimeZone) -> Self {
        let date = |unix: i64| Timestamp::from_second(unix).unwrap_or_default().to_zoned(zone.clone()).date();
        let today = date(now);
        let mut by_day: BTreeMap<Date, Counter> = BTreeMap::new();
        for hour in hours {
            let sum = hour.phases.iter().fold(Counter::default(), |t, p| plus(t, *p));
            let day = by_day.entry(date(hour.ts)).or_default();
            *day = plus(*day, sum);
        }
        let mut by_month: BTreeMap<Date, Counter> = BTreeMap::new();
        for (day, sum) in &by_day {
            let month = by_month.entry(day.first_of_month()).or_default();
            *month = plus(*month, *sum);
        }
        let days = (0..DAYS).rev().filter_map(|back| today.checked_sub(back.days()).ok()).map(|d| (d, by_day.get(&d).copied().unwrap_or_default()));
        let months: Vec<(Date, Counter)> = by_month.into_iter().collect();
        let skip = months.len().saturating_sub(MONTHS);
        Self { today, days: days.collect(), months: months.into_iter().skip(skip).collect() }
    }

    /// Energy of so many days ago.
    #[must_use]
    pub fn days_ago(&self, n: usize) -> Counter {
        self.days.len().checked_sub(n + 1).and_then(|i| self.days.get(i)).map(|(_, c)| *c).unwrap_or_default()
    }

    /// Energy of this month.
    #[must_use]
    pub fn this_month(&self) -> Counter {
        let first = self.today.first_of_month();
        self.months.iter().find(|(month, _)| *month == first).map(|(_, c)| *c).unwrap_or_default()
    }
}

/// A card with both directions.
pub(super) struct Both {
    pub title: String,
    pub import: Figure,
    pub export: Figure,
}

impl Both {
    pub fn new(l: &Locale, title: &str, energy: Counter) -> Self {
        Self { title: title.to_owned(), import: words::kwh(l, energy.import), export: words::kwh(l, energy.export) }
    }
}

/// Two bars of one day or month, in the drawing's own coordinates.
struct Bar {
    x: f64,
    width: f64,
    import_y: f64,
    import_h: f64,
    export_h: f64,
    label: String,
    hint: String,
    /// Whether the label fits.
    labelled: bool,
}

/// Bars up for import, down for export.
struct Bars {
    title: String,
    bars: Vec<Bar>,
    zero: f64,
    top: String,
    bottom: String,
}

/// Drawing's size.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;

fn bars(l: &Locale, title: &str, all: &[(Date, Counter)], name: impl Fn(Date) -> String, every: usize) -> Bars {
    let up = all.iter().map(|(_, c)| c.import).fold(0.0, f64::max);
    let down = all.iter().map(|(_, c)| c.export).fold(0.0, f64::max);
    let range = (up + down).max(1.0);
    let zero = (HEIGHT * up.max(range * 0.02) / range).min(HEIGHT - 2.0);
    let slot = WIDTH / all.len().max(1) as f64;
    let bar = |(i, (date, c)): (usize, &(Date, Counter))| {
        let import_h = zero * if up > 0.0 { c.import / up } else { 0.0 };
        let export_h = (HEIGHT - zero) * if down > 0.0 { c.export / down } else { 0.0 };
        let label = name(*date);
        let hint = l.with(
            "bar_hint",
            &[("day", &label), ("import", &words::kwh(l, c.import).to_string()), ("export", &words::kwh(l, c.export).to_string())],
        );
        Bar { x: i as f64 * slot + slot * 0.15, width: slot * 0.7, import_y: zero - import_h, import_h, export_h, label, hint, labelled: (all.len() - 1 - i) % every == 0 }
    };
    let bars = all.iter().enumerate().map(bar).collect();
    Bars { title: title.to_owned(), bars, zero, top: words::kwh(l, up).to_string(), bottom: words::kwh(l, down).to_string() }
}

/// A row of the counters.
struct Row {
    name: &'static str,
    import: Figure,
    export: Figure,
}

#[derive(Template)]
#[template(path = "energy.html")]
struct View {
    p: Page,
    cards: Vec<Both>,
    charts: Vec<Bars>,
    rows: Vec<Row>,
    total: Option<(Figure, Figure)>,
    /// Netted totals, where they are served.
    net: bool,
    reset_at: Option<String>,
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let p = Page::new(&context, &asking, "energy");
    let l = asking.l;
    let sums = context.sums(p.m).await;
    let cards = vec![
        Both::new(l, l.t("today"), sums.days_ago(0)),
        Both::new(l, l.t("yesterday"), sums.days_ago(1)),
        Both::new(l, l.t("this_month"), sums.this_month()),
    ];
    let mut charts = vec![bars(l, l.t("by_day"), &sums.days, |d| words::day(l, d), 5)];
    if !sums.months.is_empty() {
        charts.push(bars(l, l.t("by_month"), &sums.months, |d| format!("{} {}", words::month(l, d.month()), d.year()), 1));
    }
    let endpoint = context.meter(p.m);
    let snapshot = endpoint.view().snapshot.clone();
    let rows = snapshot.energy.map_or_else(Vec::new, |energy| {
        let row = |p: Phase| {
            let c = energy.phases[p.index()];
            Row { name: ["L1", "L2", "L3"][p.index()], import: words::kwh(l, c.import), export: words::kwh(l, c.export) }
        };
        Phase::ALL.map(row).into()
    });
    let total = snapshot.energy_totals().map(|c| (words::kwh(l, c.import), words::kwh(l, c.export)));
    let now = context.now();
    let reset_at = context
        .store
        .counters(&endpoint.meter)
        .filter(|row| row.reset_at > 0.0)
        .map(|row| words::moment(l, row.reset_at, now.unix, &context.zone()));
    html(&View { p, cards, charts, rows, total, net: snapshot.energy_net, reset_at })
}

#[derive(Serialize)]
struct Line {
    date: String,
    import_wh: f64,
    export_wh: f64,
}

#[derive(Serialize)]
struct Json {
    zone: Option<String>,
    days: Vec<Line>,
    months: Vec<Line>,
}

/// `energy.json`: Wh by day and month.
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let sums = context.sums(asking.m).await;
    let lines = |all: &[(Date, Counter)]| {
        let round = |wh: f64| (wh * 100.0).round() / 100.0;
        all.iter().map(|(d, c)| Line { date: d.to_string(), import_wh: round(c.import), export_wh: round(c.export) }).collect()
    };
    let zone = context.zone().iana_name().map(ToOwned::to_owned);
    json(StatusCode::OK, to_json(&Json { zone, days: lines(&sums.days), months: lines(&sums.months) }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn hours_become_days_of_the_house() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        // 2026-03-29 has 23 hours there.
        let start = "2026-03-28T23:00:00Z".parse::<Timestamp>().unwrap().as_second();
        let hour = |i: i64| HourEnergy { ts: start + i * 3600, phases: [Counter { import: 100.0, export: 1.0 }; 3] };
        let hours: Vec<HourEnergy> = (0..24).map(hour).collect();
        let sums = Sums::new(&hours, start + 24 * 3600, &zone);
        assert_eq!(sums.today.to_string(), "2026-03-30");
        assert!((sums.days_ago(1).import - 23.0 * 300.0).abs() < 1e-9, "{:?}", sums.days_ago(1));
        assert!((sums.days_ago(0).import - 300.0).abs() < 1e-9);
        assert!((sums.this_month().export - 72.0).abs() < 1e-9);
        assert_eq!(sums.days.len(), 30);
        assert_eq!(Sums::new(&[], start, &zone).days_ago(1), Counter::default());
    }
}
