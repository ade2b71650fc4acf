//! One WebSocket session with Home Assistant as a pure state machine: text frames and the time in,
//! frames to send and [`SourceEvent`]s out. No socket, no clock of its own.
//!
//! ```text
//!  auth_required ─▶ auth ─▶ auth_ok ─▶ homeassistant_started?, get_config      (is it RUNNING?)
//!                                  └─▶ get_entries of the wanted ones          (are any our own?)
//!                                        └─▶ subscribe_entities of the others  ─▶ a / c / r events
//! ```
//!
//! Up means: RUNNING is known and the first entities event was heard; the readings are said before.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::value::RawValue;

use super::{
    address::Cadence,
    asked::{Question, Questions},
    end::{End, no_token},
    frames::{
        Config, EntitiesEvent, HttpConfigs, Incoming, Outgoing, RegistryEntry, RegistryUpdated,
        Rendered, STAMPS, Stamps, TemplateIds, messages,
    },
    table::{self, Gate, Table},
};
use crate::{
    facts::{HaPlaces, HttpPlace},
    registered::RegistryEvent,
};
use config::Secret;
use vocab::reason::{Cause, Unreachable};
use vocab::{EntityId, Link, Now, SourceEvent};

/// How often an HTTP configuration on trial is asked for: the trial ends without a word.
const ON_TRIAL: Duration = Duration::from_secs(60);
/// Where a stamp could not be asked for, it is tried again after this.
const NO_ANSWER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Hello,
    Auth,
    Live,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Session {
    token: Secret,
    macs: Arc<[String]>,
    cadence: Cadence,
    phase: Phase,
    began: Duration,
    last_id: u64,
    asked: Questions,
    config: Config,
    running: bool,
    starting_since: Option<Duration>,
    config_due: Option<Duration>,
    places: Arc<[HttpPlace]>,
    http_due: Option<Duration>,
    /// Running subscription of entities, and whether its first event came.
    subscription: Option<(u64, bool)>,
    /// The newest registry question; older answers don't count.
    registry: Option<u64>,
    registry_retry: Option<Duration>,
    table: Table,
    link: Option<Link>,
    last_frame: Duration,
    last_ping: Duration,
    /// Id of the ping whose pong is awaited.
    ping: Option<u64>,
    last_alive: Option<Duration>,
    /// Since when an answer about stamps is awaited, and whose.
    looking: Option<(Duration, Vec<EntityId>)>,
    /// Templates are rendered here; else stamps have to be asked for over REST.
    templates: bool,
    /// What is awaited was refused as a template just now.
    by_rest: bool,
    unreadable: u64,
    frames: Vec<String>,
    events: Vec<SourceEvent>,
    names: Vec<RegistryEvent>,
    follows_names: bool,
}

impl Session {
    /// A session on a fresh connection, at `now`.
    pub(super) fn new(
        token: Secret,
        wanted: Arc<[EntityId]>,
        macs: Arc<[String]>,
        cadence: Cadence,
        now: Now,
    ) -> Self {
        Self {
            token,
            macs,
            cadence,
            phase: Phase::Hello,
            began: now.mono,
            last_id: 0,
            asked: Questions::default(),
            config: Config::default(),
            running: false,
            starting_since: None,
            config_due: None,
            places: Arc::from([]),
            http_due: None,
            subscription: None,
            registry: None,
            registry_retry: None,
            table: Table::new(wanted, cadence.look),
            link: None,
            last_frame: now.mono,
            last_ping: now.mono,
            ping: None,
            last_alive: None,
            looking: None,
            templates: true,
            by_rest: false,
            unreadable: 0,
            frames: Vec::new(),
            events: Vec::new(),
            names: Vec::new(),
            follows_names: false,
        }
    }

    /// Frames to send, in order.
    pub(super) fn take_frames(&mut self) -> Vec<String> {
        std::mem::take(&mut self.frames)
    }

    /// Events to say, in order.
    pub(super) fn take_events(&mut self) -> Vec<SourceEvent> {
        std::mem::take(&mut self.events)
    }

    /// Wanted entities whose names changed, in order.
    pub(super) fn take_names(&mut self) -> Vec<RegistryEvent> {
        std::mem::take(&mut self.names)
    }

    /// What Home Assistant said of itself.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Where it says that it listens.
    pub(super) fn places(&self) -> HaPlaces {
        HaPlaces {
            configured: Arc::clone(&self.places),
            internal_url: self.config.internal_url.as_deref().map(Arc::from),
            recovery: self.config.recovery_mode,
        }
    }

