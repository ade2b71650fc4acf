//! Which entity a value is of.

use std::{borrow::Borrow, fmt, ops::Deref, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Characters that an id has at most in Home Assistant.
const MAX: usize = 255;

/// A Home Assistant entity id, e.g. `sensor.grid_power`. Demo and replay name theirs
/// `demo.a_power`, `replay.a_power` ….
///
/// It has the form that Home Assistant asks of one (`valid_entity_id` in its `core.py`): one bad id
/// fails a whole request there.
///
/// ```
/// let id: vocab::EntityId = "sensor.grid_power".parse()?;
/// assert_eq!(id.domain(), "sensor");
/// assert_eq!(id.object_id(), "grid_power");
/// assert!("grid_power".parse::<vocab::EntityId>().is_err());
/// # Ok::<(), vocab::NotAnEntityId>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct EntityId(Arc<str>);

/// A text that is no entity id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnEntityId(Arc<str>);

impl EntityId {
    /// An id that stands in the program.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn from_static(id: &'static str) -> Self {
        assert!(is_entity_id(id), "{id:?} is no entity id");
        Self(id.into())
    }

    /// What stands before the dot: `sensor`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.parts().0
    }

    /// What stands behind the dot: `grid_power`.
    #[must_use]
    pub fn object_id(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('.').unwrap_or_default()
    }
}

fn is_entity_id(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let is_name = |part: &str| part.split('_').all(word);
    text.len() <= MAX
        && text
            .split_once('.')
            .is_some_and(|(domain, object)| is_name(domain) && is_name(object))
}

impl TryFrom<Arc<str>> for EntityId {
    type Error = NotAnEntityId;

    fn try_from(text: Arc<str>) -> Result<Self, NotAnEntityId> {
        if is_entity_id(&text) {
            Ok(Self(text))
        } else {
            Err(NotAnEntityId(text))
        }
    }
}

impl FromStr for EntityId {
    type Err = NotAnEntityId;

    fn from_str(text: &str) -> Result<Self, NotAnEntityId> {
        Arc::<str>::from(text).try_into()
    }
}

impl From<EntityId> for Arc<str> {
    fn from(id: EntityId) -> Self {
        id.0
    }
}

impl Deref for EntityId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for EntityId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for EntityId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for NotAnEntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(
            f,
            "{text:?} is no entity id; one is like sensor.grid_power: small letters, digits and single underscores around one dot"
        )
    }
}

impl std::error::Error for NotAnEntityId {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn is_one(text: &str) -> bool {
        text.parse::<EntityId>().is_ok()
    }

    #[test]
    fn ids_of_home_assistant_demo_and_replay_are_ids() {
        for id in [
            "sensor.a_1",
            "input_number.x1",
            "3d.4",
            "demo.a_power",
            "replay.total_power",
        ] {
            assert!(is_one(id), "{id}");
        }
    }

    #[test]
    fn what_home_assistant_refuses_is_none() {
        for text in [
            "",
            ".",
            "sensor",
            "sensor.",
            ".a",
            "sensor.a.b",
            "sensor.A",
            "Sensor.a",
            "sensor.ä",
            "sensor._a",
            "sensor.a_",
            "sensor.a__b",
            "sens__or.a",
            "_sensor.a",
            "sensor_.a",
            " sensor.a",
            "sensor.a ",
            "sensor.a b",
            "sensor.a-b",
            "tibber:energy",
            "sensor.a\n",
        ] {
            assert!(!is_one(text), "{text:?}");
        }
    }

    #[test]
    fn an_id_has_at_most_255_characters() {
        let id = |length: usize| format!("sensor.{}", "a".repeat(length - 7));
        assert!(is_one(&id(255)));
        assert!(!is_one(&id(256)));
    }

    #[test]
    fn the_error_says_what_is_wrong_in_a_line() {
        let error = "sensor.a\nb".parse::<EntityId>().unwrap_err().to_string();
        assert!(
            error.starts_with(r#""sensor.a\nb" is no entity id; "#),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }

    const NAME: &str = "[a-z0-9]{1,6}(_[a-z0-9]{1,6}){0,3}";

    proptest! {
        #[test]
        fn two_names_with_a_dot_are_an_id(domain in NAME, object in NAME) {
            let text = format!("{domain}.{object}");
            let id: EntityId = text.parse().unwrap();
            prop_assert_eq!(id.domain(), domain);
            prop_assert_eq!(id.object_id(), object);
            prop_assert_eq!(id.to_string(), text);
        }

        #[test]
        fn any_text_is_taken_as_home_assistants_expression_takes_it(
            text in prop_oneof!["[a-c_.]{0,9}", "[a-zA-Z0-9_. ]{0,12}", any::<String>()],
        ) {
            let is_name = |part: &str| {
                !part.is_empty()
                    && !part.starts_with('_')
                    && !part.ends_with('_')
                    && part.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
            };
            let parts: Vec<&str> = text.split('.').collect();
            let is_id = parts.len() == 2 && parts.iter().all(|part| is_name(part)) && !text.contains("__");
            prop_assert_eq!(is_one(&text), is_id);
        }

        #[test]
        fn json_brings_ids_and_nothing_else(text in prop_oneof![NAME, "[a-c_.]{0,9}"]) {
            let json = serde_json::to_string(&text).unwrap();
            let read = serde_json::from_str::<EntityId>(&json).ok();
            prop_assert_eq!(&read, &text.parse().ok());
            if let Some(id) = read {
                prop_assert_eq!(serde_json::to_string(&id).unwrap(), json);
            }
        }
    }
}
