//! Bytes in, bytes out: one file a channel, all calling the same [`Endpoint`].
//!
//! | file | it knows |
//! | --- | --- |
//! | [`ground`] | what a request stands on |
//! | [`endpoint`] | the one door: password, share, effects, notes |
//! | [`spec`], [`listener`], [`limits`] | how a TCP port is bound, tried again, counted and left |
//! | `lenient` | request lines as people type them |
//! | [`hold`], [`reserve`], [`holder`] | ports that are Home Assistant's, and others' that are left alone |
//! | [`http`] | the device over HTTP, upgrades to WebSocket, pages beside it |
//! | [`ws`] | a conversation over one WebSocket, whoever dialled |
//! | [`fanout`] | the ports 6010 to 6022 |
//! | [`udp`], [`udp_socket`] | RPC over UDP, answered from the address asked |
//! | [`modbus`] | registers over TCP |
//! | [`outbound`] | WebSockets that we dial |
//! | [`mdns`] | announcements |
//! | [`healthz`], [`metrics`], [`board`], [`words`] | how all this is |

pub mod board;
pub mod endpoint;
pub mod fanout;
pub mod ground;
pub mod healthz;
pub mod hold;
pub mod holder;
pub mod http;
mod lenient;
pub mod limits;
pub mod listener;
pub mod mdns;
pub mod metrics;
pub mod modbus;
pub mod mqtt;
pub mod outbound;
pub mod reserve;
pub mod spec;
pub mod udp;
pub mod udp_socket;
pub mod words;
pub mod ws;

pub use board::{Board, ListenerState};
pub use endpoint::{Endpoint, Hub};
pub use ground::{Boot, Ground, GroundOwner};
