//! Names of time zones.

use std::sync::OnceLock;

/// Every time zone of the IANA database, sorted.
pub(crate) fn zone_names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let foreign = [
            "posix",
            "right",
            "SystemV",
            "leap",
            "Factory",
            "localtime",
            "posixrules",
        ];
        let mut names: Vec<String> = jiff::tz::db()
            .available()
            .map(|name| name.as_str().to_owned())
            .filter(|name| !foreign.iter().any(|f| name.starts_with(f)))
            .collect();
        names.sort();
        names.dedup();
        names
    })
}
