//! What a start finds lost: a database that is gone, older than it was, or with cells that cannot
//! be read. All works with what is left, so nobody would notice; the lines made here keep the meter
//! `degraded` for a day.

use std::{fs, path::Path};

use super::DATABASE_FILE;

/// What the sidecar says of a database that a start found, or began anew.
pub(super) struct DatabaseBefore {
    /// Wall time of its last commit that the sidecar knows of, Unix s.
    pub seen: Option<f64>,
    /// Its log has commits that cannot be read.
    pub log_damaged: bool,
}

/// A commit may come between the sidecar's figure and the stop; none goes missing.
const SLACK: f64 = 1.0;

impl DatabaseBefore {
    /// One line for a person, or none where nothing is lost. `fresh`: there was no database.
    /// `seen`: its last commit, Unix s.
    pub fn line(&self, path: &Path, fresh: bool, seen: f64) -> Option<String> {
        let stamp = |unix: f64| {
            jiff::Timestamp::from_second(unix as i64)
                .map_or_else(|_| "an unknown time".into(), |ts| ts.to_string())
        };
        let name = path.display();
        match self.seen {
            Some(was) if fresh => Some(format!(
                "{name} is missing or empty although it was written until {}: a new one was begun; identity, password, settings and counters go on \
                 as {} kept them, charts, minute records, models and keys of scripts are lost",
                stamp(was),
                super::SIDECAR_FILE
            )),
            Some(was) if was > seen + SLACK => Some(format!(
                "{name} has lost what was written between {} and {}: samples, minute records and settings of that time are gone, counters go on as {} \
                 kept them",
                stamp(seen),
                stamp(was),
                super::SIDECAR_FILE
            )),
            _ if self.log_damaged => Some(format!(
                "the log of {name} is damaged: what was written after {} is lost, counters may be back by some minutes",
                stamp(seen)
            )),
            _ => None,
        }
    }
}

/// Whether the write-ahead log holds whole commits that SQLite will not play back, since something
/// before them is damaged. The torn end that a power cut leaves is none: nobody was told that it
/// was kept.
pub(super) fn log_damaged(path: &Path) -> bool {
    let Ok(log) = fs::read(format!("{}-wal", path.display())) else {
        return false;
    };
    if log.is_empty() {
        return false;
    }
    let word = |at: usize| {
        log.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_be_bytes)
    };
    let (Some(magic), Some(page)) = (word(0), word(8)) else {
        return log.iter().any(|b| *b != 0);
    };
    let big = magic == 0x377f_0683;
    if !(big || magic == 0x377f_0682) || !(512..=65_536).contains(&page) {
        return log.iter().any(|b| *b != 0);
    }
    let sum = |range: std::ops::Range<usize>, (mut a, mut b): (u32, u32)| {
        for pair in log.get(range).unwrap_or_default().chunks_exact(8) {
            let half = |i: usize| {
                let bytes = [pair[i], pair[i + 1], pair[i + 2], pair[i + 3]];
                if big {
                    u32::from_be_bytes(bytes)
                } else {
                    u32::from_le_bytes(bytes)
                }
            };
            a = a.wrapping_add(half(0)).wrapping_add(b);
            b = b.wrapping_add(half(4)).wrapping_add(a);
        }
        (a, b)
    };
    let mut check = sum(0..24, (0, 0));
    if word(24) != Some(check.0) || word(28) != Some(check.1) {
        return true;
    }
    let (salt, frame) = ((word(16), word(20)), 24 + page as usize);
    let (mut sound, mut commits_after) = (true, 0);
    for at in (32..)
        .step_by(frame)
        .take_while(|at| at + frame <= log.len())
    {
        if (word(at + 8), word(at + 12)) != salt {
            // Left by an earlier round, or the damage itself.
            sound = false;
            continue;
        }
        if sound {
            check = sum(at..at + 8, check);
            check = sum(at + 24..at + frame, check);
            sound = word(at + 16) == Some(check.0) && word(at + 20) == Some(check.1);
        }
        if !sound && word(at + 4).is_some_and(|pages| pages > 0) {
            commits_after += 1;
        }
    }
    commits_after > 1
}

/// One line of what a database held that could not be read.
pub(super) fn unreadable(what: &[String]) -> Option<String> {
    let all = what.join(", ");
    (!what.is_empty()).then(|| {
        format!(
            "{DATABASE_FILE}: {all} could not be read; {} takes their place where it has them",
            super::SIDECAR_FILE
        )
    })
}
