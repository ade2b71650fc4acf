//! A store that had to begin in memory finds its folder: tried again until it opens, and what came
//! meanwhile is kept.
//!
//! Who the meter is and what it serves cannot change while it is read: that stays as it began. Only
//! what is *kept* is put on top of what the folder held, so that the next start has the folder's
//! identity and all that was ever counted, and no counter jumps while somebody books it
//! (`docs/decisions.md#energy-counters`, `docs/decisions.md#the-sidecar`).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use rusqlite::Connection;

use super::{
    DATABASE_FILE,
    buffer::Batch,
    codec,
    commit::Progress,
    machine::fallback_mac,
    open::{Kept, merge, open_database, open_sidecar, start_check},
    part,
    retention::Keep,
    schema::{self, DatabasePlace},
    series,
    shared::lock,
    types::{MeterRow, QUARTER, add, from_numbers, to_numbers},
    writer::{Writer, hold},
};
use config::settings::StoreSettings;
use meter::Energy;
use vocab::Now;

/// How often the folder is tried.
const EVERY: Duration = Duration::from_secs(60);

/// A minute mean: `ts, w, mn, mx, n`, in 0.1 W.
type Mean = (i64, i64, i64, i64, i64);

/// What a writer in memory has to know to move into its folder.
pub(super) struct Heal {
    settings: StoreSettings,
    /// What this run began with.
    began: BTreeMap<String, MeterRow>,
    /// Keys of the state that it began with.
    knew: BTreeSet<String>,
    /// What it had counted when the folder was last seen in another process's hands, which counted
    /// the same.
    elsewhere: BTreeMap<String, Energy>,
    /// Meters whose records were deleted since.
    pub cleared: BTreeSet<String>,
    due: Duration,
}

impl Heal {
    pub(super) fn new(
        settings: &StoreSettings,
        began: &BTreeMap<String, MeterRow>,
        state: &BTreeMap<String, String>,
        now: Now,
    ) -> Self {
        Self {
            settings: settings.clone(),
            began: began.clone(),
            knew: state.keys().cloned().collect(),
            elsewhere: BTreeMap::new(),
            cleared: BTreeSet::new(),
            due: now.mono + EVERY,
        }
    }
}

/// What a folder held of a meter that began without it.
#[derive(Debug, Default)]
pub(super) struct Base {
    row: MeterRow,
    /// Of what this run counted, what the folder's counters hold too.
    elsewhere: Energy,
    /// The MAC of a meter without a folder.
    makeshift: String,
}

impl Base {
    /// What to keep of a meter that counts on its own: its newer reset stands, else it adds to what
    /// was there.
    pub(super) fn under(&self, mut row: MeterRow) -> MeterRow {
        let counted = from_numbers(subtract(
            to_numbers(&row.counted),
            to_numbers(&self.elsewhere),
        ));
        row.lifetime = add(&self.row.lifetime, &counted);
        if row.reset_at <= self.row.reset_at {
            row.energy = add(&self.row.energy, &counted);
            row.reset_at = self.row.reset_at;
        }
        if !self.row.mac.is_empty() && row.mac == self.makeshift {
            row.mac.clone_from(&self.row.mac);
        }
        row
    }
}

fn subtract(a: [f64; 8], b: [f64; 8]) -> [f64; 8] {
    std::array::from_fn(|i| (a[i] - b[i]).max(0.0))
}

impl Writer {
    /// Looks whether the folder can be used by now, if that is due.
    pub(super) fn try_folder(&mut self, now: Now) {
        if self.heal.as_ref().is_none_or(|heal| now.mono < heal.due) {
            return;
        }
        // What waits moves in with the rest.
        let _ = self.commit();
        let Some(mut heal) = self.heal.take() else {
            return;
        };
        if let Err(reason) = self.move_in(&mut heal) {
            tracing::debug!("the data folder was tried again: {reason}");
            self.shared
                .change_health(|health| health.state = super::StoreState::InMemory { reason });
            heal.due = now.mono + EVERY;
            self.heal = Some(heal);
        }
    }

