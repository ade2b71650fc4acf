//! Rolling back-test: walk through the past as if it were now, forecast, and look what came.
//!
//! Nothing is used before it was known: models see `past` only, choice and residuals come from
//! points whose own time lies before the day in which they are used, the calibration of the band
//! from those before the hour.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::band::{self, Residuals};
use super::calibration::{Calibration, Outcomes};
use super::choice::{self, Guard, TRAIL_DAYS};
use super::grid;
use super::metrics::{self, Mape, Score, Scored};
use super::panel::{Answers, Fitted, Panel};
use super::{Error, Horizon, Job, Metric, ModelKind};

const KINDS: usize = ModelKind::ALL.len();
/// Days that choice, residuals and back-test look back for horizons from an hour on: two days hold
/// but two forecasts of a day that are independent of one another.
const LONG_TRAIL_DAYS: usize = 10;
/// Hours of points that calibrate the band.
const CALIBRATION_HOURS: usize = 24;

/// What came in one day, by the day of what came.
#[derive(Default)]
struct Day {
    scores: [Score; KINDS],
    residuals: [Vec<Vec<f32>>; KINDS],
}

/// What the last days taught: who speaks, whose band, how wide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The model of the line.
    pub line: ModelKind,
    /// The model whose band has the least pinball loss; None before there is any.
    pub band: Option<ModelKind>,
    /// How wide each model's band is.
    pub calibrations: [Calibration; KINDS],
    /// Residuals of each model that has no spread of its own.
    pub residuals: [Option<Residuals>; KINDS],
}

/// Walks on from day to day; call [`Rolling::run`] for one stretch after another.
pub struct Rolling {
    horizon: Horizon,
    metric: Metric,
    stride: usize,
    days: BTreeMap<usize, Day>,
    /// Bands beside what came, by the hour of what came.
    hours: BTreeMap<usize, [Outcomes; KINDS]>,
    /// Day and hour that [`Rolling::state`] was last made for.
    reached: Option<(usize, usize)>,
    phase: usize,
    /// Who speaks, as of the hour reached.
    pub state: State,
}

/// What to keep of a stretch beside the scores.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    /// MAPE.
    pub mape: bool,
    /// So many of the last forecasts of the automatic choice, a horizon apart, to be drawn.
    pub drawn: usize,
}

/// A step of the automatic choice's forecast beside what came, W.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    /// Index of the step.
    pub index: usize,
    /// Steps ahead, from 1.
    pub lead: usize,
    /// What came.
    pub came: f32,
    /// What was forecast.
    pub line: f32,
    /// The band.
    pub band: Option<(f32, f32)>,
}

/// The scores of one stretch.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// Origins that were scored.
    pub origins: usize,
    /// Each model's score.
    pub scores: [Score; KINDS],
    /// Points for each model's MAPE.
    pub mapes: [Mape; KINDS],
    /// The automatic choice's score.
    pub chosen: Score,
    /// Days each model spoke.
    pub spoke: [usize; KINDS],
    /// See [`Keep::drawn`].
    pub drawn: VecDeque<Drawn>,
}

/// Days that choice and residuals look back, and days of back-test before the first test day.
#[must_use]
pub fn trail_days(horizon: Horizon) -> usize {
    if horizon.long() {
        LONG_TRAIL_DAYS
    } else {
        TRAIL_DAYS
    }
}

impl Rolling {
    /// Nothing learnt yet: the last value speaks, without a band.
    #[must_use]
    pub fn new(horizon: Horizon, metric: Metric, stride: usize) -> Self {
        Self {
            horizon,
            metric,
            stride: stride.max(1),
            days: BTreeMap::new(),
            hours: BTreeMap::new(),
            reached: None,
            phase: 0,
            state: State {
                line: ModelKind::LastValue,
                band: None,
                calibrations: [Calibration::NOMINAL; KINDS],
                residuals: Default::default(),
            },
        }
    }

    /// Count days so that one ends with value `end` (they begin with value 0 otherwise).
    #[must_use]
    pub fn with_day_ending(mut self, end: usize) -> Self {
        let day = self.horizon.day();
        self.phase = (day - end % day) % day;
        self
    }

    /// The day and the hour that value `index` lies in.
    fn time_of(&self, index: usize) -> (usize, usize) {
        let steps = index + self.phase;
        (
            steps / self.horizon.day(),
            steps * self.horizon.step as usize / 3600,
        )
    }

