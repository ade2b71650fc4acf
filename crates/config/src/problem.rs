//! What is wrong with the configuration: where, which key, which value, what is allowed.

use std::{fmt, path::Path, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    definition::Definition,
    definitions::{self, NAME},
};
use vocab::{
    Layer, MASK, mask_url,
    one_line::one_line,
    reason::{Reason, Wrong},
};

/// Sort of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// No such option.
    Unknown,
    /// Wrong type, form or range.
    Value,
    /// Options that contradict one another.
    Conflict,
    /// The options file itself.
    File,
}

/// One thing that is wrong. Its text is one line and shows no secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// Sort.
    pub kind: ProblemKind,
    /// Key as written, `meters[0].http_port` inside an entry.
    pub key: String,
    /// Layer it was found in.
    pub layer: Layer,
    /// Its name there, where it differs from the key: `--http-port`, `HTTP_PORT`.
    pub name: Option<String>,
    /// The value, shortened, secrets masked.
    pub value: Option<String>,
    /// The nearest known key, for an unknown one.
    pub nearest: Option<String>,
    /// What is allowed, or what to do.
    pub allowed: Reason,
}

/// What was found while options were read: what is wrong, and what is worth a line.
pub(super) struct Findings {
    /// Under the Supervisor.
    pub app: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is worth a line, and stops nothing.
    pub warnings: Vec<Reason>,
}

