//! Which ports of this host are Home Assistant's, from all that says so: the Supervisor, Home
//! Assistant itself, the configured URL, the address that the link has, and what all these said in
//! an earlier run.

use std::{net::IpAddr, time::Duration};

use tokio::sync::watch;
use tracing::{debug, info};
use url::{Host, Url};

use super::{kept, shared::Shared};
use crate::supervisor::Supervisor;
use config::SourceKind;
use source::{HaFacts, HttpPlace};
use store::Store;
use transport::reserve::{Hosts, PortGuard, Reservation, is_own, own_addresses};

/// Key of the store.
const KEY: &str = "home_assistant_ports";
/// How long the Supervisor, and a name server, are waited for before the first port is opened.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a name without address is looked up again.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(15);

/// What each source says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    /// By an earlier run, until something newer is known.
    before: Vec<Reservation>,
    /// By the URL: the port, and the address if the name has one; `None` where it leads to another
    /// host.
    url: Option<Reservation>,
    /// By the Supervisor.
    supervisor: Option<u16>,
    /// By the link.
    link: Vec<Reservation>,
    /// The link was up at least once in this run, outside of recovery mode.
    fresh: bool,
}

impl Known {
    fn all(&self) -> Vec<Reservation> {
        let supervisor = self.supervisor.map(|port| seen(port, None));
        let mut all = self.link.clone();
        if self.fresh {
            all.extend(supervisor);
        } else if let Some(supervisor) = supervisor.filter(|_| self.link.is_empty()) {
            // It knows where Home Assistant is now; an earlier run may know more of the same place.
            if self.before.iter().any(|r| r.port == supervisor.port) {
                all.extend(self.before.iter().cloned());
            } else {
                all.push(supervisor);
            }
        } else {
            all.extend(self.before.iter().chain(&self.url).cloned());
        }
        let mut once: Vec<Reservation> = Vec::new();
        for reservation in all {
            // Where Home Assistant says on which addresses it listens, a bare port says less.
            let bare = matches!(reservation.hosts, Hosts::Seen(_));
            let says_more = |r: &Reservation| {
                bare && r.port == reservation.port && !matches!(r.hosts, Hosts::Seen(_))
            };
            if !once.iter().any(|r| *r == reservation || says_more(r)) {
                once.push(reservation);
            }
        }
        once
    }

