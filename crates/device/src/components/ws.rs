//! `ws`: the WebSocket that the device dials (`docs/protocol/websocket.md#outbound`).

use super::super::{
    Context, Device, Effect, Json, RpcError, Setting,
    answer::{Handled, json, restart_required, text},
    method::{Call, Method},
    state::WsConfig,
    stored, target,
};
use super::connected::Connected;
use vocab::mask_url;

pub(crate) const METHODS: &[Method] = &[
    Method::new("WS.GetStatus", get_status),
    Method::new("WS.GetConfig", get_config),
    Method::new("WS.SetConfig", set_config).writes(),
];

pub(crate) fn status(_: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&Connected {
        connected: context.ws_connected,
    })
}

pub(crate) fn config(device: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&current(device, context))
}

/// What a reader sees and changes. Passwords and tokens in an option's URL are nobody's business;
/// what a reader set itself comes back as it is, as from the device.
fn current(device: &Device, context: &Context<'_>) -> WsConfig {
    let mut config = context.state.ws.clone();
    if device.options.set_by_option.contains(&"outbound_ws") {
        config.server = config.server.as_deref().map(mask_url);
    }
    config
}

fn get_status(call: &Call<'_>) -> Handled {
    text(status(call.device, call.context, 0))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(config(call.device, call.context, 0))
}

fn set_config(call: &Call<'_>) -> Handled {
    let before = current(call.device, call.context);
    let (mut next, _) = stored::change(&before, call.params.config()?)?;
    // An empty text is none: that is how Homey takes its server away.
    next.server = next.server.filter(|server| !server.is_empty());
    if next == before {
        return restart_required(false, Vec::new());
    }
    call.device.refuse_if_set("outbound_ws")?;
    check(
        &next,
        next.server != before.server || next.enable,
        call.device.options.outbound_local,
    )?;
    restart_required(true, vec![Effect::Set(Setting::Ws(next))])
}

/// Looks at the server where it is new or to be dialled: one that was kept from before may always
/// be turned off.
fn check(config: &WsConfig, dialled: bool, local: bool) -> Result<(), RpcError> {
    match &config.server {
        None if config.enable => {
            return Err(RpcError::invalid(
                "Invalid config: server is missing: ws://host:port/path",
            ));
        }
        Some(server) if dialled => {
            target::check(server, local).map_err(|why| match why {
                vocab::reason::BadTarget::Near => RpcError::refused(format!("server {why}")),
                _ => RpcError::invalid(format!("Invalid config: server {why}")),
            })?;
        }
        _ => {}
    }
    if let Some(ca) = &config.ssl_ca {
        stored::check_word("ssl_ca", ca, &["ca.pem", "user_ca.pem", "*"])?;
    }
    Ok(())
}
