//! The status of what connects to a server.

use serde::Serialize;

/// `{"connected":…}`: the status of cloud, mqtt and ws.
#[derive(Serialize)]
pub(crate) struct Connected {
    pub(crate) connected: bool,
}
