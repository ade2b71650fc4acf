//! Why Home Assistant cannot be reached, in one line: which address, what was found there, what to
//! do.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::{CertificateError, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::Url;

use outgoing::tls;

/// Longest that a look at what is there may take.
const LOOK: Duration = Duration::from_secs(3);
/// How much of an answer is looked at.
const LOOK_MAX: u64 = 4096;

/// What went wrong, as far as an error or an answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An HTTP answer other than the one hoped for.
    Status {
        /// 404, 301 ….
        code: u16,
        /// Header `Location`.
        location: Option<String>,
    },
    /// Nothing listens there.
    Refused,
    /// The name has no address.
    NoName,
    /// What answered on https is no TLS.
    NoTls,
    /// The certificate is of an authority that this host does not trust.
    Untrusted,
    /// The certificate is for other names.
    OtherName,
    /// The certificate is not valid today.
    OutOfDate,
    /// No HTTP answer, or none that can be read.
    Garbled(String),
    /// Anything else, in the system's words.
    Other(String),
}

impl Fault {
    /// From an error and what lies under it; `text` is its own words.
    pub(crate) fn of(error: &(dyn Error + 'static), text: &str) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                if io.kind() == io::ErrorKind::ConnectionRefused {
                    return Self::Refused;
                }
                // What an I/O error wraps is no source of it.
                if let Some(inner) = io.get_ref() {
                    match Self::of(inner, text) {
                        Self::Garbled(_) | Self::Other(_) => {}
                        fault => return fault,
                    }
                }
                if io.to_string().contains("failed to lookup address") {
                    return Self::NoName;
                }
            }
            if let Some(fault) = error.downcast_ref().and_then(Self::of_tls) {
                return fault;
            }
            next = error.source();
        }
        let garbled = [
            "HTTP",
            "httparse",
            "invalid",
            "parse",
            "Handshake not finished",
            "closed before",
            "IncompleteMessage",
            "eset",
            "EOF",
        ];
        if garbled.iter().any(|word| text.contains(word)) {
            Self::Garbled(text.to_owned())
        } else {
            Self::Other(text.to_owned())
        }
    }

    fn of_tls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidMessage(_) => Some(Self::NoTls),
            rustls::Error::InvalidCertificate(why) => Some(match why {
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::OutOfDate,
                _ => Self::Untrusted,
            }),
            _ => None,
        }
    }

    /// The line. `asked` is the address as it is shown (`ws://…`), `base` what `ha_base_url` came
    /// to.
    pub(crate) async fn line(self, asked: &str, base: &Url) -> String {
        let found = match &self {
            // A plain request to a TLS port gets no answer, or one that is no HTTP; some servers
            // answer 400.
            Self::Garbled(_) | Self::Status { code: 400, .. }
                if base.scheme() == "http" && speaks_tls(base).await =>
            {
                Found::Tls
            }
            Self::Refused => elsewhere(base)
                .await
                .map_or(Found::Nothing, Found::Elsewhere),
            _ => Found::Nothing,
        };
        self.words(asked, base, &found)
    }

    fn words(&self, asked: &str, base: &Url, found: &Found) -> String {
        let host = base.host_str().unwrap_or_default();
        let other = |scheme: &str| shown(base, |url| url.set_scheme(scheme).is_ok());
        match (self, found) {
            (_, Found::Tls) => {
                format!("{asked} wants https: set ha_base_url to {}", other("https"))
            }
            (_, Found::Elsewhere(url)) => {
                format!(
                    "nothing listens at {asked}, but Home Assistant is at {}: set ha_base_url to that",
                    plain(url)
                )
            }
            (Self::Refused, _) => {
                format!(
                    "nothing listens at {asked}: start Home Assistant, or correct the port in ha_base_url (8123, or none on new installs)"
                )
            }
            (Self::NoName, _) => format!(
                "{asked}: the name {host} is not known here: set ha_base_url to the address of Home Assistant"
            ),
            (Self::NoTls, _) => format!(
                "{asked} is plain http, not https: set ha_base_url to {}",
                other("http")
            ),
            (Self::Untrusted, _) => {
                format!(
                    "{asked} has a certificate that is not trusted here: add it, or its authority, to this host's trusted certificates"
                )
            }
            (Self::OtherName, _) => {
                format!("{asked} has a certificate for another name: use that name in ha_base_url")
            }
            (Self::OutOfDate, _) => format!(
                "{asked} has a certificate that is out of date: renew it, and check this host's clock"
            ),
            (Self::Garbled(why), _) => format!(
                "{asked} gives no answer of Home Assistant ({why}): correct host and port in ha_base_url"
            ),
            (Self::Status { code, location }, _) => of_status(*code, location.as_deref(), asked),
            (Self::Other(why), _) => format!("{asked} cannot be reached: {why}"),
        }
    }
}

