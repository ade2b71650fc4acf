//! `virtual-shelly doctor`: asks the meter that runs here what it knows, and looks by itself where
//! none runs.

use std::{
    fmt::Write as _,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tokio::net::{TcpListener, UdpSocket};

use super::{announce::CHANNELS, check::rehearse, choice::union, network, served::reached};
use config::{EXIT_CONFIGURATION, LoadInputs, MeterSettings, Resolved, SourceKind, load};
use dashboard::{doctor::Told, locale::Locale};
use doctor::{
    Facts, Hold, Link, Port, PortState, Sensor, Store, StoreKept,
    host::{self, Protocol},
};
use outgoing::http_client;
use source::{Access, discover::discover};
use transport::{
    holder::{self, Holder},
    listener::ListenerSpec,
};
use vocab::reason::{Cause, Reason};
use vocab::{Clock, SystemClock};

/// What the running meter may take: it asks the network itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const MOST: usize = 1 << 20;

/// Lines and exit code: 0 nothing is broken, 1 something is, [`EXIT_CONFIGURATION`].
pub async fn run(mut inputs: LoadInputs, json: bool) -> (String, u8) {
    let _ = network::fill(&mut inputs).await;
    let resolved = load(&inputs);
    if resolved.fatal() {
        return (config::report(&resolved), EXIT_CONFIGURATION);
    }
    let told = match running(&resolved).await {
        Some(told) => told,
        None => {
            let facts = facts(&inputs, &resolved).await;
            let told = Told::of(
                &Locale::all()[0],
                facts.running.is_some(),
                &doctor::findings(&facts),
            );
            serde_json::to_value(told).unwrap_or_default()
        }
    };
    let code = u8::from(told["ok"] != true);
    let text = if json {
        format!("{told:#}\n")
    } else {
        in_lines(&told)
    };
    (text, code)
}

/// As the terminal shows it.
fn in_lines(told: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = if told["running"] == true {
        String::from("The meter runs; this is what it says.\n")
    } else {
        String::from("No meter runs here; this is what can be seen without it.\n")
    };
    for finding in told["findings"].as_array().into_iter().flatten() {
        let word = match finding["level"].as_str() {
            Some("bad") => "BAD ",
            Some("note") => "note",
            _ => "good",
        };
        let _ = writeln!(out, "{word}  {}", text(&finding["text"]));
        if finding["remedy"].is_string() {
            let _ = writeln!(out, "      → {}", text(&finding["remedy"]));
        }
    }
    let _ = writeln!(out, "{}", text(&told["text"]));
    out
}

/// What the dashboard of the meter that runs here says; `None` where none answers, or only to
/// Home Assistant's ingress.
async fn running(resolved: &Resolved) -> Option<Value> {
    let dashboard = &resolved.settings.dashboard;
    let at = SocketAddr::new(reached(Some(dashboard.bind)), dashboard.port);
    let told = fetch(&format!("http://{at}/doctor.json")).await?;
    told["findings"].is_array().then_some(told)
}

async fn fetch(url: &str) -> Option<Value> {
    let client = http_client::client(PATIENCE).ok()?;
    let answer = client.get(url).send().await.ok()?;
    let body = http_client::body(answer, MOST).await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// What can be seen from outside: `/healthz` of a meter that runs, else this host alone.
async fn facts(inputs: &LoadInputs, resolved: &Resolved) -> Facts {
    let settings = &resolved.settings;
    let first = &settings.meters[0];
    let mut health = None;
    if let Some(port) = first.http_port {
        let at = SocketAddr::new(reached(first.bind), port);
        health = fetch(&format!("http://{at}/healthz")).await;
        health = health.filter(|health| health["listeners"].is_array());
    }
    let dir = &settings.store.data_dir;
    let (ports, (link, entities)) = match &health {
        Some(health) if settings.source.kind == SourceKind::HomeAssistant => {
            (ports_of(health).await, (link_of(health), None))
        }
        Some(health) => (ports_of(health).await, (Link::Invented, None)),
        None => (ports(resolved).await, source(inputs, resolved).await),
    };
    Facts {
        app: inputs.app,
        container: host::in_container(),
        ports,
        addresses: host::addresses(),
        bind: first.bind,
        // Since when is not said, nor who asked.
        running: health.as_ref().map(|_| 0.0),
        readers: Vec::new(),
        udp: Vec::new(),
        announced: Vec::new(),
        unix: SystemClock::new().now().unix,
        home_assistant_unix: home_assistant_time(resolved).await,
        link,
        entities,
        store: Some(store(dir, health.is_some())),
    }
}

async fn home_assistant_time(resolved: &Resolved) -> Option<f64> {
    let source = &resolved.settings.source;
    if source.kind != SourceKind::HomeAssistant {
        return None;
    }
    probe::date(&source.ha_base_url).await
}

/// A listener's name as people know it.
fn shown(name: &str, meter: &str) -> String {
    let name = CHANNELS.iter().find(|(known, _)| *known == name);
    let name = name.map_or("Dashboard", |(_, name)| name);
    match meter {
        "" => name.to_owned(),
        meter => format!("{name} ({meter})"),
    }
}

/// The listeners of a `/healthz`.
async fn ports_of(health: &Value) -> Vec<Port> {
    let port = async |line: &Value| {
        let name = ["http", "websocket", "udp", "modbus", "dashboard"]
            .into_iter()
            .find(|name| line["name"] == *name)?;
        let number = u16::try_from(line["port"].as_u64()?).ok()?;
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let state = match &*text("state") {
            "listening" => PortState::Open,
            "off" => PortState::Off(text("by")),
            // Why it waits is a line for people: what holds it is looked at.
            _ => {
                let bind = text("address").parse().ok();
                PortState::Held(match open(name, bind, number).await {
                    Ok(()) => Hold::Other(Cause::said(text("reason"))),
                    Err(error) => held(name, bind, number, error).await,
                })
            }
        };
        Some(Port {
            name,
            shown: shown(name, &text("meter")),
            port: number,
            address: Some(text("address")),
            state,
            prefix: String::new(),
        })
    };
    let mut ports = Vec::new();
    for line in health["listeners"].as_array().into_iter().flatten() {
        ports.extend(port(line).await);
    }
    ports
}

fn link_of(health: &Value) -> Link {
    match health["source"].as_str() {
        Some("up") => Link::Up,
        Some("connecting" | "starting") => Link::Starting,
        _ => Link::Down(Reason::foreign(
            health["last_poll_error"].as_str().unwrap_or("no link"),
        )),
    }
}

/// Each port that the meter would open, tried.
async fn ports(resolved: &Resolved) -> Vec<Port> {
    let settings = &resolved.settings;
    let mut out = Vec::new();
    for (index, meter) in settings.meters.iter().enumerate() {
        let further = index.checked_sub(1);
        let prefix = further.map_or_else(String::new, |i| format!("meters[{i}]."));
        for (name, bind, port) in wanted(meter) {
            out.push(tried(name, &meter.name, bind, port, &prefix).await);
        }
    }
    let dashboard = &settings.dashboard;
    let bind = Some(dashboard.bind);
    out.push(tried("dashboard", "", bind, dashboard.port, "").await);
    out
}

fn wanted(meter: &MeterSettings) -> Vec<(&'static str, Option<IpAddr>, u16)> {
    let (bind, modbus_bind) = (meter.bind, meter.modbus_bind.or(meter.bind));
    let http = meter.http_port.iter().map(|port| ("http", bind, *port));
    let udp = meter.udp_ports.iter().map(|port| ("udp", bind, *port));
    let sockets = meter.ws_fanout_ports.iter();
    let sockets = sockets.map(|port| ("websocket", bind, *port));
    let modbus = meter.modbus_port.map(|port| ("modbus", modbus_bind, port));
    http.chain(udp).chain(sockets).chain(modbus).collect()
}

/// Opens a port for a moment.
async fn open(name: &str, bind: Option<IpAddr>, port: u16) -> io::Result<()> {
    let at = SocketAddr::new(address(bind), port);
    if name == "udp" {
        UdpSocket::bind(at).await.map(drop)
    } else {
        TcpListener::bind(at).await.map(drop)
    }
}

fn address(bind: Option<IpAddr>) -> IpAddr {
    bind.unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

async fn tried(
    name: &'static str,
    meter: &str,
    bind: Option<IpAddr>,
    port: u16,
    prefix: &str,
) -> Port {
    let state = match open(name, bind, port).await {
        Ok(()) => PortState::Free,
        Err(error) => PortState::Held(held(name, bind, port, error).await),
    };
    Port {
        name,
        shown: shown(name, meter),
        port,
        address: Some(address(bind).to_string()),
        state,
        prefix: prefix.to_owned(),
    }
}

async fn held(name: &'static str, bind: Option<IpAddr>, port: u16, error: io::Error) -> Hold {
    let protocol = if name == "udp" {
        Protocol::Udp
    } else {
        Protocol::Tcp
    };
    match error.kind() {
        io::ErrorKind::AddrInUse if protocol == Protocol::Udp => {
            Hold::Taken(host::holder(protocol, port))
        }
        io::ErrorKind::AddrInUse => {
            let spec = ListenerSpec {
                name,
                meter: String::new(),
                bind,
                port,
                needed_by: "",
            };
            match holder::ask(&spec).await {
                Holder::HomeAssistant => Hold::HomeAssistant,
                Holder::Server(server) => {
                    Hold::Taken(host::holder(protocol, port).or(Some(server.to_owned())))
                }
                Holder::Unknown => Hold::Taken(host::holder(protocol, port)),
            }
        }
        io::ErrorKind::PermissionDenied => Hold::Forbidden,
        io::ErrorKind::AddrNotAvailable => Hold::NoAddress,
        _ => Hold::Other(Cause::from(error)),
    }
}

/// Home Assistant asked once, and what each entity says.
async fn source(inputs: &LoadInputs, resolved: &Resolved) -> (Link, Option<Vec<Sensor>>) {
    let settings = &resolved.settings;
    if settings.source.kind != SourceKind::HomeAssistant {
        return (Link::Invented, None);
    }
    let access = Access::from_env(|name| inputs.env.get(name).cloned());
    let asked = union(settings.meters.iter().map(|meter| &meter.inputs));
    let found = match discover(&settings.source, &access, &[], &asked).await {
        Ok(found) => found,
        Err(why) => return (Link::Down(Reason::Link(why.into())), None),
    };
    let now = SystemClock::new().now();
    let mut sensors = Vec::new();
    for meter in &settings.meters {
        let reports = rehearse(meter, &found, now).entities(now);
        sensors.extend(reports.into_iter().map(|report| Sensor {
            entity: report.entity,
            age: report.age,
            usual: None,
            problem: report.problem,
        }));
    }
    (Link::Up, Some(sensors))
}

/// The data folder; `used`: a meter runs on it, so that nothing is tried there.
fn store(dir: &Path, used: bool) -> Store {
    let kept = match store::intact(dir) {
        _ if used => StoreKept::Good,
        Err(error) => StoreKept::Damaged(Cause::said(error)),
        Ok(whole) => match writable(dir) {
            Err(error) => StoreKept::Unwritable(Cause::from(error)),
            Ok(()) if whole.is_some() => StoreKept::Good,
            Ok(()) => StoreKept::New,
        },
    };
    Store {
        path: dir.display().to_string(),
        kept,
        free: host::free(dir),
    }
}

/// Whether this user may write there, or make the folder.
fn writable(dir: &Path) -> io::Result<()> {
    let there = dir
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK).map_err(io::Error::from)
}
