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
mod lenient;
mod pages;
mod rpc;
mod upgrade;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
        request::Parts as Head,
    },
    routing::get,
};
use bytes::Bytes;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

pub use self::cors::{authority, contradicts_itself, is_local, same_origin};
use self::lenient::Lenient;
use super::{
    board::Board,
    endpoint::{Endpoint, closed},
    healthz::{self, Vitals},
    hold,
    limits::{Activity, Connections, Rate},
    listener::{self, Connection, ListenerSpec, Watched},
};
use background::RETRY_AFTER;
use consumers::{Caller, Channel};
use device::{RpcError, frame::error_json};

/// Largest request body.
pub const MAX_BODY: usize = 64 * 1024;
/// Largest request head: a `batch=` in a query is long.
const MAX_HEAD: usize = 64 * 1024;
/// A request's head, and then its body, has to be there within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How often the two are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What a connection may take to end once it was told to.
const GRACE: Duration = Duration::from_secs(2);

/// What a port serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The device and the pages beside it.
    Device,
    /// RPC over WebSocket on any path: the ports 6010 to 6022.
    Fanout,
}

/// What the connections of one listener share.
pub struct Site {
    /// The meter.
    pub endpoint: Arc<Endpoint>,
    /// All listeners, for `/healthz`.
    pub board: Board,
    /// How the process is, for `/healthz` and `/livez`.
    pub vitals: Arc<dyn Vitals>,
    role: Role,
    rate: Arc<Rate>,
    connections: Connections,
    /// Conversations over WebSocket: the tasks that they run in are not the listener's.
    sockets: TaskTracker,
    pages: Option<Router>,
    hosts: hosts::Hosts,
    downloads: downloads::Downloads,
}

impl Site {
    /// The device's port. `pages` are further ones, those that `dashboard_on_lan` lets in.
    #[must_use]
    pub fn device(
        endpoint: Arc<Endpoint>,
        board: Board,
        vitals: Arc<dyn Vitals>,
        pages: Option<Router>,
    ) -> Arc<Self> {
        Arc::new(Self {
            pages,
            ..Self::plain(endpoint, board, vitals)
        })
    }

    /// A fan-out port.
    #[must_use]
    pub fn fanout(endpoint: Arc<Endpoint>, board: Board, vitals: Arc<dyn Vitals>) -> Arc<Self> {
        Arc::new(Self {
            role: Role::Fanout,
            ..Self::plain(endpoint, board, vitals)
        })
    }

    fn plain(endpoint: Arc<Endpoint>, board: Board, vitals: Arc<dyn Vitals>) -> Self {
        let (rate, connections, sockets) =
            (Arc::default(), Connections::default(), TaskTracker::new());
        Self {
            endpoint,
            board,
            vitals,
            role: Role::Device,
            rate,
            connections,
            sockets,
            pages: None,
            hosts: hosts::Hosts::default(),
            downloads: downloads::Downloads::default(),
        }
    }

    /// The listener's connections.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    fn router(self: &Arc<Self>) -> Router {
        let own = match self.role {
            Role::Fanout => Router::new().fallback(upgrade::any_path),
            Role::Device => Router::new()
                .route("/shelly", get(rpc::shelly))
                .route(
                    "/rpc",
                    get(upgrade::or_legacy)
                        .post(rpc::frame)
                        .options(rpc::options),
                )
                .route(
                    "/rpc/",
                    get(upgrade::or_legacy)
                        .post(rpc::frame)
                        .options(rpc::options),
                )
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
        let own = own.with_state(Arc::clone(self));
        match &self.pages {
            Some(pages) => own.merge(pages.clone()),
            None => own,
        }
    }
}

/// Binds what `wanted` says, again and again while it cannot be had, and serves it until cancelled.
pub async fn run(wanted: ListenerSpec, site: Arc<Site>, cancel: CancellationToken) {
    let bind = || listener::bind_all(&wanted, listener::tcp);
    let each = |listeners: Vec<TcpListener>, session: CancellationToken| {
        let serving = listeners
            .into_iter()
            .map(|l| serve(l, Arc::clone(&site), session.clone()))
            .collect::<Vec<_>>();
        async move { drop(futures_util::future::join_all(serving).await) }
    };
    hold::hold(&wanted, &site.board, &cancel, bind, each).await;
}

/// Serves `listener` until cancelled; returns when every connection has ended, WebSockets with a
/// close frame.
pub async fn serve(listener: TcpListener, site: Arc<Site>, cancel: CancellationToken) {
    let router = site.router();
    let max = {
        let site = Arc::clone(&site);
        move || site.endpoint.channels.borrow().max_connections
    };
    let parent = {
        let site = Arc::clone(&site);
        move || site.endpoint.boot_over()
    };
    listener::accept(
        listener,
        &site.connections,
        max,
        parent,
        &cancel,
        GRACE * 2,
        |stream, connection| {
            let (site, router) = (Arc::clone(&site), router.clone());
            async move { drive(stream, connection, site, router).await }
        },
    )
    .await;
    site.sockets.close();
    let _ = tokio::time::timeout(GRACE, site.sockets.wait()).await;
}

