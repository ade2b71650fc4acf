//! Bars a day and a month: up for what was drawn, down for what was fed in, with an axis and a table.

use jiff::civil::Date;

use super::{
    locale::Locale,
    sums::{Sum, Sums, begun},
    words::{self, Figure},
};
use source::prices::Told;
use store::Money;

fn hundredth(v: f64) -> f64 {
    (v * 100.0).round() / 100.0
}

/// A line across a chart, with its figure.
pub(super) struct Tick {
    pub y: f64,
    pub label: String,
}

/// Lines at round figures, up and down from 0: five in the larger direction at most.
fn ticks(l: &Locale, up: f64, down: f64, zero: f64, scale: f64) -> Vec<Tick> {
    let most = up.max(down) / 1000.0;
    if most <= 0.0 {
        return Vec::new();
    }
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|n| n * power)
        .into_iter()
        .find(|step| most / step <= 5.0)
        .unwrap_or(10.0 * power);
    let decimals = usize::from(step < 1.0) + usize::from(step < 0.1);
    let line = |n: i32| {
        let kwh = f64::from(n) * step;
        Tick {
            y: hundredth(zero - kwh * 1000.0 * scale),
            label: format!("{}\u{202f}kWh", words::number(l, kwh.abs(), decimals)),
        }
    };
    let lines = |most: f64| (most / 1000.0 / step + 1e-9).floor() as i32;
    (-lines(down)..=lines(up)).map(line).collect()
}

/// Two bars of one day or month, in percent of the drawing; both lengths in its height.
pub(super) struct Bar {
    pub x: f64,
    pub width: f64,
    pub label_x: f64,
    pub import_y: f64,
    pub import_h: f64,
    pub export_h: f64,
    pub label: String,
    /// The day or the month's first day.
    pub at: Date,
    /// All of it in one line.
    pub hint: String,
    /// Whether the label fits.
    pub labelled: bool,
    /// On a phone it does not.
    pub minor: bool,
    /// Where the label is held: the last one ends with its bar, or a phone's card would cut it.
    pub anchor: &'static str,
}

/// A day or month in words, for the table.
pub(super) struct BarRow {
    pub name: String,
    pub at: Date,
    pub import: Figure,
    pub export: Figure,
    /// What was paid, and what it brought.
    pub cost: String,
    pub income: String,
}

