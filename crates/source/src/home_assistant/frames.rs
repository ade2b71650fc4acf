//! Frames of Home Assistant's WebSocket API as Rust types, decoded leniently: an unknown field, a
//! new key order or one odd entity never costs the others. Shapes as recorded from 2025.4 to
//! 2026.11 (see the tests).

use std::{borrow::Cow, collections::HashMap};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

use super::loose_scalar::{LooseScalar, Texts, present};
use crate::{
    facts::HttpPlace,
    registered::{Registered, RegistryEvent},
};
use vocab::EntityId;

/// One message from Home Assistant; a frame holds one, or an array of them when coalesced.
#[derive(Debug, Deserialize)]
pub(crate) struct Incoming<'a> {
    /// `auth_required`, `auth_ok`, `auth_invalid`, `result`, `event`, `pong`.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// Echo of our id; null in answers to what had none.
    #[serde(default)]
    pub id: Option<u64>,
    #[serde(default)]
    pub success: Option<bool>,
    #[serde(default, borrow)]
    pub result: Option<&'a RawValue>,
    #[serde(default)]
    pub error: Option<ErrorBody>,
    #[serde(default, borrow)]
    pub event: Option<&'a RawValue>,
    /// Text beside `auth_invalid`.
    #[serde(default)]
    pub message: Option<String>,
}

/// `error` of a result.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ErrorBody {
    #[serde(default)]
    pub code: LooseScalar,
    #[serde(default)]
    pub message: LooseScalar,
}

/// Characters of an error's text that are shown.
const ERROR_MAX: usize = 300;

impl ErrorBody {
    /// It has nothing under that name.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code.to_string() == "not_found"
    }
}

impl std::fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: &LooseScalar| {
            value
                .to_string()
                .chars()
                .take(ERROR_MAX)
                .collect::<String>()
        };
        write!(f, "{} ({})", text(&self.message), text(&self.code))
    }
}

/// The messages of one text frame; those that cannot be read are left out and counted.
pub(crate) fn messages(frame: &str) -> (Vec<Incoming<'_>>, usize) {
    if frame.trim_start().starts_with('[') {
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(frame) else {
            return (Vec::new(), 1);
        };
        let all = parts.len();
        let good: Vec<_> = parts
            .into_iter()
            .filter_map(|p| serde_json::from_str(p.get()).ok())
            .collect();
        let bad = all - good.len();
        (good, bad)
    } else {
        serde_json::from_str(frame).map_or_else(|_| (Vec::new(), 1), |m| (vec![m], 0))
    }
}

/// `get_config`, also `GET /api/config`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    pub state: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub internal_url: Option<String>,
    #[serde(default)]
    pub recovery_mode: bool,
}

/// `http/config`: the configuration in use and the one on trial. Anything of another shape is
/// passed over.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct HttpConfigs {
    #[serde(default)]
    stable: Value,
    #[serde(default)]
    pending: Value,
    #[serde(default)]
    default: Value,
}

impl HttpConfigs {
    /// Where Home Assistant listens with them.
    pub(crate) fn places(&self) -> Vec<HttpPlace> {
        // Without a stored one the default is in use.
        let stable = if self.stable.is_object() {
            &self.stable
        } else {
            &self.default
        };
        [stable, &self.pending]
            .into_iter()
            .filter_map(place)
            .collect()
    }

    /// Whether one is on trial: it ends by itself.
    pub(crate) fn on_trial(&self) -> bool {
        place(&self.pending).is_some()
    }
}

fn place(config: &Value) -> Option<HttpPlace> {
    // One that failed its trial is kept to be shown, never used again.
    if config.get("error").is_some_and(|e| !e.is_null()) {
        return None;
    }
    let port = u16::try_from(config.get("server_port")?.as_u64()?).ok()?;
    let hosts = match config.get("server_host") {
        Some(Value::String(host)) => vec![host.clone()],
        Some(Value::Array(hosts)) => hosts
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    };
    Some(HttpPlace { port, hosts })
}

/// What of an entity's attributes matters to a set-up. Others may be as large as they like: they
/// are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    unit_of_measurement: LooseScalar,
    device_class: LooseScalar,
    friendly_name: LooseScalar,
    restored: LooseScalar,
    // In these, helpers name what they are made of.
    source: Texts,
    source_entity: Texts,
    source_entity_id: Texts,
    entity_id: Texts,
    entity_ids: Texts,
    entities: Texts,
}

