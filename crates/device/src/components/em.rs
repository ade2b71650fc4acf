//! `em:0`: three phases and their totals (`docs/protocol/em.md`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::{
    Answer, Context, Device, Effect, Json, Outcome, RpcError, Setting, View,
    answer::{Handled, json, restart_required, result, text},
    method::{Call, Method, Power},
    stored,
};
use config::{Profile, StalePolicy};
use meter::{Served, Snapshot};
use vocab::{Absent, Centi, Deci, Fixed, Milli};

pub(crate) const METHODS: &[Method] = &[
    Method::new("EM.GetStatus", get_status)
        .only(Profile::Triphase)
        .carries(Power::House)
        .steady(),
    Method::new("EM.GetConfig", get_config).only(Profile::Triphase),
    Method::new("EM.SetConfig", set_config)
        .only(Profile::Triphase)
        .writes(),
    Method::new("EM.GetCTTypes", get_ct_types).only(Profile::Triphase),
    Method::new("EM.PhaseToPhaseCalib", calibrate)
        .only(Profile::Triphase)
        .writes(),
    Method::new("EM.PhaseToPhaseCalibReset", calibrate)
        .only(Profile::Triphase)
        .writes(),
];

/// What a device reports whose measuring fails; ours while a used phase has no value
/// (`docs/decisions.md#a-phase-without-a-value`).
pub(crate) const FAILURE: &str = "power_meter_failure";

/// `EM.GetStatus`, in the device's key order.
#[derive(Serialize)]
struct EmStatus {
    id: u8,
    a_current: Option<Milli>,
    a_voltage: Option<Deci>,
    a_act_power: Option<Deci>,
    a_aprt_power: Option<Deci>,
    a_pf: Option<Centi>,
    a_freq: Option<Deci>,
    b_current: Option<Milli>,
    b_voltage: Option<Deci>,
    b_act_power: Option<Deci>,
    b_aprt_power: Option<Deci>,
    b_pf: Option<Centi>,
    b_freq: Option<Deci>,
    c_current: Option<Milli>,
    c_voltage: Option<Deci>,
    c_act_power: Option<Deci>,
    c_aprt_power: Option<Deci>,
    c_pf: Option<Centi>,
    c_freq: Option<Deci>,
    n_current: Option<Milli>,
    total_current: Option<Milli>,
    total_act_power: Option<Milli>,
    total_aprt_power: Option<Milli>,
    user_calibrated_phase: [&'static str; 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<[&'static str; 1]>,
}

/// `em:0` of a NotifyStatus: alphabetical after `id`, without `user_calibrated_phase`.
#[derive(Serialize)]
struct EmNotify {
    id: u8,
    a_act_power: Option<Deci>,
    a_aprt_power: Option<Deci>,
    a_current: Option<Milli>,
    a_freq: Option<Deci>,
    a_pf: Option<Centi>,
    a_voltage: Option<Deci>,
    b_act_power: Option<Deci>,
    b_aprt_power: Option<Deci>,
    b_current: Option<Milli>,
    b_freq: Option<Deci>,
    b_pf: Option<Centi>,
    b_voltage: Option<Deci>,
    c_act_power: Option<Deci>,
    c_aprt_power: Option<Deci>,
    c_current: Option<Milli>,
    c_freq: Option<Deci>,
    c_pf: Option<Centi>,
    c_voltage: Option<Deci>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<&'static str>>,
    n_current: Option<Milli>,
    total_act_power: Option<Milli>,
    total_aprt_power: Option<Milli>,
    total_current: Option<Milli>,
}

/// The four powers alone: `strict_minimal_payload`, `udp_reply = short`. `Power` is a [`Deci`] or
/// its text with no zero in it, `Total` likewise.
#[derive(Serialize)]
struct FourPowers<Power, Total> {
    a_act_power: Option<Power>,
    b_act_power: Option<Power>,
    c_act_power: Option<Power>,
    total_act_power: Option<Total>,
}

/// A number whose text is settled already.
pub(crate) type NumberText = Box<serde_json::value::RawValue>;

