//! The one door of a meter: every channel hands its callers in here.
//!
//! A call is admitted (password, other origin), answered by the pure [`device::Device`] from a view
//! that is already scaled for its caller, its effects are carried out, it is noted, and only then its
//! answer goes out. What reads minute records runs off the loop, so that a slow disk delays nobody
//! else.

mod admit;
mod call;
mod kept;
mod turn;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::Instant};

use self::{
    call::{Call, Executed},
    kept::Kept,
};
use crate::{
    ground::{Ground, GroundOwner},
    limits::Rate,
};
use consumers::{About, Caller, Calm, Channel, Consumers, Overview, verdict::Verdict};
use device::{
    Answer, Context, Effect, Json, Manner, RpcError, View,
    auth::Guard,
    frame::{self, Frame, Message, NoFrame},
};
use meter::{PhaseInput, Quality, records::Records};
use vocab::{Clock, Now};

/// A wake-up that is due at once is taken this late, so that no clock can make anybody spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Carries out what a call asks for beyond its answer. `app` implements it; the future ends when it
/// took effect.
pub trait Hub: Send + Sync {
    /// Carries out `effects` in order.
    fn apply(&self, effects: Vec<Effect>) -> BoxFuture<'_, ()>;
}

/// What all channels of one meter share. Cheap to clone behind an `Arc`.
pub struct Endpoint {
    /// The meter's name, empty for the first.
    pub meter: String,
    /// Who reads.
    pub consumers: Consumers,
    /// The batteries, and when each is answered.
    pub calm: Calm,
    /// Minute records.
    pub records: Arc<dyn Records>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Outbound WebSockets that are connected (`ws.connected`).
    /// What [`Context::synced`] was last.
    synced: AtomicI64,
    pub(super) outbound_up: AtomicUsize,
    /// The broker that `Mqtt.SetConfig` names is connected (`mqtt.connected`).
    pub(super) mqtt_up: AtomicBool,
    /// Effects go here.
    pub(super) hub: Arc<dyn Hub>,
    ground: watch::Receiver<Arc<Ground>>,
    guard: Mutex<Guard>,
    kept: Mutex<Option<Arc<Kept>>>,
    /// Wakes the questions that wait for a reading.
    turns: watch::Sender<()>,
    /// It was said that a battery reads a mean.
    warned: AtomicBool,
}

/// How a caller proves that it knows the password.
#[derive(Clone, Copy, Debug, Default)]
pub enum Credentials<'a> {
    /// By the frame's `auth` member, but only where something is changed: UDP and outbound without
    /// their own switches. Batteries and a GX read there and cannot log in.
    FrameToChange,
    /// By the frame's `auth` member.
    #[default]
    Frame,
    /// By the `Authorization` header, or by the frame's `auth` member where there is a frame.
    Header {
        /// The header.
        value: Option<&'a [u8]>,
        /// Verb of the request.
        method: &'a str,
        /// Target as sent, query included.
        uri: &'a str,
    },
}

impl Credentials<'_> {
    /// By the frame: also to read, or to change something only.
    #[must_use]
    pub const fn of_frames(to_read: bool) -> Self {
        if to_read {
            Self::Frame
        } else {
            Self::FrameToChange
        }
    }
}

/// On what terms a channel hands a call in.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What it stands on.
    pub ground: &'a Arc<Ground>,
    /// Whether and how the password is asked for.
    pub credentials: Credentials<'a>,
    /// A page of another origin asks: it may read and not change.
    pub foreign: bool,
    /// The channel's wishes.
    pub manner: Manner,
    /// `dst` of the reply to a request without `src`: `unknown` on UDP.
    pub default_dst: Option<&'a str>,
    /// Whether arrays are answered: the original's batches.
    pub batches: bool,
    /// What each further member of a batch counts against; the first was counted as the request.
    pub rate: Option<&'a Rate>,
    /// Counts the calls that wait for their turn: they shall not keep others from being read.
    pub held: Option<&'a AtomicUsize>,
}

impl<'a> Terms<'a> {
    /// A call on this ground, by a channel without particulars.
    #[must_use]
    pub fn on(ground: &'a Arc<Ground>) -> Self {
        Self {
            ground,
            credentials: Credentials::default(),
            foreign: false,
            manner: Manner::default(),
            default_dst: None,
            batches: false,
            rate: None,
            held: None,
        }
    }

    /// Whether the password is asked for to read.
    fn asks_password(&self) -> bool {
        self.ground.auth_on() && !matches!(self.credentials, Credentials::FrameToChange)
    }
}

/// What becomes of a bare call.
#[derive(Clone, Debug, PartialEq)]
pub enum Bare {
    /// The result's JSON text, [`closed`].
    Result(Bytes),
    /// The device's error and its JSON text, [`closed`].
    Error(RpcError, Bytes),
    /// Password missing or wrong; the value of `WWW-Authenticate`.
    Unauthorized(String),
    /// Nothing is sent.
    Silence,
}

