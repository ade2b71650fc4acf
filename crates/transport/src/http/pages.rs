//! Pages beside the device: `/`, `/healthz`, `/livez`, `/metrics`.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts as Head},
};
use bytes::Bytes;

use super::{
    cors,
    reply::unauthorized,
    request::RequestInfo,
    site::{Shared, Site},
};
use crate::{healthz as health, listener::Connection, metrics as exposition};

/// What a browser sees at `/`.
#[derive(Template)]
#[template(
    ext = "html",
    source = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{{ id }}</title></head>
<body><h1>{{ id }}</h1><p>Virtual Shelly Pro 3EM {{ version }}: the grid power that Home Assistant knows, served as a meter.</p>
<ul>{% if pages %}<li><a href=\"ui\">Dashboard</a></li>{% endif %}<li><a href=\"shelly\">Device</a></li><li><a href=\"rpc/EM.GetStatus?id=0\">Power</a></li>
<li><a href=\"rpc/EMData.GetStatus?id=0\">Energy</a></li><li><a href=\"healthz\">Health</a></li></ul></body></html>
"
)]
struct Front<'a> {
    id: &'a str,
    version: &'a str,
    pages: bool,
}

fn page(
    site: &Site,
    headers: &HeaderMap,
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let ground = site.endpoint.ground();
    let settings = &ground.channels;
    if settings.cors_enable {
        cors::allow(
            response.headers_mut(),
            &settings.cors_origins,
            headers.get(header::ORIGIN),
        );
    }
    response
}

/// `/`: HTML, as the device; what the original says for who wants JSON and nothing else.
pub(super) async fn root(State(site): Shared, head: Head) -> Response<Body> {
    let accepts = |kind: &str| {
        head.headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|a| a.to_str().is_ok_and(|a| a.contains(kind)))
    };
    if accepts("application/json") && !accepts("text/html") && !accepts("*/*") {
        return page(
            &site,
            &head.headers,
            StatusCode::OK,
            "application/json",
            r#"{"service":"virtual-shelly","rpc":"/rpc"}"#,
        );
    }
    let ground = site.endpoint.ground();
    let front = Front {
        id: &ground.device.identity.id,
        version: env!("CARGO_PKG_VERSION"),
        pages: site.pages.is_some(),
    };
    match front.render() {
        Ok(text) => page(
            &site,
            &head.headers,
            StatusCode::OK,
            "text/html; charset=utf-8",
            text,
        ),
        Err(_) => page(
            &site,
            &head.headers,
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            "page cannot be made",
        ),
    }
}

/// `/healthz`: how the meter is, for monitors.
pub(super) async fn healthz(State(site): Shared, head: Head) -> Response<Body> {
    let (status, body) = health::report(&site.endpoint, &site.board, site.vitals.as_ref());
    page(&site, &head.headers, status, "application/json", body)
}

/// `/livez`: whether the process responds.
pub(super) async fn livez(State(site): Shared, head: Head) -> Response<Body> {
    match site.vitals.alive() {
        Ok(()) => page(
            &site,
            &head.headers,
            StatusCode::OK,
            "text/plain; charset=utf-8",
            "ok\n",
        ),
        Err(reason) => page(
            &site,
            &head.headers,
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain; charset=utf-8",
            format!("{reason}\n"),
        ),
    }
}

/// `/metrics`: figures of the house, so protected like the device's when a password is set.
pub(super) async fn metrics(
    State(site): Shared,
    Extension(connection): Extension<Arc<Connection>>,
    head: Head,
) -> Response<Body> {
    let asked = RequestInfo::of(&site, &connection, &head);
    if let Err(challenge) = site.endpoint.admit(&asked.caller, &asked.terms()) {
        return unauthorized(&asked.ground, &head.headers, &challenge, Bytes::new());
    }
    let text = exposition::render(std::slice::from_ref(&site.endpoint), || {
        site.vitals.gauges()
    });
    page(
        &site,
        &head.headers,
        StatusCode::OK,
        exposition::CONTENT_TYPE,
        text,
    )
}

/// Everything else, Gen1 paths included.
pub(super) async fn not_found(State(site): Shared, head: Head) -> Response<Body> {
    page(
        &site,
        &head.headers,
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "Not Found\n",
    )
}
