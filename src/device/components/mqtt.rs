//! `mqtt`: kept without effect; a broker is never dialled.

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, Device, Json,
        dispatch::{Call, Handled, Method, json, restart_required, text},
        stored,
    },
    Connected,
};

pub(in crate::device) const METHODS: &[Method] = &[
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

fn current(device: &Device, context: &Context<'_>) -> MqttConfig {
    let default = MqttConfig {
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
    };
    stored::read(default, context.state, "mqtt")
}

pub(in crate::device) fn status(_: &Device, _: &Context<'_>, _: usize) -> Json {
    json(&Connected { connected: false })
}

pub(in crate::device) fn config(device: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&current(device, context))
}

fn get_status(call: &Call<'_>) -> Handled {
    text(status(call.device, call.context, 0))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(config(call.device, call.context, 0))
}

/// `pass` is no member here, so a password is neither kept nor ever returned.
fn set_config(call: &Call<'_>) -> Handled {
    let (_, changed) = stored::change(&current(call.device, call.context), call.params.config()?)?;
    restart_required(!changed.is_empty(), stored::keep("mqtt", changed))
}
