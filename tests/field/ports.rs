//! Ports that Home Assistant has on the meter's own host.

use std::{net::TcpListener, sync::Arc};

use virtual_shelly::transport::{
    ListenerState, fanout,
    http::{self, Site},
    listener::ListenerSpec,
    modbus,
    reserve::{Hosts, Reservation},
};
use virtual_shelly::vocab::reason::Closed;

use crate::common::{Healthy, Meter, free_port, until};

fn wanted(name: &'static str, port: u16) -> ListenerSpec {
    ListenerSpec {
        name,
        meter: String::new(),
        bind: Some([127, 0, 0, 1].into()),
        port,
        needed_by: "a test",
    }
}

/// Whether this listener is open, or kept shut for Home Assistant.
fn state(meter: &Meter, port: u16) -> &'static str {
    match meter.state(|line| line.port == port) {
        Some(ListenerState::Listening) => "open",
        Some(state) if state == ListenerState::waiting(Closed::HomeAssistant) => "kept",
        _ => "none",
    }
}

/// A new Home Assistant OS moved to port 80 while the meter was there, and came up in recovery
/// mode; its owner had also put it into the range of the WebSocket ports, and on 502 in a
/// container.
#[tokio::test]
async fn every_tcp_listener_leaves_home_assistants_port() {
    let meter = Meter::new();
    let ports = [(); 4].map(|()| free_port());
    let [web, modbus_port, fan_one, fan_two] = ports;
    let (site, stop) = (meter.site(), meter.cancel.clone());
    meter.spawn(http::run(wanted("http", web), site, stop));
    meter.spawn(modbus::run(
        wanted("modbus", modbus_port),
        Arc::clone(&meter.endpoint),
        meter.board.clone(),
        meter.cancel.clone(),
    ));
    let site = Site::fanout(
        Arc::clone(&meter.endpoint),
        meter.board.clone(),
        Arc::new(Healthy),
    );
    let stop = meter.cancel.clone();
    meter.spawn(async move {
        fanout::run(
            &[fan_one, fan_two],
            Some([127, 0, 0, 1].into()),
            &site,
            &stop,
        )
        .await;
    });
    until("all are open", || {
        ports.iter().all(|port| state(&meter, *port) == "open")
    })
    .await;

    for taken in [web, modbus_port, fan_two] {
        meter.board.guard().set(vec![Reservation {
            port: taken,
            hosts: Hosts::All,
        }]);
        until("it is given up, and only it", || {
            ports
                .iter()
                .all(|port| state(&meter, *port) == if *port == taken { "kept" } else { "open" })
        })
        .await;
        until("it is free for Home Assistant", || {
            TcpListener::bind(("127.0.0.1", taken)).is_ok()
        })
        .await;
    }
    meter.board.guard().set(Vec::new());
    until("all come back", || {
        ports.iter().all(|port| state(&meter, *port) == "open")
    })
    .await;
    meter.stop().await;
}
