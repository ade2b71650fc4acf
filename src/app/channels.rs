//! Starts what serves the meters: HTTP, fan-out, UDP, Modbus, MQTT, outbound WebSocket, mDNS.

use std::{net::IpAddr, sync::Arc};

use tracing::warn;

use super::{gx, running::Running, shared::Shared, start::Meters};
use crate::supervisor::Supervisor;
use config::{MeterSettings, Resolved};
use transport::{
    ListenerState,
    board::{Line, Place},
    fanout,
    http::{self, Site},
    listener::ListenerSpec,
    mdns, modbus, mqtt, outbound, udp,
};

impl Meters {
    /// Starts every channel of every meter.
    pub async fn start_channels(
        &self,
        shared: &Shared,
        resolved: &Resolved,
        supervisor: Option<&Supervisor>,
        pages: Option<axum::Router>,
    ) {
        let known: Arc<dyn outbound::Memory> = Arc::new(gx::Known(shared.store.clone()));
        let (mut members, mut sites) = (Vec::new(), Vec::new());
        let places: Vec<_> = self
            .settings()
            .iter()
            .map(|settings| (settings.bind, settings.http_port))
            .collect();
        for (meter, shelly) in self.running.iter().zip(mdns::told_apart(&places)) {
            let _in_its_span = meter.span.enter();
            let settings = meter.settings();
            let pages = pages.clone().filter(|_| meter.key.is_empty());
            let site = start_tcp(meter, &settings, shared, pages);
            start_udp(meter, &settings, shared);
            let (board, stop) = (&shared.board, &shared.stop);
            let dialling = outbound::run(
                meter.outbound.subscribe(),
                Arc::clone(&meter.endpoint),
                Arc::clone(&known),
                board.clone(),
                stop.clone(),
            );
            shared.health.spawn("outbound", dialling);
            let publishing = mqtt::run(Arc::clone(&meter.endpoint), board.clone(), stop.clone());
            shared.health.spawn("device MQTT", publishing);
            off(&meter.key, &settings, resolved).for_each(|line| shared.board.set(line));
            let address = settings
                .mdns_ip
                .or_else(|| mdns::announceable(settings.bind));
            let host = settings.mdns_hostname.as_deref();
            let announcement = mdns::Announcement::new(
                &meter.key,
                &meter.identity,
                settings.mdns_profile,
                host,
                address,
            );
            sites.extend(site.map(|site| (announcement.host.clone(), site)));
            if settings.mdns_enable {
                members.push(mdns::Member {
                    announcement: mdns::Announcement {
                        shelly,
                        ..announcement
                    },
                    ground: meter.ground.subscribe(),
                });
            }
        }
        Site::introduce(&sites);
        if members.is_empty() {
            return;
        }
        let mut primary = None;
        if let Some(supervisor) = supervisor {
            match supervisor.primary_interface().await {
                Ok(named) => primary = named,
                Err(error) => {
                    warn!(%error, "mDNS announces on the interface of the default route");
                }
            }
        }
        let interfaces = mdns::Interfaces {
            named: resolved.settings.channels.mdns_interfaces.clone(),
            primary,
        };
        let (board, stop) = (&shared.board, &shared.stop);
        let asking = mdns::self_query::run(interfaces.clone(), board.clone(), stop.clone());
        shared.health.spawn("mDNS self-query", asking);
        let announcing = mdns::run(members, interfaces, board.clone(), stop.clone());
        shared.health.spawn("mDNS", announcing);
    }
}

/// A line for each channel of a meter that an option turned off, so that nobody takes it for
/// broken. `key` is empty for the first meter; the others have no fan-out of their own to be off.
pub(super) fn off<'a>(
    key: &'a str,
    settings: &'a MeterSettings,
    resolved: &'a Resolved,
) -> impl Iterator<Item = Line> + 'a {
    let no_udp = settings.udp_ports.is_empty();
    let no_modbus = settings.modbus_port.is_none();
    let no_fanout = key.is_empty() && settings.ws_fanout_ports.is_empty();
    let all = [
        ("http", settings.http_port.is_none(), None, "http_port"),
        ("udp", no_udp, Some("udp_enable"), "udp_ports"),
        ("modbus", no_modbus, Some("modbus_enable"), "modbus_port"),
        ("websocket", no_fanout, None, "ws_fanout_enable"),
        ("mdns", !settings.mdns_enable, None, "mdns_enable"),
    ];
    let off = all.into_iter().filter(|(_, off, ..)| *off);
    off.map(move |(name, _, switch, port)| {
        let by = switch
            .filter(|key| resolved.values.get(key) == Some(&serde_json::Value::Bool(false)))
            .unwrap_or(port);
        Line {
            name,
            meter: key.to_owned(),
            address: Place::Named(String::new()),
            port: 0,
            state: ListenerState::Off { by },
        }
    })
}

