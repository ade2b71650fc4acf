//! One thing that went wrong.

use serde::{Deserialize, Serialize};

use vocab::reason::KeptReason;

/// What sort of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A meter without a value.
    NoReading,
    /// The link to Home Assistant is lost; values are held.
    Link,
    /// A reader that must read does not.
    Silent,
    /// A listener without its port.
    Port,
    /// Nothing is kept.
    Store,
    /// The process was stopped in order.
    Stopped,
    /// The process ended without notice: a power cut, a kill.
    Cut,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoReading,
        Self::Link,
        Self::Silent,
        Self::Port,
        Self::Store,
        Self::Stopped,
        Self::Cut,
    ];

    /// Its name in files and in data for pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoReading => "no_reading",
            Self::Link => "link",
            Self::Silent => "silent",
            Self::Port => "port",
            Self::Store => "store",
            Self::Stopped => "stopped",
            Self::Cut => "cut",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How long a condition lasts before it is an event, s: what is over sooner is no fault.
    pub(crate) const fn patience(self) -> u64 {
        match self {
            // The meter has held the last value before.
            Self::NoReading => 2,
            // Its reader was waited for before.
            Self::Silent | Self::Stopped | Self::Cut => 0,
            Self::Link | Self::Store => 5,
            // A program that ends gives its port back.
            Self::Port => 10,
        }
    }
}

/// What an event is about: there is one of it at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// What sort.
    pub kind: Kind,
    /// The meter's key; empty for the first and for what is no meter's.
    pub meter: String,
    /// Which of that sort: a reader's address and channel, a listener's name.
    pub which: String,
}

/// What is told of an event beside its times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// Its name for people: a reader's name, a listener's ports.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<KeptReason>,
    /// What is usual, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual: Option<f64>,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number: a later one is greater.
    pub id: i64,
    /// About what.
    pub subject: Subject,
    /// Since when, Unix s: of a meter without a value, since its last reading.
    pub since: f64,
    /// Until when, Unix s; `None` while it lasts.
    pub ended: Option<f64>,
    /// All else.
    pub detail: Detail,
}
