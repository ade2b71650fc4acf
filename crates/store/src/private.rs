//! Who may read the data folder: its owner. The digest of the password lies in it, and when
//! somebody is at home.
//!
//! What cannot be made private is used as it is.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::{DATABASE_FILE, SIDECAR_FILE, schema::beside};

/// How the names begin of what is ours in the folder.
const OURS: [&str; 6] = [
    DATABASE_FILE,
    SIDECAR_FILE,
    "options.json",
    "state.json",
    "control.sock",
    "models",
];

/// Makes the folder, for its owner alone. One that is there is closed to others if nothing but ours
/// lies in it.
///
/// # Errors
/// When it cannot be made.
pub(super) fn folder(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if let Ok(entries) = fs::read_dir(dir) {
        let ours = entries.flatten().all(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            OURS.iter().any(|own| name.starts_with(own))
        });
        if ours {
            tighten(dir, 0o700);
        }
    }
    Ok(())
}

/// Makes the database's file if there is none, so that SQLite gives its log and index the same
/// mode.
pub(super) fn database(path: &Path) {
    file(path);
    for ending in ["-wal", "-shm"] {
        tighten(&beside(path, ending), 0o600);
    }
}

/// A file for its owner alone.
pub(super) fn file(path: &Path) {
    let mut new = OpenOptions::new();
    new.write(true).create_new(true).mode(0o600);
    if new.open(path).is_err() {
        tighten(path, 0o600);
    }
}

fn tighten(path: &Path, mode: u32) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return;
    };
    let now = meta.permissions().mode();
    if !meta.is_symlink() && now & 0o7077 != 0 {
        let _ = fs::set_permissions(path, Permissions::from_mode(mode & (now | 0o700)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_owner_alone_reads_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("new/data");
        folder(&data).unwrap();
        assert_eq!(mode(&data), 0o700);
        let path = data.join(DATABASE_FILE);
        database(&path);
        assert_eq!(mode(&path), 0o600);
        // An installation of before.
        for (path, open) in [(&path, 0o644), (&data, 0o755)] {
            fs::set_permissions(path, Permissions::from_mode(open)).unwrap();
        }
        folder(&data).unwrap();
        database(&path);
        assert_eq!((mode(&data), mode(&path)), (0o700, 0o600));
    }

    #[test]
    fn a_folder_of_others_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("configuration.yaml"), "").unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        folder(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), 0o755);
    }
}
