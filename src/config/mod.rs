//! Every option once: key, type, unit, default, range, one line of text; read in layers.

pub mod settings;

pub use settings::*;
