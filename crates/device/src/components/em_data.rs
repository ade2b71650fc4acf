//! `emdata:0`: energy counters and minute records (`docs/protocol/emdata.md`).

use serde::{Serialize, Serializer};

use super::super::{
    Context, Device, Effect, Json, RpcError, View,
    answer::{Handled, json, null, restart_required, text},
    history::{self, Columns},
    method::{Call, Method},
};
use config::Profile;
use meter::records::RecordsError;
use meter::{Counter, Energy, Snapshot};
use vocab::Fixed;

pub(crate) const METHODS: &[Method] = &[
    Method::new("EMData.GetStatus", get_status).only(Profile::Triphase),
    Method::new("EMData.GetConfig", get_config).only(Profile::Triphase),
    Method::new("EMData.SetConfig", set_config)
        .only(Profile::Triphase)
        .writes(),
    Method::new("EMData.GetRecords", get_records)
        .only(Profile::Triphase)
        .disk(),
    Method::new("EMData.GetData", get_data)
        .only(Profile::Triphase)
        .disk(),
    Method::new("EMData.GetNetEnergies", get_net_energies)
        .only(Profile::Triphase)
        .disk(),
    Method::new("EMData.ResetCounters", reset_counters)
        .only(Profile::Triphase)
        .writes(),
    Method::new("EMData.DeleteAllData", delete_all_data)
        .only(Profile::Triphase)
        .writes(),
];

/// An energy in Wh with 2 decimals, or in kWh with 6 (`energy_unit = kwh`).
#[derive(Clone, Copy)]
pub(crate) enum EnergyText {
    Wh(Fixed<2>),
    Kwh(Fixed<6>),
}

impl EnergyText {
    /// From unrounded Wh.
    pub(crate) fn new(wh: f64, kwh: bool) -> Self {
        if kwh {
            Self::Kwh(Fixed::round(wh / 1000.0))
        } else {
            Self::Wh(Fixed::round(wh))
        }
    }
}

impl Serialize for EnergyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Wh(energy) => energy.serialize(serializer),
            Self::Kwh(energy) => energy.serialize(serializer),
        }
    }
}

/// `EMData.GetStatus`; nulls while the counters wait for their seed.
#[derive(Serialize)]
struct EmDataStatus {
    id: u8,
    a_total_act_energy: Option<EnergyText>,
    a_total_act_ret_energy: Option<EnergyText>,
    b_total_act_energy: Option<EnergyText>,
    b_total_act_ret_energy: Option<EnergyText>,
    c_total_act_energy: Option<EnergyText>,
    c_total_act_ret_energy: Option<EnergyText>,
    total_act: Option<EnergyText>,
    total_act_ret: Option<EnergyText>,
}

fn encode(snapshot: &Snapshot, kwh: bool) -> Json {
    let import = |c: Option<Counter>| c.map(|c| EnergyText::new(c.import, kwh));
    let export = |c: Option<Counter>| c.map(|c| EnergyText::new(c.export, kwh));
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

/// The status text, encoded at most once a snapshot and unit.
pub(crate) fn status_text(view: &View, kwh: bool) -> Json {
    Json::clone(view.emdata_status[usize::from(kwh)].get_or_init(|| encode(view, kwh)))
}

/// The status as `Shelly.GetStatus` holds it.
pub(crate) fn status(device: &Device, context: &Context<'_>, _: usize) -> Json {
    status_text(context.view, device.options.energy_kwh)
}

fn get_status(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    text(status(call.device, call.context, 0))
}

fn get_config(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    text(Json::from("{}"))
}

fn set_config(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    call.params.config()?;
    restart_required(false, Vec::new())
}

fn get_records(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    records(call)
}

fn get_data(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    data(call, Columns::Em)
}

fn get_net_energies(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    net_energies(call, Columns::Em)
}

fn reset_counters(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    null(vec![Effect::ResetCounters])
}

fn delete_all_data(call: &Call<'_>) -> Handled {
    call.params.instance(1)?;
    null(vec![Effect::DeleteAllData])
}

/// `GetRecords` after the id.
pub(crate) fn records(call: &Call<'_>) -> Handled {
    let from = call.params.int("ts")?.unwrap_or(0);
    text(history::blocks(call.context.records, from).map_err(|e| unreadable(&e))?)
}

/// `GetData` after the id.
pub(crate) fn data(call: &Call<'_>, columns: Columns) -> Handled {
    let from = call
        .params
        .int("ts")?
        .ok_or_else(|| RpcError::missing("ts"))?;
    let end = call.params.int("end_ts")?.unwrap_or(i64::MAX);
    let keys = call.params.flag("add_keys")?.unwrap_or(true);
    text(
        history::page(call.context.records, columns, from, end, keys)
            .map_err(|e| unreadable(&e))?,
    )
}

/// `GetNetEnergies` after the id.
pub(crate) fn net_energies(call: &Call<'_>, columns: Columns) -> Handled {
    let from = call
        .params
        .int("ts")?
        .ok_or_else(|| RpcError::missing("ts"))?;
    let period = call
        .params
        .int("period")?
        .ok_or_else(|| RpcError::missing("period"))?;
    if !matches!(period, 300 | 900 | 1800 | 3600) {
        return Err(RpcError::bad_argument("period"));
    }
    let end = call.params.int("end_ts")?.unwrap_or(i64::MAX);
    let keys = call.params.flag("add_keys")?.unwrap_or(true);
    let asked = history::NetAsked {
        from,
        end,
        period,
        now: call.context.now.unix_s(),
    };
    text(
        history::net_page(call.context.records, columns, asked, keys)
            .map_err(|e| unreadable(&e))?,
    )
}

fn unreadable(error: &RecordsError) -> RpcError {
    RpcError::unavailable(format!("The minute records cannot be read: {error}"))
}
