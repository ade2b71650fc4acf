//! Words that options take, and what each means.

use serde_json::Value;
use vocab::Phase;

use super::{
    definition::{Definition, Kind},
    section::{Field, choice},
};

choice! {
    /// `source`.
    pub enum SourceKind {
        /// Home Assistant.
        HomeAssistant = "home-assistant",
        /// The embedded demo household.
        Demo = "demo",
        /// A recorded CSV.
        Replay = "replay",
    }
}

choice! {
    /// `ha_transport`.
    pub enum HaTransport {
        /// WebSocket; REST while three upgrades in a row failed and REST answers.
        Auto = "auto",
        /// WebSocket only.
        Websocket = "websocket",
        /// REST poll only.
        Rest = "rest",
    }
}

choice! {
    /// `energy_source`: `docs/decisions.md#energy-counters`.
    pub enum EnergySource {
        /// Integrate power only.
        Integrate = "integrate",
        /// Integrate, starting from the entities' value once.
        Seed = "seed",
        /// Counters follow the entities.
        Entities = "entities",
    }
}

choice! {
    /// `stale`: `docs/decisions.md#a-phase-without-a-value`.
    pub enum StalePolicy {
        /// Nulls with `power_meter_failure`, UDP silent.
        Device = "device",
        /// RPC error -114.
        Error = "error",
        /// No answer to EM/EM1 status.
        Silent = "silent",
    }
}

choice! {
    /// `profile`.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Profile {
        /// One `em:0`.
        Triphase = "triphase",
        /// `em1:0` to `em1:2`.
        Monophase = "monophase",
    }
}

choice! {
    /// `mdns_profile`.
    pub enum MdnsProfile {
        /// As the device.
        Device = "device",
        /// With id, mac, model, `fw_id`.
        Extended = "extended",
        /// Extended, with `gen=3` and `app=shellypro3em`.
        Solakon = "solakon",
    }
}

choice! {
    /// `control`: whose answers are paced so that batteries do not swing.
    #[derive(Default)]
    pub enum ControlMode {
        /// Those of readers that are batteries by how they ask.
        Auto = "auto",
        /// Those of every reader of power that is no viewer.
        On = "on",
        /// Nobody's.
        #[default]
        Off = "off",
    }
}

choice! {
    /// `modbus_map`.
    pub enum ModbusMap {
        /// The device's.
        Official = "official",
        /// The Python original's.
        Legacy = "legacy",
        /// Both.
        Both = "both",
    }
}

choice! {
    /// `dashboard_on_lan`.
    pub enum DashboardOnLan {
        /// No page on the LAN port.
        None = "none",
        /// Pages and figures.
        View = "view",
        /// With changes and training.
        Full = "full",
    }
}

/// `total_phase`: where one total power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalPhase {
    /// All on one phase.
    On(Phase),
    /// A third each.
    Split,
}

impl Default for TotalPhase {
    fn default() -> Self {
        Self::On(Phase::A)
    }
}

impl TotalPhase {
    /// What its option takes.
    pub(crate) const KIND: Kind = Kind::Choice(&["a", "b", "c", "split"]);
}

impl Field for TotalPhase {
    fn of(value: &Value, _: &Definition) -> Self {
        match value.as_str() {
            Some("b") => Self::On(Phase::B),
            Some("c") => Self::On(Phase::C),
            Some("split") => Self::Split,
            _ => Self::default(),
        }
    }
}

/// A secret that never shows itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"***\"")
    }
}
