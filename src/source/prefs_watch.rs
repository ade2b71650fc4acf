//! Notices that Home Assistant's Energy settings were changed.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{
    discover::QueryError,
    home_assistant::{Access, Address, frames::Outgoing, query::Asker},
};
use crate::config::SourceSettings;

/// Between two questions. An answer has a kilobyte or a few.
const EVERY: Duration = Duration::from_secs(2);

/// Watches the Energy settings: Home Assistant has no event of their change, so they are asked for every few seconds on a
/// connection that stays open.
pub struct PrefsWatch {
    asker: Asker,
    every: Duration,
}

impl PrefsWatch {
    /// Opens the connection.
    ///
    /// # Errors
    /// Home Assistant cannot be reached over WebSocket.
    pub async fn open(settings: &SourceSettings, access: &Access) -> Result<Self, QueryError> {
        let address = Address::choose(settings, access)?;
        Ok(Self { asker: Asker::open(&address, &access.cadence).await?, every: EVERY })
    }

    /// Ends when the settings are others than `told`, or when nobody answers any more.
    pub async fn changed(&mut self, told: Option<&str>) {
        loop {
            tokio::time::sleep(self.every).await;
            let asked = self.asker.ask::<Box<RawValue>>("the Energy settings", |id| Outgoing::GetPrefs { id }.frame()).await;
            let now = match asked {
                Ok(Ok(prefs)) => Some(prefs.get().to_owned()),
                Ok(Err(QueryError::Failed { why, .. })) if why.contains("not_found") => None,
                // What cannot be told is no change.
                Ok(Err(_)) => continue,
                Err(_) => return,
            };
            if now.as_deref() != told {
                return;
            }
        }
    }
}