    /// Ports that are known to be Home Assistant's here. That of a URL whose host has no address
    /// (yet) is left alone too, but Home Assistant may as well be elsewhere.
    fn sure(&self) -> Vec<u16> {
        let bare = |port| Some(seen(port, None));
        let sure = |r: &Reservation| {
            let only_named = self.url.as_ref() == Some(r) && self.url == bare(r.port);
            !only_named || self.supervisor == Some(r.port)
        };
        let mut ports: Vec<u16> = self
            .all()
            .iter()
            .filter(|r| sure(r))
            .map(|r| r.port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// A port of Home Assistant, and an address that it was seen on.
const fn seen(port: u16, ip: Option<IpAddr>) -> Reservation {
    Reservation {
        port,
        hosts: Hosts::Seen(ip),
    }
}

/// What the link and Home Assistant itself say, seen from a host with these addresses. Behind the
/// Supervisor it is always here.
fn of_link(facts: &HaFacts, supervised: bool, own: &[IpAddr]) -> Vec<Reservation> {
    let peer = facts
        .address
        .zip(facts.port)
        .filter(|(ip, _)| is_own(*ip, own));
    let here = supervised || peer.is_some();
    let mut all: Vec<Reservation> = Vec::new();
    if here {
        all.extend(facts.places.configured.iter().map(configured));
    }
    let internal = facts.places.internal_url.as_deref();
    let internal = internal.and_then(|url| Url::parse(url).ok());
    let internal = internal.as_ref().and_then(|url| {
        let ip = literal(&url.host()?).filter(|ip| is_own(*ip, own) && here)?;
        Some((ip, url.port_or_known_default()?))
    });
    for (ip, port) in peer.into_iter().chain(internal) {
        if all.iter().all(|told| told.port != port) {
            all.push(seen(port, Some(ip.to_canonical())));
        }
    }
    all
}

fn configured(place: &HttpPlace) -> Reservation {
    let hosts: Option<Vec<IpAddr>> = place.hosts.iter().map(|host| host.parse().ok()).collect();
    let hosts = match hosts {
        Some(hosts) if !hosts.is_empty() && !hosts.iter().any(IpAddr::is_unspecified) => {
            Hosts::Only(hosts)
        }
        // All, or by name.
        _ => Hosts::All,
    };
    Reservation {
        port: place.port,
        hosts,
    }
}

fn literal(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
        Host::Domain(_) => None,
    }
}

/// What a URL says whose host has these addresses; `None`: they could not be found.
fn of_url(url: &Url, found: Option<&[IpAddr]>, own: &[IpAddr]) -> Option<Reservation> {
    let (host, port) = (url.host()?, url.port_or_known_default()?);
    let own = |ip: &IpAddr| is_own(*ip, own);
    let ip = match (found, literal(&host)) {
        // Without one of ours it leads to another host.
        (Some(found), _) => Some(found.iter().copied().find(own)?),
        (None, Some(ip)) => Some(Some(ip).filter(own)?),
        (None, None) => None,
    };
    Some(seen(port, ip))
}

/// Addresses of the URL's host, once they can be found.
async fn look_up(url: &Url) -> Option<Vec<IpAddr>> {
    match url.host()? {
        Host::Domain(name) => {
            let asked = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await;
            let found: Vec<IpAddr> = asked.ok()?.ok()?.map(|address| address.ip()).collect();
            (!found.is_empty()).then_some(found)
        }
        host => literal(&host).map(|ip| vec![ip]),
    }
}

/// Keeps the guard up to date.
pub struct Reserving {
    known: Known,
    url: Option<Url>,
    /// The URL's host is known, or there is none.
    sure: bool,
    supervisor: Option<Supervisor>,
    facts: watch::Receiver<HaFacts>,
    store: Store,
    guard: PortGuard,
    /// The ports that the log named last.
    said: Vec<u16>,
}

impl Reserving {
    /// What is known before the first port is opened.
    pub async fn begin(shared: &Shared, supervisor: Option<Supervisor>) -> Self {
        let (source, store) = (shared.source(), shared.store.clone());
        let before = kept::get(&store, KEY).unwrap_or_default();
        // Behind the Supervisor the URL is not used.
        let url = if supervisor.is_none() && source.kind == SourceKind::HomeAssistant {
            Url::parse(source.ha_base_url.trim()).ok()
        } else {
            None
        };
        let known = Known {
            before,
            ..Known::default()
        };
        let mut this = Self {
            known,
            sure: url.is_none(),
            url,
            supervisor,
            facts: shared.facts.clone(),
            store,
            guard: shared.board.guard().clone(),
            said: Vec::new(),
        };
        this.ask_supervisor().await;
        this.ask_names().await;
        this.put();
        this
    }

    async fn ask_supervisor(&mut self) -> bool {
        let Some(supervisor) = &self.supervisor else {
            return true;
        };
        match tokio::time::timeout(PATIENCE, supervisor.core_info()).await {
            Ok(Ok(info)) => {
                // In recovery mode it says where Home Assistant is, not where it wants to be.
                if let Some(port) = info.port.filter(|_| !self.facts.borrow().places.recovery) {
                    self.known.supervisor = Some(port);
                }
                return true;
            }
            Ok(Err(error)) => debug!(%error, "the Supervisor does not say where Home Assistant is"),
            Err(_) => debug!("the Supervisor did not answer in time"),
        }
        false
    }

    async fn ask_names(&mut self) {
        let Some(url) = &self.url else { return };
        let found = look_up(url).await;
        self.sure = found.is_some();
        self.known.url = of_url(url, found.as_deref(), &own_addresses());
    }

    /// Puts in force what is known, and keeps it for the next start.
    fn put(&mut self) {
        let all = self.known.all();
        let ports = self.known.sure();
        if ports != self.said {
            let list: Vec<String> = ports.iter().map(u16::to_string).collect();
            let list = Some(list.join(", ")).filter(|list| !list.is_empty());
            let list = list.as_deref().unwrap_or("none");
            info!("ports of Home Assistant on this host, left alone: {list}");
            self.said = ports;
        }
        kept::put(&self.store, KEY, &all);
        self.guard.set(all);
    }

    /// Follows all that may change. Never ends.
    pub async fn run(mut self) {
        let unsaid = self.supervisor.is_some() && self.known.supervisor.is_none();
        let mut ask_again = unsaid.then_some(Duration::from_secs(2));
        let mut was_up = false;
        loop {
            let facts = self.facts.borrow_and_update().clone();
            let up = facts.state.is_some();
            if up {
                self.known.link = of_link(&facts, self.supervisor.is_some(), &own_addresses());
                if facts.places.recovery {
                    // It is where it could go, and wants back: both are kept free for it.
                    self.known.fresh = false;
                } else {
                    self.known.fresh = true;
                    self.known.before = self.known.link.clone();
                }
                self.put();
                if !was_up && self.supervisor.is_some() {
                    ask_again = Some(Duration::from_secs(1));
                }
            }
            was_up = up;
            let pause = ask_again.or((!self.sure).then_some(LOOK_UP_AGAIN));
            tokio::select! {
                Ok(()) = self.facts.changed() => {}
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {
                    if let Some(last) = ask_again {
                        let again = (last * 2).min(Duration::from_secs(60));
                        ask_again = (!self.ask_supervisor().await).then_some(again);
                    } else {
                        self.ask_names().await;
                    }
                    self.put();
                }
                // Nobody tells of it any more.
                else => return std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use source::HaPlaces;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn own() -> Vec<IpAddr> {
        vec![ip("127.0.0.1"), ip("192.0.2.5")]
    }

    #[test]
    fn a_url_reserves_a_port_of_this_host_only() {
        let said = |url: &str, found: Option<&[&str]>| {
            let found = found.map(|all| all.iter().map(|text| ip(text)).collect::<Vec<_>>());
            of_url(&Url::parse(url).unwrap(), found.as_deref(), &own())
        };
        let at = |port, at: Option<&str>| Some(seen(port, at.map(ip)));
        let two = &["203.0.113.7", "192.0.2.5"][..];
        for (url, found, want) in [
            ("http://localhost", None, at(80, None)),
            ("http://127.0.0.1:8123/x", None, at(8123, Some("127.0.0.1"))),
            ("https://[::1]", None, at(443, Some("::1"))),
            ("http://ha.lan", Some(two), at(80, Some("192.0.2.5"))),
            // Another host.
            ("http://ha.lan", Some(&two[..1]), None),
            ("http://203.0.113.7", None, None),
            // It cannot be told otherwise.
            ("http://ha.lan:81", None, at(81, None)),
        ] {
            assert_eq!(said(url, found), want, "{url}");
        }
    }

    fn facts(address: &str, port: u16, places: HaPlaces) -> HaFacts {
        HaFacts {
            address: Some(ip(address)),
            port: Some(port),
            state: Some("RUNNING".into()),
            places,
            ..HaFacts::default()
        }
    }

    #[test]
    fn the_link_and_home_assistants_own_words() {
        let place = |port, hosts: &[&str]| HttpPlace {
            port,
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        };
        let told = |places: Vec<HttpPlace>| HaPlaces {
            configured: places.into(),
            ..HaPlaces::default()
        };
        let at = |port, hosts| Reservation { port, hosts };
        let port = |port, address| seen(port, Some(ip(address)));
        let url = HaPlaces {
            internal_url: Some("http://192.0.2.5".into()),
            ..HaPlaces::default()
        };
        let two = told(vec![
            place(8123, &["192.0.2.5"]),
            place(80, &["::", "0.0.0.0"]),
        ]);
        let only = Hosts::Only(vec![ip("192.0.2.5")]);
        let elsewhere = told(vec![place(80, &[])]);
        let proxied = told(vec![place(8123, &[])]);
        for (facts, supervised, want) in [
            (
                facts("127.0.0.1", 80, HaPlaces::default()),
                false,
                vec![port(80, "127.0.0.1")],
            ),
            // Another host's port is not ours to keep.
            (facts("203.0.113.7", 80, elsewhere), false, vec![]),
            (
                facts("172.30.32.2", 80, two),
                true,
                vec![at(8123, only), at(80, Hosts::All)],
            ),
            // A proxy in front, on this host as well.
            (
                facts("192.0.2.5", 443, proxied),
                false,
                vec![at(8123, Hosts::All), port(443, "192.0.2.5")],
            ),
            (
                facts("172.30.32.2", 80, url.clone()),
                true,
                vec![port(80, "192.0.2.5")],
            ),
            // The same private network elsewhere.
            (facts("203.0.113.7", 80, url), false, vec![]),
        ] {
            assert_eq!(of_link(&facts, supervised, &own()), want, "{facts:?}");
        }
    }

    #[test]
    fn a_port_that_may_be_elsewhere_is_not_called_home_assistants() {
        let at = |address: Option<&str>| seen(8123, address.map(ip));
        let known = |url: Reservation, before: Option<Reservation>| Known {
            before: before.into_iter().collect(),
            url: Some(url),
            ..Known::default()
        };
        let mut unknown = known(at(None), None);
        assert_eq!((unknown.all(), unknown.sure()), (vec![at(None)], vec![]));
        unknown.before = vec![at(None)];
        assert_eq!(unknown.sure(), [0; 0], "an earlier run knew no more");
        unknown.supervisor = Some(8123);
        assert_eq!(unknown.sure(), [8123]);
        let here = at(Some("127.0.0.1"));
        let once = known(here.clone(), Some(at(Some("192.0.2.5"))));
        assert_eq!((once.all().len(), once.sure()), (2, vec![8123]), "once");
    }

    #[test]
    fn what_was_known_counts_until_something_newer_is() {
        let at = |port| seen(port, None);
        let mut known = Known {
            before: vec![at(80)],
            ..Known::default()
        };
        assert_eq!(known.all(), [at(80)], "Home Assistant is down at the start");
        known.supervisor = Some(8123);
        assert_eq!(known.all(), [at(8123)], "moved while we were away");
        known.supervisor = None;
        (known.link, known.fresh) = (vec![at(8123)], true);
        assert_eq!(known.all(), [at(8123)]);
        (known.link, known.fresh) = (vec![at(8123)], false);
        assert_eq!(
            known.all(),
            [at(8123), at(80)],
            "recovery mode: where it is and where it wants to be"
        );
    }
}