impl Attributes {
    /// Anything but a text counts as none; so with all of these.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.unit_of_measurement.as_str()
    }

    pub(crate) fn device_class(&self) -> Option<&str> {
        self.device_class.as_str()
    }

    pub(crate) fn friendly_name(&self) -> Option<&str> {
        self.friendly_name.as_str()
    }

    /// Kept over a restart, and nothing gives it a value any more.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored.is_true()
    }

    /// What it says to be made of.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &str> {
        let all = [
            &self.source,
            &self.source_entity,
            &self.source_entity_id,
            &self.entity_id,
            &self.entity_ids,
            &self.entities,
        ];
        all.into_iter()
            .flat_map(|texts| &texts.0)
            .map(String::as_str)
    }
}

/// What of an entity's attributes matters to a reading.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Unit {
    #[serde(deserialize_with = "present")]
    unit_of_measurement: Option<LooseScalar>,
}

impl Unit {
    /// Anything but a text counts as none.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.unit_of_measurement
            .as_ref()
            .and_then(LooseScalar::as_str)
    }
}

/// The event of `subscribe_entities`: added, changed, removed.
#[derive(Debug, Deserialize)]
pub(crate) struct EntitiesEvent<'a> {
    #[serde(default, borrow)]
    a: HashMap<Cow<'a, str>, &'a RawValue>,
    #[serde(default, borrow)]
    c: HashMap<Cow<'a, str>, &'a RawValue>,
    #[serde(default, borrow)]
    r: Vec<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Added {
    s: String,
    #[serde(default)]
    a: Unit,
    #[serde(default)]
    lc: LooseScalar,
    #[serde(default)]
    lu: LooseScalar,
}

#[derive(Debug, Deserialize)]
struct Diff {
    #[serde(default, rename = "+")]
    plus: Plus,
    #[serde(default, rename = "-")]
    minus: Minus,
}

#[derive(Debug, Default, Deserialize)]
struct Plus {
    #[serde(default)]
    s: Option<String>,
    #[serde(default)]
    a: Unit,
    #[serde(default)]
    lc: Option<LooseScalar>,
    #[serde(default)]
    lu: Option<LooseScalar>,
}

#[derive(Debug, Default, Deserialize)]
struct Minus {
    #[serde(default)]
    a: Vec<String>,
}

/// A new unit, if an event says anything about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnitChange {
    Same,
    Now(Option<String>),
}

/// One thing an entities event says, in its order: added, changed, removed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EntityChange {
    /// `at` is Home Assistant's stamp of the last report, Unix seconds.
    Added {
        entity: EntityId,
        state: String,
        unit: Option<String>,
        at: Option<f64>,
    },
    /// `reported`: its state was, not its attributes alone.
    Changed {
        entity: EntityId,
        state: Option<String>,
        unit: UnitChange,
        reported: bool,
        at: Option<f64>,
    },
    Removed {
        entity: EntityId,
    },
}

impl EntitiesEvent<'_> {
    /// All it says; entries of another shape are counted.
    pub(crate) fn told(self) -> (Vec<EntityChange>, usize) {
        let (mut told, mut bad) = (Vec::new(), 0);
        for (entity, raw) in self.a {
            match (entity.parse(), serde_json::from_str::<Added>(raw.get())) {
                (Ok(entity), Ok(added)) => {
                    let at = later(added.lc.as_f64(), added.lu.as_f64());
                    told.push(EntityChange::Added {
                        entity,
                        unit: added.a.unit().map(str::to_owned),
                        state: added.s,
                        at,
                    });
                }
                _ => bad += 1,
            }
        }
        for (entity, raw) in self.c {
            match (entity.parse(), serde_json::from_str::<Diff>(raw.get())) {
                (Ok(entity), Ok(Diff { plus, minus })) => {
                    let unit = if plus.a.unit_of_measurement.is_some() {
                        UnitChange::Now(plus.a.unit().map(str::to_owned))
                    } else if minus.a.iter().any(|name| name == "unit_of_measurement") {
                        UnitChange::Now(None)
                    } else {
                        UnitChange::Same
                    };
                    // A forced update of the same value carries `lc` alone.
                    let reported = plus.s.is_some() || plus.lc.is_some();
                    let at = later(
                        plus.lc.as_ref().and_then(LooseScalar::as_f64),
                        plus.lu.as_ref().and_then(LooseScalar::as_f64),
                    );
                    told.push(EntityChange::Changed {
                        entity,
                        state: plus.s,
                        unit,
                        reported,
                        at,
                    });
                }
                _ => bad += 1,
            }
        }
        for entity in self.r {
            match entity.parse() {
                Ok(entity) => told.push(EntityChange::Removed { entity }),
                Err(_) => bad += 1,
            }
        }
        (told, bad)
    }
}

