//! Rolling back-test: walk through the past as if it were now, forecast, and look what came.
//!
//! Nothing is used before it was known: models see `past` only, choice and residuals come from
//! points whose own time lies before the day in which they are used, the calibration of the band
//! from those before the hour.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::band::{self, Residuals};
use super::calibration::{Calibration, Outcomes};
use super::choice::{self, TRAIL_DAYS};
use super::metrics::{Score, Scored};
use super::panel::{Answers, Fitted, KINDS, Panel};
use super::{Error, Horizon, Job, Metric, ModelKind, at_least, grid};

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
    /// The automatic choice's score.
    pub chosen: Score,
    /// Days each model spoke.
    pub spoke: [usize; KINDS],
    /// The last forecasts of the automatic choice, a horizon apart.
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

    /// Forecast from every `stride`-th origin of `stretch` whose horizon ends within it. So many of
    /// the last forecasts are kept to be drawn.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn run(
        &mut self,
        w: &[f32],
        stretch: Range<usize>,
        panel: &mut dyn Panel,
        drawn: usize,
        job: &mut Job<'_>,
    ) -> Result<Stretch, Error> {
        let Horizon { window, steps, .. } = self.horizon;
        let kinds = panel.kinds().to_vec();
        let mut answers = Answers::new(steps);
        let (from, last) = (stretch.start, stretch.end.saturating_sub(steps));
        let origins = (from..last).step_by(self.stride);
        let scored =
            |t: usize| grid::whole(&w[..=t], window) && grid::whole(&w[..=t + steps], steps);
        let came = origins.clone().filter(|t| scored(*t));
        let came = came.flat_map(|t| &w[t + 1..=t + steps]);
        let mut stretch = Stretch {
            origins: 0,
            scores: [Score::with_mape(came.copied()); KINDS],
            chosen: Score::default(),
            spoke: [0; KINDS],
            drawn: VecDeque::new(),
        };
        for t in origins {
            if self.learn(t, &kinds) || t == from {
                stretch.spoke[self.state.line.index()] += 1;
            }
            if !scored(t) {
                continue;
            }
            let done = (t - from) as f32 / (last - from) as f32;
            if stretch.origins.is_multiple_of(64) {
                job.tick(done)?;
            }
            let here = &mut job.part("back-test", done, done);
            panel.answer(&w[..=t], &mut answers, here)?;
            stretch.origins += 1;
            self.score(t, w, &kinds, &answers, drawn, &mut stretch);
        }
        Ok(stretch)
    }

    /// Score the answers given at origin `t` by what came after it.
    fn score(
        &mut self,
        t: usize,
        w: &[f32],
        kinds: &[ModelKind],
        answers: &Answers,
        drawn: usize,
        stretch: &mut Stretch,
    ) {
        let steps = self.horizon.steps;
        let last = w[t];
        let draw = drawn > 0 && stretch.drawn.back().is_none_or(|last| t >= last.index);
        for (h, &came) in w[t + 1..=t + steps].iter().enumerate() {
            let (day, hour) = self.time_of(t + 1 + h);
            let day = self.days.entry(day).or_default();
            let outcomes = self.hours.entry(hour).or_default();
            for &kind in kinds {
                let k = kind.index();
                let line = answers.line(kind)[h];
                let band = |calibration| self.state.band(kind, answers, h, calibration);
                let point = Scored {
                    came,
                    line,
                    last,
                    band: band(self.state.calibrations[k]),
                };
                day.scores[k].add(point);
                stretch.scores[k].add(point);
                if point.band.is_some() {
                    outcomes[k].add(came, |calibration| {
                        band(calibration).unwrap_or((f32::NAN, f32::NAN))
                    });
                }
                if !own_spread(kind, answers) {
                    let all = &mut day.residuals[k];
                    all.resize(steps, Vec::new());
                    all[h].push(came - line);
                }
            }
            let (line, band) = self.state.speak(answers, h);
            stretch.chosen.add(Scored {
                came,
                line,
                last,
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
        while stretch.drawn.len() > drawn * steps {
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
            let guarded = self.horizon.long();
            self.state.line = choice::choose(self.metric, guarded, self.state.line, &scores);
        }
        let last = ModelKind::LastValue;
        let first = self.state.residuals[last.index()].is_some().then_some(last);
        self.state.band = self.best_band(day, kinds).or(first).or(self.state.band);
    }

    /// The model whose band had the least pinball loss, on the days on which all had one: bands of
    /// residuals begin a day later, and that day may have been a calm one.
    fn best_band(&self, day: usize, kinds: &[ModelKind]) -> Option<ModelKind> {
        let days = || self.days.range(..day).map(|(_, day)| day);
        let newest = days().next_back()?;
        let banded = |kind: &ModelKind, day: &Day| day.scores[kind.index()].pinball().is_some();
        let able: Vec<ModelKind> = kinds
            .iter()
            .copied()
            .filter(|kind| banded(kind, newest))
            .collect();
        let loss = |kind: &ModelKind| {
            let mut trail = Score::default();
            days()
                .filter(|day| able.iter().all(|kind| banded(kind, day)))
                .for_each(|day| trail.merge(&day.scores[kind.index()]));
            Some((*kind, trail.pinball()?))
        };
        let best = able
            .iter()
            .filter_map(loss)
            .min_by(|a, b| a.1.total_cmp(&b.1));
        best.map(|(kind, _)| kind)
    }

    /// Back-test the last days of `w`, at most half of it, with models fitted before them. Gives
    /// those that could be fitted and how they did.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Library`].
    pub(super) fn trial(
        &mut self,
        w: &[f32],
        models: &[ModelKind],
        seed: u64,
        job: &mut Job<'_>,
    ) -> Result<(Vec<ModelKind>, Stretch), Error> {
        let horizon = self.horizon;
        let from = w.len() - (trail_days(horizon) * horizon.day()).min(w.len() / 2);
        let fit = &mut job.part("fit", 0.0, 0.6);
        let fitted = Fitted::fit(&w[..from], horizon, models, seed, None, fit)?;
        let mut ready = fitted.ready(horizon)?;
        let test = &mut job.part("back-test", 0.6, 1.0);
        let stretch = self.run(w, from..w.len(), &mut ready, 0, test)?;
        drop(ready);
        Ok((fitted.kinds, stretch))
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
        let band = self
            .band
            .and_then(|kind| self.band(kind, answers, h, self.calibrations[kind.index()]));
        (line, band.map(|(lo, hi)| (lo.min(line), hi.max(line))))
    }

    /// A model's band at step `h`; None before there is one.
    fn band(
        &self,
        kind: ModelKind,
        answers: &Answers,
        h: usize,
        calibration: Calibration,
    ) -> Option<(f32, f32)> {
        if own_spread(kind, answers) {
            return Some(band::of(answers.spread.step(h), calibration));
        }
        let table = self.residuals[kind.index()].as_ref()?;
        Some(table.band(h, answers.line(kind)[h], calibration))
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
    /// So many of the last forecasts are kept to be drawn.
    pub drawn: usize,
}

/// A back-test's result.
#[derive(Debug, Clone)]
pub struct Report {
    /// Models that apply and had enough data.
    pub kinds: Vec<ModelKind>,
    /// CPU seconds of each fit, by [`ModelKind::index`].
    pub seconds: [f64; KINDS],
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
    at_least(n + horizon.steps + 1, w.len())?;
    if end <= n + horizon.steps {
        return Err(Error::Params(format!(
            "{test} test days are {} steps, no more than the horizon of {}: use more test days or a shorter horizon",
            test * day,
            horizon.steps
        )));
    }
    let mut rolling = Rolling::new(horizon, protocol.metric, protocol.stride);
    let (models, seed) = (&protocol.models, protocol.seed);
    rolling.trial(&w[..n], models, seed, &mut job.part("warm-up", 0.0, 0.45))?;
    let fit = &mut job.part("fit", 0.45, 0.7);
    let fitted = Fitted::fit(&w[..n], horizon, models, seed, None, fit)?;
    let mut ready = fitted.ready(horizon)?;
    let part = &mut job.part("back-test", 0.7, 1.0);
    let test = rolling.run(w, n..end, &mut ready, protocol.drawn, part)?;
    drop(ready);
    if test.origins == 0 {
        return Err(Error::Params(format!(
            "no moment of the test days (every {} steps) has {} known steps up to it and {} after it: fill the gaps, or check step and stride",
            protocol.stride, horizon.window, horizon.steps
        )));
    }
    Ok(Report {
        kinds: fitted.kinds,
        seconds: fitted.seconds,
        test,
    })
}
