//! What the log's first lines say of the channels: the addresses to open, the ports that are ours,
//! what is read.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::info;

use super::{shared::Shared, start::Meters};
use config::{DashboardOnLan, DashboardSettings, MeterSettings, Resolved, SourceKind};
use doctor::{Address, host};
use transport::{ListenerState, board::Line};
use vocab::{EntityId, meter_name};

/// How long the listeners' first try is waited for; a port that is taken then has its own line.
const PATIENCE: Duration = Duration::from_secs(3);
/// Channels by the board's name, with the field's word.
pub(super) const CHANNELS: [(&str, &str); 4] = [
    ("http", "HTTP"),
    ("websocket", "WebSocket"),
    ("udp", "UDP"),
    ("modbus", "Modbus TCP"),
];

/// Addresses of one meter that are named; a host may have dozens.
const NAMED: usize = 3;

/// The addresses to open: of each meter as readers reach it, and of the page, unless that is in
/// Home Assistant's sidebar.
pub fn urls(meters: &Meters, resolved: &Resolved, app: bool) {
    let settings = meters.settings();
    for settings in &settings {
        if let Some(port) = settings.http_port {
            let hosts = hosts(settings.bind, &host::addresses());
            let url = |host: String| format!("http://{host}:{port}/");
            let all: Vec<String> = hosts.into_iter().map(url).collect();
            info!(
                meter = meter_name(&settings.name),
                "the meter: {}, and {}rpc/EM.GetStatus?id=0 says what readers get",
                all.join(", "),
                all[0]
            );
        }
    }
    if !app && let Some(first) = settings.first() {
        let lan = first.http_port.map(|port| {
            let hosts = hosts(first.bind, &host::addresses());
            format!("{}:{port}", hosts[0])
        });
        let guarded = resolved.settings.channels.auth_password.is_some();
        let page = page(&resolved.settings.dashboard, lan.as_deref(), guarded);
        info!("{page}");
    }
    if resolved.settings.source.kind != SourceKind::HomeAssistant {
        info!(
            "values are made up or replayed: nothing but this machine can reach them unless `bind` says otherwise"
        );
    }
}

/// Where a listener on `bind` is reached: at that address, else at this host's own in its networks,
/// those of containers left out. Never empty.
fn hosts(bind: Option<IpAddr>, addresses: &[Address]) -> Vec<String> {
    if let Some(ip) = bind.filter(|ip| !ip.is_unspecified()) {
        return vec![written(ip)];
    }
    let own = addresses.iter().filter(|a| !a.of_containers());
    let own = own.map(|a| a.net.addr()).filter(IpAddr::is_ipv4);
    let mut found: Vec<String> = own.take(NAMED).map(written).collect();
    if found.is_empty() {
        found.push("127.0.0.1".to_owned());
    }
    found
}

