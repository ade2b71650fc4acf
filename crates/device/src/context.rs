//! What the device sees beside the request.

use std::{net::IpAddr, sync::Arc};

use meter::records::Records;
use vocab::{Absent, Now};

use super::{state::DeviceState, view::View};

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
    /// How this caller is told that a used phase has no value
    /// (`docs/decisions.md#a-phase-without-a-value`). Silence is silence whatever `stale` says: a
    /// battery goes to its safe state when its meter is silent. Nulls are for who takes them for
    /// "unknown": nearly everybody else reads null as 0 W and goes on regulating.
    pub absent: Absent,
}

impl Manner {
    /// UDP's: house total, silence when stale; `short` and `nonzero` by option.
    #[must_use]
    pub fn udp(short: bool, nonzero: bool) -> Self {
        Self {
            short,
            nonzero,
            em1_is_total: true,
            absent: Absent::Silence,
            ..Self::default()
        }
    }

    /// HTTP's and WebSocket's; `minimal` by option.
    #[must_use]
    pub fn http(minimal: bool) -> Self {
        Self {
            minimal,
            ..Self::default()
        }
    }
}

/// What the device sees beside the request; it may be answered on another thread.
pub struct Context {
    /// Newest snapshot, already scaled for this caller.
    pub view: Arc<View>,
    /// The device's own state.
    pub state: Arc<DeviceState>,
    /// This moment.
    pub now: Now,
    /// Seconds since start or the last `Shelly.Reboot`.
    pub uptime_s: u64,
    /// Unix seconds since when the clock runs as it does: start, or when it was set since.
    pub synced: i64,
    /// The address this connection reached; `wifi.sta_ip`.
    pub local_ip: Option<IpAddr>,
    /// Minute records.
    pub records: Arc<dyn Records>,
    /// The channel's wishes.
    pub manner: Manner,
    /// Whether an outbound WebSocket is connected.
    pub ws_connected: bool,
    /// Whether the broker that `Mqtt.SetConfig` names is connected.
    pub mqtt_connected: bool,
}
