//! From an entity's state text and unit to a number in the base unit, or the reason why there is
//! none.
//!
//! Only finite, plausible numbers count (`docs/decisions.md#derived-and-plausible-values`): `nan`,
//! `inf`, the empty text, `1,5`, `12 W` and absurd sizes are as good as `unavailable`. Nothing is
//! guessed: a foreign unit gives no value, and its name; another spelling of a known one is that
//! one ([`unit::canonical`]).

use std::fmt;

use crate::{
    State,
    unit::{self, NotActive},
};

/// A joule in Wh.
const JOULE: f64 = 1.0 / 3600.0;
/// A calorie as Home Assistant converts it, in Wh.
const CALORIE: f64 = 4.184 * JOULE;

/// What an entity measures; each has one base unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantity {
    /// W.
    Power,
    /// V.
    Voltage,
    /// A.
    Current,
    /// 0 to 1.
    PowerFactor,
    /// Hz.
    Frequency,
    /// Wh.
    Energy,
}

impl Quantity {
    /// Units understood, with their factor to the base unit, base unit first.
    #[must_use]
    pub const fn units(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Power => &[
                ("W", 1.0),
                ("kW", 1e3),
                ("mW", 1e-3),
                ("MW", 1e6),
                ("GW", 1e9),
                ("TW", 1e12),
            ],
            Self::Voltage => &[("V", 1.0), ("mV", 1e-3), ("kV", 1e3)],
            Self::Current => &[("A", 1.0), ("mA", 1e-3)],
            Self::PowerFactor => &[("1", 1.0), ("%", 0.01)],
            Self::Frequency => &[("Hz", 1.0), ("kHz", 1e3)],
            Self::Energy => &[
                ("Wh", 1.0),
                ("kWh", 1e3),
                ("MWh", 1e6),
                ("GWh", 1e9),
                ("TWh", 1e12),
                ("mWh", 1e-3),
                ("J", JOULE),
                ("kJ", 1e3 * JOULE),
                ("MJ", 1e6 * JOULE),
                ("GJ", 1e9 * JOULE),
                ("cal", CALORIE),
                ("kcal", 1e3 * CALORIE),
                ("Mcal", 1e6 * CALORIE),
                ("Gcal", 1e9 * CALORIE),
            ],
        }
    }

    /// The unit that values are kept in.
    #[must_use]
    pub const fn base_unit(self) -> &'static str {
        match self {
            Self::Power => "W",
            Self::Voltage => "V",
            Self::Current => "A",
            Self::PowerFactor => "",
            Self::Frequency => "Hz",
            Self::Energy => "Wh",
        }
    }

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Voltage => "voltage",
            Self::Current => "current",
            Self::PowerFactor => "power factor",
            Self::Frequency => "frequency",
            Self::Energy => "energy",
        }
    }

    /// Whether a value in the base unit can be true of a house; energy: not negative, below 1
    /// TWh.
    #[must_use]
    pub fn plausible(self, value: f64) -> bool {
        match self {
            Self::Power => value.abs() <= 1e6,
            Self::Voltage => (50.0..=500.0).contains(&value),
            Self::Current => value.abs() <= 5000.0,
            Self::PowerFactor => value.abs() <= 1.0,
            Self::Frequency => (40.0..=70.0).contains(&value),
            Self::Energy => (0.0..=1e12).contains(&value),
        }
    }

    const fn range(self) -> &'static str {
        match self {
            Self::Power => "at most 1 MW",
            Self::Voltage => "50 to 500 V",
            Self::Current => "at most 5000 A",
            Self::PowerFactor => "at most 1, or 100 %",
            Self::Frequency => "40 to 70 Hz",
            Self::Energy => "0 to 1 TWh",
        }
    }
}

/// A number in the base unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parsed {
    /// In [`Quantity::base_unit`].
    pub value: f64,
    /// The entity names no unit, so the base unit was taken: worth a warning.
    pub unit_assumed: bool,
}

