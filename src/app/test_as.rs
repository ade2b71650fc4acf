//! `virtual-shelly test-as`: the calls of a reader against a meter, a line a step.

use std::{fmt::Write as _, net::IpAddr};

use super::{kept, network, served::reached};
use config::{ChannelSettings, EXIT_CONFIGURATION, LoadInputs, MeterSettings, load};
use dashboard::{locale::Locale, owner::Tested, test_as::Told};
use doctor::host;
use ipnet::IpNet;
use probe::{Broadcast, Consumer, Lookup, Service, State, Step, Target};
use store::Store;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// As whom.
    pub consumer: Consumer,
    /// Another meter than this machine's.
    pub target: Option<String>,
    /// As JSON.
    pub json: bool,
}

/// Where a meter of these settings is asked.
pub fn target(meter: &MeterSettings, channels: &ChannelSettings, consumer: Consumer) -> Target {
    let bind = match consumer {
        Consumer::Modbus => meter.modbus_bind.or(meter.bind),
        _ => meter.bind,
    };
    let udp = if meter.udp_ports.is_empty() {
        Service::Off("udp_enable")
    } else {
        Service::On(meter.udp_ports.clone())
    };
    let mdns = match (meter.mdns_enable, &channels.mdns_interfaces[..]) {
        (false, _) => Lookup::Off("mdns_enable"),
        // Bound to loopback, nothing of it reaches a network.
        (true, []) if bind.is_some_and(|ip| ip.is_loopback()) => Lookup::Loopback,
        (true, names) => Lookup::On(names.to_vec()),
    };
    Target {
        host: reached(bind).to_string(),
        http: Service::of(meter.http_port, "http_port"),
        udp,
        any_udp: false,
        broadcast: broadcast(meter.bind),
        modbus: Service::of(meter.modbus_port, "modbus_enable"),
        mdns,
    }
}

/// Where a battery's broadcast to this machine's meter goes: it is heard on every network of the
/// host, or on that of its address.
fn broadcast(bind: Option<IpAddr>) -> Broadcast {
    match bind {
        Some(ip) if ip.is_loopback() => Broadcast::Loopback,
        Some(ip) if !ip.is_unspecified() => Broadcast::OfHost,
        _ => {
            let nets = host::addresses().into_iter().filter(|a| !a.of_containers());
            nets.filter_map(|address| match address.net {
                IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast()),
                _ => None,
            })
            .next()
            .map_or(Broadcast::Loopback, Broadcast::To)
        }
    }
}

fn key(meter: &str) -> String {
    format!("test_as/{meter}")
}

/// How the last test as each reader ended, in the readers' order; nothing of those that were not
/// run.
pub fn ended(store: &Store, meter: &str) -> Vec<Tested> {
    kept::get(store, &key(meter)).unwrap_or_default()
}

/// Keeps one, in place of the earlier one as the same reader.
pub fn keep(store: &Store, meter: &str, last: Tested) {
    let mut all = ended(store, meter);
    all.retain(|one| one.consumer != last.consumer);
    all.push(last);
    let place = |one: &Tested| {
        let all = Consumer::ALL.into_iter();
        all.map(Consumer::word)
            .position(|word| word == one.consumer)
    };
    all.sort_by_key(place);
    kept::put(store, &key(meter), &all);
}

/// Runs it; lines go out as steps end, and the exit code is 0, 1 when a step is red, or
/// [`EXIT_CONFIGURATION`].
pub async fn run(mut inputs: LoadInputs, asked: Asked, mut line: impl FnMut(&str) + Send) -> u8 {
    let target = match &asked.target {
        Some(text) => match Target::parse(text, asked.consumer) {
            Ok(target) => target,
            Err(why) => {
                line(&format!("error: {why}\n"));
                return 2;
            }
        },
        None => {
            // Ports of the Network card; without it those of the other layers count.
            let _ = network::fill(&mut inputs).await;
            let resolved = load(&inputs);
            if resolved.fatal() {
                line(&config::report(&resolved));
                return EXIT_CONFIGURATION;
            }
            let settings = &resolved.settings;
            self::target(&settings.meters[0], &settings.channels, asked.consumer)
        }
    };
    let mut told = |step: &Step| {
        if !asked.json {
            line(&in_lines(step));
        }
    };
    let report = probe::run(asked.consumer, &target, &mut told).await;
    let words = Told::of(&Locale::all()[0], asked.consumer, &report);
    if asked.json {
        let text = serde_json::to_string_pretty(&words).unwrap_or_default();
        line(&format!("{text}\n"));
    } else {
        line(&format!("{}\n", words.text));
    }
    u8::from(!report.passed())
}

/// A step as the terminal shows it.
fn in_lines(step: &Step) -> String {
    let word = match step.state {
        State::Good => "good",
        State::Note => "note",
        State::Bad => "RED ",
        State::Skipped => "skip",
    };
    let mut out = format!("{word}  {}", step.call);
    if step.state != State::Skipped {
        let _ = write!(out, "  ({} ms)", step.took.as_millis());
    }
    out.push('\n');
    for why in &step.why {
        let _ = writeln!(out, "      {why}");
    }
    let _ = writeln!(out, "      expected: {}", step.expected);
    if !step.came.is_empty() {
        let _ = writeln!(out, "      came: {}", step.came);
    }
    out
}
