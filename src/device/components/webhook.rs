//! Webhooks: there are none and none can be made (C13): an emulator must not call foreign addresses.

use serde::Serialize;

use super::{
    super::dispatch::{Call, Handled, Method, result},
    schedule::Rev,
};

pub(in crate::device) const METHODS: &[Method] = &[
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

fn list_supported(_: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Types {}
    #[derive(Serialize)]
    struct Supported {
        types: Types,
    }
    result(&Supported { types: Types {} })
}

fn unknown(call: &Call<'_>) -> Handled {
    Err(call.params.no_instance())
}

fn delete_all(_: &Call<'_>) -> Handled {
    result(&Rev { rev: 0 })
}
