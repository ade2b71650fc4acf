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
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use super::{connect, silent, unreached};
use crate::{Fault, Target};
use vocab::reason::Cause;

/// What an answer may take: Victron's limit after set-up.
const PATIENCE: Duration = Duration::from_secs(4);
/// Largest message that is read.
const MOST: usize = 512 * 1024;
/// Messages that are kept while an answer is waited for.
const KEPT: usize = 64;

/// What the other end said.
enum Said {
    Text(String),
    Pong,
}

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
    /// Opens `/rpc`, for calls from `src`; `agent` says that nobody reads.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn open(
        target: &Target,
        port: u16,
        src: &'static str,
        agent: &str,
    ) -> Result<Self, Fault> {
        let stream = connect(&target.host, port).await?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MOST))
            .max_frame_size(Some(MOST));
        let url = format!("ws://{}/rpc", target.at(port));
        let mut request = url.into_client_request().map_err(failed)?;
        if let Ok(agent) = HeaderValue::from_str(agent) {
            request.headers_mut().insert(header::USER_AGENT, agent);
        }
        let opening = client_async_with_config(request, stream, Some(limits));
        match timeout(PATIENCE, opening).await {
            Ok(Ok((stream, _))) => Ok(Self {
                stream,
                next: 0,
                src,
                waiting: Vec::new(),
            }),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(silent(PATIENCE)),
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
            if let Some(text) = self.waiting_for(|frame| frame.get("id") == Some(id)) {
                return Ok(text);
            }
            match self.read(end).await {
                Ok(Said::Text(text)) => self.keep(text),
                Ok(Said::Pong) => {}
                // A wrong id is an answer, too: the judge says so.
                Err(fault @ Fault::Silent { .. }) => {
                    return self.waiting_for(|frame| !is_update(frame)).ok_or(fault);
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
            let holds = |frame: &Value| {
                frame["method"] == "NotifyStatus" && frame["params"].get(key).is_some()
            };
            if let Some(text) = self.waiting_for(holds) {
                return Ok(text);
            }
            match self.read(end).await {
                Ok(Said::Text(text)) => self.keep(text),
                Ok(Said::Pong) => {}
                Err(Fault::Silent { .. }) => {
                    let seconds = within.as_secs();
                    return Err(Fault::NoUpdate { seconds });
                }
                Err(fault) => return Err(fault),
            }
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
            match self.read(end).await? {
                Said::Pong => return Ok(()),
                Said::Text(text) => self.keep(text),
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

    /// Takes the first of the frames that wait which is one of these.
    fn waiting_for(&mut self, is: impl Fn(&Value) -> bool) -> Option<String> {
        let frame = |text: &String| serde_json::from_str(text).unwrap_or_default();
        let at = self.waiting.iter().position(|text| is(&frame(text)))?;
        Some(self.waiting.remove(at))
    }

    async fn read(&mut self, end: Instant) -> Result<Said, Fault> {
        loop {
            match timeout_at(end, self.stream.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => return Ok(Said::Text(text.to_string())),
                Ok(Some(Ok(Message::Pong(_)))) => return Ok(Said::Pong),
                Ok(Some(Ok(Message::Close(_))) | None) => {
                    return Err(unreached(std::io::ErrorKind::ConnectionReset.into()));
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(failed(error)),
                Err(_) => return Err(silent(PATIENCE)),
            }
        }
    }
}

fn is_update(frame: &Value) -> bool {
    let method = frame["method"].as_str();
    method.is_some_and(|method| method.starts_with("Notify"))
}
