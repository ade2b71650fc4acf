//! How a reading comes in: Home Assistant over WebSocket (or REST), the demo household, a replayed CSV.
//!
//! A source knows nothing of Shelly or SQLite. It says what it heard as [`SourceEvent`]s: states of
//! entities as text with their unit, and how the link is. The `meter` room gives them meaning.

use std::{sync::Arc, time::Duration};

/// A Home Assistant entity id, e.g. `sensor.grid_power`. Demo and replay name theirs `demo.a_power`, `replay.a_power` ….
pub type EntityId = Arc<str>;

/// What a source heard about one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which entity.
    pub entity: EntityId,
    /// Its state.
    pub state: State,
    /// Its `unit_of_measurement` at that moment; it may change at run time.
    pub unit: Option<Arc<str>>,
}

/// An entity's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The state's text as Home Assistant sent it, `unavailable` and `unknown` included.
    Text(Arc<str>),
    /// The entity does not exist (any more).
    Gone,
}

/// How the way to the source is.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Not tried yet, or nothing to try: no token, nothing configured. The text says which.
    Idle(Arc<str>),
    /// First connection under way.
    Connecting,
    /// Connected, but Home Assistant is still starting.
    Starting,
    /// Connected and running: an unchanged value is a good value.
    Up,
    /// Lost or refused; values are held from `last_alive` (monotonic) on.
    Down {
        /// Why, in one line, without secrets.
        reason: Arc<str>,
        /// When the last frame came, or none ever did.
        last_alive: Option<Duration>,
    },
}

/// One thing a source has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceEvent {
    /// New states. States that arrived together come together.
    Readings(Vec<Reading>),
    /// The link changed.
    Link(Link),
    /// A sign of life without news (a frame, a pong, a poll): at most one a second.
    Alive,
}
