//! The handle that every other crate holds.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{
    lock::lock,
    part::{self, Part},
    shared::{Cache, Shared},
    types::{Event, Import, MeterRow, Model, Price, Run, StoreError, StoreHealth},
    writer::{Ack, Control},
};
use meter::MinuteRecord;
use vocab::reason::Unkept;

/// A writer that has not moved for so long is dead or its disk hangs.
const SILENT_AT_MOST: u64 = 60;

/// How long an answer waits for the disk, as who reads does.
const SAVED_WITHIN: Duration = background::PATIENCE;

/// A commit takes some ms, a slow card's a second or two.
const HANGS_AFTER: u64 = 10;

pub(super) struct Inner {
    pub shared: Arc<Shared>,
    control: mpsc::Sender<Control>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub raw_days: u32,
}

/// The store. Cheap to clone; when the last clone goes, everything is saved and closed.
///
/// What writes never waits for a disk. What reads does, for some ms: call it off the event loop.
#[derive(Clone)]
pub struct Store(pub(super) Arc<Inner>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store")
            .field(&self.0.shared.health())
            .finish()
    }
}

/// The outcome of something the writer was asked to do. There is no other way to it than to await
/// it, so no task can block on the disk; a thread has its runtime's handle to do that.
#[derive(Debug)]
#[must_use = "the writer answers here"]
pub struct Done(oneshot::Receiver<Result<(), StoreError>>);

