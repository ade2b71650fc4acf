//! `mqtt`: off; a broker is never dialled, so nothing of it can be changed.

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, Device, Json,
        dispatch::{Call, Handled, Method, json, restart_required, text},
        stored,
    },
    Connected,
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("Mqtt.GetStatus", get_status),
    Method::new("Mqtt.GetConfig", get_config),
    Method::new("Mqtt.SetConfig", set_config).writes(),
    // The original's name for GetStatus.
    Method::new("MQTT.Status", get_status).unlisted(),
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct MqttConfig {
    enable: bool,
    server: Option<String>,
    client_id: String,
    user: Option<String>,
    ssl_ca: Option<String>,
    topic_prefix: String,
    rpc_ntf: bool,
    status_ntf: bool,
    use_client_cert: bool,
    enable_rpc: bool,
    enable_control: bool,
}

fn current(device: &Device) -> MqttConfig {
    MqttConfig {
        enable: false,
        server: None,
        client_id: device.identity.id.clone(),
        user: None,
        ssl_ca: None,
        topic_prefix: device.identity.id.clone(),
        rpc_ntf: true,
        status_ntf: false,
        use_client_cert: false,
        enable_rpc: true,
        enable_control: true,
    }
}

pub(crate) fn status(_: &Device, _: &Context<'_>, _: usize) -> Json {
    json(&Connected { connected: false })
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
    let why = "this meter connects to no broker; Home Assistant can publish its sensors there";
    stored::refuse_change("mqtt", why, &current(call.device), call.params.config()?)?;
    restart_required(false, Vec::new())
}
