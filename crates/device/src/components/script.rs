//! Scripts: there are none and none can be made, so each id is unknown and `Script.Create` answers
//! 404.

use serde::Serialize;

use super::super::{
    answer::{Handled, result},
    method::{Call, Method},
};

pub(crate) const METHODS: &[Method] = &[
    Method::new("Script.List", list),
    Method::new("Script.GetCode", unknown),
    Method::new("Script.GetStatus", unknown),
    Method::new("Script.GetConfig", unknown),
    Method::new("Script.SetConfig", unknown).writes(),
    Method::new("Script.PutCode", unknown).writes(),
    Method::new("Script.Delete", unknown).writes(),
    Method::new("Script.Start", unknown).writes(),
    Method::new("Script.Stop", unknown).writes(),
    Method::new("Script.Eval", unknown).writes(),
];

fn list(_: &Call<'_>) -> Handled {
    #[derive(Serialize)]
    struct Scripts {
        scripts: [u8; 0],
    }
    result(&Scripts { scripts: [] })
}

fn unknown(call: &Call<'_>) -> Handled {
    Err(call.params.no_instance())
}
