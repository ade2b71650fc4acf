//! `ble`: there is no radio, so it is off and stays so.

use serde::{Deserialize, Serialize};

use super::super::{
    Context, Device, Json,
    answer::{Handled, json, restart_required, result, text},
    method::{Call, Method},
    stored,
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("BLE.GetStatus", get_status),
    Method::new("BLE.GetConfig", get_config),
    Method::new("BLE.SetConfig", set_config).writes(),
    Method::new("BLE.CloudRelay.List", cloud_relay_list),
    Method::new("BLE.CloudRelay.ListInfos", cloud_relay_infos),
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rpc {
    enable: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct BleConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    enable: Option<bool>,
    rpc: Rpc,
}

fn current(device: &Device) -> BleConfig {
    BleConfig {
        enable: device.identity.firmware.ble_switch.then_some(false),
        rpc: Rpc { enable: true },
    }
}

pub(crate) fn status(_: &Device, _: &Context<'_>, _: usize) -> Json {
    Json::from("{}")
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
        "ble",
        "there is no Bluetooth here",
        &current(call.device),
        call.params.config()?,
    )?;
    restart_required(false, Vec::new())
}

fn cloud_relay_list(_: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Relays {
        addrs: [&'static str; 0],
    }
    result(&Relays { addrs: [] })
}

fn cloud_relay_infos(call: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Infos {
        ts: i64,
        offset: u8,
        count: u8,
        total: u8,
        devices: [u8; 0],
    }
    result(&Infos {
        ts: call.context.now.unix_s(),
        offset: 0,
        count: 0,
        total: 0,
        devices: [],
    })
}
