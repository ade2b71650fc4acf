//! The one validated struct that options become. Every crate takes the part it needs.
//!
//! Field names are the option keys; units and ranges stand in
//! `definitions`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use vocab::EntityId;

/// Everything the process was told, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where readings come from.
    pub source: SourceSettings,
    /// One entry a virtual meter; the first is what the flat options describe. Never empty.
    pub meters: Vec<MeterSettings>,
    /// What every LAN channel shares.
    pub channels: ChannelSettings,
    /// The page for people.
    pub dashboard: DashboardSettings,
    /// The database.
    pub store: StoreSettings,
    /// The forecast.
    pub forecast: ForecastSettings,
    /// `trace`, `debug`, `info`, `warn`, `error`.
    pub log_level: tracing::Level,
}

/// `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Home Assistant.
    HomeAssistant,
    /// The embedded demo household.
    Demo,
    /// A recorded CSV.
    Replay,
}

/// `ha_transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaTransport {
    /// WebSocket; REST while three upgrades in a row failed and REST answers.
    Auto,
    /// WebSocket only.
    Websocket,
    /// REST poll only.
    Rest,
}

/// A secret that never shows itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"***\"")
    }
}

/// Where readings come from.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    /// `source`.
    pub kind: SourceKind,
    /// `replay_file`.
    pub replay_file: Option<PathBuf>,
    /// `replay_speed`.
    pub replay_speed: f64,
    /// `demo_speed`.
    pub demo_speed: f64,
    /// `demo_seed`.
    pub demo_seed: u64,
    /// `ha_base_url`; not used under the Supervisor.
    pub ha_base_url: String,
    /// `ha_token`.
    pub ha_token: Option<Secret>,
    /// `ha_transport`.
    pub ha_transport: HaTransport,
    /// `poll_interval`, s; also the sample step, rounded to whole seconds, at least 1.
    pub poll_interval: Duration,
    /// `auto_setup`.
    pub auto_setup: bool,
}

impl SourceSettings {
    /// Seconds between two stored samples.
    #[must_use]
    pub fn sample_step(&self) -> u32 {
        (self.poll_interval.as_secs_f64().round() as u32).max(1)
    }

    /// Seconds that pass in the household for each that passes here: other than 1 with a demo or
    /// replay of another speed.
    #[must_use]
    pub fn pace(&self) -> f64 {
        match self.kind {
            SourceKind::HomeAssistant => 1.0,
            SourceKind::Demo => self.demo_speed,
            SourceKind::Replay => self.replay_speed,
        }
    }
}

/// One power input: entities summed, import minus export, × scale, + offset, then inverted.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerInput {
    /// Signed sensors, or the import side of a pair; summed. Never empty.
    pub import: Vec<EntityId>,
    /// The export side of a pair; empty without one.
    pub export: Vec<EntityId>,
    /// `x_scale`.
    pub scale: f64,
    /// `x_offset`, W.
    pub offset: f64,
    /// `x_invert`.
    pub invert: bool,
}

impl PowerInput {
    /// The power in W that follows from the sum of each side.
    #[must_use]
    pub fn of(&self, import: f64, export: f64) -> f64 {
        let value = (import - export) * self.scale + self.offset;
        if self.invert { -value } else { value }
    }
}

/// `total_phase`: where one total power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalPhase {
    /// All on one phase.
    On(vocab::Phase),
    /// A third each.
    Split,
}

/// Entities that feed a meter. Empty lists: not configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// `total_power`; excludes `phases`.
    pub total: Option<PowerInput>,
    /// `total_phase`.
    pub total_phase: TotalPhase,
    /// `a_power` ….
    pub phases: [Option<PowerInput>; 3],
    /// `a_volt` …, summed like all.
    pub voltage: [Vec<EntityId>; 3],
    /// `a_curr` ….
    pub current: [Vec<EntityId>; 3],
    /// `a_pf` ….
    pub pf: [Vec<EntityId>; 3],
    /// `n_curr`.
    pub n_current: Vec<EntityId>,
    /// `frequency`.
    pub frequency: Vec<EntityId>,
    /// `energy_import`, whole house.
    pub energy_import: Vec<EntityId>,
    /// `energy_export`, whole house.
    pub energy_export: Vec<EntityId>,
    /// `a_energy_import` ….
    pub phase_energy_import: [Vec<EntityId>; 3],
    /// `a_energy_export` ….
    pub phase_energy_export: [Vec<EntityId>; 3],
    /// Import and export counters of Home Assistant's Energy settings where options name none: they
    /// tell whether a sign is right, and no energy is taken from them.
    pub witnesses: [Vec<EntityId>; 2],
}

