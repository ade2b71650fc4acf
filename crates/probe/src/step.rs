//! What became of one call.

use std::time::Duration;

use serde::Serialize;

use super::{Expect, Fault};
use vocab::one_line::one_line;

/// As much of an answer as is shown, characters.
const SHOWN: usize = 200;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As the reader needs it.
    Good,
    /// It works, but is worth knowing.
    Note,
    /// The reader breaks on it.
    Bad,
    /// It was not asked.
    Skipped,
}

/// What a judge found in an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// What the reader breaks on.
    pub faults: Vec<Fault>,
    /// What is worth knowing.
    pub notes: Vec<Fault>,
}

impl Verdict {
    /// One that breaks the reader.
    #[must_use]
    pub fn bad(fault: Fault) -> Self {
        let mut verdict = Self::default();
        verdict.fault(fault);
        verdict
    }

    /// Adds what breaks the reader.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Adds what is worth knowing.
    pub fn note(&mut self, fault: Fault) {
        self.notes.push(fault);
    }
}

/// One call of a reader, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The call as it was made.
    pub call: String,
    /// What the reader expects.
    pub expected: Expect,
    /// What came, shortened to one line; empty: nothing.
    pub came: String,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub state: State,
    /// What is wrong, the worst first; of a good step nothing.
    pub why: Vec<Fault>,
}

/// What is left out of many faults of one kind.
const MOST: usize = 6;

impl Step {
    /// A step that was made.
    #[must_use]
    pub fn new(
        call: impl Into<String>,
        expected: Expect,
        came: &str,
        took: Duration,
        verdict: Verdict,
    ) -> Self {
        let state = match (verdict.faults.is_empty(), verdict.notes.is_empty()) {
            (false, _) => State::Bad,
            (true, false) => State::Note,
            (true, true) => State::Good,
        };
        let mut why = verdict.faults;
        why.extend(verdict.notes);
        why.truncate(MOST);
        Self {
            call: call.into(),
            expected,
            came: shortened(came),
            took,
            state,
            why,
        }
    }

    /// A step that was not made.
    #[must_use]
    pub fn skipped(call: impl Into<String>, expected: Expect, why: Fault) -> Self {
        Self {
            call: call.into(),
            expected,
            came: String::new(),
            took: Duration::ZERO,
            state: State::Skipped,
            why: vec![why],
        }
    }
}

/// The beginning of an answer, on one line.
fn shortened(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    one_line(out.trim()).into_owned()
}

/// All steps of one test.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// In their order.
    pub steps: Vec<Step>,
}

impl Report {
    /// Whether no step is red.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.state != State::Bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_an_answer_is_shortened() {
        let long = format!("{{\n{}", "ü".repeat(500));
        let mut verdict = Verdict::default();
        let step = |v: &Verdict| Step::new("x", Expect::Power, &long, Duration::ZERO, v.clone());
        assert_eq!(step(&verdict).state, State::Good);
        verdict.note(Fault::ZeroCounter);
        assert_eq!(step(&verdict).state, State::Note);
        verdict.fault(Fault::CloudOn);
        let step = step(&verdict);
        assert_eq!((step.state, &step.why[0]), (State::Bad, &Fault::CloudOn));
        assert!(step.came.chars().count() <= SHOWN + 2 && step.came.ends_with('…'));
        assert!(!step.came.contains('\n'));
        assert!(!Report::default().passed());
        assert!(!Report { steps: vec![step] }.passed());
    }
}
