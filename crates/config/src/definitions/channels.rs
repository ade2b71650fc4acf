//! Options of the device's identity and of the ways that readers reach it.

use crate::{
    definition::{Definition, Group, Kind, TEXT},
    pattern::{Form, Pattern},
};

const ADDRESS: Kind = form(Form::Address);
const IDENTITY_TEXT: Kind = Kind::Text {
    min: 1,
    max: 32,
    form: Form::Any,
};
const FREE_TEXT: Kind = Kind::Text {
    min: 0,
    max: 64,
    form: Form::Any,
};

const fn form(form: Form) -> Kind {
    Kind::Text {
        min: 0,
        max: usize::MAX,
        form,
    }
}

const fn new(group: Group, key: &'static str, kind: Kind, text: &'static str) -> Definition {
    Definition::new(group, key, kind, text)
}

const fn switch(
    group: Group,
    key: &'static str,
    default: &'static str,
    text: &'static str,
) -> Definition {
    Definition::new(group, key, Kind::Bool, text).default(default)
}

/// Who the device is.
pub const IDENTITY: &[Definition] = &[
    new(Group::Identity, "device_id", Kind::Match(Pattern::DeviceId), "Device id; must end in the MAC")
        .automatic("shellypro3em-<mac>")
        .env("DEVICE_ID"),
    new(Group::Identity, "mac", Kind::Match(Pattern::Mac), "MAC address; that of an old device takes its place over")
        .automatic("generated once and kept")
        .env("MAC"),
    new(Group::Identity, "app_id", IDENTITY_TEXT, "Application name").automatic("that of firmware 1.7.5").env("APP_ID").alias("APP"),
    new(Group::Identity, "model", IDENTITY_TEXT, "Model").automatic("that of firmware 1.7.5").env("MODEL"),
    new(
        Group::Identity,
        "firmware",
        Kind::Match(Pattern::Version),
        "Firmware to answer as: 1.6.1, 1.7.5 or 2.0.1; another version is answered as the nearest of them, with its build id",
    )
    .automatic("1.7.5")
    .env("FIRMWARE"),
    new(Group::Identity, "fw_id", Kind::Match(Pattern::FwId), "Firmware build id").automatic("that of the firmware").env("FW_ID"),
    new(Group::Identity, "sn", FREE_TEXT, "Serial number; only in /admin/overview").env("SN"),
    new(Group::Identity, "manufacturer", FREE_TEXT, "Manufacturer; only in /admin/overview").env("MANUFACTURER"),
    new(Group::Identity, "generation", Kind::Int { min: 2, max: 4 }, "Device generation; readers expect 2").default("2").env("GENERATION"),
    new(Group::Identity, "device_name", FREE_TEXT, "Name of the device, as a reader may also set it").device().live(),
    new(
        Group::Identity,
        "profile",
        Kind::Choice(&["triphase", "monophase"]),
        "triphase: one three-phase meter; monophase: three single ones",
    )
    .default("triphase")
    .device(),
];

/// Addresses, HTTP, limits.
pub const HTTP: &[Definition] = &[
    new(
        Group::Channels,
        "bind",
        ADDRESS,
        "Address of every listener on the LAN; with source demo or replay 127.0.0.1 unless set",
    )
    .default("all"),
    new(
        Group::Channels,
        "http_port",
        Kind::Port,
        "HTTP port, WebSocket /rpc included",
    )
    .default("8080")
    .app_default("80")
    .env("HTTP_PORT")
    .plain(),
    switch(
        Group::Channels,
        "cors_enable",
        "false",
        "Cross-origin answers for pages that are not the device's",
    )
    .env("CORS_ENABLE"),
    new(
        Group::Channels,
        "cors_origins",
        Kind::Many(&form(Form::Origin)),
        "Origins allowed; other than * it replaces the device's own * too",
    )
    .default("*")
    .env("CORS_ORIGINS"),
    switch(
        Group::Channels,
        "strict_minimal_payload",
        "false",
        "EM.GetStatus over HTTP and WebSocket with the four powers only, as the original",
    )
    .env("STRICT_MINIMAL_PAYLOAD"),
    switch(
        Group::Channels,
        "legacy_http",
        "true",
        "Request forms of the original: /rpc?method=, batch= and arrays in POST",
    ),
    new(
        Group::Channels,
        "unknown_methods",
        Kind::Choice(&["error", "dummy"]),
        "error: as the device; dummy: a made-up success, as the original",
    )
    .default("error"),
    new(
        Group::Channels,
        "recent_clients_max",
        Kind::Int {
            min: 10,
            max: 10_000,
        },
        "Recent calls kept for the overview",
    )
    .default("100")
    .env("RECENT_CLIENTS_MAX"),
    new(
        Group::Channels,
        "rate_limit",
        Kind::Int {
            min: 0,
            max: 100_000,
        },
        "Answers to one address on one listener; 0: no limit",
    )
    .default("100")
    .unit("1/s"),
    new(
        Group::Channels,
        "max_connections",
        Kind::Int {
            min: 8,
            max: 20_000,
        },
        "Connections on one listener; over it the longest idle is closed",
    )
    .default("1024"),
];