impl Findings {
    /// Nothing yet.
    pub fn new(app: bool) -> Self {
        Self {
            app,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// As app an unknown key is a warning: a restored or newer file must not stop the meter.
    pub fn unknown(&mut self, problem: Problem) {
        if self.app {
            self.warn(&problem);
        } else {
            self.wrong(problem);
        }
    }

    /// Notes what is wrong.
    pub fn wrong(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Notes what is worth a line.
    pub fn warn(&mut self, what: impl Into<Reason>) {
        self.warnings.push(what.into());
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Reason::from(self).fmt(f)
    }
}

impl From<&Problem> for Reason {
    fn from(problem: &Problem) -> Self {
        let mut what = problem.key.clone();
        if let Some(name) = problem.name.as_ref().filter(|name| **name != problem.key) {
            what += &format!(" ({name})");
        }
        if let Some(value) = &problem.value {
            what += &format!(" = {value}");
        }
        Self::Option {
            layer: problem.layer,
            what: what.into(),
            why: Arc::new(problem.wrong()),
        }
    }
}

impl Problem {
    /// What is wrong with the option.
    #[must_use]
    pub fn wrong(&self) -> Reason {
        match &self.nearest {
            Some(nearest) => Wrong::Unknown {
                nearest: nearest.as_str().into(),
                allowed: Arc::new(self.allowed.clone()),
            }
            .into(),
            None => self.allowed.clone(),
        }
    }

    fn new(kind: ProblemKind, layer: Layer, key: String, allowed: impl Into<Reason>) -> Self {
        Self {
            kind,
            key,
            layer,
            name: None,
            value: None,
            nearest: None,
            allowed: allowed.into(),
        }
    }

    /// The options file itself.
    pub(super) fn file(path: &Path, why: Reason) -> Self {
        Self::new(
            ProblemKind::File,
            Layer::File,
            path.display().to_string(),
            why,
        )
    }

    /// A value that is not allowed.
    pub(super) fn value(
        layer: Layer,
        key: impl Into<String>,
        def: &Definition,
        value: &Value,
        allowed: impl Into<Reason>,
    ) -> Self {
        Self {
            value: Some(show(value, def.secret())),
            ..Self::new(ProblemKind::Value, layer, key.into(), allowed)
        }
    }

    /// Options that contradict one another.
    pub(super) fn conflict(
        layer: Layer,
        key: impl Into<String>,
        value: Option<&Value>,
        what: impl Into<Reason>,
    ) -> Self {
        Self {
            value: value.map(|value| show(value, false)),
            ..Self::new(ProblemKind::Conflict, layer, key.into(), what)
        }
    }

    /// A key that is no option; `nearest` is the key meant, told with what it takes. The value is
    /// not shown: nobody knows whether it is a secret.
    pub(super) fn unknown(layer: Layer, key: &str, nearest: &str) -> Self {
        let meant = definitions::find(nearest).unwrap_or(&NAME);
        let allowed = Reason::Limit(meant.kind.limit());
        Self {
            nearest: Some(nearest.to_owned()),
            ..Self::new(ProblemKind::Unknown, layer, clean(key, 64), allowed)
        }
    }

    /// With the name it has in its layer.
    pub(super) fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// A value for people: one short line, without control characters; secrets are masked.
#[must_use]
pub(super) fn show(value: &Value, secret: bool) -> String {
    if secret {
        return MASK.into();
    }
    match value {
        Value::String(text) => format!("\"{}\"", clean(&mask_any(text), 80)),
        other => clean(&hide(other, mask_any, mask_any).to_string(), 80),
    }
}

/// The same value with what may be a password or a token hidden: a member whole where its key does
/// not say that it is none, else in its texts as `member` does it, and in other texts as `text`.
pub(super) fn hide(value: &Value, text: fn(&str) -> String, member: fn(&str) -> String) -> Value {
    match value {
        Value::String(said) => text(said).into(),
        Value::Array(items) => items.iter().map(|item| hide(item, text, member)).collect(),
        Value::Object(members) => {
            let shown = |(key, value): (&String, &Value)| {
                let known = definitions::find(key).is_some_and(|def| !def.secret());
                let shown = (known || *key == NAME.key).then(|| hide(value, member, member));
                (key.clone(), shown.unwrap_or_else(|| MASK.into()))
            };
            members.iter().map(shown).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// A text that was refused, so that nobody knows its parts: all that may be a password (before an
/// @) or a token (after a ?) is hidden.
pub(super) fn mask_any(text: &str) -> String {
    let plain = text.rfind('@').map(|at| at + 1);
    let encoded = text.to_ascii_lowercase().rfind("%40").map(|at| at + 3);
    let Some(at) = plain.max(encoded) else {
        return mask_query(text);
    };
    let scheme = text.find("://").map(|end| end + 3);
    let scheme = scheme.filter(|end| *end < at).unwrap_or(0);
    mask_query(&format!("{}{MASK}@{}", &text[..scheme], &text[at..]))
}

/// Without what stands after a question mark or a number sign.
fn mask_query(text: &str) -> String {
    if text.contains("://") {
        return mask_url(text);
    }
    match text.find(['?', '#']).filter(|end| *end + 1 < text.len()) {
        Some(end) => format!("{}{MASK}", &text[..=end]),
        None => text.into(),
    }
}

/// At most `max` characters, on one line.
fn clean(text: &str, max: usize) -> String {
    let mut out = one_line(&text.chars().take(max).collect::<String>()).into_owned();
    if text.chars().nth(max).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{mask_any, show};

    #[test]
    fn what_was_refused_is_shown_without_what_may_be_a_password() {
        for (given, shown) in [
            ("sensor.grid", "sensor.grid"),
            ("me:secret@host:8123", "***@host:8123"),
            ("http:me:secret@host", "***@host"),
            (
                "ftp://me:secret@host/x?token=secret",
                "ftp://***@host/x?token=***",
            ),
            ("ws://me:sec,ret@a, ws://me:secret@b", "ws://***@b"),
            ("ws://me:sec@ret@h", "ws://***@h"),
            ("ws://me:secret%40host/", "ws://***@host/"),
            ("gx/rpc?secret", "gx/rpc?***"),
            ("Ä@", "***@"),
        ] {
            assert_eq!(mask_any(given), shown, "{given}");
        }
        let nested = json!([["ws://me:secret@h"], {"name": "x", "outbound_ws": "me:secret@h", "pw": "secret", "auth_password": {"a": "secret"}}]);
        let shown = show(&nested, false);
        assert!(
            !shown.contains("secret") && shown.contains("***@h"),
            "{shown}"
        );
    }
}
