//! Who has a port that we want. A web server or Home Assistant that leaves its port for a moment is
//! being restarted: what it had is taken only after it has been free for long.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::{listener, spec::ListenerSpec};
use vocab::reason::Closed;

/// Longest that an answer is waited for.
const ASK: Duration = Duration::from_secs(2);
/// How much of an answer is read.
const ANSWER_MAX: u64 = 8 * 1024;
/// Ports that services of a host have: web servers, Home Assistant, the Supervisor's observer.
const SERVICE_PORTS: [u16; 4] = [80, 443, 4357, 8123];
/// Words of a `Server` header that name a web server or proxy.
const SERVERS: [&str; 9] = [
    "nginx",
    "apache",
    "caddy",
    "traefik",
    "lighttpd",
    "haproxy",
    "envoy",
    "openresty",
    "mini_httpd",
];
/// How long a web server's port has to be free: longer than an update of it takes.
const QUIET: Duration = Duration::from_secs(600);
/// The same for Home Assistant, whose database may be converted at a start.
const QUIET_HOME_ASSISTANT: Duration = Duration::from_secs(3600);
/// How often a port is looked at meanwhile.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A Home Assistant.
    HomeAssistant,
    /// A web server or proxy, by its name.
    Server(&'static str),
    /// Something that answers nothing known.
    Unknown,
}

impl Holder {
    /// From an answer to `GET /manifest.json`.
    fn of(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        if body.contains("\"Home Assistant\"") {
            return Self::HomeAssistant;
        }
        let server = head.lines().find_map(|line| {
            line.split_once(':')
                .filter(|(name, _)| name.trim().eq_ignore_ascii_case("server"))
        });
        let named = server
            .map(|(_, value)| value.to_ascii_lowercase())
            .unwrap_or_default();
        SERVERS
            .into_iter()
            .find(|word| named.contains(word))
            .map_or(Self::Unknown, Self::Server)
    }

    /// How long its port has to have been free before it is taken; `None`: it may be taken at once.
    #[must_use]
    pub fn quiet(&self, port: u16) -> Option<Duration> {
        match self {
            Self::HomeAssistant => Some(QUIET_HOME_ASSISTANT),
            Self::Server(_) => Some(QUIET),
            Self::Unknown => SERVICE_PORTS.contains(&port).then_some(QUIET),
        }
    }

    /// The reason on the board while its port is left alone.
    #[must_use]
    pub fn reason(&self, quiet: Duration) -> Closed {
        let minutes = quiet.as_secs() / 60;
        match self {
            Self::HomeAssistant => Closed::KeptForHomeAssistant { minutes },
            Self::Server(who) => Closed::KeptFor { who, minutes },
            Self::Unknown => Closed::KeptForSomebody { minutes },
        }
    }
}

/// Asks whoever listens there; [`Holder::Unknown`] where nobody answers in time.
pub async fn ask(wanted: &ListenerSpec) -> Holder {
    let ip = wanted
        .bind
        .filter(|ip| !ip.is_unspecified())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let asked = tokio::time::timeout(ASK, fetch(SocketAddr::new(ip, wanted.port))).await;
    asked
        .ok()
        .and_then(Result::ok)
        .map_or(Holder::Unknown, |answer| Holder::of(&answer))
}

async fn fetch(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /manifest.json HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // A connection that is cut in the middle has said enough.
    let _ = stream.take(ANSWER_MAX).read_to_end(&mut answer).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether nobody listens on any address of `wanted`. Nothing is listened on to find out: whoever
/// comes at that moment gets it.
#[must_use]
pub fn is_free(wanted: &ListenerSpec) -> bool {
    let taken = |address| {
        let bound = listener::bound(address);
        bound.is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
    };
    !wanted.addresses().into_iter().any(taken)
}

/// A port that is left alone until it has been free for long.
#[derive(Debug)]
pub struct Waiting {
    /// Who had it.
    pub holder: Holder,
    /// How long it has to be free.
    pub quiet: Duration,
    free_since: Option<Instant>,
}

impl Waiting {
    /// For a port that `holder` has now; `None` where there is no need to wait.
    #[must_use]
    pub fn of(holder: Holder, port: u16) -> Option<Self> {
        let quiet = holder.quiet(port)?;
        Some(Self {
            holder,
            quiet,
            free_since: None,
        })
    }

    /// At `now` the port was found free or not; whether it may be taken.
    pub fn over(&mut self, now: Instant, free: bool) -> bool {
        self.free_since = free.then(|| self.free_since.unwrap_or(now));
        self.free_since
            .is_some_and(|since| now.duration_since(since) >= self.quiet)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn holders_are_known_by_their_answer() {
        let ha = "HTTP/1.1 200 OK\r\nContent-Type: application/manifest+json\r\n\r\n{\"name\": \"Home Assistant\"}";
        assert_eq!(Holder::of(ha), Holder::HomeAssistant);
        let nginx = "HTTP/1.1 404 Not Found\r\nserver: nginx/1.27\r\n\r\nnot Home Assistant";
        assert_eq!(Holder::of(nginx), Holder::Server("nginx"));
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "SSH-2.0-x",
            "HTTP/1.1 200 OK\r\nServer: ShellyHTTP\r\n\r\n{}",
        ] {
            assert_eq!(Holder::of(text), Holder::Unknown, "{text}");
        }
        assert_eq!(Holder::Unknown.quiet(8080), None);
        assert_eq!(
            [80, 443, 8123].map(|port| Holder::Unknown.quiet(port)),
            [Some(QUIET); 3]
        );
        assert!(Holder::HomeAssistant.quiet(8080) > Holder::Server("nginx").quiet(8080));
    }

    #[test]
    fn a_restart_is_no_end() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let mut waiting = Waiting::of(Holder::Server("nginx"), 80).unwrap();
        assert!(!waiting.over(began, false));
        assert!(!waiting.over(began + second, true));
        assert!(!waiting.over(began + QUIET, true));
        assert!(
            !waiting.over(began + QUIET + second * 2, false),
            "it came back"
        );
        assert!(!waiting.over(began + QUIET * 2, true));
        assert!(waiting.over(began + QUIET * 3, true));
    }
}