#[cfg(test)]
impl Done {
    /// Blocks until the writer answered.
    pub fn wait(self) -> Result<(), StoreError> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl Future for Done {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

fn gone() -> StoreError {
    Unkept::StoreClosed.into()
}

impl Store {
    pub(super) fn new(
        shared: Arc<Shared>,
        control: mpsc::Sender<Control>,
        thread: Option<JoinHandle<()>>,
        raw_days: u32,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            control,
            thread: Mutex::new(thread),
            raw_days,
        }))
    }

    // --- what is kept ---

    /// Identity and counters of a meter, as often as they change; each commit holds the newest. A
    /// new reset or MAC is committed at once.
    pub fn put_counters(&self, meter: &str, row: MeterRow) {
        let shared = &self.0.shared;
        let mut cache = lock(&shared.cache);
        let mut row = match cache.base.get(meter) {
            Some(base) => row.upon(base),
            None => row,
        };
        row.run.under_way = match row.run.under_way.take() {
            Some(minute) => Some(self.with_part(&mut cache, meter, minute)),
            None => cache.parts.get(meter).map(|part| part.record),
        };
        let before = cache.meters.insert(meter.to_owned(), row.clone());
        let rare = before.is_none_or(|b| {
            let (then, now) = (&b.run, &row.run);
            b.reset_at != row.reset_at
                || b.mac != row.mac
                || then.resets != now.resets
                || then.limit.is_some() != now.limit.is_some()
        });
        let short = row.run.short;
        // Still under the cache's lock: what stands on a folder's counters must not be followed by
        // what does not.
        lock(&shared.buffer).add(|batch| {
            batch.meters.insert(meter.to_owned(), row);
        });
        drop(cache);
        if rare {
            self.wake();
        } else if short {
            let _ = self.0.control.send(Control::Short);
        }
    }

    /// By meter, the [`Run`] of the newest row that is kept, where a restart finds it; changes
    /// after each commit.
    #[must_use]
    pub fn kept(&self) -> watch::Receiver<BTreeMap<String, Run>> {
        self.0.shared.kept.subscribe()
    }

    /// What [`Self::put_counters`] last got, or what was restored.
    #[must_use]
    pub fn counters(&self, meter: &str) -> Option<MeterRow> {
        lock(&self.0.shared.cache).meters.get(meter).cloned()
    }

    /// Keeps a text (JSON) under a key, e.g. `device/` and the meter's key; an empty one takes back
    /// what was kept. Committed at once.
    pub fn put_state(&self, key: &str, json: &str) {
        let before = lock(&self.0.shared.cache)
            .state
            .insert(key.to_owned(), json.to_owned());
        if before.as_deref() != Some(json) {
            lock(&self.0.shared.buffer).add(|batch| {
                batch.state.insert(key.to_owned(), json.to_owned());
            });
            self.wake();
        }
    }

    /// As [`Self::put_state`]; `vital`, those members of `json` that must outlive the database,
    /// goes into the sidecar too.
    pub fn put_vital_state(&self, key: &str, json: &str, vital: &str) {
        let before = lock(&self.0.shared.cache)
            .vital
            .insert(key.to_owned(), vital.to_owned());
        self.put_state(key, json);
        if before.as_deref() != Some(vital) {
            self.wake();
        }
    }

    /// The members of a state that the sidecar had.
    #[must_use]
    pub fn vital_state(&self, key: &str) -> Option<String> {
        lock(&self.0.shared.cache).vital.get(key).cloned()
    }

    /// Whether there was state before that cannot be read: what is not found need not be unset.
    #[must_use]
    pub fn state_lost(&self) -> bool {
        lock(&self.0.shared.cache).state_lost
    }

    /// As [`Self::put_state`] for what changes all day: the first few changes are committed at
    /// once, the others with one of the next commits, within 5 minutes.
    pub fn put_state_often(&self, key: &str, json: &str) {
        let before = lock(&self.0.shared.cache)
            .state
            .insert(key.to_owned(), json.to_owned());
        if before.as_deref() != Some(json) {
            let _ = self.0.control.send(Control::Often(key.to_owned()));
        }
    }

    /// Waits until what was put before is on the disk, where it has to be at once; a disk that
    /// hangs, for 3 s. What cannot be written is said elsewhere and tried again: it holds
    /// nevertheless.
    pub async fn saved(&self) {
        let _ = tokio::time::timeout(SAVED_WITHIN, self.ask(Control::Saved)).await;
    }

    /// The text of a key; none where it was taken back. Never waits for a disk.
    #[must_use]
    pub fn get_state(&self, key: &str) -> Option<String> {
        let cache = lock(&self.0.shared.cache);
        cache
            .state
            .get(key)
            .filter(|text| !text.is_empty())
            .cloned()
    }

    /// A sample of the house total: Unix s, W, + import. One a sample step; what is not finite is
    /// left out.
    pub fn sample(&self, ts: i64, w: f64) {
        if w.is_finite() && w.abs() <= 1e9 {
            lock(&self.0.shared.buffer)
                .add(|batch| batch.samples.push_back((ts, (w * 10.0).round() as i64)));
        }
    }

    /// A finished minute of a meter; its energy is also kept for good, by the quarter of an hour.
    /// One that a stop cuts short is handed over before its time is up: it is kept with the
    /// counters that come next, and what the next run has of it goes on with it.
    pub fn minute(&self, meter: &str, record: MinuteRecord) {
        let shared = &self.0.shared;
        let mut cache = lock(&shared.cache);
        let record = self.with_part(&mut cache, meter, record);
        cache.parts.remove(meter);
        if let Some(until) = part::reach(record.ts, shared.now_s()) {
            cache.parts.insert(meter.to_owned(), Part { record, until });
            return;
        }
        lock(&shared.buffer).add(|batch| batch.records.push_back((meter.into(), record)));
        drop(cache);
        let _ = self.0.control.send(Control::Minute);
    }

    /// A minute with what was measured of it before a stop; that of another minute becomes a record
    /// of its own.
    fn with_part(&self, cache: &mut Cache, meter: &str, minute: MinuteRecord) -> MinuteRecord {
        let shared = &self.0.shared;
        match cache.parts.get(meter).map(|part| part.record) {
            Some(before) if before.ts != minute.ts => {
                cache.parts.remove(meter);
                lock(&shared.buffer).add(|batch| batch.records.push_back((meter.into(), before)));
                minute
            }
            _ => cache.parts.get(meter).map_or(minute, |part| {
                part.with(minute, part::reach(minute.ts, shared.now_s()))
            }),
        }
    }

    /// `EMData.DeleteAllData`: the minute records of a meter go; energy by time, samples and
    /// lifetime sums stay.
    pub fn delete_records(&self, meter: &str) {
        let mut cache = lock(&self.0.shared.cache);
        cache.parts.remove(meter);
        lock(&self.0.shared.buffer).add(|batch| batch.delete_records(meter));
        drop(cache);
        self.wake();
    }

    /// Keeps a model under a name.
    pub fn put_model(&self, name: &str, model: Model) {
        lock(&self.0.shared.buffer).add(|batch| {
            batch.models.insert(name.to_owned(), model);
        });
    }

    /// Keeps what went wrong, under a number of its own; what is kept under it is replaced. Committed
    /// at once.
    pub fn put_event(&self, event: Event) {
        lock(&self.0.shared.buffer).add(|batch| {
            batch.events.insert(event.id, event.row);
        });
        self.wake();
    }

    /// Keeps what a kWh costs from a time (Unix s) on.
    pub fn put_price(&self, ts: i64, price: Price) {
        lock(&self.0.shared.buffer).add(|batch| {
            batch.prices.insert(ts, price);
        });
    }

    /// The meter has added the energy of an [`Import`]: its new counters and the mark that they
    /// hold it are committed together, then the original's file is renamed.
    pub fn import_done(&self, import: &Import, meter: &str, row: MeterRow) {
        lock(&self.0.shared.cache)
            .meters
            .insert(meter.to_owned(), row.clone());
        lock(&self.0.shared.buffer).add(|batch| {
            batch.meters.insert(meter.to_owned(), row);
            batch.imported = Some(import.mark.clone());
        });
        let _ = self.0.control.send(Control::Imported(import.path.clone()));
    }

    // --- what is read: see also `reader`, `money` and `events` ---

    // --- how it is, and what it is told ---

    /// Figures for the health page.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.0.shared.health()
    }

    /// Seconds since when the disk has not answered the writer; none while it does.
    #[must_use]
    pub fn hangs(&self) -> Option<u64> {
        Some(self.0.shared.silent_for()).filter(|seconds| *seconds >= HANGS_AFTER)
    }

    /// Whether the writer thread responds (`docs/decisions.md#alive-and-ready`); a full disk or a
    /// freeze does not count against it.
    #[must_use]
    pub fn alive(&self) -> bool {
        let running = lock(&self.0.thread)
            .as_ref()
            .is_some_and(|thread| !thread.is_finished());
        running && self.0.shared.silent_for() < SILENT_AT_MOST
    }

    /// Commits what is buffered.
    pub fn flush(&self) -> Done {
        self.ask(Control::Flush)
    }

    /// For a backup: everything committed, the database one closed file that does not change until
    /// [`Self::thaw`], or for 15 minutes. What comes is buffered; reading goes on.
    pub fn freeze(&self) -> Done {
        self.ask(Control::Freeze)
    }

    /// The end of [`Self::freeze`].
    pub fn thaw(&self) -> Done {
        self.ask(Control::Thaw)
    }

    /// Saves everything and ends the writer.
    pub fn close(&self) -> Done {
        self.0.shared.set_closing();
        self.ask(Control::Close)
    }

    fn ask(&self, command: impl FnOnce(Ack) -> Control) -> Done {
        let (send, receive) = oneshot::channel();
        let ack = Box::new(move |answer| {
            let _ = send.send(answer);
        });
        // If the thread is gone, so is the sender in it, and the receiver says so.
        let _ = self.0.control.send(command(ack));
        Done(receive)
    }

    fn wake(&self) {
        let _ = self.0.control.send(Control::Wake);
    }
}
