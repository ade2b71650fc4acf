//! Energy: today, yesterday, this month; bars a day and a month; the counters a phase.

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
    data::failure,
    locale::Locale,
    page::{Asking, Page, html, json},
    words::{self, Figure},
};
use meter::Counter;
use store::EnergySpan;
use vocab::Phase;

/// Days drawn.
const DAYS: i64 = 30;
/// Months drawn.
const MONTHS: i64 = 12;

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
    Counter {
        import: a.import + b.import,
        export: a.export + b.export,
    }
}

/// Where days and months begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Calendar {
    /// The last days, oldest first, today last.
    days: Vec<Date>,
    /// First days of the last months, this one last.
    months: Vec<Date>,
}

impl Calendar {
    /// Of Unix time `now`.
    pub fn new(now: i64, zone: &TimeZone) -> Self {
        let today = zone
            .to_datetime(Timestamp::from_second(now).unwrap_or_default())
            .date();
        let days = (0..DAYS)
            .rev()
            .filter_map(|back| today.checked_sub(back.days()).ok())
            .collect();
        let months = (0..MONTHS)
            .rev()
            .filter_map(|back| today.first_of_month().checked_sub(back.months()).ok())
            .collect();
        Self { days, months }
    }

    /// Unix times at which the days begin, and the end of today so far; the same of the months.
    pub fn borders(&self, now: i64, zone: &TimeZone) -> (Vec<i64>, Vec<i64>) {
        let starts = |dates: &[Date]| {
            let start = |d: &Date| {
                zone.to_timestamp(d.at(0, 0, 0, 0))
                    .map_or(0, Timestamp::as_second)
            };
            // The next quarter of an hour: the store counts in those.
            dates
                .iter()
                .map(start)
                .chain([(now / 900 + 1) * 900])
                .collect()
        };
        (starts(&self.days), starts(&self.months))
    }
}

impl Sums {
    /// From the store's energy between the calendar's borders.
    pub(super) fn new(calendar: &Calendar, days: &[EnergySpan], months: &[EnergySpan]) -> Self {
        let sum = |span: Option<&EnergySpan>| {
            span.and_then(|s| s.phases)
                .map(|all| all.iter().fold(Counter::default(), |t, p| plus(t, *p)))
        };
        let all = |dates: &[Date], spans: &[EnergySpan]| -> Vec<(Date, Option<Counter>)> {
            dates
                .iter()
                .enumerate()
                .map(|(i, d)| (*d, sum(spans.get(i))))
                .collect()
        };
        let known: Vec<(Date, Option<Counter>)> = all(&calendar.months, months)
            .into_iter()
            .skip_while(|(_, c)| c.is_none())
            .collect();
        let flat = |list: Vec<(Date, Option<Counter>)>| {
            list.into_iter()
                .map(|(d, c)| (d, c.unwrap_or_default()))
                .collect()
        };
        Self {
            today: calendar.days.last().copied().unwrap_or_default(),
            days: flat(all(&calendar.days, days)),
            months: flat(known),
        }
    }

    /// Energy of so many days ago.
    #[must_use]
    pub fn days_ago(&self, n: usize) -> Counter {
        self.days
            .len()
            .checked_sub(n + 1)
            .and_then(|i| self.days.get(i))
            .map(|(_, c)| *c)
            .unwrap_or_default()
    }

    /// Energy of this month.
    #[must_use]
    pub fn this_month(&self) -> Counter {
        let first = self.today.first_of_month();
        self.months
            .iter()
            .find(|(month, _)| *month == first)
            .map(|(_, c)| *c)
            .unwrap_or_default()
    }
}

/// A card with both directions.
pub(super) struct Both {
    pub title: String,
    pub import: Figure,
    pub export: Figure,
}

impl Both {
    /// Of an energy that is known, else with dashes.
    pub fn new(l: &Locale, title: &str, energy: Option<Counter>) -> Self {
        let figure = |wh: Option<f64>| wh.map_or_else(words::no_kwh, |wh| words::kwh(l, wh));
        Self {
            title: title.to_owned(),
            import: figure(energy.map(|e| e.import)),
            export: figure(energy.map(|e| e.export)),
        }
    }
}

