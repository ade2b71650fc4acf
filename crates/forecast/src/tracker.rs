//! Forecasts beside what came, over the last 24 hours: the figures that are shown.
//!
//! Not every forecast is kept but one each half horizon, as in the back-test; a day of all three
//! horizons is then at most about 120,000 points, 4 MB.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use super::forecaster::HorizonForecast;
use super::horizon::{DAY, Horizon, HorizonId};
use super::metrics::{Metrics, Score, Scored};
use super::recent::Recent;
use super::trainer::Valid;

/// A forecast step beside what came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tracked {
    /// Unix time of the step, s.
    pub ts: i64,
    /// Steps ahead of it that it was forecast, from 1.
    pub lead: u16,
    /// What came, W.
    pub came: f32,
    /// What was forecast, W.
    pub w: f32,
    /// What the last value said, W.
    pub last: f32,
    /// Lower end of the band, W.
    pub lo: Option<f32>,
    /// Upper end of the band, W.
    pub hi: Option<f32>,
}

struct Track {
    id: HorizonId,
    horizon: Horizon,
    /// Waiting for what comes, with the number of steps already scored.
    waiting: VecDeque<(Arc<HorizonForecast>, usize)>,
    points: VecDeque<Tracked>,
}

/// Keeps score; memory is bounded.
pub struct Tracker {
    tracks: [Track; 3],
}

impl Tracker {
    /// Nothing forecast yet.
    #[must_use]
    pub fn new(settings: &Valid) -> Self {
        let tracks = HorizonId::ALL.map(|id| Track {
            id,
            horizon: settings.horizons()[id as usize],
            waiting: VecDeque::new(),
            points: VecDeque::new(),
        });
        Self { tracks }
    }

    /// Take note of what was forecast, and score what came meanwhile. Call it with every result
    /// of [`super::Forecaster::forecast`].
    pub fn note(&mut self, forecasts: &[Arc<HorizonForecast>], recent: &Recent, now: i64) {
        for track in &mut self.tracks {
            track.score(recent, now);
            if let Some(forecast) = forecasts.iter().find(|f| f.id == track.id) {
                track.wait_for(forecast);
            }
        }
    }

    /// The figures of the last 24 hours, out of sample.
    #[must_use]
    pub fn metrics(&self, id: HorizonId) -> Metrics {
        let mut score = Score::with_mape(self.points(id).map(|p| p.came));
        for p in self.points(id) {
            score.add(Scored {
                came: p.came,
                line: p.w,
                last: p.last,
                band: p.lo.zip(p.hi),
            });
        }
        score.metrics()
    }

    /// What was forecast longest before, beside what came, from `from` (Unix s) on: one point a
    /// step, to be drawn.
    #[must_use]
    pub fn drawn(&self, id: HorizonId, from: i64) -> Arc<[Tracked]> {
        let track = &self.tracks[id as usize];
        let least = track.horizon.steps - track.spacing().min(track.horizon.steps);
        let newest = track
            .points
            .iter()
            .rev()
            .take_while(|p| p.ts >= from - track.horizon.reach() as i64);
        let mut drawn: Vec<Tracked> = newest
            .filter(|p| p.ts >= from && usize::from(p.lead) > least)
            .copied()
            .collect();
        drawn.sort_by_key(|p| p.ts);
        drawn.into()
    }

    /// The points of the last 24 hours in the order in which they came, to be drawn.
    pub fn points(&self, id: HorizonId) -> impl Iterator<Item = &Tracked> {
        self.tracks[id as usize].points.iter()
    }
}

impl Track {
    fn wait_for(&mut self, forecast: &Arc<HorizonForecast>) {
        let between = i64::from(self.horizon.step) * self.spacing() as i64;
        let due = self.waiting.back().is_none_or(|(latest, _)| {
            forecast.origin >= latest.origin + between || forecast.origin < latest.origin
        });
        if due {
            // Time ran back: what waits beyond it will never be compared fairly.
            self.waiting
                .retain(|(waiting, _)| waiting.origin < forecast.origin);
            self.waiting.push_back((Arc::clone(forecast), 0));
        }
    }

    /// Steps between the forecasts kept: half a horizon, for the day ahead 8 steps (2 h).
    fn spacing(&self) -> usize {
        (self.horizon.steps / if self.horizon.long() { 12 } else { 2 }).max(1)
    }

    fn score(&mut self, recent: &Recent, now: i64) {
        let step = i64::from(self.horizon.step);
        for (forecast, scored) in &mut self.waiting {
            // A step is known once it is over.
            while let Some(point) = forecast.points.get(*scored).filter(|p| p.ts + step <= now) {
                *scored += 1;
                if let Some(came) = recent.at(self.id, point.ts) {
                    self.points.push_back(Tracked {
                        ts: point.ts,
                        lead: *scored as u16,
                        came,
                        w: point.w,
                        last: forecast.now,
                        lo: point.lo,
                        hi: point.hi,
                    });
                }
            }
        }
        // The newest stays, scored or not: the next is measured against its time.
        while self.waiting.len() > 1
            && self
                .waiting
                .front()
                .is_some_and(|(f, scored)| *scored >= f.points.len())
        {
            self.waiting.pop_front();
        }
        let old = now - i64::from(DAY);
        while self.points.front().is_some_and(|p| p.ts <= old) {
            self.points.pop_front();
        }
        if self.points.back().is_some_and(|p| p.ts > now) {
            // The clock ran back: what lies in the future is overwritten when it comes.
            self.points.retain(|p| p.ts <= now);
        }
    }
}
