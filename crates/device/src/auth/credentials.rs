//! What a caller shows for itself, as a header or in a frame (`docs/protocol/authentication.md`).

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest header that is looked at.
const MAX_HEADER: usize = 4096;

/// Credentials of either form, numbers written as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `username`.
    pub username: String,
    /// `realm`.
    pub realm: String,
    /// `nonce`, text.
    pub nonce: String,
    /// `nc`, text.
    pub nc: String,
    /// `nc` as a number: hex in a header and where a frame quotes it (openHAB sends `"0000000a"`),
    /// else decimal.
    pub count: Option<u64>,
    /// `cnonce`, text.
    pub cnonce: String,
    /// `response`, hex.
    pub response: String,
}

impl Credentials {
    /// Reads an `Authorization` header: `Digest username="admin", …`. Anything else is `None`.
    #[must_use]
    pub fn from_header(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header)
            .ok()
            .filter(|t| t.len() <= MAX_HEADER)?;
        let (scheme, rest) = text.trim_start().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut parts = header_parts(rest)?;
        if parts.get("qop").is_some_and(|qop| qop != "auth")
            || !is_sha256(parts.get("algorithm").map(String::as_str))
        {
            return None;
        }
        let mut take = |name: &str| parts.remove(name);
        let nc = take("nc")?;
        Some(Self {
            username: take("username")?,
            realm: take("realm")?,
            nonce: take("nonce")?,
            count: u64::from_str_radix(&nc, 16).ok(),
            nc,
            cnonce: take("cnonce")?,
            response: take("response")?,
        })
    }

    /// Reads the JSON text of a frame's `auth`. Anything else is `None`.
    #[must_use]
    pub fn from_frame(auth: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            realm: String,
            username: String,
            #[serde(borrow)]
            nonce: &'a RawValue,
            #[serde(borrow)]
            nc: Option<&'a RawValue>,
            #[serde(borrow)]
            cnonce: &'a RawValue,
            response: String,
            algorithm: Option<String>,
        }
        let wire: Wire<'_> = serde_json::from_str(auth).ok()?;
        if !is_sha256(wire.algorithm.as_deref()) {
            return None;
        }
        let nc = wire.nc.map_or_else(|| Some("1".to_owned()), scalar)?;
        let radix = if wire.nc.is_some_and(|raw| raw.get().starts_with('"')) {
            16
        } else {
            10
        };
        Some(Self {
            username: wire.username,
            realm: wire.realm,
            nonce: scalar(wire.nonce)?,
            count: u64::from_str_radix(&nc, radix).ok(),
            nc,
            cnonce: scalar(wire.cnonce)?,
            response: wire.response,
        })
    }
}

fn is_sha256(algorithm: Option<&str>) -> bool {
    algorithm.is_none_or(|a| a.eq_ignore_ascii_case("SHA-256"))
}

/// The `uri` of an `Authorization` header letter by letter: nothing in a target is escaped.
#[must_use]
pub fn header_uri(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header)
        .ok()
        .filter(|t| t.len() <= MAX_HEADER)?;
    let (_, uri) = text.split_once("uri=\"")?;
    uri.get(..closing_quote(uri)?)
}

/// Where a quoted value ends: before the next `name=` or at the end of the header. curl puts a
/// target into `uri` with its quotes as they stand.
fn closing_quote(quoted: &str) -> Option<usize> {
    let mut escaped = false;
    let ends = |(at, c): &(usize, char)| {
        let closes = *c == '"' && !escaped && begins_a_part(&quoted[at + 1..]);
        escaped = *c == '\\' && !escaped;
        closes
    };
    quoted.char_indices().find(ends).map(|(at, _)| at)
}

/// Whether what follows a quote is another part, or nothing.
fn begins_a_part(after: &str) -> bool {
    let after = after.trim_start();
    let Some(next) = after.strip_prefix(',') else {
        return after.is_empty();
    };
    let next = next.trim_start_matches([' ', '\t', ',']);
    let value = next.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
    next.is_empty() || (value.len() < next.len() && value.trim_start().starts_with('='))
}

/// A number as written, or a text.
fn scalar(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).ok();
    }
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        .then(|| text.to_owned())
}

/// `name=value` pairs with commas between; values quoted or not; names in any case.
pub(super) fn header_parts(mut rest: &str) -> Option<HashMap<String, String>> {
    let mut parts = HashMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(parts);
        }
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let value = if let Some(quoted) = after.strip_prefix('"') {
            let end = closing_quote(quoted)?;
            rest = &quoted[end + 1..];
            let mut value = String::new();
            let mut chars = quoted[..end].chars();
            while let Some(c) = chars.next() {
                value.push(if c == '\\' { chars.next()? } else { c });
            }
            value
        } else {
            let end = after.find(',').unwrap_or(after.len());
            rest = &after[end..];
            after[..end].trim_end().to_owned()
        };
        parts.insert(name.trim().to_ascii_lowercase(), value);
    }
}
