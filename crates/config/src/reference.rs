//! The option reference of `DOCS.md`, generated from the definitions; a test holds it current.
//!
//! Rewrite it with `UPDATE_DOCS=1 cargo test --lib reference::`.

use std::fmt::Write;

use super::{
    definition::{Definition, Group, Kind},
    definitions,
};

/// Line before the generated part.
pub const BEGIN: &str = "<!-- options:begin -->";
/// Line after the generated part.
pub const END: &str = "<!-- options:end -->";

const INTRO: &str = "\
Each option has one name. In the options file it is the key below; on the command line `--key-with-dashes`; in the environment the name \
in the fourth column. Layers, a later one wins: defaults, what a reader set through the device's RPC (options marked *device*), options \
file, the app's Network card, environment, command line. Lists are separated by commas in environment and command line. Booleans are \
`true` and `false`, in the environment also `1 yes on` and `0 no off`. Empty is not set.

Marks: *plain*: not in the app's options, where the Network card and the Supervisor say it; *live*: takes effect without a restart; \
*device*: also settable through the device's RPC; *safety*: as an app, a wrong value makes the phases absent instead of being replaced by \
the default, because a default could mean a wrong sign or size.
";

/// The generated part, markers excluded.
#[must_use]
pub fn markdown() -> String {
    let mut out = format!("\n{INTRO}");
    for group in Group::ALL {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n### {}\n\n| Option | Value | Default | Environment | Meaning |\n| --- | --- | --- | --- | --- |\n",
            group.title()
        );
        for def in definitions::all().filter(|def| def.group == group) {
            let _ = writeln!(out, "{}", row(def));
        }
    }
    let members: Vec<String> = definitions::meter_entry()
        .map(|member| format!("`{}`", member.key()))
        .collect();
    let _ = write!(
        out,
        "\nAn entry of `meters` holds `name` (1 to 32 characters, required) and any of the following; its `udp_ports` and `outbound_ws` are \
         text with commas. {} are taken from the first meter where an entry has none. A further meter with a `bind` of its own gets the \
         default ports there; without one it needs `http_port`, and UDP and Modbus are served only where a port is given. On any HTTP \
         port of ours the host name in a request chooses the meter (`ShellyPro3EM-<MAC>.local` or the device's name), an address the \
         port's own. Readers that know only port 80 and go by the address would take the first meter's values for those of another: \
         of meters that share an address only the one on port 80 (else the first) is announced as `_shelly._tcp`, and a `bind` of its own \
         is the remedy.\n\n{}\n",
        definitions::INHERITED
            .map(|key| format!("`{key}`"))
            .join(", "),
        members.join(" "),
    );
    out.push('\n');
    out
}

fn row(def: &Definition) -> String {
    let value = def.kind.allowed().replace('|', "\\|");
    // An entity has its own unit, which is converted.
    let unit = if def.unit.is_empty() || matches!(def.kind, Kind::Match(_)) {
        String::new()
    } else {
        format!(", {}", def.unit)
    };
    let default = match (def.default, def.app_default, def.automatic) {
        (Some(text), Some(app), _) => format!("`{text}` (app: `{app}`)"),
        (Some(text), None, _) => format!("`{text}`"),
        (None, _, "") => "–".into(),
        (None, _, words) => words.replace('<', "\\<"),
    };
    let alias = def
        .alias
        .map(|alias| format!(" or `{alias}`"))
        .unwrap_or_default();
    let marks: Vec<&str> = [
        (def.plain_only, "plain"),
        (def.live, "live"),
        (def.device, "device"),
        (def.safety, "safety"),
    ]
    .into_iter()
    .filter_map(|(on, mark)| on.then_some(mark))
    .collect();
    let marks = if marks.is_empty() {
        String::new()
    } else {
        format!(" *({})*", marks.join(", "))
    };
    format!(
        "| `{}` | {value}{unit} | {default} | `{}`{alias} | {}{marks} |",
        def.key,
        def.env_name(),
        def.text
    )
}

/// A document with its generated part replaced; `None` if the markers are missing.
#[must_use]
pub fn replace_in(document: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}{END}{after}", markdown()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_reference_in_docs_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../DOCS.md");
        let document = std::fs::read_to_string(path).expect("DOCS.md");
        let wanted = replace_in(&document).expect("both markers");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).expect("DOCS.md is writable");
        } else {
            assert!(
                document == wanted,
                "DOCS.md is not current: UPDATE_DOCS=1 cargo test --lib reference::"
            );
        }
    }
}
