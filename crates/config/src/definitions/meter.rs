//! Options of one meter: what it measures, how old values are served, who it is and where it is
//! reached. Further meters have most of them too.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use vocab::{BuildId, DeviceId, EntityId, Mac, Version};

use crate::{
    choices::{ControlMode, EnergySource, MdnsProfile, Profile, StalePolicy, TotalPhase},
    definition::{Definition, Group, Kind, form},
    pattern::Form,
    reader_profiles::ReaderProfiles,
    section::{Field, Given, options, read, section},
    view::View,
};

/// One or several entities.
const ENTITIES: Kind = Kind::Match(Form::Entities);
const SCALE: Kind = Kind::Float {
    min: -1000.0,
    max: 1000.0,
};
const OFFSET: Kind = Kind::Float {
    min: -100_000.0,
    max: 100_000.0,
};
const ADDRESS: Kind = form(Form::Address);
pub(super) const IDENTITY_TEXT: Kind = Kind::Text {
    min: 1,
    max: 32,
    form: Form::Any,
};
const FREE_TEXT: Kind = Kind::Text {
    min: 0,
    max: 64,
    form: Form::Any,
};

section! {
    /// One meter.
    pub(crate) struct MeterOptions, METER {
        ha_smoothing_enable: bool = Group::Source, "ha_smoothing_enable", Kind::Bool,
            "Serve the mean of the last readings instead of the last one; not for batteries, which hear late then and swing more",
            .default("false").env("HA_SMOOTHING_ENABLE").live().safety();
        smoothing_window: u32 = Group::Source, "smoothing_window", Kind::Int { min: 2, max: 60 },
            "Length of that mean, in times of poll_interval",
            .default("5").live().safety();
        total_power: Vec<EntityId> = Group::Power, "total_power", ENTITIES,
            "Grid power of the whole house, import positive; several entities are summed; excludes the phase keys",
            .unit("W").live().safety();
        total_power_export: Vec<EntityId> = Group::Power, "total_power_export", ENTITIES,
            "Export side of a pair: then total_power is import only",
            .unit("W").live().safety();
        total_phase: TotalPhase = Group::Power, "total_phase", TotalPhase::KIND,
            "Phase that carries the total, or split: a third each",
            .default("a").live().safety();
        total_invert: bool = Group::Power, "total_invert", Kind::Bool,
            "Turn the sign of the total (after sum, pair, scale and offset)",
            .default("false").live().safety();
        total_scale: f64 = Group::Power, "total_scale", SCALE,
            "Factor on the total",
            .default("1.0").live().safety();
        total_offset: f64 = Group::Power, "total_offset", OFFSET,
            "Added to the total after the factor",
            .default("0.0").unit("W").live().safety();
        power: [Vec<EntityId>; 3] = Group::Power, "_power" env "_POWER", ENTITIES,
            "Grid power of phase " phase ", import positive; several entities are summed",
            .unit("W").live().safety();
        power_export: [Vec<EntityId>; 3] = Group::Power, "_power_export", ENTITIES,
            "Export of phase " phase ": then its power key is import only",
            .unit("W").live().safety();
        invert: [bool; 3] = Group::Power, "_invert", Kind::Bool,
            "Turn the sign of phase " phase " (after sum, pair, scale and offset)",
            .default("false").live().safety();
        scale: [f64; 3] = Group::Power, "_scale", SCALE,
            "Factor on the power of phase " phase "",
            .default("1.0").live().safety();
        offset: [f64; 3] = Group::Power, "_offset", OFFSET,
            "Added to the power of phase " phase " after the factor",
            .default("0.0").unit("W").live().safety();
        voltage: [Vec<EntityId>; 3] = Group::Values, "_volt" env "_VOLT", ENTITIES,
            "Voltage of phase " phase ", else line_voltage",
            .unit("V").live();
        current: [Vec<EntityId>; 3] = Group::Values, "_curr" env "_CURR", ENTITIES,
            "Current of phase " phase ", else derived from power and voltage",
            .unit("A").live();
        power_factor: [Vec<EntityId>; 3] = Group::Values, "_pf" env "_PF", ENTITIES,
            "Power factor of phase " phase ", else derived",
            .live();
        n_curr: Vec<EntityId> = Group::Values, "n_curr", ENTITIES,
            "Neutral current, else null",
            .unit("A").live();
        frequency: Vec<EntityId> = Group::Values, "frequency", ENTITIES,
            "Frequency, else line_frequency",
            .unit("Hz").live();
        line_voltage: f64 = Group::Values, "line_voltage", Kind::Float { min: 50.0, max: 500.0 },
            "Voltage where no entity gives one",
            .unit("V").default("230.0").live().inherited();
        line_frequency: f64 = Group::Values, "line_frequency", Kind::Float { min: 40.0, max: 70.0 },
            "Frequency where no entity gives one",
            .unit("Hz").default("50.0").live().inherited();
        energy_source: EnergySource = Group::Energy, "energy_source", EnergySource::KIND,
            "integrate: count from power; seed: the same, starting once from the energy entities; entities: follow the energy entities",
            .default("seed");
        energy_import: Vec<EntityId> = Group::Energy, "energy_import", ENTITIES,
            "Energy drawn by the whole house (Wh, kWh, MWh, MJ, GJ)",
            .live();
        energy_export: Vec<EntityId> = Group::Energy, "energy_export", ENTITIES,
            "Energy fed in by the whole house (Wh, kWh, MWh, MJ, GJ)",
            .live();
        phase_energy_import: [Vec<EntityId>; 3] = Group::Energy, "_energy_import", ENTITIES,
            "Energy drawn on phase " phase "; excludes the house's",
            .live();
        phase_energy_export: [Vec<EntityId>; 3] = Group::Energy, "_energy_export", ENTITIES,
            "Energy fed in on phase " phase "; excludes the house's",
            .live();
        energy_total: bool = Group::Energy, "energy_total", Kind::Choice(&["phases", "net"]),
            "phases: totals are sums over the phases, as the device; net: netted over the phases",
            .default("phases");
        energy_unit: bool = Group::Energy, "energy_unit", Kind::Choice(&["wh", "kwh"]),
            "Unit of EMData.GetStatus; the device counts in wh, kwh is for readers of the original",
            .default("wh");
        target_offset: f64 = Group::Policy, "target_offset", Kind::Float { min: -20_000.0, max: 20_000.0 },
            "Import that a reader which regulates to 0 shall leave: this much less is served on total_phase",
            .default("0.0").unit("W").live().safety();
        stale: StalePolicy = Group::Policy, "stale", StalePolicy::KIND,
            "Once values are older than hold; device: each reader is told in the way it understands (nulls only to those that do not take null for 0 W, else an error); error: an error for all; silent: no answer",
            .default("device").live().safety().inherited();
        hold: Duration = Group::Policy, "hold", Kind::Int { min: 0, max: 3600 },
            "How long the last value goes on after the last sign of life",
            .default("30").unit("s").live().safety().inherited();
        max_age: Option<Duration> = Group::Policy, "max_age", Kind::Int { min: 0, max: 86_400 },
            "A power that its sensor reported longer ago, changed or not, is no value; 0: however old. Take 20 s or more: of steady values the report is looked at each 5 s only",
            .default("0").unit("s").live().safety().inherited();
        device_name: Option<String> = Group::Identity, "device_name", FREE_TEXT,
            "Name of the device, as a reader may also set it",
            .device().live();
        profile: Given<Profile> = Group::Identity, "profile", Profile::KIND,
            "triphase: one three-phase meter; monophase: three single ones",
            .default("triphase").device();
        bind: Given<Option<IpAddr>> = Group::Channels, "bind", ADDRESS,
            "Address of every listener on the LAN; with source demo or replay 127.0.0.1 unless set",
            .default("all");
        http_port: Given<Option<u16>> = Group::Channels, "http_port", Kind::Port,
            "HTTP port, WebSocket /rpc included",
            .default("8080").app_default("80").env("HTTP_PORT").plain();
        ws_fanout_enable: bool = Group::Websocket, "ws_fanout_enable", Kind::Bool,
            "The original's further WebSocket ports",
            .default("true");
        ws_port_start: u16 = Group::Websocket, "ws_port_start", Kind::Port,
            "First of them",
            .default("6010").env("WS_PORT_START");
        ws_port_end: u16 = Group::Websocket, "ws_port_end", Kind::Port,
            "Last of them; at most 64 ports",
            .default("6022").env("WS_PORT_END");
        udp_enable: bool = Group::Udp, "udp_enable", Kind::Bool,
            "RPC over UDP, as batteries use it",
            .default("true");
        udp_ports: Given<Vec<u16>> = Group::Udp, "udp_ports", Kind::Many(&Kind::Port),
            "UDP ports",
            .default("1010,2220,2222,2223").env("UDP_PORTS").plain();
        modbus_enable: bool = Group::Modbus, "modbus_enable", Kind::Bool,
            "Modbus TCP; true leaves it to what a reader sets",
            .default("true").env("MODBUS_ENABLE").device();
        modbus_port: Given<Option<u16>> = Group::Modbus, "modbus_port", Kind::Port,
            "Modbus TCP port",
            .default("502").env("MODBUS_PORT").plain();
        modbus_bind: Option<IpAddr> = Group::Modbus, "modbus_bind", ADDRESS,
            "Address of its listener",
            .automatic("as bind").env("MODBUS_BIND");
        mdns_enable: bool = Group::Mdns, "mdns_enable", Kind::Bool,
            "Announce the device; with source demo or replay off unless set",
            .default("true").env("MDNS_ENABLE");
        mdns_hostname: Option<String> = Group::Mdns, "mdns_hostname", form(Form::HostName),
            "Host name, without .local",
            .automatic("ShellyPro3EM-<MAC>").env("MDNS_HOSTNAME");
        mdns_ip: Option<IpAddr> = Group::Mdns, "mdns_ip", ADDRESS,
            "Address announced",
            .automatic("of the interface").env("MDNS_IP");
        mdns_profile: MdnsProfile = Group::Mdns, "mdns_profile", MdnsProfile::KIND,
            "TXT records; device: as the device; extended: with id, mac, model, firmware; solakon: what that battery looks for",
            .default("device").inherited();
        outbound_ws: Vec<String> = Group::Outbound, "outbound_ws", Kind::Many(&Kind::Url(&["ws", "wss"])),
            "Servers dialled by outbound WebSocket, as a Victron GX wants it",
            .device().live();
        readers: Arc<ReaderProfiles> = Group::Scaling, "readers", Kind::Many(&form(Form::Reader)),
            "What reads this meter: sets what suits that product where no other option says otherwise, and says whether it is a battery and how it is told that there is no power; a product, or address-or-network=product",
            .live().safety().inherited();
        control: ControlMode = Group::Scaling, "control", ControlMode::KIND,
            "Calm control, so that batteries do not swing: what one was told is not told it again while that is on its way; auto: for batteries known by how they ask; on: for every reader of power that is no viewer; off: for none",
            .default("auto").live().safety().inherited();
        control_readers: Vec<IpNet> = Group::Scaling, "control_readers", Kind::Many(&form(Form::Network)),
            "Addresses and networks of batteries that calm control does not know by itself; none that scaling_viewers names",
            .live().safety().inherited();
    }
}