/// WebSocket.
pub const WEBSOCKET: &[Definition] = &[
    switch(Group::Websocket, "ws_fanout_enable", "true", "The original's further WebSocket ports"),
    new(Group::Websocket, "ws_port_start", Kind::Port, "First of them").default("6010").env("WS_PORT_START"),
    new(Group::Websocket, "ws_port_end", Kind::Port, "Last of them; at most 64 ports").default("6022").env("WS_PORT_END"),
    new(
        Group::Websocket,
        "ws_notify_interval",
        Kind::Float { min: 0.0, max: 60.0 },
        "Least time between two notifications; the first change goes out at once",
    )
    .default("0.5")
    .unit("s")
    .env("WS_NOTIFY_INTERVAL")
    .live(),
    new(Group::Websocket, "ws_notify_eps", Kind::Float { min: 0.0, max: 10_000.0 }, "Change of any phase that is worth a notification")
        .default("0.1")
        .unit("W")
        .env("WS_NOTIFY_EPS")
        .live(),
    new(
        Group::Websocket,
        "ws_passive_after",
        Kind::Float { min: 0.0, max: 60.0 },
        "Silence after which a socket on /rpc is a passive listener and gets notifications; 0: never",
    )
    .default("1.0")
    .unit("s"),
    switch(Group::Websocket, "ws_push_on_connect", "true", "Notifications from the start on the further ports"),
];

/// UDP.
pub const UDP: &[Definition] = &[
    switch(
        Group::Udp,
        "udp_enable",
        "true",
        "RPC over UDP, as batteries use it",
    ),
    new(
        Group::Udp,
        "udp_ports",
        Kind::Many(&Kind::Port),
        "UDP ports",
    )
    .default("1010,2220,2222,2223")
    .env("UDP_PORTS")
    .plain(),
    new(
        Group::Udp,
        "udp_max",
        Kind::Int {
            min: 256,
            max: 65_507,
        },
        "Largest request",
    )
    .default("32768")
    .unit("bytes")
    .env("UDP_MAX"),
    new(
        Group::Udp,
        "udp_reply",
        Kind::Choice(&["full", "short"]),
        "full: the device's result; short: the original's four powers",
    )
    .default("full")
    .live(),
    new(
        Group::Udp,
        "udp_decimals",
        Kind::Choice(&["fixed", "nonzero"]),
        "fixed: as the device; nonzero: the original's trick that no power is a whole number",
    )
    .default("fixed")
    .live(),
];

/// Modbus TCP.
pub const MODBUS: &[Definition] = &[
    switch(
        Group::Modbus,
        "modbus_enable",
        "true",
        "Modbus TCP; true leaves it to what a reader sets",
    )
    .env("MODBUS_ENABLE")
    .device(),
    new(Group::Modbus, "modbus_port", Kind::Port, "Modbus TCP port")
        .default("502")
        .env("MODBUS_PORT")
        .plain(),
    new(
        Group::Modbus,
        "modbus_bind",
        ADDRESS,
        "Address of its listener",
    )
    .automatic("as bind")
    .env("MODBUS_BIND"),
    new(
        Group::Modbus,
        "modbus_unit_id",
        Kind::Int { min: 0, max: 255 },
        "Unit answered besides 0 and 255; 0: any",
    )
    .default("1")
    .env("MODBUS_UNIT_ID"),
    new(
        Group::Modbus,
        "modbus_map",
        Kind::Choice(&["official", "legacy", "both"]),
        "official: the device's registers; legacy: those of the original",
    )
    .default("both"),
    switch(
        Group::Modbus,
        "modbus_reset",
        "false",
        "Writing 1 to register 4200 resets the counters; not with a password",
    ),
];