/// A listener of a meter.
fn listener(
    meter: &Running,
    name: &'static str,
    bind: Option<IpAddr>,
    port: u16,
    needed_by: &'static str,
) -> ListenerSpec {
    ListenerSpec {
        name,
        meter: meter.key.clone(),
        bind,
        port,
        needed_by,
    }
}

/// Starts its TCP channels, and gives what its HTTP port serves.
fn start_tcp(
    meter: &Running,
    settings: &MeterSettings,
    shared: &Shared,
    pages: Option<axum::Router>,
) -> Option<Arc<Site>> {
    let vitals: Arc<dyn transport::healthz::Vitals> = Arc::new(shared.health.clone());
    let endpoint = || Arc::clone(&meter.endpoint);
    let (board, stop) = (|| shared.board.clone(), || shared.stop.clone());
    let bind = settings.bind;
    let mut served = None;
    if let Some(port) = settings.http_port {
        let needed_by = "Home Assistant, evcc and most batteries ask there, Hoymiles, NOAH and Victron at port 80 only";
        let wanted = listener(meter, "http", bind, port, needed_by);
        let site = Site::device(endpoint(), board(), Arc::clone(&vitals), pages);
        let serving = http::run(wanted, Arc::clone(served.insert(site)), stop());
        shared.health.spawn("http", serving);
    }
    if !settings.ws_fanout_ports.is_empty() {
        let site = Site::fanout(endpoint(), board(), vitals);
        let (ports, stop) = (settings.ws_fanout_ports.clone(), stop());
        shared.health.spawn("fan-out", async move {
            fanout::run(&ports, bind, &site, &stop).await;
        });
    }
    if let Some(port) = settings.modbus_port {
        let bind = settings.modbus_bind.or(bind);
        let needed_by = "Modbus masters read the meter there";
        let wanted = listener(meter, "modbus", bind, port, needed_by);
        let serving = modbus::run(wanted, endpoint(), board(), stop());
        shared.health.spawn("modbus", serving);
    }
    served
}

fn start_udp(meter: &Running, settings: &MeterSettings, shared: &Shared) {
    for port in &settings.udp_ports {
        let needed_by = match port {
            1010 => "Marstek Venus, Jupiter and older B2500 read UDP 1010",
            2220 => "Marstek B2500 reads UDP 2220",
            2222 => "batteries set to a Shelly EM Gen3 read UDP 2222",
            2223 => "batteries set to a Shelly Pro EM-50 read UDP 2223",
            _ => "batteries read there",
        };
        let wanted = listener(meter, "udp", settings.bind, *port, needed_by);
        let endpoint = Arc::clone(&meter.endpoint);
        let serving = udp::run(wanted, endpoint, shared.board.clone(), shared.stop.clone());
        shared.health.spawn("udp", serving);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use config::{LoadInputs, load};

    /// What is off of a meter, by which option.
    fn off_by(inputs: &LoadInputs, meter: usize) -> Vec<(&'static str, &'static str)> {
        let resolved = load(inputs);
        assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
        let settings = &resolved.settings.meters[meter];
        let by = |line: Line| match line.state {
            ListenerState::Off { by } if line.meter == settings.name => (line.name, by),
            other => panic!("{other:?}"),
        };
        off(&settings.name, settings, &resolved).map(by).collect()
    }

    #[test]
    fn what_an_option_turned_off_is_named_with_it() {
        let off_by_env = |env: &[(&str, &str)]| {
            let env = env
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()));
            let inputs = LoadInputs {
                env: env.collect(),
                data_dir: "/data".into(),
                ..LoadInputs::default()
            };
            off_by(&inputs, 0)
        };
        assert_eq!(off_by_env(&[]), []);
        let all = [
            ("VIRTUAL_SHELLY_UDP_ENABLE", "0"),
            ("MDNS_ENABLE", "0"),
            ("MODBUS_ENABLE", "false"),
            ("VIRTUAL_SHELLY_WS_FANOUT_ENABLE", "no"),
        ];
        let by = [
            ("udp", "udp_enable"),
            ("modbus", "modbus_enable"),
            ("websocket", "ws_fanout_enable"),
            ("mdns", "mdns_enable"),
        ];
        assert_eq!(off_by_env(&all), by);
    }

    #[test]
    fn a_further_meter_says_what_is_off_too() {
        let text = r#"{"mdns_enable": false, "meters": [{"name": "garage", "a_power": "sensor.garage", "http_port": 8081}]}"#;
        let by = [
            ("udp", "udp_ports"),
            ("modbus", "modbus_port"),
            ("mdns", "mdns_enable"),
        ];
        assert_eq!(off_by(&LoadInputs::of_options(text), 1), by);
    }
}
