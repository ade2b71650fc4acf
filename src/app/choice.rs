//! Inputs as options and back: what the automatic set-up keeps, and what the set-up page writes.

use serde_json::{Map, Value};

use crate::{
    config::{Inputs, PowerInput, TotalPhase},
    meter::Phase,
    source::EntityId,
};

/// Option keys and values that describe these inputs.
#[must_use]
pub fn options_of(inputs: &Inputs) -> Map<String, Value> {
    let mut options = Map::new();
    let mut list = |key: String, ids: &[EntityId]| {
        if !ids.is_empty() {
            options.insert(key, Value::String(ids.join(",")));
        }
    };
    let mut powers = vec![("total", inputs.total.as_ref())];
    powers.extend(Phase::ALL.map(|p| (p.letter(), inputs.phases[p.index()].as_ref())));
    for (name, power) in &powers {
        if let Some(power) = power {
            list(format!("{name}_power"), &power.import);
            list(format!("{name}_power_export"), &power.export);
        }
    }
    for phase in Phase::ALL {
        let (letter, i) = (phase.letter(), phase.index());
        list(format!("{letter}_volt"), &inputs.voltage[i]);
        list(format!("{letter}_curr"), &inputs.current[i]);
        list(format!("{letter}_pf"), &inputs.pf[i]);
        list(format!("{letter}_energy_import"), &inputs.phase_energy_import[i]);
        list(format!("{letter}_energy_export"), &inputs.phase_energy_export[i]);
    }
    list("n_curr".into(), &inputs.n_current);
    list("frequency".into(), &inputs.frequency);
    list("energy_import".into(), &inputs.energy_import);
    list("energy_export".into(), &inputs.energy_export);
    for (name, power) in powers {
        let Some(power) = power else { continue };
        if power.invert {
            options.insert(format!("{name}_invert"), Value::Bool(true));
        }
        for (what, value, plain) in [("scale", power.scale, 1.0), ("offset", power.offset, 0.0)] {
            if value != plain {
                options.insert(format!("{name}_{what}"), value.into());
            }
        }
    }
    let place = match inputs.total_phase {
        TotalPhase::On(Phase::A) => None,
        TotalPhase::On(phase) => Some(phase.letter()),
        TotalPhase::Split => Some("split"),
    };
    if let Some(place) = place.filter(|_| inputs.total.is_some()) {
        options.insert("total_phase".into(), Value::String(place.into()));
    }
    options
}

/// The inverse of [`options_of`]; keys that are no inputs are passed over.
#[must_use]
pub fn inputs_of(options: &Map<String, Value>) -> Inputs {
    let ids = |key: &str| -> Vec<EntityId> {
        let text = options.get(key).and_then(Value::as_str).unwrap_or_default();
        text.split(',').map(str::trim).filter(|id| !id.is_empty()).map(EntityId::from).collect()
    };
    let number = |key: String, plain: f64| options.get(&key).and_then(Value::as_f64).unwrap_or(plain);
    let power = |name: &str| -> Option<PowerInput> {
        let import = ids(&format!("{name}_power"));
        (!import.is_empty()).then(|| PowerInput {
            import,
            export: ids(&format!("{name}_power_export")),
            scale: number(format!("{name}_scale"), 1.0),
            offset: number(format!("{name}_offset"), 0.0),
            invert: options.get(&format!("{name}_invert")).and_then(Value::as_bool).unwrap_or(false),
        })
    };
    let each = |suffix: &str| Phase::ALL.map(|p| ids(&format!("{}_{suffix}", p.letter())));
    let total_phase = match options.get("total_phase").and_then(Value::as_str) {
        Some("b") => TotalPhase::On(Phase::B),
        Some("c") => TotalPhase::On(Phase::C),
        Some("split") => TotalPhase::Split,
        _ => TotalPhase::On(Phase::A),
    };
    Inputs {
        total: power("total"),
        total_phase,
        phases: Phase::ALL.map(|p| power(p.letter())),
        voltage: each("volt"),
        current: each("curr"),
        pf: each("pf"),
        n_current: ids("n_curr"),
        frequency: ids("frequency"),
        energy_import: ids("energy_import"),
        energy_export: ids("energy_export"),
        phase_energy_import: each("energy_import"),
        phase_energy_export: each("energy_export"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let ids = |text: &str| text.split(' ').map(EntityId::from).collect::<Vec<_>>();
        let mut inputs = Inputs::none();
        assert!(options_of(&inputs).is_empty());
        inputs.total =
            Some(PowerInput { import: ids("sensor.a sensor.b"), export: ids("sensor.c"), scale: 2.0, offset: -5.0, invert: true });
        inputs.total_phase = TotalPhase::Split;
        inputs.voltage[1] = ids("sensor.u");
        inputs.energy_import = ids("sensor.e");
        inputs.phase_energy_export[2] = ids("sensor.f");
        let options = options_of(&inputs);
        assert_eq!(options.get("total_power").and_then(Value::as_str), Some("sensor.a,sensor.b"));
        assert_eq!(inputs_of(&options), inputs);
    }
}
