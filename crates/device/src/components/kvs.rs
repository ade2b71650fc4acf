//! Key-value store: really kept, with the device's limits.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::{
    Effect, RpcError, Setting,
    answer::{Handled, effects, result},
    method::{Call, Method},
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("KVS.List", list),
    Method::new("KVS.Get", get),
    Method::new("KVS.GetMany", get_many),
    Method::new("KVS.Set", set).writes(),
    Method::new("KVS.Delete", delete).writes(),
];

/// Bytes of a key, bytes of a value's JSON, keys: what the vendor documents.
const MAX_KEY: usize = 42;
const MAX_VALUE: usize = 253;
const MAX_KEYS: usize = 100;
/// Items of one `GetMany` reply.
const PAGE: usize = 30;

/// Changes with the value, so that a writer sees what it overwrites.
fn etag(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash.iter().take(12).map(|b| format!("{b:02x}")).collect()
}

/// What is stored under keys that match the call's `match`.
fn found<'a>(call: &'a Call<'_>) -> Result<Vec<(&'a String, &'a Value)>, RpcError> {
    let pattern = call.params.text("match")?.unwrap_or("*");
    let kvs = &call.context.state.kvs;
    Ok(kvs
        .iter()
        .filter(|(key, _)| matches(pattern, key))
        .collect())
}

fn list(call: &Call<'_>) -> Handled {
    let found = found(call)?.into_iter();
    let keys: Map<String, Value> = found
        .map(|(key, value)| (key.clone(), json!({"etag": etag(value)})))
        .collect();
    result(&json!({"keys": keys, "rev": call.context.state.kvs_rev}))
}

fn get(call: &Call<'_>) -> Handled {
    let key = call.params.required_text("key")?;
    let value = call.context.state.kvs.get(key);
    let value = value.ok_or_else(|| unknown(key))?;
    result(&json!({"etag": etag(value), "value": value}))
}

fn get_many(call: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Item<'a> {
        key: &'a str,
        etag: String,
        value: &'a Value,
    }
    #[derive(Serialize)]
    struct Items<'a> {
        items: Vec<Item<'a>>,
        offset: usize,
        total: usize,
    }
    let found = found(call)?;
    let offset = call.params.offset()?;
    let page = found.iter().skip(offset).take(PAGE);
    let items = page.map(|(key, value)| Item {
        key,
        etag: etag(value),
        value,
    });
    result(&Items {
        items: items.collect(),
        offset,
        total: found.len(),
    })
}

fn set(call: &Call<'_>) -> Handled {
    let key = call.params.required_text("key")?;
    let value = call
        .params
        .raw("value")
        .ok_or_else(|| RpcError::missing("value"))?;
    if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
        return Err(RpcError::invalid(format!(
            "key: 1 to {MAX_KEY} bytes, printable"
        )));
    }
    if value.to_string().len() > MAX_VALUE {
        return Err(RpcError::invalid(format!(
            "value: at most {MAX_VALUE} bytes of JSON"
        )));
    }
    let state = &call.context.state;
    check_etag(call, key)?;
    if state.kvs.len() >= MAX_KEYS && !state.kvs.contains_key(key) {
        return Err(RpcError::exhausted(format!(
            "The key-value store is full: {MAX_KEYS} keys"
        )));
    }
    let mut changes = Vec::new();
    if state.kvs.get(key) != Some(value) {
        changes.push(Effect::Set(Setting::KvsSet(key.to_owned(), value.clone())));
    }
    let rev = state.kvs_rev + u32::from(!changes.is_empty());
    let set = json!({"etag": etag(value), "rev": rev});
    effects(set.to_string(), changes)
}

fn delete(call: &Call<'_>) -> Handled {
    let key = call.params.required_text("key")?;
    let state = &call.context.state;
    if !state.kvs.contains_key(key) {
        return Err(unknown(key));
    }
    check_etag(call, key)?;
    effects(
        format!("{{\"rev\":{}}}", state.kvs_rev + 1),
        [Effect::Set(Setting::KvsDelete(key.to_owned()))],
    )
}

fn unknown(key: &str) -> RpcError {
    RpcError::not_found(format!("Argument 'key', value '{key}' not found!"))
}

/// A writer that names an etag writes only over that value.
fn check_etag(call: &Call<'_>, key: &str) -> Result<(), RpcError> {
    match (call.params.text("etag")?, call.context.state.kvs.get(key)) {
        (Some(wanted), Some(value)) if wanted != etag(value) => {
            Err(RpcError::refused("etag does not match the stored value"))
        }
        (Some(_), None) => Err(unknown(key)),
        _ => Ok(()),
    }
}

/// `*` is any text, `?` one character; the rest stands for itself. Goes back to the last `*` only,
/// so the time is at most pattern × text.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().take(256).collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks_match() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("*b*", "abc"),
            ("ab", "ab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "b"),
            ("a?", "a"),
            ("*x", "abc"),
            ("a*d", "abc"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(128), &"a".repeat(42)));
    }
}
