//! What a kWh costs, asked of Home Assistant's Energy settings and kept by the time from which it
//! holds: what was drawn before a price changed was paid as it was then.
//!
//! Where several counters have prices of their own, by day and by night, the price of a quarter of
//! an hour is the mean of theirs, each weighted by what its counter grew: so what was drawn costs
//! what Home Assistant makes of it, whichever counter ran.
//!
//! Where the settings name what was paid in place of a price, or one of several counters is a
//! statistic without an entity, Home Assistant's statistics say hour by hour what was counted and
//! paid, hours or days later: each hour then gets its price, and those that are not yet known have
//! the last one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::debug;

use super::{
    kept,
    shared::{Shared, renew},
};
use source::{
    paid::{Hours, by_hour, hours},
    prices::{Counted, Prices, Told, prices, told},
};
use store::{Price, Store};

/// Key of the store.
const KEY: &str = "tariff";
/// Between two looks at the prices' entities.
const EVERY: Duration = Duration::from_secs(60);
/// Between two looks at the settings.
const SETTINGS: Duration = Duration::from_secs(300);
/// Key of what counters with prices of their own have counted.
const SHARES: &str = "tariffs";
/// Days of it that are kept: this month, and yesterday.
const DAYS: usize = 33;
/// A quarter of an hour, s: what prices are kept by.
const QUARTER: i64 = 900;
/// Growth of a counter over a longer time than this, s, is not that of the day or the price it is
/// seen at.
const UNSEEN: i64 = 3600;

/// See the module.
pub struct Tariff {
    /// What all parts share.
    pub shared: Shared,
    /// For pages.
    pub told: watch::Sender<Arc<Told>>,
}

/// The currency that was known last, for pages until Home Assistant says it.
#[must_use]
pub fn known(store: &Store) -> Told {
    Told {
        currency: kept::get(store, KEY),
        ..Told::default()
    }
}

/// Keeps a price from a time (Unix s) on, and its currency.
pub fn keep(store: &Store, ts: i64, price: Price, currency: Option<&str>) {
    store.put_price(ts, price);
    keep_currency(store, currency);
}

fn keep_currency(store: &Store, currency: Option<&str>) {
    if let Some(currency) = currency {
        kept::put(store, KEY, &currency);
    }
}

/// The rows to put where the kWh of a side cost so much from these hours (Unix s, ascending) on:
/// the other side stays as it was.
fn merged(
    mut known: BTreeMap<i64, Price>,
    fed: bool,
    priced: &[(i64, f64)],
) -> BTreeMap<i64, Price> {
    let with = |mut price: Price, kwh: f64| {
        *(if fed {
            &mut price.export
        } else {
            &mut price.import
        }) = Some(kwh);
        price
    };
    let mut changed = BTreeMap::new();
    for (at, &(ts, kwh)) in priced.iter().enumerate() {
        let before = known.range(..=ts).next_back().map(|(_, price)| *price);
        let mut rows = vec![(ts, with(before.unwrap_or_default(), kwh))];
        let end = priced.get(at + 1).map_or(i64::MAX, |(next, _)| *next);
        let later = known.range(ts + 1..end);
        rows.extend(later.map(|(ts, price)| (*ts, with(*price, kwh))));
        for (ts, price) in rows {
            let stands = known.range(..=ts).next_back().map(|(_, price)| *price);
            if stands != Some(price) {
                known.insert(ts, price);
                changed.insert(ts, price);
            }
        }
    }
    changed
}

/// From which time on prices hold that are heard at `now`: the first of all, being numbers of the
/// settings, for all that is past, and what an entity says first for the quarter that is under
/// way.
fn from(first: bool, fixed: bool, now: i64) -> i64 {
    match (first, fixed) {
        (true, true) => 0,
        (true, false) => now - now.rem_euclid(QUARTER),
        (false, _) => now,
    }
}

