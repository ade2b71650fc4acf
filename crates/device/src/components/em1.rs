//! `em1:0` to `em1:2`: the three channels of the monophase profile
//! (`docs/protocol/em.md#single-channels-em1n`).

use serde::{Deserialize, Serialize};

use super::super::{
    Context, Device, Effect, Json, Setting, View,
    answer::{Handled, json, restart_required, result, text},
    method::{Call, Method, Power},
    stored,
};
use super::em::{self, FAILURE, NumberText};
use config::Profile;
use meter::Snapshot;
use vocab::{Centi, Deci, Milli};

pub(crate) const METHODS: &[Method] = &Method::of_channels([
    Method::new("EM1.GetStatus", get_status)
        .carries(Power::Phase)
        .steady(),
    Method::part("EM1.GetConfig", config),
    Method::new("EM1.SetConfig", set_config).writes(),
    Method::part("EM1.GetCTTypes", em::ct_types),
    Method::refused("EM1.CalibrateFrom", em::NO_CALIBRATION),
    Method::refused("EM1.RevertToFactoryCalibration", em::NO_CALIBRATION),
]);

/// `EM1.GetStatus`; the text of the power has, by option, no zero in it.
#[derive(Serialize)]
struct Em1Status {
    id: usize,
    voltage: Option<Deci>,
    current: Option<Milli>,
    act_power: Option<NumberText>,
    aprt_power: Option<Deci>,
    pf: Option<Centi>,
    freq: Option<Deci>,
    calibration: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<[&'static str; 1]>,
}

/// `em1:n` of a NotifyStatus, alphabetical after `id`.
#[derive(Serialize)]
struct Em1Notify {
    id: usize,
    act_power: Option<Deci>,
    aprt_power: Option<Deci>,
    current: Option<Milli>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'static [&'static str]>,
    freq: Option<Deci>,
    pf: Option<Centi>,
    voltage: Option<Deci>,
}

/// The original's answer to `EM1.GetStatus` on UDP.
#[derive(Serialize)]
struct OnePower {
    act_power: Option<NumberText>,
}

/// `em1:id` as notified; `cleared` as in [`em::notify_object`].
pub(crate) fn notify_object(snapshot: &Snapshot, id: usize, cleared: bool) -> Json {
    let phase = snapshot.phases.get(id).copied().flatten();
    let errors = em::notified_errors(phase.is_none(), cleared);
    json(&Em1Notify {
        id,
        act_power: phase.map(|p| p.act_power),
        aprt_power: phase.map(|p| p.aprt_power),
        current: phase.map(|p| p.current),
        errors,
        freq: phase.map(|p| p.freq),
        pf: phase.map(|p| p.pf),
        voltage: phase.map(|p| p.voltage),
    })
}

/// The status as `Shelly.GetStatus` holds it.
pub(crate) fn status(_: &Device, context: &Context, id: usize) -> Json {
    let view = &context.view;
    let make = || json(&channel_status(view, id, em::number_text));
    Json::clone(view.em1_status[id].get_or_init(make))
}

/// The house total in the shape of one channel: what a battery set to a one-channel meter
/// reads.
fn house_total(view: &View, short: bool, nonzero: bool) -> Json {
    let make = || {
        let power = view.totals.map(|t| match (short, nonzero) {
            (_, true) => em::nonzero_total(t.act_power),
            (true, false) => em::number_text(t.act_power),
            // The served total is a sum of tenths, so one decimal says it exactly.
            (false, false) => em::number_text(Deci::round(t.act_power.get())),
        });
        if short {
            json(&OnePower { act_power: power })
        } else {
            json(&total_status(view, power))
        }
    };
    let cell = usize::from(short) | usize::from(nonzero) << 1;
    Json::clone(view.em1_total[cell].get_or_init(make))
}

fn total_status(snapshot: &Snapshot, act_power: Option<NumberText>) -> Em1Status {
    let first = snapshot.phases.iter().flatten().next();
    let totals = snapshot.totals;
    let pf = totals.map(|t| {
        if t.aprt_power.units() == 0 {
            0.0
        } else {
            (t.act_power.get().abs() / t.aprt_power.get()).min(1.0)
        }
    });
    Em1Status {
        id: 0,
        voltage: totals.and(first).map(|p| p.voltage),
        current: totals.map(|t| t.current),
        act_power,
        aprt_power: totals.map(|t| Deci::round(t.aprt_power.get())),
        pf: pf.map(Centi::round),
        freq: totals.and(first).map(|p| p.freq),
        calibration: "factory",
        errors: totals.is_none().then_some([FAILURE]),
    }
}

fn get_status(call: &Call<'_>) -> Handled {
    let manner = call.context.manner;
    let triphase = call.context.state.profile == Profile::Triphase;
    let (view, id) = (&call.context.view, call.id);
    // Three meters of their own: what one lacks keeps nobody from the others.
    let missing = if triphase {
        view.stale()
    } else {
        view.phases[id].is_none()
    };
    if let Some(answer) = em::absent_answer(call, missing) {
        return answer;
    }
    if triphase {
        return text(house_total(view, manner.short, manner.nonzero));
    }
    // In the manner of `udp_reply` and `udp_decimals`.
    let number = if manner.nonzero {
        em::nonzero_power
    } else {
        em::number_text
    };
    if manner.short {
        let power = view.phases[id].map(|p| number(p.act_power));
        return result(&OnePower { act_power: power });
    }
    if manner.nonzero {
        return result(&channel_status(view, id, number));
    }
    text(status(call.device, call.context, id))
}

fn channel_status(snapshot: &Snapshot, id: usize, number: fn(Deci) -> NumberText) -> Em1Status {
    let phase = snapshot.phases[id];
    Em1Status {
        id,
        voltage: phase.map(|p| p.voltage),
        current: phase.map(|p| p.current),
        act_power: phase.map(|p| number(p.act_power)),
        aprt_power: phase.map(|p| p.aprt_power),
        pf: phase.map(|p| p.pf),
        freq: phase.map(|p| p.freq),
        calibration: "factory",
        errors: phase.is_none().then_some([FAILURE]),
    }
}

/// Configuration of `em1:n`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Em1Config {
    id: usize,
    name: Option<String>,
    reverse: bool,
    ct_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarms: Option<em::Alarms>,
}

fn current_config(device: &Device, context: &Context, id: usize) -> Em1Config {
    let alarms = device.identity.firmware.alarms.then(em::Alarms::default);
    Em1Config {
        alarms,
        id,
        name: context.state.em1_names[id].clone(),
        reverse: false,
        ct_type: em::ct_type(device).into(),
    }
}

/// The configuration as `Shelly.GetConfig` holds it.
pub(crate) fn config(device: &Device, context: &Context, id: usize) -> Json {
    json(&current_config(device, context, id))
}

fn set_config(call: &Call<'_>) -> Handled {
    let id = call.id;
    let current = current_config(call.device, call.context, id);
    let (next, _) = stored::change(&current, call.params.config()?)?;
    stored::check_name(next.name.as_deref())?;
    stored::check_word("ct_type", &next.ct_type, &[em::ct_type(call.device)])?;
    em::refuse_reverse(next.reverse)?;
    stored::refuse_without_effect("em1", em::NO_HARDWARE, &current, &next, &["name"])?;
    let renamed = next.name != current.name;
    restart_required(
        false,
        renamed.then_some(Effect::Set(Setting::Em1Name(id, next.name))),
    )
}
