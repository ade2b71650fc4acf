//! What waits for the next transaction. Bounded: raw samples go first, counters never.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::types::{Event, MeterRow, Model, Price};
use meter::MinuteRecord;

/// About a day of samples at 2 s: 0.7 MB.
const MAX_SAMPLES: usize = 43_200;
/// About two days of records of one meter: 1 MB.
const MAX_RECORDS: usize = 3_000;
/// Events, each some hundred bytes.
const MAX_EVENTS: usize = 1_000;
/// A month of a price an hour.
const MAX_PRICES: usize = 750;

/// Rows of one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Batch {
    /// `ts`, 0.1 W; in the order they came.
    pub samples: VecDeque<(i64, i64)>,
    /// Meter key and record.
    pub records: VecDeque<(Arc<str>, MinuteRecord)>,
    /// Meters whose older records are deleted before `records` are added.
    pub deleted: BTreeSet<String>,
    /// Newest row a meter.
    pub meters: BTreeMap<String, MeterRow>,
    /// Newest text a key.
    pub state: BTreeMap<String, String>,
    /// Newest model a name.
    pub models: BTreeMap<String, Model>,
    /// Newest state of an event, by its number.
    pub events: BTreeMap<i64, Event>,
    /// Prices by the time from which they hold, Unix s.
    pub prices: BTreeMap<i64, Price>,
    /// Mark of the original's file that this transaction's counters hold.
    pub imported: Option<String>,
}

impl Batch {
    /// Nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Records of this meter are gone, those that wait too.
    pub(super) fn delete_records(&mut self, meter: &str) {
        self.records.retain(|(key, _)| &**key != meter);
        self.deleted.insert(meter.to_owned());
    }

    /// Puts `later` behind itself: what is newer wins.
    fn append(&mut self, later: Self) {
        for meter in &later.deleted {
            self.delete_records(meter);
        }
        self.samples.extend(later.samples);
        self.records.extend(later.records);
        self.meters.extend(later.meters);
        self.state.extend(later.state);
        self.models.extend(later.models);
        self.events.extend(later.events);
        self.prices.extend(later.prices);
        self.imported = later.imported.or(self.imported.take());
    }

    /// Holds the bounds; how many rows were given up.
    fn bound(&mut self) -> u64 {
        let samples = self.samples.len().saturating_sub(MAX_SAMPLES);
        self.samples.drain(..samples);
        let records = self.records.len().saturating_sub(MAX_RECORDS);
        self.records.drain(..records);
        let more = shorten(&mut self.events, MAX_EVENTS) + shorten(&mut self.prices, MAX_PRICES);
        (samples + records + more) as u64
    }
}

/// Leaves so many of the last rows; how many were given up.
fn shorten<V>(rows: &mut BTreeMap<i64, V>, most: usize) -> usize {
    let before = rows.len();
    while rows.len() > most {
        rows.pop_first();
    }
    before - rows.len()
}

/// What waits, and what the writer is committing right now: readers look at both.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pending: Batch,
    inflight: Option<Arc<Batch>>,
    /// Rows given up so far.
    pub dropped: u64,
}

impl Buffer {
    /// Changes what waits, within the bounds.
    pub(super) fn add(&mut self, change: impl FnOnce(&mut Batch)) {
        change(&mut self.pending);
        self.dropped += self.pending.bound();
    }

    /// Oldest first.
    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        let inflight = self.inflight.as_deref().into_iter();
        inflight.chain([&self.pending])
    }

    /// Hands out what waits; it stays visible until [`Self::done`] or [`Self::failed`].
    pub(super) fn take(&mut self) -> Arc<Batch> {
        let batch = Arc::new(std::mem::take(&mut self.pending));
        self.inflight = Some(Arc::clone(&batch));
        batch
    }

    /// The batch is in the database.
    pub(super) fn done(&mut self) {
        self.inflight = None;
    }

    /// The batch is not in the database: it waits again.
    pub(super) fn failed(&mut self) {
        if let Some(batch) = self.inflight.take() {
            let mut all = Arc::unwrap_or_clone(batch);
            all.append(std::mem::take(&mut self.pending));
            self.pending = all;
            self.dropped += self.pending.bound();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_batch_comes_back_in_front_and_newer_values_win() {
        let mut buffer = Buffer::default();
        buffer.add(|b| {
            b.samples.push_back((1, 10));
            b.records.push_back(("".into(), MinuteRecord::default()));
            b.state.insert("k".into(), "old".into());
        });
        buffer.take();
        buffer.add(|b| {
            b.samples.push_back((2, 20));
            b.state.insert("k".into(), "new".into());
            b.delete_records("");
        });
        assert_eq!(buffer.batches().count(), 2);
        buffer.failed();
        let batch = buffer.take();
        assert_eq!(batch.samples, [(1, 10), (2, 20)]);
        assert!(batch.records.is_empty() && batch.deleted.contains(""));
        assert_eq!(batch.state["k"], "new");
        buffer.done();
        assert!(buffer.batches().all(Batch::is_empty));
    }

    #[test]
    fn oldest_samples_go_first_and_counters_stay() {
        let mut buffer = Buffer::default();
        buffer.add(|b| {
            b.meters.insert(String::new(), MeterRow::default());
        });
        for ts in 0..(MAX_SAMPLES as i64 + 5) {
            buffer.add(|b| b.samples.push_back((ts, 0)));
        }
        assert_eq!(buffer.dropped, 5);
        let batch = buffer.take();
        assert_eq!((batch.samples[0].0, batch.meters.len()), (5, 1));
    }
}
