//! A chart's points: power of a range, as columns.

use serde::{Serialize, Serializer};

use super::{Bar, Store, StoreError};

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
            Self::Month => 30 * 86_400,
        }
    }
}

/// Rounded to one decimal.
#[must_use]
pub fn tenth(value: f64) -> Figure {
    Figure((value * 10.0).round() / 10.0)
}

impl Chart {
    /// The power of a range up to `now` (Unix s), without a forecast.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn of(store: &Store, range: Range, now: i64) -> Result<Self, StoreError> {
        Self::within(store, range.seconds(), now, POINTS)
    }

    /// As [`Self::of`], of so many seconds and at most so many points: for a drawing that is
    /// smaller than the page.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn within(
        store: &Store,
        seconds: i64,
        now: i64,
        points: usize,
    ) -> Result<Self, StoreError> {
        let to = now + 1;
        let from = to - seconds;
        let bars = store.power(from, to, points)?;
        let step = bars
            .windows(2)
            .map(|pair| pair[1].ts - pair[0].ts)
            .filter(|d| *d > 0)
            .min()
            .unwrap_or(1);
        let column = |value: fn(&Bar) -> f64| bars.iter().map(|b| tenth(value(b))).collect();
        let (w, mn, mx) = (column(|b| b.w), column(|b| b.mn), column(|b| b.mx));
        Ok(Self {
            from,
            to,
            step,
            ts: bars.iter().map(|b| b.ts).collect(),
            w,
            mn,
            mx,
            forecast: Vec::new(),
            told: Vec::new(),
        })
    }

    /// In whole watts: what a small drawing beside a forecast can show.
    #[must_use]
    pub fn whole(mut self) -> Self {
        for column in [&mut self.w, &mut self.mn, &mut self.mx] {
            column
                .iter_mut()
                .for_each(|figure| *figure = Figure::whole(figure.0));
        }
        self
    }

    /// As JSON text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}
