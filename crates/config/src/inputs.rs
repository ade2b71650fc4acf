//! What [`crate::load`] reads from.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Map, Value};

use vocab::reason::Reason;

/// The options file, as read.
#[derive(Clone)]
pub struct OptionsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its text, or why it cannot be read.
    pub contents: Result<String, Reason>,
}

/// Everything that [`crate::load`] reads from. Holds secrets: it has no `Debug`.
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
    /// The data folder.
    pub data_dir: PathBuf,
    /// Under the Supervisor.
    pub app: bool,
    /// Free ports in place of those that a demo would use by itself, by option.
    pub demo_ports: BTreeMap<&'static str, Value>,
}

impl LoadInputs {
    /// Nothing but an options file of this text, of a plain run.
    ///
    /// ```
    /// let inputs = config::LoadInputs::of_options(r#"{"total_power": "sensor.grid", "hold": 60}"#);
    /// let resolved = config::load(&inputs);
    /// assert!(resolved.problems.is_empty());
    /// assert_eq!(resolved.settings.meters[0].hold.as_secs(), 60);
    /// ```
    #[must_use]
    pub fn of_options(text: &str) -> Self {
        Self {
            data_dir: "/data".into(),
            ..Self::default().with_options(text)
        }
    }

    /// The same with this text in its options file.
    #[must_use]
    pub fn with_options(&self, text: impl Into<String>) -> Self {
        let file = OptionsFile {
            path: self.options_path(),
            contents: Ok(text.into()),
        };
        Self {
            options_file: Some(file),
            ..self.clone()
        }
    }

    /// Where the options file is, or would be.
    #[must_use]
    pub fn options_path(&self) -> PathBuf {
        let named = self.options_file.as_ref().map(|file| file.path.clone());
        named.unwrap_or_else(|| self.data_dir.join("options.json"))
    }

    /// The members of the options file; none where there is none that can be read.
    #[must_use]
    pub fn options(&self) -> Map<String, Value> {
        let file = self.options_file.as_ref();
        let text = file.and_then(|file| file.contents.as_ref().ok());
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
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
