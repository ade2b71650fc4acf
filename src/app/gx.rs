//! Which servers on an outbound WebSocket are a Victron GX that has known the meter: kept in the
//! store over a restart.

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
        self.0
            .get_state(&key(meter))
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
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
        if let Ok(text) = serde_json::to_string(&all) {
            self.0.put_state(&key(meter), &text);
        }
    }
}
