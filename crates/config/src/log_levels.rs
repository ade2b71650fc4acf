//! What the log shows: a level for all parts of the program, and others for single ones.

use tracing::Level;

/// Parts of the program that have a level of their own: its crates, its own code, and the libraries.
pub const LOG_PARTS: &[&str] = &[
    "virtual_shelly",
    "background",
    "config",
    "consumers",
    "control",
    "dashboard",
    "device",
    "diary",
    "doctor",
    "forecast",
    "meter",
    "mqtt",
    "outgoing",
    "probe",
    "profiles",
    "recording",
    "source",
    "store",
    "transport",
    "vocab",
];
/// The word for all libraries in a filter.
pub const LIBRARIES: &str = "libraries";

/// `log_level`: `info`, or with parts `info,transport=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels {
    /// Of every part that is not named.
    pub all: Level,
    /// By part, a name of [`LOG_PARTS`] or [`LIBRARIES`].
    pub parts: Vec<(&'static str, Level)>,
}

impl Default for LogLevels {
    fn default() -> Self {
        Level::INFO.into()
    }
}

impl From<Level> for LogLevels {
    fn from(all: Level) -> Self {
        Self {
            all,
            parts: Vec::new(),
        }
    }
}

impl LogLevels {
    /// Reads a filter: the level of all parts, then `part=level` with commas; `None` for anything
    /// else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut items = text.split(',').map(str::trim);
        let mut levels = Self::from(level(items.next()?)?);
        for item in items {
            let (part, of_part) = item.split_once('=')?;
            let part = LOG_PARTS
                .iter()
                .chain(&[LIBRARIES])
                .find(|known| **known == part)?;
            levels.parts.push((part, level(of_part)?));
        }
        Some(levels)
    }
}

fn level(word: &str) -> Option<Level> {
    Some(match word {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "info" => Level::INFO,
        "warn" => Level::WARN,
        "error" => Level::ERROR,
        _ => return None,
    })
}

/// A filter as other programs spell levels.
pub(super) fn familiar(text: &str) -> String {
    let word = |word: &str| match word.trim().to_ascii_lowercase().as_str() {
        "warning" => "warn".to_owned(),
        "critical" | "fatal" => "error".to_owned(),
        other => other.to_owned(),
    };
    let item = |item: &str| match item.split_once('=') {
        Some((part, of_part)) => format!("{}={}", part.trim(), word(of_part)),
        None => word(item),
    };
    text.split(',').map(item).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_level_or_levels_of_parts() {
        let read = |text: &str| LogLevels::parse(&familiar(text));
        assert_eq!(read("info"), Some(Level::INFO.into()));
        assert_eq!(read(" Warning "), Some(Level::WARN.into()));
        let parts = read("info, transport=DEBUG,libraries = warning").unwrap();
        assert_eq!(parts.all, Level::INFO);
        assert_eq!(
            parts.parts,
            vec![("transport", Level::DEBUG), (LIBRARIES, Level::WARN)]
        );
        for wrong in [
            "",
            "loud",
            "transport=debug",
            "info,transprt=debug",
            "info,transport=loud",
            "info,",
            "info,debug",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
