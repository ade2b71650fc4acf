//! What goes in and out of the store.

use std::{path::PathBuf, time::Duration};

use meter::{Counter, Energy, MinuteRecord};
use rusqlite::ErrorCode;
use vocab::reason::{Cause, Failure, Reason, Unkept};

/// Identity and counters of one meter, as kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeterRow {
    /// 12 capitals; empty while there is none.
    pub mac: String,
    /// Counters as counted, Wh.
    pub energy: Energy,
    /// How much more may have been served when the row is found after a stop without notice, Wh.
    pub reserve: Energy,
    /// Sums that no reset lowers, Wh.
    pub lifetime: Energy,
    /// What this run of the process has counted of them, Wh; not kept.
    pub counted: Energy,
    /// When the counters were last reset, Unix s; 0 never.
    pub reset_at: f64,
    /// What else the meter keeps, JSON; the store does not look into it.
    pub extra: String,
    /// Where this run of the process stands with it.
    pub run: Run,
}

/// What belongs to a [`MeterRow`] while its process runs: told back by [`super::Store::kept`] once
/// the row is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// How far the counters may be served then, Wh; `None` while they wait for their seed.
    pub limit: Option<Energy>,
    /// One of them stands at that limit: to be committed soon.
    pub short: bool,
    /// How often the counters were reset.
    pub resets: u32,
    /// Start of the newest whole minute handed over before, Unix s; 0 without one.
    pub minute: i64,
    /// The minute under way, with the energy that the counters hold of it. After a stop without
    /// notice it becomes a record.
    pub under_way: Option<MinuteRecord>,
}

impl MeterRow {
    /// What to start with, from the database and the sidecar: the newer reset, then the higher
    /// counter (`docs/decisions.md#the-sidecar`). Lifetime sums only ever grow.
    #[must_use]
    pub fn newest(database: Option<Self>, sidecar: Option<Self>) -> Option<Self> {
        // The sidecar keeps milliseconds.
        const SAME_RESET: f64 = 0.002;
        let (mut row, side) = match (database, sidecar) {
            (Some(row), Some(side)) => (row, side),
            (row, side) => return row.or(side),
        };
        if side.reset_at > row.reset_at + SAME_RESET {
            row.reserve = side.reserve;
            row.energy = side.energy;
            row.reset_at = side.reset_at;
        } else if side.reset_at > row.reset_at - SAME_RESET {
            let ceiling = row.ceiling().max(side.ceiling());
            row.energy = row.energy.max(side.energy);
            row.reserve = (ceiling - row.energy).max(Energy::default());
        }
        row.lifetime = row.lifetime.max(side.lifetime);
        if row.mac.is_empty() {
            row.mac = side.mac;
        }
        Some(row)
    }

    /// How far the counters may have been served, Wh.
    #[must_use]
    pub fn ceiling(&self) -> Energy {
        self.energy + self.reserve
    }

    /// What to keep of a meter that began without its folder, which held `base`: its own reset
    /// stands if that is newer, else it adds to what was there.
    pub(super) fn upon(mut self, base: &Self) -> Self {
        if self.reset_at <= base.reset_at {
            self.energy = self.energy.max(base.energy + self.counted);
            self.reset_at = base.reset_at;
        }
        self.lifetime = self.lifetime.max(base.lifetime + self.counted);
        if !base.mac.is_empty() {
            self.mac.clone_from(&base.mac);
        }
        self
    }
}

/// A stretch of time of the house total: a minute, or a column of a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// Start, Unix s.
    pub ts: i64,
    /// Mean, W.
    pub w: f64,
    /// Smallest sample, W.
    pub mn: f64,
    /// Largest sample, W.
    pub mx: f64,
    /// How many samples.
    pub n: u32,
}

impl Bar {
    /// A sample, as a stretch of one.
    pub(super) const fn of(ts: i64, w: f64) -> Self {
        let (mn, mx, n) = (w, w, 1);
        Self { ts, w, mn, mx, n }
    }

    /// Takes the samples of another one in, where `w` is the sum of both.
    pub(super) fn add(&mut self, other: Self) {
        self.w += other.w;
        self.mn = self.mn.min(other.mn);
        self.mx = self.mx.max(other.mx);
        self.n = self.n.saturating_add(other.n);
    }
}

/// Energy is kept by the quarter of an hour: the offset of every time zone is a multiple of it, so
/// days and months are sums of whole rows anywhere.
pub(super) const QUARTER: i64 = 900;

/// Energy of a stretch of time: the sum of its minute records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergySpan {
    /// Start, Unix s.
    pub from: i64,
    /// End, Unix s, not included.
    pub to: i64,
    /// By the power, Wh: each phase by its sign, and their sum by its own; `None` where nothing was
    /// recorded, which is not the same as 0.
    pub energy: Option<Energy>,
    /// What energy entities counted beyond that, Wh, where they count; may be negative.
    pub followed: Energy,
    /// What the netted energy of it cost and brought.
    pub money: Money,
}

impl EnergySpan {
    /// As the device counts: each direction is the sum over the phases.
    #[must_use]
    pub fn sum(&self) -> Option<Counter> {
        Some(positive(self.counted()?.sum()))
    }

