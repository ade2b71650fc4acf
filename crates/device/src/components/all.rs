//! The members of `Shelly.GetStatus` and `Shelly.GetConfig`.

use config::Profile;

use super::{
    super::{answer::Json, context::Context, device::Device, method::Part},
    ble, bthome, cloud, em, em_data, em1, em1_data, eth, modbus, mqtt, sys, temperature, wifi, ws,
};

/// A member of `Shelly.GetStatus` and `Shelly.GetConfig`.
pub(crate) struct Component {
    /// `em:0`.
    pub(crate) key: &'static str,
    instance: usize,
    profile: Option<Profile>,
    status: Part,
    config: Part,
}

impl Component {
    const fn new(key: &'static str, status: Part, config: Part) -> Self {
        Self {
            key,
            instance: 0,
            profile: None,
            status,
            config,
        }
    }

    const fn of(
        key: &'static str,
        instance: usize,
        profile: Profile,
        status: Part,
        config: Part,
    ) -> Self {
        Self {
            key,
            instance,
            profile: Some(profile),
            status,
            config,
        }
    }

    /// Whether its status is about power.
    pub(crate) fn holds_power(&self) -> bool {
        self.key.starts_with("em:") || self.key.starts_with("em1:")
    }

    /// JSON text of its status.
    pub(crate) fn status(&self, device: &Device, context: &Context) -> Json {
        (self.status)(device, context, self.instance)
    }

    /// JSON text of its configuration.
    pub(crate) fn config(&self, device: &Device, context: &Context) -> Json {
        (self.config)(device, context, self.instance)
    }
}

/// All of both profiles in the order of their keys.
const COMPONENTS: [Component; 18] = [
    Component::new("ble", empty, ble::config),
    Component::new("bthome", bthome::status, empty),
    Component::new("cloud", cloud::status, cloud::config),
    Component::of("em1:0", 0, Profile::Monophase, em1::status, em1::config),
    Component::of("em1:1", 1, Profile::Monophase, em1::status, em1::config),
    Component::of("em1:2", 2, Profile::Monophase, em1::status, em1::config),
    Component::of("em1data:0", 0, Profile::Monophase, em1_data::status, empty),
    Component::of("em1data:1", 1, Profile::Monophase, em1_data::status, empty),
    Component::of("em1data:2", 2, Profile::Monophase, em1_data::status, empty),
    Component::of("em:0", 0, Profile::Triphase, em::status, em::config),
    Component::of("emdata:0", 0, Profile::Triphase, em_data::status, empty),
    Component::new("eth", eth::status, eth::config),
    Component::new("modbus", empty, modbus::config),
    Component::new("mqtt", mqtt::status, mqtt::config),
    Component::new("sys", sys::status, sys::config),
    Component::new("temperature:0", temperature::status, temperature::config),
    Component::new("wifi", wifi::status, wifi::config),
    Component::new("ws", ws::status, ws::config),
];

/// The components of a profile.
pub(crate) fn of_profile(profile: Profile) -> impl Iterator<Item = &'static Component> {
    COMPONENTS
        .iter()
        .filter(move |c| c.profile.is_none_or(|p| p == profile))
}

/// `{}`: the status or configuration of a component without members.
pub(crate) fn empty(_: &Device, _: &Context, _: usize) -> Json {
    Json::from("{}")
}
