//! One-shot questions to Home Assistant: which sensors could feed a meter, and what the configured
//! ones say.
//!
//! Used by the automatic set-up, by the dashboard's picker, and by `check`. Our own entities
//! are never offered.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use super::home_assistant::query::QueryError;
use super::{
    beside,
    energy_prefs::{EnergyPrefs, Grid},
    home_assistant::{
        Access, Address,
        frames::{AreaEntry, Attributes, Config, DeviceEntry, Outgoing, RegistryEntry},
        query::QueryConnection,
        rest::Rest,
        session::End,
    },
    kin,
    rank::{Known, Measure, Power, Ranking, rank},
};
use config::{HaTransport, Inputs, PowerInput, SourceSettings};
use vocab::parse::{Quantity, parse};
use vocab::reason::{Cause, LeftOut, Reason, Unreachable, Unusable};
use vocab::{EntityId, State};

/// What an entity measures, by its unit and device class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// W and its multiples.
    Power,
    /// Wh and its multiples.
    Energy,
    /// V, mV.
    Voltage,
    /// A, mA.
    Current,
    /// Device class `power_factor`.
    PowerFactor,
    /// Hz.
    Frequency,
}

impl Kind {
    /// The quantity that a meter reads.
    #[must_use]
    pub const fn quantity(self) -> Quantity {
        match self {
            Self::Power => Quantity::Power,
            Self::Energy => Quantity::Energy,
            Self::Voltage => Quantity::Voltage,
            Self::Current => Quantity::Current,
            Self::PowerFactor => Quantity::PowerFactor,
            Self::Frequency => Quantity::Frequency,
        }
    }
}

/// An entity that could be an input.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// What it measures; `None` for entities that were asked for by name only.
    pub kind: Option<Kind>,
    /// Name of the area that it, or else its device, is in.
    pub area: Option<String>,
    /// Name of its device.
    pub device: Option<String>,
    /// Nothing gives it a value any more: what Home Assistant kept of it over a restart.
    pub restored: bool,
}

impl Candidate {
    /// Seconds since it was last reported (or changed), at Unix time `now`; never negative.
    #[must_use]
    pub fn age(&self, now: f64) -> Option<f64> {
        self.last_reported
            .or(self.last_changed)
            .map(|then| (now - then).max(0.0))
    }
}

/// Where a proposal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// Why an entity cannot be an input, if it cannot: it is this meter's own, or stands on what
    /// is.
    #[must_use]
    pub fn refusal(&self, id: &str) -> Option<Unusable> {
        if self.our_own.iter().any(|own| **own == *id) {
            return Some(Unusable::OwnRefused);
        }
        let on = self
            .derived
            .iter()
            .find(|(of, _)| **of == *id)
            .map(|(_, on)| on)?;
        Some(Unusable::Loop { other: on.clone() })
    }

    /// Whether the answer is complete: Home Assistant runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state.as_deref() == Some("RUNNING")
    }
}

/// One of `get_states`.
#[derive(Debug, Deserialize)]
struct FullState {
    entity_id: EntityId,
    state: String,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    last_changed: Option<String>,
    #[serde(default)]
    last_reported: Option<String>,
}

/// Asks Home Assistant once. `asked` are entities whose state is wanted by name, `macs` those of
/// our meters. With `ha_transport` rest, or auto where no WebSocket can be opened, the Energy
/// settings cannot be asked; a note says so.
pub async fn discover(
    settings: &SourceSettings,
    access: &Access,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let (settings, access, macs, asked) = (
        settings.clone(),
        access.clone(),
        macs.to_vec(),
        asked.to_vec(),
    );
    beside::ask(async move { discover_anywhere(&settings, &access, &macs, &asked).await }).await
}

async fn discover_anywhere(
    settings: &SourceSettings,
    access: &Access,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let mut last = None;
    for address in Address::all(settings, access)? {
        match discover_at(&address, settings, access, macs, asked).await {
            Err(error @ QueryError::Unreachable(_)) => last = Some(error),
            done => return done,
        }
    }
    Err(last.unwrap_or(QueryError::Unreachable(Unreachable::NoAddress)))
}

async fn discover_at(
    address: &Address,
    settings: &SourceSettings,
    access: &Access,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    if settings.ha_transport != HaTransport::Rest {
        match QueryConnection::open(address, &access.cadence).await {
            Ok(mut connection) => {
                let found = over_websocket(&mut connection, macs, asked).await;
                connection.close().await;
                return found;
            }
            Err(error @ QueryError::Unreachable(_))
                if settings.ha_transport == HaTransport::Auto =>
            {
                return over_rest(address, macs, asked).await.map_err(|_| error);
            }
            Err(error) => return Err(error),
        }
    }
    over_rest(address, macs, asked).await
}

