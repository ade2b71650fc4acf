//! What the service asks every `forecast_interval`: the next values of each horizon, with band.

use std::sync::Arc;

use serde::Serialize;

use super::horizon::HorizonId;
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
    trained: &'a Trained,
    asked: Vec<Asked<'a>>,
}

/// One horizon, asked after `past`, whose last step begins at `origin` and is known.
///
/// # Errors
/// [`Error::Library`] if the search tree refuses the points.
pub fn once(trained: &TrainedHorizon, past: &[f32], origin: i64) -> Result<HorizonForecast, Error> {
    Ok(Asked::new(trained)?.ask(trained, past, origin))
}

struct Asked<'a> {
    ready: Ready<'a>,
    kinds: Vec<ModelKind>,
    answers: Answers,
    latest: Option<(f32, Arc<HorizonForecast>)>,
}

impl<'a> Asked<'a> {
    fn new(trained: &'a TrainedHorizon) -> Result<Self, Error> {
        Ok(Self {
            ready: trained.fitted.ready(trained.horizon)?,
            kinds: trained.needed(),
            answers: Answers::new(trained.horizon.steps),
            latest: None,
        })
    }

    fn ask(&mut self, trained: &TrainedHorizon, past: &[f32], origin: i64) -> HorizonForecast {
        self.ready.ask_for(past, &self.kinds, &mut self.answers);
        let (state, answers) = (&trained.state, &self.answers);
        let step = i64::from(trained.horizon.step);
        let points = (0..trained.horizon.steps).map(|h| {
            let (w, band) = state.speak(answers, h);
            Point {
                ts: origin + (h as i64 + 1) * step,
                w,
                lo: band.map(|b| b.0),
                hi: band.map(|b| b.1),
            }
        });
        let said = answers.said[state.line.index()];
        HorizonForecast {
            id: trained.id,
            step: trained.horizon.step,
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
            trained,
            asked: asked.collect::<Result<_, Error>>()?,
        })
    }

    /// The forecasts at `now` (Unix time, s), shortest horizon first. A horizon without a recent
    /// value is left out: no forecast is made from what is long past. Where nothing new came the
    /// forecast is the one before, so calling often costs little.
    pub fn forecast(&mut self, recent: &Recent, now: i64) -> Vec<Arc<HorizonForecast>> {
        let mut all = Vec::with_capacity(3);
        for (trained, asked) in self.trained.horizons.iter().zip(&mut self.asked) {
            let Some((past, origin)) = recent.past(trained.id, now) else {
                asked.latest = None;
                continue;
            };
            let value = past[past.len() - 1];
            match &asked.latest {
                Some((then, same)) if same.origin == origin && *then == value => {
                    all.push(Arc::clone(same));
                    continue;
                }
                _ => {}
            }
            let forecast = Arc::new(asked.ask(trained, past, origin));
            asked.latest = Some((value, Arc::clone(&forecast)));
            all.push(forecast);
        }
        all
    }
}
