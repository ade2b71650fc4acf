//! Parameters of a call, read strictly: what Victron enumerates with must fail when it should.

use serde_json::{Map, Value};

use super::error::RpcError;

/// The params object of one call.
#[derive(Debug, Default)]
pub(super) struct Params(Map<String, Value>);

impl Params {
    /// Reads the text of a params object; none, empty and null are `{}`.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, RpcError> {
        let Some(text) = text
            .map(str::trim)
            .filter(|t| !t.is_empty() && *t != "null")
        else {
            return Ok(Self::default());
        };
        serde_json::from_str(text)
            .map(Self)
            .map_err(|_| RpcError::bad_argument("params"))
    }

    /// The member, absent when it is null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    /// The member even when it is null.
    pub(super) fn raw(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// `id` of one of `count` instances: -103 when missing or no integer, -105 when there is no
    /// such instance.
    pub(super) fn instance(&self, count: usize) -> Result<usize, RpcError> {
        let value = self.get("id").ok_or_else(|| RpcError::missing("id"))?;
        // JSON knows one kind of number: a client whose language has no integers writes 0.0.
        let whole = value
            .as_f64()
            .filter(|id| id.fract() == 0.0)
            .ok_or_else(|| RpcError::bad_argument("id"))?;
        match (0..count).find(|id| *id as f64 == whole) {
            Some(id) => Ok(id),
            None => Err(RpcError::bad_id(&whole.to_string())),
        }
    }

    /// An optional member as `read` takes it; -103 where it takes none.
    pub(super) fn typed<'a, T>(
        &'a self,
        name: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, RpcError> {
        self.get(name)
            .map(|value| read(value).ok_or_else(|| RpcError::bad_argument(name)))
            .transpose()
    }

    /// An optional number of seconds or items; fractions are cut off.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, RpcError> {
        self.typed(name, |value| {
            value.as_i64().or_else(|| value.as_f64().map(|f| f as i64))
        })
    }

    /// A number that must be there.
    pub(super) fn required_int(&self, name: &str) -> Result<i64, RpcError> {
        self.int(name)?.ok_or_else(|| RpcError::missing(name))
    }

    /// `offset`, how many items of a list to pass over.
    pub(super) fn offset(&self) -> Result<usize, RpcError> {
        usize::try_from(self.int("offset")?.unwrap_or(0))
            .map_err(|_| RpcError::bad_argument("offset"))
    }

    /// An optional switch.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, RpcError> {
        self.typed(name, Value::as_bool)
    }

    /// An optional text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, RpcError> {
        self.typed(name, Value::as_str)
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Result<&str, RpcError> {
        self.text(name)?.ok_or_else(|| RpcError::missing(name))
    }

    /// `config`, the object of every `SetConfig`.
    pub(super) fn config(&self) -> Result<&Map<String, Value>, RpcError> {
        self.typed("config", Value::as_object)?
            .ok_or_else(|| RpcError::missing("config"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn id(text: &str) -> Result<usize, i32> {
        Params::parse(Some(text))
            .unwrap()
            .instance(3)
            .map_err(|e| e.code)
    }

    #[test]
    fn ids_are_strict() {
        assert_eq!(id(r#"{"id":0}"#), Ok(0));
        assert_eq!(id(r#"{"id":2,"?esp":1}"#), Ok(2));
        assert_eq!(
            [
                r#"{"id":0.0}"#,
                r#"{"id":1e0}"#,
                r#"{"id":-0.0}"#,
                r#"{"id":2.00}"#
            ]
            .map(id),
            [Ok(0), Ok(1), Ok(0), Ok(2)]
        );
        assert_eq!(
            [r#"{"id":3.0}"#, r#"{"id":-1.0}"#, r#"{"id":1e300}"#].map(id),
            [Err(-105); 3]
        );
        for missing in [
            "{}",
            r#"{"id":null}"#,
            r#"{"id":"0"}"#,
            r#"{"id":true}"#,
            r#"{"id":0.5}"#,
            r#"{"id":[0]}"#,
        ] {
            assert_eq!(id(missing), Err(-103), "{missing}");
        }
        for unknown in [
            r#"{"id":3}"#,
            r#"{"id":-1}"#,
            r#"{"id":18446744073709551615}"#,
        ] {
            assert_eq!(id(unknown), Err(-105), "{unknown}");
        }
    }

    #[test]
    fn params_are_an_object_or_nothing() {
        for empty in [None, Some(""), Some(" null "), Some("{}")] {
            assert!(Params::parse(empty).is_ok(), "{empty:?}");
        }
        for bad in ["[0]", "0", "\"id\"", "{", "{\"id\":0"] {
            assert_eq!(Params::parse(Some(bad)).unwrap_err().code, -103, "{bad}");
        }
        let deep = format!("{{\"id\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Params::parse(Some(&deep)).is_err());
    }
}
