//! The one validated struct that options become. Every crate takes the part it needs.
//!
//! Sections that are options and nothing else are declared in `definitions`, with units and ranges.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use vocab::{EntityId, Phase};

pub use super::{
    choices::*,
    definitions::{
        ChannelSettings, DashboardSettings, ForecastSettings, IdentitySettings, MqttSettings,
        ScalingSettings, SourceSettings,
    },
};
use super::{log_levels::LogLevels, reader_profiles::ReaderProfiles};

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
    /// What Home Assistant is told over MQTT.
    pub mqtt: MqttSettings,
    /// The database.
    pub store: StoreSettings,
    /// The forecast.
    pub forecast: ForecastSettings,
    /// `trace`, `debug`, `info`, `warn`, `error`.
    pub log_level: LogLevels,
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
    /// The sum of these as they are.
    #[must_use]
    pub fn plain(import: Vec<EntityId>, export: Vec<EntityId>) -> Self {
        Self {
            import,
            export,
            scale: 1.0,
            offset: 0.0,
            invert: false,
        }
    }

    /// The entities of both sides.
    pub fn entities(&self) -> impl Iterator<Item = &EntityId> {
        self.import.iter().chain(&self.export)
    }

    /// The power in W that follows from the sum of each side.
    #[must_use]
    pub fn of(&self, import: f64, export: f64) -> f64 {
        let value = (import - export) * self.scale + self.offset;
        if self.invert { -value } else { value }
    }
}

/// Entities that feed a meter. Empty lists: not configured.
#[derive(Clone, Debug, Default, PartialEq)]
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
        Self::default()
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

    /// The powers that are configured, by the beginning of their options' keys.
    pub fn powers(&self) -> impl Iterator<Item = (&'static str, &PowerInput)> {
        let phases = Phase::ALL.map(Phase::letter).into_iter().zip(&self.phases);
        let all = std::iter::once(("total", &self.total)).chain(phases);
        all.filter_map(|(name, power)| Some((name, power.as_ref()?)))
    }

    /// Whether any power input is configured.
    #[must_use]
    pub fn any_power(&self) -> bool {
        self.powers().next().is_some()
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
        let mut inputs = self.clone();
        let mut all: Vec<EntityId> = inputs.entities_mut().map(|id| id.clone()).collect();
        all.sort();
        all.dedup();
        all
    }
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
    /// `control`, `control_readers`, `readers`.
    pub control: ControlSettings,
}

/// What is known of a meter's readers, and whose answers are paced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlSettings {
    /// `control`.
    pub mode: ControlMode,
    /// `readers`.
    pub profiles: Arc<ReaderProfiles>,
    /// `control_readers`: controlled whatever they look like.
    pub readers: Vec<ipnet::IpNet>,
    /// `ha_smoothing_enable`: what they are told is a mean.
    pub smoothed: bool,
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
