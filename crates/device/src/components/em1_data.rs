//! `em1data:0` to `em1data:2`: counters and minute records of the monophase profile.

use serde::Serialize;

use super::{
    super::{Context, Device, Json, answer::json, method::Method},
    em::NumberText,
    em_data, set_nothing,
};

pub(crate) const METHODS: &[Method] = &Method::of_channels([
    Method::part("EM1Data.GetStatus", status),
    Method::fixed("EM1Data.GetConfig", "{}"),
    Method::new("EM1Data.SetConfig", set_nothing).writes(),
    Method::new("EM1Data.GetRecords", em_data::get_records).disk(),
    Method::new("EM1Data.GetData", em_data::get_data).disk(),
    Method::new("EM1Data.GetNetEnergies", em_data::get_net_energies).disk(),
    Method::refused("EM1Data.ResetCounters", HOUSE),
    Method::refused("EM1Data.DeleteAllData", HOUSE),
]);

/// Counters and records are kept for the house: one channel cannot lose its own without the others.
const HOUSE: &str = "Counters and records of one channel cannot be deleted: use EMData in profile triphase, which deletes those of all";

/// `EM1Data.GetStatus`.
#[derive(Serialize)]
struct Em1DataStatus {
    id: usize,
    total_act_energy: Option<NumberText>,
    total_act_ret_energy: Option<NumberText>,
}

/// The status as `Shelly.GetStatus` holds it.
pub(crate) fn status(device: &Device, context: &Context, id: usize) -> Json {
    let kwh = device.options.energy_kwh;
    let counter = context.view.energy.map(|e| e.phases[id]);
    json(&Em1DataStatus {
        id,
        total_act_energy: counter.map(|c| em_data::energy_text(c.import, kwh)),
        total_act_ret_energy: counter.map(|c| em_data::energy_text(c.export, kwh)),
    })
}
