//! Home Assistant as the source: one task that owns the connection and never gives up.
//!
//! | file | subject |
//! | --- | --- |
//! | `address` | where, and with which token; timings |
//! | `frames`, `loose` | the wire's shapes, and how little of them is kept |
//! | `reported` | when an entity was reported last, and when it is worth asking |
//! | `table` | wanted entities, and which values count while Home Assistant starts |
//! | `asked` | what waits for its answer, and how long |
//! | `session` | the WebSocket protocol as a pure state machine |
//! | `socket`, `roomy` | its thin IO; no more memory than it needs |
//! | `rest` | the poll, as fallback or by choice |
//! | `query` | one-shot questions over an own connection |
//! | `fault` | what went wrong, with what to do |
//! | `reconnect`, `lamp` | when to try again; what is said and logged of it |

pub mod address;
mod asked;
mod fault;
pub(crate) mod frames;
mod lamp;
mod loose;
pub(crate) mod query;
mod reconnect;
mod reported;
pub(crate) mod rest;
mod roomy;
pub(crate) mod session;
pub(crate) mod socket;
mod table;

use std::convert::Infallible;

pub use address::{Access, Address, AddressError, Cadence, Supervisor};
use lamp::Lamp;
use reconnect::Reconnect;
use session::End;
use socket::{NoSocket, Socket};

use super::{Stopped, Wires};
use config::{HaTransport, SourceSettings};
use vocab::{Link, SourceEvent};

/// Failed upgrades in a row after which REST is tried (`ha_transport` auto).
const UPGRADES_BEFORE_REST: u32 = 3;

/// Follows the wanted entities until stopped.
pub(super) async fn run(
    settings: &SourceSettings,
    access: &Access,
    mut wires: Wires,
) -> Result<Infallible, Stopped> {
    let addresses = match Address::all(settings, access) {
        Ok(addresses) => addresses,
        Err(error) => {
            tracing::warn!("{error}");
            wires
                .say(
                    wires.clock.now(),
                    SourceEvent::Link(Link::Idle(error.into())),
                )
                .await?;
            wires.stop.cancelled().await;
            return Err(Stopped);
        }
    };
    let cadence = &access.cadence;
    let mut lamp = Lamp::default();
    let mut reconnect = Reconnect::default();
    let mut failed_upgrades = 0;
    let mut next: Option<Socket> = None;
    let mut way = 0;
    lamp.connecting(&wires).await?;
    loop {
        let address = &addresses[way];
        if settings.ha_transport == HaTransport::Rest {
            let lost = rest::serve(settings, address, cadence, &mut lamp, &mut wires, None).await?;
            if !lost.settled {
                way = (way + 1) % addresses.len();
            }
            pause(lost, cadence, &mut reconnect, &mut lamp, &wires).await?;
            continue;
        }
        let socket = match next.take() {
            Some(socket) => Ok(socket),
            None => tokio::select! {
                biased;
                () = wires.stop.cancelled() => return Err(Stopped),
                socket = socket::connect(address, cadence) => socket,
            },
        };
        let lost = match socket {
            Ok(socket) => {
                let ended = socket::serve(socket, address, cadence, &mut lamp, &mut wires).await?;
                failed_upgrades = if ended.greeted {
                    0
                } else {
                    failed_upgrades + 1
                };
                Lost {
                    end: ended.end,
                    settled: ended.settled,
                }
            }
            Err(NoSocket::Forbidden(why)) => {
                failed_upgrades += 1;
                Lost {
                    end: End::Refused(why),
                    settled: false,
                }
            }
            Err(NoSocket::Failed(why)) => {
                failed_upgrades += 1;
                Lost {
                    end: End::Lost(why),
                    settled: false,
                }
            }
        };
        if settings.ha_transport == HaTransport::Auto && failed_upgrades >= UPGRADES_BEFORE_REST {
            let ended = rest::serve(
                settings,
                address,
                cadence,
                &mut lamp,
                &mut wires,
                Some(&mut next),
            )
            .await?;
            if next.is_some() {
                tracing::info!("Home Assistant's WebSocket answers again");
                continue;
            }
            if ended.settled {
                pause(ended, cadence, &mut reconnect, &mut lamp, &wires).await?;
                continue;
            }
        }
        if !lost.settled {
            way = (way + 1) % addresses.len();
        }
        pause(lost, cadence, &mut reconnect, &mut lamp, &wires).await?;
    }
}

/// How a connection of either kind ended.
struct Lost {
    end: End,
    /// It had answered before.
    settled: bool,
}

/// Says that the link is down and waits for the next attempt.
async fn pause(
    lost: Lost,
    cadence: &Cadence,
    reconnect: &mut Reconnect,
    lamp: &mut Lamp,
    wires: &Wires,
) -> Result<(), Stopped> {
    if lost.settled {
        reconnect.reset();
    }
    let (reason, pause) = match lost.end {
        End::Refused(why) => (why, reconnect.refused(cadence)),
        End::Lost(why) => (
            why,
            reconnect.failed(wires.clock.now().mono, cadence, fastrand::f64()),
        ),
        End::TooLarge(why) => (why, reconnect.too_large(wires.clock.now().mono, cadence)),
    };
    lamp.down(wires, reason, pause).await?;
    wires.sleep(pause).await
}
