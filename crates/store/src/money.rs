//! Energy between two times, and what it cost: sums of quarters of an hour.

use std::collections::BTreeMap;

use super::{
    Store,
    types::{EnergySpan, Money, Price, QUARTER, StoreError, add, from_numbers},
};
use meter::{Counter, Energy, MinuteRecord};

/// A quarter of an hour.
#[derive(Clone, Copy, Debug, Default)]
struct Quarter {
    phases: [Counter; 3],
    crossed: f64,
    followed: Energy,
}

impl Quarter {
    fn add(&mut self, record: &MinuteRecord) {
        for (sum, phase) in self.phases.iter_mut().zip(record.phases) {
            sum.import += phase.act_energy;
            sum.export += phase.act_ret_energy;
        }
        self.crossed += record.crossed;
        self.followed = add(&self.followed, &record.followed);
    }
}

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
            phases: None,
            crossed: 0.0,
            followed: Energy::default(),
            money: Money::default(),
        }
    }

    fn add(&mut self, quarter: &Quarter, price: Price) {
        let phases = self.phases.get_or_insert_default();
        for (sum, phase) in phases.iter_mut().zip(quarter.phases) {
            sum.import += phase.import;
            sum.export += phase.export;
        }
        self.crossed += quarter.crossed;
        self.followed = add(&self.followed, &quarter.followed);
        let of = |side: fn(&Counter) -> f64| {
            let power = quarter.phases.iter().map(side).sum::<f64>() - quarter.crossed;
            // What a late counter has yet to say is not paid before, and is paid then.
            power.max(0.0) + side(&quarter.followed.net)
        };
        if let Some(price) = price.import {
            let wh = of(|c| c.import);
            self.money.cost += wh / 1000.0 * price;
            self.money.priced += wh;
        }
        if let Some(price) = price.export {
            let wh = of(|c| c.export);
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
        let mut add = |ts: i64, quarter: &Quarter| {
            while spans.get(at).is_some_and(|span| span.to <= ts) {
                at += 1;
            }
            if let Some(span) = spans.get_mut(at) {
                span.add(quarter, price_at(&prices, ts));
            }
        };
        if self.0.shared.in_memory() {
            let mut quarters: BTreeMap<i64, Quarter> = BTreeMap::new();
            for record in self.0.shared.waiting_records(key).values() {
                let ts = record.ts - record.ts.rem_euclid(QUARTER);
                quarters.entry(ts).or_default().add(record);
            }
            quarters.retain(|ts, _| (first..last).contains(ts));
            quarters.iter().for_each(|(ts, quarter)| add(*ts, quarter));
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
                let counter = |i: usize| {
                    Ok::<_, rusqlite::Error>(Counter {
                        import: r.get(i)?,
                        export: r.get(i + 1)?,
                    })
                };
                let mut followed = [0.0; 8];
                for (at, wh) in followed.iter_mut().enumerate() {
                    *wh = r.get::<_, Option<f64>>(8 + at)?.unwrap_or(0.0);
                }
                let quarter = Quarter {
                    phases: [counter(1)?, counter(3)?, counter(5)?],
                    crossed: r.get::<_, Option<f64>>(7)?.unwrap_or(0.0),
                    followed: from_numbers(followed),
                };
                add(r.get(0)?, &quarter);
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
    use meter::PhaseMinute;

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
        record.phases[0] = PhaseMinute {
            act_energy: a,
            ..PhaseMinute::default()
        };
        record.phases[1] = PhaseMinute {
            act_ret_energy: b,
            ..PhaseMinute::default()
        };
        record
    }

    #[test]
    fn what_crosses_is_in_neither_direction_and_a_minute_anew_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let net = || {
            let span = store.energy_between("", &[T0, T0 + 900]).unwrap()[0];
            let (sum, net) = (span.sum().unwrap(), span.net().unwrap());
            [sum.import, sum.export, net.import, net.export].map(|wh| (wh * 100.0).round() / 100.0)
        };
        store.minute("", minute(T0, 10.0, 4.0, 3.0));
        store.flush().wait().unwrap();
        assert_eq!(net(), [10.0, 4.0, 7.0, 1.0]);
        store.minute("", minute(T0, 20.0, 5.0, 5.0));
        store.minute("", minute(T0 + 60, 1.0, 0.0, 0.0));
        store.flush().wait().unwrap();
        assert_eq!(net(), [21.0, 5.0, 16.0, 0.0]);
    }

    #[test]
    fn what_entities_count_is_the_days_and_what_the_power_says_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.put_price(
            0,
            Price {
                import: Some(0.25),
                export: Some(0.1),
            },
        );
        let followed = |phase: [f64; 2], net: [f64; 2]| Energy {
            phases: [
                Counter {
                    import: phase[0],
                    export: 0.0,
                },
                Counter {
                    import: 0.0,
                    export: phase[1],
                },
                Counter::default(),
            ],
            net: Counter {
                import: net[0],
                export: net[1],
            },
        };
        let span = || store.energy_between("", &[T0, T0 + 900]).unwrap()[0];
        let seen = || {
            let span = span();
            let (sum, net) = (span.sum().unwrap(), span.net().unwrap());
            [
                sum.import,
                sum.export,
                net.import,
                net.export,
                span.money.cost * 1000.0,
                span.money.income * 1000.0,
            ]
            .map(|wh| (wh * 100.0).round() / 100.0)
        };
        // The counter is late, then it says all of it and more.
        let first = MinuteRecord {
            followed: followed([-10.0, 1.0], [-7.0, 4.0]),
            ..minute(T0, 10.0, 4.0, 3.0)
        };
        let second = MinuteRecord {
            followed: followed([30.0, 0.0], [30.0, 0.0]),
            ..minute(T0 + 60, 10.0, 0.0, 0.0)
        };
        store.minute("", first);
        store.minute("", second);
        store.flush().wait().unwrap();
        assert_eq!(seen(), [40.0, 5.0, 40.0, 5.0, 10.0, 0.5]);
        assert_eq!(
            span().phases.unwrap()[0].import,
            20.0,
            "charts draw the power"
        );
        // Stamped by a wrong clock, and overwritten when its time came.
        store.minute("", minute(T0 + 60, 5.0, 0.0, 0.0));
        store.flush().wait().unwrap();
        assert_eq!(seen(), [5.0, 5.0, 5.0, 5.0, 1.25, 0.5]);
        // In the minute that a stop cut, both parts add up.
        let part = super::super::part::Part {
            record: first,
            until: T0 + 30,
        };
        let whole = part.with(MinuteRecord { ts: T0, ..second }, None);
        assert_eq!(whole.followed, followed([20.0, 1.0], [23.0, 4.0]));
    }

    /// Home Assistant's own arithmetic (`energy/sensor.py`): each growth of a counter at the price of
    /// its time, in the order they came.
    fn home_assistant(growth: &[(i64, f64)], prices: &[(i64, f64)]) -> f64 {
        let at = |ts: i64| {
            prices
                .iter()
                .rfind(|(from, _)| *from <= ts)
                .map(|(_, p)| *p)
        };
        growth
            .iter()
            .filter_map(|(ts, wh)| Some(wh / 1000.0 * at(*ts)?))
            .sum()
    }

    #[test]
    fn costs_and_income_agree_with_home_assistants_arithmetic() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        // A price an hour, known some seconds after the hour; a fixed one for what is fed in.
        let prices: Vec<(i64, f64)> = (0..24)
            .map(|h| (T0 + h * 3600, 0.2 + 0.01 * h as f64))
            .collect();
        for (ts, price) in &prices {
            let heard = if *ts == T0 { 0 } else { 7 };
            store.put_price(
                ts + heard,
                Price {
                    import: Some(*price),
                    export: Some(0.08),
                },
            );
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
        let (cost, income) = (
            home_assistant(&drawn, &prices),
            home_assistant(&fed, &[(0, 0.08)]),
        );
        assert!(
            (span.money.cost - cost).abs() < 1e-6,
            "{} {cost}",
            span.money.cost
        );
        assert!(
            (span.money.income - income).abs() < 1e-6,
            "{} {income}",
            span.money.income
        );
        let net = span.net().unwrap();
        let sum = |all: &[(i64, f64)]| all.iter().map(|(_, wh)| wh).sum::<f64>();
        assert!((net.import - sum(&drawn)).abs() < 1e-3 && (net.export - sum(&fed)).abs() < 1e-3);
        assert!(
            (span.money.priced - net.import).abs() < 1e-6
                && (span.money.paid - net.export).abs() < 1e-6
        );
        // A counter of two decimals says each hundredth of a kWh late, and nothing twice: with other
        // prices each hour that is less than half a cent a day.
        let (mut exact, mut said) = (0.0_f64, 0.0);
        let rounded = drawn.iter().map(|(ts, wh)| {
            exact += wh;
            let now = (exact / 10.0).round() * 10.0;
            (*ts, now - std::mem::replace(&mut said, now))
        });
        let rounded: Vec<(i64, f64)> = rounded.collect();
        assert!((home_assistant(&rounded, &prices) - cost).abs() < 0.005);
        // Hours add up to the day.
        let hours: Vec<i64> = (0..=24).map(|h| T0 + h * 3600).collect();
        let by_hour: f64 = store
            .energy_between("", &hours)
            .unwrap()
            .iter()
            .map(|s| s.money.cost)
            .sum();
        assert!((by_hour - cost).abs() < 1e-6);
    }

    #[test]
    fn before_the_first_price_nothing_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.minute("", minute(T0, 10.0, 0.0, 0.0));
        store.minute("", minute(T0 + 3600, 20.0, 0.0, 0.0));
        store.put_price(
            T0 + 1800,
            Price {
                import: Some(0.5),
                export: None,
            },
        );
        store.flush().wait().unwrap();
        let span = store.energy_between("", &[T0, T0 + 86_400]).unwrap()[0];
        assert_eq!(
            (span.money.cost, span.money.priced, span.money.paid),
            (0.01, 20.0, 0.0)
        );
    }
}
