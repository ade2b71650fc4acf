//! The dashboard's own listener.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::{CompressionLevel, compression::CompressionLayer};

use transport::{
    Board, hold,
    limits::Connections,
    listener::{self, Connection, ListenerSpec, Watched},
};

/// Connections at once: a person's tabs, and the proxy's.
const MAX_CONNECTIONS: usize = 256;
/// A request's head has to be there within this time; an idle connection ends by it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What a connection may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// How hard text is pressed: a page to a quarter within a millisecond.
const LEVEL: CompressionLevel = CompressionLevel::Precise(4);

/// Binds what `wanted` says, again and again while it cannot be had, and serves it until cancelled.
/// Pages, scripts and data are compressed for who asks for it; the live channel is not.
pub async fn run(wanted: ListenerSpec, router: Router, board: Board, cancel: CancellationToken) {
    let router = router.layer(CompressionLayer::new().gzip(true).quality(LEVEL));
    hold::hold(&wanted, &board, &cancel, |listener, session| {
        serve(listener, router.clone(), session)
    })
    .await;
}

/// Serves a listener until cancelled; returns when every connection has ended.
pub async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let connections = Connections::default();
    let parent = || cancel.child_token();
    listener::accept(
        listener,
        &connections,
        || MAX_CONNECTIONS,
        parent,
        &cancel,
        GRACE * 2,
        |stream, connection| drive(stream, connection, router.clone()),
    )
    .await;
}

async fn drive(stream: Watched, connection: Arc<Connection>, router: Router) {
    let close = connection.close.clone();
    let service = TowerToHyperService::new(router.layer(Extension(connection)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024);
    let mut serving = pin!(
        builder
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    tokio::select! {
        _ = serving.as_mut() => return,
        () = close.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(GRACE, serving).await;
}
