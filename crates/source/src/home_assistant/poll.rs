//! The REST poll: by choice (`ha_transport: rest`), or while WebSocket upgrades fail but REST
//! answers.
//!
//! Each round asks `core/state` and the states; what changed since the last round is said.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    address::{Address, Cadence},
    end::{End, Lost},
    frames::Config,
    link_reporter::LinkReporter,
    reported::Asked,
    rest::Rest,
    shrinking_socket::ShrinkingSocket,
    socket,
    table::{Gate, Polled, Table},
};
use crate::{
    channels::Stopped,
    facts::{HaFacts, Transport},
    registered::RegistryEvent,
};
use config::SourceSettings;
use vocab::reason::Unreachable;
use vocab::{Clock, EntityId, Link, SourceEvent, State};

/// How a poll ended.
pub(super) enum Ended {
    Lost(Lost),
    /// WebSockets can be opened again.
    Upgraded(Box<ShrinkingSocket>),
}

/// Polls until it fails. As a `fallback`, an upgrade is tried again now and then; a good one ends
/// the poll.
pub(super) async fn serve(
    settings: &SourceSettings,
    address: &Address,
    cadence: &Cadence,
    reporter: &mut LinkReporter<'_>,
    fallback: bool,
) -> Result<Ended, Stopped> {
    let rest = match Rest::new(address) {
        Ok(rest) => rest,
        Err(why) => return Ok(Ended::Lost(Lost::unsettled(why))),
    };
    let channels = &mut *reporter.channels;
    let stop = channels.stop.clone();
    let wanted = channels.entities.borrow_and_update().clone();
    let mut poll = Poll {
        rest,
        table: Table::new(wanted, cadence.look),
        macs: channels.macs.borrow_and_update().clone(),
        config: Config::default(),
        peer: None,
        starting_since: None,
        settled: false,
        checked: false,
        rendered: false,
        fallback,
    };
    let mut websocket_due = channels.clock.now().mono + cadence.websocket_again;
    reporter.goes(Transport::Rest, address);
    loop {
        let round = stop.run_until_cancelled(poll.round(cadence, reporter));
        if let Err(end) = round.await.ok_or(Stopped)?? {
            reporter.channels.forget_state();
            let settled = poll.settled;
            return Ok(Ended::Lost(Lost { end, settled }));
        }
        let channels = &mut *reporter.channels;
        if fallback && channels.clock.now().mono >= websocket_due {
            if let Ok(socket) = channels.wait(socket::connect(address, cadence)).await? {
                return Ok(Ended::Upgraded(Box::new(socket)));
            }
            websocket_due = channels.clock.now().mono + cadence.websocket_again;
        }
        let pause = if reporter.is_down() || poll.starting_since.is_some() {
            cadence.starting_poll
        } else {
            settings.poll_interval
        };
        let channels = &mut *reporter.channels;
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Stopped),
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
        reporter: &mut LinkReporter<'_>,
    ) -> Result<Result<(), End>, Stopped> {
        let clock = Arc::clone(&reporter.channels.clock);
        let running = match self.ask(&*clock).await {
            Ok(running) => running,
            Err(end) => return Ok(Err(end)),
        };
        if !self.settled && self.fallback {
            tracing::warn!(
                "Home Assistant's WebSocket cannot be opened, but REST answers: polling"
            );
        }
        self.settled = true;
        let now = clock.now();
        reporter.heard(now);
        self.starting_since = if running {
            None
        } else {
            self.starting_since.or(Some(now.mono))
        };
        let starts = |since| now.mono < since + cadence.starting_max;
        if !self.starting_since.is_some_and(starts) {
            self.table.set_gate(Gate::Open);
        } else if self.table.gate() == Gate::Closed {
            self.table.set_gate(Gate::Starting);
            reporter.say(now, SourceEvent::Link(Link::Starting)).await?;
        }
        reporter.channels.know(HaFacts {
            transport: Some(Transport::Rest),
            refused: self.table.refused().iter().cloned().collect(),
            ..self.config.facts(self.peer)
        });
        let news = self.table.news(now.mono);
        for gone in news.iter().filter(|reading| reading.state == State::Gone) {
            let missing = RegistryEvent::Missing(gone.entity.clone());
            // A full channel is of one that asks soon anyway.
            let _ = reporter.channels.registry.try_send(missing);
        }
        let event = if news.is_empty() {
            SourceEvent::Alive
        } else {
            SourceEvent::Readings(news)
        };
        reporter.say(now, event).await?;
        if self.table.gate() == Gate::Open {
            reporter.say(now, SourceEvent::Link(Link::Up)).await?;
        }
        Ok(Ok(()))
    }

    /// Asks everything; whether Home Assistant is RUNNING.
    async fn ask(&mut self, clock: &dyn Clock) -> Result<bool, End> {
        if !self.settled || !self.config.is_running() {
            let (config, origin) = self.rest.get::<Config>("config").await?;
            self.config = config.ok_or(Unreachable::NoRest)?;
            self.peer = origin.peer;
        } else if let (Some(core), _) = self.rest.get::<Config>("core/state").await? {
            // Older versions have no such path: then the state of the first answer stands.
            self.config.state = Some(core.state.ok_or(Unreachable::NoRest)?);
        }
        let running = self.config.is_running();
        let wanted = self.table.wanted().clone();
        if !self.checked {
            match self.rest.ours(&wanted, &self.macs).await {
                Some(ours) => self.table.refuse(ours),
                // Templates come late in a start.
                None if !running => return Ok(false),
                None => tracing::warn!(
                    "over REST with this token it cannot be told which entities are our own"
                ),
            }
            self.checked = true;
        }
        self.ask_states(&wanted, running, clock).await?;
        Ok(running)
    }

    async fn ask_states(
        &mut self,
        wanted: &[EntityId],
        running: bool,
        clock: &dyn Clock,
    ) -> Result<(), End> {
        let asked = clock.now().mono;
        let stamps = self.rest.rendered_stamps(wanted).await;
        self.rendered |= stamps.is_some();
        // Where templates tell when entities were reported, the texts of their states don't count.
        let stamps = self.rendered.then(|| stamps.unwrap_or_default());
        let answers = self.rest.states(wanted).await?;
        let now = clock.now();
        for (id, (state, origin)) in wanted.iter().zip(answers) {
            let rendered = stamps.as_ref().and_then(|stamps| stamps.home);
            let asked = Asked {
                at: asked,
                home: rendered.or(origin.date).unwrap_or(now.unix),
            };
            let polled = state.as_ref().map(|state| Polled {
                state: &state.state,
                unit: state.attributes.unit(),
                stamp: match &stamps {
                    Some(stamps) => stamps.of(id),
                    None => state.reported_or_updated(),
                },
            });
            self.table.poll(id, polled, running, asked, now.mono);
        }
        Ok(())
    }
}
