//! One batch into the database, inside the writer's transaction.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    buffer::Batch,
    codec, part, schema,
    series::Series,
    types::{MeterRow, QUARTER, from_numbers, to_numbers},
};
use meter::MinuteRecord;

/// A gap longer than this is not a step of time (see [`Records::write`]).
const STEP: i64 = 600;

/// Where the minute records of a meter stand.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    last: Option<i64>,
    newest: Option<i64>,
}

/// A change of the records, for whoever keeps an index of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordChange {
    /// All gone.
    Cleared(String),
    /// The minutes between were overwritten.
    Removed(String, i64, i64),
    /// One came.
    Added(String, i64),
}

/// What a commit has to know about earlier ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    series: Series,
    marks: BTreeMap<String, Mark>,
}

impl Progress {
    /// As the database has it.
    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            series: Series::load(conn)?,
            marks: BTreeMap::new(),
        })
    }

    /// Writes everything of the batch. `seen`: wall time of this commit.
    pub(super) fn apply(
        &mut self,
        tx: &Connection,
        batch: &Batch,
        seen: f64,
    ) -> rusqlite::Result<Vec<RecordChange>> {
        self.series.write(tx, batch.samples.iter().copied())?;
        for (key, row) in &batch.meters {
            put_meter(tx, key, row, seen)?;
            part::put_open(tx, key, row, seen)?;
        }
        let changes = self.write_records(tx, batch)?;
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
        if let Some(mark) = &batch.imported {
            tx.execute(
                "INSERT OR REPLACE INTO meta(key, value) VALUES('imported', ?1)",
                [mark],
            )?;
        }
        Ok(changes)
    }

    fn write_records(
        &mut self,
        tx: &Connection,
        batch: &Batch,
    ) -> rusqlite::Result<Vec<RecordChange>> {
        let mut changes = Vec::new();
        let keys: BTreeSet<&str> = batch
            .deleted
            .iter()
            .map(String::as_str)
            .chain(batch.records.iter().map(|(key, _)| &**key))
            .collect();
        for key in keys {
            let meter = meter_id(tx, key)?;
            if batch.deleted.contains(key) {
                tx.execute("DELETE FROM records WHERE meter = ?1", [meter])?;
                self.marks.remove(key);
                changes.push(RecordChange::Cleared(key.to_owned()));
            }
            let mark = match self.marks.get(key) {
                Some(mark) => *mark,
                None => {
                    let newest = tx.query_row(
                        "SELECT max(ts) FROM records WHERE meter = ?1",
                        [meter],
                        |r| r.get(0),
                    )?;
                    Mark { last: None, newest }
                }
            };
            let mut records = Records {
                tx,
                meter,
                key,
                mark,
                changes: &mut changes,
            };
            for (_, record) in batch.records.iter().filter(|(k, _)| &**k == key) {
                records.write(record)?;
            }
            let mark = records.mark;
            self.marks.insert(key.to_owned(), mark);
            match batch.parts.get(key) {
                Some(until) => schema::set_meta(tx, &part::mark(key), *until)?,
                None => tx
                    .prepare_cached("DELETE FROM meta WHERE key = ?1")?
                    .execute([part::mark(key)])
                    .map(|_| ())?,
            }
        }
        Ok(changes)
    }
}

struct Records<'a> {
    tx: &'a Connection,
    meter: i64,
    key: &'a str,
    mark: Mark,
    changes: &'a mut Vec<RecordChange>,
}