impl Tariff {
    /// Until the stop.
    pub async fn run(mut self) {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut settings: Option<(Instant, Prices)> = None;
        let mut known = Hours::new();
        let mut due = Instant::now();
        let mut last: Option<Price> = None;
        let mut shares: Shares = kept::get(&self.shared.store, SHARES).unwrap_or_default();
        let mut looked = false;
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = Instant::now();
            let running = self.shared.facts.borrow_and_update().is_running();
            if !running || now < due {
                continue;
            }
            due = now + EVERY;
            if !std::mem::replace(&mut looked, true) {
                let kept = self.kept().await.unwrap_or_default();
                last = kept.into_values().next_back();
            }
            let (source, access) = (self.shared.source(), &self.shared.access);
            let read = settings.as_ref().map(|(at, _)| now - *at);
            if read.is_none_or(|ago| ago >= SETTINGS) {
                match prices(source, access).await {
                    Ok(found) => {
                        let since = self.periods().since;
                        match hours(source, access, &found, since).await {
                            Ok(all) => {
                                self.pay(&found, &all, &mut last).await;
                                known = all;
                            }
                            Err(why) => debug!(error = %why, "what was paid cannot be asked"),
                        }
                        settings = Some((now, found));
                    }
                    Err(why) => {
                        debug!(error = %why, "the Energy settings cannot be asked for prices");
                    }
                }
            }
            let Some((_, found)) = &settings else {
                continue;
            };
            if let Some(mut heard) = told(source, access, found).await {
                let by_hours = |fed: &bool| found.by_hours[usize::from(*fed)];
                let sides = [false, true].into_iter().filter(by_hours);
                heard.until = sides.map(|fed| by_hour(found, &known, fed).1).min();
                self.periods().count(&mut heard, &known);
                self.take(heard, &mut shares, &mut last);
            }
        }
    }

    fn periods(&self) -> Periods {
        let zone = self.shared.facts.borrow().zone();
        Periods::new(self.shared.clock.now().unix_s(), zone)
    }

    /// Prices that are kept; `None`: they cannot be read.
    async fn kept(&self) -> Option<BTreeMap<i64, Price>> {
        let store = self.shared.store.clone();
        background::run(move || store.prices()).await.ok()?.ok()
    }

    /// Gives each hour that is known the price that was paid in it.
    async fn pay(&self, found: &Prices, known: &Hours, last: &mut Option<Price>) {
        for fed in [false, true] {
            let (priced, _) = by_hour(found, known, fed);
            if priced.is_empty() {
                continue;
            }
            let Some(mut kept) = self.kept().await else {
                return;
            };
            let changed = merged(kept.clone(), fed, &priced);
            for (ts, price) in &changed {
                self.shared.store.put_price(*ts, *price);
            }
            kept.extend(changed);
            *last = kept.into_values().next_back();
        }
    }

    fn take(&self, mut heard: Told, shares: &mut Shares, last: &mut Option<Price>) {
        let (store, now) = (&self.shared.store, self.shared.clock.now().unix_s());
        let before = last.unwrap_or_default();
        // What an entity does not say for a while is what it said before.
        let unsaid = if heard.fixed {
            Price::default()
        } else {
            before
        };
        let mut price = Price {
            import: heard.import.or(unsaid.import),
            export: heard.export.or(unsaid.export),
        };
        let mut ts = from(last.is_none(), heard.fixed, now);
        if !heard.tariffs.is_empty() {
            let zone = self.shared.facts.borrow().zone();
            let (quarter, ended) = shares.add(&mut heard, now, &zone);
            let mut own = heard.tariffs.iter().filter(|tariff| !tariff.by_hours);
            let side = |fed| own.clone().any(|tariff| tariff.fed == fed);
            if side(false) {
                price.import = shares.mean(false).or(before.import);
            }
            if side(true) {
                price.export = shares.mean(true).or(before.export);
            }
            if own.next().is_some() {
                ts = quarter;
            }
            if ended {
                kept::put(store, SHARES, shares);
            }
        }
        let nothing = price == Price::default();
        let currency = heard.currency.as_deref();
        if *last != Some(price) && !(nothing && last.is_none()) {
            keep(store, ts, price, currency);
            *last = Some(price);
        } else {
            keep_currency(store, currency);
        }
        renew(&self.told, Arc::new(heard));
    }
}

