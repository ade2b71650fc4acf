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
pub mod definition;
pub mod definitions;
mod edit;
mod layers;
mod meters;
mod named;
mod original;
pub mod pattern;
mod places;
mod problem;
pub mod reference;
mod resolve;
mod section;
pub mod settings;
mod show;
mod value;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use edit::{change_options, contradictions};
pub use places::{Places, locate, read_options, usable_folder};
pub use problem::{Layer, Problem, ProblemKind};
pub use resolve::{Resolved, Values, load};
pub use settings::*;
pub use show::{as_json, as_text, masked, report};
pub use value::validate;

/// Exit code of a plain run whose configuration is wrong (`EX_CONFIG` of sysexits).
pub const EXIT_CONFIGURATION: u8 = 78;

/// The options file, as read.
#[derive(Clone)]
pub struct OptionsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its text, or why it cannot be read.
    pub contents: Result<String, String>,
}

/// Everything that [`load`] reads from. Holds secrets: it has no `Debug`.
#[derive(Clone, Default)]
pub struct LoadInputs {
    /// Options of the command line by key, as text.
    pub args: BTreeMap<String, String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The options file, if there is one.
    pub options_file: Option<OptionsFile>,
    /// The app's Network card (`"80/tcp"` → port, `None` off); `None`: not known, or not an app.
    pub network: Option<BTreeMap<String, Option<u16>>>,
    /// The data folder ([`locate`]).
    pub data_dir: PathBuf,
    /// Under the Supervisor.
    pub app: bool,
}

impl LoadInputs {
    /// Inputs of this process: finds the data folder and reads the options file. The Network card
    /// is asked for by whoever talks to the Supervisor.
    #[must_use]
    pub fn of_process(args: BTreeMap<String, String>, env: BTreeMap<String, String>) -> Self {
        let app = is_app(&env);
        let places = locate(&args, &env, app, &|path: &Path| usable_folder(path));
        let options_file = read_options(&places);
        let mut inputs = Self {
            args,
            env,
            options_file,
            network: None,
            data_dir: places.data_dir.clone(),
            app,
        };
        places::keep_apart(&mut inputs, places);
        inputs
    }
}

/// Whether the environment is that of an app: the Supervisor gave a token.
#[must_use]
pub fn is_app(env: &BTreeMap<String, String>) -> bool {
    env.get("SUPERVISOR_TOKEN")
        .is_some_and(|token| !token.is_empty())
}

/// The environment of this process; what is not UTF-8 is replaced, and then refused as a value.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

#[cfg(test)]
mod pins;
#[cfg(test)]
mod tests;
