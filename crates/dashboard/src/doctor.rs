//! The doctor's page: what is known of this process and its host, judged, in the person's language.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;

use super::{
    answer::{as_json, failure},
    asking::Asking,
    context::Context,
    listeners::{self, Place, hold},
    locale::Locale,
};
use doctor::{
    Announced, Asked, Facts, Finding, Heard, Level, Link, Port, PortState, Sensor, Store,
    StoreKept,
    host::{self, Protocol},
};
use probe::{Announcement, Consumer, Lookup};
use store::StoreState;
use transport::{ListenerState, board::Line};
use vocab::reason::{Explain, Reason};

/// Reasons of datagrams that nobody could read.
const UNREADABLE: [&str; 2] = ["malformed", "oversize"];

/// A finding in words.
#[derive(Serialize)]
pub struct FindingLine {
    /// What it is about, in words.
    pub area: String,
    /// How it is.
    pub level: Level,
    /// Its kind, the same in every language.
    pub kind: &'static str,
    /// What was found.
    pub text: String,
    /// The one thing to do.
    pub remedy: Option<String>,
}

/// All findings in words.
#[derive(Serialize)]
pub struct Told {
    /// Whether the meter runs.
    pub running: bool,
    /// Whether nothing is broken.
    pub ok: bool,
    /// The outcome in a sentence.
    pub text: String,
    /// What does not work first.
    pub findings: Vec<FindingLine>,
}

impl Told {
    /// What was found, in a language.
    #[must_use]
    pub fn of(l: &Locale, running: bool, findings: &[Finding]) -> Self {
        let line = |finding: &Finding| FindingLine {
            area: l.t(finding.area.key()).to_owned(),
            level: finding.level,
            kind: finding
                .cause
                .key()
                .unwrap_or_default()
                .trim_start_matches("doc_"),
            text: l.begin(&finding.cause),
            remedy: finding.remedy.as_ref().map(|remedy| l.say(remedy)),
        };
        let bad = findings.iter().filter(|f| f.level == Level::Bad).count();
        let text = if bad == 0 {
            l.t("doc_well").to_owned()
        } else {
            l.with("doc_ill", &[("n", &bad.to_string())])
        };
        Self {
            running,
            ok: bad == 0,
            text,
            findings: findings.iter().map(line).collect(),
        }
    }
}

/// What the board says of a listener; `None` of what has no port of its own.
fn port(l: &Locale, line: &Line, place: &Place) -> Option<Port> {
    if !matches!(
        line.name,
        "http" | "udp" | "modbus" | "websocket" | "dashboard"
    ) {
        return None;
    }
    let protocol = if line.name == "udp" {
        Protocol::Udp
    } else {
        Protocol::Tcp
    };
    let state = match &line.state {
        ListenerState::Listening => PortState::Open,
        ListenerState::Off { by } => PortState::Off((*by).to_owned()),
        ListenerState::Waiting { reason } => {
            PortState::Held(hold(reason, || host::holder(protocol, line.port)))
        }
    };
    let name = listeners::name(l, line.name);
    Some(Port {
        name: line.name,
        shown: listeners::of_meter(name, &line.meter),
        port: line.port,
        address: line.address.ip().map(|ip| ip.to_string()),
        state,
        prefix: place.prefix.clone(),
    })
}

/// A meter's announcement beside what the network answered; `http` is the port that is announced.
fn announced(
    line: &Line,
    id: &str,
    http: Option<u16>,
    heard: Option<&[Announcement]>,
    own: &[IpAddr],
) -> Announced {
    let host = line.address.to_string();
    let same = |text: &str| text.trim_end_matches('.').eq_ignore_ascii_case(&host);
    let ours = |service: &Announcement| {
        service.addresses.is_empty() || service.addresses.iter().any(|ip| own.contains(ip))
    };
    let all = heard.unwrap_or_default();
    let waits = match &line.state {
        ListenerState::Waiting { reason } => Some(reason.clone()),
        _ => None,
    };
    Announced {
        id: id.to_owned(),
        waits,
        heard: heard.map(|all| {
            all.iter()
                .any(|service| same(&service.host) && ours(service))
        }),
        same_host: all
            .iter()
            .filter(|service| same(&service.host))
            .flat_map(|service| service.addresses.iter().copied())
            .filter(|ip| ip.is_ipv4() && !own.contains(ip))
            .collect(),
        same_id: all
            .iter()
            .filter(|service| service.instance.eq_ignore_ascii_case(id))
            .filter_map(|service| {
                let host = service.host.trim_end_matches('.');
                if !same(host) {
                    return Some(host.to_owned());
                }
                // The same data folder twice on this host, say.
                let port = Some(service.port).filter(|port| *port > 0 && ours(service))?;
                (http? != port).then(|| format!("{host}:{port}"))
            })
            .collect(),
        host,
    }
}

