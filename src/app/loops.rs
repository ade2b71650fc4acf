//! A meter must not measure itself: entities that stand on one of our own are refused, also through
//! helpers between.

use std::sync::Arc;

use tokio::sync::watch;
use tracing::{debug, error};

use super::{meter_task::Command, running::Running, setup::running, shared::Shared};
use source::discover::{Discovery, discover};
use vocab::reason::{Reason, Unusable};
use vocab::{EntityId, meter_name};

/// What is watched, and how Home Assistant is asked.
pub struct Loops {
    /// What all parts share.
    pub shared: Shared,
    /// MACs of ours.
    pub macs: Vec<String>,
    /// Every entity that is read; changes with each take-over.
    pub entities: watch::Receiver<Arc<[EntityId]>>,
    /// The meters.
    pub meters: Arc<[Running]>,
}

impl Loops {
    /// Looks each time Home Assistant has come up and whenever other entities are read. An entity
    /// of ours itself is refused by the source, at once and without this.
    pub async fn run(mut self) {
        loop {
            if !self.entities.borrow_and_update().is_empty() {
                let (source, access) = (self.shared.source(), &self.shared.access);
                match discover(source, access, &self.macs, &[]).await {
                    Ok(found) => self.block(&found).await,
                    Err(why) => debug!(error = %why, "what the entities stand on cannot be asked"),
                }
            }
            tokio::select! {
                () = running(&mut self.shared.facts) => {}
                Ok(()) = self.entities.changed() => {}
            }
        }
    }

    async fn block(&self, found: &Discovery) {
        for meter in self.meters.iter() {
            let read = meter.inputs().entities();
            let Some((id, on)) = found
                .derived
                .iter()
                .find(|(id, _)| read.binary_search(id).is_ok())
            else {
                continue;
            };
            let why = Reason::entity(id, Unusable::Loop { other: on.clone() });
            error!(
                meter = meter_name(&meter.key),
                "{why}; it is not read, choose another"
            );
            let _ = meter.commands.send(Command::Block(why)).await;
        }
    }
}
