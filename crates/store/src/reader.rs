//! Reading: each query on a read-only connection of its own, with what is still buffered added.
//!
//! During a backup the file does not change: it is then read as immutable, which makes neither log
//! nor lock files. Rows of the future, left by a wrong clock, are hidden.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use rusqlite::{Connection, InterruptHandle, OptionalExtension, Row};

use super::{
    blocks::Blocks,
    codec, schema,
    schema::DatabasePlace,
    shared::{Shared, lock},
    types::{Bar, EnergySpan, Minute, Model, QUARTER, StoreError},
};
use meter::{
    Counter, MinuteRecord,
    records::{Block, Records, RecordsError},
};

/// Connections that wait for the next question.
const IDLE: usize = 2;

#[derive(Debug)]
pub(super) struct Gate {
    /// `None`: closed.
    pub place: Option<DatabasePlace>,
    /// Frozen.
    pub immutable: bool,
}

/// The readers' connections. The gate is shut while the file is being moved or closed.
pub(super) struct Readers {
    gate: RwLock<Gate>,
    idle: Mutex<Vec<Connection>>,
    /// A long check that a closing store need not wait for.
    check: Mutex<Option<InterruptHandle>>,
}

impl Readers {
    pub(super) fn new(place: DatabasePlace) -> Self {
        Self {
            gate: RwLock::new(Gate {
                place: Some(place),
                immutable: false,
            }),
            idle: Mutex::default(),
            check: Mutex::default(),
        }
    }

    /// A query on an idle or new connection; SQLite's own error is inside.
    pub(super) fn try_read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<rusqlite::Result<T>, StoreError> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let place = gate
            .place
            .as_ref()
            .ok_or_else(|| StoreError("the store is closed".into()))?;
        let idle = lock(&self.idle).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => match schema::open_reader(place, gate.immutable) {
                Ok(conn) => conn,
                Err(error) => return Ok(Err(error)),
            },
        };
        let answer = query(&conn);
        let mut idle = lock(&self.idle);
        if answer.is_ok() && idle.len() < IDLE {
            idle.push(conn);
        }
        Ok(answer)
    }

    /// A check that [`Self::shut`] may break off.
    pub(super) fn check<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<rusqlite::Result<T>, StoreError> {
        let answer = self.try_read(|conn| {
            *lock(&self.check) = Some(conn.get_interrupt_handle());
            query(conn)
        });
        *lock(&self.check) = None;
        answer
    }

    /// Waits for the running queries, closes all connections and, while nobody reads, does
    /// `change`.
    pub(super) fn shut<T>(&self, change: impl FnOnce(&mut Gate) -> T) -> T {
        if let Some(check) = &*lock(&self.check) {
            check.interrupt();
        }
        let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        lock(&self.idle).clear();
        change(&mut gate)
    }
}

