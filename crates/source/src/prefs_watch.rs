//! Notices that Home Assistant's Energy settings were changed.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{
    beside,
    discover::QueryError,
    home_assistant::{Access, Address, frames::Outgoing, query::QueryConnection},
};
use config::SourceSettings;

/// Between two questions. An answer has a kilobyte or a few.
const EVERY: Duration = Duration::from_secs(2);
/// Before whoever waits is told that nobody answers any more.
const PAUSE: Duration = Duration::from_secs(30);

/// Ends when Home Assistant's Energy settings are others than `told`, or a while after nobody
/// answered any more; never where they cannot be watched. There is no event of their change, so
/// they are asked for every few seconds on a connection that stays open.
pub async fn changed(settings: &SourceSettings, access: &Access, told: Option<String>) {
    let (Ok(address), cadence) = (Address::choose(settings, access), access.cadence) else {
        return std::future::pending().await;
    };
    let watch = async move {
        let Ok(mut connection) = QueryConnection::open(&address, &cadence).await else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(EVERY).await;
            let asked = connection
                .ask::<Box<RawValue>>("the Energy settings", |id| {
                    Outgoing::GetPrefs { id }.frame()
                })
                .await;
            let now = match asked {
                Ok(Ok(prefs)) => Some(prefs.get().to_owned()),
                Ok(Err(QueryError::Failed {
                    not_found: true, ..
                })) => None,
                // What cannot be told is no change.
                Ok(Err(_)) => continue,
                Err(_) => return tokio::time::sleep(PAUSE).await,
            };
            if now != told {
                return;
            }
        }
    };
    beside::ask(watch).await;
}