/// What a look at the address found.
enum Found {
    Nothing,
    Tls,
    Elsewhere(Url),
}

fn of_status(code: u16, location: Option<&str>, asked: &str) -> String {
    let target =
        location.and_then(|to| Url::parse(asked).ok().and_then(|asked| asked.join(to).ok()));
    match (code, target) {
        (301 | 302 | 303 | 307 | 308, Some(target)) => {
            let to = base_of(target);
            format!(
                "{asked} sends us on ({code}) to {}: set ha_base_url to that",
                plain(&to)
            )
        }
        (400, _) => format!(
            "{asked} answered 400: Home Assistant does not trust the proxy in between (its trusted_proxies), or it is no Home Assistant; \
             set ha_base_url to Home Assistant itself"
        ),
        (401 | 403, _) => format!(
            "{asked} answered {code}: this host is banned there (take it out of Home Assistant's ip_bans.yaml and restart that), or a proxy in \
             between refuses us"
        ),
        (500.., _) => format!(
            "{asked} answered {code}: something is there, but Home Assistant behind it does not run"
        ),
        _ => format!(
            "{asked} answered {code}: no Home Assistant there; correct host, port and path in ha_base_url"
        ),
    }
}

/// What to set for a redirect: without the API's own path.
fn base_of(mut target: Url) -> Url {
    let scheme = match target.scheme() {
        "ws" => "http",
        "wss" => "https",
        other => other,
    }
    .to_owned();
    let _ = target.set_scheme(&scheme);
    let path = target.path().trim_end_matches('/');
    let path = path
        .split_once("/api")
        .map_or(path, |(before, _)| before)
        .to_owned();
    target.set_path(&path);
    target.set_query(None);
    target.set_fragment(None);
    let _ = target
        .set_username("")
        .and_then(|()| target.set_password(None));
    target
}

fn shown(base: &Url, change: impl FnOnce(&mut Url) -> bool) -> String {
    let mut url = base.clone();
    // A port that stays where the scheme's own changes is named.
    let port = base.port_or_known_default();
    if !change(&mut url) {
        return base.to_string();
    }
    let _ = url.set_port(port.filter(|port| Some(*port) != default_port(url.scheme())));
    plain(&url)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn plain(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Connects, whether the host is a name or an address in the form of a URL.
pub(super) async fn knock(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) => TcpStream::connect(SocketAddr::new(ip, port)).await,
        Err(_) => TcpStream::connect((host, port)).await,
    }
}

/// Whether the other end takes part in a TLS handshake, whatever its certificate.
async fn speaks_tls(base: &Url) -> bool {
    let Some((host, port)) = base.host_str().zip(base.port_or_known_default()) else {
        return false;
    };
    let look = async {
        let stream = knock(host, port).await.ok()?;
        let name = ServerName::try_from(
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
        )
        .ok()?;
        let connector = TlsConnector::from(Arc::clone(&tls::client(true).ok()?));
        connector.connect(name, stream).await.ok()
    };
    tokio::time::timeout(LOOK, look)
        .await
        .ok()
        .flatten()
        .is_some()
}

