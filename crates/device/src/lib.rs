//! What a Pro 3EM would answer: identity, components, RPC, notifications, registers,
//! authentication.
//!
//! Pure functions of request, snapshot, state and settings. No socket, no clock, no SQL. A call
//! gives a reply and a list of [`Effect`]s; `app` carries those out
//! (`docs/decisions.md#the-device-is-pure`).
//!
//! | file | it knows |
//! | --- | --- |
//! | [`identity`] | who the device is |
//! | [`firmware`] | in what versions of its firmware differ |
//! | `dispatch`, `components/` | methods, one file a component |
//! | [`frame`] | RPC frames and query strings to calls, answers to frames |
//! | [`auth`] | digest authentication of headers and frames |
//! | [`notify`] | what a connection is told unasked, and when |
//! | [`history`] | minute records: columns, pages, CSV |
//! | [`modbus`] | registers |
//! | [`state`], `stored` | what a reader may change |
//! | [`target`] | where a reader may send the meter |
//! | [`view`] | a snapshot with the texts made of it |

pub mod auth;
mod components;
mod dispatch;
pub mod error;
pub mod firmware;
pub mod frame;
pub mod history;
pub mod identity;
pub mod modbus;
pub mod notify;
mod options;
mod params;
pub mod state;
mod stored;
pub mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod view;

use std::{net::IpAddr, sync::Arc};

pub use dispatch::{canonical, reads_records, writes};
pub use error::RpcError;
pub use identity::Identity;
pub use state::{DeviceState, Setting};
pub use view::View;

use config::StalePolicy;
use meter::records::Records;
use vocab::Now;

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
    /// `EM.GetStatus` with the four powers only, as the original (`strict_minimal_payload`).
    pub minimal: bool,
    /// UDP `udp_reply = short`: the original's four powers.
    pub short: bool,
    /// UDP `udp_decimals = nonzero`.
    pub nonzero: bool,
    /// UDP in triphase: `EM1.GetStatus` id 0 is the house total
    /// (`docs/decisions.md#one-channel-meters-over-udp`).
    pub em1_is_total: bool,
    /// UDP: no answer that holds EM or EM1 status while a used phase has no value
    /// (`docs/decisions.md#a-phase-without-a-value`), whatever `stale` says. A battery goes to its
    /// safe state when its meter is silent.
    pub silent_when_stale: bool,
    /// The caller takes the device's nulls for "unknown". Nearly everybody else reads null as 0 W
    /// and goes on regulating, so who is not known to do better gets an error while a used phase
    /// has no value, and no notification of power.
    pub takes_nulls: bool,
}

impl Manner {
    /// UDP's: house total, silence when stale; `short` and `nonzero` by option.
    #[must_use]
    pub const fn udp(short: bool, nonzero: bool) -> Self {
        Self {
            minimal: false,
            short,
            nonzero,
            em1_is_total: true,
            silent_when_stale: true,
            takes_nulls: false,
        }
    }

    /// HTTP's and WebSocket's; `minimal` by option.
    #[must_use]
    pub const fn http(minimal: bool) -> Self {
        Self {
            minimal,
            short: false,
            nonzero: false,
            em1_is_total: false,
            silent_when_stale: false,
            takes_nulls: false,
        }
    }
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
    /// `outbound_ws_local`.
    pub outbound_local: bool,
    /// Keys that an option sets, so that a device-side change answers -109 naming them
    /// (`docs/decisions.md#options-win-over-the-devices-settings`): `device_name`, `profile`,
    /// `outbound_ws`, `modbus_enable`, `auth_password`.
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
    /// Nothing at all is sent (`stale = silent`, UDP while a used phase has no value).
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
    /// Answers one call. `method` in any case; `params` is the JSON text of the params object, if
    /// any.
    #[must_use]
    pub fn call(&self, method: &str, params: Option<&str>, context: &Context<'_>) -> Outcome {
        dispatch::call(self, method, params, context)
    }

    /// The body of `GET /shelly`, also the result of `Shelly.GetDeviceInfo`.
    #[must_use]
    pub fn info_json(&self, state: &DeviceState) -> Json {
        components::shelly::info(self, state)
    }

    /// -109 naming the option, if an option sets it.
    fn refuse_if_set(&self, option: &'static str) -> Result<(), RpcError> {
        if self.options.set_by_option.contains(&option) {
            return Err(RpcError::refused(format!(
                "This is set by option {option}: change it there"
            )));
        }
        Ok(())
    }
}