async fn over_websocket(
    connection: &mut QueryConnection,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let mut notes = Vec::new();
    let config: Config = connection
        .ask("get_config", |id| Outgoing::GetConfig { id }.frame())
        .await??;
    let states: Vec<FullState> = connection
        .ask("get_states", |id| Outgoing::GetStates { id }.frame())
        .await??;
    let registry = connection
        .ask::<Vec<RegistryEntry>>("the entity registry", |id| {
            Outgoing::ListRegistry { id }.frame()
        })
        .await?;
    let entries = match registry {
        Ok(entries) => entries,
        Err(error) => {
            let error = Arc::new(Unreachable::from(error).into());
            notes.push(LeftOut::OwnUnknown { error }.into());
            Vec::new()
        }
    };
    // Areas and devices only help to choose: a token that may not list them costs nothing else.
    let devices = connection
        .ask::<Vec<DeviceEntry>>("the device registry", |id| {
            Outgoing::ListDevices { id }.frame()
        })
        .await?;
    let areas = connection
        .ask::<Vec<AreaEntry>>("the areas", |id| Outgoing::ListAreas { id }.frame())
        .await?;
    let prefs = match connection
        .ask::<Box<RawValue>>("the Energy settings", |id| {
            Outgoing::GetPrefs { id }.frame()
        })
        .await?
    {
        Ok(prefs) => Some(prefs.get().to_owned()),
        Err(QueryError::Failed {
            not_found: true, ..
        }) => {
            notes.push(LeftOut::NoPrefs.into());
            None
        }
        Err(error) => {
            let error = Arc::new(Unreachable::from(error).into());
            notes.push(LeftOut::PrefsUnread { error }.into());
            None
        }
    };
    let house = House {
        entries,
        devices: devices.unwrap_or_default(),
        areas: areas.unwrap_or_default(),
        prefs,
    };
    let ours = house
        .entries
        .iter()
        .filter(|e| e.is_ours(macs))
        .map(|e| EntityId::from(e.entity_id.as_str()))
        .collect();
    Ok(put_together(config, &states, &ours, &house, asked, notes))
}

/// What is known beside the states.
#[derive(Default)]
struct House {
    entries: Vec<RegistryEntry>,
    devices: Vec<DeviceEntry>,
    areas: Vec<AreaEntry>,
    /// The Energy settings, as told.
    prefs: Option<String>,
}

/// The area's name of each entity that is in one: its own, else its device's.
fn areas_of<'a>(
    entries: &'a [RegistryEntry],
    devices: &'a [DeviceEntry],
    areas: &'a [AreaEntry],
) -> HashMap<&'a str, &'a str> {
    let names: HashMap<&str, &str> = areas
        .iter()
        .map(|a| (a.area_id.as_str(), a.name.as_str()))
        .collect();
    let rooms: HashMap<&str, &str> = devices
        .iter()
        .filter_map(|d| Some((d.id.as_str(), d.area_id.as_deref()?)))
        .collect();
    let area = |e: &'a RegistryEntry| {
        e.area_id
            .as_deref()
            .or_else(|| rooms.get(e.device_id.as_deref()?).copied())
    };
    entries
        .iter()
        .filter_map(|e| Some((e.entity_id.as_str(), *names.get(area(e)?)?)))
        .collect()
}

async fn over_rest(
    address: &Address,
    macs: &[String],
    asked: &[EntityId],
) -> Result<Discovery, QueryError> {
    let ended = |end| match end {
        End::Refused(why) => QueryError::Refused(why),
        End::Lost(why) | End::TooLarge(why) => QueryError::Unreachable(why),
    };
    let missing = |what| QueryError::Failed {
        what,
        why: Cause::said("404"),
        not_found: true,
    };
    let rest = Rest::new(address).map_err(QueryError::Unreachable)?;
    let config: Config = rest
        .get("config")
        .await
        .map_err(ended)?
        .0
        .ok_or_else(|| missing("config"))?;
    let states: Vec<FullState> = rest
        .get("states")
        .await
        .map_err(ended)?
        .0
        .ok_or_else(|| missing("states"))?;
    let mut notes = vec![LeftOut::PrefsOverRest.into()];
    let ids: Vec<EntityId> = states
        .iter()
        .filter(|s| kind(s).is_some())
        .map(|s| s.entity_id.clone())
        .collect();
    let ours = rest.ours(&ids, macs).await.unwrap_or_else(|| {
        let error = Arc::new(LeftOut::NoTemplates.into());
        notes.push(LeftOut::OwnUnknown { error }.into());
        HashSet::new()
    });
    Ok(put_together(
        config,
        &states,
        &ours,
        &House::default(),
        asked,
        notes,
    ))
}

