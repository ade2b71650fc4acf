//! The recordings that are kept.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::line::{self, Header};

/// Recordings that are kept, the one under way among them.
pub const NEWEST: usize = 3;
/// Folder under the data folder.
const FOLDER: &str = "recordings";
const PREFIX: &str = "recording-";
const SUFFIX: &str = ".jsonl";
/// Bytes at the end of a file in which its last line stands.
const TAIL: u64 = 64 * 1024;

/// A recording that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Name of its file.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Unix time of its start; `None`: it cannot be read.
    pub start: Option<f64>,
    /// How long it is, s.
    pub seconds: f64,
}

/// The folder of recordings.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

impl Files {
    /// Under the data folder.
    #[must_use]
    pub fn under(data_dir: &Path) -> Self {
        Self(data_dir.join(FOLDER))
    }

    /// Where a recording is, if `name` is one's.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        is_name(name).then(|| self.0.join(name))
    }

    /// What is kept, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Kept> {
        let mut names = self.names();
        names.reverse();
        let one = |name: String| {
            let path = self.0.join(&name);
            let bytes = fs::metadata(&path).map_or(0, |data| data.len());
            let ends = ends(&path).ok();
            Kept {
                name,
                bytes,
                start: ends.as_ref().map(|(header, _)| header.start),
                seconds: ends.map_or(0.0, |(_, seconds)| seconds),
            }
        };
        names.into_iter().map(one).collect()
    }

    fn names(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let mut names: Vec<String> = folder
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| is_name(name))
            .collect();
        names.sort();
        names
    }

    /// Deletes one.
    ///
    /// # Errors
    /// When there is none of that name, or the system refuses.
    pub fn delete(&self, name: &str) -> io::Result<()> {
        let path = self
            .path(name)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        fs::remove_file(path)
    }

    /// A new file for a recording that starts at `unix`; what is over [`NEWEST`] with it is deleted.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(&self, unix: f64) -> io::Result<(String, File)> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        let stamp = jiff::Timestamp::from_second(unix as i64)
            .unwrap_or_default()
            .strftime("%Y%m%dT%H%M%SZ");
        let name = format!("{PREFIX}{stamp}{SUFFIX}");
        let names = self.names();
        for old in names.iter().rev().skip(NEWEST - 1) {
            fs::remove_file(self.0.join(old))?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.0.join(&name))?;
        Ok((name, file))
    }
}

fn is_name(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(|stamp| {
            stamp.len() == 16
                && stamp
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b == b'T' || b == b'Z')
        })
}

/// The first line, and the time of the last whole one.
fn ends(path: &Path) -> Result<(Header, f64), String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let mut first = String::new();
    BufReader::new(&file)
        .take(line::LONGEST as u64)
        .read_line(&mut first)
        .map_err(|error| error.to_string())?;
    let header = line::header(&first)?;
    let length = file.metadata().map_or(0, |data| data.len());
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .and_then(|_| file.read_to_end(&mut tail))
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&tail);
    let last = text.lines().rev().find_map(|text| line::line(text).ok());
    Ok((header, last.map_or(0.0, |line| line.t)))
}
