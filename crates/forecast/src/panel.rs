//! Every model of a horizon, fitted together and asked together.

use super::mlp::{self, Mlp, Work};
use super::neighbours::{self, Index, Neighbours, Spread};
use super::{Error, Horizon, Job, ModelKind};
use super::{average, blend, climatology, cost, last_value, yesterday};
use blend::Blend;

/// Answers of all models to one moment.
#[derive(Debug, Clone)]
pub struct Answers {
    steps: usize,
    lines: Vec<f32>,
    /// Whether each model could say something, by [`ModelKind::index`].
    pub said: [bool; ModelKind::ALL.len()],
    /// What the neighbours did; empty when they were not asked.
    pub spread: Spread,
}

impl Answers {
    /// Room for answers of `steps` steps.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self {
            steps,
            lines: vec![f32::NAN; steps * ModelKind::ALL.len()],
            said: [false; ModelKind::ALL.len()],
            spread: Spread::default(),
        }
    }

    /// What a model said, W.
    #[must_use]
    pub fn line(&self, kind: ModelKind) -> &[f32] {
        let at = kind.index() * self.steps;
        &self.lines[at..at + self.steps]
    }

    /// Room for what a model says.
    pub fn line_mut(&mut self, kind: ModelKind) -> &mut [f32] {
        let at = kind.index() * self.steps;
        &mut self.lines[at..at + self.steps]
    }
}

/// Something that answers for several models at once. A back-test shows it the past only.
pub trait Panel {
    /// The models it answers for.
    fn kinds(&self) -> &[ModelKind];
    /// Answer after `past`, whose last element is known. A model that cannot say anything says
    /// the last value.
    ///
    /// # Errors
    /// [`Error::Cancelled`] while fitting again.
    fn answer(
        &mut self,
        past: &[f32],
        answers: &mut Answers,
        job: &mut Job<'_>,
    ) -> Result<(), Error>;
}

/// Fitted models, as far as there was enough to fit them on.
#[derive(Debug, Default)]
pub struct Fitted {
    /// Those that answer.
    pub kinds: Vec<ModelKind>,
    /// Neighbours, also when only the average or the band needs them.
    pub neighbours: Option<Neighbours>,
    /// Perceptron, also when only the average needs it.
    pub mlp: Option<Mlp>,
    /// Blend.
    pub blend: Option<Blend>,
    /// Values it was fitted on: index of the first it has not seen.
    pub seen: usize,
    /// CPU seconds each fit took, by [`ModelKind::index`].
    pub seconds: [Option<f64>; ModelKind::ALL.len()],
}

impl Fitted {
    /// Fit the wanted models on `past`. A `ready` perceptron is taken instead of training one.
    ///
    /// Too little data is no error: the model is left out.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Params`].
    pub fn fit(
        past: &[f32],
        horizon: Horizon,
        wanted: &[ModelKind],
        seed: u64,
        ready: Option<Mlp>,
        job: &mut Job<'_>,
    ) -> Result<Self, Error> {
        use ModelKind::{
            Average, Blend as BlendKind, Climatology, LastValue, Mlp as MlpKind,
            Neighbours as Near, Yesterday,
        };
        let wants =
            |kind: ModelKind| horizon.suits(kind) && (kind == LastValue || wanted.contains(&kind));
        let mut fitted = Self {
            seen: past.len(),
            ..Self::default()
        };
        fitted.seconds[LastValue.index()] = Some(0.0);
        if wants(Near) || wants(Average) {
            let (model, took) = timed(|| {
                neighbours::Params::default().check()?.fit(
                    past,
                    horizon,
                    &mut job.part("neighbours", 0.0, 0.1),
                )
            })?;
            fitted.seconds[Near.index()] = Some(took);
            fitted.neighbours = model;
        }
        if wants(MlpKind) || wants(Average) {
            let (model, took) = timed(|| match ready {
                Some(model) => Ok(model),
                None => mlp::Params {
                    seed,
                    ..mlp::Params::default()
                }
                .check()?
                .fit(past, horizon, &mut job.part("perceptron", 0.1, 1.0)),
            })?;
            fitted.seconds[MlpKind.index()] = Some(took);
            fitted.mlp = model;
        }
        if wants(BlendKind) {
            let (model, took) =
                timed(|| Blend::fit(past, horizon, &mut job.part("blend", 0.0, 1.0)))?;
            fitted.seconds[BlendKind.index()] = Some(took);
            fitted.blend = model;
        }
        let seconds = &mut fitted.seconds;
        for free in [Yesterday, Climatology] {
            seconds[free.index()] = Some(0.0);
        }
        seconds[Average.index()] = seconds[Near.index()]
            .zip(seconds[MlpKind.index()])
            .map(|(a, b)| a + b);
        fitted.kinds = ModelKind::ALL
            .into_iter()
            .filter(|&kind| {
                wants(kind)
                    && match kind {
                        LastValue => true,
                        Yesterday | Climatology => past.len() >= horizon.day(),
                        Near => fitted.neighbours.is_some(),
                        MlpKind => fitted.mlp.is_some(),
                        Average => fitted.neighbours.is_some() && fitted.mlp.is_some(),
                        BlendKind => fitted.blend.is_some(),
                    }
            })
            .collect();
        Ok(fitted)
    }