fn full(snapshot: &Snapshot) -> EmStatus {
    let [a, b, c] = &snapshot.phases;
    EmStatus {
        id: 0,
        a_current: a.map(|p| p.current),
        a_voltage: a.map(|p| p.voltage),
        a_act_power: a.map(|p| p.act_power),
        a_aprt_power: a.map(|p| p.aprt_power),
        a_pf: a.map(|p| p.pf),
        a_freq: a.map(|p| p.freq),
        b_current: b.map(|p| p.current),
        b_voltage: b.map(|p| p.voltage),
        b_act_power: b.map(|p| p.act_power),
        b_aprt_power: b.map(|p| p.aprt_power),
        b_pf: b.map(|p| p.pf),
        b_freq: b.map(|p| p.freq),
        c_current: c.map(|p| p.current),
        c_voltage: c.map(|p| p.voltage),
        c_act_power: c.map(|p| p.act_power),
        c_aprt_power: c.map(|p| p.aprt_power),
        c_pf: c.map(|p| p.pf),
        c_freq: c.map(|p| p.freq),
        n_current: snapshot.n_current,
        total_current: snapshot.totals.map(|t| t.current),
        total_act_power: snapshot.totals.map(|t| t.act_power),
        total_aprt_power: snapshot.totals.map(|t| t.aprt_power),
        user_calibrated_phase: [],
        errors: snapshot.stale().then_some([FAILURE]),
    }
}

/// `em:0` as notified. `cleared` says that the reader last saw an error: a NotifyStatus is laid
/// over what it knows, so the error goes only with an empty list.
pub(crate) fn notify_object(snapshot: &Snapshot, cleared: bool) -> Json {
    let [a, b, c] = &snapshot.phases;
    let errors = if snapshot.stale() {
        Some(vec![FAILURE])
    } else {
        cleared.then(Vec::new)
    };
    json(&EmNotify {
        id: 0,
        a_act_power: a.map(|p| p.act_power),
        a_aprt_power: a.map(|p| p.aprt_power),
        a_current: a.map(|p| p.current),
        a_freq: a.map(|p| p.freq),
        a_pf: a.map(|p| p.pf),
        a_voltage: a.map(|p| p.voltage),
        b_act_power: b.map(|p| p.act_power),
        b_aprt_power: b.map(|p| p.aprt_power),
        b_current: b.map(|p| p.current),
        b_freq: b.map(|p| p.freq),
        b_pf: b.map(|p| p.pf),
        b_voltage: b.map(|p| p.voltage),
        c_act_power: c.map(|p| p.act_power),
        c_aprt_power: c.map(|p| p.aprt_power),
        c_current: c.map(|p| p.current),
        c_freq: c.map(|p| p.freq),
        c_pf: c.map(|p| p.pf),
        c_voltage: c.map(|p| p.voltage),
        errors,
        n_current: snapshot.n_current,
        total_act_power: snapshot.totals.map(|t| t.act_power),
        total_aprt_power: snapshot.totals.map(|t| t.aprt_power),
        total_current: snapshot.totals.map(|t| t.current),
    })
}