/// How a frame ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameOutcome {
    /// With the reply, or with none because it had no `id`.
    Answered,
    /// It was no frame.
    Malformed,
    /// Password missing or wrong: the reply says so; over HTTP this goes into `WWW-Authenticate`.
    Unauthorized(String),
    /// Nothing is sent (`stale = silent`).
    Silence,
    /// Nothing is sent: it is not the battery's turn.
    NotNow,
}

/// What becomes of a frame.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// The reply, JSON text.
    pub reply: Option<Bytes>,
    /// How it ended.
    pub verdict: FrameOutcome,
    /// The frame's `src`, if it was a valid frame that was let in: whom notifications are for from
    /// now on.
    pub src: Option<Arc<str>>,
    /// The power in the reply, W, if it is a result that carries power.
    pub power: Option<f64>,
    /// The power was asked for and is absent: the reply is the error that says so.
    pub absent: bool,
}

impl Spoken {
    fn nothing(verdict: FrameOutcome) -> Self {
        Self {
            reply: None,
            verdict,
            src: None,
            power: None,
            absent: false,
        }
    }

    /// A refusal of a frame that was not even looked into: too many came.
    pub(super) fn too_many(bytes: &[u8], device_id: &str) -> Self {
        let reply = frame::parse(bytes)
            .ok()
            .and_then(|f| frame::reply(&f, device_id, None, &Answer::Error(RpcError::too_many())));
        Self {
            reply: reply.map(Bytes::from),
            ..Self::nothing(FrameOutcome::Malformed)
        }
    }

    /// Whether it was a frame of somebody who may speak.
    #[must_use]
    pub fn accepted(&self) -> bool {
        matches!(self.verdict, FrameOutcome::Answered | FrameOutcome::Silence)
    }
}

impl Endpoint {
    /// A meter's door, on what `ground` holds at each request.
    #[must_use]
    pub fn new(
        meter: String,
        ground: &GroundOwner,
        records: Arc<dyn Records>,
        hub: Arc<dyn Hub>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let ground = ground.subscribe();
        let remembered = ground.borrow().channels.recent_clients_max;
        Self {
            meter,
            consumers: Consumers::new(remembered),
            calm: Calm::new(),
            records,
            clock,
            synced: AtomicI64::new(0),
            outbound_up: AtomicUsize::new(0),
            mqtt_up: AtomicBool::new(false),
            hub,
            ground,
            guard: Mutex::default(),
            kept: Mutex::default(),
            turns: watch::Sender::new(()),
            warned: AtomicBool::new(false),
        }
    }

    /// What a request stands on now: to be read once, and passed on.
    #[must_use]
    pub fn ground(&self) -> Arc<Ground> {
        Arc::clone(&self.ground.borrow())
    }