fn put_together(
    config: Config,
    states: &[FullState],
    ours: &HashSet<EntityId>,
    house: &House,
    asked: &[EntityId],
    mut notes: Vec<Reason>,
) -> Discovery {
    let by_id: HashMap<&str, &FullState> = states.iter().map(|s| (&*s.entity_id, s)).collect();
    let made_of: HashMap<EntityId, Vec<EntityId>> = states
        .iter()
        .map(|s| (s.entity_id.clone(), kin::made_of(&s.attributes)))
        .filter(|(_, parts)| !parts.is_empty())
        .collect();
    let derived = kin::standing_on(ours, &made_of, &house.entries);
    let refuse = |id: &str| match derived.get(id) {
        _ if ours.contains(id) => Some(LeftOut::Own.into()),
        Some(on) => Some(LeftOut::MadeOfOwn { entity: on.clone() }.into()),
        None => None,
    };
    let read = house
        .prefs
        .as_deref()
        .map(serde_json::from_str::<EnergyPrefs>);
    let prefs = match read {
        Some(Ok(prefs)) => Some(prefs),
        Some(Err(error)) => {
            let error = Arc::new(Reason::foreign(error.to_string()));
            notes.push(LeftOut::PrefsUnread { error }.into());
            None
        }
        None => None,
    };
    let grid = prefs
        .as_ref()
        .map_or_else(Grid::default, |p| p.grid(&refuse));
    notes.extend(grid.notes.iter().cloned());
    let proposal = if grid.power.is_some() {
        Some(Proposal {
            inputs: grid.inputs(),
            origin: Origin::EnergySettings,
        })
    } else {
        let exists = |id: &str| by_id.contains_key(id) && !ours.contains(id);
        original_names(&exists).map(|inputs| {
            let inputs = Inputs {
                energy_import: grid.energy_import.clone(),
                energy_export: grid.energy_export.clone(),
                ..inputs
            };
            Proposal {
                inputs,
                origin: Origin::OriginalNames,
            }
        })
    };
    let made: HashSet<EntityId> = house
        .entries
        .iter()
        .filter(|e| e.platform.as_deref() == Some("energy"))
        .map(|e| EntityId::from(e.entity_id.as_str()))
        .collect();
    let declared = grid.power.as_ref().map_or_else(Vec::new, |p| {
        p.import.iter().chain(&p.export).cloned().collect()
    });
    let usable = |s: &&FullState| refuse(&s.entity_id).is_none();
    let mut candidates: Vec<Candidate> = states
        .iter()
        .filter(usable)
        .filter(|s| kind(s).is_some())
        .map(candidate)
        .collect();
    // What says a number now comes first: nobody can see whether the others are right.
    let is_number = |c: &Candidate| c.value.trim().parse::<f64>().is_ok();
    candidates.sort_by_cached_key(|c| (c.kind, !is_number(c), c.entity_id.clone()));
    let known = Known {
        power: declared.clone(),
        import: grid.energy_import.clone(),
        export: grid.energy_export.clone(),
        counters: {
            let is_grids =
                |id: &EntityId| grid.energy_import.contains(id) || grid.energy_export.contains(id);
            let energies = candidates
                .iter()
                .filter(|c| c.kind == Some(Kind::Energy))
                .map(|c| c.entity_id.clone());
            energies.filter(|id| !is_grids(id)).collect()
        },
        other: prefs
            .as_ref()
            .map_or_else(HashSet::new, EnergyPrefs::other_than_grid)
            .into_iter()
            .chain(made.iter().cloned())
            .collect(),
        devices: house
            .entries
            .iter()
            .filter_map(|e| Some((EntityId::from(e.entity_id.as_str()), e.device_id.clone()?)))
            .collect(),
        made_of,
    };
    let measures = put_in_order(&mut candidates, &known);
    let offers = if declared.is_empty() {
        measures.iter().map(|m| offer(m, &grid)).collect()
    } else {
        more_than_declared(&measures, &grid)
    };
    let area_of = areas_of(&house.entries, &house.devices, &house.areas);
    let names: HashMap<&str, &str> = house
        .devices
        .iter()
        .filter_map(|d| {
            Some((
                d.id.as_str(),
                d.name_by_user.as_deref().or(d.name.as_deref())?,
            ))
        })
        .collect();
    for candidate in &mut candidates {
        candidate.area = area_of
            .get(&*candidate.entity_id)
            .map(|name| (*name).to_owned());
        candidate.device = known
            .devices
            .get(&candidate.entity_id)
            .and_then(|id| names.get(id.as_str()))
            .map(|name| (*name).to_owned());
    }
    let mut our_own: Vec<EntityId> = ours.iter().cloned().collect();
    our_own.sort();
    let before = grid.inputs_before();
    Discovery {
        ha_version: config.version,
        time_zone: config.time_zone,
        state: config.state,
        grid_before: proposal
            .as_ref()
            .filter(|p| p.inputs != before && before.any_power())
            .map(|_| before),
        grid: proposal,
        offers,
        declared,
        prefs: house.prefs.clone(),
        energy_import: grid.energy_import,
        energy_export: grid.energy_export,
        candidates,
        asked: asked
            .iter()
            .map(|id| (id.clone(), by_id.get(&**id).map(|s| candidate(s))))
            .collect(),
        our_own,
        derived: derived.into_iter().collect(),
        made,
        notes,
    }
}