impl Shared {
    fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.readers.try_read(query)?.map_err(|error| {
            if schema::is_damage(&error) {
                self.suspect();
            }
            error.into()
        })
    }

    fn now_s(&self) -> i64 {
        self.clock.now().unix_s()
    }

    /// As long as this is held, nothing moves from the buffer into the database. Not twice in one
    /// reader.
    fn still(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buffered samples of a range, oldest first, W.
    fn pending_samples(&self, from: i64, to: i64) -> BTreeMap<i64, f64> {
        let buffer = lock(&self.buffer);
        buffer
            .batches()
            .flat_map(|b| &b.samples)
            .filter(|(ts, _)| (from..=to).contains(ts))
            .map(|&(ts, w)| (ts, watts(w)))
            .collect()
    }

    /// Buffered records of a meter, and whether those in the database are about to be deleted.
    fn pending_records(&self, key: &str) -> (bool, BTreeMap<i64, MinuteRecord>) {
        let (mut cleared, mut records) = (false, BTreeMap::new());
        for batch in lock(&self.buffer).batches() {
            if batch.deleted.contains(key) {
                cleared = true;
                records.clear();
            }
            records.extend(
                batch
                    .records
                    .iter()
                    .filter(|(k, _)| &**k == key)
                    .map(|(_, r)| (r.ts, *r)),
            );
        }
        (cleared, records)
    }

    pub(super) fn kept_samples(&self, from: i64, to: i64) -> Result<Vec<(i64, f64)>, StoreError> {
        let to = to.min(self.now_s());
        self.query(|conn| {
            let mut select =
                conn.prepare_cached("SELECT ts, w FROM s2 WHERE ts BETWEEN ?1 AND ?2 ORDER BY ts")?;
            select
                .query_map([from, to], |r| Ok((r.get(0)?, watts(r.get(1)?))))?
                .collect()
        })
    }

    pub(super) fn samples(&self, from: i64, to: i64) -> Result<Vec<(i64, f64)>, StoreError> {
        let to = to.min(self.now_s());
        let pending = self.pending_samples(from, to);
        let mut rows = self.kept_samples(from, to)?;
        if let Some(&first) = pending.keys().next() {
            let later = rows.split_off(rows.partition_point(|&(ts, _)| ts < first));
            let mut merged: BTreeMap<i64, f64> = later.into_iter().collect();
            merged.extend(pending);
            rows.extend(merged);
        }
        Ok(rows)
    }

    pub(super) fn minutes(&self, from: i64, to: i64) -> Result<Vec<Minute>, StoreError> {
        let to = to.min(self.now_s());
        self.query(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT ts, w, mn, mx, n FROM m1 WHERE ts BETWEEN ?1 AND ?2 ORDER BY ts",
            )?;
            select.query_map([from, to], minute)?.collect()
        })
    }

    pub(super) fn power(
        &self,
        from: i64,
        to: i64,
        max_points: usize,
        raw_from: i64,
    ) -> Result<Vec<Bar>, StoreError> {
        let points = i64::try_from(max_points).unwrap_or(i64::MAX).max(1);
        let width = to.saturating_sub(from).max(1);
        let step = width / points + i64::from(width % points != 0);
        let to = to.min(self.now_s());
        if step < 60 && from >= raw_from {
            let mut bars = Bars::new(step);
            self.samples(from, to)?.into_iter().for_each(|(ts, w)| {
                bars.push(Minute {
                    ts,
                    w,
                    mn: w,
                    mx: w,
                    n: 1,
                });
            });
            return Ok(bars.finish());
        }
        let mut bars = Bars::new((step + 59) / 60 * 60);
        let _still = self.still();
        // What is buffered belongs to the last minutes; after a clock that went back, to any.
        let mut pending = self.pending_samples(from, to).into_iter().peekable();
        self.query(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT ts, w, mn, mx, n FROM m1 WHERE ts > ?1 - 60 AND ts <= ?2 ORDER BY ts",
            )?;
            let mut rows = select.query([from, to])?;
            while let Some(row) = rows.next()? {
                let minute = minute(row)?;
                while let Some((ts, w)) = pending.next_if(|(ts, _)| *ts < minute.ts) {
                    bars.push(Minute {
                        ts,
                        w,
                        mn: w,
                        mx: w,
                        n: 1,
                    });
                }
                bars.push(minute);
            }
            Ok(())
        })?;
        pending.for_each(|(ts, w)| {
            bars.push(Minute {
                ts,
                w,
                mn: w,
                mx: w,
                n: 1,
            });
        });
        Ok(bars.finish())
    }

    pub(super) fn energy_between(
        &self,
        key: &str,
        borders: &[i64],
    ) -> Result<Vec<EnergySpan>, StoreError> {
        let (now, _still) = (self.now_s(), self.still());
        let (cleared, mut pending) = self.pending_records(key);
        pending.retain(|ts, _| *ts <= now);
        // A minute that is recorded anew is still in its quarter.
        let replaced = if cleared {
            Vec::new()
        } else {
            self.stored_under(key, &pending)?
        };
        let changes: Vec<(&MinuteRecord, f64)> = replaced
            .iter()
            .map(|record| (record, -1.0))
            .chain(pending.values().map(|record| (record, 1.0)))
            .collect();
        let mut spans: Vec<EnergySpan> = self.query(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT sum(a_import), sum(a_export), sum(b_import), sum(b_export), sum(c_import), sum(c_export) FROM quarters
                 WHERE meter = (SELECT id FROM meters WHERE key = ?1) AND ts >= ?2 AND ts < ?3 AND ts <= ?4",
            )?;
            let sums = |r: &Row<'_>| {
                if r.get::<_, Option<f64>>(0)?.is_none() {
                    return Ok(None);
                }
                let counter = |i: usize| Ok::<_, rusqlite::Error>(Counter { import: r.get(i)?, export: r.get(i + 1)? });
                Ok(Some([counter(0)?, counter(2)?, counter(4)?]))
            };
            let span =
                |pair: &[i64]| Ok(EnergySpan { from: pair[0], to: pair[1], phases: select.query_row((key, pair[0], pair[1], now), sums)? });
            borders.windows(2).map(span).collect()
        })?;
        for span in &mut spans {
            for (record, sign) in changes
                .iter()
                .filter(|(r, _)| (span.from..span.to).contains(&(r.ts - r.ts.rem_euclid(QUARTER))))
            {
                let phases = span.phases.get_or_insert_default();
                for (sum, phase) in phases.iter_mut().zip(record.phases) {
                    sum.import += sign * phase.act_energy;
                    sum.export += sign * phase.act_ret_energy;
                }
            }
        }
        Ok(spans)
    }

    /// The records in the database that `pending` is going to replace.
    fn stored_under(
        &self,
        key: &str,
        pending: &BTreeMap<i64, MinuteRecord>,
    ) -> Result<Vec<MinuteRecord>, StoreError> {
        let (Some((first, _)), Some((last, _))) =
            (pending.first_key_value(), pending.last_key_value())
        else {
            return Ok(Vec::new());
        };
        self.query(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT ts, rec FROM records WHERE meter = (SELECT id FROM meters WHERE key = ?1) AND ts BETWEEN ?2 AND ?3",
            )?;
            let rows = select.query_map((key, first, last), |r| {
                let ts = r.get(0)?;
                Ok(pending.contains_key(&ts).then(|| codec::decode(ts, r.get_ref(1).ok()?.as_blob().ok()?)).flatten())
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    pub(super) fn model(&self, name: &str) -> Result<Option<Model>, StoreError> {
        let pending = lock(&self.buffer)
            .batches()
            .filter_map(|b| b.models.get(name))
            .last()
            .cloned();
        if pending.is_some() {
            return Ok(pending);
        }
        self.query(|conn| {
            conn.query_row(
                "SELECT meta, blob FROM models WHERE name = ?1",
                [name],
                |r| {
                    Ok(Model {
                        meta: r.get(0)?,
                        blob: r.get(1)?,
                    })
                },
            )
            .optional()
        })
    }

    pub(super) fn sample_count(&self) -> Result<u64, StoreError> {
        let _still = self.still();
        let pending: u64 = lock(&self.buffer)
            .batches()
            .map(|b| b.samples.len() as u64)
            .sum();
        let rows: i64 =
            self.query(|conn| conn.query_row("SELECT count(*) FROM s2", [], |r| r.get(0)))?;
        Ok(rows.unsigned_abs() + pending)
    }

    /// Rows of the three large tables.
    pub(super) fn count_rows(&self) -> Result<u64, StoreError> {
        let sql = "SELECT (SELECT count(*) FROM s2) + (SELECT count(*) FROM m1) + (SELECT count(*) FROM records)";
        let rows: i64 = self.query(|conn| conn.query_row(sql, [], |r| r.get(0)))?;
        Ok(rows.unsigned_abs())
    }

    /// The mark that [`super::import`] left.
    pub(super) fn imported(&self) -> Result<Option<String>, StoreError> {
        self.query(|conn| {
            conn.query_row("SELECT value FROM meta WHERE key = 'imported'", [], |r| {
                r.get(0)
            })
            .optional()
        })
    }

    fn stored_blocks(&self, key: &str) -> Result<Blocks, StoreError> {
        let mut all = lock(&self.blocks);
        if let Some(blocks) = all.get(key) {
            return Ok(blocks.clone());
        }
        let mut blocks = Blocks::default();
        self.query(|conn| {
            let mut select = conn.prepare("SELECT ts FROM records WHERE meter = (SELECT id FROM meters WHERE key = ?1) ORDER BY ts")?;
            let mut rows = select.query([key])?;
            while let Some(row) = rows.next()? {
                blocks.insert(row.get(0)?);
            }
            Ok(())
        })?;
        all.insert(key.to_owned(), blocks.clone());
        Ok(blocks)
    }
}

fn watts(deci: i64) -> f64 {
    deci as f64 / 10.0
}

fn minute(row: &Row<'_>) -> rusqlite::Result<Minute> {
    Ok(Minute {
        ts: row.get(0)?,
        w: watts(row.get(1)?),
        mn: watts(row.get(2)?),
        mx: watts(row.get(3)?),
        n: row.get(4)?,
    })
}

/// Adds rows, oldest first, up to bars of equal width.
struct Bars {
    step: i64,
    done: Vec<Bar>,
    open: Option<(Bar, f64, u64)>,
}

impl Bars {
    fn new(step: i64) -> Self {
        Self {
            step: step.max(1),
            done: Vec::new(),
            open: None,
        }
    }

    fn push(&mut self, row: Minute) {
        let ts = row.ts - row.ts.rem_euclid(self.step);
        let (sum, n) = (row.w * f64::from(row.n), u64::from(row.n));
        match &mut self.open {
            Some((bar, total, count)) if bar.ts == ts => {
                *total += sum;
                *count += n;
                bar.mn = bar.mn.min(row.mn);
                bar.mx = bar.mx.max(row.mx);
            }
            _ => {
                self.close();
                self.open = Some((
                    Bar {
                        ts,
                        w: 0.0,
                        mn: row.mn,
                        mx: row.mx,
                    },
                    sum,
                    n,
                ));
            }
        }
    }

    fn close(&mut self) {
        if let Some((bar, total, count)) = self.open.take() {
            self.done.push(Bar {
                w: total / count.max(1) as f64,
                ..bar
            });
        }
    }

    fn finish(mut self) -> Vec<Bar> {
        self.close();
        self.done
    }
}

/// The minute records of one meter, as the device asks for them.
#[derive(Clone)]
pub struct MeterRecords {
    shared: Arc<Shared>,
    key: Arc<str>,
}

impl MeterRecords {
    pub(super) fn new(shared: Arc<Shared>, key: &str) -> Self {
        Self {
            shared,
            key: key.into(),
        }
    }

    /// As [`Shared::pending_records`], without those that are about to be committed: no reader is
    /// told of a minute that a power cut may still take. The dashboard's charts are drawn anew
    /// anyway.
    fn pending(&self) -> (bool, BTreeMap<i64, MinuteRecord>) {
        let (cleared, mut records) = self.shared.pending_records(&self.key);
        if self.shared.commits_minutes() {
            records.clear();
        }
        (cleared, records)
    }
}

impl std::fmt::Debug for MeterRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MeterRecords").field(&self.key).finish()
    }
}

