//! A reason in a file: its key and arguments, so that a page says it in the person's language
//! however long ago it was kept, and by whichever version.

use serde::{Deserialize, Serialize};

use super::{Arg, Explain};

/// Characters of a line, or of one argument, that are kept.
const TEXT: usize = 300;

/// A reason as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReason {
    /// The key of its text in `locales/`; none for the words of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What stands in the text's `{braces}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<(String, KeptArg)>,
    /// Its English line: what is said where a language does not know the key any more.
    pub line: String,
}

/// What stands in a kept reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptArg {
    /// The same in every language.
    Text(String),
    /// A word with a key in `locales/`.
    Word(String),
    /// How many.
    Count(u64),
    /// How long, ms.
    Span(u64),
    /// How much, in thousandths, and its unit.
    Amount(i64, String),
    /// A reason within the reason.
    Reason(Box<KeptReason>),
}

fn clipped(text: String) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

impl KeptReason {
    /// A reason as it is now.
    #[must_use]
    pub fn of(why: &dyn Explain) -> Self {
        let kept = |arg| match arg {
            Arg::Text(text) => KeptArg::Text(clipped(text)),
            Arg::Word(key) => KeptArg::Word(key.to_owned()),
            Arg::Count(n) => KeptArg::Count(n),
            Arg::Span(seconds) => KeptArg::Span((seconds * 1000.0) as u64),
            Arg::Amount(value, unit) => KeptArg::Amount((value * 1000.0) as i64, unit.to_owned()),
            Arg::Reason(why) => KeptArg::Reason(Box::new(Self::of(why))),
        };
        Self {
            key: why.key().map(str::to_owned),
            args: why
                .args()
                .into_iter()
                .map(|(name, arg)| (name.to_owned(), kept(arg)))
                .collect(),
            line: clipped(why.to_string()),
        }
    }

    /// Whether both are of one kind about the same thing, whatever their figures say by now.
    #[must_use]
    pub fn same_kind(&self, other: &Self) -> bool {
        let about = |of: &Self| {
            of.args
                .iter()
                .find(|(name, _)| name == "entity")
                .map(|(_, arg)| arg.clone())
        };
        match (&self.key, &other.key) {
            (Some(key), Some(of)) => key == of && about(self) == about(other),
            (None, None) => self.line == other.line,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        EntityId,
        reason::{Reason, Unreachable, Unusable},
    };

    #[test]
    fn every_reason_comes_back_from_its_text() {
        for why in Reason::samples() {
            let kept = KeptReason::of(&why);
            let text = serde_json::to_string(&kept).unwrap();
            assert_eq!(serde_json::from_str::<KeptReason>(&text).unwrap(), kept);
            assert_eq!(kept.line, why.to_string());
        }
        let foreign = KeptReason::of(&Reason::foreign("disk full"));
        assert_eq!((foreign.key, &*foreign.line), (None, "disk full"));
        let long = KeptReason::of(&Reason::foreign("ä".repeat(1000)));
        assert_eq!(long.line.chars().count(), TEXT);
    }

    #[test]
    fn a_kind_is_what_is_wrong_with_whom() {
        let of = |entity, why| KeptReason::of(&Reason::entity(&EntityId::from_static(entity), why));
        let away = of("sensor.a", Unusable::Unavailable);
        assert!(away.same_kind(&of("sensor.a", Unusable::Unavailable)));
        assert!(!away.same_kind(&of("sensor.b", Unusable::Unavailable)));
        assert!(!away.same_kind(&of("sensor.a", Unusable::Unknown)));
        assert!(!away.same_kind(&KeptReason::of(&Unreachable::Ended)));
    }
}
