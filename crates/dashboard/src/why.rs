//! Reasons in the person's language. The crates below say in English why something is wrong; the
//! English texts `why_…` of `locales/` are the patterns by which such a line is known again, and
//! each language has its own. What is wrong with an option is said by the option's own definition,
//! and what the system says by the usual few reasons (`sys_…`).

use std::{borrow::Cow, sync::LazyLock};

use super::{locale::Locale, settings};
use config::{Layer, Problem, ProblemKind};
use vocab::reason::{Arg, Explain};

/// Marks of the system's and the database's usual errors, and their words.
const SYSTEM: [(&str, &str); 21] = [
    ("(os error 2)", "sys_missing"),
    ("(os error 13)", "port_forbidden"),
    ("(os error 28)", "sys_full"),
    ("(os error 30)", "sys_read_only"),
    ("(os error 32)", "sys_cut"),
    ("(os error 98)", "port_taken"),
    ("(os error 99)", "sys_no_address"),
    ("(os error 101)", "sys_no_route"),
    ("(os error 104)", "sys_cut"),
    ("(os error 110)", "sys_timeout"),
    ("(os error 111)", "sys_refused"),
    ("(os error 113)", "sys_no_route"),
    ("failed to lookup address", "sys_no_name"),
    ("database or disk is full", "sys_full"),
    ("readonly database", "sys_read_only"),
    ("unable to open database file", "sys_cannot_open"),
    ("disk I/O error", "sys_disk"),
    ("database is locked", "sys_locked"),
    ("operation timed out", "sys_timeout"),
    ("without closing handshake", "sys_cut"),
    ("Permission denied", "port_forbidden"),
];

