//! Builds the meters, and what holds for all of them.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::error_span;

use super::{control, meter_task::Command, running::Running, shared::Shared, taker::Taker};
use config::{MeterSettings, Resolved, SourceKind};
use store::{Import, Restored};
use vocab::{EntityId, Now, SourceEvent, meter_name};

/// All meters of the process.
pub struct Meters {
    /// The first is what the flat options describe.
    pub running: Arc<[Running]>,
    taker: Taker,
}

impl Meters {
    /// Starts all meters; their channels come with [`Self::start_channels`].
    pub fn start(shared: &Shared, resolved: &Resolved, restored: &Restored) -> Self {
        let channels = Arc::new(control::with_shares(
            resolved.settings.channels.clone(),
            &control::shares(&shared.store),
        ));
        let mut running = Vec::new();
        for (index, settings) in resolved.settings.meters.iter().enumerate() {
            let mut settings = settings.clone();
            if index == 0 {
                match resolved.settings.source.kind {
                    SourceKind::HomeAssistant => {}
                    SourceKind::Demo => settings.inputs = source::demo::inputs(),
                    SourceKind::Replay => {
                        match source::replay::Replay::of(&resolved.settings.source) {
                            Ok(replay) => settings.inputs = replay.inputs(),
                            Err(why) => shared.health.add(why),
                        }
                    }
                }
            }
            let name = settings.name.clone();
            let blocked = resolved.absent_reason(index);
            // A warning keeps its fields only where the span is shown too: so this one always is.
            let span = error_span!("meter", meter = meter_name(&name));
            let meter = span.in_scope(|| {
                Running::start(
                    &name,
                    settings,
                    &channels,
                    shared,
                    restored,
                    blocked.as_ref(),
                )
            });
            running.push(meter);
        }
        let running: Arc<[Running]> = running.into();
        let meters = Self {
            taker: Taker::new(&running),
            running,
        };
        meters.follow_facts(shared);
        meters
    }

    /// A way to give the first meter entities later.
    pub fn taker(&self) -> Taker {
        self.taker.clone()
    }

    /// MACs of all meters.
    pub fn macs(&self) -> Vec<String> {
        self.running
            .iter()
            .map(|m| m.identity.mac.to_string())
            .collect()
    }

    /// What a source has to follow.
    pub fn entities(&self) -> watch::Receiver<Arc<[EntityId]>> {
        self.taker.entities()
    }

    /// Where events go.
    pub fn event_senders(&self) -> Vec<mpsc::Sender<(Now, SourceEvent)>> {
        self.running.iter().map(|m| m.events.clone()).collect()
    }

    /// Home Assistant's time zone becomes the device's; its address is never counted as a reader
    /// that shares.
    fn follow_facts(&self, shared: &Shared) {
        let mut facts = shared.facts.clone();
        let running = Arc::clone(&self.running);
        shared.health.spawn_until_stop("facts", async move {
            while facts.changed().await.is_ok() {
                let now = facts.borrow_and_update().clone();
                for meter in running.iter() {
                    let consumers = &meter.endpoint.consumers;
                    consumers.set_home_assistant(now.address.into_iter().collect());
                    let Some(zone) = now.time_zone.as_deref() else {
                        continue;
                    };
                    meter.ground.change(|ground| {
                        if ground.device.options.tz != zone {
                            zone.clone_into(&mut Arc::make_mut(&mut ground.device).options.tz);
                        }
                    });
                }
            }
            std::future::pending::<()>().await;
        });
    }

    /// Adds the original's counters to the first meter once its samples are in.
    pub fn take_import(&self, import: oneshot::Receiver<Import>, shared: &Shared) {
        let Some(first) = self.running.first() else {
            return;
        };
        let commands = first.commands.clone();
        shared.health.spawn_work(async move {
            // An error means that there was nothing to import.
            if let Ok(import) = import.await {
                let _ = commands.send(Command::Add(import)).await;
            }
        });
    }

    /// Each meter's settings, as they are now.
    pub fn settings(&self) -> Vec<MeterSettings> {
        self.running.iter().map(Running::settings).collect()
    }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod start_tests;
