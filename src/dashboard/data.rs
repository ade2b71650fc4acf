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
use crate::{
    forecast::HorizonId,
    store::{Bar, Store, StoreError},
};

/// Points of a chart at most: more than its pixels are of no use.
const POINTS: usize = 600;

/// A step of a forecast: Unix s, W, and the band's ends.
pub(super) type Ahead = (i64, f64, Option<f64>, Option<f64>);

/// A chart's data: columns as the chart library takes them.
#[derive(Serialize)]
pub struct Chart {
    from: i64,
    to: i64,
    /// Width of a point, s: a longer distance is a gap.
    step: i64,
    ts: Vec<i64>,
    w: Vec<f64>,
    /// Least and most of a point, where it stands for several samples.
    mn: Vec<f64>,
    mx: Vec<f64>,
    /// What is forecast after it.
    forecast: Vec<Ahead>,
}

/// How much of the past a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `3m`
    Minutes,
    /// `1h`
    Hour,
    /// `24h`
    Day,
    /// `30d`
    Month,
}

impl Range {
    /// By its name in the query.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "3m" => Self::Minutes,
            "1h" => Self::Hour,
            "24h" => Self::Day,
            "30d" => Self::Month,
            _ => return None,
        })
    }

    const fn seconds(self) -> i64 {
        match self {
            Self::Minutes => 180,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Month => 30 * 86_400,
        }
    }

    /// The horizon that belongs beside it.
    const fn horizon(self) -> Option<HorizonId> {
        match self {
            Self::Minutes => Some(HorizonId::Minute),
            Self::Hour => Some(HorizonId::QuarterHour),
            Self::Day => Some(HorizonId::Day),
            Self::Month => None,
        }
    }

    /// The past that belongs beside a horizon.
    pub(super) const fn beside(id: HorizonId) -> Self {
        match id {
            HorizonId::Minute => Self::Minutes,
            HorizonId::QuarterHour => Self::Hour,
            HorizonId::Day => Self::Day,
        }
    }
}

fn ahead(context: &Context, id: HorizonId) -> Vec<Ahead> {
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

impl Chart {
    /// The power of a range up to `now` (Unix s), without a forecast.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn of(store: &Store, range: Range, now: i64) -> Result<Self, StoreError> {
        let to = now + 1;
        let from = to - range.seconds();
        let bars = store.power(from, to, POINTS)?;
        let step = bars.windows(2).map(|pair| pair[1].ts - pair[0].ts).filter(|d| *d > 0).min().unwrap_or(1);
        let column = |value: fn(&Bar) -> f64| bars.iter().map(|b| tenth(value(b))).collect();
        let (w, mn, mx) = (column(|b| b.w), column(|b| b.mn), column(|b| b.mx));
        Ok(Self { from, to, step, ts: bars.iter().map(|b| b.ts).collect(), w, mn, mx, forecast: Vec::new() })
    }

    /// As JSON text.
    #[must_use]
    pub fn json(&self) -> String {
        to_json(self)
    }
}

/// The power of a range with what is forecast after it.
pub(super) async fn power(context: &Context, range: Range) -> Result<Chart, StoreError> {
    let now = context.now().unix_s();
    let mut chart = context.read(move |store| Chart::of(store, range, now)).await?;
    chart.forecast = range.horizon().map(|id| ahead(context, id)).unwrap_or_default();
    Ok(chart)
}

/// `chart.json?range=3m|1h|24h|30d`: power of the house, W.
pub(super) async fn chart(State(context): State<Context>, _asking: Asking, RawQuery(query): RawQuery) -> Response<Body> {
    let Some(range) = parameter(query.as_deref(), "range").map_or(Some(Range::Minutes), |name| Range::named(&name)) else {
        return failure(StatusCode::BAD_REQUEST, "range is one of 3m, 1h, 24h, 30d".into());
    };
    match power(&context, range).await {
        Ok(chart) => json(StatusCode::OK, chart.json()),
        Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
