//! mDNS: how readers find the meter (`docs/protocol/mdns.md`).
//!
//! A meter is announced on the interfaces that reach the LAN, while its HTTP port is ours, and only
//! once each used phase has had a value: a reader that meets a meter without figures may drop it
//! for good. It says goodbye before it is announced and at the end, so that a reader that dropped
//! it takes it again (`docs/protocol/readers.md#victron-found-by-mdns`).

mod announcement;
mod interfaces;
mod responder;
mod schedule;
pub mod self_query;
mod zone;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::{
    announcement::{Announcement, announceable, host_name, told_apart},
    interfaces::{Interfaces, lan_address},
};
use self::{
    interfaces::{InterfaceAddresses, outside},
    responder::Responder,
};
use super::{
    board::{Board, Line, ListenerState, Place},
    ground::Ground,
};
use vocab::{meter_name, reason::Closed};

/// How often addresses are looked at.
const RECHECK: Duration = Duration::from_secs(15);

/// A meter that is announced.
pub struct Member {
    /// What is said of it.
    pub announcement: Announcement,
    /// Its values and its name: once each used phase has had a value, it is announced.
    pub ground: watch::Receiver<Arc<Ground>>,
}

/// One meter and what was said of it last.
struct Meter {
    member: Member,
    ready: bool,
    name: Name,
    told: Option<Result<u16, Closed>>,
}

/// The device's name, and whether it may be announced.
#[derive(Default)]
struct Name {
    wanted: Option<String>,
    free: bool,
}

/// Announces all meters until `stop`, then says goodbye.
pub async fn run(
    members: Vec<Member>,
    interfaces: Interfaces,
    board: Board,
    stop: CancellationToken,
) {
    let start = |member| Meter {
        member,
        ready: false,
        name: Name::default(),
        told: None,
    };
    let mut meters: Vec<Meter> = members.into_iter().map(start).collect();
    let mut responders: BTreeMap<String, Responder> = BTreeMap::new();
    let (mut told_none, mut failed) = (false, None);
    let mut lines = board.subscribe();
    loop {
        lines.mark_unchanged();
        let mut found = interfaces.now();
        found.retain(|f| f.v4().next().is_some());
        follow_interfaces(&mut responders, &found, &mut failed).await;
        if found.is_empty() && !told_none {
            warn!(
                "mDNS found no network interface with an address to announce on: name one in `mdns_interfaces`"
            );
        }
        told_none = found.is_empty();
        tokio::select! {
            () = stop.cancelled() => break,
            () = follow_names(&mut meters, &interfaces) => {}
        }
        for meter in &mut meters {
            meter.ready |= !meter.member.ground.borrow().view.stale();
            let port = board.http_port(&meter.member.announcement.meter);
            let decided = decide(&meter.member.announcement, port, meter.ready, &found);
            meter.tell(decided, failed.as_ref(), &board);
        }
        for found in &found {
            let Some(responder) = responders.get(&found.name) else {
                continue;
            };
            responder.announce(meters.iter().flat_map(|meter| meter.units(found)).collect());
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = lines.changed() => if changed.is_err() { break },
            _ = select_all(meters.iter_mut().map(|meter| Box::pin(meter.news()))) => {}
            () = tokio::time::sleep(RECHECK) => {}
        }
    }
    join_all(responders.into_values().map(Responder::end)).await;
}

/// Keeps a responder on each of these interfaces, and on no others.
async fn follow_interfaces(
    responders: &mut BTreeMap<String, Responder>,
    found: &[InterfaceAddresses],
    failed: &mut Option<Closed>,
) {
    let here = |name: &str, address: Ipv4Addr| {
        found
            .iter()
            .any(|f| f.name == name && f.v4().any(|ip| ip == address))
    };
    for (_, gone) in responders.extract_if(.., |name, responder| !here(name, responder.address)) {
        gone.end().await;
    }
    let mut error = None;
    for found in found {
        let Some(address) = found
            .v4()
            .next()
            .filter(|_| !responders.contains_key(&found.name))
        else {
            continue;
        };
        match Responder::start(address, found.networks()) {
            Ok(responder) => {
                info!(interface = %found.name, "mDNS announces on this interface");
                responders.insert(found.name.clone(), responder);
            }
            Err(why) => {
                error = Some(Closed::NoResponder {
                    name: found.name.as_str().into(),
                    error: why.into(),
                });
            }
        }
    }
    if let Some(error) = error.as_ref().filter(|_| error != *failed) {
        warn!(
            "{error}; readers that search the network will not find the meter; by address it works"
        );
    }
    *failed = error;
}

/// Takes a device's new name over, unless somebody else in the network has it: `nas.local` stays
/// who it is.
async fn follow_names(meters: &mut [Meter], interfaces: &Interfaces) {
    for index in 0..meters.len() {
        let Some(meter) = meters.get(index) else {
            continue;
        };
        let name = named(&meter.member.ground.borrow()).map(ToOwned::to_owned);
        if name == meter.name.wanted {
            continue;
        }
        let mut free = false;
        if let Some(host) = meter.host_of(name.as_deref()) {
            let ours = |other: &Meter| {
                let theirs = other.host_of(other.name.wanted.as_deref());
                theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(&host))
            };
            let others = meters.iter().enumerate();
            let mut others = others.filter(|(at, _)| *at != index);
            free = !others.any(|(_, other)| ours(other))
                && !self_query::taken(interfaces, &host).await;
            if !free {
                warn!(
                    meter = meter_name(&meter.member.announcement.meter),
                    "mDNS does not announce the name {host}.local: somebody else in the network has it; the device's id is announced"
                );
            }
        }
        if let Some(meter) = meters.get_mut(index) {
            meter.name = Name { wanted: name, free };
        }
    }
}

