//! What every LAN channel shares, and how power is divided among readers.

use std::time::Duration;

use ipnet::IpNet;

use crate::{
    choices::{ModbusMap, Secret},
    definition::{Definition, Group, Kind, TEXT, form},
    pattern::Form,
    section::{Field, options, read, section},
    view::View,
};

section! {
    /// What every LAN channel shares.
    pub struct ChannelSettings, CHANNELS {
        cors_enable: bool = Group::Channels, "cors_enable", Kind::Bool,
            "Cross-origin answers for pages that are not the device's",
            .default("false").env("CORS_ENABLE");
        cors_origins: Vec<String> = Group::Channels, "cors_origins", Kind::Many(&form(Form::Origin)),
            "Origins allowed; other than * it replaces the device's own * too",
            .default("*").env("CORS_ORIGINS");
        strict_minimal_payload: bool = Group::Channels, "strict_minimal_payload", Kind::Bool,
            "EM.GetStatus over HTTP and WebSocket with the four powers only, as the original",
            .default("false").env("STRICT_MINIMAL_PAYLOAD");
        legacy_http: bool = Group::Channels, "legacy_http", Kind::Bool,
            "Request forms of the original: /rpc?method=, batch= and arrays in POST",
            .default("true");
        unknown_methods_dummy: bool = Group::Channels, "unknown_methods", Kind::Choice(&["error", "dummy"]),
            "error: as the device; dummy: a made-up success, as the original",
            .default("error");
        recent_clients_max: usize = Group::Channels, "recent_clients_max", Kind::Int { min: 10, max: 10_000 },
            "Recent calls kept for the overview",
            .default("100").env("RECENT_CLIENTS_MAX");
        rate_limit: u32 = Group::Channels, "rate_limit", Kind::Int { min: 0, max: 100_000 },
            "Answers to one address on one listener; 0: no limit",
            .default("100").unit("1/s");
        max_connections: usize = Group::Channels, "max_connections", Kind::Int { min: 8, max: 20_000 },
            "Connections on one listener; over it the longest idle is closed",
            .default("1024");
        ws_notify_interval: Duration = Group::Websocket, "ws_notify_interval", Kind::Float { min: 0.0, max: 60.0 },
            "Least time between two notifications; the first change goes out at once",
            .default("0.5").unit("s").env("WS_NOTIFY_INTERVAL").live();
        ws_notify_eps: f64 = Group::Websocket, "ws_notify_eps", Kind::Float { min: 0.0, max: 10_000.0 },
            "Change of any phase that is worth a notification",
            .default("0.1").unit("W").env("WS_NOTIFY_EPS").live();
        ws_passive_after: Option<Duration> = Group::Websocket, "ws_passive_after", Kind::Float { min: 0.0, max: 60.0 },
            "Silence after which a socket on /rpc is a passive listener and gets notifications; 0: never",
            .default("1.0").unit("s");
        ws_push_on_connect: bool = Group::Websocket, "ws_push_on_connect", Kind::Bool,
            "Notifications from the start on the further ports",
            .default("true");
        udp_max: usize = Group::Udp, "udp_max", Kind::Int { min: 256, max: 65_507 },
            "Largest request",
            .default("32768").unit("bytes").env("UDP_MAX");
        udp_short: bool = Group::Udp, "udp_reply", Kind::Choice(&["full", "short"]),
            "full: the device's result; short: the original's four powers",
            .default("full").live();
        udp_nonzero: bool = Group::Udp, "udp_decimals", Kind::Choice(&["fixed", "nonzero"]),
            "fixed: as the device; nonzero: the original's trick that no power is a whole number",
            .default("fixed").live();
        modbus_unit_id: u8 = Group::Modbus, "modbus_unit_id", Kind::Int { min: 0, max: 255 },
            "Unit answered besides 0 and 255; 0: any",
            .default("1").env("MODBUS_UNIT_ID");
        modbus_map: ModbusMap = Group::Modbus, "modbus_map", ModbusMap::KIND,
            "official: the device's registers; legacy: those of the original",
            .default("both");
        modbus_reset: bool = Group::Modbus, "modbus_reset", Kind::Bool,
            "Writing 1 to register 4200 resets the counters; not with a password",
            .default("false");
        mdns_interfaces: Vec<String> = Group::Mdns, "mdns_interfaces", Kind::Many(&TEXT),
            "Interfaces announced on",
            .automatic("that of the default route");
        outbound_ws_insecure: bool = Group::Outbound, "outbound_ws_insecure", Kind::Bool,
            "No certificate check for wss",
            .default("false");
        outbound_ws_local: bool = Group::Outbound, "outbound_ws_local", Kind::Bool,
            "Let Ws.SetConfig name this host itself or a link-local address",
            .default("false");
        read_only: bool = Group::Security, "read_only", Kind::Bool,
            "Refuse every change by RPC and Modbus",
            .default("false").live();
        auth_password: Option<Secret> = Group::Security, "auth_password", Kind::Password,
            "Password of user admin, replaces one set by RPC; batteries and GX devices cannot log in",
            .device();
        auth_udp: bool = Group::Security, "auth_udp", Kind::Bool,
            "With a password: ask for it on UDP for reading too; changes always need it",
            .default("false");
        auth_outbound: bool = Group::Security, "auth_outbound", Kind::Bool,
            "With a password: ask for it on outbound WebSocket for reading too; changes always need it",
            .default("false");
        @scaling: ScalingSettings;
    }
}

section! {
    /// How the served power is divided among readers.
    pub struct ScalingSettings, SCALING {
        enable: bool = Group::Scaling, "request_side_scaling_enable", Kind::Bool,
            "Divide the served power among the readers",
            .default("false").env("REQUEST_SIDE_SCALING_ENABLE").live().safety();
        clients: u32 = Group::Scaling, "request_side_scaling_clients", Kind::Int { min: 0, max: 50 },
            "Divide by this number; 0: by the addresses seen",
            .default("0").env("REQUEST_SIDE_SCALING_CLIENTS").live().safety();
        ttl: Duration = Group::Scaling, "request_ip_ttl", Kind::Float { min: 1.0, max: 3600.0 },
            "How long an address counts after its last request",
            .default("30.0").unit("s").env("REQUEST_IP_TTL").live().safety();
        shares: Vec<(IpNet, f64)> = Group::Scaling, "scaling_shares", Kind::Many(&form(Form::Share)),
            "Fixed shares, address-or-network=share; everybody else gets all; needs request_side_scaling_enable",
            .live().safety();
        viewers: Vec<IpNet> = Group::Scaling, "scaling_viewers", Kind::Many(&form(Form::Network)),
            "Addresses and networks that are never counted",
            .live().safety();
    }
}
