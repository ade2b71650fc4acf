//! Decimal numbers with a fixed count of decimals, as the device prints them.
//!
//! A Pro 3EM prints `0.0`, `0.50`, `15.670`: trailing zeros are kept on every channel and B2500
//! batteries crash on an integer (`docs/protocol/em.md#numbers`). A [`Fixed`] is an integer count
//! of its last decimal, so what is added up and what is printed cannot differ, and there is no
//! `-0.0`.

use std::fmt;

use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;

/// A number with exactly `D` decimals (0 to 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed<const D: u32>(i64);

impl<const D: u32> Fixed<D> {
    /// Units of the last decimal in 1.
    pub const SCALE: i64 = 10_i64.pow(D);

    /// The nearest number with `D` decimals; halves go away from zero, what is not finite becomes
    /// 0.
    ///
    /// ```
    /// assert_eq!(vocab::Deci::round(-33.35).units(), -334);
    /// ```
    #[must_use]
    pub fn round(value: f64) -> Self {
        let scaled = (value * Self::SCALE as f64).round();
        Self(if scaled.is_finite() { scaled as i64 } else { 0 })
    }

    /// From a count of the last decimal: `Fixed::<1>::from_units(15)` is 1.5.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// The count of the last decimal.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// As a float, for arithmetic and Modbus registers.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0 as f64 / Self::SCALE as f64
    }
}

impl<const D: u32> fmt::Display for Fixed<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        let scale = Self::SCALE.unsigned_abs();
        if D == 0 {
            write!(f, "{sign}{units}")
        } else {
            write!(
                f,
                "{sign}{}.{:0width$}",
                units / scale,
                units % scale,
                width = D as usize
            )
        }
    }
}

impl<const D: u32> Serialize for Fixed<D> {
    /// As a JSON number that keeps its zeros (straight to text only: `serde_json::to_string`).
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

/// Watt, volt-ampere, volt, hertz: one decimal.
pub type Deci = Fixed<1>;
/// Power factor: two decimals. Watt-hours too.
pub type Centi = Fixed<2>;
/// Ampere and totals: three decimals.
pub type Milli = Fixed<3>;

#[cfg(test)]
mod tests {
    use crate::Fixed;

    #[test]
    fn prints_trailing_zeros_and_no_negative_zero() {
        assert_eq!(Fixed::<1>::round(0.0).to_string(), "0.0");
        assert_eq!(Fixed::<1>::round(-0.04).to_string(), "0.0");
        assert_eq!(Fixed::<2>::round(0.5).to_string(), "0.50");
        assert_eq!(Fixed::<3>::round(-15.67).to_string(), "-15.670");
        assert_eq!(Fixed::<1>::round(-0.25).to_string(), "-0.3");
        assert_eq!(Fixed::<1>::round(f64::NAN).to_string(), "0.0");
    }

    #[test]
    fn keeps_its_text_in_json() {
        assert_eq!(
            serde_json::to_string(&[Fixed::<3>::round(2.5)])
                .ok()
                .as_deref(),
            Some("[2.500]")
        );
    }
}
