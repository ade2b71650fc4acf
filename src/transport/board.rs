//! Each listener with its state, for `/healthz`, the overview and the health page.

use serde::Serialize;
use tokio::sync::watch;

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
    /// Off by setting.
    Off,
}

/// A listener's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `http`, `udp`, `modbus`, `websocket`, `mdns`, `dashboard`.
    pub name: &'static str,
    /// The meter's name, empty for the first.
    pub meter: String,
    /// Address and port.
    pub address: String,
    /// Port, for `mdns` the announced one.
    pub port: u16,
    /// Its state.
    #[serde(flatten)]
    pub state: ListenerState,
}

/// All listeners.
#[derive(Clone, Debug)]
pub struct Board(watch::Sender<Vec<Line>>);

impl Default for Board {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl Board {
    /// Sets a listener's line, replacing the one with the same name, meter, address and port.
    pub fn set(&self, line: Line) {
        self.0.send_if_modified(|lines| {
            let same = |l: &&mut Line| l.name == line.name && l.meter == line.meter && l.port == line.port && l.address == line.address;
            match lines.iter_mut().find(same) {
                Some(old) if *old == line => return false,
                Some(old) => *old = line,
                None => lines.push(line),
            }
            true
        });
    }

    /// All lines as they are now.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.borrow().clone()
    }

    /// Lets somebody wait for a change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Vec<Line>> {
        self.0.subscribe()
    }

    /// The HTTP port of a meter while it is ours.
    #[must_use]
    pub fn http_port(&self, meter: &str) -> Option<u16> {
        let ours = |l: &&Line| l.name == "http" && l.meter == meter && l.state == ListenerState::Listening;
        self.0.borrow().iter().find(ours).map(|l| l.port)
    }
}
