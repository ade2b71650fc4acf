//! `cloud`: never connected (Growatt refuses a meter whose cloud is on), and nobody can turn it on.

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, Device, Json,
        answer::{Handled, json, restart_required, text},
        method::{Call, Method},
        stored,
    },
    connected::Connected,
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("Cloud.GetStatus", get_status),
    Method::new("Cloud.GetConfig", get_config),
    Method::new("Cloud.SetConfig", set_config).writes(),
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CloudConfig {
    enable: bool,
    server: Option<String>,
}

fn current() -> CloudConfig {
    CloudConfig {
        enable: false,
        server: Some("iot.shelly.cloud:6012/jrpc".into()),
    }
}

pub(crate) fn status(_: &Device, _: &Context<'_>, _: usize) -> Json {
    json(&Connected { connected: false })
}

pub(crate) fn config(_: &Device, _: &Context<'_>, _: usize) -> Json {
    json(&current())
}

fn get_status(call: &Call<'_>) -> Handled {
    text(status(call.device, call.context, 0))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(config(call.device, call.context, 0))
}

fn set_config(call: &Call<'_>) -> Handled {
    stored::refuse_change(
        "cloud",
        "this meter never connects to a cloud",
        &current(),
        call.params.config()?,
    )?;
    restart_required(false, Vec::new())
}