/// Puts the power sensors among the candidates in order; gives what the meter's device measures
/// with.
fn put_in_order(candidates: &mut Vec<Candidate>, known: &Known) -> Vec<Measure> {
    let (mut powers, rest): (Vec<Candidate>, Vec<Candidate>) = candidates
        .drain(..)
        .partition(|c| c.kind == Some(Kind::Power));
    let watts = |c: &Candidate| {
        parse(
            Quantity::Power,
            &State::Text(c.value.as_str().into()),
            c.unit.as_deref(),
        )
        .ok()
        .map(|p| p.value)
    };
    let given: Vec<Power<'_>> = powers
        .iter()
        .map(|c| Power {
            id: &c.entity_id,
            device: known.devices.get(&c.entity_id).map(String::as_str),
            watts: watts(c),
        })
        .collect();
    let Ranking { order, offers } = rank(&given, known);
    let mut places = vec![0; order.len()];
    order
        .iter()
        .enumerate()
        .for_each(|(place, &i)| places[i] = place);
    let mut placed: Vec<(usize, Candidate)> = places.into_iter().zip(powers.drain(..)).collect();
    placed.sort_by_key(|(place, _)| *place);
    candidates.extend(placed.into_iter().map(|(_, c)| c).chain(rest));
    offers
}

/// A measure as inputs, with the counters of the Energy settings.
fn offer(measure: &Measure, grid: &Grid) -> Proposal {
    let power = |import: &EntityId, export: Option<&EntityId>| {
        Some(PowerInput {
            import: vec![import.clone()],
            export: export.into_iter().cloned().collect(),
            scale: 1.0,
            offset: 0.0,
            invert: false,
        })
    };
    let inputs = Inputs {
        energy_import: grid.energy_import.clone(),
        energy_export: grid.energy_export.clone(),
        ..Inputs::none()
    };
    let inputs = match measure {
        Measure::One(one) => Inputs {
            total: power(one, None),
            ..inputs
        },
        Measure::Pair(import, export) => Inputs {
            total: power(import, Some(export)),
            ..inputs
        },
        Measure::Three(three) => Inputs {
            phases: three.each_ref().map(|one| power(one, None)),
            ..inputs
        },
        Measure::ThreePairs(three) => Inputs {
            phases: three
                .each_ref()
                .map(|(import, export)| power(import, Some(export))),
            ..inputs
        },
    };
    Proposal {
        inputs,
        origin: Origin::MeterDevice,
    }
}

/// Beside a declared total, its three phases.
fn more_than_declared(measures: &[Measure], grid: &Grid) -> Vec<Proposal> {
    measures
        .iter()
        .filter(|m| matches!(m, Measure::Three(_) | Measure::ThreePairs(_)))
        .map(|m| offer(m, grid))
        .collect()
}

