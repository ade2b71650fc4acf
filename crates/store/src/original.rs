//! The Python original's `state.json` as a stream
//! (`docs/protocol/python-original.md#its-state-file`):
//! `{"energy":{"a_import":kWh,…,"total_export":kWh},"power_dataset":[[unix_seconds,watts],…],…}`.
//!
//! Python writes `NaN` and `Infinity`, which are no JSON: they are read as null.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    iter::Peekable,
    path::Path,
};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::types::StoreError;
use meter::Energy;
use vocab::reason::{Cause, Unkept};

/// Takes a sample: Unix s, W. Its error ends the reading.
pub(super) type Sink<'a> = &'a mut dyn FnMut(f64, f64) -> Result<(), StoreError>;

/// Streams the samples into `sink`; the energy, Wh.
///
/// # Errors
/// What is not such a file, or not whole, and what the sink says.
pub(super) fn read(path: &Path, sink: Sink<'_>) -> Result<Energy, StoreError> {
    let file = File::open(path).map_err(|e| Unkept::StateUnread { error: e.into() })?;
    let mut stopped = None;
    let mut energy = None;
    let numbers = PythonNumbers::new(BufReader::new(file));
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(numbers));
    let state_file = StateFile {
        sink,
        stopped: &mut stopped,
        energy: &mut energy,
    };
    let read = json.deserialize_map(state_file);
    let read = read.and_then(|known| json.end().map(|()| known));
    match (stopped, read) {
        (Some(error), _) => Err(error),
        (None, Ok(true)) => Ok(energy.unwrap_or_default()),
        (None, Ok(false)) => Err(Unkept::NoStateFile.into()),
        (None, Err(error)) => Err(Unkept::PartOfStateFile {
            error: Cause::said(error.to_string()),
        }
        .into()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EnergyKwh {
    a_import: Option<f64>,
    a_export: Option<f64>,
    b_import: Option<f64>,
    b_export: Option<f64>,
    c_import: Option<f64>,
    c_export: Option<f64>,
    total_import: Option<f64>,
    total_export: Option<f64>,
}

impl EnergyKwh {
    fn wh(&self) -> Energy {
        let kwh = [
            self.a_import,
            self.a_export,
            self.b_import,
            self.b_export,
            self.c_import,
            self.c_export,
            // The original's totals are netted over the phases.
            self.total_import,
            self.total_export,
        ];
        let known = |kwh: Option<f64>| kwh.filter(|kwh| kwh.is_finite() && *kwh > 0.0);
        Energy::from_array(kwh.map(|kwh| known(kwh).map_or(0.0, |kwh| kwh * 1000.0)))
    }
}

struct StateFile<'a> {
    sink: Sink<'a>,
    stopped: &'a mut Option<StoreError>,
    energy: &'a mut Option<Energy>,
}

impl<'de> Visitor<'de> for StateFile<'_> {
    /// Whether any known key was there.
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the original's state as an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut known = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "energy" => *self.energy = map.next_value::<Option<EnergyKwh>>()?.map(|e| e.wh()),
                "power_dataset" => map.next_value_seed(Dataset {
                    sink: &mut *self.sink,
                    stopped: &mut *self.stopped,
                })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            known = true;
        }
        Ok(known)
    }
}

struct Dataset<'a> {
    sink: Sink<'a>,
    stopped: &'a mut Option<StoreError>,
}

impl<'de> DeserializeSeed<'de> for Dataset<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Dataset<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of [unix seconds, watts]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some((ts, w)) = seq.next_element::<(Option<f64>, Option<f64>)>()? {
            if let (Some(ts), Some(w)) = (ts, w)
                && let Err(error) = (self.sink)(ts, w)
            {
                *self.stopped = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Python's `NaN`, `Infinity` and `-Infinity` outside of strings become `null`.
struct PythonNumbers<R: BufRead> {
    inner: Peekable<io::Bytes<R>>,
    in_string: bool,
    escaped: bool,
    /// Bytes to give before reading on.
    ready: VecDeque<u8>,
}

impl<R: BufRead> PythonNumbers<R> {
    fn new(inner: R) -> Self {
        Self {
            inner: inner.bytes().peekable(),
            in_string: false,
            escaped: false,
            ready: VecDeque::new(),
        }
    }

    fn next(&mut self) -> io::Result<Option<u8>> {
        if let Some(byte) = self.ready.pop_front() {
            return Ok(Some(byte));
        }
        let Some(byte) = self.inner.next().transpose()? else {
            return Ok(None);
        };
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
        } else if byte == b'"' {
            self.in_string = true;
        } else if matches!(byte, b'N' | b'I' | b'-') {
            // No word of it is longer; what is longer is no JSON either.
            let letter = |next: &io::Result<u8>| next.as_ref().is_ok_and(u8::is_ascii_alphabetic);
            let mut word = vec![byte];
            while word.len() < b"-Infinity".len()
                && let Some(next) = self.inner.next_if(letter)
            {
                word.push(next?);
            }
            let number = matches!(&*word, b"NaN" | b"Infinity" | b"-Infinity");
            self.ready
                .extend(if number { &b"null"[..] } else { &*word });
            return Ok(self.ready.pop_front());
        }
        Ok(Some(byte))
    }
}

impl<R: BufRead> Read for PythonNumbers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut n = 0;
        while let Some(place) = buffer.get_mut(n)
            && let Some(byte) = self.next()?
        {
            *place = byte;
            n += 1;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<(Energy, Vec<(f64, f64)>), StoreError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut rows = Vec::new();
        let energy = read(file.path(), &mut |ts, w| {
            rows.push((ts, w));
            Ok(())
        })?;
        Ok((energy, rows))
    }

    #[test]
    fn reads_what_python_wrote() {
        let (energy, rows) = parse(
            r#"{"energy": {"a_import": 1.5, "a_export": 0, "b_import": null, "total_export": 0.25, "odd": [1]},
                "power_dataset": [[1700000000.5, 12.5], [1700000002, -Infinity], [1700000004, NaN], [1700000006, -3]],
                "model_metrics": {"mape": Infinity, "text": "NaN \" Infinity"}, "model_params": null}"#,
        )
        .unwrap();
        let wh = [1500.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 250.0];
        assert_eq!(energy.to_array(), wh);
        assert_eq!(rows, [(1_700_000_000.5, 12.5), (1_700_000_006.0, -3.0)]);
    }

    #[test]
    fn what_is_not_whole_is_named() {
        for text in [
            "",
            "{",
            "[]",
            "{}",
            "{\"a\": 1}",
            "{\"power_dataset\": [[1]]}",
            "{\"energy\": {}} x",
            "{\"energy\": Nope}",
            "{\"energy\": {\"a_import\": \"1\"}}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}:,\"\\\\NaInfity0-9.eE -]{0,80}|\\PC{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn python_numbers_change_nothing_else(value in "[a-zA-Z0-9 \\\\\"-]{0,40}") {
            let json = serde_json::to_string(&[&value, "NaN"]).unwrap();
            let mut read = String::new();
            PythonNumbers::new(json.as_bytes()).read_to_string(&mut read).unwrap();
            prop_assert_eq!(read, json);
        }
    }
}
