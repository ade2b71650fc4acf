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
use crate::forecast::HorizonId;

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
    /// What is forecast after it: Unix s, W, and the band's ends.
    forecast: Vec<(i64, f64, Option<f64>, Option<f64>)>,
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

/// The horizon that belongs beside a range.
fn horizon(range: &str) -> Option<HorizonId> {
    match range {
        "3m" => Some(HorizonId::Minute),
        "1h" => Some(HorizonId::QuarterHour),
        "24h" => Some(HorizonId::Day),
        _ => None,
    }
}

fn ahead(context: &Context, id: HorizonId) -> Vec<(i64, f64, Option<f64>, Option<f64>)> {
    let outlook = context.forecast.outlook.borrow().clone();
    let forecast = outlook.horizon(id).and_then(|h| h.forecast.as_ref());
    let end = |w: Option<f32>| w.map(|w| tenth(w.into()));
    forecast.map(|f| f.points.iter().map(|p| (p.ts, tenth(p.w.into()), end(p.lo), end(p.hi))).collect()).unwrap_or_default()
}

/// W with one decimal.
pub(super) fn tenth(w: f64) -> f64 {
    (w * 10.0).round() / 10.0
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
    let chart = Chart {
        from,
        to,
        step,
        ts: bars.iter().map(|b| b.ts).collect(),
        w: bars.iter().map(|b| tenth(b.w)).collect(),
        mn: bars.iter().map(|b| tenth(b.mn)).collect(),
        mx: bars.iter().map(|b| tenth(b.mx)).collect(),
        forecast: horizon(&range).map(|id| ahead(&context, id)).unwrap_or_default(),
    };
    json(StatusCode::OK, to_json(&chart))
}
