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
    follow::{Follow, Said},
    rating::{Rating, Seen},
    shown::{Shown, each},
    snapshot::{Counter, Energy},
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
    /// Inputs that had no value when the seed was taken: option key and entities.
    missed: Vec<(&'static str, Vec<EntityId>)>,
    /// `None`: what is counted is served at once.
    shown: Option<Shown>,
    /// Seconds of the household for each here.
    pace: f64,
    /// The largest power lately: what an entity's step is held against.
    power: Seen,
    /// What is to be told of followed entities.
    said: Vec<String>,
}

fn side(counter: &mut Counter, export: bool) -> &mut f64 {
    if export {
        &mut counter.export
    } else {
        &mut counter.import
    }
}

impl Ledger {
    /// Goes on from `state`. Counters above 0 were served, also where only the sidecar's figures
    /// survived.
    #[must_use]
    pub fn new(mut state: CounterState) -> Self {
        let any = |sum: Counter| sum.import > 0.0 || sum.export > 0.0;
        state.seeded |= any(state.energy.sum()) || any(state.lifetime.sum()) || state.reset_ts > 0;
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
            pace: 1.0,
            power: Seen::default(),
            said: Vec::new(),
        }
    }

    /// Its entities count for a household in which so many seconds pass for each here.
    pub const fn set_pace(&mut self, pace: f64) {
        self.pace = pace;
    }

    /// What is to be told of followed entities, a line each.
    pub fn take_said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// From now on serves counters only as far as [`Self::kept`] was told. `interval`: between two
    /// commits.
    pub fn serve_kept(&mut self, interval: Duration, now: Duration) {
        let restored = self.counters().map(|mut energy| {
            each(&mut energy, &self.state.ceiling, |counter, ceiling| {
                *counter = counter.max(ceiling);
            });
            energy
        });
        self.shown = Some(Shown::new(restored, self.state.energy, interval, now));
    }

    /// Counters of so many resets may be served as far as this.
    pub fn kept(&mut self, limit: &Energy, resets: u32, now: Duration) {
        if let Some(shown) = &mut self.shown
            && resets == self.state.resets
        {
            shown.kept(limit, now);
        }
    }

    /// To be called once a second.
    pub fn tick(&mut self, now: Duration) {
        if let (true, Some(shown)) = (self.state.seeded, &mut self.shown) {
            shown.tick(&self.state.energy, now);
        }
    }

    /// How far beyond the counters the next commit has to keep them, Wh.
    #[must_use]
    pub fn reserve(&self) -> Energy {
        self.shown
            .as_ref()
            .filter(|_| self.state.seeded)
            .map_or_else(Energy::default, |shown| shown.reserve(&self.state.energy))
    }

    /// What an earlier run may have served beyond the counters, Wh.
    #[must_use]
    pub fn ahead(&self) -> Energy {
        self.shown
            .as_ref()
            .map_or_else(Energy::default, |shown| shown.ahead(&self.state.energy))
    }

    /// Whether a counter waits for a commit to be served further.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.state.seeded
            && self
                .shown
                .as_ref()
                .is_some_and(|shown| shown.is_short(&self.state.energy))
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
        if mode == EnergySource::Entities {
            self.state.follows.retain(|key, follow| {
                slots
                    .iter()
                    .any(|slot| slot.key == key && slot.entities == follow.entities)
            });
        } else {
            self.state.follows.clear();
        }
        self.missed.retain(|(key, entities)| {
            slots
                .iter()
                .any(|slot| slot.key == *key && slot.entities == *entities)
        });
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
    pub fn followed_since(&self, since: &Energy, crossed: f64) -> Option<Energy> {
        if self.mode != EnergySource::Entities || self.slots.is_empty() {
            return None;
        }
        let mut grown = self.counted;
        each(&mut grown, since, |counter, before| *counter -= before);
        for export in [false, true] {
            let of_a_phase =
                |slot: &Slot| slot.export == export && matches!(slot.share, Share::Phase(_));
            if self.slots.iter().any(of_a_phase) {
                *side(&mut grown.net, export) = *side(&mut grown.sum(), export) - crossed;
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
            .map_or(Some(counters), |shown| shown.energy(&counters))
    }

    /// Inputs that the counters began without, since they had no value in time: option key and
    /// entities.
    #[must_use]
    pub fn missed(&self) -> &[(&'static str, Vec<EntityId>)] {
        &self.missed
    }

    /// Whether integration does not count this direction of this phase, since an entity does.
    fn followed(&self, phase: usize, export: bool) -> bool {
        self.mode == EnergySource::Entities
            && self.slots.iter().any(|slot| {
                slot.export == export
                    && (matches!(slot.share, Share::House(_)) || slot.share == Share::Phase(phase))
            })
    }

    fn house_followed(&self, export: bool) -> bool {
        self.mode == EnergySource::Entities
            && self
                .slots
                .iter()
                .any(|slot| slot.export == export && matches!(slot.share, Share::House(_)))
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
            self.count(|sum| each(sum, &early, |counter, more| *counter += more));
        }
    }

    /// Adds a stretch of constant power: each phase by its own sign, and their sum by its sign. An
    /// absent phase counts nothing.
    pub fn integrate(&mut self, stretch: Stretch) {
        self.power.power(
            stretch
                .power
                .iter()
                .flatten()
                .map(|watts| watts.abs())
                .sum(),
            stretch.hours,
        );
        for (i, power) in stretch.power.iter().enumerate() {
            let Some(power) = *power else { continue };
            if power != 0.0 && !self.followed(i, power < 0.0) {
                self.count(|e| *side(&mut e.phases[i], power < 0.0) += power.abs() * stretch.hours);
            }
        }
        let net: f64 = stretch.power.iter().flatten().sum();
        if net != 0.0 && !self.house_followed(net < 0.0) {
            self.count(|e| *side(&mut e.net, net < 0.0) += net.abs() * stretch.hours);
        }
    }

    /// Looks at the energy entities: takes the seed once, then follows where that is the mode.
    pub fn settle(&mut self, cells: &Cells, hold: Duration, now: Now) {
        if self.state.seeded && self.mode != EnergySource::Entities {
            return;
        }
        let values = self.values(cells, hold, now.mono);
        if self.state.seeded {
            self.follow(&values, now);
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
                let missed = self
                    .slots
                    .iter()
                    .zip(&values)
                    .filter(|(_, value)| value.is_err());
                self.missed = missed
                    .map(|(slot, _)| (slot.key, slot.entities.clone()))
                    .collect();
                self.seed(&values, now);
            }
        }
    }

    /// What each input says, Wh, or why it says nothing.
    fn values(&self, cells: &Cells, hold: Duration, now: Duration) -> Vec<Result<f64, Reason>> {
        let value = |slot: &Slot| match cells.sum(&slot.cells, hold, now) {
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
            match slot.share {
                Share::Phase(i) => *side(&mut e.phases[i], slot.export) = value,
                Share::House(parts) => {
                    for (phase, part) in e.phases.iter_mut().zip(parts) {
                        *side(phase, slot.export) = value * part;
                    }
                }
            }
            // Per phase nothing tells what the net was; the sum is what an unnetted meter knows.
            *side(&mut e.net, slot.export) = *side(&mut e.sum(), slot.export);
            self.remember(slot, value, now);
        }
        self.slots = slots;
        each(
            &mut self.state.lifetime,
            &self.state.energy,
            |sum, counter| *sum = sum.max(counter),
        );
    }

    /// The seed by hand, at any time: each counter with an energy input becomes what that says now,
    /// in any mode.
    ///
    /// # Errors
    /// A reason for each input without a value, or that there is no input; nothing is changed then.
    pub fn seed_now(
        &mut self,
        cells: &Cells,
        hold: Duration,
        now: Now,
    ) -> Result<Vec<Taken>, Vec<Reason>> {
        let values = self.values(cells, hold, now.mono);
        let mut missing: Vec<Reason> = values
            .iter()
            .filter_map(|value| value.clone().err())
            .collect();
        if values.is_empty() {
            missing.push(Input::NoEnergy.into());
        }
        if !missing.is_empty() {
            missing.dedup();
            return Err(missing);
        }
        self.seed(&values, now);
        self.set_anew(now);
        let taken = |(slot, value): (&Slot, &Result<f64, _>)| {
            value.as_ref().ok().map(|wh| Taken {
                key: slot.key,
                entities: slot.entities.clone(),
                wh: *wh,
            })
        };
        Ok(self.slots.iter().zip(&values).filter_map(taken).collect())
    }

    /// From now on: a copy of the counters that is kept elsewhere is older.
    fn set_anew(&mut self, now: Now) {
        self.missed.clear();
        if let Some(shown) = &mut self.shown {
            shown.set_by_hand(&self.state.energy, now.mono);
        }
        self.state.resets = self.state.resets.saturating_add(1);
        self.state.reset_ts = now.unix_s();
    }

    fn remember(&mut self, slot: &Slot, value: f64, now: Now) {
        if self.mode == EnergySource::Entities {
            self.state.follows.insert(
                slot.key.to_owned(),
                Follow::new(slot.entities.clone(), value, now),
            );
        }
    }

    fn follow(&mut self, values: &[Result<f64, Reason>], now: Now) {
        let slots = std::mem::take(&mut self.slots);
        let rating = Rating::new(self.power.watts(), self.pace);
        for (slot, value) in slots.iter().zip(values) {
            let Ok(value) = *value else { continue };
            let Some(follow) = self.state.follows.get_mut(slot.key) else {
                // Heard for the first time after counters were served: go on from where they stand.
                self.remember(slot, value, now);
                continue;
            };
            let heard = follow.hear(value, now, rating);
            self.said.extend(heard.said.map(|said| words(slot, said)));
            let gain = heard.gain;
            if gain > 0.0 {
                self.count(|e| match slot.share {
                    Share::Phase(i) => *side(&mut e.phases[i], slot.export) += gain,
                    Share::House(parts) => {
                        for (phase, part) in e.phases.iter_mut().zip(parts) {
                            *side(phase, slot.export) += gain * part;
                        }
                        *side(&mut e.net, slot.export) += gain;
                    }
                });
            }
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
    pub fn take(&mut self, more: &Energy) {
        self.serve();
        self.missed.clear();
        for sum in [&mut self.state.energy, &mut self.state.lifetime] {
            each(sum, more, |counter, extra| *counter += extra);
        }
    }
}

/// A line for the log, with both readings.
fn words(slot: &Slot, said: Said) -> String {
    let kwh = |wh: f64| format!("{} kWh", (wh * 1e3).round() / 1e6);
    let who = format!("{} ({})", slot.entities.join(" + "), slot.key);
    match said {
        Said::Doubted { last, value } => format!(
            "{who} went from {} to {}, more than can have flown since: its counter waits until it is back, or has gone on from there for a \
             while, as a new meter does",
            kwh(last),
            kwh(value)
        ),
        Said::Back { doubted, value } => format!(
            "{who} is back at {} after {}: its counter goes on",
            kwh(value),
            kwh(doubted)
        ),
        Said::Believed { last, value } => format!(
            "{who} has gone on to {}, far from the {} before: taken for another meter's, its counter goes on from here without the step",
            kwh(value),
            kwh(last)
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use vocab::{Link, Reading, SourceEvent, State, parse::Quantity};

    const HOLD: Duration = Duration::from_secs(30);

    fn now(secs: u64) -> Now {
        Now {
            mono: Duration::from_secs(secs),
            unix: 1.7e9 + secs as f64,
        }
    }

    struct Rig {
        cells: Cells,
        ledger: Ledger,
    }

    impl Rig {
        fn new(mode: EnergySource, state: CounterState, share: Share) -> Self {
            let mut rig = Self {
                cells: Cells::new(),
                ledger: Ledger::new(state),
            };
            rig.cells
                .apply(&SourceEvent::Link(Link::Up), Duration::ZERO, |_| {});
            rig.configure(mode, share);
            rig
        }

        fn configure(&mut self, mode: EnergySource, share: Share) {
            let entity: EntityId = EntityId::from_static("sensor.import");
            let cell = self.cells.of(&entity, Quantity::Energy, Duration::ZERO);
            let slot = Slot {
                key: "energy_import",
                cells: vec![cell],
                entities: vec![entity],
                share,
                export: false,
            };
            self.ledger
                .configure(mode, vec![slot], true, Duration::ZERO);
        }

        fn say(&mut self, kwh: &str, secs: u64) -> Option<f64> {
            let reading = Reading {
                entity: EntityId::from_static("sensor.import"),
                state: State::Text(kwh.into()),
                unit: Some("kWh".into()),
                age: None,
            };
            self.cells.apply(
                &SourceEvent::Readings(vec![reading]),
                Duration::from_secs(secs),
                |_| {},
            );
            self.at(secs)
        }

        fn at(&mut self, secs: u64) -> Option<f64> {
            self.ledger.settle(&self.cells, HOLD, now(secs));
            self.ledger.served().map(|e| e.sum().import)
        }
    }

    const ON_A: Share = Share::House([1.0, 0.0, 0.0]);

    /// Sums and the time of a reset stand in columns of the store, the rest as text.
    fn over_a_restart(state: &CounterState) -> CounterState {
        let text = serde_json::to_string(state).unwrap();
        CounterState {
            energy: state.energy,
            lifetime: state.lifetime,
            reset_ts: state.reset_ts,
            ..serde_json::from_str(&text).unwrap()
        }
    }

    fn hour(p: f64) -> Stretch {
        Stretch {
            power: [Some(p), Some(0.0), None],
            hours: 1.0,
        }
    }

    #[test]
    fn a_seed_is_not_what_this_run_counted() {
        for mode in [EnergySource::Seed, EnergySource::Entities] {
            let mut rig = Rig::new(mode, CounterState::default(), Share::Phase(0));
            assert_eq!(rig.say("5", 1), Some(5_000.0));
            rig.ledger.integrate(Stretch {
                power: [Some(-3_000.0), None, None],
                hours: 1.0,
            });
            rig.say("6", 2);
            let counted = rig.ledger.counted().phases[0];
            let imported = if mode == EnergySource::Entities {
                1_000.0
            } else {
                0.0
            };
            assert_eq!(
                counted,
                Counter {
                    import: imported,
                    export: 3_000.0
                }
            );
            rig.ledger.reset(Now::default());
            assert_eq!(
                rig.ledger.counted().phases[0],
                counted,
                "a reset does not undo what was counted"
            );
        }
    }

    #[test]
    fn seeds_once_before_anything_was_served() {
        let mut rig = Rig::new(EnergySource::Seed, CounterState::default(), ON_A);
        rig.ledger.integrate(hour(7.0));
        assert_eq!(rig.at(1), None);
        assert_eq!(rig.say("unknown", 2), None);
        assert_eq!(rig.say("12345.678", 3), Some(12_345_678.0));
        rig.ledger.integrate(hour(1000.0));
        assert_eq!(rig.say("99999", 4), Some(12_346_678.0));
        assert_eq!(rig.ledger.state().lifetime, rig.ledger.state().energy);
        assert_eq!(rig.ledger.state().energy.net.import, 12_346_678.0);
    }

    #[test]
    fn a_seed_that_is_late_is_not_taken() {
        let mut rig = Rig::new(EnergySource::Seed, CounterState::default(), ON_A);
        rig.ledger.integrate(hour(7.0));
        assert_eq!(rig.at(59), None);
        assert_eq!(rig.at(60), Some(7.0));
        assert_eq!(rig.say("12345.678", 61), Some(7.0));
    }

    #[test]
    fn what_is_integrated_before_the_seed_is_not_kept() {
        for mode in [EnergySource::Seed, EnergySource::Entities] {
            let mut rig = Rig::new(mode, CounterState::default(), ON_A);
            rig.ledger.integrate(hour(7.0));
            assert_eq!(rig.say("unavailable", 1), None);
            assert_eq!(rig.ledger.state(), &CounterState::default());
            assert_eq!(rig.ledger.counted(), Energy::default());
            let mut again = Rig::new(mode, rig.ledger.state().clone(), ON_A);
            again.ledger.integrate(Stretch {
                power: [None, Some(-5.0), None],
                hours: 1.0,
            });
            assert_eq!(
                again.say("12345.678", 1),
                Some(12_345_678.0),
                "{mode:?}: the seed may still come"
            );
            assert_eq!(
                again.ledger.state().energy.phases[1].export,
                5.0,
                "what no entity gives goes on from what was counted"
            );
            assert_eq!(again.ledger.state().lifetime, again.ledger.state().energy);
        }
    }

    #[test]
    fn a_stumble_of_a_followed_entity_is_not_counted_twice() {
        let mut rig = Rig::new(EnergySource::Entities, CounterState::default(), ON_A);
        rig.say("1500", 1);
        for (kwh, secs) in [("0", 2), ("0.001", 3)] {
            rig.say(kwh, secs);
        }
        assert_eq!(rig.say("1502", 4), Some(1_502_000.0));
    }

    #[test]
    fn the_seed_by_hand_lowers_counters_and_no_lifetime_sum() {
        for mode in [
            EnergySource::Integrate,
            EnergySource::Seed,
            EnergySource::Entities,
        ] {
            let mut state = CounterState {
                seeded: true,
                ..CounterState::default()
            };
            state.energy.phases = [Counter {
                import: 9_000.0,
                export: 40.0,
            }; 3];
            state.lifetime = state.energy;
            let mut rig = Rig::new(mode, state, ON_A);
            rig.say("5", 1);
            let taken = rig
                .ledger
                .seed_now(
                    &rig.cells,
                    HOLD,
                    Now {
                        mono: Duration::from_secs(2),
                        unix: 1e9,
                    },
                )
                .unwrap();
            assert_eq!(
                taken,
                [Taken {
                    key: "energy_import",
                    entities: vec![EntityId::from_static("sensor.import")],
                    wh: 5_000.0
                }]
            );
            let state = rig.ledger.state();
            assert_eq!(
                state.energy.phases.map(|p| (p.import, p.export)),
                [(5_000.0, 40.0), (0.0, 40.0), (0.0, 40.0)],
                "{mode:?}"
            );
            assert_eq!(state.energy.net.import, 5_000.0);
            assert_eq!(state.lifetime.sum().import, 27_000.0);
            assert_eq!(state.resets, 1, "so that no older copy wins");
            assert_eq!(state.reset_ts, 1_000_000_000, "so that no older copy wins");
            rig.say("6", 100);
            let followed = if mode == EnergySource::Entities {
                1_000.0
            } else {
                0.0
            };
            rig.ledger.integrate(hour(500.0));
            let integrated = if mode == EnergySource::Entities {
                0.0
            } else {
                500.0
            };
            assert_eq!(
                rig.at(101),
                Some(5_000.0 + followed + integrated),
                "{mode:?} goes on from there"
            );
        }
    }

    #[test]
    fn the_seed_by_hand_says_why_not() {
        let mut rig = Rig::new(
            EnergySource::Seed,
            CounterState {
                seeded: true,
                ..CounterState::default()
            },
            ON_A,
        );
        rig.say("unavailable", 1);
        let why = rig
            .ledger
            .seed_now(&rig.cells, HOLD, Now::default())
            .unwrap_err();
        assert_eq!(
            why.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["sensor.import is unavailable"]
        );
        rig.ledger
            .configure(EnergySource::Seed, Vec::new(), true, Duration::ZERO);
        assert_eq!(
            rig.ledger.seed_now(&rig.cells, HOLD, Now::default()),
            Err(vec![Input::NoEnergy.into()])
        );
        assert_eq!(
            rig.ledger.state(),
            &CounterState {
                seeded: true,
                ..CounterState::default()
            },
            "nothing is changed"
        );
    }

    #[test]
    fn an_input_without_a_value_in_time_is_named_until_it_is_taken_by_hand() {
        let mut rig = Rig::new(EnergySource::Seed, CounterState::default(), ON_A);
        rig.at(59);
        assert!(rig.ledger.missed().is_empty());
        rig.at(60);
        assert_eq!(
            rig.ledger.missed(),
            [(
                "energy_import",
                vec![EntityId::from_static("sensor.import")]
            )]
        );
        rig.say("5", 61);
        rig.configure(EnergySource::Seed, ON_A);
        assert_eq!(
            rig.ledger.missed().len(),
            1,
            "a change of other options does not mend it"
        );
        rig.ledger
            .seed_now(&rig.cells, HOLD, Now::default())
            .unwrap();
        assert_eq!((rig.ledger.missed().len(), rig.at(62)), (0, Some(5_000.0)));
    }

    #[test]
    fn a_served_counter_is_never_seeded() {
        let mut state = CounterState::default();
        state.energy.phases[1].export = 3.0;
        let mut rig = Rig::new(EnergySource::Seed, state, ON_A);
        assert_eq!(rig.say("12345.678", 1), Some(0.0));
    }

    #[test]
    fn follows_an_entity_and_absorbs_its_resets() {
        let mut rig = Rig::new(
            EnergySource::Entities,
            CounterState::default(),
            Share::House([1.0 / 3.0; 3]),
        );
        assert_eq!(rig.at(1), None);
        let close = |got: Option<f64>, want: f64| {
            assert!((got.unwrap() - want).abs() < 1e-6, "{got:?} {want}");
        };
        close(rig.say("100", 2), 100_000.0);
        rig.ledger.integrate(hour(5000.0));
        close(rig.at(3), 100_000.0);
        close(rig.say("100.5", 4), 100_500.0);
        close(rig.say("100.45", 5), 100_500.0);
        close(rig.say("100.5", 6), 100_500.0);
        close(rig.say("unavailable", 7), 100_500.0);
        close(rig.say("0", 8), 100_500.0);
        close(rig.say("2", 68), 102_500.0);
        // Over a restart the entity went on counting; so does the counter.
        let kept = over_a_restart(rig.ledger.state());
        let mut again = Rig::new(EnergySource::Entities, kept, Share::House([1.0 / 3.0; 3]));
        close(again.at(1), 102_500.0);
        close(again.say("3", 2), 103_500.0);
    }

    #[test]
    fn a_change_of_mode_makes_no_jump() {
        let mut rig = Rig::new(EnergySource::Entities, CounterState::default(), ON_A);
        rig.say("10", 1);
        rig.configure(EnergySource::Integrate, ON_A);
        rig.ledger.integrate(hour(500.0));
        rig.say("11", 2);
        rig.configure(EnergySource::Entities, ON_A);
        assert_eq!(rig.say("11", 3), Some(10_500.0));
        assert_eq!(rig.say("11.2", 4), Some(10_700.0));
    }

    #[test]
    fn nothing_configured_waits_and_integrating_does_not() {
        let mut ledger = Ledger::new(CounterState::default());
        let mut cells = Cells::new();
        cells.apply(&SourceEvent::Link(Link::Up), Duration::ZERO, |_| {});
        ledger.configure(EnergySource::Seed, Vec::new(), false, Duration::ZERO);
        ledger.settle(&cells, HOLD, now(1000));
        assert_eq!(ledger.served(), None);
        ledger.configure(
            EnergySource::Seed,
            Vec::new(),
            true,
            Duration::from_secs(1000),
        );
        ledger.settle(&cells, HOLD, now(1000));
        assert_eq!(ledger.served(), Some(Energy::default()));
    }

    #[test]
    fn phases_are_not_netted_and_net_is_kept_beside() {
        let mut ledger = Ledger::new(CounterState {
            seeded: true,
            ..CounterState::default()
        });
        ledger.integrate(Stretch {
            power: [Some(3600.0), Some(-1800.0), None],
            hours: 0.5,
        });
        let e = ledger.served().unwrap();
        assert_eq!(
            e.sum(),
            Counter {
                import: 1800.0,
                export: 900.0
            }
        );
        assert_eq!(
            e.net,
            Counter {
                import: 900.0,
                export: 0.0
            }
        );
        assert_eq!(&over_a_restart(ledger.state()), ledger.state());
        ledger.reset(Now {
            mono: Duration::ZERO,
            unix: 1e9,
        });
        assert_eq!(ledger.served(), Some(Energy::default()));
        assert_eq!(ledger.state().lifetime, e);
        assert_eq!(ledger.state().resets, 1);
        assert_eq!(ledger.state().reset_ts, 1_000_000_000);
    }
}
