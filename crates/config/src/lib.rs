//! Every option once: key, type, unit, default, range, one line of text; read in layers.
//!
//! ```text
//!  definitions ──▶ layers ──▶ resolve ──▶ checks ──▶ assemble ──▶ Settings
//!  (one field an    (file,     (one value   (options    (sections
//!   option)          Network    and layer    against     read, a
//!                    card,      a key)       one         meter made
//!                    env, args)              another)    of them)
//! ```
//!
//! [`load`] never fails: what is wrong is listed in [`Resolved::problems`], all at once. A plain
//! run then ends with [`EXIT_CONFIGURATION`]; an app stays up, and where a wrong value could mean a
//! wrong sign the phases stay absent. Rules: `docs/decisions.md#options`.

mod assemble;
mod checks;
mod choices;
pub mod definition;
pub mod definitions;
mod edit;
mod inputs;
mod layers;
mod log_levels;
mod meter_values;
mod meters;
mod named;
mod original;
pub mod pattern;
mod places;
mod problem;
mod reader_profiles;
mod readers;
mod resolve;
mod section;
pub mod settings;
mod show;
mod value;
mod view;

pub use definitions::Schema;
pub use edit::{change_options, contradictions, validate};
pub use inputs::{LoadInputs, OptionsFile, environment, is_app};
pub use log_levels::{LIBRARIES, LOG_PARTS, LogLevels};
pub use meter_values::Values;
pub use problem::{Problem, ProblemKind};
pub use reader_profiles::ReaderProfiles;
pub use resolve::{Resolved, load};
pub use settings::*;
pub use show::{as_json, as_text, masked, masked_texts, report};
pub use vocab::Layer;

/// Exit code of a plain run whose configuration is wrong (`EX_CONFIG` of sysexits).
pub const EXIT_CONFIGURATION: u8 = 78;

#[cfg(test)]
mod pins;
#[cfg(test)]
mod tests;
