//! Which servers on an outbound WebSocket are a Victron GX that has known the meter: kept in the
//! store over a restart.

use super::kept;
use store::Store;
use transport::outbound::Memory;

/// Servers remembered of one meter: `Ws.SetConfig` may name any number one after the other.
const SERVERS: usize = 16;

/// The store's memory of them.
pub struct Known(pub Store);

fn key(meter: &str) -> String {
    format!("gx:{meter}")
}

impl Known {
    fn all(&self, meter: &str) -> Vec<String> {
        kept::get(&self.0, &key(meter)).unwrap_or_default()
    }
}

impl Memory for Known {
    fn knows(&self, meter: &str, server: &str) -> bool {
        self.all(meter).iter().any(|known| known == server)
    }

    fn keep(&self, meter: &str, server: &str, known: bool) {
        let mut all = self.all(meter);
        if known == all.iter().any(|other| other == server) {
            return;
        }
        all.retain(|other| other != server);
        if known {
            all.push(server.to_owned());
            all.drain(..all.len().saturating_sub(SERVERS));
        }
        kept::put(&self.0, &key(meter), &all);
    }
}
