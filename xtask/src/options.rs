//! The option reference of `DOCS.md`.

use std::fmt::Write;

use anyhow::Result;
use config::{
    definition::{Definition, Group, Kind},
    definitions,
};

use super::generated::Generated;

const BEGIN: &str = "<!-- options:begin -->\n";
const END: &str = "<!-- options:end -->";

const INTRO: &str = "\
Each option has one name. In the options file it is the key below; on the command line `--key-with-dashes`; in the environment the name \
in the fourth column. Layers, a later one wins: defaults, the profile of a product that `readers` names, what a reader set through the device's RPC (options marked *device*), options \
file, the app's Network card, environment, command line. Lists are separated by commas in environment and command line. Booleans are \
`true` and `false`, in the environment also `1 yes on` and `0 no off`. Empty is not set.

Marks: *plain*: not in the app's options, where the Network card and the Supervisor say it; *live*: takes effect without a restart; \
*device*: also settable through the device's RPC; *safety*: as an app, a wrong value makes the phases absent instead of being replaced by \
the default, because a default could mean a wrong sign or size.
";

/// `DOCS.md`.
pub fn reference() -> Result<Generated> {
    Generated::between("DOCS.md", BEGIN, END, &markdown())
}

fn markdown() -> String {
    let mut out = format!("\n{INTRO}");
    for group in Group::all() {
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
        .map(|member| format!("`{}`", member.key))
        .collect();
    let inherited: Vec<String> = definitions::all()
        .filter(|def| def.inherited)
        .map(|def| format!("`{}`", def.key))
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
        inherited.join(", "),
        members.join(" "),
    );
    out.push('\n');
    out
}

fn row(def: &Definition) -> String {
    let value = def.kind.limit().to_string().replace('|', "\\|");
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
