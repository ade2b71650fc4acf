//! `/healthz`: the original's keys and what a monitor wants beside them.
//!
//! 503 while a used phase has no value, because then the meter cannot do its work; 200 with
//! `degraded` for the rest (`docs/decisions.md#alive-and-ready`): a taken port or a held value is
//! no reason to restart anything.

use std::{collections::BTreeMap, time::Duration};

use axum::http::StatusCode;
use serde::Serialize;

pub use super::words::{link_word, quality_word};
use super::{
    board::{Board, Line, ListenerState, Place},
    endpoint::Endpoint,
    metrics::Gauge,
};
use meter::{Quality, Report as Reported, Snapshot};
use vocab::{
    Link, Phase,
    reason::{Reason, Unreachable},
};

/// How the process is; `app` knows.
pub trait Vitals: Send + Sync {
    /// What is wrong beside the source and the listeners: options, data folder, store.
    fn problems(&self) -> Vec<Reason>;

    /// Whether one of [`Self::problems`] still makes the process `degraded`: not one that is over
    /// and only told of.
    fn degraded(&self) -> bool {
        !self.problems().is_empty()
    }

    /// Figures of the process that belong to no meter's readings, for `/metrics` of the first
    /// meter.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }

    /// Whether writer thread and listener tasks respond.
    ///
    /// # Errors
    /// The first that doesn't.
    fn alive(&self) -> Result<(), String>;
}

#[derive(Serialize)]
struct Report<'a> {
    status: &'static str,
    ts: f64,
    device: &'a str,
    last_poll_ok: bool,
    /// Seconds since the oldest of the values in use was reported, changed or not.
    last_poll_age: Option<f64>,
    last_poll_error: Option<&'a Unreachable>,
    source: &'static str,
    /// Seconds since the source's last sign of life, which says nothing about values.
    link_age: Option<f64>,
    /// By phase.
    quality: BTreeMap<&'static str, QualityLine<'a>>,
    listeners: Vec<Line>,
    problems: Vec<Reason>,
}

#[derive(Serialize)]
struct QualityLine<'a> {
    state: &'static str,
    /// Seconds since the value was reported; of one that is held or absent since its last sign of
    /// life.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a Reason>,
}

/// An outbound server's line without its path: that may be what lets one in there, and anybody can
/// read this.
fn without_path(mut line: Line) -> Line {
    if let ("outbound", Place::Named(url)) = (line.name, &mut line.address) {
        let host = url.find("://").map_or(0, |at| at + 3);
        let end = url[host..].find(['/', '?', '#']);
        url.truncate(end.map_or(url.len(), |at| host + at));
    }
    line
}

/// Status and body.
#[must_use]
pub fn report(endpoint: &Endpoint, board: &Board, vitals: &dyn Vitals) -> (StatusCode, String) {
    let ground = endpoint.ground();
    let snapshot: &Snapshot = &ground.view.snapshot;
    let now = endpoint.clock.now();
    let tenths = |age: Duration| (age.as_secs_f64() * 10.0).round() / 10.0;
    let seconds = |since| tenths(now.mono.saturating_sub(since));
    let age = |report: Reported| tenths(report.age(now.mono));
    let line = |phase: Phase| {
        let quality = &snapshot.inputs[phase.index()].quality;
        let (age, reason) = match quality {
            Quality::Held { since, reason } | Quality::Absent { since, reason } => {
                (Some(seconds(*since)), Some(reason))
            }
            Quality::Live => (snapshot.inputs[phase.index()].report.map(age), None),
            Quality::Unused => (None, None),
        };
        QualityLine {
            state: quality_word(quality),
            age,
            reason,
        }
    };
    let quality = BTreeMap::from(Phase::ALL.map(|phase| (phase.letter(), line(phase))));
    let (source, error) = link_word(&snapshot.source.link);
    let listeners: Vec<Line> = board
        .lines()
        .into_iter()
        .filter(|l| l.meter == endpoint.meter || l.name == "dashboard")
        .map(without_path)
        .collect();
    let problems = vitals.problems();
    let held = quality.values().any(|q| q.state == "held");
    let waiting = listeners
        .iter()
        .any(|l| matches!(l.state, ListenerState::Waiting { .. }));
    let up = matches!(snapshot.source.link, Link::Up);
    let (status, code) = if snapshot.stale() {
        ("stale", StatusCode::SERVICE_UNAVAILABLE)
    } else if held || waiting || !up || vitals.degraded() {
        ("degraded", StatusCode::OK)
    } else {
        ("ok", StatusCode::OK)
    };
    let report = Report {
        status,
        ts: (now.unix * 1000.0).round() / 1000.0,
        device: &ground.device.identity.id,
        last_poll_ok: up,
        last_poll_age: snapshot.report().map(age),
        last_poll_error: error,
        source,
        link_age: snapshot.source.last_alive.map(seconds),
        quality,
        listeners,
        problems,
    };
    (
        code,
        serde_json::to_string(&report).unwrap_or_else(|_| "{}".into()),
    )
}
