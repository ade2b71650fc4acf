//! Which methods there are, and what becomes of a call.
//!
//! Each component's file lists its own methods; here they are found (names compare without regard
//! to case, so `WiFi`/`Wifi`, `Ws`/`WS`, `Mqtt`/`MQTT` are one), gated by profile and `read_only`,
//! and answered.

use serde::Serialize;

use super::{
    answer::{Answer, Outcome, result},
    components::{
        ble, bthome, cloud, em, em_data, em1, em1_data, eth, kvs, modbus, mqtt, schedule, script,
        shelly, sys, temperature, webhook, wifi, ws,
    },
    context::Context,
    device::Device,
    error::RpcError,
    method::{Call, Found, Method, Power},
    params::Params,
};

/// All methods, in the order of `Shelly.ListMethods`; what is asked most stands first.
const METHODS: [&[Method]; 19] = [
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

/// The method of that name, in any case. To be asked once a call; what was found goes along.
///
/// ```
/// let method = device::find("em.getstatus").unwrap();
/// assert_eq!((method.name, method.power), ("EM.GetStatus", Some(device::Power::House)));
/// assert_eq!(device::find("EM.Explode").unwrap_err(), "EM.Explode");
/// ```
///
/// # Errors
/// With the name, if no method has it.
pub fn find(name: &str) -> Found<'_> {
    METHODS
        .iter()
        .flat_map(|m| m.iter())
        .find(|m| m.name.eq_ignore_ascii_case(name))
        .ok_or(name)
}

impl Device {
    /// Answers one call. `method` is what [`find`] gives for its name; `params` is the JSON text of
    /// the params object, if any.
    #[must_use]
    pub fn call(&self, method: Found<'_>, params: Option<&str>, context: &Context) -> Outcome {
        let handled = match method.and_then(|m| route(m, context).ok_or(m.name)) {
            Ok(found) if found.writes && context.state.locked => Err(RpcError::forbidden(format!(
                "{} is refused: the settings were lost, set option auth_password",
                found.name
            ))),
            Ok(found) if found.writes && self.options.read_only => Err(RpcError::forbidden(
                format!("{} is refused: option read_only is on", found.name),
            )),
            Ok(found) => Params::parse(params).and_then(|params| {
                found.handle(Call {
                    device: self,
                    context,
                    methods: &METHODS,
                    params,
                    id: 0,
                })
            }),
            Err(method) if self.options.unknown_methods_dummy => result(&Dummy {
                ok: true,
                dummy: true,
                method,
            }),
            Err(name) => Err(RpcError::no_handler(name)),
        };
        handled.unwrap_or_else(|error| Answer::Error(error).into())
    }
}

/// The method, if this profile has it, or the channel has it in every profile: UDP in triphase.
fn route(method: &'static Method, context: &Context) -> Option<&'static Method> {
    let as_total = context.manner.em1_is_total && method.power == Some(Power::Phase);
    (method.there(context.state.profile) || as_total).then_some(method)
}

/// What the original answers to a method that it does not know (`unknown_methods = dummy`).
#[derive(Serialize)]
struct Dummy<'a> {
    ok: bool,
    dummy: bool,
    method: &'a str,
}
