//! `meter.json`: identity and counters once more, beside the database
//! (`docs/decisions.md#the-sidecar`).
//!
//! Two slots of 2 KiB, each one line of JSON with a sequence number and a checksum, padded with
//! blanks. A write goes in place into the slot that is not the newest, so a torn write or any
//! damage of one slot leaves the other, and the file keeps its size while a backup reads it. Only
//! where the meters need more room do the slots double.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::types::MeterRow;
use meter::Energy;

const SLOT: u64 = 2048;
/// Room for some 200 meters; a longer file is foreign.
const MAX_FILE: u64 = 256 * 1024;

#[derive(Serialize, Deserialize)]
struct Slot<'a> {
    v: u32,
    seq: u64,
    sum: String,
    #[serde(borrow)]
    meters: &'a RawValue,
    /// What a version of before does not know; with a checksum of its own, so that it reads the
    /// rest.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    more: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    more_sum: String,
}

/// What the sidecar keeps beside the meters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct More {
    /// Last commit of the database beside it, Unix s; none where there was none.
    pub database: Option<f64>,
    /// What must not be lost with the database, by key of the state: JSON.
    pub state: BTreeMap<String, String>,
    /// Keys of `state` that the database does not have yet.
    pub ahead: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: String,
    mac: String,
    reset_at: f64,
    energy: [f64; 8],
    lifetime: [f64; 8],
    #[serde(default)]
    ceiling: [f64; 8],
}

/// The open file. It also holds the lock that keeps a second process out of the folder.
#[derive(Debug)]
pub(super) struct Sidecar {
    file: File,
    slot: u64,
    seq: u64,
    second: bool,
}

/// What the file held.
#[derive(Debug, Default)]
pub(super) struct SidecarContent {
    pub meters: BTreeMap<String, MeterRow>,
    /// None in the file of an earlier version, and where there was no file.
    pub more: Option<More>,
    /// Both slots are damaged, or the file is a foreign one.
    pub damaged: bool,
}

/// The process that has the lock of a sidecar, if one has; 0 where it cannot be seen from here.
pub(super) fn holder(path: &Path) -> Option<u32> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    if !taken(&file) {
        return None;
    }
    let inode = format!(":{}", file.metadata().ok()?.ino());
    let pid = (0..LOOKS).find_map(|_| {
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        locks.lines().find_map(|line| {
            let mut fields = line
                .split_whitespace()
                .skip_while(|field| *field != "FLOCK")
                .skip(3);
            let pid = fields.next()?.parse().ok()?;
            fields.next()?.ends_with(&inode).then_some(pid)
        })
    });
    Some(pid.unwrap_or(0))
}

/// Whether another process has the lock of the file; else it is ours now. A file system without
/// locks is no reason to lose the sidecar.
fn taken(file: &File) -> bool {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        == Err(rustix::io::Errno::WOULDBLOCK)
}

/// The kernel's list of locks can lack one while others come and go.
const LOOKS: usize = 20;

impl Sidecar {
    /// Opens or creates the file and takes its lock.
    ///
    /// # Errors
    /// When it cannot be opened for writing; `WouldBlock` when another process has it.
    pub(super) fn open(path: &Path) -> io::Result<(Self, SidecarContent)> {
        super::private::file(path);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if taken(&file) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut bytes = Vec::new();
        Read::by_ref(&mut file)
            .take(MAX_FILE)
            .read_to_end(&mut bytes)?;
        let (newest, found) = newest(&bytes);
        let (seq, offset) = newest.unwrap_or((0, SLOT));
        let half = bytes.len() as u64 / 2;
        let sidecar = Self {
            file,
            slot: SLOT.max(offset).max(half).next_power_of_two(),
            seq,
            second: offset == 0,
        };
        Ok((sidecar, found))
    }

