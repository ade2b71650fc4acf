//! Who reads the meter, on which channel, how often; and power shared between several readers.
//!
//! ```text
//! transport ── share(caller) ──▶ part of the power that this caller sees      (sharing)
//!           ── is_controlled ──▶ whether it is a battery, and calm.ask ──▶ when it is answered (brand, calm, `control/`)
//!           ── note(asked) ────▶ registry: one record an address and channel  (registry, consumer)
//! pages     ── overview(now) ──▶ who reads, how often, what brand it may be   (overview, brand)
//! ```
//!
//! No wire format is known here: a transport hands in what was asked and answered.

pub mod brand;
pub mod calm;
mod consumer;
pub mod overview;
pub mod registry;
pub mod sharing;
mod swing;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use calm::{Ask, Calm, ControlledAnswer, Reader, Turn};
pub use overview::{ConsumerView, ExchangeView, Overview};
pub use registry::{AnsweredCall, Consumers};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
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
}

impl Channel {
    /// All channels.
    pub const ALL: [Self; 5] = [
        Self::Http,
        Self::Websocket,
        Self::Udp,
        Self::Modbus,
        Self::Outbound,
    ];
}

/// Who asks, as far as a transport can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its address.
    pub peer: IpAddr,
    /// Its port.
    pub peer_port: u16,
    /// The address of ours that it reached.
    pub local: Option<IpAddr>,
    /// The port of ours.
    pub local_port: u16,
    /// The way in.
    pub channel: Channel,
    /// `User-Agent`, where there is one.
    pub agent: Option<std::sync::Arc<str>>,
}
