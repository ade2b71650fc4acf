//! What was found in Home Assistant that could be an input, and what is proposed of it.

use std::collections::HashSet;

use config::Inputs;
use vocab::EntityId;
use vocab::parse::Quantity;
use vocab::reason::{Reason, Unusable};

/// An entity that could be an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub entity_id: EntityId,
    /// Friendly name, else the id.
    pub name: String,
    /// State as text; `unavailable` and `unknown` included.
    pub value: String,
    /// `unit_of_measurement`.
    pub unit: Option<String>,
    /// Unix seconds of the last change of state; `None` if Home Assistant's text cannot be read.
    pub last_changed: Option<f64>,
    /// Unix seconds of the last report, changed or not (Home Assistant 2024.3 and newer).
    pub last_reported: Option<f64>,
    /// `device_class`.
    pub device_class: Option<String>,
    /// What it measures, by its unit and device class; `None` for entities that were asked for by
    /// name only.
    pub kind: Option<Quantity>,
    /// Name of the area that it, or else its device, is in.
    pub area: Option<String>,
    /// Name of its device.
    pub device: Option<String>,
    /// Nothing gives it a value any more: what Home Assistant kept of it over a restart.
    pub restored: bool,
}

impl Candidate {
    /// One of which nothing is known but its id and its state.
    #[must_use]
    pub fn new(entity_id: EntityId, value: impl Into<String>) -> Self {
        Self {
            name: entity_id.to_string(),
            entity_id,
            value: value.into(),
            unit: None,
            last_changed: None,
            last_reported: None,
            device_class: None,
            kind: None,
            area: None,
            device: None,
            restored: false,
        }
    }

    /// Seconds since it was last reported (or changed), at Unix time `now`; never negative.
    #[must_use]
    pub fn age(&self, now: f64) -> Option<f64> {
        self.last_reported
            .or(self.last_changed)
            .map(|then| (now - then).max(0.0))
    }
}

/// Where a proposal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Home Assistant's Energy settings.
    EnergySettings,
    /// The entity names that the Python original had as defaults.
    OriginalNames,
    /// Power sensors of the device whose counters the Energy settings name: to be asked about,
    /// never taken unasked.
    MeterDevice,
}

/// Inputs that could be taken as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The entities, ready for a meter.
    pub inputs: Inputs,
    /// Where they come from.
    pub origin: Origin,
}

impl Proposal {
    /// One line for log and page: what was chosen, and from where.
    #[must_use]
    pub fn describe(&self) -> String {
        let from = match self.origin {
            Origin::EnergySettings => "Home Assistant's Energy settings",
            Origin::OriginalNames => "entity names known from the Python original",
            Origin::MeterDevice => "the device of the Energy settings' counters",
        };
        let parts: Vec<String> = self
            .inputs
            .entities()
            .iter()
            .map(|id| format!("{id} as {}", feeds(&self.inputs, id).join(" and ")))
            .collect();
        format!("from {from}: {}", parts.join(", "))
    }
}

/// Everything the one-shot found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    /// Home Assistant's version.
    pub ha_version: Option<String>,
    /// Its time zone, an IANA name.
    pub time_zone: Option<String>,
    /// `RUNNING`, or what it is doing; before RUNNING the rest may be incomplete.
    pub state: Option<String>,
    /// Power inputs to take when nothing is configured, with energy entities where known.
    pub grid: Option<Proposal>,
    /// What versions before 0.2 took of the same Energy settings, where that is something else.
    pub grid_before: Option<Inputs>,
    /// What could be taken if a person says so, the likeliest first.
    pub offers: Vec<Proposal>,
    /// Power sensors that the Energy settings name as the grid's: their sign is the owner's word.
    pub declared: Vec<EntityId>,
    /// The Energy settings as they were told; what differs from it is a change.
    pub prefs: Option<String>,
    /// Energy from the grid by the Energy settings, for seeding.
    pub energy_import: Vec<EntityId>,
    /// Energy to the grid by the Energy settings.
    pub energy_export: Vec<EntityId>,
    /// Sensors that could be inputs, likeliest grid power first.
    pub candidates: Vec<Candidate>,
    /// The entities asked for by name, in that order; `None`: there is no such entity.
    pub asked: Vec<(EntityId, Option<Candidate>)>,
    /// Entities of our own meters in that Home Assistant, sorted; refused as input.
    pub our_own: Vec<EntityId>,
    /// Entities that stand on one of ours, and on which; refused as input like those.
    pub derived: Vec<(EntityId, EntityId)>,
    /// Their values are what Home Assistant makes of others, by the Energy settings.
    pub made: HashSet<EntityId>,
    /// What could not be asked or was left out, a line each.
    pub notes: Vec<Reason>,
}

impl Discovery {
    /// What an entity that was asked for by name says, if it is there.
    #[must_use]
    pub fn asked_for(&self, id: &EntityId) -> Option<&Candidate> {
        let asked = self.asked.iter().find(|(of, _)| of == id);
        asked.and_then(|(_, candidate)| candidate.as_ref())
    }

    /// Why an entity cannot be an input, if it cannot: it is this meter's own, or stands on what
    /// is.
    #[must_use]
    pub fn refusal(&self, id: &EntityId) -> Option<Unusable> {
        if self.our_own.contains(id) {
            return Some(Unusable::OwnRefused);
        }
        let (_, on) = self.derived.iter().find(|(of, _)| of == id)?;
        Some(Unusable::Loop { other: on.clone() })
    }

    /// Whether the answer is complete: Home Assistant runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state.as_deref() == Some("RUNNING")
    }
}

/// Which options an entity feeds, by their keys (`a_power`, `total_power_export` …), for `check`
/// and the page.
#[must_use]
pub fn feeds(inputs: &Inputs, entity: &EntityId) -> Vec<String> {
    let mut keys = Vec::new();
    let mut note = |list: &[EntityId], key: String| {
        if list.contains(entity) {
            keys.push(key);
        }
    };
    if let Some(total) = &inputs.total {
        note(&total.import, "total_power".to_owned());
        note(&total.export, "total_power_export".to_owned());
    }
    for (i, p) in ["a", "b", "c"].into_iter().enumerate() {
        if let Some(power) = &inputs.phases[i] {
            note(&power.import, format!("{p}_power"));
            note(&power.export, format!("{p}_power_export"));
        }
        note(&inputs.voltage[i], format!("{p}_volt"));
        note(&inputs.current[i], format!("{p}_curr"));
        note(&inputs.pf[i], format!("{p}_pf"));
        note(&inputs.phase_energy_import[i], format!("{p}_energy_import"));
        note(&inputs.phase_energy_export[i], format!("{p}_energy_export"));
    }
    note(&inputs.n_current, "n_curr".to_owned());
    note(&inputs.frequency, "frequency".to_owned());
    note(&inputs.energy_import, "energy_import".to_owned());
    note(&inputs.energy_export, "energy_export".to_owned());
    keys
}