/// Two bars of one day or month, in percent of the drawing; both lengths in its height.
struct Bar {
    x: f64,
    width: f64,
    label_x: f64,
    import_y: f64,
    import_h: f64,
    export_h: f64,
    label: String,
    /// The day or the month's first day.
    at: Date,
    /// All of it in one line.
    hint: String,
    /// Whether the label fits.
    labelled: bool,
    /// Where the label is held: the last one ends with its bar, or a phone's card would cut it.
    anchor: &'static str,
}

/// A day or month in words, for the table.
struct BarRow {
    name: String,
    import: Figure,
    export: Figure,
}

/// Bars up for import, down for export.
struct Bars {
    id: &'static str,
    title: String,
    column: String,
    bars: Vec<Bar>,
    zero: f64,
    /// Whether no figure would be other than 0.
    empty: bool,
    top: String,
    bottom: String,
    /// Newest first.
    rows: Vec<BarRow>,
}

/// Where the bars end, percent of the drawing's height: below stand the labels.
const FLOOR: f64 = 88.0;
/// Fewest places for bars: one alone is no wall.
const PLACES: usize = 6;

/// How bars of one sort are named and labelled.
struct Naming<'a> {
    /// `day` or `month`.
    id: &'static str,
    /// Key of the title.
    title: &'a str,
    /// Key of the table's first column.
    column: &'a str,
    /// In the table.
    name: &'a dyn Fn(Date) -> String,
    /// Below the bar.
    label: &'a dyn Fn(Date) -> String,
    /// Every so many bars have a label, counted from the newest.
    every: usize,
}

fn bars(l: &Locale, all: &[(Date, Counter)], naming: &Naming<'_>) -> Bars {
    let up = all.iter().map(|(_, c)| c.import).fold(0.0, f64::max);
    let down = all.iter().map(|(_, c)| c.export).fold(0.0, f64::max);
    let range = (up + down).max(1.0);
    // One scale for both; what is nothing leaves room for its line all the same.
    let zero = (FLOOR * up / range).clamp(1.0, FLOOR - 1.0);
    let scale = (zero / up.max(1.0)).min((FLOOR - zero) / down.max(1.0));
    let slot = 100.0 / all.len().max(PLACES) as f64;
    let hundredth = |v: f64| (v * 100.0).round() / 100.0;
    let bar = |(i, (date, c)): (usize, &(Date, Counter))| {
        let import_h = hundredth(c.import * scale);
        // Wide bars hold their label.
        let last = i + 1 == all.len() && naming.every > 1;
        let hint = l.with(
            "bar_hint",
            &[
                ("day", &(naming.name)(*date)),
                ("import", &words::kwh(l, c.import).to_string()),
                ("export", &words::kwh(l, c.export).to_string()),
            ],
        );
        Bar {
            x: hundredth((i as f64 + 0.15) * slot),
            width: hundredth(slot * 0.7),
            label_x: hundredth(if last {
                (i as f64 + 0.85) * slot
            } else {
                (i as f64 + 0.5) * slot
            }),
            anchor: if last { "end" } else { "middle" },
            import_y: hundredth(zero - import_h),
            import_h,
            export_h: hundredth(c.export * scale),
            label: (naming.label)(*date),
            at: *date,
            hint,
            labelled: (all.len() - 1 - i).is_multiple_of(naming.every),
        }
    };
    let row = |(date, c): &(Date, Counter)| BarRow {
        name: (naming.name)(*date),
        import: words::kwh(l, c.import),
        export: words::kwh(l, c.export),
    };
    Bars {
        id: naming.id,
        title: l.t(naming.title).to_owned(),
        column: l.t(naming.column).to_owned(),
        bars: all.iter().enumerate().map(bar).collect(),
        zero: hundredth(zero),
        empty: up < 50.0 && down < 50.0,
        top: words::kwh(l, up).to_string(),
        bottom: words::kwh(l, down).to_string(),
        rows: all.iter().rev().map(row).collect(),
    }
}

