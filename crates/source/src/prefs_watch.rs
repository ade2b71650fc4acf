//! Notices that Home Assistant's Energy settings were changed.

use std::time::Duration;

use futures_util::FutureExt;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::home_assistant::{Access, query};
use config::SourceSettings;

/// Between two questions. An answer has a kilobyte or a few.
const EVERY: Duration = Duration::from_secs(2);
/// Before whoever waits is told that nobody answers any more.
const PAUSE: Duration = Duration::from_secs(30);

/// Ends when Home Assistant's Energy settings are others than `told`, or a while after nobody
/// answered any more; never where they cannot be watched. There is no event of their change, so
/// they are asked for every few seconds on a connection that stays open.
pub async fn changed(settings: &SourceSettings, access: &Access, told: Option<String>) {
    let watched = query::ask(settings, access, |connection| {
        async move {
            loop {
                sleep(EVERY).await;
                match connection.energy_prefs::<Box<RawValue>>().await {
                    Ok(Ok(prefs)) if prefs.as_deref().map(RawValue::get) == told.as_deref() => {}
                    Ok(Ok(_)) => return Ok(()),
                    // What cannot be told is no change.
                    Ok(Err(_)) => {}
                    Err(_) => {
                        sleep(PAUSE).await;
                        return Ok(());
                    }
                }
            }
        }
        .boxed()
    });
    if watched.await.is_err() {
        std::future::pending::<()>().await;
    }
}
