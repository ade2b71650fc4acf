//! RPC over one WebSocket: requests in, answers and notifications out
//! (`docs/protocol/websocket.md`, `docs/protocol/notifications.md`).
//!
//! The same conversation runs on `/rpc`, on the fan-out ports and on the sockets that we dial;
//! [`Rules`] say how they differ. Requests may be in flight side by side and are answered on their
//! own socket in any order. Notifications are made from the newest view at the moment the socket
//! can take one: a reader that is slow misses old powers and delays nobody, and no queue grows.

use std::{
    error::Error,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt, Sink, SinkExt, Stream, StreamExt, future::BoxFuture, stream::FuturesUnordered,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, Sleep, sleep_until},
};
use tokio_tungstenite::tungstenite::{self, error::CapacityError};
use tokio_util::sync::CancellationToken;

use super::{
    endpoint::{Credentials, Endpoint, Present, Spoken, Terms},
    ground::Ground,
    limits::Rate,
};
use consumers::Caller;
use device::{
    Manner,
    frame::notification,
    notify::{Kind, Note, Notifier, Policy, Topic},
};

/// Largest message that is read; the device's own answers are larger than any request.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Bytes read at once: requests are small, and the library fills this with zeros before each read
/// (by default 128 KiB a socket).
pub const READ_BUFFER: usize = 4096;

/// Requests of one socket that may be under way before it is read no further.
const IN_FLIGHT: usize = 16;

/// Requests of one socket that may wait for a battery's turn besides.
const HELD: usize = 64;

/// A reader that takes nothing for this long is closed.
const STALLED: Duration = Duration::from_secs(60);

/// Silence after which we ping.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Silence after which the other side is taken for gone: three pings without an answer.
const GONE_AFTER: Duration = Duration::from_secs(110);

/// What a client whose message was too long has to take our close frame in.
const TO_READ_THE_CLOSE: Duration = Duration::from_millis(300);

/// When notifications begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// With the first frame that carries `src`, as the device does.
    Device,
    /// As the device, but a socket that stays silent for so long is a passive listener: it gets
    /// `NotifyFullStatus`, then `NotifyStatus`, without `dst`, until its first frame
    /// (`docs/decisions.md#passive-listeners`).
    Passive(Duration),
    /// At once, whether the client speaks or not: `NotifyFullStatus`, then `NotifyStatus`, with
    /// this `dst`.
    AtOnce(Kind, Option<Arc<str>>),
}

/// How a channel differs from the others.
#[derive(Clone, Debug)]
pub struct Rules {
    /// When notifications begin.
    pub opening: Opening,
    /// Whether a configured password is asked for on this channel; to change something it is asked
    /// for on all.
    pub ask_password: bool,
    /// Whether a page of another origin opened the socket: it may read and not change.
    pub foreign: bool,
    /// Answers a second to one address, shared with the listener's other connections.
    pub rate: Option<Arc<Rate>>,
    /// Told when the other side of a socket that we push to has asked for the first time.
    pub introduced: Option<Arc<Notify>>,
}

/// What a frame of the socket's library means here, so that axum's and tungstenite's sockets are
/// served alike.
pub trait Message: Sized {
    /// A text frame; the bytes are JSON that we made, so UTF-8.
    fn from_text(text: Bytes) -> Self;
    /// An empty ping.
    fn ping() -> Self;
    /// A close frame.
    fn close(code: u16, reason: &'static str) -> Self;
    /// The payload of a text or binary frame; `None` for ping, pong and close, which the library
    /// answers.
    fn payload(self) -> Option<Bytes>;
}

impl Message for axum::extract::ws::Message {
    fn from_text(text: Bytes) -> Self {
        text.try_into().map_or_else(|_| Self::ping(), Self::Text)
    }

    fn ping() -> Self {
        Self::Ping(Bytes::new())
    }

    fn close(code: u16, reason: &'static str) -> Self {
        Self::Close(Some(axum::extract::ws::CloseFrame {
            code,
            reason: reason.into(),
        }))
    }

    fn payload(self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(text.into()),
            Self::Binary(bytes) => Some(bytes),
            Self::Ping(_) | Self::Pong(_) | Self::Close(_) => None,
        }
    }
}

