//! `bthome`: present on the device, without Bluetooth here; answered, but its methods are not
//! listed.

use super::{
    super::{Context, Device, Json, method::Method},
    set_nothing,
};

pub(crate) const METHODS: &[Method] = &[
    Method::part("BTHome.GetStatus", status).unlisted(),
    Method::fixed("BTHome.GetConfig", "{}").unlisted(),
    Method::new("BTHome.SetConfig", set_nothing)
        .unlisted()
        .writes(),
];

pub(crate) fn status(device: &Device, _: &Context, _: usize) -> Json {
    let off = device.identity.firmware.ble_switch;
    Json::from(if off {
        r#"{"errors":["bluetooth_disabled"]}"#
    } else {
        "{}"
    })
}
