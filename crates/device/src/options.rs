//! The settings of the device, and its state with the options laid over it
//! (`docs/decisions.md#options-win-over-the-devices-settings`): an option wins over what a reader
//! set, and a change of it is refused naming the option.

use super::{DeviceOptions, DeviceState, auth, state::WsConfig};
use config::{ChannelSettings, MeterSettings};

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
            outbound_local: channels.outbound_ws_local,
            set_by_option: set
                .into_iter()
                .filter(|(_, is_set)| *is_set)
                .map(|(key, _)| key)
                .collect(),
            tz,
        }
    }
}

impl DeviceState {
    /// The state as readers see it: the stored one under the options. What is written is the stored
    /// one.
    #[must_use]
    pub fn under(
        &self,
        meter: &MeterSettings,
        channels: &ChannelSettings,
        device_id: &str,
    ) -> Self {
        let mut state = self.clone();
        if let Some(name) = &meter.device_name {
            state.name = Some(name.clone()).filter(|name| !name.is_empty());
        }
        if let Some(profile) = meter.profile {
            state.profile = profile;
        }
        if let Some(server) = meter.outbound_ws.first() {
            let ssl_ca = if channels.outbound_ws_insecure {
                "*"
            } else {
                "ca.pem"
            };
            state.ws = WsConfig {
                enable: true,
                server: Some(server.clone()),
                ssl_ca: Some(ssl_ca.to_owned()),
            };
        }
        if meter.modbus_port.is_none() {
            state.modbus_enable = false;
        }
        if let Some(password) = &channels.auth_password {
            state.auth_ha1 = Some(auth::ha1(device_id, &password.0));
            state.auth_realm = Some(device_id.to_owned());
        }
        state
    }

    /// Takes a password away that a reader set and that nobody could log in with or get rid of;
    /// says why, if one was there.
    ///
    /// Its hash is over the device id, so under another id the right password is a wrong one. And
    /// `auth_password` takes its place for good (`by_option`): who forgot it sets that option and
    /// takes it out again. One kept without its realm is the present id's.
    pub fn drop_dead_password(&mut self, by_option: bool, device_id: &str) -> Option<String> {
        self.auth_ha1.as_ref()?;
        let realm = self.auth_realm.get_or_insert_with(|| device_id.to_owned());
        let why = if by_option {
            "option auth_password takes the place of the password that was set by RPC".to_owned()
        } else if realm != device_id {
            format!(
                "the password that was set by RPC was for device id {realm} and cannot be used with {device_id}: it is removed, \
                 nothing asks for a password until option auth_password or Shelly.SetAuth sets one"
            )
        } else {
            return None;
        };
        (self.auth_ha1, self.auth_realm) = (None, None);
        Some(why)
    }
}
