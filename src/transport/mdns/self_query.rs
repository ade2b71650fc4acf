//! Asks the network for our own meters, as a reader would: an announcement that nobody can see is worth a line on the
//! health page. A responder of its own asks, so that the answer has gone over the wire.

use std::{collections::BTreeSet, time::Duration};

use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Interfaces;
use crate::transport::board::{Board, Line, ListenerState};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two questions while all is well, and while not.
const AGAIN: Duration = Duration::from_secs(600);
const AGAIN_SOON: Duration = Duration::from_secs(60);
/// After an announcement: the records go out a second time after a second.
const SETTLED: Duration = Duration::from_secs(3);
const KIND: &str = "_shelly._tcp.local.";
/// What it means when nobody answers.
pub const UNHEARD: &str = "our own question on the network was not answered: another program or a firewall may hold UDP port 5353; \
                       enter the meter's address by hand in the reader";

/// Name of its line on the board.
pub const NAME: &str = "mdns-query";

/// Asks again and again for what the board's `mdns` lines say is announced.
pub async fn run(interfaces: Interfaces, board: Board, stop: CancellationToken) {
    let mut told = false;
    loop {
        let lines: Vec<Line> = board.lines().into_iter().filter(|l| l.name == "mdns" && l.state == ListenerState::Listening).collect();
        let mut pause = SETTLED;
        if !lines.is_empty() {
            let hosts: BTreeSet<String> = lines.iter().map(|l| l.address.to_ascii_lowercase()).collect();
            let seen = match seen(&interfaces, &hosts).await {
                Ok(seen) => seen,
                Err(error) => {
                    debug!("mDNS self-query: {error}");
                    BTreeSet::new()
                }
            };
            let mut unheard = false;
            for line in lines {
                let heard = seen.contains(&line.address.to_ascii_lowercase());
                unheard |= !heard;
                let state = if heard { ListenerState::Listening } else { ListenerState::Waiting { reason: UNHEARD.into() } };
                board.set(Line { name: NAME, state, ..line });
            }
            if unheard && !told {
                warn!("mDNS: {UNHEARD}");
            }
            told = unheard;
            pause = if unheard { AGAIN_SOON } else { AGAIN };
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// The hosts among `hosts` (small letters, `name.local`) whose service answers on these interfaces.
///
/// # Errors
/// When nothing can be asked.
async fn seen(interfaces: &Interfaces, hosts: &BTreeSet<String>) -> Result<BTreeSet<String>, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    daemon.disable_interface(IfKind::All)?;
    for found in interfaces.now() {
        daemon.enable_interface(IfKind::Name(found.name))?;
    }
    let answers = daemon.browse(KIND)?;
    let end = Instant::now() + PATIENCE;
    let mut found = BTreeSet::new();
    while found.len() < hosts.len() {
        match timeout_at(end, answers.recv_async()).await {
            Ok(Ok(ServiceEvent::ServiceResolved(service))) => {
                let host = service.host.trim_end_matches('.').to_ascii_lowercase();
                if hosts.contains(&host) {
                    found.insert(host);
                }
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let _ = daemon.shutdown();
    Ok(found)
}
