//! RPC frames: any bytes to a call or an error, an answer to a frame (`docs/protocol/frames.md`).
//!
//! Reading is lenient where the device is (unknown members, `args`, `id` as text) and total: there
//! are no bytes that panic, and none that pass for a call they are not.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::{Answer, RpcError};

/// Most frames of a batch: what the original's callers send are a few.
pub const MAX_BATCH: usize = 50;

/// One request frame; members that a reply does not need are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// JSON text of `id` as it goes back: a text of digits as a number, as from the device. No id:
    /// no reply.
    pub id: Option<String>,
    /// Who asks; becomes the reply's `dst`.
    pub src: Option<String>,
    /// Whom it is for.
    pub dst: Option<String>,
    /// What is asked. A frame without is somebody's answer.
    pub method: Option<String>,
    /// JSON text of `params` or its old name `args`.
    pub params: Option<String>,
    /// JSON text of `auth`.
    pub auth: Option<String>,
    /// JSON text of `tag`, sent back.
    pub tag: Option<String>,
    /// `"jsonrpc":"2.0"` was there and comes back.
    pub jsonrpc: bool,
}

/// Bytes that hold no frame: no JSON, no object, or a batch of more than [`MAX_BATCH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrame;

/// What bytes may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// One frame.
    One(Box<Frame>),
    /// A JSON-RPC batch: the device knows none, the original does (`legacy_http`, UDP).
    Batch(Vec<Result<Frame, NoFrame>>),
}

impl Frame {
    /// Whether a device of this id takes it: no `dst`, or its own.
    #[must_use]
    pub fn is_for(&self, device_id: &str) -> bool {
        self.dst
            .as_deref()
            .is_none_or(|dst| dst.is_empty() || dst.eq_ignore_ascii_case(device_id))
    }
}

/// Reads one frame.
///
/// ```
/// let frame = device::frame::parse(br#"{"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}"#).unwrap();
/// assert_eq!(frame.method.as_deref(), Some("EM.GetStatus"));
/// assert_eq!(frame.params.as_deref(), Some(r#"{"id": 0}"#));
/// ```
///
/// # Errors
/// When the bytes are no JSON object.
pub fn parse(bytes: &[u8]) -> Result<Frame, NoFrame> {
    serde_json::from_slice(bytes).map_err(|_| NoFrame)
}

/// Reads one frame or a batch of them. The frames of a batch fail one by one.
///
/// # Errors
/// When the bytes are no JSON object or array, or the array is too long.
pub fn parse_any(bytes: &[u8]) -> Result<Message, NoFrame> {
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        return parse(bytes).map(|frame| Message::One(Box::new(frame)));
    }
    let items: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|_| NoFrame)?;
    if items.len() > MAX_BATCH {
        return Err(NoFrame);
    }
    let frames = items.into_iter().map(|item| parse(item.get().as_bytes()));
    Ok(Message::Batch(frames.collect()))
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

/// Collects the members by hand: a name may come twice (the last wins) and a member of a wrong type
/// counts as absent.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Frame;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RPC frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame, A::Error> {
        let mut frame = Frame::default();
        let mut args = None;
        while let Some(name) = map.next_key::<Name>()? {
            let raw = match name {
                Name::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => map.next_value::<&RawValue>()?.get(),
            };
            match name {
                Name::Id => frame.id = read_id(raw),
                Name::Src => frame.src = read_text(raw),
                Name::Dst => frame.dst = read_text(raw),
                Name::Method => frame.method = read_text(raw),
                Name::Params => frame.params = not_null(raw),
                Name::Args => args = not_null(raw),
                Name::Auth => frame.auth = not_null(raw),
                Name::Tag => frame.tag = not_null(raw).filter(|tag| !tag.starts_with(['{', '['])),
                Name::Jsonrpc => frame.jsonrpc = raw == "\"2.0\"",
                Name::Unknown => {}
            }
        }
        frame.params = frame.params.or(args);
        Ok(frame)
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Name {
    Id,
    Src,
    Dst,
    Method,
    Params,
    Args,
    Auth,
    Tag,
    Jsonrpc,
    #[serde(other)]
    Unknown,
}

fn read_text(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

fn not_null(raw: &str) -> Option<String> {
    (raw != "null").then(|| raw.to_owned())
}

fn read_id(raw: &str) -> Option<String> {
    if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Some(raw.to_owned());
    }
    let text = read_text(raw)?;
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    Some(match text.parse::<u64>() {
        Ok(number) if digits => number.to_string(),
        _ => quoted(&text),
    })
}

