//! `em1data:0` to `em1data:2`: counters and minute records of the monophase profile.

use serde::Serialize;

use super::{
    super::{
        Context, Device, Effect, Json,
        answer::{Handled, json, null, restart_required, text},
        history::Columns,
        method::{Call, Method},
    },
    em_data::{self, EnergyText},
};
use config::Profile;
use meter::Snapshot;

pub(crate) const METHODS: &[Method] = &[
    Method::new("EM1Data.GetStatus", get_status).only(Profile::Monophase),
    Method::new("EM1Data.GetConfig", get_config).only(Profile::Monophase),
    Method::new("EM1Data.SetConfig", set_config)
        .only(Profile::Monophase)
        .writes(),
    Method::new("EM1Data.GetRecords", get_records)
        .only(Profile::Monophase)
        .disk(),
    Method::new("EM1Data.GetData", get_data)
        .only(Profile::Monophase)
        .disk(),
    Method::new("EM1Data.GetNetEnergies", get_net_energies)
        .only(Profile::Monophase)
        .disk(),
    Method::new("EM1Data.ResetCounters", reset_counters)
        .only(Profile::Monophase)
        .writes(),
    Method::new("EM1Data.DeleteAllData", delete_all_data)
        .only(Profile::Monophase)
        .writes(),
];

/// `EM1Data.GetStatus`.
#[derive(Serialize)]
struct Em1DataStatus {
    id: usize,
    total_act_energy: Option<EnergyText>,
    total_act_ret_energy: Option<EnergyText>,
}

/// The status text of one channel.
pub(crate) fn status_text(snapshot: &Snapshot, id: usize, kwh: bool) -> Json {
    let counter = snapshot.energy.map(|e| e.phases[id]);
    json(&Em1DataStatus {
        id,
        total_act_energy: counter.map(|c| EnergyText::new(c.import, kwh)),
        total_act_ret_energy: counter.map(|c| EnergyText::new(c.export, kwh)),
    })
}

/// The status as `Shelly.GetStatus` holds it.
pub(crate) fn status(device: &Device, context: &Context<'_>, id: usize) -> Json {
    status_text(context.view, id, device.options.energy_kwh)
}

fn get_status(call: &Call<'_>) -> Handled {
    let id = call.params.instance(3)?;
    text(status(call.device, call.context, id))
}

fn get_config(call: &Call<'_>) -> Handled {
    call.params.instance(3)?;
    text(Json::from("{}"))
}

fn set_config(call: &Call<'_>) -> Handled {
    call.params.instance(3)?;
    call.params.config()?;
    restart_required(false, Vec::new())
}

fn get_records(call: &Call<'_>) -> Handled {
    call.params.instance(3)?;
    em_data::records(call)
}

fn get_data(call: &Call<'_>) -> Handled {
    let id = call.params.instance(3)?;
    em_data::data(call, Columns::Em1(id))
}

fn get_net_energies(call: &Call<'_>) -> Handled {
    let id = call.params.instance(3)?;
    em_data::net_energies(call, Columns::Em1(id))
}

/// The counters of the house are one: a reset of one channel sets all of them back.
fn reset_counters(call: &Call<'_>) -> Handled {
    call.params.instance(3)?;
    null(vec![Effect::ResetCounters])
}

fn delete_all_data(call: &Call<'_>) -> Handled {
    call.params.instance(3)?;
    null(vec![Effect::DeleteAllData])
}
