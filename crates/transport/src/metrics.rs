//! `/metrics` in the OpenMetrics text format: the original's names, and the meter's figures beside
//! them.
//!
//! What has no value has no line: a missing series is honest, a 0 is an order to a battery
//! (`docs/decisions.md#a-phase-without-a-value`).

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{
    endpoint::Endpoint,
    words::{link_word, quality_word},
};
use consumers::{Overview, overview::ConsumerView};
use meter::{Counter as Wh, Quality, Snapshot};
use vocab::Phase;

/// What the text is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// What a family of ours is.
fn help(name: &str) -> &'static str {
    match name {
        "act_power" => "Active power of a phase, import positive",
        "aprt_power" => "Apparent power of a phase",
        "voltage" => "Phase to neutral",
        "current" => "Current of a phase",
        "power_factor" => "Power factor of a phase",
        "frequency" => "Frequency",
        "total_act_power" => "Active power of all phases, import positive",
        "total_aprt_power" => "Apparent power of all phases",
        "total_current" => "Current of all phases",
        "neutral_current" => "Current of the neutral",
        "act_energy" | "total_act_energy" => "Imported energy",
        "act_ret_energy" | "total_act_ret_energy" => "Exported energy",
        "source_up" => "1 while the source is connected and running",
        "source_age" => "Time since the oldest of the values in use was reported, changed or not",
        "link_age" => "Time since the source's last sign of life, with or without values",
        "reading_age" => "Time since the power of a phase was reported, changed or not",
        "phase_quality" => "1 for the quality that a phase has",
        "http_rpc_requests" => "RPC calls over HTTP",
        "http_rpc_errors" => "RPC calls over HTTP answered with an error",
        "ws_rpc_messages" => "Requests over WebSocket",
        "ws_notify" => "Notifications over WebSocket",
        "ws_clients" => "WebSocket clients connected",
        "udp_packets" => "Datagrams received",
        "udp_replies" => "Datagrams answered",
        "consumer_requests" => "Calls of one reader",
        "consumer_errors" => "Calls of one reader answered with an error",
        "consumer_notifications" => "Notifications to one reader",
        "battery_questions" => "Questions of a controlled battery",
        "battery_answers" => "Answers to a controlled battery",
        "battery_patience" => {
            "By then an answer to a controlled battery has been seen on the meter"
        }
        "battery_share" => "Part of the power that a controlled battery is told",
        "battery_aside" => "1 while a battery is calm by itself and control stands aside",
        "battery_on_its_way" => {
            "What a controlled battery was told and is not seen on the meter yet"
        }
        "battery_reach" => "What one answer moves at most; none: all of it",
        "reading_interval" => "Mean distance of readings",
        "grid_swing" => "Grid power in 10 minutes, from the 5th to the 95th percentile",
        "grid_swings" => "1 while grid power crosses zero by more than 60 W six times in 75 s",
        _ => "",
    }
}

/// In which unit it is, in OpenMetrics' words.
fn unit(name: &str) -> Option<&'static str> {
    Some(match name {
        "act_power" | "total_act_power" | "battery_on_its_way" | "battery_reach" | "grid_swing" => {
            "watts"
        }
        "aprt_power" | "total_aprt_power" => "voltamperes",
        "voltage" => "volts",
        "current" | "total_current" | "neutral_current" => "amperes",
        "frequency" => "hertz",
        "act_energy" | "act_ret_energy" | "total_act_energy" | "total_act_ret_energy" => {
            "watt_hours"
        }
        "source_age" | "link_age" | "reading_age" | "battery_patience" | "reading_interval" => {
            "seconds"
        }
        _ => return None,
    })
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

/// One exposition being written, with the lines of all meters: a family, which is what has one
/// name, may appear only once.
#[derive(Debug, Default)]
struct Sheet {
    gauges: Vec<Gauge>,
    counters: Vec<Gauge>,
}

impl Sheet {
    fn gauge(&mut self, name: &'static str, labels: &Labels, value: f64) {
        self.gauges.push(own(name, labels, value));
    }

    fn counter(&mut self, name: &'static str, labels: &Labels, value: f64) {
        self.counters.push(own(name, labels, value.max(0.0)));
    }

