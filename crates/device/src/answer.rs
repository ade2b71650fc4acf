//! What a call gives: its answer, and what else is to be done.

use std::sync::Arc;

use serde::Serialize;

use super::{error::RpcError, state::Setting};

/// A JSON text that is sent as it stands. Hot replies are shared, not copied.
pub type Json = Arc<str>;

/// The answer to one call.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The result's JSON text.
    Result(Json),
    /// An error.
    Error(RpcError),
    /// Nothing at all is sent (`stale = silent`, UDP while a used phase has no value).
    Silence,
}

/// Answer and what else is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What goes back.
    pub answer: Answer,
    /// What `app` does, before the answer goes out.
    pub effects: Vec<Effect>,
}

impl From<Answer> for Outcome {
    /// An answer without effects.
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            effects: Vec::new(),
        }
    }
}

/// What the device is asked to do beyond answering. `app` routes them.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Set the counters to 0, keep history (`EMData.ResetCounters`, Modbus 4200).
    ResetCounters,
    /// Set the counters to 0 and delete the minute records (`EMData.DeleteAllData`).
    DeleteAllData,
    /// Close inbound connections after so many ms, as a restarting device; uptime starts anew.
    Reboot {
        /// `delay_ms` of the request.
        delay_ms: u64,
    },
    /// Change and keep a part of the device's state.
    Set(Setting),
}

/// What a method gives: its result with effects, or the device's error.
pub(super) type Handled = Result<Outcome, RpcError>;

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
pub(super) fn text(json: impl Into<Json>) -> Handled {
    effects(json, None)
}

/// A result that is JSON text already, and what follows.
pub(super) fn effects(json: impl Into<Json>, effects: impl IntoIterator<Item = Effect>) -> Handled {
    Ok(Outcome {
        answer: Answer::Result(json.into()),
        effects: effects.into_iter().collect(),
    })
}

/// `{"restart_required":…}`, the result of every `SetConfig`.
pub(super) fn restart_required(
    restart_required: bool,
    changes: impl IntoIterator<Item = Effect>,
) -> Handled {
    effects(
        format!("{{\"restart_required\":{restart_required}}}"),
        changes,
    )
}
