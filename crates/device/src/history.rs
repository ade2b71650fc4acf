//! Minute records as the device words them: columns, pages of a reply, CSV
//! (`docs/protocol/emdata.md`).
//!
//! Nothing here holds more than one page at a time: replies are cut with `next_record_ts`, the CSV
//! is an iterator of pieces.

use std::{fmt::Write as _, sync::Arc};

use super::Json;
use meter::records::{Records, RecordsError};
use meter::{MinuteRecord, PhaseMinute};
use vocab::Fixed;

/// Seconds of a record.
const PERIOD: i64 = 60;
/// Records of one `GetData` reply: the device sends some tens.
const PAGE: usize = 40;
/// Stretches of one `GetNetEnergies` reply: a day of quarter-hours comes in one, and so does a day
/// of 5 minutes.
const NET_PAGE: usize = 300;
/// How long a stretch that is over waits for the record of its last minute, s: it is stored within
/// about 1 s of the minute's end (`docs/protocol/emdata.md#minute-records`), and of a minute
/// without power there is none.
const RECORD_DUE: i64 = 5;
/// Records read at once where many are asked for.
const CHUNK: usize = 240;

const EM_PHASE: [&str; 16] = [
    "total_act_energy",
    "fund_act_energy",
    "total_act_ret_energy",
    "fund_act_ret_energy",
    "lag_react_energy",
    "lead_react_energy",
    "max_act_power",
    "min_act_power",
    "max_aprt_power",
    "min_aprt_power",
    "max_voltage",
    "min_voltage",
    "avg_voltage",
    "max_current",
    "min_current",
    "avg_current",
];
const NEUTRAL: [&str; 3] = ["n_max_current", "n_min_current", "n_avg_current"];

/// Which columns a record is told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// `EMData`: 16 a phase and 3 of the neutral, 51.
    Em,
    /// `EM1Data` of one channel (0 to 2): 14.
    Em1(usize),
}

impl Columns {
    /// The names in order.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        match self {
            Self::Em => {
                let phases = ["a", "b", "c"]
                    .into_iter()
                    .flat_map(|p| EM_PHASE.iter().map(move |c| format!("{p}_{c}")));
                phases
                    .chain(NEUTRAL.iter().map(ToString::to_string))
                    .collect()
            }
            Self::Em1(_) => EM_PHASE
                .iter()
                .filter(|c| !c.starts_with("fund_"))
                .map(ToString::to_string)
                .collect(),
        }
    }

    /// Appends the values of a record, separated by commas.
    pub(super) fn push(self, out: &mut String, record: &MinuteRecord) {
        match self {
            Self::Em => {
                for phase in &record.phases {
                    push_phase(out, phase, true);
                }
                let [max, min, avg] = record.n_current.map(Fixed::<3>::round);
                let _ = write!(out, "{max},{min},{avg}");
            }
            Self::Em1(id) => {
                push_phase(
                    out,
                    record.phases.get(id).unwrap_or(&PhaseMinute::default()),
                    false,
                );
                out.pop();
            }
        }
    }

    /// The names of `GetNetEnergies`.
    const fn net_names(self) -> &'static [&'static str] {
        match self {
            Self::Em => &["a_net_act_energy", "b_net_act_energy", "c_net_act_energy"],
            Self::Em1(_) => &["net_act_energy"],
        }
    }

    /// Imported minus exported energy of a record, Wh, a column each.
    fn net(self, record: &MinuteRecord) -> Net {
        let of = |p: &PhaseMinute| p.act_energy - p.act_ret_energy;
        match self {
            Self::Em => record.phases.each_ref().map(of),
            Self::Em1(id) => [record.phases.get(id).map_or(0.0, of), 0.0, 0.0],
        }
    }
}

/// Net energies of a stretch, Wh: as many of them count as there are [`Columns::net_names`].
type Net = [f64; 3];

/// One phase's values, each followed by a comma. What is derived has no harmonics: fundamental is
/// total, and all reactive energy counts as lagging.
fn push_phase(out: &mut String, p: &PhaseMinute, fundamental: bool) {
    let e = Fixed::<4>::round;
    let w = Fixed::<1>::round;
    let m = Fixed::<3>::round;
    let (act, ret) = (e(p.act_energy), e(p.act_ret_energy));
    let _ = if fundamental {
        write!(out, "{act},{act},{ret},{ret},")
    } else {
        write!(out, "{act},{ret},")
    };
    let _ = write!(
        out,
        "{},{},{},{},{},{},{},{},{},{},{},{},",
        e(p.lag_react_energy),
        e(0.0),
        w(p.max_act_power),
        w(p.min_act_power),
        w(p.max_aprt_power),
        w(p.min_aprt_power),
        m(p.max_voltage),
        m(p.min_voltage),
        m(p.avg_voltage),
        m(p.max_current),
        m(p.min_current),
        m(p.avg_current),
    );
}

/// The result of `GetRecords`.
pub(super) fn blocks(records: &dyn Records, from: i64) -> Result<Json, RecordsError> {
    let mut out = String::from("{\"data_blocks\":[");
    for (i, block) in records.blocks(from)?.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(
            out,
            "{comma}{{\"ts\":{},\"period\":{PERIOD},\"records\":{}}}",
            block.ts, block.records
        );
    }
    out.push_str("]}");
    Ok(Json::from(out))
}

/// A reply of `data` under way: rows are gathered into stretches without gap.
struct Reply {
    out: String,
    period: i64,
    next_ts: Option<i64>,
}

