//! The lines of a file: one JSON object each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use consumers::{Channel, ReaderKind, Told};

/// What the first line calls the file.
pub const FORMAT: &str = "virtual-shelly-recording";
/// Version of the format; a file of a higher one is refused.
pub const VERSION: u32 = 1;
/// A longer line is broken: none is written that is nearly as long.
pub const LONGEST: usize = 64 * 1024;

/// Options by key, entities by the names that the file gives them.
pub type Options = BTreeMap<String, Value>;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Unix time of second 0.
    pub start: f64,
    /// Options of each meter that count for the power it serves.
    pub meters: Vec<Options>,
}

/// What a line is about, and when, s since the start; negative for what was known before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub t: f64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum What {
    /// A state of an entity.
    Reading(ReadingLine),
    /// How the link to the source is.
    Link(LinkLine),
    /// What options by address say of a reader.
    Reader(ReaderLine),
    /// A question or a notification.
    Question(QuestionLine),
    /// Other options count from now on.
    Options {
        /// As in the header.
        meters: Vec<Options>,
    },
    /// So many lines could not be written since the last such line.
    Lost {
        /// How many.
        lines: u64,
    },
    /// The end, and why.
    End {
        /// Why.
        why: End,
    },
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Somebody stopped it.
    Stopped,
    /// It was as long as it may be.
    Time,
    /// It was as large as it may be.
    Size,
    /// The process ended.
    Exit,
}

/// A state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadingLine {
    /// The name that stands for the entity.
    pub input: String,
    /// The state's text; null: there is no such entity.
    pub state: Option<String>,
    /// Its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How long ago it was reported, s; null: nobody knows.
    pub age: Option<f64>,
    /// The next line is of the same moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkLine {
    /// How it is.
    pub link: LinkWord,
    /// When the last sign of life came, s since the start, where the link is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive: Option<f64>,
}

/// How the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkWord {
    /// Nothing to try.
    Idle,
    /// First connection.
    Connecting,
    /// Home Assistant starts.
    Starting,
    /// Connected.
    Up,
    /// Lost.
    Down,
}

/// What options by address say of a reader: the addresses themselves are not in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReaderLine {
    /// Who.
    pub reader: String,
    /// `scaling_shares`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// `control_readers` names it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub controlled: bool,
    /// `scaling_viewers` names it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub viewer: bool,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionLine {
    /// Index of the meter.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub meter: usize,
    /// Who.
    pub reader: String,
    /// The way in.
    pub channel: Channel,
    /// What.
    pub method: String,
    /// The one phase that it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<u8>,
    /// What the reader was taken for.
    pub kind: ReaderKind,
    /// How long it waited for its turn, s, where it was a battery's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<f64>,
    /// What was answered.
    pub answer: Answer,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(meter: &usize) -> bool {
    *meter == 0
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// Power, W.
    Watts(f64),
    /// In a word.
    Word(Word),
    /// An error.
    Error {
        /// Its code.
        error: i32,
    },
}

/// An answer without power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// A result without power, or with nulls.
    Result,
    /// Nothing.
    Silence,
}

impl Answer {
    /// Nothing was answered.
    pub const SILENCE: Self = Self::Word(Word::Silence);
    /// A result without power.
    pub const RESULT: Self = Self::Word(Word::Result);

    /// The power, W.
    #[must_use]
    pub const fn watts(self) -> Option<f64> {
        match self {
            Self::Watts(watts) => Some(watts),
            Self::Word(_) | Self::Error { .. } => None,
        }
    }
}

impl From<Told> for Answer {
    fn from(told: Told) -> Self {
        match told {
            Told::Watts(watts) => Self::Watts(watts),
            Told::Result => Self::RESULT,
            Told::Error(error) => Self::Error { error },
            Told::Silence => Self::SILENCE,
        }
    }
}

/// Seconds as they are written: to a tenth of a millisecond.
#[must_use]
pub fn seconds(seconds: f64) -> f64 {
    (seconds * 10_000.0).round() / 10_000.0
}

/// Reads the first line.
///
/// # Errors
/// In a line, what is wrong with it.
pub fn header(text: &str) -> Result<Header, String> {
    let header: Header = serde_json::from_str(text.trim_end())
        .map_err(|error| format!("its first line is none of a recording: {error}"))?;
    if header.format != FORMAT {
        return Err(format!("it is no recording but {:?}", clip(&header.format)));
    }
    if header.version > VERSION {
        return Err(format!(
            "it is of format {}, and only formats up to {VERSION} are known: take a newer program",
            header.version
        ));
    }
    if !header.start.is_finite() || header.meters.is_empty() {
        return Err("its first line names no start or no meter".into());
    }
    Ok(header)
}

/// Reads any other line.
///
/// # Errors
/// In a line, what is wrong with it.
pub fn line(text: &str) -> Result<Line, String> {
    let line: Line = serde_json::from_str(text.trim_end()).map_err(|error| error.to_string())?;
    if line.t.is_finite() && line.t.abs() < 1e7 {
        Ok(line)
    } else {
        Err("its time is out of range".into())
    }
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}