/// The port to announce a meter with; or what it lacks.
fn decide(
    announcement: &Announcement,
    port: Option<u16>,
    ready: bool,
    found: &[InterfaceAddresses],
) -> Result<u16, Closed> {
    if found.is_empty() {
        return Err(Closed::NoInterface);
    }
    if let Some(why) = announcement.address.and_then(|fixed| outside(fixed, found)) {
        return Err(why);
    }
    let port = port.ok_or(Closed::NoHttpPort)?;
    if ready {
        Ok(port)
    } else {
        Err(Closed::NoValues)
    }
}

impl Meter {
    /// The host name that the device has by this name.
    fn host_of(&self, name: Option<&str>) -> Option<String> {
        self.member.announcement.named_host(name?)
    }

    /// Says what is new in the log and on the board.
    fn tell(&mut self, decided: Result<u16, Closed>, failed: Option<&Closed>, board: &Board) {
        let announcement = &self.member.announcement;
        let meter = meter_name(&announcement.meter);
        if self.told.as_ref() != Some(&decided) {
            match &decided {
                Ok(port) => {
                    info!(
                        meter,
                        "mDNS announces {} as {}.local port {port}",
                        announcement.instance,
                        announcement.host
                    );
                    if !announcement.shelly {
                        warn!(
                            meter,
                            "not announced as _shelly._tcp: readers that know only port 80 would take the values of another \
                             meter for its own; give it an address of its own (`bind`) and port 80, or enter {}.local in the reader",
                            announcement.host
                        );
                    }
                }
                Err(why @ Closed::OutsideNetworks { .. }) => {
                    warn!(
                        meter,
                        "mDNS does not announce {}: {why}", announcement.instance
                    );
                }
                Err(_) => {}
            }
        }
        let state = match (&decided, failed) {
            (Ok(_), None) => ListenerState::Listening,
            (Ok(_), Some(why)) | (Err(why), _) => ListenerState::waiting(why.clone()),
        };
        let address = Place::Named(format!("{}.local", announcement.host));
        board.set(Line {
            name: "mdns",
            meter: announcement.meter.clone(),
            address,
            port: 5353,
            state,
        });
        self.told = Some(decided);
    }

    /// What is announced of it on this interface.
    fn units(&self, found: &InterfaceAddresses) -> Vec<zone::Unit> {
        let Some(Ok(port)) = self.told else {
            return Vec::new();
        };
        let addresses: Vec<IpAddr> = found.announced(self.member.announcement.address);
        let name = self.name.wanted.as_deref().filter(|_| self.name.free);
        self.member.announcement.units(port, &addresses, name)
    }

    /// Waits for its first values, and for another name.
    async fn news(&mut self) {
        let (ready, name) = (self.ready, &self.name.wanted);
        let news = |ground: &Arc<Ground>| {
            (!ready && !ground.view.stale()) || named(ground) != name.as_deref()
        };
        if self.member.ground.wait_for(news).await.is_err() {
            // The meter is being taken down; the stop follows.
            std::future::pending::<()>().await;
        }
    }
}

/// The name that a reader gave the device.
fn named(ground: &Ground) -> Option<&str> {
    ground.state.name.as_deref().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{interfaces::tests::interface, *};
    use config::MdnsProfile;
    use device::Identity;

    pub(super) fn identity() -> Identity {
        Identity::of_mac(&vocab::Mac::parse("AABBCCDDEEFF").unwrap())
    }

    #[test]
    fn a_meter_is_announced_where_its_port_is_ours_its_address_known_and_its_values_have_come() {
        let meter = |address: Option<&str>| {
            Announcement::new(
                "",
                &identity(),
                MdnsProfile::Device,
                None,
                address.map(|address| address.parse().unwrap()),
            )
        };
        let found = [interface("eth0", "192.0.2.5", 24)];
        let said = |address, port, ready, found: &[InterfaceAddresses]| {
            decide(&meter(address), port, ready, found)
        };
        assert_eq!(said(None, Some(80), true, &found), Ok(80));
        assert_eq!(said(None, Some(80), false, &found), Err(Closed::NoValues));
        assert_eq!(said(Some("192.0.2.9"), Some(80), true, &found), Ok(80));
        assert!(matches!(
            said(Some("203.0.113.1"), Some(80), true, &found),
            Err(Closed::OutsideNetworks { .. })
        ));
        assert_eq!(said(None, None, true, &found), Err(Closed::NoHttpPort));
        assert_eq!(
            said(Some("203.0.113.1"), Some(80), true, &[]),
            Err(Closed::NoInterface),
            "no interface is another matter"
        );
        let fixed: IpAddr = "192.0.2.9".parse().unwrap();
        assert_eq!(found[0].announced(Some(fixed)), vec![fixed]);
        assert_eq!(
            found[0].announced(None),
            ["192.0.2.5".parse::<IpAddr>().unwrap()]
        );
    }
}
