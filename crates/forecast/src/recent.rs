//! The newest part of each horizon's series, kept up sample by sample.

use super::grid::{SHORT_GAP, Sample};
use super::horizon::{Horizon, HorizonId};
use super::trainer::Valid;

/// A regular series that grows at its end and forgets its beginning.
#[derive(Debug, Clone)]
struct Ring {
    step: i64,
    keep: usize,
    /// Number of the first cell: its time divided by the step.
    first: i64,
    cells: Vec<f32>,
    /// Seconds that are known of the newest cell.
    seconds: f32,
}

impl Ring {
    fn new(horizon: Horizon) -> Self {
        let day = horizon.day();
        // Yesterday and the window; the 14 days of the climatology where it is used.
        let days = if horizon.long() {
            super::climatology::DAYS + 1
        } else {
            1
        };
        Self {
            step: i64::from(horizon.step),
            keep: days * day + horizon.window + horizon.steps,
            first: 0,
            cells: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Adds what stands for so many seconds; whether all that was known had to go.
    fn push(&mut self, sample: Sample, seconds: f32) -> bool {
        let mut lost = false;
        let cell = sample.ts.div_euclid(self.step);
        let next = self.first + self.cells.len() as i64;
        if self.cells.is_empty() || cell - next >= self.keep as i64 || cell < self.first {
            // A beginning, a hole longer than what is kept, or a clock that ran back beyond it.
            lost = !self.cells.is_empty();
            self.cells.clear();
            self.first = cell;
        } else if cell >= next {
            let hole = (cell - next) as usize;
            let held = self
                .cells
                .last()
                .copied()
                .filter(|_| hole <= SHORT_GAP)
                .unwrap_or(f32::NAN);
            self.cells.resize(self.cells.len() + hole, held);
        } else {
            // The newest cell grows. Before it, time ran back: what was after it is overwritten.
            self.cells.truncate((cell - self.first + 1) as usize);
            if cell + 1 == next {
                self.seconds += seconds;
                if let Some(mean) = self.cells.last_mut() {
                    *mean += (sample.w - *mean) * seconds / self.seconds;
                }
                return lost;
            }
            self.cells.pop();
        }
        self.cells.push(sample.w);
        self.seconds = seconds;
        if self.cells.len() > 2 * self.keep {
            let old = self.cells.len() - self.keep;
            self.cells.drain(..old);
            self.first += old as i64;
        }
        lost
    }

    /// What is known at `now`, and the time of its last cell. `running`: with the cell that is
    /// not over yet. None when the last three steps and more are missing.
    fn past(&self, now: i64, running: bool) -> Option<(&[f32], i64)> {
        let current = now.div_euclid(self.step);
        let end = if running { current + 1 } else { current };
        let length = usize::try_from(end - self.first)
            .ok()?
            .min(self.cells.len());
        let last = self.first + length as i64 - 1;
        let fresh = current - last <= SHORT_GAP as i64 + 1;
        let known = length > 0 && self.cells[length - 1].is_finite();
        (fresh && known).then(|| (&self.cells[..length], last * self.step))
    }

    fn at(&self, ts: i64) -> Option<f32> {
        let place = ts.div_euclid(self.step) - self.first;
        let w = *self.cells.get(usize::try_from(place).ok()?)?;
        w.is_finite().then_some(w)
    }
}

/// The newest samples of all three horizons.
#[derive(Debug, Clone)]
pub struct Recent {
    rings: [Ring; 3],
    /// What a sample stands for, s.
    sample_step: f32,
}

impl Recent {
    /// Empty.
    #[must_use]
    pub fn new(settings: &Valid) -> Self {
        Self {
            rings: settings.horizons().map(Ring::new),
            sample_step: settings.settings().sample_step as f32,
        }
    }

    /// Fill from the store at start: `s2` as far back as it is kept at hand (a day serves every
    /// model), minute means for 15 days. Of the samples those after the last minute count there
    /// too.
    pub fn fill(&mut self, s2: &[Sample], m1: &[Sample]) {
        let [first, others @ ..] = &mut self.rings;
        for sample in s2.iter().copied().filter(Sample::usable) {
            first.push(sample, self.sample_step);
        }
        let minutes = m1.last().map_or(i64::MIN, |last| last.ts + 60);
        for ring in others {
            for minute in m1.iter().copied().filter(Sample::usable) {
                ring.push(minute, 60.0);
            }
            for sample in s2.iter().copied().filter(|s| s.usable() && s.ts >= minutes) {
                ring.push(sample, self.sample_step);
            }
        }
    }

    /// Add a sample; what is no reading is left out. Whether a jump of the clock made a horizon
    /// forget its past, which the store still has.
    pub fn push(&mut self, sample: Sample) -> bool {
        let mut lost = false;
        if sample.usable() {
            for ring in &mut self.rings {
                lost |= ring.push(sample, self.sample_step);
            }
        }
        lost
    }

    /// What is known of a horizon's series at `now`, and the time of its last cell. The first
    /// horizon goes on from the newest sample, the others from the last step that is over. None
    /// when the newest are missing.
    #[must_use]
    pub fn past(&self, id: HorizonId, now: i64) -> Option<(&[f32], i64)> {
        self.rings[id as usize].past(now, id == HorizonId::Minute)
    }

    /// The value of the cell that begins at or holds `ts`, W.
    #[must_use]
    pub fn at(&self, id: HorizonId, ts: i64) -> Option<f32> {
        self.rings[id as usize].at(ts)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::trainer::Settings;
    use super::*;

    const fn sample(ts: i64, w: f32) -> Sample {
        Sample { ts, w }
    }

    fn recent(of: &[(i64, f32)]) -> Recent {
        let mut recent = Recent::new(&Settings::default().check().unwrap());
        for &(ts, w) in of {
            recent.push(sample(ts, w));
        }
        recent
    }

    #[test]
    fn the_first_goes_on_from_now_the_others_from_the_last_step_that_is_over() {
        let r = recent(&[(0, 10.0), (30, 30.0), (60, 99.0)]);
        assert_eq!(r.past(HorizonId::Minute, 61).unwrap().1, 60);
        assert_eq!(
            r.past(HorizonId::QuarterHour, 61),
            Some((&[20.0_f32][..], 0))
        );
        assert_eq!(
            r.past(HorizonId::QuarterHour, 120).unwrap().0,
            &[20.0, 99.0]
        );
        assert_eq!(r.past(HorizonId::Day, 61), None);
    }

    #[test]
    fn short_holes_are_held_long_ones_are_holes_and_old_samples_are_not_now() {
        let r = recent(&[(0, 1.0), (8, 2.0), (18, 3.0)]);
        let (past, last) = r.past(HorizonId::Minute, 19).unwrap();
        assert_eq!((&past[..5], last), (&[1.0, 1.0, 1.0, 1.0, 2.0][..], 18));
        assert!(past[5..9].iter().all(|w| w.is_nan()));
        assert!(r.past(HorizonId::Minute, 26).is_some());
        assert_eq!(r.past(HorizonId::Minute, 28), None);
    }

    #[test]
    fn a_clock_that_runs_back_overwrites() {
        let mut r = recent(&[(100, 1.0), (102, 2.0), (104, 3.0), (102, 20.0)]);
        assert_eq!(r.past(HorizonId::Minute, 103).unwrap().0, &[1.0, 20.0]);
        r.push(sample(0, 5.0));
        assert_eq!(r.past(HorizonId::Minute, 1), Some((&[5.0_f32][..], 0)));
        assert_eq!(r.at(HorizonId::Minute, 1), Some(5.0));
        assert_eq!(r.at(HorizonId::Minute, 2), None);
    }

    #[test]
    fn a_minute_counts_for_thirty_samples() {
        let mut r = recent(&[]);
        let minutes: Vec<Sample> = (0..10).map(|i| sample(60 * i, 5000.0)).collect();
        let samples: Vec<Sample> = (0..450)
            .map(|i| sample(2 * i, if i < 300 { 5000.0 } else { 500.0 }))
            .collect();
        r.fill(&samples, &minutes);
        let (past, _) = r.past(HorizonId::Day, 900).unwrap();
        assert!(
            past.len() == 1 && (past[0] - 3500.0).abs() < 0.01,
            "{past:?}"
        );
        assert_eq!(r.at(HorizonId::QuarterHour, 540), Some(5000.0));
        assert_eq!(r.at(HorizonId::QuarterHour, 600), Some(500.0));
    }

    #[test]
    fn a_past_that_a_jump_took_is_told_of() {
        let mut r = recent(&[(0, 1.0), (2, 2.0)]);
        assert!(!r.push(sample(4, 3.0)));
        assert!(r.push(sample(40 * 86_400, 4.0)));
        assert!(!r.push(sample(40 * 86_400 + 2, 4.0)));
        assert!(r.push(sample(6, 5.0)));
    }

    #[test]
    fn it_forgets_and_stays_small() {
        let mut r = recent(&[]);
        for i in 0..400_000 {
            r.push(sample(2 * i, i as f32));
        }
        let ring = &r.rings[0];
        assert!(ring.cells.len() <= 2 * ring.keep);
        let (past, last) = r.past(HorizonId::Minute, 799_999).unwrap();
        assert_eq!((past.last(), last), (Some(&399_999.0), 799_998));
        r.push(sample(i64::from(u32::MAX), 1.0));
        assert_eq!(r.rings[0].cells.len(), 1);
        r.push(sample(i64::MAX, f32::NAN));
        assert_eq!(r.rings[0].cells.len(), 1);
    }
}
