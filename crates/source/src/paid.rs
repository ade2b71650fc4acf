//! What was paid, hour by hour, by Home Assistant's statistics: of counters whose settings name that
//! in place of a price, or that are no entities. It is known hours or days later.

use std::collections::BTreeMap;

use futures_util::FutureExt;

use super::{
    home_assistant::{
        Access,
        command::{Command, StatisticUnits},
        query::{self, QueryError},
    },
    prices::{Price, Prices, Rate},
    statistics::{self, Row, Statistics, stamp},
};
use config::SourceSettings;

/// An hour of a counter by Home Assistant's statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hour {
    /// Its start, Unix s.
    pub ts: i64,
    /// Energy, kWh.
    pub kwh: f64,
    /// What that cost or brought; `None` where nothing says so.
    pub money: Option<f64>,
}

/// The hours of each counter that is paid by them, oldest first.
pub type Hours = BTreeMap<String, Vec<Hour>>;

/// What counters that are paid by their hours counted since `since` (Unix s), as far as Home
/// Assistant's statistics know.
///
/// # Errors
/// When Home Assistant cannot be asked.
pub async fn hours(
    settings: &SourceSettings,
    access: &Access,
    prices: &Prices,
    since: i64,
) -> Result<Hours, QueryError> {
    let rates: Vec<Rate> = [false, true]
        .into_iter()
        .flat_map(|fed| prices.hourly(fed))
        .cloned()
        .collect();
    if rates.is_empty() {
        return Ok(Hours::new());
    }
    query::ask(settings, access, move |connection| {
        async move {
            let ids: Vec<&str> = rates
                .iter()
                .flat_map(|rate| [Some(&*rate.counter), rate.money.as_deref()])
                .flatten()
                .collect();
            let question = Command::Statistics {
                start_time: &stamp(since as f64),
                statistic_ids: &ids,
                period: "hour",
                types: &["change"],
                units: StatisticUnits {
                    power: "W",
                    energy: "kWh",
                },
            };
            let found = statistics::ask(connection, "what was paid", &question).await??;
            let counted = |rate: &Rate| (rate.counter.clone(), of_rate(rate, &found));
            Ok(rates.iter().map(counted).collect())
        }
        .boxed()
    })
    .await
}

fn of_rate(rate: &Rate, found: &Statistics) -> Vec<Hour> {
    let paid = rate.money.as_ref().map(|id| found.get(id));
    let hour = |(&ts, row): (&i64, &Row)| {
        let kwh = row.change?;
        let money = match (paid, &rate.price) {
            (Some(paid), _) => paid.and_then(|paid| paid.get(&ts)?.change),
            (None, Some(Price::Fixed(price))) => Some(price * kwh),
            (None, _) => None,
        };
        Some(Hour { ts, kwh, money })
    };
    let counted = found.get(&rate.counter).into_iter().flatten();
    counted.filter_map(hour).collect()
}

/// What a kWh of a side cost or brought in each hour in which all its counters are known, and
/// until when (Unix s) that is so.
#[must_use]
pub fn by_hour(prices: &Prices, hours: &Hours, fed: bool) -> (Vec<(i64, f64)>, i64) {
    let all: Vec<&[Hour]> = prices
        .hourly(fed)
        .iter()
        .map(|rate| hours.get(&rate.counter).map_or(&[][..], Vec::as_slice))
        .collect();
    // One of which nothing is known at all holds nothing up.
    let ends = all.iter().filter_map(|own| own.last()).map(|hour| hour.ts);
    let Some(last) = ends.min() else {
        return (Vec::new(), 0);
    };
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for hour in all.into_iter().flatten().filter(|hour| hour.ts <= last) {
        if let Some(money) = hour.money {
            let sum = sums.entry(hour.ts).or_default();
            *sum = (sum.0 + hour.kwh, sum.1 + money);
        }
    }
    let priced = sums
        .into_iter()
        .filter(|(_, (kwh, _))| *kwh > 1e-6)
        .map(|(ts, (kwh, money))| (ts, money / kwh))
        .collect();
    (priced, last + 3600)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{prices::tests::prices, statistics::tests::statistics};

    #[test]
    fn what_was_paid_is_taken_from_statistics() {
        let tibber = r#"{"type":"grid","stat_energy_from":"tibber:used","stat_cost":"tibber:paid",
            "stat_energy_to":"sensor.e","number_energy_price_export":0.08}"#;
        let one = prices(tibber);
        assert_eq!((one.by_hours, one.import.clone()), ([true, false], None));
        assert_eq!(one.export, Some(Price::Fixed(0.08)));
        // A price of the settings is one, whatever counts; of several counters each counts by itself.
        let external =
            r#"{"type":"grid","stat_energy_from":"tibber:used","number_energy_price":0.3}"#;
        assert_eq!(prices(external).import, Some(Price::Fixed(0.3)));
        let other = r#"{"type":"grid","stat_energy_from":"sensor.pump","number_energy_price":0.2}"#;
        assert_eq!(
            prices(&format!("{external},{other}")).by_hours,
            [true, false]
        );

        let found = statistics(
            r#"{"tibber:used":[{"start":0,"change":2.0},{"start":3600000,"change":0.0},{"start":7200000,"change":1.0}],
            "tibber:paid":[{"start":0,"change":0.5},{"start":3600000,"change":0.0},{"start":7200000,"change":-0.1}]}"#,
        );
        let hours: Hours = one
            .drawn
            .iter()
            .map(|rate| (rate.counter.clone(), of_rate(rate, &found)))
            .collect();
        assert_eq!(
            by_hour(&one, &hours, false),
            (vec![(0, 0.25), (7200, -0.1)], 10_800),
            "an hour in which nothing was drawn has no price, and a price may be less than nothing"
        );
        assert_eq!(by_hour(&one, &hours, true), (vec![], 0));
    }

    #[test]
    fn an_hour_waits_for_the_last_of_its_counters() {
        let two = prices(
            r#"{"type":"grid","stat_energy_from":"tibber:used","number_energy_price":0.3},
            {"type":"grid","stat_energy_from":"sensor.pump","number_energy_price":0.2}"#,
        );
        let hour = |ts: i64, kwh: f64, price: f64| Hour {
            ts,
            kwh,
            money: Some(kwh * price),
        };
        let hours = Hours::from([
            ("tibber:used".to_owned(), vec![hour(0, 3.0, 0.3)]),
            (
                "sensor.pump".to_owned(),
                vec![hour(0, 1.0, 0.2), hour(3600, 5.0, 0.2)],
            ),
        ]);
        let (priced, until) = by_hour(&two, &hours, false);
        assert_eq!((priced.len(), until), (1, 3600));
        assert!((priced[0].1 - 0.275).abs() < 1e-9);
    }
}
