//! The REST poll: by choice (`ha_transport: rest`), or while WebSocket upgrades fail but REST
//! answers.
//!
//! Each round asks `core/state` and the states; what changed since the last round is said. Our own
//! entities are told by a rendered template, since the registry has no REST door.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Lost,
    address::{Address, Cadence},
    fault::{self, Fault},
    frames::{Config, STAMPS, Stamps, TemplateIds, Unit, starts_with_mac, valid_entity_id},
    link_reporter::LinkReporter,
    session::End,
    socket::{self, Socket},
    table::{Asked, Gate, Polled, Table},
};
use crate::{HaFacts, HaPlaces, SourceChannels, Stopped, Transport, registry::RegistryEvent};
use config::SourceSettings;
use outgoing::http_client::{self, Unread};
use vocab::reason::{Cause, Failure, Unreachable};
use vocab::{Clock, EntityId, Link, Now, SourceEvent, State};

/// With more entities than this one request for all states is cheaper.
const SINGLE_MAX: usize = 8;
/// Longest that an answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read, bytes: all states of a large house are some megabytes.
const ANSWER_MAX: usize = 32 << 20;

/// One of `GET /api/states`.
#[derive(Debug, Deserialize)]
struct RestState {
    entity_id: String,
    state: String,
    #[serde(default)]
    attributes: Unit,
    #[serde(default)]
    last_reported: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
}

impl RestState {
    fn reported(&self) -> Option<f64> {
        last(self.last_reported.as_deref(), self.last_updated.as_deref())
    }
}

/// When a state was reported last, as far as its text tells. Home Assistant before 2024.3 has the
/// second only.
#[derive(Debug, Default, Deserialize)]
struct Times {
    #[serde(default)]
    last_reported: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
}

/// Unix s.
fn last(reported: Option<&str>, updated: Option<&str>) -> Option<f64> {
    let at: jiff::Timestamp = reported.or(updated)?.parse().ok()?;
    Some(at.as_duration().as_secs_f64())
}

/// Where an answer came from, and what time it was there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct From {
    pub(crate) peer: Option<SocketAddr>,
    /// Its `Date`, Unix s, in the middle of that second.
    pub(crate) date: Option<f64>,
}

impl From {
    fn of(response: &reqwest::Response) -> Self {
        let text = response
            .headers()
            .get(reqwest::header::DATE)
            .and_then(|date| date.to_str().ok());
        let date = text
            .and_then(|text| jiff::fmt::rfc2822::parse(text).ok())
            .map(|at| at.timestamp().as_second() as f64 + 0.5);
        Self {
            peer: response.remote_addr(),
            date,
        }
    }
}

#[derive(Debug, Deserialize)]
struct CoreState {
    state: String,
}

/// Answer of [`Rest::stamps`].
pub(crate) type Stamped = Result<Stamps, End>;

/// Body of `POST /api/template`.
#[derive(Debug, Serialize)]
struct Template<'a> {
    template: &'a str,
    variables: TemplateIds<'a>,
}

