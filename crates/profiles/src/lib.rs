//! What each product that reads the meter needs of it: data, one file each in `data/`.
//!
//! ```text
//!  data/<key>.json ──▶ parse ──▶ Profile ──▶ config: what `readers` sets where no option says otherwise
//!                                      ├──▶ consumers: battery or viewer, how absence is told
//!                                      └──▶ dashboard: what to type and press, what is set and why
//! ```
//!
//! A new product is a file there, a line in `files!`, its words in `locales/` and its page
//! `docs/consumers/<key>.md`.

mod parse;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vocab::{Absent, Channel};

pub use parse::{ProfileError, parse};

/// What a product does with the power that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acts {
    /// It regulates on it: calm control answers it at its own pace.
    Battery,
    /// It shows, stores or reckons with it: it sees each value at once and is never counted.
    Viewer,
    /// Nobody knows.
    Unknown,
}

/// How far it was tried that it reads this meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The project's tests run the product's own software.
    Run,
    /// They send what it sends, as read in its source.
    Replayed,
    /// Its source was read.
    Read,
    /// Owners report that it reads other emulators.
    Reported,
    /// Reports contradict each other, or there is one only.
    Doubtful,
}

/// What a person does so that the product reads the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Bring its firmware to [`Profile::firmware`] or later.
    Firmware,
    /// Bring it into the network of this host.
    Network,
    /// Choose a Shelly Pro 3EM as its meter in its app.
    ChooseMeter,
    /// The same, by Wi-Fi and not by Bluetooth.
    ChooseMeterWifi,
    /// Take the one that the app finds.
    TakeFound,
    /// Go to [`Profile::menu`].
    Menu,
    /// Type the meter's address.
    TypeAddress,
    /// Save there.
    Save,
    /// Name the GX in `outbound_ws`.
    SetGx,
    /// Give the meter that appears on the GX the role grid.
    TakeGridRole,
    /// Set ioBroker's Shelly adapter to MQTT.
    IobrokerAdapter,
    /// Tell the meter whom to dial.
    IobrokerMqtt,
    /// Wait for the first call.
    Wait,
}

impl Step {
    /// Its word, for keys of translated texts.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Network => "network",
            Self::ChooseMeter => "choose_meter",
            Self::ChooseMeterWifi => "choose_meter_wifi",
            Self::TakeFound => "take_found",
            Self::Menu => "menu",
            Self::TypeAddress => "type_address",
            Self::Save => "save",
            Self::SetGx => "set_gx",
            Self::TakeGridRole => "take_grid_role",
            Self::IobrokerAdapter => "iobroker_adapter",
            Self::IobrokerMqtt => "iobroker_mqtt",
            Self::Wait => "wait",
        }
    }
}

/// Why a profile sets an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetWhy {
    /// A battery that goes on with an old value acts on a house that is not there any more.
    HoldBattery,
    /// Who only looks need not see a short gap.
    HoldViewer,
    /// A GX drops the meter at a gap and takes its time to come back.
    HoldGx,
    /// It looks for its phase by a pulse that cannot be seen when spread over three.
    OnePhase,
    /// Some of its firmware drops short answers.
    LongAnswers,
    /// It looks for this announcement.
    TxtSolakon,
    /// It looks for the announcement of a real device.
    TxtOpenems,
}

impl SetWhy {
    /// Its word, for keys of translated texts.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::HoldBattery => "hold_battery",
            Self::HoldViewer => "hold_viewer",
            Self::HoldGx => "hold_gx",
            Self::OnePhase => "one_phase",
            Self::LongAnswers => "long_answers",
            Self::TxtSolakon => "txt_solakon",
            Self::TxtOpenems => "txt_openems",
        }
    }
}

/// An option that a profile sets where the owner says nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// As the options file takes it.
    pub value: Value,
    /// Why.
    pub why: SetWhy,
}

/// A product that reads the meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of its file: what an option calls it.
    #[serde(skip)]
    pub key: &'static str,
    /// For people: a product's name; that of [`ANYTHING`] is translated.
    pub name: String,
    /// What it does with power.
    pub acts: Acts,
    /// How far that was tried.
    pub proof: Proof,
    /// It finds the meter by mDNS.
    #[serde(default)]
    pub mdns: bool,
    /// The ways by which it reads, each with the ports of ours that it asks and no other; none: any
    /// that it is told.
    pub channels: BTreeMap<Channel, Vec<u16>>,
    /// How it is told on each of them that there is no power.
    pub absent: BTreeMap<Channel, Absent>,
    /// A pause is told to it as 0 W and not as "no value": without a value it goes on with the last.
    #[serde(default)]
    pub pause_at_zero: bool,
    /// Decimals that every power must have at least.
    #[serde(default)]
    pub decimals: u8,
    /// Bytes that a datagram with a power must have at least.
    #[serde(default)]
    pub datagram: usize,
    /// Options that it sets.
    pub set: BTreeMap<String, Setting>,
    /// The oldest firmware that reads a Shelly Pro 3EM.
    pub firmware: Option<String>,
    /// Where in its own pages a meter is added, in its own words.
    pub menu: Option<String>,
    /// What a person does, in order.
    pub steps: Vec<Step>,
    /// Where all this is from.
    pub sources: Vec<String>,
}