section! {
    /// Identity fields that an option overrides; `None` is the device's own.
    #[derive(Eq)]
    pub struct IdentitySettings, IDENTITY {
        device_id: Option<DeviceId> = Group::Identity, "device_id", Kind::Match(Form::DeviceId),
            "Device id; must end in the MAC",
            .automatic("shellypro3em-<mac>").env("DEVICE_ID");
        mac: Option<Mac> = Group::Identity, "mac", Kind::Match(Form::Mac),
            "MAC address; that of an old device takes its place over",
            .automatic("generated once and kept").env("MAC");
        app_id: Option<String> = Group::Identity, "app_id", IDENTITY_TEXT,
            "Application name",
            .automatic("that of firmware 1.7.5").env("APP_ID").alias("APP");
        model: Option<String> = Group::Identity, "model", IDENTITY_TEXT,
            "Model",
            .automatic("that of firmware 1.7.5").env("MODEL");
        firmware: Option<Version> = Group::Identity, "firmware", Kind::Match(Form::Version),
            "Firmware to answer as: 1.6.1, 1.7.5 or 2.0.1; another version is answered as the nearest of them, with its build id",
            .automatic("1.7.5").env("FIRMWARE");
        fw_id: Option<BuildId> = Group::Identity, "fw_id", Kind::Match(Form::FwId),
            "Firmware build id",
            .automatic("that of the firmware").env("FW_ID");
        sn: Option<String> = Group::Identity, "sn", FREE_TEXT,
            "Serial number; only in /admin/overview",
            .env("SN");
        manufacturer: Option<String> = Group::Identity, "manufacturer", FREE_TEXT,
            "Manufacturer; only in /admin/overview",
            .env("MANUFACTURER");
        generation: Option<u8> = Group::Identity, "generation", Kind::Int { min: 2, max: 4 },
            "Device generation; readers expect 2",
            .default("2").env("GENERATION");
    }
}