impl Records<'_> {
    fn write(&mut self, record: &MinuteRecord) -> rusqlite::Result<()> {
        let ts = record.ts;
        let mut from = ts;
        if let Mark {
            last: Some(last),
            newest: Some(newest),
        } = self.mark
            && ts <= newest
            && last < ts
            && ts - last <= STEP
        {
            // Minutes that a wrong clock stamped and time has now run over
            // (`docs/decisions.md#clocks`).
            from = last + 60;
        }
        self.take_back(from, ts)?;
        self.tx
            .prepare_cached("INSERT OR REPLACE INTO records(meter, ts, rec) VALUES(?1, ?2, ?3)")?
            .execute((self.meter, ts, codec::encode(record)))?;
        self.book(record, 1.0)?;
        if from < ts {
            self.changes
                .push(RecordChange::Removed(self.key.to_owned(), from, ts));
        }
        self.changes
            .push(RecordChange::Added(self.key.to_owned(), ts));
        self.mark = Mark {
            last: Some(ts),
            newest: self.mark.newest.max(Some(ts)),
        };
        Ok(())
    }

    /// Deletes the records of `from..=to` and takes their energy out of its quarters.
    fn take_back(&self, from: i64, to: i64) -> rusqlite::Result<()> {
        if self.mark.newest.is_none_or(|newest| newest < from) {
            return Ok(());
        }
        let mut select = self.tx.prepare_cached(
            "SELECT ts, rec FROM records WHERE meter = ?1 AND ts BETWEEN ?2 AND ?3",
        )?;
        let old: Vec<(i64, Vec<u8>)> = select
            .query_map((self.meter, from, to), |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for record in old.iter().filter_map(|(ts, blob)| codec::decode(*ts, blob)) {
            self.book(&record, -1.0)?;
        }
        if from < to && !old.is_empty() {
            self.tx
                .prepare_cached("DELETE FROM records WHERE meter = ?1 AND ts >= ?2 AND ts < ?3")?
                .execute((self.meter, from, to))?;
        }
        Ok(())
    }

    /// Adds a record's energy to its quarter of an hour. What a blob holds is what is booked, so
    /// taking it back leaves nothing.
    fn book(&self, record: &MinuteRecord, sign: f64) -> rusqlite::Result<()> {
        let wh = |v: f64| sign * (v * 10_000.0).round() / 10_000.0;
        let [a, b, c] = record.phases;
        self.tx
            .prepare_cached(
                "INSERT INTO quarters VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(meter, ts) DO UPDATE SET
                 a_import = max(0, a_import + ?3), a_export = max(0, a_export + ?4), b_import = max(0, b_import + ?5),
                 b_export = max(0, b_export + ?6), c_import = max(0, c_import + ?7), c_export = max(0, c_export + ?8)",
            )?
            .execute(params![
                self.meter,
                record.ts - record.ts.rem_euclid(QUARTER),
                wh(a.act_energy),
                wh(a.act_ret_energy),
                wh(b.act_energy),
                wh(b.act_ret_energy),
                wh(c.act_energy),
                wh(c.act_ret_energy)
            ])
            .map(|_| ())
    }
}

pub(super) fn meter_id(tx: &Connection, key: &str) -> rusqlite::Result<i64> {
    let mut select = tx.prepare_cached("SELECT id FROM meters WHERE key = ?1")?;
    if let Some(id) = select.query_row([key], |r| r.get(0)).optional()? {
        return Ok(id);
    }
    tx.execute("INSERT INTO meters(key) VALUES(?1)", [key])?;
    Ok(tx.last_insert_rowid())
}

fn put_meter(tx: &Connection, key: &str, row: &MeterRow, seen: f64) -> rusqlite::Result<()> {
    let id = meter_id(tx, key)?;
    let (e, l) = (to_numbers(&row.energy), to_numbers(&row.lifetime));
    tx.prepare_cached(
        "UPDATE meters SET mac = ?2, seen = ?3, reset_at = ?4, extra = ?5, a_import = ?6, a_export = ?7, b_import = ?8, b_export = ?9,
         c_import = ?10, c_export = ?11, net_import = ?12, net_export = ?13, life_a_import = ?14, life_a_export = ?15, life_b_import = ?16,
         life_b_export = ?17, life_c_import = ?18, life_c_export = ?19, life_net_import = ?20, life_net_export = ?21 WHERE id = ?1",
    )?
    .execute(params![
        id,
        row.mac,
        seen,
        row.reset_at,
        row.extra,
        e[0],
        e[1],
        e[2],
        e[3],
        e[4],
        e[5],
        e[6],
        e[7],
        l[0],
        l[1],
        l[2],
        l[3],
        l[4],
        l[5],
        l[6],
        l[7]
    ])
    .map(|_| ())
}

