//! `bthome`: present on the device, without Bluetooth here; answered, but its methods are not
//! listed.

use serde::Serialize;

use super::super::{
    Context, Device, Json,
    answer::{Handled, json, restart_required, text},
    method::{Call, Method},
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("BTHome.GetStatus", get_status).unlisted(),
    Method::new("BTHome.GetConfig", get_config).unlisted(),
    Method::new("BTHome.SetConfig", set_config)
        .unlisted()
        .writes(),
];

#[derive(Serialize)]
struct BtHomeStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<[&'static str; 1]>,
}

pub(crate) fn status(device: &Device, _: &Context<'_>, _: usize) -> Json {
    json(&BtHomeStatus {
        errors: device
            .identity
            .firmware
            .ble_switch
            .then_some(["bluetooth_disabled"]),
    })
}

pub(crate) fn config(_: &Device, _: &Context<'_>, _: usize) -> Json {
    Json::from("{}")
}

fn get_status(call: &Call<'_>) -> Handled {
    text(status(call.device, call.context, 0))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(config(call.device, call.context, 0))
}

/// The configuration has no members, so there is none to change.
fn set_config(call: &Call<'_>) -> Handled {
    call.params.config()?;
    restart_required(false, Vec::new())
}