/// One connection: requests until it ends, is idle or late, or has to close.
async fn drive(stream: Watched, connection: Arc<Connection>, site: Arc<Site>, router: Router) {
    let activity = Arc::clone(&connection.activity);
    let close = connection.close.clone();
    let service = service_fn(|request| {
        let (site, router, connection) =
            (Arc::clone(&site), router.clone(), Arc::clone(&connection));
        async move { respond(request, site, router, connection).await }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // The device writes `Content-Type`, not `content-type`.
    builder
        .max_buf_size(MAX_HEAD)
        .half_close(false)
        .title_case_headers(true);
    let mut serving = pin!(
        builder
            .serve_connection(
                TokioIo::new(Lenient::new(stream, Arc::clone(&activity))),
                service
            )
            .with_upgrades()
    );
    tokio::select! {
        _ = serving.as_mut() => return,
        () = overdue(&activity) => return,
        () = close.cancelled() => serving.as_mut().graceful_shutdown(),
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

/// Marks an answer that must not be sent.
#[derive(Clone, Copy)]
struct Silence;

async fn respond(
    request: Request<Incoming>,
    site: Arc<Site>,
    router: Router,
    connection: Arc<Connection>,
) -> Result<Response<Body>, Silent> {
    connection.activity.answering();
    let keep = keeps_alive(request.headers());
    let (site, router) = match site.named(request.uri(), request.headers()) {
        Some(other) => (other, None),
        None => (site, Some(router)),
    };
    let mut response = route(request, site, router, &connection).await;
    if !keep && response.status() != StatusCode::SWITCHING_PROTOCOLS {
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
    router: Option<Router>,
    connection: &Arc<Connection>,
) -> Response<Body> {
    let limit = site.endpoint.channels.borrow().rate_limit;
    if !site.rate.allow(connection.peer.ip(), limit) {
        return error(&site, request.headers(), &RpcError::too_many());
    }
    // The call that nearly every reader repeats takes no detour through the router.
    if request.method() == Method::GET
        && site.role == Role::Device
        && let Some(method) =
            request.uri().path().strip_prefix("/rpc/").filter(|m| {
                !m.is_empty() && m.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
            })
    {
        let asked = RequestInfo::new(
            &site,
            connection,
            request.method(),
            request.uri(),
            request.headers(),
        );
        return rpc::bare(&asked, method, rpc::Params::Query(request.uri().query())).await;
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Arc::clone(connection));
    match router
        .unwrap_or_else(|| site.router())
        .oneshot(request)
        .await
    {
        Ok(response) => response,
        Err(never) => never_happens(never),
    }
}

fn never_happens(never: Infallible) -> Response<Body> {
    match never {}
}

/// A request as far as it concerns who asks and how.
struct RequestInfo<'a> {
    site: &'a Site,
    method: &'a Method,
    /// As sent, query included: the digest is over it.
    uri: &'a str,
    headers: &'a HeaderMap,
    caller: Caller,
}

impl<'a> RequestInfo<'a> {
    fn new(
        site: &'a Site,
        connection: &Connection,
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
    ) -> Self {
        let uri = uri.path_and_query().map_or("/", |p| p.as_str());
        Self {
            site,
            method,
            uri,
            headers,
            caller: caller(connection, headers, Channel::Http),
        }
    }

    fn of(site: &'a Site, connection: &Connection, head: &'a Head) -> Self {
        Self::new(site, connection, &head.method, &head.uri, &head.headers)
    }
}

/// Who sends these headers over this connection.
#[must_use]
pub fn caller(connection: &Connection, headers: &HeaderMap, channel: Channel) -> Caller {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|a| a.to_str().ok());
    Caller {
        peer: connection.peer.ip(),
        peer_port: connection.peer.port(),
        local: Some(connection.local.ip()),
        local_port: connection.local.port(),
        channel,
        agent: agent.map(|a| a.chars().take(128).collect::<String>().into()),
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of the device: JSON text.
fn json(site: &Site, headers: &HeaderMap, status: StatusCode, text: &[u8]) -> Response<Body> {
    answer(site, headers, status, JSON, closed(text))
}

fn answer(
    site: &Site,
    headers: &HeaderMap,
    status: StatusCode,
    kind: HeaderValue,
    body: Bytes,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    cors::allow(
        response.headers_mut(),
        &site.endpoint.channels.borrow().cors_origins,
        headers.get(header::ORIGIN),
    );
    response
}

/// A bare error with its status (`docs/protocol/http.md#status`).
fn error(site: &Site, headers: &HeaderMap, error: &RpcError) -> Response<Body> {
    let status = status(error);
    let mut response = json(site, headers, status, error_json(error).as_bytes());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    response
}

fn status(error: &RpcError) -> StatusCode {
    StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn silence() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Silence);
    response
}

/// 401 with the challenge.
fn unauthorized(site: &Site, headers: &HeaderMap, challenge: &str, body: Bytes) -> Response<Body> {
    let mut response = answer(site, headers, StatusCode::UNAUTHORIZED, JSON, body);
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

type Shared = State<Arc<Site>>;
