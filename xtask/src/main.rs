//! `cargo xtask` writes what is generated: the option reference of `DOCS.md`, the schema of
//! `config.yaml`, the table of each page in `docs/consumers/`. `cargo xtask --check` only says which
//! of them are not current, and exits with 1 then. No household runs it, so it is no command of the
//! program.

mod generated;
mod options;
mod products;
mod schema;

use std::process::ExitCode;

use anyhow::{Result, bail};

use generated::Generated;

/// All that is generated.
fn all() -> Result<Vec<Generated>> {
    let mut all = vec![options::reference()?, schema::schema()?];
    for profile in profiles::all() {
        all.push(products::page(profile)?);
    }
    Ok(all)
}

fn main() -> Result<ExitCode> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            bail!("{other} is unknown: `cargo xtask` writes, `cargo xtask --check` looks")
        }
    };
    let mut stale = false;
    for file in all()?.iter().filter(|file| !file.is_current()) {
        stale = true;
        if check {
            println!("{} is not current: cargo xtask", file.path.display());
        } else {
            file.write()?;
            println!("{} is written", file.path.display());
        }
    }
    Ok(ExitCode::from(u8::from(check && stale)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_generated_is_current() {
        let all = all().unwrap();
        let stale: Vec<_> = all.iter().filter(|file| !file.is_current()).collect();
        let names: Vec<_> = stale.iter().map(|file| &file.path).collect();
        assert!(names.is_empty(), "not current: {names:?}; cargo xtask");
    }

    #[test]
    fn a_file_without_the_place_for_it_is_named() {
        let missing = Generated::between("README.md", "<!-- nothing:begin -->\n", "", "x");
        let said = missing.err().unwrap().to_string();
        assert!(said.starts_with("README.md has no "), "{said}");
    }
}