/// Why a state gives no number. Displays as what follows the entity's name in a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Unusable {
    /// The entity does not exist.
    Gone,
    /// The entity is our own: a meter must not measure itself.
    Own,
    /// `unavailable`, `unknown`, or empty.
    NoState(&'static str),
    /// Not a finite number.
    NotANumber(String),
    /// A unit of something else.
    ForeignUnit(Quantity, String),
    /// No unit where guessing could be wrong by 1000.
    NoUnit(Quantity),
    /// A number that cannot be true, in the base unit.
    Implausible(Quantity, f64),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |q: &Quantity| {
            q.units()
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Self::Gone => f.write_str("does not exist"),
            Self::Own => f.write_str("is this meter's own and is refused as an input"),
            Self::NoState(state) => write!(f, "is {state}"),
            Self::NotANumber(text) => write!(f, "says {text:?}, which is not a number"),
            Self::ForeignUnit(q @ (Quantity::Power | Quantity::Energy), unit)
                if let Some(kind) = unit::not_active(unit) =>
            {
                let kind = match kind {
                    NotActive::Apparent => "apparent",
                    NotActive::Reactive => "reactive",
                };
                let (what, list) = (q.name(), list(q));
                write!(
                    f,
                    "has the unit {unit:?}: that is {kind} {what}, a meter needs active {what} ({list}); choose the sensor of that"
                )
            }
            Self::ForeignUnit(q, unit) => write!(
                f,
                "has the unit {unit:?}, which is not one of {} ({})",
                q.name(),
                list(q)
            ),
            Self::NoUnit(q) => write!(f, "has no unit; {} needs one ({})", q.name(), list(q)),
            Self::Implausible(q, value) => write!(
                f,
                "says {value} {}, which is not plausible ({})",
                q.base_unit(),
                q.range()
            ),
        }
    }
}

/// What `state` with `unit` says of `quantity`.
///
/// # Errors
/// [`Unusable`] when it says nothing that may be used.
pub fn parse(quantity: Quantity, state: &State, unit: Option<&str>) -> Result<Parsed, Unusable> {
    let text = match state {
        State::Text(text) => text.trim(),
        State::Gone => return Err(Unusable::Gone),
        State::Own => return Err(Unusable::Own),
    };
    if text.is_empty() {
        return Err(Unusable::NoState("empty"));
    }
    for none in ["unavailable", "unknown"] {
        if text.eq_ignore_ascii_case(none) {
            return Err(Unusable::NoState(none));
        }
    }
    let Some(number) = text.parse::<f64>().ok().filter(|n| n.is_finite()) else {
        return Err(Unusable::NotANumber(clip(text)));
    };
    let unit = unit.map(str::trim).unwrap_or_default();
    let (factor, unit_assumed) = match unit {
        "" if quantity == Quantity::Energy => return Err(Unusable::NoUnit(quantity)),
        "" => (1.0, quantity != Quantity::PowerFactor),
        named => match quantity
            .units()
            .iter()
            .find(|(name, _)| *name == unit::canonical(named))
        {
            Some((_, factor)) => (*factor, false),
            None => return Err(Unusable::ForeignUnit(quantity, clip(named))),
        },
    };
    // Dividing by 1000 is exact where multiplying by 0.001 is not.
    let whole = (1.0 / factor).round();
    let value = if factor < 1.0 && (whole * factor - 1.0).abs() < 1e-9 {
        number / whole
    } else {
        number * factor
    };
    if quantity.plausible(value) {
        Ok(Parsed {
            value,
            unit_assumed,
        })
    } else {
        Err(Unusable::Implausible(quantity, value))
    }
}