/// The original's default entities: at least one phase's power has to exist.
fn original_names(exists: &dyn Fn(&str) -> bool) -> Option<Inputs> {
    let mut inputs = Inputs::none();
    for (i, phase) in ["a", "b", "c"].into_iter().enumerate() {
        let found = |what: &str| {
            let id = format!("sensor.phase_{phase}_{what}");
            exists(&id).then(|| EntityId::from(id))
        };
        inputs.phases[i] = found("power").map(|id| PowerInput {
            import: vec![id],
            export: Vec::new(),
            scale: 1.0,
            offset: 0.0,
            invert: false,
        });
        inputs.voltage[i] = found("voltage").into_iter().collect();
        inputs.current[i] = found("current").into_iter().collect();
        inputs.pf[i] = found("pf").into_iter().collect();
    }
    inputs.any_power().then_some(inputs)
}

fn kind(state: &FullState) -> Option<Kind> {
    if !(state.entity_id.starts_with("sensor.")
        || state.entity_id.starts_with("input_number.")
        || state.entity_id.starts_with("number."))
    {
        return None;
    }
    match (
        state.attributes.device_class(),
        state.attributes.unit().map(vocab::unit::canonical),
    ) {
        (Some("power_factor"), _) => Some(Kind::PowerFactor),
        // What is measured is told by the units that a meter understands.
        (_, Some(unit)) => [
            Kind::Power,
            Kind::Energy,
            Kind::Voltage,
            Kind::Current,
            Kind::Frequency,
        ]
        .into_iter()
        .find(|kind| {
            kind.quantity()
                .units()
                .iter()
                .any(|(known, _)| *known == unit)
        }),
        _ => None,
    }
}

fn candidate(state: &FullState) -> Candidate {
    let unix = |text: &Option<String>| {
        text.as_deref()?
            .parse::<jiff::Timestamp>()
            .ok()
            .map(|t| Duration::try_from(t.as_duration()).map_or(0.0, |d| d.as_secs_f64()))
    };
    Candidate {
        entity_id: state.entity_id.clone(),
        name: state
            .attributes
            .friendly_name()
            .map_or_else(|| state.entity_id.to_string(), str::to_owned),
        value: state.state.clone(),
        unit: state.attributes.unit().map(str::to_owned),
        last_changed: unix(&state.last_changed),
        last_reported: unix(&state.last_reported),
        device_class: state.attributes.device_class().map(str::to_owned),
        kind: kind(state),
        area: None,
        device: None,
        restored: state.attributes.is_restored(),
    }
}

