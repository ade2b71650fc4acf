//! Facts in, findings out.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use super::{
    Area, Cause, Facts, Finding, Heard, Hold, Link, Port, PortState, Remedy, Sensor, Store,
    StoreKept,
};
use vocab::reason::{Reason, Span};

/// Most that two clocks may differ by, s: a `Date` header has whole seconds, and an answer its time.
const CLOCK_S: f64 = 5.0;
/// 2024-01-01 and 2100-01-01, Unix s: before and after, a clock was never set.
const YEARS: std::ops::Range<f64> = 1_704_067_200.0..4_102_444_800.0;
/// How long nobody need ask, s.
const QUIET: f64 = 120.0;
/// Least that has to be free on the disk, MB.
const ROOM_MB: u64 = 100;
/// Many times its usual interval make a sensor quiet, and it is quiet for at least so many seconds.
const QUIET_TIMES: f64 = 10.0;
/// See [`QUIET_TIMES`].
const QUIET_LEAST: f64 = 60.0;
/// Unreadable datagrams that are no accident.
const UNREADABLE: u64 = 3;

/// Everything that was found, what does not work first.
#[must_use]
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all = ports(facts);
    all.extend(network(facts));
    all.extend(names(facts));
    all.extend(readers(facts));
    all.extend(source(facts));
    all.push(clock(facts));
    all.extend(facts.store.as_ref().map(store));
    all.sort_by_key(|finding| (finding.level, finding.area));
    all
}

/// The options that say where a listener is, and with `at` on which address.
const fn option(name: &str, at: bool) -> &'static str {
    match (name.as_bytes(), at) {
        (b"http", false) => "http_port",
        (b"udp", false) => "udp_ports",
        (b"modbus", false) => "modbus_port",
        (b"modbus", true) => "modbus_bind",
        (b"websocket", false) => "ws_port_start",
        (b"dashboard", false) => "dashboard_port",
        (b"dashboard", true) => "dashboard_bind",
        _ => "bind",
    }
}

/// What to do about a listener's port that cannot be had. `prefix` stands before the option keys of
/// its meter.
#[must_use]
pub fn remedy_of_port(name: &str, prefix: &str, app: bool, hold: &Hold) -> Remedy {
    let prefix = if name == "dashboard" { "" } else { prefix };
    let named = |at: bool| format!("{prefix}{}", option(name, at)).into();
    let in_card = app && prefix.is_empty() && matches!(name, "http" | "udp" | "modbus");
    match hold {
        Hold::HomeAssistant => Remedy::MoveHomeAssistant,
        Hold::NoAddress => Remedy::AddressOption {
            option: named(true),
        },
        // The port of ingress is the Supervisor's choice.
        _ if app && name == "dashboard" => Remedy::Wait,
        _ if in_card => Remedy::Card,
        Hold::Forbidden => Remedy::Low {
            option: named(false),
        },
        Hold::Taken(_) | Hold::Other(_) => Remedy::Option {
            option: named(false),
        },
    }
}

fn ports(facts: &Facts) -> Vec<Finding> {
    let mut open = BTreeMap::<&str, Vec<u16>>::new();
    let mut free = open.clone();
    // A row of ports that one program has is one thing to do.
    let mut denied: Vec<(&Port, &Hold, Vec<u16>)> = Vec::new();
    let mut out = Vec::new();
    for port in &facts.ports {
        match &port.state {
            PortState::Open => open.entry(&port.shown).or_default().push(port.port),
            PortState::Free => free.entry(&port.shown).or_default().push(port.port),
            PortState::Off(by) => out.push(Finding::note(Area::Ports, off(port, by), None)),
            PortState::Held(hold) => {
                let same = |(first, of, _): &&mut (&Port, &Hold, Vec<u16>)| {
                    *of == hold && first.shown == port.shown && first.address == port.address
                };
                match denied.iter_mut().find(same) {
                    Some((_, _, ports)) => ports.push(port.port),
                    None => denied.push((port, hold, vec![port.port])),
                }
            }
        }
    }
    for (port, hold, ports) in denied {
        out.push(Finding::bad(
            Area::Ports,
            held(port, runs(ports), hold),
            remedy_of_port(port.name, &port.prefix, facts.app, hold),
        ));
    }
    for (name, ports) in open {
        let cause = Cause::Open {
            name: name.into(),
            ports: runs(ports).into(),
        };
        out.push(Finding::good(Area::Ports, cause));
    }
    for (name, ports) in free {
        let cause = Cause::Free {
            name: name.into(),
            ports: runs(ports).into(),
        };
        out.push(Finding::good(Area::Ports, cause));
    }
    out
}

