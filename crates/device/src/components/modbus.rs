//! `modbus`: its switch really opens and closes the port, unless option `modbus_enable` has it
//! closed.

use super::{
    super::{
        Context, Device, Effect, Json, Setting,
        answer::{Handled, json, restart_required},
        method::{Call, Method},
        stored,
    },
    Enable,
};

pub(crate) const METHODS: &[Method] = &[
    Method::fixed("Modbus.GetStatus", "{}"),
    Method::part("Modbus.GetConfig", config),
    Method::new("Modbus.SetConfig", set_config).writes(),
];

fn current(context: &Context) -> Enable {
    Enable {
        enable: context.state.modbus_enable,
    }
}

pub(crate) fn config(_: &Device, context: &Context, _: usize) -> Json {
    json(&current(context))
}

fn set_config(call: &Call<'_>) -> Handled {
    let (next, changed) = stored::change(&current(call.context), call.params.config()?)?;
    if changed.is_empty() {
        return restart_required(false, None);
    }
    call.device.refuse_if_set("modbus_enable")?;
    restart_required(false, [Effect::Set(Setting::ModbusEnable(next.enable))])
}
