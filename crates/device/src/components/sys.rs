//! `sys`: name, clock, revisions (`docs/protocol/methods.md#the-components-beside-the-meter`,
//! `docs/decisions.md#made-up-values`).

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::{
    Context, Device, Effect, Json, RpcError, Setting,
    answer::{Handled, json, restart_required},
    method::{Call, Method},
    stored,
};
use super::{Enable, device_info::info, zones};
use config::Profile;
use vocab::Fixed;

pub(crate) const METHODS: &[Method] = &[
    Method::part("Sys.GetStatus", status),
    Method::part("Sys.GetConfig", config),
    Method::new("Sys.SetConfig", set_config).writes(),
    // The original's own.
    Method::part("Sys.GetInfo", info).unlisted(),
    Method::new("Shelly.SetConfig", set_config)
        .unlisted()
        .writes(),
];

/// File system of the dumps: there is no such thing to measure here.
const FS_SIZE: u32 = 524_288;

#[derive(Serialize)]
struct SysStatus<'a> {
    mac: &'a str,
    restart_required: bool,
    time: String,
    unixtime: i64,
    last_sync_ts: i64,
    uptime: u64,
    ram_size: u32,
    ram_free: u32,
    ram_min_free: u32,
    fs_size: u32,
    fs_free: u32,
    cfg_rev: u32,
    kvs_rev: u32,
    schedule_rev: u32,
    webhook_rev: u32,
    btrelay_rev: u32,
    available_updates: Map<String, Value>,
    reset_reason: u8,
    utc_offset: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct DeviceConfig {
    name: Option<String>,
    mac: String,
    fw_id: String,
    discoverable: bool,
    eco_mode: bool,
    profile: Profile,
    addon_type: Option<String>,
    sys_btn_toggle: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced_security: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_check_cert_validity_time: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Location {
    tz: Option<String>,
    #[serde(deserialize_with = "stored::optional_fixed")]
    lat: Option<Fixed<6>>,
    #[serde(deserialize_with = "stored::optional_fixed")]
    lon: Option<Fixed<6>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Addr {
    addr: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Debug {
    level: u8,
    file_level: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_log: Option<Enable>,
    mqtt: Enable,
    websocket: Enable,
    udp: Addr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RpcUdp {
    dst_addr: Option<String>,
    listen_port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sntp {
    server: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SysConfig {
    device: DeviceConfig,
    location: Location,
    debug: Debug,
    ui_data: Map<String, Value>,
    rpc_udp: RpcUdp,
    sntp: Sntp,
    cfg_rev: u32,
}

/// Of what was stored only what a reader may change here counts.
fn current(device: &Device, context: &Context) -> SysConfig {
    let security = device.identity.firmware.security;
    let own = SysConfig {
        device: DeviceConfig {
            name: context.state.name.clone(),
            mac: device.identity.mac.to_string(),
            fw_id: device.identity.fw_id.to_string(),
            discoverable: true,
            eco_mode: false,
            profile: context.state.profile,
            addon_type: None,
            sys_btn_toggle: true,
            enhanced_security: security.then_some(false),
            tls_check_cert_validity_time: security.then_some(true),
        },
        location: Location {
            tz: Some(device.options.tz.clone()),
            lat: None,
            lon: None,
        },
        debug: Debug {
            level: 2,
            file_level: None,
            file_log: security.then_some(Enable { enable: false }),
            mqtt: Enable { enable: false },
            websocket: Enable { enable: false },
            udp: Addr { addr: None },
        },
        ui_data: Map::new(),
        rpc_udp: RpcUdp {
            dst_addr: None,
            listen_port: None,
        },
        sntp: Sntp {
            server: Some("time.cloudflare.com".into()),
        },
        cfg_rev: context.state.cfg_rev,
    };
    stored::read(own, &context.state, "sys", &["location", "ui_data"])
}

/// The time zone in force: a reader's choice, else the host's.
pub(crate) fn zone_name(device: &Device, context: &Context) -> String {
    let stored = context
        .state
        .overrides
        .get("sys")
        .and_then(|sys| sys.get("location")?.get("tz")?.as_str());
    stored.unwrap_or(&device.options.tz).to_owned()
}

pub(crate) fn status(device: &Device, context: &Context, _: usize) -> Json {
    let unixtime = context.now.unix_s();
    let zone = TimeZone::get(&zone_name(device, context)).unwrap_or(TimeZone::UTC);
    let local = Timestamp::from_second(unixtime)
        .unwrap_or_default()
        .to_zoned_datetime(zone);
    let firmware = device.identity.firmware;
    json(&SysStatus {
        mac: &device.identity.mac,
        restart_required: false,
        time: format!("{:02}:{:02}", local.hour(), local.minute()),
        unixtime,
        // The host keeps its clock; the device knows it since it started.
        last_sync_ts: context.synced,
        uptime: context.uptime_s,
        ram_size: firmware.ram_size,
        ram_free: firmware.ram_free,
        ram_min_free: firmware.ram_min_free,
        fs_size: FS_SIZE,
        fs_free: firmware.fs_free,
        cfg_rev: context.state.cfg_rev,
        kvs_rev: context.state.kvs_rev,
        schedule_rev: 0,
        webhook_rev: 0,
        btrelay_rev: 0,
        available_updates: Map::new(),
        reset_reason: context.state.reset_reason,
        utc_offset: local.offset().seconds(),
    })
}

pub(crate) fn config(device: &Device, context: &Context, _: usize) -> Json {
    json(&current(device, context))
}

fn set_config(call: &Call<'_>) -> Handled {
    let current = current(call.device, call.context);
    let (mut next, _) = stored::change(&current, call.params.config()?)?;
    // Who writes back what it read may have read it before another's change.
    next.cfg_rev = current.cfg_rev;
    if next.device.name.as_deref() == Some("") {
        next.device.name = None;
    }
    stored::check_name(next.device.name.as_deref())?;
    if let Some(tz) = &next.location.tz
        && *tz != call.device.options.tz
        && !zones::zone_names().iter().any(|known| known == tz)
    {
        return Err(RpcError::invalid(
            "Invalid config: location.tz is no time zone of Shelly.ListTimezones",
        ));
    }
    if next.rpc_udp != current.rpc_udp {
        return Err(RpcError::refused(
            "rpc_udp is refused: the option udp_ports says where UDP is answered",
        ));
    }
    if next.device.profile != current.device.profile {
        return Err(RpcError::refused(
            "device.profile is refused: Shelly.SetProfile changes it",
        ));
    }
    let why = "a virtual meter has no such thing";
    stored::refuse_without_effect(
        "sys",
        why,
        &current,
        &next,
        &["device.name", "location", "ui_data"],
    )?;
    let mut effects = Vec::new();
    if next.device.name != current.device.name {
        call.device.refuse_if_set("device_name")?;
        effects.push(Effect::Set(Setting::Name(next.device.name.clone())));
        next.device.name.clone_from(&current.device.name);
    }
    effects.extend(stored::keep("sys", stored::differing(&current, &next)));
    restart_required(false, effects)
}
