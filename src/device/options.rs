//! The settings of the device, and its state with the options laid over it (`decisions.md` C13): an option wins
//! over what a reader set, and a change of it is refused naming the option.

use super::{DeviceOptions, DeviceState, auth, state::WsConfig};
use crate::config::{ChannelSettings, MeterSettings};

impl DeviceOptions {
    /// The part of the settings that the device needs; `tz` is the IANA name of the time zone.
    #[must_use]
    pub fn new(meter: &MeterSettings, channels: &ChannelSettings, tz: String) -> Self {
        let set = [
            ("device_name", meter.device_name.is_some()),
            ("profile", meter.profile.is_some()),
            ("outbound_ws", !meter.outbound_ws.is_empty()),
            ("modbus_enable", meter.modbus_port.is_none()),
            ("auth_password", channels.auth_password.is_some()),
        ];
        Self {
            stale: meter.stale,
            energy_kwh: meter.energy_kwh,
            unknown_methods_dummy: channels.unknown_methods_dummy,
            read_only: channels.read_only,
            set_by_option: set.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect(),
            tz,
        }
    }
}

impl DeviceState {
    /// The state as readers see it: the stored one under the options. What is written is the stored one.
    #[must_use]
    pub fn under(&self, meter: &MeterSettings, channels: &ChannelSettings, device_id: &str) -> Self {
        let mut state = self.clone();
        if let Some(name) = &meter.device_name {
            state.name = Some(name.clone()).filter(|name| !name.is_empty());
        }
        if let Some(profile) = meter.profile {
            state.profile = profile;
        }
        if let Some(server) = meter.outbound_ws.first() {
            let ssl_ca = if channels.outbound_ws_insecure { "*" } else { "ca.pem" };
            state.ws = WsConfig { enable: true, server: Some(server.clone()), ssl_ca: Some(ssl_ca.to_owned()) };
        }
        if meter.modbus_port.is_none() {
            state.modbus_enable = false;
        }
        if let Some(password) = &channels.auth_password {
            state.auth_ha1 = Some(auth::ha1(device_id, &password.0));
        }
        state
    }
}