/// Which options an entity feeds, by their keys (`a_power`, `total_power_export` …), for `check`
/// and the page.
#[must_use]
pub fn feeds(inputs: &Inputs, entity: &str) -> Vec<String> {
    let has = |list: &[EntityId]| list.iter().any(|id| **id == *entity);
    let mut keys = Vec::new();
    let mut note = |yes: bool, key: String| {
        if yes {
            keys.push(key);
        }
    };
    if let Some(total) = &inputs.total {
        note(has(&total.import), "total_power".to_owned());
        note(has(&total.export), "total_power_export".to_owned());
    }
    for (i, p) in ["a", "b", "c"].into_iter().enumerate() {
        if let Some(power) = &inputs.phases[i] {
            note(has(&power.import), format!("{p}_power"));
            note(has(&power.export), format!("{p}_power_export"));
        }
        note(has(&inputs.voltage[i]), format!("{p}_volt"));
        note(has(&inputs.current[i]), format!("{p}_curr"));
        note(has(&inputs.pf[i]), format!("{p}_pf"));
        note(
            has(&inputs.phase_energy_import[i]),
            format!("{p}_energy_import"),
        );
        note(
            has(&inputs.phase_energy_export[i]),
            format!("{p}_energy_export"),
        );
    }
    note(has(&inputs.n_current), "n_curr".to_owned());
    note(has(&inputs.frequency), "frequency".to_owned());
    note(has(&inputs.energy_import), "energy_import".to_owned());
    note(has(&inputs.energy_export), "energy_export".to_owned());
    keys
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn states(json: &str) -> Vec<FullState> {
        serde_json::from_str(json).unwrap()
    }

    const STATES: &str = r#"[
        {"entity_id":"sensor.solar_power","state":"5","attributes":{"unit_of_measurement":"W","device_class":"power"}},
        {"entity_id":"sensor.grid_power_kw","state":"0.5","attributes":{"unit_of_measurement":"kW","device_class":"power","friendly_name":"Grid power kW"},
         "last_changed":"2026-11-23T13:02:34.808429+00:00","last_reported":"2026-11-23T13:02:36.808429+00:00"},
        {"entity_id":"sensor.shelly_total","state":"1","attributes":{"unit_of_measurement":"W"}},
        {"entity_id":"sensor.phase_a_power","state":"1","attributes":{"unit_of_measurement":"W"}},
        {"entity_id":"sensor.phase_a_pf","state":"0.9","attributes":{"device_class":"power_factor","unit_of_measurement":"%"}},
        {"entity_id":"light.lamp","state":"on"}]"#;

    #[test]
    fn candidates_leave_our_own_out_and_put_the_grid_first() {
        let asked = ["sensor.grid_power_kw", "sensor.nowhere"].map(EntityId::from);
        let d = put_together(
            Config::default(),
            &states(STATES),
            &HashSet::from([EntityId::from("sensor.shelly_total")]),
            &House::default(),
            &asked,
            Vec::new(),
        );
        let ids: Vec<&str> = d.candidates.iter().map(|c| &*c.entity_id).collect();
        assert_eq!(
            ids,
            [
                "sensor.grid_power_kw",
                "sensor.phase_a_power",
                "sensor.solar_power",
                "sensor.phase_a_pf"
            ],
            "powers first"
        );
        let kw = d.asked[0].1.as_ref().unwrap();
        assert_eq!(
            (kw.name.as_str(), kw.value.as_str(), kw.unit.as_deref()),
            ("Grid power kW", "0.5", Some("kW"))
        );
        assert!(
            (kw.age(1_795_438_960.0).unwrap() - 3.19).abs() < 0.01,
            "{:?}",
            kw.age(1_795_438_960.0)
        );
        assert_eq!(d.asked[1].1, None);
        assert_eq!(d.our_own, [EntityId::from("sensor.shelly_total")]);
    }

    #[test]
    fn an_entity_is_where_its_device_is_unless_it_says_otherwise() {
        let entries: Vec<RegistryEntry> = serde_json::from_str(
            r#"[{"entity_id":"sensor.own","unique_id":"1","area_id":"hall","device_id":"d1"},
                {"entity_id":"sensor.of_device","unique_id":"2","area_id":null,"device_id":"d1"},
                {"entity_id":"sensor.nowhere","unique_id":3,"device_id":"d2"},{"entity_id":"sensor.lost","area_id":"gone"}]"#,
        )
        .unwrap();
        let devices: Vec<DeviceEntry> =
            serde_json::from_str(r#"[{"id":"d1","area_id":"cellar"},{"id":"d2","area_id":null}]"#)
                .unwrap();
        let areas: Vec<AreaEntry> =
            serde_json::from_str(r#"[{"area_id":"cellar","name":"Cellar","floor_id":null},{"area_id":"hall","name":"Hall"}]"#).unwrap();
        let found = areas_of(&entries, &devices, &areas);
        assert_eq!(
            found,
            HashMap::from([("sensor.own", "Hall"), ("sensor.of_device", "Cellar")])
        );
    }

    #[test]
    fn the_originals_names_are_the_second_guess() {
        let d = put_together(
            Config::default(),
            &states(STATES),
            &HashSet::new(),
            &House::default(),
            &[],
            Vec::new(),
        );
        let p = d.grid.unwrap();
        assert_eq!(p.origin, Origin::OriginalNames);
        assert_eq!(feeds(&p.inputs, "sensor.phase_a_power"), ["a_power"]);
        assert!(
            p.describe().contains("sensor.phase_a_pf as a_pf"),
            "{}",
            p.describe()
        );
        assert!(p.inputs.voltage[0].is_empty() && p.inputs.phases[1].is_none());
        let prefs = r#"{"energy_sources":[{"type":"grid","stat_energy_from":"sensor.e","stat_rate":"sensor.grid_power_kw"}]}"#;
        let house = House {
            prefs: Some(prefs.into()),
            ..House::default()
        };
        let d = put_together(
            Config::default(),
            &states(STATES),
            &HashSet::new(),
            &house,
            &[],
            Vec::new(),
        );
        assert_eq!(d.grid.as_ref().unwrap().origin, Origin::EnergySettings);
        assert_eq!(
            feeds(&d.grid.unwrap().inputs, "sensor.e"),
            ["energy_import"]
        );
        let ours = HashSet::from([
            EntityId::from("sensor.grid_power_kw"),
            EntityId::from("sensor.phase_a_power"),
        ]);
        let d = put_together(
            Config::default(),
            &states(STATES),
            &ours,
            &house,
            &[],
            Vec::new(),
        );
        assert_eq!(d.grid, None, "our own is never an input");
    }
}
