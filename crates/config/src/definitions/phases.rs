//! Options that a meter has a phase: one row for the three.

use crate::{
    definition::{Definition, Group, Kind},
    pattern::Pattern,
};

/// One or several entities.
pub(super) const ENTITIES: Kind = Kind::Match(Pattern::Entities);

pub(super) const SCALE: Kind = Kind::Float {
    min: -1000.0,
    max: 1000.0,
};

pub(super) const OFFSET: Kind = Kind::Float {
    min: -100_000.0,
    max: 100_000.0,
};

/// Three options, one a phase, from one row.
macro_rules! per_phase {
    ($group:expr, $suffix:literal, $kind:expr, $before:literal, $after:literal $(, $method:ident($($arg:expr),*))* $(; env $env:literal)?) => {
        per_phase!(@all [$group, $suffix, $kind, $before, $after] [$($method($($arg),*)),*] $($env)?)
    };
    (@all [$($base:tt)*] [$($chain:tt)*] $($env:literal)?) => {
        &[
            per_phase!(@one "a" "A" [$($base)*] [$($chain)*] $($env)?),
            per_phase!(@one "b" "B" [$($base)*] [$($chain)*] $($env)?),
            per_phase!(@one "c" "C" [$($base)*] [$($chain)*] $($env)?),
        ]
    };
    (@one $small:literal $large:literal [$group:expr, $suffix:literal, $kind:expr, $before:literal, $after:literal]
     [$($method:ident($($arg:expr),*)),*] $($env:literal)?) => {
        Definition::new($group, concat!($small, $suffix), $kind, concat!($before, $large, $after))
            $(.$method($($arg),*))*
            $(.env(concat!($large, $env)))?
    };
}

/// An option of each phase.
pub(crate) type PerPhase = [Definition; 3];

pub(crate) const POWER: &PerPhase = per_phase!(Group::Power, "_power", ENTITIES, "Grid power of phase ", ", import positive; several entities are summed", unit("W"), live(), safety(); env "_POWER");
pub(crate) const POWER_EXPORT: &PerPhase = per_phase!(
    Group::Power,
    "_power_export",
    ENTITIES,
    "Export of phase ",
    ": then its power key is import only",
    unit("W"),
    live(),
    safety()
);
pub(crate) const INVERT: &PerPhase = per_phase!(
    Group::Power,
    "_invert",
    Kind::Bool,
    "Turn the sign of phase ",
    " (after sum, pair, scale and offset)",
    default("false"),
    live(),
    safety()
);
pub(crate) const SCALES: &PerPhase = per_phase!(
    Group::Power,
    "_scale",
    SCALE,
    "Factor on the power of phase ",
    "",
    default("1.0"),
    live(),
    safety()
);
pub(crate) const OFFSETS: &PerPhase = per_phase!(
    Group::Power,
    "_offset",
    OFFSET,
    "Added to the power of phase ",
    " after the factor",
    default("0.0"),
    unit("W"),
    live(),
    safety()
);
pub(crate) const VOLTAGE: &PerPhase = per_phase!(Group::Values, "_volt", ENTITIES, "Voltage of phase ", ", else line_voltage", unit("V"), live(); env "_VOLT");
pub(crate) const CURRENT: &PerPhase = per_phase!(Group::Values, "_curr", ENTITIES, "Current of phase ", ", else derived from power and voltage", unit("A"), live(); env "_CURR");
pub(crate) const POWER_FACTOR: &PerPhase = per_phase!(Group::Values, "_pf", ENTITIES, "Power factor of phase ", ", else derived", live(); env "_PF");
