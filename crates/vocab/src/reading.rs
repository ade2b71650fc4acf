//! What a source says of the household: readings of entities, how the link is, and what the
//! recorder knows of a time past.

use std::{sync::Arc, time::Duration};

use crate::{EntityId, reason::Unreachable};

/// What a source heard about one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which entity.
    pub entity: EntityId,
    /// Its state.
    pub state: State,
    /// Its `unit_of_measurement` at that moment; it may change at run time.
    pub unit: Option<Arc<str>>,
    /// How long ago it was reported, changed or not: 0 for what is heard as it happens. `None`
    /// where nobody knows, as of a value that Home Assistant restored from before its restart.
    pub age: Option<Duration>,
}

/// An entity's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The state's text as Home Assistant sent it, `unavailable` and `unknown` included.
    Text(Arc<str>),
    /// The entity does not exist (any more).
    Gone,
    /// The entity is our own and is never read (`docs/decisions.md#our-own-entities`).
    Own,
}

/// How the way to the source is.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Not tried yet, or nothing to try: no token, nothing configured. The reason says which.
    Idle(Unreachable),
    /// First connection under way.
    Connecting,
    /// Connected, but Home Assistant is still starting.
    Starting,
    /// Connected and running: an unchanged value is a good value. Comes after the readings of every
    /// wanted entity.
    Up,
    /// Lost or refused; values are held from `last_alive` (monotonic) on.
    Down {
        /// Why.
        reason: Unreachable,
        /// When the last frame came while the link was up; `None` if it never was. Later attempts,
        /// refused tokens and starts that fail don't move it; a reading given out while starting
        /// has its own moment.
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

/// One period of Home Assistant's recorder in which all that was asked for is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Mean power, W, + import.
    pub watts: f64,
    /// Growth of the import counters, Wh; `None` where none were asked for.
    pub import: Option<f64>,
    /// Growth of the export counters, Wh.
    pub export: Option<f64>,
    /// Its length.
    pub hours: f64,
    /// It does not follow upon the one before.
    pub after_gap: bool,
}
