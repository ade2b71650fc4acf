//! A file of the repository with a generated part.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// A file with a generated part.
pub struct Generated {
    /// From the top of the repository.
    pub path: PathBuf,
    /// The whole file, as it is.
    old: String,
    /// The whole file, as it should be.
    new: String,
}

impl Generated {
    /// The file at `path` with what stands between the lines `begin` and `end` replaced. An empty
    /// `end` is the end of the file.
    pub fn between(path: impl Into<PathBuf>, begin: &str, end: &str, part: &str) -> Result<Self> {
        let path = path.into();
        let old = fs::read_to_string(root().join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let found = old.split_once(begin).and_then(|(before, rest)| {
            let after = if end.is_empty() {
                ""
            } else {
                rest.split_once(end)?.1
            };
            Some(format!("{before}{begin}{part}{end}{after}"))
        });
        let Some(new) = found else {
            bail!("{} has no {begin:?} … {end:?}", path.display());
        };
        Ok(Self { path, old, new })
    }

    pub fn is_current(&self) -> bool {
        self.old == self.new
    }

    /// By renaming, so that whoever reads it meanwhile sees the old one or the new one.
    pub fn write(&self) -> Result<()> {
        let at = root().join(&self.path);
        let beside = at.with_extension("new");
        fs::write(&beside, &self.new)
            .and_then(|()| fs::rename(&beside, &at))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The top of the repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
