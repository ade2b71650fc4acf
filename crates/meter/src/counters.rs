//! The counters: what was integrated, where they began, and which entities they follow
//! (`docs/decisions.md#energy-is-integrated`, `docs/decisions.md#energy-counters`).
//!
//! A counter never falls, whatever entities or clocks do; only [`Ledger::reset`] and
//! [`Ledger::seed_now`] lower it, and never the lifetime sums. What is kept over a restart is
//! [`CounterState`].

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    cells::{Cells, Level},
    follow::{Follow, Heard, News, Said},
    rating::{Rating, Seen},
    shown::Shown,
    snapshot::Energy,
};
use config::EnergySource;
use vocab::reason::{Input, Reason};
use vocab::{EntityId, Now};

/// Entities that come later than this after Home Assistant is up seed nothing
/// (`docs/decisions.md#energy-counters`).
const SEED_WAIT: Duration = Duration::from_secs(60);

/// What the store keeps of a meter's counters: sums and the time of a reset in columns, the rest as
/// text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CounterState {
    /// As served, Wh.
    #[serde(skip)]
    pub energy: Energy,
    /// The same, never reset, Wh.
    #[serde(skip)]
    pub lifetime: Energy,
    /// A counter was served: no seed is taken any more.
    pub seeded: bool,
    /// `energy_source = entities`: by option key, what was last heard.
    pub follows: BTreeMap<String, Follow>,
    /// How often the counters were reset or seeded by hand.
    pub resets: u32,
    /// Unix s of the last time, 0 without one: of two copies the later one is newer.
    #[serde(skip)]
    pub reset_ts: i64,
    /// How far the counters may have been served before a stop without notice, Wh.
    #[serde(skip)]
    pub ceiling: Energy,
}

/// Where an energy input goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// A counter of one phase.
    Phase(usize),
    /// The house's, spread over the phases by these parts, which add up to 1.
    House([f64; 3]),
}

impl Share {
    /// Phases and their parts.
    fn parts(self) -> Vec<(usize, f64)> {
        match self {
            Self::Phase(phase) => vec![(phase, 1.0)],
            Self::House(parts) => parts.into_iter().enumerate().collect(),
        }
    }
}

/// One configured energy input.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Option key, e.g. `a_energy_import`.
    pub key: &'static str,
    /// Its cells.
    pub cells: Vec<usize>,
    /// Its entities.
    pub entities: Vec<EntityId>,
    /// Where it goes.
    pub share: Share,
    /// Export, else import.
    pub export: bool,
}

/// What a counter was set to by hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Option key of the input, e.g. `energy_import`.
    pub key: &'static str,
    /// Its entities.
    pub entities: Vec<EntityId>,
    /// Their sum, Wh.
    pub wh: f64,
}

/// One stretch of constant power.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// W by phase; `None`: absent.
    pub power: [Option<f64>; 3],
    /// Hours.
    pub hours: f64,
}

/// The counters at work.
#[derive(Clone, Debug)]
pub struct Ledger {
    state: CounterState,
    /// Integrated while the counters wait for their seed, Wh: not kept, or the next start would
    /// take it for served.
    early: Energy,
    /// Since the process began.
    counted: Energy,
    mode: EnergySource,
    slots: Vec<Slot>,
    /// Something is configured to be counted; until then a new store's counters wait.
    configured: bool,
    configured_at: Duration,
    /// Inputs that had no value when the seed was taken.
    missed: Vec<Slot>,
    /// `None`: what is counted is served at once.
    shown: Option<Shown>,
    /// The largest power lately: what an entity's step is held against.
    power: Seen,
    /// What is to be told of followed entities.
    said: Vec<String>,
}

impl Ledger {
    /// Goes on from `state`. Counters above 0 were served, also where only the sidecar's figures
    /// survived.
    #[must_use]
    pub fn new(mut state: CounterState) -> Self {
        let sums = [state.energy.sum(), state.lifetime.sum()];
        let any = sums.iter().any(|sum| sum.import > 0.0 || sum.export > 0.0);
        state.seeded |= any || state.reset_ts > 0;
        Self {
            state,
            early: Energy::default(),
            counted: Energy::default(),
            mode: EnergySource::Integrate,
            slots: Vec::new(),
            configured: false,
            configured_at: Duration::ZERO,
            missed: Vec::new(),
            shown: None,
            power: Seen::default(),
            said: Vec::new(),
        }
    }

