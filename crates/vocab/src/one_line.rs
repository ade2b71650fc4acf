//! Texts of others, made fit for a line that people read.
//!
//! A name, an address or an answer may hold anything: a line end that begins a forged line of the
//! log, a terminal's escape sequence, a mark that turns the order of what follows round.

use std::borrow::Cow;

/// The text with line ends, control characters and bidirectional marks escaped: `\n`, `\u{202e}`.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    without(text, misleads)
}

/// The same for a page, which has lines of its own.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    without(text, |c| c != '\n' && misleads(c))
}

fn without(text: &str, misleads: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&misleads) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if misleads(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn line_ends_escapes_and_marks_are_shown_and_letters_are_left() {
        for (given, shown) in [
            (
                "Zähler im Keller – 230 V · 日本",
                "Zähler im Keller – 230 V · 日本",
            ),
            ("ws://h/\nWARN forged", "ws://h/\\nWARN forged"),
            (
                "a\r\tb\u{1b}[2J\u{7f}\u{9b}31m",
                "a\\r\\tb\\u{1b}[2J\\u{7f}\\u{9b}31m",
            ),
            (
                "\u{202e}txt\u{2069}\u{200f}\u{2028}",
                "\\u{202e}txt\\u{2069}\\u{200f}\\u{2028}",
            ),
        ] {
            assert_eq!(one_line(given), shown);
            assert_eq!(
                lines(&format!("<p>\n{given}")).replace('\n', "\\n"),
                format!("<p>\\n{shown}")
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_line(text in any::<String>()) {
            let line = one_line(&text);
            prop_assert!(!line.contains(misleads) && line.lines().count() <= 1);
        }
    }
}
