//! The Python original's `state.json`, once: energy (kWh → Wh) for the meter to add, samples for
//! the charts.
//!
//! The file can have 100 MB. It is read twice as a stream ([`super::original`]), first to see that
//! it is whole, then for its rows, and never held in memory.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, UNIX_EPOCH},
};

use tokio::sync::oneshot;

use super::{
    loss::shown,
    original::read,
    shared::Shared,
    types::{Bar, Import, Rows, StoreError},
    writer::Command,
};
use config::settings::StoreSettings;
use vocab::reason::{Reason, Unkept};

/// Rows a transaction takes.
const CHUNK: usize = 5_000;

/// Reads the file, if there is one, in the background; the receiver gets the energy once the
/// samples are in.
pub(super) fn start(
    settings: &StoreSettings,
    shared: &Arc<Shared>,
    commands: &mpsc::Sender<Command>,
    problems: &mut Vec<Reason>,
) -> Option<oneshot::Receiver<Import>> {
    let in_folder = || settings.data_dir.join("state.json");
    let path = settings.state_path.clone().unwrap_or_else(in_folder);
    if !path.is_file() {
        return None;
    }
    let (send, receive) = oneshot::channel();
    let (shown, raw_days) = (shown(&path), settings.raw_days);
    let (shared, commands) = (Arc::clone(shared), commands.clone());
    let reading = move || match run(&shared, &commands, &path, raw_days) {
        Ok(Some(import)) => {
            let _ = send.send(import);
        }
        Ok(None) => {}
        Err(StoreError(error)) => {
            tracing::error!(path = %path.display(), "{error}; it is left as it is");
        }
    };
    let thread = std::thread::Builder::new().name("store-import".into());
    if let Err(error) = thread.spawn(reading) {
        let (path, error) = (shown, error.into());
        problems.push(Unkept::NotImported { path, error }.into());
        return None;
    }
    Some(receive)
}

fn run(
    shared: &Shared,
    commands: &mpsc::Sender<Command>,
    path: &Path,
    raw_days: u32,
) -> Result<Option<Import>, StoreError> {
    let mark = mark(path)?;
    if shared.imported()?.as_ref() == Some(&mark) {
        // Its counters are in; only the renaming is missing.
        let path = path.to_owned();
        let _ = commands.send(Box::new(|writer| writer.imported(path)));
        return Ok(None);
    }
    let energy = read(path, &mut |_, _| Ok(()))?;
    let now = shared.clock.now().unix_s();
    let mut sorter = Sorter::new(now, now - i64::from(raw_days) * 86_400);
    read(path, &mut |ts, w| {
        sorter.add(ts, w, &mut |rows| hand_over(shared, commands, rows))
    })?;
    sorter.close_minute();
    hand_over(shared, commands, std::mem::take(&mut sorter.rows))?;
    Ok(Some(Import {
        energy,
        samples: sorter.count,
        path: path.to_owned(),
        mark,
    }))
}

/// A file is known by size and time of change.
fn mark(path: &Path) -> Result<String, StoreError> {
    let meta = std::fs::metadata(path).map_err(|e| Unkept::StateUnread { error: e.into() })?;
    let changed = meta
        .modified()
        .ok()
        .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    Ok(format!("{}:{}", meta.len(), changed.as_millis()))
}

fn hand_over(
    shared: &Shared,
    commands: &mpsc::Sender<Command>,
    rows: Rows,
) -> Result<(), StoreError> {
    let rows = Arc::new(rows);
    while !(rows.samples.is_empty() && rows.means.is_empty()) {
        if shared.is_closing() {
            return Err(Unkept::ImportStopped.into());
        }
        if shared.is_frozen() {
            std::thread::sleep(Duration::from_millis(200));
            continue;
        }
        let (send, receive) = mpsc::channel();
        let rows = Arc::clone(&rows);
        commands
            .send(Box::new(move |writer| _ = send.send(writer.import(&rows))))
            .map_err(|_| Unkept::StoreClosed)?;
        match receive.recv().map_err(|_| Unkept::ImportStopped)? {
            // A backup came in between.
            Err(_) if shared.is_frozen() => {}
            answer => return answer,
        }
    }
    Ok(())
}

/// Puts samples where they belong: recent ones raw, all of them into their minute.
struct Sorter {
    now: i64,
    raw_from: i64,
    rows: Rows,
    /// The minute under way, with the sum of its samples in place of the mean; 0.1 W.
    open: Option<Bar>,
    count: u64,
}

impl Sorter {
    fn new(now: i64, raw_from: i64) -> Self {
        Self {
            now,
            raw_from,
            rows: Rows::default(),
            open: None,
            count: 0,
        }
    }

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
        let sample = Bar::of(minute, deci as f64);
        match &mut self.open {
            Some(open) if open.ts == minute => open.add(sample),
            _ => {
                self.close_minute();
                self.open = Some(sample);
            }
        }
        if self.rows.samples.len() + self.rows.means.len() >= CHUNK {
            full(std::mem::take(&mut self.rows))
        } else {
            Ok(())
        }
    }

    fn close_minute(&mut self) {
        self.rows.means.extend(self.open.take().map(|open| Bar {
            w: (open.w / f64::from(open.n)).round(),
            ..open
        }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn old_samples_become_minute_means() {
        let mut sorter = Sorter::new(10_000, 9_000);
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
        let first = Bar {
            ts: 60,
            w: 15.0,
            mn: 10.0,
            mx: 20.0,
            n: 2,
        };
        let means = [first, Bar::of(120, 40.0), Bar::of(9_000, 50.0)];
        assert_eq!(sorter.rows.means, means);
        assert_eq!(sorter.count, 4);
    }
}
