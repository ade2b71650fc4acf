//! Pages beside the device: `/`, `/healthz`, `/livez`, `/metrics`.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};

use super::{cors, request::Asked};
use crate::{healthz as health, metrics as exposition};

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

const PLAIN: &str = "text/plain; charset=utf-8";

fn page(
    asked: &Asked,
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let settings = &asked.ground.channels;
    if settings.cors_enable {
        let origin = asked.head.headers.get(header::ORIGIN);
        cors::allow(headers, &settings.cors_origins, origin);
    }
    response
}

/// `/`: HTML, as the device; what the original says for who wants JSON and nothing else.
pub(super) async fn root(asked: Asked) -> Response<Body> {
    let accepts = |kind: &str| {
        let mut accepted = asked.head.headers.get_all(header::ACCEPT).iter();
        accepted.any(|a| a.to_str().is_ok_and(|a| a.contains(kind)))
    };
    if accepts("application/json") && !accepts("text/html") && !accepts("*/*") {
        let service = r#"{"service":"virtual-shelly","rpc":"/rpc"}"#;
        return page(&asked, StatusCode::OK, "application/json", service);
    }
    let front = Front {
        id: &asked.ground.device.identity.id,
        version: env!("CARGO_PKG_VERSION"),
        pages: asked.site.pages.is_some(),
    };
    let (status, kind, text) = match front.render() {
        Ok(text) => (StatusCode::OK, "text/html; charset=utf-8", text),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            "page cannot be made".to_owned(),
        ),
    };
    page(&asked, status, kind, text)
}

/// `/healthz`: how the meter is, for monitors.
pub(super) async fn healthz(asked: Asked) -> Response<Body> {
    let site = &asked.site;
    let (status, body) = health::report(&site.endpoint, &site.board, site.vitals.as_ref());
    page(&asked, status, "application/json", body)
}

/// `/livez`: whether the process responds.
pub(super) async fn livez(asked: Asked) -> Response<Body> {
    let (status, text) = match asked.site.vitals.alive() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    page(&asked, status, PLAIN, text)
}

/// `/metrics`: figures of the house, so protected like the device's when a password is set.
pub(super) async fn metrics(asked: Asked) -> Result<Response<Body>, Response<Body>> {
    asked.admit()?;
    let endpoints = std::slice::from_ref(&asked.site.endpoint);
    let text = exposition::render(endpoints, || asked.site.vitals.gauges());
    Ok(page(&asked, StatusCode::OK, exposition::CONTENT_TYPE, text))
}

/// Everything else, Gen1 paths included.
pub(super) async fn not_found(asked: Asked) -> Response<Body> {
    page(&asked, StatusCode::NOT_FOUND, PLAIN, "Not Found\n")
}