/// The date of a time, Unix s.
fn date(ts: i64, zone: &TimeZone) -> Date {
    let at = Timestamp::from_second(ts).unwrap_or_default();
    zone.to_datetime(at).date()
}

/// Today, yesterday and this month.
struct Periods {
    zone: TimeZone,
    dates: [(Date, Date); 3],
    /// When the first of them began, Unix s.
    since: i64,
}

impl Periods {
    fn new(now: i64, zone: TimeZone) -> Self {
        let today = date(now, &zone);
        let yesterday = today.checked_sub(1.day()).unwrap_or(today);
        let first = today.first_of_month();
        let start = zone.to_timestamp(first.min(yesterday).at(0, 0, 0, 0));
        Self {
            dates: [(today, today), (yesterday, yesterday), (first, today)],
            since: start.map_or(0, Timestamp::as_second),
            zone,
        }
    }

    /// Says of each counter that is paid by its hours what it counted.
    fn count(&self, heard: &mut Told, known: &Hours) {
        let date = |ts| date(ts, &self.zone);
        for tariff in heard.tariffs.iter_mut().filter(|tariff| tariff.by_hours) {
            let Some(hours) = known.get(&tariff.counter) else {
                continue;
            };
            tariff.counted = self.dates.map(|(first, last)| {
                let own = hours
                    .iter()
                    .filter(|hour| (first..=last).contains(&date(hour.ts)));
                counted(own.map(|hour| (hour.kwh, hour.money.unwrap_or_default())))
            });
        }
    }
}

/// The sum of kWh and their money.
fn counted(all: impl Iterator<Item = (f64, f64)>) -> Counted {
    all.fold(Counted::default(), |sum, (kwh, money)| Counted {
        kwh: sum.kwh + kwh,
        money: sum.money + money,
    })
}

/// What counters with prices of their own have counted: by the day, and in the quarter of an hour
/// that is under way.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Shares {
    /// When they were looked at last, Unix s.
    at: i64,
    /// What each said then, kWh.
    last: BTreeMap<String, f64>,
    /// By date, as `2027-01-31`, and counter: kWh, and what they cost or brought.
    days: BTreeMap<String, BTreeMap<String, (f64, f64)>>,
    /// Beginning of the quarter, Unix s.
    #[serde(skip)]
    quarter: i64,
    /// kWh with a price in it, and their money: from the grid, and to it.
    #[serde(skip)]
    sums: [(f64, f64); 2],
}