    /// As a utility's meter counts: by the sign of the phases' sum at each moment.
    #[must_use]
    pub fn net(&self) -> Option<Counter> {
        Some(positive(self.counted()?.net))
    }

    fn counted(&self) -> Option<Energy> {
        Some(self.energy? + self.followed)
    }
}

/// A late counter owes something: no energy is negative.
fn positive(counter: Counter) -> Counter {
    Counter::new(counter.import.max(0.0), counter.export.max(0.0))
}

/// Money of a stretch of time, in the house's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Money {
    /// What was drawn cost so much.
    pub cost: f64,
    /// What was fed in brought so much.
    pub income: f64,
    /// Drawn while its price was known, Wh.
    pub priced: f64,
    /// Fed in while its price was known, Wh.
    pub paid: f64,
}

/// What a kWh costs from a time on, in the house's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// From the grid; `None` while nobody knows.
    pub import: Option<f64>,
    /// To the grid, positive is income.
    pub export: Option<f64>,
}

/// Something that went wrong. What it is the store does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Its number: a later one is greater.
    pub id: i64,
    /// Whose: the meter's key.
    pub meter: String,
    /// What sort.
    pub kind: String,
    /// Which of that sort.
    pub subject: String,
    /// Since when, Unix s.
    pub since: f64,
    /// Until when, Unix s; `None` while it lasts.
    pub ended: Option<f64>,
    /// All else, JSON.
    pub detail: String,
}

/// A stored model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// What describes it, JSON.
    pub meta: String,
    /// Its weights, in its own format.
    pub blob: Vec<u8>,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreState {
    /// Commits succeed.
    Ok,
    /// Nothing is kept over a restart.
    InMemory {
        /// Why.
        reason: Reason,
    },
    /// Closed for a backup; what comes is buffered.
    Frozen,
    /// Commits fail; what comes is buffered and they are tried again.
    Failing {
        /// Since when, Unix s.
        since: f64,
        /// The error.
        reason: Reason,
    },
}

/// A damaged database that was set aside since the start; a new one took its place.
#[derive(Clone, Debug, PartialEq)]
pub struct SetAside {
    /// Which file, what goes on and what is lost.
    pub line: Reason,
    /// How long ago.
    pub age: Duration,
}

/// Figures for the health page.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreHealth {
    /// The database; `None` in memory.
    pub path: Option<PathBuf>,
    /// How it is.
    pub state: StoreState,
    /// Last successful commit, Unix s.
    pub last_commit: Option<f64>,
    /// Samples, minute means and records, counted at start and hourly.
    pub rows: u64,
    /// Database and its log on disk.
    pub bytes: u64,
    /// Rows that were given up because the buffer was full.
    pub dropped: u64,
    /// Oldest first; the last few.
    pub set_aside: Vec<SetAside>,
}

/// The store cannot do what was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub Reason);

impl From<Unkept> for StoreError {
    fn from(why: Unkept) -> Self {
        Self(why.into())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Unkept::Database {
            error: cause(&error),
        }
        .into()
    }
}

/// What SQLite said.
pub(super) fn cause(error: &rusqlite::Error) -> Cause {
    let failure = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Some(Failure::DiskFull),
        Some(ErrorCode::ReadOnly) => Some(Failure::ReadOnly),
        Some(ErrorCode::CannotOpen) => Some(Failure::CannotOpen),
        Some(ErrorCode::SystemIoFailure) => Some(Failure::DiskFault),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Some(Failure::Locked),
        Some(ErrorCode::PermissionDenied) => Some(Failure::Forbidden),
        _ => None,
    };
    Cause {
        failure,
        ..Cause::said(error.to_string())
    }
}

/// What the original's file held; its samples are in the store already.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// To be added to the first meter's counters, Wh.
    pub energy: Energy,
    /// Samples that were read.
    pub samples: u64,
    /// The file.
    pub path: PathBuf,
    pub(super) mark: String,
}

/// Rows on their way to the writer, whole 0.1 W: samples, and minutes with their mean.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub samples: Vec<(i64, i64)>,
    pub means: Vec<Bar>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(import: f64, reset_at: f64) -> MeterRow {
        let energy = Energy::from_array([import; 8]);
        MeterRow {
            mac: "AA".into(),
            energy,
            lifetime: energy,
            reset_at,
            extra: "{}".into(),
            ..MeterRow::default()
        }
    }

    #[test]
    fn the_newer_reset_wins_then_the_higher_counter() {
        for (database, sidecar, wins) in [
            ((10.0, 5.0), (20.0, 5.0004), (20.0, 5.0)),
            ((20.0, 5.0), (10.0, 5.0), (20.0, 5.0)),
            ((20.0, 5.0), (1.0, 6.0), (1.0, 6.0)),
            ((1.0, 6.0), (20.0, 5.0), (1.0, 6.0)),
        ] {
            let [database, sidecar, wins] =
                [database, sidecar, wins].map(|(import, reset_at)| row(import, reset_at));
            let lifetime = row(20.0, 0.0).energy;
            assert_eq!(
                MeterRow::newest(Some(database), Some(sidecar)),
                Some(MeterRow { lifetime, ..wins })
            );
        }
        let one = || Some(row(3.0, 0.0));
        assert_eq!(MeterRow::newest(None, one()), one());
        assert_eq!(MeterRow::newest(None, None), None);
    }
}
