//! Each listener with its state, for `/healthz`, the overview and the health page.

use serde::Serialize;
use tokio::sync::watch;

use super::reserve::PortGuard;
use vocab::one_line::one_line;

/// How a listener is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ListenerState {
    /// Bound and serving.
    Listening,
    /// Could not be bound; tried again.
    Waiting {
        /// Why: port taken, forbidden ….
        reason: String,
    },
    /// Off by setting, not broken.
    Off {
        /// The option or method that turned it off: `modbus_enable`, `Modbus.SetConfig` ….
        by: &'static str,
    },
}

/// A listener's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `http`, `udp`, `modbus`, `websocket`, `mdns`, `outbound`, `dashboard`.
    pub name: &'static str,
    /// The meter's name, empty for the first.
    pub meter: String,
    /// Where; of an outbound WebSocket its URL without password and tokens.
    pub address: String,
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
#[derive(Clone, Debug)]
pub struct Board {
    lines: watch::Sender<Vec<Line>>,
    guard: PortGuard,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            lines: watch::Sender::new(Vec::new()),
            guard: PortGuard::default(),
        }
    }
}

impl Board {
    /// Ports that are Home Assistant's.
    #[must_use]
    pub fn guard(&self) -> &PortGuard {
        &self.guard
    }

    /// Sets a listener's line, replacing the one with the same name, meter, address and port.
    pub fn set(&self, mut line: Line) {
        if let ListenerState::Waiting { reason } = &mut line.state {
            // What the other side answered may be part of it.
            *reason = one_line(reason).into_owned();
        }
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