/// JSON text of a string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The reply frame to a request; `None` when nothing is sent: the request had no `id`, or the
/// answer is [`Answer::Silence`]. `default_dst` stands in where the request had no `src` (`unknown`
/// on UDP).
#[must_use]
pub fn reply(
    frame: &Frame,
    device_id: &str,
    default_dst: Option<&str>,
    answer: &Answer,
) -> Option<String> {
    let id = frame.id.as_ref()?;
    let (member, body) = match answer {
        Answer::Silence => return None,
        Answer::Result(json) => ("result", Cow::Borrowed(&**json)),
        Answer::Error(error) => ("error", Cow::Owned(error_json(error))),
    };
    let mut out = String::with_capacity(body.len() + 128);
    out.push('{');
    if frame.jsonrpc {
        out.push_str("\"jsonrpc\":\"2.0\",");
    }
    out.push_str("\"id\":");
    out.push_str(id);
    out.push_str(",\"src\":");
    out.push_str(&quoted(device_id));
    if let Some(dst) = frame.src.as_deref().or(default_dst) {
        out.push_str(",\"dst\":");
        out.push_str(&quoted(dst));
    }
    if let Some(tag) = &frame.tag {
        out.push_str(",\"tag\":");
        out.push_str(tag);
    }
    out.push_str(",\"");
    out.push_str(member);
    out.push_str("\":");
    out.push_str(&body);
    out.push('}');
    Some(out)
}

/// `{"code":…,"message":…}`, the bare body of an error.
#[must_use]
pub fn error_json(error: &RpcError) -> String {
    serde_json::to_string(error).unwrap_or_default()
}

/// The replies of a batch as one array; `None` when there are none.
#[must_use]
pub fn batch(replies: &[String]) -> Option<String> {
    (!replies.is_empty()).then(|| format!("[{}]", replies.join(",")))
}

/// A notification frame: no id, and no `dst` for a passive listener.
#[must_use]
pub fn notification(device_id: &str, dst: Option<&str>, method: &str, params: &str) -> String {
    let dst = dst
        .map(|dst| format!(",\"dst\":{}", quoted(dst)))
        .unwrap_or_default();
    format!(
        "{{\"src\":{}{dst},\"method\":\"{method}\",\"params\":{params}}}",
        quoted(device_id)
    )
}

