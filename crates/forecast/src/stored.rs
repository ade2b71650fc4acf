//! The trained models as bytes, so that they survive a restart (the store keeps them as a blob).
//!
//! Kept are the settings, horizons, choice, calibration, back-test and what is dear to compute
//! (the perceptron with its scaling, range and seed). Neighbours and blend are fitted again from
//! the samples, which the store has anyway: 30 ms instead of megabytes an hour.

use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::horizon::{Horizon, HorizonId};
use super::mlp::Mlp;
use super::panel::Fitted;
use super::rolling::State;
use super::trainer::{Series, Trained, TrainedHorizon, Valid};
use super::{Error, Job, Metrics, ModelKind, choice};

/// First bytes of a blob; the digit is the format's version.
const MAGIC: &[u8] = b"VSFORECAST2";
/// Length of the body's check sum that follows, bytes: the beginning of its SHA-256.
const SUM: usize = 8;
/// No blob of ours is larger, bytes.
const MAX_BYTES: usize = 8 << 20;

#[derive(Serialize, Deserialize)]
struct Stored {
    at: i64,
    settings: Valid,
    seconds: f64,
    horizons: Vec<StoredHorizon>,
}

#[derive(Serialize, Deserialize)]
struct StoredHorizon {
    id: HorizonId,
    horizon: Horizon,
    samples: usize,
    origins: usize,
    state: State,
    backtest: Vec<(ModelKind, Metrics)>,
    mlp: Option<Mlp>,
}

/// A training as bytes.
///
/// # Errors
/// [`Error::Library`] if it cannot be written.
pub fn to_bytes(trained: &Trained) -> Result<Vec<u8>, Error> {
    let stored = Stored {
        at: trained.at,
        settings: trained.settings.clone(),
        seconds: trained.seconds,
        horizons: trained
            .horizons
            .iter()
            .map(|h| StoredHorizon {
                id: h.id,
                horizon: h.horizon,
                samples: h.samples,
                origins: h.origins,
                state: h.state.clone(),
                backtest: h.backtest.clone(),
                mlp: h.fitted.mlp.clone(),
            })
            .collect(),
    };
    let body = postcard::to_allocvec(&stored).map_err(|e| Error::Library(e.to_string()))?;
    Ok(sealed(&body))
}

/// A body with what stands before it.
pub(super) fn sealed(body: &[u8]) -> Vec<u8> {
    [MAGIC, &sum(body), body].concat()
}

fn sum(body: &[u8]) -> [u8; SUM] {
    let hash = Sha256::digest(body);
    std::array::from_fn(|i| hash[i])
}

/// Whether bytes are a blob of ours, of any version.
fn ours(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC[..MAGIC.len() - 1])
}

fn parse(bytes: &[u8]) -> Result<Stored, Error> {
    let bad = |why: &str| Error::Stored(why.to_owned());
    if bytes.len() > MAX_BYTES {
        return Err(bad("it is larger than 8 MiB"));
    }
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        bad(if ours(bytes) {
            "it is of another version"
        } else {
            "it is no forecast model of this service"
        })
    })?;
    // A flipped bit of a weight would parse, and speak nonsense until the next training.
    let (kept, body) = body
        .split_at_checked(SUM)
        .ok_or_else(|| bad("it is cut off"))?;
    if kept != sum(body) {
        return Err(bad("it is damaged"));
    }
    postcard::from_bytes(body).map_err(|e| bad(&format!("it cannot be read ({e})")))
}

/// A training from bytes, completed from the samples.
///
/// # Errors
/// [`Error::Stored`] when it was made for other settings, is damaged, or when there are too few
/// samples to complete it: train again.
pub fn restore(bytes: &[u8], settings: &Valid, series: &Series<'_>) -> Result<Trained, Error> {
    let stored = parse(bytes)?;
    let bad = |why: &str| Error::Stored(why.to_owned());
    if stored.settings != *settings {
        return Err(bad("it was made for other settings"));
    }
    if stored.horizons.len() != HorizonId::ALL.len() {
        return Err(bad("a horizon is missing"));
    }
    let seed = settings.settings().seed;
    let never = AtomicBool::new(false);
    let mut horizons = Vec::with_capacity(stored.horizons.len());
    for ((kept, id), horizon) in stored
        .horizons
        .into_iter()
        .zip(HorizonId::ALL)
        .zip(*settings.horizons())
    {
        let state = &kept.state;
        let sound = kept.id == id
            && kept.horizon == horizon
            && state.calibrations.iter().all(|c| c.sound())
            && state
                .residuals
                .iter()
                .flatten()
                .all(|table| table.fits(horizon.steps))
            && kept.mlp.as_ref().is_none_or(|mlp| mlp.fits(horizon, seed));
        if !sound {
            return Err(bad(&format!("its part for {} is damaged", id.name())));
        }
        let mut trained = TrainedHorizon {
            id,
            horizon,
            samples: kept.samples,
            origins: kept.origins,
            state: kept.state,
            backtest: kept.backtest,
            compared: choice::enough(horizon, kept.samples),
            fitted: Fitted::default(),
        };
        let needs = |kinds: &[ModelKind]| trained.needed().iter().any(|kind| kinds.contains(kind));
        if needs(&[ModelKind::Mlp, ModelKind::Average]) && kept.mlp.is_none() {
            return Err(bad(&format!("the perceptron for {} is missing", id.name())));
        }
        let grid = series.grid(id, horizon)?;
        trained.refit(&grid.w, seed, kept.mlp, &mut Job::new(&never, &mut |_| {}))?;
        if let Some(missing) = trained
            .needed()
            .iter()
            .find(|kind| !trained.fitted.kinds.contains(kind))
        {
            return Err(bad(&format!(
                "there are too few samples for `{missing}`, {}",
                id.name()
            )));
        }
        horizons.push(trained);
    }
    Ok(Trained {
        at: stored.at,
        settings: stored.settings,
        seconds: stored.seconds,
        horizons,
    })
}
