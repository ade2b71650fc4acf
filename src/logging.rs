//! One line an event on stderr, with a level that can change while running.
//!
//! One line whatever an event says: what comes from outside is escaped here, for all of them
//! ([`one_line`]).
//!
//! Whoever reads the log may be slow or stop: a full pipe must not stop the meter. Lines go to a
//! thread of their own through a queue that never blocks; what does not fit is counted, and the
//! count is said when there is room again.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write, stderr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use tracing::{Level, Metadata, callsite::Identifier};
use tracing_subscriber::{
    field::MakeExt,
    filter::{LevelFilter, Targets},
    fmt::{
        self, MakeWriter,
        format::{FormatFields, debug_fn},
    },
    layer::SubscriberExt,
    registry::Registry,
    reload,
    util::SubscriberInitExt,
};

use vocab::one_line::one_line;

/// Lines that may wait for whoever reads the log.
const WAITING: usize = 1024;
/// Longest line in bytes.
const LINE_MAX: usize = 8 * 1024;
/// Lines of one kind (one place in the source) at once.
const BURST: u32 = 100;
/// After those, one in this time: enough to see that it goes on.
const REFILL: Duration = Duration::from_secs(5);

/// Whose events are our own: the program's and those of the crates under `crates/`.
const OURS: [&str; 14] = [
    "virtual_shelly",
    "background",
    "config",
    "consumers",
    "control",
    "dashboard",
    "device",
    "forecast",
    "meter",
    "outgoing",
    "source",
    "store",
    "transport",
    "vocab",
];

/// Changes the level of the running log.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Shows our own events from `level` on; those of libraries only as warnings, unless `level` is
    /// trace.
    pub fn set(&self, level: Level) {
        // The only failure is a subscriber that is gone, and then nothing is logged anyway.
        let _ = self.0.reload(targets(level));
    }
}

fn targets(level: Level) -> Targets {
    let others = if level == Level::TRACE {
        LevelFilter::DEBUG
    } else {
        LevelFilter::WARN
    };
    Targets::new()
        .with_default(others)
        .with_targets(OURS.map(|name| (name, level)))
}

/// The message, then the other fields as `name=value`, each without anything that would end or
/// disturb the line.
fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let said = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", one_line(&said)),
            name => write!(writer, "{name}={}", one_line(&said)),
        }
    })
    .delimited(" ")
}

/// The queue of the running log.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Starts the log. A second call in the same process keeps the first log and returns a handle
/// without effect.
#[must_use]
pub fn init(level: Level) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(targets(level));
    let queue = QUEUE.get_or_init(|| Queue::new(stderr()));
    let colours = stderr().is_terminal();
    let out = Out {
        queue: queue.clone(),
        limits: Arc::default(),
    };
    let lines = fmt::layer()
        .with_target(false)
        .with_ansi(colours)
        .fmt_fields(fields())
        .with_writer(out);
    if tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .is_ok()
    {
        // The standard hook writes to stderr itself, and so waits for whoever reads it.
        std::panic::set_hook(Box::new(|panic| {
            tracing::error!("{panic}");
            flush(Duration::from_millis(200));
        }));
    }
    LevelHandle(handle)
}

