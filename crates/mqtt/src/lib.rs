//! MQTT: one connection to a broker, and what Home Assistant finds there.
//!
//! | file | it knows |
//! | --- | --- |
//! | [`link`] | one connection, from the first packet to the last; whoever uses it dials again |
//! | [`server`] | how a broker is named: `mqtts://host:8883`, `host:1883` |
//! | [`entities`] | which devices and entities Home Assistant finds, and what they say: pure |
//! | [`retained`] | what is said again, when, and what has to leave |

pub mod entities;
pub mod link;
pub mod retained;
pub mod server;
