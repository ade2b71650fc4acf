//! Who the device is, as it says to everybody.

use config::Profile;
use serde::Serialize;

use super::super::{Context, Device, DeviceState, Json, answer::json};

/// `GET /shelly` and `Shelly.GetDeviceInfo`.
#[derive(Serialize)]
struct DeviceInfo<'a> {
    name: Option<&'a str>,
    id: &'a str,
    mac: &'a str,
    slot: u8,
    model: &'a str,
    r#gen: u8,
    fw_id: &'a str,
    ver: &'a str,
    app: &'a str,
    auth_en: bool,
    auth_domain: Option<&'a str>,
    profile: Profile,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced_security: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provision: Option<&'static str>,
}

impl Device {
    /// The body of `GET /shelly`, also the result of `Shelly.GetDeviceInfo`.
    #[must_use]
    pub fn info_json(&self, state: &DeviceState) -> Json {
        let identity = &self.identity;
        json(&DeviceInfo {
            name: state.name.as_deref(),
            id: &identity.id,
            mac: &identity.mac,
            slot: 0,
            model: &identity.model,
            r#gen: identity.generation,
            fw_id: &identity.fw_id,
            ver: &identity.ver,
            app: &identity.app,
            auth_en: state.auth_ha1.is_some(),
            auth_domain: state.auth_ha1.is_some().then_some(&identity.id),
            profile: state.profile,
            enhanced_security: identity.firmware.security.then_some(false),
            provision: identity.firmware.provision.then_some("complete"),
        })
    }
}

pub(crate) fn info(device: &Device, context: &Context, _: usize) -> Json {
    device.info_json(&context.state)
}