/// Waits until what was logged is written, but not longer than `patience`.
pub fn flush(patience: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(patience);
    }
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Lines on their way to a thread that may wait for whoever reads them.
#[derive(Clone)]
struct Queue {
    to: SyncSender<Message>,
    /// Lines that found no room since the last that did.
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn new(out: impl Write + Send + 'static) -> Self {
        let (to, from) = mpsc::sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&lost);
        // Without the thread the receiver is gone, and every line counts as lost.
        let _ = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(&from, &seen, out));
        Self { to, lost }
    }

    fn send(&self, line: Vec<u8>) {
        if self.to.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let (done, wait) = mpsc::sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.to.try_send(message) {
            if Instant::now() >= until {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write_all(from: &Receiver<Message>, lost: &AtomicU64, mut out: impl Write) {
    while let Ok(message) = from.recv() {
        match message {
            // Nobody can be told that stderr cannot be written.
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Flush(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(
                out,
                "{missing} lines of the log were lost here: nobody read it fast enough"
            );
        }
    }
}

/// How many lines of each kind were written lately.
#[derive(Default)]
struct Limits(HashMap<Identifier, Kind>);

struct Kind {
    left: u32,
    refilled: Instant,
    left_out: u64,
}

impl Limits {
    /// Whether a line of this kind may be written now, and how many before it were not.
    fn admit(&mut self, kind: Identifier, now: Instant) -> Option<u64> {
        let kind = self.0.entry(kind).or_insert(Kind {
            left: BURST,
            refilled: now,
            left_out: 0,
        });
        let due = u32::try_from(
            now.saturating_duration_since(kind.refilled).as_secs() / REFILL.as_secs(),
        )
        .unwrap_or(u32::MAX);
        if due > 0 {
            kind.left = kind.left.saturating_add(due).min(BURST);
            kind.refilled = now;
        }
        if kind.left == 0 {
            kind.left_out += 1;
            return None;
        }
        kind.left -= 1;
        Some(std::mem::take(&mut kind.left_out))
    }
}

/// Makes a writer for each line.
struct Out {
    queue: Queue,
    limits: Arc<Mutex<Limits>>,
}

/// One line on its way; sent when it is dropped.
struct Line<'a> {
    out: &'a Out,
    bytes: Vec<u8>,
    /// Lines of the same kind that were left out before it; `None`: this one is, too.
    left_out: Option<u64>,
}

impl<'a> MakeWriter<'a> for Out {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            out: self,
            bytes: Vec::new(),
            left_out: Some(0),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        // Who asks for debug lines wants all of them.
        let left_out = if *meta.level() > Level::INFO {
            Some(0)
        } else {
            self.limits
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .admit(meta.callsite(), Instant::now())
        };
        Line {
            out: self,
            bytes: Vec::new(),
            left_out,
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left_out.is_some() {
            self.bytes.extend_from_slice(
                &bytes[..bytes.len().min(LINE_MAX.saturating_sub(self.bytes.len()))],
            );
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let Some(left_out) = self.left_out.filter(|_| !self.bytes.is_empty()) else {
            return;
        };
        let text = String::from_utf8_lossy(&self.bytes);
        let mut line = text.trim_end().to_owned();
        if left_out > 0 {
            line.push_str(&format!(
                " ({left_out} more lines like this one were left out before it)"
            ));
        }
        line.push('\n');
        self.out.queue.send(line.into_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Whether it was let go, and what was written.
    type Pipe = (Mutex<(bool, Vec<u8>)>, std::sync::Condvar);

    /// A pipe whose other end is not read until it is let go.
    #[derive(Clone, Default)]
    struct Stalled(Arc<Pipe>);

    impl Stalled {
        fn let_go(&self) {
            self.0.0.lock().unwrap().0 = true;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self
                .0
                .1
                .wait_while(self.0.0.lock().unwrap(), |state| !state.0)
                .unwrap();
            state.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn events_of_each_crate_are_our_own() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crates");
        let mut crates: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        crates.sort();
        assert_eq!(crates, OURS[1..]);
        for name in OURS {
            assert!(
                targets(Level::DEBUG).would_enable(name, &Level::DEBUG),
                "{name}"
            );
        }
        assert!(!targets(Level::DEBUG).would_enable("hyper", &Level::INFO));
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let pipe = Stalled::default();
        let queue = Queue::new(pipe.clone());
        let began = Instant::now();
        let all = WAITING + 500;
        for n in 0..all {
            queue.send(format!("line {n}\n").into_bytes());
        }
        queue.flush(Duration::from_millis(20));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        pipe.let_go();
        queue.flush(Duration::from_secs(20));
        let text = pipe.text();
        let lost: usize = text
            .lines()
            .find_map(|line| line.split_once(" lines of the log were lost"))
            .unwrap()
            .0
            .parse()
            .unwrap();
        assert_eq!(
            lost + text
                .lines()
                .filter(|line| line.starts_with("line "))
                .count(),
            all,
            "every line is there or counted"
        );
    }

    #[test]
    fn repeats_of_one_kind_are_limited_and_counted_and_others_are_not() {
        let pipe = Stalled::default();
        pipe.let_go();
        let queue = Queue::new(pipe.clone());
        let out = Out {
            queue: queue.clone(),
            limits: Arc::default(),
        };
        let limits = Arc::clone(&out.limits);
        let subscriber = tracing_subscriber::registry().with(
            fmt::layer()
                .with_ansi(false)
                .fmt_fields(fields())
                .with_writer(out),
        );
        tracing::subscriber::with_default(subscriber, || {
            let flood = |times: u32| (0..times).for_each(|n| tracing::warn!("knock {n}"));
            for n in 0..BURST + 50 {
                flood(1);
                if n == 10 {
                    tracing::warn!("something else\nforged line \u{202e}");
                }
            }
            for kind in limits.lock().unwrap().0.values_mut() {
                kind.refilled = kind.refilled.checked_sub(REFILL).unwrap();
            }
            flood(2);
            (0..2 * BURST).for_each(|n| tracing::debug!("detail {n}"));
        });
        queue.flush(Duration::from_secs(20));
        let text = pipe.text();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("knock"), BURST as usize + 1);
        assert!(
            text.contains("knock 0 (50 more lines like this one were left out before it)"),
            "{text}"
        );
        assert_eq!(count("something else\\nforged line \\u{202e}"), 1);
        assert_eq!(count("detail"), 2 * BURST as usize);
    }
}
