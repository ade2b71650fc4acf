//! Who of Home Assistant's users is an administrator: ingress lets every user in and says only
//! which one it is.

use std::collections::HashMap;

use futures_util::FutureExt;
use serde::Deserialize;

use super::{
    Access,
    home_assistant::{
        command::Command,
        query::{self, QueryError},
    },
};
use config::SourceSettings;

/// The group of administrators, by Home Assistant's own id.
const ADMINISTRATORS: &str = "system-admin";

#[derive(Deserialize)]
struct User {
    id: String,
    #[serde(default)]
    is_owner: bool,
    #[serde(default)]
    is_active: bool,
    #[serde(default)]
    group_ids: Vec<String>,
}

impl User {
    /// As Home Assistant itself decides.
    fn is_administrator(&self) -> bool {
        self.is_owner
            || (self.is_active && self.group_ids.iter().any(|group| group == ADMINISTRATORS))
    }
}

/// Every user's id, and whether it is an administrator's. Our token has to be one's; that of an app
/// is.
///
/// # Errors
/// When Home Assistant cannot be asked or refuses.
pub async fn administrators(
    settings: &SourceSettings,
    access: &Access,
) -> Result<HashMap<String, bool>, QueryError> {
    let users: Vec<User> = query::ask(settings, access, |connection| {
        async move {
            connection
                .ask("who its users are", &Command::ListUsers)
                .await?
        }
        .boxed()
    })
    .await?;
    Ok(users
        .into_iter()
        .map(|user| (user.id.clone(), user.is_administrator()))
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn owners_and_active_members_of_the_group_are_administrators() {
        // Shapes of Core 2026.11 (`config/auth/list`).
        for (text, administrator) in [
            (
                r#"{"id":"1","username":"anna","name":"Anna","is_owner":true,"is_active":true,"local_only":false,
                "system_generated":false,"group_ids":["system-admin"],"credentials":[{"type":"homeassistant"}]}"#,
                true,
            ),
            (
                r#"{"id":"2","is_active":true,"group_ids":["system-admin"]}"#,
                true,
            ),
            (
                r#"{"id":"3","is_active":false,"group_ids":["system-admin"]}"#,
                false,
            ),
            (
                r#"{"id":"4","is_active":true,"group_ids":["system-users"]}"#,
                false,
            ),
            (
                r#"{"id":"5","is_active":true,"group_ids":["system-read-only"]}"#,
                false,
            ),
            (r#"{"id":"6"}"#, false),
        ] {
            let user: User = serde_json::from_str(text).unwrap();
            assert_eq!(user.is_administrator(), administrator, "{text}");
        }
    }
}