impl Shares {
    /// Adds what has grown since the last look, and says what was counted; the quarter that it is
    /// of, and whether it is another one.
    fn add(&mut self, heard: &mut Told, now: i64, zone: &TimeZone) -> (i64, bool) {
        let seen = (0..=UNSEEN).contains(&(now - self.at));
        // What grew since the last look grew half of that ago, all in all.
        let middle = if seen { (now + self.at) / 2 } else { now };
        let quarter = middle - middle.rem_euclid(QUARTER);
        let another = quarter != self.quarter;
        if another {
            (self.quarter, self.sums) = (quarter, Default::default());
        }
        let day = date(middle, zone).to_string();
        let of_day = self.days.entry(day).or_default();
        for tariff in heard.tariffs.iter().filter(|tariff| !tariff.by_hours) {
            let Some(kwh) = tariff.kwh else {
                continue;
            };
            let before = self.last.insert(tariff.counter.clone(), kwh);
            // One that begins anew has counted since then, as Home Assistant takes it.
            let grown = before.map_or(0.0, |b| if kwh < b { kwh } else { kwh - b });
            if !seen || grown <= 0.0 {
                continue;
            }
            let money = tariff.price.map_or(0.0, |price| price * grown);
            let sum = of_day.entry(tariff.counter.clone()).or_default();
            *sum = (sum.0 + grown, sum.1 + money);
            if tariff.price.is_some() {
                let side = &mut self.sums[usize::from(tariff.fed)];
                *side = (side.0 + grown, side.1 + money);
            }
        }
        self.at = now;
        while self.days.len() > DAYS {
            self.days.pop_first();
        }
        let periods = Periods::new(now, zone.clone())
            .dates
            .map(|(first, last)| first.to_string()..=last.to_string());
        for tariff in heard.tariffs.iter_mut().filter(|tariff| !tariff.by_hours) {
            tariff.counted = periods.clone().map(|period| {
                let days = self.days.range(period);
                let own = days.filter_map(|(_, all)| all.get(&tariff.counter));
                counted(own.copied())
            });
        }
        (quarter, another)
    }

    /// What a kWh of this quarter costs, or brings.
    fn mean(&self, fed: bool) -> Option<f64> {
        let (kwh, money) = self.sums[usize::from(fed)];
        (kwh > 0.0).then(|| money / kwh)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_fixed_price_is_that_of_the_past() {
        for (first, fixed, at) in [(true, true, 0), (true, false, 1800), (false, true, 1909)] {
            assert_eq!(from(first, fixed, 1909), at);
        }
    }

    #[test]
    fn an_hour_that_is_known_later_is_paid_at_its_price() {
        let both = |import: Option<f64>, export: Option<f64>| Price { import, export };
        // What is fed in has had a price all along, and another since a while after the second hour.
        let known = BTreeMap::from([(0, both(None, Some(0.08))), (4000, both(None, Some(0.07)))]);
        let priced = [(3600, 0.3), (7200, 0.3), (10_800, -0.1)];
        let changed = merged(known.clone(), false, &priced);
        let want = [
            (3600, both(Some(0.3), Some(0.08))),
            (4000, both(Some(0.3), Some(0.07))),
            (10_800, both(Some(-0.1), Some(0.07))),
        ];
        assert_eq!(changed, BTreeMap::from(want), "the same price is no change");
        let mut all = known;
        all.extend(changed);
        let same = merged(all.clone(), false, &[(10_800, -0.1)]);
        assert_eq!(same, BTreeMap::new());
        // It is told otherwise afterwards.
        let again = merged(all, false, &[(3600, 0.2), (10_800, -0.1)]);
        assert_eq!(again.into_keys().collect::<Vec<_>>(), [3600, 4000]);
    }

    #[test]
    fn days_of_what_is_known_by_the_hour_are_those_of_the_house() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        // Half an hour into 1 February there.
        let periods = Periods::new(at("2027-01-31T23:30:00Z"), zone);
        assert_eq!(
            periods.since,
            at("2027-01-30T23:00:00Z"),
            "yesterday is of the month before"
        );
        let hour = |text: &str, kwh: f64| source::paid::Hour {
            ts: at(text),
            kwh,
            money: Some(kwh / 2.0),
        };
        let hours = vec![
            hour("2027-01-31T22:00:00Z", 2.0),
            hour("2027-01-31T23:00:00Z", 1.0),
        ];
        let known = Hours::from([("tibber:used".to_owned(), hours)]);
        let mut heard = hear(&[("tibber:used", 0.0, 0.0)]);
        heard.tariffs[0].by_hours = true;
        periods.count(&mut heard, &known);
        let counted = |heard: &Told| heard.tariffs[0].counted.map(|c| (c.kwh, c.money));
        let want = [(1.0, 0.5), (2.0, 1.0), (1.0, 0.5)];
        assert_eq!(counted(&heard), want);
        Shares::default().add(&mut heard, at("2027-01-31T23:30:00Z"), &TimeZone::UTC);
        assert_eq!(
            counted(&heard),
            want,
            "what looks at entities leaves that alone"
        );
    }