    /// What is to be told of followed entities, a line each.
    pub fn take_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// From now on serves counters only as far as [`Self::kept`] was told. `interval`: between two
    /// commits.
    pub fn serve_kept(&mut self, interval: Duration, now: Duration) {
        let restored = self.counters().map(|energy| energy.max(self.state.ceiling));
        self.shown = Some(Shown::new(restored, self.state.energy, interval, now));
    }

    /// Counters of so many resets may be served as far as this.
    pub fn kept(&mut self, limit: Energy, resets: u32, now: Duration) {
        if let Some(shown) = &mut self.shown
            && resets == self.state.resets
        {
            shown.kept(limit, now);
        }
    }

    /// To be called once a second.
    pub fn tick(&mut self, now: Duration) {
        if let (true, Some(shown)) = (self.state.seeded, &mut self.shown) {
            shown.tick(self.state.energy, now);
        }
    }

    /// How far beyond the counters the next commit has to keep them, Wh.
    #[must_use]
    pub fn reserve(&self) -> Energy {
        let shown = self.shown.as_ref().filter(|_| self.state.seeded);
        shown.map_or_else(Energy::default, |shown| shown.reserve(self.state.energy))
    }

    /// What an earlier run may have served beyond the counters, Wh.
    #[must_use]
    pub fn ahead(&self) -> Energy {
        let shown = self.shown.as_ref();
        shown.map_or_else(Energy::default, |shown| shown.ahead(self.state.energy))
    }

