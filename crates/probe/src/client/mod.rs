//! The five ways to a meter, as thin as they can be: what was said, how long it took.

pub mod dns;
pub mod http;
pub mod registers;
pub mod socket;
pub mod udp;

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::Fault;
use vocab::reason::{Cause, Failure};

/// What a name and a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A failure of the system as a fault.
pub(crate) fn unreached(error: std::io::Error) -> Fault {
    Fault::Unreached {
        error: Cause::from(error),
    }
}

/// That nothing came in this time.
pub(crate) const fn silent(within: Duration) -> Fault {
    Fault::Silent {
        seconds: within.as_secs(),
    }
}

/// The first address of `host:port`.
///
/// # Errors
/// That there is none.
pub(crate) async fn address(host: &str, port: u16) -> Result<SocketAddr, Fault> {
    let unknown = |why: String| Fault::Unreached {
        error: Cause::known(why, Failure::NoName),
    };
    let found: Vec<SocketAddr> = outgoing::http_client::addresses(host, port)
        .await
        .map_err(|none| unknown(none.to_string()))?;
    // A name may have both; batteries ask by IPv4.
    let first = found.iter().find(|address| address.is_ipv4());
    first
        .or(found.first())
        .copied()
        .ok_or_else(|| unknown(format!("{host} has no address")))
}

/// A TCP connection.
///
/// # Errors
/// Why there is none.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, Fault> {
    let connecting = async {
        let address = address(host, port).await?;
        TcpStream::connect(address).await.map_err(unreached)
    };
    timeout(CONNECT, connecting)
        .await
        .unwrap_or(Err(silent(CONNECT)))
}
