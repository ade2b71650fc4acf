//! Options that say what a meter measures and how old values are served. Further meters have them
//! too.

use super::per_phase;
use crate::{
    definition::{Definition, Group, Kind},
    pattern::Pattern,
};

/// One or several entities.
const ENTITIES: Kind = Kind::Match(Pattern::Entities);
const SCALE: Kind = Kind::Float {
    min: -1000.0,
    max: 1000.0,
};
const OFFSET: Kind = Kind::Float {
    min: -100_000.0,
    max: 100_000.0,
};

const fn power(key: &'static str, kind: Kind, text: &'static str) -> Definition {
    Definition::new(Group::Power, key, kind, text)
        .live()
        .safety()
}

/// One power for the whole house.
pub const TOTAL: &[Definition] = &[
    power("total_power", ENTITIES, "Grid power of the whole house, import positive; several entities are summed; excludes the phase keys")
        .unit("W"),
    power("total_power_export", ENTITIES, "Export side of a pair: then total_power is import only").unit("W"),
    power("total_phase", Kind::Choice(&["a", "b", "c", "split"]), "Phase that carries the total, or split: a third each").default("a"),
    power("total_invert", Kind::Bool, "Turn the sign of the total (after sum, pair, scale and offset)").default("false"),
    power("total_scale", SCALE, "Factor on the total").default("1.0"),
    power("total_offset", OFFSET, "Added to the total after the factor").default("0.0").unit("W"),
];

/// Concatenates rows that are made one a phase.
macro_rules! rows {
    ($($row:expr),* $(,)?) => {{
        const ROWS: &[&[Definition; 3]] = &[$($row),*];
        const FLAT: [Definition; ROWS.len() * 3] = {
            let mut flat = [ROWS[0][0]; ROWS.len() * 3];
            let mut at = 0;
            while at < flat.len() {
                flat[at] = ROWS[at / 3][at % 3];
                at += 1;
            }
            flat
        };
        &FLAT
    }};
}

/// Power a phase.
pub const POWER: &[Definition] = rows![
    per_phase!(Group::Power, "_power", ENTITIES, "Grid power of phase ", ", import positive; several entities are summed", unit("W"), live(), safety(); env "_POWER"),
    per_phase!(
        Group::Power,
        "_power_export",
        ENTITIES,
        "Export of phase ",
        ": then its power key is import only",
        unit("W"),
        live(),
        safety()
    ),
    per_phase!(
        Group::Power,
        "_invert",
        Kind::Bool,
        "Turn the sign of phase ",
        " (after sum, pair, scale and offset)",
        default("false"),
        live(),
        safety()
    ),
    per_phase!(
        Group::Power,
        "_scale",
        SCALE,
        "Factor on the power of phase ",
        "",
        default("1.0"),
        live(),
        safety()
    ),
    per_phase!(
        Group::Power,
        "_offset",
        OFFSET,
        "Added to the power of phase ",
        " after the factor",
        default("0.0"),
        unit("W"),
        live(),
        safety()
    ),
];

/// Voltage, current, power factor a phase.
pub const PHASE_VALUES: &[Definition] = rows![
    per_phase!(Group::Values, "_volt", ENTITIES, "Voltage of phase ", ", else line_voltage", unit("V"), live(); env "_VOLT"),
    per_phase!(Group::Values, "_curr", ENTITIES, "Current of phase ", ", else derived from power and voltage", unit("A"), live(); env "_CURR"),
    per_phase!(Group::Values, "_pf", ENTITIES, "Power factor of phase ", ", else derived", live(); env "_PF"),
];

const fn value(
    key: &'static str,
    kind: Kind,
    unit: &'static str,
    text: &'static str,
) -> Definition {
    Definition::new(Group::Values, key, kind, text)
        .unit(unit)
        .live()
}

/// What is measured or assumed beside power and phase values.
pub const VALUES: &[Definition] = &[
    value("n_curr", ENTITIES, "A", "Neutral current, else null"),
    value(
        "frequency",
        ENTITIES,
        "Hz",
        "Frequency, else line_frequency",
    ),
    value(
        "line_voltage",
        Kind::Float {
            min: 50.0,
            max: 500.0,
        },
        "V",
        "Voltage where no entity gives one",
    )
    .default("230.0"),
    value(
        "line_frequency",
        Kind::Float {
            min: 40.0,
            max: 70.0,
        },
        "Hz",
        "Frequency where no entity gives one",
    )
    .default("50.0"),
];

const fn energy(key: &'static str, kind: Kind, text: &'static str) -> Definition {
    Definition::new(Group::Energy, key, kind, text)
}

/// Energy counters.
pub const ENERGY: &[Definition] = &[
    energy(
        "energy_source",
        Kind::Choice(&["integrate", "seed", "entities"]),
        "integrate: count from power; seed: the same, starting once from the energy entities; entities: follow the energy entities",
    )
    .default("seed"),
    energy("energy_import", ENTITIES, "Energy drawn by the whole house (Wh, kWh, MWh, MJ, GJ)").live(),
    energy("energy_export", ENTITIES, "Energy fed in by the whole house (Wh, kWh, MWh, MJ, GJ)").live(),
    energy("a_energy_import", ENTITIES, "Energy drawn on phase A; excludes the house's").live(),
    energy("b_energy_import", ENTITIES, "Energy drawn on phase B; excludes the house's").live(),
    energy("c_energy_import", ENTITIES, "Energy drawn on phase C; excludes the house's").live(),
    energy("a_energy_export", ENTITIES, "Energy fed in on phase A; excludes the house's").live(),
    energy("b_energy_export", ENTITIES, "Energy fed in on phase B; excludes the house's").live(),
    energy("c_energy_export", ENTITIES, "Energy fed in on phase C; excludes the house's").live(),
    energy(
        "energy_total",
        Kind::Choice(&["phases", "net"]),
        "phases: totals are sums over the phases, as the device; net: netted over the phases",
    )
    .default("phases"),
    energy(
        "energy_unit",
        Kind::Choice(&["wh", "kwh"]),
        "Unit of EMData.GetStatus; the device counts in wh, kwh is for readers of the original",
    )
    .default("wh"),
];

/// What is served when values are old, and how they are shifted.
pub const POLICY: &[Definition] = &[
    Definition::new(
        Group::Policy,
        "target_offset",
        Kind::Float { min: -20_000.0, max: 20_000.0 },
        "Import that a reader which regulates to 0 shall leave: this much less is served on total_phase",
    )
    .default("0.0")
    .unit("W")
    .live()
    .safety(),
    Definition::new(
        Group::Policy,
        "stale",
        Kind::Choice(&["device", "error", "silent"]),
        "Once values are older than hold; device: each reader is told in the way it understands (nulls only to those that do not take null for 0 W, else an error); error: an error for all; silent: no answer",
    )
    .default("device")
    .live()
    .safety(),
    Definition::new(Group::Policy, "hold", Kind::Int { min: 0, max: 3600 }, "How long the last value goes on after the last sign of life")
        .default("30")
        .unit("s")
        .live()
        .safety(),
    Definition::new(
        Group::Policy,
        "max_age",
        Kind::Int { min: 0, max: 86_400 },
        "A power that its sensor reported longer ago, changed or not, is no value; 0: however old. Take 20 s or more: of steady values the report is looked at each 5 s only",
    )
    .default("0")
    .unit("s")
    .live()
    .safety(),
];
