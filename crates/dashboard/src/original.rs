//! What the Python original served beside its page, with its keys: `/ui/power`, `/ui/train`,
//! `/admin/overview`.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{
    answer::{as_json, to_json},
    asking::Asking,
    context::Context,
    forecast::known,
};
use consumers::{
    ConsumerView,
    overview::{ClientsView, MetricsView, PortView},
};
use device::{Answer, Manner};
use forecast::{
    HorizonId, Metrics, ModelKind,
    outlook::{Basis, HorizonOutlook},
};
use store::Store;
use store::chart::tenth;
use transport::{Endpoint, board::Line, healthz::link_word};
use vocab::reason::{Reason, Unreachable};

#[derive(Serialize)]
struct Point {
    ts: f64,
    w: f64,
}

#[derive(Serialize)]
struct Power {
    ts: f64,
    /// W, + import; null without a reading.
    current: Option<f64>,
    history: Vec<Point>,
    forecast: Vec<Point>,
    model: Model,
}

/// The `model` member: the original's keys, and what is known of all horizons. Figures are out of
/// sample.
#[derive(Serialize)]
struct Model {
    trained_at: Option<i64>,
    mse: Option<f64>,
    mape: Option<f64>,
    n: u64,
    /// Steps of the first horizon.
    horizon: Option<usize>,
    /// Raw samples that are kept.
    dataset_total: u64,
    wape: Option<f64>,
    mae: Option<f64>,
    skill: Option<f64>,
    mape_points: u64,
    /// The model that speaks for the first horizon.
    model: Option<ModelKind>,
    baseline_mae: Option<f64>,
    basis: Option<Basis>,
    train_seconds: Option<f64>,
    training: Option<f32>,
    horizons: Vec<Ahead>,
}

#[derive(Serialize)]
struct Ahead {
    name: &'static str,
    step: u32,
    steps: usize,
    model: ModelKind,
    basis: Basis,
    #[serde(flatten)]
    metrics: Metrics,
    forecast: Vec<forecast::Point>,
}

fn model(context: &Context, dataset_total: u64) -> Model {
    let (outlook, training) = known(context);
    let first = outlook.horizon(HorizonId::Minute);
    let metrics = first.map(|h| h.metrics).unwrap_or_default();
    Model {
        trained_at: outlook.trained.map(|t| t.at),
        mse: metrics.mse,
        mape: metrics.mape,
        n: metrics.n,
        horizon: first.map(|h| h.steps),
        dataset_total,
        wape: metrics.wape,
        mae: metrics.mae,
        skill: metrics.skill,
        mape_points: metrics.mape_points,
        model: first.map(|h| h.model),
        baseline_mae: metrics.baseline_mae,
        basis: first.map(|h| h.basis),
        train_seconds: outlook.trained.map(|t| t.seconds),
        training: training.running.map(|(fraction, _)| fraction),
        horizons: outlook.horizons.iter().map(Ahead::of).collect(),
    }
}

impl Ahead {
    fn of(h: &HorizonOutlook) -> Self {
        Self {
            name: h.id.name(),
            step: h.step,
            steps: h.steps,
            model: h.model,
            basis: h.basis,
            metrics: h.metrics,
            forecast: h
                .forecast
                .as_ref()
                .map_or_else(Vec::new, |f| f.points.clone()),
        }
    }
}

/// `/ui/power`.
pub(super) async fn power(State(context): State<Context>, _asking: Asking) -> Response {
    let now = context.now();
    let to = now.unix_s() + 1;
    let from = to - 1 - i64::from(context.history_seconds);
    let (samples, dataset) = tokio::join!(
        context.read(move |store| store.samples(from, to)),
        context.read(Store::sample_count)
    );
    let model = model(&context, dataset.unwrap_or_default());
    let next = model.horizons.first();
    let next = next.filter(|h| h.name == HorizonId::Minute.name());
    let point = |ts: i64, w| Point { ts: ts as f64, w };
    let totals = context.meter(0).view().snapshot.totals;
    as_json(&Power {
        ts: now.unix,
        current: totals.map(|t| t.act_power.get()),
        history: samples
            .unwrap_or_default()
            .into_iter()
            .map(|(ts, w)| point(ts, w))
            .collect(),
        forecast: next.map_or_else(Vec::new, |h| {
            let points = h.forecast.iter();
            points
                .map(|p| point(p.ts, tenth(p.w.into()).get()))
                .collect()
        }),
        model,
    })
}

