//! What a reader may change on the device, and what the device keeps
//! (`docs/decisions.md#options-win-over-the-devices-settings`).
//!
//! Kept in the store as JSON; immutable while shared. A write becomes a [`Setting`], and
//! [`DeviceState::with`] gives the state after it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use config::Profile;

type Members = serde_json::Map<String, serde_json::Value>;

/// `Ws` configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WsConfig {
    /// `enable`.
    pub enable: bool,
    /// `server`.
    pub server: Option<String>,
    /// `ssl_ca`: null, `ca.pem`, `user_ca.pem`, `*`.
    pub ssl_ca: Option<String>,
}

impl Default for WsConfig {
    fn default() -> Self {
        Self {
            enable: false,
            server: None,
            ssl_ca: Some("ca.pem".into()),
        }
    }
}

/// `Mqtt` configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MqttConfig {
    /// `enable`.
    pub enable: bool,
    /// `server`: `host:port`.
    pub server: Option<String>,
    /// `client_id`; the device id where there is none.
    pub client_id: Option<String>,
    /// `user`.
    pub user: Option<String>,
    /// `pass`, which no answer tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// `ssl_ca`: null (no TLS), `ca.pem`, `user_ca.pem`, `*`.
    pub ssl_ca: Option<String>,
    /// `topic_prefix`; the device id where there is none.
    pub topic_prefix: Option<String>,
    /// `rpc_ntf`: notifications at `<prefix>/events/rpc`.
    pub rpc_ntf: bool,
    /// `status_ntf`: statuses at `<prefix>/status/<component>`.
    pub status_ntf: bool,
    /// `use_client_cert`: never, there is no such certificate here.
    pub use_client_cert: bool,
    /// `enable_rpc`: calls at `<prefix>/rpc`.
    pub enable_rpc: bool,
    /// `enable_control`: `announce` and `status_update` at `<prefix>/command`.
    pub enable_control: bool,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            enable: false,
            server: None,
            client_id: None,
            user: None,
            pass: None,
            ssl_ca: None,
            topic_prefix: None,
            rpc_ntf: true,
            status_ntf: false,
            use_client_cert: false,
            enable_rpc: true,
            enable_control: true,
        }
    }
}

impl std::fmt::Debug for MqttConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttConfig")
            .field("enable", &self.enable)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// The device's own state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceState {
    /// `sys.cfg_rev`.
    pub cfg_rev: u32,
    /// `sys.device.name`.
    pub name: Option<String>,
    /// Active profile.
    pub profile: Profile,
    /// Name of `em:0`.
    pub em_name: Option<String>,
    /// Names of `em1:0` to `em1:2`.
    pub em1_names: [Option<String>; 3],
    /// Outbound WebSocket.
    pub ws: WsConfig,
    /// The device's own MQTT.
    pub mqtt: MqttConfig,
    /// `modbus.enable`.
    pub modbus_enable: bool,
    /// SHA-256 `HA1` of user admin; authentication is on with it.
    pub auth_ha1: Option<String>,
    /// The realm that is part of `auth_ha1`: the device id when it was set.
    pub auth_realm: Option<String>,
    /// Stored values of configurations without other effect, by component (`sys`,
    /// `em:0`, …): the members that differ from the default.
    pub overrides: BTreeMap<String, Members>,
    /// Key-value store.
    pub kvs: BTreeMap<String, serde_json::Value>,
    /// `sys.kvs_rev`.
    pub kvs_rev: u32,
    /// The settings were lost, a password perhaps with them: nothing may be changed.
    pub locked: bool,
    /// 1 after power-on, 3 after a reboot.
    pub reset_reason: u8,
}

impl Default for DeviceState {
    fn default() -> Self {
        Self {
            cfg_rev: 1,
            name: None,
            profile: Profile::Triphase,
            em_name: None,
            em1_names: [None, None, None],
            ws: WsConfig::default(),
            mqtt: MqttConfig::default(),
            modbus_enable: true,
            auth_ha1: None,
            auth_realm: None,
            overrides: BTreeMap::new(),
            kvs: BTreeMap::new(),
            kvs_rev: 0,
            locked: false,
            reset_reason: 1,
        }
    }
}

/// One change of the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// `Sys.SetConfig` device name.
    Name(Option<String>),
    /// `EM.SetConfig` name.
    EmName(Option<String>),
    /// `EM1.SetConfig` name of one channel.
    Em1Name(usize, Option<String>),
    /// `Ws.SetConfig`.
    Ws(WsConfig),
    /// `Mqtt.SetConfig`.
    Mqtt(MqttConfig),
    /// `Modbus.SetConfig`.
    ModbusEnable(bool),
    /// `Shelly.SetAuth`.
    Auth {
        /// The device id.
        realm: String,
        /// `SHA256(admin:<realm>:<password>)`, hex; none takes the password away.
        ha1: Option<String>,
    },
    /// `Shelly.SetProfile`.
    Profile(Profile),
    /// A configuration that is kept without other effect: component and members.
    Override(String, Members),
    /// `KVS.Set`.
    KvsSet(String, serde_json::Value),
    /// `KVS.Delete`.
    KvsDelete(String),
}

impl DeviceState {
    /// The state after a change; configuration changes raise `cfg_rev`, KVS changes `kvs_rev`.
    #[must_use]
    pub fn with(&self, setting: &Setting) -> Self {
        let mut next = self.clone();
        match setting {
            Setting::KvsSet(..) | Setting::KvsDelete(_) => next.kvs_rev += 1,
            Setting::Auth { .. } => {}
            _ => next.cfg_rev += 1,
        }
        match setting.clone() {
            Setting::Name(name) => next.name = name,
            Setting::EmName(name) => next.em_name = name,
            Setting::Em1Name(id, name) => {
                if let Some(slot) = next.em1_names.get_mut(id) {
                    *slot = name;
                }
            }
            Setting::Ws(ws) => next.ws = ws,
            Setting::Mqtt(mqtt) => next.mqtt = mqtt,
            Setting::ModbusEnable(on) => next.modbus_enable = on,
            Setting::Auth { realm, ha1 } => {
                next.auth_realm = ha1.is_some().then_some(realm);
                next.auth_ha1 = ha1;
            }
            Setting::Profile(profile) => next.profile = profile,
            Setting::Override(component, members) => {
                next.overrides.entry(component).or_default().extend(members);
            }
            Setting::KvsSet(key, value) => {
                next.kvs.insert(key, value);
            }
            Setting::KvsDelete(key) => {
                next.kvs.remove(&key);
            }
        }
        next
    }
}
