//! What the forecast says at this moment and how good it was, as immutable values: the pages,
//! `/ui/power` and `/metrics` read them, the forecast's own threads replace them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Error, HorizonForecast, HorizonId, Metric, Metrics, ModelKind, tracker::Tracked};

/// Where the forecast can be read; a clone is another pair of receivers.
#[derive(Clone, Debug)]
pub struct Outlooks {
    /// What is forecast; replaced each `forecast_interval`.
    pub outlook: watch::Receiver<Arc<Outlook>>,
    /// What the training does.
    pub training: watch::Receiver<Training>,
}

impl Outlooks {
    /// No forecast, now and later (`forecast_enable: false`).
    #[must_use]
    pub fn none() -> Self {
        let training = Training {
            enabled: false,
            ..Training::default()
        };
        Self {
            outlook: watch::channel(Arc::default()).1,
            training: watch::channel(training).1,
        }
    }
}

/// The forecast of all horizons, shortest first; empty before the first training.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// One each horizon.
    pub horizons: Vec<HorizonOutlook>,
    /// When the models that speak were trained.
    pub trained: Option<TrainedAt>,
    /// How the skill went, oldest first: a point each training, at most one an hour.
    pub skills: Arc<[SkillPoint]>,
}

impl Outlook {
    /// One of the three, once there is a model.
    #[must_use]
    pub fn horizon(&self, id: HorizonId) -> Option<&HorizonOutlook> {
        self.horizons.iter().find(|h| h.id == id)
    }
}

/// A training that is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainedAt {
    /// Unix time, s.
    pub at: i64,
    /// CPU time it took, s.
    pub seconds: f64,
    /// Known steps of the first horizon's series it learned from.
    pub samples: usize,
}

/// One horizon now.
#[derive(Clone, Debug)]
pub struct HorizonOutlook {
    /// Which of the three.
    pub id: HorizonId,
    /// Length of a step, s.
    pub step: u32,
    /// Steps forecast.
    pub steps: usize,
    /// The model that was chosen.
    pub model: ModelKind,
    /// Whether there was enough to compare models on; the last value speaks otherwise.
    pub compared: bool,
    /// What the choice goes by, and the page's words.
    pub metric: Metric,
    /// The next values; None while the newest samples are missing.
    pub forecast: Option<Arc<HorizonForecast>>,
    /// How good it was, out of sample.
    pub metrics: Metrics,
    /// On what `metrics` were measured.
    pub basis: Basis,
    /// Every model's figures in the training's back-test, out of sample.
    pub backtest: Arc<[(ModelKind, Metrics)]>,
    /// What was forecast longest before (the last steps of each horizon) beside what came, oldest
    /// first: the last 10 minutes, 6 hours, 24 hours of the three.
    pub drawn: Arc<[Tracked]>,
}

/// On what figures were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What was really forecast in the last 24 h, against what came.
    LastDay,
    /// The training's back-test on its last days, by models that had not seen them: until the
    /// service has forecast for a while itself.
    BackTest,
}

/// The skill of the three horizons at one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkillPoint {
    /// Unix time, s.
    pub ts: i64,
    /// 1 − error / error of the last value, by what the choice goes by, shortest horizon first;
    /// None where there was no figure.
    pub skill: [Option<f32>; 3],
}

/// What the training does, and how the last one ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// `forecast_enable`.
    pub enabled: bool,
    /// A training is under way: how far (0–1), and what it does in a few words.
    pub running: Option<(f32, &'static str)>,
    /// How the last one of this run ended.
    pub last: Option<LastTraining>,
    /// Unix time of the next by schedule, s.
    pub next: Option<i64>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            enabled: true,
            running: None,
            last: None,
            next: None,
        }
    }
}

/// A training that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LastTraining {
    /// Unix time it ended, s.
    pub at: i64,
    /// Why there is no new model.
    pub failed: Option<Error>,
}