impl Reply {
    fn new<T: std::fmt::Display>(keys: Option<&[T]>, period: i64) -> Self {
        let mut out = String::from("{");
        if let Some(keys) = keys {
            let names: Vec<String> = keys.iter().map(|k| format!("\"{k}\"")).collect();
            let _ = write!(out, "\"keys\":[{}],", names.join(","));
        }
        out.push_str("\"data\":[");
        Self {
            out,
            period,
            next_ts: None,
        }
    }

    /// Begins the row of `ts`; the caller appends its values and calls [`Reply::end_row`].
    fn row(&mut self, ts: i64) -> &mut String {
        match self.next_ts {
            Some(next) if next == ts => self.out.push_str(",["),
            before => {
                if before.is_some() {
                    self.out.push_str("]},");
                }
                let _ = write!(
                    self.out,
                    "{{\"ts\":{ts},\"period\":{},\"values\":[[",
                    self.period
                );
            }
        }
        self.next_ts = Some(ts + self.period);
        &mut self.out
    }

    fn end_row(&mut self) {
        self.out.push(']');
    }

    fn finish(mut self, next_record_ts: Option<i64>) -> Json {
        if self.next_ts.is_some() {
            self.out.push_str("]}");
        }
        self.out.push(']');
        if let Some(ts) = next_record_ts {
            let _ = write!(self.out, ",\"next_record_ts\":{ts}");
        }
        self.out.push('}');
        Json::from(self.out)
    }
}

/// What of the records is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Unix s.
    pub(super) from: i64,
    /// Unix s.
    pub(super) end: i64,
    /// The reply names its columns.
    pub(super) keys: bool,
    pub(super) columns: Columns,
}

/// The result of `GetData`: at most [`PAGE`] records, and where to go on if there are more.
pub(super) fn page(records: &dyn Records, asked: Asked) -> Result<Json, RecordsError> {
    let rows = if asked.end < asked.from {
        Vec::new()
    } else {
        records.read(asked.from, asked.end, PAGE + 1)?
    };
    let names = asked.columns.names();
    let mut reply = Reply::new(asked.keys.then_some(&names[..]), PERIOD);
    for record in rows.iter().take(PAGE) {
        asked.columns.push(reply.row(record.ts), record);
        reply.end_row();
    }
    Ok(reply.finish(rows.get(PAGE).map(|r| r.ts)))
}

/// The result of `GetNetEnergies`; the `period` is 300, 900, 1800 or 3600 s. A stretch that is not
/// over at `now`, or whose last minute is not stored yet, is left out: who follows
/// `next_record_ts` would book a part of it.
pub(super) fn net_page(
    records: &dyn Records,
    asked: Asked,
    period: i64,
    now: i64,
) -> Result<Json, RecordsError> {
    let start_of = |ts: i64| ts.div_euclid(period) * period;
    let from = start_of(asked.from.max(0));
    let mut over = start_of(now);
    if now < over + RECORD_DUE && records.read(over - PERIOD, over - PERIOD, 1)?.is_empty() {
        over -= period;
    }
    let end = start_of(asked.end).saturating_add(period - 1).min(over - 1);
    let mut sums: Vec<(i64, Net)> = Vec::new();
    let mut next = None;
    let mut at = (from <= end).then_some(from);
    'reading: while let Some(ts) = at {
        let rows = records.read(ts, end, CHUNK)?;
        for record in &rows {
            let (start, net) = (start_of(record.ts), asked.columns.net(record));
            let full = sums.len() == NET_PAGE;
            match sums.last_mut() {
                Some((last, sum)) if *last == start => {
                    sum.iter_mut().zip(net).for_each(|(sum, net)| *sum += net);
                }
                _ if full => {
                    next = Some(start);
                    break 'reading;
                }
                _ => sums.push((start, net)),
            }
        }
        at = rows
            .last()
            .filter(|_| rows.len() == CHUNK)
            .map(|r| r.ts + PERIOD)
            .filter(|ts| *ts <= end);
    }
    let names = asked.columns.net_names();
    let mut reply = Reply::new(asked.keys.then_some(names), period);
    for (ts, sum) in sums {
        let values: Vec<String> = sum
            .iter()
            .take(names.len())
            .map(|wh| Fixed::<4>::round(*wh).to_string())
            .collect();
        reply.row(ts).push_str(&values.join(","));
        reply.end_row();
    }
    Ok(reply.finish(next))
}

/// The lines of `data.csv`, a piece of some hundred lines at a time. Reading blocks for some ms.
pub struct Csv {
    records: Arc<dyn Records>,
    columns: Columns,
    next: Option<i64>,
    end: i64,
    header: bool,
}

impl Csv {
    /// Records from `from` to the one that holds `end` (Unix s), with a header line if `add_keys`.
    #[must_use]
    pub fn new(
        records: Arc<dyn Records>,
        columns: Columns,
        from: i64,
        end: i64,
        add_keys: bool,
    ) -> Self {
        Self {
            records,
            columns,
            next: (from <= end).then_some(from),
            end,
            header: add_keys,
        }
    }
}

impl Iterator for Csv {
    type Item = Result<String, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut out = String::new();
        if std::mem::take(&mut self.header) {
            let _ = writeln!(out, "timestamp,{}", self.columns.names().join(","));
        }
        if let Some(from) = self.next.take() {
            let rows = match self.records.read(from, self.end, CHUNK) {
                Ok(rows) => rows,
                Err(error) => return Some(Err(error)),
            };
            for record in &rows {
                let _ = write!(out, "{},", record.ts);
                self.columns.push(&mut out, record);
                out.push('\n');
            }
            let last = rows.last().filter(|_| rows.len() == CHUNK);
            self.next = last.map(|r| r.ts + PERIOD).filter(|ts| *ts <= self.end);
        }
        (!out.is_empty()).then_some(Ok(out))
    }
}