/// At most 40 characters, for messages.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use crate::parse::*;

    fn power(text: &str, unit: &str) -> Result<f64, Unusable> {
        parse(Quantity::Power, &State::Text(text.into()), Some(unit)).map(|p| p.value)
    }

    #[test]
    fn converts_units() {
        assert_eq!(power("1.25", "kW"), Ok(1250.0));
        assert_eq!(power(" -300.5 ", "W"), Ok(-300.5));
        assert_eq!(power("1e3", "W"), Ok(1000.0));
        assert_eq!(power("0.5", "MW"), Ok(500_000.0));
        assert_eq!(power("500", "mW"), Ok(0.5));
        let pf = |text: &str, unit| parse(Quantity::PowerFactor, &State::Text(text.into()), unit);
        assert_eq!(
            pf("-95", Some("%")),
            Ok(Parsed {
                value: -0.95,
                unit_assumed: false
            })
        );
        assert_eq!(
            pf("0.95", None),
            Ok(Parsed {
                value: 0.95,
                unit_assumed: false
            })
        );
        assert!(pf("95", None).is_err());
        let energy =
            |unit| parse(Quantity::Energy, &State::Text("12345.678".into()), unit).map(|p| p.value);
        assert_eq!(energy(Some("kWh")), Ok(12_345_678.0));
        assert_eq!(energy(None), Err(Unusable::NoUnit(Quantity::Energy)));
        let wh = |text: &str, unit| {
            parse(Quantity::Energy, &State::Text(text.into()), Some(unit))
                .unwrap()
                .value
        };
        for (text, unit, want) in [
            ("3600", "J", 1.0),
            ("3.6", "kJ", 1.0),
            ("3.6", "MJ", 1000.0),
            ("7.2", "GJ", 2e6),
            ("860.42", "kcal", 1000.0),
            ("500", "mWh", 0.5),
        ] {
            assert!(
                (wh(text, unit) / want - 1.0).abs() < 1e-4,
                "{text} {unit}: {}",
                wh(text, unit)
            );
        }
    }

    #[test]
    fn understands_a_unit_however_it_is_spelled_and_names_apparent_power() {
        for (unit, watts) in [
            ("Watt", 2.0),
            ("watts", 2.0),
            ("w", 2.0),
            ("kw", 2000.0),
            ("KW", 2000.0),
            ("kiloWatt", 2000.0),
            ("mW", 0.002),
        ] {
            assert_eq!(power("2", unit), Ok(watts), "{unit}");
        }
        assert_eq!(power("0.2", "MW"), Ok(200_000.0));
        let energy =
            |unit| parse(Quantity::Energy, &State::Text("2".into()), Some(unit)).map(|p| p.value);
        assert_eq!(
            [energy("kW·h"), energy("wh"), energy("KWH")],
            [Ok(2000.0), Ok(2.0), Ok(2000.0)]
        );
        let volts = |unit| {
            parse(Quantity::Voltage, &State::Text("230".into()), Some(unit)).map(|p| p.value)
        };
        assert_eq!(
            [volts("Volt"), volts("volts"), volts("v")],
            [Ok(230.0), Ok(230.0), Ok(230.0)]
        );
        for unit in ["mw", "Mw", "VA", "kVA", "var", "°C"] {
            assert!(
                matches!(
                    power("2", unit),
                    Err(Unusable::ForeignUnit(Quantity::Power, _))
                ),
                "{unit}"
            );
        }
        let said = power("2", "VA").unwrap_err().to_string();
        assert!(
            said.contains("\"VA\": that is apparent power") && said.contains("needs active power"),
            "{said}"
        );
        let said = energy("kvarh").unwrap_err().to_string();
        assert!(said.contains("reactive energy"), "{said}");
    }

    #[test]
    fn takes_the_base_unit_where_none_is_named_and_says_so() {
        for unit in [None, Some(""), Some(" ")] {
            assert_eq!(
                parse(Quantity::Power, &State::Text("5".into()), unit),
                Ok(Parsed {
                    value: 5.0,
                    unit_assumed: true
                })
            );
        }
    }

    #[test]
    fn refuses_what_is_no_measurement() {
        for text in [
            "nan",
            "NaN",
            "inf",
            "-inf",
            "infinity",
            "",
            "  ",
            "1,5",
            "12 W",
            "0x10",
            "1_000",
            "unavailable",
            "unknown",
            "None",
            "1e400",
            "1e7",
        ] {
            assert!(power(text, "W").is_err(), "{text}");
        }
        assert!(power("2", "GW").is_err());
        assert_eq!(
            power("5", "°C").unwrap_err().to_string(),
            "has the unit \"°C\", which is not one of power (W, kW, mW, MW, GW, TW)"
        );
        assert_eq!(
            power("12 W", "W").unwrap_err().to_string(),
            "says \"12 W\", which is not a number"
        );
        assert_eq!(
            parse(Quantity::Power, &State::Gone, Some("W")),
            Err(Unusable::Gone)
        );
        assert_eq!(
            parse(Quantity::Power, &State::Own, Some("W")),
            Err(Unusable::Own)
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_finite_plausible_number_or_a_reason(text in ".{0,30}", unit in proptest::option::of("W|kW|mW|MW|V|%|.{0,4}")) {
            use Quantity::{Current, Energy, Frequency, Power, PowerFactor, Voltage};
            for quantity in [Power, Voltage, Current, PowerFactor, Frequency, Energy] {
                match parse(quantity, &State::Text(text.as_str().into()), unit.as_deref()) {
                    Ok(p) => prop_assert!(p.value.is_finite() && quantity.plausible(p.value)),
                    Err(e) => prop_assert!(!e.to_string().is_empty()),
                }
            }
        }

        #[test]
        fn printed_numbers_come_back(value in -1e6..1e6f64) {
            prop_assert_eq!(power(&value.to_string(), "W"), Ok(value));
            let kilo = power(&format!("{}", value / 1e3), "kW").unwrap_or(f64::NAN);
            prop_assert!((kilo - value).abs() < 1e-6 || value.abs() > 999_999.9);
        }
    }
}
