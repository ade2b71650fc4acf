//! A recorded day, answered again with other options. Pure: time is that of the file.

use std::{
    collections::BTreeMap,
    io::{BufRead, Read},
    sync::Arc,
    time::Duration,
};

use super::{
    compare::{Comparer, Comparison},
    engine::{Engine, Setup, mono},
    line::{self, Header, LONGEST, LinkLine, LinkWord, Options, QuestionLine, ReadingLine, What},
    options::{self, Changes},
};
use vocab::{
    Link, NotAnEntityId, Reading, SourceEvent, State,
    reason::{Reason, Unreachable},
};

/// A question that waited stands in the file when it was answered; by this much it may have been
/// asked earlier, s.
const LATE: f64 = 120.0;
/// No recording is longer, s.
const LONGEST_TIME: f64 = 8.0 * 24.0 * 3600.0;
/// Meters of one file.
const METERS: usize = 32;
/// Readings of one moment.
const AT_ONCE: usize = 4096;
/// Things that are put in order at once; more than that within [`LATE`] is no recording of ours.
const AHEAD: usize = 1_000_000;

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is none of a recording.
    #[error("{0}")]
    Header(String),
    /// A line is broken.
    #[error("line {0} is broken: {1}")]
    Line(u64, String),
    /// The options.
    #[error("{0}")]
    Options(Reason),
}

/// What happens.
enum Happens {
    Event(SourceEvent),
    Question(QuestionLine),
    Options(Vec<Options>),
    Reader(line::ReaderLine),
}

/// Replays a recording with `changes` over its options.
///
/// # Errors
/// [`ReplayError`], one line each.
pub fn replay(file: impl BufRead, changes: &Changes) -> Result<Comparison, ReplayError> {
    options::check(changes).map_err(ReplayError::Options)?;
    let mut lines = Lines { file, number: 0 };
    let first = lines.next()?;
    let first = first.ok_or_else(|| ReplayError::Header("it is empty".into()))?;
    // Windows' editors put a mark before the text.
    let first = first.text.trim_start_matches('\u{feff}');
    let header = line::header(first).map_err(ReplayError::Header)?;
    let mut run = Run::new(&header, changes)?;
    let mut lost = 0;
    while let Some(text) = lines.next()? {
        // Editors leave empty lines.
        if text.text.trim().is_empty() {
            continue;
        }
        let broken = |why| ReplayError::Line(lines.number, why);
        let line = match line::line(&text.text) {
            Ok(line) => line,
            // The process was cut off while it wrote.
            Err(_) if !text.whole => break,
            Err(why) => return Err(broken(why)),
        };
        if line.t > LONGEST_TIME {
            return Err(broken("no recording is as long as that".into()));
        }
        run.newest = run.newest.max(line.t);
        match line.what {
            What::Lost { lines } => lost += lines,
            What::End { .. } => break,
            what => run.take(line.t, what).map_err(broken)?,
        }
        run.go_on(mono(run.newest - LATE))?;
    }
    run.go_on(Duration::MAX)?;
    if run.newest.is_finite() {
        // What waits still is answered within this time, or not at all.
        let end = mono(run.newest) + Duration::from_secs(30);
        for engine in &mut run.meters {
            engine.advance(end, &mut run.out);
        }
    }
    Ok(Comparison {
        program: header.program.clone(),
        start: header.start,
        seconds: run.newest.max(0.0),
        lines: lines.number,
        lost,
        changes: changes.clone(),
        readers: run.out.finish(),
    })
}

struct Lines<R> {
    file: R,
    number: u64,
}

struct Text {
    text: String,
    /// It ends as a line does.
    whole: bool,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Text>, ReplayError> {
        let mut bytes = Vec::new();
        let most = LONGEST as u64;
        (&mut self.file).take(most).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let whole = bytes.ends_with(b"\n");
        if !whole && bytes.len() as u64 == most {
            return Err(ReplayError::Line(self.number, "it is too long".into()));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(Text { text, whole })),
            Err(_) if !whole => Ok(None),
            Err(_) => Err(ReplayError::Line(self.number, "it is no text".into())),
        }
    }
}

struct Run<'a> {
    changes: &'a Changes,
    meters: Vec<Engine>,
    /// By its time, and at one time in the order of the file.
    ahead: BTreeMap<(Duration, u64), Happens>,
    seq: u64,
    newest: f64,
    at_once: Vec<Reading>,
    out: Comparer,
}