fn four_powers(snapshot: &Snapshot, nonzero: bool) -> Json {
    let [a, b, c] = snapshot.phases.map(|p| p.map(|p: Served| p.act_power));
    let total = snapshot.totals.map(|t| t.act_power);
    if nonzero {
        json(&FourPowers {
            a_act_power: a.map(nonzero_power),
            b_act_power: b.map(nonzero_power),
            c_act_power: c.map(nonzero_power),
            total_act_power: total.map(nonzero_total),
        })
    } else {
        json(&FourPowers {
            a_act_power: a,
            b_act_power: b,
            c_act_power: c,
            total_act_power: total,
        })
    }
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
pub(crate) fn plain(power: Deci) -> NumberText {
    number_text(power)
}

fn number_text<const D: u32>(number: Fixed<D>) -> NumberText {
    serde_json::value::to_raw_value(&number).unwrap_or_else(|_| NumberText::default())
}

/// The full status with `nonzero` powers.
fn full_nonzero(snapshot: &Snapshot) -> Json {
    // Rare enough (an option for one battery) to put the four numbers into the finished text.
    let mut out = String::from(&*json(&full(snapshot)));
    let mut set = |key: &str, number: NumberText| {
        let key = format!("\"{key}\":");
        if let Some(at) = out.find(&key).map(|i| i + key.len()) {
            let end = out[at..].find([',', '}']).map_or(out.len(), |i| at + i);
            out.replace_range(at..end, number.get());
        }
    };
    for (key, phase) in ["a_act_power", "b_act_power", "c_act_power"]
        .into_iter()
        .zip(snapshot.phases)
    {
        if let Some(phase) = phase {
            set(key, nonzero_power(phase.act_power));
        }
    }
    if let Some(totals) = snapshot.totals {
        set("total_act_power", nonzero_total(totals.act_power));
    }
    Json::from(out)
}

/// The status as `Shelly.GetStatus` holds it.
pub(crate) fn status(_: &Device, context: &Context<'_>, _: usize) -> Json {
    status_text(context.view, false, false, false)
}

fn status_text(view: &View, minimal: bool, short: bool, nonzero: bool) -> Json {
    let cell = usize::from(minimal) | usize::from(short) << 1 | usize::from(nonzero) << 2;
    let make = || match (minimal || short, nonzero) {
        (true, _) => four_powers(view, nonzero),
        (false, false) => json(&full(view)),
        (false, true) => full_nonzero(view),
    };
    Json::clone(view.em_status[cell].get_or_init(make))
}

/// What becomes of a call whose answer would hold the power while a used phase has none: `None`
/// lets it be answered.
///
/// Absent has to mean absent to whoever asks: nulls are for readers that are known to take them so.
pub(crate) fn absent_answer(call: &Call<'_>) -> Option<Handled> {
    if !call.context.view.stale() {
        return None;
    }
    let manner = call.context.manner;
    match call.device.options.stale {
        StalePolicy::Silent => Some(Ok(Outcome {
            answer: Answer::Silence,
            effects: Vec::new(),
        })),
        _ if manner.absent == Absent::Silence => Some(Ok(Outcome {
            answer: Answer::Silence,
            effects: Vec::new(),
        })),
        StalePolicy::Device if manner.absent == Absent::Nulls => None,
        StalePolicy::Device | StalePolicy::Error => Some(Err(RpcError::unavailable(
            "Power is unavailable: the source gives no value",
        ))),
    }
}

fn get_status(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    if let Some(answer) = absent_answer(call) {
        return answer;
    }
    let manner = call.context.manner;
    text(status_text(
        call.context.view,
        manner.minimal,
        manner.short,
        manner.nonzero,
    ))
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

fn current_config(device: &Device, context: &Context<'_>) -> EmConfig {
    EmConfig {
        id: 0,
        name: context.state.em_name.clone(),
        blink_mode_selector: "active_energy".into(),
        phase_selector: "all".into(),
        monitor_phase_sequence: false,
        ct_type: "120A".into(),
        reverse: Map::new(),
        alarms: device.identity.firmware.alarms.then(PhaseAlarms::default),
    }
}

/// The configuration as `Shelly.GetConfig` holds it.
pub(crate) fn config(device: &Device, context: &Context<'_>, _: usize) -> Json {
    json(&current_config(device, context))
}

fn get_config(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    text(config(call.device, call.context, 0))
}

fn set_config(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
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
    stored::check_word("ct_type", &next.ct_type, &["120A"])?;
    refuse_reverse(next.reverse.values().any(|v| v.as_bool() != Some(false)))?;
    stored::refuse_without_effect("em:0", NO_HARDWARE, &current, &next, &["name", "reverse"])?;
    let effects = if next.name == current.name {
        Vec::new()
    } else {
        vec![Effect::Set(Setting::EmName(next.name))]
    };
    restart_required(false, effects)
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

fn get_ct_types(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    ct_types()
}

/// The transformers that this model takes.
pub(crate) fn ct_types() -> Handled {
    #[derive(Serialize)]
    struct CtTypes {
        supported: [&'static str; 1],
    }
    result(&CtTypes {
        supported: ["120A"],
    })
}

fn calibrate(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    Err(no_calibration())
}

/// There is no transformer to calibrate.
pub(crate) fn no_calibration() -> RpcError {
    RpcError::refused(
        "Calibration is refused: the power comes from Home Assistant; correct it there or by the scale options",
    )
}
