//! Who may come in, from where, and what every answer carries (`docs/home-assistant.md#ingress`).
//!
//! The peer's address counts, never a header of its. A change is made by POST with a JSON body from
//! a page of the same origin; the pages share Home Assistant's origin, so their policy lets nothing
//! in that is not ours.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header},
    middleware::Next,
};

use super::{
    answer::told,
    asking::{Locked, Pass},
    context::Context,
    locale::Locale,
};
use consumers::Channel;
use transport::{
    endpoint::{Credentials, Terms},
    http::{self, is_local},
    listener::Connection,
};

/// Which listener, and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// Home Assistant's ingress: only the Supervisor's proxy, whatever the headers say.
    Ingress {
        /// The one peer.
        peer: IpAddr,
    },
    /// A listener of its own; `Host` has to be known, so that no foreign name can be made to point
    /// here.
    Plain {
        /// Further names beside localhost and loopback addresses.
        hosts: Vec<String>,
    },
    /// The device's HTTP port (`dashboard_on_lan`).
    Lan {
        /// With changes.
        full: bool,
        /// Further names beside addresses and names of the LAN.
        hosts: Vec<String>,
    },
}

/// A door of these pages.
#[derive(Clone)]
pub struct Guard {
    door: Arc<Door>,
    context: Context,
}

impl Guard {
    /// The door of these pages.
    #[must_use]
    pub fn new(door: Door, context: Context) -> Self {
        Self {
            door: Arc::new(door),
            context,
        }
    }
}

/// Header in which the Supervisor says which user of Home Assistant asks; what a browser sends
/// under this name it takes out.
const USER: &str = "x-remote-user-id";

/// Whether the user that the Supervisor names may not change anything.
async fn locked(context: &Context, user: Option<String>, change: bool) -> Option<Locked> {
    let Some(user) = user else {
        return Some(Locked::Nobody);
    };
    match context.owner.administrator(user, change).await {
        Ok(true) => None,
        Ok(false) => Some(Locked::NotAdministrator),
        Err(why) => Some(Locked::CannotAsk(why)),
    }
}

/// Whether an answer looks different for who may change nothing: a change does, and a page.
fn depends_on_user(method: &Method, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    is_change(method)
        || !(name.contains('.')
            || [
                "live",
                "healthz",
                "livez",
                "metrics",
                "restart",
                "control",
                "diagnostics",
            ]
            .contains(&name))
}

fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Lets a request in or not, and puts the security headers on its answer.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response<Body> {
    let nonce: Arc<str> = nonce().into();
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let mut response = match admit(&guard, &request) {
        Ok(full) => {
            let (change, l) = (is_change(request.method()), Locale::of(request.headers()));
            let locked = if matches!(*guard.door, Door::Ingress { .. })
                && depends_on_user(request.method(), request.uri().path())
            {
                let user = request
                    .headers()
                    .get(USER)
                    .and_then(|v| v.to_str().ok())
                    .filter(|user| !user.is_empty());
                let user = user.map(str::to_owned);
                locked(&guard.context, user, change).await
            } else {
                None
            };
            match &locked {
                Some(why) if change => told(StatusCode::FORBIDDEN, why.words(l)),
                _ => {
                    let full = full && locked.is_none();
                    request.extensions_mut().insert(Pass {
                        full,
                        locked,
                        nonce: Arc::clone(&nonce),
                    });
                    next.run(request).await
                }
            }
        }
        Err(refusal) => refusal,
    };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    );
    let headers = response.headers_mut();
    let mut set = |name: header::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_SECURITY_POLICY, &policy);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    // Who was answered keeps the connection before those that only opened one.
    if let Some(connection) = connection {
        connection.activity.answered();
    }
    response
}

fn nonce() -> String {
    format!("{:016x}{:016x}", random(), random())
}

fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

/// Whether changes are allowed, or the answer that refuses.
fn admit(guard: &Guard, request: &Request) -> Result<bool, Response<Body>> {
    let connection = request.extensions().get::<Arc<Connection>>();
    let headers = request.headers();
    let write = is_change(request.method());
    let socket = headers.contains_key(header::UPGRADE);
    let full = match &*guard.door {
        Door::Ingress { peer } => {
            if connection.is_none_or(|c| c.peer.ip() != *peer) {
                return Err(refuse(
                    StatusCode::FORBIDDEN,
                    "this port is Home Assistant's ingress; open the page in its sidebar",
                ));
            }
            true
        }
        Door::Plain { hosts } => {
            if !host(request).is_some_and(|name| is_loopback(&name) || hosts.contains(&name)) {
                return Err(refuse(
                    StatusCode::MISDIRECTED_REQUEST,
                    "unknown host name; list it in dashboard_hosts",
                ));
            }
            true
        }
        Door::Lan { full, hosts } => {
            // Reading too: a page whose own name was made to point here would read settings and
            // diagnostics.
            if !host(request).is_some_and(|name| is_local(&name) || hosts.contains(&name)) {
                return Err(refuse(
                    StatusCode::MISDIRECTED_REQUEST,
                    "unknown host name; use the address, or list it in dashboard_hosts",
                ));
            }
            password(guard, connection, request)?;
            *full
        }
    };
    if (write || socket) && foreign(headers, matches!(*guard.door, Door::Ingress { .. })) {
        return Err(refuse(
            StatusCode::FORBIDDEN,
            "only a page of this dashboard may do that",
        ));
    }
    if write {
        if !full {
            return Err(refuse(
                StatusCode::FORBIDDEN,
                "changes are off here: set dashboard_on_lan to full",
            ));
        }
        let json = headers
            .get(header::CONTENT_TYPE)
            .and_then(|t| t.to_str().ok())
            .is_some_and(|t| t.starts_with("application/json"));
        let bodyless = headers.get(header::CONTENT_LENGTH).is_none_or(|l| l == "0")
            && !headers.contains_key(header::TRANSFER_ENCODING);
        if !json && !bodyless {
            return Err(refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send application/json",
            ));
        }
    }
    Ok(full)
}

