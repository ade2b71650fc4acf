//! Every option, once, in the order of the settings page.
//!
//! Adding an option is one field of a section below, with its key, unit, range, text and whether it
//! counts at once; the command line, the environment, the reference in `DOCS.md`, the schema of the
//! app, the settings page and `config` follow from it. The sections are [`crate::Settings`], but
//! those of a meter, which [`super::assemble`] puts together.

mod channels;
mod meter;
mod service;

use std::{collections::HashMap, sync::OnceLock};

pub use channels::{ChannelSettings, ScalingSettings};
pub use meter::IdentitySettings;
pub(crate) use meter::MeterOptions;
pub use service::{DashboardSettings, ForecastSettings, MqttSettings, SourceSettings};
pub(crate) use service::{LogOptions, StoreOptions};

use super::definition::{Definition, Group, Kind};

/// The tables, a row a field; those of one group in order.
const TABLES: [&[&[Definition]]; 12] = [
    service::SOURCE,
    meter::IDENTITY,
    meter::METER,
    channels::CHANNELS,
    channels::SCALING,
    service::DASHBOARD,
    service::MQTT,
    service::STORE,
    &[service::PLACES],
    service::FORECAST,
    service::LOG,
    &[service::METERS],
];

/// Environment names that are no options: for tests of what the Supervisor would otherwise fix.
pub const TEST_VARIABLES: [&str; 3] = [
    "VIRTUAL_SHELLY_SUPERVISOR_URL",
    "VIRTUAL_SHELLY_INGRESS_BIND",
    "VIRTUAL_SHELLY_INGRESS_PEER",
];

/// Keys of a meter that are neither its entities nor its policy.
const METER_EXTRA: [&str; 13] = [
    "mac",
    "device_name",
    "profile",
    "bind",
    "http_port",
    "modbus_port",
    "mdns_ip",
    "mdns_profile",
    "udp_ports",
    "outbound_ws",
    "readers",
    "control",
    "control_readers",
];

/// Every option, in the order of the settings page.
pub fn all() -> impl Iterator<Item = &'static Definition> {
    static ALL: OnceLock<Vec<&'static Definition>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut all: Vec<_> = TABLES.into_iter().flatten().copied().flatten().collect();
        all.sort_by_key(|def| def.group);
        all
    });
    all.iter().copied()
}

/// The option of a key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Definition> {
    static INDEX: OnceLock<HashMap<&'static str, &'static Definition>> = OnceLock::new();
    INDEX
        .get_or_init(|| all().map(|d| (d.key, d)).collect())
        .get(key)
        .copied()
}

/// The known key most like an unknown one.
#[must_use]
pub fn nearest(key: &str) -> &'static str {
    nearest_of(key, all().map(|d| d.key))
}

/// The most similar of some names.
pub(super) fn nearest_of<S: AsRef<str> + Default>(name: &str, known: impl Iterator<Item = S>) -> S {
    let name: String = name.chars().take(64).collect::<String>().to_lowercase();
    let likeness = |other: &S| strsim::jaro_winkler(&name, &other.as_ref().to_lowercase());
    known
        .map(|other| (likeness(&other), other))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|best| best.1)
        .unwrap_or_default()
}

/// The name of a further meter: the one member of a `meters` entry that is no option, and the one
/// that is required.
pub(crate) static NAME: Definition = Definition::new(
    Group::Meters,
    "name",
    meter::IDENTITY_TEXT,
    "Name of this meter, in the log and on the dashboard; each once",
);

/// Whether a further meter has this key too.
#[must_use]
pub fn in_meter(def: &Definition) -> bool {
    use Group::{Energy, Policy, Power, Values};
    matches!(def.group, Power | Values | Energy | Policy) || METER_EXTRA.contains(&def.key)
}

/// What a `meters` entry may hold, in order.
pub fn meter_entry() -> impl Iterator<Item = &'static Definition> {
    std::iter::once(&NAME).chain(all().filter(|d| in_meter(d)))
}

