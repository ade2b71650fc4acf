//! What became of one call.

use std::{sync::Arc, time::Duration};

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

    /// An answer, or the fault in place of one.
    pub fn take<T>(&mut self, answer: Result<T, Fault>) -> Option<T> {
        answer.map_err(|fault| self.fault(fault)).ok()
    }

    /// Adds that a member is not there.
    pub fn missing(&mut self, path: &str) {
        self.fault(Fault::Missing { path: path.into() });
    }

    /// Adds that a value is another than it has to be.
    pub fn differs(&mut self, path: &str, came: impl Into<Arc<str>>, wanted: impl Into<Arc<str>>) {
        self.fault(Fault::Differs {
            path: path.into(),
            came: came.into(),
            wanted: wanted.into(),
        });
    }

    /// Adds that a value is below 0 that never can be.
    pub fn negative(&mut self, path: &str, came: impl Into<Arc<str>>) {
        self.fault(Fault::Negative {
            path: path.into(),
            came: came.into(),
        });
    }

    /// Adds that a total is not the sum of its phases.
    pub fn sum(&mut self, path: &str, came: impl Into<Arc<str>>, sum: String) {
        self.fault(Fault::Sum {
            path: path.into(),
            came: came.into(),
            sum: sum.into(),
        });
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
    /// That the reader asks no port at which the meter is, if it is so.
    #[must_use]
    pub fn elsewhere(&self) -> Option<&Fault> {
        let mut all = self.steps.iter().flat_map(|step| &step.why);
        all.find(|why| matches!(why, Fault::OnlyPort { .. }))
    }

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
