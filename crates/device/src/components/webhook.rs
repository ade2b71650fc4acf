//! Webhooks: there are none and none can be made: an emulator must not call foreign
//! addresses.

use serde::Serialize;

use super::{
    super::{
        answer::{Handled, json, result, text},
        method::{Call, Method},
    },
    schedule::Rev,
};
use config::Profile;

pub(crate) const METHODS: &[Method] = &[
    Method::new("Webhook.List", list),
    Method::new("Webhook.ListSupported", list_supported),
    Method::new("Webhook.Update", unknown).writes(),
    Method::new("Webhook.Delete", unknown).writes(),
    Method::new("Webhook.DeleteAll", delete_all).writes(),
];

fn list(_: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Hooks {
        hooks: [u8; 0],
        rev: u32,
    }
    result(&Hooks { hooks: [], rev: 0 })
}

/// A value that goes with an event.
#[derive(Serialize)]
struct Attr {
    name: &'static str,
    r#type: &'static str,
    desc: &'static str,
}

#[derive(Serialize)]
struct Attrs {
    attrs: Vec<Attr>,
}

/// What a device names; here no hook can be made for any of them.
fn list_supported(call: &Call<'_>) -> Handled {
    let triphase = call.context.state.profile == Profile::Triphase;
    let component = if triphase { "em" } else { "em1" };
    let phase = || Attr {
        name: "phase",
        r#type: "string",
        desc: "Phase",
    };
    let measured = [
        (
            "active_power_change",
            Attr {
                name: "act_power",
                r#type: "number",
                desc: "Active power in W",
            },
        ),
        (
            "voltage_change",
            Attr {
                name: "voltage",
                r#type: "number",
                desc: "Voltage in V",
            },
        ),
        (
            "current_change",
            Attr {
                name: "current",
                r#type: "number",
                desc: "Current in A",
            },
        ),
    ];
    let types = measured.map(|(event, attr)| {
        let attrs = json(&Attrs {
            attrs: triphase.then(phase).into_iter().chain([attr]).collect(),
        });
        format!("\"{component}.{event}\":{attrs}")
    });
    text(format!("{{\"types\":{{{}}}}}", types.join(",")).into())
}

fn unknown(call: &Call<'_>) -> Handled {
    Err(call.params.no_instance())
}

fn delete_all(_: &Call<'_>) -> Handled {
    result(&Rev { rev: 0 })
}