    /// The same, due or not: the last chance before the end.
    pub(super) fn try_folder_now(&mut self) {
        if let Some(heal) = &mut self.heal {
            heal.due = Duration::ZERO;
            self.try_folder(self.last);
        }
    }

    fn move_in(&mut self, heal: &mut Heal) -> Result<(), String> {
        let (dir, mut problems) = (heal.settings.data_dir.clone(), Vec::new());
        let mut found = heal.began.clone();
        let mut sidecar = None;
        if self.sidecar.is_none() {
            let (opened, side) = open_sidecar(&dir, &mut problems);
            if matches!(&opened, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                heal.elsewhere = lock(&self.shared.cache)
                    .meters
                    .iter()
                    .map(|(key, row)| (key.clone(), row.counted))
                    .collect();
                return Err(last(&problems));
            }
            found = merge(found, side.meters);
            // Without it the database goes alone, as at a start.
            sidecar = opened.ok();
        }
        let path = dir.join(DATABASE_FILE);
        let mut set_aside = None;
        let database = open_database(&path, self.last.unix_s(), &mut problems, &mut set_aside);
        if let Some((line, _)) = set_aside {
            problems.retain(|problem| *problem != line);
            tracing::error!("{line}");
            self.shared.set_aside(line);
        }
        let Some(mut database) = database else {
            return Err(last(&problems));
        };
        let kept = Kept::load(&database.conn)
            .and_then(|kept| self.copy(&mut database.conn, heal).map(|()| kept));
        let kept = kept.map_err(|error| {
            // Checked wholly when it was opened, so the next try need not.
            let _ = schema::mark_clean(&database.conn);
            format!("{}: {error}", path.display())
        })?;
        problems
            .iter()
            .for_each(|problem| tracing::error!("{problem}"));

        self.settle_on(merge(kept.meters, found), kept.state, heal);
        self.sidecar = self.sidecar.take().or(sidecar);
        self.hold = hold(
            &database.conn,
            (kept.seen > 0.0).then_some(kept.seen),
            self.last,
        );
        self.keep = Keep::new(&heal.settings, false);
        self.place = DatabasePlace::File(path.clone());
        let clean = database.clean;
        self.adopt(database);
        // Readers of the memory may have indexed it until now.
        lock(&self.shared.blocks).clear();
        self.shared.change_health(|health| {
            health.path = Some(path.clone());
            health.state = super::StoreState::Ok;
        });
        tracing::info!(
            "{} can be used by now: what was kept in memory is in it",
            path.display()
        );
        // An error is shown and tried again from here on as any other.
        let _ = self.commit();
        self.write_sidecar();
        start_check(&self.shared, clean);
        Ok(())
    }

    /// From here on what is kept stands on what the folder held.
    fn settle_on(
        &self,
        found: BTreeMap<String, MeterRow>,
        state: BTreeMap<String, String>,
        heal: &mut Heal,
    ) {
        let mut cache = lock(&self.shared.cache);
        for (key, row) in found {
            let base = Base {
                row,
                elsewhere: heal.elsewhere.remove(&key).unwrap_or_default(),
                makeshift: fallback_mac(&key),
            };
            let now = cache.meters.remove(&key);
            let kept = now.map_or_else(
                || base.row.clone(),
                |row| {
                    if !row.mac.is_empty() && !base.row.mac.is_empty() && row.mac != base.row.mac {
                        tracing::warn!(
                            "the data folder knows this meter as {}: it is {} until the next start",
                            base.row.mac,
                            row.mac
                        );
                    }
                    base.under(row)
                },
            );
            cache.meters.insert(key.clone(), kept);
            cache.base.insert(key, base);
        }
        // What this run did not know it cannot have meant to replace.
        cache.state.extend(
            state
                .into_iter()
                .filter(|(key, _)| !heal.knew.contains(key)),
        );
        lock(&self.shared.buffer).add(|batch| {
            batch.meters.clone_from(&cache.meters);
            batch.state.clone_from(&cache.state);
        });
    }

