//! Persistent notifications in Home Assistant: made and taken back by its REST API, which the
//! Supervisor's proxy passes on too.

use serde::Serialize;

use super::{
    beside,
    home_assistant::{Access, Address, rest::Rest},
};
use config::SourceSettings;
use vocab::reason::Unreachable;

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Notice {
    /// Makes a notification, or replaces the one of that id.
    Create {
        /// Its own name: letters, digits, `_`.
        #[serde(rename = "notification_id")]
        id: String,
        /// A line.
        title: String,
        /// Some sentences.
        message: String,
    },
    /// Takes it back; none of that id is no error.
    Dismiss {
        /// Its own name.
        #[serde(rename = "notification_id")]
        id: String,
    },
}

impl Notice {
    const fn path(&self) -> &'static str {
        match self {
            Self::Create { .. } => "services/persistent_notification/create",
            Self::Dismiss { .. } => "services/persistent_notification/dismiss",
        }
    }
}

/// Tells what `words` makes of Home Assistant's language (`de`, `pt-BR` …).
///
/// # Errors
/// When it cannot be told: some of it may have been.
pub async fn tell(
    settings: &SourceSettings,
    access: &Access,
    words: impl FnOnce(Option<&str>) -> Vec<Notice> + Send + 'static,
) -> Result<(), Unreachable> {
    let addresses = Address::all(settings, access)?;
    beside::ask(async move {
        let (rest, config) = Rest::reach(&addresses).await?;
        for notice in words(config.language.as_deref()) {
            rest.call(notice.path(), &notice).await?;
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_notification_is_what_home_assistant_takes() {
        let create = Notice::Create {
            id: "a".to_owned(),
            title: "b".to_owned(),
            message: "c".to_owned(),
        };
        let dismiss = Notice::Dismiss { id: "a".to_owned() };
        for (notice, path, body) in [
            (
                create,
                "services/persistent_notification/create",
                r#"{"notification_id":"a","title":"b","message":"c"}"#,
            ),
            (
                dismiss,
                "services/persistent_notification/dismiss",
                r#"{"notification_id":"a"}"#,
            ),
        ] {
            assert_eq!(notice.path(), path);
            assert_eq!(serde_json::to_string(&notice).unwrap(), body);
        }
    }
}