/// The later stamp: `lu` is left out where it equals `lc`.
fn later(lc: Option<f64>, lu: Option<f64>) -> Option<f64> {
    lc.into_iter()
        .chain(lu)
        .filter(|at| at.is_finite())
        .reduce(f64::max)
}

/// Our messages.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(crate) enum Outgoing<'a> {
    #[serde(rename = "auth")]
    Auth { access_token: &'a str },
    #[serde(rename = "ping")]
    Ping { id: u64 },
    #[serde(rename = "get_config")]
    GetConfig { id: u64 },
    #[serde(rename = "get_states")]
    GetStates { id: u64 },
    #[serde(rename = "http/config")]
    GetHttpConfig { id: u64 },
    #[serde(rename = "energy/get_prefs")]
    GetPrefs { id: u64 },
    #[serde(rename = "energy/info")]
    EnergyInfo { id: u64 },
    #[serde(rename = "config/entity_registry/list")]
    ListRegistry { id: u64 },
    #[serde(rename = "config/device_registry/list")]
    ListDevices { id: u64 },
    #[serde(rename = "config/area_registry/list")]
    ListAreas { id: u64 },
    #[serde(rename = "config/auth/list")]
    ListUsers { id: u64 },
    #[serde(rename = "config/entity_registry/get_entries")]
    GetEntries { id: u64, entity_ids: &'a [EntityId] },
    #[serde(rename = "subscribe_events")]
    SubscribeEvents { id: u64, event_type: &'a str },
    #[serde(rename = "subscribe_entities")]
    SubscribeEntities { id: u64, entity_ids: &'a [EntityId] },
    #[serde(rename = "unsubscribe_events")]
    Unsubscribe { id: u64, subscription: u64 },
    #[serde(rename = "render_template")]
    RenderTemplate {
        id: u64,
        template: &'a str,
        variables: TemplateIds<'a>,
    },
    #[serde(rename = "recorder/statistics_during_period")]
    Statistics {
        id: u64,
        start_time: &'a str,
        statistic_ids: &'a [&'a str],
        period: &'a str,
        types: &'a [&'a str],
        units: StatisticUnits,
    },
    #[serde(rename = "recorder/get_statistics_metadata")]
    StatisticNames {
        id: u64,
        statistic_ids: &'a [&'a str],
    },
}

/// Home Assistant's time, then each entity of `ids` with the time it was reported last, Unix
/// seconds. What else tells states (`get_states`, REST) is no use for that: its texts are kept
/// until the state changes, with the stamp of when they were made.
pub(crate) const STAMPS: &str = "{{ now().timestamp() }}{% for e in ids %}{% if states[e] %} \
    {{ e }}={{ (states[e].last_reported or states[e].last_updated).timestamp() }}{% endif %}{% endfor %}";

/// Variables of a template.
#[derive(Debug, Serialize)]
pub(crate) struct TemplateIds<'a> {
    pub ids: &'a [EntityId],
}

/// When entities were reported, and what time it was where they are; Unix seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stamps {
    /// `None`: it was not said.
    pub home: Option<f64>,
    pub entities: Vec<(EntityId, f64)>,
}

impl Stamps {
    /// What [`STAMPS`] renders.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok().filter(|n: &f64| n.is_finite());
        let mut words = text.split_whitespace();
        let home = number(words.next()?)?;
        let entities = words
            .filter_map(|word| word.split_once('='))
            .filter_map(|(id, at)| Some((id.parse().ok()?, number(at)?)));
        Some(Self {
            home: Some(home),
            entities: entities.collect(),
        })
    }
}

