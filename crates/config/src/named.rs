//! Entities named where they contradict themselves: both sides of a pair, twice in a sum, in two
//! phases.

use std::collections::BTreeSet;

use super::{
    definitions,
    meter_values::Meter,
    problem::{Findings, Problem},
};
use vocab::reason::{Reason, Wrong};

impl Meter {
    /// A contradiction at a key.
    pub(super) fn contradiction(&self, key: &str, what: Wrong) -> Problem {
        let (layer, full) = (self.layer(key), self.full(key));
        Problem::conflict(layer, full, self.values.get(key), what)
    }
}

/// Import and export of one power or energy.
pub(super) type Pair = (&'static str, &'static str);

/// The powers, the house's first.
pub(super) const POWERS: [Pair; 4] = [
    ("total_power", "total_power_export"),
    ("a_power", "a_power_export"),
    ("b_power", "b_power_export"),
    ("c_power", "c_power_export"),
];

/// The energies, the house's first.
pub(super) const ENERGIES: [Pair; 4] = [
    ("energy_import", "energy_export"),
    ("a_energy_import", "a_energy_export"),
    ("b_energy_import", "b_energy_export"),
    ("c_energy_import", "c_energy_export"),
];

/// All keys of some pairs, of the imports first.
pub(super) fn keys_of(pairs: &[Pair]) -> impl Iterator<Item = &'static str> + Clone {
    let imports = pairs.iter().map(|(import, _)| *import);
    imports.chain(pairs.iter().map(|(_, export)| *export))
}