impl Message for tungstenite::Message {
    fn from_text(text: Bytes) -> Self {
        text.try_into().map_or_else(|_| Self::ping(), Self::Text)
    }

    fn ping() -> Self {
        Self::Ping(Bytes::new())
    }

    fn close(code: u16, reason: &'static str) -> Self {
        Self::Close(Some(tungstenite::protocol::CloseFrame {
            code: code.into(),
            reason: reason.into(),
        }))
    }

    fn payload(self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(text.into()),
            Self::Binary(bytes) => Some(bytes),
            Self::Ping(_) | Self::Pong(_) | Self::Close(_) | Self::Frame(_) => None,
        }
    }
}

/// Why a socket gives nothing more. The library's error is what axum's comes from.
fn ended_by(error: &(dyn Error + 'static)) -> Ended {
    let failed = error
        .downcast_ref()
        .or_else(|| error.source()?.downcast_ref());
    match failed {
        Some(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. })) => Ended::TooLong,
        _ => Ended::ByPeer,
    }
}

/// Why a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The other side closed or vanished.
    ByPeer,
    /// We were told to close.
    ByUs,
    /// It took nothing, or sent nothing, for too long.
    Stalled,
    /// It sent more than [`MAX_MESSAGE`] at once.
    TooLong,
}

impl Ended {
    /// Code and reason of our close frame; none where the other side is gone.
    fn farewell(self) -> Option<(u16, &'static str)> {
        match self {
            Self::ByPeer => None,
            Self::ByUs => Some((1001, "going away")),
            Self::Stalled => Some((1008, "not reading")),
            Self::TooLong => Some((1009, "message too long")),
        }
    }
}

/// Where it is seen that there is something new.
type News = watch::Receiver<Arc<Ground>>;

/// Waits for another ground.
async fn news(mut grounds: News) -> News {
    if grounds.changed().await.is_err() {
        // The meter is being taken down; sockets are closed by their token.
        std::future::pending::<()>().await;
    }
    grounds
}

/// Who is notified on one socket, and what tells when. Its futures live on between the requests of
/// the socket: taking a place in a queue of waiters anew for each of them costs more than answering
/// it.
struct Listening {
    notifier: Notifier,
    manner: Manner,
    /// `src` of who is notified, once it gave one: it is bound to that. Without, it is a listener
    /// that has not spoken, or one that is pushed to from the start.
    src: Option<Arc<str>>,
    /// `dst` of what goes to one without `src`.
    dst: Option<Arc<str>>,
    /// The total that the newest note tells, W.
    value: Option<f64>,
    news: BoxFuture<'static, News>,
    wake: Pin<Box<Sleep>>,
}

