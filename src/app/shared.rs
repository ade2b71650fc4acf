//! What all parts of the process share.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{forecasting::feed::Feed, vitals::Health};
use config::{Settings, SourceSettings};
use source::{Access, HaFacts};
use store::Store;
use transport::Board;
use vocab::Clock;

/// What all parts of the process share.
#[derive(Clone)]
pub struct Shared {
    /// As validated at start.
    pub settings: Arc<Settings>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The store.
    pub store: Store,
    /// All listeners.
    pub board: Board,
    /// Tasks and problems.
    pub health: Health,
    /// Where Home Assistant is asked.
    pub access: Access,
    /// What is known of Home Assistant.
    pub facts: watch::Receiver<HaFacts>,
    /// Where the first meter's samples go, unless the forecast is off.
    pub feed: Option<Feed>,
    /// The end.
    pub stop: CancellationToken,
}

/// Puts a value in place of another; who watches it hears only of one that differs.
pub fn renew<T: PartialEq>(watched: &watch::Sender<T>, new: T) {
    watched.send_if_modified(|old| {
        let differs = *old != new;
        *old = new;
        differs
    });
}

impl Shared {
    /// How the source is asked.
    pub fn source(&self) -> &SourceSettings {
        &self.settings.source
    }
}
