//! What parts of the process keep in the store as JSON, by a key each.

use serde::{Serialize, de::DeserializeOwned};

use store::Store;

/// What is kept under a key; `None` where that is nothing, or cannot be read.
pub fn get<T: DeserializeOwned>(store: &Store, key: &str) -> Option<T> {
    serde_json::from_str(&store.get_state(key)?).ok()
}

/// Keeps it; what cannot be written as JSON leaves what was kept.
pub fn put(store: &Store, key: &str, value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        store.put_state(key, &text);
    }
}

/// The same for what changes all the time.
pub fn put_often(store: &Store, key: &str, value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        store.put_state_often(key, &text);
    }
}
