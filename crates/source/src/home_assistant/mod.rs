//! Home Assistant as the source: one task that owns the connection and never gives up.
//!
//! | file | subject |
//! | --- | --- |
//! | `address` | where, and with which token; timings |
//! | `frames`, `loose_scalar` | the wire's shapes, and how little of them is kept |
//! | `reported` | when an entity was reported last, and when it is worth asking |
//! | `table` | wanted entities, and which values count while Home Assistant starts |
//! | `asked` | what waits for its answer, and how long |
//! | `session` | the WebSocket protocol as a pure state machine |
//! | `socket`, `shrinking_socket` | its thin IO; no more memory than it needs |
//! | `rest`, `poll` | its REST API; the poll, as fallback or by choice |
//! | `end` | why a connection is over |
//! | `query` | one-shot questions over an own connection |
//! | `fault` | what went wrong, with what to do |
//! | `reconnect`, `link_reporter` | when to try again; what is said and logged of it |

pub mod address;
mod asked;
pub(crate) mod end;
mod fault;
pub(crate) mod frames;
mod link_reporter;
mod loose_scalar;
mod poll;
pub(crate) mod query;
mod reconnect;
mod reported;
pub(crate) mod rest;
mod session;
mod shrinking_socket;
pub(crate) mod socket;
mod table;

use std::convert::Infallible;

pub use address::{Access, Address, AddressError, Cadence, Moved, Supervisor, cleaned};
use end::{End, Lost};
use link_reporter::LinkReporter;
use reconnect::Reconnect;
use socket::Socket;

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
            channels
                .say(
                    channels.clock.now(),
                    SourceEvent::Link(Link::Idle(error.into())),
                )
                .await?;
            channels.stop.cancelled().await;
            return Err(Stopped);
        }
    };
    let cadence = &access.cadence;
    let mut link_reporter = LinkReporter::default();
    let mut reconnect = Reconnect::default();
    let mut failed_upgrades = 0;
    let mut next: Option<Socket> = None;
    let mut way = 0;
    link_reporter.connecting(channels).await?;
    loop {
        let address = &addresses[way];
        if settings.ha_transport == HaTransport::Rest {
            let lost = poll::serve(
                settings,
                address,
                cadence,
                &mut link_reporter,
                channels,
                None,
            )
            .await?;
            if !lost.settled {
                way = (way + 1) % addresses.len();
            }
            pause(lost, cadence, &mut reconnect, &mut link_reporter, channels).await?;
            continue;
        }
        let socket = match next.take() {
            Some(socket) => Ok(socket),
            None => tokio::select! {
                biased;
                () = channels.stop.cancelled() => return Err(Stopped),
                socket = socket::connect(address, cadence) => socket,
            },
        };
        let lost = match socket {
            Ok(socket) => {
                let (lost, greeted) =
                    socket::serve(socket, address, cadence, &mut link_reporter, channels).await?;
                failed_upgrades = if greeted { 0 } else { failed_upgrades + 1 };
                lost
            }
            Err(end) => {
                failed_upgrades += 1;
                Lost {
                    end,
                    settled: false,
                }
            }
        };
        if settings.ha_transport == HaTransport::Auto && failed_upgrades >= UPGRADES_BEFORE_REST {
            let ended = poll::serve(
                settings,
                address,
                cadence,
                &mut link_reporter,
                channels,
                Some(&mut next),
            )
            .await?;
            if next.is_some() {
                tracing::info!("Home Assistant's WebSocket answers again");
                continue;
            }
            if ended.settled {
                pause(ended, cadence, &mut reconnect, &mut link_reporter, channels).await?;
                continue;
            }
        }
        if !lost.settled {
            way = (way + 1) % addresses.len();
        }
        pause(lost, cadence, &mut reconnect, &mut link_reporter, channels).await?;
    }
}

/// Says that the link is down and waits for the next attempt.
async fn pause(
    lost: Lost,
    cadence: &Cadence,
    reconnect: &mut Reconnect,
    link_reporter: &mut LinkReporter,
    channels: &SourceChannels,
) -> Result<(), Stopped> {
    if lost.settled {
        reconnect.reset();
    }
    let (reason, pause) = match lost.end {
        End::Refused(why) => (why, reconnect.refused(cadence)),
        End::Lost(why) => (
            why,
            reconnect.failed(channels.clock.now().mono, cadence, fastrand::f64()),
        ),
        End::TooLarge(why) => (why, reconnect.too_large(channels.clock.now().mono, cadence)),
    };
    link_reporter.down(channels, reason, pause).await?;
    channels.sleep(pause).await
}