/// A chart of the days and, where there is more than one day's record, of the months.
fn charts(l: &Locale, sums: &Sums) -> Vec<Bars> {
    let day = |d: Date| words::day(l, d);
    let month = |d: Date| words::month(l, d.month()).to_owned();
    // At most twelve, so a month's name says which: with the year beside it the labels of a phone
    // overlap.
    let whole = |d: Date| format!("{} {}", month(d), d.year());
    let days = Naming {
        id: "day",
        title: "by_day",
        column: "col_day",
        name: &day,
        label: &day,
        every: 6,
    };
    let months = Naming {
        id: "month",
        title: "by_month",
        column: "col_month",
        name: &whole,
        label: &month,
        every: 1,
    };
    let mut out = vec![bars(l, &sums.days, &days)];
    if !sums.months.is_empty() {
        out.push(bars(l, &sums.months, &months));
    }
    out
}

/// A row of the counters.
struct Row {
    name: &'static str,
    import: Figure,
    export: Figure,
}

#[derive(Template)]
#[template(path = "../../../templates/energy.html")]
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
    let mut p = Page::new(&context, &asking, "energy");
    let l = asking.l;
    let sums = p.noting(context.sums(p.m).await);
    let sums = sums.as_ref();
    let cards = vec![
        Both::new(l, l.t("today"), sums.map(|sums| sums.days_ago(0))),
        Both::new(l, l.t("yesterday"), sums.map(|sums| sums.days_ago(1))),
        Both::new(l, l.t("this_month"), sums.map(Sums::this_month)),
    ];
    let endpoint = context.meter(p.m);
    let snapshot = endpoint.view().snapshot.clone();
    let rows = snapshot.energy.map_or_else(Vec::new, |energy| {
        let row = |p: Phase| {
            let c = energy.phases[p.index()];
            Row {
                name: ["L1", "L2", "L3"][p.index()],
                import: words::kwh(l, c.import),
                export: words::kwh(l, c.export),
            }
        };
        Phase::ALL.map(row).into()
    });
    let total = snapshot
        .energy_totals()
        .map(|c| (words::kwh(l, c.import), words::kwh(l, c.export)));
    let now = context.now();
    let reset_at = context
        .store
        .counters(&endpoint.meter)
        .filter(|row| row.reset_at > 0.0)
        .map(|row| words::moment(l, row.reset_at, now.unix, &context.zone()));
    html(&View {
        charts: sums.map_or_else(Vec::new, |sums| charts(l, sums)),
        p,
        cards,
        rows,
        total,
        net: snapshot.energy_net,
        reset_at,
    })
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
    let sums = match context.sums(asking.m).await {
        Ok(sums) => sums,
        Err(error) => return failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    let lines = |all: &[(Date, Counter)]| {
        let round = |wh: f64| (wh * 100.0).round() / 100.0;
        all.iter()
            .map(|(d, c)| Line {
                date: d.to_string(),
                import_wh: round(c.import),
                export_wh: round(c.export),
            })
            .collect()
    };
    let zone = context.zone().iana_name().map(ToOwned::to_owned);
    json(
        StatusCode::OK,
        to_json(&Json {
            zone,
            days: lines(&sums.days),
            months: lines(&sums.months),
        }),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn days_are_those_of_the_house() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        // 2026-03-29 has 23 hours there.
        let now = "2026-03-30T10:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .as_second();
        let calendar = Calendar::new(now, &zone);
        let (days, months) = calendar.borders(now, &zone);
        assert_eq!((days.len(), months.len()), (31, 13));
        assert!(
            days.is_sorted()
                && months.is_sorted()
                && days.iter().chain(&months).all(|t| t % 900 == 0)
        );
        assert_eq!(days[29] - days[28], 23 * 3600);
        let span = |from: i64, to: i64, wh: f64| EnergySpan {
            from,
            to,
            phases: Some(
                [Counter {
                    import: wh,
                    export: 1.0,
                }; 3],
            ),
        };
        let spans: Vec<EnergySpan> = days
            .windows(2)
            .enumerate()
            .map(|(i, b)| span(b[0], b[1], i as f64))
            .collect();
        let mut by_month: Vec<EnergySpan> =
            months.windows(2).map(|b| span(b[0], b[1], 7.0)).collect();
        by_month[..10].iter_mut().for_each(|s| s.phases = None);
        let sums = Sums::new(&calendar, &spans, &by_month);
        assert_eq!(sums.today.to_string(), "2026-03-30");
        assert!(
            (sums.days_ago(0).import - 87.0).abs() < 1e-9
                && (sums.days_ago(1).import - 84.0).abs() < 1e-9
        );
        assert_eq!(
            sums.months.len(),
            2,
            "months before the first record are left out"
        );
        assert!((sums.this_month().import - 21.0).abs() < 1e-9);
        assert_eq!(Sums::default().days_ago(1), Counter::default());
    }

    fn some(days: &[(f64, f64)], months: &[(f64, f64)]) -> Sums {
        let first = jiff::civil::date(2026, 9, 1);
        let counter = |(import, export): &(f64, f64)| Counter {
            import: *import,
            export: *export,
        };
        let day = |(i, c): (usize, &(f64, f64))| {
            (first.checked_add((i as i64).days()).unwrap(), counter(c))
        };
        let month = |(i, c): (usize, &(f64, f64))| {
            (first.checked_add((i as i64).months()).unwrap(), counter(c))
        };
        Sums {
            today: first,
            days: days.iter().enumerate().map(day).collect(),
            months: months.iter().enumerate().map(month).collect(),
        }
    }

    #[test]
    fn a_month_is_named_shortly_below_its_bar_and_wholly_in_words() {
        let l = &Locale::all()[0];
        let drawn = charts(l, &some(&[(0.0, 0.0)], &[(2000.0, 0.0), (1000.0, 500.0)]));
        assert_eq!((drawn.len(), drawn[0].id, drawn[1].id), (2, "day", "month"));
        assert_eq!(drawn[1].bars[1].label, "Oct");
        assert!(
            drawn[1].bars[1].hint.starts_with("Oct 2026: 1.0"),
            "{}",
            drawn[1].bars[1].hint
        );
        assert!(!drawn[1].empty && drawn[0].empty, "zeros are no drawing");
        assert_eq!(
            charts(l, &some(&[(0.0, 0.0)], &[])).len(),
            1,
            "no months, no chart of them"
        );
    }

    #[test]
    fn each_bar_has_its_line_in_the_table_newest_first() {
        let l = &Locale::all()[1];
        let drawn = &charts(l, &some(&[(7040.0, 9500.0), (1_234_500.0, 0.0)], &[]))[0];
        let rows: Vec<(&str, String, String)> = drawn
            .rows
            .iter()
            .map(|r| (&*r.name, r.import.to_string(), r.export.to_string()))
            .collect();
        assert_eq!(
            rows,
            [
                (
                    "2. Sept.",
                    "1.234,5\u{202f}kWh".to_owned(),
                    "0,0\u{202f}kWh".to_owned()
                ),
                (
                    "1. Sept.",
                    "7,0\u{202f}kWh".to_owned(),
                    "9,5\u{202f}kWh".to_owned()
                )
            ]
        );
    }

    #[test]
    fn bars_use_the_height_and_stay_within() {
        let l = &Locale::all()[0];
        for all in [
            [(10.0, 20.0), (5.0, 1.0)],
            [(10.0, 0.0), (5.0, 0.0)],
            [(0.0, 8.0), (0.0, 1.0)],
            [(0.0, 0.0), (0.0, 0.0)],
        ] {
            let thousand = all.map(|(i, e)| (i * 1000.0, e * 1000.0));
            let drawn = &charts(l, &some(&thousand, &[]))[0];
            let top = drawn
                .bars
                .iter()
                .map(|b| b.import_y)
                .fold(f64::MAX, f64::min);
            let bottom = drawn
                .bars
                .iter()
                .map(|b| drawn.zero + b.export_h)
                .fold(0.0, f64::max);
            assert!(
                (0.0..=100.0).contains(&top) && bottom <= FLOOR + 0.02,
                "{all:?}: {top} to {bottom}"
            );
            let sum: f64 = all.iter().map(|(i, e)| i + e).sum();
            assert!(
                sum == 0.0 || bottom - top > FLOOR - 2.5,
                "{all:?}: {top} to {bottom}"
            );
            assert!(
                drawn
                    .bars
                    .iter()
                    .all(|b| b.x >= 0.0 && b.x + b.width <= 100.0)
            );
        }
    }
}
