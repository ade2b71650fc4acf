//! Key-value store: really kept, with the device's limits.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::{
    Effect, Outcome, RpcError, Setting,
    answer::{Handled, result},
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

#[derive(Serialize)]
struct Etag {
    etag: String,
}

/// Changes with the value, so that a writer sees what it overwrites.
fn etag(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash.iter().take(12).map(|b| format!("{b:02x}")).collect()
}

fn pattern<'a>(call: &'a Call<'_>) -> Result<&'a str, RpcError> {
    Ok(call.params.text("match")?.unwrap_or("*"))
}

fn list(call: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Keys<'a> {
        keys: BTreeMap<&'a str, Etag>,
        rev: u32,
    }
    let pattern = pattern(call)?;
    let state = call.context.state;
    let found = state.kvs.iter().filter(|(key, _)| matches(pattern, key));
    result(&Keys {
        keys: found
            .map(|(key, value)| (key.as_str(), Etag { etag: etag(value) }))
            .collect(),
        rev: state.kvs_rev,
    })
}

fn get(call: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Found<'a> {
        etag: String,
        value: &'a Value,
    }
    let key = call.params.required_text("key")?;
    let value = call
        .context
        .state
        .kvs
        .get(key)
        .ok_or_else(|| unknown(key))?;
    result(&Found {
        etag: etag(value),
        value,
    })
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
    let pattern = pattern(call)?;
    let offset = usize::try_from(call.params.int("offset")?.unwrap_or(0))
        .map_err(|_| RpcError::bad_argument("offset"))?;
    let found: Vec<_> = call
        .context
        .state
        .kvs
        .iter()
        .filter(|(key, _)| matches(pattern, key))
        .collect();
    let items = found
        .iter()
        .skip(offset)
        .take(PAGE)
        .map(|(key, value)| Item {
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
    #[derive(Serialize)]
    struct Set {
        etag: String,
        rev: u32,
    }
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
    if value.is_object() || value.is_array() {
        return Err(RpcError::bad_argument("value"));
    }
    if value.to_string().len() > MAX_VALUE {
        return Err(RpcError::invalid(format!(
            "value: at most {MAX_VALUE} bytes of JSON"
        )));
    }
    let state = call.context.state;
    check_etag(call, key)?;
    if state.kvs.len() >= MAX_KEYS && !state.kvs.contains_key(key) {
        return Err(RpcError::exhausted(format!(
            "The key-value store is full: {MAX_KEYS} keys"
        )));
    }
    let effects = if state.kvs.get(key) == Some(value) {
        Vec::new()
    } else {
        vec![Effect::Set(Setting::KvsSet(key.to_owned(), value.clone()))]
    };
    let rev = state.kvs_rev + u32::from(!effects.is_empty());
    let outcome = result(&Set {
        etag: etag(value),
        rev,
    })?;
    Ok(Outcome { effects, ..outcome })
}

fn delete(call: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Deleted {
        rev: u32,
    }
    let key = call.params.required_text("key")?;
    if !call.context.state.kvs.contains_key(key) {
        return Err(unknown(key));
    }
    check_etag(call, key)?;
    let outcome = result(&Deleted {
        rev: call.context.state.kvs_rev + 1,
    })?;
    Ok(Outcome {
        effects: vec![Effect::Set(Setting::KvsDelete(key.to_owned()))],
        ..outcome
    })
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
