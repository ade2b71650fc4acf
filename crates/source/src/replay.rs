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
use tokio::time::{Instant, sleep, sleep_until};

use super::channels::{SourceChannels, Stopped};
use config::{Inputs, PowerInput, SourceSettings, TotalPhase};
use vocab::Phase;
use vocab::reason::{Cause, Quoted, Unreachable};
use vocab::{EntityId, Link, Reading, SourceEvent, State};

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
        let path = settings.replay_file.as_deref();
        Self::open(path.ok_or(Unreachable::NoReplayFile)?)
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
        let header = names.join(",");
        let entities: &[&str] = match &*header {
            "ts,a,b,c" => &["replay.a_power", "replay.b_power", "replay.c_power"],
            "ts,w" => &["replay.total_power"],
            _ => {
                return Err(Unreachable::ReplayHeader {
                    path: shown,
                    header: Quoted(header.into()),
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
        let path = self.path.clone();
        match self.reader.read_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                let error = Cause::of(&error);
                return Err(Unreachable::ReplayUnread { path, error });
            }
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let quoted = |value: &str| Quoted(value.into());
        if self.record.len() != self.entities.len() + 1 {
            let whole = self.record.iter().collect::<Vec<_>>().join(",");
            let value = quoted(&whole);
            return Err(Unreachable::ReplayCells { path, line, value });
        }
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite());
        let value = quoted(&self.record[0]);
        let Some(at) = number(&self.record[0]).filter(|t| *t >= 0.0) else {
            return Err(Unreachable::ReplayTime { path, line, value });
        };
        if self.last.is_some_and(|last| at < last) {
            return Err(Unreachable::ReplayOrder { path, line, value });
        }
        let cell = |text: &str| match text {
            "" => Ok(None),
            text if number(text).is_some() => Ok(Some(Arc::from(text))),
            text => Err(quoted(text)),
        };
        let cells = self
            .record
            .iter()
            .skip(1)
            .map(cell)
            .collect::<Result<_, _>>();
        let cells = cells.map_err(|value| Unreachable::ReplayNumber { path, line, value })?;
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
    let opened = Replay::of(settings).and_then(|replay| Ok((Rows::open(&replay.path)?, replay)));
    let (mut rows, replay) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    tracing::info!(
        path = %replay.path.display(),
        "replaying {} rows at {} times real time",
        replay.rows,
        settings.replay_speed
    );
    let began = Instant::now();
    let (mut first, mut before, mut step) = (None, None, 1.0_f64);
    let ended = loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => {
                // The last row is worth as long as the one before it.
                let rest = (step.min(60.0) / settings.replay_speed).min(60.0);
                channels.wait(sleep(Duration::from_secs_f64(rest))).await?;
                break Ok(());
            }
            Err(error) => break Err(error),
        };
        if let Some(before) = before.replace(row.ts).filter(|before| row.ts > *before) {
            step = row.ts - before;
        }
        let is_first = first.is_none();
        let since = row.ts - *first.get_or_insert(row.ts);
        // Longer than any run: wait for the stop.
        let due = Duration::try_from_secs_f64(since / settings.replay_speed)
            .ok()
            .and_then(|after| began.checked_add(after));
        match due {
            Some(due) => channels.wait(sleep_until(due)).await?,
            None => channels.wait(std::future::pending()).await?,
        }
        let now = channels.clock.now();
        let readings = SourceEvent::Readings(rows.readings(Some(&row)));
        channels.say(now, readings).await?;
        if is_first {
            channels.say(now, SourceEvent::Link(Link::Up)).await?;
        }
    };
    let unavailable = SourceEvent::Readings(rows.readings(None));
    channels.say(channels.clock.now(), unavailable).await?;
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
        for (text, mistake) in [
            ("time,a,b,c\n", r#"header "time,a,b,c""#),
            ("ts,w\n", "no rows"),
            ("ts,w\n1,2\n2,1;5\n", r#"line 3: "1;5" is no number"#),
            ("ts,w\n1,nan\n", r#"line 2: "nan""#),
            ("ts,w\nx,1\n", r#"line 2: "x" is no Unix time"#),
            ("ts,w\n5,1\n4,1\n", "before the row above"),
            ("ts,a,b,c\n5,1,2\n", "another number of cells"),
        ] {
            let error = error(text);
            assert!(error.contains(mistake), "{text:?}: {error}");
        }
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
        let total = Replay::open(f.path()).unwrap().inputs().total.unwrap();
        assert_eq!(&*total.import[0], "replay.total_power");
    }
}