/// Refuses what can only be a mistake, and warns of what hardly is meant. Power that contradicts
/// itself has no value, as with any wrong option of power; energy is left out.
pub(super) fn check(meter: &mut Meter, found: &mut Findings) {
    let pairs = || POWERS.into_iter().chain(ENERGIES);
    let mut wrong: Vec<(Problem, Vec<&'static str>)> = Vec::new();
    for (key, export) in pairs() {
        let (ins, outs) = (meter.ids(key), meter.ids(export));
        if let Some(id) = outs.iter().find(|id| ins.contains(id)) {
            let id = (*id).into();
            let what = Wrong::BothSides { id, key };
            wrong.push((meter.contradiction(export, what), vec![key, export]));
        }
    }
    for key in pairs().flat_map(|(import, export)| [import, export]) {
        let mut seen = BTreeSet::new();
        if let Some(id) = meter.ids(key).into_iter().find(|id| !seen.insert(*id)) {
            let what = Wrong::NamedTwice { id: id.into() };
            wrong.push((meter.contradiction(key, what), vec![key]));
        }
    }
    for (problem, keys) in wrong {
        let safety = |key: &&str| definitions::find(key).is_some_and(|def| def.safety);
        if keys.iter().any(safety) {
            meter.blocked.push(Reason::from(&problem));
        } else {
            keys.into_iter().for_each(|key| meter.drop(key));
        }
        found.wrong(problem);
    }
    // Each phase has one of these, and an entity in two of them is counted twice.
    for pairs in [&POWERS[1..], &ENERGIES[1..]] {
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for key in keys_of(pairs) {
            for id in meter.ids(key) {
                let twice =
                    |(of, named): &&(&str, &str)| *named == id && of.get(..1) != key.get(..1);
                match seen.iter().find(twice) {
                    Some((before, _)) => {
                        let (key, other) = (meter.full(key).into(), meter.full(before).into());
                        let id = id.into();
                        found.warn(Wrong::TwoPhases { key, id, other });
                    }
                    None => seen.push((key, id)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::{LoadInputs, Resolved, load};

    /// What an app makes of these options.
    fn of(options: &serde_json::Value) -> Resolved {
        let app = true;
        let inputs = LoadInputs::default().with_options(options.to_string());
        load(&LoadInputs { app, ..inputs })
    }

    fn is_two_phases(warning: &Reason) -> bool {
        matches!(warning, Reason::Wrong(Wrong::TwoPhases { .. }))
    }

    fn keys(resolved: &Resolved) -> Vec<&str> {
        resolved.problems.iter().map(|p| p.key.as_str()).collect()
    }

    fn two_phases(options: &serde_json::Value) -> usize {
        let resolved = of(options);
        let warnings = resolved.warnings.iter();
        warnings.filter(|warning| is_two_phases(warning)).count()
    }

    #[test]
    fn one_sensor_is_not_both_sides_of_a_pair() {
        for (power, export) in [
            ("total_power", "total_power_export"),
            ("a_power", "a_power_export"),
            ("c_power", "c_power_export"),
        ] {
            let resolved = of(&json!({power: "sensor.grid", export: "sensor.out, sensor.grid"}));
            assert_eq!(keys(&resolved), [export]);
            assert!(
                matches!(&resolved.problems[0].allowed, Reason::Wrong(Wrong::BothSides { id, key }) if **id == *"sensor.grid" && *key == power)
            );
            assert!(
                !resolved.settings.meters[0].inputs.any_power()
                    && resolved.absent_reason(0).is_some(),
                "absent, not 0"
            );
            assert!(
                !resolved.settings.source.auto_setup,
                "and nothing is chosen instead"
            );
            let options = json!({power: "sensor.grid", export: "sensor.grid"});
            let plain = load(&LoadInputs::default().with_options(options.to_string()));
            assert!(plain.fatal(), "a plain run ends with the reason");
        }
        let good = of(&json!({"total_power": "sensor.in", "total_power_export": "sensor.out"}));
        assert_eq!(good.problems, []);
    }

    #[test]
    fn one_counter_is_not_both_directions() {
        let resolved = of(
            &json!({"total_power": "sensor.p", "energy_import": "sensor.e", "energy_export": "sensor.e"}),
        );
        assert_eq!(keys(&resolved), ["energy_export"]);
        let inputs = &resolved.settings.meters[0].inputs;
        assert!(
            inputs.any_power()
                && inputs.energy_import.is_empty()
                && inputs.energy_export.is_empty(),
            "power goes on, counters from it"
        );
        let of_phase = of(&json!({"b_energy_import": "sensor.e", "b_energy_export": "sensor.e"}));
        assert_eq!(keys(&of_phase), ["b_energy_export"]);
    }

    #[test]
    fn no_sum_counts_a_part_twice() {
        let total = of(&json!({"total_power": "sensor.a,sensor.b, sensor.a"}));
        assert_eq!(keys(&total), ["total_power"]);
        let export = of(&json!({"b_power": "sensor.b", "b_power_export": "sensor.a,sensor.a"}));
        assert_eq!(keys(&export), ["b_power_export"]);
        let resolved =
            of(&json!({"total_power": "sensor.p", "energy_import": "sensor.e,sensor.e"}));
        assert_eq!(keys(&resolved), vec!["energy_import"]);
        assert_eq!(resolved.settings.meters[0].inputs.energy_import.len(), 0);
        assert!(resolved.settings.meters[0].inputs.any_power());
    }

    #[test]
    fn one_sensor_in_two_phases_is_worth_a_line() {
        let resolved =
            of(&json!({"a_power": "sensor.grid", "b_power": "sensor.grid", "c_power": "sensor.c"}));
        assert_eq!(resolved.problems, []);
        let warnings = resolved.warnings.iter().map(ToString::to_string);
        let said = "b_power names sensor.grid, which a_power names too";
        assert!(warnings.into_iter().any(|warning| warning.contains(said)));
        let crossed = two_phases(
            &json!({"a_power": "sensor.a", "b_power": "sensor.b", "b_power_export": "sensor.a"}),
        );
        assert_eq!(crossed, 1);
        let voltage = two_phases(
            &json!({"a_power": "sensor.a", "b_power": "sensor.b", "a_volt": "sensor.u", "b_volt": "sensor.u"}),
        );
        assert_eq!(voltage, 0, "one voltage for all is usual");
    }

    #[test]
    fn a_further_meter_is_held_to_the_same() {
        let meter = json!({"name": "garage", "http_port": 8081, "a_power": "sensor.x", "a_power_export": "sensor.x"});
        let resolved = of(&json!({"total_power": "sensor.p", "meters": [meter]}));
        assert_eq!(keys(&resolved), ["meters[0].a_power_export"]);
        assert!(
            resolved.absent_reason(1).is_some() && resolved.absent_reason(0).is_none(),
            "the first goes on"
        );
    }
}