    /// Build what is needed to ask; it borrows the models.
    ///
    /// # Errors
    /// [`Error::Library`] if the search tree refuses the points.
    pub fn ready(&self, horizon: Horizon) -> Result<Ready<'_>, Error> {
        Ok(Ready {
            of: self,
            horizon,
            index: self
                .neighbours
                .as_ref()
                .map(Neighbours::index)
                .transpose()?,
            work: self.mlp.as_ref().map(Mlp::work),
            again: None,
        })
    }
}

/// Run a fit, with its CPU seconds; too little data gives no model.
fn timed<T>(fit: impl FnOnce() -> Result<T, Error>) -> Result<(Option<T>, f64), Error> {
    let start = cost::cpu_seconds();
    let model = match fit() {
        Ok(model) => Some(model),
        Err(Error::TooFew { .. }) => None,
        Err(other) => return Err(other),
    };
    Ok((model, cost::cpu_seconds() - start))
}

/// [`Fitted`], ready to be asked.
pub struct Ready<'a> {
    of: &'a Fitted,
    horizon: Horizon,
    index: Option<Index<'a>>,
    work: Option<Work<f32>>,
    /// The blend as fitted again, and on how much.
    again: Option<(Blend, usize)>,
}

impl Ready<'_> {
    /// Answer after `past` with the models as they are.
    pub fn ask(&mut self, past: &[f32], answers: &mut Answers) {
        self.ask_for(past, &self.of.kinds, answers);
    }

    /// Answer after `past` for some of the models only.
    pub fn ask_for(&mut self, past: &[f32], kinds: &[ModelKind], answers: &mut Answers) {
        let day = self.horizon.day();
        let steps = self.horizon.steps;
        answers.spread.count = 0;
        let both = kinds.contains(&ModelKind::Average);
        let (mut near, mut network) = (false, false);
        if both || kinds.contains(&ModelKind::Neighbours) {
            let mut spread = std::mem::take(&mut answers.spread);
            if let Some(index) = &self.index {
                near = index.predict(past, answers.line_mut(ModelKind::Neighbours), &mut spread);
            }
            answers.spread = spread;
        }
        if (both || kinds.contains(&ModelKind::Mlp))
            && let (Some(model), Some(work)) = (&self.of.mlp, &mut self.work)
        {
            network = model.predict(past, work, answers.line_mut(ModelKind::Mlp));
        }
        for &kind in kinds {
            let said = match kind {
                ModelKind::LastValue => last_value::predict(past, answers.line_mut(kind)),
                ModelKind::Yesterday => yesterday::predict(past, day, answers.line_mut(kind)),
                ModelKind::Neighbours => near,
                ModelKind::Mlp => network,
                ModelKind::Average if near && network => {
                    let one = answers.line(ModelKind::Neighbours).to_vec();
                    let other = answers.line(ModelKind::Mlp).to_vec();
                    average::predict(&one, &other, answers.line_mut(kind));
                    true
                }
                ModelKind::Average => false,
                ModelKind::Climatology => climatology::predict(past, day, answers.line_mut(kind)),
                ModelKind::Blend => {
                    let model = self
                        .again
                        .as_ref()
                        .map(|(blend, _)| blend)
                        .or(self.of.blend.as_ref());
                    model.is_some_and(|blend| blend.predict(past, answers.line_mut(kind)))
                }
            };
            answers.said[kind.index()] = said;
            if !said {
                last_value::predict(past, &mut answers.line_mut(kind)[..steps]);
            }
        }
    }
}

impl Panel for Ready<'_> {
    fn kinds(&self) -> &[ModelKind] {
        &self.of.kinds
    }

    fn answer(
        &mut self,
        past: &[f32],
        answers: &mut Answers,
        job: &mut Job<'_>,
    ) -> Result<(), Error> {
        if self.of.blend.is_some() {
            let seen = self.again.as_ref().map_or(self.of.seen, |(_, seen)| *seen);
            if past.len() >= seen + blend::REFIT_DAYS * self.horizon.day() {
                match Blend::fit(past, self.horizon, job) {
                    Ok(blend) => self.again = Some((blend, past.len())),
                    Err(Error::Cancelled) => return Err(Error::Cancelled),
                    Err(_) => {}
                }
            }
        }
        self.ask(past, answers);
        Ok(())
    }
}