/// Everything that is known, Home Assistant's clock asked, and the network for the meter's name
/// unless that may take too long.
async fn facts(context: &Context, l: &Locale, ask_network: bool) -> Facts {
    let options = context.owner.options();
    let lines = context.board.lines();
    let ports = lines
        .iter()
        .filter_map(|line| port(l, line, &Place::of(context, &line.meter)))
        .collect();
    let addresses = host::addresses();
    let names: Vec<&Line> = lines
        .iter()
        .filter(|line| line.name == "mdns" && !matches!(line.state, ListenerState::Off { .. }))
        .collect();
    let home = {
        let facts = context.facts.borrow();
        facts.address.zip(facts.port)
    };
    let (heard, home_assistant_unix) = tokio::join!(
        async {
            match context.owner.target(0, Consumer::Victron).mdns {
                Lookup::On(interfaces) if ask_network && !names.is_empty() => {
                    probe::announced(&interfaces).await
                }
                _ => None,
            }
        },
        async {
            let at = home.map(|(ip, port)| SocketAddr::new(ip, port))?;
            probe::date(&format!("http://{at}/")).await
        }
    );
    let mut own: Vec<IpAddr> = addresses.iter().map(|a| a.net.addr()).collect();
    own.push(IpAddr::from([127, 0, 0, 1]));
    let id = |meter: &str| {
        let of = context.meters.iter().find(|m| m.meter == meter);
        let id = of.map(|m| m.ground().device.identity.id.to_string());
        id.unwrap_or_default()
    };
    let port_of_http = |meter: &str| {
        let mut lines = lines.iter();
        lines.find(|line| line.name == "http" && line.meter == meter)
    };
    let (mut readers, mut udp, mut entities) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (index, meter) in context.meters.iter().enumerate() {
        let scaling = meter.ground().channels.scaling.clone();
        let seen = meter.consumers.overview(&scaling, context.now());
        readers.extend(seen.consumers.iter().map(|c| c.ip));
        udp.extend(seen.udp_ports.iter().map(|port| {
            let lost = UNREADABLE.iter().filter_map(|why| port.dropped.get(why));
            Heard {
                port: port.port,
                packets: port.packets,
                readable: port.packets.saturating_sub(lost.sum()),
                last_from: port.last_from,
            }
        }));
        let reports = context.owner.entities(index).await;
        entities.extend(reports.into_iter().map(|e| Sensor {
            entity: e.entity,
            age: e.age,
            usual: e.usual_interval,
            problem: e.problem,
        }));
    }
    let first = context.meter(0);
    let now = context.now();
    let link = match &first.view().snapshot.source.link {
        _ if !options.reads_home_assistant() => Link::Invented,
        vocab::Link::Up => Link::Up,
        vocab::Link::Connecting | vocab::Link::Starting => Link::Starting,
        vocab::Link::Idle(why) | vocab::Link::Down { reason: why, .. } => {
            Link::Down(Reason::Link(why.clone()))
        }
    };
    let up = now.mono.saturating_sub(first.ground().boot.since);
    Facts {
        app: options.app,
        container: host::in_container(),
        ports,
        bind: port_of_http("").and_then(|line| line.address.ip()),
        running: Some(up.as_secs_f64()),
        readers: readers.into_iter().map(|ip| Asked { ip }).collect(),
        udp,
        announced: names
            .iter()
            .map(|line| {
                let http = port_of_http(&line.meter).map(|line| line.port);
                announced(line, &id(&line.meter), http, heard.as_deref(), &own)
            })
            .collect(),
        addresses,
        unix: now.unix,
        home_assistant_unix,
        link,
        entities: Some(entities),
        store: Some(store(context)),
    }
}

