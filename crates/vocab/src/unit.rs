//! Names of units as people and integrations write them, made Home Assistant's own.
//!
//! Home Assistant hands on what an integration or a template says: "watts", "Watt", "KW". A
//! spelling is understood where it can mean one thing only: `mW` and `MW` differ by their case
//! alone, a factor of 10⁹, so `mw` and `Mw` stay what nobody knows, and a word says which it is.

/// Prefixes with their words. Those of `m` and `M` keep their case.
const PREFIXES: [(&str, &str); 6] = [
    ("", ""),
    ("k", "kilo"),
    ("m", "milli"),
    ("M", "mega"),
    ("G", "giga"),
    ("T", "tera"),
];

/// Units that take a prefix: symbol, words without and with the plural's `s`.
const UNITS: [(&str, &[&str]); 5] = [
    ("Wh", &["watthour", "watthr"]),
    ("W", &["watt"]),
    ("V", &["volt"]),
    ("A", &["ampere", "amp", "ampère"]),
    ("Hz", &["hertz"]),
];

/// Home Assistant's name of the unit, if it is one of power, energy, voltage, current or frequency
/// in another spelling; else the unit as it is.
#[must_use]
pub fn canonical(unit: &str) -> &str {
    let given = unit.trim();
    NAMES
        .iter()
        .find(|name| **name == given)
        .copied()
        .unwrap_or_else(|| respelled(given).unwrap_or(given))
}

pub use crate::reason::NotActive;

/// Whether the unit is one of apparent or reactive power or energy, in any spelling.
#[must_use]
pub fn not_active(unit: &str) -> Option<NotActive> {
    let plain = plain(unit);
    let bare = plain.strip_suffix('h').unwrap_or(&plain);
    let bare = bare.strip_prefix(['k', 'm', 'g']).unwrap_or(bare);
    match bare {
        "va" | "voltampere" | "voltamperes" | "voltamps" | "voltamp" => Some(NotActive::Apparent),
        "var" | "vars" => Some(NotActive::Reactive),
        _ => None,
    }
}

/// All names that [`canonical`] makes.
const NAMES: [&str; 20] = [
    "W", "kW", "mW", "MW", "GW", "TW", "Wh", "kWh", "mWh", "MWh", "GWh", "TWh", "V", "kV", "mV",
    "A", "kA", "mA", "Hz", "kHz",
];

/// Small letters without what people put between them: `kW·h`, `Kilo Watt`, `watt-hours`.
fn plain(unit: &str) -> String {
    unit.chars()
        .filter(|c| !c.is_whitespace() && !['·', '⋅', '*', '-', '.', '_'].contains(c))
        .flat_map(char::to_lowercase)
        .collect()
}

fn respelled(given: &str) -> Option<&'static str> {
    let small = plain(given);
    let name = |prefix: &str, symbol: &str| {
        NAMES
            .iter()
            .copied()
            .find(|name| name.strip_prefix(prefix) == Some(symbol))
    };
    UNITS.iter().find_map(|(symbol, words)| {
        PREFIXES.iter().find_map(|(prefix, word)| {
            let spelled = words.iter().any(|unit| {
                let rest = small.strip_prefix(word).or_else(|| {
                    small
                        .strip_prefix(&prefix.to_lowercase())
                        .filter(|_| word.is_empty())
                });
                rest.is_some_and(|rest| rest.strip_suffix('s').unwrap_or(rest) == *unit)
            });
            // By its symbol, whatever the case, but for m and M: there the whole must be as Home
            // Assistant writes it, or as far as the prefix goes and in capitals.
            let short = small == format!("{prefix}{symbol}").to_lowercase()
                && (!prefix.eq_ignore_ascii_case("m")
                    || (*prefix == "M" && !given.contains(char::is_lowercase))
                    || plain_case(given, prefix, symbol));
            (spelled || short).then(|| name(prefix, symbol)).flatten()
        })
    })
}

/// Whether the letters are exactly these, with only signs between them.
fn plain_case(given: &str, prefix: &str, symbol: &str) -> bool {
    given
        .chars()
        .filter(|c| c.is_alphabetic())
        .eq(prefix.chars().chain(symbol.chars()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::unit::*;

    #[test]
    fn spellings_that_mean_one_thing_are_understood() {
        for (name, spellings) in [
            ("W", &["W", "w", "Watt", "watts", "WATT", " Watts "][..]),
            (
                "kW",
                &["kW", "kw", "KW", "Kw", "kiloWatt", "Kilowatts", "kilo watt"],
            ),
            ("MW", &["MW", "megawatt", "MegaWatts"]),
            ("mW", &["mW", "milliwatt"]),
            ("GW", &["GW", "gw"]),
            ("Wh", &["Wh", "wh", "WH", "watt-hours", "Watt hour"]),
            (
                "kWh",
                &[
                    "kWh",
                    "kwh",
                    "KWh",
                    "KWH",
                    "kW·h",
                    "kW h",
                    "kW*h",
                    "Kilowatt-hours",
                    "kilowatthour",
                ],
            ),
            ("MWh", &["MWh", "MWH", "MW·h", "Megawatt hours"]),
            ("V", &["V", "v", "Volt", "volts"]),
            ("mV", &["mV", "millivolts"]),
            ("A", &["A", "a", "Ampere", "amps", "Amp", "amperes"]),
            ("mA", &["mA", "Milliampere"]),
            ("Hz", &["Hz", "hz", "HZ", "Hertz"]),
            ("kHz", &["kHz", "khz", "KHz"]),
        ] {
            for spelling in spellings {
                assert_eq!(canonical(spelling), name, "{spelling}");
            }
        }
    }

    #[test]
    fn what_could_mean_two_things_stays_as_it_is() {
        for unit in [
            "mw",
            "Mw",
            "mwh",
            "Mwh",
            "ma",
            "VA",
            "kVA",
            "var",
            "kvar",
            "VAh",
            "°C",
            "%",
            "",
            "J",
            "kWh/d",
            "W/m²",
            "watt per hour",
            "BTU/h",
        ] {
            assert_eq!(canonical(unit), unit, "{unit}");
        }
        for unit in ["VA", "kVA", "va", "MVA", "Volt-Ampere", "VAh", "kVAh"] {
            assert_eq!(not_active(unit), Some(NotActive::Apparent), "{unit}");
        }
        for unit in ["var", "VAr", "kvar", "kVAR", "varh", "kvarh"] {
            assert_eq!(not_active(unit), Some(NotActive::Reactive), "{unit}");
        }
        for unit in ["V", "A", "W", "kW", "h", ""] {
            assert_eq!(not_active(unit), None, "{unit}");
        }
    }

    proptest! {
        #[test]
        fn home_assistants_own_names_are_never_another(name in prop::sample::select(&NAMES[..]), other in "\\PC{0,12}") {
            prop_assert_eq!(canonical(name), name);
            let made = canonical(&other);
            prop_assert!(made == other.trim() || NAMES.contains(&made));
        }
    }
}
