//! How readers find a meter, and that they find the right one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, TYPE, rdata::RData};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use virtual_shelly::{
    config::MdnsProfile,
    device::{Effect, Identity, state::Setting},
    transport::{
        Hub, ListenerState,
        board::{Line, Place},
        http::Site,
        mdns::{self, Announcement, Interfaces, Member},
    },
    vocab::{Mac, reason::Closed},
};

use super::common::{Client, Meter, parse, raw, until};

const SHELLY: &str = "_shelly._tcp.local";

/// What one record of a packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    at: Instant,
    name: String,
    kind: String,
    ttl: u32,
    flush: bool,
    /// It goes with an answer, and was not asked for.
    beside: bool,
}

/// A listener on loopback's group, as a sniffer.
struct Sniffer {
    socket: UdpSocket,
    mine: String,
}

impl Sniffer {
    /// Hears what concerns the device with this MAC.
    fn new(mac: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5353)).into())
            .unwrap();
        socket
            .join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::LOCALHOST)
            .unwrap();
        socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        Self {
            socket: UdpSocket::from_std(socket.into()).unwrap(),
            mine: mac.to_ascii_lowercase(),
        }
    }

    async fn ask(&self, name: &str, kind: TYPE) {
        let mut packet = Packet::new_query(0);
        packet.questions.push(Question::new(
            Name::new(name).unwrap(),
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        self.socket
            .send_to(
                &packet.build_bytes_vec().unwrap(),
                (Ipv4Addr::new(224, 0, 0, 251), 5353),
            )
            .await
            .unwrap();
    }

    /// The records of the next packet about the device, in at most so long.
    async fn packet(&self, within: Duration) -> Option<Vec<Heard>> {
        let end = Instant::now() + within;
        let mut bytes = vec![0; 9000];
        loop {
            let (length, _) = timeout_at(end, self.socket.recv_from(&mut bytes))
                .await
                .ok()?
                .unwrap();
            let Ok(packet) = Packet::parse(&bytes[..length]) else {
                continue;
            };
            let heard = |r: &simple_dns::ResourceRecord<'_>, beside| Heard {
                at: Instant::now(),
                name: match &r.rdata {
                    RData::PTR(to) => to.0.to_string(),
                    _ => r.name.to_string(),
                },
                kind: format!("{:?}", r.rdata.type_code()),
                ttl: r.ttl,
                flush: r.cache_flush,
                beside,
            };
            let all: Vec<Heard> = {
                let answers = packet.answers.iter().map(|r| heard(r, false));
                answers
                    .chain(packet.additional_records.iter().map(|r| heard(r, true)))
                    .collect()
            };
            if all
                .iter()
                .any(|r| r.name.to_ascii_lowercase().contains(&self.mine))
            {
                return Some(all);
            }
        }
    }
}

/// An identity of its own, so that tests side by side do not hear each other.
fn identity() -> Identity {
    Identity::of_mac(&Mac::local(std::array::from_fn(|_| fastrand::u8(..))))
}

fn announce(meter: &Meter, identity: &Identity) -> CancellationToken {
    let line = Line {
        name: "http",
        meter: String::new(),
        address: Place::All,
        port: 80,
        state: ListenerState::Listening,
    };
    meter.board.set(line);
    let announcement = Announcement::new("", identity, MdnsProfile::Device, None, None);
    let member = Member {
        announcement,
        ground: meter.endpoint.watch(),
    };
    let stop = CancellationToken::new();
    meter.spawn(mdns::run(
        vec![member],
        Interfaces {
            named: vec!["lo".into()],
            primary: None,
        },
        meter.board.clone(),
        stop.clone(),
    ));
    stop
}

fn mdns_state(meter: &Meter) -> Option<ListenerState> {
    meter.state(|line| line.name == "mdns")
}

