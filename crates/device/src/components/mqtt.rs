//! `mqtt`: the broker that the device dials (`docs/protocol/mqtt.md`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    super::{
        Context, Device, Effect, Json, RpcError, Setting,
        answer::{Handled, json, restart_required, text},
        method::{Call, Method},
        state::MqttConfig,
        stored, target,
    },
    connected::Connected,
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("Mqtt.GetStatus", get_status),
    Method::new("Mqtt.GetConfig", get_config),
    Method::new("Mqtt.SetConfig", set_config).writes(),
    // The original's name for GetStatus.
    Method::new("MQTT.Status", get_status).unlisted(),
];

/// Longest prefix, as the device's.
const LONGEST_PREFIX: usize = 300;
/// Longest name and password.
const LONGEST: usize = 255;

/// As on the wire: the password stays here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wire {
    enable: bool,
    server: Option<String>,
    client_id: Option<String>,
    user: Option<String>,
    ssl_ca: Option<String>,
    topic_prefix: Option<String>,
    rpc_ntf: bool,
    status_ntf: bool,
    use_client_cert: bool,
    enable_rpc: bool,
    enable_control: bool,
}

fn current(device: &Device, context: &Context<'_>) -> Wire {
    let kept = context.state.mqtt.clone();
    let id = || Some(device.identity.id.to_string());
    Wire {
        enable: kept.enable,
        server: kept.server,
        client_id: kept.client_id.or_else(id),
        user: kept.user,
        ssl_ca: kept.ssl_ca,
        topic_prefix: kept.topic_prefix.or_else(id),
        rpc_ntf: kept.rpc_ntf,
        status_ntf: kept.status_ntf,
        use_client_cert: false,
        enable_rpc: kept.enable_rpc,
        enable_control: kept.enable_control,
    }
}

pub(crate) fn status(_: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&Connected {
        connected: context.mqtt_connected,
    })
}

pub(crate) fn config(device: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&current(device, context))
}

fn get_status(call: &Call<'_>) -> Handled {
    text(status(call.device, call.context, 0))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(config(call.device, call.context, 0))
}

/// Takes effect at once, though as of the device a restart is said to be needed.
fn set_config(call: &Call<'_>) -> Handled {
    let kept = &call.context.state.mqtt;
    let before = current(call.device, call.context);
    let asked = call.params.config()?;
    let (wire, _) = stored::change(&before, asked)?;
    if wire.use_client_cert {
        return Err(RpcError::refused(
            "mqtt: use_client_cert is refused, there is no client certificate here",
        ));
    }
    let next = keep(call.device, wire, kept, password(asked)?);
    if next == *kept {
        return restart_required(false, Vec::new());
    }
    check(&next, kept, call.device.options.outbound_local)?;
    restart_required(true, vec![Effect::Set(Setting::Mqtt(next))])
}

/// The password that is asked for, if one is.
fn password(asked: &Map<String, Value>) -> Result<Option<Option<String>>, RpcError> {
    match asked.get("pass") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) if text.len() <= LONGEST => {
            Ok(Some(Some(text.clone()).filter(|text| !text.is_empty())))
        }
        Some(_) => Err(RpcError::invalid(
            "Invalid config: pass is a text of at most 255 characters",
        )),
    }
}

fn keep(
    device: &Device,
    wire: Wire,
    kept: &MqttConfig,
    pass: Option<Option<String>>,
) -> MqttConfig {
    // An empty text is none, and what is the default goes with the device's id.
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let own = |text: Option<String>| some(text).filter(|text| *text != *device.identity.id);
    let server = some(wire.server);
    // The password was for the server that it came with: it is told to no other.
    let kept_pass = kept.pass.clone().filter(|_| server == kept.server);
    MqttConfig {
        enable: wire.enable,
        pass: pass.unwrap_or(kept_pass),
        server,
        client_id: own(wire.client_id),
        user: some(wire.user),
        ssl_ca: some(wire.ssl_ca),
        topic_prefix: own(wire.topic_prefix),
        rpc_ntf: wire.rpc_ntf,
        status_ntf: wire.status_ntf,
        enable_rpc: wire.enable_rpc,
        enable_control: wire.enable_control,
    }
}

fn check(next: &MqttConfig, kept: &MqttConfig, local: bool) -> Result<(), RpcError> {
    match &next.server {
        None if next.enable => {
            return Err(RpcError::invalid(
                "Invalid config: server is missing: host:port",
            ));
        }
        // One that was kept from before may always be turned off.
        Some(server) if next.enable || next.server != kept.server => {
            target::check_broker(server, local).map_err(|why| match why {
                vocab::reason::BadTarget::Near => RpcError::refused(format!("server {why}")),
                _ => RpcError::invalid(format!("Invalid config: server {why}")),
            })?;
        }
        _ => {}
    }
    if let Some(ca) = &next.ssl_ca {
        stored::check_word("ssl_ca", ca, &["ca.pem", "user_ca.pem", "*"])?;
    }
    let plain = |text: &str, most: usize| text.len() <= most && !text.contains(char::is_control);
    let prefix = next.topic_prefix.as_deref().unwrap_or_default();
    if !plain(prefix, LONGEST_PREFIX) || prefix.starts_with('$') || prefix.contains(['+', '#', '%'])
    {
        return Err(RpcError::invalid(
            "Invalid config: topic_prefix is a topic of at most 300 characters without $, +, # and %",
        ));
    }
    for (member, text) in [("client_id", &next.client_id), ("user", &next.user)] {
        if !plain(text.as_deref().unwrap_or_default(), LONGEST) {
            return Err(RpcError::invalid(format!(
                "Invalid config: {member} is a text of at most {LONGEST} characters"
            )));
        }
    }
    Ok(())
}
