//! What is known of the Home Assistant at the other end.

use std::{net::IpAddr, sync::Arc};

use jiff::tz::TimeZone;
use vocab::EntityId;

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

impl HaFacts {
    /// Whether Home Assistant is up: connected, and done with its start.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state.as_deref() == Some("RUNNING")
    }

    /// The house's time zone, else that of the host (`docs/decisions.md#clocks`).
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        let named = self.time_zone.as_deref();
        named
            .and_then(|name| TimeZone::get(name).ok())
            .unwrap_or_else(TimeZone::system)
    }
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
