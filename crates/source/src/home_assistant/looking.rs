//! Asking when entities that have been quiet were reported last: by a template, or over REST where
//! none is rendered.

use std::time::Duration;

use super::table::Table;
use vocab::EntityId;

/// Where a stamp could not be asked for, it is tried again after this.
const NO_ANSWER: Duration = Duration::from_secs(60);

/// What was asked, and which way. Pure: time comes in, on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Looking {
    question: Question,
    over_rest: bool,
}

#[derive(Debug, Default)]
enum Question {
    #[default]
    None,
    Asked {
        at: Duration,
        of: Vec<EntityId>,
    },
    /// Refused as a template just now.
    Refused {
        of: Vec<EntityId>,
    },
}

impl Looking {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.question, Question::None)
    }

    /// No template is rendered here: whatever is asked, is asked over REST.
    pub(super) fn is_over_rest(&self) -> bool {
        self.over_rest
    }

    /// A template was refused, or not answered.
    pub(super) fn without_templates(&mut self) {
        self.over_rest = true;
        if let Question::Asked { of, .. } = std::mem::take(&mut self.question) {
            self.question = Question::Refused { of };
        }
    }

    /// The entities to ask about now.
    pub(super) fn ask(&mut self, table: &mut Table, now: Duration) -> Vec<EntityId> {
        let due = match &mut self.question {
            Question::Refused { of } => std::mem::take(of),
            Question::Asked { at, .. } if now < *at + NO_ANSWER => return Vec::new(),
            _ => table.looks(now, now + NO_ANSWER),
        };
        if !due.is_empty() {
            let of = due.clone();
            self.question = Question::Asked { at: now, of };
        }
        due
    }

    /// An answer came; when it was asked for, if it was.
    pub(super) fn answered(&mut self) -> Option<Duration> {
        match std::mem::take(&mut self.question) {
            Question::Asked { at, .. } => Some(at),
            _ => None,
        }
    }
}
