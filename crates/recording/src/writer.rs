//! The thread that writes a recording: a slow disk delays it and nobody else.

use std::{
    io::{self, BufWriter, Write},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    line::{
        self, End, FORMAT, Header, Line, LinkLine, LinkWord, QuestionLine, ReaderLine, ReadingLine,
        VERSION, What, seconds,
    },
    names::{self, Entities, Readers},
    options::{self, InForce},
};
use consumers::sharing::named_share;
use vocab::{Link, Now, Reading, SourceEvent};

/// The file is flushed, and the options are looked at, this often.
const BEAT: Duration = Duration::from_secs(1);

/// How long and how large a recording may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Its longest time.
    pub time: Duration,
    /// Its most bytes.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(24 * 3600),
            bytes: 64 * 1024 * 1024,
        }
    }
}

/// What is told to the thread.
#[derive(Debug)]
pub(super) enum Said {
    /// An event of the source, at that monotonic time.
    Event(Duration, SourceEvent),
    /// A question, and whose: the reader's name is given to it here.
    Question(Duration, IpAddr, Box<QuestionLine>),
}

/// How far a recording is, for others to look at.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub lines: AtomicU64,
    pub bytes: AtomicU64,
    /// Lines that found the queue full.
    pub lost: AtomicU64,
    /// The thread has ended.
    pub over: AtomicBool,
    /// The process ends.
    pub exit: AtomicBool,
}

/// Gives the settings in force.
pub type Settings = Arc<dyn Fn() -> InForce + Send + Sync>;

/// Everything that the thread works with.
pub(super) struct Writer<W: Write> {
    out: Counted<W>,
    start: Now,
    limits: Limits,
    settings: Settings,
    in_force: InForce,
    entities: Entities,
    readers: Readers,
    lost: u64,
    last: f64,
    gauge: Arc<Gauge>,
}

struct Counted<W: Write> {
    to: BufWriter<W>,
    bytes: u64,
}

impl<W: Write> Counted<W> {
    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(value)?;
        text.push(b'\n');
        self.bytes += text.len() as u64;
        self.to.write_all(&text)
    }
}

impl<W: Write> Writer<W> {
    /// Begins a file: its first line.
    pub fn begin(
        to: W,
        start: Now,
        limits: Limits,
        settings: Settings,
        gauge: Arc<Gauge>,
    ) -> io::Result<Self> {
        let in_force = settings();
        let mut entities = Entities::default();
        let header = Header {
            format: FORMAT.into(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            start: (start.unix * 1000.0).round() / 1000.0,
            meters: options::of(&in_force, &mut entities),
        };
        let mut out = Counted {
            to: BufWriter::new(to),
            bytes: 0,
        };
        out.line(&header)?;
        Ok(Self {
            out,
            start,
            limits,
            settings,
            in_force,
            entities,
            readers: Readers::default(),
            lost: 0,
            last: 0.0,
            gauge,
        })
    }

    /// Writes what comes until nobody is there to say more, or a limit is reached.
    pub fn run(&mut self, said: &Receiver<Said>) -> io::Result<()> {
        let mut beat = Instant::now();
        let why = loop {
            let next = said.recv_timeout(BEAT);
            if beat.elapsed() >= BEAT {
                beat = Instant::now();
                self.beat()?;
            }
            match next {
                Ok(said) => self.take(said)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let exit = self.gauge.exit.load(Ordering::Relaxed);
                    break if exit { End::Exit } else { End::Stopped };
                }
            }
            if self.last >= self.limits.time.as_secs_f64() {
                break End::Time;
            }
            if self.out.bytes >= self.limits.bytes {
                break End::Size;
            }
        };
        self.lost()?;
        self.write(self.last, What::End { why })?;
        self.out.to.flush()
    }

    fn beat(&mut self) -> io::Result<()> {
        let now = (self.settings)();
        if now != self.in_force {
            self.in_force = now;
            let meters = options::of(&self.in_force, &mut self.entities);
            self.write(self.last, What::Options { meters })?;
            for (peer, number) in self.readers.clone().all() {
                self.introduce(peer, number)?;
            }
        }
        self.lost()?;
        self.out.to.flush()
    }

    fn lost(&mut self) -> io::Result<()> {
        let lost = self.gauge.lost.load(Ordering::Relaxed);
        let lines = lost - std::mem::replace(&mut self.lost, lost);
        if lines > 0 {
            self.write(self.last, What::Lost { lines })?;
        }
        Ok(())
    }

    fn write(&mut self, t: f64, what: What) -> io::Result<()> {
        let t = seconds(t);
        self.last = self.last.max(t);
        self.out.line(&Line { t, what })?;
        self.gauge.lines.fetch_add(1, Ordering::Relaxed);
        self.gauge.bytes.store(self.out.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Seconds since the start; negative for what was before.
    fn t(&self, mono: Duration) -> f64 {
        mono.as_secs_f64() - self.start.mono.as_secs_f64()
    }

    fn take(&mut self, said: Said) -> io::Result<()> {
        match said {
            Said::Event(at, SourceEvent::Readings(readings)) => self.readings(at, &readings),
            Said::Event(at, SourceEvent::Link(link)) => {
                let line = self.link(&link);
                self.write(self.t(at), What::Link(line))
            }
            Said::Event(at, SourceEvent::Alive) => {
                self.last = self.last.max(self.t(at));
                Ok(())
            }
            Said::Question(at, peer, question) => self.question(at, peer, *question),
        }
    }

    fn readings(&mut self, at: Duration, readings: &[Reading]) -> io::Result<()> {
        for (n, reading) in readings.iter().enumerate() {
            let line = ReadingLine {
                input: self.entities.of(&reading.entity).to_string(),
                state: names::state(&reading.state),
                unit: reading.unit.as_deref().map(names::unit),
                age: reading.age.map(|age| seconds(age.as_secs_f64())),
                more: n + 1 < readings.len(),
            };
            self.write(self.t(at), What::Reading(line))?;
        }
        Ok(())
    }

    fn link(&self, link: &Link) -> LinkLine {
        let (link, alive) = match link {
            Link::Idle(_) => (LinkWord::Idle, None),
            Link::Connecting => (LinkWord::Connecting, None),
            Link::Starting => (LinkWord::Starting, None),
            Link::Up => (LinkWord::Up, None),
            Link::Down { last_alive, .. } => (LinkWord::Down, *last_alive),
        };
        let alive = alive.map(|at| seconds(self.t(at)));
        LinkLine { link, alive }
    }

    fn introduce(&mut self, peer: IpAddr, number: usize) -> io::Result<()> {
        let scaling = &self.in_force.scaling;
        let named = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&peer));
        let mut meters = self.in_force.meters.iter();
        let line = ReaderLine {
            reader: names::reader(number),
            share: named_share(peer, scaling),
            controlled: meters.any(|meter| named(&meter.control.readers)),
            viewer: named(&scaling.viewers),
        };
        self.write(self.last, What::Reader(line))
    }

    fn question(&mut self, at: Duration, peer: IpAddr, line: QuestionLine) -> io::Result<()> {
        let (number, new) = self.readers.number(peer);
        if new {
            self.introduce(peer, number)?;
        }
        let reader = names::reader(number);
        self.write(self.t(at), What::Question(QuestionLine { reader, ..line }))
    }
}

const _: () = assert!(line::LONGEST > 16 * 1024, "a header holds all options");
