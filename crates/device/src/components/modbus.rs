//! `modbus`: its switch really opens and closes the port, unless option `modbus_enable` has it
//! closed.

use serde::{Deserialize, Serialize};

use super::super::{
    Context, Device, Effect, Json, Setting,
    answer::{Handled, json, restart_required, text},
    method::{Call, Method},
    stored,
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("Modbus.GetStatus", get_status),
    Method::new("Modbus.GetConfig", get_config),
    Method::new("Modbus.SetConfig", set_config).writes(),
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ModbusConfig {
    enable: bool,
}

pub(crate) fn config(_: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&ModbusConfig {
        enable: context.state.modbus_enable,
    })
}

fn get_status(_: &Call<'_>) -> Handled {
    text(Json::from("{}"))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(config(call.device, call.context, 0))
}

fn set_config(call: &Call<'_>) -> Handled {
    let current = ModbusConfig {
        enable: call.context.state.modbus_enable,
    };
    let (next, changed) = stored::change(&current, call.params.config()?)?;
    if changed.is_empty() {
        return restart_required(false, Vec::new());
    }
    call.device.refuse_if_set("modbus_enable")?;
    restart_required(false, vec![Effect::Set(Setting::ModbusEnable(next.enable))])
}
