//! Asks the network for our own meters, as a reader would: an announcement that nobody can see is
//! worth a line on the health page. A responder of its own asks, so that the answer has gone over
//! the wire.

use std::{collections::BTreeSet, time::Duration};

use mdns_sd::{HostnameResolutionEvent, IfKind, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Interfaces;
use crate::board::{Board, Line, ListenerState};
use vocab::reason::{Cause, Closed, Reason};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two questions while all is well, and while not.
const AGAIN: Duration = Duration::from_secs(600);
const AGAIN_SOON: Duration = Duration::from_secs(60);
/// After an announcement: a goodbye went before it, and the records go out a second time after a
/// second.
const SETTLED: Duration = Duration::from_secs(3);
/// Every meter is announced as this, those too that are not announced as `_shelly._tcp`.
const KIND: &str = "_http._tcp.local.";
/// How long the owner of a name may take to answer.
const OWNER_PATIENCE: Duration = Duration::from_millis(1500);
/// Name of its line on the board.
pub const NAME: &str = "mdns-query";

/// Asks again and again for what the board's `mdns` lines say is announced.
pub async fn run(interfaces: Interfaces, board: Board, stop: CancellationToken) {
    let mut told: Option<Reason> = None;
    loop {
        let lines: Vec<Line> = board
            .lines()
            .into_iter()
            .filter(|l| l.name == "mdns" && l.state == ListenerState::Listening)
            .collect();
        let mut pause = SETTLED;
        if !lines.is_empty() {
            let hosts: BTreeSet<String> = lines
                .iter()
                .map(|l| l.address.to_string().to_ascii_lowercase())
                .collect();
            let seen = seen(&interfaces, &hosts).await;
            let mut unheard = None;
            for line in lines {
                let state = state(&seen, &line.address.to_string());
                if let ListenerState::Waiting { reason } = &state {
                    unheard = Some(reason.clone());
                }
                board.set(Line {
                    name: NAME,
                    state,
                    ..line
                });
            }
            if let Some(why) = unheard.as_ref().filter(|_| told != unheard) {
                warn!("mDNS: {why}");
            }
            pause = if unheard.is_some() { AGAIN_SOON } else { AGAIN };
            told = unheard;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// What came of asking for this host.
fn state(seen: &Result<BTreeSet<String>, mdns_sd::Error>, host: &str) -> ListenerState {
    ListenerState::waiting(match seen {
        Ok(seen) if seen.contains(&host.to_ascii_lowercase()) => return ListenerState::Listening,
        Ok(_) => Closed::Unheard,
        Err(error) => Closed::NotAsked {
            error: Cause::said(error.to_string()),
        },
    })
}

/// A questioner on these interfaces.
fn on(interfaces: &Interfaces) -> Result<ServiceDaemon, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    daemon.disable_interface(IfKind::All)?;
    for found in interfaces.now() {
        daemon.enable_interface(IfKind::Name(found.name))?;
    }
    Ok(daemon)
}

/// Whether somebody answers to the name `host` (without `.local`), which is to be asked before we
/// do.
pub(super) async fn taken(interfaces: &Interfaces, host: &str) -> bool {
    let Ok(daemon) = on(interfaces) else {
        return false;
    };
    let mut taken = false;
    if let Ok(answers) = daemon.resolve_hostname(&format!("{host}.local."), None) {
        let end = Instant::now() + OWNER_PATIENCE;
        while !taken && let Ok(Ok(event)) = timeout_at(end, answers.recv_async()).await {
            taken = matches!(event, HostnameResolutionEvent::AddressesFound(..));
        }
    }
    let _ = daemon.shutdown();
    taken
}

/// The hosts among `hosts` (small letters, `name.local`) whose service answers on these interfaces.
///
/// # Errors
/// When nothing can be asked.
async fn seen(
    interfaces: &Interfaces,
    hosts: &BTreeSet<String>,
) -> Result<BTreeSet<String>, mdns_sd::Error> {
    let daemon = on(interfaces)?;
    let answers = daemon.browse(KIND)?;
    let end = Instant::now() + PATIENCE;
    let mut found = BTreeSet::new();
    while found.len() < hosts.len()
        && let Ok(Ok(event)) = timeout_at(end, answers.recv_async()).await
    {
        if let ServiceEvent::ServiceResolved(service) = event {
            let host = service.host.trim_end_matches('.').to_ascii_lowercase();
            found.extend(hosts.get(&host).cloned());
        }
    }
    let _ = daemon.shutdown();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_could_not_be_asked_blames_no_port() {
        let seen = Ok(BTreeSet::from(["meter.local".to_owned()]));
        assert_eq!(state(&seen, "Meter.local"), ListenerState::Listening);
        assert_eq!(
            state(&seen, "other.local"),
            ListenerState::waiting(Closed::Unheard)
        );
        let failed = Err(mdns_sd::Error::Msg(
            "failed to create poller: Too many open files (os error 24)".to_owned(),
        ));
        let ListenerState::Waiting { reason } = state(&failed, "meter.local") else {
            unreachable!("nobody answered")
        };
        assert_eq!(
            reason.to_string(),
            "our own question on the network could not be asked: failed to create poller: Too many open files (os error 24)"
        );
    }
}