/// The profile of a reader of which nothing is known.
pub const ANYTHING: &str = "shelly";

impl Profile {
    /// How it is told on this way in that there is no power.
    #[must_use]
    pub fn absent(&self, channel: Channel) -> Absent {
        self.absent
            .get(&channel)
            .copied()
            .unwrap_or_else(|| channel.absent())
    }

    /// Whether it reads by this way in.
    #[must_use]
    pub fn reads_by(&self, channel: Channel) -> bool {
        self.channels.contains_key(&channel)
    }

    /// Whether nulls mean "unknown" to it wherever it may get them.
    #[must_use]
    pub fn takes_nulls(&self) -> bool {
        self.absent.values().any(|told| *told == Absent::Nulls)
    }
}

/// Names each file once.
macro_rules! files {
    ($first:literal $(, $key:literal)* $(,)?) => {
        /// Every profile's key, in the order in which they are offered.
        pub const KEYS: &[&str] = &[$first $(, $key)*];
        /// What an option that names them takes, in words that follow "must be".
        pub const ALLOWED: &str = concat!(
            "a product of ", $first $(, ", ", $key)*,
            ", also as address-or-network=product such as 192.168.1.20=", $first
        );
        const FILES: &[(&str, &str)] = &[
            ($first, include_str!(concat!("../data/", $first, ".json")))
            $(, ($key, include_str!(concat!("../data/", $key, ".json"))))*
        ];
    };
}
files!(
    "marstek-venus",
    "marstek-venus-3",
    "marstek-b2500",
    "hoymiles",
    "growatt-noah",
    "solakon",
    "indevolt",
    "jackery",
    "zendure",
    "victron",
    "evcc",
    "home-assistant",
    "openhab",
    "iobroker",
    "openems",
    "shelly",
);

/// All profiles, in the order of [`KEYS`].
#[must_use]
pub fn all() -> &'static [Profile] {
    // A test reads each file: none is left out.
    static ALL: LazyLock<Vec<Profile>> = LazyLock::new(|| {
        FILES
            .iter()
            .filter_map(|(key, text)| parse(key, text).ok())
            .collect()
    });
    &ALL
}

/// The profile of a key.
///
/// ```
/// use vocab::{Absent, Channel};
///
/// let evcc = profiles::find("evcc").unwrap();
/// assert_eq!(evcc.absent(Channel::Http), Absent::Error);
/// ```
#[must_use]
pub fn find(key: &str) -> Option<&'static Profile> {
    all().iter().find(|profile| profile.key == key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_profile() {
        for (key, text) in FILES {
            if let Err(error) = parse(key, text) {
                panic!("{error}");
            }
        }
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| {
                file.unwrap()
                    .file_name()
                    .into_string()
                    .unwrap()
                    .replace(".json", "")
            })
            .collect();
        there.sort();
        let mut known = KEYS.to_vec();
        known.sort_unstable();
        assert_eq!(there, known);
        assert_eq!(all().len(), KEYS.len());
        assert!(find(ANYTHING).is_some_and(|p| p.acts == Acts::Unknown && p.set.is_empty()));
    }

    #[test]
    fn absence_is_told_so_that_nobody_takes_it_for_0_w() {
        for profile in all() {
            for channel in profile.channels.keys() {
                let told = profile.absent(*channel);
                let nulls = told == Absent::Nulls;
                assert_eq!(
                    nulls,
                    *channel != Channel::Modbus
                        && (profile.key == "home-assistant"
                            || (profile.key, *channel) == ("victron", Channel::Websocket)),
                    "{} by {channel:?}: only who reads through aioshelly takes nulls",
                    profile.key
                );
                assert!(
                    told != Absent::Silence
                        || matches!(channel, Channel::Udp | Channel::Outbound | Channel::Mqtt),
                    "{}: who waits for an answer gets one",
                    profile.key
                );
                assert!(!nulls || profile.acts == Acts::Viewer, "{}", profile.key);
            }
            assert_eq!(
                profile.steps.len(),
                3,
                "{}: what to press, in three steps",
                profile.key
            );
        }
    }
}
