//! What readers were told, against what they would have been told.

use std::collections::BTreeMap;

use serde::Serialize;

use super::line::{Answer, QuestionLine};
use consumers::{Channel, ReaderKind};

/// Answers that are further apart than this differ, W.
pub const DIFFERS: f64 = 5.0;
/// Points of a series at most.
const POINTS: usize = 600;
/// Readers that are told apart, on all channels together.
const READERS: usize = 2000;
/// Readers that have a series: those that asked most.
const SERIES: usize = 12;
/// An answer counts for so long at most, s: its reader may be gone.
const COUNTS_FOR: f64 = 60.0;

/// How often what was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// With power.
    pub answered: u64,
    /// With nothing.
    pub silent: u64,
    /// With an error.
    pub errors: u64,
    /// With a result that holds no power.
    pub without: u64,
}

impl Counts {
    fn add(&mut self, answer: Answer) {
        match answer {
            Answer::Watts(_) => self.answered += 1,
            Answer::Error { .. } => self.errors += 1,
            Answer::SILENCE => self.silent += 1,
            Answer::Word(_) => self.without += 1,
        }
    }
}

/// A point of a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Seconds since the start.
    pub t: f64,
    /// What was told, W.
    pub recorded: Option<f64>,
    /// What would have been told, W.
    pub replayed: Option<f64>,
}

/// One reader on one channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReaderComparison {
    /// Index of the meter.
    pub meter: usize,
    /// Who, by the name in the file.
    pub reader: String,
    /// The way in.
    pub channel: Channel,
    /// What it was taken for.
    pub kind: ReaderKind,
    /// Questions for power that both have come to an end of.
    pub questions: u64,
    /// How they were answered.
    pub recorded: Counts,
    /// How they would have been.
    pub replayed: Counts,
    /// Greatest distance of two answers, W.
    pub greatest: f64,
    /// Mean distance, W.
    pub mean: f64,
    /// Answers that are more than 5 W apart.
    pub differ: u64,
    /// Energy for which the two have opposite signs, Wh: their distance over the time until the
    /// next answer.
    pub opposite_wh: f64,
    /// For a chart; empty for readers that asked less than others.
    pub series: Vec<Point>,
}

/// The whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Version of the program that recorded.
    pub program: String,
    /// Unix time of the start.
    pub start: f64,
    /// How long the recording is, s.
    pub seconds: f64,
    /// Lines of the file.
    pub lines: u64,
    /// Lines that were lost while recording.
    pub lost: u64,
    /// Options that were changed for the replay, as they were given.
    pub changes: BTreeMap<String, String>,
    /// Readers of power, those that asked most first.
    pub readers: Vec<ReaderComparison>,
}

impl Comparison {
    /// Whether every answer would have been the same but for rounding.
    #[must_use]
    pub fn same(&self) -> bool {
        let same = |r: &ReaderComparison| r.recorded == r.replayed && r.greatest < 0.11;
        self.readers.iter().all(same)
    }
}

/// Who, in order.
type Key = (usize, String, Channel);

/// Takes answers and sums them up.
#[derive(Debug, Default)]
pub(super) struct Comparer(BTreeMap<Key, Sums>);

#[derive(Debug)]
struct Sums {
    /// Not rounded, and without its mean.
    of: ReaderComparison,
    /// Questions that both answered with power, and the sum of their distances.
    both: u64,
    sum: f64,
    /// When both did so last, and with what.
    last: Option<(f64, f64, f64)>,
    /// The newest point of each span of time stands in the series; spans double when there are too
    /// many.
    span: f64,
}

impl Comparer {
    /// Takes a question that was answered at `t`.
    pub fn add(&mut self, t: f64, question: &QuestionLine, replayed: Answer) {
        let key = (question.meter, question.reader.clone(), question.channel);
        if self.0.len() >= READERS && !self.0.contains_key(&key) {
            return;
        }
        let new = || Sums::new(question);
        let sums = self.0.entry(key).or_insert_with(new);
        sums.of.kind = question.kind;
        sums.add(t, question.answer, replayed);
    }

    /// The readers, those that asked most first.
    pub fn finish(self) -> Vec<ReaderComparison> {
        let mut all: Vec<ReaderComparison> = self.0.into_values().map(Sums::finish).collect();
        all.sort_by_key(|reader| std::cmp::Reverse(reader.questions));
        all.iter_mut()
            .skip(SERIES)
            .for_each(|reader| reader.series = Vec::new());
        all
    }
}

impl Sums {
    fn new(question: &QuestionLine) -> Self {
        Self {
            of: ReaderComparison {
                meter: question.meter,
                reader: question.reader.clone(),
                channel: question.channel,
                kind: question.kind,
                questions: 0,
                recorded: Counts::default(),
                replayed: Counts::default(),
                greatest: 0.0,
                mean: 0.0,
                differ: 0,
                opposite_wh: 0.0,
                series: Vec::new(),
            },
            both: 0,
            sum: 0.0,
            last: None,
            span: 0.0,
        }
    }

    fn add(&mut self, t: f64, recorded: Answer, replayed: Answer) {
        self.of.questions += 1;
        self.of.recorded.add(recorded);
        self.of.replayed.add(replayed);
        if let Some((since, was, would)) = self.last
            && was * would < 0.0
        {
            let hours = (t - since).clamp(0.0, COUNTS_FOR) / 3600.0;
            self.of.opposite_wh += (was - would).abs() * hours;
        }
        let (was, would) = (recorded.watts(), replayed.watts());
        self.last = was.zip(would).map(|(was, would)| (t, was, would));
        if let Some((_, was, would)) = self.last {
            let apart = (was - would).abs();
            self.both += 1;
            self.sum += apart;
            self.of.greatest = self.of.greatest.max(apart);
            self.of.differ += u64::from(apart > DIFFERS);
        }
        if self.of.series.len() >= POINTS {
            self.span = f64::max(self.span * 2.0, 1.0);
            for point in std::mem::take(&mut self.of.series) {
                self.draw(point);
            }
        }
        self.draw(Point {
            t,
            recorded: was,
            replayed: would,
        });
    }

    fn draw(&mut self, point: Point) {
        let span = |t: f64| (t / self.span).floor();
        match self.of.series.last_mut() {
            Some(last) if self.span > 0.0 && span(last.t) == span(point.t) => *last = point,
            _ => self.of.series.push(point),
        }
    }

    fn finish(self) -> ReaderComparison {
        ReaderComparison {
            greatest: tenth(self.of.greatest),
            mean: tenth(self.sum / self.both.max(1) as f64),
            opposite_wh: tenth(self.of.opposite_wh),
            ..self.of
        }
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
