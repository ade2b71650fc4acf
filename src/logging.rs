//! One line an event on stderr, with a level that can change while running.
//!
//! A line is `time LEVEL message name=value …`: the event's own fields, then those of the spans
//! around it, such as the meter whose task it is. A value with a space in it stands in quotes.
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

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    field::RecordFields,
    filter::{LevelFilter, Targets},
    fmt::{
        self, FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    registry::{LookupSpan, Registry, Scope},
    reload,
    util::SubscriberInitExt,
};

use config::{LIBRARIES, LOG_PARTS, LogLevels};
use vocab::one_line::one_line;

/// Lines that may wait for whoever reads the log.
const WAITING: usize = 1024;
/// Longest line in bytes.
const LINE_MAX: usize = 8 * 1024;
/// Lines of one kind (one place in the source) at once.
const BURST: u32 = 100;
/// After those, one in this time: enough to see that it goes on.
const REFILL: Duration = Duration::from_secs(5);

/// Changes the level of the running log.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Shows our own events from these levels on; those of libraries only as warnings, unless they
    /// are named or the level of all is trace.
    pub fn set(&self, levels: &LogLevels) {
        // The only failure is a subscriber that is gone, and then nothing is logged anyway.
        let _ = self.0.reload(targets(levels));
    }
}

fn targets(levels: &LogLevels) -> Targets {
    let libraries = if levels.all == Level::TRACE {
        LevelFilter::DEBUG
    } else {
        LevelFilter::WARN
    };
    let ours = LOG_PARTS.iter().map(|part| (*part, levels.all));
    let mut targets = Targets::new().with_default(libraries).with_targets(ours);
    for (part, level) in &levels.parts {
        targets = if *part == LIBRARIES {
            targets.with_default(*level)
        } else {
            targets.with_target(*part, *level)
        };
    }
    targets
}

/// The layer that writes events to `out`, with `colours` where a terminal shows them.
fn lines<S>(out: Out, colours: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fmt::layer()
        .with_ansi(false)
        .event_format(OneLine { colours })
        .fmt_fields(Fields)
        .with_writer(out)
}

/// How an event is written.
struct OneLine {
    colours: bool,
}

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let level = *event.metadata().level();
        let (dim, colour, plain) = match level {
            _ if !self.colours => ("", "", ""),
            Level::ERROR => ("\x1b[2m", "\x1b[31m", "\x1b[0m"),
            Level::WARN => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
            Level::INFO => ("\x1b[2m", "\x1b[32m", "\x1b[0m"),
            _ => ("\x1b[2m", "\x1b[34m", "\x1b[0m"),
        };
        writer.write_str(dim)?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "{plain} {colour}{level:>5}{plain} ")?;
        context.format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>();
            if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}

/// The message, then the other fields as `name=value`, each without anything that would end or
/// disturb the line.
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(
        &self,
        writer: Writer<'writer>,
        fields: R,
    ) -> std::fmt::Result {
        let mut each = EachField {
            writer,
            before: "",
            result: Ok(()),
        };
        fields.record(&mut each);
        each.result
    }
}

struct EachField<'writer> {
    writer: Writer<'writer>,
    before: &'static str,
    result: std::fmt::Result,
}