/// Where Home Assistant is on this host instead: the other of its two usual ports.
async fn elsewhere(base: &Url) -> Option<Url> {
    let host = base.host_str()?;
    let port = match base.port_or_known_default()? {
        8123 => 80,
        80 | 443 => 8123,
        _ => return None,
    };
    let look = async {
        let mut stream = knock(host, port).await.ok()?;
        let request =
            format!("GET /manifest.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        let _ = stream.take(LOOK_MAX).read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer)
            .contains("\"Home Assistant\"")
            .then_some(())
    };
    tokio::time::timeout(LOOK, look).await.ok().flatten()?;
    let mut url = base.clone();
    url.set_scheme("http").ok()?;
    url.set_port(Some(port)).ok()?;
    Some(url)
}

/// The token was refused. That of the Supervisor is new with each start of the app.
pub(crate) fn token(asked: &str, why: &str, token: &str, proxied: bool) -> String {
    let why = if why.is_empty() {
        "no reason given"
    } else {
        why
    };
    if proxied {
        return format!("{asked}: the token was refused ({why}): restart the app");
    }
    // A long-lived token is three parts; what was pasted may be a password or half of one.
    let odd = if token.split('.').count() == 3 {
        ""
    } else {
        ", and it does not look like one"
    };
    format!(
        "{asked}: the token was refused ({why}){odd}: make a long-lived access token in your profile there and set ha_token (HA_TOKEN)"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn said(fault: &Fault, asked: &str, base: &str) -> String {
        fault.words(asked, &url(base), &Found::Nothing)
    }

    #[test]
    fn redirects_name_what_to_set() {
        for (code, location, set) in [
            (
                301,
                "https://ha.example/api/websocket",
                "https://ha.example",
            ),
            (307, "http://ha:80/api/websocket", "http://ha"),
            (308, "/ha/api/websocket", "http://ha:8123/ha"),
            (
                302,
                "https://u:p@ha.example:444/base/api/websocket?x=1",
                "https://ha.example:444/base",
            ),
        ] {
            let fault = Fault::Status {
                code,
                location: Some(location.into()),
            };
            let line = said(&fault, "ws://ha:8123/api/websocket", "http://ha:8123/");
            assert_eq!(
                line,
                format!(
                    "ws://ha:8123/api/websocket sends us on ({code}) to {set}: set ha_base_url to that"
                )
            );
        }
        let lost = said(
            &Fault::Status {
                code: 301,
                location: None,
            },
            "ws://ha/api/websocket",
            "http://ha/",
        );
        assert!(
            lost.contains("301") && lost.contains("ha_base_url"),
            "{lost}"
        );
    }

    #[test]
    fn schemes_keep_the_port() {
        for (base, tls) in [
            ("http://ha:8123/", "https://ha:8123"),
            ("http://ha/", "https://ha:80"),
            ("http://ha:443/x", "https://ha/x"),
        ] {
            assert!(
                Fault::Refused
                    .words("ws://x", &url(base), &Found::Tls)
                    .ends_with(&format!("set ha_base_url to {tls}")),
                "{base}"
            );
        }
        assert!(
            said(
                &Fault::NoTls,
                "wss://ha:8123/api/websocket",
                "https://ha:8123/"
            )
            .ends_with("set ha_base_url to http://ha:8123")
        );
        assert!(
            said(&Fault::NoTls, "wss://ha/api/websocket", "https://ha/")
                .ends_with("set ha_base_url to http://ha:443")
        );
    }

    #[test]
    fn every_fault_names_address_and_remedy_in_one_line() {
        let status = |code| Fault::Status {
            code,
            location: None,
        };
        let all = [
            Fault::Refused,
            Fault::NoName,
            Fault::NoTls,
            Fault::Untrusted,
            Fault::OtherName,
            Fault::OutOfDate,
            Fault::Garbled("x".into()),
            status(400),
            status(401),
            status(403),
            status(404),
            status(200),
            status(502),
            status(504),
        ];
        for fault in all {
            let line = said(
                &fault,
                "wss://ha.example/api/websocket",
                "https://ha.example/",
            );
            assert!(
                line.contains("wss://ha.example/api/websocket")
                    && line.contains(": ")
                    && !line.contains('\n'),
                "{fault:?}: {line}"
            );
        }
    }

    #[test]
    fn a_token_that_is_none_is_named_and_not_shown() {
        let line = token(
            "ws://ha/api/websocket",
            "Invalid access token or password",
            "my-password",
            false,
        );
        assert!(
            line.contains("does not look like one")
                && line.contains("HA_TOKEN")
                && !line.contains("my-password"),
            "{line}"
        );
        assert!(!token("ws://ha", "", "a.b.c", false).contains("look like"));
        assert!(token("ws://supervisor", "", "abc", true).ends_with("restart the app"));
    }
}
