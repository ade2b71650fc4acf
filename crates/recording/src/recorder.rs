//! Takes readings and questions to a recording, while there is one.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    files::Files,
    line::{QuestionLine, seconds},
    writer::{Gauge, Limits, Said, Settings, Writer},
};
use consumers::{Heard, Tap};
use vocab::{
    EntityId, Link, Now, Reading, SourceEvent,
    reason::{Cause, Undone},
};

/// Lines that may wait for the disk; further ones are lost, and counted.
const QUEUE: usize = 4096;
/// Characters that are kept of a question's method.
const METHOD: usize = 48;
/// Entities whose last reading is remembered.
const ENTITIES: usize = 1000;

/// How far a recording is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its file.
    pub name: String,
    /// Since when, monotonic.
    pub since: Duration,
    /// Lines written.
    pub lines: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Lines that were lost.
    pub lost: u64,
}

/// Records, one recording at a time.
pub struct Recorder {
    files: Files,
    limits: Limits,
    settings: Settings,
    on: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What is known before a recording starts.
    readings: BTreeMap<EntityId, (Duration, Reading)>,
    link: Option<(Duration, Link)>,
    running: Option<Running>,
    /// Why the last one ended before its time.
    failed: Option<Cause>,
}

#[derive(Debug)]
struct Running {
    name: String,
    since: Duration,
    said: SyncSender<Said>,
    gauge: Arc<Gauge>,
    thread: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Never waits.
    fn say(&self, said: Said) {
        if let Err(TrySendError::Full(_)) = self.said.try_send(said) {
            self.gauge.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Nothing is recorded yet.
    #[must_use]
    pub fn new(data_dir: &Path, limits: Limits, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            files: Files::under(data_dir),
            limits,
            settings,
            on: AtomicBool::new(false),
            inner: Mutex::default(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// How long and large a recording may be.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes what the source says; it never waits.
    pub fn event(&self, now: Now, event: &SourceEvent) {
        let inner = &mut *self.inner();
        match event {
            SourceEvent::Readings(readings) => {
                for reading in readings {
                    if inner.readings.len() < ENTITIES
                        || inner.readings.contains_key(&reading.entity)
                    {
                        let heard = (now.mono, reading.clone());
                        inner.readings.insert(reading.entity.clone(), heard);
                    }
                }
            }
            SourceEvent::Link(link) => inner.link = Some((now.mono, link.clone())),
            SourceEvent::Alive => {}
        }
        if let Some(running) = &inner.running {
            running.say(Said::Event(now.mono, event.clone()));
        }
    }

    /// A meter's tap, by its index.
    #[must_use]
    pub fn tap(self: &Arc<Self>, meter: usize) -> Arc<dyn Tap> {
        Arc::new(MeterTap {
            recorder: Arc::clone(self),
            meter,
        })
    }

    /// Starts a recording at `now`. Opens a file: not for the event loop.
    ///
    /// # Errors
    /// In a line: one is under way, or the file cannot be made.
    pub fn start(&self, now: Now) -> Result<String, Undone> {
        if self.progress().is_some() {
            return Err(Undone::RecordingUnderWay);
        }
        let failed = |error: io::Error| Undone::RecordingUnwritable {
            error: error.into(),
        };
        let (name, file) = self.files.create(now.unix).map_err(failed)?;
        let gauge = Arc::new(Gauge::default());
        let (settings, seen) = (Arc::clone(&self.settings), Arc::clone(&gauge));
        let mut writer =
            Writer::begin(file, now, self.limits, settings, Arc::clone(&gauge)).map_err(failed)?;
        let (said, hears) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("recording".into())
            .spawn(move || {
                let done = writer.run(&hears);
                seen.over.store(true, Ordering::Relaxed);
                done
            })
            .map_err(failed)?;
        let running = Running {
            name: name.clone(),
            since: now.mono,
            said,
            gauge,
            thread,
        };
        let inner = &mut *self.inner();
        // Between the first moment and this lock events may have come: they are part of what is
        // known.
        let mut known: Vec<(Duration, Reading)> = inner.readings.values().cloned().collect();
        known.sort_by_key(|(at, _)| *at);
        for (at, reading) in known {
            running.say(Said::Event(at, SourceEvent::Readings(vec![reading])));
        }
        if let Some((at, link)) = &inner.link {
            running.say(Said::Event(*at, SourceEvent::Link(link.clone())));
        }
        inner.failed = None;
        inner.running = Some(running);
        self.on.store(true, Ordering::Relaxed);
        Ok(name)
    }

    /// Ends the recording, if there is one, and waits until it is written.
    pub fn stop(&self) {
        self.end(false);
    }

    /// The same at the end of the process.
    pub fn exit(&self) {
        self.end(true);
    }

    fn end(&self, exit: bool) {
        self.on.store(false, Ordering::Relaxed);
        let running = self.inner().running.take();
        let Some(running) = running else {
            return;
        };
        running.gauge.exit.store(exit, Ordering::Relaxed);
        drop(running.said);
        // What was panicked about is said by the panic itself.
        if let Ok(Err(error)) = running.thread.join() {
            tracing::warn!(recording = %running.name, %error, "the recording is not whole");
            self.inner().failed = Some(Cause::of(&error));
        }
    }

    /// How far the recording is; `None`: there is none under way.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let inner = self.inner();
        let running = inner.running.as_ref()?;
        if running.gauge.over.load(Ordering::Relaxed) {
            drop(inner);
            // Its thread has ended: nothing is waited for.
            self.stop();
            return None;
        }
        Some(Progress {
            name: running.name.clone(),
            since: running.since,
            lines: running.gauge.lines.load(Ordering::Relaxed),
            bytes: running.gauge.bytes.load(Ordering::Relaxed),
            lost: running.gauge.lost.load(Ordering::Relaxed),
        })
    }

    /// Why the last recording could not be written to its end.
    #[must_use]
    pub fn failed(&self) -> Option<Cause> {
        self.inner().failed.clone()
    }
}

#[derive(Debug)]
struct MeterTap {
    recorder: Arc<Recorder>,
    meter: usize,
}

impl Tap for MeterTap {
    fn listens(&self) -> bool {
        self.recorder.on.load(Ordering::Relaxed)
    }

    fn hear(&self, heard: &Heard<'_>, now: Now) {
        let inner = self.recorder.inner();
        let Some(running) = &inner.running else {
            return;
        };
        let waited = heard.asked.waited;
        let question = QuestionLine {
            meter: self.meter,
            reader: String::new(),
            channel: heard.caller.channel,
            method: heard.method.chars().take(METHOD).collect(),
            phase: heard.asked.phase,
            kind: heard.kind,
            waited: waited.map(|waited| seconds(waited.as_secs_f64())),
            answer: heard.told.into(),
        };
        let peer = heard.caller.peer.to_canonical();
        running.say(Said::Question(now.mono, peer, Box::new(question)));
    }
}