fn store(context: &Context) -> Store {
    let health = context.store.health();
    let kept = match health.state {
        StoreState::Ok => StoreKept::Good,
        StoreState::Frozen => StoreKept::Frozen,
        StoreState::InMemory { reason } => StoreKept::Memory(reason),
        StoreState::Failing { reason, .. } => StoreKept::Failing(reason),
    };
    let path = health.path.as_deref();
    Store {
        path: path.map_or_else(String::new, |path| path.display().to_string()),
        kept,
        free: path.and_then(host::free),
    }
}

/// `GET doctor.json`: takes the time of a question on the network. With `?setup=1` only what
/// belongs to a set-up, without that question.
pub(super) async fn data(State(context): State<Context>, asking: Asking) -> Response {
    let l = asking.l;
    if asking.parameter("setup").is_some() {
        let mut found = doctor::findings(&facts(&context, l, false).await);
        found.retain(Finding::in_setup);
        return as_json(&Told::of(l, true, &found));
    }
    let Some(_one) = context.test_turn() else {
        return failure(StatusCode::CONFLICT, l.t("test_busy"));
    };
    let found = doctor::findings(&facts(&context, l, true).await);
    as_json(&Told::of(l, true, &found))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::why::tests::is_said_everywhere;
    use doctor::{Area, Cause, Remedy};

    #[test]
    fn every_cause_and_every_remedy_is_said_in_every_language() {
        for why in &Cause::samples() {
            is_said_everywhere(why, &["doc_entity_bad"]);
        }
        for why in &Remedy::samples() {
            is_said_everywhere(why, &[]);
        }
        for area in [
            Area::Ports,
            Area::Network,
            Area::Name,
            Area::Readers,
            Area::Source,
            Area::Clock,
            Area::Store,
        ] {
            assert!(Locale::all().iter().all(|l| l.find(area.key()).is_some()));
        }
    }

    #[test]
    fn a_name_that_others_have_is_a_conflict() {
        let service = |instance: &str, host: &str, ip: [u8; 4]| Announcement {
            instance: instance.into(),
            host: format!("{host}."),
            addresses: vec![ip.into()],
            ..Announcement::default()
        };
        let line = Line {
            name: "mdns",
            meter: String::new(),
            address: transport::board::Place::Named("ShellyPro3EM-AABBCCDDEEFF.local".into()),
            port: 80,
            state: ListenerState::Listening,
        };
        let (id, own) = ("shellypro3em-aabbccddeeff", [IpAddr::from([192, 0, 2, 10])]);
        let all = [
            service(id, "shellypro3em-aabbccddeeff.local", [192, 0, 2, 10]),
            service("x", "ShellyPro3EM-AABBCCDDEEFF.local", [192, 0, 2, 99]),
            service(id, "elsewhere.local", [192, 0, 2, 98]),
        ];
        let announced =
            |heard: Option<&[Announcement]>| super::announced(&line, id, Some(80), heard, &own);
        let found = announced(Some(&all));
        assert_eq!(found.heard, Some(true));
        assert_eq!(found.same_host, [IpAddr::from([192, 0, 2, 99])]);
        assert_eq!(found.same_id, ["elsewhere.local"]);
        let alone = announced(Some(&all[..1]));
        assert!(alone.same_host.is_empty() && alone.same_id.is_empty());
        assert_eq!(announced(Some(&[])).heard, Some(false));
        assert_eq!(announced(None).heard, None);
        // A second program with this identity, on the same host.
        let beside = |port| {
            let mut twice = [all[0].clone(), all[0].clone()];
            twice[0].port = 80;
            twice[1].port = port;
            announced(Some(&twice)).same_id
        };
        assert_eq!(beside(80), Vec::<String>::new());
        assert_eq!(beside(8080), ["shellypro3em-aabbccddeeff.local:8080"]);
    }
}