impl Listening {
    fn new(
        kind: Kind,
        endpoint: &Endpoint,
        caller: &Caller,
        src: Option<Arc<str>>,
        dst: Option<Arc<str>>,
    ) -> Self {
        let mut grounds = endpoint.watch();
        let ground = Arc::clone(&grounds.borrow_and_update());
        let view = endpoint.scaled(&ground, caller, None);
        let manner = endpoint.manner(&ground, Manner::default(), caller, src.as_deref(), None);
        let context = endpoint.context(&ground, caller.local, view, manner);
        Self {
            notifier: Notifier::new(kind, &context),
            manner,
            src,
            dst,
            value: None,
            news: Box::pin(news(grounds)),
            wake: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// Waits until something may be due, and gives what is; may be dropped while it waits.
    async fn next(listening: &mut Option<Self>, endpoint: &Endpoint, caller: &Caller) -> Vec<Note> {
        let Some(this) = listening else {
            return std::future::pending().await;
        };
        tokio::select! {
            grounds = &mut this.news => this.news = Box::pin(news(grounds)),
            () = &mut this.wake => {}
        }
        this.due(endpoint, caller)
    }

    /// What is due now, of the newest view.
    fn due(&mut self, endpoint: &Endpoint, caller: &Caller) -> Vec<Note> {
        let ground = endpoint.ground();
        let view = endpoint.scaled(&ground, caller, None);
        if view.snapshot.stale() {
            let src = self.src.as_deref();
            self.manner = endpoint.manner(&ground, self.manner, caller, src, None);
        }
        let policy = Policy::of(&ground.channels);
        self.value = view.totals.map(|t| t.act_power.get());
        let context = endpoint.context(&ground, caller.local, view, self.manner);
        let notes = self.notifier.poll(&ground.device, &context, &policy);
        let wake = endpoint.wake_at(self.notifier.wake());
        self.wake.as_mut().reset(wake);
        notes
    }
}

struct Conversation<'a, S> {
    socket: S,
    endpoint: &'a Endpoint,
    caller: &'a Caller,
    rules: &'a Rules,
    close: &'a CancellationToken,
    listening: Option<Listening>,
}

/// Talks on `socket` until one side ends it. Ends cleanly with code 1001 when `close` is cancelled.
pub async fn converse<S, M, E>(
    socket: S,
    endpoint: &Arc<Endpoint>,
    caller: &Caller,
    rules: &Rules,
    close: &CancellationToken,
) -> Ended
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin + Send,
    M: Message + Send,
    E: Error + Send + 'static,
{
    let _present = Present::new(endpoint, caller.clone());
    let mut conversation = Conversation {
        socket,
        endpoint,
        caller,
        rules,
        close,
        listening: None,
    };
    let ended = match conversation.run().await {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    if let Some((code, reason)) = ended.farewell() {
        conversation.farewell(code, reason).await;
    }
    if ended == Ended::TooLong {
        // The library reads no further, and closing over unread bytes is a reset, which may
        // overtake the close frame.
        tokio::time::sleep(TO_READ_THE_CLOSE).await;
    }
    ended
}

impl<S, M, E> Conversation<'_, S>
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin + Send,
    M: Message + Send,
    E: Error + Send + 'static,
{
    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        let (endpoint, caller, rules) = (self.endpoint, self.caller, self.rules);
        let mut passive_at = match &rules.opening {
            Opening::Device => None,
            Opening::Passive(after) => Some(Instant::now() + *after),
            Opening::AtOnce(kind, dst) => {
                self.push(*kind, dst.clone()).await?;
                None
            }
        };
        let held = AtomicUsize::new(0);
        let held = &held;
        let mut under_way: FuturesUnordered<BoxFuture<'_, Spoken>> = FuturesUnordered::new();
        let mut heard = Instant::now();
        let mut pinged = heard;
        let mut told_to_close = pin!(self.close.cancelled());
        let mut timer = pin!(sleep_until(passive_at.unwrap_or(heard + PING_EVERY)));
        loop {
            tokio::select! {
                // Answers and notices are bounded and come first; the timer only matters when
                // nothing else happens.
                biased;
                () = &mut told_to_close => return Err(Ended::ByUs),
                Some(spoken) = under_way.next(), if !under_way.is_empty() => self.answer(spoken).await?,
                notes = Listening::next(&mut self.listening, endpoint, caller) => self.notify(notes).await?,
                message = self.socket.next(), if under_way.len() < IN_FLIGHT + held.load(Ordering::Relaxed).min(HELD) => {
                    let message = message.ok_or(Ended::ByPeer)?.map_err(|error| ended_by(&error))?;
                    heard = Instant::now();
                    let Some(payload) = message.payload() else { continue };
                    let ground = endpoint.ground();
                    let limit = ground.channels.rate_limit;
                    if rules.rate.as_ref().is_some_and(|r| !r.allow(caller.peer, limit)) {
                        self.answer(Spoken::too_many(&payload, &ground.device.identity.id)).await?;
                        continue;
                    }
                    let credentials = Credentials::of_frames(rules.ask_password);
                    let mut answering = async move {
                        let manner = Manner::http(ground.channels.strict_minimal_payload);
                        let terms = Terms { credentials, foreign: rules.foreign, manner, held: Some(held), ..Terms::on(&ground) };
                        endpoint.frames(caller, &payload, terms).await
                    }
                    .boxed();
                    // Nearly every answer is there at once; only those that read records or take
                    // effect are waited for beside others, and looked at anew there.
                    match (&mut answering).now_or_never() {
                        Some(spoken) => {
                            if spoken.accepted() {
                                passive_at = None;
                            }
                            self.answer(spoken).await?;
                        }
                        None => {
                            passive_at = None;
                            under_way.push(answering);
                        }
                    }
                }
                () = &mut timer => {
                    let now = Instant::now();
                    if passive_at.take_if(|at| *at <= now).is_some() && !(rules.ask_password && endpoint.ground().auth_on()) {
                        self.push(Kind::Passive, None).await?;
                    }
                    if now >= heard + GONE_AFTER {
                        return Err(Ended::Stalled);
                    }
                    if now >= heard.max(pinged) + PING_EVERY {
                        pinged = now;
                        self.send(M::ping()).await?;
                    }
                    let next = heard.max(pinged) + PING_EVERY;
                    timer.as_mut().reset(passive_at.map_or(next, |at| at.min(next)));
                }
            }
        }
    }

    /// Sends an answer, and binds the audience by the frame it answers.
    async fn answer(&mut self, spoken: Spoken) -> Result<(), Ended> {
        let accepted = spoken.accepted();
        if let Some(reply) = spoken.reply {
            self.send(M::from_text(reply)).await?;
        }
        if !accepted {
            return Ok(());
        }
        let (endpoint, caller) = (self.endpoint, self.caller);
        match (&mut self.listening, spoken.src) {
            (Some(Listening { src: Some(_), .. }), _) | (None, None) => {}
            (None, src) => {
                self.listening = Some(Listening::new(Kind::Inbound, endpoint, caller, src, None));
            }
            (Some(pushed), Some(src)) => {
                let (ground, manner) = (endpoint.ground(), Manner::default());
                pushed.manner = endpoint.manner(&ground, manner, caller, Some(&src), None);
                pushed.src = Some(src);
            }
            // A passive listener that spoke without `src` follows the device's rules: answers, no
            // notifications.
            (Some(_), None) if matches!(self.rules.opening, Opening::Passive(_)) => {
                self.listening = None;
            }
            (Some(pushed), None) => {
                if pushed.notifier.introduced() {
                    let notes = pushed.due(endpoint, caller);
                    self.notify(notes).await?;
                    if let Some(introduced) = &self.rules.introduced {
                        introduced.notify_one();
                    }
                }
            }
        }
        Ok(())
    }

    /// Begins to push to somebody who has not asked: everything first, then what changes.
    async fn push(&mut self, kind: Kind, dst: Option<Arc<str>>) -> Result<(), Ended> {
        let (endpoint, caller) = (self.endpoint, self.caller);
        let listening = Listening::new(kind, endpoint, caller, None, dst);
        let notes = self.listening.insert(listening).due(endpoint, caller);
        self.notify(notes).await
    }

    async fn notify(&mut self, notes: Vec<Note>) -> Result<(), Ended> {
        for note in notes {
            let listening = self.listening.as_ref();
            let dst = listening.and_then(|l| l.src.as_deref().or(l.dst.as_deref()));
            let value = listening.and_then(|l| l.value);
            let value = value.filter(|_| note.topic == Topic::Power);
            let text = notification(
                &self.endpoint.ground().device.identity.id,
                dst,
                note.method,
                &note.params,
            );
            self.send(M::from_text(text.into())).await?;
            self.endpoint
                .consumers
                .notified(self.caller, value, self.endpoint.clock.now());
        }
        Ok(())
    }

    async fn send(&mut self, message: M) -> Result<(), Ended> {
        tokio::select! {
            biased;
            sent = self.socket.send(message) => sent.map_err(|_| Ended::ByPeer),
            () = self.close.cancelled() => Err(Ended::ByUs),
            () = tokio::time::sleep(STALLED) => Err(Ended::Stalled),
        }
    }

    /// A clean close: our close frame, then a moment for theirs.
    async fn farewell(&mut self, code: u16, reason: &'static str) {
        let _ = tokio::time::timeout(Duration::from_secs(1), async {
            if self.socket.send(M::close(code, reason)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        })
        .await;
    }
}
