//! The REST poll: by choice (`ha_transport: rest`), or while WebSocket upgrades fail but REST
//! answers.
//!
//! Each round asks `core/state` and the states; what changed since the last round is said.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{
    address::{Address, Cadence},
    end::{End, Lost},
    frames::Config,
    link_reporter::LinkReporter,
    rest::Rest,
    socket::{self, Socket},
    table::{Gate, Table},
};
use crate::{
    channels::{SourceChannels, Stopped},
    facts::{HaFacts, HaPlaces, Transport},
    registered::RegistryEvent,
};
use config::SourceSettings;
use vocab::reason::Unreachable;
use vocab::{EntityId, Link, SourceEvent, State};

#[derive(Debug, Deserialize)]
struct CoreState {
    state: String,
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
                            entity = %id,
                            "one of our own entities in Home Assistant: not read, a meter must not measure itself; choose another"
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
        channels.know(HaFacts {
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
        });
    }
}
