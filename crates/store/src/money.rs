//! Energy between two times, and what it cost: sums of quarters of an hour.

use std::collections::BTreeMap;

use super::{
    Store,
    types::{EnergySpan, Money, Price, QUARTER, StoreError},
};
use meter::{Counter, Energy};

/// What a kWh costs in the quarter that begins at `ts`: prices change at its beginning, and are
/// heard of some seconds later.
fn price_at(prices: &BTreeMap<i64, Price>, ts: i64) -> Price {
    prices
        .range(..=ts + QUARTER / 2)
        .next_back()
        .map_or_else(Price::default, |(_, price)| *price)
}

impl EnergySpan {
    fn empty(from: i64, to: i64) -> Self {
        Self {
            from,
            to,
            energy: None,
            followed: Energy::default(),
            money: Money::default(),
        }
    }

    /// Adds what the power says of a quarter of an hour, and what entities counted beyond it.
    fn add(&mut self, energy: Energy, followed: Energy, price: Price) {
        *self.energy.get_or_insert_default() += energy;
        self.followed += followed;
        // What a late counter has yet to say is not paid before, and is paid then.
        let wh = |power: f64, followed: f64| power.max(0.0) + followed;
        if let Some(price) = price.import {
            let wh = wh(energy.net.import, followed.net.import);
            self.money.cost += wh / 1000.0 * price;
            self.money.priced += wh;
        }
        if let Some(price) = price.export {
            let wh = wh(energy.net.export, followed.net.export);
            self.money.income += wh / 1000.0 * price;
            self.money.paid += wh;
        }
    }
}

