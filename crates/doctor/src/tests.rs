#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Address, Announced, Asked, Level};
use vocab::{
    EntityId,
    reason::{Reason, Unreachable},
};

fn address(net: &str) -> Address {
    Address {
        interface: "eth0".into(),
        net: net.parse().unwrap(),
    }
}

fn port(name: &'static str, port: u16, state: PortState) -> Port {
    Port {
        name,
        shown: name.to_uppercase(),
        port,
        address: None,
        state,
        prefix: String::new(),
    }
}

/// A meter that is well.
fn well() -> Facts {
    Facts {
        app: false,
        container: false,
        ports: vec![
            port("http", 80, PortState::Open),
            port("udp", 1010, PortState::Open),
        ],
        addresses: vec![address("192.0.2.10/24")],
        bind: None,
        running: Some(3600.0),
        readers: vec![Asked {
            ip: "192.0.2.50".parse().unwrap(),
        }],
        udp: vec![Heard {
            port: 1010,
            packets: 9,
            readable: 9,
            last_from: None,
        }],
        announced: vec![Announced {
            host: "ShellyPro3EM-AABBCCDDEEFF.local".into(),
            id: "shellypro3em-aabbccddeeff".into(),
            waits: None,
            heard: Some(true),
            same_host: Vec::new(),
            same_id: Vec::new(),
        }],
        unix: 1.8e9,
        home_assistant_unix: Some(1.8e9 + 1.0),
        link: Link::Up,
        entities: Some(vec![Sensor {
            entity: EntityId::from_static("sensor.grid"),
            age: Some(1.5),
            usual: Some(2.0),
            problem: None,
        }]),
        store: Some(Store {
            path: "/data/virtual-shelly.db".into(),
            kept: StoreKept::Good,
            free: Some(9_000_000_000),
        }),
    }
}

/// What is not good, as `cause / remedy`.
fn told(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = well();
    change(&mut facts);
    let line = |finding: Finding| {
        let remedy = finding.remedy.map(|remedy| format!(" / {remedy}"));
        format!("{}{}", finding.cause, remedy.unwrap_or_default())
    };
    findings(&facts)
        .into_iter()
        .filter(|finding| finding.level != Level::Good)
        .map(line)
        .collect()
}

fn one(change: impl FnOnce(&mut Facts), parts: &[&str]) {
    let told = told(change);
    assert_eq!(told.len(), 1, "{told:#?}");
    for part in parts {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
}

#[test]
fn a_meter_that_is_well_has_nothing_to_do() {
    assert_eq!(told(|_| {}), Vec::<String>::new());
    let all = findings(&well());
    assert!(all.len() >= 8 && all.iter().all(|finding| finding.remedy.is_none()));
}

#[test]
fn a_row_of_ports_that_one_program_has_is_one_thing_to_do() {
    let taken = |port: u16, who: &str| Port {
        name: "websocket",
        shown: "WebSocket".into(),
        port,
        address: None,
        state: PortState::Held(Hold::Taken(Some(who.to_owned()))),
        prefix: String::new(),
    };
    let told = told(|facts| {
        facts
            .ports
            .extend((6010..6013).map(|port| taken(port, "python3 (process 7)")));
        facts.ports.push(taken(6013, "node (process 8)"));
    });
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0].contains("WebSocket port 6010–6012 is taken by python3 (process 7)"));
    assert!(told[1].contains("WebSocket port 6013 is taken by node (process 8)"));
}

#[test]
fn what_a_call_switched_off_is_no_option() {
    let off = |by: &str| told(|facts| facts.ports[0].state = PortState::Off(by.to_owned()));
    assert!(off("modbus_enable")[0].ends_with("by the option modbus_enable"));
    let by_call = off("Modbus.SetConfig");
    assert!(
        by_call[0].ends_with("by a reader, with Modbus.SetConfig"),
        "{by_call:?}"
    );
}

#[test]
fn a_set_up_says_what_stands_in_the_way_and_how_old_each_sensor_is() {
    let said = |facts: &Facts| -> Vec<String> {
        let all = findings(facts).into_iter().filter(Finding::in_setup);
        all.map(|finding| finding.cause.to_string()).collect()
    };
    let mut facts = well();
    assert_eq!(said(&facts), ["sensor.grid was reported 1.5 s ago"]);
    facts.ports[0].state = PortState::Held(Hold::Forbidden);
    facts.readers.clear();
    facts.udp.clear();
    facts.link = Link::Down(Reason::foreign("no route"));
    facts.home_assistant_unix = Some(facts.unix + 60.0);
    facts.container = true;
    facts.addresses = vec![address("172.17.0.2/16")];
    facts.entities = Some(Vec::new());
    assert_eq!(
        said(&facts),
        [
            "the container has a network of its own (172.17.0.2/16): neither mDNS nor the broadcasts by which batteries look for the \
             meter come in",
            "the clock differs from Home Assistant's by 60 s"
        ],
        "ports, the way to Home Assistant and readers have a place of their own there"
    );
}

