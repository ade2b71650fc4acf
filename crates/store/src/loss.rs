//! What a start finds lost: a database that is gone, older than it was, or with cells that cannot
//! be read. All works with what is left, so nobody would notice; the lines made here keep the meter
//! `degraded` for a day.

use std::{path::Path, sync::Arc};

use super::DATABASE_FILE;
use vocab::reason::Unkept;

/// A commit may come between the sidecar's figure and the stop; none goes missing.
const SLACK: f64 = 1.0;

/// What is gone of a database that was last written at `was`, as the sidecar says, and now has
/// nothing that is newer than `seen` (both Unix s). `fresh`: there was none.
pub(super) fn since(path: &Path, was: f64, fresh: bool, seen: f64) -> Option<Unkept> {
    let stamp = |unix: f64| {
        jiff::Timestamp::from_second(unix as i64)
            .map_or_else(|_| "?".into(), |ts| ts.to_string())
            .into()
    };
    let (path, sidecar) = (shown(path), super::SIDECAR_FILE);
    if fresh {
        let time = stamp(was);
        Some(Unkept::Gone {
            path,
            time,
            sidecar,
        })
    } else {
        (was > seen + SLACK).then(|| Unkept::Older {
            path,
            from: stamp(seen),
            to: stamp(was),
            sidecar,
        })
    }
}

/// One line of what a database held that could not be read.
pub(super) fn unreadable(what: &[String]) -> Option<Unkept> {
    (!what.is_empty()).then(|| Unkept::CellsLost {
        path: DATABASE_FILE.into(),
        list: what.join(", ").into(),
        sidecar: super::SIDECAR_FILE,
    })
}

/// A path in a reason.
pub(super) fn shown(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}