    /// Forecast from every `stride`-th origin of `from..to` whose horizon ends before `to`.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn run(
        &mut self,
        w: &[f32],
        from: usize,
        to: usize,
        panel: &mut dyn Panel,
        keep: Keep,
        job: &mut Job<'_>,
    ) -> Result<Stretch, Error> {
        let Horizon { window, steps, .. } = self.horizon;
        let to = to.min(w.len());
        let kinds = panel.kinds().to_vec();
        let mut answers = Answers::new(steps);
        let mut stretch = Stretch {
            origins: 0,
            scores: [Score::default(); KINDS],
            mapes: [Mape::default(); KINDS],
            chosen: Score::default(),
            spoke: [0; KINDS],
            drawn: VecDeque::new(),
        };
        let last = to.saturating_sub(steps);
        let scored =
            |t: usize| grid::whole(&w[..=t], window) && grid::whole(&w[..=t + steps], steps);
        if keep.mape {
            let came = (from..last)
                .step_by(self.stride)
                .filter(|t| scored(*t))
                .flat_map(|t| &w[t + 1..=t + steps]);
            stretch.mapes = [Mape::of(metrics::mean_size(came.copied())); KINDS];
        }
        for t in (from..last).step_by(self.stride) {
            if self.learn(t, &kinds) || t == from {
                stretch.spoke[self.state.line.index()] += 1;
            }
            if !scored(t) {
                continue;
            }
            let came = &w[t + 1..=t + steps];
            let done = (t - from) as f32 / (last - from) as f32;
            if stretch.origins.is_multiple_of(64) {
                job.part("back-test", done, 1.0).tick(0.0)?;
            }
            panel.answer(
                &w[..=t],
                &mut answers,
                &mut job.part("back-test", done, done),
            )?;
            stretch.origins += 1;
            self.score(t, w[t], came, &kinds, &answers, keep, &mut stretch);
        }
        Ok(stretch)
    }

    #[allow(clippy::too_many_arguments)]
    fn score(
        &mut self,
        t: usize,
        now: f32,
        came: &[f32],
        kinds: &[ModelKind],
        answers: &Answers,
        keep: Keep,
        stretch: &mut Stretch,
    ) {
        let steps = self.horizon.steps;
        let draw = keep.drawn > 0 && stretch.drawn.back().is_none_or(|last| t >= last.index);
        for (h, &came) in came.iter().enumerate() {
            let (day, hour) = self.time_of(t + 1 + h);
            let day = self.days.entry(day).or_default();
            let outcomes = self.hours.entry(hour).or_default();
            for &kind in kinds {
                let k = kind.index();
                let line = answers.line(kind)[h];
                let spread = own_spread(kind, answers);
                let band = |calibration| match (spread, &self.state.residuals[k]) {
                    (true, _) => Some(band::of(answers.spread.step(h), calibration)),
                    (false, Some(table)) => Some(table.band(h, line, calibration)),
                    (false, None) => None,
                };
                let point = Scored {
                    came,
                    line,
                    last: now,
                    band: band(self.state.calibrations[k]),
                };
                day.scores[k].add(point);
                stretch.scores[k].add(point);
                if point.band.is_some() {
                    outcomes[k].add(came, |calibration| {
                        band(calibration).unwrap_or((f32::NAN, f32::NAN))
                    });
                }
                if !spread {
                    let all = &mut day.residuals[k];
                    all.resize(steps, Vec::new());
                    all[h].push(came - line);
                }
                if keep.mape {
                    stretch.mapes[k].add(came, line);
                }
            }
            let (line, band) = self.state.speak(answers, h);
            stretch.chosen.add(Scored {
                came,
                line,
                last: now,
                band,
            });
            if draw {
                stretch.drawn.push_back(Drawn {
                    index: t + 1 + h,
                    lead: h + 1,
                    came,
                    line,
                    band,
                });
            }
        }
        while stretch.drawn.len() > keep.drawn * steps {
            stretch.drawn.pop_front();
        }
    }

    /// Learn what is known at value `t`: once a day who speaks, whose band and from which
    /// residuals, once an hour how wide. Whether a day began.
    pub fn learn(&mut self, t: usize, kinds: &[ModelKind]) -> bool {
        let (day, hour) = self.time_of(t);
        let before = self.reached.replace((day, hour));
        let new_day = before.is_none_or(|(then, _)| day > then);
        if new_day {
            self.turn(day, kinds);
        }
        if before.is_none_or(|(_, then)| hour > then) {
            self.calibrate(hour, kinds);
        }
        new_day
    }

    /// The widths that would have held four out of five points of the 24 hours before `hour`.
    fn calibrate(&mut self, hour: usize, kinds: &[ModelKind]) {
        self.hours.retain(|&h, _| h + CALIBRATION_HOURS >= hour);
        for &kind in kinds {
            let k = kind.index();
            let mut outcomes = Outcomes::default();
            self.hours
                .range(..hour)
                .for_each(|(_, of)| outcomes.merge(&of[k]));
            if let Some(calibration) = outcomes.calibrated(sees_a_window(kind)) {
                self.state.calibrations[k] = calibration;
            }
        }
    }

    /// Learn from the days before `day`; days too old to matter are dropped.
    fn turn(&mut self, day: usize, kinds: &[ModelKind]) {
        let keep = trail_days(self.horizon);
        self.days.retain(|&d, _| d + keep >= day);
        let mut scores = Vec::new();
        for &kind in kinds {
            let k = kind.index();
            let mut trail = Score::default();
            let mut steps = vec![Vec::new(); self.horizon.steps];
            for past in self.days.range(..day) {
                trail.merge(&past.1.scores[k]);
                for (all, some) in steps.iter_mut().zip(&past.1.residuals[k]) {
                    all.extend_from_slice(some);
                }
            }
            scores.push((kind, trail));
            if let Some(table) = Residuals::new(steps) {
                self.state.residuals[k] = Some(table);
            }
        }
        // "Below 2 days of data the last value": counted from the beginning of the series.
        if day >= TRAIL_DAYS {
            let guard = if self.horizon.long() {
                Guard::BigMisses
            } else {
                Guard::None
            };
            self.state.line = choice::choose(self.metric, guard, self.state.line, &scores);
        }
        if let Some(kind) = self.best_band(kinds) {
            self.state.band = Some(kind);
        } else if self.state.residuals[ModelKind::LastValue.index()].is_some() {
            self.state.band = Some(ModelKind::LastValue);
        }
    }

    /// The model whose band had the least pinball loss, on the days on which all had one: bands of
    /// residuals begin a day later, and that day may have been a calm one.
    fn best_band(&self, kinds: &[ModelKind]) -> Option<ModelKind> {
        let newest = self.days.range(..self.reached?.0).next_back()?.1;
        let banded = |kind: &ModelKind, day: &Day| day.scores[kind.index()].pinball().is_some();
        let able: Vec<ModelKind> = kinds
            .iter()
            .copied()
            .filter(|kind| banded(kind, newest))
            .collect();
        let mut trails = vec![Score::default(); able.len()];
        for (_, past) in self.days.range(..self.reached?.0) {
            if able.iter().all(|kind| banded(kind, past)) {
                trails
                    .iter_mut()
                    .zip(&able)
                    .for_each(|(trail, kind)| trail.merge(&past.scores[kind.index()]));
            }
        }
        let losses = able
            .into_iter()
            .zip(&trails)
            .filter_map(|(kind, trail)| Some((kind, trail.pinball()?)));
        losses
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(kind, _)| kind)
    }
}

