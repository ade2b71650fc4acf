//! A snapshot with its encoded answers: each is made at most once a snapshot, not once a request.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Json;
use meter::{MinuteRecord, Snapshot};

/// Different shares that are kept of one snapshot.
const SHARES: usize = 64;

/// What the channels read: the newest snapshot, the newest minute record, and the texts made of
/// them so far.
///
/// A text may depend on a setting (unit, profile, manner); then there is a cell a case.
#[derive(Debug)]
pub struct View {
    /// The numbers.
    pub snapshot: Arc<Snapshot>,
    /// The newest whole minute record: `NotifyEvent` `data` and the Modbus registers of the last
    /// record.
    pub record: Option<Arc<MinuteRecord>>,
    /// During a pause, in which the snapshot has no power: who is told 0 W in place of that.
    pub paused: Option<AtZero>,
    /// `EM.GetStatus` by manner: powers alone 1, nonzero 2.
    pub(super) em_status: [OnceLock<Json>; 4],
    /// `EM1.GetStatus` by channel.
    pub(super) em1_status: [OnceLock<Json>; 3],
    /// `EM1.GetStatus` as house total by manner: short 1, nonzero 2.
    pub(super) em1_total: [OnceLock<Json>; 4],
    /// `EMData.GetStatus` in Wh and kWh.
    pub(super) emdata_status: [OnceLock<Json>; 2],
    /// NotifyStatus params of `em:0`, of `em1:0` to `em1:2`.
    pub(super) em_notify: [OnceLock<Json>; 2],
    /// NotifyStatus params of `emdata:0`, of `em1data:0` to `em1data:2`, in Wh and kWh each.
    pub(super) emdata_notify: [OnceLock<Json>; 4],
    /// NotifyEvent params of the newest record, by profile.
    pub(super) data_event: [OnceLock<Json>; 2],
    /// Parts of it, each with the bits of its share.
    parts: Mutex<Vec<(u64, Arc<View>)>>,
}

/// What is told during a pause to those who are not told that there is no power.
#[derive(Debug)]
pub struct AtZero {
    /// The same moment with 0 W.
    pub view: Arc<View>,
    /// Everybody gets it, and not only whom it suits.
    pub all: bool,
}

impl View {
    /// A view with nothing encoded yet and no minute record.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self::with_record(snapshot, None)
    }

    /// A view that knows the newest minute record.
    #[must_use]
    pub fn with_record(snapshot: Arc<Snapshot>, record: Option<Arc<MinuteRecord>>) -> Self {
        Self {
            snapshot,
            record,
            paused: None,
            em_status: Default::default(),
            em1_status: Default::default(),
            em1_total: Default::default(),
            emdata_status: Default::default(),
            em_notify: Default::default(),
            emdata_notify: Default::default(),
            data_event: Default::default(),
            parts: Mutex::default(),
        }
    }

    /// The view of a reader that gets this share of the power, made once for each share; the view
    /// itself for 1.
    #[must_use]
    pub fn times(self: &Arc<Self>, share: f64) -> Arc<Self> {
        if share == 1.0 {
            return Arc::clone(self);
        }
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let bits = share.to_bits();
        if let Some((_, part)) = parts.iter().find(|(known, _)| *known == bits) {
            return Arc::clone(part);
        }
        let scaled = Arc::new(self.snapshot.scaled(share));
        let part = Arc::new(Self::with_record(scaled, self.record.clone()));
        if parts.len() < SHARES {
            parts.push((bits, Arc::clone(&part)));
        }
        part
    }
}

impl std::ops::Deref for View {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}
