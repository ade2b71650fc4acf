//! Questions of a session that wait for their answers, and how long they may.

use std::{collections::HashMap, time::Duration};

/// What a sent id was for, where its answer or its events count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Started,
    CoreConfig,
    Config,
    Http,
    Names,
    Registry,
    Entities,
    Stamps,
}

impl Question {
    /// Its name in the API.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Started | Self::CoreConfig | Self::Names => "subscribe_events",
            Self::Config => "get_config",
            Self::Http => "http/config",
            Self::Registry => "config/entity_registry/get_entries",
            Self::Entities => "subscribe_entities",
            Self::Stamps => "render_template",
        }
    }

    /// Whether no value comes without its answer.
    pub(super) const fn is_needed(self) -> bool {
        matches!(self, Self::Config | Self::Registry | Self::Entities)
    }

    /// Whether events follow a good result.
    const fn has_events(self) -> bool {
        !matches!(self, Self::Config | Self::Http | Self::Registry)
    }

    /// That it was heard says nothing yet: the first event is the answer.
    const fn answers_by_event(self) -> bool {
        matches!(self, Self::Entities | Self::Stamps)
    }
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    question: Question,
    answered: bool,
    /// When its answer is not waited for any more.
    limit: Option<Duration>,
}

impl Asked {
    /// The same while there is no answer.
    fn due(&self) -> Option<Duration> {
        self.limit.filter(|_| !self.answered)
    }
}

/// By id, what was asked and what is followed.
#[derive(Debug, Default)]
pub(super) struct Questions(HashMap<u64, Asked>);

impl Questions {
    pub(super) fn ask(&mut self, id: u64, question: Question) {
        let asked = Asked {
            question,
            answered: false,
            limit: None,
        };
        self.0.insert(id, asked);
    }

    /// Neither an answer nor events of it count any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// The result of a question came; `ok`: where it has events, they follow.
    pub(super) fn result(&mut self, id: u64, ok: bool) -> Option<Question> {
        let asked = self.0.get_mut(&id)?;
        let question = asked.question;
        if ok && question.has_events() {
            asked.answered |= !question.answers_by_event();
        } else {
            self.forget(id);
        }
        Some(question)
    }

    /// An event came: of what.
    pub(super) fn event(&mut self, id: u64) -> Option<Question> {
        let asked = self.0.get_mut(&id)?;
        asked.answered = true;
        Some(asked.question)
    }

    /// What has no time limit so far, has it from now on.
    pub(super) fn limit(&mut self, due: Duration) {
        for asked in self.0.values_mut() {
            asked.limit.get_or_insert(due);
        }
    }

    /// When the first of them is over its time.
    pub(super) fn due(&self) -> Option<Duration> {
        self.0.values().filter_map(Asked::due).min()
    }

    /// One that is over its time; the needed ones first. It is forgotten.
    pub(super) fn late(&mut self, now: Duration) -> Option<Question> {
        let (&id, _) = self
            .0
            .iter()
            .filter(|(_, asked)| asked.due().is_some_and(|due| now >= due))
            .min_by_key(|(id, asked)| (!asked.question.is_needed(), **id))?;
        self.0.remove(&id).map(|asked| asked.question)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_time_until_it_is_answered() {
        let second = Duration::from_secs;
        let mut open = Questions::default();
        open.ask(0, Question::Names);
        open.ask(1, Question::Config);
        open.ask(2, Question::Entities);
        open.ask(3, Question::Http);
        assert_eq!(open.due(), None, "they have just been asked");
        assert_eq!(open.late(second(99)), None, "they have just been asked");
        open.limit(second(30));
        open.limit(second(45));
        assert_eq!(open.due(), Some(second(30)));
        assert_eq!(open.late(second(29)), None);
        // Heard is not answered where events are to come.
        assert_eq!(
            [(0, true), (2, true), (3, false)].map(|(id, ok)| open.result(id, ok).is_some()),
            [true; 3]
        );
        assert_eq!(open.late(second(30)), Some(Question::Config));
        assert_eq!(open.late(second(30)), Some(Question::Entities));
        assert_eq!((open.late(second(99)), open.due()), (None, None));
        assert_eq!(open.event(0), Some(Question::Names));
        assert_eq!(open.event(2), None);
        assert_eq!(open.event(3), None);
        open.ask(5, Question::Entities);
        open.limit(second(60));
        assert_eq!(open.result(5, true), Some(Question::Entities));
        assert_eq!(open.event(5), Some(Question::Entities));
        assert_eq!(open.late(second(99)), None);
    }
}
