//! Schedules: there are none and none can be made.

use super::super::method::Method;

pub(crate) const METHODS: &[Method] = &[
    Method::fixed("Schedule.List", r#"{"jobs":[],"rev":0}"#),
    Method::of_none("Schedule.Update").writes(),
    Method::of_none("Schedule.Delete").writes(),
    Method::fixed("Schedule.DeleteAll", r#"{"rev":0}"#).writes(),
];
