//! The counters: what was integrated, where they began, and which entities they follow (`decisions.md` C6, C8).
//!
//! A counter never falls, whatever entities or clocks do; only [`Ledger::reset`] lowers it, and never the
//! lifetime sums. What is kept over a restart is [`CounterState`].

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    cells::{Cells, Level},
    snapshot::{Counter, Energy},
};
use crate::{config::EnergySource, source::EntityId, time::Now};

/// Entities that come later than this after Home Assistant is up seed nothing (C8).
const SEED_WAIT: Duration = Duration::from_secs(60);

/// A followed entity that falls by no more than this (Wh) jitters; by more, it was reset.
const JITTER: f64 = 100.0;

/// What the store keeps of a meter's counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CounterState {
    /// As served, Wh.
    pub energy: Energy,
    /// The same, never reset, Wh.
    pub lifetime: Energy,
    /// A counter was served: no seed is taken any more.
    pub seeded: bool,
    /// `energy_source = entities`: by option key, what was last heard.
    pub follows: BTreeMap<String, Follow>,
    /// How often the counters were reset: of two copies the one with more resets is newer.
    pub resets: u32,
    /// Unix s of the last reset, 0 without one.
    pub reset_ts: i64,
}

/// A followed input: counter = its value + (counter − `last`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Follow {
    /// Its entities; others under the same key begin anew.
    pub entities: Vec<EntityId>,
    /// Value that the counter stands for, Wh.
    pub last: f64,
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
    /// Since the process began.
    counted: Energy,
    mode: EnergySource,
    slots: Vec<Slot>,
    /// Something is configured to be counted; until then a new store's counters wait.
    configured: bool,
    configured_at: Duration,
}

fn side(counter: &mut Counter, export: bool) -> &mut f64 {
    if export { &mut counter.export } else { &mut counter.import }
}

impl Ledger {
    /// Goes on from `state`. Counters above 0 were served, whatever the state says.
    #[must_use]
    pub fn new(mut state: CounterState) -> Self {
        let sum = state.energy.sum();
        state.seeded |= sum.import > 0.0 || sum.export > 0.0;
        Self {
            state,
            counted: Energy::default(),
            mode: EnergySource::Integrate,
            slots: Vec::new(),
            configured: false,
            configured_at: Duration::ZERO,
        }
    }

    /// Sets mode and inputs; counters stay. What another mode or other entities had followed is forgotten, so nothing is booked twice.
    pub fn configure(&mut self, mode: EnergySource, slots: Vec<Slot>, configured: bool, now: Duration) {
        if mode == EnergySource::Entities {
            self.state.follows.retain(|key, follow| slots.iter().any(|slot| slot.key == key && slot.entities == follow.entities));
        } else {
            self.state.follows.clear();
        }
        (self.mode, self.slots, self.configured, self.configured_at) = (mode, slots, configured, now);
    }

    /// What to keep.
    #[must_use]
    pub const fn state(&self) -> &CounterState {
        &self.state
    }

    /// What was counted since this ledger began, Wh: neither what it began with, nor seed and import; no reset undoes it.
    #[must_use]
    pub const fn counted(&self) -> Energy {
        self.counted
    }

    /// Counters as served; `None` while they wait for their seed.
    #[must_use]
    pub fn served(&self) -> Option<Energy> {
        self.state.seeded.then_some(self.state.energy)
    }

    /// Whether integration does not count this direction of this phase, since an entity does.
    fn followed(&self, phase: usize, export: bool) -> bool {
        self.mode == EnergySource::Entities
            && self
                .slots
                .iter()
                .any(|slot| slot.export == export && (matches!(slot.share, Share::House(_)) || slot.share == Share::Phase(phase)))
    }

    fn house_followed(&self, export: bool) -> bool {
        self.mode == EnergySource::Entities && self.slots.iter().any(|slot| slot.export == export && matches!(slot.share, Share::House(_)))
    }

    fn add(&mut self, f: impl Fn(&mut Energy)) {
        f(&mut self.state.energy);
        f(&mut self.state.lifetime);
    }

    fn count(&mut self, f: impl Fn(&mut Energy)) {
        self.add(&f);
        f(&mut self.counted);
    }

