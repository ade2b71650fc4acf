//! Each listener with its state, for `/healthz`, the overview and the health page.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

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
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Vec<Line>>>);

impl Board {
    /// Sets a listener's line, replacing the one with the same name, meter and port.
    pub fn set(&self, line: Line) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.iter_mut().find(|l| l.name == line.name && l.meter == line.meter && l.port == line.port && l.address == line.address) {
            Some(old) => *old = line,
            None => lines.push(line),
        }
    }

    /// All lines as they are now.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