/// The params object of a query string: each value is JSON, or else a text; a key without value is
/// ignored (Growatt's `?esp`); of a key that comes twice the last counts.
#[must_use]
pub fn query_to_params(query: &str) -> String {
    let mut members = BTreeMap::new();
    for (key, value) in query_pairs(query) {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            let is_json = serde_json::from_str::<IgnoredAny>(&value).is_ok();
            members.insert(key, if is_json { value } else { quoted(&value) });
        }
    }
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{}:{value}", quoted(key)))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Keys and values of a query string, decoded, in order. What is no valid escape stands for itself,
/// what is no UTF-8 becomes U+FFFD.
#[must_use]
pub fn query_pairs(query: &str) -> Vec<(String, Option<String>)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .flat_map(|part| {
            let named = part.contains('=');
            form_urlencoded::parse(part.as_bytes()).map(move |(key, value)| {
                let value = named.then(|| value.into_owned());
                (key.into_owned(), value)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    const DEVICE: &str = "shellypro3em-aabbccddeeff";

    fn answered(request: &str) -> Option<String> {
        let frame = parse(request.as_bytes()).unwrap();
        reply(&frame, DEVICE, None, &Answer::Result(Arc::from("1")))
    }

    #[test]
    fn ids_come_back_as_the_device_sends_them() {
        let back = |id: &str| answered(&format!("{{\"id\":{id},\"method\":\"x\"}}"));
        let whole = |id: &str| Some(format!("{{\"id\":{id},\"src\":\"{DEVICE}\",\"result\":1}}"));
        for (id, expected) in [
            ("1", "1"),
            ("-7", "-7"),
            ("1.50", "1.50"),
            ("\"42\"", "42"),
            ("\"007\"", "7"),
            ("0", "0"),
        ] {
            assert_eq!(back(id), whole(expected), "{id}");
        }
        for id in [
            "\"GetDeviceInfo-1000\"",
            "\"-1\"",
            "\"\"",
            "\"ä\\\"\"",
            "\"99999999999999999999999\"",
        ] {
            assert_eq!(back(id), whole(id), "{id}");
        }
        for id in ["null", "true", "[]", "{}"] {
            assert_eq!(back(id), None, "{id}");
        }
        assert_eq!(answered("{\"method\":\"x\"}"), None);
    }

    #[test]
    fn frames_carry_what_the_request_had() {
        assert_eq!(
            answered(r#"{"jsonrpc":"2.0","tag":"t","unknown":{"a":[1]},"src":"me","id":1,"id":2,"method":"x"}"#).unwrap(),
            format!(r#"{{"jsonrpc":"2.0","id":2,"src":"{DEVICE}","dst":"me","tag":"t","result":1}}"#)
        );
        let frame = parse(br#" {"id":1,"method":"x","args":{"id":0},"dst":"other"}"#).unwrap();
        assert_eq!(frame.params.as_deref(), Some(r#"{"id":0}"#));
        assert!(!frame.is_for(DEVICE));
        assert!(
            parse(b"{\"dst\":\"shellypro3em-aabbccddeeff\"}")
                .unwrap()
                .is_for(DEVICE)
        );
        let error = Answer::Error(RpcError::bad_id("7"));
        assert_eq!(
            reply(&frame, DEVICE, Some("unknown"), &error).unwrap(),
            format!(
                r#"{{"id":1,"src":"{DEVICE}","dst":"unknown","error":{{"code":-105,"message":"Bad id=7"}}}}"#
            )
        );
        assert_eq!(reply(&frame, DEVICE, None, &Answer::Silence), None);
    }

    #[test]
    fn what_is_no_object_is_an_error_and_batches_fail_frame_by_frame() {
        for bytes in [
            &b""[..],
            b"1",
            b"[]",
            b"\"x\"",
            b"null",
            b"{",
            b"{}x",
            b"\xff{}",
            b"{\"id\":}",
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(parse(b"[1]"), Err(NoFrame));
        let Message::Batch(frames) = parse_any(br#"[{"id":1,"method":"x"},3,{"id":2}]"#).unwrap()
        else {
            panic!("no batch")
        };
        assert!(frames[0].is_ok() && frames[1].is_err() && frames[2].is_ok());
        let long = format!("[{}0]", "0,".repeat(MAX_BATCH));
        assert_eq!(parse_any(long.as_bytes()), Err(NoFrame));
        let deep = format!(
            "{{\"id\":1,\"params\":{}{}}}",
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert!(parse(deep.as_bytes()).is_ok_and(|f| f.params.is_some_and(|p| p.len() == 400_000)));
        assert_eq!(batch(&[]), None);
        assert_eq!(batch(&["{}".into(), "{}".into()]).unwrap(), "[{},{}]");
    }

    #[test]
    fn queries_are_json_or_text() {
        assert_eq!(query_to_params("id=0"), r#"{"id":0}"#);
        assert_eq!(query_to_params("esp"), "{}");
        assert_eq!(query_to_params("esp=&id=0&id=1&&=2"), r#"{"":2,"id":1}"#);
        assert_eq!(
            query_to_params("config=%7B%22enable%22%3Atrue%7D&name=a+b%20c&on=true"),
            r#"{"config":{"enable":true},"name":"a b c","on":true}"#
        );
        assert_eq!(
            query_to_params("a=%zz&b=%ff&c=\"true\""),
            "{\"a\":\"%zz\",\"b\":\"\u{fffd}\",\"c\":\"true\"}"
        );
    }

    #[test]
    fn notifications_have_no_id() {
        assert_eq!(
            notification("d", Some("c"), "NotifyStatus", "{}"),
            r#"{"src":"d","dst":"c","method":"NotifyStatus","params":{}}"#
        );
        assert_eq!(
            notification("d", None, "NotifyStatus", "{}"),
            r#"{"src":"d","method":"NotifyStatus","params":{}}"#
        );
    }

    fn jsonish() -> impl Strategy<Value = String> {
        let token = prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\"id\""),
            Just("\"method\""),
            Just("\"src\""),
            Just("\"params\""),
            Just("\"tag\""),
            Just("1"),
            Just("-1"),
            Just("null"),
            Just("true"),
            Just("\"\\u00e4\""),
            Just(" "),
        ];
        prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse_any(&bytes);
        }

        #[test]
        fn every_reply_is_json_whatever_came(text in jsonish(), dst in any::<Option<String>>()) {
            if let Ok(frame) = parse(text.as_bytes())
                && let Some(out) = reply(&frame, DEVICE, dst.as_deref(), &Answer::Result(Arc::from("{}")))
            {
                let value: serde_json::Value = serde_json::from_str(&out).expect("a reply is JSON");
                prop_assert!(value.is_object() && frame.id.is_some());
            }
        }

        #[test]
        fn any_query_is_a_params_object(query in "[ -~]{0,64}|\\PC{0,32}") {
            let params = query_to_params(&query);
            let value: serde_json::Value = serde_json::from_str(&params).expect("params are JSON");
            prop_assert!(value.is_object());
        }

        #[test]
        fn any_text_survives_the_query(key in "[a-z]{1,8}", value in "\\PC{1,32}") {
            let escaped: String = value.bytes().map(|b| format!("%{b:02X}")).collect();
            let pairs = query_pairs(&format!("{key}={escaped}"));
            prop_assert_eq!(pairs, vec![(key, Some(value))]);
        }
    }
}
