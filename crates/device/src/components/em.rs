//! `em:0`: three phases and their totals (`docs/protocol/em.md`).

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, value::RawValue};

use super::super::{
    Answer, Context, Device, Effect, Json, RpcError, Setting, View,
    answer::{Handled, json, restart_required, text},
    method::{Call, Method, Power},
    stored,
};
use config::StalePolicy;
use meter::{Served, Snapshot};
use vocab::{Absent, Deci, Fixed, Milli};

pub(crate) const METHODS: &[Method] = &Method::of_house([
    Method::new("EM.GetStatus", get_status)
        .carries(Power::House)
        .steady(),
    Method::part("EM.GetConfig", config),
    Method::new("EM.SetConfig", set_config).writes(),
    Method::part("EM.GetCTTypes", ct_types),
    Method::refused("EM.PhaseToPhaseCalib", NO_CALIBRATION),
    Method::refused("EM.PhaseToPhaseCalibReset", NO_CALIBRATION),
]);

/// The transformers of this model.
pub(crate) fn ct_type(device: &Device) -> &'static str {
    if device.identity.model.ends_with("63") {
        "3x63A"
    } else {
        "120A"
    }
}

/// Those that it takes.
pub(crate) fn ct_types(device: &Device, _: &Context, _: usize) -> Json {
    Json::from(format!(r#"{{"supported":["{}"]}}"#, ct_type(device)))
}

/// There is no transformer to calibrate.
pub(crate) const NO_CALIBRATION: &str = "Calibration is refused: the power comes from Home Assistant; correct it there or by the scale options";

/// What a device reports whose measuring fails; ours while a used phase has no value
/// (`docs/decisions.md#a-phase-without-a-value`).
pub(crate) const FAILURE: &str = "power_meter_failure";

/// A number whose text is settled already.
pub(crate) type NumberText = Box<RawValue>;

/// What is told of a phase: the name without `a_`, and the number.
type Member = (&'static str, fn(&Served) -> NumberText);

const ACT_POWER: Member = ("act_power", |p| number_text(p.act_power));
const NONZERO_POWER: Member = ("act_power", |p| nonzero_power(p.act_power));
const APRT_POWER: Member = ("aprt_power", |p| number_text(p.aprt_power));
const CURRENT: Member = ("current", |p| number_text(p.current));
const VOLTAGE: Member = ("voltage", |p| number_text(p.voltage));
const PF: Member = ("pf", |p| number_text(p.pf));
const FREQ: Member = ("freq", |p| number_text(p.freq));

/// The members of the three phases, those without a value as null.
fn phases<M: SerializeMap>(
    map: &mut M,
    snapshot: &Snapshot,
    members: &[Member],
) -> Result<(), M::Error> {
    for (letter, phase) in ["a", "b", "c"].into_iter().zip(&snapshot.phases) {
        for (name, number) in members {
            map.serialize_entry(&format!("{letter}_{name}"), &phase.as_ref().map(number))?;
        }
    }
    Ok(())
}

/// `EM.GetStatus`, in the device's key order.
struct EmStatus<'a> {
    snapshot: &'a Snapshot,
    /// The four powers alone: `strict_minimal_payload`, `udp_reply = short`.
    powers: bool,
    /// No power is told as 0: `udp_decimals = nonzero`.
    nonzero: bool,
}

impl Serialize for EmStatus<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            snapshot, nonzero, ..
        } = *self;
        let totals = snapshot.totals;
        let (power, total): (_, fn(Milli) -> NumberText) = if nonzero {
            (NONZERO_POWER, nonzero_total)
        } else {
            (ACT_POWER, number_text)
        };
        let total = totals.map(|t| total(t.act_power));
        let mut map = serializer.serialize_map(None)?;
        if self.powers {
            phases(&mut map, snapshot, &[power])?;
            map.serialize_entry("total_act_power", &total)?;
            return map.end();
        }
        map.serialize_entry("id", &0)?;
        let members = [CURRENT, VOLTAGE, power, APRT_POWER, PF, FREQ];
        phases(&mut map, snapshot, &members)?;
        map.serialize_entry("n_current", &snapshot.n_current)?;
        map.serialize_entry("total_current", &totals.map(|t| t.current))?;
        map.serialize_entry("total_act_power", &total)?;
        map.serialize_entry("total_aprt_power", &totals.map(|t| t.aprt_power))?;
        map.serialize_entry("user_calibrated_phase", &[(); 0])?;
        if snapshot.stale() {
            map.serialize_entry("errors", &[FAILURE])?;
        }
        map.end()
    }
}

/// `em:0` of a NotifyStatus: alphabetical after `id`, without `user_calibrated_phase`.
struct EmNotify<'a> {
    snapshot: &'a Snapshot,
    cleared: bool,
}

impl Serialize for EmNotify<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (snapshot, totals) = (self.snapshot, self.snapshot.totals);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &0)?;
        let members = [ACT_POWER, APRT_POWER, CURRENT, FREQ, PF, VOLTAGE];
        phases(&mut map, snapshot, &members)?;
        if let Some(errors) = notified_errors(snapshot.stale(), self.cleared) {
            map.serialize_entry("errors", errors)?;
        }
        map.serialize_entry("n_current", &snapshot.n_current)?;
        map.serialize_entry("total_act_power", &totals.map(|t| t.act_power))?;
        map.serialize_entry("total_aprt_power", &totals.map(|t| t.aprt_power))?;
        map.serialize_entry("total_current", &totals.map(|t| t.current))?;
        map.end()
    }
}

