//! Who the device is, and how it is set.

use config::StalePolicy;

use super::{error::RpcError, identity::Identity};

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

/// One emulated Pro 3EM.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Who it is.
    pub identity: Identity,
    /// How it is set.
    pub options: DeviceOptions,
}

impl Device {
    /// -109 naming the option, if an option sets it.
    pub(super) fn refuse_if_set(&self, option: &'static str) -> Result<(), RpcError> {
        if self.options.set_by_option.contains(&option) {
            return Err(RpcError::refused(format!(
                "This is set by option {option}: change it there"
            )));
        }
        Ok(())
    }
}
