//! What a Pro 3EM would answer: identity, components, RPC, notifications, registers, authentication.
//!
//! Pure functions of request, snapshot, state and settings. No socket, no clock, no SQL. A call gives a
//! reply and a list of [`Effect`]s; `app` carries those out (`decisions.md` C22).

pub mod error;
pub mod identity;
pub mod records;
pub mod state;
pub mod view;

use std::{net::IpAddr, sync::Arc};

pub use error::RpcError;
pub use identity::Identity;
pub use records::{Block, Records, RecordsError};
pub use state::{DeviceState, Setting};
pub use view::View;

use crate::{config::StalePolicy, time::Now};

/// A JSON text that is sent as it stands. Hot replies are shared, not copied.
pub type Json = Arc<str>;

/// What the device is asked to do beyond answering. `app` routes them.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Set the counters to 0, keep history (`EMData.ResetCounters`, Modbus 4200).
    ResetCounters,
    /// Set the counters to 0 and delete the minute records (`EMData.DeleteAllData`).
    DeleteAllData,
    /// Close inbound connections after so many ms, as a restarting device; uptime starts anew.
    Reboot {
        /// `delay_ms` of the request.
        delay_ms: u64,
    },
    /// Change and keep a part of the device's state.
    Set(Setting),
}

/// How a channel wants its answers; what a transport may tell the device about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// `EM.GetStatus` with the four powers, voltage, current, pf only (`strict_minimal_payload`).
    pub minimal: bool,
    /// UDP `udp_reply = short`: the original's four powers.
    pub short: bool,
    /// UDP `udp_decimals = nonzero`.
    pub nonzero: bool,
    /// UDP in triphase: `EM1.GetStatus` id 0 is the house total (C15).
    pub em1_is_total: bool,
}

/// What the device sees beside the request.
pub struct Context<'a> {
    /// Newest snapshot, already scaled for this caller.
    pub view: &'a View,
    /// The device's own state.
    pub state: &'a DeviceState,
    /// This moment.
    pub now: Now,
    /// Seconds since start or the last `Shelly.Reboot`.
    pub uptime_s: u64,
    /// The address this connection reached; `wifi.sta_ip`.
    pub local_ip: Option<IpAddr>,
    /// Minute records.
    pub records: &'a dyn Records,
    /// The channel's wishes.
    pub manner: Manner,
    /// Whether an outbound WebSocket is connected.
    pub ws_connected: bool,
}

/// Settings of the device that are fixed while it runs or replaced as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceOptions {
    /// `stale`.
    pub stale: StalePolicy,
    /// `energy_unit = kwh`.
    pub energy_kwh: bool,
    /// `unknown_methods = dummy`.
    pub unknown_methods_dummy: bool,
    /// `read_only`.
    pub read_only: bool,
    /// Keys that an option sets, so that a device-side change answers -109 naming them (C13): `device_name`,
    /// `profile`, `outbound_ws`, `modbus_enable`, `auth_password`.
    pub set_by_option: Vec<&'static str>,
    /// IANA time zone name for `sys.location.tz`.
    pub tz: String,
}

/// The answer to one call.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The result's JSON text.
    Result(Json),
    /// An error.
    Error(RpcError),
    /// Nothing at all is sent (`stale = silent`, UDP when stale).
    Silence,
}

/// Answer and what else is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What goes back.
    pub answer: Answer,
    /// What `app` does, before the answer goes out.
    pub effects: Vec<Effect>,
}

/// One emulated Pro 3EM.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Who it is.
    pub identity: Identity,
    /// How it is set.
    pub options: DeviceOptions,
}

impl Device {
    /// Answers one call. `method` in any case; `params` is the JSON text of the params object, if any.
    #[must_use]
    pub fn call(&self, method: &str, params: Option<&str>, context: &Context<'_>) -> Outcome {
        let _ = (params, context);
        Outcome { answer: Answer::Error(RpcError::no_handler(method)), effects: Vec::new() }
    }
}