/// A capture of a real Pro 3EM with firmware 1.7.5: everything lives 120 s, and only addresses
/// flush caches.
#[tokio::test]
async fn announcements_are_those_of_a_real_device() {
    let (meter, identity) = (Meter::new(), identity());
    let sniffer = Sniffer::new(&identity.mac);
    let name = format!("Zähler {}", identity.mac);
    meter.write(Setting::Name(Some(name.clone()))).await;
    let stop = announce(&meter, &identity);
    let host = format!("Z-hler-{}.local", identity.mac);
    let mut heard: Vec<Heard> = Vec::new();
    while !heard
        .iter()
        .any(|r| r.kind == "A" && r.name == host && r.ttl > 0)
    {
        let packet = sniffer.packet(Duration::from_secs(20)).await;
        heard.extend(packet.expect("announced"));
    }
    for record in &heard {
        assert!(record.ttl == 120 || record.ttl == 0, "{record:?}");
        assert_eq!(record.flush, record.kind == "A", "{record:?}");
    }
    let said = |kind: &str, name: &str| {
        heard
            .iter()
            .any(|r| r.kind == kind && r.name == name && r.ttl == 120)
    };
    for kind in ["PTR", "SRV", "TXT"] {
        for instance in [identity.id.as_str(), &name] {
            assert!(
                said(kind, &format!("{instance}.{SHELLY}")),
                "{kind} of {instance}: {heard:?}"
            );
        }
    }
    assert!(said("A", &format!("ShellyPro3EM-{}.local", identity.mac)));
    stop.cancel();
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let packet = sniffer
            .packet(Duration::from_secs(5))
            .await
            .expect("a goodbye");
        gone.extend(
            packet
                .into_iter()
                .filter(|r| r.ttl == 0 && r.kind == "PTR" && r.name.ends_with(SHELLY)),
        );
    }
    meter.stop().await;
}

/// A GX whose Shelly driver lost the meter to a power cut: an announcement equal to the one in its
/// cache was no news to it.
#[tokio::test]
async fn a_goodbye_comes_before_the_first_announcement_and_announcements_are_repeated() {
    let (meter, identity) = (Meter::new(), identity());
    let sniffer = Sniffer::new(&identity.mac);
    let stop = announce(&meter, &identity);
    let first = sniffer
        .packet(Duration::from_secs(10))
        .await
        .expect("a goodbye");
    assert!(first.iter().all(|r| r.ttl == 0), "{first:?}");
    let mut times = vec![first[0].at];
    while times.len() < 4 {
        let next = sniffer
            .packet(Duration::from_secs(10))
            .await
            .expect("an announcement");
        // What a test beside this one asked for is no announcement.
        if next.iter().any(|r| r.kind == "SRV" && !r.beside) {
            assert!(next.iter().all(|r| r.ttl == 120), "{next:?}");
            times.push(next[0].at);
        }
    }
    let gaps: Vec<f64> = times
        .windows(2)
        .map(|w| (w[1] - w[0]).as_secs_f64())
        .collect();
    assert!(
        gaps[0] > 1.0,
        "a record with a goodbye lives for a second: {gaps:?}"
    );
    assert!(
        gaps[1] > 0.8 && gaps[2] > 1.8,
        "growing distances: {gaps:?}"
    );
    stop.cancel();
    meter.stop().await;
}

