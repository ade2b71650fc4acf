//! From an entity's state text and unit to a number in the base unit, or the reason why there is
//! none.
//!
//! Only finite, plausible numbers count (`docs/decisions.md#derived-and-plausible-values`): `nan`,
//! `inf`, the empty text, `1,5`, `12 W` and absurd sizes are as good as `unavailable`. Nothing is
//! guessed: a foreign unit gives no value, and its name; another spelling of a known one is that
//! one ([`unit::canonical`]).

pub use crate::reason::{Quantity, Unusable};
use crate::{State, reason::Quoted, unit};

/// A number in the base unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parsed {
    /// In [`Quantity::base_unit`].
    pub value: f64,
    /// The entity names no unit, so the base unit was taken: worth a warning.
    pub unit_assumed: bool,
}

/// What `state` with `unit` says of `quantity`.
///
/// ```
/// use vocab::{State, parse::{Quantity, parse}};
///
/// let parsed = parse(Quantity::Power, &State::Text("1.2".into()), Some("kW")).unwrap();
/// assert_eq!(parsed.value, 1200.0);
/// assert!(parse(Quantity::Power, &State::Text("unavailable".into()), Some("W")).is_err());
/// ```
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
        return Err(Unusable::Empty);
    }
    if text.eq_ignore_ascii_case("unavailable") {
        return Err(Unusable::Unavailable);
    }
    if text.eq_ignore_ascii_case("unknown") {
        return Err(Unusable::Unknown);
    }
    let Some(number) = text.parse::<f64>().ok().filter(|n| n.is_finite()) else {
        let text = Quoted(clip(text).into());
        return Err(Unusable::NotANumber { text });
    };
    let unit = unit.map(str::trim).unwrap_or_default();
    let (factor, unit_assumed) = match unit {
        "" if quantity == Quantity::Energy => return Err(Unusable::no_unit(quantity)),
        "" => (1.0, quantity != Quantity::PowerFactor),
        named => match quantity
            .units()
            .iter()
            .find(|(name, _)| *name == unit::canonical(named))
        {
            Some((_, factor)) => (*factor, false),
            None => {
                return Err(Unusable::unit(
                    clip(named),
                    quantity,
                    unit::not_active(named),
                ));
            }
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
        Err(Unusable::implausible(quantity, value))
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
    fn a_value_comes_in_its_base_unit() {
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
        assert_eq!(energy(None), Err(Unusable::no_unit(Quantity::Energy)));
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
                    Err(Unusable::ForeignUnit { .. } | Unusable::NotActive { .. })
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
