//! Webhooks: there are none and none can be made: an emulator must not call foreign
//! addresses.

use super::super::{
    answer::{Handled, text},
    method::{Call, Method},
};
use config::Profile;

pub(crate) const METHODS: &[Method] = &[
    Method::fixed("Webhook.List", r#"{"hooks":[],"rev":0}"#),
    Method::new("Webhook.ListSupported", list_supported),
    Method::of_none("Webhook.Update").writes(),
    Method::of_none("Webhook.Delete").writes(),
    Method::fixed("Webhook.DeleteAll", r#"{"rev":0}"#).writes(),
];

/// What a device names; here no hook can be made for any of them.
fn list_supported(call: &Call<'_>) -> Handled {
    let (component, phase) = match call.context.state.profile {
        Profile::Triphase => ("em", r#"{"name":"phase","type":"string","desc":"Phase"},"#),
        Profile::Monophase => ("em1", ""),
    };
    let measured = [
        ("active_power", "act_power", "Active power in W"),
        ("voltage", "voltage", "Voltage in V"),
        ("current", "current", "Current in A"),
    ];
    let types = measured.map(|(event, name, desc)| {
        let attr = format!(r#"{{"name":"{name}","type":"number","desc":"{desc}"}}"#);
        format!(r#""{component}.{event}_change":{{"attrs":[{phase}{attr}]}}"#)
    });
    text(format!(r#"{{"types":{{{}}}}}"#, types.join(",")))
}