/// A REST client of one Home Assistant.
pub(crate) struct Rest<'a> {
    client: Client,
    address: &'a Address,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(address: &'a Address) -> Result<Self, Unreachable> {
        let client =
            http_client::client(TIMEOUT).map_err(|error| Unreachable::NoClient { error })?;
        Ok(Self { client, address })
    }

    fn url(&self, path: &str) -> Result<url::Url, End> {
        self.address.rest.join(path).map_err(|e| {
            End::Lost(Unreachable::RestBadPath {
                path: path.into(),
                error: Cause::said(e.to_string()),
            })
        })
    }

    /// `GET path`; `None` for 404.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(Option<T>, From), End> {
        let request = self
            .client
            .get(self.url(path)?)
            .bearer_auth(&self.address.token.0);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.lost(path, &error).await),
        };
        let from = From::of(&response);
        match response.status() {
            StatusCode::NOT_FOUND => Ok((None, from)),
            status if status.is_success() => match http_client::body(response, ANSWER_MAX).await {
                Ok(body) => match serde_json::from_slice(&body) {
                    Ok(value) => Ok((Some(value), from)),
                    Err(error) => Err(self.unreadable(path, &error).await),
                },
                Err(Unread::Broken(error)) => Err(self.lost(path, &error).await),
                Err(Unread::TooLarge(most)) => Err(End::TooLarge(Unreachable::RestTooLarge {
                    path: self.path(path),
                    n: (most >> 10) as u64,
                })),
            },
            status => {
                let location = response
                    .headers()
                    .get(reqwest::header::LOCATION)
                    .and_then(|to| to.to_str().ok())
                    .map(str::to_owned);
                Err(self.refused(path, status, location).await)
            }
        }
    }

    /// The address of a question, as it is shown.
    fn shown(&self, path: &str) -> String {
        format!("{}{path}", self.address.rest)
    }

    /// Its path alone.
    fn path(&self, path: &str) -> Arc<str> {
        format!("{}{path}", self.address.rest.path()).into()
    }

    async fn refused(&self, path: &str, status: StatusCode, location: Option<String>) -> End {
        let shown = self.shown(path);
        match status.as_u16() {
            401 => End::Refused(fault::token(
                &shown,
                Cause::said("401"),
                &self.address.token.0,
                self.address.proxied,
            )),
            502 if self.address.proxied => End::Lost(Unreachable::NotRunning),
            code if self.address.proxied => {
                let why = Unreachable::RestAnswered {
                    path: path.into(),
                    status: status.to_string().into(),
                };
                if code == 403 {
                    End::Refused(why)
                } else {
                    End::Lost(why)
                }
            }
            code => {
                let why = Fault::Status { code, location }
                    .reason(&shown, &self.address.base)
                    .await;
                if code == 403 {
                    End::Refused(why)
                } else {
                    End::Lost(why)
                }
            }
        }
    }

    async fn unreadable(&self, path: &str, error: &serde_json::Error) -> End {
        let why = Cause::known(
            format!("the answer cannot be read ({error})"),
            Failure::Unreadable,
        );
        self.fault(path, Fault::Garbled(why.clone()), why).await
    }

    async fn lost(&self, path: &str, error: &reqwest::Error) -> End {
        let why = http_client::why(error);
        let fault = if error.is_decode() {
            Fault::Garbled(why.clone())
        } else {
            // No answer at all from where somebody takes connections: no HTTP.
            let garbled = error.is_request() && !error.is_connect() && !error.is_timeout();
            Fault::of(error, why.clone(), garbled)
        };
        self.fault(path, fault, why).await
    }

    async fn fault(&self, path: &str, fault: Fault, error: Cause) -> End {
        End::Lost(match fault {
            fault if !matches!(fault, Fault::Other(_)) && !self.address.proxied => {
                fault.reason(&self.shown(path), &self.address.base).await
            }
            _ => Unreachable::RestFailed {
                path: self.path(path),
                error,
            },
        })
    }

    /// Which of these entities belong to a device with one of our MACs; `None` if it cannot be
    /// told.
    pub(crate) async fn ours(
        &self,
        entities: &[EntityId],
        macs: &[String],
    ) -> Option<HashSet<EntityId>> {
        let ids: Vec<&str> = entities
            .iter()
            .map(|id| &**id)
            .filter(|id| valid_entity_id(id))
            .collect();
        if ids.is_empty() || macs.is_empty() {
            return Some(HashSet::new());
        }
        // A line an entity: its id, then every text of its device's identifiers and connections.
        let template = "{% for e in ids %}{{ e }}\
            {% for p in device_attr(e, 'identifiers') or [] %} {{ p | join(' ') }}{% endfor %}\
            {% for p in device_attr(e, 'connections') or [] %} {{ p | join(' ') }}{% endfor %}\n{% endfor %}";
        let text = self.render(template, &ids).await?;
        let line_is_ours = |line: &str| {
            let mut words = line.split_whitespace();
            let id = words.next()?;
            words
                .any(|word| starts_with_mac(word, macs))
                .then(|| EntityId::from(id))
        };
        Some(text.lines().filter_map(line_is_ours).collect())
    }

    /// When these were reported last, as the texts of their states tell; what does not exist is
    /// left out.
    pub(crate) async fn stamps(&self, entities: &[EntityId]) -> Stamped {
        let one = |id: &EntityId| {
            let path = format!("states/{id}");
            async move { self.get::<Times>(&path).await }
        };
        let mut stamps = Stamps::default();
        for (id, answer) in entities
            .iter()
            .zip(join_all(entities.iter().map(one)).await)
        {
            let (found, from) = answer?;
            stamps.entities.extend(found.and_then(|times| {
                Some((
                    id.clone(),
                    last(
                        times.last_reported.as_deref(),
                        times.last_updated.as_deref(),
                    )?,
                ))
            }));
            stamps.home = from.date.or(stamps.home);
        }
        Ok(stamps)
    }

    /// The same by a template, which knows better; `None` where none is rendered for this token.
    async fn rendered_stamps(&self, entities: &[EntityId]) -> Option<Stamps> {
        let ids: Vec<&str> = entities
            .iter()
            .map(|id| &**id)
            .filter(|id| valid_entity_id(id))
            .collect();
        Stamps::parse(&self.render(STAMPS, &ids).await?)
    }

    async fn render(&self, template: &str, ids: &[&str]) -> Option<String> {
        let body = Template {
            template,
            variables: TemplateIds { ids },
        };
        let request = self
            .client
            .post(self.url("template").ok()?)
            .bearer_auth(&self.address.token.0)
            .json(&body);
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        let body = http_client::body(answer, ANSWER_MAX)
            .await
            .inspect_err(|unread| tracing::debug!("template: {}", unread.why()))
            .ok()?;
        String::from_utf8(body).ok()
    }

    /// Polls the states of the wanted entities. `rendered`: templates tell when they were reported;
    /// else their texts have to do.
    async fn states(
        &self,
        wanted: &[EntityId],
        table: &mut Table,
        running: bool,
        rendered: &mut bool,
        clock: &dyn Clock,
    ) -> Result<(), End> {
        let asked = clock.now();
        let stamps = self.rendered_stamps(wanted).await;
        *rendered |= stamps.is_some();
        let stamps = if *rendered {
            Some(stamps.unwrap_or_default())
        } else {
            None
        };
        let mut poll = |id: &EntityId, found: Option<&RestState>, date: Option<f64>, now: Now| {
            let stamp = |state: &RestState| match &stamps {
                Some(stamps) => stamps
                    .entities
                    .iter()
                    .find(|(of, _)| of == id)
                    .map(|(_, stamp)| *stamp),
                None => state.reported(),
            };
            let home = stamps
                .as_ref()
                .and_then(|stamps| stamps.home)
                .or(date)
                .unwrap_or(now.unix);
            let polled = found.map(|state| Polled {
                state: &state.state,
                unit: state.attributes.unit(),
                stamp: stamp(state),
            });
            table.poll(
                id,
                polled,
                running,
                Asked {
                    at: asked.mono,
                    home,
                },
                now.mono,
            );
        };
        let valid: Vec<&EntityId> = wanted.iter().filter(|id| valid_entity_id(id)).collect();
        if valid.len() > SINGLE_MAX {
            let (all, from) = self.get::<Vec<RestState>>("states").await?;
            let (all, now) = (all.unwrap_or_default(), clock.now());
            for id in valid {
                poll(
                    id,
                    all.iter().find(|s| *s.entity_id == **id),
                    from.date,
                    now,
                );
            }
            return Ok(());
        }
        let answers = join_all(
            valid
                .iter()
                .map(|id| async move { self.get::<RestState>(&format!("states/{id}")).await }),
        )
        .await;
        let now = clock.now();
        for (id, answer) in valid.into_iter().zip(answers) {
            let (found, from) = answer?;
            poll(id, found.as_ref(), from.date, now);
        }
        Ok(())
    }
}

