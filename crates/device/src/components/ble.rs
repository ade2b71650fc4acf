//! `ble`: there is no radio, so it is off and stays so.

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, Device, Json,
        answer::{Handled, json, text},
        method::{Call, Method},
        stored,
    },
    Enable,
};

pub(crate) const METHODS: &[Method] = &[
    Method::fixed("BLE.GetStatus", "{}"),
    Method::part("BLE.GetConfig", config),
    Method::new("BLE.SetConfig", set_config).writes(),
    Method::fixed("BLE.CloudRelay.List", r#"{"addrs":[]}"#),
    Method::new("BLE.CloudRelay.ListInfos", cloud_relay_infos),
];

#[derive(Serialize, Deserialize)]
struct BleConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    enable: Option<bool>,
    rpc: Enable,
}

fn current(device: &Device) -> BleConfig {
    BleConfig {
        enable: device.identity.firmware.ble_switch.then_some(false),
        rpc: Enable { enable: true },
    }
}

pub(crate) fn config(device: &Device, _: &Context, _: usize) -> Json {
    json(&current(device))
}

fn set_config(call: &Call<'_>) -> Handled {
    let why = "there is no Bluetooth here";
    stored::refuse_change(call, "ble", why, &current(call.device))
}

fn cloud_relay_infos(call: &Call<'_>) -> Handled {
    let ts = call.context.now.unix_s();
    text(format!(
        r#"{{"ts":{ts},"offset":0,"count":0,"total":0,"devices":[]}}"#
    ))
}