/// Bars up for import, down for export.
pub(super) struct Bars {
    pub id: &'static str,
    pub title: String,
    pub column: String,
    pub bars: Vec<Bar>,
    pub zero: f64,
    /// Whether no figure would be other than 0.
    pub empty: bool,
    pub ticks: Vec<Tick>,
    pub top: String,
    pub bottom: String,
    /// Whether a price of it is known.
    pub money: bool,
    /// Newest first.
    pub rows: Vec<BarRow>,
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

fn bars(l: &Locale, all: &[(Date, Sum)], prices: &Told, naming: &Naming<'_>) -> Bars {
    let up = all.iter().map(|(_, c)| c.net.import).fold(0.0, f64::max);
    let down = all.iter().map(|(_, c)| c.net.export).fold(0.0, f64::max);
    let range = (up + down).max(1.0);
    // One scale for both; what is nothing leaves room for its line all the same.
    let zero = (FLOOR * up / range).clamp(1.0, FLOOR - 1.0);
    let scale = (zero / up.max(1.0)).min((FLOOR - zero) / down.max(1.0));
    let slot = 100.0 / all.len().max(PLACES) as f64;
    let money = |amount: f64, priced: f64| {
        if priced > 0.0 {
            words::money(l, amount, prices.currency.as_deref())
        } else {
            String::from("–")
        }
    };
    let bar = |(i, (date, sum)): (usize, &(Date, Sum))| {
        let c = &sum.net;
        let import_h = hundredth(c.import * scale);
        // Wide bars hold their label.
        let last = i + 1 == all.len() && naming.every > 1;
        let day = (naming.name)(*date);
        let [import, export] = [c.import, c.export].map(|wh| words::kwh(l, wh).to_string());
        let values = [("day", &*day), ("import", &import), ("export", &export)];
        let mut hint = l.with("bar_hint", &values);
        let Money {
            cost,
            income,
            priced,
            paid,
        } = sum.money;
        for (key, amount, known) in [("cost", cost, priced), ("income", income, paid)] {
            if known > 0.0 {
                hint = format!("{hint} · {} {}", l.t(key), money(amount, known));
            }
        }
        Bar {
            x: hundredth((i as f64 + 0.15) * slot),
            width: hundredth(slot * 0.7),
            label_x: hundredth((i as f64 + if last { 0.85 } else { 0.5 }) * slot),
            anchor: if last { "end" } else { "middle" },
            import_y: hundredth(zero - import_h),
            import_h,
            export_h: hundredth(c.export * scale),
            label: (naming.label)(*date),
            at: *date,
            hint,
            labelled: (all.len() - 1 - i).is_multiple_of(naming.every),
            minor: naming.every > 1 && !(all.len() - 1 - i).is_multiple_of(2 * naming.every),
        }
    };
    let row = |(date, sum): &(Date, Sum)| BarRow {
        name: (naming.name)(*date),
        import: words::kwh(l, sum.net.import),
        export: words::kwh(l, sum.net.export),
        cost: money(sum.money.cost, sum.money.priced),
        income: money(sum.money.income, sum.money.paid),
        at: *date,
    };
    Bars {
        id: naming.id,
        title: l.t(naming.title).to_owned(),
        column: l.t(naming.column).to_owned(),
        bars: all.iter().enumerate().map(bar).collect(),
        zero: hundredth(zero),
        empty: up < 50.0 && down < 50.0,
        ticks: ticks(l, up, down, zero, scale),
        money: all
            .iter()
            .any(|(_, sum)| sum.money.priced + sum.money.paid > 0.0),
        top: words::kwh(l, up).to_string(),
        bottom: words::kwh(l, down).to_string(),
        // Nothing is said of days before there was a meter.
        rows: all[begun(all)..].iter().rev().map(row).collect(),
    }
}

/// A chart of the days and, where there is more than one day's record, of the months.
pub(super) fn charts(l: &Locale, sums: &Sums, prices: &Told) -> Vec<Bars> {
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
    let mut out = vec![bars(l, &sums.days, prices, &days)];
    if !sums.months.is_empty() {
        out.push(bars(l, &sums.months, prices, &months));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use jiff::ToSpan;

    use super::*;
    use crate::energy::Both;
    use meter::Counter;

    fn some(days: &[(f64, f64)], months: &[(f64, f64)]) -> Sums {
        let first = jiff::civil::date(2026, 9, 1);
        let counter = |(import, export): &(f64, f64)| {
            let net = Counter {
                import: *import,
                export: *export,
            };
            let money = Money {
                cost: net.import / 1000.0 * 0.3,
                priced: net.import,
                ..Money::default()
            };
            Sum {
                net,
                device: net,
                money,
                followed: false,
            }
        };
        let dates = |step: jiff::Span| (0..).map(move |n| first.saturating_add(step * n));
        Sums {
            today: first,
            days: dates(1.day()).zip(days.iter().map(counter)).collect(),
            months: dates(1.month()).zip(months.iter().map(counter)).collect(),
        }
    }

    #[test]
    fn a_month_is_named_shortly_below_its_bar_and_wholly_in_words() {
        let l = &Locale::all()[0];
        let sums = some(&[(0.0, 0.0)], &[(2000.0, 0.0), (1000.0, 500.0)]);
        let drawn = charts(l, &sums, &Told::default());
        assert_eq!((drawn.len(), drawn[0].id, drawn[1].id), (2, "day", "month"));
        let october = &drawn[1].bars[1];
        assert_eq!(october.label, "Oct");
        let hint = &october.hint;
        assert!(hint.starts_with("Oct 2026: 1.0"), "{hint}");
        assert!(!drawn[1].empty && drawn[0].empty, "zeros are no drawing");
        let drawn = charts(l, &some(&[(0.0, 0.0)], &[]), &Told::default());
        assert_eq!(drawn.len(), 1, "no months, no chart of them");
        assert!(some(&[(0.0, 0.0), (5.0, 0.0)], &[]).yesterday().is_none());
        let sums = some(&[(0.0, 0.0), (5.0, 0.0), (0.0, 0.0)], &[]);
        let drawn = &charts(l, &sums, &Told::default())[0];
        assert_eq!((drawn.bars.len(), drawn.rows.len()), (3, 2));
        assert_eq!(sums.yesterday().map(|sum| sum.net.import), Some(5.0));
    }

    #[test]
    fn what_is_netted_away_and_what_it_cost_are_told_where_they_are_known() {
        let l = &Locale::all()[0];
        let euro = Told {
            currency: Some("EUR".into()),
            ..Told::default()
        };
        let one = some(&[(7040.0, 500.0)], &[]).days_ago(0);
        let card = Both::new(l, "Today", Some(one), &euro);
        assert!(card.device.is_none() && card.income.is_none());
        assert_eq!(card.cost.as_deref(), Some("2.11\u{202f}€"));
        let crossed = Sum {
            device: Counter {
                import: 9040.0,
                export: 2500.0,
            },
            ..one
        };
        let device = Both::new(l, "Today", Some(crossed), &euro).device.unwrap();
        assert_eq!(device.0.to_string(), "9.0\u{202f}kWh");
        let drawn = &charts(l, &some(&[(7040.0, 9500.0)], &[]), &euro)[0];
        let hint = &drawn.bars[0].hint;
        assert!(
            drawn.money && hint.ends_with("Cost 2.11\u{202f}€"),
            "{hint}"
        );
        assert_eq!(&*drawn.rows[0].cost, "2.11\u{202f}€");
        assert_eq!(&*drawn.rows[0].income, "–");
    }

    #[test]
    fn lines_stand_at_round_figures() {
        let l = &Locale::all()[0];
        for (up, down, labels) in [
            (9000.0, 0.0, &["0", "2", "4", "6", "8"][..]),
            (8000.0, 4500.0, &["4", "2", "0", "2", "4", "6", "8"]),
            (300.0, 0.0, &["0.0", "0.1", "0.2", "0.3"]),
        ] {
            let all = ticks(l, up, down, 50.0, 50.0 / f64::max(up, down));
            assert!(all.iter().all(|t| (0.0..=100.0).contains(&t.y)));
            let number = |t: &Tick| t.label.strip_suffix("\u{202f}kWh").map(str::to_owned);
            let numbers: Vec<String> = all.iter().filter_map(number).collect();
            assert_eq!(numbers, labels);
        }
        assert!(ticks(l, 0.0, 0.0, 50.0, 1.0).is_empty());
    }

    #[test]
    fn each_bar_has_its_line_in_the_table_newest_first() {
        let l = &Locale::all()[1];
        let sums = some(&[(7040.0, 9500.0), (1_234_500.0, 0.0)], &[]);
        let drawn = &charts(l, &sums, &Told::default())[0];
        let row = |r: &BarRow| format!("{}: {}, {}", r.name, r.import, r.export);
        let rows: Vec<String> = drawn.rows.iter().map(row).collect();
        let want = [
            "2. Sept.: 1.234,5\u{202f}kWh, 0,0\u{202f}kWh",
            "1. Sept.: 7,0\u{202f}kWh, 9,5\u{202f}kWh",
        ];
        assert_eq!(rows, want);
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
            let drawn = &charts(l, &some(&thousand, &[]), &Told::default())[0];
            let (tops, bottoms) = (drawn.bars.iter(), drawn.bars.iter());
            let top = tops.map(|b| b.import_y).fold(f64::MAX, f64::min);
            let bottom = bottoms.map(|b| drawn.zero + b.export_h);
            let bottom = bottom.fold(0.0, f64::max);
            assert!(
                (0.0..=100.0).contains(&top) && bottom <= FLOOR + 0.02,
                "{all:?}: {top} to {bottom}"
            );
            let sum: f64 = all.iter().map(|(i, e)| i + e).sum();
            assert!(
                sum == 0.0 || bottom - top > FLOOR - 2.5,
                "{all:?}: {top} to {bottom}"
            );
            let within = |b: &Bar| b.x >= 0.0 && b.x + b.width <= 100.0;
            assert!(drawn.bars.iter().all(within));
        }
    }
}
