//! Events and prices, as they are written and let go.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::types::{Event, Price};

/// Most events that are kept: years of a house, weeks of one where much goes wrong.
pub(super) const MOST: i64 = 4_000;

/// Writes events and prices of a batch.
pub(super) fn write<'a>(
    tx: &Connection,
    events: impl Iterator<Item = &'a Event>,
    prices: &BTreeMap<i64, Price>,
) -> rusqlite::Result<()> {
    for event in events {
        tx.prepare_cached("INSERT OR REPLACE INTO events VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute((
                event.id,
                &event.meter,
                &event.kind,
                &event.subject,
                event.since,
                event.ended,
                &event.detail,
            ))?;
    }
    for (ts, price) in prices {
        tx.prepare_cached("INSERT OR REPLACE INTO prices VALUES(?1, ?2, ?3)")?
            .execute((ts, price.import, price.export))?;
    }
    Ok(())
}

/// Those that are beyond the bound or older than `before` go, but for what is not over.
pub(super) fn prune(tx: &Connection, before: f64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM events WHERE ended < ?1")?
        .execute([before])?;
    tx.prepare_cached(
        "DELETE FROM events WHERE ended IS NOT NULL AND id NOT IN (SELECT id FROM events ORDER BY since DESC, id DESC LIMIT ?1)",
    )?
    .execute([MOST])
    .map(|_| ())
}
