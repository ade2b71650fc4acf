//! Secrets made unreadable.

use crate::one_line::one_line;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// A URL without user and password, and without what its query holds: keys and tokens stand there
/// too.
#[must_use]
pub fn mask_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return one_line(text).into_owned();
    };
    // In what is no URL nobody knows where the password ends.
    let authority = if url::Url::parse(text).is_ok() {
        rest.find(['/', '?', '#']).unwrap_or(rest.len())
    } else {
        rest.len()
    };
    let (user, rest) = rest[..authority]
        .rfind('@')
        .map_or(("", rest), |at| (MASK, &rest[at..]));
    let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let hidden = |part: &str| {
        let (said, end) = part.split_at(part.trim_end_matches(['?', '&', '#']).len());
        match said.split_once('=') {
            Some((name, _)) => format!("{name}={MASK}{end}"),
            None if said.is_empty() => end.to_owned(),
            None => format!("{MASK}{end}"),
        }
    };
    let query: String = query.split_inclusive(['?', '&', '#']).map(hidden).collect();
    one_line(&format!("{scheme}://{user}{place}{query}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::mask_url;

    #[test]
    fn a_url_is_shown_without_password_and_tokens() {
        for (given, shown) in [
            ("sensor.grid", "sensor.grid"),
            ("ws://gx/", "ws://gx/"),
            ("http://[fe80::1]:8123", "http://[fe80::1]:8123"),
            (
                "ws://gx:secret@h:1/rpc?token=secret&esp&x=",
                "ws://***@h:1/rpc?token=***&***&x=***",
            ),
            ("ws://h?secret#secret", "ws://h?***#***"),
            ("ws://h/a@b", "ws://h/a@b"),
            (
                "ws://h/\n2026 WARN forged\u{202e}",
                "ws://h/\\n2026 WARN forged\\u{202e}",
            ),
            ("ws://gx:sec/ret@h/rpc", "ws://***@h/rpc"),
            (
                "ws://gx:sec?ret@h/rpc?token=secret",
                "ws://***@h/rpc?token=***",
            ),
        ] {
            assert_eq!(mask_url(given), shown, "{given}");
        }
    }
}
