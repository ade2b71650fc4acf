//! Reading: each query on a read-only connection of its own, as of the last commit. Samples, events
//! and prices that wait for the next one are added.
//!
//! During a backup the file does not change: it is then read as immutable, which makes neither log
//! nor lock files. Rows of the future, left by a wrong clock, are hidden.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    Store, codec,
    lock::lock,
    schema,
    shared::Shared,
    types::{Bar, Model, StoreError},
};
use meter::{
    MinuteRecord,
    records::{Block, Records, RecordsError},
};

/// Means between two times.
const MINUTES: &str = "SELECT ts, w, mn, mx, n FROM m1 WHERE ts BETWEEN ?1 AND ?2 ORDER BY ts";

impl Shared {
    pub(super) fn query<T: Default>(
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

    pub(super) fn now_s(&self) -> i64 {
        self.clock.now().unix_s()
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

    /// Buffered records of a meter up to now: all there are while there is no database.
    pub(super) fn waiting_records(&self, key: &str) -> BTreeMap<i64, MinuteRecord> {
        let now = self.now_s();
        let buffer = lock(&self.buffer);
        let records = buffer.batches().flat_map(|b| &b.records);
        records
            .filter(|(of, record)| **of == *key && record.ts <= now)
            .map(|(_, record)| (record.ts, *record))
            .collect()
    }

    /// Counts the rows of the three large tables for the health page. That looks at each of their
    /// pages, and so finds one that is damaged.
    pub(super) fn count(&self) {
        let sql = "SELECT (SELECT count(*) FROM s2) + (SELECT count(*) FROM m1) + (SELECT count(*) FROM records)";
        if let Ok(rows) = self.query(|conn| conn.query_row(sql, [], |r| r.get::<_, i64>(0))) {
            self.change_health(|health| health.rows = rows.unsigned_abs());
        }
    }

    /// The mark that [`super::import`] left.
    pub(super) fn imported(&self) -> Result<Option<String>, StoreError> {
        self.query(|conn| {
            let sql = "SELECT value FROM meta WHERE key = 'imported'";
            conn.query_row(sql, [], |r| r.get(0)).optional()
        })
    }
}

impl Store {
    /// The minute records of a meter, for its device: as of the last commit.
    #[must_use]
    pub fn records(&self, meter: &str) -> MeterRecords {
        MeterRecords {
            shared: Arc::clone(&self.0.shared),
            key: meter.into(),
        }
    }

    /// Chart of the house total between two times (Unix s), at most about `max_points` bars of
    /// equal width: from raw samples where those are finer and still kept, else from minute means.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn power(&self, from: i64, to: i64, max_points: usize) -> Result<Vec<Bar>, StoreError> {
        let now = self.0.shared.now_s();
        let raw_from = now - i64::from(self.0.raw_days) * 86_400;
        let points = i64::try_from(max_points).unwrap_or(i64::MAX).max(1);
        let width = to.saturating_sub(from).max(1);
        let step = width / points + i64::from(width % points != 0);
        let to = to.min(now);
        let samples = if step < 60 && from >= raw_from {
            self.samples(from, to)?
        } else {
            Vec::new()
        };
        // What was taken over from elsewhere may have minutes only.
        if !samples.is_empty() {
            let mut bars = Bars::new(step);
            let samples = samples.into_iter().map(|(ts, w)| Bar::of(ts, w));
            samples.for_each(|one| bars.push(one));
            return Ok(bars.finish());
        }
        let mut bars = Bars::new((step + 59) / 60 * 60);
        let mut pending = self.0.shared.pending_samples(from, to);
        let mut reached = i64::MIN;
        self.0.shared.query(|conn| {
            let mut select = conn.prepare_cached(MINUTES)?;
            let mut rows = select.query([from.saturating_sub(59), to])?;
            while let Some(row) = rows.next()? {
                let minute = minute(row)?;
                reached = minute.ts + 60;
                bars.push(minute);
            }
            Ok(())
        })?;
        // What waits belongs to the last minute, which has it in it, and those that follow.
        for (ts, w) in pending.split_off(&reached) {
            bars.push(Bar::of(ts, w));
        }
        Ok(bars.finish())
    }

    /// Raw samples (Unix s, W) between two times, oldest first, what is buffered included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn samples(&self, from: i64, to: i64) -> Result<Vec<(i64, f64)>, StoreError> {
        let to = to.min(self.0.shared.now_s());
        let pending = self.0.shared.pending_samples(from, to);
        let mut rows = self.kept_samples(from, to)?;
        if let Some(&first) = pending.keys().next() {
            let later = rows.split_off(rows.partition_point(|&(ts, _)| ts < first));
            let mut merged: BTreeMap<i64, f64> = later.into_iter().collect();
            merged.extend(pending);
            rows.extend(merged);
        }
        Ok(rows)
    }