/// An address as URLs have it.
fn written(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// How the page is opened here and from another machine, and what the latter exposes. `lan` is the
/// meter's HTTP address, if it has one; `guarded`: a password is set.
fn page(dashboard: &DashboardSettings, lan: Option<&str>, guarded: bool) -> String {
    let port = dashboard.port;
    let host = match dashboard.bind {
        IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        ip => written(ip),
    };
    let here = format!("the page: http://{host}:{port}/ on this machine");
    let who = if guarded {
        "whoever knows auth_password"
    } else {
        "everybody in this network"
    };
    let lan = lan.unwrap_or("ADDRESS:PORT");
    match dashboard.on_lan {
        DashboardOnLan::None => format!(
            "{here}; from another one `ssh -L {port}:{host}:{port} USER@THIS-MACHINE` opens it there, too, or dashboard_on_lan = view \
             shows it at http://{lan}/ui, to {who}"
        ),
        DashboardOnLan::View => format!("{here}, and http://{lan}/ui from others: {who} can look"),
        DashboardOnLan::Full => {
            format!("{here}, and http://{lan}/ui from others: {who} can look and change settings")
        }
    }
}

/// Logs the ports that are ours once each listener has had its first try, and how many entities are
/// read (`docs/home-assistant.md#the-container`).
pub async fn channels(
    shared: Shared,
    meters: Vec<MeterSettings>,
    entities: watch::Receiver<Arc<[EntityId]>>,
) {
    let board = &shared.board;
    let mut lines = board.subscribe();
    let wanted: usize = meters.iter().map(ports).sum();
    let tried = lines.wait_for(|lines| lines.iter().filter(|line| is_port(line)).count() >= wanted);
    let tried = tokio::time::timeout(PATIENCE, tried);
    if shared.stop.run_until_cancelled(tried).await.is_none() {
        return;
    }
    for settings in &meters {
        info!(
            meter = meter_name(&settings.name),
            "serves {}",
            describe(&board.lines(), &settings.name)
        );
    }
    let entities = match entities.borrow().len() {
        0 => "no entity yet".to_owned(),
        1 => "1 entity".to_owned(),
        n => format!("{n} entities"),
    };
    info!("read: {entities}");
}

/// How many listeners with a port of their own a meter asks for.
fn ports(settings: &MeterSettings) -> usize {
    usize::from(settings.http_port.is_some())
        + usize::from(settings.modbus_port.is_some())
        + settings.udp_ports.len()
        + settings.ws_fanout_ports.len()
}

/// Whether this is the line of such a listener, whatever came of it.
fn is_port(line: &Line) -> bool {
    CHANNELS.iter().any(|(name, _)| *name == line.name)
        && !matches!(line.state, ListenerState::Off { .. })
}

/// `HTTP 8080, WebSocket 6010 to 6022, UDP 1010 2220, Modbus TCP 502`: what is open of a meter.
fn describe(lines: &[Line], meter: &str) -> String {
    let one = |(name, word): (&str, &str)| {
        let mut open: Vec<u16> = lines
            .iter()
            .filter(|l| l.name == name && l.meter == meter && l.state == ListenerState::Listening)
            .map(|l| l.port)
            .collect();
        open.sort_unstable();
        open.dedup();
        (!open.is_empty()).then(|| format!("{word} {}", in_words(&open)))
    };
    let open: Vec<String> = CHANNELS.into_iter().filter_map(one).collect();
    if open.is_empty() {
        "no port yet".to_owned()
    } else {
        open.join(", ")
    }
}

/// Ascending ports; runs of three and more as `first to last`.
fn in_words(ports: &[u16]) -> String {
    let runs = ports.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let words = runs.flat_map(|run| match run {
        [first, .., last] if run.len() > 2 => vec![format!("{first} to {last}")],
        _ => run.iter().map(ToString::to_string).collect(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use transport::board::Place;

    use super::*;

    fn address(interface: &str, net: &str) -> Address {
        Address {
            interface: interface.into(),
            net: net.parse().unwrap(),
        }
    }

    #[test]
    fn the_meter_is_named_by_addresses_that_others_reach() {
        let all = [
            address("docker0", "172.17.0.1/16"),
            address("eth0", "192.0.2.10/24"),
            address("eth0", "2001:db8::1/64"),
            address("wlan0", "198.51.100.7/24"),
        ];
        assert_eq!(hosts(None, &all), ["192.0.2.10", "198.51.100.7"]);
        let every = "0.0.0.0".parse().ok();
        assert_eq!(hosts(every, &all), ["192.0.2.10", "198.51.100.7"]);
        assert_eq!(hosts("192.0.2.9".parse().ok(), &all), ["192.0.2.9"]);
        assert_eq!(hosts("::1".parse().ok(), &all), ["[::1]"]);
        assert_eq!(hosts(None, &[]), ["127.0.0.1"]);
    }

    #[test]
    fn the_page_says_how_to_open_it_from_another_machine_and_to_whom_it_is_open_then() {
        let dashboard = |on_lan| DashboardSettings {
            on_lan,
            port: 8099,
            bind: [127, 0, 0, 1].into(),
            hosts: Vec::new(),
        };
        let lan = Some("192.0.2.10:8080");
        let none = page(&dashboard(DashboardOnLan::None), lan, false);
        for part in [
            "http://127.0.0.1:8099/ on this machine",
            "ssh -L 8099:127.0.0.1:8099",
            "http://192.0.2.10:8080/ui, to everybody in this network",
        ] {
            assert!(none.contains(part), "{part}: {none}");
        }
        let full = page(&dashboard(DashboardOnLan::Full), lan, false);
        assert!(full.ends_with("everybody in this network can look and change settings"));
        let guarded = page(&dashboard(DashboardOnLan::View), lan, true);
        assert!(guarded.ends_with("whoever knows auth_password can look"));
    }

    #[test]
    fn open_ports_are_named_by_channel() {
        let line = |name, port, state| Line {
            name,
            meter: String::new(),
            address: Place::All,
            port,
            state,
        };
        let open = |name, port| line(name, port, ListenerState::Listening);
        let waiting = ListenerState::waiting(vocab::reason::Closed::HomeAssistant);
        let by = "modbus_enable";
        let mut lines: Vec<Line> = (6010..=6022).map(|port| open("websocket", port)).collect();
        lines.extend([1010, 2222, 2220, 2223].map(|port| open("udp", port)));
        lines.push(line("http", 80, waiting));
        lines.push(line("modbus", 0, ListenerState::Off { by }));
        lines.push(Line {
            meter: "garage".into(),
            ..open("http", 8081)
        });
        let first = "WebSocket 6010 to 6022, UDP 1010 2220 2222 2223";
        assert_eq!(describe(&lines, ""), first);
        assert_eq!(describe(&lines, "garage"), "HTTP 8081");
        assert_eq!(describe(&lines, "attic"), "no port yet");
        let ports = lines.iter().filter(|l| is_port(l)).count();
        assert_eq!(ports, 19, "what is off is not waited for");
    }
}
