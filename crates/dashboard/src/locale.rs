//! Languages: every text of templates and scripts is in `locales/`, a file a language, chosen by
//! `Accept-Language`.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::http::{HeaderMap, header};

/// A language with its texts and its way to write numbers.
#[derive(Debug)]
pub struct Locale {
    /// `en`, `de` …, for `lang`.
    pub code: &'static str,
    /// Decimal separator.
    pub decimal: &'static str,
    /// Thousands separator.
    pub group: &'static str,
    texts: BTreeMap<String, String>,
}

const FILES: [(&str, &str, &str, &str); 5] = [
    ("en", ".", ",", include_str!("../../../locales/en.json")),
    ("de", ",", ".", include_str!("../../../locales/de.json")),
    (
        "fr",
        ",",
        "\u{202f}",
        include_str!("../../../locales/fr.json"),
    ),
    ("nl", ",", ".", include_str!("../../../locales/nl.json")),
    ("es", ",", ".", include_str!("../../../locales/es.json")),
];

static ALL: LazyLock<Vec<Locale>> = LazyLock::new(|| {
    let read = |text: &str| serde_json::from_str(text).unwrap_or_default();
    FILES
        .iter()
        .map(|(code, decimal, group, text)| Locale {
            code,
            decimal,
            group,
            texts: read(text),
        })
        .collect()
});

impl Locale {
    /// All languages, English first.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The language of a code.
    #[must_use]
    pub fn coded(code: &str) -> Option<&'static Self> {
        ALL.iter().find(|l| l.code == code)
    }

    /// The first language that the browser asks for and we have, by its weights; else English.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> &'static Self {
        let asked = headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let mut best: Option<(f32, &'static Self)> = None;
        for part in asked.split(',').take(20) {
            let (tag, rest) = part.split_once(';').unwrap_or((part, ""));
            let weight = rest
                .trim()
                .strip_prefix("q=")
                .and_then(|q| q.parse::<f32>().ok())
                .unwrap_or(1.0);
            let language = tag
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            if weight > 0.0
                && best.is_none_or(|(most, _)| weight > most)
                && let Some(found) = Self::coded(&language)
            {
                best = Some((weight, found));
            }
        }
        best.map_or(&ALL[0], |(_, found)| found)
    }

    /// A text by key; what a language lacks is said in English, and a key that there is not by its
    /// name.
    #[must_use]
    pub fn t<'a>(&'a self, key: &'a str) -> &'a str {
        self.find(key).unwrap_or(key)
    }

    /// A text by key, if there is one.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&str> {
        self.texts
            .get(key)
            .or_else(|| ALL[0].texts.get(key))
            .map(String::as_str)
    }

    /// A text with its `{names}` filled in.
    #[must_use]
    pub fn with(&self, key: &str, values: &[(&str, &str)]) -> String {
        let mut rest = self.t(key);
        let mut out = String::with_capacity(rest.len() + 32);
        // Braces within a value are the value's.
        while let Some((before, (name, after))) = rest
            .split_once('{')
            .and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        {
            out.push_str(before);
            match values.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => out.push_str(value),
                None => {
                    out.push('{');
                    out.push_str(name);
                    out.push('}');
                }
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// Keys of this language.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn chosen(text: &str) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, text.parse().unwrap());
        Locale::of(&headers).code
    }

    #[test]
    fn the_browser_chooses() {
        assert_eq!(Locale::of(&HeaderMap::new()).code, "en");
        assert_eq!(chosen("de-AT,de;q=0.9,en;q=0.8"), "de");
        assert_eq!(chosen("sv,fr;q=0.4,nl;q=0.7"), "nl");
        assert_eq!(chosen("pl, *;q=0.1"), "en");
        assert_eq!(chosen("de;q=0, es"), "es");
        assert_eq!(chosen(",,;q=,--"), "en");
    }

    #[test]
    fn people_are_addressed_in_one_way() {
        // German Sie, Dutch je, Spanish usted; and our meter is no counter in Spanish.
        let wrong: [(&str, &[&str]); 4] = [
            (
                "de",
                &[
                    "du", "dein", "deine", "deiner", "deinem", "deinen", "deines", "dich",
                    "anfassen",
                ],
            ),
            ("nl", &["uw", "u"]),
            ("es", &["comprueba", "tú", "tus"]),
            ("en", &["touch it"]),
        ];
        for (code, words) in wrong {
            let l = Locale::coded(code).unwrap();
            for (key, text) in &l.texts {
                // Dutch hours are u, too.
                if code == "nl"
                    && (key.starts_with("unit_") || text.bytes().any(|b| b.is_ascii_digit()))
                {
                    continue;
                }
                let text = text.to_lowercase();
                let spoken: Vec<&str> = text.split(|c: char| !c.is_alphabetic()).collect();
                for word in words {
                    let said = if word.contains(' ') {
                        text.contains(word)
                    } else {
                        spoken.contains(word)
                    };
                    assert!(!said, "{code} {key}: {word} in {text}");
                }
            }
        }
        let spanish = Locale::coded("es").unwrap();
        assert!(!spanish.t("notice_silent").contains("contador"));
    }

    #[test]
    fn all_languages_say_the_same_things() {
        let names = |text: &str| {
            let mut all: Vec<String> = text
                .split('{')
                .skip(1)
                .filter_map(|p| p.split_once('}'))
                .map(|(n, _)| n.to_owned())
                .collect();
            all.sort();
            all.dedup();
            all
        };
        let english = &ALL[0];
        assert!(english.keys().count() > 100);
        for locale in Locale::all() {
            let missing: Vec<&str> = english
                .keys()
                .filter(|key| !locale.texts.contains_key(*key))
                .collect();
            let foreign: Vec<&str> = locale
                .keys()
                .filter(|key| !english.texts.contains_key(*key))
                .collect();
            assert!(
                missing.is_empty() && foreign.is_empty(),
                "{}: missing {missing:?}, foreign {foreign:?}",
                locale.code
            );
            for (key, text) in &locale.texts {
                assert!(!text.trim().is_empty(), "{} {key} is empty", locale.code);
                assert_eq!(
                    names(text),
                    names(&english.texts[key]),
                    "{} {key}: other names in braces",
                    locale.code
                );
            }
        }
    }
}
