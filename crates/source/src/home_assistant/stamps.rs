//! When entities were reported last, by a rendered template.

use serde::{Deserialize, Serialize};

use super::loose::Loose;
use vocab::EntityId;

/// Home Assistant's time, then each entity of `ids` with the time it was reported last, Unix
/// seconds. What else tells states (`get_states`, REST) is no use for that: its texts are kept
/// until the state changes, with the stamp of when they were made.
pub(super) const STAMPS: &str = "{{ now().timestamp() }}{% for e in ids %}{% if states[e] %} \
    {{ e }}={{ (states[e].last_reported or states[e].last_updated).timestamp() }}{% endif %}{% endfor %}";

/// Variables of a template.
#[derive(Debug, Serialize)]
pub(crate) struct TemplateIds<'a> {
    pub(crate) ids: &'a [EntityId],
}

/// When entities were reported, and what time it was where they are; Unix seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stamps {
    /// `None`: it was not said.
    pub(super) home: Option<f64>,
    pub(super) entities: Vec<(EntityId, f64)>,
}

impl Stamps {
    /// That of one entity.
    pub(super) fn of(&self, entity: &EntityId) -> Option<f64> {
        let mut all = self.entities.iter();
        all.find(|(id, _)| id == entity).map(|(_, at)| *at)
    }

    /// What [`STAMPS`] renders.
    pub(super) fn parse(text: &str) -> Option<Self> {
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

/// The event of a rendered template.
#[derive(Debug, Deserialize)]
pub(super) struct Rendered {
    #[serde(default)]
    result: Loose,
}

impl Rendered {
    pub(super) fn stamps(&self) -> Option<Stamps> {
        // A text that looks like a number comes as one.
        Stamps::parse(&self.result.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stamps_are_read_as_rendered() {
        let stamps = |event: &str| serde_json::from_str::<Rendered>(event).unwrap().stamps();
        let of = |entities: &[(&'static str, f64)]| {
            let entities = entities.iter();
            Some(Stamps {
                home: Some(1_795_439_070.25),
                entities: entities
                    .map(|(id, at)| (EntityId::from_static(id), *at))
                    .collect(),
            })
        };
        let event = r#"{"result":"1795439070.25 sensor.a=1795439063.5 sensor.b=x sensor.c","listeners":{"all":false}}"#;
        assert_eq!(stamps(event), of(&[("sensor.a", 1_795_439_063.5)]));
        assert_eq!(stamps(r#"{"result":1795439070.25}"#), of(&[]));
        for other in [
            r#"{"result":null}"#,
            r#"{"error":"UndefinedError","level":"ERROR"}"#,
            r#"{"result":"sensor.a=1"}"#,
        ] {
            assert_eq!(stamps(other), None, "{other}");
        }
    }
}
