//! Options laid over the device's own state (`decisions.md` C13): an explicit option wins and stays in the file.

use crate::{
    config::{ChannelSettings, MeterSettings, Profile},
    device::{DeviceState, Identity, auth},
};

/// What options say about things that the device also keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlay {
    name: Option<String>,
    profile: Option<Profile>,
    outbound: Option<Vec<String>>,
    insecure: bool,
    ha1: Option<String>,
    modbus_off: bool,
}

impl Overlay {
    /// From the options of one meter.
    #[must_use]
    pub fn new(meter: &MeterSettings, channels: &ChannelSettings, identity: &Identity) -> Self {
        Self {
            name: meter.device_name.clone(),
            profile: meter.profile,
            outbound: (!meter.outbound_ws.is_empty()).then(|| meter.outbound_ws.clone()),
            insecure: channels.outbound_ws_insecure,
            ha1: channels.auth_password.as_ref().map(|password| auth::ha1(&identity.id, &password.0)),
            modbus_off: meter.modbus_port.is_none(),
        }
    }

    /// Keys that an option sets, for the refusals of the device.
    #[must_use]
    pub fn keys(&self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        for (set, key) in [
            (self.name.is_some(), "device_name"),
            (self.profile.is_some(), "profile"),
            (self.outbound.is_some(), "outbound_ws"),
            (self.modbus_off, "modbus_enable"),
            (self.ha1.is_some(), "auth_password"),
        ] {
            if set {
                keys.push(key);
            }
        }
        keys
    }

    /// The state in force.
    #[must_use]
    pub fn over(&self, kept: &DeviceState) -> DeviceState {
        let mut state = kept.clone();
        if self.name.is_some() {
            state.name.clone_from(&self.name);
        }
        if let Some(profile) = self.profile {
            state.profile = profile;
        }
        if let Some(first) = self.outbound.as_ref().and_then(|targets| targets.first()) {
            state.ws.enable = true;
            state.ws.server = Some(first.clone());
            if self.insecure {
                state.ws.ssl_ca = Some("*".to_owned());
            }
        }
        if self.ha1.is_some() {
            state.auth_ha1.clone_from(&self.ha1);
        }
        if self.modbus_off {
            state.modbus_enable = false;
        }
        state
    }
}