impl Records for MeterRecords {
    fn blocks(&self, from: i64) -> Result<Vec<Block>, RecordsError> {
        let (cleared, pending) = self.pending();
        let mut blocks = if cleared {
            Blocks::default()
        } else {
            self.shared
                .stored_blocks(&self.key)
                .map_err(records_error)?
        };
        pending.keys().for_each(|&ts| blocks.insert(ts));
        Ok(blocks.between(from, self.shared.now_s()))
    }

    fn read(&self, from: i64, end: i64, limit: usize) -> Result<Vec<MinuteRecord>, RecordsError> {
        let end = end.min(self.shared.now_s());
        let first = from.saturating_sub(59);
        let (cleared, mut pending) = self.pending();
        pending.retain(|ts, _| (first..=end).contains(ts));
        let mut records = Vec::new();
        if !cleared {
            let rows = self.shared.query(|conn| {
                let mut select = conn.prepare_cached(
                    "SELECT ts, rec FROM records WHERE meter = (SELECT id FROM meters WHERE key = ?1) AND ts BETWEEN ?2 AND ?3 ORDER BY ts LIMIT ?4",
                )?;
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let rows = select.query_map((&*self.key, first, end, limit), |r| Ok(codec::decode(r.get(0)?, r.get_ref(1)?.as_blob().unwrap_or(&[]))))?;
                rows.collect::<rusqlite::Result<Vec<Option<MinuteRecord>>>>()
            });
            records.extend(rows.map_err(records_error)?.into_iter().flatten());
        }
        if !pending.is_empty() {
            let mut merged: BTreeMap<i64, MinuteRecord> =
                records.into_iter().map(|r| (r.ts, r)).collect();
            merged.extend(pending);
            records = merged.into_values().take(limit).collect();
        }
        Ok(records)
    }
}

fn records_error(error: StoreError) -> RecordsError {
    RecordsError(error.0)
}
