//! The chart's data.

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{Response, StatusCode},
};
use serde::Serialize;

use super::{
    context::{Context, to_json},
    page::{Asking, json},
};

/// Points of a chart at most: more than its pixels are of no use.
const POINTS: usize = 600;

/// Columns as the chart library takes them.
#[derive(Serialize)]
struct Chart {
    from: i64,
    to: i64,
    /// Width of a point, s: a longer distance is a gap.
    step: i64,
    ts: Vec<i64>,
    w: Vec<f64>,
    /// Least and most of a point, where it stands for several samples.
    mn: Vec<f64>,
    mx: Vec<f64>,
    forecast: Vec<(f64, f64)>,
}

/// Seconds of a range by its name.
fn seconds(range: &str) -> Option<i64> {
    Some(match range {
        "3m" => 180,
        "1h" => 3600,
        "24h" => 86_400,
        "30d" => 30 * 86_400,
        _ => return None,
    })
}

#[derive(Serialize)]
struct Failure {
    error: String,
}

pub(super) fn failure(status: StatusCode, error: String) -> Response<Body> {
    json(status, to_json(&Failure { error }))
}

/// A value of the query, by key.
pub(super) fn parameter(query: Option<&str>, key: &str) -> Option<String> {
    url::form_urlencoded::parse(query?.as_bytes()).find(|(k, _)| k == key).map(|(_, v)| v.into_owned())
}

/// `chart.json?range=3m|1h|24h|30d`: power of the house, W.
pub(super) async fn chart(State(context): State<Context>, _asking: Asking, RawQuery(query): RawQuery) -> Response<Body> {
    let range = parameter(query.as_deref(), "range").unwrap_or_else(|| "3m".into());
    let Some(length) = seconds(&range) else { return failure(StatusCode::BAD_REQUEST, "range is one of 3m, 1h, 24h, 30d".into()) };
    let to = context.now().unix_s() + 1;
    let from = to - length;
    let bars = match context.read(move |store| store.power(from, to, POINTS)).await {
        Ok(bars) => bars,
        Err(error) => return failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    let step = bars.windows(2).map(|pair| pair[1].ts - pair[0].ts).filter(|d| *d > 0).min().unwrap_or(1);
    let tenth = |w: f64| (w * 10.0).round() / 10.0;
    let forecast = if range == "3m" { context.forecast.as_ref().map(|f| f.points()).unwrap_or_default() } else { Vec::new() };
    let chart = Chart {
        from,
        to,
        step,
        ts: bars.iter().map(|b| b.ts).collect(),
        w: bars.iter().map(|b| tenth(b.w)).collect(),
        mn: bars.iter().map(|b| tenth(b.mn)).collect(),
        mx: bars.iter().map(|b| tenth(b.mx)).collect(),
        forecast,
    };
    json(StatusCode::OK, to_json(&chart))
}
