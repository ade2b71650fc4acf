//! How a reading comes in: Home Assistant over WebSocket (or REST), the demo household, a replayed
//! CSV.
//!
//! A source knows nothing of Shelly or SQLite. It says what it heard as [`SourceEvent`]s: states of
//! entities as text with their unit, and how the link is. The crate `meter` gives them meaning.
//!
//! ```text
//!  run ──┬─ home_assistant   WebSocket session or REST poll, one task, reconnects for ever
//!        ├─ demo             a seeded household, a pure function of the time
//!        └─ replay           a recorded CSV
//!  recorded                  one-shot questions: what the recorder knows of a power and its counters
//!  notice, prices            notifications in Home Assistant; what a kWh costs by its settings
//!  discover                  one-shot questions: what could be an input (set-up, picker, `check`)
//! ```
//!
//! Order of events that a reader may rely on: after a loss of the link, every wanted entity's
//! [`Reading`] (or [`Gone`], [`Own`]) comes *before* [`Link::Up`]; while the link is
//! [`Link::Starting`] only readings come that count
//! (`docs/decisions.md#while-home-assistant-starts`). So what was held before the loss never turns
//! live by the link alone.
//!
//! [`SourceEvent`]: vocab::SourceEvent
//! [`Reading`]: vocab::Reading
//! [`Gone`]: vocab::State::Gone
//! [`Own`]: vocab::State::Own
//! [`Link::Up`]: vocab::Link::Up
//! [`Link::Starting`]: vocab::Link::Starting

mod beside;
mod candidates;
mod channels;
pub mod demo;
pub mod discover;
mod discovery;
pub mod energy_prefs;
mod facts;
pub mod home_assistant;
mod kin;
pub mod notice;
pub mod paid;
pub mod prefs_watch;
pub mod prices;
pub mod rank;
pub mod recorded;
pub mod registered;
pub mod registry;
pub mod replay;
mod statistics;
pub mod users;

use std::sync::Arc;

use channels::{Ending, Stopped};
pub use channels::{Listener, Outlet, SourceChannels};
use config::{SourceKind, SourceSettings};
pub use facts::{HaFacts, HaPlaces, HttpPlace, Transport};
pub use home_assistant::{Access, Cadence, Moved, Supervisor, cleaned};

/// Runs the chosen source until `stop`. Nothing outside ends it: an absent Home Assistant is a
/// state of the link. However it ends, the last that is said is that the link is down.
pub async fn run(settings: SourceSettings, access: Access, channels: SourceChannels) {
    let _ending = Ending(channels.out.clone(), Arc::clone(&channels.clock));
    let stopped = match settings.kind {
        SourceKind::HomeAssistant => {
            beside::follow(async move { home_assistant::run(&settings, &access, channels).await })
                .await
        }
        SourceKind::Demo => demo::run(&settings, channels).await,
        SourceKind::Replay => replay::run(&settings, channels).await,
    };
    match stopped {
        Ok(never) => match never {},
        Err(Stopped) => tracing::debug!("source stopped"),
    }
}
