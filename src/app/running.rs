//! One virtual meter that runs: its task, its hub, its door.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Span, error, info};

use super::{
    control::{self, Pause},
    hub::{self, MeterHub},
    identity,
    meter_task::{self, Command, MeterTask, Sampling},
    shared::Shared,
    vitals::{held, of_meter},
};
use config::{ChannelSettings, Inputs, MeterSettings};
use device::{Device, DeviceOptions, Identity, View};
use meter::{Meter, Snapshot};
use source::HaFacts;
use store::{Restored, StoreState};
use transport::{Boot, Endpoint, Ground, GroundOwner, outbound};
use vocab::reason::Reason;
use vocab::{Now, SourceEvent};

/// Commands that may wait for a meter.
const COMMANDS: usize = 16;

/// One virtual meter, running.
pub struct Running {
    /// Its row in the store: empty for the first.
    pub key: String,
    /// What it and its channels log carries the fields of this.
    pub span: Span,
    /// Its settings, entities of the set-up included.
    settings: Mutex<MeterSettings>,
    /// Why what it read is not served any more, until it reads another power.
    withheld: Mutex<Option<Reason>>,
    /// Who it is.
    pub identity: Identity,
    /// Its door.
    pub endpoint: Arc<Endpoint>,
    /// Its hub.
    pub hub: Arc<MeterHub>,
    /// Its task.
    pub commands: mpsc::Sender<Command>,
    /// What its channels answer from.
    pub ground: GroundOwner,
    /// What options name to dial.
    pub outbound: watch::Sender<Arc<[outbound::Target]>>,
    /// What is measured, also while readers are told something else.
    pub measured: watch::Receiver<Arc<Snapshot>>,
    /// Whether readers are told something else.
    pub pause: Arc<watch::Sender<Option<Pause>>>,
    pub(super) events: mpsc::Sender<(Now, SourceEvent)>,
}

impl Running {
    pub(super) fn start(
        key: &str,
        mut settings: MeterSettings,
        channels: &Arc<ChannelSettings>,
        shared: &Shared,
        restored: &Restored,
        blocked: Option<&Reason>,
    ) -> Self {
        settings.target_offset = control::offset(&shared.store, key, settings.target_offset);
        let in_memory = matches!(shared.store.health().state, StoreState::InMemory { .. });
        let (identity, problems) = identity::of(key, &settings, &restored.meters, in_memory);
        for problem in problems {
            error!("{problem}");
            shared.health.add(of_meter(key, problem));
        }
        let device = Device {
            identity: identity.clone(),
            options: DeviceOptions::new(&settings, channels, zone(&shared.facts.borrow())),
        };
        let (commands, commands_seen) = mpsc::channel(COMMANDS);
        let options = hub::Options {
            meter: settings.clone(),
            channels: Arc::clone(channels),
            device_id: identity.id.clone(),
        };
        let kept = hub::Kept::of(key, &shared.store, options);
        let laid_over = control::with_profiles(&shared.store, key, &settings.control);
        let row = restored.meters.get(key);
        let counters = row.map(meter_task::counters).unwrap_or_default();
        let now = shared.clock.now();
        let interval = shared.settings.store.interval;
        let kept_every = interval.min(Duration::from_secs(60)) + Duration::from_secs(2);
        let mut meter = Meter::new(&settings, counters, now)
            .at_pace(shared.settings.source.pace())
            .serving_kept(kept_every, now);
        if let Some(reason) = blocked {
            meter.block(reason, now);
        }
        let snapshot = Arc::new(meter.snapshot(now));
        let (measured, measured_seen) = watch::channel(Arc::clone(&snapshot));
        let ground = GroundOwner::new(Ground {
            device: Arc::new(device),
            state: Arc::new(kept.in_force()),
            channels: Arc::clone(channels),
            control: Arc::new(laid_over),
            view: Arc::new(View::new(snapshot)),
            boot: Boot {
                since: now.mono,
                ..Boot::default()
            },
        });
        let pause = Arc::new(watch::Sender::new(None));
        let (events, events_seen) = mpsc::channel(64);
        let task = MeterTask {
            key: key.to_owned(),
            mac: identity.mac.to_string(),
            meter,
            events: events_seen,
            commands: commands_seen,
            ground: ground.clone(),
            measured,
            pause: Arc::clone(&pause),
            sampling: key.is_empty().then(|| {
                let step = shared.settings.source.sample_step();
                Sampling::new(step, shared.feed.clone(), now)
            }),
            flow: Default::default(),
            shared: shared.clone(),
        };
        shared.health.spawn("meter", task.run());
        let hub = Arc::new(MeterHub {
            key: key.to_owned(),
            commands: commands.clone(),
            kept: Mutex::new(kept),
            ground: ground.clone(),
            shared: shared.clone(),
        });
        let endpoint = Arc::new(Endpoint::new(
            key.to_owned(),
            &ground,
            Arc::new(shared.store.records(key)),
            Arc::clone(&hub) as Arc<dyn transport::Hub>,
            Arc::clone(&shared.clock),
        ));
        let telling = tell_locked(key.to_owned(), ground.subscribe(), shared.clone());
        shared.health.spawn_work(telling);
        let following = Arc::clone(&endpoint).follow(shared.stop.clone());
        shared.health.spawn("calm control", following);
        let outbound = watch::Sender::new(targets(&settings, channels));
        info!(mac = %identity.mac, "the meter is {}", identity.id);
        Self {
            key: key.to_owned(),
            span: Span::current(),
            settings: Mutex::new(settings),
            withheld: Mutex::default(),
            identity,
            endpoint,
            hub,
            commands,
            ground,
            outbound,
            measured: measured_seen,
            pause,
            events,
        }
    }

