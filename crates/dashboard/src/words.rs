//! One digit rule everywhere, and the words that go before the numbers
//! (`docs/decisions.md#look-and-words`).
//!
//! W: no decimals from 10 up, kW with two from 10,000 up; kWh 1; V 1; A 2; PF 2.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::locale::Locale;

/// A figure and its unit, apart so that a page can set the unit smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The number, in the language's way.
    pub value: String,
    /// Its unit.
    pub unit: &'static str,
}

impl Figure {
    const fn new(value: String, unit: &'static str) -> Self {
        Self { value, unit }
    }

    /// One that is not known.
    #[must_use]
    pub fn none(unit: &'static str) -> Self {
        Self::new("–".to_owned(), unit)
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\u{202f}{}", self.value, self.unit)
    }
}

/// Where power flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// From the grid.
    Import,
    /// To the grid.
    Export,
    /// Neither, as far as the figure shows.
    Idle,
}

impl Flow {
    /// Of a signed power, W.
    #[must_use]
    pub fn of(w: f64) -> Self {
        match w {
            w if w >= 0.05 => Self::Import,
            w if w <= -0.05 => Self::Export,
            _ => Self::Idle,
        }
    }

    /// Its name for locale keys and style sheet.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Export => "export",
            Self::Idle => "idle",
        }
    }
}

/// A number with so many decimals and grouped thousands; a true minus sign.
#[must_use]
pub fn number(locale: &Locale, value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::with_capacity(text.len() + 6);
    if value < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push('−');
    }
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push_str(locale.group);
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push_str(locale.decimal);
        out.push_str(fraction);
    }
    out
}

/// A whole number.
#[must_use]
pub fn count(locale: &Locale, n: u64) -> String {
    number(locale, n as f64, 0)
}

/// A number with its unit, a decimal only where it says something.
#[must_use]
pub fn amount(locale: &Locale, value: f64, unit: &str) -> String {
    let decimals = usize::from((value - value.round()).abs() >= 0.05);
    format!("{}\u{202f}{unit}", number(locale, value, decimals))
}

/// A power without its sign: the words say where it flows.
#[must_use]
pub fn watts(locale: &Locale, w: f64) -> Figure {
    let size = w.abs();
    if size >= 9_999.5 {
        return Figure::new(number(locale, size / 1000.0, 2), "kW");
    }
    let decimals = usize::from((0.05..9.95).contains(&size));
    Figure::new(number(locale, size, decimals), "W")
}

/// A power with its sign, where no word says where it flows.
#[must_use]
pub fn signed_watts(locale: &Locale, w: f64) -> String {
    let figure = watts(locale, w);
    if Flow::of(w) == Flow::Export {
        format!("−{figure}")
    } else {
        figure.to_string()
    }
}

/// A state's text with the decimals that it has, at most three; nothing where it is no finite
/// number.
#[must_use]
pub fn as_written(locale: &Locale, text: &str) -> Option<String> {
    let text = text.trim();
    let decimals = text
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len())
        .min(3);
    text.parse::<f64>()
        .ok()
        .filter(|v| v.is_finite())
        .map(|v| number(locale, v, decimals))
}

/// Watt-hours as kWh.
#[must_use]
pub fn kwh(locale: &Locale, wh: f64) -> Figure {
    Figure::new(number(locale, wh / 1000.0, 1), "kWh")
}

/// What a kWh costs: `0.32 €/kWh`.
#[must_use]
pub fn price(locale: &Locale, price: f64, currency: Option<&str>) -> String {
    // Two decimals, or as many as it has: a price of 0.3 is written 0.30.
    let digits = (2..4).find(|d| {
        let scaled = price * 10_f64.powi(*d);
        (scaled - scaled.round()).abs() < 1e-6
    });
    let digits = usize::try_from(digits.unwrap_or(4)).unwrap_or(4);
    format!(
        "{}\u{202f}{}/kWh",
        number(locale, price, digits),
        currency_sign(currency)
    )
}

/// As people write it.
fn currency_sign(currency: Option<&str>) -> &str {
    match currency {
        Some("EUR") => "€",
        Some("GBP") => "£",
        Some("USD") => "$",
        Some(code) => code,
        None => "",
    }
}

/// An amount of money: `12.30 €`, or with the currency's code where it has no sign of its own.
#[must_use]
pub fn money(locale: &Locale, amount: f64, currency: Option<&str>) -> String {
    let unit = currency_sign(currency);
    format!("{}\u{202f}{unit}", number(locale, amount, 2))
        .trim_end()
        .to_owned()
}

/// Energy for people: `40 Wh`, `12.3 kWh`.
#[must_use]
pub fn energy(locale: &Locale, wh: f64) -> Figure {
    if wh.abs() < 999.5 {
        Figure::new(number(locale, wh, 0), "Wh")
    } else {
        kwh(locale, wh)
    }
}

/// Bytes, for people.
#[must_use]
pub fn bytes(locale: &Locale, n: u64) -> Figure {
    let n = n as f64;
    if n >= 1e6 {
        Figure::new(number(locale, n / 1e6, 1), "MB")
    } else {
        Figure::new(number(locale, n / 1e3, 0), "kB")
    }
}

