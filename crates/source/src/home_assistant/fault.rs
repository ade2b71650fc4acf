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

use super::address::cleaned;
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
        match &self {
            // A plain request to a TLS port gets no answer, or one that is no HTTP; some servers
            // answer 400.
            Self::Garbled(_) | Self::Status { code: 400, .. }
                if base.scheme() == "http" && speaks_tls(base).await =>
            {
                Unreachable::WantsHttps {
                    address: asked.into(),
                    url: with_scheme(base, "https"),
                }
            }
            Self::Refused => match elsewhere(base).await {
                Some(url) => Unreachable::Elsewhere {
                    address: asked.into(),
                    url: plain(&url),
                },
                None => self.said(asked, base),
            },
            _ => self.said(asked, base),
        }
    }

    /// The same without another look.
    fn said(self, asked: &str, base: &Url) -> Unreachable {
        let address: Arc<str> = asked.into();
        match self {
            Self::Refused => Unreachable::Nobody { address },
            Self::NoName => Unreachable::NoName {
                address,
                host: base.host_str().unwrap_or_default().into(),
            },
            Self::NoTls => Unreachable::PlainHttp {
                address,
                url: with_scheme(base, "http"),
            },
            Self::Untrusted => Unreachable::Untrusted { address },
            Self::OtherName => Unreachable::OtherName { address },
            Self::OutOfDate => Unreachable::OutOfDate { address },
            Self::Garbled(error) => Unreachable::Garbled { address, error },
            Self::Status { code, location } => of_status(code, location.as_deref(), asked),
            Self::Other(error) => Unreachable::CannotReach { address, error },
        }
    }
}

fn of_status(status: u16, location: Option<&str>, asked: &str) -> Unreachable {
    let address: Arc<str> = asked.into();
    // What to set for a redirect: without the API's own path.
    let target = || {
        let target = Url::parse(asked).ok()?.join(location?).ok()?;
        cleaned(target.as_str()).ok()
    };
    match status {
        301 | 302 | 303 | 307 | 308 if let Some(url) = target() => Unreachable::Redirect {
            address,
            status,
            url: url.into(),
        },
        400 => Unreachable::UntrustedProxy { address },
        401 | 403 => Unreachable::Banned { address, status },
        500.. => Unreachable::Behind { address, status },
        _ => Unreachable::NoWebsocket { address, status },
    }
}

/// The same with another scheme. A port that stays where the scheme's own changes is named.
fn with_scheme(base: &Url, scheme: &str) -> Arc<str> {
    let mut url = base.clone();
    let _ = url.set_scheme(scheme);
    let _ = url.set_port(base.port_or_known_default());
    plain(&url)
}

fn plain(url: &Url) -> Arc<str> {
    url.as_str().trim_end_matches('/').into()
}

/// The host without the brackets of an IPv6 address.
fn host(url: &Url) -> Option<&str> {
    Some(url.host_str()?.trim_matches(['[', ']']))
}

/// Connects to where a URL points.
pub(super) async fn knock(url: &Url) -> io::Result<TcpStream> {
    let place = host(url).zip(url.port_or_known_default());
    let (host, port) = place.ok_or(io::ErrorKind::InvalidInput)?;
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
    let look = async {
        let stream = knock(base).await.ok()?;
        let name = ServerName::try_from(host(base)?.to_owned()).ok()?;
        let connector = TlsConnector::from(tls::client(true).ok()?);
        connector.connect(name, stream).await.ok()
    };
    let looked = tokio::time::timeout(LOOK, look).await;
    looked.is_ok_and(|connected| connected.is_some())
}

/// Where Home Assistant is on this host instead: the other of its two usual ports.
async fn elsewhere(base: &Url) -> Option<Url> {
    let port = match base.port_or_known_default()? {
        8123 => 80,
        80 | 443 => 8123,
        _ => return None,
    };
    let mut url = base.clone();
    url.set_scheme("http").ok()?;
    url.set_port(Some(port)).ok()?;
    let look = async {
        let mut stream = knock(&url).await.ok()?;
        let host = url.host_str()?;
        let request =
            format!("GET /manifest.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        let _ = stream.take(LOOK_MAX).read_to_end(&mut answer).await;
        let found = String::from_utf8_lossy(&answer).contains("\"Home Assistant\"");
        found.then_some(())
    };
    tokio::time::timeout(LOOK, look).await.ok()??;
    Some(url)
}

/// Header `Location`.
pub(super) fn location(headers: &http::HeaderMap) -> Option<String> {
    let to = headers.get(http::header::LOCATION)?.to_str().ok()?;
    Some(to.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn said(fault: &Fault, asked: &str, base: &str) -> String {
        fault.clone().said(asked, &url(base)).to_string()
    }

    fn status(code: u16) -> Fault {
        let location = None;
        Fault::Status { code, location }
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
        let lost = said(&status(301), "ws://ha/api/websocket", "http://ha/");
        let told = lost.contains("301") && lost.contains("ha_base_url");
        assert!(told, "{lost}");
    }

    #[test]
    fn schemes_keep_the_port() {
        for (base, scheme, shown) in [
            ("http://ha:8123/", "https", "https://ha:8123"),
            ("http://ha/", "https", "https://ha:80"),
            ("http://ha:443/x", "https", "https://ha/x"),
            ("https://ha:8123/", "http", "http://ha:8123"),
            ("https://ha/", "http", "http://ha:443"),
        ] {
            assert_eq!(&*with_scheme(&url(base), scheme), shown, "{base}");
        }
        let line = said(&Fault::NoTls, "wss://ha/api/websocket", "https://ha/");
        assert!(line.ends_with("set ha_base_url to http://ha:443"), "{line}");
    }

    #[test]
    fn every_fault_names_address_and_remedy_in_one_line() {
        let faults = [
            Fault::Refused,
            Fault::NoName,
            Fault::NoTls,
            Fault::Untrusted,
            Fault::OtherName,
            Fault::OutOfDate,
            Fault::Garbled(Cause::said("x")),
        ];
        let statuses = [400, 401, 403, 404, 200, 502, 504].map(status);
        let asked = "wss://ha.example/api/websocket";
        for fault in faults.into_iter().chain(statuses) {
            let line = said(&fault, asked, "https://ha.example/");
            let told = line.contains(asked) && line.contains(": ") && !line.contains('\n');
            assert!(told, "{fault:?}: {line}");
        }
    }
}