    /// What it reads, as it is now.
    pub fn inputs(&self) -> Inputs {
        self.settings().inputs
    }

    /// Its settings, as they are now.
    pub fn settings(&self) -> MeterSettings {
        self.change(|_| {})
    }

    /// Changes its settings, and gives them as they are then; its task hears of it by
    /// [`Self::reconfigure`].
    pub fn change(&self, change: impl FnOnce(&mut MeterSettings)) -> MeterSettings {
        let mut settings = held(&self.settings);
        change(&mut settings);
        settings.clone()
    }

    /// Its task goes by these settings from now on; counters stay.
    pub async fn reconfigure(&self, settings: MeterSettings) {
        let settings = Box::new(settings);
        let why = {
            let mut withheld = held(&self.withheld);
            if settings.inputs.any_power() {
                *withheld = None;
            }
            withheld.clone()
        };
        self.ask(|done| Command::Reconfigure(settings, done)).await;
        if let Some(why) = why {
            let _ = self.commands.send(Command::Block(why)).await;
        }
    }

    /// Without a power it has no value for this reason; false: it was given one already.
    pub fn withhold(&self, why: Reason) -> bool {
        let mut withheld = held(&self.withheld);
        let new = withheld.is_none();
        withheld.get_or_insert(why);
        new
    }

    /// What its task answers; `None` when that is gone.
    pub async fn ask<T>(&self, asked: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, wait) = oneshot::channel();
        self.commands.send(asked(reply)).await.ok()?;
        wait.await.ok()
    }
}

/// Says on the pages and in `/healthz` for how long changes are refused because the settings were
/// lost.
async fn tell_locked(key: String, mut grounds: watch::Receiver<Arc<Ground>>, shared: Shared) {
    loop {
        let locked = grounds.borrow_and_update().state.locked;
        shared.health.set_locked(&key, locked);
        let changed = grounds.wait_for(|ground| ground.state.locked != locked);
        if !matches!(shared.stop.run_until_cancelled(changed).await, Some(Ok(_))) {
            return;
        }
    }
}

/// What options name to dial.
pub fn targets(settings: &MeterSettings, channels: &ChannelSettings) -> Arc<[outbound::Target]> {
    let insecure = channels.outbound_ws_insecure;
    settings
        .outbound_ws
        .iter()
        .map(|url| outbound::Target {
            url: url.clone(),
            insecure,
            local: true,
        })
        .collect()
}

/// The house's time zone, else this host's.
fn zone(facts: &HaFacts) -> String {
    match &facts.time_zone {
        Some(zone) => zone.to_string(),
        None => facts.zone().iana_name().unwrap_or("UTC").to_owned(),
    }
}
