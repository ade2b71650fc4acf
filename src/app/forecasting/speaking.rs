//! The thread that asks the models for the next values, and keeps score of what it said.

use std::{
    sync::{
        Arc,
        atomic::AtomicBool,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{debug, warn};

use super::{
    super::kept,
    feed::{AT_MOST, Heard},
    past::Source,
};
use forecast::{
    Forecaster, HorizonForecast, HorizonId, Metrics, Outlook, Recent, Tracker, Trained,
    outlook::{Basis, HorizonOutlook, SkillPoint, TrainedAt},
    trainer::{TrainedHorizon, Valid},
};

/// State that keeps the skill's history.
const SKILLS: &str = "forecast/skills";
/// How long the skill's history goes back, s.
const SKILLS_FOR: i64 = 30 * 86_400;
/// Two points of it are at least so far apart, s.
const SKILLS_APART: i64 = 3000;
/// Figures of the last day are made anew so often.
const FIGURES_FOR: Duration = Duration::from_secs(30);
/// From here on what was really forecast says more than the back-test, s.
const OWN_FIGURES: i64 = 20 * 3600;

/// The thread that speaks.
pub(super) struct Speaking {
    pub valid: Valid,
    /// `forecast_interval`.
    pub interval: Duration,
    pub source: Source,
    pub heard: Receiver<Heard>,
    pub outlook: watch::Sender<Arc<Outlook>>,
}

/// What it remembers.
struct Memory {
    recent: Recent,
    tracker: Tracker,
    skills: Arc<[SkillPoint]>,
}

/// What goes with each outlook until the figures are made anew.
struct Figures {
    made: Instant,
    of: Vec<(Metrics, Basis)>,
}

impl Speaking {
    pub(super) fn run(self) {
        background::be_nice();
        let mut kept = self.source.kept();
        let mut memory = Memory {
            recent: self.recent(),
            tracker: Tracker::new(&self.valid),
            skills: self.skills(),
        };
        let mut trained: Option<Arc<Trained>> = None;
        let mut fresh = false;
        loop {
            let speaks = trained.take();
            let forecaster = speaks.as_deref().and_then(|t| {
                Forecaster::new(t)
                    .inspect_err(|why| warn!(error = %why, "the forecast models cannot be asked"))
                    .ok()
            });
            match self.speak(speaks.as_deref().zip(forecaster), fresh, &mut memory) {
                Some((next, new)) => (trained, fresh) = (Some(next), new),
                None => return,
            }
            if !kept && self.source.kept() {
                // The data folder came late, and the past with it.
                (kept, memory.recent, memory.skills) = (true, self.recent(), self.skills());
            }
        }
    }

    /// Until there are other models, or the end.
    fn speak(
        &self,
        mut models: Option<(&Trained, Forecaster<'_>)>,
        fresh: bool,
        memory: &mut Memory,
    ) -> Option<(Arc<Trained>, bool)> {
        let mut figures: Option<Figures> = None;
        let mut due = Instant::now();
        loop {
            if due <= Instant::now() {
                due = (due + self.interval).max(Instant::now());
                if let Some((trained, forecaster)) = &mut models {
                    let now = self.source.now_s();
                    let forecasts = forecaster.forecast(&memory.recent, now);
                    memory.tracker.note(&forecasts, &memory.recent, now);
                    if figures
                        .as_ref()
                        .is_none_or(|f| f.made.elapsed() >= FIGURES_FOR)
                    {
                        let first = figures.is_none();
                        let of = trained
                            .horizons
                            .iter()
                            .map(|h| memory.figures(h, now))
                            .collect();
                        let made = figures.insert(Figures {
                            made: Instant::now(),
                            of,
                        });
                        if first && fresh {
                            self.note_skill(now, &made.of, memory);
                            preview(&forecasts);
                        }
                    }
                    let of = figures.as_ref().map(|f| &f.of[..]).unwrap_or_default();
                    self.outlook
                        .send_replace(Arc::new(memory.outlook(trained, &forecasts, of, now)));
                }
            }
            let wait = if models.is_some() {
                due.saturating_duration_since(Instant::now())
            } else {
                AT_MOST
            };
            match self.heard.recv_timeout(wait) {
                Ok(Heard::Sample(sample)) => {
                    if memory.recent.push(sample) {
                        debug!("the clock jumped: what the forecast goes on from is read anew");
                        memory.recent = self.recent();
                        memory.recent.push(sample);
                    }
                }
                Ok(Heard::Trained(trained, new)) => return Some((trained, new)),
                Ok(Heard::End) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn recent(&self) -> Recent {
        let mut recent = Recent::new(&self.valid);
        let newest = self.source.newest();
        match newest.and_then(|newest| {
            self.source.load(
                newest,
                86_400 + 3600,
                15 * 86_400,
                &AtomicBool::new(false),
                |_| {},
            )
        }) {
            // Minutes are there as of the last commit; what came after it is only among the
            // samples.
            Ok(loaded) => recent.fill(&loaded.s2, &loaded.m1),
            Err(why) => warn!(error = %why, "the forecast starts without what was kept"),
        }
        recent
    }

    fn skills(&self) -> Arc<[SkillPoint]> {
        let kept: Option<Vec<SkillPoint>> = kept::get(&self.source.store, SKILLS);
        kept.unwrap_or_default().into()
    }

    /// After a training: one more point of the skill's history.
    fn note_skill(&self, now: i64, figures: &[(Metrics, Basis)], memory: &mut Memory) {
        let mut skill = [None; 3];
        for (place, (metrics, _)) in skill.iter_mut().zip(figures) {
            *place = metrics
                .skill_by(self.valid.settings().metric)
                .map(|s| s as f32);
        }
        let mut all: Vec<SkillPoint> = memory
            .skills
            .iter()
            .copied()
            .filter(|p| (now - SKILLS_FOR..=now).contains(&p.ts))
            .collect();
        if all.last().is_some_and(|last| now - last.ts < SKILLS_APART) {
            all.pop();
        }
        all.push(SkillPoint { ts: now, skill });
        kept::put(&self.source.store, SKILLS, &all);
        memory.skills = all.into();
    }
}

impl Memory {
    /// How good the forecast of one horizon was.
    fn figures(&self, trained: &TrainedHorizon, now: i64) -> (Metrics, Basis) {
        let since = self
            .tracker
            .points(trained.id)
            .next()
            .map_or(0, |first| now - first.ts);
        match trained.metrics() {
            Some(metrics) if since < OWN_FIGURES => (*metrics, Basis::BackTest),
            _ => (self.tracker.metrics(trained.id), Basis::LastDay),
        }
    }

    fn outlook(
        &self,
        trained: &Trained,
        forecasts: &[Arc<HorizonForecast>],
        figures: &[(Metrics, Basis)],
        now: i64,
    ) -> Outlook {
        let horizons = trained
            .horizons
            .iter()
            .zip(figures)
            .map(|(h, &(metrics, basis))| HorizonOutlook {
                id: h.id,
                step: h.horizon.step,
                steps: h.horizon.steps,
                model: h.model(),
                compared: h.compared(),
                metric: trained.settings.settings().metric,
                forecast: forecasts.iter().find(|f| f.id == h.id).cloned(),
                metrics,
                basis,
                backtest: h.backtest.clone().into(),
                drawn: self.tracker.drawn(h.id, now - drawn_for(h.id)),
            });
        let samples = trained.horizon(HorizonId::Minute).map_or(0, |h| h.samples);
        Outlook {
            horizons: horizons.collect(),
            trained: Some(TrainedAt {
                at: trained.at,
                seconds: trained.seconds,
                samples,
            }),
            skills: Arc::clone(&self.skills),
        }
    }
}

/// How much of what was forecast is drawn beside what came, s.
const fn drawn_for(id: HorizonId) -> i64 {
    match id {
        HorizonId::Minute => 600,
        HorizonId::QuarterHour => 6 * 3600,
        HorizonId::Day => 86_400,
    }
}

/// The first values of each horizon, for somebody who looks closely.
fn preview(forecasts: &[Arc<HorizonForecast>]) {
    for f in forecasts {
        let next: Vec<String> = f
            .points
            .iter()
            .take(5)
            .map(|p| format!("{:.0}", p.w))
            .collect();
        debug!(
            horizon = f.id.name(),
            model = %f.model,
            "forecast: after {:.1} W come {} W …",
            f.now,
            next.join(", ")
        );
    }
}
