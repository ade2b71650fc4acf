//! A recorded series from a file: `ts,w` with or without a header, or one value a line.

use std::path::Path;

use anyhow::anyhow;

use super::grid::{self, Grid, Sample};

/// Most steps read: a year at 2 s, 63 MB.
const MAX_CELLS: usize = 16_000_000;

/// What to read of a file.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Column of the power, W; else `w`, else the second (or only) one.
    pub column: Option<String>,
    /// Column to take off it (empty = 0): net power = load − PV.
    pub minus: Option<String>,
    /// Rows left out at the start.
    pub skip_rows: usize,
    /// Fill gaps linearly; otherwise windows that touch a gap are left out.
    pub fill_gaps: bool,
    /// Length of a step, s; else found from the times, 2 s where there are none.
    pub step: Option<u32>,
}

/// A series, and whether its times are real.
#[derive(Debug)]
pub struct Recorded {
    /// The series; it begins with the first row that is not left out.
    pub grid: Grid,
    /// False: one value a line, times count from 0.
    pub timed: bool,
}

/// Read a series.
///
/// # Errors
/// One line: what failed, in which line, which value.
pub fn read(path: &Path, choice: &Choice) -> anyhow::Result<Recorded> {
    let unread = |e: csv::Error| anyhow!("cannot read {}: {e}", path.display());
    let wrong = |e: String| anyhow!("{}: {e}", path.display());
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .comment(Some(b'#'))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(unread)?;
    let mut columns = None;
    let mut samples = Vec::new();
    let mut left_out = 0;
    for record in reader.records() {
        let record = record.map_err(unread)?;
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let (found, header) = Columns::find(&record, choice).map_err(wrong)?;
                let columns = columns.insert(found);
                if header {
                    continue;
                }
                columns
            }
        };
        if left_out < choice.skip_rows {
            left_out += 1;
            continue;
        }
        let row = samples.len();
        let sample = columns.sample(&record, row).map_err(|e| {
            let line = record.position().map_or(0, csv::Position::line);
            anyhow!("{}, line {line}: {e}", path.display())
        })?;
        samples.push(sample);
    }
    let timed = columns.is_some_and(|c| c.ts.is_some());
    let found = || usual_step(&samples).filter(|_| timed);
    let step = choice.step.or_else(found).unwrap_or(2);
    if !timed {
        for sample in &mut samples {
            sample.ts *= i64::from(step);
        }
    }
    let mut grid = on_grid(&samples, step).map_err(wrong)?;
    if choice.fill_gaps {
        grid::fill_linearly(&mut grid.w);
    } else {
        grid::hold_short_gaps(&mut grid.w);
    }
    Ok(Recorded { grid, timed })
}

/// The samples' grid from the first row on, even where that row's value is missing.
fn on_grid(samples: &[Sample], step: u32) -> Result<Grid, String> {
    let mut grid = grid::cells(samples, step, MAX_CELLS + 1).map_err(|e| e.to_string())?;
    let size = i64::from(step);
    let Some(first) = samples.first().filter(|_| !grid.w.is_empty()) else {
        return Err("there is no value in it".to_owned());
    };
    let missing = grid.t0 / size - first.ts.div_euclid(size);
    let missing = usize::try_from(missing).unwrap_or(0);
    if missing + grid.w.len() > MAX_CELLS {
        return Err(format!(
            "its times span more than {MAX_CELLS} steps of {step} s: is `ts` in seconds, is the step right?"
        ));
    }
    grid.w.splice(0..0, std::iter::repeat_n(f32::NAN, missing));
    grid.t0 -= missing as i64 * size;
    Ok(grid)
}

/// The most usual distance of two rows, s.
fn usual_step(samples: &[Sample]) -> Option<u32> {
    let mut steps: Vec<i64> = samples
        .windows(2)
        .map(|p| p[1].ts - p[0].ts)
        .filter(|d| *d > 0)
        .collect();
    steps.sort_unstable();
    u32::try_from(*steps.get(steps.len() / 2)?).ok()
}

/// Where the numbers stand.
struct Columns {
    ts: Option<usize>,
    w: usize,
    minus: Option<usize>,
}

