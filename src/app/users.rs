//! Who is an administrator of Home Assistant, remembered for a while.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use config::SourceSettings;
use source::{Access, users::administrators};
use vocab::reason::{Reason, Unreachable};

/// An answer is good for a page so long.
const FOR_PAGES: Duration = Duration::from_secs(300);
/// And so long for a change: somebody may have lost the right meanwhile.
const FOR_CHANGES: Duration = Duration::from_secs(30);
/// Home Assistant is not asked again sooner about somebody whom it did not name, or after it did
/// not answer.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest that a page waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What was answered last.
#[derive(Default)]
struct Kept {
    administrators: HashMap<String, bool>,
    /// When that was.
    at: Option<Instant>,
    /// The last question, and why it was not answered.
    tried: Option<(Instant, Option<Reason>)>,
}

/// Users of Home Assistant.
#[derive(Default)]
pub struct Users(Mutex<Kept>);

impl Users {
    /// Whether this user is an administrator; `change`: an old answer is not good enough. One who
    /// was an administrator stays it while Home Assistant cannot be asked.
    ///
    /// # Errors
    /// Why Home Assistant cannot be asked, of a user of whom nothing is known.
    pub async fn is_administrator(
        &self,
        (source, access): (&SourceSettings, &Access),
        user: &str,
        change: bool,
    ) -> Result<bool, Reason> {
        let ask = || async {
            let answer = administrators(source, access).await;
            answer.map_err(|error| Reason::Link(error.into()))
        };
        self.ask(user, change, ask).await
    }

    async fn ask<F: Future<Output = Result<HashMap<String, bool>, Reason>>>(
        &self,
        user: &str,
        change: bool,
        ask: impl FnOnce() -> F,
    ) -> Result<bool, Reason> {
        // Whoever comes meanwhile waits for the same answer.
        let mut kept = self.0.lock().await;
        let known = kept.administrators.get(user).copied();
        let good_for = if change { FOR_CHANGES } else { FOR_PAGES };
        if let Some(is) = known
            && kept.at.is_some_and(|at| at.elapsed() < good_for)
        {
            return Ok(is);
        }
        if let Some((at, failed)) = &kept.tried
            && at.elapsed() < PAUSE
        {
            return match (known, failed) {
                (Some(is), _) => Ok(is),
                // It was answered, and this one is no user.
                (None, None) => Ok(false),
                (None, Some(why)) => Err(why.clone()),
            };
        }
        let answer = timeout(PATIENCE, ask()).await.unwrap_or_else(|_| {
            Err(Reason::Link(Unreachable::NotAnswered {
                what: "the users".into(),
                n: PATIENCE.as_secs(),
            }))
        });
        let now = Instant::now();
        match answer {
            Ok(administrators) => {
                let is = administrators.get(user).copied().unwrap_or(false);
                *kept = Kept {
                    administrators,
                    at: Some(now),
                    tried: Some((now, None)),
                };
                Ok(is)
            }
            Err(why) => {
                kept.tried = Some((now, Some(why.clone())));
                known.ok_or(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A Home Assistant whose users are these, or that is away; counts how often it was asked.
    #[derive(Default)]
    struct Asked {
        users: Users,
        times: AtomicUsize,
    }

    const AWAY: Result<&[(&str, bool)], &str> = Err("it is away");

    impl Asked {
        async fn says(
            &self,
            user: &str,
            change: bool,
            all: Result<&[(&str, bool)], &str>,
        ) -> Result<bool, String> {
            let answer = all
                .map(|all| all.iter().map(|(id, is)| ((*id).to_owned(), *is)).collect())
                .map_err(Reason::foreign);
            let ask = || {
                self.times.fetch_add(1, Ordering::Relaxed);
                async move { answer }
            };
            let said = self.users.ask(user, change, ask).await;
            said.map_err(|why| why.to_string())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_pages_longer_than_for_changes() {
        let asked = Asked::default();
        let all = Ok(&[("anna", true), ("bert", false)][..]);
        assert_eq!(asked.says("anna", true, all).await, Ok(true));
        assert_eq!(asked.says("bert", true, all).await, Ok(false));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(asked.says("anna", false, all).await, Ok(true));
        assert_eq!(asked.times.load(Ordering::Relaxed), 1);
        let demoted = Ok(&[("anna", false)][..]);
        assert_eq!(asked.says("anna", true, demoted).await, Ok(false));
        assert_eq!(
            asked.times.load(Ordering::Relaxed),
            2,
            "a change asks again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn while_home_assistant_is_away_known_ones_stay_and_strangers_wait() {
        let asked = Asked::default();
        let away = Err("it is away".to_owned());
        let anna = Ok(&[("anna", true)][..]);
        assert_eq!(asked.says("anna", false, AWAY).await, away);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            asked.says("anna", true, anna).await,
            away,
            "not asked in a loop"
        );
        tokio::time::advance(PAUSE).await;
        assert_eq!(asked.says("anna", true, anna).await, Ok(true));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(asked.says("anna", true, AWAY).await, Ok(true));
        assert_eq!(asked.says("carl", true, AWAY).await, away);
        tokio::time::advance(PAUSE).await;
        let both = Ok(&[("anna", true), ("carl", true)][..]);
        assert_eq!(
            asked.says("carl", true, both).await,
            Ok(true),
            "new ones are asked for at once"
        );
        assert_eq!(
            asked.says("dora", true, Ok(&[])).await,
            Ok(false),
            "an id that it does not know is nobody's"
        );
    }
}
