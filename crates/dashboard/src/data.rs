//! The chart's data.

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderValue, Response, StatusCode, header},
};
use serde::Serialize;

use super::{
    battery,
    context::{Context, to_json},
    page::{Asking, json},
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
        Range::Month => None,
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
    forecast
        .map(|f| {
            f.points
                .iter()
                .map(|p| (p.ts, Figure::whole(p.w.into()), end(p.lo), end(p.hi)))
                .collect()
        })
        .unwrap_or_default()
}

#[derive(Serialize)]
struct Failure {
    error: String,
}

pub(super) fn failure(status: StatusCode, error: String) -> Response<Body> {
    let mut response = json(status, to_json(&Failure { error }));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(
            header::RETRY_AFTER,
            HeaderValue::from_static(background::RETRY_AFTER),
        );
    }
    response
}

/// A value of the query, by key.
pub(super) fn parameter(query: Option<&str>, key: &str) -> Option<String> {
    url::form_urlencoded::parse(query?.as_bytes())
        .find(|(k, _)| k == key)
        .map(|(_, v)| v.into_owned())
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
    chart.forecast = horizon(range)
        .map(|id| ahead(context, id))
        .unwrap_or_default();
    Ok(chart)
}

/// `chart.json?range=3m|1h|24h|30d`: power of the house, W. The shortest is as long as
/// `power_history_seconds` says.
pub(super) async fn chart(
    State(context): State<Context>,
    _asking: Asking,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let Some(range) = parameter(query.as_deref(), "range")
        .map_or(Some(Range::Minutes), |name| Range::named(&name))
    else {
        return failure(
            StatusCode::BAD_REQUEST,
            "range is one of 3m, 1h, 24h, 30d".into(),
        );
    };
    let seconds = if range == Range::Minutes {
        context.history_seconds.into()
    } else {
        range.seconds()
    };
    match power(&context, range, seconds, POINTS).await {
        Ok(mut chart) => {
            if matches!(range, Range::Minutes | Range::Hour) {
                chart.told = battery::told(context.meter(0), context.now())
                    .map(|(ts, w)| (tenth(ts), tenth(w)))
                    .collect();
            }
            json(StatusCode::OK, chart.json())
        }
        Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
