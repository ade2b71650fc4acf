//! Bytes in, bytes out: one file a channel, all calling the same [`Endpoint`].

pub mod board;
pub mod endpoint;
pub mod mdns;
pub mod udp_socket;

pub use board::{Board, ListenerState};
pub use endpoint::{Endpoint, Hub};
