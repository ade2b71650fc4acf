//! `emdata:0`: energy counters and minute records (`docs/protocol/emdata.md`).

use serde::Serialize;

use super::{
    super::{
        Context, Device, Effect, Json, RpcError,
        answer::{Handled, effects, json, text},
        history::{self, Asked, Columns},
        method::{Call, Method},
    },
    em::{NumberText, number_text},
    set_nothing,
};
use config::Profile;
use meter::records::RecordsError;
use meter::{Counter, Energy, Snapshot};
use vocab::Fixed;

pub(crate) const METHODS: &[Method] = &Method::of_house([
    Method::part("EMData.GetStatus", status),
    Method::fixed("EMData.GetConfig", "{}"),
    Method::new("EMData.SetConfig", set_nothing).writes(),
    Method::new("EMData.GetRecords", get_records).disk(),
    Method::new("EMData.GetData", get_data).disk(),
    Method::new("EMData.GetNetEnergies", get_net_energies).disk(),
    Method::new("EMData.ResetCounters", reset_counters).writes(),
    Method::new("EMData.DeleteAllData", delete_all_data).writes(),
]);

/// An energy from unrounded Wh: in Wh with 2 decimals, or in kWh with 6 (`energy_unit = kwh`).
pub(crate) fn energy_text(wh: f64, kwh: bool) -> NumberText {
    if kwh {
        number_text(Fixed::<6>::round(wh / 1000.0))
    } else {
        number_text(Fixed::<2>::round(wh))
    }
}

/// `EMData.GetStatus`; nulls while the counters wait for their seed.
#[derive(Serialize)]
struct EmDataStatus {
    id: u8,
    a_total_act_energy: Option<NumberText>,
    a_total_act_ret_energy: Option<NumberText>,
    b_total_act_energy: Option<NumberText>,
    b_total_act_ret_energy: Option<NumberText>,
    c_total_act_energy: Option<NumberText>,
    c_total_act_ret_energy: Option<NumberText>,
    total_act: Option<NumberText>,
    total_act_ret: Option<NumberText>,
}

fn encode(snapshot: &Snapshot, kwh: bool) -> Json {
    let import = |c: Option<Counter>| c.map(|c| energy_text(c.import, kwh));
    let export = |c: Option<Counter>| c.map(|c| energy_text(c.export, kwh));
    let phase = |i: usize| snapshot.energy.map(|e: Energy| e.phases[i]);
    let total = snapshot.energy_totals();
    json(&EmDataStatus {
        id: 0,
        a_total_act_energy: import(phase(0)),
        a_total_act_ret_energy: export(phase(0)),
        b_total_act_energy: import(phase(1)),
        b_total_act_ret_energy: export(phase(1)),
        c_total_act_energy: import(phase(2)),
        c_total_act_ret_energy: export(phase(2)),
        total_act: import(total),
        total_act_ret: export(total),
    })
}

/// The status as `Shelly.GetStatus` holds it, encoded at most once a snapshot and unit.
pub(crate) fn status(device: &Device, context: &Context, _: usize) -> Json {
    let (view, kwh) = (&context.view, device.options.energy_kwh);
    Json::clone(view.emdata_status[usize::from(kwh)].get_or_init(|| encode(view, kwh)))
}

/// The stretch that is asked for, in the columns of the component: each profile has one kind.
fn asked(call: &Call<'_>) -> Result<Asked, RpcError> {
    Ok(Asked {
        from: call.params.required_int("ts")?,
        end: call.params.int("end_ts")?.unwrap_or(i64::MAX),
        keys: call.params.flag("add_keys")?.unwrap_or(true),
        columns: match call.context.state.profile {
            Profile::Triphase => Columns::Em,
            Profile::Monophase => Columns::Em1(call.id),
        },
    })
}

/// A page of records, or why they cannot be read.
fn page(read: Result<Json, RecordsError>) -> Handled {
    text(read.map_err(|error| {
        RpcError::unavailable(format!("The minute records cannot be read: {error}"))
    })?)
}

pub(crate) fn get_records(call: &Call<'_>) -> Handled {
    let from = call.params.int("ts")?.unwrap_or(0);
    page(history::blocks(call.context.records.as_ref(), from))
}

pub(crate) fn get_data(call: &Call<'_>) -> Handled {
    page(history::page(call.context.records.as_ref(), asked(call)?))
}

pub(crate) fn get_net_energies(call: &Call<'_>) -> Handled {
    let asked = asked(call)?;
    let period = call.params.required_int("period")?;
    if !matches!(period, 300 | 900 | 1800 | 3600) {
        return Err(RpcError::bad_argument("period"));
    }
    let now = call.context.now.unix_s();
    page(history::net_page(
        call.context.records.as_ref(),
        asked,
        period,
        now,
    ))
}

pub(crate) fn reset_counters(_: &Call<'_>) -> Handled {
    effects("null", [Effect::ResetCounters])
}

pub(crate) fn delete_all_data(_: &Call<'_>) -> Handled {
    effects("null", [Effect::DeleteAllData])
}
