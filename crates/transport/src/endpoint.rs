//! The one door of a meter: every channel hands its callers in here.
//!
//! A call is admitted (password, other origin), answered by the pure [`Device`] from a view that is
//! already scaled for its caller, its effects are carried out, it is noted, and only then its
//! answer goes out. What reads minute records runs off the loop, so that a slow disk delays nobody
//! else.

mod admit;
mod hot;
mod turn;

pub(super) use hot::Hot;

use std::{
    future::Future,
    net::IpAddr,
    ops::Deref,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use bytes::{Bytes, BytesMut};

use crate::limits::Rate;
use config::{ChannelSettings, ControlSettings, Profile};
use consumers::{AnsweredCall, Caller, Calm, Consumers, brand};
use device::{
    Answer, Context, Device, DeviceState, Effect, Json, Manner, Outcome, RpcError, View,
    auth::{self, Guard},
    frame::{self, Frame, FrameError, Message},
};
use meter::records::Records;
use vocab::{Clock, Now};

/// Carries out what a call asks for beyond its answer. `app` implements it; the future ends when it
/// took effect.
pub trait Hub: Send + Sync {
    /// Carries out `effects` in order.
    fn apply(&self, effects: Vec<Effect>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// One running time of the emulated device: from start, or from the last `Shelly.Reboot`, to the
/// next.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// Monotonic time at which it began.
    pub since: Duration,
    /// Cancelled at its end: inbound connections close, listeners stay.
    pub over: CancellationToken,
}

/// What `app` gives to a meter's channels.
pub struct Parts {
    /// The meter's name, empty for the first.
    pub meter: String,
    /// The device; replaced as a whole when its options change.
    pub device: watch::Receiver<Arc<Device>>,
    /// Newest view, not scaled.
    pub views: watch::Receiver<Arc<View>>,
    /// The device's own state.
    pub state: watch::Receiver<Arc<DeviceState>>,
    /// Channel settings in force.
    pub channels: watch::Receiver<Arc<ChannelSettings>>,
    /// Whose answers are paced.
    pub control: watch::Receiver<ControlSettings>,
    /// The running time; `app` replaces it at a reboot.
    pub boot: watch::Receiver<Boot>,
    /// Minute records.
    pub records: Arc<dyn Records>,
    /// Effects go here.
    pub hub: Arc<dyn Hub>,
    /// Who reads.
    pub consumers: Arc<Consumers>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// What all channels of one meter share. Cheap to clone behind an `Arc`.
pub struct Endpoint {
    parts: Parts,
    /// Outbound WebSockets that are connected (`ws.connected`).
    pub outbound_up: AtomicUsize,
    guard: Mutex<Guard>,
    scaled: Mutex<Scaled>,
    /// The batteries, and when each is answered.
    pub calm: Calm,
    /// Wakes the questions that wait for a reading.
    turns: watch::Sender<()>,
    /// It was said that a battery reads a mean.
    warned: AtomicBool,
}

/// Views by share of one snapshot, so that each share's texts are made once a snapshot.
#[derive(Default)]
struct Scaled {
    of: Option<Arc<View>>,
    views: Vec<(u64, Arc<View>)>,
}

/// Different shares that are kept of one snapshot.
const SHARES: usize = 64;

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
        value: Option<&'a str>,
        /// Verb of the request.
        method: &'a str,
        /// Target as sent, query included.
        uri: &'a str,
    },
}

/// On what terms a channel hands a call in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
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
            verdict: FrameOutcome::Malformed,
            src: None,
            power: None,
            absent: false,
        }
    }

    /// Whether it was a frame of somebody who may speak.
    #[must_use]
    pub fn accepted(&self) -> bool {
        matches!(self.verdict, FrameOutcome::Answered | FrameOutcome::Silence)
    }
}

