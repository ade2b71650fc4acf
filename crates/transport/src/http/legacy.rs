//! The query forms of the Python original, made into frames (option `legacy_http`;
//! `docs/protocol/python-original.md`).
//!
//! `GET /rpc?method=EM.GetStatus&params={"id":0}` is one call, `batch=[…]` several. On
//! `/rpc/<Method>` each member of `batch` may be bare params. The device knows none of them, so
//! nobody else sends them. The original did not look at instance ids; what its scripts leave out is
//! 0.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::form_urlencoded;

/// A frame as the original's clients expect it back: with `jsonrpc`.
#[derive(Serialize)]
struct Frame<'a> {
    jsonrpc: &'static str,
    id: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<&'a str>,
    method: &'a str,
    params: Map<String, Value>,
}

fn member(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn frame(
    id: Value,
    src: Option<&str>,
    method: &str,
    mut params: Map<String, Value>,
) -> Option<String> {
    params.entry("id").or_insert(Value::from(0));
    let frame = Frame {
        jsonrpc: "2.0",
        id,
        src,
        method,
        params,
    };
    serde_json::to_string(&frame).ok()
}

/// `method=…` with `params=` (an object) and, if given, `id=` of the frame.
pub(super) fn legacy_frame(query: &str) -> Option<String> {
    let method = member(query, "method").filter(|m| !m.is_empty())?;
    let params = match member(query, "params") {
        Some(text) if !text.is_empty() => serde_json::from_str(&text).ok()?,
        _ => Map::new(),
    };
    let id = member(query, "id").map_or(Value::from(1), |id| {
        serde_json::from_str(&id).unwrap_or(Value::String(id))
    });
    let src = member(query, "src");
    frame(id, src.as_deref(), &method, params)
}

/// A member of `batch`: a frame, or on `/rpc/<Method>` params alone.
#[derive(Deserialize)]
struct Member {
    id: Option<Value>,
    method: Option<String>,
    params: Option<Map<String, Value>>,
}

/// `batch=[…]` as an array of frames; `None` where there is none, text that is not valid as it
/// stands, to be refused as a body.
pub(super) fn legacy_batch(method: Option<&str>, query: &str) -> Option<String> {
    let text = query
        .contains("batch=")
        .then(|| member(query, "batch"))
        .flatten()?;
    let Ok(members) = serde_json::from_str::<Vec<Map<String, Value>>>(&text) else {
        return Some(text);
    };
    let frames = members.into_iter().enumerate().map(|(n, object)| {
        let member: Member = serde_json::from_value(Value::Object(object.clone())).ok()?;
        let bare = member.method.is_none() && !object.contains_key("params");
        let named = member.method.as_deref().or(method)?;
        let (params, id) = if bare {
            (object, None)
        } else {
            (member.params.unwrap_or_default(), member.id)
        };
        let id = id.unwrap_or_else(|| Value::from(n + 1));
        frame(id, None, named, params)
    });
    match frames.collect::<Option<Vec<String>>>() {
        Some(frames) => Some(format!("[{}]", frames.join(","))),
        None => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_s_forms_become_frames() {
        let frame = |params: &str, id: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"EM.GetStatus","params":{params}}}"#)
        };
        assert_eq!(
            legacy_frame("method=EM.GetStatus"),
            Some(frame(r#"{"id":0}"#, "1"))
        );
        assert_eq!(
            legacy_frame("method=EM.GetStatus&params=%7B%22id%22%3A2%7D&id=9"),
            Some(frame(r#"{"id":2}"#, "9"))
        );
        assert_eq!(
            legacy_frame("method=EM.GetStatus&id=x"),
            Some(frame(r#"{"id":0}"#, "\"x\""))
        );
        assert_eq!(legacy_frame("method=EM.GetStatus&params=[1]"), None);
        assert_eq!(legacy_frame("params={}"), None);

        assert_eq!(legacy_batch(None, "id=0"), None);
        let both = legacy_batch(
            None,
            r#"batch=[{"id":7,"method":"EM.GetStatus"},{"method":"EM.GetStatus","params":{"id":0}}]"#,
        );
        assert_eq!(
            both,
            Some(format!(
                "[{},{}]",
                frame(r#"{"id":0}"#, "7"),
                frame(r#"{"id":0}"#, "2")
            ))
        );
        let bare = legacy_batch(
            Some("EM.GetStatus"),
            r#"batch=[{"id":0},{"id":3,"params":{"id":0}}]"#,
        );
        assert_eq!(
            bare,
            Some(format!(
                "[{},{}]",
                frame(r#"{"id":0}"#, "1"),
                frame(r#"{"id":0}"#, "3")
            ))
        );
        assert_eq!(
            legacy_batch(None, "batch=[{}]").as_deref(),
            Some("[{}]"),
            "no method: the frame reader refuses it"
        );
        assert_eq!(legacy_batch(None, "batch=17").as_deref(), Some("17"));
    }
}
