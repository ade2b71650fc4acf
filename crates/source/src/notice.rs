//! Persistent notifications in Home Assistant: made and taken back by its REST API, which the
//! Supervisor's proxy passes on too.

use serde::{Deserialize, Serialize};

use super::{
    beside,
    home_assistant::{Access, Address, end::End, rest::Rest},
};
use config::SourceSettings;
use vocab::reason::Unreachable;

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Makes a notification, or replaces the one of that id.
    Create {
        /// Its own name: letters, digits, `_`.
        id: String,
        /// A line.
        title: String,
        /// Some sentences.
        message: String,
    },
    /// Takes it back; none of that id is no error.
    Dismiss {
        /// Its own name.
        id: String,
    },
}

#[derive(Serialize)]
struct Body<'a> {
    notification_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    language: Option<String>,
}

impl Notice {
    fn call(&self) -> (&'static str, Body<'_>) {
        match self {
            Self::Create { id, title, message } => (
                "services/persistent_notification/create",
                Body {
                    notification_id: id,
                    title: Some(title),
                    message: Some(message),
                },
            ),
            Self::Dismiss { id } => (
                "services/persistent_notification/dismiss",
                Body {
                    notification_id: id,
                    title: None,
                    message: None,
                },
            ),
        }
    }
}

fn why(end: End) -> Unreachable {
    match end {
        End::Lost(why) | End::Refused(why) | End::TooLarge(why) => why,
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
    let address = Address::choose(settings, access)?;
    beside::ask(async move {
        let rest = Rest::new(&address)?;
        let (found, _) = rest.get_small::<Settings>("config").await.map_err(why)?;
        let language = found.and_then(|of| of.language);
        for notice in words(language.as_deref()) {
            let (path, body) = notice.call();
            rest.call(path, &body).await.map_err(why)?;
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
        let text = |notice: &Notice| {
            let (path, body) = notice.call();
            (path, serde_json::to_string(&body).unwrap())
        };
        let (id, title, message) = ("a".to_owned(), "b".to_owned(), "c".to_owned());
        assert_eq!(
            text(&Notice::Create {
                id: id.clone(),
                title,
                message
            }),
            (
                "services/persistent_notification/create",
                r#"{"notification_id":"a","title":"b","message":"c"}"#.to_owned()
            )
        );
        assert_eq!(
            text(&Notice::Dismiss { id }),
            (
                "services/persistent_notification/dismiss",
                r#"{"notification_id":"a"}"#.to_owned()
            )
        );
    }
}
