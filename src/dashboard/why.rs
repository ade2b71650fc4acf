//! Reasons in the person's language. The source and the meter say in English why something is wrong; the English
//! texts `why_…` of `locales/` are the patterns by which such a line is known again, and each language has its own.

use std::{borrow::Cow, sync::LazyLock};

use super::locale::Locale;

/// Part of a pattern.
#[derive(Debug)]
enum Part {
    Text(&'static str),
    Value(&'static str),
}

/// Key and parts of each pattern, the most particular first.
static PATTERNS: LazyLock<Vec<(&'static str, Vec<Part>)>> = LazyLock::new(|| {
    let english = &Locale::all()[0];
    let mut all: Vec<_> =
        english.keys().filter(|key| key.starts_with("why_")).filter_map(|key| Some((key, parts(english.find(key)?)))).collect();
    let literal = |parts: &[Part]| parts.iter().map(|p| if let Part::Text(text) = p { text.len() } else { 0 }).sum::<usize>();
    all.sort_by_key(|(_, parts)| std::cmp::Reverse(literal(parts)));
    all
});

fn parts(mut pattern: &'static str) -> Vec<Part> {
    let mut out = Vec::new();
    while let Some((text, (name, rest))) = pattern.split_once('{').and_then(|(text, rest)| Some((text, rest.split_once('}')?))) {
        if !text.is_empty() {
            out.push(Part::Text(text));
        }
        out.push(Part::Value(name));
        pattern = rest;
    }
    if !pattern.is_empty() {
        out.push(Part::Text(pattern));
    }
    out
}

/// The values of a pattern in a text that it describes as a whole. `{entity}` is one word.
fn values<'t>(parts: &[Part], text: &'t str) -> Option<Vec<(&'static str, &'t str)>> {
    match parts {
        [] => text.is_empty().then(Vec::new),
        [Part::Text(literal), rest @ ..] => values(rest, text.strip_prefix(literal)?),
        [Part::Value(name), rest @ ..] => {
            let ends: Vec<usize> = match rest.first() {
                Some(Part::Text(literal)) => text.match_indices(literal).map(|(at, _)| at).collect(),
                _ => vec![text.len()],
            };
            ends.into_iter().filter(|end| *end > 0).find_map(|end| {
                let (value, after) = text.split_at(end);
                if *name == "entity" && value.contains(char::is_whitespace) {
                    return None;
                }
                let mut all = values(rest, after)?;
                all.push((name, value));
                Some(all)
            })
        }
    }
}

impl Locale {
    /// A reason in this language; one that no pattern describes stays as it is.
    #[must_use]
    pub fn why<'t>(&self, reason: &'t str) -> Cow<'t, str> {
        if self.code == "en" {
            return Cow::Borrowed(reason);
        }
        let Some((key, found)) = PATTERNS.iter().find_map(|(key, parts)| Some((key, values(parts, reason)?))) else {
            return Cow::Borrowed(reason);
        };
        // A reason within the reason is shorter each time: this ends.
        let found: Vec<(&str, Cow<'_, str>)> =
            found.into_iter().map(|(name, value)| (name, if name == "why" { self.why(value) } else { value.into() })).collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (*name, &**value)).collect();
        Cow::Owned(self.with(key, &found))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;
    use crate::meter::parse::{Quantity, parse};
    use crate::source::State;

    fn german(text: &str) -> String {
        Locale::all().iter().find(|l| l.code == "de").unwrap().why(text).into_owned()
    }

    #[test]
    fn reasons_are_said_in_the_language() {
        assert_eq!(german("sensor.grid is unavailable"), "sensor.grid ist nicht verfügbar");
        assert_eq!(german("sensor.grid: Home Assistant is starting"), "sensor.grid: Home Assistant startet gerade");
        assert_eq!(german("ws://h:1/ cannot be reached: refused (111)"), "ws://h:1/ ist nicht erreichbar: refused (111)");
        assert_eq!(german("the disk is full"), "the disk is full", "what nobody knows stays");
        assert_eq!(Locale::all()[0].why("sensor.grid is unavailable"), "sensor.grid is unavailable");
    }

    #[test]
    fn whatever_is_wrong_with_a_state_has_its_words() {
        let mut seen = 0;
        for state in ["unavailable", "unknown", "", "1,5", "9e9", "5"] {
            for unit in [None, Some("°C"), Some("W"), Some("kWh")] {
                for quantity in [Quantity::Power, Quantity::Voltage, Quantity::Energy] {
                    if let Err(why) = parse(quantity, &State::Text(state.into()), unit) {
                        let line = format!("sensor.grid {why}");
                        assert_ne!(german(&line), line);
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 40);
        let gone = parse(Quantity::Power, &State::Gone, None).unwrap_err();
        assert_eq!(german(&format!("sensor.grid {gone}")), "sensor.grid gibt es nicht");
    }

    proptest! {
        #[test]
        fn any_text_is_no_panic(text in "\\PC{0,60}") {
            let _ = german(&text);
        }
    }
}
