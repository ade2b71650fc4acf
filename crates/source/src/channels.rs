//! What a running source is wired to.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{demo::battery::SharedBattery, facts::HaFacts, registered::RegistryEvent};
use vocab::{Clock, EntityId, Link, Now, SourceEvent, reason::Unreachable};

/// Hears an event; must not wait.
pub type Listener = Arc<dyn Fn(Now, &SourceEvent) + Send + Sync>;

/// Where a source's events go, each with the moment it was heard.
#[derive(Clone)]
pub struct Outlet {
    /// Hears each event before the meters do.
    pub tap: Listener,
    /// The meters. A full channel makes the source wait; a meter that is gone needs nothing, the
    /// others go on.
    pub meters: Vec<mpsc::Sender<(Now, SourceEvent)>>,
}

impl Outlet {
    async fn send(&self, now: Now, event: SourceEvent) -> Result<(), Stopped> {
        (self.tap)(now, &event);
        let mut heard = false;
        for meter in &self.meters {
            heard |= meter.send((now, event.clone())).await.is_ok();
        }
        heard.then_some(()).ok_or(Stopped)
    }
}

/// Says that the link is down when the source ends, whatever ended it, a panic too: no value may
/// live on without its source.
pub(crate) struct Ending(pub(crate) Outlet, pub(crate) Arc<dyn Clock>);

impl Drop for Ending {
    fn drop(&mut self) {
        let (out, now) = (&self.0, self.1.now());
        let down = SourceEvent::Link(Link::Down {
            reason: Unreachable::Ended,
            last_alive: Some(now.mono),
        });
        (out.tap)(now, &down);
        for meter in &out.meters {
            // A full channel is one of a meter that hears nothing any more.
            let _ = meter.try_send((now, down.clone()));
        }
    }
}

/// What a running source is wired to.
pub struct SourceChannels {
    /// The entities to follow; may change at any time, the connection stays.
    pub entities: watch::Receiver<Arc<[EntityId]>>,
    /// MACs of our meters, 12 hex digits: their entities in Home Assistant are refused
    /// (`docs/decisions.md#our-own-entities`).
    pub macs: watch::Receiver<Arc<[String]>>,
    /// Where events go.
    pub out: Outlet,
    /// Where names that change in Home Assistant's registry are told; a full channel loses some.
    pub registry: mpsc::Sender<RegistryEvent>,
    /// Facts for whoever shows them.
    pub facts: watch::Sender<HaFacts>,
    /// The demo household's battery; no other source has one.
    pub battery: SharedBattery,
    /// The clock that stamps events.
    pub clock: Arc<dyn Clock>,
    /// Ends the source.
    pub stop: CancellationToken,
}

/// The source was told to stop, or nobody listens any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

impl SourceChannels {
    /// Says one thing, heard at `now`; waits while the channel is full, but not past the stop.
    pub(crate) async fn say(&self, now: Now, event: SourceEvent) -> Result<(), Stopped> {
        self.wait(self.out.send(now, event)).await?
    }

    /// Waits, unless stopped.
    pub(crate) async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            done = work => Ok(done),
        }
    }

    /// Tells what is known of Home Assistant, where that is something else than before.
    pub(crate) fn know(&self, now: HaFacts) {
        self.facts.send_if_modified(|facts| {
            let changed = *facts != now;
            *facts = now;
            changed
        });
    }

    /// Nobody is connected to Home Assistant any more: what it is doing is not known.
    pub(crate) fn forget_state(&self) {
        self.facts
            .send_if_modified(|facts| facts.state.take().is_some());
    }
}