    /// Samples, records and models of the memory into the database, at once or not at all.
    fn copy(&self, to: &mut Connection, heal: &Heal) -> rusqlite::Result<()> {
        let Some(memory) = &self.db else {
            return Ok(());
        };
        let mut progress = Progress::load(to)?;
        let tx = to.transaction()?;
        let mut batch = batch(memory, heal)?;
        // Another process that was in the folder meanwhile counted what we did.
        let parts = if heal.elsewhere.is_empty() {
            part::load(&tx, self.last.unix_s())?
        } else {
            BTreeMap::new()
        };
        for (key, record) in &mut batch.records {
            if let Some(part) = parts.get(&**key) {
                let until = batch
                    .parts
                    .get(&**key)
                    .copied()
                    .filter(|until| (0..60).contains(&(until - record.ts)));
                *record = part.with(*record, until);
            }
        }
        series::import(&tx, &[], &means(memory)?)?;
        quarters(
            memory,
            &tx,
            batch.records.iter().map(|(_, record)| record.ts).min(),
        )?;
        progress.apply(&tx, &batch, self.last.unix)?;
        tx.commit()
    }
}

fn last(problems: &[String]) -> String {
    problems
        .last()
        .cloned()
        .unwrap_or_else(|| "no database".into())
}

fn batch(memory: &Connection, heal: &Heal) -> rusqlite::Result<Batch> {
    let samples = memory
        .prepare("SELECT ts, w FROM s2 ORDER BY ts")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut select =
        memory.prepare("SELECT key, ts, rec FROM records JOIN meters ON id = meter ORDER BY ts")?;
    let mut records = std::collections::VecDeque::new();
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        records.extend(
            codec::decode(row.get(1)?, row.get_ref(2)?.as_blob().unwrap_or(&[]))
                .map(|record| (key.as_str().into(), record)),
        );
    }
    let mut select = memory.prepare("SELECT name, meta, blob FROM models")?;
    let models = select
        .query_map([], |r| {
            Ok((
                r.get(0)?,
                super::Model {
                    meta: r.get(1)?,
                    blob: r.get(2)?,
                },
            ))
        })?
        .collect::<Result<_, _>>()?;
    Ok(Batch {
        samples,
        records,
        parts: part::marks(memory)?,
        models,
        deleted: heal.cleared.clone(),
        ..Batch::default()
    })
}

/// Minute means, those of minutes whose samples are gone too.
fn means(memory: &Connection) -> rusqlite::Result<Vec<Mean>> {
    let mut select = memory.prepare("SELECT ts, w, mn, mx, n FROM m1")?;
    let rows = select.query_map([], |r| {
        Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
    })?;
    rows.collect()
}

/// Energy of quarters whose records are gone in memory; that of the others is booked with their
/// records.
fn quarters(
    memory: &Connection,
    to: &Connection,
    oldest_record: Option<i64>,
) -> rusqlite::Result<()> {
    let before = oldest_record.map_or(i64::MAX, |ts| ts - ts.rem_euclid(QUARTER));
    let mut select = memory.prepare(
        "SELECT key, ts, q.a_import, q.a_export, q.b_import, q.b_export, q.c_import, q.c_export FROM quarters q JOIN meters ON id = meter
         WHERE ts < ?1",
    )?;
    let mut rows = select.query([before])?;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        let mut wh = [0.0; 6];
        for (i, wh) in wh.iter_mut().enumerate() {
            *wh = row.get(2 + i)?;
        }
        let meter = super::commit::meter_id(to, &key)?;
        to.prepare_cached("INSERT OR IGNORE INTO quarters VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute((
                meter,
                row.get::<_, i64>(1)?,
                wh[0],
                wh[1],
                wh[2],
                wh[3],
                wh[4],
                wh[5],
            ))?;
    }
    Ok(())
}
