//! mDNS: how readers find the meter (`shelly-pro-3em.md` section 8).
//!
//! One responder for the process, on the interfaces that reach the LAN. A meter is announced only while
//! its HTTP port is ours, announced anew when addresses change, and says goodbye at the end, so that a
//! reader that dropped it comes back after a restart (`consumers.md` 1.7).

pub mod self_query;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use if_addrs::IfAddr;
use ipnet::IpNet;
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::board::{Board, Line, ListenerState};
use crate::{config::MdnsProfile, device::Identity};

/// How often addresses are looked at.
const RECHECK: Duration = Duration::from_secs(15);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(700);

/// What one meter announces.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The meter's name, empty for the first.
    pub meter: String,
    /// Instance: the device id, in small letters.
    pub instance: String,
    /// Host without `.local.`: `ShellyPro3EM-AABBCCDDEEFF`.
    pub host: String,
    /// `mdns_ip`, or the meter's own bind address; `None`: those of the interface.
    pub address: Option<IpAddr>,
    /// TXT of `_http._tcp`.
    pub http_txt: Vec<(&'static str, String)>,
    /// TXT of `_shelly._tcp`.
    pub shelly_txt: Vec<(&'static str, String)>,
}

impl Announcement {
    /// Names and TXT records of a device by its profile.
    #[must_use]
    pub fn new(meter: &str, identity: &Identity, profile: MdnsProfile, host: Option<&str>, address: Option<IpAddr>) -> Self {
        let (generation, app) = match profile {
            MdnsProfile::Solakon => ("3".to_owned(), "shellypro3em".to_owned()),
            _ => (identity.generation.to_string(), identity.app.clone()),
        };
        let mut http_txt = vec![("gen", generation.clone())];
        let mut shelly_txt = vec![("gen", generation), ("app", app), ("ver", identity.ver.clone())];
        if profile != MdnsProfile::Device {
            let extra = [
                ("id", identity.id.clone()),
                ("mac", colons(&identity.mac)),
                ("model", identity.model.clone()),
                ("fw_id", identity.fw_id.clone()),
            ];
            http_txt.extend(shelly_txt[1..].to_vec());
            http_txt.extend(extra.clone());
            shelly_txt.extend(extra);
        }
        Self {
            meter: meter.to_owned(),
            instance: identity.id.to_ascii_lowercase(),
            host: host.map_or_else(|| format!("ShellyPro3EM-{}", identity.mac), ToOwned::to_owned),
            address,
            http_txt,
            shelly_txt,
        }
    }

    fn services(&self, port: u16, addresses: &[IpAddr]) -> Result<[ServiceInfo; 2], mdns_sd::Error> {
        let make = |kind: &str, txt: &[(&'static str, String)]| {
            let host = format!("{}.local.", self.host);
            ServiceInfo::new(kind, &self.instance, &host, addresses, port, txt).map(|mut service| {
                // The name is ours by its MAC. A probe could only end in a renamed device, which no reader knows.
                service.set_requires_probe(false);
                service
            })
        };
        Ok([make("_http._tcp.local.", &self.http_txt)?, make("_shelly._tcp.local.", &self.shelly_txt)?])
    }
}

fn colons(mac: &str) -> String {
    mac.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect::<Vec<_>>().join(":")
}

/// Which interfaces to announce on.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    /// `mdns_interfaces`; empty: automatic.
    pub named: Vec<String>,
    /// The Supervisor's primary interface, where one is known.
    pub primary: Option<String>,
}

/// An interface that is announced on.
#[derive(Clone, Debug)]
struct Found {
    name: String,
    addresses: Vec<IfAddr>,
}

impl Interfaces {
    /// Interfaces to announce on now. Docker's bridges never come up by themselves.
    fn now(&self) -> Vec<Found> {
        let names = match (&self.named[..], &self.primary) {
            ([], Some(primary)) => vec![primary.clone()],
            ([], None) => default_route(&std::fs::read_to_string("/proc/net/route").unwrap_or_default()).into_iter().collect(),
            (named, _) => named.to_vec(),
        };
        let all = if_addrs::get_if_addrs().unwrap_or_default();
        names
            .into_iter()
            .map(|name| {
                let addresses = all.iter().filter(|i| i.name == name).map(|i| i.addr.clone()).collect();
                Found { name, addresses }
            })
            .collect()
    }
}

/// Why `fixed` reaches nobody: an address is announced only in its own network, and none of these interfaces is in it.
fn outside(fixed: IpAddr, found: &[Found]) -> Option<String> {
    let (mut inside, mut here) = (false, Vec::new());
    for (name, address) in found.iter().flat_map(|f| f.addresses.iter().map(move |a| (&f.name, a))) {
        let (ip, prefix) = match address {
            IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.prefixlen),
            IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.prefixlen),
        };
        let network = IpNet::new(ip, prefix).ok()?;
        inside |= network.contains(&fixed);
        if ip.is_ipv4() {
            here.push(format!("{network} on {name}"));
        }
    }
    (!inside).then(|| {
        format!(
            "{fixed} is in no network that is announced on ({}): correct `mdns_ip`, or `bind` where that is not set, or name the \
             interface of that network in `mdns_interfaces`",
            here.join(", ")
        )
    })
}

