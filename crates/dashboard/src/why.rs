//! Reasons in the person's language, by the key that each has in `locales/`.

use super::{locale::Locale, words};
use vocab::reason::{Arg, Explain};

/// With a capital letter, but for a path, an address or an option's name.
fn capital(text: &str) -> String {
    let mut rest = text.chars();
    match rest.next().filter(|_| {
        text.split(' ')
            .next()
            .is_some_and(|word| word.chars().all(char::is_alphabetic))
    }) {
        Some(first) => first.to_uppercase().chain(rest).collect(),
        None => text.to_owned(),
    }
}

impl Locale {
    /// A reason in this language; the words of others stay as they are.
    #[must_use]
    pub fn say(&self, why: &dyn Explain) -> String {
        let Some(key) = why.key() else {
            return why.to_string();
        };
        let said = |arg| match arg {
            Arg::Text(text) => text,
            Arg::Word(key) => self.t(key).to_owned(),
            Arg::Count(n) => words::count(self, n),
            Arg::Span(seconds) => words::span(self, seconds),
            Arg::Amount(value, unit) => words::amount(self, value, unit),
            Arg::Reason(why) => self.say(why),
        };
        let args = why.args().into_iter();
        self.in_words(key, args.map(|(name, arg)| (name, said(arg))))
    }

    /// A reason's text; marks of code are for the log.
    pub(super) fn in_words<'a>(
        &self,
        key: &str,
        args: impl Iterator<Item = (&'a str, String)>,
    ) -> String {
        let args: Vec<(&str, String)> = args.collect();
        let args: Vec<(&str, &str)> = args.iter().map(|(name, arg)| (*name, &**arg)).collect();
        self.with(key, &args).replace('`', "")
    }

    /// The same as the beginning of a sentence.
    #[must_use]
    pub fn begin(&self, why: &dyn Explain) -> String {
        capital(&self.say(why))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use super::*;
    use vocab::{
        EntityId,
        reason::{
            Cause, Failure, KeptReason, LeftOut, Quantity, Reason, Span, Unkept, Unreachable,
            Unusable,
        },
    };

    /// A reason of another crate is said in every language by a text of its own, but for the `bare`
    /// ones, and in English as its line says it.
    pub(crate) fn is_said_everywhere(why: &dyn Explain, bare: &[&str]) {
        let (key, english) = (why.key().unwrap(), &Locale::all()[0]);
        for l in Locale::all() {
            let said = l.say(why);
            assert!(!said.contains(['{', '}']), "{} {key}: {said}", l.code);
            assert!(l.find(key).is_some(), "{} {key}", l.code);
            let same = l.t(key) == english.t(key);
            assert!(
                (l.code == "en") == same || bare.contains(&key),
                "{} {key} is English",
                l.code
            );
        }
        // What others said is shortened on pages, and figures are written as the language does.
        let other = |arg: &Arg| matches!(arg, Arg::Reason(_) | Arg::Span(_) | Arg::Amount(..));
        let others = why.args().iter().any(|(_, arg)| other(arg));
        assert!(others || english.say(why) == why.to_string(), "{key}");
    }

    /// Every reason is said in every language: by a text of its own, with all its values, and with
    /// nothing English left.
    #[test]
    fn every_reason_is_said_in_every_language() {
        for why in Reason::samples() {
            let line = why.to_string();
            let Some(key) = why.key() else { continue };
            let english = Locale::all()[0].t(key);
            for l in Locale::all() {
                let said = l.say(&why);
                assert!(
                    l.keys().any(|known| known == key),
                    "{}: {key} is missing",
                    l.code
                );
                assert!(!said.contains(['{', '}']), "{} {key}: {said}", l.code);
                // That it is a thing's reason has no words.
                if l.code != "en" && !BARE.contains(&key) {
                    assert_ne!(said, line, "{} {key} is English", l.code);
                    assert_ne!(l.t(key), english, "{} {key} is English", l.code);
                }
            }
            let german = locale("de").say(&why);
            let english: Vec<&str> = german
                .split(|c: char| !c.is_alphabetic())
                .filter(|word| ENGLISH.contains(word))
                .collect();
            assert!(english.is_empty(), "{key}: {german}: {english:?}");
        }
    }

    /// Texts that only put others together, or are the option's own words.
    const BARE: [&str; 8] = [
        "problem_line",
        "as_said",
        "at_path",
        "why_of",
        "two_reasons",
        "identity_line",
        "err_one_of",
        "err_flag",
    ];

    /// Words of which one would stand in nearly every English line, and that are no German.
    const ENGLISH: [&str; 25] = [
        "the", "is", "it", "not", "and", "or", "of", "to", "has", "have", "be", "cannot", "there",
        "no", "nothing", "this", "that", "its", "for", "by", "with", "once", "at", "says",
        "answered",
    ];

    fn locale(code: &str) -> &'static Locale {
        Locale::coded(code).unwrap()
    }