    /// Adds a stretch of constant power: each phase by its own sign, and their sum by its sign. An absent phase counts nothing.
    pub fn integrate(&mut self, stretch: Stretch) {
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
    pub fn settle(&mut self, cells: &Cells, hold: Duration, now: Duration) {
        if self.state.seeded && self.mode != EnergySource::Entities {
            return;
        }
        let values: Vec<Option<f64>> = self
            .slots
            .iter()
            .map(|slot| match cells.sum(&slot.cells, hold, now) {
                Some(Level::Live(v)) => Some(v),
                _ => None,
            })
            .collect();
        if self.state.seeded {
            self.follow(&values);
        } else if self.mode == EnergySource::Integrate {
            self.state.seeded = true;
        } else if self.configured {
            let late = cells.first_up.is_some_and(|up| now >= up.max(self.configured_at) + SEED_WAIT);
            if late || values.iter().all(Option::is_some) {
                self.seed(&values);
            }
        }
    }

    fn seed(&mut self, values: &[Option<f64>]) {
        self.state.seeded = true;
        let slots = std::mem::take(&mut self.slots);
        for (slot, value) in slots.iter().zip(values) {
            let Some(value) = *value else { continue };
            self.add(|e| match slot.share {
                Share::Phase(i) => *side(&mut e.phases[i], slot.export) = value,
                Share::House(parts) => {
                    for (phase, part) in e.phases.iter_mut().zip(parts) {
                        *side(phase, slot.export) = value * part;
                    }
                }
            });
            // Per phase nothing tells what the net was; the sum is what an unnetted meter knows.
            self.add(|e| *side(&mut e.net, slot.export) = *side(&mut e.sum(), slot.export));
            self.remember(slot, value);
        }
        self.slots = slots;
    }

    fn remember(&mut self, slot: &Slot, value: f64) {
        if self.mode == EnergySource::Entities {
            self.state.follows.insert(slot.key.to_owned(), Follow { entities: slot.entities.clone(), last: value });
        }
    }

    fn follow(&mut self, values: &[Option<f64>]) {
        let slots = std::mem::take(&mut self.slots);
        for (slot, value) in slots.iter().zip(values) {
            let Some(value) = *value else { continue };
            let last = self.state.follows.get(slot.key).map(|follow| follow.last);
            match last {
                Some(last) if value > last => {
                    let gain = value - last;
                    self.count(|e| match slot.share {
                        Share::Phase(i) => *side(&mut e.phases[i], slot.export) += gain,
                        Share::House(parts) => {
                            for (phase, part) in e.phases.iter_mut().zip(parts) {
                                *side(phase, slot.export) += gain * part;
                            }
                            *side(&mut e.net, slot.export) += gain;
                        }
                    });
                    self.remember(slot, value);
                }
                Some(last) if value >= last - JITTER => {}
                // Reset, or heard for the first time after counters were served: go on from where they stand.
                _ => self.remember(slot, value),
            }
        }
        self.slots = slots;
    }

    /// Counters to 0; the lifetime sums stay, and no seed comes later.
    pub fn reset(&mut self, now: Now) {
        self.state.energy = Energy::default();
        self.state.seeded = true;
        self.state.resets = self.state.resets.saturating_add(1);
        self.state.reset_ts = now.unix_s();
    }

    /// Adds what another meter has counted before, to counters and lifetime sums; nothing is seeded any more.
    pub fn take(&mut self, more: &Energy) {
        for sum in [&mut self.state.energy, &mut self.state.lifetime] {
            for (counter, extra) in sum.phases.iter_mut().zip(&more.phases).chain([(&mut sum.net, &more.net)]) {
                counter.import += extra.import;
                counter.export += extra.export;
            }
        }
        self.state.seeded = true;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{
        meter::parse::Quantity,
        source::{Link, Reading, SourceEvent, State},
    };

    const HOLD: Duration = Duration::from_secs(30);

    struct Rig {
        cells: Cells,
        ledger: Ledger,
    }

    impl Rig {
        fn new(mode: EnergySource, state: CounterState, share: Share) -> Self {
            let mut rig = Self { cells: Cells::new(), ledger: Ledger::new(state) };
            rig.cells.apply(&SourceEvent::Link(Link::Up), Duration::ZERO, |_| {});
            rig.configure(mode, share);
            rig
        }

        fn configure(&mut self, mode: EnergySource, share: Share) {
            let entity: EntityId = "sensor.import".into();
            let cell = self.cells.of(&entity, Quantity::Energy, Duration::ZERO);
            let slot = Slot { key: "energy_import", cells: vec![cell], entities: vec![entity], share, export: false };
            self.ledger.configure(mode, vec![slot], true, Duration::ZERO);
        }

        fn say(&mut self, kwh: &str, secs: u64) -> Option<f64> {
            let reading = Reading { entity: "sensor.import".into(), state: State::Text(kwh.into()), unit: Some("kWh".into()) };
            self.cells.apply(&SourceEvent::Readings(vec![reading]), Duration::from_secs(secs), |_| {});
            self.at(secs)
        }

        fn at(&mut self, secs: u64) -> Option<f64> {
            self.ledger.settle(&self.cells, HOLD, Duration::from_secs(secs));
            self.ledger.served().map(|e| e.sum().import)
        }
    }

    const ON_A: Share = Share::House([1.0, 0.0, 0.0]);

    fn hour(p: f64) -> Stretch {
        Stretch { power: [Some(p), Some(0.0), None], hours: 1.0 }
    }

    #[test]
    fn a_seed_is_not_what_this_run_counted() {
        for mode in [EnergySource::Seed, EnergySource::Entities] {
            let mut rig = Rig::new(mode, CounterState::default(), Share::Phase(0));
            assert_eq!(rig.say("5", 1), Some(5_000.0));
            rig.ledger.integrate(Stretch { power: [Some(-3_000.0), None, None], hours: 1.0 });
            rig.say("6", 2);
            let counted = rig.ledger.counted().phases[0];
            let imported = if mode == EnergySource::Entities { 1_000.0 } else { 0.0 };
            assert_eq!(counted, Counter { import: imported, export: 3_000.0 });
            rig.ledger.reset(Now::default());
            assert_eq!(rig.ledger.counted().phases[0], counted, "a reset does not undo what was counted");
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
    fn a_served_counter_is_never_seeded() {
        let mut state = CounterState::default();
        state.energy.phases[1].export = 3.0;
        let mut rig = Rig::new(EnergySource::Seed, state, ON_A);
        assert_eq!(rig.say("12345.678", 1), Some(0.0));
    }

    #[test]
    fn follows_an_entity_and_absorbs_its_resets() {
        let mut rig = Rig::new(EnergySource::Entities, CounterState::default(), Share::House([1.0 / 3.0; 3]));
        assert_eq!(rig.at(1), None);
        let close = |got: Option<f64>, want: f64| assert!((got.unwrap() - want).abs() < 1e-6, "{got:?} {want}");
        close(rig.say("100", 2), 100_000.0);
        rig.ledger.integrate(hour(5000.0));
        close(rig.at(3), 100_000.0);
        close(rig.say("100.5", 4), 100_500.0);
        close(rig.say("100.45", 5), 100_500.0);
        close(rig.say("100.5", 6), 100_500.0);
        close(rig.say("unavailable", 7), 100_500.0);
        close(rig.say("0", 8), 100_500.0);
        close(rig.say("2", 9), 102_500.0);
        // Over a restart the entity went on counting; so does the counter.
        let mut again = Rig::new(EnergySource::Entities, rig.ledger.state().clone(), Share::House([1.0 / 3.0; 3]));
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
        ledger.settle(&cells, HOLD, Duration::from_secs(1000));
        assert_eq!(ledger.served(), None);
        ledger.configure(EnergySource::Seed, Vec::new(), true, Duration::from_secs(1000));
        ledger.settle(&cells, HOLD, Duration::from_secs(1000));
        assert_eq!(ledger.served(), Some(Energy::default()));
    }

    #[test]
    fn phases_are_not_netted_and_net_is_kept_beside() {
        let mut ledger = Ledger::new(CounterState { seeded: true, ..CounterState::default() });
        ledger.integrate(Stretch { power: [Some(3600.0), Some(-1800.0), None], hours: 0.5 });
        let e = ledger.served().unwrap();
        assert_eq!(e.sum(), Counter { import: 1800.0, export: 900.0 });
        assert_eq!(e.net, Counter { import: 900.0, export: 0.0 });
        let json = serde_json::to_string(ledger.state()).unwrap();
        assert_eq!(&serde_json::from_str::<CounterState>(&json).unwrap(), ledger.state());
        ledger.reset(Now { mono: Duration::ZERO, unix: 1e9 });
        assert_eq!(ledger.served(), Some(Energy::default()));
        assert_eq!((ledger.state().lifetime, ledger.state().resets, ledger.state().reset_ts), (e, 1, 1_000_000_000));
    }
}
