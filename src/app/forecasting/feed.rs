//! What the speaking thread hears.

use std::{
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use forecast::{Sample, Trained};

/// What the speaking thread hears.
pub(super) enum Heard {
    /// A sample of the house.
    Sample(Sample),
    /// Models that speak from now on; whether they were trained just now.
    Trained(Arc<Trained>, bool),
    /// The end.
    End,
}

/// Where the first meter's samples go.
#[derive(Clone)]
pub struct Feed(pub(super) SyncSender<Heard>);

impl Feed {
    /// A sample: Unix s, W. Never waits.
    pub fn sample(&self, ts: i64, w: f64) {
        let _ = self.0.try_send(Heard::Sample(Sample { ts, w: w as f32 }));
    }
}

/// No wait is longer: the clock of the schedule and the stop are looked at again.
pub(super) const AT_MOST: Duration = Duration::from_secs(3600);
