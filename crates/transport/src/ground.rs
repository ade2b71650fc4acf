//! What a request stands on: device, state, settings and snapshot of one moment.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use config::{ChannelSettings, ControlSettings};
use consumers::About;
use device::{Device, DeviceState, View};

/// One running time of the emulated device: from start, or from the last `Shelly.Reboot`, to the
/// next.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// Monotonic time at which it began.
    pub since: Duration,
    /// Cancelled at its end: inbound connections close, listeners stay.
    pub over: CancellationToken,
}

/// All that an answer follows from beside its request and the time. It is replaced as a whole, and
/// a request reads it once, so that nothing changes under it.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The device.
    pub device: Arc<Device>,
    /// The device's own state, as options leave it.
    pub state: Arc<DeviceState>,
    /// Channel settings in force.
    pub channels: Arc<ChannelSettings>,
    /// Whose answers are paced, and what is known of the readers.
    pub control: Arc<ControlSettings>,
    /// Newest view, not scaled.
    pub view: Arc<View>,
    /// The running time.
    pub boot: Boot,
}

impl Ground {
    /// Whether a password is set.
    #[must_use]
    pub fn auth_on(&self) -> bool {
        self.state.auth_ha1.is_some()
    }

    /// By what readers are judged, but for how often there are readings.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        About {
            scaling: &self.channels.scaling,
            profiles: Some(&self.control.profiles),
            readings_each: None,
        }
    }
}

/// A meter's ground, for those who own a part of it.
#[derive(Clone, Debug)]
pub struct GroundOwner(Arc<watch::Sender<Arc<Ground>>>);

impl GroundOwner {
    /// Begins with `ground`.
    #[must_use]
    pub fn new(ground: Ground) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(ground))))
    }

    /// Puts a changed ground in the place of the one before; what others change at the same time is
    /// in it. `change` must not wait.
    pub fn change(&self, change: impl FnOnce(&mut Ground)) {
        self.0.send_modify(|ground| change(Arc::make_mut(ground)));
    }

    /// Where it is read.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Ground>> {
        self.0.subscribe()
    }
}