    /// The newest view, not scaled.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.ground.borrow().view)
    }

    /// To wait for another ground: each reading brings one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Ground>> {
        self.ground.clone()
    }

    /// The view as this caller shall see it (`docs/decisions.md#shares`). Modbus and whoever is not
    /// counted see it as it is. Asking counts the caller as a reader of power; `src` is that of its
    /// frame, if it is known.
    #[must_use]
    pub fn scaled(&self, ground: &Ground, caller: &Caller, src: Option<&str>) -> Arc<View> {
        let view = self.at_zero(ground, caller, src);
        match self.share(ground, caller, src) {
            Some(share) => view.times(share),
            None => Arc::clone(view),
        }
    }

    /// The caller's part of the power, where power is shared.
    fn share(&self, ground: &Ground, caller: &Caller, src: Option<&str>) -> Option<f64> {
        let now = || self.clock.now();
        let shares = ground.channels.scaling.enable;
        shares.then(|| self.consumers.share(caller, src, ground.about(), now()))
    }

    /// The view, or during a pause the one with 0 W, where this caller is told that.
    pub(super) fn at_zero<'a>(
        &self,
        ground: &'a Ground,
        caller: &Caller,
        src: Option<&str>,
    ) -> &'a Arc<View> {
        let profiles = &ground.control.profiles;
        match &ground.view.paused {
            Some(zero) if zero.all || self.consumers.pauses_at_zero(caller, src, profiles) => {
                &zero.view
            }
            _ => &ground.view,
        }
    }

    /// The channel's manner, with the way in which this caller is told that there is no power.
    pub(super) fn manner(
        &self,
        ground: &Ground,
        manner: Manner,
        caller: &Caller,
        src: Option<&str>,
        method: Option<&str>,
    ) -> Manner {
        let profiles = &ground.control.profiles;
        Manner {
            absent: self.consumers.absent(caller, src, method, profiles),
            ..manner
        }
    }

    /// Who reads, with what there is to say of each.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let ground = self.ground();
        let about = About {
            readings_each: self.calm.readings_each(),
            ..ground.about()
        };
        let mut seen = self.consumers.overview(about, self.clock.now());
        let used = |input: &&PhaseInput| input.quality != Quality::Unused;
        if ground.view.inputs.iter().filter(used).count() < 2 {
            // There is no other phase to miss.
            for reader in &mut seen.consumers {
                let phase_a = |verdict: &Verdict| matches!(verdict, Verdict::PhaseAOnly { .. });
                reader.verdicts.retain(|verdict| !phase_a(verdict));
            }
        }
        seen
    }

    /// What `GET /shelly` answers.
    #[must_use]
    pub fn info(&self) -> Json {
        let ground = self.ground();
        ground.device.info_json(&ground.state)
    }

    /// What the device would answer to a call for power or energy, without anybody being counted as
    /// a reader.
    #[must_use]
    pub fn peek(&self, method: &str, params: &str, manner: Manner) -> Answer {
        let ground = self.ground();
        let context = self.context(&ground, None, Arc::clone(&ground.view), manner);
        let method = device::find(method);
        ground.device.call(method, Some(params), &context).answer
    }

    /// Answers a bare call: `GET` or `POST /rpc/<Method>`. `request` is what came, for the
    /// register: the target or the body.
    pub async fn bare(
        &self,
        caller: &Caller,
        method: &str,
        params: Option<&str>,
        request: Bytes,
        terms: Terms<'_>,
    ) -> Bare {
        let method = device::find(method);
        if !method.is_ok_and(|method| method.open)
            && let Err(challenge) = self.admit(caller, &terms)
        {
            return Bare::Unauthorized(challenge);
        }
        let call = Call::new(caller, None, method, params, &terms);
        let Some(executed) = self.execute(&call).await else {
            return Bare::Silence;
        };
        let body = match &executed.answer {
            Answer::Result(result) => closed(result.as_bytes()),
            Answer::Error(error) => closed(frame::error_json(error).as_bytes()),
            Answer::Silence => Bytes::new(),
        };
        let noted = body.slice(..body.len().saturating_sub(END.len()));
        self.note(&call, &executed, request, noted);
        match executed.answer {
            Answer::Result(_) => Bare::Result(body),
            Answer::Error(error) => Bare::Error(error, body),
            Answer::Silence => Bare::Silence,
        }
    }

    /// Answers bytes that hold a frame, or, where the channel takes them, a batch of frames.
    pub async fn frames(&self, caller: &Caller, bytes: &Bytes, terms: Terms<'_>) -> Spoken {
        if let Some(kept) = self.kept(caller, bytes, &terms) {
            return self.again(&kept, caller, &terms);
        }
        let message = if terms.batches {
            frame::parse_any(bytes)
        } else {
            frame::parse(bytes).map(|frame| Message::One(Box::new(frame)))
        };
        match message {
            Ok(message) => self.message(caller, &message, bytes, terms).await,
            Err(_) => Spoken::nothing(FrameOutcome::Malformed),
        }
    }

    /// Answers what was read from `bytes`.
    pub(super) async fn message(
        &self,
        caller: &Caller,
        message: &Message,
        bytes: &Bytes,
        terms: Terms<'_>,
    ) -> Spoken {
        match message {
            Message::One(frame) => self.frame(caller, frame, bytes, &terms, true).await,
            Message::Batch(frames) => self.batch(caller, frames, bytes, terms).await,
        }
    }

    /// Members are answered in order, each on the ground that the one before left; what is no frame
    /// in a batch has no answer, as without `id`.
    async fn batch(
        &self,
        caller: &Caller,
        frames: &[Result<Frame, NoFrame>],
        bytes: &Bytes,
        terms: Terms<'_>,
    ) -> Spoken {
        if frames.is_empty() {
            return Spoken::nothing(FrameOutcome::Malformed);
        }
        let mut replies = Vec::with_capacity(frames.len());
        let (mut verdict, mut absent) = (FrameOutcome::Answered, false);
        for (n, frame) in frames.iter().flatten().enumerate() {
            let ground = self.ground();
            let (id, limit) = (&ground.device.identity.id, ground.channels.rate_limit);
            if n > 0
                && terms
                    .rate
                    .is_some_and(|rate| !rate.allow(caller.peer, limit))
            {
                let refused = Answer::Error(RpcError::too_many());
                replies.extend(frame::reply(frame, id, terms.default_dst, &refused));
                continue;
            }
            let terms = Terms {
                ground: &ground,
                ..terms
            };
            let spoken = self.frame(caller, frame, bytes, &terms, false).await;
            if let FrameOutcome::Unauthorized(_) = spoken.verdict {
                verdict = spoken.verdict;
            }
            absent |= spoken.absent;
            replies.extend(
                spoken
                    .reply
                    .and_then(|reply| String::from_utf8(reply.into()).ok()),
            );
        }
        Spoken {
            reply: frame::batch(&replies).map(Bytes::from),
            absent,
            ..Spoken::nothing(verdict)
        }
    }

    /// Answers one frame; `bytes` is what it came in, `alone` or among others.
    async fn frame(
        &self,
        caller: &Caller,
        frame: &Frame,
        bytes: &Bytes,
        terms: &Terms<'_>,
        alone: bool,
    ) -> Spoken {
        // A frame without a method is somebody's answer to us.
        let Some(method) = &frame.method else {
            return Spoken::nothing(FrameOutcome::Malformed);
        };
        let id = &terms.ground.device.identity.id;
        if !frame.is_for(id) {
            return Spoken::nothing(FrameOutcome::Silence);
        }
        let reply_with =
            |answer| frame::reply(frame, id, terms.default_dst, answer).map(Bytes::from);
        let (src, method) = (frame.src.as_deref(), device::find(method));
        if !method.is_ok_and(|method| method.open)
            && let Err((challenge, error)) = self.admit_frame(caller, frame, method, terms)
        {
            return Spoken {
                reply: reply_with(&Answer::Error(error)),
                ..Spoken::nothing(FrameOutcome::Unauthorized(challenge))
            };
        }
        let call = Call::new(caller, src, method, frame.params.as_deref(), terms);
        let Some(executed) = self.execute(&call).await else {
            return Spoken::nothing(FrameOutcome::NotNow);
        };
        let reply = reply_with(&executed.answer);
        if let Some(reply) = reply.as_ref().filter(|_| alone) {
            self.keep(&call, &executed, bytes, reply);
        }
        self.note(
            &call,
            &executed,
            bytes.clone(),
            reply.clone().unwrap_or_default(),
        );
        let verdict = if executed.answer == Answer::Silence {
            FrameOutcome::Silence
        } else {
            FrameOutcome::Answered
        };
        Spoken {
            reply,
            verdict,
            src: src.map(Arc::from),
            power: executed.value,
            absent: executed.absent,
        }
    }

    /// When to wake up for what is due at `mono`.
    pub(super) fn wake_at(&self, mono: Duration) -> Instant {
        let rest = mono.saturating_sub(self.clock.now().mono);
        Instant::now() + rest.max(SHORTEST_WAIT)
    }

    /// What the device sees on this ground now, with this view.
    /// Since when the clock runs as it does. The two clocks' seconds do not begin together, so it
    /// is kept until it is off by more than that.
    fn synced(&self, now: Now, uptime_s: u64) -> i64 {
        let since = now.unix_s() - i64::try_from(uptime_s).unwrap_or(0);
        let known = self.synced.load(Ordering::Relaxed);
        if since.abs_diff(known) <= 1 {
            return known;
        }
        self.synced.store(since, Ordering::Relaxed);
        since
    }

    pub(super) fn context(
        &self,
        ground: &Ground,
        local_ip: Option<IpAddr>,
        view: Arc<View>,
        manner: Manner,
    ) -> Context {
        let now = self.clock.now();
        let uptime_s = now.mono.saturating_sub(ground.boot.since).as_secs();
        Context {
            view,
            state: Arc::clone(&ground.state),
            now,
            uptime_s,
            synced: self.synced(now, uptime_s),
            local_ip,
            records: Arc::clone(&self.records),
            manner,
            ws_connected: self.outbound_up.load(Ordering::Relaxed) > 0,
            mqtt_connected: self.mqtt_up.load(Ordering::Relaxed),
        }
    }
}

/// A connection's two ends, as its caller.
pub(super) fn connected_caller(channel: Channel, peer: SocketAddr, local: SocketAddr) -> Caller {
    Caller {
        peer: peer.ip().to_canonical(),
        peer_port: peer.port(),
        local: Some(local.ip().to_canonical()),
        local_port: local.port(),
        channel,
        agent: None,
    }
}

/// Notes a connection as open from the beginning to the end of its life, however it ends.
pub(super) struct Present {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) caller: Caller,
}

impl Present {
    pub(super) fn new(endpoint: &Arc<Endpoint>, caller: Caller) -> Self {
        endpoint.consumers.connected(&caller, endpoint.clock.now());
        let endpoint = Arc::clone(endpoint);
        Self { endpoint, caller }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let now = self.endpoint.clock.now();
        self.endpoint.consumers.disconnected(&self.caller, now);
    }
}

/// How the device ends a body over HTTP.
const END: &[u8] = b"\r\n";

/// A body as the device ends it, by CRLF.
#[must_use]
pub fn closed(text: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(text.len() + END.len());
    body.extend_from_slice(text);
    body.extend_from_slice(END);
    body.freeze()
}
