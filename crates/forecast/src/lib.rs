//! What the next minute, quarter of an hour and day will bring, how sure that is, and how much
//! better it is than saying "as now".
//!
//! ```text
//!  samples ──grid──▶ Grid ──fit──▶ Panel (every model) ──rolling back-test──▶ choice, band
//!                                      │                                        │
//!  recent samples ─────────────────────┴──▶ Forecaster ──▶ {ts, w, lo, hi}      └▶ metrics
//!                                               │
//!                              what came ──▶ Tracker ──▶ figures of the last 24 h
//! ```
//!
//! Everything here is a function of its arguments: no SQL, no sockets, no clock, explicit seeds.
//! Powers are watts (positive = import), times Unix seconds. Why so: `docs/decisions.md#forecast`.
//!
//! * [`horizon`] the three horizons, [`grid`] samples → regular series,
//! * models, one file each: [`last_value`], [`yesterday`], [`neighbours`], [`mlp`],
//!   [`climatology`], [`blend`]; [`panel`] fits and asks them all,
//! * [`band`] P10–P90, [`calibration`] of its width, [`metrics`], [`choice`], [`rolling`]
//!   back-test,
//! * [`trainer`], [`stored`] (survives a restart), [`forecaster`], [`tracker`], [`outlook`] for the
//!   service,
//! * [`cli`] and [`cli_forecast`] for the commands `backtest` and `forecast`.
//!
//! How to add a model: `CONTRIBUTING.md`.

pub mod band;
pub mod blend;
pub mod calibration;
pub mod choice;
pub mod cli;
pub mod cli_forecast;
pub mod climatology;
pub mod cost;
pub mod csv_file;
pub mod forecaster;
pub mod grid;
pub mod horizon;
pub mod last_value;
pub mod metrics;
pub mod mlp;
pub mod neighbours;
pub mod outlook;
pub mod panel;
pub mod plot;
pub mod recent;
pub mod report;
pub mod rolling;
pub mod stored;
pub mod tracker;
pub mod trainer;
pub mod yesterday;

#[cfg(test)]
mod proofs;
#[cfg(test)]
mod service_tests;
#[cfg(test)]
mod testdata;

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

pub use forecaster::{Forecaster, HorizonForecast, Point};
pub use grid::{Grid, Sample};
pub use horizon::{Horizon, HorizonId};
pub use metrics::Metrics;
pub use outlook::{Outlook, Outlooks};
pub use recent::Recent;
pub use tracker::Tracker;
pub use trainer::{Settings, Trained, train};

/// The models, in the order in which tables list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// As now: the yardstick, always there.
    LastValue,
    /// As at this time a day before.
    Yesterday,
    /// As it went on after the moments that looked most like this one.
    Neighbours,
    /// Multilayer perceptron.
    Mlp,
    /// Mean of neighbours and perceptron: the medians of the one win on MAE, the means of the other
    /// on RMSE, both together are the best all-rounder
    /// (`docs/decisions.md#what-the-measurements-said`).
    Average,
    /// Mean of the last 14 days at this time of day; horizons from 1 h.
    Climatology,
    /// Ridge blend of last value, recent means and climatology; horizons from 1 h.
    Blend,
}

impl ModelKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LastValue,
        Self::Yesterday,
        Self::Neighbours,
        Self::Mlp,
        Self::Average,
        Self::Climatology,
        Self::Blend,
    ];

    /// The name used in options, JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LastValue => "last_value",
            Self::Yesterday => "yesterday",
            Self::Neighbours => "neighbours",
            Self::Mlp => "mlp",
            Self::Average => "average",
            Self::Climatology => "climatology",
            Self::Blend => "blend",
        }
    }

    /// Position in [`ModelKind::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ModelKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| Error::Params(format!("no forecast model is called `{text}`")))
    }
}

/// What the choice between models goes by (`forecast_metric`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Mean absolute error: the usual miss.
    #[default]
    Mae,
    /// Root mean square error: big misses count more.
    Rmse,
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A parameter is out of range; the text names it, its value and the range.
    #[error("{0}")]
    Params(String),
    /// Too little to learn from.
    #[error("too few samples: {have} usable, {need} needed")]
    TooFew {
        /// Usable steps of the series.
        have: usize,
        /// Steps needed.
        need: usize,
    },
    /// The training was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A stored model that cannot be used; it is rebuilt.
    #[error("the stored forecast model does not fit: {0}")]
    Stored(String),
    /// A library refused what it was given.
    #[error("{0}")]
    Library(String),
}

/// Ok where there are no fewer usable steps than needed, [`Error::TooFew`] otherwise.
const fn at_least(need: usize, have: usize) -> Result<(), Error> {
    if have < need {
        return Err(Error::TooFew { have, need });
    }
    Ok(())
}

/// A training's line to the outside: may it go on, and how far is it.
///
/// [`Job::tick`] is called after every few milliseconds of work, so a caller that wants to hold a
/// share of a core (`forecast_cpu`) may sleep inside `report`.
pub struct Job<'a> {
    cancel: &'a AtomicBool,
    report: &'a mut dyn FnMut(Progress),
    base: f32,
    span: f32,
    stage: &'static str,
}

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// 0 to 1, never falling within one training.
    pub fraction: f32,
    /// What is being done, in a few words.
    pub stage: &'static str,
}

impl<'a> Job<'a> {
    /// A job that stops soon after `cancel` is set.
    pub fn new(cancel: &'a AtomicBool, report: &'a mut dyn FnMut(Progress)) -> Self {
        Self {
            cancel,
            report,
            base: 0.0,
            span: 1.0,
            stage: "",
        }
    }

    /// Run something that nobody watches or cancels.
    pub fn unwatched<T>(run: impl FnOnce(&mut Job<'_>) -> T) -> T {
        run(&mut Job::new(&AtomicBool::new(false), &mut |_| {}))
    }

    /// A part of this job that covers `from..to` (0 to 1) of it.
    pub fn part(&mut self, stage: &'static str, from: f32, to: f32) -> Job<'_> {
        Job {
            cancel: self.cancel,
            report: &mut *self.report,
            base: self.base + self.span * from,
            span: self.span * (to - from),
            stage,
        }
    }

    /// Report progress within this part.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once the flag is set.
    pub fn tick(&mut self, fraction: f32) -> Result<(), Error> {
        (self.report)(Progress {
            fraction: self.base + self.span * fraction.clamp(0.0, 1.0),
            stage: self.stage,
        });
        if self.cancel.load(Ordering::Relaxed) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}
