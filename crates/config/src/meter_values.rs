//! The options of one meter, on their way from the layers to the settings.

use std::collections::BTreeMap;

use serde_json::Value;
use vocab::{Layer, reason::Reason};

use super::{definition::Definition, value};

/// Options in normal form, by key.
pub type Values = BTreeMap<&'static str, Value>;

/// What holds secrets and shows none.
#[derive(Clone)]
pub(super) struct Secretly<T>(pub(super) T);

impl<T> std::fmt::Debug for Secretly<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Values of one meter while they are being checked.
#[derive(Clone, Default)]
pub(super) struct Meter {
    /// Empty for the first.
    pub name: String,
    /// `meters[0].` before the keys of a further meter, in problems.
    pub prefix: String,
    /// Its values; for the first all options, defaults included.
    pub values: Values,
    /// Layer of each of them.
    pub origin: BTreeMap<&'static str, Layer>,
    /// Why its phases have to be absent.
    pub blocked: Vec<Reason>,
    /// Which profile set which key, where its layer is [`Layer::Profile`].
    pub profiles: Vec<(&'static str, &'static str)>,
}

impl Meter {
    /// Layer of a key, for a problem.
    pub fn layer(&self, key: &str) -> Layer {
        self.origin.get(key).copied().unwrap_or(Layer::Default)
    }

    /// Whether there is a value.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A value that is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.as_str()
    }

    /// A value that is a whole number.
    pub fn whole(&self, key: &str) -> Option<i64> {
        self.values.get(key)?.as_i64()
    }

    /// Whether a switch is on.
    pub fn is_on(&self, key: &str) -> bool {
        self.values.get(key) == Some(&Value::Bool(true))
    }

    /// The entities of an option, as named.
    pub fn ids(&self, key: &str) -> Vec<&str> {
        let text = self.text(key).into_iter();
        text.flat_map(|text| text.split(',').map(str::trim))
            .collect()
    }

    /// A key with what stands before it in problems.
    pub fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Sets a value.
    pub fn put(&mut self, key: &'static str, value: Value, layer: Layer) {
        self.values.insert(key, value);
        self.origin.insert(key, layer);
    }

    /// Forgets a value.
    pub fn drop(&mut self, key: &str) {
        self.values.remove(key);
        self.origin.remove(key);
    }
}

/// A definition's default in normal form.
pub(super) fn default_value(def: &Definition, app: bool) -> Option<Value> {
    def.default_text(app)
        .and_then(|text| value::from_text(def.kind, text).ok().flatten())
}