/// The event of a rendered template. A text that looks like a number comes as one.
#[derive(Debug, Deserialize)]
pub(crate) struct Rendered {
    #[serde(default)]
    pub result: LooseScalar,
}

impl Rendered {
    pub(crate) fn stamps(&self) -> Option<Stamps> {
        match &self.result {
            LooseScalar::Text(text) => Stamps::parse(text),
            LooseScalar::Number(home) => Some(Stamps {
                home: home.as_f64(),
                entities: Vec::new(),
            }),
            _ => None,
        }
    }
}

/// Units that statistics are wanted in, by class.
#[derive(Debug, Serialize)]
pub(crate) struct StatisticUnits {
    pub power: &'static str,
    pub energy: &'static str,
}

impl Outgoing<'_> {
    /// As a text frame.
    pub(crate) fn frame(&self) -> String {
        // These types have no map with odd keys and no fallible part: serialising cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What of an entity registry's entry matters here.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RegistryEntry {
    #[serde(default, deserialize_with = "id_if_any")]
    pub entity_id: Option<EntityId>,
    #[serde(default)]
    id: String,
    #[serde(default)]
    unique_id: LooseScalar,
    /// The entity's own area; without one it is where its device is.
    #[serde(default)]
    pub area_id: Option<String>,
    #[serde(default)]
    pub device_id: Option<String>,
    /// The integration that made it; `energy`: Home Assistant's own, of the Energy settings.
    #[serde(default)]
    pub platform: Option<String>,
}

/// What of a device registry's entry matters here.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct DeviceEntry {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub area_id: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub name_by_user: Option<String>,
}

/// What of an area registry's entry matters here.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct AreaEntry {
    #[serde(default)]
    pub area_id: String,
    #[serde(default)]
    pub name: String,
}

/// `entity_registry_updated`, as far as it concerns names.
#[derive(Debug, Deserialize)]
pub(crate) struct RegistryUpdated {
    data: RegistryUpdate,
}

#[derive(Debug, Deserialize)]
struct RegistryUpdate {
    action: String,
    #[serde(default, deserialize_with = "id_if_any")]
    entity_id: Option<EntityId>,
    #[serde(default, deserialize_with = "id_if_any")]
    old_entity_id: Option<EntityId>,
}

impl RegistryUpdated {
    /// What it says of a name, if anything.
    pub(crate) fn told(self) -> Option<RegistryEvent> {
        let RegistryUpdate {
            action,
            entity_id,
            old_entity_id,
        } = self.data;
        let new = entity_id?;
        match (action.as_str(), old_entity_id) {
            ("update", Some(old)) if old != new => Some(RegistryEvent::Renamed { old, new }),
            ("remove", _) => Some(RegistryEvent::Removed(new)),
            _ => None,
        }
    }
}

impl RegistryEntry {
    /// What the entity stays known by.
    pub(crate) fn registered(&self) -> Registered {
        // Some integrations give numbers.
        let unique_id = self.unique_id.to_string();
        Registered {
            id: self.id.clone(),
            platform: self.platform.clone().unwrap_or_default(),
            unique_id,
        }
    }

    /// Whether its unique id starts with one of these MACs (12 hex digits, any case): our own
    /// entity.
    pub(crate) fn is_ours(&self, macs: &[String]) -> bool {
        self.unique_id
            .as_str()
            .is_some_and(|unique| starts_with_mac(unique, macs))
    }
}

/// Whether `text` starts with one of the MACs, colons and dashes aside.
pub(crate) fn starts_with_mac(text: &str, macs: &[String]) -> bool {
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, ':' | '-'))
        .take(12)
        .collect();
    plain.len() == 12 && macs.iter().any(|mac| mac.eq_ignore_ascii_case(&plain))
}