/// Whether a model's band comes from the neighbours' outcomes: their own, and, since it knows
/// calm from stormy moments, also that of the models that see the same window.
fn own_spread(kind: ModelKind, answers: &Answers) -> bool {
    answers.spread.count > 0 && sees_a_window(kind)
}

const fn sees_a_window(kind: ModelKind) -> bool {
    matches!(
        kind,
        ModelKind::Neighbours | ModelKind::Mlp | ModelKind::Average
    )
}

impl State {
    /// The line at step `h` and the band, widened where the line would leave it.
    #[must_use]
    pub fn speak(&self, answers: &Answers, h: usize) -> (f32, Option<(f32, f32)>) {
        let line = answers.line(self.line)[h];
        let band = self.band.and_then(|kind| {
            let k = kind.index();
            if own_spread(kind, answers) {
                return Some(band::of(answers.spread.step(h), self.calibrations[k]));
            }
            let table = self.residuals[k].as_ref()?;
            Some(table.band(h, answers.line(kind)[h], self.calibrations[k]))
        });
        (line, band.map(|(lo, hi)| (lo.min(line), hi.max(line))))
    }
}

/// What a back-test is to do: train on the first days, test on the following ones.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// Shape of the series.
    pub horizon: Horizon,
    /// Days to train on, at least 1.
    pub train_days: usize,
    /// Days to test on, at least 1.
    pub test_days: usize,
    /// Steps between origins, at least 1.
    pub stride: usize,
    /// What the choice goes by.
    pub metric: Metric,
    /// Models that may be used.
    pub models: Vec<ModelKind>,
    /// Seed of the perceptron.
    pub seed: u64,
    /// See [`Keep::drawn`].
    pub drawn: usize,
}

