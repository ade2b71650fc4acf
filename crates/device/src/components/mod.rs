//! One file a component: its wire structs, its methods, its part of `Shelly.GetStatus` and
//! `Shelly.GetConfig`.

pub(super) mod ble;
pub(super) mod bthome;
pub(super) mod cloud;
pub(super) mod em;
pub(super) mod em1;
pub(super) mod em1_data;
pub(super) mod em_data;
pub(super) mod eth;
pub(super) mod kvs;
pub(super) mod modbus;
pub(super) mod mqtt;
pub(super) mod schedule;
pub(super) mod script;
pub(super) mod shelly;
pub(super) mod sys;
pub(super) mod temperature;
pub(super) mod webhook;
pub(super) mod wifi;
pub(super) mod ws;

use serde::Serialize;

use super::{Context, Device, Json, dispatch::Method};
use config::Profile;

/// All methods, in the order of `Shelly.ListMethods`; what is asked most stands first.
pub(super) const METHODS: [&[Method]; 19] = [
    em::METHODS,
    em_data::METHODS,
    em1::METHODS,
    em1_data::METHODS,
    shelly::METHODS,
    sys::METHODS,
    temperature::METHODS,
    modbus::METHODS,
    cloud::METHODS,
    mqtt::METHODS,
    ws::METHODS,
    ble::METHODS,
    bthome::METHODS,
    wifi::METHODS,
    eth::METHODS,
    script::METHODS,
    schedule::METHODS,
    webhook::METHODS,
    kvs::METHODS,
];

/// Text of a component's status or configuration; the number is the instance.
type Part = fn(&Device, &Context<'_>, usize) -> Json;

/// A member of `Shelly.GetStatus` and `Shelly.GetConfig`.
pub(super) struct Component {
    /// `em:0`.
    pub(super) key: &'static str,
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
    pub(super) fn holds_power(&self) -> bool {
        self.key.starts_with("em:") || self.key.starts_with("em1:")
    }

    /// JSON text of its status.
    pub(super) fn status(&self, device: &Device, context: &Context<'_>) -> Json {
        (self.status)(device, context, self.instance)
    }

    /// JSON text of its configuration.
    pub(super) fn config(&self, device: &Device, context: &Context<'_>) -> Json {
        (self.config)(device, context, self.instance)
    }
}

/// All of both profiles in the order of their keys.
const COMPONENTS: [Component; 18] = [
    Component::new("ble", ble::status, ble::config),
    Component::new("bthome", bthome::status, bthome::config),
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
pub(super) fn of_profile(profile: Profile) -> impl Iterator<Item = &'static Component> {
    COMPONENTS
        .iter()
        .filter(move |c| c.profile.is_none_or(|p| p == profile))
}

/// `{}`: the status or configuration of a component without members.
pub(super) fn empty(_: &Device, _: &Context<'_>, _: usize) -> Json {
    Json::from("{}")
}

/// `{"connected":…}`: the status of cloud, mqtt and ws.
#[derive(Serialize)]
pub(super) struct Connected {
    pub(super) connected: bool,
}