impl Visit for EachField<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        let before = std::mem::replace(&mut self.before, " ");
        let ends = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=');
        let said = match field.name() {
            "message" => one_line(text).into_owned(),
            // Else a name that somebody chose could go on as another field.
            name if text.is_empty() || text.contains(ends) => {
                format!("{name}={}", one_line(&format!("{text:?}")))
            }
            name => format!("{name}={}", one_line(text)),
        };
        self.result = self
            .result
            .and_then(|()| write!(self.writer, "{before}{said}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The queue of the running log.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Starts the log. A second call in the same process keeps the first log and returns a handle
/// without effect.
pub fn init(levels: &LogLevels) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(targets(levels));
    let out = Out::new(QUEUE.get_or_init(|| Queue::new(stderr())));
    if tracing_subscriber::registry()
        .with(filter)
        .with(lines(out, stderr().is_terminal()))
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
            let why = "lines of the log were lost here: nobody read it fast enough";
            let _ = writeln!(out, "{missing} {why}");
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
        let since = now.saturating_duration_since(kind.refilled);
        let due = u32::try_from(since.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
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

impl Out {
    fn new(queue: &Queue) -> Self {
        Self {
            queue: queue.clone(),
            limits: Arc::default(),
        }
    }
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
        let mut line = self.make_writer();
        // Who asks for debug lines wants all of them.
        if *meta.level() <= Level::INFO {
            let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            line.left_out = limits.admit(meta.callsite(), Instant::now());
        }
        line
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left_out.is_some() {
            let room = LINE_MAX.saturating_sub(self.bytes.len());
            self.bytes
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
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
            let more = format!(" ({left_out} more lines like this one were left out before it)");
            line.push_str(&more);
        }
        line.push('\n');
        self.out.queue.send(line.into_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tracing::{debug, error_span, info, warn};

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

        /// One that is read, and a log into it.
        fn read() -> (Self, Out) {
            let pipe = Self::default();
            pipe.let_go();
            let queue = Queue::new(pipe.clone());
            (pipe, Out::new(&queue))
        }
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, changed) = &*self.0;
            let stalled = |state: &mut (bool, _)| !state.0;
            let mut state = changed.wait_while(state.lock().unwrap(), stalled).unwrap();
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
        assert_eq!(crates, LOG_PARTS[1..]);
        let shown = targets(&Level::DEBUG.into());
        for name in LOG_PARTS {
            assert!(shown.would_enable(name, &Level::DEBUG), "{name}");
        }
        assert!(!shown.would_enable("hyper", &Level::INFO));
    }

    #[test]
    fn single_parts_have_levels_of_their_own() {
        let levels = LogLevels::parse("warn,transport=debug,libraries=info").unwrap();
        let shown = targets(&levels);
        assert!(shown.would_enable("transport::udp", &Level::DEBUG));
        assert!(!shown.would_enable("store", &Level::INFO));
        assert!(shown.would_enable("hyper", &Level::INFO));
        assert!(!shown.would_enable("hyper", &Level::DEBUG));
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
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        pipe.let_go();
        queue.flush(Duration::from_secs(20));
        let text = pipe.text();
        let lost = |line: &str| {
            let (lost, _) = line.split_once(" lines of the log were lost")?;
            lost.parse::<usize>().ok()
        };
        let lost = text.lines().find_map(lost).unwrap();
        let there = text.lines().filter(|line| line.starts_with("line "));
        assert_eq!(lost + there.count(), all, "every line is there or counted");
    }

    #[test]
    fn repeats_of_one_kind_are_limited_and_counted_and_others_are_not() {
        let (pipe, out) = Stalled::read();
        let (queue, limits) = (out.queue.clone(), Arc::clone(&out.limits));
        let subscriber = tracing_subscriber::registry().with(lines(out, false));
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
        let refilled = "knock 0 (50 more lines like this one were left out before it)";
        assert!(text.contains(refilled), "{text}");
        assert_eq!(count("something else\\nforged line \\u{202e}"), 1);
        assert_eq!(count("detail"), 2 * BURST as usize);
    }

    /// What is logged in `events` at these levels, each line without its time.
    fn logged(levels: &str, colours: bool, events: impl FnOnce()) -> Vec<String> {
        let (pipe, out) = Stalled::read();
        let queue = out.queue.clone();
        let subscriber = tracing_subscriber::registry()
            .with(targets(&LogLevels::parse(levels).unwrap()))
            .with(lines(out, colours));
        tracing::subscriber::with_default(subscriber, events);
        queue.flush(Duration::from_secs(20));
        let text = pipe.text();
        let without_time = |line: &str| line.split_once(' ').unwrap().1.to_owned();
        text.lines().map(without_time).collect()
    }

    #[test]
    fn each_part_has_its_level_and_a_warning_keeps_the_fields_of_its_spans() {
        let lines = logged("warn,transport=debug", false, || {
            let meter = error_span!(target: "transport::udp", "meter", meter = "cellar");
            meter.in_scope(|| {
                debug!(target: "transport::udp", peer = %"192.0.2.7:1010", "no answer was sent");
                info!(target: "store", path = "/data", "not shown");
                warn!(target: "store", path = "/data", "cannot be checked");
            });
        });
        assert_eq!(
            lines,
            [
                "DEBUG no answer was sent peer=192.0.2.7:1010 meter=cellar",
                " WARN cannot be checked path=/data meter=cellar",
            ]
        );
    }

    #[test]
    fn fields_of_spans_follow_the_events_own_from_the_outermost_on() {
        let lines = logged("info", true, || {
            let _meter = error_span!(target: "transport", "meter", meter = 1).entered();
            let _silent = error_span!(target: "transport", "no field").entered();
            let _peer = error_span!(target: "transport", "connection", peer = "::1").entered();
            info!(target: "transport", port = 80, "served");
        });
        let want = "\x1b[32m INFO\x1b[0m served port=80 meter=1 peer=::1";
        assert_eq!(lines, [want]);
    }

    /// A name, an address or an answer may hold anything.
    #[test]
    fn nothing_from_outside_ends_a_line_or_passes_for_another_field() {
        let hostile = "me\n2026-01-01 ERROR forged\x1b[2J\u{202e} meter=2 \"";
        let lines = logged("info", false, || {
            let _span = error_span!(target: "transport", "of", name = hostile).entered();
            info!(target: "transport", reader = %hostile, empty = "", zone = "a\u{202e}b", "{hostile}");
        });
        let shown = r"me\n2026-01-01 ERROR forged\u{1b}[2J\u{202e} meter=2 ";
        let want = format!(
            r#" INFO {shown}" reader="{shown}\"" empty="" zone=a\u{{202e}}b name="{shown}\"""#
        );
        assert_eq!(lines, [want]);
    }
}
