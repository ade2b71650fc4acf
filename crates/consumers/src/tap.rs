//! What a recording hears: each question with what was answered.

use super::call::{AnsweredCall, Asked, Caller};
use vocab::Now;

/// What a reader was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReaderKind {
    /// It regulates on the power.
    Battery,
    /// It looks and does not act.
    Viewer,
    /// Nobody knows.
    Reader,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Told {
    /// A result with this power, W.
    Watts(f64),
    /// A result without power.
    Result,
    /// The error of this code.
    Error(i32),
    /// Nothing.
    Silence,
}

/// A question, answered; or a notification.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Who.
    pub caller: &'a Caller,
    /// What it was taken for.
    pub kind: ReaderKind,
    /// The method, if there is one of that name; else `unknown`.
    pub method: &'a str,
    /// What it was for.
    pub asked: Asked,
    /// What was answered.
    pub told: Told,
}

/// Hears of every question. It must not wait: readers wait for their answers meanwhile.
pub trait Tap: Send + Sync + std::fmt::Debug {
    /// Whether it wants to hear anything.
    fn listens(&self) -> bool;

    /// Takes a question and its answer.
    fn hear(&self, heard: &Heard<'_>, now: Now);
}

impl Told {
    /// What was answered to `asked`.
    #[must_use]
    pub fn of(asked: &AnsweredCall<'_>) -> Self {
        match (asked.value, asked.error) {
            (Some(watts), _) => Self::Watts(watts),
            (None, Some(code)) => Self::Error(code),
            (None, None) if asked.reply.is_empty() => Self::Silence,
            (None, None) => Self::Result,
        }
    }
}
