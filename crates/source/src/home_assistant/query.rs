//! One-shot questions to Home Assistant over a connection of their own: ask, answer, close.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{
    address::{Address, AddressError, Cadence},
    end::{End, no_token},
    frames::{Outgoing, messages},
    socket::{Broken, Socket, broken, cause, connect, refused},
};
use vocab::reason::{Cause, Failure, Unreachable};

/// What was not answered last time: told once, until it is answered.
static SILENT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Why Home Assistant could not be asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// Nowhere to ask.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The token is wrong, or this address is banned.
    #[error("{0}")]
    Refused(Unreachable),
    /// It is not there, or went away.
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
            QueryError::Address(error) => error.into(),
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
    socket: Socket,
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
        if SILENT
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.what)
        {
            tracing::warn!("{why}: asked again later, on a new connection");
        }
        QueryError::Unreachable(why)
    }

    fn done(self) {
        SILENT
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(self.what);
    }
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
                        connection
                            .send(
                                Outgoing::Auth {
                                    access_token: &address.token.0,
                                }
                                .frame(),
                                wait,
                            )
                            .await?;
                    }
                    "auth_ok" => {
                        wait.done();
                        return Ok(connection);
                    }
                    "auth_invalid" => {
                        return Err(QueryError::Refused(refused(
                            address,
                            no_token(message.message.as_deref()),
                        )));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The same with the first of these that answers.
    pub(crate) async fn open_any(
        addresses: &[Address],
        cadence: &Cadence,
    ) -> Result<Self, QueryError> {
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
        question: impl FnOnce(u64) -> String,
    ) -> Result<Result<T, QueryError>, QueryError> {
        self.last_id += 1;
        let asked = self.last_id;
        let wait = Wait::new(what, self.answer_max);
        self.send(question(asked), wait).await?;
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

    /// Says goodbye; a dead end is not waited for.
    pub(crate) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.stream.close()).await;
    }

    async fn send(&mut self, frame: String, wait: Wait) -> Result<(), QueryError> {
        match timeout_at(wait.until, self.socket.stream.send(Message::text(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(QueryError::Unreachable(Unreachable::HaBroke {
                error: cause(&error),
            })),
            Err(_) => Err(wait.over()),
        }
    }

    async fn text(&mut self, wait: Wait) -> Result<Utf8Bytes, QueryError> {
        let next = async {
            loop {
                match self.socket.stream.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text),
                    Some(Ok(Message::Close(_))) | None => {
                        return Err(QueryError::Unreachable(Unreachable::HaClosed));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        let what = wait.what.into();
                        return Err(QueryError::Unreachable(match broken(&error) {
                            Broken::TooLarge { n, most } => {
                                Unreachable::AnswerTooLarge { what, n, most }
                            }
                            Broken::Closed => Unreachable::HaClosed,
                            Broken::Off(error) => Unreachable::HaBrokeAsking { what, error },
                        }));
                    }
                }
            }
        };
        timeout_at(wait.until, next)
            .await
            .unwrap_or_else(|_| Err(wait.over()))
    }
}