impl Columns {
    /// From the first row, and whether that is a header.
    fn find(first: &csv::StringRecord, choice: &Choice) -> Result<(Self, bool), String> {
        let header = first
            .iter()
            .any(|cell| !cell.is_empty() && number(cell).is_err());
        let named = |name: &str| {
            first
                .iter()
                .position(|cell| header && cell.eq_ignore_ascii_case(name))
        };
        let must = |name: &String| {
            named(name).ok_or_else(|| {
                let names: Vec<&str> = if header {
                    first.iter().collect()
                } else {
                    vec!["no header"]
                };
                format!("no column `{name}`; it has {}", names.join(", "))
            })
        };
        let many = first.len() > 1;
        let minus = choice.minus.as_ref().map(must).transpose()?;
        let column = choice.column.as_ref().map(must).transpose()?;
        // The first column holds the time, unless it is the power that was asked for.
        let ts =
            named("ts").or_else(|| (many && minus != Some(0) && column != Some(0)).then_some(0));
        let w = column.or_else(|| named("w")).unwrap_or(usize::from(many));
        Ok((Self { ts, w, minus }, header))
    }

    /// A row's sample; without times `ts` is the row's number.
    fn sample(&self, record: &csv::StringRecord, row: usize) -> Result<Sample, String> {
        let ts = match self.ts {
            None => row as i64,
            Some(place) => match number(record.get(place).unwrap_or_default())? {
                Some(ts) if ts.is_finite() && ts.abs() < 253_402_300_800.0 => ts.floor() as i64,
                _ => return Err("the time is missing or out of range".to_owned()),
            },
        };
        let w = number(record.get(self.w).unwrap_or_default())?;
        let minus = match self.minus {
            Some(place) => number(record.get(place).unwrap_or_default())?.unwrap_or(0.0),
            None => 0.0,
        };
        Ok(Sample {
            ts,
            w: w.map_or(f32::NAN, |w| (w - minus) as f32),
        })
    }
}

/// A cell's number; None where it is empty or says so, as Home Assistant's history does.
fn number(cell: &str) -> Result<Option<f64>, String> {
    if cell.is_empty() || cell == "unavailable" || cell == "unknown" {
        return Ok(None);
    }
    cell.parse()
        .map(Some)
        .map_err(|_| format!("`{cell}` is no number"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn one_value_a_line_with_a_comment() {
        let got = read(file("# t0=1 step=2\n5\n6.5\n").path(), &Choice::default()).unwrap();
        assert!(!got.timed);
        assert_eq!(got.grid.t0, 0);
        assert_eq!(got.grid.step, 2);
        assert_eq!(got.grid.w, vec![5.0, 6.5]);
    }

    #[test]
    fn columns_by_name_with_one_taken_off_and_rows_left_out() {
        let text = "ts,load_w,pv_w\n0,1,\n1800,,\n3600,100,30\n5400,200,\n9000,400,500\n";
        let choice = Choice {
            column: Some("load_w".to_owned()),
            minus: Some("pv_w".to_owned()),
            skip_rows: 1,
            fill_gaps: true,
            step: None,
        };
        let got = read(file(text).path(), &choice).unwrap();
        assert_eq!((got.timed, got.grid.t0, got.grid.step), (true, 1800, 1800));
        assert_eq!(got.grid.w, vec![70.0, 70.0, 200.0, 50.0, -100.0]);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let wrong = |text: &str, column: Option<&str>| {
            let choice = Choice {
                column: column.map(str::to_owned),
                ..Choice::default()
            };
            read(file(text).path(), &choice).unwrap_err().to_string()
        };
        assert!(wrong("ts,w\n0,1\n2,abc\n", None).ends_with("line 3: `abc` is no number"));
        assert!(wrong("ts,w\n0,1\n", Some("x")).ends_with("no column `x`; it has ts, w"));
        assert!(wrong("", None).ends_with("there is no value in it"));
        assert!(wrong("ts,w\n0,1\n2,1\n4,1\n170000000000,2\n", None).contains("span more than"));
        assert!(
            read(Path::new("no such file"), &Choice::default())
                .unwrap_err()
                .to_string()
                .contains("no such file")
        );
    }
}
