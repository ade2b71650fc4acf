//! Ports that Home Assistant has on the meter's own host.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use virtual_shelly::transport::{
    ListenerState, fanout,
    http::{self, Site},
    listener::ListenerSpec,
    modbus,
    reserve::{Hosts, Reservation},
};
use virtual_shelly::vocab::reason::Closed;

use crate::common::{Healthy, Meter, until};

async fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

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
    match meter
        .board
        .lines()
        .into_iter()
        .find(|line| line.port == port)
        .map(|line| line.state)
    {
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
    let ports = [free().await, free().await, free().await, free().await];
    let [web, modbus_port, fan_one, fan_two] = ports;
    let site = Site::device(
        Arc::clone(&meter.endpoint),
        meter.board.clone(),
        Arc::new(Healthy),
        None,
    );
    meter.spawn(http::run(wanted("http", web), site, meter.cancel.clone()));
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
        let address = SocketAddr::from(([127, 0, 0, 1], taken));
        let mut home_assistant = None;
        for _ in 0..400 {
            match TcpListener::bind(address).await {
                Ok(bound) => {
                    home_assistant = Some(bound);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        assert!(
            home_assistant.is_some(),
            "{taken} is free for Home Assistant"
        );
    }
    meter.board.guard().set(Vec::new());
    until("all come back", || {
        ports.iter().all(|port| state(&meter, *port) == "open")
    })
    .await;
    meter.stop().await;
}
