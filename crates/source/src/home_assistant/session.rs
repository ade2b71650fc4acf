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
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    address::{Address, Cadence},
    asked::{Question, Questions},
    command::Command,
    end::{End, no_token},
    entity_changes::EntitiesEvent,
    frames::{Config, HttpConfigs, Incoming, RegistryEntry, RegistryUpdated, messages},
    heartbeat::Heartbeat,
    looking::Looking,
    reported::Asked,
    stamps::{Rendered, STAMPS, Stamps, TemplateIds},
    table::{Gate, Table},
};
use crate::{
    facts::{HaFacts, HaPlaces, HttpPlace, Transport},
    registered::RegistryEvent,
};
use vocab::reason::Unreachable;
use vocab::{EntityId, Link, Now, SourceEvent};

/// How often an HTTP configuration on trial is asked for: the trial ends without a word.
const ON_TRIAL: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Hello,
    Auth,
    Live,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Session {
    address: Address,
    macs: Arc<[String]>,
    cadence: Cadence,
    phase: Phase,
    began: Duration,
    last_id: u64,
    asked: Questions,
    heartbeat: Heartbeat,
    config: Config,
    running: bool,
    /// When values count, though Home Assistant is still starting.
    starting_until: Option<Duration>,
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
    looking: Looking,
    /// Something unreadable was logged.
    unreadable: bool,
    frames: Vec<String>,
    events: Vec<SourceEvent>,
    names: Vec<RegistryEvent>,
    follows_names: bool,
}