/// The interface of the default route with the least metric, from the text of `/proc/net/route`.
fn default_route(table: &str) -> Option<String> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let (name, destination, metric, mask) = (cells.first()?, cells.get(1)?, cells.get(6)?, cells.get(7)?);
            (*destination == "00000000" && *mask == "00000000").then_some((metric.parse::<u32>().ok()?, (*name).to_owned()))
        })
        .min()
        .map(|(_, name)| name)
}

#[derive(PartialEq)]
struct Announced {
    port: u16,
    addresses: Vec<IpAddr>,
}

/// One meter and what was said of it last.
struct Meter {
    announcement: Announcement,
    announced: Option<Announced>,
    /// Why it cannot be announced, as it was told.
    lost: Option<String>,
}

/// Announces all meters until `stop`, then says goodbye.
pub async fn run(announcements: Vec<Announcement>, interfaces: Interfaces, board: Board, stop: CancellationToken) {
    let Some(daemon) = start_daemon(&announcements, &board, &stop).await else { return };
    let mut enabled = BTreeSet::new();
    let mut meters: Vec<Meter> =
        announcements.into_iter().map(|announcement| Meter { announcement, announced: None, lost: None }).collect();
    let mut told_none = false;
    let mut lines = board.subscribe();
    loop {
        lines.mark_unchanged();
        let found = interfaces.now();
        follow_interfaces(&daemon, &found, &mut enabled);
        let none = here(&found).is_empty();
        if none && !told_none {
            warn!("mDNS found no network interface with an address to announce on: name one in `mdns_interfaces`");
        }
        told_none = none;
        for meter in &mut meters {
            let (wanted, lost) = decide(&meter.announcement, board.http_port(&meter.announcement.meter), &found);
            meter.say(wanted, lost, &daemon, &board).await;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = lines.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(RECHECK) => {}
        }
    }
    for meter in &meters {
        goodbye(&daemon, &meter.announcement).await;
    }
    if let Ok(done) = daemon.shutdown() {
        let _ = timeout(GOODBYE, done.recv_async()).await;
    }
}

/// The responder, on no interface yet; tried again and again, `None` at the stop.
async fn start_daemon(announcements: &[Announcement], board: &Board, stop: &CancellationToken) -> Option<ServiceDaemon> {
    let mut told = false;
    let mut pause = Duration::from_secs(5);
    loop {
        let error = match ServiceDaemon::new() {
            Ok(daemon) => {
                let _ = daemon.disable_interface(IfKind::All);
                return Some(daemon);
            }
            Err(error) => error,
        };
        if !std::mem::replace(&mut told, true) {
            warn!("mDNS cannot start ({error}): readers that search the network will not find the meter; by address it works");
        }
        for a in announcements {
            set_line(board, a, ListenerState::Waiting { reason: error.to_string() });
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => pause = (pause + Duration::from_secs(5)).min(RECHECK),
        }
    }
}

/// Announces on these interfaces and no others.
fn follow_interfaces(daemon: &ServiceDaemon, found: &[Found], enabled: &mut BTreeSet<String>) {
    for Found { name, .. } in found {
        if enabled.insert(name.clone()) {
            let _ = daemon.enable_interface(IfKind::Name(name.clone()));
            info!("mDNS announces on {name}");
        }
    }
    for gone in enabled.extract_if(.., |name| !found.iter().any(|f| f.name == *name)) {
        let _ = daemon.disable_interface(IfKind::Name(gone));
    }
}

/// IPv4 addresses of these interfaces.
fn here(found: &[Found]) -> Vec<IpAddr> {
    found.iter().flat_map(|f| f.addresses.iter().map(IfAddr::ip)).filter(IpAddr::is_ipv4).collect()
}

