//! Who may come in, from where, and what every answer carries (`docs/home-assistant.md#ingress`).
//!
//! The peer's address counts, never a header of its. A change is made by POST with a JSON body from
//! a page of the same origin; the pages share Home Assistant's origin, so their policy lets nothing
//! in that is not ours.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{self, AsHeaderName},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    answer::{Answer, told},
    asking::{Locked, Pass},
    context::Context,
    locale::Locale,
};
use consumers::Channel;
use transport::{
    endpoint::Terms,
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

    fn ingress(&self) -> bool {
        matches!(*self.door, Door::Ingress { .. })
    }
}

/// Header in which the Supervisor says which user of Home Assistant asks; what a browser sends
/// under this name it takes out.
const USER: &str = "x-remote-user-id";

/// Whether the user that the Supervisor names may not change anything.
async fn locked(context: &Context, headers: &HeaderMap, change: bool) -> Option<Locked> {
    let Some(user) = text(headers, USER).filter(|user| !user.is_empty()) else {
        return Some(Locked::Nobody);
    };
    match context.owner.administrator(user.to_owned(), change).await {
        Ok(true) => None,
        Ok(false) => Some(Locked::NotAdministrator),
        Err(why) => Some(Locked::CannotAsk(why)),
    }
}

/// A header that is text.
fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether an answer looks different for who may change nothing: a change does, and a page.
fn depends_on_user(method: &Method, path: &str) -> bool {
    const FOR_ALL: [&str; 7] = [
        "live",
        "healthz",
        "livez",
        "metrics",
        "restart",
        "control",
        "diagnostics",
    ];
    let name = path.rsplit('/').next().unwrap_or_default();
    is_change(method) || !(name.contains('.') || FOR_ALL.contains(&name))
}

fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Lets a request in or not, and puts the security headers on its answer.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let nonce: Arc<str> = nonce().into();
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let answered = let_in(&guard, request, next, Arc::clone(&nonce)).await;
    let mut response = answered.unwrap_or_else(|refusal| refusal);
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    // Who was answered keeps the connection before those that only opened one.
    if let Some(connection) = connection {
        connection.activity.answered();
    }
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    );
    let always = [
        (header::CONTENT_SECURITY_POLICY, &*policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    (always, response).into_response()
}

/// What the pages answer to a request that may come in.
async fn let_in(guard: &Guard, mut request: Request, next: Next, nonce: Arc<str>) -> Answer {
    let full = admit(guard, &request)?;
    let change = is_change(request.method());
    let locked = if guard.ingress() && depends_on_user(request.method(), request.uri().path()) {
        locked(&guard.context, request.headers(), change).await
    } else {
        None
    };
    if let Some(why) = locked.as_ref().filter(|_| change) {
        let why = why.words(Locale::of(request.headers()));
        return Err(told(StatusCode::FORBIDDEN, &why));
    }
    request.extensions_mut().insert(Pass {
        full: full && locked.is_none(),
        locked,
        nonce,
    });
    Ok(next.run(request).await)
}

fn nonce() -> String {
    format!("{:016x}{:016x}", random(), random())
}

fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

/// Whether changes are allowed, or the answer that refuses.
fn admit(guard: &Guard, request: &Request) -> Answer<bool> {
    let connection = request.extensions().get::<Arc<Connection>>();
    let headers = request.headers();
    let full = match &*guard.door {
        Door::Ingress { peer } => {
            if connection.is_none_or(|c| c.peer.ip() != *peer) {
                let why = "this port is Home Assistant's ingress; open the page in its sidebar";
                return forbidden(why);
            }
            true
        }
        Door::Plain { hosts } => {
            let why = "unknown host name; list it in dashboard_hosts";
            known(request, hosts, is_loopback, why)?;
            true
        }
        Door::Lan { full, hosts } => {
            // Reading too: a page whose own name was made to point here would read settings and
            // diagnostics.
            let why = "unknown host name; use the address, or list it in dashboard_hosts";
            known(request, hosts, is_local, why)?;
            password(guard, connection, request)?;
            *full
        }
    };
    let write = is_change(request.method());
    if (write || headers.contains_key(header::UPGRADE)) && foreign(headers, guard.ingress()) {
        return forbidden("only a page of this dashboard may do that");
    }
    if write {
        if !full {
            return forbidden("changes are off here: set dashboard_on_lan to full");
        }
        let json = text(headers, header::CONTENT_TYPE)
            .is_some_and(|kind| kind.starts_with("application/json"));
        let bodyless = headers.get(header::CONTENT_LENGTH).is_none_or(|l| l == "0")
            && !headers.contains_key(header::TRANSFER_ENCODING);
        if !json && !bodyless {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(refuse(status, "send application/json"));
        }
    }
    Ok(full)
}

/// Refuses a name that is neither one of `hosts` nor our `own`.
fn known(request: &Request, hosts: &[String], own: fn(&str) -> bool, why: &str) -> Answer<()> {
    host(request)
        .filter(|name| own(name) || hosts.contains(name))
        .map(drop)
        .ok_or_else(|| refuse(StatusCode::MISDIRECTED_REQUEST, why))
}

/// On the device's port the device's password guards the pages too.
fn password(guard: &Guard, connection: Option<&Arc<Connection>>, request: &Request) -> Answer<()> {
    let endpoint = guard.context.meter(0);
    let ground = endpoint.ground();
    if !ground.auth_on() {
        return Ok(());
    }
    let Some(connection) = connection else {
        return forbidden("unknown caller");
    };
    let caller = http::caller(connection, request.headers(), Channel::Http);
    let terms = Terms {
        credentials: http::credentials(request.method(), request.uri(), request.headers()),
        ..Terms::on(&ground)
    };
    endpoint.admit(&caller, &terms).map_err(|challenge| {
        let why = "the device's password is needed";
        let challenge = [(header::WWW_AUTHENTICATE, challenge)];
        (challenge, refuse(StatusCode::UNAUTHORIZED, why)).into_response()
    })
}

fn forbidden<T>(why: &str) -> Answer<T> {
    Err(refuse(StatusCode::FORBIDDEN, why))
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, format!("{why}\n")).into_response()
}

