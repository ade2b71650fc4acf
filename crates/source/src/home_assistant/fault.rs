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

use outgoing::{http_client, tls};
use vocab::reason::{Cause, NoName, Unreachable};

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
    Garbled(Cause),
    /// Anything else.
    Other(Cause),
}

impl Fault {
    /// From an error and what lies under it; `cause` has its words. `garbled`: whoever carried the
    /// request says that the answer is none.
    pub(crate) fn of(error: &(dyn Error + 'static), cause: Cause, garbled: bool) -> Self {
        Self::under(error).unwrap_or(if garbled {
            Self::Garbled(cause)
        } else {
            Self::Other(cause)
        })
    }

    /// What lies deepest says what it is.
    fn under(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<NoName>() {
                return Some(Self::NoName);
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                if io.kind() == io::ErrorKind::ConnectionRefused {
                    return Some(Self::Refused);
                }
                // What an I/O error wraps is no source of it.
                if let Some(fault) = io.get_ref().and_then(|inner| Self::under(inner)) {
                    return Some(fault);
                }
            }
            if let Some(fault) = error.downcast_ref().and_then(Self::of_tls) {
                return Some(fault);
            }
            next = error.source();
        }
        None
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

    /// The reason. `asked` is the address as it is shown (`ws://…`), `base` what `ha_base_url` came
    /// to.
    pub(crate) async fn reason(self, asked: &str, base: &Url) -> Unreachable {
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
        self.with(asked, base, &found)
    }

    fn with(self, asked: &str, base: &Url, found: &Found) -> Unreachable {
        let address: Arc<str> = asked.into();
        let other =
            |scheme: &str| -> Arc<str> { shown(base, |url| url.set_scheme(scheme).is_ok()).into() };
        match (self, found) {
            (_, Found::Tls) => Unreachable::WantsHttps {
                address,
                url: other("https"),
            },
            (_, Found::Elsewhere(url)) => Unreachable::Elsewhere {
                address,
                url: plain(url).into(),
            },
            (Self::Refused, _) => Unreachable::Nobody { address },
            (Self::NoName, _) => Unreachable::NoName {
                address,
                host: base.host_str().unwrap_or_default().into(),
            },
            (Self::NoTls, _) => Unreachable::PlainHttp {
                address,
                url: other("http"),
            },
            (Self::Untrusted, _) => Unreachable::Untrusted { address },
            (Self::OtherName, _) => Unreachable::OtherName { address },
            (Self::OutOfDate, _) => Unreachable::OutOfDate { address },
            (Self::Garbled(error), _) => Unreachable::Garbled { address, error },
            (Self::Status { code, location }, _) => of_status(code, location.as_deref(), asked),
            (Self::Other(error), _) => Unreachable::CannotReach { address, error },
        }
    }
}

/// What a look at the address found.
enum Found {
    Nothing,
    Tls,
    Elsewhere(Url),
}

fn of_status(status: u16, location: Option<&str>, asked: &str) -> Unreachable {
    let address: Arc<str> = asked.into();
    let target =
        location.and_then(|to| Url::parse(asked).ok().and_then(|asked| asked.join(to).ok()));
    match (status, target) {
        (301 | 302 | 303 | 307 | 308, Some(target)) => Unreachable::Redirect {
            address,
            status,
            url: plain(&base_of(target)).into(),
        },
        (400, _) => Unreachable::UntrustedProxy { address },
        (401 | 403, _) => Unreachable::Banned { address, status },
        (500.., _) => Unreachable::Behind { address, status },
        _ => Unreachable::NoWebsocket { address, status },
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
        Err(_) => {
            let all: Vec<SocketAddr> = http_client::addresses(host, port)
                .await
                .map_err(io::Error::other)?;
            TcpStream::connect(&*all).await
        }
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
pub(crate) fn token(asked: &str, reason: Cause, token: &str, proxied: bool) -> Unreachable {
    let address = asked.into();
    if proxied {
        Unreachable::TokenApp { address, reason }
    // A long-lived token is three parts; what was pasted may be a password or half of one.
    } else if token.split('.').count() == 3 {
        Unreachable::Token { address, reason }
    } else {
        Unreachable::TokenOdd { address, reason }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn said(fault: &Fault, asked: &str, base: &str) -> String {
        fault
            .clone()
            .with(asked, &url(base), &Found::Nothing)
            .to_string()
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
                    .with("ws://x", &url(base), &Found::Tls)
                    .to_string()
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
            Fault::Garbled(Cause::said("x")),
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
            Cause::said("Invalid access token or password"),
            "my-password",
            false,
        )
        .to_string();
        assert!(
            line.contains("does not look like one")
                && line.contains("HA_TOKEN")
                && !line.contains("my-password"),
            "{line}"
        );
        assert!(!matches!(
            token("ws://ha", Cause::said(""), "a.b.c", false),
            Unreachable::TokenOdd { .. }
        ));
        assert!(matches!(
            token("ws://supervisor", Cause::said(""), "abc", true),
            Unreachable::TokenApp { .. }
        ));
    }
}