impl<'a> Run<'a> {
    fn new(header: &Header, changes: &'a Changes) -> Result<Self, ReplayError> {
        let setups = setups(&header.meters, changes).map_err(ReplayError::Options)?;
        let from = |options: &Options| {
            options::settings(options, &Changes::new())
                .ok()
                .and_then(|(meter, _)| meter.smoothing)
                .map_or(0.0, |window| window.as_secs_f64())
        };
        let meters = setups
            .into_iter()
            .zip(&header.meters)
            .map(|(setup, options)| Engine::new(setup, header.start, from(options)))
            .collect();
        Ok(Self {
            changes,
            meters,
            ahead: BTreeMap::new(),
            seq: 0,
            newest: f64::NEG_INFINITY,
            at_once: Vec::new(),
            out: Comparer::default(),
        })
    }

    fn push(&mut self, t: f64, what: Happens) -> Result<(), String> {
        if self.ahead.len() >= AHEAD {
            return Err("too much happens at once".into());
        }
        self.seq += 1;
        self.ahead.insert((mono(t), self.seq), what);
        Ok(())
    }

    fn take(&mut self, t: f64, what: What) -> Result<(), String> {
        match what {
            What::Reading(line) => {
                let more = line.more;
                self.at_once.push(reading(line).map_err(|e| e.to_string())?);
                if more && self.at_once.len() < AT_ONCE {
                    return Ok(());
                }
                let readings = std::mem::take(&mut self.at_once);
                self.push(t, Happens::Event(SourceEvent::Readings(readings)))
            }
            What::Link(line) => self.push(t, Happens::Event(SourceEvent::Link(link(&line)))),
            What::Reader(line) => self.push(t, Happens::Reader(line)),
            What::Options { meters } => self.push(t, Happens::Options(meters)),
            What::Question(line) => {
                if line.meter >= self.meters.len() {
                    return Err(format!("there is no meter {}", line.meter));
                }
                let waited = line.waited.filter(|waited| waited.is_finite());
                let asked = t - waited.unwrap_or(0.0).clamp(0.0, LATE);
                self.push(asked, Happens::Question(line))
            }
            What::Lost { .. } | What::End { .. } => Ok(()),
        }
    }

    /// Does what happens until `until`.
    fn go_on(&mut self, until: Duration) -> Result<(), ReplayError> {
        while let Some(next) = self.ahead.first_entry()
            && next.key().0 <= until
        {
            let ((at, _), what) = next.remove_entry();
            let out = &mut self.out;
            for engine in &mut self.meters {
                engine.advance(at, out);
            }
            match what {
                Happens::Event(event) => {
                    for engine in &mut self.meters {
                        engine.event(&event, out);
                    }
                }
                Happens::Question(question) => {
                    if let Some(engine) = self.meters.get_mut(question.meter) {
                        engine.question(question, out);
                    }
                }
                Happens::Reader(line) => {
                    for engine in &mut self.meters {
                        engine.name(line.clone());
                    }
                }
                Happens::Options(meters) => {
                    let setups = setups(&meters, self.changes).map_err(ReplayError::Options)?;
                    for (engine, setup) in self.meters.iter_mut().zip(setups) {
                        engine.configure(setup);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The settings of each meter, with the changes over them.
fn setups(meters: &[Options], changes: &Changes) -> Result<Vec<Setup>, Reason> {
    if meters.is_empty() || meters.len() > METERS {
        let why = format!("a recording has 1 to {METERS} meters");
        return Err(Reason::foreign(why));
    }
    let none = Changes::new();
    let changed = |key: &str| changes.contains_key(key);
    let one = |options: &Options| {
        let (was, _) = options::settings(options, &none)?;
        let (meter, scaling) = options::settings(options, changes)?;
        Ok(Setup {
            by_changes: [
                changed("scaling_shares"),
                changed("scaling_viewers"),
                changed("control_readers"),
            ],
            same_stale: was.stale == meter.stale,
            same_control: was.control.mode == meter.control.mode
                && !changed("scaling_viewers")
                && !changed("control_readers"),
            meter,
            scaling,
        })
    };
    meters.iter().map(one).collect()
}

fn reading(line: ReadingLine) -> Result<Reading, NotAnEntityId> {
    Ok(Reading {
        entity: options::entity(&line.input)?,
        state: line
            .state
            .map_or(State::Gone, |text| State::Text(text.into())),
        unit: line.unit.map(Arc::from),
        age: line
            .age
            .and_then(|age| Duration::try_from_secs_f64(age).ok())
            .map(|age| age.min(Duration::from_secs(100 * 24 * 3600))),
    })
}

fn link(line: &LinkLine) -> Link {
    match line.link {
        LinkWord::Idle => Link::Idle(Unreachable::Ended),
        LinkWord::Connecting => Link::Connecting,
        LinkWord::Starting => Link::Starting,
        LinkWord::Up => Link::Up,
        LinkWord::Down => Link::Down {
            reason: Unreachable::Ended,
            last_alive: line
                .alive
                .filter(|alive| alive.is_finite() && alive.abs() < 1e7)
                .map(mono),
        },
    }
}
