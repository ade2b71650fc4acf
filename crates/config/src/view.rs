//! What a meter's options are read from.

use std::collections::BTreeMap;

use serde_json::Value;
use vocab::Layer;

use super::{
    definition::Definition,
    meter_values::{Meter, Values, default_value},
};

/// One meter's values: its own, else the first meter's policy, else the default.
pub(super) struct View<'a> {
    own: &'a Values,
    origin: &'a BTreeMap<&'static str, Layer>,
    first: &'a Values,
    app: bool,
}

impl<'a> View<'a> {
    pub(super) fn of(meter: &'a Meter, first: &'a Meter, app: bool) -> Self {
        Self {
            own: &meter.values,
            origin: &meter.origin,
            first: &first.values,
            app,
        }
    }

    /// What is read where nothing is set.
    pub(super) fn defaults<T>(read: impl FnOnce(&View<'_>) -> T) -> T {
        let none = Meter::default();
        read(&View::of(&none, &none, false))
    }

    /// The value of an option, null where there is none.
    pub(super) fn value(&self, def: &Definition) -> Value {
        let inherited = || {
            Some(self.first.get(def.key))
                .filter(|_| def.inherited)
                .flatten()
        };
        self.own
            .get(def.key)
            .or_else(inherited)
            .cloned()
            .or_else(|| default_value(def, self.app))
            .unwrap_or_default()
    }

    /// Whether some layer says it, beyond the default.
    pub(super) fn said(&self, def: &Definition) -> bool {
        self.origin
            .get(def.key)
            .is_some_and(|layer| *layer != Layer::Default)
    }
}