/// mDNS.
pub const MDNS: &[Definition] = &[
    switch(Group::Mdns, "mdns_enable", "true", "Announce the device; with source demo or replay off unless set").env("MDNS_ENABLE"),
    new(Group::Mdns, "mdns_hostname", form(Form::HostName), "Host name, without .local")
        .automatic("ShellyPro3EM-<MAC>")
        .env("MDNS_HOSTNAME"),
    new(Group::Mdns, "mdns_ip", ADDRESS, "Address announced").automatic("of the interface").env("MDNS_IP"),
    new(Group::Mdns, "mdns_interfaces", Kind::Many(&TEXT), "Interfaces announced on").automatic("that of the default route"),
    new(
        Group::Mdns,
        "mdns_profile",
        Kind::Choice(&["device", "extended", "solakon"]),
        "TXT records; device: as the device; extended: with id, mac, model, firmware; solakon: what that battery looks for",
    )
    .default("device"),
];

/// WebSockets that we dial.
pub const OUTBOUND: &[Definition] = &[
    new(
        Group::Outbound,
        "outbound_ws",
        Kind::Many(&Kind::Url(&["ws", "wss"])),
        "Servers dialled by outbound WebSocket, as a Victron GX wants it",
    )
    .device()
    .live(),
    switch(
        Group::Outbound,
        "outbound_ws_insecure",
        "false",
        "No certificate check for wss",
    ),
    switch(
        Group::Outbound,
        "outbound_ws_local",
        "false",
        "Let Ws.SetConfig name this host itself or a link-local address",
    ),
];

/// Protection.
pub const SECURITY: &[Definition] = &[
    switch(
        Group::Security,
        "read_only",
        "false",
        "Refuse every change by RPC and Modbus",
    )
    .live(),
    new(
        Group::Security,
        "auth_password",
        Kind::Password,
        "Password of user admin, replaces one set by RPC; batteries and GX devices cannot log in",
    )
    .device(),
    switch(
        Group::Security,
        "auth_udp",
        "false",
        "With a password: ask for it on UDP for reading too; changes always need it",
    ),
    switch(
        Group::Security,
        "auth_outbound",
        "false",
        "With a password: ask for it on outbound WebSocket for reading too; changes always need it",
    ),
];

/// When batteries are answered, and power shared between readers.
pub const SCALING: &[Definition] = &[
    new(
        Group::Scaling,
        "control",
        Kind::Choice(&["auto", "on", "off"]),
        "Calm control, so that batteries do not swing: what one was told is not told it again while that is on its way; auto: for batteries known by how they ask; on: for every reader of power that is no viewer; off: for none",
    )
    .default("auto")
    .live()
    .safety(),
    new(
        Group::Scaling,
        "control_readers",
        Kind::Many(&form(Form::Network)),
        "Addresses and networks of batteries that calm control does not know by itself; none that scaling_viewers names",
    )
    .live()
    .safety(),
    switch(Group::Scaling, "request_side_scaling_enable", "false", "Divide the served power among the readers")
        .env("REQUEST_SIDE_SCALING_ENABLE")
        .live()
        .safety(),
    new(Group::Scaling, "request_side_scaling_clients", Kind::Int { min: 0, max: 50 }, "Divide by this number; 0: by the addresses seen")
        .default("0")
        .env("REQUEST_SIDE_SCALING_CLIENTS")
        .live()
        .safety(),
    new(Group::Scaling, "request_ip_ttl", Kind::Float { min: 1.0, max: 3600.0 }, "How long an address counts after its last request")
        .default("30.0")
        .unit("s")
        .env("REQUEST_IP_TTL")
        .live()
        .safety(),
    new(
        Group::Scaling,
        "scaling_shares",
        Kind::Many(&form(Form::Share)),
        "Fixed shares, address-or-network=share; everybody else gets all; needs request_side_scaling_enable",
    )
    .live()
    .safety(),
    new(Group::Scaling, "scaling_viewers", Kind::Many(&form(Form::Network)), "Addresses and networks that are never counted")
        .live()
        .safety(),
];