impl Inputs {
    /// Nothing configured.
    #[must_use]
    pub fn none() -> Self {
        Self {
            total: None,
            total_phase: TotalPhase::On(vocab::Phase::A),
            phases: [None, None, None],
            voltage: Default::default(),
            current: Default::default(),
            pf: Default::default(),
            n_current: Vec::new(),
            frequency: Vec::new(),
            energy_import: Vec::new(),
            energy_export: Vec::new(),
            phase_energy_import: Default::default(),
            phase_energy_export: Default::default(),
            witnesses: Default::default(),
        }
    }

    /// Whether any energy counter is configured.
    #[must_use]
    pub fn any_energy(&self) -> bool {
        let phases = self
            .phase_energy_import
            .iter()
            .chain(&self.phase_energy_export);
        phases
            .chain([&self.energy_import, &self.energy_export])
            .any(|ids| !ids.is_empty())
    }

    /// Whether any power input is configured.
    #[must_use]
    pub fn any_power(&self) -> bool {
        self.total.is_some() || self.phases.iter().any(Option::is_some)
    }

    /// Every entity named, as often as it is, to change its name.
    pub fn entities_mut(&mut self) -> impl Iterator<Item = &mut EntityId> {
        let power = self
            .total
            .iter_mut()
            .chain(self.phases.iter_mut().flatten())
            .flat_map(|p| p.import.iter_mut().chain(&mut p.export));
        let lists = self
            .voltage
            .iter_mut()
            .chain(&mut self.current)
            .chain(&mut self.pf)
            .chain(&mut self.phase_energy_import)
            .chain(&mut self.phase_energy_export)
            .chain(&mut self.witnesses)
            .flatten()
            .chain(&mut self.n_current)
            .chain(&mut self.frequency)
            .chain(&mut self.energy_import)
            .chain(&mut self.energy_export);
        power.chain(lists)
    }

    /// Every entity named, sorted, each once: what a source has to subscribe to.
    #[must_use]
    pub fn entities(&self) -> Vec<EntityId> {
        let power = self
            .total
            .iter()
            .chain(self.phases.iter().flatten())
            .flat_map(|p| p.import.iter().chain(&p.export));
        let lists = self
            .voltage
            .iter()
            .chain(&self.current)
            .chain(&self.pf)
            .chain(&self.phase_energy_import)
            .chain(&self.phase_energy_export)
            .chain(&self.witnesses)
            .flatten()
            .chain(&self.n_current)
            .chain(&self.frequency)
            .chain(&self.energy_import)
            .chain(&self.energy_export);
        let mut all: Vec<EntityId> = power.chain(lists).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

/// `energy_source`: `docs/decisions.md#energy-counters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnergySource {
    /// Integrate power only.
    Integrate,
    /// Integrate, starting from the entities' value once.
    Seed,
    /// Counters follow the entities.
    Entities,
}

/// `stale`: `docs/decisions.md#a-phase-without-a-value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalePolicy {
    /// Nulls with `power_meter_failure`, UDP silent.
    Device,
    /// RPC error -114.
    Error,
    /// No answer to EM/EM1 status.
    Silent,
}

/// `profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One `em:0`.
    Triphase,
    /// `em1:0` to `em1:2`.
    Monophase,
}

/// `mdns_profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MdnsProfile {
    /// As the device.
    Device,
    /// With id, mac, model, `fw_id`.
    Extended,
    /// Extended, with `gen=3` and `app=shellypro3em`.
    Solakon,
}

