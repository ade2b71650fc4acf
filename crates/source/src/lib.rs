//! How a reading comes in: Home Assistant over WebSocket (or REST), the demo household, a replayed
//! CSV.
//!
//! A source knows nothing of Shelly or SQLite. It says what it heard as [`SourceEvent`]s: states of
//! entities as text with their unit, and how the link is. The crate `meter` gives them meaning.

//!
//! ```text
//!  run ──┬─ home_assistant   WebSocket session or REST poll, one task, reconnects for ever
//!        ├─ demo             a seeded household, a pure function of the time
//!        └─ replay           a recorded CSV
//!  recorded                  one-shot questions: what the recorder knows of a power and its counters
//!  discover                  one-shot questions: what could be an input (set-up, picker, `check`)
//! ```
//!
//! Order of events that a reader may rely on: after a loss of the link, every wanted entity's
//! [`Reading`] (or [`Gone`], [`Own`]) comes *before* [`Link::Up`]; while the link is
//! [`Link::Starting`] only readings come that count
//! (`docs/decisions.md#while-home-assistant-starts`). So what was held before the loss never turns
//! live by the link alone.
//!
//! [`Reading`]: vocab::Reading
//! [`Gone`]: vocab::State::Gone
//! [`Own`]: vocab::State::Own
//! [`Link::Up`]: vocab::Link::Up
//! [`Link::Starting`]: vocab::Link::Starting

mod beside;
pub mod demo;
pub mod discover;
pub mod energy_prefs;
pub mod home_assistant;
mod kin;
pub mod prefs_watch;
pub mod rank;
pub mod recorded;
pub mod registry;
pub mod replay;
pub mod users;

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use config::{SourceKind, SourceSettings};
pub use home_assistant::{Access, Cadence, Supervisor};
use vocab::{Clock, EntityId, Now, SourceEvent};

/// What is known of the Home Assistant at the other end. Everything `None` with demo and replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HaFacts {
    /// Its version, e.g. `2026.11.0`.
    pub version: Option<Arc<str>>,
    /// Its time zone, an IANA name (days and months go by it).
    pub time_zone: Option<Arc<str>>,
    /// `NOT_RUNNING`, `STARTING`, `RUNNING` … as it says itself; `None` while not connected.
    pub state: Option<Arc<str>>,
    /// Its address as seen by the connection (the Supervisor's when going through the proxy); never
    /// scaled for.
    pub address: Option<IpAddr>,
    /// The TCP port of that connection.
    pub port: Option<u16>,
    /// What it says of its own addresses.
    pub places: HaPlaces,
    /// Which way values come.
    pub transport: Option<Transport>,
    /// Configured entities that are our own and therefore never read.
    pub refused: Arc<[EntityId]>,
}

/// Where Home Assistant says that it listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HaPlaces {
    /// Its HTTP configurations, the one on trial too; empty for versions that don't tell.
    pub configured: Arc<[HttpPlace]>,
    /// `internal_url`, as its owner set it.
    pub internal_url: Option<Arc<str>>,
    /// It is in recovery mode: then it may be elsewhere than its owner wants it.
    pub recovery: bool,
}

/// One HTTP configuration of Home Assistant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPlace {
    /// `server_port`.
    pub port: u16,
    /// `server_host`, addresses or names; empty for all.
    pub hosts: Vec<String>,
}

/// Which way Home Assistant's values come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Pushed over the WebSocket API.
    Websocket,
    /// Polled over REST.
    Rest,
}

/// What a running source is wired to.
pub struct SourceChannels {
    /// The entities to follow; may change at any time, the connection stays.
    pub entities: watch::Receiver<Arc<[EntityId]>>,
    /// MACs of our meters, 12 hex digits: their entities in Home Assistant are refused
    /// (`docs/decisions.md#our-own-entities`).
    pub macs: watch::Receiver<Arc<[String]>>,
    /// Where events go, each with the moment it was heard. A full channel makes the source wait,
    /// never past `stop`.
    pub out: mpsc::Sender<(Now, SourceEvent)>,
    /// Where names that change in Home Assistant's registry are told; a full channel loses some.
    pub registry: mpsc::Sender<registry::RegistryEvent>,
    /// Facts for whoever shows them.
    pub facts: watch::Sender<HaFacts>,
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
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            sent = self.out.send((now, event)) => sent.map_err(|_| Stopped),
        }
    }

    /// Sleeps, unless stopped.
    pub(crate) async fn sleep(&self, how_long: Duration) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            () = tokio::time::sleep(how_long) => Ok(()),
        }
    }
}

/// Runs the chosen source until `stop`. Nothing outside ends it: an absent Home Assistant is a
/// state of the link.
pub async fn run(settings: SourceSettings, access: Access, channels: SourceChannels) {
    let stopped = match settings.kind {
        SourceKind::HomeAssistant => {
            beside::follow(async move { home_assistant::run(&settings, &access, channels).await })
                .await
        }
        SourceKind::Demo => demo::run(&settings, channels).await,
        SourceKind::Replay => replay::run(&settings, channels).await,
    };
    match stopped {
        Ok(never) => match never {},
        Err(Stopped) => tracing::debug!("source stopped"),
    }
}