/// JSON text of others, as it is.
pub(super) fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// `POST /ui/train`: starts a training; 400 with the reason where that cannot be. `text` is for the
/// page's button.
pub(super) async fn train(State(context): State<Context>, asking: Asking) -> Response {
    let (status, said) = match context.owner.train().await {
        Ok(()) => {
            let text = asking.l.t("fc_started");
            (StatusCode::OK, json!({ "ok": true, "text": text }))
        }
        Err(why) => {
            let text = asking.l.say(&why);
            let said = json!({ "ok": false, "error": why.to_string(), "text": text });
            (StatusCode::BAD_REQUEST, said)
        }
    };
    (status, as_json(&said)).into_response()
}

#[derive(Serialize)]
struct Values {
    em: Box<RawValue>,
    emdata: Box<RawValue>,
}

#[derive(Serialize)]
struct SourceView {
    link: &'static str,
    reason: Option<Unreachable>,
    home_assistant: Option<String>,
    /// Seconds since the oldest of the values in use was reported.
    age: Option<f64>,
    /// Seconds since the source's last sign of life.
    link_age: Option<f64>,
}

#[derive(Serialize)]
struct Overview {
    ts: f64,
    device: serde_json::Value,
    values: Values,
    metrics: MetricsView,
    clients: ClientsView,
    consumers: Vec<ConsumerView>,
    udp_ports: Vec<PortView>,
    /// Addresses among which power is divided now.
    counted: usize,
    listeners: Vec<Line>,
    source: SourceView,
    problems: Vec<Reason>,
    meters: Vec<String>,
}

/// What the device would answer to a call, without anybody being counted as a reader.
pub(super) fn ask(endpoint: &Endpoint, method: &str, params: &str) -> Box<RawValue> {
    // For people's pages, which show a null as no value.
    let manner = Manner {
        absent: vocab::Absent::Nulls,
        ..Manner::http(false)
    };
    match endpoint.peek(method, params, manner) {
        Answer::Result(text) => raw(text.to_string()),
        Answer::Error(error) => raw(to_json(&error)),
        Answer::Silence => RawValue::NULL.to_owned(),
    }
}

/// `/admin/overview`: the original's keys and more.
pub(super) async fn overview(State(context): State<Context>, asking: Asking) -> Response {
    let endpoint = context.meter(asking.m);
    let now = context.now();
    let seen = endpoint.overview();
    let snapshot = endpoint.view().snapshot.clone();
    let (link, reason) = link_word(&snapshot.source.link);
    let mut device: serde_json::Value =
        serde_json::from_str(ask(endpoint, "Shelly.GetDeviceInfo", "{}").get()).unwrap_or_default();
    let identity = endpoint.ground().device.identity.clone();
    if let Some(members) = device.as_object_mut() {
        members.insert("sn".into(), identity.sn.into());
        members.insert("manufacturer".into(), identity.manufacturer.into());
    }
    let overview = Overview {
        ts: now.unix,
        device,
        values: Values {
            em: ask(endpoint, "EM.GetStatus", r#"{"id":0}"#),
            emdata: ask(endpoint, "EMData.GetStatus", r#"{"id":0}"#),
        },
        metrics: seen.metrics,
        clients: seen.clients,
        consumers: seen.consumers,
        udp_ports: seen.udp_ports,
        counted: seen.counted,
        listeners: context.board.lines(),
        source: SourceView {
            link,
            reason: reason.cloned(),
            home_assistant: context.facts.borrow().version.as_deref().map(str::to_owned),
            age: snapshot.report().map(|r| r.age(now.mono).as_secs_f64()),
            link_age: snapshot
                .source
                .last_alive
                .map(|at| now.mono.saturating_sub(at).as_secs_f64()),
        },
        problems: context.vitals.problems(),
        meters: context.meters.iter().map(|m| m.meter.clone()).collect(),
    };
    as_json(&overview)
}
