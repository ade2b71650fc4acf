//! Scripts: there are none and none can be made, so each id is unknown and `Script.Create` answers
//! 404.

use super::super::method::Method;

pub(crate) const METHODS: &[Method] = &[
    Method::fixed("Script.List", r#"{"scripts":[]}"#),
    Method::of_none("Script.GetCode"),
    Method::of_none("Script.GetStatus"),
    Method::of_none("Script.GetConfig"),
    Method::of_none("Script.SetConfig").writes(),
    Method::of_none("Script.PutCode").writes(),
    Method::of_none("Script.Delete").writes(),
    Method::of_none("Script.Start").writes(),
    Method::of_none("Script.Stop").writes(),
    Method::of_none("Script.Eval").writes(),
];