    /// As [`Self::samples`], as of the last commit: it waits for no lock that those who write hold.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn kept_samples(&self, from: i64, to: i64) -> Result<Vec<(i64, f64)>, StoreError> {
        let to = to.min(self.0.shared.now_s());
        self.0.shared.query(|conn| {
            let mut select =
                conn.prepare_cached("SELECT ts, w FROM s2 WHERE ts BETWEEN ?1 AND ?2 ORDER BY ts")?;
            select
                .query_map([from, to], |r| Ok((r.get(0)?, watts(r.get(1)?))))?
                .collect()
        })
    }

    /// How many raw samples are kept, as of the last commit.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sample_count(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM s2";
        let count = |conn: &Connection| conn.query_row(sql, [], |r| r.get::<_, i64>(0));
        Ok(self.0.shared.query(count)?.unsigned_abs())
    }

    /// Minute means between two times, oldest first, as of the last commit.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn minutes(&self, from: i64, to: i64) -> Result<Vec<Bar>, StoreError> {
        let to = to.min(self.0.shared.now_s());
        self.0.shared.query(|conn| {
            let mut select = conn.prepare_cached(MINUTES)?;
            select.query_map([from, to], minute)?.collect()
        })
    }

    /// A model by name, as of the last commit.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn get_model(&self, name: &str) -> Result<Option<Model>, StoreError> {
        self.0.shared.query(|conn| {
            let model = |r: &Row<'_>| {
                let (meta, blob) = (r.get(0)?, r.get(1)?);
                Ok(Model { meta, blob })
            };
            let sql = "SELECT meta, blob FROM models WHERE name = ?1";
            conn.query_row(sql, [name], model).optional()
        })
    }
}

fn watts(deci: i64) -> f64 {
    deci as f64 / 10.0
}

fn minute(row: &Row<'_>) -> rusqlite::Result<Bar> {
    Ok(Bar {
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
    /// With the sum of their samples in place of the mean.
    all: Vec<Bar>,
}

impl Bars {
    fn new(step: i64) -> Self {
        Self {
            step: step.max(1),
            all: Vec::new(),
        }
    }

    fn push(&mut self, row: Bar) {
        let row = Bar {
            ts: row.ts - row.ts.rem_euclid(self.step),
            w: row.w * f64::from(row.n),
            ..row
        };
        match self.all.last_mut() {
            Some(bar) if bar.ts == row.ts => bar.add(row),
            _ => self.all.push(row),
        }
    }

    fn finish(mut self) -> Vec<Bar> {
        for bar in &mut self.all {
            bar.w /= f64::from(bar.n.max(1));
        }
        self.all
    }
}

/// The minute records of one meter, as the device asks for them.
#[derive(Clone)]
pub struct MeterRecords {
    shared: Arc<Shared>,
    key: Arc<str>,
}

impl std::fmt::Debug for MeterRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MeterRecords").field(&self.key).finish()
    }
}

/// No reader is told of a minute that a power cut may still take.
impl Records for MeterRecords {
    fn blocks(&self, from: i64) -> Result<Vec<Block>, RecordsError> {
        let (first, now) = (from.saturating_sub(59), self.shared.now_s());
        let mut blocks: Vec<Block> = Vec::new();
        let mut add = |ts: i64| match blocks.last_mut() {
            Some(block) if block.ts + 60 * i64::from(block.records) == ts => block.records += 1,
            _ => blocks.push(Block { ts, records: 1 }),
        };
        if self.shared.in_memory() {
            let waiting = self.shared.waiting_records(&self.key).into_keys();
            waiting.filter(|ts| *ts >= first).for_each(add);
        } else {
            let sql = "SELECT ts FROM records WHERE meter = (SELECT id FROM meters WHERE key = ?1) AND ts BETWEEN ?2 AND ?3 ORDER BY ts";
            let all = self.shared.query(|conn| {
                let mut select = conn.prepare_cached(sql)?;
                let mut rows = select.query((&*self.key, first, now))?;
                while let Some(row) = rows.next()? {
                    add(row.get(0)?);
                }
                Ok(())
            });
            all.map_err(records_error)?;
        }
        Ok(blocks)
    }

    fn read(&self, from: i64, end: i64, limit: usize) -> Result<Vec<MinuteRecord>, RecordsError> {
        let (first, end) = (from.saturating_sub(59), end.min(self.shared.now_s()));
        if self.shared.in_memory() {
            let waiting = self.shared.waiting_records(&self.key).into_values();
            let asked = waiting.filter(|record| (first..=end).contains(&record.ts));
            return Ok(asked.take(limit).collect());
        }
        let rows = self.shared.query(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT ts, rec FROM records WHERE meter = (SELECT id FROM meters WHERE key = ?1) AND ts BETWEEN ?2 AND ?3 ORDER BY ts LIMIT ?4",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let record = |r: &Row<'_>| Ok(codec::decode(r.get(0)?, r.get_ref(1)?.as_blob().unwrap_or(&[])));
            let rows = select.query_map((&*self.key, first, end, limit), record)?;
            rows.filter_map(Result::transpose).collect()
        });
        rows.map_err(records_error)
    }
}

fn records_error(error: StoreError) -> RecordsError {
    RecordsError(error.0)
}
