//! Which methods there are, and what becomes of a call.
//!
//! Each component's file lists its own methods; here they are found (names compare without regard
//! to case, so `WiFi`/`Wifi`, `Ws`/`WS`, `Mqtt`/`MQTT` are one), gated by profile and `read_only`,
//! and answered.

use serde::Serialize;

use super::{Answer, Context, Device, Effect, Json, Outcome, RpcError, components, params::Params};
use config::Profile;

/// One call on its way.
pub(super) struct Call<'a> {
    /// The device asked.
    pub(super) device: &'a Device,
    /// What it sees.
    pub(super) context: &'a Context<'a>,
    /// What it was given.
    pub(super) params: Params,
}

/// What a method gives: its result with effects, or the device's error.
pub(super) type Handled = Result<Outcome, RpcError>;

/// One RPC method.
pub(super) struct Method {
    pub(super) name: &'static str,
    handler: fn(&Call<'_>) -> Handled,
    profile: Option<Profile>,
    listed: bool,
    writes: bool,
    disk: bool,
}

impl Method {
    /// A method that reads, listed in both profiles.
    pub(super) const fn new(name: &'static str, handler: fn(&Call<'_>) -> Handled) -> Self {
        Self {
            name,
            handler,
            profile: None,
            listed: true,
            writes: false,
            disk: false,
        }
    }

    /// There only in one profile.
    pub(super) const fn only(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Answered, but not in `Shelly.ListMethods`.
    pub(super) const fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }

    /// Changes something: error 403 with `read_only`.
    pub(super) const fn writes(mut self) -> Self {
        self.writes = true;
        self
    }

    /// Reads minute records from the disk.
    pub(super) const fn disk(mut self) -> Self {
        self.disk = true;
        self
    }

    fn there(&self, profile: Profile) -> bool {
        self.profile.is_none_or(|p| p == profile)
    }
}

/// The method of that name, in any case.
fn find(name: &str) -> Option<&'static Method> {
    components::METHODS
        .iter()
        .flat_map(|m| m.iter())
        .find(|m| m.name.eq_ignore_ascii_case(name))
}

/// Names for `Shelly.ListMethods`.
pub(super) fn listed(profile: Profile) -> Vec<&'static str> {
    components::METHODS
        .iter()
        .flat_map(|m| m.iter())
        .filter(|m| m.listed && m.there(profile))
        .map(|m| m.name)
        .collect()
}

/// Whether the method may block on a disk for some ms: transports run it off their loop.
#[must_use]
pub fn reads_records(method: &str) -> bool {
    find(method).is_some_and(|m| m.disk)
}

/// Whether the method changes something.
#[must_use]
pub fn writes(method: &str) -> bool {
    find(method).is_some_and(|m| m.writes)
}

/// The method's own spelling, for counting calls by name whatever the caller wrote.
#[must_use]
pub fn canonical(method: &str) -> Option<&'static str> {
    find(method).map(|m| m.name)
}

/// Answers one call.
pub(super) fn call(
    device: &Device,
    method: &str,
    params: Option<&str>,
    context: &Context<'_>,
) -> Outcome {
    let handled = match route(method, context) {
        Some(found) if found.writes && context.state.locked => Err(RpcError::forbidden(format!(
            "{} is refused: the settings were lost, set option auth_password",
            found.name
        ))),
        Some(found) if found.writes && device.options.read_only => Err(RpcError::forbidden(
            format!("{} is refused: option read_only is on", found.name),
        )),
        Some(found) => Params::parse(params).and_then(|params| {
            (found.handler)(&Call {
                device,
                context,
                params,
            })
        }),
        None if device.options.unknown_methods_dummy => result(&Dummy {
            ok: true,
            dummy: true,
            method,
        }),
        None => Err(RpcError::no_handler(method)),
    };
    handled.unwrap_or_else(|error| Outcome {
        answer: Answer::Error(error),
        effects: Vec::new(),
    })
}

/// The method, if this profile has it; on UDP in triphase `EM1.GetStatus` is the house total.
fn route(method: &str, context: &Context<'_>) -> Option<&'static Method> {
    let found = find(method)?;
    let udp_total = context.manner.em1_is_total && found.name == "EM1.GetStatus";
    (found.there(context.state.profile) || udp_total).then_some(found)
}

/// What the original answers to a method that it does not know (`unknown_methods = dummy`).
#[derive(Serialize)]
struct Dummy<'a> {
    ok: bool,
    dummy: bool,
    method: &'a str,
}

/// JSON text of a wire struct.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Json {
    // Wire structs have string keys and finite numbers only, so this cannot fail; null is JSON all
    // the same.
    serde_json::to_string(value).map_or_else(|_| Json::from("null"), Json::from)
}

/// A result without effects.
pub(super) fn result<T: Serialize + ?Sized>(value: &T) -> Handled {
    text(json(value))
}

/// A result that is JSON text already.
pub(super) fn text(json: Json) -> Handled {
    Ok(Outcome {
        answer: Answer::Result(json),
        effects: Vec::new(),
    })
}

/// `null`, the result of a method without one.
pub(super) fn null(effects: Vec<Effect>) -> Handled {
    Ok(Outcome {
        answer: Answer::Result(Json::from("null")),
        effects,
    })
}

/// `{"restart_required":…}`, the result of every `SetConfig`.
pub(super) fn restart_required(restart_required: bool, effects: Vec<Effect>) -> Handled {
    #[derive(Serialize)]
    struct Restart {
        restart_required: bool,
    }
    Ok(Outcome {
        answer: Answer::Result(json(&Restart { restart_required })),
        effects,
    })
}