/// What to announce of a meter whose HTTP port is this, if it is ours; or why its address reaches nobody.
fn decide(announcement: &Announcement, port: Option<u16>, found: &[Found]) -> (Option<Announced>, Option<String>) {
    let here = here(found);
    if here.is_empty() {
        return (None, None);
    }
    let lost = announcement.address.and_then(|fixed| outside(fixed, found));
    let addresses = announcement.address.map_or(here, |fixed| vec![fixed]);
    (port.filter(|_| lost.is_none()).map(|port| Announced { port, addresses }), lost)
}

impl Meter {
    /// Says what is new: in the network, in the log, on the board.
    async fn say(&mut self, wanted: Option<Announced>, lost: Option<String>, daemon: &ServiceDaemon, board: &Board) {
        let (changed, newly_lost) = (wanted != self.announced, lost != self.lost);
        if !changed && !newly_lost {
            return;
        }
        if let Some(why) = lost.as_ref().filter(|_| newly_lost) {
            warn!("mDNS does not announce {}: {why}", self.announcement.instance);
        }
        if changed && self.announced.is_some() {
            goodbye(daemon, &self.announcement).await;
        }
        if let Some(wanted) = wanted.as_ref().filter(|_| changed) {
            announce(daemon, &self.announcement, wanted);
        }
        let state = match (&wanted, &lost) {
            (Some(_), _) => ListenerState::Listening,
            (None, Some(reason)) => ListenerState::Waiting { reason: reason.clone() },
            (None, None) => ListenerState::Waiting { reason: "the HTTP port is not ours yet, or no interface has an address".into() },
        };
        set_line(board, &self.announcement, state);
        (self.announced, self.lost) = (wanted, lost);
    }
}

fn set_line(board: &Board, announcement: &Announcement, state: ListenerState) {
    let address = format!("{}.local", announcement.host);
    board.set(Line { name: "mdns", meter: announcement.meter.clone(), address, port: 5353, state });
}

fn announce(daemon: &ServiceDaemon, announcement: &Announcement, wanted: &Announced) {
    match announcement.services(wanted.port, &wanted.addresses) {
        Ok(services) => {
            for service in services {
                if let Err(error) = daemon.register(service) {
                    warn!("mDNS cannot announce {}: {error}", announcement.instance);
                }
            }
            info!("announced {} as {}.local port {}", announcement.instance, announcement.host, wanted.port);
        }
        Err(error) => warn!("mDNS cannot announce {}: {error}", announcement.instance),
    }
}

async fn goodbye(daemon: &ServiceDaemon, announcement: &Announcement) {
    for kind in ["_http._tcp.local.", "_shelly._tcp.local."] {
        if let Ok(done) = daemon.unregister(&format!("{}.{kind}", announcement.instance)) {
            let _ = timeout(GOODBYE, done.recv_async()).await;
        }
    }
}