    fn hear(tariffs: &[(&str, f64, f64)]) -> Told {
        let tariff = |(counter, kwh, price): &(&str, f64, f64)| source::prices::Tariff {
            counter: (*counter).to_owned(),
            price: Some(*price),
            kwh: Some(*kwh),
            ..Default::default()
        };
        Told {
            tariffs: tariffs.iter().map(tariff).collect(),
            ..Told::default()
        }
    }

    #[test]
    fn each_counter_is_paid_at_its_price() {
        let (mut shares, zone) = (Shares::default(), TimeZone::UTC);
        // 2027-01-15 08:00:00
        let t0 = 1_800_000_000;
        let (day, night) = (0.32, 0.21);
        let mut look = |ts: i64, d: f64, n: f64| {
            let mut heard = hear(&[("sensor.day", d, day), ("sensor.night", n, night)]);
            shares.add(&mut heard, ts, &zone);
            let all: Vec<[f64; 2]> = heard
                .tariffs
                .iter()
                .map(|t| [t.counted[0].kwh, t.counted[0].money])
                .map(|pair| pair.map(|v| (v * 1e6).round() / 1e6))
                .collect();
            (all, shares.mean(false).map(|p| (p * 1e6).round() / 1e6))
        };
        assert_eq!(look(t0, 100.0, 50.0).1, None, "nothing has grown yet");
        let (counted, price) = look(t0 + 60, 101.0, 50.0);
        assert_eq!((counted[0], counted[1]), ([1.0, 0.32], [0.0, 0.0]));
        assert_eq!(price, Some(day));
        // Within one quarter to the other counter: the mean of what each grew.
        let (counted, price) = look(t0 + 120, 101.0, 53.0);
        assert_eq!((counted[0], counted[1]), ([1.0, 0.32], [3.0, 0.63]));
        assert_eq!(price, Some(0.2375));
        // The next quarter is of that one alone: what a look sees is of its middle.
        assert_eq!(look(t0 + 880, 101.0, 53.0).1, Some(0.2375));
        assert_eq!(look(t0 + 940, 101.0, 53.5).1, Some(night));
        assert_eq!(look(t0 + 1000, 101.0, 53.5).1, Some(night));
        // One that begins anew; one that nobody looked at for long is no part of this day.
        let (counted, _) = look(t0 + 1040, 101.0, 0.5);
        assert_eq!(counted[1], [4.0, 0.84]);
        let (counted, _) = look(t0 + 1040 + UNSEEN + 1, 201.0, 0.5);
        assert_eq!(counted[0], [1.0, 0.32]);
    }

    #[test]
    fn days_are_those_of_the_house_and_are_kept() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let mut shares = Shares::default();
        // Half past eleven in the evening there, and past midnight; 31 January.
        let late: Timestamp = "2027-01-31T22:30:00Z".parse().unwrap();
        let late = late.as_second();
        let add = |shares: &mut Shares, ts: i64, kwh: f64| {
            let mut heard = hear(&[("sensor.t1", kwh, 0.5)]);
            shares.add(&mut heard, ts, &zone);
            heard.tariffs[0].counted.map(|c| c.kwh)
        };
        add(&mut shares, late, 10.0);
        // Seen at midnight, it is of the quarter of an hour before.
        assert_eq!(add(&mut shares, late + 1800, 12.0), [0.0, 2.0, 0.0]);
        let text = serde_json::to_string(&shares).unwrap();
        let mut again: Shares = serde_json::from_str(&text).unwrap();
        assert_eq!(
            add(&mut again, late + 3600, 13.0),
            [1.0, 2.0, 1.0],
            "also over a restart"
        );
    }
}