#[test]
fn a_port_that_cannot_be_had_names_its_holder_and_the_way_out() {
    let held = |hold: Hold| move |facts: &mut Facts| facts.ports[0].state = PortState::Held(hold);
    let nginx = Hold::Taken(Some("nginx (process 812)".into()));
    one(
        held(nginx.clone()),
        &[
            "HTTP port 80 is taken by nginx (process 812)",
            "option http_port",
        ],
    );
    one(
        held(Hold::HomeAssistant),
        &["belongs to Home Assistant itself", "8123"],
    );
    one(
        held(Hold::Forbidden),
        &["may not be opened", "CAP_NET_BIND_SERVICE"],
    );
    one(
        held(Hold::NoAddress),
        &["does not have the address", "option bind"],
    );
    let in_app = |facts: &mut Facts| {
        facts.app = true;
        held(nginx)(facts);
    };
    one(in_app, &["Network card"]);
    let taken = Hold::Taken(None);
    let further = remedy_of_port("udp", "meters[0].", true, &taken);
    assert_eq!(
        further,
        Remedy::Option {
            option: "meters[0].udp_ports".into()
        }
    );
    assert_eq!(remedy_of_port("dashboard", "", true, &taken), Remedy::Wait);
}

#[test]
fn networks_are_compared_with_those_of_readers() {
    let from = |ip: &'static str, own: &'static str| {
        move |facts: &mut Facts| {
            facts.addresses = vec![address(own)];
            facts.readers[0].ip = ip.parse().unwrap();
        }
    };
    one(
        from("192.0.2.200", "192.0.2.10/25"),
        &["192.0.2.0/25", "wrong subnet mask", "255.255.255.0"],
    );
    one(
        from("198.51.100.9", "192.0.2.10/24"),
        &["another network", "by hand"],
    );
    assert!(told(from("127.0.0.1", "192.0.2.10/24")).is_empty());
    let garbage = |facts: &mut Facts| {
        facts.udp[0].readable = 0;
        facts.udp[0].last_from = Some([192, 0, 2, 77].into());
    };
    one(
        garbage,
        &[
            "all 9 datagrams at UDP port 1010 were unreadable",
            "192.0.2.77",
        ],
    );
    let silent = |facts: &mut Facts| facts.udp[0].packets = 0;
    one(silent, &["no datagram has come", "client isolation"]);
    let nobody = |facts: &mut Facts| facts.readers.clear();
    one(nobody, &["nobody has asked since the start"]);
    let new = |facts: &mut Facts| {
        facts.running = Some(5.0);
        facts.readers.clear();
        facts.udp.clear();
    };
    assert!(told(new).is_empty(), "too early to say");
}

#[test]
fn a_bridge_is_told_from_the_machines_network() {
    let bridge = |facts: &mut Facts| {
        facts.container = true;
        facts.addresses = vec![address("172.17.0.2/16")];
        facts.readers[0].ip = [172, 17, 0, 1].into();
    };
    one(bridge, &["172.17.0.2/16", "network_mode host"]);
    let host = |facts: &mut Facts| {
        facts.container = true;
        facts.addresses.push(address("172.17.0.1/16"));
    };
    assert!(told(host).is_empty());
    one(
        |facts| facts.addresses.clear(),
        &["no address in a network"],
    );
    one(
        |facts| facts.bind = Some([127, 0, 0, 1].into()),
        &["127.0.0.1 only", "option bind"],
    );
}

#[test]
fn names_that_conflict_or_are_not_heard() {
    let name =
        |change: fn(&mut Announced)| move |facts: &mut Facts| change(&mut facts.announced[0]);
    one(
        name(|n| n.heard = Some(false)),
        &["is not answered", "5353"],
    );
    one(
        name(|n| n.same_host = vec![[192, 0, 2, 9].into()]),
        &["192.0.2.9", "mdns_hostname"],
    );
    one(
        name(|n| n.same_id = vec!["other.local".into()]),
        &["other.local", "option mac"],
    );
    one(
        name(|n| n.waits = Some(Reason::foreign("no port"))),
        &["not announced: no port"],
    );
}

#[test]
fn source_clock_and_store() {
    let down = |facts: &mut Facts| facts.link = Link::Down(Unreachable::Ended.into());
    one(down, &["Home Assistant is not reached", "token"]);
    let entity = |change: fn(&mut Sensor)| {
        move |facts: &mut Facts| change(&mut facts.entities.as_mut().unwrap()[0])
    };
    one(
        entity(|s| s.age = Some(300.0)),
        &["sensor.grid was last reported 5 min ago", "every 2 s"],
    );
    one(
        entity(|s| s.age = None),
        &["nothing has been heard of sensor.grid"],
    );
    one(
        entity(|s| s.problem = Some(Reason::foreign("gone"))),
        &["sensor.grid: gone", "integration"],
    );
    one(
        |facts| facts.entities = Some(Vec::new()),
        &["no power sensor", "set-up page"],
    );
    one(|facts| facts.unix = 9.0, &["the year 1970", "NTP"]);
    one(
        |facts| facts.home_assistant_unix = Some(1.8e9 + 90.0),
        &["differs", "90 s"],
    );
    let kept = |kept: StoreKept| move |facts: &mut Facts| facts.store.as_mut().unwrap().kept = kept;
    one(
        kept(StoreKept::Memory(Reason::foreign("read-only"))),
        &["read-only", "data_dir"],
    );
    one(
        |facts| facts.store.as_mut().unwrap().free = Some(5_000_000),
        &["only 5 MB", "Make room"],
    );
}
