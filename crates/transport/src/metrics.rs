//! `/metrics` in the OpenMetrics text format: the original's names, and the meter's figures beside
//! them.
//!
//! What has no value has no line: a missing series is honest, a 0 is an order to a battery
//! (`docs/decisions.md#a-phase-without-a-value`).

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::text::encode,
    metrics::{TypedMetric, counter::Counter, family::Family, gauge},
    registry::{Metric, Registry, Unit},
};

use super::{
    endpoint::Endpoint,
    words::{link_word, quality_word},
};
use consumers::Overview;
use meter::{Counter as Wh, Quality, Snapshot};
use vocab::Phase;

/// What the text is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// One exposition being written; families are collected over all meters first, since each may
/// appear only once.
#[derive(Default)]
struct Sheet {
    gauges: Vec<Series>,
    counters: Vec<Series>,
}

struct Series {
    name: &'static str,
    help: &'static str,
    unit: Option<&'static str>,
    lines: Vec<(Labels, f64)>,
}

impl Series {
    /// A family, or the metric by itself where there is only one without labels.
    fn register<M: Metric + TypedMetric + Default + Clone>(
        &self,
        registry: &mut Registry,
        family: Family<Labels, M>,
    ) {
        match (&self.lines[..], self.unit) {
            ([(labels, _)], Some(unit)) if labels.is_empty() => {
                registry.register_with_unit(
                    self.name,
                    self.help,
                    Unit::Other(unit.into()),
                    M::clone(&family.get_or_create(labels)),
                );
            }
            ([(labels, _)], None) if labels.is_empty() => registry.register(
                self.name,
                self.help,
                M::clone(&family.get_or_create(labels)),
            ),
            (_, Some(unit)) => {
                registry.register_with_unit(self.name, self.help, Unit::Other(unit.into()), family);
            }
            (_, None) => registry.register(self.name, self.help, family),
        }
    }
}

impl Sheet {
    fn line(
        series: &mut Vec<Series>,
        (name, help, unit): (&'static str, &'static str, Option<&'static str>),
        labels: Labels,
        value: f64,
    ) {
        match series.iter_mut().find(|s| s.name == name) {
            Some(found) => found.lines.push((labels, value)),
            None => series.push(Series {
                name,
                help,
                unit,
                lines: vec![(labels, value)],
            }),
        }
    }

    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<&'static str>,
        labels: Labels,
        value: f64,
    ) {
        Self::line(&mut self.gauges, (name, help, unit), labels, value);
    }

    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<&'static str>,
        labels: Labels,
        value: f64,
    ) {
        Self::line(&mut self.counters, (name, help, unit), labels, value);
    }

    fn text(self) -> String {
        let mut registry = Registry::with_prefix("virtual_shelly");
        for series in &self.gauges {
            let family = Family::<Labels, gauge::Gauge<f64, AtomicU64>>::default();
            for (labels, value) in &series.lines {
                family.get_or_create(labels).set(*value);
            }
            series.register(&mut registry, family);
        }
        for series in &self.counters {
            let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
            for (labels, value) in &series.lines {
                family.get_or_create(labels).inc_by(value.max(0.0));
            }
            series.register(&mut registry, family);
        }
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

/// A line that comes from elsewhere in the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    /// Without the prefix and the unit.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// In OpenMetrics' words.
    pub unit: Option<&'static str>,
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// Finite.
    pub value: f64,
}

/// The exposition of these meters. A further meter's lines carry its name as label `meter`; `more`
/// goes with the first.
#[must_use]
pub fn render(endpoints: &[Arc<Endpoint>], more: impl FnOnce() -> Vec<Gauge>) -> String {
    let mut sheet = Sheet::default();
    if endpoints.iter().any(|e| e.meter.is_empty()) {
        for line in more() {
            sheet.gauge(line.name, line.help, line.unit, line.labels, line.value);
        }
    }
    for endpoint in endpoints {
        let base: Labels = if endpoint.meter.is_empty() {
            Vec::new()
        } else {
            vec![("meter", endpoint.meter.clone())]
        };
        let overview = endpoint.overview();
        channels(&mut sheet, &base, &overview);
        consumers(&mut sheet, &base, &overview);
        batteries(&mut sheet, &base, endpoint, &overview);
        let view = endpoint.view();
        power(&mut sheet, &base, &view.snapshot);
        energy(&mut sheet, &base, &view.snapshot);
        source(&mut sheet, &base, endpoint, &view.snapshot);
    }
    sheet.text()
}

