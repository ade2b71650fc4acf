//! What a meter's options are read from.

use serde_json::Value;

use super::{
    definition::Definition,
    meter_values::{Meter, default_value},
};
use vocab::Layer;

/// One meter's values: its own, else the first meter's policy, else the default.
pub(super) struct View<'a> {
    pub own: &'a Meter,
    pub first: &'a Meter,
    /// Under the Supervisor.
    pub app: bool,
}

impl View<'_> {
    /// What is read where nothing is set.
    pub(super) fn defaults<T>(read: impl FnOnce(&View<'_>) -> T) -> T {
        let (none, app) = (Meter::default(), false);
        read(&View {
            own: &none,
            first: &none,
            app,
        })
    }

    /// The value of an option, null where there is none.
    pub(super) fn value(&self, def: &Definition) -> Value {
        let first = self.first.values.get(def.key);
        let inherited = first.filter(|_| def.inherited);
        let value = self.own.values.get(def.key).or(inherited).cloned();
        value
            .or_else(|| default_value(def, self.app))
            .unwrap_or_default()
    }

    /// Whether some layer says it, beyond the default.
    pub(super) fn said(&self, def: &Definition) -> bool {
        self.own.layer(def.key) != Layer::Default
    }
}