/// Part of a pattern.
#[derive(Debug)]
enum Part {
    Text(&'static str),
    Value(&'static str),
}

/// Key and parts of each pattern, the most particular first.
static PATTERNS: LazyLock<Vec<(&'static str, Vec<Part>)>> = LazyLock::new(|| {
    let english = &Locale::all()[0];
    let mut all: Vec<_> = english
        .keys()
        .filter(|key| key.starts_with("why_"))
        .filter_map(|key| Some((key, parts(english.find(key)?))))
        .collect();
    let literal = |parts: &[Part]| {
        parts
            .iter()
            .map(|p| {
                if let Part::Text(text) = p {
                    text.len()
                } else {
                    0
                }
            })
            .sum::<usize>()
    };
    all.sort_by_key(|(_, parts)| std::cmp::Reverse(literal(parts)));
    all
});

fn parts(mut pattern: &'static str) -> Vec<Part> {
    let mut out = Vec::new();
    while let Some((text, (name, rest))) = pattern
        .split_once('{')
        .and_then(|(text, rest)| Some((text, rest.split_once('}')?)))
    {
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

/// The values of a pattern in a text that it describes as a whole. `{entity}` and `{address}` are
/// one word each: what stands before an address, such as the entity that is read there, is no part
/// of it.
fn values<'t>(parts: &[Part], text: &'t str) -> Option<Vec<(&'static str, &'t str)>> {
    match parts {
        [] => text.is_empty().then(Vec::new),
        [Part::Text(literal), rest @ ..] => values(rest, text.strip_prefix(literal)?),
        [Part::Value(name), rest @ ..] => {
            let ends: Vec<usize> = match rest.first() {
                Some(Part::Text(literal)) => {
                    text.match_indices(literal).map(|(at, _)| at).collect()
                }
                _ => vec![text.len()],
            };
            ends.into_iter().filter(|end| *end > 0).find_map(|end| {
                let (value, after) = text.split_at(end);
                if matches!(*name, "entity" | "address") && value.contains(char::is_whitespace) {
                    return None;
                }
                let mut all = values(rest, after)?;
                all.push((name, value));
                Some(all)
            })
        }
    }
}

/// A configuration problem, as its `Display` writes it: `options file: hold = 99999: must be …`.
fn complaint(text: &str) -> Option<(&'static str, &str, &str)> {
    const LAYERS: [(Layer, &str); 6] = [
        (Layer::Default, "at_default"),
        (Layer::Device, "at_device"),
        (Layer::File, "at_file"),
        (Layer::Network, "at_network"),
        (Layer::Environment, "at_environment"),
        (Layer::CommandLine, "at_command_line"),
    ];
    let (key, rest) = LAYERS.iter().find_map(|(layer, key)| {
        Some((*key, text.strip_prefix(layer.words())?.strip_prefix(": ")?))
    })?;
    // A value in quotes may hold anything but its end.
    let from = rest
        .find(" = \"")
        .filter(|at| !rest[..*at].contains(": "))
        .and_then(|at| rest[at + 4..].find("\": ").map(|n| at + 4 + n));
    let end = from.unwrap_or(0) + rest[from.unwrap_or(0)..].find(": ")?;
    Some((key, &rest[..end], &rest[end + 2..]))
}

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
            return self.why(&why.to_string()).into_owned();
        };
        let said = |arg| match arg {
            Arg::Text(text) => text,
            Arg::Word(key) => self.t(key).to_owned(),
            Arg::Reason(why) => self.say(why),
        };
        let args: Vec<(&str, String)> = why
            .args()
            .into_iter()
            .map(|(name, arg)| (name, said(arg)))
            .collect();
        let args: Vec<(&str, &str)> = args.iter().map(|(name, arg)| (*name, &**arg)).collect();
        self.with(key, &args)
    }

    /// The same as the beginning of a sentence.
    #[must_use]
    pub fn begin(&self, why: &dyn Explain) -> String {
        capital(&self.say(why))
    }

    /// A reason in this language; one that no pattern describes stays as it is.
    #[must_use]
    pub fn why<'t>(&self, reason: &'t str) -> Cow<'t, str> {
        if let Some((place, what, why)) = complaint(reason) {
            let why = self.wrong(what, why);
            return Cow::Owned(self.with(
                "problem_line",
                &[("where", self.t(place)), ("what", what), ("why", &why)],
            ));
        }
        let Some((key, found)) = PATTERNS
            .iter()
            .find_map(|(key, parts)| Some((key, values(parts, reason)?)))
        else {
            return SYSTEM
                .iter()
                .find(|(mark, _)| reason.contains(mark))
                .map_or(Cow::Borrowed(reason), |(_, key)| {
                    self.t(key).to_owned().into()
                });
        };
        // A reason within the reason is shorter each time: this ends.
        let said = |name: &str, value: &'t str| match name {
            "why" | "error" => self.why(value),
            "what" => self
                .find(&format!("what_{}", value.replace(' ', "_")))
                .map_or(value.into(), |word| word.to_owned().into()),
            _ => value.into(),
        };
        let found: Vec<(&str, Cow<'_, str>)> = found
            .into_iter()
            .map(|(name, value)| (name, said(name, value)))
            .collect();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        // Marks of code are for the log.
        Cow::Owned(self.with(key, &found).replace('`', ""))
    }

    /// The same as the beginning of a sentence.
    #[must_use]
    pub fn sentence(&self, reason: &str) -> String {
        capital(&self.why(reason))
    }

    /// What is wrong with an option, `hold = 99999` or `mac (MAC) = "x"`.
    fn wrong(&self, what: &str, why: &str) -> String {
        let nearest = why
            .strip_prefix("no such option; the nearest is ")
            .and_then(|rest| rest.split_once(": "))
            .map(|(key, _)| key.to_owned());
        if why.starts_with("must hold a JSON object") {
            return self.t("form_object").to_owned();
        }
        let problem = Problem {
            kind: if nearest.is_some() {
                ProblemKind::Unknown
            } else {
                ProblemKind::Value
            },
            key: what.split(' ').next().unwrap_or_default().to_owned(),
            layer: Layer::File,
            name: None,
            value: None,
            nearest,
            allowed: why.to_owned(),
        };
        settings::allowed(self, &problem)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;
    use vocab::State;
    use vocab::parse::{Quantity, parse};
    use vocab::reason::{LeftOut, Reason};

    fn german(text: &str) -> String {
        Locale::all()
            .iter()
            .find(|l| l.code == "de")
            .unwrap()
            .why(text)
            .into_owned()
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
                if l.code != "en" && key != "why_of" {
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

    /// Words of which one would stand in nearly every English line, and that are no German.
    const ENGLISH: [&str; 25] = [
        "the", "is", "it", "not", "and", "or", "of", "to", "has", "have", "be", "cannot", "there",
        "no", "nothing", "this", "that", "its", "for", "by", "with", "once", "at", "says",
        "answered",
    ];

    fn locale(code: &str) -> &'static Locale {
        Locale::all().iter().find(|l| l.code == code).unwrap()
    }

    #[test]
    fn reasons_are_said_in_the_language() {
        assert_eq!(
            german("sensor.grid is unavailable"),
            "sensor.grid ist nicht verfügbar"
        );
        assert_eq!(
            german("sensor.grid: Home Assistant is starting"),
            "sensor.grid: Home Assistant startet gerade"
        );
        assert_eq!(
            german("ws://h:1/ cannot be reached: refused (111)"),
            "ws://h:1/ ist nicht erreichbar: refused (111)"
        );
        for line in [
            "no energy entity is configured: set energy_import and energy_export, or those of the phases",
            "sensor.a, sensor.b had no value in time, so the counters began without energy_import, energy_export: once there is one, take the \
             counters over on the Energy page",
        ] {
            let said = german(line);
            assert!(
                said.contains("energy_import") && said.contains("Energie"),
                "{said}"
            );
        }
        assert_eq!(
            german("garage: a_volt/b_volt: sensor.u does not exist"),
            "garage: a_volt/b_volt: sensor.u gibt es nicht",
            "of a further meter too"
        );
        assert_eq!(
            german("the moon is full"),
            "the moon is full",
            "what nobody knows stays"
        );
        assert_eq!(
            german("is taken by http_port on all addresses: each listener needs its own"),
            "ist auf allen Adressen von http_port belegt: jeder Kanal braucht einen eigenen"
        );
        assert_eq!(
            Locale::all()[0].why("sensor.grid is unavailable"),
            "sensor.grid is unavailable"
        );
    }

    /// A link's reason behind an entity: the entity stands before it, and the address alone is said
    /// to be out of reach.
    #[test]
    fn an_entitys_reason_names_the_address_alone() {
        let said = |code: &str, text: &str| {
            Locale::all()
                .iter()
                .find(|l| l.code == code)
                .unwrap()
                .why(text)
                .into_owned()
        };
        let refused = format!(
            "sensor.l1: ws://h:1/ cannot be reached: IO error: {}",
            std::io::Error::from_raw_os_error(111)
        );
        assert_eq!(
            said("es", &refused),
            "sensor.l1: no se llega a ws://h:1/: conexión rechazada, ahí no escucha nadie"
        );
        let broke = "sensor.a: ws://h:1/ connection broke: WebSocket protocol error: Connection reset without closing handshake";
        assert_eq!(
            said("nl", broke),
            "sensor.a: de verbinding met ws://h:1/ is verbroken: de andere kant heeft de verbinding afgebroken"
        );
        for l in Locale::all() {
            for reason in [broke.to_owned(), refused.clone()] {
                let text = l.why(&reason);
                let tail = text
                    .strip_prefix(if reason == broke {
                        "sensor.a"
                    } else {
                        "sensor.l1"
                    })
                    .unwrap();
                assert!(
                    tail.contains("ws://h:1/")
                        && !tail.contains("sensor")
                        && !tail.contains("error"),
                    "{}: {text}",
                    l.code
                );
            }
            for code in [32, 104] {
                let error = std::io::Error::from_raw_os_error(code);
                assert_eq!(
                    l.why(&format!("ws://h:1/ connection broke: IO error: {error}")),
                    l.with(
                        "why_broke",
                        &[("address", "ws://h:1/"), ("error", l.t("sys_cut"))]
                    )
                );
            }
        }
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
        let bare = parse(Quantity::Energy, &State::Text("5".into()), None).unwrap_err();
        assert_eq!(
            german(&format!("sensor.grid {bare}")),
            "sensor.grid hat keine Einheit; nötig ist eine von Wh, kWh, MWh, GWh, TWh, mWh, J, kJ, MJ, GJ, cal, kcal, Mcal, Gcal (Energie)",
            "the quantity too"
        );
        use Quantity::{Current, Energy, Frequency, Power, PowerFactor, Voltage};
        for quantity in [Power, Voltage, Current, PowerFactor, Frequency, Energy] {
            let key = format!("what_{}", quantity.name().replace(' ', "_"));
            assert_eq!(Locale::all()[0].find(&key), Some(quantity.name()));
        }
        let gone = parse(Quantity::Power, &State::Gone, None).unwrap_err();
        assert_eq!(
            german(&format!("sensor.grid {gone}")),
            "sensor.grid gibt es nicht"
        );
        let own = parse(Quantity::Power, &State::Own, None).unwrap_err();
        assert_eq!(
            german(&format!("sensor.own {own}")),
            "sensor.own gehört diesem Zähler selbst und wird als Eingang abgelehnt"
        );
    }

    /// What the Energy settings name and cannot be taken, as [`source::energy_prefs`] writes
    /// it.
    #[test]
    fn what_the_energy_settings_leave_out_is_said_in_the_language() {
        use source::energy_prefs::EnergyPrefs;
        let prefs = r#"{"energy_sources":[{"type":"grid","stat_energy_from":"tibber:import","stat_energy_to":"sensor.own","stat_rate":"sensor.own"}]}"#;
        let own = |id: &str| (id == "sensor.own").then(|| LeftOut::Own.into());
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

    /// What speaks against entities that somebody types, as it is written where it is found.
    #[test]
    fn objections_are_said_in_every_language() {
        for line in [
            "names sensor.x, which a_power names too: the difference of a sensor and itself is always 0; name the export sensor, or nothing if the \
             sensor turns negative by itself",
            "names sensor.x twice: it would be counted twice; name it once",
            "meters[0].b_power names sensor.x, which meters[0].a_power names too: two phases count the same",
            "sensor.x is of the device class battery, not power_factor",
            "sensor.x is one of this meter's own entities: a meter must not measure itself",
            "sensor.x is made of sensor.own, one of this meter's own entities: a meter must not measure itself",
            "sensor.x would count the other way round than Home Assistant's Energy settings say: what they call drawing would be served as \
             feeding in",
            "grid power of the Energy settings is not taken, because sensor.x stands there for both directions",
            "energy of the Energy settings is not taken, because sensor.x stands there for both directions",
            "grid power of the Energy settings is not taken, because of sensor.x: it is made of sensor.own, this meter's own",
        ] {
            for l in &Locale::all()[1..] {
                let said = l.why(line);
                assert!(
                    said != line && said.contains("sensor.x") && !said.contains('{'),
                    "{}: {said}",
                    l.code
                );
                assert!(
                    !said.contains("made of") && !said.contains("names"),
                    "{}: {said}",
                    l.code
                );
            }
            assert_eq!(Locale::all()[0].why(line), line);
        }
    }

    #[test]
    fn what_the_system_says_is_said_in_words() {
        let refused = format!(
            "ws://h:1/ cannot be reached: IO error: {}",
            std::io::Error::from_raw_os_error(111)
        );
        assert_eq!(
            german(&refused),
            "ws://h:1/ ist nicht erreichbar: Verbindung abgelehnt, dort hört niemand"
        );
        assert_eq!(
            Locale::all()[0].why(&refused),
            "ws://h:1/ cannot be reached: connection refused, nothing listens there"
        );
        assert_eq!(
            german("our own question on the network could not be asked: try again"),
            "die eigene Abfrage im Netz konnte nicht gestellt werden: try again"
        );
        let full = format!(
            "the database cannot be written: /data/x.db: {}",
            "database or disk is full"
        );
        assert_eq!(
            german(&full),
            "die Datenbank lässt sich nicht schreiben: /data/x.db: der Datenträger ist voll"
        );
        for l in Locale::all() {
            assert!(
                SYSTEM.iter().all(|(_, key)| l.find(key).is_some()),
                "{}",
                l.code
            );
        }
    }

    /// They also stand within a sentence; [`Locale::sentence`] makes one begin.
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
        let gone = "/none/virtual-shelly.db cannot be opened: unable to open database file: /none/virtual-shelly.db; metering goes on in \
                    memory, nothing is kept over a restart";
        assert_eq!(
            german(gone),
            "/none/virtual-shelly.db lässt sich nicht öffnen: Datei oder Ordner ist nicht zugänglich; gemessen wird im Arbeitsspeicher weiter, \
             nichts übersteht einen Neustart"
        );
        let l = Locale::all().iter().find(|l| l.code == "de").unwrap();
        assert_eq!(
            l.sentence("nothing is kept over a restart: no database"),
            "Nichts übersteht einen Neustart: no database"
        );
        assert_eq!(
            l.sentence("/x/meter.json is damaged and is written anew"),
            "/x/meter.json ist beschädigt und wird neu geschrieben"
        );
    }

    /// All that `load` finds wrong is said in the language, with the option as it was written.
    #[test]
    fn a_wrong_option_is_said_in_the_language() {
        use config::{LoadInputs, OptionsFile, load};
        let said = |text: &str| -> Vec<String> {
            let file = OptionsFile {
                path: "/data/options.json".into(),
                contents: Ok(text.into()),
            };
            let found = load(&LoadInputs {
                options_file: Some(file),
                data_dir: "/data".into(),
                ..LoadInputs::default()
            });
            found
                .problems
                .iter()
                .map(ToString::to_string)
                .chain(found.warnings)
                .map(|line| german(&line))
                .collect()
        };
        assert_eq!(
            said(r#"{"hold": 99999}"#),
            ["Optionsdatei: hold = 99999: Erlaubt: 0 bis 3600"]
        );
        assert_eq!(
            said(r#"{"mac": "a: b"}"#)[0],
            format!(
                "Optionsdatei: mac = \"a: b\": {}",
                Locale::all()[1].t("form_mac")
            )
        );
        assert_eq!(
            said(r#"{"holt": 3}"#),
            ["Optionsdatei: holt: Diese Option gibt es nicht; die ähnlichste ist hold"]
        );
        assert_eq!(
            said("[]"),
            ["Optionsdatei: /data/options.json: muss ein JSON-Objekt mit den Optionen enthalten"]
        );
        assert!(
            said("{")[0].starts_with("Optionsdatei: /data/options.json: ist kein JSON: "),
            "{:?}",
            said("{")
        );
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

    proptest! {
        #[test]
        fn any_text_is_no_panic(text in "\\PC{0,60}") {
            let _ = german(&text);
        }
    }
}
