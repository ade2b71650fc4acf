//! Schedules: there are none and none can be made.

use serde::Serialize;

use super::super::{
    answer::{Handled, result},
    method::{Call, Method},
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("Schedule.List", list),
    Method::new("Schedule.Update", unknown).writes(),
    Method::new("Schedule.Delete", unknown).writes(),
    Method::new("Schedule.DeleteAll", delete_all).writes(),
];

/// Revision of a list that never changes.
#[derive(Serialize)]
pub(crate) struct Rev {
    pub(crate) rev: u32,
}

fn list(_: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Jobs {
        jobs: [u8; 0],
        rev: u32,
    }
    result(&Jobs { jobs: [], rev: 0 })
}

fn unknown(call: &Call<'_>) -> Handled {
    Err(call.params.no_instance())
}

fn delete_all(_: &Call<'_>) -> Handled {
    result(&Rev { rev: 0 })
}
