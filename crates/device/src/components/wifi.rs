//! `wifi`: connected, with the address that the caller reached. Home Assistant drops every
//! sensor of a device whose `wifi.sta` is missing or off, and raises a repair for an open access
//! point.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, Device, Json,
        answer::{Handled, json, restart_required, result, text},
        method::{Call, Method},
        stored,
    },
    eth::HOST_NETWORK,
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("Wifi.GetStatus", get_status),
    Method::new("Wifi.GetConfig", get_config),
    Method::new("Wifi.SetConfig", set_config).writes(),
    Method::new("Wifi.Scan", scan),
    Method::new("Wifi.ListAPClients", list_ap_clients),
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
struct RangeExtender {
    enable: bool,
}

#[derive(Serialize, Deserialize)]
struct Ap {
    ssid: String,
    is_open: bool,
    enable: bool,
    range_extender: RangeExtender,
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

pub(crate) fn status(device: &Device, context: &Context<'_>, _: usize) -> Json {
    let (v4, v6) = match context.local_ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => (Some(ip.to_string()), Vec::new()),
        Some(IpAddr::V6(ip)) if !ip.is_unspecified() => (None, vec![ip.to_string()]),
        _ => {
            return json(&WifiStatus {
                sta_ip: None,
                status: "disconnected",
                ssid: None,
                bssid: None,
                rssi: 0,
                sta_ip6: Vec::new(),
            });
        }
    };
    let bssid = device.identity.firmware.bssid.then_some(BSSID);
    json(&WifiStatus {
        sta_ip: v4,
        status: "got ip",
        ssid: Some(SSID),
        bssid,
        rssi: -55,
        sta_ip6: v6,
    })
}

fn current(device: &Device) -> WifiConfig {
    WifiConfig {
        ap: Ap {
            ssid: device.identity.host_name(),
            is_open: true,
            enable: false,
            range_extender: RangeExtender { enable: false },
        },
        sta: sta(Some(SSID)),
        sta1: sta(None),
        roam: Roam {
            rssi_thr: -80,
            interval: 60,
        },
    }
}

pub(crate) fn config(device: &Device, _: &Context<'_>, _: usize) -> Json {
    json(&current(device))
}

fn get_status(call: &Call<'_>) -> Handled {
    text(status(call.device, call.context, 0))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(config(call.device, call.context, 0))
}

fn set_config(call: &Call<'_>) -> Handled {
    stored::refuse_change(
        "wifi",
        HOST_NETWORK,
        &current(call.device),
        call.params.config()?,
    )?;
    restart_required(false, Vec::new())
}

fn scan(_: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Found {
        results: [u8; 0],
    }
    result(&Found { results: [] })
}

fn list_ap_clients(_: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Clients {
        ts: Option<i64>,
        ap_clients: [u8; 0],
    }
    result(&Clients {
        ts: None,
        ap_clients: [],
    })
}