impl Store {
    /// Energy between each two neighbours of `borders` (Unix s, ascending, on quarters of an hour),
    /// e.g. the starts of hours, or of days or months in any time zone; as of the last commit.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn energy_between(
        &self,
        key: &str,
        borders: &[i64],
    ) -> Result<Vec<EnergySpan>, StoreError> {
        let prices = self.prices()?;
        let mut spans: Vec<EnergySpan> = borders
            .windows(2)
            .map(|pair| EnergySpan::empty(pair[0], pair[1]))
            .collect();
        let (Some(&first), Some(&last)) = (borders.first(), borders.last()) else {
            return Ok(spans);
        };
        let mut at = 0;
        let mut add = |ts: i64, energy: Energy, followed: Energy| {
            while spans.get(at).is_some_and(|span| span.to <= ts) {
                at += 1;
            }
            if let Some(span) = spans.get_mut(at) {
                span.add(energy, followed, price_at(&prices, ts));
            }
        };
        if self.0.shared.in_memory() {
            let mut quarters: BTreeMap<i64, (Energy, Energy)> = BTreeMap::new();
            for record in self.0.shared.waiting_records(key).values() {
                let ts = record.ts - record.ts.rem_euclid(QUARTER);
                let (energy, followed) = quarters.entry(ts).or_default();
                *energy += record.energy();
                *followed += record.followed;
            }
            quarters.retain(|ts, _| (first..last).contains(ts));
            for (ts, (energy, followed)) in quarters {
                add(ts, energy, followed);
            }
            return Ok(spans);
        }
        self.0.shared.query(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT q.ts, q.a_import, q.a_export, q.b_import, q.b_export, q.c_import, q.c_export, c.wh,
                 f.a_import, f.a_export, f.b_import, f.b_export, f.c_import, f.c_export, f.net_import, f.net_export FROM quarters q
                 LEFT JOIN crossed c ON c.meter = q.meter AND c.ts = q.ts LEFT JOIN followed f ON f.meter = q.meter AND f.ts = q.ts
                 WHERE q.meter = (SELECT id FROM meters WHERE key = ?1) AND q.ts >= ?2 AND q.ts < ?3 AND q.ts <= ?4 ORDER BY q.ts",
            )?;
            let mut rows = select.query((key, first, last, self.0.shared.now_s()))?;
            while let Some(r) = rows.next()? {
                let mut wh = [0.0; 15];
                for (i, wh) in wh.iter_mut().enumerate() {
                    *wh = r.get::<_, Option<f64>>(1 + i)?.unwrap_or(0.0);
                }
                let [ai, ae, bi, be, ci, ce, crossed, followed @ ..] = wh;
                let phases = [(ai, ae), (bi, be), (ci, ce)]
                    .map(|(import, export)| Counter::new(import, export));
                let energy = Energy::of_phases(phases, crossed);
                add(r.get(0)?, energy, Energy::from_array(followed));
            }
            Ok(())
        })?;
        Ok(spans)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::testing::{clock, opened};
    use meter::MinuteRecord;

    const T0: i64 = 1_800_000_000;

    /// A day later.
    fn store(dir: &std::path::Path) -> Store {
        opened(dir, &clock(T0 + 86_400)).store
    }

    /// A minute with so many Wh in on A, out on B, of which so many at the same moment.
    fn minute(ts: i64, a: f64, b: f64, crossed: f64) -> MinuteRecord {
        let mut record = MinuteRecord {
            ts,
            crossed,
            ..MinuteRecord::default()
        };
        record.phases[0].act_energy = a;
        record.phases[1].act_ret_energy = b;
        record
    }

    fn price(import: f64, export: Option<f64>) -> Price {
        Price {
            import: Some(import),
            export,
        }
    }

    /// Of the first quarter, once all is kept.
    fn quarter(store: &Store) -> EnergySpan {
        store.flush().wait().unwrap();
        store.energy_between("", &[T0, T0 + 900]).unwrap()[0]
    }

    /// Import and export of the phases and netted, Wh; what it cost and brought, in thousandths.
    fn figures(span: &EnergySpan) -> [f64; 6] {
        let (sum, net, money) = (span.sum().unwrap(), span.net().unwrap(), span.money);
        [
            sum.import,
            sum.export,
            net.import,
            net.export,
            money.cost * 1000.0,
            money.income * 1000.0,
        ]
        .map(|figure| (figure * 100.0).round() / 100.0)
    }

    #[test]
    fn what_crosses_is_in_neither_direction_and_a_minute_anew_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.minute("", minute(T0, 10.0, 4.0, 3.0));
        assert_eq!(figures(&quarter(&store))[..4], [10.0, 4.0, 7.0, 1.0]);
        store.minute("", minute(T0, 20.0, 5.0, 5.0));
        store.minute("", minute(T0 + 60, 1.0, 0.0, 0.0));
        assert_eq!(figures(&quarter(&store))[..4], [21.0, 5.0, 16.0, 0.0]);
    }

    #[test]
    fn what_entities_count_is_the_days_and_what_the_power_says_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.put_price(0, price(0.25, Some(0.1)));
        let followed = |a_import, b_export, net_import, net_export| {
            Energy::from_array([
                a_import, 0.0, 0.0, b_export, 0.0, 0.0, net_import, net_export,
            ])
        };
        // The counter is late, then it says all of it and more.
        let first = MinuteRecord {
            followed: followed(-10.0, 1.0, -7.0, 4.0),
            ..minute(T0, 10.0, 4.0, 3.0)
        };
        let second = MinuteRecord {
            followed: followed(30.0, 0.0, 30.0, 0.0),
            ..minute(T0 + 60, 10.0, 0.0, 0.0)
        };
        store.minute("", first);
        store.minute("", second);
        let span = quarter(&store);
        assert_eq!(figures(&span), [40.0, 5.0, 40.0, 5.0, 10.0, 0.5]);
        assert_eq!(
            span.energy.unwrap().phases[0].import,
            20.0,
            "charts draw the power"
        );
        // Stamped by a wrong clock, and overwritten when its time came.
        store.minute("", minute(T0 + 60, 5.0, 0.0, 0.0));
        assert_eq!(figures(&quarter(&store)), [5.0, 5.0, 5.0, 5.0, 1.25, 0.5]);
        // In the minute that a stop cut, both parts add up.
        let part = crate::part::Part {
            record: first,
            until: T0 + 30,
        };
        let whole = part.with(MinuteRecord { ts: T0, ..second }, None);
        assert_eq!(whole.followed, followed(20.0, 1.0, 23.0, 4.0));
    }

    /// Home Assistant's own arithmetic (`energy/sensor.py`): each growth of a counter at the price of
    /// its time, in the order they came.
    fn home_assistant(growth: &[(i64, f64)], prices: &[(i64, f64)]) -> f64 {
        let at = |ts: i64| Some(prices.iter().rfind(|(from, _)| *from <= ts)?.1);
        let cost = |(ts, wh): &(i64, f64)| Some(wh / 1000.0 * at(*ts)?);
        growth.iter().filter_map(cost).sum()
    }

    #[test]
    fn costs_and_income_agree_with_home_assistants_arithmetic() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        // A price an hour, known some seconds after the hour; a fixed one for what is fed in.
        let prices: Vec<(i64, f64)> = (0..24)
            .map(|h| (T0 + h * 3600, 0.2 + 0.01 * h as f64))
            .collect();
        for (ts, per_kwh) in &prices {
            let heard = if *ts == T0 { 0 } else { 7 };
            store.put_price(ts + heard, price(*per_kwh, Some(0.08)));
        }
        let (mut drawn, mut fed) = (Vec::new(), Vec::new());
        for n in 0..24 * 60 - 10 {
            let ts = T0 + n * 60;
            let wh = 5.0 + (n % 37) as f64;
            // By day both, and part of it at the same moment.
            let (out, crossed) = if (600..900).contains(&n) {
                (wh * 2.0, wh / 2.0)
            } else {
                (0.0, 0.0)
            };
            store.minute("", minute(ts, wh, out, crossed));
            drawn.push((ts, wh - crossed));
            fed.push((ts, out - crossed));
        }
        store.flush().wait().unwrap();
        let span = store.energy_between("", &[T0, T0 + 86_400]).unwrap()[0];
        let cost = home_assistant(&drawn, &prices);
        let near = |a: f64, b: f64, by: f64| assert!((a - b).abs() < by, "{a} {b}");
        near(span.money.cost, cost, 1e-6);
        near(span.money.income, home_assistant(&fed, &[(0, 0.08)]), 1e-6);
        let net = span.net().unwrap();
        let sum = |all: &[(i64, f64)]| all.iter().map(|(_, wh)| wh).sum::<f64>();
        near(net.import, sum(&drawn), 1e-3);
        near(net.export, sum(&fed), 1e-3);
        near(span.money.priced, net.import, 1e-6);
        near(span.money.paid, net.export, 1e-6);
        // A counter of two decimals says each hundredth of a kWh late, and nothing twice: with other
        // prices each hour that is less than half a cent a day.
        let (mut exact, mut said) = (0.0_f64, 0.0);
        let rounded = drawn.iter().map(|(ts, wh)| {
            exact += wh;
            let now = (exact / 10.0).round() * 10.0;
            (*ts, now - std::mem::replace(&mut said, now))
        });
        let rounded: Vec<(i64, f64)> = rounded.collect();
        near(home_assistant(&rounded, &prices), cost, 0.005);
        // Hours add up to the day.
        let hours: Vec<i64> = (0..=24).map(|h| T0 + h * 3600).collect();
        let by_hour = store.energy_between("", &hours).unwrap();
        near(by_hour.iter().map(|s| s.money.cost).sum(), cost, 1e-6);
    }

    #[test]
    fn before_the_first_price_nothing_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.minute("", minute(T0, 10.0, 0.0, 0.0));
        store.minute("", minute(T0 + 3600, 20.0, 0.0, 0.0));
        store.put_price(T0 + 1800, price(0.5, None));
        store.flush().wait().unwrap();
        let span = store.energy_between("", &[T0, T0 + 86_400]).unwrap()[0];
        assert_eq!(
            (span.money.cost, span.money.priced, span.money.paid),
            (0.01, 20.0, 0.0)
        );
    }
}
