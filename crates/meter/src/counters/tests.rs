//! Seeds, followed entities and integration, and what a restart finds of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::Counter;
use vocab::{Link, Reading, SourceEvent, State, parse::Quantity};

const ON_A: Share = Share::House([1.0, 0.0, 0.0]);

fn now(secs: u64) -> Now {
    Now {
        mono: Duration::from_secs(secs),
        unix: 1.7e9 + secs as f64,
    }
}

fn entities() -> Vec<EntityId> {
    vec![EntityId::from_static("sensor.import")]
}

/// A ledger that one energy input feeds, of the import.
struct Rig {
    cells: Cells,
    ledger: Ledger,
}

impl Rig {
    fn new(mode: EnergySource, share: Share) -> Self {
        Self::of(CounterState::default(), mode, share)
    }

    fn of(state: CounterState, mode: EnergySource, share: Share) -> Self {
        let mut rig = Self {
            cells: Cells::new(Duration::from_secs(30)),
            ledger: Ledger::new(state),
        };
        rig.cells
            .apply(&SourceEvent::Link(Link::Up), Duration::ZERO, |_| {});
        rig.configure(mode, share);
        rig
    }

    fn configure(&mut self, mode: EnergySource, share: Share) {
        let (key, start) = ("energy_import", Duration::ZERO);
        let slot = Slot {
            key,
            cells: self.cells.feed(&entities(), Quantity::Energy, key, start),
            entities: entities(),
            share,
            export: false,
        };
        self.ledger.configure(mode, vec![slot], true, start);
    }

    /// The import that is served once the entity has said this.
    fn say(&mut self, kwh: &str, secs: u64) -> Option<f64> {
        let reading = Reading {
            entity: EntityId::from_static("sensor.import"),
            state: State::Text(kwh.into()),
            unit: Some("kWh".into()),
            age: None,
        };
        let said = SourceEvent::Readings(vec![reading]);
        self.cells.apply(&said, now(secs).mono, |_| {});
        self.at(secs)
    }

    fn at(&mut self, secs: u64) -> Option<f64> {
        self.ledger.settle(&self.cells, 1.0, now(secs));
        self.ledger.served().map(|e| e.sum().import)
    }

    /// An hour of so many W on phase A.
    fn hour(&mut self, watts: f64) {
        self.ledger.integrate(Stretch {
            power: [Some(watts), Some(0.0), None],
            hours: 1.0,
        });
    }
}

fn seeded() -> CounterState {
    CounterState {
        seeded: true,
        ..CounterState::default()
    }
}

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

