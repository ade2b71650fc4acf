//! The one door of a meter: every channel hands its callers in here.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::sync::watch;

use crate::{
    config::ChannelSettings,
    device::{Device, DeviceState, Effect, Records, View},
    time::Clock,
};

/// Carries out what a call asks for beyond its answer. `app` implements it; the future ends when it took effect.
pub trait Hub: Send + Sync {
    /// Carries out `effects` in order.
    fn apply(&self, effects: Vec<Effect>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What all channels of one meter share. Cheap to clone behind an `Arc`.
pub struct Endpoint {
    /// The meter's name, empty for the first.
    pub meter: String,
    /// The device; replaced as a whole when its options change.
    pub device: watch::Receiver<Arc<Device>>,
    /// Newest view.
    pub views: watch::Receiver<Arc<View>>,
    /// The device's own state.
    pub state: watch::Receiver<Arc<DeviceState>>,
    /// Channel settings in force.
    pub channels: watch::Receiver<Arc<ChannelSettings>>,
    /// Minute records.
    pub records: Arc<dyn Records>,
    /// Effects go here.
    pub hub: Arc<dyn Hub>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}