/// A span of time: `0.4 s`, `12 s`, `3 min`, `2 h`, `5 d`.
#[must_use]
pub fn span(locale: &Locale, seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let (value, decimals, unit) = match seconds {
        s if s < 9.95 => (s, 1, "unit_s"),
        s if s < 119.5 => (s, 0, "unit_s"),
        s if s < 7200.0 => ((s / 60.0).floor(), 0, "unit_min"),
        s if s < 172_800.0 => ((s / 3600.0).floor(), 0, "unit_h"),
        s => ((s / 86_400.0).floor(), 0, "unit_d"),
    };
    let value = number(locale, value, decimals);
    format!("{value}\u{202f}{}", locale.t(unit))
}

/// A text with a span of time in it, as its `{time}`.
#[must_use]
pub fn timed(locale: &Locale, key: &str, seconds: f64) -> String {
    locale.with(key, &[("time", &span(locale, seconds))])
}

/// Moments in a language, as a clock of the house shows them. All are Unix s.
#[derive(Clone, Debug)]
pub struct Times {
    /// The language.
    pub l: &'static Locale,
    /// This moment.
    pub now: f64,
    /// The house's time zone.
    pub zone: TimeZone,
}

impl Times {
    fn at(&self, unix: f64) -> DateTime {
        let at = Timestamp::from_second(unix as i64);
        self.zone.to_datetime(at.unwrap_or_default())
    }

    /// Time of day, to the second or the minute.
    #[must_use]
    pub fn clock(&self, unix: f64, seconds: bool) -> String {
        let form = if seconds { "%H:%M:%S" } else { "%H:%M" };
        self.at(unix).strftime(form).to_string()
    }

    /// The same, with the date where it is not that of `before`.
    #[must_use]
    pub fn dated(&self, unix: f64, before: f64, seconds: bool) -> String {
        let (time, date) = (self.clock(unix, seconds), self.at(unix).date());
        if date == self.at(before).date() {
            time
        } else {
            format!("{}, {time}", day(self.l, date))
        }
    }

    /// Time of day to the second, with the date where it is not today's.
    #[must_use]
    pub fn moment(&self, unix: f64) -> String {
        self.dated(unix, self.now, true)
    }
}

/// `23 Nov`, in the language's order.
#[must_use]
pub fn day(locale: &Locale, date: jiff::civil::Date) -> String {
    locale.with(
        "day",
        &[
            ("d", &date.day().to_string()),
            ("m", month(locale, date.month())),
        ],
    )
}

/// Short name of a month, 1 to 12.
#[must_use]
pub fn month(locale: &Locale, month: i8) -> &str {
    const KEYS: [&str; 12] = [
        "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "m10", "m11", "m12",
    ];
    locale.t(KEYS[usize::try_from(month - 1).unwrap_or(0).min(11)])
}

/// A text as the beginning of a sentence.
#[must_use]
pub fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn locale(code: &str) -> &'static Locale {
        Locale::coded(code).unwrap()
    }

    #[test]
    fn one_digit_rule() {
        let en = locale("en");
        for (w, text) in [
            (0.0, "0\u{202f}W"),
            (-0.04, "0\u{202f}W"),
            (0.06, "0.1\u{202f}W"),
            (9.94, "9.9\u{202f}W"),
            (9.96, "10\u{202f}W"),
            (-512.4, "512\u{202f}W"),
            (1240.2, "1,240\u{202f}W"),
            (9999.4, "9,999\u{202f}W"),
            (-9999.6, "10.00\u{202f}kW"),
            (12_345.0, "12.35\u{202f}kW"),
        ] {
            assert_eq!(watts(en, w).to_string(), text, "{w}");
        }
        let energy = kwh(locale("de"), 1_234_560.0).to_string();
        assert_eq!(energy, "1.234,6\u{202f}kWh");
        assert_eq!(
            number(locale("fr"), -1_234_567.5, 2),
            "−1\u{202f}234\u{202f}567,50"
        );
        assert_eq!(number(en, -0.001, 2), "0.00");
        assert_eq!(signed_watts(en, -1240.2), "−1,240\u{202f}W");
        assert_eq!(signed_watts(en, -0.04), "0\u{202f}W");
        assert_eq!(
            as_written(locale("de"), " 1234.56789 ").as_deref(),
            Some("1.234,568")
        );
        assert_eq!(as_written(en, "230"), Some("230".into()));
        assert_eq!(as_written(en, "inf"), None);
        assert_eq!(as_written(en, "off"), None);
        assert_eq!(span(en, 0.42), "0.4\u{202f}s");
        assert_eq!(span(en, 119.0), "119\u{202f}s");
        assert_eq!(span(en, 300.0), "5\u{202f}min");
        assert_eq!(Flow::of(0.04), Flow::Idle);
        assert_eq!(Flow::of(-0.05), Flow::Export);
        assert_eq!(Flow::of(3.0), Flow::Import);
    }

    #[test]
    fn times_are_of_the_house() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let noon = 1_700_046_000.0;
        let times = |code, now| Times {
            l: locale(code),
            now,
            zone: zone.clone(),
        };
        assert_eq!(times("en", noon + 60.0).moment(noon), "12:00:00");
        let before = times("de", noon).moment(noon - 86_400.0);
        assert_eq!(before, "14. Nov., 12:00:00");
    }
}
