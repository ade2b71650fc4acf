//! What waits for the next transaction. Bounded: raw samples go first, counters never.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::types::{MeterRow, Model};
use meter::MinuteRecord;

/// About a day of samples at 2 s: 0.7 MB.
const MAX_SAMPLES: usize = 43_200;
/// About two days of records of one meter: 1 MB.
const MAX_RECORDS: usize = 3_000;

/// Rows of one transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// `ts`, 0.1 W; in the order they came.
    pub samples: VecDeque<(i64, i64)>,
    /// Meter key and record.
    pub records: VecDeque<(Arc<str>, MinuteRecord)>,
    /// Meters whose newest record is [`super::part`] of its minute: how far it reaches, Unix s.
    pub parts: BTreeMap<String, i64>,
    /// Meters whose older records are deleted before `records` are added.
    pub deleted: BTreeSet<String>,
    /// Newest row a meter.
    pub meters: BTreeMap<String, MeterRow>,
    /// Newest text a key.
    pub state: BTreeMap<String, String>,
    /// Newest model a name.
    pub models: BTreeMap<String, Model>,
    /// Mark of the original's file that this transaction's counters hold.
    pub imported: Option<String>,
}

impl Batch {
    /// Nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
            && self.records.is_empty()
            && self.deleted.is_empty()
            && self.meters.is_empty()
            && self.state.is_empty()
            && self.models.is_empty()
            && self.imported.is_none()
    }

    /// A record, and how far into its minute it reaches if that is not over.
    pub(super) fn put_record(&mut self, meter: &str, record: MinuteRecord, until: Option<i64>) {
        self.records.push_back((meter.into(), record));
        match until {
            Some(until) => self.parts.insert(meter.to_owned(), until),
            None => self.parts.remove(meter),
        };
    }

    /// Records of this meter are gone, those that wait too.
    pub(super) fn delete_records(&mut self, meter: &str) {
        self.records.retain(|(key, _)| &**key != meter);
        self.parts.remove(meter);
        self.deleted.insert(meter.to_owned());
    }

    /// Puts `later` behind itself: what is newer wins.
    fn append(&mut self, later: Self) {
        for meter in &later.deleted {
            self.delete_records(meter);
        }
        self.samples.extend(later.samples);
        self.parts
            .retain(|meter, _| !later.records.iter().any(|(key, _)| **key == **meter));
        self.records.extend(later.records);
        self.parts.extend(later.parts);
        self.meters.extend(later.meters);
        self.state.extend(later.state);
        self.models.extend(later.models);
        self.imported = later.imported.or(self.imported.take());
    }

    /// Holds the bounds; how many rows were given up.
    fn bound(&mut self) -> u64 {
        let samples = self.samples.len().saturating_sub(MAX_SAMPLES);
        self.samples.drain(..samples);
        let records = self.records.len().saturating_sub(MAX_RECORDS);
        self.records.drain(..records);
        (samples + records) as u64
    }
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
        self.inflight
            .as_deref()
            .into_iter()
            .chain(std::iter::once(&self.pending))
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
    fn a_part_is_marked_until_the_next_record() {
        let mut buffer = Buffer::default();
        let minute = |ts| MinuteRecord {
            ts,
            ..MinuteRecord::default()
        };
        buffer.add(|b| b.put_record("a", minute(0), Some(20)));
        buffer.add(|b| b.put_record("b", minute(0), Some(20)));
        buffer.take();
        buffer.add(|b| b.put_record("a", minute(0), None));
        buffer.failed();
        assert_eq!(buffer.take().parts, BTreeMap::from([("b".into(), 20)]));
        buffer.add(|b| b.put_record("a", minute(60), Some(70)));
        buffer.failed();
        assert_eq!(
            buffer.take().parts,
            BTreeMap::from([("a".into(), 70), ("b".into(), 20)])
        );
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
