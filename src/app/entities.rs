//! What Home Assistant finds of this process at the MQTT broker (`docs/mqtt.md`): which broker that
//! is, the connection to it, and what is known at a moment.

mod home;

use std::{net::SocketAddr, time::Duration};

use mqtt::{
    entities::{
        BIRTH_TOPIC, BORN, Command, OFFLINE, ONLINE, announced, availability, command, commands,
        node,
    },
    link::{self, Broker, Gone, Link, Publisher, Will},
    retained::Told,
    server::{Security, Server},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

pub use self::home::Entities;
use self::home::Page;
use super::{kept, running::Running};
use dashboard::owner::{Owner, Steer};
use transport::{
    ListenerState,
    board::{Line, Place},
};
use vocab::reason::Closed;

/// Key of the store: something of ours is at a broker, under the node of this MAC.
const ANNOUNCED: &str = "mqtt/announced";
/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// A connection that lived so long is dialled again at once.
const STEADY: Duration = Duration::from_secs(30);
/// Between two questions to the Supervisor whether there is a broker by now: each is a line of its
/// log.
const ASK_AGAIN: Duration = Duration::from_secs(900);
/// The same while it does not answer.
const UNSAID: Duration = Duration::from_secs(60);
/// How long a broker that shall forget us is tried, and what it may take to say what it knows.
const FORGETTING: Duration = Duration::from_secs(60);
const RECALLING: Duration = Duration::from_secs(2);

/// Why there is no connection.
enum Why {
    /// There is no broker.
    NoBroker,
    /// The Supervisor does not say whether there is one.
    Unsaid(String),
    /// It cannot be reached, or the connection has ended.
    Failed(Closed),
}

impl Entities {
    /// Runs until stopped.
    pub async fn run(self) {
        if !self.shared.settings.mqtt.enable {
            self.forget().await;
            return self.shared.stop.cancelled().await;
        }
        let (mut pause, mut said) = (Duration::ZERO, String::new());
        loop {
            let began = Instant::now();
            let why = tokio::select! {
                () = self.shared.stop.cancelled() => return,
                opened = self.open() => match opened {
                    Ok((link, broker)) => {
                        let shown = broker.server.shown();
                        info!(server = %shown, "MQTT: Home Assistant is told of the meter");
                        self.line(&shown, ListenerState::Listening);
                        match self.session(link).await {
                            Some(why) => (Some(shown), Why::Failed(why)),
                            None => return,
                        }
                    }
                    Err((server, why)) => (server, why),
                },
            };
            pause = match why {
                (_, Why::NoBroker) if self.supervisor.is_none() => {
                    return self.shared.stop.cancelled().await;
                }
                (_, Why::NoBroker) => ASK_AGAIN,
                (_, Why::Unsaid(why)) => {
                    if said != why {
                        warn!("MQTT: {why}");
                    }
                    said = why;
                    UNSAID
                }
                (server, Why::Failed(why)) => {
                    let server = server.unwrap_or_default();
                    if said != why.to_string() {
                        warn!(%server, "MQTT: {why}; trying again");
                    }
                    self.line(&server, ListenerState::waiting(why.clone()));
                    said = why.to_string();
                    if began.elapsed() >= STEADY {
                        Duration::ZERO
                    } else {
                        (pause * 2).clamp(Duration::from_secs(1), MAX_PAUSE)
                    }
                }
            };
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    fn line(&self, server: &str, state: ListenerState) {
        // One line, whatever the server's name has become.
        let board = &self.shared.board;
        for old in board.lines() {
            if old.name == "mqtt_home" && old.address.to_string() != server {
                board.remove(&old);
            }
        }
        board.set(Line {
            name: "mqtt_home",
            meter: String::new(),
            address: Place::Named(server.to_owned()),
            port: 0,
            state,
        });
    }

    fn first(&self) -> &str {
        self.meters.first().map_or("", |m| m.identity.mac.as_str())
    }

    /// The broker that options name, else the one that the Supervisor offers.
    async fn broker(&self) -> Result<Broker, Why> {
        let client_id = format!("virtual-shelly-{}", self.first().to_ascii_lowercase());
        let of = |server, user, password| Broker {
            server,
            user,
            password,
            client_id: client_id.clone(),
            may: |_| Ok(()),
        };
        let named = &self.shared.settings.mqtt;
        if let Some(text) = &named.server {
            let server = Server::parse(text).ok_or(Why::Failed(Closed::BadServer))?;
            let password = named.password.as_ref().map(|p| p.0.clone());
            return Ok(of(server, named.user.clone(), password));
        }
        let supervisor = self.supervisor.as_ref().ok_or(Why::NoBroker)?;
        match supervisor.mqtt_service().await {
            Ok(Some(service)) => {
                let server = Server {
                    host: service.host,
                    port: service.port,
                    security: if service.ssl {
                        Security::Tls
                    } else {
                        Security::Plain
                    },
                };
                Ok(of(server, service.username, service.password))
            }
            Ok(None) => Err(Why::NoBroker),
            Err(error) => Err(Why::Unsaid(error.to_string())),
        }
    }

    async fn open(&self) -> Result<(Link, Broker), (Option<String>, Why)> {
        let broker = self.broker().await.map_err(|why| (None, why))?;
        let will = Will {
            topic: availability(self.first()),
            payload: OFFLINE,
        };
        match Link::open(&broker, Some(will)).await {
            Ok(link) => Ok((link, broker)),
            Err(why) => Err((Some(broker.server.shown()), Why::Failed(why))),
        }
    }

    /// Runs until the connection ends, and says why; none at the stop.
    async fn session(&self, mut link: Link) -> Option<Closed> {
        let out = link.publisher();
        let why = tokio::select! {
            () = self.shared.stop.cancelled() => None,
            why = self.talk(&mut link, &out) => Some(why.unwrap_or(Closed::TakesNoMore)),
        };
        if why.is_none() {
            let presence = availability(self.first());
            let _ = out.publish(&presence, OFFLINE, true).await;
            link.close().await;
        }
        why
    }

    async fn talk(&self, link: &mut Link, out: &Publisher) -> Result<Closed, Gone> {
        self.take_name(link).await?;
        let mut filters = commands();
        filters.extend([BIRTH_TOPIC.to_owned(), announced(&node(self.first()))]);
        out.subscribe(filters).await?;
        let presence = availability(self.first());
        out.publish(&presence, ONLINE, true).await?;
        let page = self.page(link.local).await;
        let mut told = Told::new();
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = second.tick() => {}
                message = link.next() => match message {
                    Ok(message) => if !self.heard(&message, &mut told).await { continue },
                    Err(why) => return Ok(why),
                },
            }
            let now = self.shared.clock.now().mono;
            let home = self.home(page.as_ref());
            for message in told.due(&home, now, now) {
                out.publish(&message.topic, message.payload, true).await?;
            }
        }
    }

    /// Takes a message; whether it changed what is to be said.
    async fn heard(&self, message: &link::Message, told: &mut Told) -> bool {
        if message.topic == BIRTH_TOPIC {
            let born = *message.payload == *BORN && !message.retained;
            if born {
                told.again();
            }
            return born;
        }
        // A command that the broker kept was meant for an earlier time.
        if !message.retained
            && let Some((mac, asked)) = command(&message.topic, &message.payload)
        {
            self.carry_out(mac, asked).await;
            return true;
        }
        told.heard(&message.topic, &message.payload, self.first());
        false
    }

    async fn carry_out(&self, mac: &str, asked: Command) {
        let is = |m: &Running| m.identity.mac.eq_ignore_ascii_case(mac);
        let Some(index) = self.meters.iter().position(is) else {
            return;
        };
        let reader = |key: &str| {
            let readers = self.readers(&self.meters[index]);
            readers.iter().find(|r| r.key == key).map(|r| r.ip)
        };
        let mut change = Steer::default();
        match asked {
            Command::TargetOffset(w) => change.target_offset = Some(Some(w)),
            Command::Pause(pause) => change.pause = Some(pause),
            Command::PauseKind(kind) => change.pause_kind = Some(kind),
            Command::Share(key, share) => {
                let Some(ip) = reader(&key) else { return };
                change.shares.insert(ip, Some(share));
            }
            Command::Profile(key, name) => {
                let Some(ip) = reader(&key) else { return };
                // A name that there is not is refused with those that there are.
                let key = name.map(|name| home::product(&name).unwrap_or(name));
                change.profiles.insert(ip, key);
            }
        }
        if let Err(why) = self.actor.steer(index, change).await {
            warn!("MQTT: what Home Assistant asks for is refused: {why}");
        }
    }

    /// Where Home Assistant's page of the device links to.
    async fn page(&self, local: SocketAddr) -> Option<Page> {
        if let Some(supervisor) = &self.supervisor {
            let slug = supervisor.self_info().await.ok()?.slug?;
            return Some(Page::InSidebar(slug));
        }
        let http_port = self.meters.first()?.settings().http_port;
        home::page_of(&self.shared.settings.dashboard, http_port, local.ip()).map(Page::At)
    }

    /// The first meter's MAC of an earlier run, where it was another.
    fn old_name(&self) -> Option<String> {
        let mac: String = kept::get(&self.shared.store, ANNOUNCED)?;
        (!mac.eq_ignore_ascii_case(self.first())).then_some(mac)
    }

    /// Remembers under which MAC Home Assistant is told. What it was told under another one leaves: the
    /// meter was given this one since.
    async fn take_name(&self, link: &mut Link) -> Result<(), Gone> {
        if let Some(old) = self.old_name()
            && !self.take_back(link, &old).await?
        {
            return Ok(());
        }
        kept::put(&self.shared.store, ANNOUNCED, &self.first());
        Ok(())
    }

    /// What an earlier run said of us is taken back, for the owner has switched this off.
    async fn forget(&self) {
        let told = self.shared.store.get_state(ANNOUNCED);
        if told.is_none_or(|kept| kept.is_empty()) {
            return;
        }
        let forgetting = async {
            loop {
                if let Ok((mut link, _)) = self.open().await
                    && self.take_all_back(&mut link).await.is_ok()
                {
                    link.close().await;
                    self.shared.store.put_state(ANNOUNCED, "");
                    info!("MQTT is off: what Home Assistant was told of the meter is taken back");
                    return;
                }
                sleep(MAX_PAUSE).await;
            }
        };
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = forgetting => {}
            () = sleep(FORGETTING) => {}
        }
    }

    async fn take_all_back(&self, link: &mut Link) -> Result<(), Gone> {
        if let Some(old) = self.old_name() {
            self.take_back(link, &old).await?;
        }
        self.take_back(link, self.first()).await.map(drop)
    }

    /// What was said under this MAC. False where it is another MAC than ours, and somebody says under
    /// it that he is there: then this folder is a copy, and the meter that it was copied from runs.
    async fn take_back(&self, link: &mut Link, first: &str) -> Result<bool, Gone> {
        let out = link.publisher();
        let presence = availability(first);
        let filters = vec![announced(&node(first)), presence.clone()];
        out.subscribe(filters).await?;
        let mut told = Told::new();
        let until = Instant::now() + RECALLING;
        while let Ok(message) = tokio::time::timeout_at(until, link.next()).await {
            let message = message.map_err(|_| Gone)?;
            let there = message.topic == presence && *message.payload == *ONLINE.as_bytes();
            if there && first != self.first() {
                return Ok(false);
            }
            told.heard(&message.topic, &message.payload, first);
        }
        for message in told.farewell() {
            out.publish(&message.topic, message.payload, true).await?;
        }
        out.publish(&presence, "", true).await?;
        Ok(true)
    }
}
