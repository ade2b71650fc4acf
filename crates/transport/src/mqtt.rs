//! The device's own MQTT: it dials the broker that `Mqtt.SetConfig` names, answers calls at
//! `<prefix>/rpc`, and tells what changes at `<prefix>/events/rpc` and `<prefix>/status/…`
//! (`docs/protocol/mqtt.md`).

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use mqtt::{
    link::{Broker, Gone, Link, Message, Publisher, Will},
    server::{Security, Server},
};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vocab::reason::{BadTarget, Closed};

use super::{
    board::{Board, Line, ListenerState, Place},
    endpoint::{Credentials, Endpoint, Present, Terms, connected_caller},
    ground::Ground,
};
use consumers::{Caller, Channel};
use device::{
    Context, Manner,
    frame::{self, notification},
    notify::{Kind, Notifier, Policy, Topic, full_status},
    state::MqttConfig,
    target,
};

/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A connection that lived so long is dialled again at once.
const STEADY: Duration = Duration::from_secs(30);
/// Longest `src` that is answered: it becomes a topic.
const LONGEST_SRC: usize = 255;
/// Commands to every device at the broker.
const TO_ALL: &str = "shellies/command";

/// Follows `Mqtt.SetConfig` until cancelled; a change of it is followed at once.
pub async fn run(endpoint: Arc<Endpoint>, board: Board, cancel: CancellationToken) {
    let mut grounds = endpoint.watch();
    loop {
        let wanted = endpoint.ground().state.mqtt.clone();
        let session = cancel.child_token();
        let changed = async {
            let other = |ground: &Arc<Ground>| ground.state.mqtt != wanted;
            grounds.wait_for(other).await.is_ok()
        };
        let keeping = async {
            if wanted.enable {
                keep_up(&wanted, &endpoint, &board, &session).await;
            } else {
                session.cancelled().await;
            }
        };
        tokio::pin!(keeping);
        tokio::select! {
            () = &mut keeping => {}
            true = changed => {
                session.cancel();
                keeping.await;
            }
        }
        if cancel.is_cancelled() {
            return;
        }
        if wanted.enable {
            board.remove(&line(&endpoint, &wanted, ListenerState::Listening));
        }
    }
}

fn line(endpoint: &Endpoint, config: &MqttConfig, state: ListenerState) -> Line {
    Line {
        name: "mqtt",
        meter: endpoint.meter.clone(),
        address: Place::Named(config.server.clone().unwrap_or_default()),
        port: 0,
        state,
    }
}

fn anywhere(_: IpAddr) -> Result<(), BadTarget> {
    Ok(())
}

/// A name may stand for this host too: looked at again where it is dialled.
fn elsewhere(address: IpAddr) -> Result<(), BadTarget> {
    if target::is_near(address) {
        Err(BadTarget::Near)
    } else {
        Ok(())
    }
}

/// The broker, and the prefix of all topics.
fn broker(config: &MqttConfig, endpoint: &Endpoint) -> Result<(Broker, String), Closed> {
    let ground = endpoint.ground();
    let local = ground.channels.outbound_ws_local;
    let text = config.server.as_deref().unwrap_or_default();
    target::check_broker(text, local).map_err(|why| Closed::Target { why })?;
    let mut server = Server::parse(text).ok_or(Closed::NoServer)?;
    if let Some(ca) = &config.ssl_ca {
        server.security = if ca == "*" {
            Security::TlsUnchecked
        } else {
            Security::Tls
        };
    }
    let id = ground.device.identity.id.to_string();
    let prefix = config.topic_prefix.clone().unwrap_or_else(|| id.clone());
    let broker = Broker {
        server,
        user: config.user.clone(),
        password: config.pass.clone(),
        client_id: config.client_id.clone().unwrap_or(id),
        may: if local { anywhere } else { elsewhere },
    };
    Ok((broker, prefix))
}

