//! Names and helps of the options in each language: those of the app's translations, which Home
//! Assistant's own form shows too, and from `locales/` (`opt_<key>_name`, `opt_<key>`) those of
//! options that the app does not have.

use std::{collections::HashMap, sync::LazyLock};

use super::locale::Locale;
use config::definition::Definition;

const FILES: [(&str, &str); 5] = [
    ("en", include_str!("../../../translations/en.yaml")),
    ("de", include_str!("../../../translations/de.yaml")),
    ("fr", include_str!("../../../translations/fr.yaml")),
    ("nl", include_str!("../../../translations/nl.yaml")),
    ("es", include_str!("../../../translations/es.yaml")),
];

/// Name and help of one option.
#[derive(Clone, Debug, Default, PartialEq)]
struct Texts {
    name: String,
    help: String,
}

static ALL: LazyLock<HashMap<&str, HashMap<&str, Texts>>> = LazyLock::new(|| {
    let files = FILES.into_iter();
    files.map(|(code, text)| (code, read(text))).collect()
});

/// A translation file: two levels of keys and scalars in single quotes. That it is read as any YAML
/// reader does is tested for each file.
fn read(text: &str) -> HashMap<&str, Texts> {
    let mut out: HashMap<&str, Texts> = HashMap::new();
    let mut key = "";
    let lines = text.lines().skip_while(|line| *line != "configuration:");
    let lines = lines.skip(1);
    for line in lines.take_while(|line| line.starts_with(' ')) {
        let inner = line.trim_start();
        match (line.len() - inner.len(), inner.split_once(": ")) {
            (2, None) => key = inner.trim_end_matches(':'),
            (4, Some((member, scalar))) => {
                let scalar = scalar.trim_end();
                let quoted = scalar.strip_prefix('\'');
                let quoted = quoted.and_then(|s| s.strip_suffix('\''));
                let plain = quoted.unwrap_or(scalar).replace("''", "'");
                let texts = out.entry(key).or_default();
                match member {
                    "name" => texts.name = plain,
                    "description" => texts.help = plain,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    out
}

/// A value of an option as people are told it: a phase by its name on the cable; else, but for yes
/// and no, as files hold it.
pub(super) fn value<'a>(l: &'a Locale, key: &str, value: &'a str) -> &'a str {
    match (key, value) {
        (_, "true") => l.t("yes"),
        (_, "false") => l.t("no"),
        ("total_phase", phase) => l.find(&format!("phase_{phase}")).unwrap_or(phase),
        (_, other) => other,
    }
}

fn of(l: &Locale, key: &str) -> Option<&'static Texts> {
    ALL.get(l.code)?.get(key)
}

/// What an option is called.
pub(super) fn name(l: &Locale, def: &Definition) -> String {
    let of_app = of(l, def.key).map(|texts| &*texts.name);
    let name = of_app.or_else(|| l.find(&format!("opt_{}_name", def.key)));
    name.unwrap_or(def.key).to_owned()
}

/// What it does, in whole sentences. The default that ends the app's help is left out: the page
/// says the one in force.
pub(super) fn help(l: &Locale, def: &Definition) -> String {
    let Some(Texts { help, .. }) = of(l, def.key) else {
        let own = l.find(&format!("opt_{}", def.key));
        return own.unwrap_or(def.text).to_owned();
    };
    let (word, _) = l.t("default_is").split_once('{').unwrap_or_default();
    let end = help.rfind(word.trim_end()).filter(|at| *at > 0);
    help[..end.unwrap_or(help.len())].trim_end().to_owned()
}

/// The unit of its value; words are the language's, signs are the same everywhere.
pub(super) fn unit<'a>(l: &'a Locale, def: &Definition) -> &'a str {
    l.find(&format!("unit_{}", def.unit)).unwrap_or(def.unit)
}

/// What happens without a value; names such as `shellypro3em-<mac>` are the same everywhere.
pub(super) fn automatic<'a>(l: &'a Locale, def: &Definition) -> &'a str {
    l.named("auto", def.automatic).unwrap_or(def.automatic)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use config::definitions;

    #[test]
    fn the_files_are_read_as_a_yaml_reader_does() {
        for (code, text) in FILES {
            let yaml: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
            let mut wanted = HashMap::new();
            for (key, entry) in yaml["configuration"].as_object().unwrap() {
                let text = |member: &str| entry[member].as_str().unwrap().to_owned();
                let (name, help) = (text("name"), text("description"));
                wanted.insert(&**key, Texts { name, help });
            }
            assert!(wanted.len() > 80, "{code}");
            assert_eq!(read(text), wanted, "{code}");
        }
    }

    /// The settings page shows both files side by side.
    #[test]
    fn both_files_use_one_word_for_one_thing() {
        const NEVER: [(&str, &[&str]); 4] = [
            (
                "de",
                &[
                    "batterie",
                    "batterien",
                    "angerufen",
                    "anzuwählende",
                    "netzwerk-karte",
                    "rechnername",
                ],
            ),
            ("fr", &["firmware", "appeler", "appelle", "rappelé", "app"]),
            (
                "nl",
                &[
                    "datamap",
                    "bellen",
                    "gebeld",
                    "belt",
                    "uw",
                    "netwerkkaart",
                    "verdere",
                ],
            ),
            (
                "es",
                &[
                    "aparato",
                    "aparatos",
                    "pronóstico",
                    "partes",
                    "pareja",
                    "app",
                ],
            ),
        ];
        for (code, never) in NEVER {
            let l = Locale::coded(code).unwrap();
            let own = l.keys().filter(|key| *key != "app").map(|key| l.t(key));
            let (_, file) = FILES.iter().find(|(of, _)| *of == code).unwrap();
            let file: serde_json::Value = serde_yaml_ng::from_str(file).unwrap();
            let mut texts: Vec<&str> = own.collect();
            let mut left = vec![&file];
            while let Some(value) = left.pop() {
                match value.as_object() {
                    Some(members) => left.extend(members.values()),
                    None => texts.push(value.as_str().unwrap()),
                }
            }
            assert!(texts.len() > 900, "{code}: {}", texts.len());
            for text in texts {
                let lower = text.to_lowercase();
                let found = lower
                    .split(|c: char| !c.is_alphanumeric() && !"-_".contains(c))
                    .find(|word| never.contains(word));
                assert_eq!(found, None, "{code}: {text}");
            }
        }
    }

    #[test]
    fn what_an_option_needs_and_its_heading_are_called_as_the_option_is() {
        let def = |key: &str| definitions::find(key).unwrap();
        for l in Locale::all() {
            assert_eq!(l.t("group_meters"), name(l, def("meters")), "{}", l.code);
            let switch = name(l, def("request_side_scaling_enable"));
            assert!(
                help(l, def("scaling_shares")).contains(&switch),
                "{}: {switch}",
                l.code
            );
        }
    }

    #[test]
    fn every_option_of_the_page_has_name_and_help_in_every_language() {
        let english = &Locale::all()[0];
        let mut missing = Vec::new();
        for l in Locale::all() {
            let (word, _) = l.t("default_is").split_once('{').unwrap();
            for def in definitions::all().filter(|def| def.in_file) {
                let (name, help) = (name(l, def), help(l, def));
                if name == def.key
                    || help.is_empty()
                    || (of(l, def.key).is_none() && l.find(&format!("opt_{}", def.key)).is_none())
                {
                    missing.push((l.code, def.key));
                }
                assert!(
                    !help.contains(word.trim_end()),
                    "{} {}: {help}",
                    l.code,
                    def.key
                );
                if def.automatic.contains(' ') || def.automatic == "all" {
                    let how = automatic(l, def);
                    assert_eq!(
                        how == def.automatic,
                        l.code == "en",
                        "{} {}: {how}",
                        l.code,
                        def.key
                    );
                }
                // What is no name of a protocol is not the same in another language.
                if l.code != "en" && help.split(' ').count() > 3 {
                    assert_ne!(help, super::help(english, def), "{} {}", l.code, def.key);
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }
}
