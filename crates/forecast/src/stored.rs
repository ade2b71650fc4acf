//! The trained models as bytes, so that they survive a restart (the store keeps them as a blob).
//!
//! Kept are the settings, horizons, choice, calibration, back-test and what is dear to compute
//! (the perceptron with its scaling, range and seed). Neighbours and blend are fitted again from
//! the samples, which the store has anyway: 30 ms instead of megabytes an hour.

use sha2::{Digest, Sha256};

use super::horizon::HorizonId;
use super::trainer::{Series, Trained, Valid};
use super::{Error, Job, ModelKind};

/// First bytes of a blob; the digit is the format's version.
const MAGIC: &[u8] = b"VSFORECAST2";
/// Length of the body's check sum that follows, bytes: the beginning of its SHA-256.
const SUM: usize = 8;
/// No blob of ours is larger, bytes.
const MAX_BYTES: usize = 8 << 20;

/// A training as bytes.
///
/// # Errors
/// [`Error::Library`] if it cannot be written.
pub fn to_bytes(trained: &Trained) -> Result<Vec<u8>, Error> {
    let body = postcard::to_allocvec(trained).map_err(|e| Error::Library(e.to_string()))?;
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

fn bad(why: &str) -> Error {
    Error::Stored(why.to_owned())
}

fn parse(bytes: &[u8]) -> Result<Trained, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(bad("it is larger than 8 MiB"));
    }
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        bad(if bytes.starts_with(&MAGIC[..MAGIC.len() - 1]) {
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
    let mut trained = parse(bytes)?;
    if trained.settings != *settings {
        return Err(bad("it was made for other settings"));
    }
    if trained.horizons.len() != HorizonId::ALL.len() {
        return Err(bad("a horizon is missing"));
    }
    let seed = settings.settings().seed;
    let shapes = HorizonId::ALL.into_iter().zip(*settings.horizons());
    for (kept, (id, horizon)) in trained.horizons.iter_mut().zip(shapes) {
        let (state, mlp) = (&kept.state, kept.fitted.mlp.take());
        let mut residuals = state.residuals.iter().flatten();
        let sound = kept.id == id
            && kept.horizon == horizon
            && state.calibrations.iter().all(|c| c.sound())
            && residuals.all(|table| table.fits(horizon.steps))
            && mlp.as_ref().is_none_or(|mlp| mlp.fits(horizon, seed));
        if !sound {
            return Err(bad(&format!("its part for {} is damaged", id.name())));
        }
        let needed = kept.needed();
        let asked = |kind| needed.contains(&kind);
        if (asked(ModelKind::Mlp) || asked(ModelKind::Average)) && mlp.is_none() {
            return Err(bad(&format!("the perceptron for {} is missing", id.name())));
        }
        let grid = series.grid(id, horizon)?;
        Job::unwatched(|job| kept.refit(&grid.w, seed, mlp, job))?;
        let able = &kept.fitted.kinds;
        if let Some(missing) = needed.iter().find(|kind| !able.contains(kind)) {
            return Err(bad(&format!(
                "there are too few samples for `{missing}`, {}",
                id.name()
            )));
        }
    }
    Ok(trained)
}
