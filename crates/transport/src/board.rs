//! Each listener with its state, for `/healthz`, the overview and the health page.

use std::{fmt, net::IpAddr};

use serde::{Serialize, Serializer};
use tokio::sync::watch;

use super::{reserve::PortGuard, spec::ListenerSpec};
use vocab::reason::Reason;

/// How a listener is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ListenerState {
    /// Bound and serving.
    Listening,
    /// Could not be bound; tried again.
    Waiting {
        /// Why: port taken, forbidden ….
        reason: Reason,
    },
    /// Off by setting, not broken.
    Off {
        /// The option or method that turned it off: `modbus_enable`, `Modbus.SetConfig` ….
        by: &'static str,
    },
}

impl ListenerState {
    /// Waiting for this reason.
    pub fn waiting(reason: impl Into<Reason>) -> Self {
        Self::Waiting {
            reason: reason.into(),
        }
    }
}

/// Where a listener is, what is announced, or what is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Every address of this host.
    All,
    /// This one.
    Address(IpAddr),
    /// A host name, or a server without password and tokens; empty where there is none.
    Named(String),
}

impl Place {
    /// The address, where it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Address(ip) => Some(*ip),
            Self::All | Self::Named(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all addresses"),
            Self::Address(ip) => ip.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A listener's line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// `http`, `udp`, `modbus`, `websocket`, `mdns`, `outbound`, `mqtt` (the device's
    /// own), `mqtt_home` (what Home Assistant is told), `dashboard`.
    pub name: &'static str,
    /// The meter's name, empty for the first.
    pub meter: String,
    /// Where.
    pub address: Place,
    /// Port; 0 where there is none, as of a listener that an option turned off.
    pub port: u16,
    /// Its state.
    #[serde(flatten)]
    pub state: ListenerState,
}

impl Line {
    fn is_of(&self, other: &Self) -> bool {
        self.name == other.name
            && self.meter == other.meter
            && self.port == other.port
            && self.address == other.address
    }
}

/// All listeners, and the ports that none of them may have.
#[derive(Clone, Debug, Default)]
pub struct Board {
    lines: watch::Sender<Vec<Line>>,
    guard: PortGuard,
}

impl Board {
    /// Ports that are Home Assistant's.
    #[must_use]
    pub fn guard(&self) -> &PortGuard {
        &self.guard
    }

    /// Sets a listener's line, replacing the one with the same name, meter, address and port.
    pub fn set(&self, line: Line) {
        self.lines.send_if_modified(|lines| {
            match lines.iter_mut().find(|old| old.is_of(&line)) {
                Some(old) if *old == line => return false,
                Some(old) => *old = line,
                None => lines.push(line),
            }
            true
        });
    }

    /// Takes the line of this name, meter, address and port away, whatever its state.
    pub fn remove(&self, line: &Line) {
        self.lines.send_if_modified(|lines| {
            let before = lines.len();
            lines.retain(|old| !old.is_of(line));
            lines.len() != before
        });
    }

    /// All lines as they are now.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.borrow().clone()
    }

    /// Lets somebody wait for a change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Vec<Line>> {
        self.lines.subscribe()
    }

    /// The HTTP port of a meter while it is ours.
    #[must_use]
    pub fn http_port(&self, meter: &str) -> Option<u16> {
        let ours =
            |l: &&Line| l.name == "http" && l.meter == meter && l.state == ListenerState::Listening;
        self.lines.borrow().iter().find(ours).map(|l| l.port)
    }
}

impl ListenerSpec {
    /// Its line on the board.
    #[must_use]
    pub fn line(&self, state: ListenerState) -> Line {
        let address = self.bind.map_or(Place::All, Place::Address);
        Line {
            name: self.name,
            meter: self.meter.clone(),
            address,
            port: self.port,
            state,
        }
    }
}
