//! `cloud`: never connected (Growatt refuses a meter whose cloud is on), and nobody can turn it on.

use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, Device, Json,
        answer::{Handled, json},
        method::{Call, Method},
        stored,
    },
    connected,
};

pub(crate) const METHODS: &[Method] = &[
    Method::part("Cloud.GetStatus", status),
    Method::part("Cloud.GetConfig", config),
    Method::new("Cloud.SetConfig", set_config).writes(),
];

#[derive(Serialize, Deserialize)]
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

pub(crate) fn status(_: &Device, _: &Context, _: usize) -> Json {
    connected(false)
}

pub(crate) fn config(_: &Device, _: &Context, _: usize) -> Json {
    json(&current())
}

fn set_config(call: &Call<'_>) -> Handled {
    let why = "this meter never connects to a cloud";
    stored::refuse_change(call, "cloud", why, &current())
}
