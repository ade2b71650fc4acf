//! `temperature:0`: the device's inside, steady here.

use serde::{Deserialize, Serialize};

use super::super::{
    Context, Device, DeviceState, Json, RpcError,
    answer::{Handled, json, restart_required},
    method::{Call, Method},
    stored,
};
use vocab::Fixed;

pub(crate) const METHODS: &[Method] = &[
    Method::part("Temperature.GetStatus", status).instances(1),
    Method::part("Temperature.GetConfig", config).instances(1),
    Method::new("Temperature.SetConfig", set_config)
        .instances(1)
        .writes(),
];

const INSIDE_C: f64 = 40.0;
/// `offset_C` that a device takes, up or down.
const MOST_OFFSET_C: f64 = 50.0;

#[derive(Serialize)]
#[allow(non_snake_case, reason = "the wire's own names")]
struct TemperatureStatus {
    id: u8,
    tC: Fixed<1>,
    tF: Fixed<1>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(non_snake_case, reason = "the wire's own names")]
struct TemperatureConfig {
    id: u8,
    name: Option<String>,
    #[serde(deserialize_with = "stored::fixed")]
    report_thr_C: Fixed<1>,
    #[serde(deserialize_with = "stored::fixed")]
    offset_C: Fixed<1>,
}

fn current(state: &DeviceState) -> TemperatureConfig {
    let default = TemperatureConfig {
        id: 0,
        name: None,
        report_thr_C: Fixed::round(5.0),
        offset_C: Fixed::round(0.0),
    };
    stored::read(default, state, "temperature:0", &["name", "offset_C"])
}

/// The status; it changes with the configuration only.
pub(crate) fn status_text(state: &DeviceState) -> Json {
    let celsius = INSIDE_C + current(state).offset_C.get();
    json(&TemperatureStatus {
        id: 0,
        tC: Fixed::round(celsius),
        tF: Fixed::round(celsius * 1.8 + 32.0),
    })
}

pub(crate) fn status(_: &Device, context: &Context, _: usize) -> Json {
    status_text(&context.state)
}

pub(crate) fn config(_: &Device, context: &Context, _: usize) -> Json {
    json(&current(&context.state))
}

fn set_config(call: &Call<'_>) -> Handled {
    let before = current(&call.context.state);
    let (next, changed) = stored::change(&before, call.params.config()?)?;
    stored::check_name(next.name.as_deref())?;
    if next.offset_C.get().abs() > MOST_OFFSET_C {
        return Err(RpcError::invalid(format!(
            "Invalid config: offset_C is a number from -{MOST_OFFSET_C} to {MOST_OFFSET_C}"
        )));
    }
    stored::refuse_without_effect(
        "temperature:0",
        "the temperature here is steady",
        &before,
        &next,
        &["name", "offset_C"],
    )?;
    restart_required(false, stored::keep("temperature:0", changed))
}