    /// What a file holds that cannot be written.
    pub(super) fn peek(path: &Path) -> SidecarContent {
        let mut bytes = Vec::new();
        match File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes)) {
            Ok(_) => newest(&bytes).1,
            Err(_) => SidecarContent::default(),
        }
    }

    /// Writes the meters into the older slot and waits for the disk.
    ///
    /// # Errors
    /// When the disk refuses; the newer slot is untouched then.
    pub(super) fn write(
        &mut self,
        meters: &BTreeMap<String, MeterRow>,
        more: &More,
    ) -> io::Result<()> {
        let mut line = line(self.seq + 1, meters, more)?;
        let needed = (line.len() as u64 + 1).next_power_of_two();
        if needed > self.slot {
            // The new second slot begins behind both old ones.
            (self.slot, self.second) = (needed, true);
        }
        line.resize(self.slot as usize - 1, b' ');
        line.push(b'\n');
        if self.file.metadata()?.len() < 2 * self.slot {
            self.file.set_len(2 * self.slot)?;
        }
        self.file
            .write_all_at(&line, if self.second { self.slot } else { 0 })?;
        self.file.sync_data()?;
        self.seq += 1;
        self.second = !self.second;
        Ok(())
    }
}

/// Sequence number and place of the newest sound slot, and what it holds.
fn newest(bytes: &[u8]) -> (Option<(u64, u64)>, SidecarContent) {
    let second_slots = std::iter::successors(Some(SLOT), |&offset| Some(offset * 2))
        .take_while(|&offset| offset < bytes.len() as u64);
    let slots = std::iter::once(0).chain(second_slots).filter_map(|offset| {
        let (seq, found) = parse(bytes.get(offset as usize..)?)?;
        Some((seq, offset, found))
    });
    match slots.max_by_key(|(seq, ..)| *seq) {
        Some((seq, offset, found)) => (Some((seq, offset)), found),
        None => {
            let damaged = bytes.iter().any(|b| !b.is_ascii_whitespace());
            let found = SidecarContent {
                damaged,
                ..SidecarContent::default()
            };
            (None, found)
        }
    }
}

/// Counters as the sidecar keeps them. A thousandth of a watt-hour is below what any channel
/// serves; cut off, so that the database's exact figure stays the higher one.
pub(super) fn as_kept(energy: Energy) -> Energy {
    Energy::from_array(short(energy))
}

fn short(energy: Energy) -> [f64; 8] {
    energy.to_array().map(|wh| (wh * 1000.0).floor() / 1000.0)
}

fn line(seq: u64, meters: &BTreeMap<String, MeterRow>, more: &More) -> io::Result<Vec<u8>> {
    let entries: Vec<Entry> = meters
        .iter()
        .map(|(key, row)| Entry {
            key: key.clone(),
            mac: row.mac.clone(),
            reset_at: (row.reset_at * 1000.0).round() / 1000.0,
            energy: short(row.energy),
            lifetime: short(row.lifetime),
            ceiling: short(row.ceiling()),
        })
        .collect();
    let meters = serde_json::value::to_raw_value(&entries)?;
    let more = serde_json::value::to_raw_value(more)?;
    let (sum, more_sum) = (checksum(1, seq, meters.get()), checksum(1, seq, more.get()));
    Ok(serde_json::to_vec(&Slot {
        v: 1,
        seq,
        sum,
        meters: &meters,
        more: Some(&more),
        more_sum,
    })?)
}

fn parse(bytes: &[u8]) -> Option<(u64, SidecarContent)> {
    let line = bytes.split(|&b| b == b'\n').next()?;
    let slot: Slot<'_> = serde_json::from_slice(line).ok()?;
    if slot.v != 1 || slot.sum != checksum(slot.v, slot.seq, slot.meters.get()) {
        return None;
    }
    let entries: Vec<Entry> = serde_json::from_str(slot.meters.get()).ok()?;
    let row = |entry: Entry| {
        let [energy, lifetime, ceiling] =
            [entry.energy, entry.lifetime, entry.ceiling].map(Energy::from_array);
        let row = MeterRow {
            mac: entry.mac,
            energy,
            reserve: (ceiling - energy).max(Energy::default()),
            lifetime,
            reset_at: entry.reset_at,
            ..MeterRow::default()
        };
        (entry.key, row)
    };
    let sound = |more: &&RawValue| slot.more_sum == checksum(slot.v, slot.seq, more.get());
    let more = slot.more.filter(sound);
    let content = SidecarContent {
        meters: entries.into_iter().map(row).collect(),
        more: more.and_then(|more| serde_json::from_str(more.get()).ok()),
        damaged: false,
    };
    Some((slot.seq, content))
}

