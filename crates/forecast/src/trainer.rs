//! Training: samples → which model speaks for each horizon, how well it did, and the models.
//!
//! For each horizon the last two days (ten for the day ahead) are forecast by models that were
//! fitted on what lies before them; that decides who speaks and calibrates the band. The model
//! that speaks is then fitted again on everything.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::grid::{self, Grid, Sample};
use super::horizon::{self, Horizon, HorizonId};
use super::mlp::Mlp;
use super::panel::Fitted;
use super::rolling::{Rolling, State};
use super::{Error, Job, Metric, Metrics, ModelKind, at_least, choice, cost};

/// Settings of the forecast, by the options' names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Sample step, s: `poll_interval` rounded, at least 1.
    pub sample_step: u32,
    /// `power_feature_window`: steps looked back at, first horizon, 2–300.
    pub window: usize,
    /// `forecast_horizon_steps`: steps forecast, first horizon, 2–300.
    pub steps: usize,
    /// `forecast_metric`.
    pub metric: Metric,
    /// `forecast_models`; empty = all. The last value is always there.
    pub models: Vec<ModelKind>,
    /// Seed of the perceptron.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sample_step: 2,
            window: 30,
            steps: 30,
            metric: Metric::Mae,
            models: Vec::new(),
            seed: 42,
        }
    }
}

impl Settings {
    /// Check the ranges once.
    ///
    /// # Errors
    /// [`Error::Params`] naming the value and its range.
    pub fn check(mut self) -> Result<Valid, Error> {
        let horizons = horizon::horizons(self.sample_step, self.window, self.steps)?;
        if self.models.is_empty() {
            self.models = ModelKind::ALL.to_vec();
        }
        self.models.sort_unstable();
        self.models.dedup();
        Ok(Valid {
            settings: self,
            horizons,
        })
    }
}

/// Checked settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Valid {
    settings: Settings,
    horizons: [Horizon; 3],
}

impl Valid {
    /// The settings, with all models spelled out.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The three horizons, shortest first.
    #[must_use]
    pub const fn horizons(&self) -> &[Horizon; 3] {
        &self.horizons
    }
}

/// What there is to learn from.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// Raw samples, a sample step apart, in the order in which they were taken.
    pub s2: &'a [Sample],
    /// Minute means, `ts` = beginning of the minute. Empty: made from `s2`.
    pub m1: &'a [Sample],
    /// Unix time, s. Samples of the future (a clock that jumped back) are not looked at.
    pub now: i64,
}

impl Series<'_> {
    /// The complete cells of a horizon's series.
    ///
    /// # Errors
    /// [`Error::Params`] for a step of 0.
    pub fn grid(&self, id: HorizonId, horizon: Horizon) -> Result<Grid, Error> {
        let samples = if id == HorizonId::Minute || self.m1.is_empty() {
            self.s2
        } else {
            self.m1
        };
        let past = samples.iter().filter(|s| s.ts <= self.now);
        let mut grid = grid::grid(past, horizon.step)?;
        // A quarter of an hour that is still running is not its mean yet.
        if id != HorizonId::Minute && grid.ts(grid.w.len()) > self.now {
            grid.w.pop();
        }
        Ok(grid)
    }
}

/// What came out for one horizon. Its stored form is that of [`super::stored`]: a field more or
/// less is another version of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct TrainedHorizon {
    /// Which of the three.
    pub id: HorizonId,
    /// Its shape.
    pub horizon: Horizon,
    /// Known steps it was trained on.
    pub samples: usize,
    /// Forecasts of the back-test.
    pub origins: usize,
    /// Who speaks, whose band, how wide.
    pub state: State,
    /// Each model's figures in the back-test, out of sample.
    pub backtest: Vec<(ModelKind, Metrics)>,
    /// The models that are needed to speak; stored is the perceptron alone.
    pub fitted: Fitted,
}

impl TrainedHorizon {
    /// Whether there was enough to compare models on; the last value speaks otherwise.
    #[must_use]
    pub const fn compared(&self) -> bool {
        choice::enough(self.horizon, self.samples)
    }

    /// The model that speaks.
    #[must_use]
    pub const fn model(&self) -> ModelKind {
        self.state.line
    }

    /// Its figures in the back-test; None with too little data for one.
    #[must_use]
    pub fn metrics(&self) -> Option<&Metrics> {
        self.backtest
            .iter()
            .find(|(kind, _)| *kind == self.state.line)
            .map(|(_, m)| m)
    }

    /// The models that must be fitted for the line and the band: also the neighbours where another
    /// model's band is theirs.
    #[must_use]
    pub fn needed(&self) -> Vec<ModelKind> {
        let mut kinds = vec![self.state.line];
        kinds.extend(self.state.band);
        let theirs = |band: &ModelKind| self.state.residuals[band.index()].is_none();
        kinds.extend(
            self.state
                .band
                .filter(theirs)
                .map(|_| ModelKind::Neighbours),
        );
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// Fit what is needed to speak on `w`; a `ready` perceptron is taken as it is.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Library`].
    pub fn refit(
        &mut self,
        w: &[f32],
        seed: u64,
        ready: Option<Mlp>,
        job: &mut Job<'_>,
    ) -> Result<(), Error> {
        self.fitted = Fitted::fit(w, self.horizon, &self.needed(), seed, ready, job)?;
        Ok(())
    }
}

/// The result of a training; [`super::stored`] keeps it over a restart, field by field.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trained {
    /// Unix time it was trained at, s.
    pub at: i64,
    /// Settings it was trained for.
    pub settings: Valid,
    /// CPU seconds it took.
    pub seconds: f64,
    /// The three horizons, shortest first.
    pub horizons: Vec<TrainedHorizon>,
}

