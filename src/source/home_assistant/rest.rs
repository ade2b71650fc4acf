//! The REST poll: by choice (`ha_transport: rest`), or while WebSocket upgrades fail but REST answers.
//!
//! Each round asks `core/state` and the states; what changed since the last round is said. Our own entities are told by
//! a rendered template, since the registry has no REST door (C12).

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Lost,
    address::{Address, Cadence},
    fault::{self, Fault},
    frames::{Attributes, Config, starts_with_mac, unit, valid_entity_id},
    lamp::Lamp,
    session::End,
    socket::{self, Socket},
    table::{Gate, Table},
};
use crate::{
    config::SourceSettings,
    http_client,
    source::{EntityId, HaFacts, HaPlaces, Link, SourceEvent, Stopped, Transport, Wires},
};

/// With more entities than this one request for all states is cheaper.
const SINGLE_MAX: usize = 8;
/// Longest answer waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One of `GET /api/states`.
#[derive(Debug, Deserialize)]
struct RestState {
    entity_id: String,
    state: String,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Deserialize)]
struct CoreState {
    state: String,
}

/// Body of `POST /api/template`.
#[derive(Debug, Serialize)]
struct Template<'a> {
    template: &'a str,
    variables: TemplateVariables<'a>,
}

#[derive(Debug, Serialize)]
struct TemplateVariables<'a> {
    ids: Vec<&'a str>,
}

/// A REST client of one Home Assistant.
pub(crate) struct Rest<'a> {
    client: Client,
    address: &'a Address,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(address: &'a Address) -> Result<Self, String> {
        let client = http_client::client(TIMEOUT)?;
        Ok(Self { client, address })
    }

    fn url(&self, path: &str) -> Result<url::Url, End> {
        self.address.rest.join(path).map_err(|e| End::Lost(format!("{path}: {e}")))
    }

    /// `GET path`; `None` for 404.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(Option<T>, Option<SocketAddr>), End> {
        let request = self.client.get(self.url(path)?).bearer_auth(&self.address.token.0);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.lost(path, &error).await),
        };
        let peer = response.remote_addr();
        match response.status() {
            StatusCode::NOT_FOUND => Ok((None, peer)),
            status if status.is_success() => match response.json().await {
                Ok(value) => Ok((Some(value), peer)),
                Err(error) => Err(self.lost(path, &error).await),
            },
            status => {
                let location = response.headers().get(reqwest::header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
                Err(self.refused(path, status, location).await)
            }
        }
    }

    /// The address of a question, as it is shown.
    fn shown(&self, path: &str) -> String {
        format!("{}{path}", self.address.rest)
    }

    async fn refused(&self, path: &str, status: StatusCode, location: Option<String>) -> End {
        let shown = self.shown(path);
        match status.as_u16() {
            401 => End::Refused(fault::token(&shown, "401", &self.address.token.0, self.address.proxied)),
            502 if self.address.proxied => End::Lost("Home Assistant is not running yet, says the Supervisor (502)".to_owned()),
            403 if self.address.proxied => End::Refused(format!("REST {path} answered {status}")),
            _ if self.address.proxied => End::Lost(format!("REST {path} answered {status}")),
            code => {
                let line = Fault::Status { code, location }.line(&shown, &self.address.base).await;
                if code == 403 { End::Refused(line) } else { End::Lost(line) }
            }
        }
    }

    async fn lost(&self, path: &str, error: &reqwest::Error) -> End {
        let why = http_client::why(error);
        let fault = if error.is_decode() { Fault::Garbled(why.clone()) } else { Fault::of(error, &why) };
        match fault {
            Fault::Other(_) => End::Lost(format!("REST {}{path} failed: {why}", self.address.rest.path())),
            _ if self.address.proxied => End::Lost(format!("REST {}{path} failed: {why}", self.address.rest.path())),
            fault => End::Lost(fault.line(&self.shown(path), &self.address.base).await),
        }
    }

    /// Which of these entities belong to a device with one of our MACs; `None` if it cannot be told.
    pub(crate) async fn ours(&self, entities: &[EntityId], macs: &[String]) -> Option<HashSet<EntityId>> {
        let ids: Vec<&str> = entities.iter().map(|id| &**id).filter(|id| valid_entity_id(id)).collect();
        if ids.is_empty() || macs.is_empty() {
            return Some(HashSet::new());
        }
        // A line an entity: its id, then every text of its device's identifiers and connections.
        let template = "{% for e in ids %}{{ e }}\
            {% for p in device_attr(e, 'identifiers') or [] %} {{ p | join(' ') }}{% endfor %}\
            {% for p in device_attr(e, 'connections') or [] %} {{ p | join(' ') }}{% endfor %}\n{% endfor %}";
        let body = Template { template, variables: TemplateVariables { ids } };
        let request = self.client.post(self.url("template").ok()?).bearer_auth(&self.address.token.0).json(&body);
        let response = request.send().await.ok()?.error_for_status().ok()?;
        let text = response.text().await.ok()?;
        let line_is_ours = |line: &str| {
            let mut words = line.split_whitespace();
            let id = words.next()?;
            words.any(|word| starts_with_mac(word, macs)).then(|| EntityId::from(id))
        };
        Some(text.lines().filter_map(line_is_ours).collect())
    }

    async fn states(&self, wanted: &[EntityId], table: &mut Table) -> Result<(), End> {
        let valid: Vec<&EntityId> = wanted.iter().filter(|id| valid_entity_id(id)).collect();
        if valid.len() > SINGLE_MAX {
            let all: Vec<RestState> = self.get("states").await?.0.unwrap_or_default();
            for id in valid {
                let found = all.iter().find(|s| *s.entity_id == **id);
                table.poll(id, found.map(|s| (s.state.as_str(), unit(&s.attributes))));
            }
            return Ok(());
        }
        let answers = join_all(valid.iter().map(|id| async move { self.get::<RestState>(&format!("states/{id}")).await })).await;
        for (id, answer) in valid.into_iter().zip(answers) {
            let found = answer?.0;
            table.poll(id, found.as_ref().map(|s| (s.state.as_str(), unit(&s.attributes))));
        }
        Ok(())
    }
}