/// Identity fields an option overrides; `None` means the device's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentitySettings {
    /// `device_id`.
    pub device_id: Option<String>,
    /// `mac`, 12 capitals; else the end of `device_id`, where that is set.
    pub mac: Option<String>,
    /// `app_id`.
    pub app_id: Option<String>,
    /// `model`.
    pub model: Option<String>,
    /// `firmware`.
    pub firmware: Option<String>,
    /// `fw_id`.
    pub fw_id: Option<String>,
    /// `sn`, overview only.
    pub sn: Option<String>,
    /// `manufacturer`, overview only.
    pub manufacturer: Option<String>,
    /// `generation`.
    pub generation: Option<u8>,
}

/// One virtual meter.
#[derive(Clone, Debug, PartialEq)]
pub struct MeterSettings {
    /// Empty for the first, else `name` of its entry.
    pub name: String,
    /// Entities.
    pub inputs: Inputs,
    /// `line_voltage`, V.
    pub line_voltage: f64,
    /// `line_frequency`, Hz.
    pub line_frequency: f64,
    /// `smoothing_window` × `poll_interval` while `ha_smoothing_enable`.
    pub smoothing: Option<Duration>,
    /// `energy_source`.
    pub energy_source: EnergySource,
    /// `energy_total = net`.
    pub energy_net: bool,
    /// `energy_unit = kwh`.
    pub energy_kwh: bool,
    /// `target_offset`, W.
    pub target_offset: f64,
    /// `stale`.
    pub stale: StalePolicy,
    /// `hold`.
    pub hold: Duration,
    /// `max_age`; `None`: values may be of any age.
    pub max_age: Option<Duration>,
    /// Identity overrides.
    pub identity: IdentitySettings,
    /// `device_name`, if an option sets it.
    pub device_name: Option<String>,
    /// `profile`, if an option sets it.
    pub profile: Option<Profile>,
    /// `bind`: `None` is every address.
    pub bind: Option<IpAddr>,
    /// `http_port`; `None` disabled (Network card null).
    pub http_port: Option<u16>,
    /// `udp_ports`; empty when off.
    pub udp_ports: Vec<u16>,
    /// `modbus_port`; `None` off.
    pub modbus_port: Option<u16>,
    /// `modbus_bind`, default = bind.
    pub modbus_bind: Option<IpAddr>,
    /// Fan-out WebSocket ports; empty for further meters or when off.
    pub ws_fanout_ports: Vec<u16>,
    /// `outbound_ws`, if an option sets it.
    pub outbound_ws: Vec<String>,
    /// `mdns_enable`.
    pub mdns_enable: bool,
    /// `mdns_hostname`.
    pub mdns_hostname: Option<String>,
    /// `mdns_ip`.
    pub mdns_ip: Option<IpAddr>,
    /// `mdns_profile`.
    pub mdns_profile: MdnsProfile,
    /// `control`, `control_readers`.
    pub control: ControlSettings,
}

/// `control`: whose answers are paced so that batteries do not swing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControlMode {
    /// Those of readers that are batteries by how they ask.
    Auto,
    /// Those of every reader of power that is no viewer.
    On,
    /// Nobody's.
    #[default]
    Off,
}

/// Calm control.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlSettings {
    /// `control`.
    pub mode: ControlMode,
    /// `control_readers`: controlled whatever they look like.
    pub readers: Vec<ipnet::IpNet>,
    /// `ha_smoothing_enable`: what they are told is a mean.
    pub smoothed: bool,
}

/// `modbus_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModbusMap {
    /// The device's.
    Official,
    /// The Python original's.
    Legacy,
    /// Both.
    Both,
}

/// `dashboard_on_lan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DashboardOnLan {
    /// No page on the LAN port.
    None,
    /// Pages and figures.
    View,
    /// With changes and training.
    Full,
}