/// An address that says "any": no announcement can name it.
#[must_use]
pub fn announceable(bind: Option<IpAddr>) -> Option<IpAddr> {
    bind.filter(|ip| !ip.is_unspecified() && *ip != IpAddr::V4(Ipv4Addr::BROADCAST))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identity() -> Identity {
        Identity {
            id: "shellypro3em-aabbccddeeff".into(),
            mac: "AABBCCDDEEFF".into(),
            model: "SPEM-003CEBEU".into(),
            app: "Pro3EM".into(),
            generation: 2,
            fw_id: "20250508-110717/1.6.1-g8dbd358".into(),
            ver: "1.6.1".into(),
            sn: None,
            manufacturer: None,
        }
    }

    #[test]
    fn announces_as_the_device_does() {
        let a = Announcement::new("", &identity(), MdnsProfile::Device, None, None);
        assert_eq!((a.instance.as_str(), a.host.as_str()), ("shellypro3em-aabbccddeeff", "ShellyPro3EM-AABBCCDDEEFF"));
        assert_eq!(a.http_txt, [("gen", "2".to_owned())]);
        assert_eq!(a.shelly_txt, [("gen", "2".to_owned()), ("app", "Pro3EM".to_owned()), ("ver", "1.6.1".to_owned())]);
        let [http, shelly] = a.services(80, &["192.0.2.7".parse().unwrap()]).unwrap();
        assert_eq!(http.get_fullname(), "shellypro3em-aabbccddeeff._http._tcp.local.");
        assert_eq!(shelly.get_hostname(), "ShellyPro3EM-AABBCCDDEEFF.local.");
        assert_eq!((http.get_host_ttl(), http.get_other_ttl()), (120, 4500));
    }

    #[test]
    fn solakon_sees_what_it_looks_for() {
        let a = Announcement::new("", &identity(), MdnsProfile::Solakon, None, None);
        for want in [("gen", "3"), ("app", "shellypro3em"), ("mac", "AA:BB:CC:DD:EE:FF"), ("id", "shellypro3em-aabbccddeeff")] {
            assert!(a.shelly_txt.iter().any(|(k, v)| (*k, v.as_str()) == want), "{want:?}");
        }
    }

    #[test]
    fn an_address_of_no_announced_network_is_named() {
        let v4 = |ip: &str, prefixlen| {
            let ip = ip.parse().unwrap();
            IfAddr::V4(if_addrs::Ifv4Addr { ip, netmask: [0; 4].into(), prefixlen, broadcast: None })
        };
        let found = [
            Found { name: "eth0".into(), addresses: vec![v4("192.0.2.5", 25)] },
            Found { name: "wlan0".into(), addresses: vec![v4("198.51.100.9", 24)] },
        ];
        for inside in ["192.0.2.5", "192.0.2.99", "198.51.100.1"] {
            assert_eq!(outside(inside.parse().unwrap(), &found), None, "{inside}");
        }
        for lost in ["192.0.2.130", "203.0.113.1", "fd00::1"] {
            let why = outside(lost.parse().unwrap(), &found).unwrap();
            for part in [lost, "192.0.2.5/25 on eth0", "198.51.100.9/24 on wlan0", "`mdns_ip`", "`mdns_interfaces`"] {
                assert!(why.contains(part), "{part} not in {why}");
            }
            assert!(!why.contains('\n'));
        }
    }

    #[test]
    fn a_meter_is_announced_where_its_port_is_ours_and_its_address_is_known() {
        let meter = |address: Option<&str>| {
            Announcement::new("", &identity(), MdnsProfile::Device, None, address.map(|address| address.parse().unwrap()))
        };
        let v4 = |ip: &str| {
            let ip = ip.parse().unwrap();
            IfAddr::V4(if_addrs::Ifv4Addr { ip, netmask: [0; 4].into(), prefixlen: 24, broadcast: None })
        };
        let found = [Found { name: "eth0".into(), addresses: vec![v4("192.0.2.5")] }];
        let said = |address, port, found: &[Found]| {
            let (wanted, lost) = decide(&meter(address), port, found);
            (wanted.map(|w| (w.port, w.addresses[0].to_string())), lost.is_some())
        };
        assert_eq!(said(None, Some(80), &found), (Some((80, "192.0.2.5".into())), false));
        assert_eq!(said(Some("192.0.2.9"), Some(80), &found), (Some((80, "192.0.2.9".into())), false));
        assert_eq!(said(Some("203.0.113.1"), Some(80), &found), (None, true));
        assert_eq!(said(None, None, &found), (None, false));
        assert_eq!(said(Some("203.0.113.1"), Some(80), &[]), (None, false), "no interface is another matter");
    }

    #[tokio::test]
    async fn what_cannot_be_announced_waits_with_its_reason() {
        let (board, stop) = (Board::default(), CancellationToken::new());
        let http = |state| board.set(Line { name: "http", meter: String::new(), address: String::new(), port: 80, state });
        http(ListenerState::Listening);
        let lost = Announcement::new("", &identity(), MdnsProfile::Device, None, Some("203.0.113.77".parse().unwrap()));
        let interfaces = Interfaces { named: vec!["lo".into()], primary: None };
        let running = tokio::spawn(run(vec![lost], interfaces, board.clone(), stop.clone()));
        let mut lines = board.subscribe();
        let said = |lines: &Vec<Line>| {
            lines
                .iter()
                .any(|l| l.name == "mdns" && matches!(&l.state, ListenerState::Waiting { reason } if reason.contains("203.0.113.77")))
        };
        timeout(Duration::from_secs(20), lines.wait_for(said)).await.unwrap().unwrap();
        stop.cancel();
        running.await.unwrap();
    }

    #[test]
    fn default_route_by_metric() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(default_route(table).as_deref(), Some("eth0"));
        assert_eq!(default_route(""), None);
    }
}
