//! `eth`: unplugged; the device says that it is on Wi-Fi, because batteries check that when
//! pairing.

use serde::{Deserialize, Serialize};

use super::super::{
    Context, Device, Json,
    answer::{Handled, json, restart_required, result, text},
    method::{Call, Method},
    stored,
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("Eth.GetStatus", get_status),
    Method::new("Eth.GetConfig", get_config),
    Method::new("Eth.SetConfig", set_config).writes(),
    Method::new("Eth.ListClients", list_clients),
];

#[derive(Serialize)]
struct EthStatus {
    ip: Option<String>,
    ip6: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
struct EthConfig {
    enable: bool,
    server_mode: bool,
    ipv4mode: String,
    ip: Option<String>,
    netmask: Option<String>,
    gw: Option<String>,
    nameserver: Option<String>,
}

pub(crate) fn status(_: &Device, _: &Context<'_>, _: usize) -> Json {
    json(&EthStatus {
        ip: None,
        ip6: None,
    })
}

fn current() -> EthConfig {
    EthConfig {
        enable: true,
        server_mode: false,
        ipv4mode: "dhcp".into(),
        ip: None,
        netmask: None,
        gw: None,
        nameserver: None,
    }
}

pub(crate) fn config(_: &Device, _: &Context<'_>, _: usize) -> Json {
    json(&current())
}

fn get_status(call: &Call<'_>) -> Handled {
    text(status(call.device, call.context, 0))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(config(call.device, call.context, 0))
}

fn set_config(call: &Call<'_>) -> Handled {
    stored::refuse_change("eth", HOST_NETWORK, &current(), call.params.config()?)?;
    restart_required(false, Vec::new())
}

/// The network of a virtual device is its host's.
pub(crate) const HOST_NETWORK: &str =
    "the network is the host's, change it there (options bind, mdns_ip say what is announced)";

fn list_clients(call: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Clients {
        ts: i64,
        dhcp_clients: [u8; 0],
        offset: u8,
        count: u8,
        total: u8,
    }
    result(&Clients {
        ts: call.context.now.unix_s(),
        dhcp_clients: [],
        offset: 0,
        count: 0,
        total: 0,
    })
}
