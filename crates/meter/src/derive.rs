//! What follows from what was measured: apparent power, current, power factor
//! (`docs/decisions.md#derived-and-plausible-values`).

use super::figures::{Derived, Electric};

/// The side measurements of a phase; `None` where there is none that may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// V.
    pub voltage: Option<f64>,
    /// A, any sign.
    pub current: Option<f64>,
    /// Any sign.
    pub pf: Option<f64>,
    /// Hz.
    pub freq: Option<f64>,
}

/// What the line has when nothing is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// `line_voltage`, V.
    pub voltage: f64,
    /// `line_frequency`, Hz.
    pub freq: f64,
}

/// Below this a power factor says nothing about the apparent power (`docs/protocol/em.md#numbers`).
const LEAST_PF: f64 = 0.01;

/// All values of a phase with active power `act_power` in W.
pub fn derive(act_power: f64, m: Measured, line: Line) -> (Electric, Derived) {
    let voltage = m.voltage.unwrap_or(line.voltage);
    let p = act_power.abs();
    let measured_pf = m.pf.map(f64::abs);
    let usable_pf = measured_pf.filter(|pf| *pf >= LEAST_PF);
    let aprt_power = match (m.current, usable_pf) {
        (Some(current), _) => (voltage * current.abs()).max(p),
        (None, Some(pf)) => p / pf,
        (None, None) => p,
    };
    let current = m.current.map_or(aprt_power / voltage, f64::abs);
    // A measured factor of 0 under load contradicts the power and is not served.
    let served_pf = measured_pf.filter(|pf| *pf >= LEAST_PF || p == 0.0);
    let pf = served_pf.unwrap_or_else(|| match m.current {
        None => 1.0,
        Some(_) if aprt_power > 0.0 => p / aprt_power,
        Some(_) => 0.0,
    });
    let electric = Electric {
        act_power,
        voltage,
        current,
        aprt_power,
        pf,
        freq: m.freq.unwrap_or(line.freq),
    };
    let derived = Derived {
        voltage: m.voltage.is_none(),
        current: m.current.is_none(),
        pf: served_pf.is_none(),
        freq: m.freq.is_none(),
    };
    (electric, derived)
}

/// A phase that nothing feeds while another is fed: 0.0 W at line voltage.
pub fn unused(m: Measured, line: Line) -> (Electric, Derived) {
    // Where no current flows the power factor is 0.
    let still = Measured {
        current: Some(0.0),
        pf: None,
        ..m
    };
    let (electric, derived) = derive(0.0, still, line);
    let derived = Derived {
        current: true,
        ..derived
    };
    (electric, derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line {
        voltage: 230.0,
        freq: 50.0,
    };

    fn of(p: f64, voltage: Option<f64>, current: Option<f64>, pf: Option<f64>) -> (f64, f64, f64) {
        let (e, _) = derive(
            p,
            Measured {
                voltage,
                current,
                pf,
                freq: None,
            },
            LINE,
        );
        (e.aprt_power, e.current, e.pf)
    }

    #[test]
    fn power_alone_makes_a_current_at_power_factor_1() {
        assert_eq!(of(-460.0, None, None, None), (460.0, 2.0, 1.0));
        assert_eq!(of(0.0, None, None, None), (0.0, 0.0, 1.0));
    }

    #[test]
    fn a_given_current_makes_the_power_factor() {
        assert_eq!(of(345.0, None, Some(-2.0), None), (460.0, 2.0, 0.75));
        assert_eq!(of(600.0, Some(240.0), Some(2.0), None), (600.0, 2.0, 1.0));
        assert_eq!(of(0.0, None, Some(0.0), None), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_given_power_factor_makes_the_current() {
        assert_eq!(of(-230.0, None, None, Some(-0.5)), (460.0, 2.0, 0.5));
        assert_eq!(of(230.0, None, None, Some(0.0)), (230.0, 1.0, 1.0));
        assert_eq!(of(0.0, None, None, Some(0.0)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn says_what_was_derived() {
        let (_, d) = derive(
            1.0,
            Measured {
                voltage: Some(231.0),
                current: None,
                pf: Some(0.9),
                freq: None,
            },
            LINE,
        );
        assert_eq!(
            d,
            Derived {
                voltage: false,
                current: true,
                pf: false,
                freq: true
            }
        );
    }
}
