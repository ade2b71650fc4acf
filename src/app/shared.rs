//! What all parts of the process share.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{forecasting::feed::Feed, vitals::Health};
use config::Settings;
use source::HaFacts;
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
    /// What is known of Home Assistant.
    pub facts: watch::Receiver<HaFacts>,
    /// Where the first meter's samples go, unless the forecast is off.
    pub feed: Option<Feed>,
    /// The end.
    pub stop: CancellationToken,
}
