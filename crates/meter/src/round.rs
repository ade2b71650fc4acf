//! Rounding, in one place, once a snapshot (`docs/decisions.md#rounding`).
//!
//! Phase powers are rounded to 0.1 W by largest remainder, so that they add up to the total rounded
//! to 0.1 W: 100 W in thirds is 33.4, 33.3, 33.3. Everything else is rounded by itself; totals are
//! sums of the rounded.

use super::figures::{Electric, PhaseInput, Served, Totals};
use vocab::{Centi, Deci, Milli};

const DECI_IN_MILLI: i64 = Milli::SCALE / Deci::SCALE;

/// Served figures of all phases; totals unless a phase is absent.
#[must_use]
pub fn serve(inputs: &[PhaseInput; 3]) -> ([Option<Served>; 3], Option<Totals>) {
    let electric = inputs.each_ref().map(|input| input.electric);
    let act_power = largest_remainder(electric.map(|e| e.map(|e| e.act_power)));
    let phases = [0, 1, 2].map(|i| Some(served(electric[i]?, act_power[i]?)));
    (phases, totals(&phases))
}

/// Power, apparent power and current times `share`.
pub(super) fn scale(e: Electric, share: f64) -> Electric {
    Electric {
        act_power: e.act_power * share,
        aprt_power: e.aprt_power * share,
        current: e.current * share,
        ..e
    }
}

fn served(e: Electric, act_power: Deci) -> Served {
    // Largest remainder may lift |P| by 0.1 over the rounded S, which no meter would say.
    let aprt_power = Deci::round(e.aprt_power).max(Deci::from_units(act_power.units().abs()));
    Served {
        act_power,
        aprt_power,
        current: Milli::round(e.current),
        voltage: Deci::round(e.voltage),
        pf: Centi::round(e.pf),
        freq: Deci::round(e.freq),
    }
}

fn totals(phases: &[Option<Served>; 3]) -> Option<Totals> {
    let [Some(a), Some(b), Some(c)] = phases else {
        return None;
    };
    let sum = |units: fn(&Served) -> i64| Milli::from_units(units(a) + units(b) + units(c));
    Some(Totals {
        act_power: sum(|s| s.act_power.units() * DECI_IN_MILLI),
        aprt_power: sum(|s| s.aprt_power.units() * DECI_IN_MILLI),
        current: sum(|s| s.current.units()),
    })
}

/// Rounds so that the parts add up to their rounded sum; where remainders are equal the first part
/// gets the tenth.
fn largest_remainder(powers: [Option<f64>; 3]) -> [Option<Deci>; 3] {
    let exact = powers.map(|p| p.map(|p| p * Deci::SCALE as f64));
    let mut units = exact.map(|e| e.map(|e| e.floor() as i64));
    let missing =
        Deci::round(powers.iter().flatten().sum()).units() - units.iter().flatten().sum::<i64>();
    let mut order: Vec<usize> = (0..3).filter(|&i| exact[i].is_some()).collect();
    let remainder = |i: usize| exact[i].map_or(0.0, |e| e - e.floor());
    order.sort_by(|&a, &b| remainder(b).total_cmp(&remainder(a)));
    for &i in order.iter().take(usize::try_from(missing).unwrap_or(0)) {
        units[i] = units[i].map(|u| u + 1);
    }
    units.map(|u| u.map(Deci::from_units))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;
    use crate::{
        derive::{Line, Measured, derive},
        figures::{Derived, Quality},
    };

    const LINE: Line = Line {
        voltage: 230.0,
        freq: 50.0,
    };

    fn served_of(powers: [Option<f64>; 3], share: f64) -> ([Option<Served>; 3], Option<Totals>) {
        serve(&powers.map(|power| PhaseInput {
            quality: Quality::Live,
            electric: power.map(|p| scale(derive(p, Measured::default(), LINE).0, share)),
            derived: Derived::default(),
            report: None,
        }))
    }

    fn powers(of: [f64; 3]) -> Vec<String> {
        let (phases, totals) = served_of(of.map(Some), 1.0);
        let phases = phases.iter().map(|p| p.unwrap().act_power.to_string());
        phases
            .chain([totals.unwrap().act_power.to_string()])
            .collect()
    }

    #[test]
    fn a_third_each() {
        assert_eq!(
            powers([100.0 / 3.0; 3]),
            ["33.4", "33.3", "33.3", "100.000"]
        );
        assert_eq!(
            powers([-300.5, 0.0, 0.0]),
            ["-300.5", "0.0", "0.0", "-300.500"]
        );
        assert_eq!(powers([-0.04, 0.0, 0.0]), ["0.0", "0.0", "0.0", "0.000"]);
        assert_eq!(powers([0.06, 0.0, 0.0]), ["0.1", "0.0", "0.0", "0.100"]);
    }

    #[test]
    fn no_total_while_a_phase_is_absent() {
        let (phases, totals) = served_of([Some(230.4), None, Some(45.0)], 1.0);
        assert!(totals.is_none() && phases[1].is_none());
        assert_eq!(phases[0].unwrap().act_power.to_string(), "230.4");
        assert_eq!(phases[2].unwrap().act_power.to_string(), "45.0");
    }

    #[test]
    fn shares_of_user_needs_s9() {
        for (share, power, current) in [
            (0.7, "700.0", "3.043"),
            (0.3, "300.0", "1.304"),
            (1.0, "1000.0", "4.348"),
        ] {
            let served = served_of([Some(1000.0), Some(0.0), Some(0.0)], share).0[0].unwrap();
            assert_eq!(served.act_power.to_string(), power);
            assert_eq!(served.current.to_string(), current);
            assert_eq!(served.aprt_power, served.act_power);
            assert_eq!(served.voltage.to_string(), "230.0");
        }
    }

    proptest! {
        #[test]
        fn phases_add_up_to_the_rounded_total(p in proptest::array::uniform3(-1e6..1e6f64), share in 0.001..=1.0f64) {
            let (phases, totals) = served_of(p.map(Some), share);
            let (phases, totals) = (phases.map(Option::unwrap), totals.unwrap());
            let sum: i64 = phases.iter().map(|s| s.act_power.units()).sum();
            prop_assert_eq!(sum * 100, totals.act_power.units());
            prop_assert_eq!(sum, Deci::round(p.iter().map(|p| p * share).sum()).units());
            for (served, p) in phases.iter().zip(p) {
                prop_assert!((served.act_power.get() - p * share).abs() <= 0.1 + 1e-6);
                prop_assert!(served.aprt_power.units() >= served.act_power.units().abs());
            }
            prop_assert_eq!(phases.iter().map(|s| s.aprt_power.units()).sum::<i64>() * 100, totals.aprt_power.units());
            prop_assert_eq!(phases.iter().map(|s| s.current.units()).sum::<i64>(), totals.current.units());
        }

        #[test]
        fn zero_comes_only_from_zero(p in proptest::array::uniform3(proptest::option::of(1.0..1e5f64))) {
            let (phases, totals) = served_of(p, 1.0);
            for (served, p) in phases.iter().zip(p) {
                prop_assert_eq!(served.is_some(), p.is_some());
                prop_assert!(served.is_none_or(|s| s.act_power.units() != 0));
            }
            prop_assert_eq!(totals.is_some(), p.iter().all(Option::is_some));
        }
    }
}