    #[test]
    fn what_the_system_says_is_said_in_words() {
        let refused = |errno| Unreachable::CannotReach {
            address: "ws://h:1/".into(),
            error: std::io::Error::from_raw_os_error(errno).into(),
        };
        let of_entity = Reason::from(refused(111)).of("sensor.l1");
        let english =
            "sensor.l1: ws://h:1/ cannot be reached: connection refused, nothing listens there";
        let german =
            "sensor.l1: ws://h:1/ ist nicht erreichbar: Verbindung abgelehnt, dort hört niemand";
        let spanish =
            "sensor.l1: no se llega a ws://h:1/: conexión rechazada, ahí no escucha nadie";
        for (code, text) in [("en", english), ("de", german), ("es", spanish)] {
            assert_eq!(locale(code).say(&of_entity), text);
        }
        for l in Locale::all() {
            for errno in [32, 104] {
                assert!(l.say(&refused(errno)).ends_with(l.t("sys_cut")));
            }
        }
        let others = Cause::said("the moon\nis full");
        assert_eq!(
            locale("de").say(&others),
            "the moon\\nis full",
            "in one line"
        );
        let why = Unreachable::Broke {
            address: "ws://h:1/".into(),
            error: others,
        };
        assert_eq!(
            locale("de").begin(&why),
            "Die Verbindung zu ws://h:1/ ist abgebrochen: the moon\\nis full"
        );
    }

    /// What the Energy settings name and cannot be taken, as [`source::energy_prefs`] writes
    /// it.
    #[test]
    fn what_the_energy_settings_leave_out_is_said_in_the_language() {
        use source::energy_prefs::EnergyPrefs;
        let prefs = r#"{"energy_sources":[{"type":"grid","stat_energy_from":"tibber:import","stat_energy_to":"sensor.own","stat_rate":"sensor.own"}]}"#;
        let own = |id: &EntityId| (&**id == "sensor.own").then(|| LeftOut::Own.into());
        let notes = serde_json::from_str::<EnergyPrefs>(prefs)
            .unwrap()
            .grid(&own)
            .notes;
        assert_eq!(
            notes
                .iter()
                .map(|note| locale("de").say(note))
                .collect::<Vec<_>>(),
            [
                "die Energie aus dem Netz der Energie-Einstellungen wird nicht übernommen, wegen tibber:import: das ist eine externe Statistik \
                 ohne Entität",
                "die Energie ins Netz der Energie-Einstellungen wird nicht übernommen, wegen sensor.own: das ist ein Sensor dieses Zählers selbst",
                "die Netzleistung der Energie-Einstellungen wird nicht übernommen, wegen sensor.own: das ist ein Sensor dieses Zählers selbst",
            ]
        );
    }

