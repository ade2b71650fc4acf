//! `Shelly.*`: the device as a whole.

use serde::{Deserialize, Serialize};

use super::super::{
    Context, Device, Effect, Json, RpcError, Setting,
    answer::{Handled, effects, json, result, text},
    method::{Call, Method, Power},
};
use super::{
    all::{self, Component},
    device_info::info,
    em, sys, zones,
};
use config::Profile;

pub(crate) const METHODS: &[Method] = &[
    Method::new("Shelly.GetStatus", get_status).carries(Power::House),
    Method::new("Shelly.GetConfig", get_config),
    Method::part("Shelly.GetDeviceInfo", info).open(),
    Method::new("Shelly.GetComponents", get_components).carries(Power::House),
    Method::new("Shelly.ListMethods", list_methods),
    Method::fixed("Shelly.ListProfiles", PROFILES),
    Method::new("Shelly.SetProfile", set_profile).writes(),
    Method::fixed("Shelly.CheckForUpdate", "{}"),
    Method::refused("Shelly.Update", NO_UPDATE),
    Method::new("Shelly.Reboot", reboot).writes(),
    Method::refused("Shelly.FactoryReset", NO_RESET),
    Method::refused("Shelly.ResetWiFiConfig", NO_RESET),
    Method::new("Shelly.SetAuth", set_auth).writes(),
    Method::new("Shelly.ListTimezones", list_timezones),
    Method::new("Shelly.DetectLocation", detect_location),
    Method::fixed("Shelly.Identify", "null"),
    Method::refused("Shelly.PutUserCA", NO_CERTIFICATE),
    Method::refused("Shelly.PutTLSClientCert", NO_CERTIFICATE),
    Method::refused("Shelly.PutTLSClientKey", NO_CERTIFICATE),
    // The original's own.
    Method::new("Shelly.Ping", ping).unlisted(),
];

const PROFILES: &str = concat!(
    r#"{"profiles":{"#,
    r#""triphase":{"components":[{"type":"em","count":1},{"type":"emdata","count":1}]},"#,
    r#""monophase":{"components":[{"type":"em1","count":3},{"type":"em1data","count":3}]}}}"#
);
const NO_UPDATE: &str = "Update is refused: a virtual meter is updated as an app of Home Assistant or by its new version";
const NO_RESET: &str = "Reset is refused: what is stored can only be removed on the host";
const NO_CERTIFICATE: &str =
    "Certificates are refused: the host's are used, or option outbound_ws_insecure";

/// Members of all components, after `head`: `"ble":{},"bthome":…`.
fn members(
    head: &str,
    device: &Device,
    context: &Context,
    part: fn(&Component, &Device, &Context) -> Json,
) -> Json {
    let mut out = String::with_capacity(3072);
    out.push('{');
    out.push_str(head);
    for component in all::of_profile(context.state.profile) {
        if out.len() > 1 {
            out.push(',');
        }
        out.push('"');
        out.push_str(component.key);
        out.push_str("\":");
        out.push_str(&part(component, device, context));
    }
    out.push('}');
    Json::from(out)
}

/// Status of every component; `head` (`"ts":1.23`) comes first.
pub(crate) fn full_status(head: &str, device: &Device, context: &Context) -> Json {
    members(head, device, context, Component::status)
}

fn get_status(call: &Call<'_>) -> Handled {
    if let Some(answer) = em::absent_answer(call, call.context.view.stale()) {
        return answer;
    }
    text(full_status("", call.device, call.context))
}

fn get_config(call: &Call<'_>) -> Handled {
    text(members("", call.device, call.context, Component::config))
}

/// Characters of the components in one reply: with both parts a device's first page holds 9 of 12.
const PAGE: usize = 2560;

