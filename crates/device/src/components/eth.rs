//! `eth`: unplugged; the device says that it is on Wi-Fi, because batteries check that when
//! pairing.

use serde::{Deserialize, Serialize};

use super::super::{
    Context, Device, Json,
    answer::{Handled, json, text},
    method::{Call, Method},
    stored,
};

pub(crate) const METHODS: &[Method] = &[
    Method::part("Eth.GetStatus", status),
    Method::part("Eth.GetConfig", config),
    Method::new("Eth.SetConfig", set_config).writes(),
    Method::new("Eth.ListClients", list_clients),
];

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

pub(crate) fn status(_: &Device, _: &Context, _: usize) -> Json {
    Json::from(r#"{"ip":null,"ip6":null}"#)
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

pub(crate) fn config(_: &Device, _: &Context, _: usize) -> Json {
    json(&current())
}

fn set_config(call: &Call<'_>) -> Handled {
    stored::refuse_change(call, "eth", HOST_NETWORK, &current())
}

/// The network of a virtual device is its host's.
pub(crate) const HOST_NETWORK: &str =
    "the network is the host's, change it there (options bind, mdns_ip say what is announced)";

fn list_clients(call: &Call<'_>) -> Handled {
    let ts = call.context.now.unix_s();
    text(format!(
        r#"{{"ts":{ts},"dhcp_clients":[],"offset":0,"count":0,"total":0}}"#
    ))
}