fn with(base: &Labels, more: &[(&'static str, &str)]) -> Labels {
    base.iter()
        .cloned()
        .chain(more.iter().map(|(k, v)| (*k, (*v).to_owned())))
        .collect()
}

fn channels(sheet: &mut Sheet, base: &Labels, overview: &Overview) {
    let metrics = &overview.metrics;
    for (method, calls) in &metrics.http.by_method {
        let labels = with(base, &[("method", method)]);
        let errors = metrics.http.errors.get(method).copied().unwrap_or_default();
        sheet.counter(
            "http_rpc_requests",
            "RPC calls over HTTP",
            None,
            labels.clone(),
            *calls as f64,
        );
        sheet.counter(
            "http_rpc_errors",
            "RPC calls over HTTP answered with an error",
            None,
            labels,
            errors as f64,
        );
    }
    let sockets = [&metrics.ws, &metrics.outbound];
    let sum = |of: fn(&consumers::overview::SocketsView) -> u64| {
        sockets.iter().map(|s| of(s)).sum::<u64>() as f64
    };
    sheet.counter(
        "ws_rpc_messages",
        "Requests over WebSocket",
        None,
        base.clone(),
        sum(|s| s.rpc_messages),
    );
    sheet.counter(
        "ws_notify",
        "Notifications over WebSocket",
        None,
        base.clone(),
        sum(|s| s.notify_total),
    );
    sheet.gauge(
        "ws_clients",
        "WebSocket clients connected",
        None,
        base.clone(),
        metrics.ws.clients as f64,
    );
    sheet.counter(
        "udp_packets",
        "Datagrams received",
        None,
        base.clone(),
        metrics.udp.packets as f64,
    );
    sheet.counter(
        "udp_replies",
        "Datagrams answered",
        None,
        base.clone(),
        metrics.udp.replies as f64,
    );
}

fn consumers(sheet: &mut Sheet, base: &Labels, overview: &Overview) {
    for consumer in &overview.consumers {
        let labels = with(
            base,
            &[
                ("ip", &consumer.ip.to_string()),
                ("channel", consumer.channel.name()),
            ],
        );
        sheet.counter(
            "consumer_requests",
            "Calls of one reader",
            None,
            labels.clone(),
            consumer.calls as f64,
        );
        sheet.counter(
            "consumer_errors",
            "Calls of one reader answered with an error",
            None,
            labels.clone(),
            consumer.errors as f64,
        );
        sheet.counter(
            "consumer_notifications",
            "Notifications to one reader",
            None,
            labels,
            consumer.notified as f64,
        );
    }
}

/// What calm control knows of its batteries, and how grid power swings.
fn batteries(sheet: &mut Sheet, base: &Labels, endpoint: &Endpoint, overview: &Overview) {
    let now = endpoint.clock.now().mono;
    let mut any = false;
    for consumer in &overview.consumers {
        let Some(state) = endpoint.calm.state(now, &(consumer.ip, consumer.channel)) else {
            continue;
        };
        any = true;
        let labels = with(
            base,
            &[
                ("ip", &consumer.ip.to_string()),
                ("channel", consumer.channel.name()),
            ],
        );
        sheet.counter(
            "battery_questions",
            "Questions of a controlled battery",
            None,
            labels.clone(),
            state.asked as f64,
        );
        sheet.counter(
            "battery_answers",
            "Answers to a controlled battery",
            None,
            labels.clone(),
            state.answered as f64,
        );
        let help = "By then an answer to a controlled battery has been seen on the meter";
        sheet.gauge(
            "battery_patience",
            help,
            Some("seconds"),
            labels.clone(),
            state.patience,
        );
        sheet.gauge(
            "battery_share",
            "Part of the power that a controlled battery is told",
            None,
            labels.clone(),
            state.share,
        );
        let aside = f64::from(u8::from(state.stands_aside));
        sheet.gauge(
            "battery_aside",
            "1 while a battery is calm by itself and control stands aside",
            None,
            labels.clone(),
            aside,
        );
        let on_its_way = state.on_its_way.map_or(0.0, |(watts, _)| watts);
        let help = "What a controlled battery was told and is not seen on the meter yet";
        sheet.gauge(
            "battery_on_its_way",
            help,
            Some("watts"),
            labels.clone(),
            on_its_way,
        );
        for (reach, direction) in state
            .reach
            .into_iter()
            .zip(["import", "export"])
            .filter(|(reach, _)| reach.is_finite())
        {
            let labels = labels
                .iter()
                .cloned()
                .chain([("direction", direction.to_owned())])
                .collect();
            sheet.gauge(
                "battery_reach",
                "What one answer moves at most; none: all of it",
                Some("watts"),
                labels,
                reach,
            );
        }
    }
    if !any {
        return;
    }
    sheet.gauge(
        "reading_interval",
        "Mean distance of readings",
        Some("seconds"),
        base.clone(),
        endpoint.calm.cadence(),
    );
    let (span, swings) = endpoint.calm.swing(now);
    if let Some(span) = span {
        sheet.gauge(
            "grid_swing",
            "Grid power in 10 minutes, from the 5th to the 95th percentile",
            Some("watts"),
            base.clone(),
            span,
        );
    }
    let help = "1 while grid power crosses zero by more than 60 W six times in 75 s";
    sheet.gauge(
        "grid_swings",
        help,
        None,
        base.clone(),
        f64::from(u8::from(swings)),
    );
}

fn power(sheet: &mut Sheet, base: &Labels, snapshot: &Snapshot) {
    for phase in Phase::ALL {
        let Some(served) = snapshot.phases[phase.index()] else {
            continue;
        };
        // The zeros of phases that nothing is configured for mean something only beside values.
        if snapshot.stale() && snapshot.inputs[phase.index()].quality == Quality::Unused {
            continue;
        }
        let labels = with(base, &[("phase", phase.letter())]);
        sheet.gauge(
            "act_power",
            "Active power of a phase, import positive",
            Some("watts"),
            labels.clone(),
            served.act_power.get(),
        );
        sheet.gauge(
            "aprt_power",
            "Apparent power of a phase",
            Some("voltamperes"),
            labels.clone(),
            served.aprt_power.get(),
        );
        sheet.gauge(
            "voltage",
            "Phase to neutral",
            Some("volts"),
            labels.clone(),
            served.voltage.get(),
        );
        sheet.gauge(
            "current",
            "Current of a phase",
            Some("amperes"),
            labels.clone(),
            served.current.get(),
        );
        sheet.gauge(
            "power_factor",
            "Power factor of a phase",
            None,
            labels.clone(),
            served.pf.get(),
        );
        sheet.gauge(
            "frequency",
            "Frequency",
            Some("hertz"),
            labels,
            served.freq.get(),
        );
    }
    if let Some(totals) = snapshot.totals {
        sheet.gauge(
            "total_act_power",
            "Active power of all phases, import positive",
            Some("watts"),
            base.clone(),
            totals.act_power.get(),
        );
        sheet.gauge(
            "total_aprt_power",
            "Apparent power of all phases",
            Some("voltamperes"),
            base.clone(),
            totals.aprt_power.get(),
        );
        sheet.gauge(
            "total_current",
            "Current of all phases",
            Some("amperes"),
            base.clone(),
            totals.current.get(),
        );
    }
    if let Some(current) = snapshot.n_current {
        sheet.gauge(
            "neutral_current",
            "Current of the neutral",
            Some("amperes"),
            base.clone(),
            current.get(),
        );
    }
}

fn energy(sheet: &mut Sheet, base: &Labels, snapshot: &Snapshot) {
    let (Some(energy), Some(total)) = (snapshot.energy, snapshot.energy_totals()) else {
        return;
    };
    let hundredths = |wh: f64| (wh * 100.0).round() / 100.0;
    let mut both = |import: &'static str, export: &'static str, of: Wh, labels: Labels| {
        sheet.counter(
            import,
            "Imported energy",
            Some("watt_hours"),
            labels.clone(),
            hundredths(of.import),
        );
        sheet.counter(
            export,
            "Exported energy",
            Some("watt_hours"),
            labels,
            hundredths(of.export),
        );
    };
    for phase in Phase::ALL {
        both(
            "act_energy",
            "act_ret_energy",
            energy.phases[phase.index()],
            with(base, &[("phase", phase.letter())]),
        );
    }
    both(
        "total_act_energy",
        "total_act_ret_energy",
        total,
        base.clone(),
    );
}

fn source(sheet: &mut Sheet, base: &Labels, endpoint: &Endpoint, snapshot: &Snapshot) {
    let (word, _) = link_word(&snapshot.source.link);
    sheet.gauge(
        "source_up",
        "1 while the source is connected and running",
        None,
        base.clone(),
        f64::from(u8::from(word == "up")),
    );
    let now = endpoint.clock.now().mono;
    if let Some(report) = snapshot.report() {
        let help = "Time since the oldest of the values in use was reported, changed or not";
        sheet.gauge(
            "source_age",
            help,
            Some("seconds"),
            base.clone(),
            report.age(now).as_secs_f64(),
        );
    }
    if let Some(alive) = snapshot.source.last_alive {
        let age = now.saturating_sub(alive).as_secs_f64();
        sheet.gauge(
            "link_age",
            "Time since the source's last sign of life, with or without values",
            Some("seconds"),
            base.clone(),
            age,
        );
    }
    for phase in Phase::ALL {
        if let Some(report) = snapshot.inputs[phase.index()].report {
            let labels = with(base, &[("phase", phase.letter())]);
            let help = "Time since the power of a phase was reported, changed or not";
            sheet.gauge(
                "reading_age",
                help,
                Some("seconds"),
                labels,
                report.age(now).as_secs_f64(),
            );
        }
        let quality = quality_word(&snapshot.inputs[phase.index()].quality);
        sheet.gauge(
            "phase_quality",
            "1 for the quality that a phase has",
            None,
            with(base, &[("phase", phase.letter()), ("quality", quality)]),
            1.0,
        );
    }
}
