//! Configurations that a reader may change: the device's default with the members that differ from
//! it.
//!
//! A component's configuration is one wire struct. What was changed is kept by component in
//! [`DeviceState::overrides`] and laid over the default when read, so that a new version of the
//! program may add members without losing anything.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    DeviceState, Effect, RpcError, Setting,
    answer::{Handled, restart_required},
    method::Call,
};
use vocab::{Fixed, reason::BadTarget};

/// Most bytes of JSON that one change of a configuration may hold.
const MAX_CHANGE: usize = 4096;

/// The default with those of its `members` that are stored for `component`; a stored value that no
/// longer fits gives the default.
pub(super) fn read<T: Serialize + DeserializeOwned>(
    default: T,
    state: &DeviceState,
    component: &str,
    members: &[&str],
) -> T {
    let Some(stored) = state.overrides.get(component) else {
        return default;
    };
    let mut kept = stored.clone();
    kept.retain(|key, _| members.contains(&key.as_str()));
    laid_over(&default, &kept).unwrap_or(default)
}

/// The whole change of a configuration in which nothing can be changed: taken where it asks for
/// what is so already.
///
/// # Errors
/// As [`change`] and [`refuse_without_effect`].
pub(super) fn refuse_change<T: Serialize + DeserializeOwned>(
    call: &Call<'_>,
    component: &str,
    why: &str,
    current: &T,
) -> Handled {
    let asked = call.params.config()?;
    if gives_password(asked) {
        return Err(without_effect(component, "pass", why));
    }
    let (next, _) = change(current, asked)?;
    refuse_without_effect(component, why, current, &next, &[])?;
    restart_required(false, None)
}

/// Refuses a change that would be answered with success and then do nothing: of every member but
/// those that are `in_effect` (`name`, `location.tz`; with all below them).
///
/// # Errors
/// -109 naming the first such member.
pub(super) fn refuse_without_effect<T: Serialize>(
    component: &str,
    why: &str,
    before: &T,
    after: &T,
    in_effect: &[&str],
) -> Result<(), RpcError> {
    match first_difference("", &members(before), &members(after), in_effect) {
        Some(path) => Err(without_effect(component, &path, why)),
        None => Ok(()),
    }
}

fn without_effect(component: &str, member: &str, why: &str) -> RpcError {
    RpcError::refused(format!(
        "{component}: a change of {member} is refused, it would have no effect: {why}"
    ))
}

fn first_difference(
    within: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    but: &[&str],
) -> Option<String> {
    after.iter().find_map(|(key, value)| {
        let path = if within.is_empty() {
            key.clone()
        } else {
            format!("{within}.{key}")
        };
        match (before.get(key), value) {
            _ if but.contains(&path.as_str()) => None,
            (Some(Value::Object(before)), Value::Object(after)) => {
                first_difference(&path, before, after, but)
            }
            (before, value) => (before != Some(value)).then_some(path),
        }
    })
}

/// Whether a password is given anywhere: devices take one and never show it, so it is no member
/// that could be compared.
fn gives_password(asked: &Map<String, Value>) -> bool {
    asked.iter().any(|(key, value)| match value {
        Value::Object(inner) => gives_password(inner),
        other => key == "pass" && !other.is_null(),
    })
}

/// The configuration after `change`, and the top-level members that differ from before, each whole.
///
/// # Errors
/// -103 when a value does not fit its member.
pub(super) fn change<T: Serialize + DeserializeOwned>(
    current: &T,
    change: &Map<String, Value>,
) -> Result<(T, Map<String, Value>), RpcError> {
    let next: T = laid_over(current, change)
        .map_err(|e| RpcError::invalid(format!("Invalid config: {e}")))?;
    let differing = differing(current, &next);
    if serde_json::to_string(&differing).map_or(0, |t| t.len()) > MAX_CHANGE {
        return Err(RpcError::exhausted(format!(
            "config is too large: at most {MAX_CHANGE} bytes"
        )));
    }
    Ok((next, differing))
}

/// The top-level members in which two configurations differ, as the second has them.
pub(super) fn differing<T: Serialize>(before: &T, after: &T) -> Map<String, Value> {
    let before = members(before);
    members(after)
        .into_iter()
        .filter(|(key, value)| before.get(key) != Some(value))
        .collect()
}

/// The effect that keeps `members`; none when nothing differs.
pub(super) fn keep(component: &str, members: Map<String, Value>) -> Option<Effect> {
    let kept = (!members.is_empty()).then_some(members)?;
    Some(Effect::Set(Setting::Override(component.to_owned(), kept)))
}

fn laid_over<T: Serialize + DeserializeOwned>(
    base: &T,
    over: &Map<String, Value>,
) -> Result<T, serde_json::Error> {
    let mut object = members(base);
    merge(&mut object, over);
    T::deserialize(Value::Object(object))
}

fn members<T: Serialize>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// Objects are merged in depth, all else replaced; members that the struct does not know drop out
/// later.
fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Reads a number into one of fixed decimals.
pub(super) fn fixed<'de, D: Deserializer<'de>, const N: u32>(
    deserializer: D,
) -> Result<Fixed<N>, D::Error> {
    f64::deserialize(deserializer).map(Fixed::round)
}

/// Reads a number or null into one of fixed decimals.
pub(super) fn optional_fixed<'de, D: Deserializer<'de>, const N: u32>(
    deserializer: D,
) -> Result<Option<Fixed<N>>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(Fixed::round))
}

/// A name: at most 64 characters.
pub(super) fn check_name(name: Option<&str>) -> Result<(), RpcError> {
    match name {
        Some(name) if name.chars().count() > 64 => Err(RpcError::invalid(
            "Invalid config: name is longer than 64 characters",
        )),
        _ => Ok(()),
    }
}

/// One of the words that a selector knows.
pub(super) fn check_word(member: &str, word: &str, known: &[&str]) -> Result<(), RpcError> {
    if known.contains(&word) {
        return Ok(());
    }
    Err(RpcError::invalid(format!(
        "Invalid config: {member} is one of {}",
        known.join(", ")
    )))
}

/// A server that a reader sets, of this `form`, as `check` judges it. One that was `kept` from
/// before may always be turned off.
pub(super) fn check_server(
    enable: bool,
    server: Option<&str>,
    kept: Option<&str>,
    form: &str,
    check: impl FnOnce(&str) -> Result<(), BadTarget>,
) -> Result<(), RpcError> {
    match server {
        None if enable => Err(RpcError::invalid(format!(
            "Invalid config: server is missing: {form}"
        ))),
        Some(named) if enable || server != kept => check(named).map_err(|why| match why {
            BadTarget::Near => RpcError::refused(format!("server {why}")),
            _ => RpcError::invalid(format!("Invalid config: server {why}")),
        }),
        _ => Ok(()),
    }
}

/// What a server's certificate is held against.
pub(super) fn check_ca(ssl_ca: Option<&str>) -> Result<(), RpcError> {
    ssl_ca.map_or(Ok(()), |ca| {
        check_word("ssl_ca", ca, &["ca.pem", "user_ca.pem", "*"])
    })
}
