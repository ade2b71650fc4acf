//! `ws`: the WebSocket that the device dials (`docs/protocol/websocket.md#outbound`).

use super::{
    super::{
        Context, Device, Effect, Json, Setting,
        answer::{Handled, json, restart_required},
        method::{Call, Method},
        state::WsConfig,
        stored, target,
    },
    connected,
};
use vocab::mask_url;

pub(crate) const METHODS: &[Method] = &[
    Method::part("WS.GetStatus", status),
    Method::part("WS.GetConfig", config),
    Method::new("WS.SetConfig", set_config).writes(),
];

pub(crate) fn status(_: &Device, context: &Context, _: usize) -> Json {
    connected(context.ws_connected)
}

pub(crate) fn config(device: &Device, context: &Context, _: usize) -> Json {
    json(&current(device, context))
}

/// What a reader sees and changes. Passwords and tokens in an option's URL are nobody's business;
/// what a reader set itself comes back as it is, as from the device.
fn current(device: &Device, context: &Context) -> WsConfig {
    let mut config = context.state.ws.clone();
    if device.options.set_by_option.contains(&"outbound_ws") {
        config.server = config.server.as_deref().map(mask_url);
    }
    config
}

fn set_config(call: &Call<'_>) -> Handled {
    let before = current(call.device, call.context);
    let (mut next, _) = stored::change(&before, call.params.config()?)?;
    // An empty text is none: that is how Homey takes its server away.
    next.server = next.server.filter(|server| !server.is_empty());
    if next == before {
        return restart_required(false, None);
    }
    call.device.refuse_if_set("outbound_ws")?;
    let local = call.device.options.outbound_local;
    let (server, kept) = (next.server.as_deref(), before.server.as_deref());
    stored::check_server(next.enable, server, kept, "ws://host:port/path", |server| {
        target::check(server, local)
    })?;
    stored::check_ca(next.ssl_ca.as_deref())?;
    restart_required(true, [Effect::Set(Setting::Ws(next))])
}