#[test]
fn a_seed_is_not_what_this_run_counted() {
    for (mode, imported) in [(EnergySource::Seed, 0.0), (EnergySource::Entities, 1_000.0)] {
        let mut rig = Rig::new(mode, Share::Phase(0));
        assert_eq!(rig.say("5", 1), Some(5_000.0));
        rig.hour(-3_000.0);
        rig.say("6", 2);
        let counted = Counter::new(imported, 3_000.0);
        assert_eq!(rig.ledger.counted().phases[0], counted);
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
    let mut rig = Rig::new(EnergySource::Seed, ON_A);
    rig.hour(7.0);
    assert_eq!(rig.at(1), None);
    assert_eq!(rig.say("unknown", 2), None);
    assert_eq!(rig.say("12345.678", 3), Some(12_345_678.0));
    rig.hour(1000.0);
    assert_eq!(rig.say("99999", 4), Some(12_346_678.0));
    let state = rig.ledger.state();
    assert_eq!(state.lifetime, state.energy);
    assert_eq!(state.energy.net.import, 12_346_678.0);
}

#[test]
fn a_seed_that_is_late_is_not_taken() {
    let mut rig = Rig::new(EnergySource::Seed, ON_A);
    rig.hour(7.0);
    assert_eq!(rig.at(59), None);
    assert_eq!(rig.at(60), Some(7.0));
    assert_eq!(rig.say("12345.678", 61), Some(7.0));
}

#[test]
fn what_is_integrated_before_the_seed_is_not_kept() {
    for mode in [EnergySource::Seed, EnergySource::Entities] {
        let mut rig = Rig::new(mode, ON_A);
        rig.hour(7.0);
        assert_eq!(rig.say("unavailable", 1), None);
        assert_eq!(rig.ledger.state(), &CounterState::default());
        assert_eq!(rig.ledger.counted(), Energy::default());
        let mut again = Rig::of(rig.ledger.state().clone(), mode, ON_A);
        again.hour(-5.0);
        assert_eq!(
            again.say("12345.678", 1),
            Some(12_345_678.0),
            "{mode:?}: the seed may still come"
        );
        let state = again.ledger.state();
        assert_eq!(
            state.energy.phases[0].export, 5.0,
            "what no entity gives goes on from what was counted"
        );
        assert_eq!(state.lifetime, state.energy);
    }
}

#[test]
fn a_stumble_of_a_followed_entity_is_not_counted_twice() {
    let mut rig = Rig::new(EnergySource::Entities, ON_A);
    for (kwh, secs) in [("1500", 1), ("0", 2), ("0.001", 3)] {
        rig.say(kwh, secs);
    }
    assert_eq!(rig.say("1502", 4), Some(1_502_000.0));
}

#[test]
fn the_seed_by_hand_lowers_counters_and_no_lifetime_sum() {
    // What comes of 1 kWh more of the entity, and of 500 Wh by the power.
    for (mode, more) in [
        (EnergySource::Integrate, 500.0),
        (EnergySource::Seed, 500.0),
        (EnergySource::Entities, 1_000.0),
    ] {
        let mut state = seeded();
        state.energy.phases = [Counter::new(9_000.0, 40.0); 3];
        state.lifetime = state.energy;
        let mut rig = Rig::of(state, mode, ON_A);
        rig.say("5", 1);
        let taken = rig.ledger.seed_now(&rig.cells, now(2)).unwrap();
        assert_eq!(
            taken,
            [Taken {
                key: "energy_import",
                entities: entities(),
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
        assert_eq!(
            (state.resets, state.reset_ts),
            (1, 1_700_000_002),
            "so that no older copy wins"
        );
        rig.say("6", 100);
        rig.hour(500.0);
        assert_eq!(
            rig.at(101),
            Some(5_000.0 + more),
            "{mode:?} goes on from there"
        );
    }
}

#[test]
fn the_seed_by_hand_says_why_not() {
    let mut rig = Rig::of(seeded(), EnergySource::Seed, ON_A);
    rig.say("unavailable", 1);
    let why = rig.ledger.seed_now(&rig.cells, now(1)).unwrap_err();
    let why: Vec<String> = why.iter().map(ToString::to_string).collect();
    assert_eq!(why, ["sensor.import is unavailable"]);
    rig.ledger
        .configure(EnergySource::Seed, Vec::new(), true, Duration::ZERO);
    assert_eq!(
        rig.ledger.seed_now(&rig.cells, now(1)),
        Err(vec![Input::NoEnergy.into()])
    );
    assert_eq!(rig.ledger.state(), &seeded(), "nothing is changed");
}

#[test]
fn an_input_without_a_value_in_time_is_named_until_it_is_taken_by_hand() {
    let mut rig = Rig::new(EnergySource::Seed, ON_A);
    rig.at(59);
    assert!(rig.ledger.missed().is_empty());
    rig.at(60);
    let missed = |ledger: &Ledger| -> Vec<_> {
        let slots = ledger.missed().iter();
        slots
            .map(|slot| (slot.key, slot.entities.clone()))
            .collect()
    };
    let named = [("energy_import", entities())];
    assert_eq!(missed(&rig.ledger), named);
    rig.say("5", 61);
    rig.configure(EnergySource::Seed, ON_A);
    assert_eq!(
        missed(&rig.ledger),
        named,
        "a change of other options does not mend it"
    );
    rig.ledger.seed_now(&rig.cells, now(61)).unwrap();
    assert_eq!((missed(&rig.ledger), rig.at(62)), (vec![], Some(5_000.0)));
}

#[test]
fn a_served_counter_is_never_seeded() {
    let mut state = CounterState::default();
    state.energy.phases[1].export = 3.0;
    let mut rig = Rig::of(state, EnergySource::Seed, ON_A);
    assert_eq!(rig.say("12345.678", 1), Some(0.0));
}

#[test]
fn follows_an_entity_and_absorbs_its_resets() {
    let thirds = Share::House([1.0 / 3.0; 3]);
    let mut rig = Rig::new(EnergySource::Entities, thirds);
    assert_eq!(rig.at(1), None);
    let close = |got: Option<f64>, want: f64| {
        assert!((got.unwrap() - want).abs() < 1e-6, "{got:?} {want}");
    };
    close(rig.say("100", 2), 100_000.0);
    rig.hour(5000.0);
    close(rig.at(3), 100_000.0);
    for (kwh, secs, wh) in [
        ("100.5", 4, 100_500.0),
        ("100.45", 5, 100_500.0),
        ("100.5", 6, 100_500.0),
        ("unavailable", 7, 100_500.0),
        ("0", 8, 100_500.0),
        ("2", 68, 102_500.0),
    ] {
        close(rig.say(kwh, secs), wh);
    }
    // Over a restart the entity went on counting; so does the counter.
    let kept = over_a_restart(rig.ledger.state());
    let mut again = Rig::of(kept, EnergySource::Entities, thirds);
    close(again.at(1), 102_500.0);
    close(again.say("3", 2), 103_500.0);
}

#[test]
fn a_change_of_mode_makes_no_jump() {
    let mut rig = Rig::new(EnergySource::Entities, ON_A);
    rig.say("10", 1);
    rig.configure(EnergySource::Integrate, ON_A);
    rig.hour(500.0);
    rig.say("11", 2);
    rig.configure(EnergySource::Entities, ON_A);
    assert_eq!(rig.say("11", 3), Some(10_500.0));
    assert_eq!(rig.say("11.2", 4), Some(10_700.0));
}

#[test]
fn nothing_configured_waits_and_integrating_does_not() {
    let mut rig = Rig::new(EnergySource::Seed, ON_A);
    for (configured, served) in [(false, None), (true, Some(0.0))] {
        let start = Duration::from_secs(1000);
        rig.ledger
            .configure(EnergySource::Seed, Vec::new(), configured, start);
        assert_eq!(rig.at(1000), served);
    }
}

#[test]
fn phases_are_not_netted_and_net_is_kept_beside() {
    let mut ledger = Ledger::new(seeded());
    ledger.integrate(Stretch {
        power: [Some(3600.0), Some(-1800.0), None],
        hours: 0.5,
    });
    let e = ledger.served().unwrap();
    assert_eq!(e.sum(), Counter::new(1800.0, 900.0));
    assert_eq!(e.net, Counter::new(900.0, 0.0));
    assert_eq!(&over_a_restart(ledger.state()), ledger.state());
    ledger.reset(now(1));
    assert_eq!(ledger.served(), Some(Energy::default()));
    let state = ledger.state();
    assert_eq!(state.lifetime, e);
    assert_eq!((state.resets, state.reset_ts), (1, 1_700_000_001));
}