fn get_components(call: &Call<'_>) -> Handled {
    let params = &call.params;
    let asked = |name: &str| params.typed(name, |value| Vec::<String>::deserialize(value).ok());
    // Who asks for no part in particular gets both, as from the device.
    let include =
        asked("include")?.unwrap_or_else(|| ["status", "config"].map(ToOwned::to_owned).into());
    if include
        .iter()
        .any(|part| part != "status" && part != "config")
    {
        return Err(RpcError::bad_argument("include"));
    }
    let [status, config] = ["status", "config"].map(|part| include.iter().any(|p| p == part));
    let keys = asked("keys")?;
    let offset = params.offset()?;
    let dynamic_only = params.flag("dynamic_only")?.unwrap_or(false);

    // Everything here is fixed; dynamic components are those a user adds (BTHome, virtual), and
    // there are none.
    let found: Vec<&Component> = all::of_profile(call.context.state.profile)
        .filter(|c| {
            !dynamic_only
                && keys
                    .as_ref()
                    .is_none_or(|keys| keys.iter().any(|k| k == c.key))
        })
        .collect();
    let mut components = String::new();
    let mut holds_power = false;
    for component in found.iter().skip(offset) {
        let mut item = format!("{{\"key\":\"{}\"", component.key);
        if status {
            item.push_str(",\"status\":");
            item.push_str(&component.status(call.device, call.context));
        }
        if config {
            item.push_str(",\"config\":");
            item.push_str(&component.config(call.device, call.context));
        }
        item.push('}');
        if !components.is_empty() {
            if components.len() + item.len() > PAGE {
                break;
            }
            components.push(',');
        }
        components.push_str(&item);
        holds_power |= status && component.holds_power();
    }
    if holds_power && let Some(answer) = em::absent_answer(call, call.context.view.stale()) {
        return answer;
    }
    let (cfg_rev, total) = (call.context.state.cfg_rev, found.len());
    text(format!(
        "{{\"components\":[{components}],\"cfg_rev\":{cfg_rev},\"offset\":{offset},\"total\":{total}}}"
    ))
}

fn list_methods(call: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Methods {
        methods: Vec<&'static str>,
    }
    let profile = call.context.state.profile;
    let all = call.methods.iter().flat_map(|methods| methods.iter());
    let listed = all.filter(|method| method.listed && method.there(profile));
    result(&Methods {
        methods: listed.map(|method| method.name).collect(),
    })
}

fn set_profile(call: &Call<'_>) -> Handled {
    let next = match call.params.required_text("name")? {
        "triphase" => Profile::Triphase,
        "monophase" => Profile::Monophase,
        _ => return Err(RpcError::bad_argument("name")),
    };
    let was = call.context.state.profile;
    let mut follows = Vec::new();
    if next != was {
        call.device.refuse_if_set("profile")?;
        follows.push(Effect::Set(Setting::Profile(next)));
        follows.push(Effect::Reboot {
            delay_ms: REBOOT_MS,
        });
    }
    effects(format!("{{\"profile_was\":{}}}", json(&was)), follows)
}

/// The device's own pause before it restarts.
const REBOOT_MS: u64 = 1000;

fn reboot(call: &Call<'_>) -> Handled {
    let delay = call.params.int("delay_ms")?.unwrap_or(1000);
    let delay_ms = u64::try_from(delay).map_err(|_| RpcError::bad_argument("delay_ms"))?;
    effects(
        "null",
        [Effect::Reboot {
            delay_ms: delay_ms.min(60_000),
        }],
    )
}

fn set_auth(call: &Call<'_>) -> Handled {
    let params = &call.params;
    if params.required_text("user")? != "admin" {
        return Err(RpcError::invalid("Bad user: the only user is admin"));
    }
    if params.required_text("realm")? != &*call.device.identity.id {
        return Err(RpcError::invalid(format!(
            "Bad realm: it is the device id {}",
            call.device.identity.id
        )));
    }
    if params.raw("ha1").is_none() {
        return Err(RpcError::missing("ha1"));
    }
    let ha1 = match params.text("ha1")? {
        None => None,
        Some(hex) if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Some(hex.to_ascii_lowercase())
        }
        Some(_) => return Err(RpcError::bad_argument("ha1")),
    };
    call.device.refuse_if_set("auth_password")?;
    effects(
        "null",
        [Effect::Set(Setting::Auth {
            realm: call.device.identity.id.to_string(),
            ha1,
        })],
    )
}

fn list_timezones(_: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Zones {
        timezones: &'static [String],
    }
    result(&Zones {
        timezones: zones::zone_names(),
    })
}

/// Where the house stands is nobody's business; its time zone is known.
fn detect_location(call: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Location {
        tz: String,
        lat: Option<f64>,
        lon: Option<f64>,
    }
    result(&Location {
        tz: sys::zone_name(call.device, call.context),
        lat: None,
        lon: None,
    })
}

fn ping(call: &Call<'_>) -> Handled {
    let ts = call.context.now.unix_s();
    text(format!(r#"{{"pong":true,"ts":{ts}}}"#))
}