/// `errors` as notified. `cleared` says that the reader last saw an error: a NotifyStatus is laid
/// over what it knows, so the error goes only with an empty list.
pub(crate) fn notified_errors(failing: bool, cleared: bool) -> Option<&'static [&'static str]> {
    if failing {
        Some(&[FAILURE])
    } else {
        cleared.then_some(&[])
    }
}

/// `em:0` as notified; `cleared` as in [`notified_errors`].
pub(crate) fn notify_object(snapshot: &Snapshot, cleared: bool) -> Json {
    json(&EmNotify { snapshot, cleared })
}

/// As the original on UDP: less than 0.1 W is said as 0.001, because some B2500 ignore 0.0, and a
/// whole number gets 0.001 more.
pub(crate) fn nonzero_power(power: Deci) -> NumberText {
    match power.units() {
        0 => number_text(Fixed::<3>::from_units(1)),
        whole if whole % 10 == 0 => number_text(Fixed::<3>::from_units(whole * 100 + 1)),
        _ => number_text(power),
    }
}

/// As the original on UDP: a whole total gets 0.001 more.
pub(crate) fn nonzero_total(total: Milli) -> NumberText {
    number_text(if total.units() % 1000 == 0 {
        Milli::from_units(total.units() + 1)
    } else {
        total
    })
}

/// The number as it stands.
pub(crate) fn number_text<const D: u32>(number: Fixed<D>) -> NumberText {
    RawValue::from_string(number.to_string()).unwrap_or_default()
}

/// The status as `Shelly.GetStatus` holds it.
pub(crate) fn status(_: &Device, context: &Context, _: usize) -> Json {
    status_text(&context.view, false, false)
}

fn status_text(view: &View, powers: bool, nonzero: bool) -> Json {
    let cell = usize::from(powers) | usize::from(nonzero) << 1;
    let make = || {
        json(&EmStatus {
            snapshot: view,
            powers,
            nonzero,
        })
    };
    Json::clone(view.em_status[cell].get_or_init(make))
}

/// What becomes of a call whose answer would hold the power while there is none: `None` lets it be
/// answered. `missing`: of the house, while a used phase has no value; of a channel, while it has
/// none itself.
///
/// Absent has to mean absent to whoever asks: nulls are for readers that are known to take them so.
pub(crate) fn absent_answer(call: &Call<'_>, missing: bool) -> Option<Handled> {
    if !missing {
        return None;
    }
    let (policy, absent) = (call.device.options.stale, call.context.manner.absent);
    if policy == StalePolicy::Silent || absent == Absent::Silence {
        return Some(Ok(Answer::Silence.into()));
    }
    let nulls = policy == StalePolicy::Device && absent == Absent::Nulls;
    let error = || RpcError::unavailable("Power is unavailable: the source gives no value");
    (!nulls).then(|| Err(error()))
}

fn get_status(call: &Call<'_>) -> Handled {
    if let Some(answer) = absent_answer(call, call.context.view.stale()) {
        return answer;
    }
    let manner = call.context.manner;
    let powers = manner.minimal || manner.short;
    text(status_text(&call.context.view, powers, manner.nonzero))
}

/// Limits of `alarms`, lower and upper; nothing watches them here, so they cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alarms {
    voltage: [Option<f64>; 2],
    current: [Option<f64>; 2],
    power: [Option<f64>; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PhaseAlarms {
    a: Alarms,
    b: Alarms,
    c: Alarms,
}

/// Configuration of `em:0`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct EmConfig {
    id: u8,
    name: Option<String>,
    blink_mode_selector: String,
    phase_selector: String,
    monitor_phase_sequence: bool,
    ct_type: String,
    reverse: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarms: Option<PhaseAlarms>,
}

fn current_config(device: &Device, context: &Context) -> EmConfig {
    EmConfig {
        id: 0,
        name: context.state.em_name.clone(),
        blink_mode_selector: "active_energy".into(),
        phase_selector: "all".into(),
        monitor_phase_sequence: false,
        ct_type: ct_type(device).into(),
        reverse: Map::new(),
        alarms: device.identity.firmware.alarms.then(PhaseAlarms::default),
    }
}

/// The configuration as `Shelly.GetConfig` holds it.
pub(crate) fn config(device: &Device, context: &Context, _: usize) -> Json {
    json(&current_config(device, context))
}

fn set_config(call: &Call<'_>) -> Handled {
    let current = current_config(call.device, call.context);
    let (next, _) = stored::change(&current, call.params.config()?)?;
    stored::check_name(next.name.as_deref())?;
    stored::check_word(
        "blink_mode_selector",
        &next.blink_mode_selector,
        &["active_energy", "apparent_energy"],
    )?;
    stored::check_word(
        "phase_selector",
        &next.phase_selector,
        &["a", "b", "c", "all"],
    )?;
    stored::check_word("ct_type", &next.ct_type, &[ct_type(call.device)])?;
    refuse_reverse(next.reverse.values().any(|v| v.as_bool() != Some(false)))?;
    stored::refuse_without_effect("em:0", NO_HARDWARE, &current, &next, &["name", "reverse"])?;
    let renamed = next.name != current.name;
    restart_required(
        false,
        renamed.then_some(Effect::Set(Setting::EmName(next.name))),
    )
}

/// Why most of a meter's configuration cannot be changed here.
pub(crate) const NO_HARDWARE: &str = "a virtual meter has no lights and no transformers";

/// A transformer clamped the wrong way round is put right where the power comes in, not by a
/// reader.
pub(crate) fn refuse_reverse(reversed: bool) -> Result<(), RpcError> {
    if reversed {
        return Err(RpcError::refused(
            "reverse is refused: the sign is set by the options total_invert, a_invert, b_invert, c_invert",
        ));
    }
    Ok(())
}