/// An entity id; anything else counts as none, and costs nothing beside it.
pub(crate) fn id_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<Option<EntityId>, D::Error> {
    let said = LooseScalar::deserialize(from)?;
    Ok(said.as_str().and_then(|id| id.parse().ok()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn told(event: &str) -> Vec<EntityChange> {
        let (told, bad) = serde_json::from_str::<EntitiesEvent>(event).unwrap().told();
        assert_eq!(bad, 0);
        told
    }

    #[test]
    fn recorded_events_say_what_they_said() {
        let added = told(
            r#"{"a":{"sensor.grid_power":{"s":"1234.5","a":{"state_class":"measurement","unit_of_measurement":"W","device_class":"power","friendly_name":"Grid power"},"c":{"id":"01M8","parent_id":null,"user_id":"b116"},"lc":1795439063.0075302}}}"#,
        );
        let stamp = |text: &str| Some(serde_json::from_str::<f64>(text).unwrap());
        let at = stamp("1795439063.0075302");
        assert_eq!(
            added,
            [EntityChange::Added {
                entity: EntityId::from_static("sensor.grid_power"),
                state: "1234.5".into(),
                unit: Some("W".into()),
                at
            }]
        );
        let changed = |state: Option<&str>, unit, reported, at| {
            vec![EntityChange::Changed {
                entity: EntityId::from_static("sensor.x"),
                state: state.map(str::to_owned),
                unit,
                reported,
                at,
            }]
        };
        for (event, expected) in [
            (
                r#"{"c":{"sensor.x":{"+":{"s":"-800.0","lc":1795439063.7176902,"c":"01M8"}}}}"#,
                changed(
                    Some("-800.0"),
                    UnitChange::Same,
                    true,
                    stamp("1795439063.7176902"),
                ),
            ),
            (
                r#"{"c":{"sensor.x":{"+":{"lu":1795439065.8350127,"c":"01M8","a":{"unit_of_measurement":"kW"}},"-":{"a":["state_class"]}}}}"#,
                changed(
                    None,
                    UnitChange::Now(Some("kW".into())),
                    false,
                    stamp("1795439065.8350127"),
                ),
            ),
            (
                r#"{"c":{"sensor.x":{"+":{"lu":1.5},"-":{"a":["unit_of_measurement"]}}}}"#,
                changed(None, UnitChange::Now(None), false, Some(1.5)),
            ),
            (
                r#"{"c":{"sensor.x":{"+":{"lc":1795439067.2449274,"c":"01M8"}}}}"#,
                changed(None, UnitChange::Same, true, stamp("1795439067.2449274")),
            ),
            (
                r#"{"c":{"sensor.x":{"-":{"a":["icon"]}}}}"#,
                changed(None, UnitChange::Same, false, None),
            ),
        ] {
            assert_eq!(told(event), expected, "{event}");
        }
        assert_eq!(
            told(r#"{"r":["sensor.comes_later"]}"#),
            [EntityChange::Removed {
                entity: EntityId::from_static("sensor.comes_later")
            }]
        );
        assert_eq!(told(r#"{"a":{}}"#), []);
    }

    #[test]
    fn one_odd_entity_does_not_cost_the_others() {
        let event = r#"{"a":{"sensor.odd":{"s":5},"sensor.good":{"s":"1","a":{"unit_of_measurement":7}}},"c":{"sensor.odd":7}}"#;
        let (told, bad) = serde_json::from_str::<EntitiesEvent>(event).unwrap().told();
        assert_eq!(
            told,
            vec![EntityChange::Added {
                entity: EntityId::from_static("sensor.good"),
                state: "1".into(),
                unit: None,
                at: None
            }]
        );
        assert_eq!(bad, 2);
    }

    #[test]
    fn what_is_no_entity_id_costs_nothing_beside_it() {
        let event = r#"{"a":{"sensor._x":{"s":"1"},"sensor.a":{"s":"1"}},"c":{"sensor.x__y":{"+":{"s":"2"}},
            "sensor.b":{"+":{"s":"2"}}},"r":["sensor","sensor.c"]}"#;
        let (told, bad) = serde_json::from_str::<EntitiesEvent>(event).unwrap().told();
        let ids: Vec<&str> = told
            .iter()
            .map(|change| match change {
                EntityChange::Added { entity, .. }
                | EntityChange::Changed { entity, .. }
                | EntityChange::Removed { entity } => &**entity,
            })
            .collect();
        assert_eq!(ids, ["sensor.a", "sensor.b", "sensor.c"]);
        assert_eq!(bad, 3);
        let entries: Vec<RegistryEntry> = serde_json::from_str(
            r#"[{"entity_id":"sensor._x","id":"1"},{"entity_id":7},{"id":"2"},{"entity_id":"sensor.a"}]"#,
        )
        .unwrap();
        let ids: Vec<_> = entries.into_iter().map(|entry| entry.entity_id).collect();
        assert_eq!(
            ids,
            [None, None, None, Some(EntityId::from_static("sensor.a"))]
        );
        let update =
            r#"{"data":{"action":"update","entity_id":"sensor._x","old_entity_id":"sensor.a"}}"#;
        assert_eq!(
            serde_json::from_str::<RegistryUpdated>(update)
                .unwrap()
                .told(),
            None
        );
    }

    #[test]
    fn frames_may_be_arrays_and_ids_null() {
        let (all, bad) = messages(
            r#" [{"id":1,"type":"pong"},{"no":"type"},{"type":"event","event":{"r":[]},"id":3}]"#,
        );
        assert_eq!((all.len(), bad, all[1].id), (2, 1, Some(3)));
        let (all, bad) = messages(
            r#"{"id":null,"type":"result","success":false,"error":{"code":"invalid_format","message":"m"}}"#,
        );
        assert_eq!(all[0].id, None);
        assert_eq!(bad, 0);
        assert_eq!(
            all[0].error.as_ref().unwrap().to_string().as_str(),
            "m (invalid_format)"
        );
    }

    #[test]
    fn places_of_home_assistant() {
        let places = |text: &str| -> Vec<(u16, Vec<String>)> {
            let configs: HttpConfigs = serde_json::from_str(text).unwrap();
            configs
                .places()
                .into_iter()
                .map(|p| (p.port, p.hosts))
                .collect()
        };
        assert_eq!(
            places(
                r#"{"stable":{"server_port":80},"pending":null,"default":{"server_port":8123}}"#
            ),
            [(80, vec![])]
        );
        assert_eq!(
            places(r#"{"stable":null,"default":{"server_port":8123}}"#),
            [(8123, vec![])]
        );
        let trial = r#"{"stable":{"server_port":80},"pending":{"server_port":8123,"server_host":["192.0.2.5"],"error":null}}"#;
        assert_eq!(
            places(trial),
            [(80, vec![]), (8123, vec!["192.0.2.5".to_owned()])]
        );
        assert_eq!(
            places(
                r#"{"stable":{"server_port":80,"server_host":"::"},"pending":{"server_port":9,"error":"x"}}"#
            ),
            [(80, vec!["::".into()])]
        );
        assert_eq!(places(r#"{"stable":7,"pending":{"server_port":"x"}}"#), []);
    }

    #[test]
    fn macs_of_any_form_are_ours() {
        let macs = ["AABBCCDDEEFF".to_owned()];
        for (text, ours) in [
            ("AABBCCDDEEFF-em:0-total", true),
            ("aa:bb:cc:dd:ee:ff", true),
            ("AABBCCDDEEF", false),
            ("1AABBCCDDEEFF", false),
        ] {
            assert_eq!(starts_with_mac(text, &macs), ours, "{text}");
        }
    }

    #[test]
    fn stamps_are_read_as_rendered() {
        let event = r#"{"result":"1795439070.25 sensor.a=1795439063.5 sensor.b=x sensor.c","listeners":{"all":false}}"#;
        let stamps = serde_json::from_str::<Rendered>(event)
            .unwrap()
            .stamps()
            .unwrap();
        assert_eq!(
            stamps,
            Stamps {
                home: Some(1_795_439_070.25),
                entities: vec![(EntityId::from_static("sensor.a"), 1_795_439_063.5)]
            }
        );
        let alone = serde_json::from_str::<Rendered>(r#"{"result":1795439070.25}"#)
            .unwrap()
            .stamps()
            .unwrap();
        assert_eq!(
            alone,
            Stamps {
                home: Some(1_795_439_070.25),
                entities: Vec::new()
            }
        );
        for other in [
            r#"{"result":null}"#,
            r#"{"error":"UndefinedError","level":"ERROR"}"#,
            r#"{"result":"sensor.a=1"}"#,
        ] {
            assert_eq!(
                serde_json::from_str::<Rendered>(other).unwrap().stamps(),
                None,
                "{other}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_decodes_without_panic(text in ".{0,300}") {
            let _ = Stamps::parse(&text);
            let _ = messages(&text);
            if let Ok(event) = serde_json::from_str::<EntitiesEvent>(&text) {
                let _ = event.told();
            }
        }
    }
}
