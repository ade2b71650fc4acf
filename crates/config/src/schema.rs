//! What the Supervisor's schema of the app's options says of one.

use super::{
    definition::{Definition, Kind},
    definitions,
};

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
            Kind::Meters => Schema::Dictionaries(
                definitions::meter_entry()
                    .map(|e| (e.key(), e.schema()))
                    .collect(),
            ),
            kind => Schema::Scalar(format!("{}?", kind.schema_type())),
        })
    }
}
