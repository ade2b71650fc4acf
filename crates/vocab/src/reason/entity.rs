//! Why an entity is of no use, and why inputs give no phase, counter or sign.

use std::{fmt, sync::Arc};

use super::{Quantity, Quoted, Range, Reason, Span, Units, Watts, reasons};
use crate::EntityId;

/// What a unit measures that is taken for power or energy by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotActive {
    /// VA, VAh.
    Apparent,
    /// var, varh.
    Reactive,
}

impl fmt::Display for NotActive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apparent => "apparent",
            Self::Reactive => "reactive",
        })
    }
}

reasons! {
    /// Why an entity gives no number. The line is what follows the entity's name in a sentence.
    pub enum Unusable {
        Gone = "why_gone", "does not exist";
        Own = "why_own", "is this meter's own and is refused as an input";
        OwnRefused = "why_own_refused", "is one of this meter's own entities: a meter must not measure itself";
        Loop { other: EntityId } = "why_loop",
            "is made of {other}, one of this meter's own entities: a meter must not measure itself";
        OtherClass { class: Arc<str>, wanted: Arc<str> } = "why_other_class", "is of the device class {class}, not {wanted}";
        Turned = "why_turned",
            "would count the other way round than Home Assistant's Energy settings say: what they call drawing would be served as feeding in";
        NotYet = "why_no_state", "has no state yet";
        Unavailable = "why_unavailable", "is unavailable";
        Unknown = "why_unknown", "is unknown";
        Empty = "why_empty", "is empty";
        NotANumber { text: Quoted } = "why_not_number", "says {text}, which is not a number";
        NotActive { unit: Quoted, kind: NotActive, what: Quantity, list: Units } = "why_not_active",
            "has the unit {unit}: that is {kind} {what}, a meter needs active {what} ({list}); choose the sensor of that";
        ForeignUnit { unit: Quoted, what: Quantity, list: Units } = "why_foreign_unit",
            "has the unit {unit}, which is not one of {what} ({list})";
        NoUnit { what: Quantity, list: Units } = "why_no_unit", "has no unit; {what} needs one ({list})";
        Implausible { value: Watts, range: Range } = "why_implausible", "says {value}, which is not plausible ({range})";
        TooOld { n: u64 } = "why_max_age", "has not reported for more than {n} s (max_age)";
        Quiet { time: Span, usual: Span, most: Span } = "why_quiet",
            "has not reported for {time}; it usually does every {usual} (99 % within {most})";
        QuietSteady { time: Span, usual: Span, most: Span } = "why_quiet_steady",
            "has not reported for {time}; it usually does every {usual} (99 % within {most}); it was only ever seen to report changes, so its value may be steady";
    }
}

impl Unusable {
    /// It has a unit of something else than `what`; `active`: what it has in place of it.
    #[must_use]
    pub fn unit(unit: impl Into<Arc<str>>, what: Quantity, active: Option<NotActive>) -> Self {
        let (unit, list) = (Quoted(unit.into()), Units(what));
        match active.filter(|_| matches!(what, Quantity::Power | Quantity::Energy)) {
            Some(kind) => Self::NotActive {
                unit,
                kind,
                what,
                list,
            },
            None => Self::ForeignUnit { unit, what, list },
        }
    }

    /// It names no unit where guessing could be wrong by 1000.
    #[must_use]
    pub const fn no_unit(what: Quantity) -> Self {
        Self::NoUnit {
            what,
            list: Units(what),
        }
    }

    /// Its number, in the base unit, cannot be true.
    #[must_use]
    pub const fn implausible(what: Quantity, value: f64) -> Self {
        Self::Implausible {
            value: Watts::of(what, value),
            range: Range(what),
        }
    }

    /// Whether both are one fault, whatever the figures are.
    #[must_use]
    pub fn same_fault(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NotANumber { .. }, Self::NotANumber { .. }) => true,
            (Self::Implausible { range, .. }, Self::Implausible { range: of, .. }) => range == of,
            _ => self == other,
        }
    }

    /// Whether waiting does not help.
    #[must_use]
    pub const fn lasts(&self) -> bool {
        matches!(
            self,
            Self::Gone | Self::NotActive { .. } | Self::ForeignUnit { .. } | Self::NoUnit { .. }
        )
    }
}

reasons! {
    /// What is wrong with inputs beyond one entity's state.
    pub enum Input {
        NoPower = "why_no_power", "no power entity is configured";
        Paused = "why_paused", "paused: readers are told nothing until it is resumed";
        PausedByProfile = "why_paused_profile",
            "paused: each reader is told nothing, or 0 W where that suits it better, until it is resumed";
        PausedAtZero = "why_paused_zero", "paused: readers are told 0 W until it is resumed";
        NoEnergy = "why_no_energy",
            "no energy entity is configured: set energy_import and energy_export, or those of the phases";
        Scaled { entities: Arc<str>, watts: f64 } = "why_scaled",
            "{entities}: {watts} W after scale and offset is not plausible (at most 1 MW)";
        Unseeded { list: Arc<str>, keys: Arc<str> } = "why_unseeded",
            "{list} had no value in time, so the counters began without {keys}: once there is one, take the counters over on the Energy page";
        Feeding { power: Arc<str>, list: Arc<str>, time: Span } = "why_sign_feeding",
            "{power} counts as feeding in, but the counters say the opposite: {list} in {time}; check the sign (total_invert, or a_invert, b_invert, c_invert)";
        Drawing { power: Arc<str>, list: Arc<str>, time: Span } = "why_sign_drawing",
            "{power} counts as drawing, but the counters say the opposite: {list} in {time}; check the sign (total_invert, or a_invert, b_invert, c_invert)";
    }
}

reasons! {
    /// What became of an entity in Home Assistant's registry.
    pub enum Renamed {
        Followed { entity: EntityId, new: EntityId } = "why_renamed",
            "{entity} is called {new} in Home Assistant now: the meter reads it there, and the options say so";
        Fixed { entity: EntityId, new: EntityId, keys: Arc<str> } = "why_renamed_env",
            "{entity} is called {new} in Home Assistant now: the meter reads it there; correct {keys}, which the environment or the command line sets";
        Unwritten { entity: EntityId, new: EntityId, keys: Arc<str>, error: Arc<Reason> } = "why_renamed_failed",
            "{entity} is called {new} in Home Assistant now: the meter reads it there; correct {keys}, which could not be written ({error})";
        Removed { entity: EntityId } = "why_removed",
            "{entity} was removed from Home Assistant: choose another sensor";
    }
}
