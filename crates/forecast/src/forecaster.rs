//! What the service asks every `forecast_interval`: the next values of each horizon, with band.

use std::sync::Arc;

use serde::Serialize;

use super::horizon::{Horizon, HorizonId};
use super::panel::{Answers, Ready};
use super::recent::Recent;
use super::trainer::{Trained, TrainedHorizon};
use super::{Error, ModelKind};

/// One step of a forecast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Unix time at which the step begins, s; `w` is the mean over the step.
    pub ts: i64,
    /// W, positive = import.
    pub w: f32,
    /// Lower end of the band (P10), W; None before there is one.
    pub lo: Option<f32>,
    /// Upper end of the band (P90), W.
    pub hi: Option<f32>,
}

/// The forecast of one horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HorizonForecast {
    /// Which of the three.
    pub id: HorizonId,
    /// Length of a step, s.
    pub step: u32,
    /// Who speaks: the chosen model, or the last value where that one could not (a gap).
    pub model: ModelKind,
    /// Unix time of the last known step, s.
    pub origin: i64,
    /// Its value, W.
    pub now: f32,
    /// The steps after it.
    pub points: Vec<Point>,
}

/// Asks a [`Trained`]; it borrows it, with a search tree built over its moments.
pub struct Forecaster<'a> {
    asked: Vec<Asked<'a>>,
}

/// One horizon, asked after `past`, whose last step begins at `origin` and is known.
///
/// # Errors
/// [`Error::Library`] if the search tree refuses the points.
pub fn once(trained: &TrainedHorizon, past: &[f32], origin: i64) -> Result<HorizonForecast, Error> {
    Ok(Asked::new(trained)?.ask(past, origin))
}

struct Asked<'a> {
    trained: &'a TrainedHorizon,
    ready: Ready<'a>,
    kinds: Vec<ModelKind>,
    answers: Answers,
    latest: Option<Arc<HorizonForecast>>,
}

impl<'a> Asked<'a> {
    fn new(trained: &'a TrainedHorizon) -> Result<Self, Error> {
        Ok(Self {
            trained,
            ready: trained.fitted.ready(trained.horizon)?,
            kinds: trained.needed(),
            answers: Answers::new(trained.horizon.steps),
            latest: None,
        })
    }

    fn ask(&mut self, past: &[f32], origin: i64) -> HorizonForecast {
        self.ready.ask(past, &self.kinds, &mut self.answers);
        let (state, answers) = (&self.trained.state, &self.answers);
        let Horizon { step, steps, .. } = self.trained.horizon;
        let points = (0..steps).map(|h| {
            let (w, band) = state.speak(answers, h);
            Point {
                ts: origin + (h as i64 + 1) * i64::from(step),
                w,
                lo: band.map(|b| b.0),
                hi: band.map(|b| b.1),
            }
        });
        let said = answers.said[state.line.index()];
        HorizonForecast {
            id: self.trained.id,
            step,
            model: if said {
                state.line
            } else {
                ModelKind::LastValue
            },
            origin,
            now: past[past.len() - 1],
            points: points.collect(),
        }
    }
}

impl<'a> Forecaster<'a> {
    /// Build what is needed to ask (about 20 ms).
    ///
    /// # Errors
    /// [`Error::Library`] if the search tree refuses the points.
    pub fn new(trained: &'a Trained) -> Result<Self, Error> {
        let asked = trained.horizons.iter().map(Asked::new);
        Ok(Self {
            asked: asked.collect::<Result<_, Error>>()?,
        })
    }

    /// The forecasts at `now` (Unix time, s), shortest horizon first. A horizon without a recent
    /// value is left out: no forecast is made from what is long past. Where nothing new came the
    /// forecast is the one before, so calling often costs little.
    pub fn forecast(&mut self, recent: &Recent, now: i64) -> Vec<Arc<HorizonForecast>> {
        let asked = self.asked.iter_mut();
        let forecasts = asked.filter_map(|asked| {
            let before = asked.latest.take();
            let (past, origin) = recent.past(asked.trained.id, now)?;
            let value = past[past.len() - 1];
            let same = before.filter(|before| before.origin == origin && before.now == value);
            let forecast = same.unwrap_or_else(|| Arc::new(asked.ask(past, origin)));
            asked.latest = Some(Arc::clone(&forecast));
            Some(forecast)
        });
        forecasts.collect()
    }
}