/// What every LAN channel shares.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSettings {
    /// `ws_notify_interval`.
    pub ws_notify_interval: Duration,
    /// `ws_notify_eps`, W.
    pub ws_notify_eps: f64,
    /// `ws_passive_after`; `None` never.
    pub ws_passive_after: Option<Duration>,
    /// `ws_push_on_connect`.
    pub ws_push_on_connect: bool,
    /// `cors_enable`.
    pub cors_enable: bool,
    /// `cors_origins`; empty or `*` is any.
    pub cors_origins: Vec<String>,
    /// `strict_minimal_payload`.
    pub strict_minimal_payload: bool,
    /// `legacy_http`.
    pub legacy_http: bool,
    /// `unknown_methods = dummy`.
    pub unknown_methods_dummy: bool,
    /// `recent_clients_max`.
    pub recent_clients_max: usize,
    /// `rate_limit`: answers a second to one address; 0 none.
    pub rate_limit: u32,
    /// `max_connections` on one listener.
    pub max_connections: usize,
    /// `udp_max`, bytes.
    pub udp_max: usize,
    /// `udp_reply = short`.
    pub udp_short: bool,
    /// `udp_decimals = nonzero`.
    pub udp_nonzero: bool,
    /// `modbus_unit_id`; 0 any.
    pub modbus_unit_id: u8,
    /// `modbus_map`.
    pub modbus_map: ModbusMap,
    /// `modbus_reset`.
    pub modbus_reset: bool,
    /// `mdns_interfaces`; empty automatic.
    pub mdns_interfaces: Vec<String>,
    /// `outbound_ws_insecure`.
    pub outbound_ws_insecure: bool,
    /// `outbound_ws_local`.
    pub outbound_ws_local: bool,
    /// `read_only`.
    pub read_only: bool,
    /// `auth_password`, if an option sets it.
    pub auth_password: Option<Secret>,
    /// `auth_udp`.
    pub auth_udp: bool,
    /// `auth_outbound`.
    pub auth_outbound: bool,
    /// `request_side_scaling_*`, `scaling_*`.
    pub scaling: ScalingSettings,
}

/// Request-side scaling: `docs/decisions.md#shares`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingSettings {
    /// `request_side_scaling_enable`.
    pub enable: bool,
    /// `request_side_scaling_clients`; 0 counts.
    pub clients: u32,
    /// `request_ip_ttl`.
    pub ttl: Duration,
    /// `scaling_shares`: network and share.
    pub shares: Vec<(ipnet::IpNet, f64)>,
    /// `scaling_viewers`.
    pub viewers: Vec<ipnet::IpNet>,
}

/// The page for people.
#[derive(Clone, Debug, PartialEq)]
pub struct DashboardSettings {
    /// `dashboard_on_lan`.
    pub on_lan: DashboardOnLan,
    /// `dashboard_port`; plain run only.
    pub port: u16,
    /// `dashboard_bind`.
    pub bind: IpAddr,
    /// `dashboard_hosts`.
    pub hosts: Vec<String>,
}

/// The database.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSettings {
    /// Data folder, resolved as `docs/decisions.md#where-the-files-are` says.
    pub data_dir: PathBuf,
    /// `state_path`: the original's file to import.
    pub state_path: Option<PathBuf>,
    /// `store_interval`.
    pub interval: Duration,
    /// `records_days`.
    pub records_days: u32,
    /// `raw_days`.
    pub raw_days: u32,
    /// `history_days`, never less than `power_retention_days`.
    pub history_days: u32,
}

/// The forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastSettings {
    /// `forecast_enable`.
    pub enable: bool,
    /// `power_history_seconds`.
    pub history_seconds: u32,
    /// `power_feature_window`.
    pub window: usize,
    /// `forecast_horizon_steps`.
    pub horizon: usize,
    /// `forecast_interval`.
    pub interval: Duration,
    /// `model_train_interval`.
    pub train_interval: Duration,
    /// `forecast_metric = rmse`.
    pub rmse: bool,
    /// `forecast_models`; empty all.
    pub models: Vec<String>,
    /// `forecast_cpu`, percent of a core.
    pub cpu: u8,
    /// `model_path`.
    pub model_path: Option<PathBuf>,
}
