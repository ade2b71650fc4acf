//! What stands around a result: frames, bare answers, errors.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use super::{Verdict, is_id};
use crate::Fault;
use vocab::reason::Quoted;

/// Code of "no value now" (`docs/protocol/em.md`).
const UNAVAILABLE: i64 = -114;

/// A result: as text, for the form of its numbers, and as value.
#[derive(Clone, Debug)]
pub struct Body {
    text: String,
    /// The value.
    pub value: Value,
}

impl Body {
    /// `None` for what is no JSON.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Some(Self {
            text: text.to_owned(),
            value: serde_json::from_str(text).ok()?,
        })
    }

    /// A member as it was written.
    #[must_use]
    pub fn written(&self, key: &str) -> Option<String> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(&self.text).ok()?;
        members.get(key).map(|raw| raw.get().to_owned())
    }

    /// A member as a result of its own.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<Self> {
        Self::of(&self.written(key)?)
    }
}

/// What a call came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A result.
    Result(Body),
    /// An error.
    Error {
        /// Its code.
        code: i64,
        /// Its text.
        message: String,
    },
    /// Neither; what is wrong was noted.
    Nothing,
}

/// Opens the frame that answers to `id`.
pub fn frame(text: &str, id: &Value, verdict: &mut Verdict) -> Outcome {
    let Some(frame) = Body::of(text).filter(|body| body.value.is_object()) else {
        verdict.fault(Fault::Unreadable);
        return Outcome::Nothing;
    };
    let member = |key: &str| frame.value.get(key);
    if ["id", "result", "error"]
        .into_iter()
        .all(|key| member(key).is_none())
    {
        verdict.fault(Fault::Bare);
        return bare_value(text, verdict);
    }
    if member("id") != Some(id) {
        verdict.fault(Fault::OtherId {
            sent: id.to_string().into(),
            came: written(member("id")),
        });
    }
    if !member("src").and_then(Value::as_str).is_some_and(is_id) {
        let came = written(member("src"));
        verdict.differs("src", came, "shellypro3em-aabbccddeeff");
    }
    match member("error") {
        Some(error) => fault_of(error, verdict),
        None => frame.member("result").map_or_else(
            || {
                verdict.missing("result");
                Outcome::Nothing
            },
            Outcome::Result,
        ),
    }
}

/// Judges a bare answer over HTTP.
pub fn bare(status: u16, text: &str, verdict: &mut Verdict) -> Outcome {
    if status == 401 {
        verdict.fault(Fault::Password);
        return Outcome::Nothing;
    }
    match bare_value(text, verdict) {
        outcome @ Outcome::Error { .. } => {
            if status == 200 {
                verdict.fault(Fault::ErrorAsSuccess);
            }
            return outcome;
        }
        outcome if status == 200 => return outcome,
        Outcome::Nothing => verdict.faults.clear(),
        Outcome::Result(_) => {}
    }
    // A method that there is not may have no body.
    if status == 404 {
        let message = text.chars().take(80).collect();
        return Outcome::Error { code: 404, message };
    }
    verdict.fault(Fault::Status { status });
    Outcome::Nothing
}

fn bare_value(text: &str, verdict: &mut Verdict) -> Outcome {
    let Some(body) = Body::of(text) else {
        verdict.fault(Fault::Unreadable);
        return Outcome::Nothing;
    };
    let has = |key: &str| body.value.get(key).is_some();
    let framed = has("id") || has("src") || has("jsonrpc");
    if framed && has("result") {
        verdict.fault(Fault::Framed);
        return body
            .member("result")
            .map_or(Outcome::Nothing, Outcome::Result);
    }
    if framed && has("error") {
        verdict.fault(Fault::Framed);
        return fault_of(&body.value["error"], verdict);
    }
    if has("code") && has("message") {
        return fault_of(&body.value, verdict);
    }
    Outcome::Result(body)
}

fn fault_of(error: &Value, verdict: &mut Verdict) -> Outcome {
    let (code, message) = (error["code"].as_i64(), error["message"].as_str());
    if code.is_none() || message.is_none() {
        verdict.fault(Fault::ErrorForm);
    }
    Outcome::Error {
        code: code.unwrap_or_default(),
        message: message.unwrap_or_default().to_owned(),
    }
}

/// A value as it stands in JSON, short; a dash for none.
pub(crate) fn written(value: Option<&Value>) -> std::sync::Arc<str> {
    value
        .map_or_else(
            || "–".to_owned(),
            |value| value.to_string().chars().take(60).collect(),
        )
        .into()
}

/// Whether it is the error that there is no value now.
pub fn says_no_value(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Error { code, .. } if *code == UNAVAILABLE)
}

/// The result, where one is due.
pub fn result(outcome: Outcome, method: &str, verdict: &mut Verdict) -> Option<Body> {
    match outcome {
        Outcome::Result(body) => return Some(body),
        Outcome::Error { code: 404, .. } => verdict.fault(Fault::NoMethod {
            method: method.into(),
        }),
        Outcome::Error { code: 401, .. } => verdict.fault(Fault::Password),
        Outcome::Error { code, .. } if code == UNAVAILABLE => {
            // It is right only as an error that all take for one.
            if !verdict.faults.contains(&Fault::ErrorAsSuccess) {
                verdict.note(Fault::NoValue);
            }
        }
        Outcome::Error { code, message } => verdict.fault(Fault::Refused {
            code,
            text: Quoted(message.chars().take(80).collect::<String>().into()),
        }),
        Outcome::Nothing => {}
    }
    None
}

/// An error, where one is due; `stub` is what a success means.
pub fn refusal(outcome: &Outcome, stub: Fault, verdict: &mut Verdict) {
    match outcome {
        Outcome::Error { code: 401, .. } => verdict.fault(Fault::Password),
        // Nobody reads a value out of what there is not.
        Outcome::Error { .. } => verdict.faults.retain(|f| *f != Fault::ErrorAsSuccess),
        Outcome::Nothing => {}
        // A GX takes null for no channel too.
        Outcome::Result(body)
            if body.value.is_null() && matches!(stub, Fault::AnyInstance { .. }) => {}
        Outcome::Result(_) => verdict.fault(stub),
    }
}