/// On the device's port the device's password guards the pages too.
fn password(
    guard: &Guard,
    connection: Option<&Arc<Connection>>,
    request: &Request,
) -> Result<(), Response<Body>> {
    let endpoint = guard.context.meter(0);
    let ground = endpoint.ground();
    if !ground.auth_on() {
        return Ok(());
    }
    let Some(connection) = connection else {
        return Err(refuse(StatusCode::FORBIDDEN, "unknown caller"));
    };
    let caller = http::caller(connection, request.headers(), Channel::Http);
    let credentials = Credentials::Header {
        value: request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok()),
        method: request.method().as_str(),
        uri: request.uri().path_and_query().map_or("/", |p| p.as_str()),
    };
    endpoint
        .admit(
            &caller,
            &Terms {
                credentials,
                ..Terms::on(&ground)
            },
        )
        .map_err(|challenge| {
            let mut response = refuse(StatusCode::UNAUTHORIZED, "the device's password is needed");
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        })
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{why}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Name asked for, without port, in small letters, IPv6 without brackets.
fn host(request: &Request) -> Option<String> {
    name(request.headers().get(header::HOST)?.to_str().ok()?)
}

/// The name in `host:port`.
fn name(authority: &str) -> Option<String> {
    let uri: Uri = format!("http://{authority}/").parse().ok()?;
    Some(uri.host()?.trim_matches(['[', ']']).to_ascii_lowercase())
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || matches!(name, "127.0.0.1" | "::1")
}

/// Whether a page of another origin asks. The host was looked at before, so the browser's own word
/// counts first. Behind ingress `Host` may be rewritten and lose its port, so there names are
/// compared, that of `X-Forwarded-Host` too.
fn foreign(headers: &HeaderMap, ingress: bool) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if http::contradicts_itself(headers) {
        return true;
    }
    match text("sec-fetch-site") {
        Some("same-origin" | "none") => return false,
        Some(_) => return true,
        None => {}
    }
    let Some(origin) = text("origin") else {
        return false;
    };
    if !ingress {
        return !http::same_origin(headers);
    }
    let forwarded = text("x-forwarded-host")
        .and_then(|hosts| hosts.split(',').next())
        .map(str::trim);
    let own = http::authority(origin).and_then(name);
    own.is_none()
        || ![text("host"), forwarded]
            .into_iter()
            .flatten()
            .any(|host| name(host) == own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    value.parse().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn other_origins_are_told_apart() {
        let host = ("host", "meter.local:8080");
        let ours = [
            vec![host],
            vec![host, ("sec-fetch-site", "same-origin")],
            vec![host, ("origin", "http://meter.local:8080")],
            vec![
                host,
                ("origin", "https://ha.example"),
                ("sec-fetch-site", "same-origin"),
            ],
        ];
        for case in ours {
            assert!(!foreign(&headers(&case), false), "{case:?}");
        }
        let theirs = [
            vec![
                host,
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://meter.local:8080"),
            ],
            vec![host, ("sec-fetch-site", "same-site")],
            vec![host, ("origin", "http://evil.example")],
            vec![host, ("origin", "http://meter.local")],
            vec![host, ("origin", "http://meter.local:3000")],
            vec![host, ("origin", "null")],
            vec![
                host,
                ("origin", "http://meter.local:8080"),
                ("origin", "http://evil.example"),
            ],
            vec![
                host,
                ("sec-fetch-site", "none"),
                ("sec-fetch-site", "cross-site"),
            ],
        ];
        for case in theirs {
            assert!(foreign(&headers(&case), false), "{case:?}");
        }
        for (origin, theirs) in [
            ("https://ha.example", false),
            ("https://ha.example:8123", false),
            ("https://evil.example", true),
            ("null", true),
        ] {
            let proxied = headers(&[
                ("host", "172.30.32.1"),
                ("origin", origin),
                ("x-forwarded-host", "ha.example:8123, x"),
            ]);
            assert_eq!(foreign(&proxied, true), theirs, "{origin}");
            assert!(foreign(&proxied, false), "{origin}");
        }
    }

    #[test]
    fn every_change_and_every_page_looks_at_the_user() {
        let looks = |method: &str, path: &str| depends_on_user(&method.parse().unwrap(), path);
        for name in [
            "settings", "setup", "preview", "reset", "seed", "restart", "train", "reader",
            "profile", "test-as", "ui/reset", "new.json",
        ] {
            assert!(
                looks("POST", &format!("/{name}")) && looks("PUT", &format!("/{name}")),
                "{name}"
            );
        }
        for page in [
            "/",
            "/settings",
            "/setup",
            "/energy",
            "/forecast",
            "/ui/health",
            "/ui",
        ] {
            assert!(looks("GET", page), "{page}");
        }
        assert!(
            !looks("GET", "/style.css")
                && !looks("GET", "/live.json")
                && !looks("GET", "/live")
                && !looks("GET", "/restart")
        );
    }

    #[test]
    fn names_of_the_lan() {
        for name in [
            "192.168.1.5",
            "fe80::1",
            "homeassistant",
            "meter.local",
            "pi.fritz.box",
        ] {
            assert!(is_local(name), "{name}");
        }
        assert!(
            !is_local("rebind.example.com")
                && !is_loopback("127.0.0.1.example")
                && is_loopback("localhost")
        );
    }
}
