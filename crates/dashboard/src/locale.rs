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
        let asked = headers.get(header::ACCEPT_LANGUAGE);
        let asked = asked.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let mut best = (0.0, &ALL[0]);
        for part in asked.split(',').take(20) {
            let (tag, rest) = part.split_once(';').unwrap_or((part, ""));
            let weight = rest.trim().strip_prefix("q=");
            let weight = weight.and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
            let language = tag.trim().split('-').next().unwrap_or_default();
            if weight > best.0
                && let Some(found) = Self::coded(&language.to_ascii_lowercase())
            {
                best = (weight, found);
            }
        }
        best.1
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

    /// The text that a prefix and a name lead to, `_` for all that is neither letter nor digit.
    #[must_use]
    pub fn named(&self, prefix: &str, name: &str) -> Option<&str> {
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        self.find(&format!("{prefix}_{name}"))
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
                None => out.extend(["{", name, "}"]),
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
    use std::collections::BTreeSet;

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
            let parts = text.split('{').skip(1);
            let names = parts.filter_map(|part| Some(part.split_once('}')?.0.to_owned()));
            names.collect::<BTreeSet<_>>()
        };
        let english = &ALL[0];
        assert!(english.keys().count() > 100);
        for locale in Locale::all() {
            let (own, wanted): (BTreeSet<_>, BTreeSet<_>) =
                (locale.keys().collect(), english.keys().collect());
            let differ: Vec<_> = own.symmetric_difference(&wanted).collect();
            assert!(differ.is_empty(), "{}: {differ:?}", locale.code);
            for (key, text) in &locale.texts {
                assert!(!text.trim().is_empty(), "{} {key} is empty", locale.code);
                let (own, wanted) = (names(text), names(&english.texts[key]));
                assert_eq!(own, wanted, "{} {key}: names in braces", locale.code);
            }
        }
    }
}
