//! What Home Assistant's registry knows an entity by, and what it says of one that changes.

use serde::{Deserialize, Serialize};

use vocab::EntityId;

/// What the registry knows an entity by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registered {
    /// Its id in the registry; older versions don't tell it.
    pub id: String,
    /// The integration it is of.
    pub platform: String,
    /// That integration's own id for it.
    pub unique_id: String,
}

impl Registered {
    /// Whether both are the same entity, whatever its name.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        if !self.id.is_empty() && !other.id.is_empty() && self.id == other.id {
            return true;
        }
        !self.unique_id.is_empty()
            && self.unique_id == other.unique_id
            && self.platform == other.platform
    }
}

/// What an event of the registry says of an entity that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryEvent {
    /// It has another name.
    Renamed {
        /// The name until now.
        old: EntityId,
        /// The name from now on.
        new: EntityId,
    },
    /// It was taken out.
    Removed(EntityId),
    /// It is polled and not there any more: over REST no event says why.
    Missing(EntityId),
}

impl RegistryEvent {
    /// The name that the entity had until now.
    pub(crate) fn entity(&self) -> &EntityId {
        match self {
            Self::Renamed { old: id, .. } | Self::Removed(id) | Self::Missing(id) => id,
        }
    }
}
