//! The Python original's `state.json`, once: energy (kWh → Wh) for the meter to add, samples for
//! the charts.
//!
//! The file can have 100 MB. It is read twice as a stream ([`super::original`]), first to see that
//! it is whole, then for its rows, and never held in memory.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, UNIX_EPOCH},
};

use tokio::sync::oneshot;

use super::{original::read, shared::Shared, types::StoreError, writer::Control};
use meter::Energy;

/// Rows a transaction takes.
const CHUNK: usize = 5_000;

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

/// Rows on their way to the writer, 0.1 W: samples, and minutes as `ts, w, mn, mx, n`.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub samples: Vec<(i64, i64)>,
    pub means: Vec<(i64, i64, i64, i64, i64)>,
}

/// Reads the file in the background; the receiver gets the energy once the samples are in.
pub(super) fn start(
    shared: Arc<Shared>,
    control: mpsc::Sender<Control>,
    path: PathBuf,
    raw_days: u32,
) -> io::Result<oneshot::Receiver<Import>> {
    let (send, receive) = oneshot::channel();
    std::thread::Builder::new()
        .name("store-import".into())
        .spawn(move || match run(&shared, &control, &path, raw_days) {
            Ok(Some(import)) => {
                let _ = send.send(import);
            }
            Ok(None) => {}
            Err(StoreError(error)) => {
                tracing::error!("{}: {error}; it is left as it is", path.display());
            }
        })?;
    Ok(receive)
}

fn run(
    shared: &Shared,
    control: &mpsc::Sender<Control>,
    path: &Path,
    raw_days: u32,
) -> Result<Option<Import>, StoreError> {
    let mark = mark(path)?;
    if shared.imported()?.as_ref() == Some(&mark) {
        // Its counters are in; only the renaming is missing.
        let _ = control.send(Control::Imported(path.to_owned()));
        return Ok(None);
    }
    let energy = read(path, &mut |_, _| Ok(()))?;
    let now = shared.clock.now().unix_s();
    let mut sorter = Sorter {
        now,
        raw_from: now - i64::from(raw_days) * 86_400,
        rows: Rows::default(),
        open: None,
        count: 0,
    };
    read(path, &mut |ts, w| {
        sorter.add(ts, w, &mut |rows| hand_over(shared, control, rows))
    })?;
    sorter.close_minute();
    hand_over(shared, control, std::mem::take(&mut sorter.rows))?;
    Ok(Some(Import {
        energy,
        samples: sorter.count,
        path: path.to_owned(),
        mark,
    }))
}

/// A file is known by size and time of change.
fn mark(path: &Path) -> Result<String, StoreError> {
    let meta = std::fs::metadata(path).map_err(|e| StoreError(format!("cannot be read: {e}")))?;
    let changed = meta
        .modified()
        .ok()
        .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    Ok(format!("{}:{}", meta.len(), changed.as_millis()))
}

fn hand_over(
    shared: &Shared,
    control: &mpsc::Sender<Control>,
    mut rows: Rows,
) -> Result<(), StoreError> {
    while !(rows.samples.is_empty() && rows.means.is_empty()) {
        if shared.is_closing() {
            return Err(StoreError(
                "the import was stopped and begins anew at the next start".into(),
            ));
        }
        if shared.is_frozen() {
            std::thread::sleep(Duration::from_millis(200));
            continue;
        }
        let (send, receive) = mpsc::channel();
        let again = Rows {
            samples: rows.samples.clone(),
            means: rows.means.clone(),
        };
        let ack = Box::new(move |answer| {
            let _ = send.send(answer);
        });
        control
            .send(Control::Import(rows, ack))
            .map_err(|_| StoreError("the store is closed".into()))?;
        match receive.recv() {
            Ok(Ok(())) => return Ok(()),
            // A backup came in between.
            Ok(Err(_)) if shared.is_frozen() => rows = again,
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                return Err(StoreError(
                    "the import was stopped and begins anew at the next start".into(),
                ));
            }
        }
    }
    Ok(())
}

/// Puts samples where they belong: recent ones raw, all of them into their minute.
struct Sorter {
    now: i64,
    raw_from: i64,
    rows: Rows,
    /// Minute, sum, smallest, largest, count.
    open: Option<(i64, i64, i64, i64, i64)>,
    count: u64,
}

impl Sorter {
    fn add(
        &mut self,
        ts: f64,
        w: f64,
        full: &mut dyn FnMut(Rows) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let ts = ts.floor() as i64;
        if ts <= 0 || ts > self.now || w.abs() > 1e7 {
            return Ok(());
        }
        self.count += 1;
        let (minute, deci) = (ts - ts.rem_euclid(60), (w * 10.0).round() as i64);
        if ts >= self.raw_from {
            self.rows.samples.push((ts, deci));
        }
        match &mut self.open {
            Some((open, sum, mn, mx, n)) if *open == minute => {
                *sum += deci;
                *mn = deci.min(*mn);
                *mx = deci.max(*mx);
                *n += 1;
            }
            _ => {
                self.close_minute();
                self.open = Some((minute, deci, deci, deci, 1));
            }
        }
        if self.rows.samples.len() + self.rows.means.len() >= CHUNK {
            full(std::mem::take(&mut self.rows))
        } else {
            Ok(())
        }
    }

    fn close_minute(&mut self) {
        if let Some((minute, sum, mn, mx, n)) = self.open.take() {
            self.rows
                .means
                .push((minute, (sum as f64 / n as f64).round() as i64, mn, mx, n));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn old_samples_become_minute_means() {
        let mut sorter = Sorter {
            now: 10_000,
            raw_from: 9_000,
            rows: Rows::default(),
            open: None,
            count: 0,
        };
        for (ts, w) in [
            (60.0, 1.0),
            (90.5, 2.0),
            (120.0, 4.0),
            (9_000.0, 5.0),
            (10_001.0, 9.0),
        ] {
            sorter.add(ts, w, &mut |_| Ok(())).unwrap();
        }
        sorter.close_minute();
        assert_eq!(sorter.rows.samples, [(9_000, 50)]);
        assert_eq!(
            sorter.rows.means,
            [
                (60, 15, 10, 20, 2),
                (120, 40, 40, 40, 1),
                (9_000, 50, 50, 50, 1)
            ]
        );
        assert_eq!(sorter.count, 4);
    }
}
