//! A recorded CSV as the source: `ts,a,b,c` or `ts,w` with a header; Unix seconds and watts, an
//! empty cell is unavailable.
//!
//! The whole file is checked before the first value is said, so a mistake in line 40,000 is known
//! at once.

use std::{
    convert::Infallible,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use csv::{Reader, ReaderBuilder, StringRecord, Trim};

use super::channels::{SourceChannels, Stopped};
use config::{Inputs, PowerInput, SourceSettings, TotalPhase};
use vocab::Phase;
use vocab::reason::{Cause, Quoted, Unreachable};
use vocab::{EntityId, Link, Reading, SourceEvent, State};

/// What is wrong with a replay file, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// `source: replay` without a file.
    #[error("source replay needs replay_file: a CSV with the header ts,a,b,c or ts,w")]
    NoFile,
    /// The file cannot be read.
    #[error("replay_file {path} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        why: String,
    },
    /// The header is another one.
    #[error("replay_file {path} line 1: header {header:?} is neither ts,a,b,c nor ts,w")]
    Header {
        /// The file.
        path: String,
        /// What it says.
        header: String,
    },
    /// A cell is wrong.
    #[error("replay_file {path} line {line}: {value:?} {why}")]
    Cell {
        /// The file.
        path: String,
        /// Line, from 1.
        line: u64,
        /// The text.
        value: String,
        /// What is expected.
        why: &'static str,
    },
    /// Nothing to replay.
    #[error("replay_file {path} has no rows")]
    Empty {
        /// The file.
        path: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    ts: f64,
    cells: Vec<Option<Arc<str>>>,
}

/// A checked file.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    entities: Vec<EntityId>,
    rows: u64,
}

impl Replay {
    /// Opens and checks the whole file.
    pub fn open(path: &Path) -> Result<Self, Unreachable> {
        let mut rows = Rows::open(path)?;
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        if count == 0 {
            return Err(Unreachable::ReplayEmpty {
                path: path.display().to_string().into(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            entities: rows.entities,
            rows: count,
        })
    }

    /// The file of the settings, checked.
    pub fn of(settings: &SourceSettings) -> Result<Self, Unreachable> {
        Self::open(
            settings
                .replay_file
                .as_deref()
                .ok_or(Unreachable::NoReplayFile)?,
        )
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What a meter is fed from it: three phases, or one total on the first.
    #[must_use]
    pub fn inputs(&self) -> Inputs {
        let input = |id: &EntityId| Some(PowerInput::plain(vec![id.clone()], Vec::new()));
        match self.entities.as_slice() {
            [a, b, c] => Inputs {
                phases: [input(a), input(b), input(c)],
                ..Inputs::none()
            },
            other => Inputs {
                total: other.first().and_then(input),
                total_phase: TotalPhase::On(Phase::A),
                ..Inputs::none()
            },
        }
    }
}

/// The rows, one after the other, each checked.
struct Rows {
    path: Arc<str>,
    reader: Reader<BufReader<File>>,
    record: StringRecord,
    entities: Vec<EntityId>,
    last: Option<f64>,
}

impl Rows {
    fn open(path: &Path) -> Result<Self, Unreachable> {
        let shown: Arc<str> = path.display().to_string().into();
        let unread = |error: &(dyn std::error::Error + 'static)| Unreachable::ReplayUnread {
            path: Arc::clone(&shown),
            error: Cause::of(error),
        };
        let file = File::open(path).map_err(|e| unread(&e))?;
        let mut reader = ReaderBuilder::new()
            .trim(Trim::All)
            .flexible(true)
            .from_reader(BufReader::new(file));
        let header = reader.headers().map_err(|e| unread(&e))?;
        let names: Vec<String> = header
            .iter()
            .map(|n| n.trim_start_matches('\u{feff}').to_ascii_lowercase())
            .collect();
        let entities: &[&str] = match names
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            ["ts", "a", "b", "c"] => &["replay.a_power", "replay.b_power", "replay.c_power"],
            ["ts", "w"] => &["replay.total_power"],
            _ => {
                return Err(Unreachable::ReplayHeader {
                    path: shown,
                    header: Quoted(names.join(",").into()),
                });
            }
        };
        let entities = entities.iter().map(|e| EntityId::from_static(e)).collect();
        Ok(Self {
            path: shown,
            reader,
            record: StringRecord::new(),
            entities,
            last: None,
        })
    }

    fn next(&mut self) -> Result<Option<Row>, Unreachable> {
        let more =
            self.reader
                .read_record(&mut self.record)
                .map_err(|e| Unreachable::ReplayUnread {
                    path: self.path.clone(),
                    error: Cause::of(&e),
                })?;
        if !more {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let (path, quoted) = (self.path.clone(), |value: &str| Quoted(value.into()));
        if self.record.len() != self.entities.len() + 1 {
            let whole = self.record.iter().collect::<Vec<_>>().join(",");
            let value = quoted(&whole);
            return Err(Unreachable::ReplayCells { path, line, value });
        }
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
        let ts = &self.record[0];
        let Some(at) = number(ts).filter(|t| *t >= 0.0) else {
            let value = quoted(ts);
            return Err(Unreachable::ReplayTime { path, line, value });
        };
        if self.last.is_some_and(|last| at < last) {
            let value = quoted(ts);
            return Err(Unreachable::ReplayOrder { path, line, value });
        }
        let mut cells = Vec::with_capacity(self.entities.len());
        for cell in self.record.iter().skip(1) {
            cells.push(match cell {
                "" => None,
                text if number(text).is_some() => Some(Arc::from(text)),
                text => {
                    let value = quoted(text);
                    return Err(Unreachable::ReplayNumber { path, line, value });
                }
            });
        }
        self.last = Some(at);
        Ok(Some(Row { ts: at, cells }))
    }

    fn readings(&self, row: Option<&Row>) -> Vec<Reading> {
        let cell = |i: usize| row.and_then(|r| r.cells.get(i).cloned().flatten());
        let reading = |(i, id): (usize, &EntityId)| Reading {
            entity: id.clone(),
            state: State::Text(cell(i).unwrap_or_else(|| Arc::from("unavailable"))),
            unit: Some(Arc::from("W")),
            age: Some(Duration::ZERO),
        };
        self.entities.iter().enumerate().map(reading).collect()
    }
}

/// Says the rows in their rhythm × speed; after the last one everything is unavailable and the link
/// down.
pub(super) async fn run(
    settings: &SourceSettings,
    channels: SourceChannels,
) -> Result<Infallible, Stopped> {
    let reason = match play(settings, &channels).await? {
        Ok(()) => Unreachable::ReplayEnded,
        Err(error) => error,
    };
    tracing::warn!("{reason}: its values are unavailable from now on");
    let now = channels.clock.now();
    let link = Link::Down {
        reason,
        last_alive: Some(now.mono),
    };
    channels.say(now, SourceEvent::Link(link)).await?;
    channels.stop.cancelled().await;
    Err(Stopped)
}

async fn play(
    settings: &SourceSettings,
    channels: &SourceChannels,
) -> Result<Result<(), Unreachable>, Stopped> {
    let replay = match Replay::of(settings) {
        Ok(replay) => replay,
        Err(error) => return Ok(Err(error)),
    };
    let mut rows = match Rows::open(&replay.path) {
        Ok(rows) => rows,
        Err(error) => return Ok(Err(error)),
    };
    tracing::info!(
        path = %replay.path.display(),
        "replaying {} rows at {} times real time",
        replay.rows,
        settings.replay_speed
    );
    let began = tokio::time::Instant::now();
    let mut first = None;
    let (mut up, mut step, mut before_ts) = (false, 1.0_f64, None);
    let ended = loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => {
                // The last row is worth as long as the one before it.
                channels
                    .sleep(Duration::from_secs_f64(
                        (step.min(60.0) / settings.replay_speed).min(60.0),
                    ))
                    .await?;
                break Ok(());
            }
            Err(error) => break Err(error),
        };
        let before = before_ts.replace(row.ts).unwrap_or(row.ts);
        step = if row.ts > before {
            row.ts - before
        } else {
            step
        };
        let since = row.ts - *first.get_or_insert(row.ts);
        // Longer than any run: wait for the stop.
        let due = Duration::try_from_secs_f64(since / settings.replay_speed)
            .ok()
            .and_then(|after| began.checked_add(after));
        tokio::select! {
            biased;
            () = channels.stop.cancelled() => return Err(Stopped),
            () = async { match due { Some(due) => tokio::time::sleep_until(due).await, None => std::future::pending().await } } => {}
        }
        let now = channels.clock.now();
        channels
            .say(now, SourceEvent::Readings(rows.readings(Some(&row))))
            .await?;
        if !std::mem::replace(&mut up, true) {
            channels.say(now, SourceEvent::Link(Link::Up)).await?;
        }
    };
    channels
        .say(
            channels.clock.now(),
            SourceEvent::Readings(rows.readings(None)),
        )
        .await?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut f = tempfile::NamedTempFile::new().unwrap();
        f.write_all(text.as_bytes()).unwrap();
        f
    }

