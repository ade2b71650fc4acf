//! One-shot questions to Home Assistant over a connection of their own: ask, answer, close.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio_tungstenite::tungstenite::Message;

use super::{
    address::{Address, AddressError, Cadence},
    frames::{Outgoing, messages},
    socket::{NoSocket, Socket, connect, refused},
};

/// Why Home Assistant could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nowhere to ask.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The token is wrong, or this address is banned.
    #[error("{0}")]
    Refused(String),
    /// It is not there, or went away.
    #[error("{0}")]
    Unreachable(String),
    /// It answered, but with an error.
    #[error("Home Assistant could not answer {what}: {why}")]
    Failed {
        /// Which question.
        what: &'static str,
        /// Its error, or what was wrong with the answer.
        why: String,
    },
}

/// An authenticated connection.
pub(crate) struct Asker {
    socket: Socket,
    last_id: u64,
    answer_max: Duration,
}

impl Asker {
    /// Connects and authenticates.
    pub(crate) async fn open(address: &Address, cadence: &Cadence) -> Result<Self, QueryError> {
        let socket = connect(address, cadence).await.map_err(|e| match e {
            NoSocket::Forbidden(why) => QueryError::Refused(why),
            NoSocket::Failed(why) => QueryError::Unreachable(why),
        })?;
        let mut asker = Self { socket, last_id: 0, answer_max: cadence.handshake };
        loop {
            let text = asker.text().await?;
            let (all, _) = messages(&text);
            for message in all {
                match &*message.kind {
                    "auth_required" => asker.send(Outgoing::Auth { access_token: &address.token.0 }.frame()).await?,
                    "auth_ok" => return Ok(asker),
                    "auth_invalid" => return Err(QueryError::Refused(refused(address, &message.message.unwrap_or_default()))),
                    _ => {}
                }
            }
        }
    }

    /// The same with the first of these that answers.
    pub(crate) async fn open_any(addresses: &[Address], cadence: &Cadence) -> Result<Self, QueryError> {
        let mut last = QueryError::Unreachable("no address".to_owned());
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
        self.send(question(asked)).await?;
        loop {
            let text = self.text().await?;
            let (all, _) = messages(&text);
            let Some(answer) = all.into_iter().find(|m| m.id == Some(asked) && m.kind == "result") else { continue };
            let failed = |why: String| QueryError::Failed { what, why };
            return Ok(match answer.result {
                Some(result) if answer.success == Some(true) => serde_json::from_str(result.get()).map_err(|e| failed(e.to_string())),
                _ => Err(failed(answer.error.unwrap_or_default().to_string())),
            });
        }
    }

    /// Says goodbye; a dead end is not waited for.
    pub(crate) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.stream.close(None)).await;
    }

    async fn send(&mut self, frame: String) -> Result<(), QueryError> {
        match tokio::time::timeout(self.answer_max, self.socket.stream.send(Message::text(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(QueryError::Unreachable(format!("the connection to Home Assistant broke: {error}"))),
            Err(_) => Err(self.silent()),
        }
    }

    async fn text(&mut self) -> Result<String, QueryError> {
        let gone = |why: String| QueryError::Unreachable(format!("the connection to Home Assistant {why}"));
        let next = async {
            loop {
                match self.socket.stream.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                    Some(Ok(Message::Close(_))) | None => return Err(gone("was closed".to_owned())),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(gone(format!("broke: {error}"))),
                }
            }
        };
        match tokio::time::timeout(self.answer_max, next).await {
            Ok(text) => text,
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> QueryError {
        QueryError::Unreachable(format!("Home Assistant did not answer for {} s", self.answer_max.as_secs()))
    }
}