impl Deref for Endpoint {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Endpoint {
    /// A meter's door.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            outbound_up: AtomicUsize::new(0),
            guard: Mutex::default(),
            scaled: Mutex::default(),
            calm: Calm::new(),
            turns: watch::Sender::new(()),
            warned: AtomicBool::new(false),
        }
    }

    /// The newest view, not scaled.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// `view` as this caller shall see it (`docs/decisions.md#shares`). Modbus and whoever is not
    /// counted see it as it is. Asking counts the caller as a reader of power; `src` is that of its
    /// frame, if it is known.
    #[must_use]
    pub fn scaled(&self, view: Arc<View>, caller: &Caller, src: Option<&str>) -> Arc<View> {
        let share = {
            let channels = self.channels.borrow();
            if !channels.scaling.enable {
                return view;
            }
            self.consumers
                .share(caller, src, &channels.scaling, self.clock.now())
        };
        self.times(view, share)
    }

    /// `view` times `share`.
    fn times(&self, view: Arc<View>, share: f64) -> Arc<View> {
        if share == 1.0 {
            return view;
        }
        let mut cache = self.scaled.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &view)) {
            *cache = Scaled {
                of: Some(Arc::clone(&view)),
                views: Vec::new(),
            };
        }
        if let Some((_, scaled)) = cache
            .views
            .iter()
            .find(|(bits, _)| *bits == share.to_bits())
        {
            return Arc::clone(scaled);
        }
        let scaled = Arc::new(View::with_record(
            Arc::new(view.snapshot.scaled(share)),
            view.record.clone(),
        ));
        if cache.views.len() < SHARES {
            cache.views.push((share.to_bits(), Arc::clone(&scaled)));
        }
        scaled
    }

    /// Whether a password is set.
    #[must_use]
    pub fn auth_on(&self) -> bool {
        self.state.borrow().auth_ha1.is_some()
    }

    /// What `GET /shelly` answers.
    #[must_use]
    pub fn info(&self) -> Json {
        let device = Arc::clone(&self.device.borrow());
        let state = Arc::clone(&self.state.borrow());
        device.info_json(&state)
    }

    /// Ends with the present running time: inbound connections are closed by it.
    #[must_use]
    pub fn boot_over(&self) -> CancellationToken {
        self.boot.borrow().over.clone()
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
        if !auth::is_open(method)
            && let Err(challenge) = self.admit(caller, &terms)
        {
            return Bare::Unauthorized(challenge);
        }
        let executed = self.execute(caller, None, method, params, &terms).await;
        let body = match &executed.answer {
            Answer::Result(result) => closed(result.as_bytes()),
            Answer::Error(error) => closed(frame::error_json(error).as_bytes()),
            Answer::Silence => Bytes::new(),
        };
        if !executed.not_now {
            self.note(
                caller,
                None,
                method,
                &executed,
                request,
                body.slice(..body.len().saturating_sub(END.len())),
            );
        }
        match executed.answer {
            Answer::Result(_) => Bare::Result(body),
            Answer::Error(error) => Bare::Error(error, body),
            Answer::Silence => Bare::Silence,
        }
    }

    /// Answers bytes that hold a frame, or, where the channel takes them, a batch of frames.
    pub async fn frames(&self, caller: &Caller, bytes: &Bytes, terms: Terms<'_>) -> Spoken {
        if !terms.batches {
            return match frame::parse(bytes) {
                Ok(frame) => self.frame(caller, &frame, bytes, terms).await,
                Err(_) => Spoken::nothing(FrameOutcome::Malformed),
            };
        }
        match frame::parse_any(bytes) {
            Ok(Message::One(frame)) => self.frame(caller, &frame, bytes, terms).await,
            Ok(Message::Batch(frames)) => self.batch(caller, &frames, bytes, terms).await,
            Err(_) => Spoken::nothing(FrameOutcome::Malformed),
        }
    }

    /// Members are answered in order; what is no frame in a batch has no answer, as without `id`.
    pub(super) async fn batch(
        &self,
        caller: &Caller,
        frames: &[Result<Frame, FrameError>],
        bytes: &Bytes,
        terms: Terms<'_>,
    ) -> Spoken {
        if frames.is_empty() {
            return Spoken::nothing(FrameOutcome::Malformed);
        }
        let mut replies = Vec::with_capacity(frames.len());
        let (mut verdict, mut absent) = (FrameOutcome::Answered, false);
        let limit = self.channels.borrow().rate_limit;
        for (n, frame) in frames.iter().flatten().enumerate() {
            if n > 0
                && terms
                    .rate
                    .is_some_and(|rate| !rate.allow(caller.peer, limit))
            {
                let id = self.device.borrow().identity.id.clone();
                replies.extend(frame::reply(
                    frame,
                    &id,
                    terms.default_dst,
                    &Answer::Error(RpcError::too_many()),
                ));
                continue;
            }
            let spoken = self.frame(caller, frame, bytes, terms).await;
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
            verdict,
            src: None,
            power: None,
            absent,
        }
    }

    /// Answers one frame; `bytes` is what it came in, for the register.
    pub async fn frame(
        &self,
        caller: &Caller,
        frame: &Frame,
        bytes: &Bytes,
        terms: Terms<'_>,
    ) -> Spoken {
        // A frame without a method is somebody's answer to us.
        let Some(method) = &frame.method else {
            return Spoken::nothing(FrameOutcome::Malformed);
        };
        let device = Arc::clone(&self.device.borrow());
        let id = &device.identity.id;
        if !frame.is_for(id) {
            return Spoken::nothing(FrameOutcome::Silence);
        }
        let src = frame.src.as_deref();
        if !auth::is_open(method)
            && let Err((challenge, error)) = self.admit_frame(caller, frame, &terms)
        {
            let reply =
                frame::reply(frame, id, terms.default_dst, &Answer::Error(error)).map(Bytes::from);
            return Spoken {
                reply,
                ..Spoken::nothing(FrameOutcome::Unauthorized(challenge))
            };
        }
        let executed = self
            .execute(caller, src, method, frame.params.as_deref(), &terms)
            .await;
        if executed.not_now {
            return Spoken::nothing(FrameOutcome::NotNow);
        }
        let reply = frame::reply(frame, id, terms.default_dst, &executed.answer).map(Bytes::from);
        self.note(
            caller,
            src,
            method,
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
            absent: executed.absent(),
        }
    }

    /// Asks the device and carries out what follows.
    async fn execute(
        &self,
        caller: &Caller,
        src: Option<&str>,
        method: &str,
        params: Option<&str>,
        terms: &Terms<'_>,
    ) -> Executed {
        let known = device::canonical(method);
        let name = known.unwrap_or(method);
        let carries_power = POWER_METHODS.contains(&name);
        if carries_power && self.is_controlled(caller, src, name) {
            return self
                .execute_in_turn(caller, src, (name, known), params, terms)
                .await;
        }
        let view = if carries_power {
            self.scaled(self.view(), caller, src)
        } else {
            self.view()
        };
        if terms.foreign && device::writes(name) {
            return Executed {
                answer: Answer::Error(foreign_write()),
                known,
                value: None,
                not_now: false,
            };
        }
        let Outcome { answer, effects } = self
            .ask(
                caller,
                name,
                params,
                manner_of(terms.manner, caller, src),
                Arc::clone(&view),
            )
            .await;
        if !effects.is_empty() {
            if terms.foreign {
                return Executed {
                    answer: Answer::Error(foreign_write()),
                    known,
                    value: None,
                    not_now: false,
                };
            }
            self.hub.apply(effects).await;
        }
        self.executed(answer, (name, known), params, terms, &view)
    }

    /// Asks the device for a battery, once it is the battery's turn. What would be answered without
    /// power has no turn to wait for.
    async fn execute_in_turn(
        &self,
        caller: &Caller,
        src: Option<&str>,
        method: (&str, Option<&'static str>),
        params: Option<&str>,
        terms: &Terms<'_>,
    ) -> Executed {
        let manner = manner_of(terms.manner, caller, src);
        let plain = self.view();
        let would = self
            .ask(caller, method.0, params, manner, Arc::clone(&plain))
            .await;
        let due = if plain.totals.is_some()
            && matches!(would.answer, Answer::Result(_))
            && self.is_of_the_house(method.0, params, terms, &plain)
        {
            self.turn(caller, src, method.0, params, terms).await
        } else {
            turn::Due::Free
        };
        let view = match due {
            turn::Due::View(view) => view,
            turn::Due::Free => self.scaled(self.view(), caller, src),
            turn::Due::NotNow => {
                self.consumers.passed_over(caller, self.clock.now());
                return Executed {
                    answer: Answer::Silence,
                    known: method.1,
                    value: None,
                    not_now: true,
                };
            }
        };
        let Outcome { answer, .. } = self
            .ask(caller, method.0, params, manner, Arc::clone(&view))
            .await;
        self.executed(answer, method, params, terms, &view)
    }

    fn executed(
        &self,
        answer: Answer,
        (name, known): (&str, Option<&'static str>),
        params: Option<&str>,
        terms: &Terms<'_>,
        view: &View,
    ) -> Executed {
        let carried = POWER_METHODS.contains(&name) && matches!(answer, Answer::Result(_));
        let profile = self.state.borrow().profile;
        let value = if carried {
            answered_power(name, params, terms.manner, profile, view)
        } else {
            None
        };
        Executed {
            answer,
            known,
            value,
            not_now: false,
        }
    }

    async fn ask(
        &self,
        caller: &Caller,
        method: &str,
        params: Option<&str>,
        manner: Manner,
        view: Arc<View>,
    ) -> Outcome {
        let moment = self.moment(caller, view, manner);
        let device = Arc::clone(&self.device.borrow());
        if !device::reads_records(method) {
            return moment.with(self.records.as_ref(), |context| {
                device.call(method, params, context)
            });
        }
        let (records, method, params) = (
            Arc::clone(&self.records),
            method.to_owned(),
            params.map(ToOwned::to_owned),
        );
        let asking = background::run(move || {
            moment.with(records.as_ref(), |context| {
                device.call(&method, params.as_deref(), context)
            })
        });
        let busy = |refused: background::Refused| Outcome {
            answer: Answer::Error(RpcError::busy(refused.to_string())),
            effects: Vec::new(),
        };
        asking.await.unwrap_or_else(busy)
    }

    /// What the device sees now, with this view of it.
    pub(super) fn moment(&self, caller: &Caller, view: Arc<View>, manner: Manner) -> CallContext {
        let now = self.clock.now();
        CallContext {
            view,
            state: Arc::clone(&self.state.borrow()),
            now,
            uptime_s: now.mono.saturating_sub(self.boot.borrow().since).as_secs(),
            local_ip: caller.local,
            manner,
            ws_connected: self.outbound_up.load(Ordering::Relaxed) > 0,
        }
    }

    fn note(
        &self,
        caller: &Caller,
        src: Option<&str>,
        method: &str,
        executed: &Executed,
        request: Bytes,
        reply: Bytes,
    ) {
        let error = match &executed.answer {
            Answer::Error(error) => Some(error.code),
            Answer::Result(_) | Answer::Silence => None,
        };
        let asked = AnsweredCall {
            caller,
            src,
            method: executed.known.unwrap_or(method),
            known: executed.known.is_some(),
            error,
            value: executed.value,
            request,
            reply,
        };
        self.consumers.note(&asked, self.clock.now());
    }
}

impl Endpoint {
    /// Notes a read or write of registers under the name of its function; `value` is the total, W.
    pub(super) fn note_registers(
        &self,
        caller: &Caller,
        function: &str,
        refused: Option<device::modbus::Exception>,
        value: Option<f64>,
    ) {
        let code = refused.and_then(device::modbus::Exception::code);
        let reply = match (refused, code) {
            (None, _) => Bytes::from_static(b"registers"),
            (Some(_), Some(code)) => Bytes::from(format!("exception {code:02X}")),
            (Some(_), None) => Bytes::new(),
        };
        let asked = AnsweredCall {
            caller,
            src: None,
            method: function,
            known: refused != Some(device::modbus::Exception::Function),
            error: code.map(i32::from),
            value: value.filter(|_| refused.is_none()),
            request: Bytes::copy_from_slice(function.as_bytes()),
            reply,
        };
        self.consumers.note(&asked, self.clock.now());
    }
}

/// What became of a call.
struct Executed {
    answer: Answer,
    /// The method's own spelling, if there is such a method.
    known: Option<&'static str>,
    /// The power in the result, W.
    value: Option<f64>,
    /// It was a battery's datagram, and not its turn.
    not_now: bool,
}

impl Executed {
    /// Whether it was the power that was asked for, and there is none.
    fn absent(&self) -> bool {
        self.known.is_some_and(|name| POWER_METHODS.contains(&name))
            && matches!(&self.answer, Answer::Error(e) if e.is_unavailable())
    }
}

/// The channel's manner, with what is known of this caller's.
pub(super) fn manner_of(manner: Manner, caller: &Caller, src: Option<&str>) -> Manner {
    Manner {
        takes_nulls: brand::takes_nulls(caller.agent.as_deref(), src),
        ..manner
    }
}

/// Methods whose answer carries power: who calls them is a reader (`docs/decisions.md#shares`).
const POWER_METHODS: [&str; 4] = [
    "EM.GetStatus",
    "EM1.GetStatus",
    "Shelly.GetStatus",
    "Shelly.GetComponents",
];

/// The power in the answer, W: the total, or that of the phase asked. `EM1.GetStatus` has the total
/// on UDP in triphase.
fn answered_power(
    method: &str,
    params: Option<&str>,
    manner: Manner,
    profile: Profile,
    view: &View,
) -> Option<f64> {
    if method == "EM1.GetStatus" && !(manner.em1_is_total && profile == Profile::Triphase) {
        return view.phases.get(em1_id(params)?)?.map(|p| p.act_power.get());
    }
    view.totals.map(|t| t.act_power.get())
}

/// The phase that an answered `EM1.GetStatus` was for.
fn em1_id(params: Option<&str>) -> Option<usize> {
    #[derive(serde::Deserialize)]
    struct Phase {
        id: f64,
    }
    // The call was answered, so it is a whole number of a phase.
    serde_json::from_str(params?)
        .ok()
        .map(|Phase { id }| id as usize)
}

/// What a call sees, owned, so that it can be answered on another thread.
pub(super) struct CallContext {
    view: Arc<View>,
    state: Arc<DeviceState>,
    now: Now,
    uptime_s: u64,
    local_ip: Option<IpAddr>,
    manner: Manner,
    ws_connected: bool,
}

impl CallContext {
    /// Gives it to `use_it` in the device's form.
    pub(super) fn with<T>(
        &self,
        records: &dyn Records,
        use_it: impl FnOnce(&Context<'_>) -> T,
    ) -> T {
        use_it(&Context {
            view: &self.view,
            state: &self.state,
            now: self.now,
            uptime_s: self.uptime_s,
            local_ip: self.local_ip,
            records,
            manner: self.manner,
            ws_connected: self.ws_connected,
        })
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

fn foreign_write() -> RpcError {
    RpcError::forbidden(
        "A browser may change something only from the meter's own page: use the dashboard, or curl; name another page of yours in \
         cors_origins",
    )
}
