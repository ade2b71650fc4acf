//! A chart's points: power of a range, as columns.

use serde::{Serialize, Serializer};

use super::{Bar, EnergySpan, Store, StoreError};
use meter::{Counter, records::Records};

/// Points of a chart at most: more than its pixels are of no use.
pub const POINTS: usize = 600;

/// A step of a forecast: Unix s, W, and the band's ends.
pub type Ahead = (i64, Figure, Option<Figure>, Option<Figure>);

/// A chart's data: columns as the chart library takes them.
#[derive(Serialize)]
pub struct Chart {
    from: i64,
    to: i64,
    /// Width of a point, s: a longer distance is a gap.
    step: i64,
    ts: Vec<i64>,
    w: Vec<Figure>,
    /// Least and most of a point, where it stands for several samples.
    mn: Vec<Figure>,
    mx: Vec<Figure>,
    /// What is forecast after it; none of it comes from here.
    pub forecast: Vec<Ahead>,
    /// What batteries were told: Unix s, W; none of it comes from here either.
    pub told: Vec<(Figure, Figure)>,
    /// Mean power of the phases at each point, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    phases: Option<[Vec<Option<Figure>>; 3]>,
}

/// A number of a chart, with one decimal at most: a whole one is written without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure(f64);

impl Figure {
    /// Rounded to a whole one.
    #[must_use]
    pub fn whole(value: f64) -> Self {
        Self(value.round())
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// How much of the past a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `3m`
    Minutes,
    /// `1h`
    Hour,
    /// `24h`
    Day,
    /// `7d`
    Week,
    /// `30d`
    Month,
}

impl Range {
    /// By its name in a query.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "3m" => Self::Minutes,
            "1h" => Self::Hour,
            "24h" => Self::Day,
            "7d" => Self::Week,
            "30d" => Self::Month,
            _ => return None,
        })
    }

    /// Seconds of the past; of the shortest range by default.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Minutes => 180,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
        }
    }
}

/// Rounded to one decimal.
#[must_use]
pub fn tenth(value: f64) -> Figure {
    Figure((value * 10.0).round() / 10.0)
}

const HOUR: i64 = 3600;
/// Up to this, s, phases are drawn by their minutes.
const BY_MINUTE: i64 = 2 * 86_400;

/// The phases' mean power from a time (Unix s) on, W.
type Slot = (i64, [f64; 3]);

fn mean(counter: Counter, seconds: i64) -> f64 {
    (counter.import - counter.export) * HOUR as f64 / seconds as f64
}

fn minutes(store: &Store, meter: &str, from: i64, to: i64) -> Result<Vec<Slot>, StoreError> {
    let limit = usize::try_from((to - from) / 60 + 2).unwrap_or(0);
    let records = store
        .records(meter)
        .read(from, to, limit)
        .map_err(|error| StoreError(error.0))?;
    let power = |phases: [Counter; 3]| phases.map(|phase| mean(phase, 60));
    Ok(records
        .iter()
        .map(|record| (record.ts, power(record.energy().phases)))
        .collect())
}

fn hours(store: &Store, meter: &str, from: i64, to: i64) -> Result<Vec<Slot>, StoreError> {
    let first = from.div_euclid(HOUR);
    let hours = first..=to.div_euclid(HOUR) + 1;
    let borders: Vec<i64> = hours.map(|h| h * HOUR).collect();
    let spans = store.energy_between(meter, &borders)?;
    let slot = |span: &EnergySpan| {
        let phases = span.energy?.phases;
        Some((span.from, phases.map(|phase| mean(phase, HOUR))))
    };
    // The hour that is under way has not its energy yet.
    let whole = spans.iter().filter(|span| span.to <= to);
    Ok(whole.filter_map(slot).collect())
}

/// What slots of a length say at points of a step: the mean of those that overlap.
fn over(ts: &[i64], step: i64, slots: &[Slot], length: i64) -> [Vec<Option<Figure>>; 3] {
    let mut phases: [Vec<Option<Figure>>; 3] = Default::default();
    for &at in ts {
        let first = slots.partition_point(|(from, _)| from + length <= at);
        let own = slots[first..]
            .iter()
            .take_while(|(from, _)| *from < at + step);
        let (mut sums, mut n) = ([0.0; 3], 0.0);
        for (_, watts) in own {
            n += 1.0;
            sums.iter_mut().zip(watts).for_each(|(sum, w)| *sum += w);
        }
        for (phase, sum) in phases.iter_mut().zip(sums) {
            phase.push((n > 0.0).then(|| tenth(sum / n)));
        }
    }
    phases
}

impl Chart {
    /// The power of so many seconds up to `now` (Unix s), at most so many points, without a
    /// forecast.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn within(
        store: &Store,
        seconds: i64,
        now: i64,
        points: usize,
    ) -> Result<Self, StoreError> {
        Self::between(store, now + 1 - seconds, now + 1, points)
    }

    /// The power between two times (Unix s), of which the later may lie ahead.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn between(store: &Store, from: i64, to: i64, points: usize) -> Result<Self, StoreError> {
        let bars = store.power(from, to, points)?;
        let steps = bars.windows(2).map(|pair| pair[1].ts - pair[0].ts);
        let step = steps.filter(|step| *step > 0).min().unwrap_or(1);
        let column = |value: fn(&Bar) -> f64| bars.iter().map(|b| tenth(value(b))).collect();
        Ok(Self {
            from,
            to,
            step,
            ts: bars.iter().map(|b| b.ts).collect(),
            w: column(|b| b.w),
            mn: column(|b| b.mn),
            mx: column(|b| b.mx),
            forecast: Vec::new(),
            told: Vec::new(),
            phases: None,
        })
    }

    /// With the mean power of each phase: of a day or two by the minute records, of more by the
    /// hours' energy.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn with_phases(mut self, store: &Store, meter: &str) -> Result<Self, StoreError> {
        let (slots, length) = if self.to - self.from <= BY_MINUTE {
            (minutes(store, meter, self.from, self.to)?, 60)
        } else {
            (hours(store, meter, self.from, self.to)?, HOUR)
        };
        self.phases = Some(over(&self.ts, self.step, &slots, length));
        Ok(self)
    }

    /// In whole watts: what a small drawing beside a forecast can show.
    #[must_use]
    pub fn whole(mut self) -> Self {
        for figure in [&mut self.w, &mut self.mn, &mut self.mx]
            .into_iter()
            .flatten()
        {
            *figure = Figure::whole(figure.0);
        }
        self
    }

    /// With each time but the first of a column as its distance from the one before, which has few
    /// digits: what is drawn on small drawings is light on the wire.
    #[must_use]
    pub fn by_distance(mut self) -> Self {
        distances(self.ts.iter_mut());
        distances(self.forecast.iter_mut().map(|step| &mut step.0));
        self
    }

    /// As JSON text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// Times as the distance from the one before, the first from 0.
pub fn distances<'a>(times: impl Iterator<Item = &'a mut i64>) {
    let mut before = 0;
    for time in times {
        (*time, before) = (*time - before, *time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_the_mean_of_what_overlaps_and_nothing_where_nothing_does() {
        let slots = [(0, [60.0, 0.0, -6.0]), (60, [120.0, 0.0, -12.0])];
        let watts = |ts: &[i64], step| {
            over(ts, step, &slots, 60)[0]
                .iter()
                .map(|w| w.map(Figure::get))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            watts(&[0, 6, 60, 126], 6),
            [Some(60.0), Some(60.0), Some(120.0), None]
        );
        assert_eq!(watts(&[0], 120), [Some(90.0)], "a point wider than a slot");
    }
}
