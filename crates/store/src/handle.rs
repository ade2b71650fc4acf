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
    buffer::Batch,
    lock::lock,
    part::{self, Part},
    shared::{Cache, Shared},
    types::{Event, Import, MeterRow, Model, Price, Run, StoreError, StoreHealth},
    writer::{Command, Writer},
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
    commands: mpsc::Sender<Command>,
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
        let health = self.0.shared.health();
        f.debug_tuple("Store").field(&health).finish()
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
        let answer = Pin::new(&mut self.0).poll(cx);
        answer.map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

fn gone() -> StoreError {
    Unkept::StoreClosed.into()
}

impl Store {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Sender<Command>,
        thread: Option<JoinHandle<()>>,
        raw_days: u32,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            commands,
            thread: Mutex::new(thread),
            raw_days,
        }))
    }

    // --- what is kept ---

    /// Identity and counters of a meter, as often as they change; each commit holds the newest. A
    /// new reset or MAC is committed at once.
    pub fn put_counters(&self, meter: &str, row: MeterRow) {
        let mut cache = lock(&self.0.shared.cache);
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
        self.add(|batch| _ = batch.meters.insert(meter.to_owned(), row));
        drop(cache);
        if rare {
            self.tell(Writer::wake);
        } else if short {
            self.tell(Writer::short);
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
        if self.is_news(|cache| &mut cache.state, key, json) {
            self.add(|batch| _ = batch.state.insert(key.to_owned(), json.to_owned()));
            self.tell(Writer::wake);
        }
    }

    /// As [`Self::put_state`]; `vital`, those members of `json` that must outlive the database,
    /// goes into the sidecar too.
    pub fn put_vital_state(&self, key: &str, json: &str, vital: &str) {
        let news = self.is_news(|cache| &mut cache.vital, key, vital);
        self.put_state(key, json);
        if news {
            self.tell(Writer::wake);
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
        if self.is_news(|cache| &mut cache.state, key, json) {
            let key = key.to_owned();
            self.tell(|writer| writer.often(key));
        }
    }

    /// Remembers a text; whether it is another one than before.
    fn is_news(
        &self,
        texts: fn(&mut Cache) -> &mut BTreeMap<String, String>,
        key: &str,
        text: &str,
    ) -> bool {
        let mut cache = lock(&self.0.shared.cache);
        let before = texts(&mut cache).insert(key.to_owned(), text.to_owned());
        before.as_deref() != Some(text)
    }

    /// Waits until what was put before is on the disk, where it has to be at once; a disk that
    /// hangs, for 3 s. What cannot be written is said elsewhere and tried again: it holds
    /// nevertheless.
    pub async fn saved(&self) {
        // What is rare is committed when it comes: before this.
        let _ = tokio::time::timeout(SAVED_WITHIN, self.ask(|_| Ok(()))).await;
    }

    /// The text of a key; none where it was taken back. Never waits for a disk.
    #[must_use]
    pub fn get_state(&self, key: &str) -> Option<String> {
        let cache = lock(&self.0.shared.cache);
        let text = cache.state.get(key);
        text.filter(|text| !text.is_empty()).cloned()
    }

    /// A sample of the house total: Unix s, W, + import. One a sample step; what is not finite is
    /// left out.
    pub fn sample(&self, ts: i64, w: f64) {
        if w.is_finite() && w.abs() <= 1e9 {
            self.add(|batch| batch.samples.push_back((ts, (w * 10.0).round() as i64)));
        }
    }

    /// A finished minute of a meter; its energy is also kept for good, by the quarter of an hour.
    /// One that a stop cuts short is handed over before its time is up: it is kept with the
    /// counters that come next, and what the next run has of it goes on with it.
    pub fn minute(&self, meter: &str, record: MinuteRecord) {
        let mut cache = lock(&self.0.shared.cache);
        let record = self.with_part(&mut cache, meter, record);
        cache.parts.remove(meter);
        if let Some(until) = part::reach(record.ts, self.0.shared.now_s()) {
            cache.parts.insert(meter.to_owned(), Part { record, until });
            return;
        }
        self.add(|batch| batch.records.push_back((meter.into(), record)));
        drop(cache);
        self.tell(Writer::minute);
    }

    /// A minute with what was measured of it before a stop; that of another minute becomes a record
    /// of its own.
    fn with_part(&self, cache: &mut Cache, meter: &str, minute: MinuteRecord) -> MinuteRecord {
        let Some(part) = cache.parts.get(meter) else {
            return minute;
        };
        let before = part.record;
        if before.ts == minute.ts {
            return part.with(minute, part::reach(minute.ts, self.0.shared.now_s()));
        }
        cache.parts.remove(meter);
        self.add(|batch| batch.records.push_back((meter.into(), before)));
        minute
    }

    /// `EMData.DeleteAllData`: the minute records of a meter go; energy by time, samples and
    /// lifetime sums stay.
    pub fn delete_records(&self, meter: &str) {
        let mut cache = lock(&self.0.shared.cache);
        cache.parts.remove(meter);
        self.add(|batch| batch.delete_records(meter));
        drop(cache);
        self.tell(Writer::wake);
    }

    /// Keeps a model under a name.
    pub fn put_model(&self, name: &str, model: Model) {
        self.add(|batch| _ = batch.models.insert(name.to_owned(), model));
    }

    /// Keeps what went wrong, under a number of its own; what is kept under it is replaced. Committed
    /// at once.
    pub fn put_event(&self, event: Event) {
        self.add(|batch| _ = batch.events.insert(event.id, event));
        self.tell(Writer::wake);
    }

    /// Keeps what a kWh costs from a time (Unix s) on.
    pub fn put_price(&self, ts: i64, price: Price) {
        self.add(|batch| _ = batch.prices.insert(ts, price));
    }

    /// The meter has added the energy of an [`Import`]: its new counters and the mark that they
    /// hold it are committed together, then the original's file is renamed.
    pub fn import_done(&self, import: &Import, meter: &str, row: MeterRow) {
        let mut cache = lock(&self.0.shared.cache);
        cache.meters.insert(meter.to_owned(), row.clone());
        drop(cache);
        self.add(|batch| {
            batch.meters.insert(meter.to_owned(), row);
            batch.imported = Some(import.mark.clone());
        });
        let path = import.path.clone();
        self.tell(|writer| writer.imported(path));
    }

    // What is read: `reader`, `money` and `events`.

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
        let thread = lock(&self.0.thread);
        let running = thread.as_ref().is_some_and(|thread| !thread.is_finished());
        running && self.0.shared.silent_for() < SILENT_AT_MOST
    }

    /// Commits what is buffered.
    pub fn flush(&self) -> Done {
        self.ask(Writer::flush)
    }

    /// For a backup: everything committed, the database one closed file that does not change until
    /// [`Self::thaw`], or for 15 minutes. What comes is buffered; reading goes on.
    pub fn freeze(&self) -> Done {
        self.ask(Writer::freeze)
    }

    /// The end of [`Self::freeze`].
    pub fn thaw(&self) -> Done {
        self.ask(Writer::thaw)
    }

    /// Saves everything and ends the writer.
    pub fn close(&self) -> Done {
        self.0.shared.set_closing();
        self.ask(Writer::close)
    }

    fn ask(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<(), StoreError> + Send + 'static,
    ) -> Done {
        let (send, receive) = oneshot::channel();
        // If the thread is gone, so is the sender in it, and the receiver says so.
        self.tell(|writer| _ = send.send(work(writer)));
        Done(receive)
    }

    fn tell(&self, command: impl FnOnce(&mut Writer) + Send + 'static) {
        let _ = self.0.commands.send(Box::new(command));
    }

    fn add(&self, change: impl FnOnce(&mut Batch)) {
        lock(&self.0.shared.buffer).add(change);
    }
}
