//! Frames of Home Assistant's WebSocket API as Rust types, decoded leniently: an unknown field, a
//! new key order or one odd entity never costs the others. Shapes as recorded from 2025.4 to
//! 2026.11 (see the tests).

use std::{borrow::Cow, net::SocketAddr};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::loose::{Loose, present};
use crate::{
    facts::{HaFacts, HaPlaces, HttpPlace},
    registered::{Registered, RegistryEvent},
};
use vocab::{EntityId, reason::Cause};

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

impl Incoming<'_> {
    /// What a good result says, if it can be read.
    pub(super) fn answer<T: DeserializeOwned>(&self) -> Option<T> {
        let result = self.result.filter(|_| self.success == Some(true))?;
        serde_json::from_str(result.get()).ok()
    }

    /// What a bad result says.
    pub(super) fn cause(&self) -> Cause {
        Cause::said(self.error.clone().unwrap_or_default().to_string())
    }
}

/// `error` of a result.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorBody {
    code: Loose,
    message: Loose,
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
        let [message, code] = [&self.message, &self.code].map(ToString::to_string);
        write!(f, "{message:.ERROR_MAX$} ({code:.ERROR_MAX$})")
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

/// `get_config`, also `GET /api/config`; of `GET /api/core/state` the state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub state: Option<String>,
    pub version: Option<String>,
    pub time_zone: Option<String>,
    pub language: Option<String>,
    pub currency: Option<String>,
    internal_url: Option<String>,
    recovery_mode: bool,
}

impl Config {
    pub(super) fn is_running(&self) -> bool {
        self.state.as_deref() == Some("RUNNING")
    }

    /// What it says of Home Assistant, and where that was reached.
    pub(super) fn facts(&self, peer: Option<SocketAddr>) -> HaFacts {
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        HaFacts {
            version: text(&self.version),
            time_zone: text(&self.time_zone),
            state: text(&self.state),
            address: peer.map(|peer| peer.ip()),
            port: peer.map(|peer| peer.port()),
            places: HaPlaces {
                internal_url: text(&self.internal_url),
                recovery: self.recovery_mode,
                ..HaPlaces::default()
            },
            ..HaFacts::default()
        }
    }
}

/// `http/config`: the configuration in use and the one on trial. Anything of another shape is
/// passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HttpConfigs {
    stable: Value,
    pending: Value,
    default: Value,
}

impl HttpConfigs {
    /// Where Home Assistant listens with them.
    pub(super) fn places(&self) -> Vec<HttpPlace> {
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
    pub(super) fn on_trial(&self) -> bool {
        place(&self.pending).is_some()
    }
}

fn place(config: &Value) -> Option<HttpPlace> {
    // One that failed its trial is kept to be shown, never used again.
    if config.get("error").is_some_and(|e| !e.is_null()) {
        return None;
    }
    let port = u16::try_from(config.get("server_port")?.as_u64()?).ok()?;
    let hosts = Loose::deserialize(config.get("server_host").unwrap_or(&Value::Null)).ok()?;
    Some(HttpPlace {
        port,
        hosts: hosts.texts().to_vec(),
    })
}

/// One of `get_states` or of `GET /api/states`, with what matters of its attributes.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FullState<A> {
    #[serde(default, deserialize_with = "id_if_any")]
    pub entity_id: Option<EntityId>,
    pub state: String,
    #[serde(default)]
    pub attributes: A,
    #[serde(default)]
    last_changed: Option<String>,
    /// Home Assistant before 2024.3 has none.
    #[serde(default)]
    last_reported: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
}

impl<A> FullState<A> {
    /// When it changed, Unix s.
    pub(crate) fn changed(&self) -> Option<f64> {
        unix_seconds(self.last_changed.as_deref()?)
    }

    /// When it was reported last, Unix s, as far as its text tells.
    pub(crate) fn reported(&self) -> Option<f64> {
        unix_seconds(self.last_reported.as_deref()?)
    }

    /// The same by the stamp of its text, where that is all there is.
    pub(super) fn reported_or_updated(&self) -> Option<f64> {
        let reported = self.last_reported.as_deref();
        unix_seconds(reported.or(self.last_updated.as_deref())?)
    }
}

/// A time as Home Assistant writes it, in Unix s.
fn unix_seconds(text: &str) -> Option<f64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(at.as_duration().as_secs_f64())
}

