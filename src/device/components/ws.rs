//! `ws`: the WebSocket that the device dials (`shelly-pro-3em.md` section 2.3).

use super::super::{
    Context, Device, Effect, Json, RpcError, Setting,
    dispatch::{Call, Handled, Method, json, restart_required, text},
    state::WsConfig,
    stored,
};
use super::Connected;
use crate::config::mask_url;

pub(in crate::device) const METHODS: &[Method] =
    &[Method::new("WS.GetStatus", get_status), Method::new("WS.GetConfig", get_config), Method::new("WS.SetConfig", set_config).writes()];

pub(in crate::device) fn status(_: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&Connected { connected: context.ws_connected })
}

pub(in crate::device) fn config(device: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&current(device, context))
}

/// What a reader sees and changes. Passwords and tokens in an option's URL are nobody's business; what a reader set itself
/// comes back as it is, as from the device.
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
    let (next, changed) = stored::change(&current(call.device, call.context), call.params.config()?)?;
    if changed.is_empty() {
        return restart_required(false, Vec::new());
    }
    call.device.refuse_if_set("outbound_ws")?;
    check(&next)?;
    restart_required(true, vec![Effect::Set(Setting::Ws(next))])
}

fn check(config: &WsConfig) -> Result<(), RpcError> {
    let invalid = |text: &str| Err(RpcError::invalid(format!("Invalid config: {text}")));
    match &config.server {
        None if config.enable => return invalid("server is missing: ws://host:port/path"),
        Some(server) => {
            let fits = server.len() <= 255
                && url::Url::parse(server).is_ok_and(|url| matches!(url.scheme(), "ws" | "wss") && url.host_str().is_some());
            if !fits {
                return invalid("server is no address: ws://host:port/path or wss://…, at most 255 characters");
            }
        }
        None => {}
    }
    if let Some(ca) = &config.ssl_ca {
        stored::check_word("ssl_ca", ca, &["ca.pem", "user_ca.pem", "*"])?;
    }
    Ok(())
}
