//! The fan-out ports, 6010 to 6022: RPC over WebSocket on any path of each, as the original had it.

use std::{net::IpAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    http::{self, Site},
    listener::ListenerSpec,
};

/// Serves `ports` until cancelled; each port comes and goes by itself, all share the limits of one
/// listener.
pub async fn run(
    ports: &[u16],
    bind: Option<IpAddr>,
    site: &Arc<Site>,
    cancel: &CancellationToken,
) {
    let serving = ports.iter().map(|port| {
        let wanted = ListenerSpec {
            name: "websocket",
            meter: site.endpoint.meter.clone(),
            bind,
            port: *port,
            needed_by: "programs made for the Python original listen there",
        };
        http::run(wanted, Arc::clone(site), cancel.clone())
    });
    futures_util::future::join_all(serving).await;
}
