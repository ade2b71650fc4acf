//! Carries out what a call asked for beyond its answer, and keeps the device's own state.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, info, warn};

use super::{
    meter_task::Command,
    shared::Shared,
    vitals::{held, locked},
};
use config::{ChannelSettings, MeterSettings};
use device::{DeviceState, Effect, Setting};
use store::Store;
use transport::{Boot, GroundOwner, Hub};
use vocab::DeviceId;

/// One meter's hub.
pub struct MeterHub {
    /// Row of the store: empty for the first meter, else its name.
    pub key: String,
    /// To its task.
    pub commands: mpsc::Sender<Command>,
    /// What the device keeps, which is in force on `ground` already.
    pub kept: Mutex<Kept>,
    /// What its channels answer from.
    pub ground: GroundOwner,
    /// What all parts share.
    pub shared: Shared,
}

/// The state as the device keeps it, and what options lay over it.
pub struct Kept {
    state: DeviceState,
    options: Options,
}

/// The options that are laid over it.
pub struct Options {
    /// The meter's.
    pub meter: MeterSettings,
    /// Those of all channels.
    pub channels: Arc<ChannelSettings>,
    /// The realm of the password.
    pub device_id: DeviceId,
}

impl Kept {
    /// The state that the store kept for this meter.
    pub fn of(key: &str, store: &Store, options: Options) -> Self {
        let read = |text: String| match serde_json::from_str::<DeviceState>(&text) {
            Ok(state) => Some(state),
            Err(error) => {
                warn!(%error, "the kept device state cannot be read");
                None
            }
        };
        let text = store.get_state(&state_key(key));
        let unreadable = text.is_some();
        let kept = text
            .and_then(read)
            .or_else(|| store.vital_state(&state_key(key)).and_then(read))
            .or_else(|| {
                // Nobody knows whether a password was set: until the owner says, nobody may set
                // anything.
                (unreadable || store.state_lost()).then(|| DeviceState {
                    locked: true,
                    ..DeviceState::default()
                })
            });
        // A stored reason is that of the last start; this is a new one.
        let state = DeviceState {
            reset_reason: 1,
            ..kept.unwrap_or_default()
        };
        let mut kept = Self { state, options };
        kept.settle();
        keep(store, key, &kept.state);
        kept
    }

    /// The state under the options: what the device shows.
    pub fn in_force(&self) -> DeviceState {
        let of = &self.options;
        self.state.under(&of.meter, &of.channels, &of.device_id)
    }

    /// Takes out what the options make worthless; tells whether there was something.
    fn settle(&mut self) -> bool {
        let before = self.state.clone();
        let by_option = self.options.channels.auth_password.is_some();
        if by_option && std::mem::take(&mut self.state.locked) {
            info!("option auth_password is set: changes are accepted again");
        } else if self.state.locked {
            warn!("{}", locked());
        }
        let id = &self.options.device_id;
        if let Some(why) = self.state.drop_dead_password(by_option, id) {
            warn!("{why}");
        }
        self.state != before
    }
}

impl MeterHub {
    /// Other options are laid over the kept state.
    pub fn set_options(&self, options: Options) {
        let mut kept = held(&self.kept);
        kept.options = options;
        if kept.settle() {
            keep(&self.shared.store, &self.key, &kept.state);
        }
        self.publish(&kept);
    }

    fn publish(&self, kept: &Kept) {
        let state = Arc::new(kept.in_force());
        self.ground.change(|ground| ground.state = state);
    }

    fn set(&self, setting: &Setting) {
        let mut kept = held(&self.kept);
        kept.state = kept.state.with(setting);
        if matches!(setting, Setting::KvsSet(..) | Setting::KvsDelete(_)) {
            if let Some(text) = text(&kept.state) {
                let key = state_key(&self.key);
                self.shared.store.put_state_often(&key, &text);
            }
        } else {
            keep(&self.shared.store, &self.key, &kept.state);
        }
        self.publish(&kept);
    }

    async fn tell(&self, make: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(make(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    fn reboot(&self, delay: Duration) {
        let ground = self.ground.clone();
        let clock = Arc::clone(&self.shared.clock);
        {
            // Not kept over a restart of the process: that is a power-on again.
            let mut kept = held(&self.kept);
            kept.state.reset_reason = 3;
            self.publish(&kept);
        }
        let reboot = async move {
            tokio::time::sleep(delay).await;
            info!("rebooting as asked: inbound connections close, counters stay");
            let mut boot = Boot {
                since: clock.now().mono,
                ..Boot::default()
            };
            ground.change(|ground| std::mem::swap(&mut ground.boot, &mut boot));
            boot.over.cancel();
        };
        tokio::spawn(reboot.in_current_span());
    }
}

fn state_key(meter: &str) -> String {
    format!("device/{meter}")
}

fn keep(store: &Store, meter: &str, state: &DeviceState) {
    if let Some(text) = text(state) {
        // Keys of scripts may be many, and nobody is let in by them.
        let vital = DeviceState {
            kvs: BTreeMap::new(),
            ..state.clone()
        };
        let vital = self::text(&vital).unwrap_or_default();
        store.put_vital_state(&state_key(meter), &text, &vital);
    }
}

fn text(state: &DeviceState) -> Option<String> {
    serde_json::to_string(state)
        .map_err(|error| warn!(%error, "the device state cannot be kept"))
        .ok()
}

impl Hub for MeterHub {
    fn apply(&self, effects: Vec<Effect>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let is_kept = |effect: &Effect| !matches!(effect, Effect::Reboot { .. });
            let kept = effects.iter().any(is_kept);
            for effect in effects {
                match effect {
                    Effect::ResetCounters => self.tell(Command::Reset).await,
                    Effect::DeleteAllData => self.tell(Command::DeleteAll).await,
                    Effect::Reboot { delay_ms } => {
                        self.reboot(Duration::from_millis(delay_ms.clamp(100, 60_000)));
                    }
                    Effect::Set(setting) => self.set(&setting),
                }
            }
            // Whoever is answered may cut the power.
            if kept {
                self.shared.store.saved().await;
            }
        })
    }
}