/// Dials again and again until cancelled.
async fn keep_up(
    config: &MqttConfig,
    endpoint: &Arc<Endpoint>,
    board: &Board,
    cancel: &CancellationToken,
) {
    let server = config.server.as_deref().unwrap_or_default();
    let (mut pause, mut said) = (Duration::ZERO, None::<Closed>);
    loop {
        let began = Instant::now();
        let why = tokio::select! {
            () = cancel.cancelled() => return,
            opened = Session::open(config, endpoint) => match opened {
                Ok(session) => {
                    info!(%server, "MQTT is up");
                    board.set(line(endpoint, config, ListenerState::Listening));
                    match session.run(cancel).await {
                        Some(why) => Closed::EndedWith { why: Arc::new(why) },
                        None => return,
                    }
                }
                Err(why) => why,
            },
        };
        if said.as_ref() != Some(&why) {
            warn!(%server, "MQTT: {why}; dialling again");
        }
        board.set(line(endpoint, config, ListenerState::waiting(why.clone())));
        said = Some(why);
        pause = if began.elapsed() >= STEADY {
            Duration::ZERO
        } else {
            (pause * 2).clamp(Duration::from_secs(1), MAX_PAUSE)
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// One connection.
struct Session<'a> {
    link: Link,
    out: Publisher,
    prefix: String,
    config: &'a MqttConfig,
    endpoint: &'a Arc<Endpoint>,
    caller: Caller,
}

impl<'a> Session<'a> {
    async fn open(config: &'a MqttConfig, endpoint: &'a Arc<Endpoint>) -> Result<Self, Closed> {
        let (broker, prefix) = broker(config, endpoint)?;
        let will = Will {
            topic: format!("{prefix}/online"),
            payload: "false",
        };
        let link = Link::open(&broker, Some(will)).await?;
        Ok(Self {
            out: link.publisher(),
            caller: connected_caller(Channel::Mqtt, link.peer, link.local),
            link,
            prefix,
            config,
            endpoint,
        })
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix)
    }

    /// Publishes at a topic of the prefix.
    async fn publish(&self, rest: &str, text: impl Into<Bytes>, retain: bool) -> Result<(), Gone> {
        self.out.publish(&self.topic(rest), text, retain).await
    }

    /// Runs until the connection ends, and says why; none if we ended it.
    async fn run(mut self, cancel: &CancellationToken) -> Option<Closed> {
        let endpoint = self.endpoint;
        let _present = Present::new(endpoint, self.caller.clone());
        endpoint.mqtt_up.store(true, Ordering::Relaxed);
        let why = tokio::select! {
            () = cancel.cancelled() => None,
            why = self.converse() => Some(why.unwrap_or(Closed::TakesNoMore)),
        };
        endpoint.mqtt_up.store(false, Ordering::Relaxed);
        if why.is_none() {
            let _ = self.publish("online", "false", true).await;
            self.link.close().await;
        }
        why
    }

    async fn converse(&mut self) -> Result<Closed, Gone> {
        let mut filters = Vec::new();
        if self.config.enable_rpc {
            filters.push(self.topic("rpc"));
        }
        if self.config.enable_control {
            filters.extend([self.topic("command"), TO_ALL.to_owned()]);
        }
        if !filters.is_empty() {
            self.out.subscribe(filters).await?;
        }
        self.publish("online", "true", true).await?;
        let mut grounds = self.endpoint.watch();
        // A start that finds no value yet says everything once there is one.
        let ground = self.endpoint.ground();
        let mut notifier = Notifier::new(Kind::Passive, &self.context(&ground));
        self.tell(&mut notifier).await?;
        if self.config.status_ntf {
            self.statuses(|_| true).await?;
        }
        loop {
            let wake = self.endpoint.wake_at(notifier.wake());
            tokio::select! {
                message = self.link.next() => match message {
                    Ok(message) => self.heard(&message).await?,
                    Err(why) => return Ok(why),
                },
                Ok(()) = grounds.changed() => self.tell(&mut notifier).await?,
                () = sleep_until(wake) => self.tell(&mut notifier).await?,
            }
        }
    }

    /// What is told on this ground.
    fn context(&self, ground: &Ground) -> Context {
        let view = self.endpoint.scaled(ground, &self.caller, None);
        let manner = Manner::default();
        self.endpoint
            .context(ground, self.caller.local, view, manner)
    }

    /// Tells what is due, as events and as statuses.
    async fn tell(&self, notifier: &mut Notifier) -> Result<(), Gone> {
        let ground = self.endpoint.ground();
        let (context, policy) = (self.context(&ground), Policy::of(&ground.channels));
        let value = context.view.totals.map(|t| t.act_power.get());
        let notes = notifier.poll(&ground.device, &context, &policy);
        let (id, dst) = (&ground.device.identity.id, self.topic("events"));
        for note in notes {
            if self.config.rpc_ntf {
                let text = notification(id, Some(&dst), note.method, &note.params);
                self.publish("events/rpc", text, false).await?;
            }
            if self.config.status_ntf && note.method == "NotifyStatus" {
                let named: Map<String, Value> =
                    serde_json::from_str(&note.params).unwrap_or_default();
                self.statuses(|component| named.contains_key(component))
                    .await?;
            }
            if self.config.rpc_ntf || self.config.status_ntf {
                let value = value.filter(|_| note.topic == Topic::Power);
                self.endpoint
                    .consumers
                    .notified(&self.caller, value, self.endpoint.clock.now());
            }
        }
        Ok(())
    }

    /// Publishes the whole status of some components; powers only while there are some, for a null
    /// may be read as 0 W.
    async fn statuses(&self, which: impl Fn(&str) -> bool) -> Result<(), Gone> {
        let ground = self.endpoint.ground();
        let context = self.context(&ground);
        let (stale, text) = (context.view.stale(), full_status(&ground.device, &context));
        let all: std::collections::BTreeMap<&str, &serde_json::value::RawValue> =
            serde_json::from_str(&text).unwrap_or_default();
        for (component, status) in all {
            let power = component.starts_with("em:") || component.starts_with("em1:");
            if component == "ts" || !which(component) || (stale && power) {
                continue;
            }
            let topic = format!("status/{component}");
            self.publish(&topic, status.get().to_owned(), false).await?;
        }
        Ok(())
    }

    async fn heard(&self, message: &Message) -> Result<(), Gone> {
        if message.topic == self.topic("rpc") {
            self.call(message).await
        } else {
            self.command(&message.payload).await
        }
    }

    /// Answers a frame at `<src>/rpc`; one without `src` has nowhere to be answered.
    async fn call(&self, message: &Message) -> Result<(), Gone> {
        // What the broker kept was meant for an earlier connection.
        if message.retained {
            return Ok(());
        }
        let ground = self.endpoint.ground();
        let terms = Terms {
            credentials: Credentials::of_frames(ground.channels.auth_outbound),
            manner: Manner::http(ground.channels.strict_minimal_payload),
            ..Terms::on(&ground)
        };
        let src = frame::parse(&message.payload).ok().and_then(|f| f.src);
        let spoken = self
            .endpoint
            .frames(&self.caller, &message.payload, terms)
            .await;
        match (src, spoken.reply) {
            (Some(src), Some(reply)) if src.len() <= LONGEST_SRC && !src.starts_with('$') => {
                self.out.publish(&format!("{src}/rpc"), reply, false).await
            }
            _ => Ok(()),
        }
    }

    async fn command(&self, payload: &[u8]) -> Result<(), Gone> {
        match payload {
            b"status_update" => self.statuses(|_| true).await,
            b"announce" => {
                let info = self.endpoint.info().to_string();
                self.publish("announce", info.clone(), false).await?;
                self.out.publish("shellies/announce", info, false).await
            }
            _ => Ok(()),
        }
    }
}
