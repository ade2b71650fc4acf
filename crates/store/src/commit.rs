//! One batch into the database, inside the writer's transaction.

use rusqlite::{Connection, OptionalExtension, params_from_iter, types::Value};

use super::{
    buffer::Batch,
    codec, event_rows, part, series,
    types::{MeterRow, QUARTER},
};
use meter::MinuteRecord;

/// Counters and lifetime sums, in the order of [`meter::Energy::to_array`].
pub(super) const COUNTERS: &str = "a_import, a_export, b_import, b_export, c_import, c_export, net_import, net_export,
    life_a_import, life_a_export, life_b_import, life_b_export, life_c_import, life_c_export, life_net_import, life_net_export";

/// Writes everything of the batch. `seen`: wall time of this commit, Unix s.
pub(super) fn apply(tx: &Connection, batch: &Batch, seen: f64) -> rusqlite::Result<()> {
    series::write(tx, batch.samples.iter().copied())?;
    for (key, row) in &batch.meters {
        put_meter(tx, key, row, seen)?;
        part::put_open(tx, key, row, seen)?;
    }
    for key in &batch.deleted {
        tx.execute("DELETE FROM records WHERE meter = ?1", [meter_id(tx, key)?])?;
    }
    for (key, record) in &batch.records {
        put_record(tx, meter_id(tx, key)?, record)?;
    }
    for (key, json) in &batch.state {
        tx.prepare_cached("INSERT OR REPLACE INTO state(key, json) VALUES(?1, ?2)")?
            .execute((key, json))?;
    }
    for (name, model) in &batch.models {
        tx.execute(
            "INSERT OR REPLACE INTO models(name, meta, blob) VALUES(?1, ?2, ?3)",
            (name, &model.meta, &model.blob),
        )?;
    }
    event_rows::write(tx, batch.events.values(), &batch.prices)?;
    if let Some(mark) = &batch.imported {
        tx.execute(
            "INSERT OR REPLACE INTO meta(key, value) VALUES('imported', ?1)",
            [mark],
        )?;
    }
    Ok(())
}

/// A record and its energy, which leaves that of the one whose place it takes: minutes that a wrong
/// clock stamped are overwritten when time reaches them (`docs/decisions.md#clocks`).
fn put_record(tx: &Connection, meter: i64, record: &MinuteRecord) -> rusqlite::Result<()> {
    let old: Option<Vec<u8>> = tx
        .prepare_cached("SELECT rec FROM records WHERE meter = ?1 AND ts = ?2")?
        .query_row((meter, record.ts), |r| r.get(0))
        .optional()?;
    if let Some(old) = old.and_then(|blob| codec::decode(record.ts, &blob)) {
        book(tx, meter, &old, -1.0)?;
    }
    tx.prepare_cached("INSERT OR REPLACE INTO records(meter, ts, rec) VALUES(?1, ?2, ?3)")?
        .execute((meter, record.ts, codec::encode(record)))?;
    book(tx, meter, record, 1.0)
}

/// Adds a record's energy to its quarter of an hour. What a blob holds is what is booked, so taking
/// it back leaves nothing.
fn book(tx: &Connection, meter: i64, record: &MinuteRecord, sign: f64) -> rusqlite::Result<()> {
    let wh = |v: f64| sign * (v * 10_000.0).round() / 10_000.0;
    let quarter = record.ts - record.ts.rem_euclid(QUARTER);
    if record.crossed > 0.0 {
        tx.prepare_cached(
            "INSERT INTO crossed VALUES(?1, ?2, max(0, ?3)) ON CONFLICT(meter, ts) DO UPDATE SET wh = max(0, wh + ?3)",
        )?
        .execute((meter, quarter, wh(record.crossed)))?;
    }
    let followed = record.followed.to_array().map(wh);
    if followed != [0.0; 8] {
        let [ai, ae, bi, be, ci, ce, ni, ne] = followed;
        tx.prepare_cached(
            "INSERT INTO followed VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT(meter, ts) DO UPDATE SET
             a_import = a_import + ?3, a_export = a_export + ?4, b_import = b_import + ?5, b_export = b_export + ?6,
             c_import = c_import + ?7, c_export = c_export + ?8, net_import = net_import + ?9, net_export = net_export + ?10",
        )?
        .execute((meter, quarter, ai, ae, bi, be, ci, ce, ni, ne))?;
    }
    let [ai, ae, bi, be, ci, ce, ..] = record.energy().to_array().map(wh);
    tx.prepare_cached(
        "INSERT INTO quarters VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(meter, ts) DO UPDATE SET
         a_import = max(0, a_import + ?3), a_export = max(0, a_export + ?4), b_import = max(0, b_import + ?5),
         b_export = max(0, b_export + ?6), c_import = max(0, c_import + ?7), c_export = max(0, c_export + ?8)",
    )?
    .execute((meter, quarter, ai, ae, bi, be, ci, ce))
    .map(|_| ())
}

fn meter_id(tx: &Connection, key: &str) -> rusqlite::Result<i64> {
    let mut select = tx.prepare_cached("SELECT id FROM meters WHERE key = ?1")?;
    if let Some(id) = select.query_row([key], |r| r.get(0)).optional()? {
        return Ok(id);
    }
    tx.execute("INSERT INTO meters(key) VALUES(?1)", [key])?;
    Ok(tx.last_insert_rowid())
}

fn put_meter(tx: &Connection, key: &str, row: &MeterRow, seen: f64) -> rusqlite::Result<()> {
    let id = meter_id(tx, key)?;
    let texts = [row.mac.clone(), row.extra.clone()].map(Value::Text);
    let counters = [row.energy, row.lifetime].map(meter::Energy::to_array);
    let numbers = [seen, row.reset_at]
        .into_iter()
        .chain(counters.into_iter().flatten())
        .map(Value::Real);
    let marks = ["?"; 20].join(", ");
    let sql = format!(
        "UPDATE meters SET (mac, extra, seen, reset_at, {COUNTERS}) = ({marks}) WHERE id = ?"
    );
    let values = texts.into_iter().chain(numbers).chain([Value::Integer(id)]);
    tx.prepare_cached(&sql)?
        .execute(params_from_iter(values))
        .map(|_| ())
}