/// A value of the Supervisor's `schema:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// `key: type?`
    Scalar(String),
    /// `key: [type?]`
    List(String),
    /// `key: [{member: type, …}]`, in order.
    Dictionaries(Vec<(&'static str, String)>),
}

impl Definition {
    /// What the Supervisor's schema says of it (`docs/home-assistant.md#options-and-schema`);
    /// `None` where the app does not have it.
    #[must_use]
    pub fn schema(&self) -> Option<Schema> {
        if !self.in_app() {
            return None;
        }
        Some(match self.kind {
            Kind::Many(item) => Schema::List(format!("{}?", item.schema_type())),
            Kind::Meters => {
                Schema::Dictionaries(meter_entry().map(|e| (e.key, e.member_schema())).collect())
            }
            kind => Schema::Scalar(format!("{}?", kind.schema_type())),
        })
    }

    /// What the schema says of it as a member of `meters`, where lists are text with commas.
    fn member_schema(&self) -> String {
        match self.kind {
            Kind::Many(_) => "str?".into(),
            kind if self.key == NAME.key => kind.schema_type(),
            kind => format!("{}?", kind.schema_type()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{Schema, value};

    #[test]
    fn keys_and_names_are_unique_and_well_formed() {
        let mut keys = std::collections::BTreeSet::new();
        let mut names = std::collections::BTreeSet::new();
        for def in all() {
            assert!(keys.insert(def.key), "{} twice", def.key);
            assert!(
                def.key
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{}",
                def.key
            );
            assert!(
                names.insert(def.env_name().into_owned()),
                "{} twice",
                def.env_name()
            );
            assert!(def.alias.is_none_or(|alias| names.insert(alias.into())));
            assert!(
                !def.text.is_empty() && !def.text.contains(['\n', '|']) && !def.text.ends_with('.'),
                "{}: text",
                def.key
            );
            assert_eq!(find(def.key).map(|d| d.key), Some(def.key));
        }
    }

    #[test]
    fn every_default_is_a_valid_value_and_round_trips() {
        for def in all() {
            for text in [def.default, def.app_default].into_iter().flatten() {
                let parsed = value::from_text(def.kind, text)
                    .expect("default is valid")
                    .expect("default is set");
                assert_eq!(
                    value::from_json(def.kind, &parsed).expect("valid as JSON too"),
                    Some(parsed.clone()),
                    "{}",
                    def.key
                );
                let again = value::from_text(def.kind, &value::to_text(&parsed))
                    .expect("its text is valid");
                assert_eq!(again, Some(parsed), "{}", def.key);
            }
        }
    }

    #[test]
    fn no_word_of_a_list_is_a_yaml_keyword() {
        for def in all() {
            let item = if let Kind::Many(item) = def.kind {
                *item
            } else {
                def.kind
            };
            if let Kind::Choice(words) = item {
                // Read as a boolean, these mean the same (`value`).
                if words.contains(&"on") && words.contains(&"off") {
                    continue;
                }
                assert!(
                    words
                        .iter()
                        .all(|w| !["on", "off", "yes", "no", "null", "true", "false"].contains(w)),
                    "{}",
                    def.key
                );
            }
        }
    }

    #[test]
    fn schema_is_written_as_the_supervisor_reads_it() {
        let scalar = |text: &str| Some(Schema::Scalar(text.into()));
        let schema = |key| find(key).and_then(Definition::schema);
        assert_eq!(schema("poll_interval"), scalar("float(0.5,60)?"));
        assert_eq!(schema("stale"), scalar("list(device|error|silent)?"));
        assert_eq!(schema("total_power"), scalar("str?"));
        assert_eq!(schema("mac"), scalar("match(^.*$)?"));
        assert_eq!(schema("sn"), scalar("match(^.*$)?"));
        assert_eq!(schema("auth_password"), scalar("password?"));
        assert_eq!(schema("outbound_ws"), Some(Schema::List("str?".into())));
        assert_eq!(schema("http_port"), None);
        assert_eq!(schema("data_dir"), None);
        let Some(Schema::Dictionaries(members)) = schema("meters") else {
            panic!("meters")
        };
        assert_eq!(members[0], ("name", "match(^.*$)".into()));
        assert!(
            members.contains(&("http_port", "port?".into()))
                && members.contains(&("udp_ports", "str?".into()))
        );
        assert!(
            members
                .iter()
                .all(|(key, _)| !["source", "device_id", "mdns_enable", "log_level"].contains(key))
        );
    }

    #[test]
    fn every_group_has_options_and_nearest_finds_the_meant_one() {
        for group in Group::all() {
            assert!(all().any(|d| d.group == group), "{group:?}");
        }
        assert_eq!(nearest("poll_intervall"), "poll_interval");
        assert_eq!(nearest("a_pwoer"), "a_power");
        assert_eq!(nearest("mdns_enabled"), "mdns_enable");
        assert!(find(nearest("")).is_some());
    }
}
