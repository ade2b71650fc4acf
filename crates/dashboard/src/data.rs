//! The chart's data.

use axum::{extract::State, http::StatusCode, response::Response};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde::Serialize;

use super::{
    answer::{Answer, as_json, failure},
    asking::{Asking, parameter},
    battery,
    context::Context,
    incidents,
};
use forecast::HorizonId;
use store::{
    StoreError,
    chart::{Ahead, Chart, Figure, POINTS, Range, tenth},
};

/// The horizon that belongs beside a range.
const fn horizon(range: Range) -> Option<HorizonId> {
    match range {
        Range::Minutes => Some(HorizonId::Minute),
        Range::Hour => Some(HorizonId::QuarterHour),
        Range::Day => Some(HorizonId::Day),
        Range::Week | Range::Month => None,
    }
}

/// The past that belongs beside a horizon.
pub(super) const fn beside(id: HorizonId) -> Range {
    match id {
        HorizonId::Minute => Range::Minutes,
        HorizonId::QuarterHour => Range::Hour,
        HorizonId::Day => Range::Day,
    }
}

fn ahead(context: &Context, id: HorizonId) -> Vec<Ahead> {
    let outlook = context.forecast.outlook.borrow().clone();
    let forecast = outlook.horizon(id).and_then(|h| h.forecast.as_ref());
    let end = |w: Option<f32>| w.map(|w| Figure::whole(w.into()));
    let points = forecast.into_iter().flat_map(|f| &f.points);
    points
        .map(|p| (p.ts, Figure::whole(p.w.into()), end(p.lo), end(p.hi)))
        .collect()
}

/// The power of a range, of so many seconds, with what is forecast after it; of at most so many
/// points.
pub(super) async fn power(
    context: &Context,
    range: Range,
    seconds: i64,
    points: usize,
) -> Result<Chart, StoreError> {
    let now = context.now().unix_s();
    let mut chart = context
        .read(move |store| Chart::within(store, seconds, now, points))
        .await?;
    chart.forecast = horizon(range).map_or_else(Vec::new, |id| ahead(context, id));
    Ok(chart)
}

/// What a chart is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    /// The last while.
    Range(Range),
    /// Between two times, Unix s.
    Between(i64, i64),
}

/// Longest stretch that a chart shows, s.
const LONGEST: i64 = 400 * 86_400;

/// `day`, or `from` and `to`, or `range`; by default the shortest.
fn wanted(query: Option<&str>, zone: &TimeZone) -> Result<Wanted, &'static str> {
    let time = |key| parameter(query, key).map(|text| text.parse::<i64>());
    if let Some(day) = parameter(query, "day") {
        let border = |date: Date| {
            zone.to_timestamp(date.at(0, 0, 0, 0))
                .map(Timestamp::as_second)
        };
        let date: Date = day
            .parse()
            .map_err(|_| "day is a date such as 2026-11-29")?;
        let next = date.checked_add(1.day());
        return next
            .and_then(|next| Ok(Wanted::Between(border(date)?, border(next)?)))
            .map_err(|_| "day is out of range");
    }
    match (time("from"), time("to")) {
        (Some(Ok(from)), Some(Ok(to))) if from >= 0 && (1..=LONGEST).contains(&(to - from)) => {
            Ok(Wanted::Between(from, to))
        }
        (None, None) => parameter(query, "range")
            .map_or(Some(Range::Minutes), |name| Range::named(&name))
            .map(Wanted::Range)
            .ok_or("range is one of 3m, 1h, 24h, 7d, 30d"),
        _ => Err("from and to are Unix seconds, from before to"),
    }
}

/// A chart, and what belongs to its drawing.
#[derive(Serialize)]
struct Drawing {
    #[serde(flatten)]
    chart: Chart,
    /// Unix s.
    now: i64,
    /// What was wrong in its time: since when, until when, and what. The chart names gaps by it and
    /// draws it as a band.
    faults: Vec<(i64, i64, String)>,
}

/// `chart.json?range=3m|1h|24h|7d|30d`, `?day=2026-11-29` or `?from=…&to=…`: power of the house, W;
/// with `phases=1` that of each phase too. The shortest range is as long as `power_history_seconds`
/// says.
pub(super) async fn chart(State(context): State<Context>, asking: Asking) -> Answer {
    let wanted = wanted(asking.query.as_deref(), &context.zone())
        .map_err(|why| failure(StatusCode::BAD_REQUEST, why))?;
    let now = context.now().unix_s();
    let phases = asking.parameter("phases").is_some();
    let (from, to) = match wanted {
        Wanted::Range(Range::Minutes) => (now + 1 - i64::from(context.history_seconds), now + 1),
        Wanted::Range(range) => (now + 1 - range.seconds(), now + 1),
        Wanted::Between(from, to) => (from, to),
    };
    let meter = context.meter(0).meter.clone();
    let read = context.read(move |store| {
        let chart = Chart::between(store, from, to, POINTS)?;
        if phases {
            chart.with_phases(store, &meter)
        } else {
            Ok(chart)
        }
    });
    let mut chart = read.await.map_err(|error| unread(&error))?;
    chart.forecast = match wanted {
        Wanted::Range(range) => horizon(range).map_or_else(Vec::new, |id| ahead(&context, id)),
        Wanted::Between(..) => {
            let mut day = ahead(&context, HorizonId::Day);
            day.retain(|point| (from..to).contains(&point.0));
            day
        }
    };
    if to - from <= Range::Hour.seconds() {
        chart.told = battery::told(context.meter(0), context.now())
            .map(|(ts, w)| (tenth(ts), tenth(w)))
            .collect();
    }
    let faults = incidents::between(&context, 0, asking.l, from, to).await;
    let faults = faults.unwrap_or_default();
    Ok(as_json(&Drawing { chart, now, faults }))
}

/// The database cannot be read.
pub(super) fn unread(error: &StoreError) -> Response {
    failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_chart_is_of_a_range_of_a_day_of_the_house_or_between_two_times() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let of = |query| wanted(Some(query), &zone);
        assert_eq!(wanted(None, &zone), Ok(Wanted::Range(Range::Minutes)));
        assert_eq!(of("range=7d&m=1"), Ok(Wanted::Range(Range::Week)));
        assert_eq!(
            of("day=2026-11-29"),
            Ok(Wanted::Between(1_795_906_800, 1_795_993_200))
        );
        let summer_ends = of("day=2026-10-25").unwrap();
        assert!(matches!(summer_ends, Wanted::Between(from, to) if to - from == 25 * 3600));
        assert_eq!(of("from=100&to=160"), Ok(Wanted::Between(100, 160)));
        for wrong in [
            "range=2h",
            "day=yesterday",
            "day=-009999-01-01",
            "from=5&to=5",
            "from=5",
            "from=-1&to=5",
            "from=0&to=999999999999",
            "from=a&to=b",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
