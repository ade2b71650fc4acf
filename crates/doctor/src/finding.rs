//! One thing that was looked at.

use serde::Serialize;

use super::{Cause, Remedy};

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// Ports and who has them.
    Ports,
    /// Addresses, networks, the container.
    Network,
    /// The announcement.
    Name,
    /// Who asked.
    Readers,
    /// Home Assistant and its entities.
    Source,
    /// The clock.
    Clock,
    /// What is kept.
    Store,
}

impl Area {
    /// Key of its name in `locales/`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Ports => "doc_area_ports",
            Self::Network => "doc_area_network",
            Self::Name => "doc_area_name",
            Self::Readers => "doc_area_readers",
            Self::Source => "doc_area_source",
            Self::Clock => "doc_area_clock",
            Self::Store => "doc_area_store",
        }
    }
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something does not work.
    Bad,
    /// Worth knowing, or off by choice.
    Note,
    /// As it should be.
    Good,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub cause: Cause,
    /// The one thing to do about it.
    pub remedy: Option<Remedy>,
}

impl Finding {
    /// Whether it belongs to a meter that is being set up, whose readers come later: what stands in
    /// the way, and how old each chosen sensor's value is. Ports and the way to Home Assistant have
    /// their own place there.
    #[must_use]
    pub const fn in_setup(&self) -> bool {
        match self.area {
            Area::Network | Area::Name | Area::Clock | Area::Store => {
                !matches!(self.level, Level::Good)
            }
            Area::Source => matches!(
                self.cause,
                Cause::Entity { .. }
                    | Cause::EntityQuiet { .. }
                    | Cause::EntityBad { .. }
                    | Cause::EntityUnheard { .. }
            ),
            Area::Ports | Area::Readers => false,
        }
    }

    /// As it should be.
    #[must_use]
    pub const fn good(area: Area, cause: Cause) -> Self {
        Self {
            area,
            level: Level::Good,
            cause,
            remedy: None,
        }
    }

    /// Worth knowing.
    #[must_use]
    pub const fn note(area: Area, cause: Cause, remedy: Option<Remedy>) -> Self {
        Self {
            area,
            level: Level::Note,
            cause,
            remedy,
        }
    }

    /// Something does not work.
    #[must_use]
    pub const fn bad(area: Area, cause: Cause, remedy: Remedy) -> Self {
        Self {
            area,
            level: Level::Bad,
            cause,
            remedy: Some(remedy),
        }
    }
}