/// Polls until it fails. With `websocket`, an upgrade is tried again now and then; a good one is
/// left there and ends the poll.
pub(super) async fn serve(
    settings: &SourceSettings,
    address: &Address,
    cadence: &Cadence,
    link_reporter: &mut LinkReporter,
    channels: &mut SourceChannels,
    mut websocket: Option<&mut Option<Socket>>,
) -> Result<Lost, Stopped> {
    let rest = match Rest::new(address) {
        Ok(rest) => rest,
        Err(why) => {
            return Ok(Lost {
                end: End::Lost(why),
                settled: false,
            });
        }
    };
    let mut poll = Poll {
        rest,
        table: Table::new(channels.entities.borrow_and_update().clone(), cadence.look),
        macs: channels.macs.borrow_and_update().clone(),
        config: Config::default(),
        peer: None,
        starting_since: None,
        settled: false,
        checked: false,
        rendered: false,
        fallback: websocket.is_some(),
    };
    let began = channels.clock.now().mono;
    let mut websocket_due = began + cadence.websocket_again;
    loop {
        let stop = channels.stop.clone();
        let round = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Stopped),
            round = poll.round(cadence, link_reporter, channels) => round?,
        };
        if let Err(end) = round {
            channels
                .facts
                .send_if_modified(|facts| facts.state.take().is_some());
            return Ok(Lost {
                end,
                settled: poll.settled,
            });
        }
        if let Some(next) = websocket.as_deref_mut()
            && channels.clock.now().mono >= websocket_due
        {
            tokio::select! {
                biased;
                () = channels.stop.cancelled() => return Err(Stopped),
                socket = socket::connect(address, cadence) => if let Ok(socket) = socket {
                    *next = Some(socket);
                    return Ok(Lost { end: End::Lost(Unreachable::NotStarted), settled: true });
                },
            }
            websocket_due = channels.clock.now().mono + cadence.websocket_again;
        }
        let pause = if link_reporter.is_down() || poll.starting_since.is_some() {
            cadence.starting_poll
        } else {
            settings.poll_interval
        };
        tokio::select! {
            biased;
            () = channels.stop.cancelled() => return Err(Stopped),
            Ok(()) = channels.entities.changed() => {
                poll.table.want(channels.entities.borrow_and_update().clone());
                poll.checked = false;
            }
            Ok(()) = channels.macs.changed() => {
                poll.macs = channels.macs.borrow_and_update().clone();
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
    /// Templates have been rendered.
    rendered: bool,
    fallback: bool,
}

impl Poll<'_> {
    /// One round: state of Home Assistant, then of the entities, then what is new of it.
    async fn round(
        &mut self,
        cadence: &Cadence,
        link_reporter: &mut LinkReporter,
        channels: &SourceChannels,
    ) -> Result<Result<(), End>, Stopped> {
        let running = match self.ask(channels).await {
            Ok(running) => running,
            Err(end) => return Ok(Err(end)),
        };
        if !self.settled && self.fallback {
            tracing::warn!(
                "Home Assistant's WebSocket cannot be opened, but REST answers: polling"
            );
        }
        self.settled = true;
        let now = channels.clock.now();
        link_reporter.heard(now);
        let shown = self.rest.address.shown(Transport::Rest);
        if running {
            self.starting_since = None;
        }
        let since = if running {
            now.mono
        } else {
            *self.starting_since.get_or_insert(now.mono)
        };
        if running || now.mono >= since + cadence.starting_max {
            self.table.set_gate(Gate::Open);
        } else if self.table.gate() == Gate::Closed {
            self.table.set_gate(Gate::Starting);
            link_reporter
                .say(
                    channels,
                    now,
                    SourceEvent::Link(Link::Starting),
                    Transport::Rest,
                    &shown,
                )
                .await?;
        }
        self.publish_facts(channels);
        let news = self.table.news(now.mono);
        for gone in news.iter().filter(|reading| reading.state == State::Gone) {
            // A full channel is of one that asks soon anyway.
            let _ = channels
                .registry
                .try_send(RegistryEvent::Missing(gone.entity.clone()));
        }
        let event = if news.is_empty() {
            SourceEvent::Alive
        } else {
            SourceEvent::Readings(news)
        };
        link_reporter
            .say(channels, now, event, Transport::Rest, &shown)
            .await?;
        if self.table.gate() == Gate::Open {
            link_reporter
                .say(
                    channels,
                    now,
                    SourceEvent::Link(Link::Up),
                    Transport::Rest,
                    &shown,
                )
                .await?;
        }
        Ok(Ok(()))
    }

    /// Asks everything; whether Home Assistant is RUNNING.
    async fn ask(&mut self, channels: &SourceChannels) -> Result<bool, End> {
        if !self.settled || self.config.state.as_deref() != Some("RUNNING") {
            let (config, from) = self.rest.get::<Config>("config").await?;
            self.config = config.ok_or(End::Lost(Unreachable::NoRest))?;
            self.peer = from.peer;
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
                        tracing::error!(
                            "{id} is one of our own entities in Home Assistant: not read, a meter must not measure itself"
                        );
                    }
                    self.table.refuse(ours);
                    self.checked = true;
                }
                // Templates come late in a start.
                None if !running => return Ok(false),
                None => {
                    tracing::warn!(
                        "over REST with this token it cannot be told which entities are our own"
                    );
                    self.checked = true;
                }
            }
        }
        if channels.stop.is_cancelled() {
            return Ok(running);
        }
        self.rest
            .states(
                &wanted,
                &mut self.table,
                running,
                &mut self.rendered,
                &*channels.clock,
            )
            .await?;
        Ok(running)
    }

    fn publish_facts(&self, channels: &SourceChannels) {
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
        channels.facts.send_if_modified(|old| {
            let changed = *old != facts;
            *old = facts;
            changed
        });
    }
}
