//! The device over HTTP: `/shelly`, `/rpc`, the CSV files, and beside them `/healthz`, `/livez`,
//! `/metrics` and `/`.
//!
//! Forms, statuses and headers are those of `docs/protocol/http.md`. [`serve`] takes its
//! listener and its shutdown from outside; [`Site`] is what its connections share.

mod cors;
mod csv;
mod downloads;
mod hosts;
mod legacy;
mod pages;
mod request;
mod rpc;
mod site;
mod upgrade;

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header},
    routing::{MethodRouter, get},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::Instrument;

use self::request::{Asked, HEAD_TIMEOUT, Silence};
pub use self::{
    cors::{authority, contradicts_itself, is_local, same_origin},
    request::{MAX_BODY, caller, credentials},
    site::{Role, Site},
};
use super::{
    hold,
    limits::Activity,
    listener::{self, Connection, ListenerSpec, Watched},
};
use device::RpcError;

/// Largest request head: a `batch=` in a query is long.
const MAX_HEAD: usize = 64 * 1024;
/// A connection on which nothing moves is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How often the two are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What a connection may take to end once it was told to.
const GRACE: Duration = Duration::from_secs(2);

/// Where whole frames go.
fn frames() -> MethodRouter<Arc<Site>> {
    get(upgrade::or_legacy)
        .post(rpc::frame)
        .options(rpc::options)
}

/// What is answered on a port.
fn router(site: &Arc<Site>) -> Router {
    let own = match site.role {
        Role::Fanout => Router::new().fallback(upgrade::any_path),
        Role::Device => Router::new()
            .route("/shelly", get(rpc::shelly))
            .route("/rpc", frames())
            .route("/rpc/", frames())
            .route(
                "/rpc/{method}",
                get(rpc::get).post(rpc::post).options(rpc::options),
            )
            .route("/emdata/0/data.csv", get(csv::emdata).post(csv::emdata))
            .route(
                "/em1data/{id}/data.csv",
                get(csv::em1data).post(csv::em1data),
            )
            .route("/healthz", get(pages::healthz))
            .route("/livez", get(pages::livez))
            .route("/metrics", get(pages::metrics))
            .route("/", get(pages::root))
            .fallback(pages::not_found),
    };
    let own = own.with_state(Arc::clone(site));
    match &site.pages {
        Some(pages) => own.merge(pages.clone()),
        None => own,
    }
}

/// Binds what `wanted` says, again and again while it cannot be had, and serves it until cancelled.
pub async fn run(wanted: ListenerSpec, site: Arc<Site>, cancel: CancellationToken) {
    hold::hold(&wanted, &site.board, &cancel, |listener, session| {
        serve(listener, Arc::clone(&site), session)
    })
    .await;
}

/// Serves `listener` until cancelled; returns when every connection has ended, WebSockets with a
/// close frame.
pub async fn serve(listener: TcpListener, site: Arc<Site>, cancel: CancellationToken) {
    let routes = router(&site);
    listener::accept(
        listener,
        &site.connections,
        || site.endpoint.ground().channels.max_connections,
        || site.endpoint.ground().boot.over.clone(),
        &cancel,
        GRACE * 2,
        |stream, connection| drive(stream, connection, Arc::clone(&site), routes.clone()),
    )
    .await;
    site.sockets.close();
    let _ = tokio::time::timeout(GRACE, site.sockets.wait()).await;
}

/// One connection: requests until it ends, is idle or late, or has to close.
async fn drive(stream: Watched, connection: Arc<Connection>, site: Arc<Site>, routes: Router) {
    let service = service_fn(|request| {
        let (site, routes, connection) =
            (Arc::clone(&site), routes.clone(), Arc::clone(&connection));
        async move { respond(request, site, routes, connection).await }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // The device writes `Content-Type`, not `content-type`.
    builder
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .title_case_headers(true);
    let mut serving = pin!(
        builder
            .serve_connection(TokioIo::new(stream.lenient()), service)
            .with_upgrades()
    );
    tokio::select! {
        _ = serving.as_mut() => return,
        () = overdue(&connection.activity) => return,
        () = connection.close.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(GRACE, serving).await;
}

/// Ends when a request's head has been incomplete for too long, or nothing has moved for too long.
async fn overdue(activity: &Activity) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if activity
            .head_since()
            .is_some_and(|since| since.elapsed() >= HEAD_TIMEOUT)
            || activity.last().elapsed() >= IDLE_TIMEOUT
        {
            return;
        }
    }
}

/// Nothing is to be sent: the connection is closed (`stale = silent`).
#[derive(Debug, thiserror::Error)]
#[error("no answer while the source is stale")]
struct Silent;

async fn respond(
    request: Request<Incoming>,
    site: Arc<Site>,
    routes: Router,
    connection: Arc<Connection>,
) -> Result<Response<Body>, Silent> {
    connection.activity.answering();
    let asked_to_keep = keeps_alive(request.headers());
    let old = request.version() == Version::HTTP_10;
    let mut response = match site.named(request.uri(), request.headers()) {
        Some(other) => {
            let span = other.span.clone();
            let answering = route(request, other, None, &connection);
            answering.instrument(span).await
        }
        None => route(request, site, Some(routes), &connection).await,
    };
    // A body without a length ends with the connection in HTTP/1.0. The version keeps the library
    // from saying that it stays.
    let ends = old && response.body().size_hint().exact().is_none();
    if ends {
        *response.version_mut() = Version::HTTP_10;
    }
    if (ends || !asked_to_keep) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    connection.activity.answered();
    if response.extensions().get::<Silence>().is_some() {
        Err(Silent)
    } else {
        Ok(response)
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Whether the client asked for the connection to stay open: the device closes it otherwise, also
/// with HTTP/1.1 (`docs/protocol/http.md#headers`).
fn keeps_alive(headers: &HeaderMap) -> bool {
    let mut options = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("keep-alive"))
}

async fn route(
    request: Request<Incoming>,
    site: Arc<Site>,
    routes: Option<Router>,
    connection: &Arc<Connection>,
) -> Response<Body> {
    let ground = site.endpoint.ground();
    let allowed = site
        .rate
        .allow(connection.peer.ip(), ground.channels.rate_limit);
    // The call that nearly every reader repeats takes no detour through the router.
    let is_call = request.method() == Method::GET
        && site.role == Role::Device
        && called(request.uri().path()).is_some();
    if is_call || !allowed {
        let (head, _) = request.into_parts();
        let asked = Asked {
            site,
            connection: Arc::clone(connection),
            head,
            ground,
        };
        let uri = &asked.head.uri;
        return match called(uri.path()) {
            Some(method) if allowed => {
                rpc::bare(&asked, method, rpc::Params::Query(uri.query())).await
            }
            _ => asked.error(&RpcError::too_many()),
        };
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Arc::clone(connection));
    let routes = routes.unwrap_or_else(|| router(&site));
    match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The method of a bare call's path that needs no decoding.
fn called(path: &str) -> Option<&str> {
    let plain = |m: &&str| m.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    path.strip_prefix("/rpc/")
        .filter(|method| !method.is_empty())
        .filter(plain)
}
