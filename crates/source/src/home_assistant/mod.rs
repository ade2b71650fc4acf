//! Home Assistant as the source: one task that owns the connection and never gives up.
//!
//! | file | subject |
//! | --- | --- |
//! | `address` | where, and with which token; timings |
//! | `command`, `frames`, `entity_changes`, `loose` | the wire's shapes, and how little of them is kept |
//! | `stamps`, `reported`, `looking` | when an entity was reported last, and when it is worth asking |
//! | `table` | wanted entities, and which values count while Home Assistant starts |
//! | `asked`, `heartbeat` | what waits for its answer, and how long; whether the other end lives |
//! | `session` | the WebSocket protocol as a pure state machine |
//! | `socket`, `shrinking_socket` | its thin IO; no more memory than it needs |
//! | `rest`, `poll` | its REST API; the poll, as fallback or by choice |
//! | `end` | why a connection is over |
//! | `query` | one-shot questions over an own connection |
//! | `fault` | what went wrong, with what to do |
//! | `reconnect`, `link_reporter` | when to try again; what is said and logged of it |

pub mod address;
mod asked;
pub(crate) mod command;
pub(crate) mod end;
mod entity_changes;
mod fault;
pub(crate) mod frames;
mod heartbeat;
mod link_reporter;
mod looking;
mod loose;
mod poll;
pub(crate) mod query;
mod reconnect;
mod reported;
pub(crate) mod rest;
mod session;
mod shrinking_socket;
mod socket;
pub(crate) mod stamps;
mod table;

use std::convert::Infallible;

pub use address::{Access, Address, Cadence, Moved, Supervisor, cleaned};
use end::{End, Lost};
use link_reporter::LinkReporter;
use poll::Ended;
use reconnect::Reconnect;
use shrinking_socket::ShrinkingSocket;

use super::channels::{SourceChannels, Stopped};
use config::{HaTransport, SourceSettings};
use vocab::{Link, SourceEvent};

/// Failed upgrades in a row after which REST is tried (`ha_transport` auto).
const UPGRADES_BEFORE_REST: u32 = 3;

/// Follows the wanted entities until stopped, wherever Home Assistant is by then.
pub(super) async fn run(
    settings: &SourceSettings,
    access: &Access,
    mut channels: SourceChannels,
) -> Result<Infallible, Stopped> {
    let mut moved = access.moved.watch();
    loop {
        tokio::select! {
            biased;
            ended = follow(settings, access, &mut channels) => return ended,
            Ok(()) = moved.changed() => {
                tracing::info!("the address or the token of Home Assistant was changed: connecting anew");
            }
        }
    }
}

async fn follow(
    settings: &SourceSettings,
    access: &Access,
    channels: &mut SourceChannels,
) -> Result<Infallible, Stopped> {
    let addresses = match Address::all(settings, access) {
        Ok(addresses) => addresses,
        Err(error) => {
            tracing::warn!("{error}");
            let idle = SourceEvent::Link(Link::Idle(error));
            channels.say(channels.clock.now(), idle).await?;
            channels.stop.cancelled().await;
            return Err(Stopped);
        }
    };
    let connecting = SourceEvent::Link(Link::Connecting);
    let mut following = Following {
        settings,
        cadence: &access.cadence,
        reporter: LinkReporter::new(channels),
        reconnect: Reconnect::default(),
        failed_upgrades: 0,
        upgraded: None,
    };
    let now = following.reporter.channels.clock.now();
    following.reporter.say(now, connecting).await?;
    let mut way = 0;
    loop {
        if !following.attempt(&addresses[way]).await? {
            way = (way + 1) % addresses.len();
        }
    }
}

struct Following<'a> {
    settings: &'a SourceSettings,
    cadence: &'a Cadence,
    reporter: LinkReporter<'a>,
    reconnect: Reconnect,
    /// In a row.
    failed_upgrades: u32,
    /// What a poll opened, to go on with.
    upgraded: Option<ShrinkingSocket>,
}

impl Following<'_> {
    /// One connection of either kind, and the pause after it; whether Home Assistant answered
    /// there.
    async fn attempt(&mut self, address: &Address) -> Result<bool, Stopped> {
        let transport = self.settings.ha_transport;
        let mut broken = None;
        if transport != HaTransport::Rest {
            let lost = self.over_websocket(address).await?;
            if transport != HaTransport::Auto || self.failed_upgrades < UPGRADES_BEFORE_REST {
                return self.pause(lost).await;
            }
            broken = Some(lost);
        }
        let (settings, reporter) = (self.settings, &mut self.reporter);
        match poll::serve(settings, address, self.cadence, reporter, broken.is_some()).await? {
            Ended::Upgraded(socket) => {
                tracing::info!("Home Assistant's WebSocket answers again");
                self.upgraded = Some(*socket);
                Ok(true)
            }
            // Where neither answers, WebSocket's reason is the one to mend.
            Ended::Lost(poll) => {
                let lost = broken.filter(|_| !poll.settled).unwrap_or(poll);
                self.pause(lost).await
            }
        }
    }

    async fn over_websocket(&mut self, address: &Address) -> Result<Lost, Stopped> {
        let channels = &self.reporter.channels;
        let socket = match self.upgraded.take() {
            Some(socket) => Ok(socket),
            None => {
                channels
                    .wait(socket::connect(address, self.cadence))
                    .await?
            }
        };
        let (lost, greeted) = match socket {
            Ok(socket) => socket::serve(socket, address, self.cadence, &mut self.reporter).await?,
            Err(end) => (Lost::unsettled(end), false),
        };
        self.failed_upgrades = if greeted { 0 } else { self.failed_upgrades + 1 };
        Ok(lost)
    }

    /// Says that the link is down and waits for the next attempt; whether Home Assistant had
    /// answered.
    async fn pause(&mut self, lost: Lost) -> Result<bool, Stopped> {
        let (reconnect, cadence) = (&mut self.reconnect, self.cadence);
        if lost.settled {
            reconnect.reset();
        }
        let now = self.reporter.channels.clock.now().mono;
        let pause = match &lost.end {
            End::Refused(_) => reconnect.refused(cadence),
            End::Lost(_) => reconnect.failed(now, cadence, fastrand::f64()),
            End::TooLarge(_) => reconnect.too_large(now, cadence),
        };
        self.reporter.down(lost.end.into(), pause).await?;
        let sleep = tokio::time::sleep(pause);
        self.reporter.channels.wait(sleep).await?;
        Ok(lost.settled)
    }
}
