//! `wifi`: connected, with the address that the caller reached. Home Assistant drops every
//! sensor of a device whose `wifi.sta` is missing or off, and raises a repair for an open access
//! point.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, Device, Json,
        answer::{Handled, json},
        method::{Call, Method},
        stored,
    },
    Enable,
    eth::HOST_NETWORK,
};

pub(crate) const METHODS: &[Method] = &[
    Method::part("Wifi.GetStatus", status),
    Method::part("Wifi.GetConfig", config),
    Method::new("Wifi.SetConfig", set_config).writes(),
    Method::fixed("Wifi.Scan", r#"{"results":[]}"#),
    Method::fixed("Wifi.ListAPClients", r#"{"ts":null,"ap_clients":[]}"#),
];

const SSID: &str = "virtual";
/// Locally administered: nobody's access point.
const BSSID: &str = "02:00:00:00:00:01";

#[derive(Serialize)]
struct WifiStatus {
    sta_ip: Option<String>,
    status: &'static str,
    ssid: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bssid: Option<&'static str>,
    rssi: i32,
    sta_ip6: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Ap {
    ssid: String,
    is_open: bool,
    enable: bool,
    range_extender: Enable,
}

#[derive(Serialize, Deserialize)]
struct Sta {
    ssid: Option<String>,
    is_open: bool,
    enable: bool,
    ipv4mode: String,
    ip: Option<String>,
    netmask: Option<String>,
    gw: Option<String>,
    nameserver: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Roam {
    rssi_thr: i32,
    interval: u32,
}

#[derive(Serialize, Deserialize)]
struct WifiConfig {
    ap: Ap,
    sta: Sta,
    sta1: Sta,
    roam: Roam,
}

fn sta(ssid: Option<&'static str>) -> Sta {
    let (is_open, enable, ssid) = (ssid.is_none(), ssid.is_some(), ssid.map(ToOwned::to_owned));
    Sta {
        ssid,
        is_open,
        enable,
        ipv4mode: "dhcp".into(),
        ip: None,
        netmask: None,
        gw: None,
        nameserver: None,
    }
}

pub(crate) fn status(device: &Device, context: &Context, _: usize) -> Json {
    let (sta_ip, sta_ip6) = match context.local_ip.map(|ip| ip.to_canonical()) {
        Some(ip) if ip.is_unspecified() => (None, Vec::new()),
        Some(IpAddr::V4(ip)) => (Some(ip.to_string()), Vec::new()),
        Some(IpAddr::V6(ip)) => (None, vec![ip.to_string()]),
        None => (None, Vec::new()),
    };
    let up = sta_ip.is_some() || !sta_ip6.is_empty();
    json(&WifiStatus {
        sta_ip,
        status: if up { "got ip" } else { "disconnected" },
        ssid: up.then_some(SSID),
        bssid: (up && device.identity.firmware.bssid).then_some(BSSID),
        rssi: if up { -55 } else { 0 },
        sta_ip6,
    })
}

fn current(device: &Device) -> WifiConfig {
    WifiConfig {
        ap: Ap {
            ssid: device.identity.host_name(),
            is_open: true,
            enable: false,
            range_extender: Enable { enable: false },
        },
        sta: sta(Some(SSID)),
        sta1: sta(None),
        roam: Roam {
            rssi_thr: -80,
            interval: 60,
        },
    }
}

pub(crate) fn config(device: &Device, _: &Context, _: usize) -> Json {
    json(&current(device))
}

fn set_config(call: &Call<'_>) -> Handled {
    stored::refuse_change(call, "wifi", HOST_NETWORK, &current(call.device))
}
