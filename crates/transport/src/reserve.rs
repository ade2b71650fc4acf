//! Ports of this host that are Home Assistant's own: never bound here, not even while it is down,
//! and given back when it turns out that they are. A Home Assistant that finds its port taken
//! starts in recovery mode.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, sync::watch};

use super::spec::ListenerSpec;

/// How long somebody on another address of this host is waited for.
const CONNECT: Duration = Duration::from_secs(1);

/// On which addresses of this host Home Assistant listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hosts {
    /// On all of them.
    All,
    /// On these and no others: its own configuration says so.
    Only(Vec<IpAddr>),
    /// It was reached at this one, or only its port is known; whether it has others too is not.
    Seen(Option<IpAddr>),
}

/// A port of Home Assistant on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// TCP port.
    pub port: u16,
    /// Addresses.
    pub hosts: Hosts,
}

/// What a listener may do about a port; of several the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// It is free for it, as far as is known.
    None,
    /// Home Assistant is on this port, on another address perhaps: only beside somebody who listens
    /// there at that moment.
    Beside,
    /// It is Home Assistant's.
    Taken,
}

impl Reservation {
    /// What a listener on `bind` (`None`: every address) and this port has to do.
    #[must_use]
    pub fn claim(&self, bind: Option<IpAddr>, port: u16) -> Claim {
        // Port 0 is the system's choice, which is never one that somebody has.
        if port != self.port || port == 0 {
            return Claim::None;
        }
        let Some(bind) = bind
            .map(|ip| ip.to_canonical())
            .filter(|ip| !ip.is_unspecified())
        else {
            return Claim::Taken;
        };
        match &self.hosts {
            Hosts::All => Claim::Taken,
            Hosts::Only(hosts)
                if hosts
                    .iter()
                    .any(|ip| ip.is_unspecified() || ip.to_canonical() == bind) =>
            {
                Claim::Taken
            }
            Hosts::Only(_) => Claim::None,
            Hosts::Seen(Some(ip)) if ip.to_canonical() == bind => Claim::Taken,
            Hosts::Seen(_) => Claim::Beside,
        }
    }
}

/// All reservations; every listener asks before it binds and goes when one comes.
#[derive(Clone, Debug, Default)]
pub struct PortGuard(watch::Sender<Vec<Reservation>>);

impl PortGuard {
    /// These are Home Assistant's from now on, and no others.
    pub fn set(&self, reservations: Vec<Reservation>) {
        self.0.send_if_modified(|old| {
            let changed = *old != reservations;
            *old = reservations;
            changed
        });
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Reservation> {
        self.0.borrow().clone()
    }

    /// What this listener may do.
    #[must_use]
    pub fn claim(&self, wanted: &ListenerSpec) -> Claim {
        greatest(&self.0.borrow(), wanted)
    }

    /// Ends once the port of this listener is known to be Home Assistant's.
    pub async fn taken(&self, wanted: &ListenerSpec) {
        self.wait(|claim| claim == Claim::Taken, wanted).await;
    }

    /// Ends once it no longer is.
    pub async fn given_back(&self, wanted: &ListenerSpec) {
        self.wait(|claim| claim != Claim::Taken, wanted).await;
    }

    async fn wait(&self, so: impl Fn(Claim) -> bool, wanted: &ListenerSpec) {
        // The sender lives in `self`, so it does not fail.
        let mut all = self.0.subscribe();
        let _ = all.wait_for(|all| so(greatest(all, wanted))).await;
    }
}

fn greatest(all: &[Reservation], wanted: &ListenerSpec) -> Claim {
    let claims = all.iter().map(|r| r.claim(wanted.bind, wanted.port));
    claims.max().unwrap_or(Claim::None)
}

/// This host's addresses, those of loopback included.
#[must_use]
pub fn own_addresses() -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|i| i.ip().to_canonical())
        .collect();
    all.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    all.sort();
    all.dedup();
    all
}

/// Whether this address is one of this host.
#[must_use]
pub fn is_own(ip: IpAddr, own: &[IpAddr]) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified() || own.contains(&ip)
}

/// Whether somebody listens on this port on another address of this host: then one who listens on
/// all of them is not there, or this one could not have been bound.
pub async fn somebody_beside(bind: IpAddr, port: u16) -> bool {
    let others = own_addresses()
        .into_iter()
        .filter(|ip| *ip != bind.to_canonical());
    let knocks = others.map(|ip| async move {
        let knock = TcpStream::connect(SocketAddr::new(ip, port));
        matches!(tokio::time::timeout(CONNECT, knock).await, Ok(Ok(_)))
    });
    futures_util::future::join_all(knocks).await.contains(&true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_may_have_a_port_of_home_assistant() {
        let at = |hosts| Reservation { port: 80, hosts };
        let (one, two) = (ip("192.0.2.5"), ip("192.0.2.6"));
        let cases = [
            (Hosts::All, None, Claim::Taken),
            (Hosts::All, Some(two), Claim::Taken),
            (Hosts::Only(vec![one]), None, Claim::Taken),
            (Hosts::Only(vec![one]), Some(one), Claim::Taken),
            (Hosts::Only(vec![one]), Some(two), Claim::None),
            (Hosts::Only(vec![ip("0.0.0.0")]), Some(two), Claim::Taken),
            (
                Hosts::Seen(Some(one)),
                Some(ip("::ffff:192.0.2.5")),
                Claim::Taken,
            ),
            (Hosts::Seen(Some(ip("127.0.0.1"))), Some(one), Claim::Beside),
            (Hosts::Seen(None), Some(one), Claim::Beside),
            (Hosts::Seen(None), Some(ip("0.0.0.0")), Claim::Taken),
            (Hosts::Seen(None), Some(ip("::")), Claim::Taken),
        ];
        for (hosts, bind, claim) in cases {
            assert_eq!(
                at(hosts.clone()).claim(bind, 80),
                claim,
                "{hosts:?} {bind:?}"
            );
            assert_eq!(at(hosts).claim(bind, 8080), Claim::None);
        }
        assert_eq!(
            Reservation {
                port: 0,
                hosts: Hosts::All
            }
            .claim(None, 0),
            Claim::None
        );
    }

    #[test]
    fn own_addresses_hold_loopback_and_not_the_world() {
        let own = own_addresses();
        assert!(
            is_own(ip("127.0.0.1"), &own)
                && is_own(ip("::1"), &own)
                && is_own(ip("127.8.8.8"), &own)
        );
        assert!(!is_own(ip("203.0.113.9"), &own));
    }

    #[tokio::test]
    async fn somebody_beside_is_found() {
        let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = there.local_addr().unwrap().port();
        assert!(somebody_beside(ip("127.0.0.2"), port).await);
        assert!(!somebody_beside(ip("127.0.0.1"), port).await, "not itself");
        drop(there);
        assert!(!somebody_beside(ip("127.0.0.2"), port).await);
    }
}
