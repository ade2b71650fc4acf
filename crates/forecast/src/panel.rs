//! Every model of a horizon, fitted together and asked together.

use serde::{Deserialize, Serialize};

use super::blend::{self, Blend};
use super::mlp::{Mlp, Work};
use super::neighbours::{Index, Neighbours, Spread};
use super::{Error, Horizon, Job, ModelKind, climatology, cost, last_value, yesterday};

/// Models there are.
pub(super) const KINDS: usize = ModelKind::ALL.len();

/// Answers of all models to one moment.
#[derive(Debug, Clone)]
pub struct Answers {
    lines: [Vec<f32>; KINDS],
    /// Whether each model could say something, by [`ModelKind::index`].
    pub said: [bool; KINDS],
    /// What the neighbours did; empty when they were not asked.
    pub spread: Spread,
}

impl Answers {
    /// Room for answers of `steps` steps.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self {
            lines: std::array::from_fn(|_| vec![f32::NAN; steps]),
            said: [false; KINDS],
            spread: Spread::default(),
        }
    }

    /// What a model said, W.
    #[must_use]
    pub fn line(&self, kind: ModelKind) -> &[f32] {
        &self.lines[kind.index()]
    }

    /// Room for what a model says.
    pub fn line_mut(&mut self, kind: ModelKind) -> &mut [f32] {
        &mut self.lines[kind.index()]
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

/// Fitted models, as far as there was enough to fit them on. Of a stored one ([`super::stored`]) the
/// perceptron alone is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Fitted {
    /// Those that answer.
    #[serde(skip)]
    pub kinds: Vec<ModelKind>,
    /// Neighbours, also when only the average or the band needs them.
    #[serde(skip)]
    pub neighbours: Option<Neighbours>,
    /// Perceptron, also when only the average needs it.
    pub mlp: Option<Mlp>,
    /// Blend.
    #[serde(skip)]
    pub blend: Option<Blend>,
    /// Values it was fitted on: index of the first it has not seen.
    #[serde(skip)]
    pub seen: usize,
    /// CPU seconds each fit took, by [`ModelKind::index`]; 0 for those with nothing to fit.
    #[serde(skip)]
    pub seconds: [f64; KINDS],
}

impl Fitted {
    /// Fit the wanted models on `past`. A `ready` perceptron is taken instead of training one.
    ///
    /// Too little data is no error: the model is left out.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Library`].
    pub fn fit(
        past: &[f32],
        horizon: Horizon,
        wanted: &[ModelKind],
        seed: u64,
        ready: Option<Mlp>,
        job: &mut Job<'_>,
    ) -> Result<Self, Error> {
        let wants = |kind: ModelKind| {
            horizon.suits(kind) && (kind == ModelKind::LastValue || wanted.contains(&kind))
        };
        let averages = wants(ModelKind::Average);
        let mut fitted = Self {
            seen: past.len(),
            ..Self::default()
        };
        let mut seconds = [0.0; KINDS];
        if averages || wants(ModelKind::Neighbours) {
            let job = &mut job.part("neighbours", 0.0, 0.1);
            (fitted.neighbours, seconds[ModelKind::Neighbours.index()]) =
                timed(|| Neighbours::fit(past, horizon, job))?;
        }
        if averages || wants(ModelKind::Mlp) {
            let job = &mut job.part("perceptron", 0.1, 1.0);
            (fitted.mlp, seconds[ModelKind::Mlp.index()]) = timed(|| match ready {
                Some(model) => Ok(model),
                None => Mlp::fit(past, horizon, seed, job),
            })?;
        }
        if wants(ModelKind::Blend) {
            let job = &mut job.part("blend", 0.0, 1.0);
            (fitted.blend, seconds[ModelKind::Blend.index()]) =
                timed(|| Blend::fit(past, horizon, job))?;
        }
        seconds[ModelKind::Average.index()] =
            seconds[ModelKind::Neighbours.index()] + seconds[ModelKind::Mlp.index()];
        fitted.seconds = seconds;
        let (near, network) = (fitted.neighbours.is_some(), fitted.mlp.is_some());
        let able = |kind| match kind {
            ModelKind::LastValue => true,
            ModelKind::Yesterday | ModelKind::Climatology => past.len() >= horizon.day(),
            ModelKind::Neighbours => near,
            ModelKind::Mlp => network,
            ModelKind::Average => near && network,
            ModelKind::Blend => fitted.blend.is_some(),
        };
        fitted.kinds = ModelKind::ALL
            .into_iter()
            .filter(|&kind| wants(kind) && able(kind))
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
            network: self.mlp.as_ref().map(|mlp| (mlp, mlp.work())),
            blend: self.blend.clone(),
            seen: self.seen,
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
    network: Option<(&'a Mlp, Work<f32>)>,
    /// The blend, and on how much it was fitted: a back-test fits it again.
    blend: Option<Blend>,
    seen: usize,
}

impl Ready<'_> {
    /// Answer after `past` for some of the models, as they are.
    pub fn ask(&mut self, past: &[f32], kinds: &[ModelKind], answers: &mut Answers) {
        let day = self.horizon.day();
        let Answers {
            lines,
            said,
            spread,
        } = answers;
        spread.count = 0;
        let wants = |kind| kinds.contains(&kind) || kinds.contains(&ModelKind::Average);
        let near = &mut lines[ModelKind::Neighbours.index()];
        let near_said = wants(ModelKind::Neighbours)
            && (self.index.as_ref()).is_some_and(|index| index.predict(past, near, spread));
        let network = &mut lines[ModelKind::Mlp.index()];
        let network_said = wants(ModelKind::Mlp)
            && (self.network.as_mut()).is_some_and(|(mlp, work)| mlp.predict(past, work, network));
        for &kind in kinds {
            let k = kind.index();
            said[k] = match kind {
                ModelKind::LastValue => last_value::predict(past, &mut lines[k]),
                ModelKind::Yesterday => yesterday::predict(past, day, &mut lines[k]),
                ModelKind::Climatology => climatology::predict(past, day, &mut lines[k]),
                ModelKind::Neighbours => near_said,
                ModelKind::Mlp => network_said,
                ModelKind::Average => {
                    let both = lines[ModelKind::Neighbours.index()]
                        .iter()
                        .zip(&lines[ModelKind::Mlp.index()]);
                    lines[k] = both.map(|(near, network)| 0.5 * (near + network)).collect();
                    near_said && network_said
                }
                ModelKind::Blend => {
                    (self.blend.as_ref()).is_some_and(|blend| blend.predict(past, &mut lines[k]))
                }
            };
            if !said[k] {
                last_value::predict(past, &mut lines[k]);
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
        let due = self.seen + blend::REFIT_DAYS * self.horizon.day();
        if self.blend.is_some() && past.len() >= due {
            match Blend::fit(past, self.horizon, job) {
                Ok(blend) => (self.blend, self.seen) = (Some(blend), past.len()),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(_) => {}
            }
        }
        self.ask(past, &self.of.kinds, answers);
        Ok(())
    }
}