    /// Configured entities that are our own, sorted.
    pub(super) fn refused(&self) -> Arc<[EntityId]> {
        let mut ours: Vec<EntityId> = self.table.refused().iter().cloned().collect();
        ours.sort();
        ours.into()
    }

    /// The server spoke its first word: the upgrade worked.
    pub(super) fn greeted(&self) -> bool {
        self.phase != Phase::Hello
    }

    /// Authenticated, and Home Assistant answered a question: it is there.
    pub(super) fn settled(&self) -> bool {
        self.link.is_some()
    }

    /// When [`Session::tick`] wants to be called at the latest.
    pub(super) fn deadline(&self) -> Duration {
        if self.phase != Phase::Live {
            return self.began + self.cadence.handshake;
        }
        let ping = self.last_ping
            + if self.ping.is_some() {
                self.cadence.pong_wait
            } else {
                self.cadence.ping
            };
        let limit = self
            .starting_since
            .filter(|_| !self.running)
            .map(|since| since + self.cadence.starting_max);
        let look = self.table.look_due().filter(|_| self.looking.is_none());
        let answer = self.asked.due();
        [
            self.config_due,
            self.http_due,
            self.registry_retry,
            limit,
            look,
            answer,
        ]
        .into_iter()
        .flatten()
        .fold(ping, Duration::min)
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Now) -> Result<(), End<Cause>> {
        if self.phase != Phase::Live {
            if now.mono >= self.began + self.cadence.handshake {
                return Err(End::Lost(Unreachable::NoAuthentication {
                    n: self.cadence.handshake.as_secs(),
                }));
            }
            return Ok(());
        }
        if self.ping.is_some() && now.mono >= self.last_ping + self.cadence.pong_wait {
            if self.last_frame < self.last_ping {
                return Err(End::Lost(Unreachable::NoPong {
                    n: self.cadence.pong_wait.as_secs(),
                }));
            }
            // Something else was heard since: it lives, ask again in turn.
            self.ping = None;
        }
        if self.ping.is_none() && now.mono >= self.last_ping + self.cadence.ping {
            self.ping = Some(self.send(|id| Outgoing::Ping { id }.frame()));
            self.last_ping = now.mono;
        }
        self.give_up(now.mono)?;
        if self.config_due.is_some_and(|due| now.mono >= due) {
            self.config_due = None;
            self.ask(Question::Config, |id| Outgoing::GetConfig { id }.frame());
        }
        if self.http_due.is_some_and(|due| now.mono >= due) {
            self.http_due = None;
            self.ask(Question::Http, |id| Outgoing::GetHttpConfig { id }.frame());
            if !std::mem::replace(&mut self.follows_names, true) {
                self.ask(Question::Names, |id| {
                    Outgoing::SubscribeEvents {
                        id,
                        event_type: "entity_registry_updated",
                    }
                    .frame()
                });
            }
        }
        if self.registry_retry.is_some_and(|due| now.mono >= due) {
            self.registry_retry = None;
            self.check_registry();
        }
        if !self.running
            && self
                .starting_since
                .is_some_and(|since| now.mono >= since + self.cadence.starting_max)
        {
            let state = self.config.state.as_deref().unwrap_or("not running");
            let minutes = self.cadence.starting_max.as_secs() / 60;
            tracing::warn!(
                "Home Assistant is still {state} after {minutes} min: its values count from now on"
            );
            self.now_running();
        }
        self.asked.limit(now.mono + self.cadence.answer);
        self.publish(now);
        Ok(())
    }

    /// What was never answered: without some answers there is no value, without the others
    /// something less.
    fn give_up(&mut self, now: Duration) -> Result<(), End<Cause>> {
        let waited = self.cadence.answer.as_secs();
        while let Some(question) = self.asked.late(now) {
            let name = question.name();
            if question.is_needed() {
                return Err(End::Lost(Unreachable::NotAnswered {
                    what: name.into(),
                    n: waited,
                }));
            }
            tracing::warn!(
                method = name,
                "Home Assistant did not answer for {waited} s: going on without"
            );
            if question == Question::Stamps {
                (self.templates, self.by_rest) = (false, self.looking.is_some());
            }
        }
        Ok(())
    }