/// Name asked for, without port, in small letters, IPv6 without brackets.
fn host(request: &Request) -> Option<String> {
    name(text(request.headers(), header::HOST)?)
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
    if http::contradicts_itself(headers) {
        return true;
    }
    match text(headers, "sec-fetch-site") {
        Some("same-origin" | "none") => return false,
        Some(_) => return true,
        None => {}
    }
    let Some(origin) = text(headers, "origin") else {
        return false;
    };
    if !ingress {
        return !http::same_origin(headers);
    }
    let forwarded = text(headers, "x-forwarded-host")
        .and_then(|hosts| hosts.split(',').next())
        .map(str::trim);
    let own = http::authority(origin).and_then(name);
    own.is_none()
        || ![text(headers, "host"), forwarded]
            .into_iter()
            .flatten()
            .any(|host| name(host) == own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let name = header::HeaderName::from_static;
        let one = |(key, value): &(&'static str, &str)| (name(key), value.parse().unwrap());
        all.iter().map(one).collect()
    }

    #[test]
    fn other_origins_are_told_apart() {
        let host = ("host", "meter.local:8080");
        let own = ("origin", "http://meter.local:8080");
        let origin = |origin| ("origin", origin);
        let site = |site| ("sec-fetch-site", site);
        for (more, theirs) in [
            (&[][..], false),
            (&[site("same-origin")], false),
            (&[own], false),
            (&[origin("https://ha.example"), site("same-origin")], false),
            (&[site("cross-site"), own], true),
            (&[site("same-site")], true),
            (&[origin("http://evil.example")], true),
            (&[origin("http://meter.local")], true),
            (&[origin("http://meter.local:3000")], true),
            (&[origin("null")], true),
            (&[own, origin("http://evil.example")], true),
            (&[site("none"), site("cross-site")], true),
        ] {
            let case = [&[host][..], more].concat();
            assert_eq!(foreign(&headers(&case), false), theirs, "{case:?}");
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
            let path = format!("/{name}");
            assert!(looks("POST", &path) && looks("PUT", &path), "{name}");
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
        for page in ["/style.css", "/live.json", "/live", "/restart"] {
            assert!(!looks("GET", page), "{page}");
        }
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