    fn text(self) -> String {
        let mut registry = Registry::with_prefix("virtual_shelly");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

/// A line of a family of ours.
fn own(name: &'static str, labels: &Labels, value: f64) -> Gauge {
    Gauge {
        name,
        help: help(name),
        unit: unit(name),
        labels: labels.clone(),
        value,
    }
}

impl Collector for Sheet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = [
            (&self.gauges, MetricType::Gauge),
            (&self.counters, MetricType::Counter),
        ];
        for (lines, kind) in all {
            let mut rest: Vec<&Gauge> = lines.iter().collect();
            while let Some(&first) = rest.first() {
                let (lines, others): (Vec<&Gauge>, Vec<&Gauge>) =
                    rest.into_iter().partition(|line| line.name == first.name);
                rest = others;
                let unit = first.unit.map(|unit| Unit::Other(unit.into()));
                let help = format!("{}.", first.help);
                let mut family =
                    encoder.encode_descriptor(first.name, &help, unit.as_ref(), kind)?;
                for Gauge { labels, value, .. } in lines {
                    let write = |line: &mut MetricEncoder<'_>| match kind {
                        MetricType::Counter => {
                            line.encode_counter::<NoLabelSet, _, u64>(value, None)
                        }
                        _ => line.encode_gauge(value),
                    };
                    if labels.is_empty() {
                        write(&mut family)?;
                    } else {
                        write(&mut family.encode_family(labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The exposition of these meters. A further meter's lines carry its name as label `meter`; `more`
/// goes with the first.
#[must_use]
pub fn render(endpoints: &[Arc<Endpoint>], more: impl FnOnce() -> Vec<Gauge>) -> String {
    let mut sheet = Sheet::default();
    if endpoints.iter().any(|e| e.meter.is_empty()) {
        sheet.gauges.extend(more());
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

fn of_phase(base: &Labels, phase: Phase) -> Labels {
    with(base, &[("phase", phase.letter())])
}

fn of_reader(base: &Labels, reader: &ConsumerView) -> Labels {
    let (ip, channel) = (reader.ip.to_string(), reader.channel.name());
    with(base, &[("ip", &ip), ("channel", channel)])
}

fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn channels(sheet: &mut Sheet, base: &Labels, overview: &Overview) {
    let metrics = &overview.metrics;
    for (method, calls) in &metrics.http.by_method {
        let labels = with(base, &[("method", method)]);
        let errors = metrics.http.errors.get(method).copied().unwrap_or_default();
        sheet.counter("http_rpc_requests", &labels, *calls as f64);
        sheet.counter("http_rpc_errors", &labels, errors as f64);
    }
    let (ws, outbound) = (&metrics.ws, &metrics.outbound);
    let messages = ws.rpc_messages + outbound.rpc_messages;
    let notified = ws.notify_total + outbound.notify_total;
    sheet.counter("ws_rpc_messages", base, messages as f64);
    sheet.counter("ws_notify", base, notified as f64);
    sheet.gauge("ws_clients", base, ws.clients as f64);
    sheet.counter("udp_packets", base, metrics.udp.packets as f64);
    sheet.counter("udp_replies", base, metrics.udp.replies as f64);
}

fn consumers(sheet: &mut Sheet, base: &Labels, overview: &Overview) {
    for consumer in &overview.consumers {
        let labels = of_reader(base, consumer);
        sheet.counter("consumer_requests", &labels, consumer.calls as f64);
        sheet.counter("consumer_errors", &labels, consumer.errors as f64);
        sheet.counter("consumer_notifications", &labels, consumer.notified as f64);
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
        let labels = of_reader(base, consumer);
        let on_its_way = state.on_its_way.map_or(0.0, |(watts, _)| watts);
        sheet.counter("battery_questions", &labels, state.asked as f64);
        sheet.counter("battery_answers", &labels, state.answered as f64);
        sheet.gauge("battery_patience", &labels, state.patience);
        sheet.gauge("battery_share", &labels, state.share);
        sheet.gauge("battery_aside", &labels, flag(state.stands_aside));
        sheet.gauge("battery_on_its_way", &labels, on_its_way);
        for (reach, direction) in state.reach.into_iter().zip(["import", "export"]) {
            if reach.is_finite() {
                let labels = with(&labels, &[("direction", direction)]);
                sheet.gauge("battery_reach", &labels, reach);
            }
        }
    }
    if !any {
        return;
    }
    sheet.gauge("reading_interval", base, endpoint.calm.cadence());
    let (span, swings) = endpoint.calm.swing(now);
    if let Some(span) = span {
        sheet.gauge("grid_swing", base, span);
    }
    sheet.gauge("grid_swings", base, flag(swings));
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
        let labels = of_phase(base, phase);
        sheet.gauge("act_power", &labels, served.act_power.get());
        sheet.gauge("aprt_power", &labels, served.aprt_power.get());
        sheet.gauge("voltage", &labels, served.voltage.get());
        sheet.gauge("current", &labels, served.current.get());
        sheet.gauge("power_factor", &labels, served.pf.get());
        sheet.gauge("frequency", &labels, served.freq.get());
    }
    if let Some(totals) = snapshot.totals {
        sheet.gauge("total_act_power", base, totals.act_power.get());
        sheet.gauge("total_aprt_power", base, totals.aprt_power.get());
        sheet.gauge("total_current", base, totals.current.get());
    }
    if let Some(current) = snapshot.n_current {
        sheet.gauge("neutral_current", base, current.get());
    }
}

fn energy(sheet: &mut Sheet, base: &Labels, snapshot: &Snapshot) {
    let (Some(energy), Some(total)) = (snapshot.energy, snapshot.energy_totals()) else {
        return;
    };
    let hundredths = |wh: f64| (wh * 100.0).round() / 100.0;
    let mut both = |import, export, of: Wh, labels: &Labels| {
        sheet.counter(import, labels, hundredths(of.import));
        sheet.counter(export, labels, hundredths(of.export));
    };
    for phase in Phase::ALL {
        let of = energy.phases[phase.index()];
        both("act_energy", "act_ret_energy", of, &of_phase(base, phase));
    }
    both("total_act_energy", "total_act_ret_energy", total, base);
}

fn source(sheet: &mut Sheet, base: &Labels, endpoint: &Endpoint, snapshot: &Snapshot) {
    let (word, _) = link_word(&snapshot.source.link);
    sheet.gauge("source_up", base, flag(word == "up"));
    let now = endpoint.clock.now().mono;
    if let Some(report) = snapshot.report() {
        sheet.gauge("source_age", base, report.age(now).as_secs_f64());
    }
    if let Some(alive) = snapshot.source.last_alive {
        let age = now.saturating_sub(alive).as_secs_f64();
        sheet.gauge("link_age", base, age);
    }
    for phase in Phase::ALL {
        let input = &snapshot.inputs[phase.index()];
        let labels = of_phase(base, phase);
        if let Some(report) = input.report {
            sheet.gauge("reading_age", &labels, report.age(now).as_secs_f64());
        }
        let labels = with(&labels, &[("quality", quality_word(&input.quality))]);
        sheet.gauge("phase_quality", &labels, 1.0);
    }
}
