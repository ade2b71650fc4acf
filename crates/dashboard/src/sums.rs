//! Energy of a meter by day and month of the house's time zone.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use meter::{Counter, Energy};
use store::{EnergySpan, Money};

/// Days drawn.
const DAYS: i64 = 30;

/// Months drawn.
const MONTHS: i64 = 12;

/// Energy of a day or a month, Wh, and what it is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// As a utility's meter counts: netted over the phases at each moment.
    pub net: Counter,
    /// As the device counts: each phase for itself.
    pub device: Counter,
    /// Of the netted energy.
    pub money: Money,
    /// Whether energy entities counted some of it.
    pub followed: bool,
}

impl Sum {
    fn of(span: &EnergySpan) -> Option<Self> {
        Some(Self {
            net: span.net()?,
            device: span.sum()?,
            money: span.money,
            followed: span.followed != Energy::default(),
        })
    }

    /// Whether both ways to count come to something else, as far as figures show.
    pub(super) fn differs(&self) -> bool {
        (self.device.import - self.net.import).max(self.device.export - self.net.export) >= 50.0
    }
}

/// Energy of a meter by day and month of the house's time zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Today's date.
    pub today: Date,
    /// The last 30 days, oldest first, today last; days without records count 0.
    pub days: Vec<(Date, Sum)>,
    /// The last months with records, by their first day.
    pub months: Vec<(Date, Sum)>,
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
        let first = today.first_of_month();
        let (days, months) = ((0..DAYS).rev(), (0..MONTHS).rev());
        Self {
            days: days
                .filter_map(|n| today.checked_sub(n.days()).ok())
                .collect(),
            months: months
                .filter_map(|n| first.checked_sub(n.months()).ok())
                .collect(),
        }
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

/// What was counted from each date on, where something was.
fn spans_of<'a>(
    dates: &'a [Date],
    spans: &'a [EnergySpan],
) -> impl Iterator<Item = (Date, Option<Sum>)> + 'a {
    let sums = spans.iter().map(Sum::of).chain(std::iter::repeat(None));
    dates.iter().copied().zip(sums)
}

/// Which is the first with something counted; the last where nothing is.
pub(super) fn begun(all: &[(Date, Sum)]) -> usize {
    let first = all.iter().position(|(_, sum)| *sum != Sum::default());
    first.unwrap_or(all.len().saturating_sub(1))
}

impl Sums {
    /// From the store's energy between the calendar's borders.
    pub(super) fn new(calendar: &Calendar, days: &[EnergySpan], months: &[EnergySpan]) -> Self {
        let sums = spans_of(&calendar.days, days);
        let known = spans_of(&calendar.months, months).skip_while(|(_, sum)| sum.is_none());
        let or_nothing = |(date, sum): (Date, Option<Sum>)| (date, sum.unwrap_or_default());
        Self {
            today: calendar.days.last().copied().unwrap_or_default(),
            days: sums.map(or_nothing).collect(),
            months: known.map(or_nothing).collect(),
        }
    }

    /// Energy of so many days ago.
    #[must_use]
    pub fn days_ago(&self, n: usize) -> Sum {
        let day = self.days.iter().nth_back(n);
        day.map(|(_, sum)| *sum).unwrap_or_default()
    }

    /// Energy of yesterday; `None` before there is a day with records.
    pub(super) fn yesterday(&self) -> Option<Sum> {
        (begun(&self.days) + 1 < self.days.len()).then(|| self.days_ago(1))
    }

    /// Energy of this month.
    #[must_use]
    pub fn this_month(&self) -> Sum {
        let first = self.today.first_of_month();
        let month = self.months.iter().find(|(month, _)| *month == first);
        month.map(|(_, sum)| *sum).unwrap_or_default()
    }
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
            energy: Some(Energy::of_phases([Counter::new(wh, 1.0); 3], 1.0)),
            followed: Energy::default(),
            money: Money::default(),
        };
        let spans: Vec<EnergySpan> = days
            .windows(2)
            .enumerate()
            .map(|(i, b)| span(b[0], b[1], i as f64))
            .collect();
        let mut by_month: Vec<EnergySpan> =
            months.windows(2).map(|b| span(b[0], b[1], 7.0)).collect();
        by_month[..10].iter_mut().for_each(|s| s.energy = None);
        let sums = Sums::new(&calendar, &spans, &by_month);
        assert_eq!(sums.today.to_string(), "2026-03-30");
        assert!(
            (sums.days_ago(0).device.import - 87.0).abs() < 1e-9
                && (sums.days_ago(1).net.import - 83.0).abs() < 1e-9
        );
        assert_eq!(
            sums.months.len(),
            2,
            "months before the first record are left out"
        );
        assert!((sums.this_month().net.import - 20.0).abs() < 1e-9);
        assert_eq!(Sums::default().days_ago(1), Sum::default());
    }
}