impl Trained {
    /// Who speaks.
    #[must_use]
    pub fn speakers(&self) -> Option<Incumbents> {
        self.horizons
            .iter()
            .map(TrainedHorizon::model)
            .collect::<Vec<_>>()
            .try_into()
            .ok()
    }

    /// One of the three.
    #[must_use]
    pub fn horizon(&self, id: HorizonId) -> Option<&TrainedHorizon> {
        self.horizons.iter().find(|h| h.id == id)
    }
}

impl fmt::Display for Trained {
    /// One line for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, h) in self.horizons.iter().enumerate() {
            let gap = if i == 0 { "" } else { ", " };
            write!(
                f,
                "{gap}{}: {} on {} steps",
                h.id.name(),
                h.model(),
                h.samples
            )?;
            if let Some(skill) = h.metrics().and_then(|m| m.skill) {
                write!(f, " ({:+.1} % to the last value)", 100.0 * skill)?;
            }
        }
        write!(f, "; {:.1} s of CPU", self.seconds)
    }
}

/// Who speaks at the moment, shortest horizon first.
pub type Incumbents = [ModelKind; 3];

/// Train all horizons. `incumbents`, who stay unless another model is more than 1 % better; None:
/// nobody speaks yet.
///
/// # Errors
/// [`Error::TooFew`] when the first horizon has not even one window, [`Error::Cancelled`],
/// [`Error::Library`].
pub fn train(
    series: &Series<'_>,
    settings: &Valid,
    incumbents: Option<Incumbents>,
    job: &mut Job<'_>,
) -> Result<Trained, Error> {
    const SHARES: [(&str, f32, f32); 3] = [
        ("the next minute", 0.0, 0.6),
        ("the next quarter of an hour", 0.6, 0.95),
        ("the next day", 0.95, 1.0),
    ];
    let start = cost::cpu_seconds();
    let mut horizons = Vec::with_capacity(3);
    for ((id, horizon), (stage, from, to)) in HorizonId::ALL
        .into_iter()
        .zip(settings.horizons)
        .zip(SHARES)
    {
        let grid = series.grid(id, horizon)?;
        if id == HorizonId::Minute {
            at_least(horizon.window + horizon.steps, grid.known())?;
        }
        let incumbent = incumbents.map(|all| all[id as usize]);
        let part = &mut job.part(stage, from, to);
        let trained = train_horizon(id, horizon, &grid, &settings.settings, incumbent, part)?;
        horizons.push(trained);
    }
    job.part("done", 1.0, 1.0).tick(1.0)?;
    Ok(Trained {
        at: series.now,
        settings: settings.clone(),
        seconds: cost::cpu_seconds() - start,
        horizons,
    })
}

/// Train one horizon on its series. `settings` are asked for metric, models and seed only;
/// `incumbent` as for [`train`].
///
/// # Errors
/// [`Error::Cancelled`], [`Error::Library`].
pub fn train_horizon(
    id: HorizonId,
    horizon: Horizon,
    grid: &Grid,
    settings: &Settings,
    incumbent: Option<ModelKind>,
    job: &mut Job<'_>,
) -> Result<TrainedHorizon, Error> {
    let (w, samples) = (&grid.w[..], grid.known());
    let compared = choice::enough(horizon, samples);
    // Below two days nothing beats the last value; it still gets a band.
    let models: &[ModelKind] = if compared {
        &settings.models
    } else {
        &[ModelKind::LastValue]
    };
    let mut rolling =
        Rolling::new(horizon, settings.metric, horizon.stride()).with_day_ending(w.len());
    let (kinds, test) =
        rolling.trial(w, models, settings.seed, &mut job.part("trial", 0.0, 0.6))?;
    if let Some(incumbent) = incumbent {
        rolling.state.line = incumbent;
    }
    rolling.learn(w.len(), &kinds);
    let mut state = rolling.state;
    if !compared {
        state.line = ModelKind::LastValue;
    }
    for (kind, table) in ModelKind::ALL.into_iter().zip(&mut state.residuals) {
        if state.band != Some(kind) {
            *table = None;
        }
    }
    let backtest = kinds
        .into_iter()
        .filter(|_| test.origins > 0)
        .map(|kind| (kind, test.scores[kind.index()].metrics()))
        .collect();
    let mut trained = TrainedHorizon {
        id,
        horizon,
        samples,
        origins: test.origins,
        state,
        backtest,
        fitted: Fitted::default(),
    };
    let part = &mut job.part("final fit", 0.6, 1.0);
    trained.refit(w, settings.seed, None, part)?;
    Ok(trained)
}
