//! One-shot questions to Home Assistant over a connection of their own: ask, answer, close.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    address::{Access, Address, Cadence},
    command::Command,
    end::{Broken, End, no_token},
    frames::messages,
    shrinking_socket::ShrinkingSocket,
    socket::connect,
};
use crate::{beside, facts::Transport};
use config::SourceSettings;
use vocab::reason::{Cause, Failure, Unreachable};

/// What was not answered last time: told once, until it is answered.
fn silent() -> MutexGuard<'static, BTreeSet<&'static str>> {
    static SILENT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    SILENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why Home Assistant could not be asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// The token is wrong, or this address is banned.
    #[error("{0}")]
    Refused(Unreachable),
    /// There is nowhere to ask, nobody is there, or it went away.
    #[error("{0}")]
    Unreachable(Unreachable),
    /// It answered, but with an error.
    #[error("Home Assistant could not answer {what}: {why}")]
    Failed {
        /// Which question.
        what: &'static str,
        /// Its error, or what was wrong with the answer.
        why: Cause,
        /// It has nothing under that name, its code `not_found` says.
        not_found: bool,
    },
}

impl QueryError {
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Failed {
                not_found: true,
                ..
            }
        )
    }
}

impl From<Unreachable> for QueryError {
    fn from(why: Unreachable) -> Self {
        Self::Unreachable(why)
    }
}

impl From<End> for QueryError {
    fn from(end: End) -> Self {
        match end {
            End::Refused(why) => Self::Refused(why),
            End::Lost(why) | End::TooLarge(why) => Self::Unreachable(why),
        }
    }
}

impl From<QueryError> for Unreachable {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Refused(why) | QueryError::Unreachable(why) => why,
            QueryError::Failed { what, why, .. } => Self::HaFailed {
                what: what.into(),
                error: why,
            },
        }
    }
}

/// An authenticated connection.
pub(crate) struct QueryConnection {
    socket: ShrinkingSocket,
    last_id: u64,
    answer_max: Duration,
}

/// Until when something is waited for, and what it is.
#[derive(Clone, Copy)]
struct Wait {
    what: &'static str,
    longest: Duration,
    until: Instant,
}

impl Wait {
    fn new(what: &'static str, longest: Duration) -> Self {
        Self {
            what,
            longest,
            until: Instant::now() + longest,
        }
    }

    /// Time is over, whatever else came meanwhile.
    fn over(self) -> QueryError {
        let why = Unreachable::HaSilent {
            what: self.what.into(),
            n: self.longest.as_secs(),
        };
        if silent().insert(self.what) {
            tracing::warn!("{why}: asked again later, on a new connection");
        }
        QueryError::Unreachable(why)
    }

    fn done(self) {
        silent().remove(self.what);
    }
}

/// Asks Home Assistant on a connection of its own, beside those who are served, and closes it
/// whatever came of it. Of several addresses the first that answers is asked.
pub(crate) async fn ask<T: Send + 'static>(
    settings: &SourceSettings,
    access: &Access,
    questions: impl FnOnce(&mut QueryConnection) -> BoxFuture<'_, Result<T, QueryError>>
    + Send
    + 'static,
) -> Result<T, QueryError> {
    let (addresses, cadence) = (Address::all(settings, access)?, access.cadence);
    beside::ask(async move {
        let mut connection = QueryConnection::open_any(&addresses, &cadence).await?;
        let answers = questions(&mut connection).await;
        connection.close().await;
        answers
    })
    .await
}

impl QueryConnection {
    /// Connects and authenticates.
    pub(crate) async fn open(address: &Address, cadence: &Cadence) -> Result<Self, QueryError> {
        let socket = connect(address, cadence).await?;
        let mut connection = Self {
            socket,
            last_id: 0,
            answer_max: cadence.answer,
        };
        let wait = Wait::new("the authentication", cadence.handshake);
        loop {
            let text = connection.text(wait).await?;
            let (all, _) = messages(&text);
            for message in all {
                match &*message.kind {
                    "auth_required" => {
                        let access_token = &address.token.0;
                        let auth = Command::Auth { access_token }.frame(None);
                        connection.send(auth, wait).await?;
                    }
                    "auth_ok" => {
                        wait.done();
                        return Ok(connection);
                    }
                    "auth_invalid" => {
                        let asked = address.shown(Transport::Websocket);
                        let why = no_token(message.message.as_deref());
                        return Err(QueryError::Refused(address.token_refused(&asked, why)));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The same with the first of these that answers.
    async fn open_any(addresses: &[Address], cadence: &Cadence) -> Result<Self, QueryError> {
        let mut last = QueryError::Unreachable(Unreachable::NoAddress);
        for address in addresses {
            match Self::open(address, cadence).await {
                Err(error @ QueryError::Unreachable(_)) => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    /// Asks one thing. The outer error: no connection any more; the inner: this question failed.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &mut self,
        what: &'static str,
        question: &Command<'_>,
    ) -> Result<Result<T, QueryError>, QueryError> {
        self.last_id += 1;
        let asked = self.last_id;
        let wait = Wait::new(what, self.answer_max);
        self.send(question.frame(Some(asked)), wait).await?;
        loop {
            let text = self.text(wait).await?;
            let (all, _) = messages(&text);
            let Some(answer) = all
                .into_iter()
                .find(|m| m.id == Some(asked) && m.kind == "result")
            else {
                continue;
            };
            wait.done();
            return Ok(match answer.result {
                Some(result) if answer.success == Some(true) => serde_json::from_str(result.get())
                    .map_err(|e| QueryError::Failed {
                        what,
                        why: Cause::known(e.to_string(), Failure::Unreadable),
                        not_found: false,
                    }),
                _ => {
                    let error = answer.error.unwrap_or_default();
                    Err(QueryError::Failed {
                        what,
                        not_found: error.is_not_found(),
                        why: Cause::said(error.to_string()),
                    })
                }
            });
        }
    }

    /// Asks for the Energy settings; `None` where nobody made any. Errors as those of
    /// [`Self::ask`].
    pub(crate) async fn energy_prefs<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Result<Option<T>, QueryError>, QueryError> {
        Ok(
            match self.ask("the Energy settings", &Command::GetPrefs).await? {
                Ok(prefs) => Ok(Some(prefs)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            },
        )
    }

    pub(crate) async fn close(mut self) {
        self.socket.close().await;
    }

    async fn send(&mut self, frame: String, wait: Wait) -> Result<(), QueryError> {
        match timeout_at(wait.until, self.socket.send(frame)).await {
            Ok(sent) => Ok(sent.map_err(|error| Unreachable::HaBroke { error })?),
            Err(_) => Err(wait.over()),
        }
    }

    async fn text(&mut self, wait: Wait) -> Result<Utf8Bytes, QueryError> {
        let what = wait.what.into();
        let why = match timeout_at(wait.until, self.socket.text()).await {
            Ok(Ok(text)) => return Ok(text),
            Ok(Err(Broken::TooLarge { n, most })) => Unreachable::AnswerTooLarge { what, n, most },
            Ok(Err(Broken::Closed)) => Unreachable::HaClosed,
            Ok(Err(Broken::Off(error))) => Unreachable::HaBrokeAsking { what, error },
            Err(_) => return Err(wait.over()),
        };
        Err(why.into())
    }
}