fn checksum(version: u32, seq: u64, meters: &str) -> String {
    Sha256::digest(format!("{version}:{seq}:{meters}"))
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn meters(n: usize, import: f64) -> BTreeMap<String, MeterRow> {
        let energy = Energy::from_array([import, 1.5, 2.0, 3.0, 1e9, 0.0, 7.125, 8.0]);
        let row = MeterRow {
            mac: "0A1B2C3D4E5F".into(),
            energy,
            lifetime: energy,
            reset_at: 1.5,
            ..MeterRow::default()
        };
        (0..n)
            .map(|i| (format!("meter {i}"), row.clone()))
            .collect()
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self) -> std::path::PathBuf {
            self.0.path().join("meter.json")
        }

        /// Writes these one after the other; what the file held before.
        fn write(
            &self,
            all: impl IntoIterator<Item = BTreeMap<String, MeterRow>>,
        ) -> SidecarContent {
            let (mut sidecar, found) = Sidecar::open(&self.file()).unwrap();
            for meters in all {
                sidecar.write(&meters, &More::default()).unwrap();
            }
            found
        }

        fn meters(&self) -> BTreeMap<String, MeterRow> {
            Sidecar::open(&self.file()).unwrap().1.meters
        }
    }

    #[test]
    fn alternates_in_place_at_a_fixed_size() {
        let folder = Folder::new();
        let (mut sidecar, found) = Sidecar::open(&folder.file()).unwrap();
        assert!(found.meters.is_empty() && !found.damaged);
        for i in 1..6 {
            let meters = meters(2, f64::from(i));
            sidecar.write(&meters, &More::default()).unwrap();
            assert_eq!(fs::metadata(folder.file()).unwrap().len(), 4096);
        }
        let other = Sidecar::open(&folder.file()).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::WouldBlock);
        drop(sidecar);
        let found = folder.write([meters(2, 6.0)]);
        assert_eq!(found.meters, meters(2, 5.0));
        assert_eq!(folder.meters(), meters(2, 6.0));
    }

    #[test]
    fn grows_for_many_meters_and_goes_on() {
        let folder = Folder::new();
        for (n, last) in [1, 12, 12, 40, 3, 3, 3].into_iter().zip(1..) {
            let last = f64::from(3 * last);
            folder.write([last - 2.0, last - 1.0, last].map(|import| meters(n, import)));
            assert_eq!(folder.meters(), meters(n, last));
        }
    }

    #[test]
    fn a_foreign_file_is_named() {
        let folder = Folder::new();
        fs::write(folder.file(), "{\"hello\": 1}").unwrap();
        let found = folder.write([meters(1, 1.0)]);
        assert!(found.damaged && found.meters.is_empty());
        assert_eq!(folder.meters(), meters(1, 1.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_of_one_slot_leaves_the_other(
            writes in 2_u32..6,
            second in any::<bool>(),
            damage in proptest::collection::vec((0_usize..2048, any::<u8>()), 1..300),
        ) {
            let folder = Folder::new();
            folder.write((1..=writes).map(|i| meters(1, f64::from(i))));
            let mut bytes = fs::read(folder.file()).unwrap();
            for (at, byte) in damage {
                bytes[at + if second { 2048 } else { 0 }] = byte;
            }
            fs::write(folder.file(), bytes).unwrap();
            let found = folder.write([meters(1, 99.0)]);
            let newest_hit = (writes % 2 == 0) == second;
            let good = found.meters == meters(1, f64::from(writes)) || (newest_hit && found.meters == meters(1, f64::from(writes - 1)));
            prop_assert!(good, "{:?}", found);
            // The next write takes the place of the damaged or older slot and is what the next
            // start finds.
            prop_assert_eq!(folder.meters(), meters(1, 99.0));
        }
    }
}