    #[test]
    fn figures_in_a_reason_are_written_as_the_language_does() {
        let id = EntityId::from_static("sensor.grid");
        let quiet = Unusable::Quiet {
            time: Span(6.5),
            usual: Span(1.0),
            most: Span(90.0),
        };
        let far = Unusable::implausible(Quantity::Power, 2_000_000.5);
        for (why, told) in [
            (quiet, ["seit 6,5 s", "alle 1,0 s", "innerhalb von 90 s"]),
            (far, ["sagt 2.000.000,5 W", "sensor.grid", "1 MW"]),
        ] {
            let why = Reason::entity(&id, why);
            let kept = locale("de").kept(&KeptReason::of(&why));
            for text in [locale("de").say(&why), kept] {
                let text = text.replace('\u{202f}', " ");
                assert!(told.iter().all(|told| text.contains(told)), "{text}");
            }
        }
    }

    /// They also stand within a sentence; [`Locale::begin`] makes one begin.
    #[test]
    fn reasons_begin_small_in_every_language() {
        for l in Locale::all() {
            for key in l.keys().filter(|key| key.starts_with("why_")) {
                let name = ["Home Assistant", "REST"]
                    .iter()
                    .any(|name| l.t(key).starts_with(name));
                assert!(
                    name || !l.t(key).starts_with(char::is_uppercase),
                    "{} {key}: {}",
                    l.code,
                    l.t(key)
                );
            }
        }
    }

    #[test]
    fn problems_found_at_the_start_are_said_in_the_language() {
        let gone = Unkept::GoesOn {
            why: Arc::new(Unkept::Unopened {
                path: "/none/virtual-shelly.db".into(),
                error: Cause::known("unable to open database file", Failure::CannotOpen),
            }),
        };
        assert_eq!(
            locale("de").say(&gone),
            "/none/virtual-shelly.db lässt sich nicht öffnen: Datei oder Ordner ist nicht zugänglich; gemessen wird im Arbeitsspeicher weiter, \
             nichts übersteht einen Neustart"
        );
        let kept = Unkept::InMemory {
            why: Arc::new(Unkept::NoDatabase.into()),
        };
        assert_eq!(
            locale("de").begin(&kept),
            "Nichts übersteht einen Neustart: keine Datenbank"
        );
    }

    /// All that `load` finds wrong is said in the language, with the option as it was written.
    #[test]
    fn a_wrong_option_is_said_in_the_language() {
        use config::{LoadInputs, load};
        let said = |text: &str| -> Vec<String> {
            let inputs = LoadInputs {
                data_dir: "/data".into(),
                ..LoadInputs::default()
            };
            let complaints = load(&inputs.with_options(text)).complaints();
            complaints.iter().map(|why| locale("de").say(why)).collect()
        };
        let mac = format!("mac = \"a: b\": {}", locale("de").t("form_mac"));
        for (text, want) in [
            (r#"{"hold": 99999}"#, "hold = 99999: Erlaubt: 0 bis 3600"),
            (r#"{"mac": "a: b"}"#, &*mac),
            (
                r#"{"holt": 3}"#,
                "holt: Diese Option gibt es nicht; die ähnlichste ist hold",
            ),
            (
                "[]",
                "/data/options.json: muss ein JSON-Objekt mit den Optionen enthalten",
            ),
        ] {
            assert_eq!(said(text), [format!("Optionsdatei: {want}")]);
        }
        let cut_off = &said("{")[0];
        let begin = "Optionsdatei: /data/options.json: ist kein JSON: ";
        assert!(cut_off.starts_with(begin), "{cut_off}");
        let warned = said(
            r#"{"generation": 3, "energy_unit": "kwh", "outbound_ws_insecure": true, "scaling_shares": ["192.168.1.2=0.9", "192.168.1.3=0.8"]}"#,
        );
        assert_eq!(warned.len(), 5);
        let english = [
            "device",
            "certificates",
            "every reader",
            "more than",
            "asks for",
        ];
        assert!(
            warned
                .iter()
                .all(|line| english.iter().all(|word| !line.contains(word))),
            "{warned:?}"
        );
        assert_eq!(
            said(r#"{"total_power": "sensor.t", "a_invert": true, "b_pf": "sensor.p"}"#),
            [
                "a_invert ist gesetzt, a_power aber nicht: es bewirkt nichts",
                "b_pf ist gesetzt, seine Phase führt aber keine Leistung: es bewirkt nichts"
            ]
        );
    }
}
