//! One file a component: its wire structs, its methods, its part of `Shelly.GetStatus` and
//! `Shelly.GetConfig`.

pub(super) mod all;
pub(super) mod ble;
pub(super) mod bthome;
pub(super) mod cloud;
mod device_info;
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
mod zones;

use serde::{Deserialize, Serialize};

use super::{
    Json,
    answer::{Handled, restart_required},
    method::Call,
};

/// A switch, as several configurations hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Enable {
    enable: bool,
}

/// The status of what connects to a server: cloud, mqtt and ws.
fn connected(connected: bool) -> Json {
    format!("{{\"connected\":{connected}}}").into()
}

/// `SetConfig` of a configuration without members: there is none to change.
fn set_nothing(call: &Call<'_>) -> Handled {
    call.params.config()?;
    restart_required(false, None)
}
