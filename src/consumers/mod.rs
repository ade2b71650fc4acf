//! Who reads the meter, on which channel, how often; and power shared between several readers.

use std::net::IpAddr;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
