//! Energy: today, yesterday, this month; bars a day and a month; the counters a phase.

use askama::Template;
use axum::{
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use jiff::civil::Date;
use serde::Serialize;

use super::{
    answer::{as_json, failure},
    asking::Asking,
    bars::{Bars, charts},
    context::Context,
    locale::Locale,
    page::{Page, html},
    sums::{Sum, Sums},
    words::{self, Figure},
};
use source::prices::{Counted, Tariff, Told};
use vocab::Phase;

/// A card with both directions.
pub(super) struct Both {
    pub title: String,
    pub import: Figure,
    pub export: Figure,
    /// As the device counts, where that is something else.
    pub device: Option<(Figure, Figure)>,
    /// What was paid and what it brought, where prices are known.
    pub cost: Option<String>,
    pub income: Option<String>,
}

impl Both {
    /// Of an energy that is known, else with dashes.
    pub fn new(l: &Locale, title: &str, energy: Option<Sum>, prices: &Told) -> Self {
        let none = || Figure::none("kWh");
        let figure = |wh: Option<f64>| wh.map_or_else(none, |wh| words::kwh(l, wh));
        let money = |amount: f64, priced: f64| {
            (priced > 0.0).then(|| words::money(l, amount, prices.currency.as_deref()))
        };
        let sum = energy.unwrap_or_default();
        Self {
            title: title.to_owned(),
            import: figure(energy.map(|e| e.net.import)),
            export: figure(energy.map(|e| e.net.export)),
            device: sum.differs().then(|| {
                let device = sum.device;
                (words::kwh(l, device.import), words::kwh(l, device.export))
            }),
            cost: money(sum.money.cost, sum.money.priced),
            income: money(sum.money.income, sum.money.paid),
        }
    }
}

/// A row of the counters.
struct Row {
    name: &'static str,
    import: Figure,
    export: Figure,
}

/// A counter with a price of its own: today, yesterday, this month.
struct TariffRow {
    name: String,
    /// Its entity and price.
    about: String,
    cells: [(Figure, String); 3],
}

/// Several counters with prices of their own, each named, and what they come to.
#[derive(Default)]
struct Tariffs {
    rows: Vec<TariffRow>,
    /// `cost`, `income`, with the money of the three times.
    sums: Vec<(&'static str, [String; 3])>,
    /// Those of which nothing is known.
    silent: String,
}

impl Tariffs {
    fn of(l: &Locale, prices: &Told) -> Self {
        let money = |amount: f64| words::money(l, amount, prices.currency.as_deref());
        let row = |t: &Tariff| {
            let price = t.price.map(|price| {
                let per = words::price(l, price, prices.currency.as_deref());
                format!(" · {per}")
            });
            let way = if t.fed {
                l.t("to_grid")
            } else {
                l.t("from_grid")
            };
            TariffRow {
                name: t.name.clone(),
                about: format!("{way} · {}{}", t.counter, price.unwrap_or_default()),
                cells: t
                    .counted
                    .map(|c| (words::kwh(l, c.kwh * 1000.0), money(c.money))),
            }
        };
        let sum = |fed: bool| {
            let own: Vec<&Tariff> = prices.tariffs.iter().filter(|t| t.fed == fed).collect();
            let all = [0, 1, 2].map(|n| own.iter().map(|t| t.counted[n].money).sum::<f64>());
            let key = if fed { "income" } else { "cost" };
            (!own.is_empty()).then(|| (key, all.map(money)))
        };
        let silent: Vec<&str> = prices
            .tariffs
            .iter()
            .filter(|t| t.kwh.is_none() && t.counted == [Counted::default(); 3])
            .map(|t| &*t.name)
            .collect();
        Self {
            rows: prices.tariffs.iter().map(row).collect(),
            sums: [false, true].into_iter().filter_map(sum).collect(),
            silent: silent.join(", "),
        }
    }
}

#[derive(Template)]
#[template(path = "../../../templates/energy.html")]
struct View {
    p: Page,
    cards: Vec<Both>,
    tariffs: Tariffs,
    /// Whether one of them says what the device counts.
    device: bool,
    /// Whether energy entities counted some of it.
    followed: bool,
    /// What of prices is to be said.
    prices: Option<&'static str>,
    /// Until when what was paid is known, where that comes later.
    late: Option<String>,
    charts: Vec<Bars>,
    rows: Vec<Row>,
    total: Option<(Figure, Figure)>,
    /// Netted totals, where they are served.
    net: bool,
    reset_at: Option<String>,
}

/// What of prices is to be said. They are known as soon as Home Assistant says them, before
/// anything was paid by them.
fn of_prices(prices: &Told, paid: bool, sensors: bool) -> Option<&'static str> {
    let known = paid || prices.import.or(prices.export).is_some() || prices.until.is_some();
    match (!prices.tariffs.is_empty(), known) {
        (true, _) => Some("prices_tariffs"),
        (false, true) if sensors => Some("prices_from"),
        (false, true) => Some("prices_demo"),
        (false, false) => sensors.then_some("prices_none"),
    }
}

/// The page.
pub(super) async fn page(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let mut p = Page::new(&context, &asking, "energy");
    let l = asking.l;
    let sums = p.noting(context.sums(p.m).await);
    let sums = sums.as_ref();
    let prices = context.tariff.borrow().clone();
    let card = |key, sum| Both::new(l, l.t(key), sum, &prices);
    let cards = vec![
        card("today", sums.map(|sums| sums.days_ago(0))),
        card("yesterday", sums.and_then(Sums::yesterday)),
        card("this_month", sums.map(Sums::this_month)),
    ];
    let paid = cards.iter().any(|c| c.cost.is_some() || c.income.is_some());
    let said = of_prices(&prices, paid, p.sensors);
    let times = context.times(l);
    let late = prices.until.map(|until| match until {
        0 => l.t("prices_awaited").to_owned(),
        until => l.with(
            "prices_late",
            &[("time", &times.dated(until as f64, times.now, false))],
        ),
    });
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
    let counters = context.store.counters(&endpoint.meter);
    let reset_at = counters.filter(|row| row.reset_at > 0.0);
    let reset_at = reset_at.map(|row| times.moment(row.reset_at));
    html(&View {
        charts: sums.map_or_else(Vec::new, |sums| charts(l, sums, &prices)),
        p,
        followed: sums.is_some_and(|sums| sums.this_month().followed || sums.days_ago(1).followed),
        late,
        device: cards.iter().any(|card| card.device.is_some()),
        prices: said,
        cards,
        tariffs: Tariffs::of(l, &prices),
        rows,
        total,
        net: snapshot.energy_net,
        reset_at,
    })
}

#[derive(Serialize)]
struct Line {
    date: String,
    /// Netted over the phases.
    import_wh: f64,
    export_wh: f64,
    /// As the device counts.
    device_import_wh: f64,
    device_export_wh: f64,
    /// What the netted energy cost and brought, as far as prices are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    income: Option<f64>,
}

#[derive(Serialize)]
struct Json {
    zone: Option<String>,
    currency: Option<String>,
    days: Vec<Line>,
    months: Vec<Line>,
}

/// `energy.json`: Wh by day and month, and money where prices are known.
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Response<Body> {
    let sums = match context.sums(asking.m).await {
        Ok(sums) => sums,
        Err(error) => return failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    let lines = |all: &[(Date, Sum)]| {
        let round = |wh: f64| (wh * 100.0).round() / 100.0;
        let amount = |v: f64, known: f64| (known > 0.0).then(|| (v * 10_000.0).round() / 10_000.0);
        all.iter()
            .map(|(d, sum)| Line {
                date: d.to_string(),
                import_wh: round(sum.net.import),
                export_wh: round(sum.net.export),
                device_import_wh: round(sum.device.import),
                device_export_wh: round(sum.device.export),
                cost: amount(sum.money.cost, sum.money.priced),
                income: amount(sum.money.income, sum.money.paid),
            })
            .collect()
    };
    let zone = context.zone().iana_name().map(ToOwned::to_owned);
    as_json(&Json {
        zone,
        currency: context.tariff.borrow().currency.clone(),
        days: lines(&sums.days),
        months: lines(&sums.months),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_price_is_known_before_anything_was_paid_by_it() {
        let price = Told {
            export: Some(0.08),
            ..Told::default()
        };
        let awaited = Told {
            until: Some(0),
            ..Told::default()
        };
        for (prices, paid, said) in [
            (&Told::default(), false, "prices_none"),
            (&Told::default(), true, "prices_from"),
            (&price, false, "prices_from"),
            (&awaited, false, "prices_from"),
        ] {
            assert_eq!(of_prices(prices, paid, true), Some(said));
        }
        assert_eq!(of_prices(&Told::default(), false, false), None);
    }

    #[test]
    fn each_tariff_is_named_and_they_are_summed() {
        let tariff = |name: &str, fed: bool, kwh: Option<f64>, counted: [f64; 3]| Tariff {
            counter: format!("sensor.{name}"),
            name: name.to_owned(),
            fed,
            price: Some(0.3215),
            kwh,
            by_hours: false,
            counted: counted.map(|kwh| Counted {
                kwh,
                money: kwh * 0.5,
            }),
        };
        let prices = Told {
            currency: Some("EUR".into()),
            tariffs: vec![
                tariff("Day", false, Some(1.0), [1.0, 2.0, 30.0]),
                tariff("Night", false, Some(1.0), [3.0, 0.0, 4.0]),
                tariff("Roof", false, None, [0.0; 3]),
            ],
            ..Told::default()
        };
        let shown = Tariffs::of(&Locale::all()[0], &prices);
        assert_eq!(shown.rows[0].name, "Day");
        assert_eq!(
            shown.rows[0].about,
            "From grid · sensor.Day · 0.3215\u{202f}€/kWh"
        );
        assert_eq!(shown.rows[1].cells[0].0.to_string(), "3.0\u{202f}kWh");
        let sums = ["2.00\u{202f}€", "1.00\u{202f}€", "17.00\u{202f}€"];
        assert_eq!(shown.sums, [("cost", sums.map(str::to_owned))]);
        assert_eq!(shown.silent, "Roof", "what says nothing is said");
    }
}
