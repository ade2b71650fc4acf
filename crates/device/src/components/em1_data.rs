//! `em1data:0` to `em1data:2`: counters and minute records of the monophase profile.

use serde::Serialize;

use super::{
    super::{
        Context, Device, Json,
        answer::{Handled, json},
        method::{Call, Method},
    },
    em_data::{self, EnergyText},
    set_nothing,
};
use config::Profile;

const fn method(name: &'static str, handler: fn(&Call<'_>) -> Handled) -> Method {
    of_channels(Method::new(name, handler))
}

const fn of_channels(method: Method) -> Method {
    method.only(Profile::Monophase).instances(3)
}

pub(crate) const METHODS: &[Method] = &[
    of_channels(Method::part("EM1Data.GetStatus", status)),
    of_channels(Method::fixed("EM1Data.GetConfig", "{}")),
    method("EM1Data.SetConfig", set_nothing).writes(),
    method("EM1Data.GetRecords", em_data::get_records).disk(),
    method("EM1Data.GetData", em_data::get_data).disk(),
    method("EM1Data.GetNetEnergies", em_data::get_net_energies).disk(),
    of_channels(Method::refused("EM1Data.ResetCounters", HOUSE)),
    of_channels(Method::refused("EM1Data.DeleteAllData", HOUSE)),
];

/// Counters and records are kept for the house: one channel cannot lose its own without the others.
const HOUSE: &str = "Counters and records of one channel cannot be deleted: use EMData in profile triphase, which deletes those of all";

/// `EM1Data.GetStatus`.
#[derive(Serialize)]
struct Em1DataStatus {
    id: usize,
    total_act_energy: Option<EnergyText>,
    total_act_ret_energy: Option<EnergyText>,
}

/// The status as `Shelly.GetStatus` holds it.
pub(crate) fn status(device: &Device, context: &Context, id: usize) -> Json {
    let kwh = device.options.energy_kwh;
    let counter = context.view.energy.map(|e| e.phases[id]);
    json(&Em1DataStatus {
        id,
        total_act_energy: counter.map(|c| EnergyText::new(c.import, kwh)),
        total_act_ret_energy: counter.map(|c| EnergyText::new(c.export, kwh)),
    })
}
