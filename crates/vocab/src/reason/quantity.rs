//! What an entity measures, and in which units.

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

    /// What [`Self::plausible`] allows, in words.
    #[must_use]
    pub const fn range(self) -> &'static str {
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
