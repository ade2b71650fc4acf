//! A snapshot with its encoded answers: each is made at most once a snapshot, not once a request.

use std::sync::{Arc, OnceLock};

use super::Json;
use crate::meter::Snapshot;

/// What the channels read: the newest snapshot and the texts made of it so far.
#[derive(Debug)]
pub struct View {
    /// The numbers.
    pub snapshot: Arc<Snapshot>,
    pub(super) em_status: OnceLock<Json>,
    pub(super) em_notify: OnceLock<Json>,
    pub(super) emdata_status: OnceLock<Json>,
}

impl View {
    /// A view with nothing encoded yet.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, em_status: OnceLock::new(), em_notify: OnceLock::new(), emdata_status: OnceLock::new() }
    }
}

impl std::ops::Deref for View {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}