/// `80`, `1010, 2220, 2222–2223`.
fn runs(mut ports: Vec<u16>) -> String {
    ports.sort_unstable();
    ports.dedup();
    let runs = ports.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let words = runs.map(|run| match run {
        [first, .., last] => format!("{first}–{last}"),
        _ => run.iter().map(ToString::to_string).collect(),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn off(port: &Port, by: &str) -> Cause {
    let name = port.shown.as_str().into();
    if by.contains('.') {
        let method = by.into();
        Cause::OffByCall { name, method }
    } else {
        let option = by.into();
        Cause::Off { name, option }
    }
}

fn held(at: &Port, ports: String, hold: &Hold) -> Cause {
    let (name, port) = (at.shown.as_str().into(), ports.into());
    match hold {
        Hold::HomeAssistant => Cause::HomeAssistant { name, port },
        Hold::Taken(Some(who)) => Cause::Taken {
            name,
            port,
            who: who.as_str().into(),
        },
        Hold::Taken(None) => Cause::TakenBySomebody { name, port },
        Hold::Forbidden => Cause::Forbidden { name, port },
        Hold::NoAddress => Cause::NoSuchAddress {
            name,
            port,
            address: at.address.clone().unwrap_or_default().into(),
        },
        Hold::Other(error) => Cause::Waits {
            name,
            error: error.clone(),
        },
    }
}

/// Docker's own networks.
fn bridged(ip: IpAddr) -> bool {
    let docker = IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12);
    docker.contains(&ip)
}

fn network(facts: &Facts) -> Vec<Finding> {
    let mut out = Vec::new();
    let v4: Vec<_> = facts
        .addresses
        .iter()
        .filter(|address| address.net.addr().is_ipv4())
        .collect();
    let loopback = facts.bind.filter(IpAddr::is_loopback);
    if v4.is_empty() && loopback.is_none() {
        out.push(Finding::bad(Area::Network, Cause::Nowhere, Remedy::Plug));
        return out;
    }
    if !v4.is_empty() {
        let list: Vec<String> = v4
            .iter()
            .map(|address| format!("{} ({})", address.net, address.interface))
            .collect();
        let list = list.join(", ").into();
        out.push(Finding::good(Area::Network, Cause::Here { list }));
    }
    if facts.container {
        match &v4[..] {
            [only] if bridged(only.net.addr()) => out.push(Finding::bad(
                Area::Network,
                Cause::Bridge {
                    address: only.net.to_string().into(),
                },
                Remedy::HostNet,
            )),
            _ => out.push(Finding::good(Area::Network, Cause::HostNetwork)),
        }
    }
    if let Some(bind) = loopback {
        let cause = Cause::LoopbackOnly {
            address: bind.to_string().into(),
        };
        out.push(if facts.link == Link::Invented {
            // Made-up values stay here on purpose.
            Finding::note(Area::Network, cause, None)
        } else {
            Finding::bad(Area::Network, cause, Remedy::Listen)
        });
    }
    out
}

fn names(facts: &Facts) -> Vec<Finding> {
    let mut out = Vec::new();
    for name in &facts.announced {
        let host = || name.host.as_str().into();
        let list = |all: &[String]| all.join(", ").into();
        if let Some(why) = &name.waits {
            let cause = Cause::NameWaits {
                why: why.clone().into(),
            };
            out.push(Finding::note(Area::Name, cause, Some(Remedy::EnterAddress)));
            continue;
        }
        if !name.same_host.is_empty() {
            let all: Vec<String> = name.same_host.iter().map(ToString::to_string).collect();
            let cause = Cause::NameTwice {
                host: host(),
                addresses: list(&all),
            };
            out.push(Finding::bad(Area::Name, cause, Remedy::OtherName));
        }
        if !name.same_id.is_empty() {
            let cause = Cause::IdTwice {
                id: name.id.as_str().into(),
                addresses: list(&name.same_id),
            };
            out.push(Finding::bad(Area::Name, cause, Remedy::OtherMac));
        }
        match name.heard {
            Some(true) => out.push(Finding::good(Area::Name, Cause::NameHeard { host: host() })),
            Some(false) => out.push(Finding::bad(
                Area::Name,
                Cause::NameSilent { host: host() },
                Remedy::EnterAddress,
            )),
            None => {}
        }
    }
    out
}

fn readers(facts: &Facts) -> Vec<Finding> {
    let mut out = Vec::new();
    let Some(running) = facts.running else {
        return out;
    };
    let n = facts.readers.len() as u64;
    let time = Span(running);
    if n > 0 {
        out.push(Finding::good(Area::Readers, Cause::Readers { n }));
    } else if running > QUIET {
        let remedy = Some(Remedy::SameNetwork);
        out.push(Finding::note(
            Area::Readers,
            Cause::NoReader { time },
            remedy,
        ));
    }
    out.extend(
        facts
            .readers
            .iter()
            .filter_map(|reader| from(facts, reader.ip)),
    );
    out.extend(facts.udp.iter().filter_map(unreadable));
    let listens = facts
        .ports
        .iter()
        .any(|port| port.name == "udp" && port.state == PortState::Open);
    if listens && running > QUIET && facts.udp.iter().all(|port| port.packets == 0) {
        let remedy = Some(Remedy::SameNetwork);
        out.push(Finding::note(
            Area::Readers,
            Cause::NoBroadcast { time },
            remedy,
        ));
    }
    out
}

/// A reader of another network.
fn from(facts: &Facts, ip: IpAddr) -> Option<Finding> {
    let IpAddr::V4(reader) = ip.to_canonical() else {
        return None;
    };
    let nets: Vec<ipnet::Ipv4Net> = facts
        .addresses
        .iter()
        .filter_map(|address| match address.net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        })
        .collect();
    let inside = |net: &ipnet::Ipv4Net| net.contains(&reader);
    if nets.is_empty() || reader.is_loopback() || bridged(ip) || nets.iter().any(inside) {
        return None;
    }
    let alike = |net: &&ipnet::Ipv4Net| net.addr().octets()[..3] == reader.octets()[..3];
    if let Some(net) = nets.iter().find(alike) {
        let cause = Cause::Mask {
            reader: reader.to_string().into(),
            network: net.trunc().to_string().into(),
        };
        return Some(Finding::bad(Area::Readers, cause, Remedy::OneMask));
    }
    let all: Vec<String> = nets.iter().map(|net| net.trunc().to_string()).collect();
    let cause = Cause::Elsewhere {
        reader: reader.to_string().into(),
        networks: all.join(", ").into(),
    };
    Some(Finding::note(Area::Readers, cause, Some(Remedy::ByAddress)))
}

fn unreadable(heard: &Heard) -> Option<Finding> {
    if heard.packets < UNREADABLE || heard.readable > 0 {
        return None;
    }
    let cause = Cause::Undecodable {
        port: heard.port,
        n: heard.packets,
        reader: heard
            .last_from
            .map_or_else(|| "?".to_owned(), |ip| ip.to_string())
            .into(),
    };
    Some(Finding::bad(Area::Readers, cause, Remedy::Firmware))
}

fn source(facts: &Facts) -> Vec<Finding> {
    let mut out = Vec::new();
    match &facts.link {
        Link::Invented => {
            out.push(Finding::note(Area::Source, Cause::Invented, None));
            return out;
        }
        Link::Up => out.push(Finding::good(Area::Source, Cause::LinkUp)),
        Link::Starting => out.push(Finding::note(Area::Source, Cause::LinkStarting, None)),
        Link::Down(why) => {
            let cause = Cause::LinkDown {
                why: why.clone().into(),
            };
            out.push(Finding::bad(Area::Source, cause, Remedy::Link));
        }
    }
    if facts.entities.as_ref().is_some_and(Vec::is_empty) {
        let (cause, remedy) = (Cause::NoEntities, Remedy::ChooseSensors);
        out.push(Finding::bad(Area::Source, cause, remedy));
    }
    out.extend(facts.entities.iter().flatten().map(entity));
    out
}

fn entity(sensor: &Sensor) -> Finding {
    let entity = || sensor.entity.clone();
    let Some(age) = sensor.age.filter(|_| sensor.problem.is_none()) else {
        let cause = match &sensor.problem {
            Some(why @ (Reason::Entity { .. } | Reason::Of { .. })) => Cause::EntityBad {
                why: why.clone().into(),
            },
            Some(why) => Cause::EntityBad {
                why: why.clone().of(entity()).into(),
            },
            None => Cause::EntityUnheard { entity: entity() },
        };
        return Finding::bad(Area::Source, cause, Remedy::Sensor);
    };
    let time = Span(age);
    match sensor.usual {
        Some(usual) if age > (usual * QUIET_TIMES).max(QUIET_LEAST) => Finding::note(
            Area::Source,
            Cause::EntityQuiet {
                entity: entity(),
                time,
                usual: Span(usual),
            },
            Some(Remedy::Sensor),
        ),
        _ => {
            let entity = entity();
            Finding::good(Area::Source, Cause::Entity { entity, time })
        }
    }
}

fn clock(facts: &Facts) -> Finding {
    if !YEARS.contains(&facts.unix) {
        let year = 1970 + (facts.unix.max(0.0) / 31_556_952.0) as u64;
        return Finding::bad(Area::Clock, Cause::ClockWrong { year }, Remedy::SetClock);
    }
    match facts.home_assistant_unix.map(|theirs| theirs - facts.unix) {
        Some(off) if off.abs() > CLOCK_S => {
            let time = Span(off.abs());
            Finding::bad(Area::Clock, Cause::ClockOff { time }, Remedy::SetClock)
        }
        Some(_) => Finding::good(Area::Clock, Cause::ClockRight),
        None => Finding::good(Area::Clock, Cause::ClockLikely),
    }
}

fn store(store: &Store) -> Finding {
    let path = || store.path.as_str().into();
    let free = store.free.map(|bytes| bytes / 1_000_000);
    let bad = |cause, remedy| Finding::bad(Area::Store, cause, remedy);
    match (&store.kept, free) {
        (StoreKept::Unwritable(error), _) => bad(
            Cause::StoreUnwritable {
                path: path(),
                error: error.clone(),
            },
            Remedy::Writable,
        ),
        (StoreKept::Damaged(error), _) => bad(
            Cause::StoreDamaged {
                path: path(),
                error: error.clone(),
            },
            Remedy::Restore,
        ),
        (StoreKept::Memory(why), _) => {
            let why = why.clone().into();
            bad(Cause::StoreMemory { why }, Remedy::Writable)
        }
        (StoreKept::Failing(why), _) => {
            let why = why.clone().into();
            bad(Cause::StoreFailing { why }, Remedy::Writable)
        }
        (_, Some(free)) if free < ROOM_MB => {
            bad(Cause::StoreFull { path: path(), free }, Remedy::MakeRoom)
        }
        (StoreKept::Frozen, _) => Finding::note(Area::Store, Cause::StoreFrozen, None),
        (StoreKept::New, _) => Finding::good(Area::Store, Cause::StoreNew { path: path() }),
        (StoreKept::Good, free) => Finding::good(
            Area::Store,
            Cause::StoreGood {
                path: path(),
                free: free.unwrap_or_default(),
            },
        ),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
