//! The ways in, and how a reader is told that there is no power.

/// A way in.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// HTTP request.
    Http,
    /// WebSocket, `/rpc` or a fan-out port.
    Websocket,
    /// UDP datagram.
    Udp,
    /// Modbus TCP.
    Modbus,
    /// A WebSocket that we dialled.
    Outbound,
    /// The device's own MQTT: whoever is at the broker.
    Mqtt,
}

impl Channel {
    /// All channels.
    pub const ALL: [Self; 6] = [
        Self::Http,
        Self::Websocket,
        Self::Udp,
        Self::Modbus,
        Self::Outbound,
        Self::Mqtt,
    ];

    /// Its name in files and queries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Websocket => "websocket",
            Self::Udp => "udp",
            Self::Modbus => "modbus",
            Self::Outbound => "outbound",
            Self::Mqtt => "mqtt",
        }
    }

    /// How somebody of whom nothing is known is told here that there is no power: where an answer
    /// is waited for by an error, by datagrams by silence. Nearly everybody takes a null for 0 W.
    #[must_use]
    pub const fn absent(self) -> Absent {
        match self {
            Self::Http | Self::Websocket | Self::Modbus | Self::Outbound | Self::Mqtt => {
                Absent::Error
            }
            Self::Udp => Absent::Silence,
        }
    }
}

/// How a reader is told that a used phase has no value.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Absent {
    /// The device's nulls with `power_meter_failure`: for who takes null for "unknown".
    Nulls,
    /// The device's error, and no notification of power.
    #[default]
    Error,
    /// No answer at all.
    Silence,
}
