//! The WebSocket on `/rpc`.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};

use super::{connect, unreached};
use crate::Fault;
use vocab::reason::Cause;

/// What an answer may take: Victron's limit after set-up.
const PATIENCE: Duration = Duration::from_secs(4);
/// Largest message that is read.
const MOST: usize = 512 * 1024;
/// Messages that are kept while an answer is waited for.
const KEPT: usize = 64;

/// An open socket.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    next: u64,
    /// Of the calls.
    src: &'static str,
    /// What came while something else was waited for.
    waiting: Vec<String>,
}

fn failed(error: tungstenite::Error) -> Fault {
    match error {
        tungstenite::Error::Io(error) => unreached(error),
        tungstenite::Error::Http(answer) => match answer.status().as_u16() {
            401 => Fault::Password,
            status => Fault::Status { status },
        },
        other => Fault::Unreached {
            error: Cause::said(other.to_string()),
        },
    }
}

impl Socket {
    /// Opens `/rpc`, for calls from `src`.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn open(host: &str, port: u16, src: &'static str) -> Result<Self, Fault> {
        let stream = connect(host, port).await?;
        let shown = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MOST))
            .max_frame_size(Some(MOST));
        let url = format!("ws://{shown}:{port}/rpc");
        let opening = client_async_with_config(url, stream, Some(limits));
        match timeout(PATIENCE, opening).await {
            Ok(Ok((stream, _))) => Ok(Self {
                stream,
                next: 0,
                src,
                waiting: Vec::new(),
            }),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(silent()),
        }
    }

    /// Sends a call and gives its id.
    ///
    /// # Errors
    /// When the socket is gone.
    pub async fn send(&mut self, method: &str, params: &Value) -> Result<Value, Fault> {
        self.next += 1;
        let mut frame = json!({"id": self.next, "src": self.src, "method": method});
        if !params.is_null() {
            frame["params"] = params.clone();
        }
        self.stream
            .send(Message::text(frame.to_string()))
            .await
            .map_err(failed)?;
        Ok(self.next.into())
    }

    /// The answer to a call: the frame with its id, else the first frame that is no notification.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn answer(&mut self, id: &Value) -> Result<String, Fault> {
        let end = Instant::now() + PATIENCE;
        loop {
            let ours = |text: &String| {
                let frame: Value = serde_json::from_str(text).unwrap_or_default();
                frame.get("id") == Some(id)
            };
            if let Some(at) = self.waiting.iter().position(ours) {
                return Ok(self.waiting.remove(at));
            }
            match self.read(end).await {
                Ok(text) => self.keep(text),
                // A wrong id is an answer, too: the judge says so.
                Err(Fault::Silent { .. })
                    if let Some(at) = self.waiting.iter().position(|text| !is_update(text)) =>
                {
                    return Ok(self.waiting.remove(at));
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// The next `NotifyStatus` that holds `key`.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn update(&mut self, key: &str, within: Duration) -> Result<String, Fault> {
        let end = Instant::now() + within;
        loop {
            let holds = |text: &String| {
                let frame: Value = serde_json::from_str(text).unwrap_or_default();
                frame["method"] == "NotifyStatus" && frame["params"].get(key).is_some()
            };
            if let Some(at) = self.waiting.iter().position(holds) {
                return Ok(self.waiting.remove(at));
            }
            let text = self.read(end).await.map_err(|fault| match fault {
                Fault::Silent { .. } => Fault::NoUpdate {
                    seconds: within.as_secs(),
                },
                other => other,
            })?;
            self.keep(text);
        }
    }

    /// A ping.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn ping(&mut self) -> Result<(), Fault> {
        self.stream
            .send(Message::Ping("test-as".into()))
            .await
            .map_err(failed)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match timeout_at(end, self.stream.next()).await {
                Ok(Some(Ok(Message::Pong(_)))) => return Ok(()),
                Ok(Some(Ok(Message::Text(text)))) => self.keep(text.to_string()),
                Ok(Some(Ok(Message::Close(_))) | None) => return Err(closed()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(failed(error)),
                Err(_) => return Err(silent()),
            }
        }
    }

    /// Closes it as a client does.
    pub async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }

    fn keep(&mut self, text: String) {
        if self.waiting.len() < KEPT {
            self.waiting.push(text);
        }
    }

    async fn read(&mut self, end: Instant) -> Result<String, Fault> {
        loop {
            match timeout_at(end, self.stream.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Ok(text.to_string()),
                Ok(Some(Ok(Message::Close(_))) | None) => return Err(closed()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(failed(error)),
                Err(_) => return Err(silent()),
            }
        }
    }
}

fn is_update(text: &str) -> bool {
    let frame: Value = serde_json::from_str(text).unwrap_or_default();
    frame["method"]
        .as_str()
        .is_some_and(|method| method.starts_with("Notify"))
}

fn silent() -> Fault {
    Fault::Silent {
        seconds: PATIENCE.as_secs(),
    }
}

fn closed() -> Fault {
    unreached(std::io::ErrorKind::ConnectionReset.into())
}
