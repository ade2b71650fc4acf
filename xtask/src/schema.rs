//! The schema of the app's options in `config.yaml`.

use std::fmt::Write;

use anyhow::Result;
use config::{Schema, definitions};

use super::generated::Generated;

/// A scalar of the schema; only what has YAML's own signs in it is quoted.
fn scalar(kind: &str) -> String {
    if kind.starts_with("match(") {
        format!("'{kind}'")
    } else {
        kind.to_owned()
    }
}

/// `config.yaml`.
pub fn schema() -> Result<Generated> {
    Generated::between("config.yaml", "schema:\n", "", &elements())
}

fn elements() -> String {
    let mut out = String::new();
    for def in definitions::all() {
        match def.schema() {
            None => {}
            Some(Schema::Scalar(kind)) => {
                let _ = writeln!(out, "  {}: {}", def.key, scalar(&kind));
            }
            Some(Schema::List(kind)) => {
                let _ = writeln!(out, "  {}:\n    - {}", def.key, scalar(&kind));
            }
            Some(Schema::Dictionaries(members)) => {
                let _ = writeln!(out, "  {}:", def.key);
                for (at, (key, kind)) in members.iter().enumerate() {
                    let _ = writeln!(
                        out,
                        "    {} {key}: {}",
                        if at == 0 { "-" } else { " " },
                        scalar(kind)
                    );
                }
            }
        }
    }
    out
}