/// Polls until it fails. With `websocket`, an upgrade is tried again now and then; a good one is left there and ends the poll.
pub(super) async fn serve(
    settings: &SourceSettings,
    address: &Address,
    cadence: &Cadence,
    lamp: &mut Lamp,
    wires: &mut Wires,
    mut websocket: Option<&mut Option<Socket>>,
) -> Result<Lost, Stopped> {
    let rest = match Rest::new(address) {
        Ok(rest) => rest,
        Err(why) => return Ok(Lost { end: End::Lost(why), settled: false }),
    };
    let mut poll = Poll {
        rest,
        table: Table::new(wires.entities.borrow_and_update().clone()),
        macs: wires.macs.borrow_and_update().clone(),
        config: Config::default(),
        peer: None,
        starting_since: None,
        settled: false,
        checked: false,
        fallback: websocket.is_some(),
    };
    let began = wires.clock.now().mono;
    let mut websocket_due = began + cadence.websocket_again;
    loop {
        let stop = wires.stop.clone();
        let round = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Stopped),
            round = poll.round(cadence, lamp, wires) => round?,
        };
        if let Err(end) = round {
            wires.facts.send_if_modified(|facts| facts.state.take().is_some());
            return Ok(Lost { end, settled: poll.settled });
        }
        if let Some(next) = websocket.as_deref_mut()
            && wires.clock.now().mono >= websocket_due
        {
            tokio::select! {
                biased;
                () = wires.stop.cancelled() => return Err(Stopped),
                socket = socket::connect(address, cadence) => if let Ok(socket) = socket {
                    *next = Some(socket);
                    return Ok(Lost { end: End::Lost("WebSocket again".to_owned()), settled: true });
                },
            }
            websocket_due = wires.clock.now().mono + cadence.websocket_again;
        }
        let pause = if lamp.is_down() || poll.starting_since.is_some() { cadence.starting_poll } else { settings.poll_interval };
        tokio::select! {
            biased;
            () = wires.stop.cancelled() => return Err(Stopped),
            Ok(()) = wires.entities.changed() => {
                poll.table.want(wires.entities.borrow_and_update().clone());
                poll.checked = false;
            }
            Ok(()) = wires.macs.changed() => {
                poll.macs = wires.macs.borrow_and_update().clone();
                poll.checked = false;
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Poll<'a> {
    rest: Rest<'a>,
    table: Table,
    macs: Arc<[String]>,
    config: Config,
    peer: Option<SocketAddr>,
    starting_since: Option<Duration>,
    settled: bool,
    checked: bool,
    fallback: bool,
}

impl Poll<'_> {
    /// One round: state of Home Assistant, then of the entities, then what is new of it.
    async fn round(&mut self, cadence: &Cadence, lamp: &mut Lamp, wires: &Wires) -> Result<Result<(), End>, Stopped> {
        let running = match self.ask(wires).await {
            Ok(running) => running,
            Err(end) => return Ok(Err(end)),
        };
        if !self.settled && self.fallback {
            tracing::warn!("Home Assistant's WebSocket cannot be opened, but REST answers: polling");
        }
        self.settled = true;
        let now = wires.clock.now();
        lamp.heard(now);
        let shown = self.rest.address.shown(Transport::Rest);
        if running {
            self.starting_since = None;
        }
        let since = if running { now.mono } else { *self.starting_since.get_or_insert(now.mono) };
        if running || now.mono >= since + cadence.starting_max {
            self.table.set_gate(Gate::Open);
        } else if self.table.gate() == Gate::Closed {
            self.table.set_gate(Gate::Starting);
            lamp.say(wires, now, SourceEvent::Link(Link::Starting), Transport::Rest, &shown).await?;
        }
        self.publish_facts(wires);
        let news = self.table.news();
        let event = if news.is_empty() { SourceEvent::Alive } else { SourceEvent::Readings(news) };
        lamp.say(wires, now, event, Transport::Rest, &shown).await?;
        if self.table.gate() == Gate::Open {
            lamp.say(wires, now, SourceEvent::Link(Link::Up), Transport::Rest, &shown).await?;
        }
        Ok(Ok(()))
    }

    /// Asks everything; whether Home Assistant is RUNNING.
    async fn ask(&mut self, wires: &Wires) -> Result<bool, End> {
        if !self.settled || self.config.state.as_deref() != Some("RUNNING") {
            let (config, peer) = self.rest.get::<Config>("config").await?;
            self.config = config.ok_or_else(|| End::Lost("REST config answered 404: no Home Assistant there".to_owned()))?;
            self.peer = peer;
        } else if let (Some(core), _) = self.rest.get::<CoreState>("core/state").await? {
            // Older versions have no such path: then the state of the first answer stands.
            self.config.state = Some(core.state);
        }
        let running = self.config.state.as_deref() == Some("RUNNING");
        let wanted = self.table.wanted().clone();
        if !self.checked {
            match self.rest.ours(&wanted, &self.macs).await {
                Some(ours) => {
                    for id in &ours {
                        tracing::error!("{id} is one of our own entities in Home Assistant: not read, a meter must not measure itself");
                    }
                    self.table.refuse(ours);
                    self.checked = true;
                }
                // Templates come late in a start.
                None if !running => return Ok(false),
                None => {
                    tracing::warn!("over REST with this token it cannot be told which entities are our own");
                    self.checked = true;
                }
            }
        }
        if wires.stop.is_cancelled() {
            return Ok(running);
        }
        self.rest.states(&wanted, &mut self.table).await?;
        Ok(running)
    }

    fn publish_facts(&self, wires: &Wires) {
        let mut refused: Vec<EntityId> = self.table.refused().iter().cloned().collect();
        refused.sort();
        let facts = HaFacts {
            version: self.config.version.as_deref().map(Into::into),
            time_zone: self.config.time_zone.as_deref().map(Into::into),
            state: self.config.state.as_deref().map(Into::into),
            address: self.peer.map(|peer| peer.ip()),
            port: self.peer.map(|peer| peer.port()),
            places: HaPlaces {
                internal_url: self.config.internal_url.as_deref().map(Into::into),
                recovery: self.config.recovery_mode,
                ..HaPlaces::default()
            },
            transport: Some(Transport::Rest),
            refused: refused.into(),
        };
        wires.facts.send_if_modified(|old| {
            let changed = *old != facts;
            *old = facts;
            changed
        });
    }
}