/// A back-test's result.
#[derive(Debug, Clone)]
pub struct Report {
    /// Models that apply and had enough data.
    pub kinds: Vec<ModelKind>,
    /// CPU seconds of each fit, by [`ModelKind::index`].
    pub seconds: [Option<f64>; KINDS],
    /// The test days.
    pub test: Stretch,
}

/// Train on the first days of `w`, test on the following ones. The choice, the residuals and the
/// calibration start from a back-test inside the training days, and roll on.
///
/// # Errors
/// [`Error::Params`] and [`Error::TooFew`] for days that are not there, [`Error::Cancelled`].
pub fn backtest(w: &[f32], protocol: &Protocol, job: &mut Job<'_>) -> Result<Report, Error> {
    let horizon = protocol.horizon.check()?;
    let day = horizon.day();
    let (train, test) = (protocol.train_days, protocol.test_days);
    if train == 0 || test == 0 || protocol.stride == 0 || train > 4000 || test > 4000 {
        return Err(Error::Params(format!(
            "{train} days to train, {test} to test, stride {}: use at least 1, at most 4000 days",
            protocol.stride
        )));
    }
    let (n, end) = (train * day, ((train + test) * day).min(w.len()));
    if w.len() <= n + horizon.steps {
        return Err(Error::TooFew {
            have: w.len(),
            need: n + horizon.steps + 1,
        });
    }
    if end <= n + horizon.steps {
        return Err(Error::Params(format!(
            "{test} test days are {} steps, no more than the horizon of {}: use more test days or a shorter horizon",
            test * day,
            horizon.steps
        )));
    }
    let mut rolling = Rolling::new(horizon, protocol.metric, protocol.stride);
    warm_up(
        &mut rolling,
        &w[..n],
        protocol,
        &mut job.part("warm-up", 0.0, 0.45),
    )?;
    let fitted = Fitted::fit(
        &w[..n],
        horizon,
        &protocol.models,
        protocol.seed,
        None,
        &mut job.part("fit", 0.45, 0.7),
    )?;
    let mut ready = fitted.ready(horizon)?;
    let test = rolling.run(
        w,
        n,
        end,
        &mut ready,
        Keep {
            mape: false,
            drawn: protocol.drawn,
        },
        &mut job.part("test", 0.7, 1.0),
    )?;
    if test.origins == 0 {
        return Err(Error::Params(format!(
            "no moment of the test days (every {} steps) has {} known steps up to it and {} after it: fill the gaps, or check step and stride",
            protocol.stride, horizon.window, horizon.steps
        )));
    }
    Ok(Report {
        kinds: fitted.kinds.clone(),
        seconds: fitted.seconds,
        test,
    })
}

/// Back-test the last days of `w` with models fitted before them; at most half of `w`.
fn warm_up(
    rolling: &mut Rolling,
    w: &[f32],
    protocol: &Protocol,
    job: &mut Job<'_>,
) -> Result<(), Error> {
    let horizon = protocol.horizon;
    let length = (trail_days(horizon) * horizon.day()).min(w.len() / 2);
    let from = w.len() - length;
    let fitted = Fitted::fit(
        &w[..from],
        horizon,
        &protocol.models,
        protocol.seed,
        None,
        &mut job.part("fit", 0.0, 0.6),
    )?;
    let mut ready = fitted.ready(horizon)?;
    rolling.run(
        w,
        from,
        w.len(),
        &mut ready,
        Keep::default(),
        &mut job.part("back-test", 0.6, 1.0),
    )?;
    Ok(())
}
