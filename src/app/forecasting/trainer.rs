//! How a training is asked for.

use std::sync::mpsc::{SyncSender, TrySendError};

use tokio::sync::watch;

use forecast::outlook::Training;
use store::Store;
use vocab::reason::{Count, Reason, Undone};

/// How a training is asked for.
#[derive(Clone)]
pub struct Trainer {
    pub(super) asks: SyncSender<()>,
    pub(super) training: watch::Sender<Training>,
    pub(super) store: Store,
    pub(super) need: usize,
}

impl Trainer {
    /// Has models trained on all raw samples kept; returns at once. Reads the store: call it off
    /// the event loop.
    ///
    /// # Errors
    /// When there are too few samples, or a training is under way: one line.
    pub fn train(&self) -> Result<(), Reason> {
        let have = self.store.sample_count().map_err(|e| e.0)?;
        if have < self.need as u64 {
            return Err(Undone::TooFew {
                have: Count(have),
                need: Count(self.need as u64),
            }
            .into());
        }
        let mut idle = false;
        self.training.send_if_modified(|training| {
            idle = training.running.is_none();
            if idle {
                training.running = Some((0.0, "waiting"));
            }
            idle
        });
        if !idle {
            return Err(Undone::TrainingUnderWay.into());
        }
        match self.asks.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => Ok(()),
            Err(TrySendError::Disconnected(())) => {
                self.training
                    .send_modify(|training| training.running = None);
                Err(Undone::ForecastEnded.into())
            }
        }
    }
}
