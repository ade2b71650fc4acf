//! By what readers are judged.

use std::sync::Arc;

use config::{ReaderProfiles, ScalingSettings};

/// By what readers are judged.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// How power is shared.
    pub scaling: &'a ScalingSettings,
    /// The products that read this meter; `None`: nobody said.
    pub profiles: Option<&'a Arc<ReaderProfiles>>,
    /// Mean distance of the readings, s; `None` before there are some.
    pub readings_each: Option<f64>,
}

impl<'a> From<&'a ScalingSettings> for About<'a> {
    fn from(scaling: &'a ScalingSettings) -> Self {
        Self {
            scaling,
            profiles: None,
            readings_each: None,
        }
    }
}
