//! Where an option's value comes from.

use serde::Serialize;

/// Where a value comes from; a later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The definition.
    Default,
    /// What the products that read the meter set (`readers`).
    Profile,
    /// What a reader set through the device's RPC; known at run time only.
    Device,
    /// The options file.
    File,
    /// The Network card of the app.
    Network,
    /// The environment.
    Environment,
    /// The command line.
    CommandLine,
}

impl Layer {
    /// All of them; a later one wins.
    pub const ALL: [Self; 7] = [
        Self::Default,
        Self::Profile,
        Self::Device,
        Self::File,
        Self::Network,
        Self::Environment,
        Self::CommandLine,
    ];

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Profile => "profile",
            Self::Device => "device",
            Self::File => "options file",
            Self::Network => "Network card",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
        }
    }

    /// Whether the settings page can only show the value: a change in the options file would have
    /// no effect.
    #[must_use]
    pub const fn read_only(self) -> bool {
        matches!(self, Self::Network | Self::Environment | Self::CommandLine)
    }
}
