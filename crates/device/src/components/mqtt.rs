//! `mqtt`: the broker that the device dials (`docs/protocol/mqtt.md`).

use serde_json::Value;

use super::{
    super::{
        Context, Device, Effect, Json, RpcError, Setting,
        answer::{Handled, json, restart_required},
        method::{Call, Method},
        state::MqttConfig,
        stored, target,
    },
    connected,
};

pub(crate) const METHODS: &[Method] = &[
    Method::part("Mqtt.GetStatus", status),
    Method::part("Mqtt.GetConfig", config),
    Method::new("Mqtt.SetConfig", set_config).writes(),
    // The original's name for GetStatus.
    Method::part("MQTT.Status", status).unlisted(),
];

/// Longest prefix, as the device's.
const LONGEST_PREFIX: usize = 300;
/// Longest name and password.
const LONGEST: usize = 255;

/// As on the wire: the password stays here.
fn current(device: &Device, context: &Context) -> MqttConfig {
    let kept = context.state.mqtt.clone();
    let id = || Some(device.identity.id.to_string());
    MqttConfig {
        client_id: kept.client_id.or_else(id),
        topic_prefix: kept.topic_prefix.or_else(id),
        pass: None,
        ..kept
    }
}

pub(crate) fn status(_: &Device, context: &Context, _: usize) -> Json {
    connected(context.mqtt_connected)
}

pub(crate) fn config(device: &Device, context: &Context, _: usize) -> Json {
    json(&current(device, context))
}

/// Takes effect at once, though as of the device a restart is said to be needed.
fn set_config(call: &Call<'_>) -> Handled {
    let kept = &call.context.state.mqtt;
    let asked = call.params.config()?;
    let pass = asked.get("pass");
    if pass.is_some_and(|pass| !is_password(pass)) {
        return Err(RpcError::invalid(
            "Invalid config: pass is a text of at most 255 characters",
        ));
    }
    let (mut next, _) = stored::change(&current(call.device, call.context), asked)?;
    if next.use_client_cert {
        return Err(RpcError::refused(
            "mqtt: use_client_cert is refused, there is no client certificate here",
        ));
    }
    // What is the default goes with the device's id, and an empty text is none.
    let own = |text: &mut String| *text == *call.device.identity.id;
    next.client_id.take_if(own);
    next.topic_prefix.take_if(own);
    for text in [
        &mut next.server,
        &mut next.client_id,
        &mut next.user,
        &mut next.pass,
        &mut next.ssl_ca,
        &mut next.topic_prefix,
    ] {
        text.take_if(|text| text.is_empty());
    }
    // The password was for the server that it came with: it is told to no other.
    if pass.is_none() && next.server == kept.server {
        next.pass.clone_from(&kept.pass);
    }
    if next == *kept {
        return restart_required(false, None);
    }
    check(&next, kept, call.device.options.outbound_local)?;
    restart_required(true, [Effect::Set(Setting::Mqtt(next))])
}

fn is_password(pass: &Value) -> bool {
    pass.is_null() || pass.as_str().is_some_and(|text| text.len() <= LONGEST)
}

fn check(next: &MqttConfig, kept: &MqttConfig, local: bool) -> Result<(), RpcError> {
    let (server, before) = (next.server.as_deref(), kept.server.as_deref());
    stored::check_server(next.enable, server, before, "host:port", |server| {
        target::check_broker(server, local)
    })?;
    stored::check_ca(next.ssl_ca.as_deref())?;
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