impl Session {
    /// A session on a fresh connection, at `now`.
    pub(super) fn new(
        address: Address,
        wanted: Arc<[EntityId]>,
        macs: Arc<[String]>,
        cadence: Cadence,
        now: Now,
    ) -> Self {
        Self {
            address,
            macs,
            cadence,
            phase: Phase::Hello,
            began: now.mono,
            last_id: 0,
            asked: Questions::default(),
            heartbeat: Heartbeat::new(now.mono),
            config: Config::default(),
            running: false,
            starting_until: None,
            config_due: None,
            places: Arc::from([]),
            http_due: None,
            subscription: None,
            registry: None,
            registry_retry: None,
            table: Table::new(wanted, cadence.look),
            link: None,
            looking: Looking::default(),
            unreadable: false,
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

    /// What Home Assistant said of itself, once it did.
    pub(super) fn facts(&self, peer: Option<SocketAddr>) -> Option<HaFacts> {
        self.settled().then(|| {
            let facts = self.config.facts(peer);
            HaFacts {
                places: HaPlaces {
                    configured: Arc::clone(&self.places),
                    ..facts.places
                },
                transport: Some(Transport::Websocket),
                refused: self.table.refused().iter().cloned().collect(),
                ..facts
            }
        })
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
        let look = self.table.look_due();
        [
            self.config_due,
            self.http_due,
            self.registry_retry,
            self.starting_until,
            look.filter(|_| self.looking.is_idle()),
            self.asked.due(),
        ]
        .into_iter()
        .flatten()
        .fold(self.heartbeat.due(&self.cadence), Duration::min)
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Now) -> Result<(), End> {
        if self.phase != Phase::Live {
            if now.mono >= self.began + self.cadence.handshake {
                let n = self.cadence.handshake.as_secs();
                return Err(Unreachable::NoAuthentication { n }.into());
            }
            return Ok(());
        }
        let over = |due: &mut Duration| now.mono >= *due;
        if self.heartbeat.wants_ping(now.mono, &self.cadence)? {
            let ping = self.send(&Command::Ping);
            self.heartbeat.ping(ping, now.mono);
        }
        self.give_up(now.mono)?;
        if self.config_due.take_if(over).is_some() {
            self.ask(Question::Config, &Command::GetConfig);
        }
        if self.http_due.take_if(over).is_some() {
            self.ask(Question::Http, &Command::GetHttpConfig);
            if !std::mem::replace(&mut self.follows_names, true) {
                self.follow(Question::Names, "entity_registry_updated");
            }
        }
        if self.registry_retry.take_if(over).is_some() {
            self.check_registry();
        }
        if self.starting_until.take_if(over).is_some() {
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
    fn give_up(&mut self, now: Duration) -> Result<(), End> {
        let n = self.cadence.answer.as_secs();
        while let Some(question) = self.asked.late(now) {
            let what = question.name();
            if question.is_needed() {
                let what = what.into();
                return Err(Unreachable::NotAnswered { what, n }.into());
            }
            tracing::warn!(
                method = what,
                "Home Assistant did not answer for {n} s: going on without"
            );
            if question == Question::Stamps {
                self.looking.without_templates();
            }
        }
        Ok(())
    }

    /// Asks, of entities that have been quiet, when they were reported last. Gives those that are
    /// to be asked for over REST, as no template is rendered here; what comes of it goes to
    /// [`Session::looked`].
    pub(super) fn looks(&mut self, now: Now) -> Vec<EntityId> {
        let due = self.looking.ask(&mut self.table, now.mono);
        if due.is_empty() || self.looking.is_over_rest() {
            return due;
        }
        let command = Command::RenderTemplate {
            template: STAMPS,
            variables: TemplateIds { ids: &due },
        };
        self.ask(Question::Stamps, &command);
        Vec::new()
    }

    /// When they were reported; nothing, where it could not be asked.
    pub(super) fn looked(&mut self, stamps: &Stamps, now: Now) {
        let Some(at) = self.looking.answered() else {
            return;
        };
        let asked = Asked {
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
            self.check_registry();
        }
    }

    /// Other MACs are ours.
    pub(super) fn set_macs(&mut self, macs: Arc<[String]>) {
        if self.macs != macs {
            self.macs = macs;
            self.check_registry();
        }
    }

    /// A text frame came.
    pub(super) fn hear(&mut self, frame: &str, now: Now) -> Result<(), End> {
        let (messages, bad) = messages(frame);
        if bad > 0 {
            self.odd(frame);
        }
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
            "pong" => self.heartbeat.is_pong(id),
            "result" | "event" => (1..=self.last_id).contains(&id),
            _ => false,
        }
    }

    /// Whether Home Assistant answered at this moment.
    pub(super) fn lives_at(&self, now: Now) -> bool {
        self.heartbeat.heard() == now.mono
    }

    /// It answered, or told something that was asked for.
    fn alive(&mut self, now: Now) {
        self.heartbeat.hear(now.mono);
        if self.settled() && self.heartbeat.tells(now.mono) {
            self.events.push(SourceEvent::Alive);
        }
    }

    fn odd(&mut self, frame: &str) {
        if !std::mem::replace(&mut self.unreadable, true) {
            let start: String = frame.chars().take(120).collect();
            tracing::warn!(
                frame = start,
                "Home Assistant sent something unreadable, left out (once a connection)"
            );
        }
    }

    /// Sends a command whose answer does not matter; its id.
    fn send(&mut self, command: &Command<'_>) -> u64 {
        self.last_id += 1;
        self.frames.push(command.frame(Some(self.last_id)));
        self.last_id
    }

    fn ask(&mut self, question: Question, command: &Command<'_>) -> u64 {
        let id = self.send(command);
        self.asked.ask(id, question);
        id
    }

    fn follow(&mut self, question: Question, event_type: &str) {
        self.ask(question, &Command::SubscribeEvents { event_type });
    }

    /// Neither an answer nor events of it count any more.
    fn unsubscribe(&mut self, subscription: u64) {
        self.asked.forget(subscription);
        self.send(&Command::UnsubscribeEvents { subscription });
    }

    fn message(&mut self, message: &Incoming<'_>, now: Now) -> Result<(), End> {
        match (&*message.kind, self.phase) {
            ("auth_required", Phase::Hello) => {
                self.phase = Phase::Auth;
                let access_token = &self.address.token.0;
                self.frames.push(Command::Auth { access_token }.frame(None));
            }
            ("auth_ok", Phase::Auth) => self.begin(now),
            ("auth_invalid", _) => {
                let asked = self.address.shown(Transport::Websocket);
                let why = no_token(message.message.as_deref());
                return Err(End::Refused(self.address.token_refused(&asked, why)));
            }
            ("pong", Phase::Live) => self.heartbeat.pong(message.id),
            ("result", Phase::Live) => self.result(message, now)?,
            ("event", Phase::Live) => self.event(message, now),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, now: Now) {
        self.phase = Phase::Live;
        self.heartbeat.begin(now.mono);
        // First the event, then the question, so that RUNNING cannot slip between them. A user
        // without administrator's rights is refused the event: the question is repeated while
        // starting.
        self.follow(Question::Started, "homeassistant_started");
        self.follow(Question::CoreConfig, "core_config_updated");
        self.ask(Question::Config, &Command::GetConfig);
        self.check_registry();
    }

    /// Asks which of the wanted are our own, then subscribes.
    fn check_registry(&mut self) {
        if self.phase != Phase::Live {
            return;
        }
        self.registry_retry = None;
        if let Some(older) = self.registry.take() {
            self.asked.forget(older);
        }
        let wanted = self.table.wanted().clone();
        if wanted.is_empty() || self.macs.is_empty() {
            self.subscribe(BTreeSet::new());
        } else {
            let entries = Command::GetEntries {
                entity_ids: &wanted,
            };
            self.registry = Some(self.ask(Question::Registry, &entries));
        }
    }

    /// Follows what is wanted, but for what is our own.
    fn subscribe(&mut self, ours: BTreeSet<EntityId>) {
        self.table.refuse(ours);
        if let Some((subscription, _)) = self.subscription.take() {
            self.unsubscribe(subscription);
        }
        let mut ids = self.table.wanted().to_vec();
        ids.retain(|id| !self.table.refused().contains(id));
        // An empty list would mean every entity of the house.
        if !ids.is_empty() {
            let entities = Command::SubscribeEntities { entity_ids: &ids };
            self.subscription = Some((self.ask(Question::Entities, &entities), false));
        }
    }

    fn result(&mut self, message: &Incoming<'_>, now: Now) -> Result<(), End> {
        let ok = message.success == Some(true);
        let Some(asked) = message.id.and_then(|id| self.asked.result(id, ok)) else {
            return Ok(());
        };
        let failed = || {
            Err(End::Lost(Unreachable::AskFailed {
                what: asked.name().into(),
                error: message.cause(),
            }))
        };
        match asked {
            Question::Config => match message.answer() {
                Some(config) => self.heard_config(config, now),
                None => return failed(),
            },
            // Only newer versions know the question, and only administrators get an answer.
            Question::Http => {
                if let Some(configs) = message.answer::<HttpConfigs>() {
                    self.http_due = configs.on_trial().then(|| now.mono + ON_TRIAL);
                    self.places = configs.places().into();
                }
            }
            Question::Registry => self.heard_registry(message, now),
            Question::Entities if !ok => return failed(),
            Question::Stamps if !ok => {
                tracing::debug!(
                    error = %message.cause(),
                    "Home Assistant renders no template: asking over REST when sensors were reported"
                );
                self.looking.without_templates();
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

    fn heard_registry(&mut self, message: &Incoming<'_>, now: Now) {
        self.registry = None;
        if let Some(entries) = message.answer::<HashMap<String, Option<RegistryEntry>>>() {
            let entry = |id: &EntityId| entries.get(&**id)?.as_ref();
            let is_ours = |id: &&EntityId| entry(id).is_some_and(|e| e.is_ours(&self.macs));
            let wanted = self.table.wanted().iter();
            self.subscribe(wanted.filter(is_ours).cloned().collect());
        } else if self.running {
            tracing::warn!(
                error = %message.cause(),
                "Home Assistant's entity registry cannot be asked: cannot tell our own entities"
            );
            self.subscribe(BTreeSet::new());
        } else {
            // Early in its start the command does not exist yet.
            self.registry_retry = Some(now.mono + self.cadence.starting_poll);
        }
    }

    fn heard_config(&mut self, config: Config, now: Now) {
        self.config = config;
        if self.config.is_running() {
            self.now_running();
        } else if !self.running {
            let limit = now.mono + self.cadence.starting_max;
            self.starting_until.get_or_insert(limit);
            self.config_due = Some(now.mono + self.cadence.starting_poll);
            if self.table.gate() == Gate::Closed {
                self.table.set_gate(Gate::Starting);
                self.set_link(Link::Starting);
            }
        }
    }

    fn now_running(&mut self) {
        self.running = true;
        (self.config_due, self.starting_until) = (None, None);
    }

    fn event(&mut self, message: &Incoming<'_>, now: Now) {
        let (Some(id), Some(event)) = (message.id, message.event) else {
            return;
        };
        let Some(question) = self.asked.event(id) else {
            return;
        };
        match question {
            Question::Started | Question::CoreConfig => {
                if question == Question::Started {
                    self.now_running();
                }
                self.ask(Question::Config, &Command::GetConfig);
            }
            Question::Entities => self.entities(id, event, now),
            Question::Stamps => {
                let stamps = decoded(event).and_then(|rendered: Rendered| rendered.stamps());
                self.looked(&stamps.unwrap_or_default(), now);
                // It would be rendered anew at each change.
                self.unsubscribe(id);
            }
            Question::Names => {
                let told = decoded(event).and_then(RegistryUpdated::told);
                let wanted = self.table.wanted();
                self.names
                    .extend(told.filter(|told| wanted.contains(told.entity())));
            }
            _ => {}
        }
    }

    fn entities(&mut self, id: u64, event: &RawValue, now: Now) {
        let ours = self.subscription.as_mut().filter(|(own, _)| *own == id);
        let Some((_, heard)) = ours else { return };
        let Ok(entities) = serde_json::from_str::<EntitiesEvent>(event.get()) else {
            self.odd(event.get());
            return;
        };
        if !std::mem::replace(heard, true) {
            self.table.start_over();
        }
        let (told, bad) = entities.told();
        if bad > 0 {
            self.odd(event.get());
        }
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
                self.http_due = Some(self.heartbeat.heard());
            }
            self.set_link(Link::Up);
        }
    }

    fn set_link(&mut self, link: Link) {
        if self.link.replace(link.clone()).as_ref() != Some(&link) {
            self.events.push(SourceEvent::Link(link));
        }
    }
}

fn decoded<T: DeserializeOwned>(event: &RawValue) -> Option<T> {
    serde_json::from_str(event.get()).ok()
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
