//! The app's Network card: asked at start, else as it was last time (`docs/decisions.md#ports`).

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::kept;
use crate::supervisor::Supervisor;
use config::LoadInputs;
use source::Access;
use store::Store;

/// Key of the store.
const KEY: &str = "network";
/// How long the Supervisor is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for a command that somebody waits for.
const COMMAND_PATIENCE: Duration = Duration::from_secs(2);

/// The Supervisor that these inputs name, if it is one of an app.
pub fn supervisor(access: &Access) -> Option<Supervisor> {
    access
        .supervisor
        .as_ref()
        .and_then(|s| Supervisor::new(&s.url, s.token.clone()))
}

/// Asks once for the card, for the commands `config` and `check`; a line for people where it could
/// not be had.
pub async fn fill(inputs: &mut LoadInputs) -> Option<String> {
    let supervisor = supervisor(&Access::from_env(|name| inputs.env.get(name).cloned()))?;
    let why = match tokio::time::timeout(COMMAND_PATIENCE, supervisor.self_info()).await {
        Ok(Ok(info)) => {
            inputs.network = Some(info.network.unwrap_or_default());
            return None;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!(
            "the Supervisor did not answer in {} s",
            COMMAND_PATIENCE.as_secs()
        ),
    };
    Some(format!(
        "{why}: ports are the defaults here, whatever the Network card says"
    ))
}

/// Ports by card entry; `None` outside the Supervisor, or when it neither answers nor did before.
pub async fn card(
    supervisor: Option<&Supervisor>,
    store: &Store,
) -> Option<BTreeMap<String, Option<u16>>> {
    let supervisor = supervisor?;
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(500);
    let mut last = String::from("no answer");
    while Instant::now() < deadline {
        match timeout_at(deadline, supervisor.self_info()).await {
            Ok(Ok(info)) => {
                let network = info.network.unwrap_or_default();
                kept::put(store, KEY, &network);
                info!("ports of the Network card: {}", describe(&network));
                return Some(network);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => break,
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(4));
    }
    let kept: Option<BTreeMap<String, Option<u16>>> = kept::get(store, KEY);
    let ports = match kept {
        Some(_) => "those of the last start",
        None => "the defaults",
    };
    warn!(
        error = last,
        "the Supervisor does not tell the ports: they are {ports}"
    );
    kept
}

fn describe(network: &BTreeMap<String, Option<u16>>) -> String {
    let one = |(key, port): (&String, &Option<u16>)| match port {
        Some(port) => format!("{key} on {port}"),
        None => format!("{key} off"),
    };
    network.iter().map(one).collect::<Vec<_>>().join(", ")
}