    /// Asks, of entities that have been quiet, when they were reported last. Gives those that are
    /// to be asked for over REST, as no template is rendered here; what comes of it goes to
    /// [`Session::looked`].
    pub(super) fn looks(&mut self, now: Now) -> Vec<EntityId> {
        let again = match &self.looking {
            Some((_, refused)) if !self.templates && self.by_rest => refused.clone(),
            Some((at, _)) if now.mono < *at + NO_ANSWER => return Vec::new(),
            _ => Vec::new(),
        };
        self.by_rest = false;
        let due = if again.is_empty() {
            self.table.looks(now.mono, now.mono + NO_ANSWER)
        } else {
            again
        };
        if due.is_empty() || !self.running {
            return Vec::new();
        }
        self.looking = Some((now.mono, due.clone()));
        if !self.templates {
            return due;
        }
        self.ask(Question::Stamps, |id| {
            Outgoing::RenderTemplate {
                id,
                template: STAMPS,
                variables: TemplateIds { ids: &due },
            }
            .frame()
        });
        Vec::new()
    }

    /// When they were reported; nothing, where it could not be asked.
    pub(super) fn looked(&mut self, stamps: &Stamps, now: Now) {
        let Some((at, _)) = self.looking.take() else {
            return;
        };
        let asked = table::Asked {
            at,
            home: stamps.home.unwrap_or(now.unix),
        };
        for (entity, stamp) in &stamps.entities {
            self.table.looked(entity, *stamp, asked, now.mono);
        }
        self.publish(now);
    }

    /// Another list of entities: asked for on the same connection.
    pub(super) fn set_entities(&mut self, wanted: Arc<[EntityId]>) {
        if *self.table.wanted() != wanted {
            self.table.want(wanted);
            if self.phase == Phase::Live {
                self.check_registry();
            }
        }
    }

    /// Other MACs are ours.
    pub(super) fn set_macs(&mut self, macs: Arc<[String]>) {
        if self.macs != macs {
            self.macs = macs;
            if self.phase == Phase::Live {
                self.check_registry();
            }
        }
    }

    /// A text frame came.
    pub(super) fn hear(&mut self, frame: &str, now: Now) -> Result<(), End<Cause>> {
        let (messages, bad) = messages(frame);
        self.odd(bad, frame);
        if messages.iter().any(|message| self.is_answer(message)) {
            self.alive(now);
        }
        for message in messages {
            self.message(&message, now)?;
        }
        self.publish(now);
        Ok(())
    }

    /// Whether Home Assistant says this to one of our questions: whatever else comes, or comes on
    /// its own, may be a proxy's.
    fn is_answer(&self, message: &Incoming<'_>) -> bool {
        let Some(id) = message.id else { return false };
        match &*message.kind {
            "pong" => self.ping == Some(id),
            "result" | "event" => (1..=self.last_id).contains(&id),
            _ => false,
        }
    }

    /// Whether Home Assistant answered at this moment.
    pub(super) fn lives_at(&self, now: Now) -> bool {
        self.last_frame == now.mono
    }

    /// It answered, or told something that was asked for.
    fn alive(&mut self, now: Now) {
        self.last_frame = now.mono;
        if self.settled()
            && self
                .last_alive
                .is_none_or(|last| now.mono >= last + Duration::from_secs(1))
        {
            self.last_alive = Some(now.mono);
            self.events.push(SourceEvent::Alive);
        }
    }

    fn odd(&mut self, count: usize, frame: &str) {
        if count > 0 {
            if self.unreadable == 0 {
                let start: String = frame.chars().take(120).collect();
                tracing::warn!(
                    frame = start,
                    "Home Assistant sent something unreadable, left out (once a connection)"
                );
            }
            self.unreadable = self.unreadable.saturating_add(count as u64);
        }
    }

    /// Sends what needs an id; its answer does not matter.
    fn send(&mut self, frame: impl FnOnce(u64) -> String) -> u64 {
        self.last_id += 1;
        self.frames.push(frame(self.last_id));
        self.last_id
    }

    fn ask(&mut self, question: Question, frame: impl FnOnce(u64) -> String) -> u64 {
        let id = self.send(frame);
        self.asked.ask(id, question);
        id
    }