/// What a database holds of its meters.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub meters: BTreeMap<String, MeterRow>,
    /// When any was last written, Unix s.
    pub seen: f64,
    /// Cells that could not be read, for a person.
    pub unreadable: Vec<String>,
}

/// All meters. A cell that cannot be read is empty, and named: the sidecar may have it.
pub(super) fn load_meters(conn: &Connection) -> rusqlite::Result<Loaded> {
    let mut select = conn.prepare(
        "SELECT key, mac, reset_at, extra, a_import, a_export, b_import, b_export, c_import, c_export, net_import, net_export,
         life_a_import, life_a_export, life_b_import, life_b_export, life_c_import, life_c_export, life_net_import, life_net_export, seen FROM meters",
    )?;
    let names: Vec<String> = select.column_names().map(ToOwned::to_owned).collect();
    let (mut meters, mut last, mut unreadable) = (BTreeMap::new(), 0.0, Vec::new());
    let mut reserves = part::reserves(conn)?;
    let mut rows = select.query([])?;
    while let Some(r) = rows.next()? {
        let Ok(key) = r.get::<_, String>(0) else {
            unreadable.push("the name of a meter".into());
            continue;
        };
        let mut bad = |i: usize| {
            let name = names.get(i).map_or("", String::as_str);
            unreadable.push(if key.is_empty() {
                name.to_owned()
            } else {
                format!("{name} of {key}")
            });
        };
        let mut numbers = [0.0; 17];
        for (i, n) in numbers.iter_mut().enumerate() {
            match r.get::<_, f64>(4 + i) {
                Ok(value) if value.is_finite() && value >= 0.0 => *n = value,
                _ => bad(4 + i),
            }
        }
        let reset_at = r.get(2).ok().filter(|at: &f64| at.is_finite());
        let mac = r
            .get(1)
            .ok()
            .filter(|mac: &String| mac.is_empty() || is_mac(mac));
        let extra = r
            .get(3)
            .ok()
            .filter(|extra: &String| extra.is_empty() || is_json(extra));
        [mac.is_none(), reset_at.is_none(), extra.is_none()]
            .into_iter()
            .zip(1..)
            .filter(|(is, _)| *is)
            .for_each(|(_, i)| bad(i));
        let row = MeterRow {
            mac: mac.unwrap_or_default(),
            energy: from_numbers(std::array::from_fn(|i| numbers[i])),
            reserve: reserves.remove(&key).unwrap_or_default(),
            lifetime: from_numbers(std::array::from_fn(|i| numbers[8 + i])),
            reset_at: reset_at.unwrap_or_default(),
            extra: extra.unwrap_or_default(),
            ..MeterRow::default()
        };
        last = numbers[16].max(last);
        meters.insert(key, row);
    }
    Ok(Loaded {
        meters,
        seen: last,
        unreadable,
    })
}

/// 12 capitals of an address that a device may have.
fn is_mac(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    text.len() == 12 && text.bytes().all(hex) && text != "000000000000" && text != "FFFFFFFFFFFF"
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// The whole key-value table but what is no JSON: the keys of that are the second.
pub(super) fn load_state(
    conn: &Connection,
) -> rusqlite::Result<(BTreeMap<String, String>, Vec<String>)> {
    let (mut state, mut unreadable) = (BTreeMap::new(), Vec::new());
    let mut select = conn.prepare("SELECT key, json FROM state")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(key) = row.get::<_, String>(0) else {
            continue;
        };
        match row.get::<_, String>(1) {
            Ok(json) if is_json(&json) => _ = state.insert(key, json),
            _ => unreadable.push(key),
        }
    }
    Ok((state, unreadable))
}