    fn error(text: &str) -> String {
        let f = file(text);
        Replay::open(f.path()).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_name_line_and_value() {
        assert!(error("time,a,b,c\n").contains(r#"header "time,a,b,c""#));
        assert!(error("ts,w\n").contains("no rows"));
        assert!(error("ts,w\n1,2\n2,1;5\n").contains(r#"line 3: "1;5" is no number"#));
        assert!(error("ts,w\n1,nan\n").contains(r#"line 2: "nan""#));
        assert!(error("ts,w\nx,1\n").contains(r#"line 2: "x" is no Unix time"#));
        assert!(error("ts,w\n5,1\n4,1\n").contains("before the row above"));
        assert!(error("ts,a,b,c\n5,1,2\n").contains("another number of cells"));
        assert!(
            Replay::open(Path::new("nowhere.csv"))
                .unwrap_err()
                .to_string()
                .contains("nowhere.csv")
        );
    }

    #[test]
    fn rows_become_readings() {
        let f = file("\u{feff}ts, a, b, c\r\n10,1.5,,-3\r\n10.5,2,3,4\r\n");
        let replay = Replay::open(f.path()).unwrap();
        assert_eq!(replay.rows(), 2);
        assert_eq!(replay.inputs().entities().len(), 3);
        assert!(replay.inputs().any_power());
        let mut rows = Rows::open(f.path()).unwrap();
        let row = rows.next().unwrap();
        let texts: Vec<State> = rows
            .readings(row.as_ref())
            .into_iter()
            .map(|r| r.state)
            .collect();
        assert_eq!(
            texts,
            ["1.5", "unavailable", "-3"].map(|t| State::Text(Arc::from(t)))
        );
        let f = file("ts,w\n0,100\n");
        assert_eq!(
            Replay::open(f.path())
                .unwrap()
                .inputs()
                .total
                .unwrap()
                .import[0]
                .as_ref(),
            "replay.total_power"
        );
    }
}