    fn message(&mut self, message: &Incoming<'_>, now: Now) -> Result<(), End<Cause>> {
        match (&*message.kind, self.phase) {
            ("auth_required", Phase::Hello) => {
                self.phase = Phase::Auth;
                self.frames.push(
                    Outgoing::Auth {
                        access_token: &self.token.0,
                    }
                    .frame(),
                );
            }
            ("auth_ok", Phase::Auth) => self.begin(now),
            ("auth_invalid", _) => {
                return Err(End::Refused(no_token(message.message.as_deref())));
            }
            ("pong", Phase::Live) => {
                self.ping.take_if(|ping| message.id == Some(*ping));
            }
            ("result", Phase::Live) => self.result(message, now)?,
            ("event", Phase::Live) => self.event(message, now),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, now: Now) {
        self.phase = Phase::Live;
        self.last_ping = now.mono;
        // First the event, then the question, so that RUNNING cannot slip between them. A user
        // without administrator's rights is refused the event: the question is repeated while
        // starting.
        self.ask(Question::Started, |id| {
            Outgoing::SubscribeEvents {
                id,
                event_type: "homeassistant_started",
            }
            .frame()
        });
        self.ask(Question::CoreConfig, |id| {
            Outgoing::SubscribeEvents {
                id,
                event_type: "core_config_updated",
            }
            .frame()
        });
        self.ask(Question::Config, |id| Outgoing::GetConfig { id }.frame());
        self.check_registry();
    }

    /// Asks which of the wanted are our own, then subscribes.
    fn check_registry(&mut self) {
        self.registry_retry = None;
        if let Some(older) = self.registry.take() {
            self.asked.forget(older);
        }
        let wanted = self.table.wanted().clone();
        if wanted.is_empty() || self.macs.is_empty() {
            self.refuse(HashSet::new());
            self.subscribe();
        } else {
            self.registry = Some(self.ask(Question::Registry, |id| {
                Outgoing::GetEntries {
                    id,
                    entity_ids: &wanted,
                }
                .frame()
            }));
        }
    }

    fn refuse(&mut self, ours: HashSet<EntityId>) {
        for id in ours.difference(self.table.refused()) {
            tracing::error!(
                entity = %id,
                "one of our own entities in Home Assistant: not read, a meter must not measure itself; choose another"
            );
        }
        self.table.refuse(ours);
    }

    fn subscribe(&mut self) {
        if let Some((subscription, _)) = self.subscription.take() {
            self.asked.forget(subscription);
            self.send(|id| Outgoing::Unsubscribe { id, subscription }.frame());
        }
        let mut ids = self.table.wanted().to_vec();
        ids.retain(|id| !self.table.refused().contains(id));
        // An empty list would mean every entity of the house.
        if !ids.is_empty() {
            let id = self.ask(Question::Entities, |id| {
                Outgoing::SubscribeEntities {
                    id,
                    entity_ids: &ids,
                }
                .frame()
            });
            self.subscription = Some((id, false));
        }
    }

    fn result(&mut self, message: &Incoming<'_>, now: Now) -> Result<(), End<Cause>> {
        let ok = message.success == Some(true);
        let Some(asked) = message.id.and_then(|id| self.asked.result(id, ok)) else {
            return Ok(());
        };
        let error = || message.error.clone().unwrap_or_default().to_string();
        match asked {
            Question::Config => match message
                .result
                .filter(|_| ok)
                .map(|r| serde_json::from_str::<Config>(r.get()))
            {
                Some(Ok(config)) => self.heard_config(config, now),
                _ => {
                    return Err(End::Lost(Unreachable::AskFailed {
                        what: "get_config".into(),
                        error: Cause::said(error()),
                    }));
                }
            },
            // Only newer versions know the question, and only administrators get an answer.
            Question::Http => {
                let answer = message
                    .result
                    .filter(|_| ok)
                    .and_then(|r| serde_json::from_str::<HttpConfigs>(r.get()).ok());
                if let Some(configs) = answer {
                    self.http_due = configs.on_trial().then(|| now.mono + ON_TRIAL);
                    self.places = configs.places().into();
                }
            }
            Question::Registry => {
                self.registry = None;
                let entries = message.result.filter(|_| ok).map(|r| {
                    serde_json::from_str::<HashMap<String, Option<RegistryEntry>>>(r.get())
                });
                match entries {
                    Some(Ok(entries)) => {
                        let ours = |id: &&EntityId| {
                            entries
                                .get(&***id)
                                .is_some_and(|e| e.as_ref().is_some_and(|e| e.is_ours(&self.macs)))
                        };
                        let ours = self.table.wanted().iter().filter(ours).cloned().collect();
                        self.refuse(ours);
                        self.subscribe();
                    }
                    // Early in its start the command does not exist yet.
                    _ if !self.running => {
                        self.registry_retry = Some(now.mono + self.cadence.starting_poll);
                    }
                    _ => {
                        tracing::warn!(
                            error = %error(),
                            "Home Assistant's entity registry cannot be asked: cannot tell our own entities"
                        );
                        self.refuse(HashSet::new());
                        self.subscribe();
                    }
                }
            }
            Question::Entities if !ok => {
                return Err(End::Lost(Unreachable::AskFailed {
                    what: "subscribe_entities".into(),
                    error: Cause::said(error()),
                }));
            }
            Question::Stamps if !ok => {
                tracing::debug!(
                    error = %error(),
                    "Home Assistant renders no template: asking over REST when sensors were reported"
                );
                (self.templates, self.by_rest) = (false, self.looking.is_some());
            }
            // Events of these carry the id of the question.
            Question::Started
            | Question::CoreConfig
            | Question::Names
            | Question::Entities
            | Question::Stamps => {}
        }
        Ok(())
    }

    fn heard_config(&mut self, config: Config, now: Now) {
        self.config = config;
        if self.config.state.as_deref() == Some("RUNNING") {
            self.now_running();
        } else if !self.running {
            self.starting_since.get_or_insert(now.mono);
            self.config_due = Some(now.mono + self.cadence.starting_poll);
            if self.table.gate() == Gate::Closed {
                self.table.set_gate(Gate::Starting);
                self.set_link(Link::Starting);
            }
        }
    }

    fn now_running(&mut self) {
        self.running = true;
        self.config_due = None;
    }

    fn event(&mut self, message: &Incoming<'_>, now: Now) {
        let (Some(id), Some(event)) = (message.id, message.event) else {
            return;
        };
        let Some(question) = self.asked.event(id) else {
            return;
        };
        match question {
            Question::Started => {
                self.now_running();
                self.ask(Question::Config, |id| Outgoing::GetConfig { id }.frame());
            }
            Question::CoreConfig => {
                self.ask(Question::Config, |id| Outgoing::GetConfig { id }.frame());
            }
            Question::Entities => self.entities(id, event, now),
            Question::Stamps => {
                let stamps = serde_json::from_str::<Rendered>(event.get())
                    .ok()
                    .and_then(|rendered| rendered.stamps());
                self.looked(&stamps.unwrap_or_default(), now);
                // It would be rendered anew at each change.
                self.asked.forget(id);
                self.send(|own| {
                    Outgoing::Unsubscribe {
                        id: own,
                        subscription: id,
                    }
                    .frame()
                });
            }
            Question::Names => {
                let told = serde_json::from_str::<RegistryUpdated>(event.get())
                    .ok()
                    .and_then(RegistryUpdated::told);
                let wanted = self.table.wanted();
                self.names.extend(told.filter(|told| match told {
                    RegistryEvent::Renamed { old: id, .. }
                    | RegistryEvent::Removed(id)
                    | RegistryEvent::Missing(id) => wanted.contains(id),
                }));
            }
            _ => {}
        }
    }

    fn entities(&mut self, id: u64, event: &RawValue, now: Now) {
        let Some((subscription, heard)) = &mut self.subscription else {
            return;
        };
        if *subscription != id {
            return;
        }
        let Ok(entities) = serde_json::from_str::<EntitiesEvent>(event.get()) else {
            self.odd(1, event.get());
            return;
        };
        if !std::mem::replace(heard, true) {
            self.table.start_over();
        }
        let (told, bad) = entities.told();
        self.odd(bad, event.get());
        for told in told {
            self.table.hear(told, self.running, now);
        }
    }

    /// Gives out what may be given out; Up last. Not while it is open which entities are followed:
    /// one that was not told yet would look gone.
    fn publish(&mut self, now: Now) {
        let asking = self.registry.is_some() || self.registry_retry.is_some();
        if self.phase != Phase::Live || asking || self.subscription.is_some_and(|(_, heard)| !heard)
        {
            return;
        }
        if self.running {
            self.table.set_gate(Gate::Open);
        }
        let news = self.table.news(now.mono);
        if !news.is_empty() {
            self.events.push(SourceEvent::Readings(news));
        }
        if self.running {
            if self.link != Some(Link::Up) {
                // What is not urgent comes with the next tick.
                self.http_due = Some(self.last_frame);
            }
            self.set_link(Link::Up);
        }
    }

    fn set_link(&mut self, link: Link) {
        if self.link.as_ref() != Some(&link) {
            self.link = Some(link.clone());
            self.events.push(SourceEvent::Link(link));
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
