//! x
pub mod forecast;