/// Home Assistant still booting when the app starts: a Victron driver that met the meter without
/// figures never took it again.
#[tokio::test]
async fn who_has_no_values_yet_cannot_be_found_and_who_lost_them_still_can() {
    let (meter, identity) = (Meter::new(), identity());
    meter.power([Some(1.0), None, Some(2.0)]);
    let sniffer = Sniffer::new(&identity.mac);
    let stop = announce(&meter, &identity);
    until("it waits", || {
        mdns_state(&meter) == Some(ListenerState::waiting(Closed::NoValues))
    })
    .await;
    let host = format!("ShellyPro3EM-{}.local", identity.mac);
    for _ in 0..3 {
        sniffer.ask(&host, TYPE::A).await;
        sniffer.ask(SHELLY, TYPE::PTR).await;
        assert_eq!(
            sniffer.packet(Duration::from_millis(500)).await,
            None,
            "nothing is said, not even when asked"
        );
    }
    meter.power([Some(1.0), Some(5.0), Some(2.0)]);
    until("it is announced", || {
        mdns_state(&meter) == Some(ListenerState::Listening)
    })
    .await;
    meter.power([None, None, None]);
    let answered = async {
        loop {
            sniffer.ask(&host, TYPE::A).await;
            let packet = sniffer
                .packet(Duration::from_millis(400))
                .await
                .unwrap_or_default();
            if packet.len() == 1 && packet[0].kind == "A" && packet[0].ttl == 120 {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), answered)
        .await
        .expect("values that are withdrawn later do not withdraw it");
    assert_eq!(mdns_state(&meter), Some(ListenerState::Listening));
    stop.cancel();
    meter.stop().await;
}

/// One GET with this `Host`.
async fn get_as(address: SocketAddr, target: &str, host: &str) -> serde_json::Value {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    parse(&raw(address, request.as_bytes()).await)
        .unwrap()
        .json()
}

/// A second meter on port 8081 whose readers knew only port 80: 77.7 W of solar power were shown as
/// the 1345.5 W of the grid.
#[tokio::test]
async fn the_host_name_chooses_the_meter() {
    let (grid, solar) = (Meter::new(), Meter::new());
    let other = Identity::of_mac(&Mac::parse("0000000000AA").unwrap());
    solar
        .ground
        .change(|ground| Arc::make_mut(&mut ground.device).identity = other);
    grid.power([Some(1345.5), Some(0.0), Some(0.0)]);
    solar.power([Some(77.7), Some(0.0), Some(0.0)]);
    solar.write(Setting::Name(Some("Solar roof".into()))).await;
    let (grid_site, solar_site) = (grid.site(), solar.site());
    Site::introduce(&[
        ("ShellyPro3EM-AABBCCDDEEFF".into(), Arc::clone(&grid_site)),
        ("ShellyPro3EM-0000000000AA".into(), Arc::clone(&solar_site)),
    ]);
    let (port_80, port_81) = (
        grid.serve_site(grid_site).await,
        solar.serve_site(solar_site).await,
    );
    let total = async |address, host: &str| {
        get_as(address, "/rpc/EM.GetStatus?id=0", host).await["total_act_power"]
            .as_f64()
            .unwrap()
    };
    for host in [
        "ShellyPro3EM-0000000000AA.local",
        "shellypro3em-0000000000aa.local.",
        "SHELLYPRO3EM-0000000000AA.local:80",
        "shellypro3em-0000000000aa.fritz.box",
        "shellypro3em-0000000000aa",
        "Solar-roof.local",
    ] {
        assert_eq!(total(port_80, host).await, 77.7, "{host}");
        assert_eq!(total(port_81, host).await, 77.7, "{host}");
    }
    for host in [
        "ShellyPro3EM-AABBCCDDEEFF.local",
        "shellypro3em-aabbccddeeff",
    ] {
        assert_eq!(total(port_80, host).await, 1345.5, "{host}");
        assert_eq!(total(port_81, host).await, 1345.5, "{host}");
    }
    for host in [
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "localhost",
        "nas.local",
        "",
    ] {
        assert_eq!(
            total(port_80, host).await,
            1345.5,
            "an address or a stranger's name is the port's own meter: {host}"
        );
        assert_eq!(total(port_81, host).await, 77.7, "{host}");
    }
    let who = get_as(port_80, "/shelly", "ShellyPro3EM-0000000000AA.local").await;
    assert_eq!(who["mac"], "0000000000AA", "pages beside the calls too");
    grid.stop().await;
    solar.stop().await;
}

/// A Victron GX, which opens its WebSocket by host name: it saw the first meter under the second
/// one's serial.
#[tokio::test]
async fn the_host_name_chooses_the_meter_of_a_websocket() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let (grid, solar) = (Meter::new(), Meter::new());
    solar.power([Some(77.7), Some(0.0), Some(0.0)]);
    let (grid_site, solar_site) = (grid.site(), solar.site());
    Site::introduce(&[
        ("ShellyPro3EM-AABBCCDDEEFF".into(), Arc::clone(&grid_site)),
        ("pv".into(), Arc::clone(&solar_site)),
    ]);
    let address = grid.serve_site(grid_site).await;
    let mut request = format!("ws://{address}/rpc").into_client_request().unwrap();
    request
        .headers_mut()
        .insert("Host", "PV.local:80".parse().unwrap());
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    let mut gx = Client(socket);
    let answer = gx.call(1, Some("gx"), "EM.GetStatus").await;
    assert_eq!(answer["result"]["total_act_power"], 77.7);
    // Its notifications are that meter's, and a reboot of that meter ends the socket.
    solar.power([Some(88.8), Some(0.0), Some(0.0)]);
    gx.find(|frame| frame["params"]["em:0"]["total_act_power"] == 88.8)
        .await;
    solar.hub.apply(vec![Effect::Reboot { delay_ms: 0 }]).await;
    gx.closed().await;
    grid.stop().await;
    solar.stop().await;
}