/// What of an entity's attributes matters to a set-up. Others may be as large as they like: they
/// are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    unit_of_measurement: Loose,
    device_class: Loose,
    friendly_name: Loose,
    restored: Loose,
    // In these, helpers name what they are made of.
    source: Loose,
    source_entity: Loose,
    source_entity_id: Loose,
    entity_id: Loose,
    entity_ids: Loose,
    entities: Loose,
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
    pub(crate) fn sources(&self) -> Vec<EntityId> {
        let all = [
            &self.source,
            &self.source_entity,
            &self.source_entity_id,
            &self.entity_id,
            &self.entity_ids,
            &self.entities,
        ];
        all.into_iter()
            .flat_map(Loose::texts)
            .filter_map(|id| id.parse().ok())
            .collect()
    }
}

/// What of an entity's attributes matters to a reading.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Unit {
    #[serde(deserialize_with = "present")]
    unit_of_measurement: Option<Loose>,
}

impl Unit {
    /// Anything but a text counts as none.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.unit_of_measurement.as_ref()?.as_str()
    }

    /// Whether anything is said of it.
    pub(super) fn is_told(&self) -> bool {
        self.unit_of_measurement.is_some()
    }
}

/// What of an entity registry's entry matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RegistryEntry {
    #[serde(deserialize_with = "id_if_any")]
    pub entity_id: Option<EntityId>,
    id: String,
    /// Some integrations give numbers.
    unique_id: Loose,
    /// The entity's own area; without one it is where its device is.
    pub area_id: Option<String>,
    pub device_id: Option<String>,
    /// The integration that made it; `energy`: Home Assistant's own, of the Energy settings.
    pub platform: Option<String>,
}

/// What of a device registry's entry matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DeviceEntry {
    pub id: String,
    pub area_id: Option<String>,
    pub name: Option<String>,
    pub name_by_user: Option<String>,
}

/// What of an area registry's entry matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AreaEntry {
    pub area_id: String,
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
        Registered {
            id: self.id.clone(),
            platform: self.platform.clone().unwrap_or_default(),
            unique_id: self.unique_id.to_string(),
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
    let said = Loose::deserialize(from)?;
    Ok(said.as_str().and_then(|id| id.parse().ok()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;
    use crate::home_assistant::{entity_changes::EntitiesEvent, stamps::Stamps};

    #[test]
    fn what_is_no_entity_id_costs_nothing_beside_it() {
        let entries: Vec<RegistryEntry> = serde_json::from_str(
            r#"[{"entity_id":"sensor._x","id":"1"},{"entity_id":7},{"id":"2"},{"entity_id":"sensor.a"}]"#,
        )
        .unwrap();
        let ids: Vec<_> = entries.into_iter().map(|entry| entry.entity_id).collect();
        let a = EntityId::from_static("sensor.a");
        assert_eq!(ids, [None, None, None, Some(a)]);
        let update: RegistryUpdated = serde_json::from_str(
            r#"{"data":{"action":"update","entity_id":"sensor._x","old_entity_id":"sensor.a"}}"#,
        )
        .unwrap();
        assert_eq!(update.told(), None);
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
        assert_eq!((bad, all[0].id), (0, None));
        assert_eq!(&*all[0].cause().text, "m (invalid_format)");
    }

    #[test]
    fn places_of_home_assistant() {
        for (text, places) in [
            (
                r#"{"stable":{"server_port":80},"pending":null,"default":{"server_port":8123}}"#,
                vec![(80, vec![])],
            ),
            (
                r#"{"stable":null,"default":{"server_port":8123}}"#,
                vec![(8123, vec![])],
            ),
            (
                r#"{"stable":{"server_port":80},"pending":{"server_port":8123,"server_host":["192.0.2.5"],"error":null}}"#,
                vec![(80, vec![]), (8123, vec!["192.0.2.5"])],
            ),
            (
                r#"{"stable":{"server_port":80,"server_host":"::"},"pending":{"server_port":9,"error":"x"}}"#,
                vec![(80, vec!["::"])],
            ),
            (r#"{"stable":7,"pending":{"server_port":"x"}}"#, vec![]),
        ] {
            let place = |(port, hosts): (u16, Vec<&str>)| HttpPlace {
                port,
                hosts: hosts.into_iter().map(str::to_owned).collect(),
            };
            let places: Vec<HttpPlace> = places.into_iter().map(place).collect();
            let configs: HttpConfigs = serde_json::from_str(text).unwrap();
            assert_eq!(configs.places(), places, "{text}");
        }
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

    proptest! {
        #[test]
        fn any_text_decodes_without_panic(text in ".{0,300}") {
            let _ = messages(&text);
            let _ = Stamps::parse(&text);
            let _ = serde_json::from_str::<EntitiesEvent>(&text).map(EntitiesEvent::told);
        }
    }
}