    /// Whether a counter waits for a commit to be served further.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let shown = self.shown.as_ref().filter(|_| self.state.seeded);
        shown.is_some_and(|shown| shown.is_short(self.state.energy))
    }

    /// Sets mode and inputs; counters stay. What another mode or other entities had followed is
    /// forgotten, so nothing is booked twice.
    pub fn configure(
        &mut self,
        mode: EnergySource,
        slots: Vec<Slot>,
        configured: bool,
        now: Duration,
    ) {
        let goes_on = |key: &str, entities: &[EntityId]| {
            let mut slots = slots.iter();
            slots.any(|slot| slot.key == key && slot.entities == entities)
        };
        let follows = mode == EnergySource::Entities;
        let kept = &mut self.state.follows;
        kept.retain(|key, follow| follows && goes_on(key, &follow.entities));
        self.missed.retain(|slot| goes_on(slot.key, &slot.entities));
        (self.mode, self.slots, self.configured, self.configured_at) =
            (mode, slots, configured, now);
    }

    /// What to keep.
    #[must_use]
    pub const fn state(&self) -> &CounterState {
        &self.state
    }

    /// What was counted since this ledger began, Wh: neither what it began with, nor seed and
    /// import; no reset undoes it.
    #[must_use]
    pub const fn counted(&self) -> Energy {
        self.counted
    }

    /// What the counters grew by since [`Self::counted`] said `since`; `None` where no entity counts.
    ///
    /// The entities of single phases tell no net: theirs is what the phases come to, less what
    /// `crossed` in that time, Wh.
    #[must_use]
    pub fn followed_since(&self, since: Energy, crossed: f64) -> Option<Energy> {
        if self.mode != EnergySource::Entities || self.slots.is_empty() {
            return None;
        }
        let mut grown = self.counted - since;
        for slot in &self.slots {
            if matches!(slot.share, Share::Phase(_)) {
                let sum = *grown.sum().side_mut(slot.export);
                *grown.net.side_mut(slot.export) = sum - crossed;
            }
        }
        Some(grown)
    }

    /// Counters as counted; `None` while they wait for their seed.
    #[must_use]
    pub fn counters(&self) -> Option<Energy> {
        self.state.seeded.then_some(self.state.energy)
    }

    /// Counters as served; `None` while they wait for their seed.
    #[must_use]
    pub fn served(&self) -> Option<Energy> {
        let counters = self.counters()?;
        self.shown
            .as_ref()
            .map_or(Some(counters), |shown| shown.energy(counters))
    }

    /// Inputs that the counters began without, since they had no value in time.
    #[must_use]
    pub fn missed(&self) -> &[Slot] {
        &self.missed
    }

    /// Whether integration does not count this direction of a phase, or of the net where none is
    /// named, since an entity does.
    fn followed(&self, phase: Option<usize>, export: bool) -> bool {
        let counts = |slot: &Slot| match slot.share {
            Share::House(_) => slot.export == export,
            Share::Phase(of) => slot.export == export && phase == Some(of),
        };
        self.mode == EnergySource::Entities && self.slots.iter().any(counts)
    }

    fn count(&mut self, f: impl Fn(&mut Energy)) {
        if self.state.seeded {
            f(&mut self.state.energy);
            f(&mut self.state.lifetime);
            f(&mut self.counted);
        } else {
            f(&mut self.early);
        }
    }

    /// The counters are served from here on, with what was integrated while they waited.
    fn serve(&mut self) {
        if !std::mem::replace(&mut self.state.seeded, true) {
            let early = std::mem::take(&mut self.early);
            self.count(|sum| *sum += early);
        }
    }

    /// Adds a stretch of constant power: each phase by its own sign, and their sum by its sign. An
    /// absent phase counts nothing.
    pub fn integrate(&mut self, stretch: Stretch) {
        let powers = || stretch.power.iter().flatten();
        let all = powers().map(|watts| watts.abs()).sum();
        self.power.power(all, stretch.hours);
        for (i, power) in stretch.power.iter().enumerate() {
            let Some(power) = *power else { continue };
            let (export, wh) = (power < 0.0, power.abs() * stretch.hours);
            if wh != 0.0 && !self.followed(Some(i), export) {
                self.count(|e| *e.phases[i].side_mut(export) += wh);
            }
        }
        let net: f64 = powers().sum();
        let (export, wh) = (net < 0.0, net.abs() * stretch.hours);
        if wh != 0.0 && !self.followed(None, export) {
            self.count(|e| *e.net.side_mut(export) += wh);
        }
    }

    /// Looks at the energy entities: takes the seed once, then follows where that is the mode.
    /// `pace`: seconds that pass in the household for each here.
    pub fn settle(&mut self, cells: &Cells, pace: f64, now: Now) {
        if self.state.seeded && self.mode != EnergySource::Entities {
            return;
        }
        let values = self.values(cells, now.mono);
        if self.state.seeded {
            self.follow(&values, pace, now);
        } else if self.mode == EnergySource::Integrate {
            self.serve();
            if let Some(shown) = &mut self.shown {
                shown.begin();
            }
        } else if self.configured {
            let late = cells
                .first_up
                .is_some_and(|up| now.mono >= up.max(self.configured_at) + SEED_WAIT);
            if late || values.iter().all(Result::is_ok) {
                let slots = self.slots.iter().zip(&values);
                let missed = slots.filter(|(_, value)| value.is_err());
                self.missed = missed.map(|(slot, _)| slot.clone()).collect();
                self.seed(&values, now);
            }
        }
    }

    /// What each input says, Wh, or why it says nothing.
    fn values(&self, cells: &Cells, now: Duration) -> Vec<Result<f64, Reason>> {
        let value = |slot: &Slot| match cells.sum(&slot.cells, now) {
            Some(Level::Live(v)) => Ok(v),
            Some(Level::Held(_, lost) | Level::Absent(lost)) => Err(lost.reason),
            None => Err(Reason::foreign(slot.key)),
        };
        self.slots.iter().map(value).collect()
    }

    /// Counters become what their inputs say; the others stay, and no lifetime sum falls.
    fn seed(&mut self, values: &[Result<f64, Reason>], now: Now) {
        self.serve();
        let slots = std::mem::take(&mut self.slots);
        for (slot, value) in slots.iter().zip(values) {
            let Ok(value) = *value else { continue };
            let e = &mut self.state.energy;
            for (i, part) in slot.share.parts() {
                *e.phases[i].side_mut(slot.export) = value * part;
            }
            // Per phase nothing tells what the net was; the sum is what an unnetted meter knows.
            *e.net.side_mut(slot.export) = *e.sum().side_mut(slot.export);
            self.remember(slot, value, now);
        }
        self.slots = slots;
        self.state.lifetime = self.state.lifetime.max(self.state.energy);
    }

    /// The seed by hand, at any time: each counter with an energy input becomes what that says now,
    /// in any mode.
    ///
    /// # Errors
    /// A reason for each input without a value, or that there is no input; nothing is changed then.
    pub fn seed_now(&mut self, cells: &Cells, now: Now) -> Result<Vec<Taken>, Vec<Reason>> {
        let values = self.values(cells, now.mono);
        let why_not = values.iter().filter_map(|value| value.clone().err());
        let mut missing: Vec<Reason> = why_not.collect();
        if values.is_empty() {
            missing.push(Input::NoEnergy.into());
        }
        if !missing.is_empty() {
            missing.dedup();
            return Err(missing);
        }
        self.seed(&values, now);
        self.set_anew(now);
        let taken = |(slot, wh): (&Slot, f64)| Taken {
            key: slot.key,
            entities: slot.entities.clone(),
            wh,
        };
        let values = values.into_iter().flatten();
        Ok(self.slots.iter().zip(values).map(taken).collect())
    }

    /// From now on: a copy of the counters that is kept elsewhere is older.
    fn set_anew(&mut self, now: Now) {
        self.missed.clear();
        if let Some(shown) = &mut self.shown {
            shown.set_by_hand(self.state.energy, now.mono);
        }
        self.state.resets = self.state.resets.saturating_add(1);
        self.state.reset_ts = now.unix_s();
    }

    fn remember(&mut self, slot: &Slot, value: f64, now: Now) {
        if self.mode == EnergySource::Entities {
            let follow = Follow::new(slot.entities.clone(), value, now);
            self.state.follows.insert(slot.key.to_owned(), follow);
        }
    }

    fn follow(&mut self, values: &[Result<f64, Reason>], pace: f64, now: Now) {
        let slots = std::mem::take(&mut self.slots);
        let rating = Rating::new(self.power.watts(), pace);
        for (slot, value) in slots.iter().zip(values) {
            let Ok(value) = *value else { continue };
            let Some(follow) = self.state.follows.get_mut(slot.key) else {
                // Heard for the first time after counters were served: go on from where they stand.
                self.remember(slot, value, now);
                continue;
            };
            let Heard { gain, said } = follow.hear(value, now, rating);
            self.said.extend(said.map(|said| words(slot, said)));
            self.count(|e| {
                for (i, part) in slot.share.parts() {
                    *e.phases[i].side_mut(slot.export) += gain * part;
                }
                if matches!(slot.share, Share::House(_)) {
                    *e.net.side_mut(slot.export) += gain;
                }
            });
        }
        self.slots = slots;
    }

    /// Counters to 0; the lifetime sums stay, and no seed comes later.
    pub fn reset(&mut self, now: Now) {
        self.serve();
        if let Some(shown) = &mut self.shown {
            shown.begin();
        }
        self.state.energy = Energy::default();
        self.set_anew(now);
    }

    /// Adds what another meter has counted before, to counters and lifetime sums; nothing is seeded
    /// any more.
    pub fn take(&mut self, more: Energy) {
        self.serve();
        self.missed.clear();
        self.state.energy += more;
        self.state.lifetime += more;
    }
}

/// A line for the log, with both readings.
fn words(slot: &Slot, said: Said) -> String {
    let kwh = |wh: f64| format!("{} kWh", (wh * 1e3).round() / 1e6);
    let who = format!("{} ({})", slot.entities.join(" + "), slot.key);
    let (before, value) = (kwh(said.before), kwh(said.value));
    match said.news {
        News::Doubted => format!(
            "{who} went from {before} to {value}, more than can have flown since: its counter waits until it is back, or has gone on from there for a \
             while, as a new meter does"
        ),
        News::Back => format!("{who} is back at {value} after {before}: its counter goes on"),
        News::Believed => format!(
            "{who} has gone on to {value}, far from the {before} before: taken for another meter's, its counter goes on from here without the step"
        ),
    }
}

#[cfg(test)]
mod tests;
